// Definitions of the activation rows, activations made of others, and their backward forms.
#include <cmath>

#include "ops/pointwise/decompose.h"

namespace sconce {
namespace {

ValueId call(Build& build, const char* op, std::vector<Argument> arguments) {
  return build.call1(op, std::move(arguments));
}
ValueId where(Build& build, ValueId condition, ValueId yes, ValueId no) {
  return call(build, "aten::where.self", {Build::v(condition), Build::v(yes), Build::v(no)});
}

Results decompose_celu(Build& build, const Node& node) {
  auto alpha = number(node, 1);
  if (!alpha || *alpha == 0) return std::nullopt;
  return build.call("aten::elu", {node.arguments[0], *alpha, 1.0, 1.0 / *alpha});
}
Results decompose_selu(Build& build, const Node& node) {
  return build.call("aten::elu", {node.arguments[0], 1.6732632423543772848170429916717,
                                  1.0507009873554804934193349852946, 1.0});
}
Results decompose_relu6(Build& build, const Node& node) {
  return build.call("aten::hardtanh", {node.arguments[0], int64_t(0), int64_t(6)});
}
Results decompose_softplus(Build& build, const Node& node) {
  auto beta = number(node, 1), threshold = number(node, 2);
  if (!beta || !threshold) return std::nullopt;
  ValueId x = value(node, 0), scaled = *beta == 1 ? x : build.mul(x, *beta);
  ValueId curve = call(build, "aten::log1p", {Build::v(call(build, "aten::exp", {Build::v(scaled)}))});
  if (*beta != 1) curve = call(build, "aten::div.Scalar", {Build::v(curve), *beta});
  ValueId far = call(build, "aten::gt.Scalar", {Build::v(scaled), *threshold});
  return one(where(build, far, x, curve));
}
// self, dim: the first half times the sigmoid of the second.
Results glu_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto dim = number(node, 1);
  int rank = build.rank(x);
  if (!dim || *dim < -rank || *dim >= rank) return std::nullopt;
  int64_t along = int64_t(*dim) < 0 ? int64_t(*dim) + rank : int64_t(*dim);
  SymInt size = build.size(x, int(along));
  if (!size.is_known() || size.value % 2 != 0) return std::nullopt;
  auto half = [&](int64_t start, int64_t end) {
    return call(build, "aten::slice.Tensor", {Build::v(x), along, start, end, int64_t(1)});
  };
  ValueId first = half(0, size.value / 2), second = half(size.value / 2, size.value);
  return one(build.mul(first, call(build, "aten::sigmoid", {Build::v(second)})));
}
Results decompose_threshold(Build& build, const Node& node) {
  ValueId low = call(build, "aten::le.Scalar", {node.arguments[0], node.arguments[1]});
  return build.call("aten::masked_fill.Scalar", {node.arguments[0], Build::v(low), node.arguments[2]});
}
Results decompose_hardshrink(Build& build, const Node& node) {
  auto lambda = number(node, 1);
  if (!lambda) return std::nullopt;
  ValueId above = call(build, "aten::ge.Scalar", {node.arguments[0], -*lambda});
  ValueId below = call(build, "aten::le.Scalar", {node.arguments[0], *lambda});
  ValueId inside = call(build, "aten::logical_and", {Build::v(above), Build::v(below)});
  return build.call("aten::masked_fill.Scalar", {node.arguments[0], Build::v(inside), 0.0});
}
// x minus x clamped to [-lambda, lambda]; torch keeps the sign of a NaN's payload, we its NaN.
Results decompose_softshrink(Build& build, const Node& node) {
  auto lambda = number(node, 1);
  if (!lambda) return std::nullopt;
  ValueId x = value(node, 0);
  return one(build.sub(x, call(build, "aten::clamp", {Build::v(x), -*lambda, *lambda})));
}
// Slope per channel: weight seen as [channels, 1, ..., 1].
Results decompose_prelu(Build& build, const Node& node) {
  ValueId x = value(node, 0), weight = value(node, 1);
  int rank = build.rank(x);
  if (build.rank(weight) == 1) {
    std::vector<SymInt> sizes(size_t(rank >= 2 ? rank - 1 : rank), 1);
    if (!sizes.empty()) sizes[0] = build.size(weight, 0);
    weight = build.view(weight, sizes);
  }
  ValueId positive = call(build, "aten::gt.Scalar", {Build::v(x), 0.0});
  return one(where(build, positive, x, build.mul(weight, x)));
}
Results decompose_prelu_kernel(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  ValueId positive = call(build, "aten::gt.Scalar", {Build::v(x), 0.0});
  return one(where(build, positive, x, build.mul(value(node, 1), x)));
}
// rrelu at inference has the mean slope, in training one slope per element.
Results decompose_rrelu(Build& build, const Node& node) {
  auto lower = number(node, 1), upper = number(node, 2), training = number(node, 3);
  if (!lower || !upper || !training) return std::nullopt;
  if (*training != 0) {
    ValueId x = value(node, 0), negative = call(build, "aten::le.Scalar", {Build::v(x), 0.0});
    ValueId slope = call(build, "aten::uniform", {Build::v(x), *lower, *upper});
    return one(where(build, negative, build.mul(x, slope), x));
  }
  return build.call("aten::leaky_relu", {node.arguments[0], (*lower + *upper) / 2});
}
Results decompose_nan_to_num(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  DType dtype = build.dtype(x);
  if (!is_floating(dtype)) return one(x);
  double max = dtype == DType::f64   ? 1.7976931348623157e308
               : dtype == DType::f16 ? 65504.0
               : dtype == DType::bf16 ? 3.3895313892515355e38
                                      : 3.4028234663852886e38;
  auto fill = [&](ValueId values, ValueId mask, double with) {
    return call(build, "aten::masked_fill.Scalar", {Build::v(values), Build::v(mask), with});
  };
  ValueId result = fill(x, call(build, "aten::isnan", {Build::v(x)}), number(node, 1).value_or(0));
  result = fill(result, call(build, "aten::eq.Scalar", {Build::v(x), INFINITY}), number(node, 2).value_or(max));
  return one(fill(result, call(build, "aten::eq.Scalar", {Build::v(x), -INFINITY}),
                  number(node, 3).value_or(-max)));
}
Results decompose_round_decimals(Build& build, const Node& node) {
  auto decimals = number(node, 1);
  if (!decimals) return std::nullopt;
  double scale = std::pow(10.0, std::fabs(*decimals));
  const char *first = *decimals < 0 ? "aten::div.Scalar" : "aten::mul.Scalar";
  const char *last = *decimals < 0 ? "aten::mul.Scalar" : "aten::div.Scalar";
  ValueId x = value(node, 0);  // 16-bit types would overflow on the way
  DType dtype = build.dtype(x), wide = dtype_bytes(dtype) == 2 ? DType::f32 : dtype;
  ValueId scaled = call(build, first, {Build::v(build.cast(x, wide)), scale});
  ValueId rounded = call(build, last, {Build::v(call(build, "aten::round", {Build::v(scaled)})), scale});
  return one(build.cast(rounded, dtype));
}
Results decompose_log_sigmoid_forward(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  ValueId minus = call(build, "aten::neg", {Build::v(call(build, "aten::abs", {Build::v(x)}))});
  return std::vector<ValueId>{call(build, "aten::log_sigmoid", {Build::v(x)}),
                              call(build, "aten::exp", {Build::v(minus)})};
}

// --- backward forms: gradients by the textbook -----------------------------------------------

// grad * y * (1 - y)
Results sigmoid_backward(Build& build, const Node& node) {
  ValueId y = value(node, 1);
  ValueId rest = call(build, "aten::rsub.Scalar", {Build::v(y), 1.0});
  return one(build.mul(build.mul(value(node, 0), rest), y));
}
// grad * (1 - y^2)
Results tanh_backward(Build& build, const Node& node) {
  ValueId y = value(node, 1);
  return one(build.mul(value(node, 0), call(build, "aten::rsub.Scalar", {Build::v(build.mul(y, y)), 1.0})));
}
// grad where self > threshold
Results threshold_backward(Build& build, const Node& node) {
  ValueId low = call(build, "aten::le.Scalar", {node.arguments[1], node.arguments[2]});
  return build.call("aten::masked_fill.Scalar", {node.arguments[0], Build::v(low), int64_t(0)});
}
// grad * s * (1 + x * (1 - s)), s = sigmoid(x)
Results silu_backward(Build& build, const Node& node) {
  ValueId x = value(node, 1), s = call(build, "aten::sigmoid", {Build::v(x)});
  ValueId rest = call(build, "aten::rsub.Scalar", {Build::v(s), 1.0});
  ValueId slope = build.mul(s, build.add(build.mul(x, rest), 1.0));
  return one(build.mul(value(node, 0), slope));
}
// grad inside (min, max)
Results hardtanh_backward(Build& build, const Node& node) {
  ValueId low = call(build, "aten::le.Scalar", {node.arguments[1], node.arguments[2]});
  ValueId high = call(build, "aten::ge.Scalar", {node.arguments[1], node.arguments[3]});
  ValueId outside = call(build, "aten::logical_or", {Build::v(low), Build::v(high)});
  return build.call("aten::masked_fill.Scalar", {node.arguments[0], Build::v(outside), 0.0});
}
Results leaky_relu_backward(Build& build, const Node& node) {
  auto slope = number(node, 2);
  if (!slope) return std::nullopt;
  ValueId positive = call(build, "aten::gt.Scalar", {node.arguments[1], 0.0});
  return one(where(build, positive, value(node, 0), build.mul(value(node, 0), *slope)));
}
// Slope of elu, from self or from the result.
Results elu_backward(Build& build, const Node& node) {
  auto alpha = number(node, 1), scale = number(node, 2), input_scale = number(node, 3);
  auto is_result = number(node, 4);
  if (!alpha || !scale || !input_scale || !is_result) return std::nullopt;
  ValueId grad = value(node, 0), x = value(node, 5);
  ValueId negative = call(build, "aten::le.Scalar", {Build::v(x), 0.0}), slope;
  if (*is_result != 0) {
    slope = build.mul(build.add(x, *alpha * *scale), *input_scale);
  } else {
    ValueId e = call(build, "aten::exp", {Build::v(build.mul(x, *input_scale))});
    slope = build.mul(e, *input_scale * *alpha * *scale);
  }
  return one(where(build, negative, build.mul(grad, slope), build.mul(grad, *scale)));
}
// grad * slope of gelu: Phi(x) + x phi(x), or that of the tanh form.
Results gelu_backward(Build& build, const Node& node) {
  ValueId grad = value(node, 0), x = value(node, 1);
  auto* approximate = std::get_if<std::string>(&node.arguments[2]);
  if (!approximate) return std::nullopt;
  ValueId square = build.mul(x, x);
  if (*approximate == "none") {
    ValueId cdf = build.mul(build.add(call(build, "aten::erf", {Build::v(build.mul(x, 0.70710678118654752440))}), 1.0), 0.5);
    ValueId density = build.mul(call(build, "aten::exp", {Build::v(build.mul(square, -0.5))}), 0.39894228040143267794);
    return one(build.mul(grad, build.add(cdf, build.mul(x, density))));
  }
  constexpr double kBeta = 0.79788456080286535588, kKappa = 0.044715;
  ValueId inner = build.mul(build.mul(x, build.add(build.mul(square, kKappa), 1.0)), kBeta);
  ValueId t = call(build, "aten::tanh", {Build::v(inner)});
  ValueId left = build.mul(build.add(t, 1.0), 0.5);
  ValueId derivative = build.mul(build.add(build.mul(square, 3 * kKappa), 1.0), kBeta);
  ValueId slope = call(build, "aten::rsub.Scalar", {Build::v(build.mul(t, t)), 1.0});
  ValueId right = build.mul(build.mul(build.mul(x, slope), derivative), 0.5);
  return one(build.mul(grad, build.add(left, right)));
}
Results hardsigmoid_backward(Build& build, const Node& node) {
  ValueId low = call(build, "aten::le.Scalar", {node.arguments[1], -3.0});
  ValueId high = call(build, "aten::ge.Scalar", {node.arguments[1], 3.0});
  ValueId outside = call(build, "aten::logical_or", {Build::v(low), Build::v(high)});
  // torch's factor is a sixth in single precision, whatever the type.
  ValueId sixth = build.mul(value(node, 0), double(1.0f / 6.0f));
  return build.call("aten::masked_fill.Scalar", {Build::v(sixth), Build::v(outside), 0.0});
}
// grad * (x / 3 + 0.5) inside (-3, 3), grad above, 0 below.
Results hardswish_backward(Build& build, const Node& node) {
  ValueId grad = value(node, 0), x = value(node, 1);
  ValueId slope = build.add(call(build, "aten::div.Scalar", {Build::v(x), 3.0}), 0.5);
  ValueId inner = build.mul(grad, slope);
  ValueId low = call(build, "aten::le.Scalar", {Build::v(x), -3.0});
  ValueId high = call(build, "aten::ge.Scalar", {Build::v(x), 3.0});
  ValueId upper = where(build, high, grad, inner);
  return build.call("aten::masked_fill.Scalar", {Build::v(upper), Build::v(low), 0.0});
}
// grad * sigmoid(beta x), grad beyond the threshold.
Results softplus_backward(Build& build, const Node& node) {
  auto beta = number(node, 2), threshold = number(node, 3);
  if (!beta || !threshold) return std::nullopt;
  ValueId grad = value(node, 0), scaled = build.mul(value(node, 1), *beta);
  ValueId near = build.mul(grad, call(build, "aten::sigmoid", {Build::v(scaled)}));
  ValueId far = call(build, "aten::gt.Scalar", {Build::v(scaled), *threshold});
  return one(where(build, far, grad, near));
}
// grad * sigmoid(-x)
Results log_sigmoid_backward(Build& build, const Node& node) {
  ValueId s = call(build, "aten::sigmoid", {Build::v(call(build, "aten::neg", {node.arguments[1]}))});
  return one(build.mul(value(node, 0), s));
}
// grad / (x (1 - x)); 0 outside [eps, 1 - eps], without eps NaN outside [0, 1].
Results logit_backward(Build& build, const Node& node) {
  ValueId grad = value(node, 0), x = value(node, 1);
  ValueId rest = call(build, "aten::rsub.Scalar", {Build::v(x), 1.0});
  ValueId slope = build.div(grad, build.mul(x, rest));
  double eps = number(node, 2).value_or(0);
  ValueId low = call(build, "aten::lt.Scalar", {Build::v(x), eps});
  ValueId high = call(build, "aten::gt.Scalar", {Build::v(x), 1 - eps});
  ValueId outside = call(build, "aten::logical_or", {Build::v(low), Build::v(high)});
  return build.call("aten::masked_fill.Scalar", {Build::v(slope), Build::v(outside), is_none(node, 2) ? double(NAN) : 0.0});
}
// 0 inside [-lambda, lambda]
Results shrink_backward(Build& build, const Node& node) {
  auto lambda = number(node, 2);
  if (!lambda) return std::nullopt;
  ValueId above = call(build, "aten::ge.Scalar", {node.arguments[1], -*lambda});
  ValueId below = call(build, "aten::le.Scalar", {node.arguments[1], *lambda});
  ValueId inside = call(build, "aten::logical_and", {Build::v(above), Build::v(below)});
  return build.call("aten::masked_fill.Scalar", {node.arguments[0], Build::v(inside), 0.0});
}

}  // namespace

