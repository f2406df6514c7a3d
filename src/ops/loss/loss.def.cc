// Losses: what models that were exported with their training objective compute last.
#include "ops/pointwise/expression.h"
#include "ops/reduce/decompose.h"

namespace sconce {
namespace {

// The argument in the type that is computed in: f32 for 16-bit ones. A target may be of another
// type.
Expression operand(Build& build, const Node& node, int i, DType compute) {
  return {&build, build.cast(value(node, i), compute)};
}
DType compute_type(Build& build, const Node& node) {
  DType dtype = promote_types(build.dtype(value(node, 0)), build.dtype(value(node, 1)));
  return dtype_bytes(dtype) == 2 ? DType::f32 : dtype;
}

// Reduction `how` of torch: 0 none, 1 mean, 2 sum.
Results reduced(Build& build, const Node& node, int how, Expression loss) {
  auto reduction = integer_at(node, how);
  if (!reduction || *reduction < 0 || *reduction > 2) return std::nullopt;
  if (*reduction == 1) loss = loss.call("aten::mean");
  if (*reduction == 2) loss = loss.call("aten::sum");
  return one(loss.cast(build.dtype(value(node, 0))).id);
}

// self, target, reduction
Results mse_loss(Build& build, const Node& node) {
  DType compute = compute_type(build, node);
  Expression off = operand(build, node, 0, compute) - operand(build, node, 1, compute);
  return reduced(build, node, 2, off * off);
}
Results l1_loss(Build& build, const Node& node) {
  DType compute = compute_type(build, node);
  return reduced(build, node, 2,
                 abs(operand(build, node, 0, compute) - operand(build, node, 1, compute)));
}
// self, target, reduction, beta: a parabola within beta, straight outside.
Results smooth_l1_loss(Build& build, const Node& node) {
  auto beta = number(node, 3);
  if (!beta) return std::nullopt;
  DType compute = compute_type(build, node);
  Expression off = abs(operand(build, node, 0, compute) - operand(build, node, 1, compute));
  if (*beta == 0) return reduced(build, node, 2, off);
  return reduced(build, node, 2, where(off < *beta, off * off * 0.5 / *beta, off - 0.5 * *beta));
}
Results huber_loss(Build& build, const Node& node) {
  auto delta = number(node, 3);
  if (!delta) return std::nullopt;
  DType compute = compute_type(build, node);
  Expression off = abs(operand(build, node, 0, compute) - operand(build, node, 1, compute));
  return reduced(build, node, 2,
                 where(off <= *delta, off * off * 0.5, (off - 0.5 * *delta) * *delta));
}
// self, target, reduction: log(1 + exp(-target self)). Each step is rounded to the type, as torch's
// is.
Results soft_margin_loss(Build& build, const Node& node) {
  DType dtype = promote_types(build.dtype(value(node, 0)), build.dtype(value(node, 1)));
  Expression x = operand(build, node, 0, dtype) * operand(build, node, 1, dtype);
  return reduced(build, node, 2, log1p(exp(-x)));
}
// self, target, reduction, log_target
Results kl_div(Build& build, const Node& node) {
  DType compute = compute_type(build, node);
  Expression x = operand(build, node, 0, compute), target = operand(build, node, 1, compute);
  Expression loss = boolean_at(node, 3)
                        ? exp(target) * (target - x)
                        : target.call("aten::xlogy.Tensor", {argument(target)}) - target * x;
  return reduced(build, node, 2, loss);
}
// self, target, weight, reduction; logarithms end at -100.
Results binary_cross_entropy(Build& build, const Node& node) {
  DType compute = compute_type(build, node);
  Expression x = operand(build, node, 0, compute), target = operand(build, node, 1, compute);
  auto limited = [](Expression e) { return e.call("aten::clamp", {-100.0}); };
  Expression loss = (target - 1.0) * limited(log1p(-x)) - target * limited(log(x));
  if (!is_none(node, 2)) loss = loss * operand(build, node, 2, compute);
  return reduced(build, node, 3, loss);
}
// self, target, weight, pos_weight, reduction
Results binary_cross_entropy_with_logits(Build& build, const Node& node) {
  DType compute = compute_type(build, node);
  Expression x = operand(build, node, 0, compute), target = operand(build, node, 1, compute);
  Expression chance = x.call("aten::log_sigmoid");
  Expression loss = (1.0 - target) * x;
  if (is_none(node, 3))
    loss = loss - chance;
  else
    loss = loss - ((operand(build, node, 3, compute) - 1.0) * target + 1.0) * chance;
  if (!is_none(node, 2)) loss = loss * operand(build, node, 2, compute);
  return reduced(build, node, 4, loss);
}

}  // namespace

OP(mse_loss) = {.schema = "aten::mse_loss(Tensor self, Tensor target, int reduction=1) -> Tensor",
                .decompose = mse_loss};
OP(l1_loss) = {.schema = "aten::l1_loss(Tensor self, Tensor target, int reduction=1) -> Tensor",
               .decompose = l1_loss};
OP(smooth_l1_loss) = {.schema =
                          "aten::smooth_l1_loss(Tensor self, Tensor target, int reduction=1, float "
                          "beta=1.) -> Tensor",
                      .decompose = smooth_l1_loss};
OP(huber_loss) = {
    .schema =
        "aten::huber_loss(Tensor self, Tensor target, int reduction=1, float delta=1.) -> Tensor",
    .decompose = huber_loss};
OP(soft_margin_loss) = {
    .schema = "aten::soft_margin_loss(Tensor self, Tensor target, int reduction=1) -> Tensor",
    .decompose = soft_margin_loss};
OP(kl_div) = {.schema =
                  "aten::kl_div(Tensor self, Tensor target, int reduction=1, *, bool "
                  "log_target=False) -> Tensor",
              .decompose = kl_div};
OP(binary_cross_entropy) = {.schema =
                                "aten::binary_cross_entropy(Tensor self, Tensor target, Tensor? "
                                "weight=None, int reduction=1) -> Tensor",
                            .decompose = binary_cross_entropy};
OP(binary_cross_entropy_with_logits) = {
    .schema =
        "aten::binary_cross_entropy_with_logits(Tensor self, Tensor target, Tensor? weight=None, "
        "Tensor? pos_weight=None, int reduction=1) -> Tensor",
    .decompose = binary_cross_entropy_with_logits};

}  // namespace sconce