#define ROW_ACTIVATION(symbol, name, arguments, kinds, count, rule, expression) \
  OP(symbol) = {.schema = "aten::" name "(" arguments ") -> Tensor", .out = "aten::" name ".out"};
#define ROW_ACTIVATION_OWN(symbol, name, arguments, kinds, count, rule, expression, how) \
  OP(symbol) = {.schema = "aten::" name "(" arguments ") -> Tensor",                     \
                .out = "aten::" name ".out",                                             \
                .decompose = how};
#include "ops/pointwise/activation.rows.h"

OP(selu) = {.schema = "aten::selu(Tensor self) -> Tensor", .decompose = decompose_selu};
OP(relu6) = {.schema = "aten::relu6(Tensor self) -> Tensor", .decompose = decompose_relu6};
OP(prelu) = {.schema = "aten::prelu(Tensor self, Tensor weight) -> Tensor",
             .out = "sconce::prelu.out",
             .decompose = decompose_prelu};
OP(prelu_kernel) = {.schema = "aten::_prelu_kernel(Tensor self, Tensor weight) -> Tensor",
                    .decompose = decompose_prelu_kernel};
OP(rrelu) = {.schema = "aten::rrelu(Tensor self, Scalar lower=0.125, Scalar upper=0.33333333333333331, bool "
                       "training=False, Generator? generator=None) -> Tensor",
             .decompose = decompose_rrelu,
             .random = true};
OP(glu) = {.schema = "aten::glu(Tensor self, int dim=-1) -> Tensor",
           .out = "aten::glu.out",
           .decompose = glu_parts};
OP(logit) = {.schema = "aten::logit(Tensor self, float? eps=None) -> Tensor", .out = "aten::logit.out"};
OP_ALIAS(special_logit, "aten::special_logit(Tensor self, float? eps=None) -> Tensor", "aten::logit")
OP(nan_to_num) = {.schema = "aten::nan_to_num(Tensor self, float? nan=None, float? posinf=None, float? "
                            "neginf=None) -> Tensor",
                  .out = "aten::nan_to_num.out",
                  .decompose = decompose_nan_to_num};
OP(round_decimals) = {.schema = "aten::round.decimals(Tensor self, *, int decimals) -> Tensor",
                      .out = "aten::round.decimals_out",
                      .decompose = decompose_round_decimals};
OP_ALIAS(special_round, "aten::special_round(Tensor self, *, int decimals=0) -> Tensor",
         "aten::round.decimals")
OP(log_sigmoid_forward) = {
    .schema = "aten::log_sigmoid_forward(Tensor self) -> (Tensor output, Tensor buffer)",
    .out = "aten::log_sigmoid_forward.output",
    .decompose = decompose_log_sigmoid_forward};

OP(sigmoid_backward) = {
    .schema = "aten::sigmoid_backward(Tensor grad_output, Tensor output) -> Tensor",
    .decompose = sigmoid_backward};
OP(tanh_backward) = {.schema = "aten::tanh_backward(Tensor grad_output, Tensor output) -> Tensor",
                     .decompose = tanh_backward};
OP(threshold_backward) = {
    .schema = "aten::threshold_backward(Tensor grad_output, Tensor self, Scalar threshold) -> Tensor",
    .decompose = threshold_backward};
OP(silu_backward) = {.schema = "aten::silu_backward(Tensor grad_output, Tensor self) -> Tensor",
                     .decompose = silu_backward};
OP(hardtanh_backward) = {.schema = "aten::hardtanh_backward(Tensor grad_output, Tensor self, Scalar "
                                   "min_val, Scalar max_val) -> Tensor",
                         .decompose = hardtanh_backward};
OP(leaky_relu_backward) = {.schema = "aten::leaky_relu_backward(Tensor grad_output, Tensor self, Scalar "
                                     "negative_slope, bool self_is_result) -> Tensor",
                           .decompose = leaky_relu_backward};
OP(elu_backward) = {.schema = "aten::elu_backward(Tensor grad_output, Scalar alpha, Scalar scale, Scalar "
                              "input_scale, bool is_result, Tensor self_or_result) -> Tensor",
                    .decompose = elu_backward};
OP(gelu_backward) = {
    .schema = "aten::gelu_backward(Tensor grad_output, Tensor self, *, str approximate=\"none\") -> Tensor",
    .decompose = gelu_backward};
OP(hardsigmoid_backward) = {
    .schema = "aten::hardsigmoid_backward(Tensor grad_output, Tensor self) -> Tensor",
    .decompose = hardsigmoid_backward};
OP(hardswish_backward) = {.schema = "aten::hardswish_backward(Tensor grad_output, Tensor self) -> Tensor",
                          .decompose = hardswish_backward};
OP(softplus_backward) = {.schema = "aten::softplus_backward(Tensor grad_output, Tensor self, Scalar beta, "
                                   "Scalar threshold) -> Tensor",
                         .decompose = softplus_backward};
OP(log_sigmoid_backward) = {
    .schema = "aten::log_sigmoid_backward(Tensor grad_output, Tensor self, Tensor buffer) -> Tensor",
    .decompose = log_sigmoid_backward};
OP(logit_backward) = {
    .schema = "aten::logit_backward(Tensor grad_output, Tensor self, float? eps=None) -> Tensor",
    .decompose = logit_backward};
OP(hardshrink_backward) = {
    .schema = "aten::hardshrink_backward(Tensor grad_out, Tensor self, Scalar lambd) -> Tensor",
    .decompose = shrink_backward};
OP(softshrink_backward) = {
    .schema = "aten::softshrink_backward(Tensor grad_output, Tensor self, Scalar lambd) -> Tensor",
    .decompose = shrink_backward};

}  // namespace sconce
