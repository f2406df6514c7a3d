// Gradients of norms and softmax in terms of sums and products, as exported training graphs use
// them. A gradient that the output mask leaves out is an empty tensor.
#include "ops/reduce/decompose.h"

namespace sconce {
namespace {

const Argument kNone = None{};

DType computed_in(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

bool wanted(const Node& node, size_t mask_at, size_t which) {
  auto* mask = std::get_if<std::vector<bool>>(&node.arguments[mask_at]);
  return !mask || which >= mask->size() || (*mask)[which];
}
ValueId left_out(Build& build, DType dtype) { return build.full({SymInt(0)}, 0, dtype); }

ValueId sum(Build& build, ValueId x, const std::vector<int64_t>& dims, bool keepdim) {
  if (dims.empty()) return x;  // an empty list would mean all
  return build.call1("aten::sum.dim_IntList", {Build::v(x), Build::ints(dims), keepdim, kNone});
}
ValueId mean(Build& build, ValueId x, const std::vector<int64_t>& dims) {
  return build.call1("aten::mean.dim", {Build::v(x), Build::ints(dims), true, kNone});
}

// d = rstd * (g - mean(g) - normal * mean(g * normal)), for y = normal, over `dims`.
ValueId norm_gradient(Build& build, ValueId g, ValueId normal, ValueId rstd,
                      const std::vector<int64_t>& dims) {
  ValueId along = build.mul(normal, mean(build, build.mul(g, normal), dims));
  return build.mul(build.sub(build.sub(g, mean(build, g, dims)), along), rstd);
}

// grad_out, input, normalized_shape, mean, rstd, weight, bias, output_mask.
Results layer_norm_backward(Build& build, const Node& node) {
  auto* shape = std::get_if<std::vector<IntItem>>(&node.arguments[2]);
  if (!shape) return std::nullopt;
  ValueId x = value(node, 1), weight = value_at(node, 5), bias = value_at(node, 6);
  DType dtype = build.dtype(x), compute = computed_in(dtype);
  int first = build.rank(x) - int(shape->size());
  std::vector<int64_t> outer, inner;
  for (int i = 0; i < build.rank(x); i++) (i < first ? outer : inner).push_back(i);
  auto wide = [&](ValueId id) { return build.cast(id, compute); };
  ValueId grad = wide(value(node, 0)), rstd = wide(value(node, 4));
  ValueId normal = build.mul(build.sub(wide(x), wide(value(node, 3))), rstd);
  Results results = std::vector<ValueId>();
  ValueId g = weight == kNoValue ? grad : build.mul(grad, wide(weight));
  results->push_back(wanted(node, 7, 0)
                         ? build.cast(norm_gradient(build, g, normal, rstd, inner), dtype)
                         : left_out(build, dtype));
  results->push_back(
      wanted(node, 7, 1) && weight != kNoValue
          ? build.cast(sum(build, build.mul(grad, normal), outer, false), build.dtype(weight))
          : left_out(build, dtype));
  results->push_back(wanted(node, 7, 2) && bias != kNoValue
                         ? build.cast(sum(build, grad, outer, false), build.dtype(bias))
                         : left_out(build, dtype));
  return results;
}

// grad_out, input, mean, rstd, weight, N, C, HxW, group, output_mask.
Results group_norm_backward(Build& build, const Node& node) {
  ValueId x = value(node, 1), weight = value_at(node, 4);
  auto channels = integer_at(node, 6), groups = integer_at(node, 8);
  if (!channels || !groups || *groups < 1 || build.rank(x) < 2) return std::nullopt;
  DType dtype = build.dtype(x), compute = computed_in(dtype);
  SymInt samples = build.size(x, 0), area = 1;
  for (int i = 2; i < build.rank(x); i++)
    area = build.program().symbols.multiply(area, build.size(x, i));
  std::vector<SymInt> sizes = {samples, SymInt(*groups), SymInt(*channels / *groups), area};
  auto split = [&](ValueId id) {
    ValueId flat = build.call1("aten::reshape", {Build::v(id), build.ints(sizes)});
    return build.cast(flat, compute);
  };
  auto by_group = [&](ValueId id) {
    return build.cast(build.view(id, {samples, SymInt(*groups), SymInt(1), SymInt(1)}), compute);
  };
  ValueId grad = split(value(node, 0)), rstd = by_group(value(node, 3));
  ValueId normal = build.mul(build.sub(split(x), by_group(value(node, 2))), rstd);
  ValueId g = grad;
  if (weight != kNoValue)
    g = build.mul(grad, build.cast(build.view(weight, {SymInt(1), SymInt(*groups),
                                                       SymInt(*channels / *groups), SymInt(1)}),
                                   compute));
  auto by_channel = [&](ValueId id) {
    return build.cast(build.view(sum(build, id, {0, 3}, false), {SymInt(*channels)}),
                      weight == kNoValue ? dtype : build.dtype(weight));
  };
  Results results = std::vector<ValueId>();
  results->push_back(
      wanted(node, 9, 0)
          ? build.cast(build.view(norm_gradient(build, g, normal, rstd, {2, 3}),
                                  std::vector<SymInt>(build.tensor(x).sizes)),
                       dtype)
          : left_out(build, dtype));
  results->push_back(wanted(node, 9, 1) ? by_channel(build.mul(grad, normal)) : left_out(build, dtype));
  results->push_back(wanted(node, 9, 2) ? by_channel(grad) : left_out(build, dtype));
  return results;
}

// grad_out, input, weight, running_mean, running_var, save_mean, save_invstd, train, eps, mask.
Results batch_norm_backward(Build& build, const Node& node) {
  ValueId x = value(node, 1), weight = value_at(node, 2);
  bool train = boolean_at(node, 7);
  auto eps = number(node, 8);
  if (!eps || build.rank(x) < 2 || is_none(node, train ? 5 : 3) || is_none(node, train ? 6 : 4))
    return std::nullopt;
  DType dtype = build.dtype(x), compute = computed_in(dtype);
  std::vector<int64_t> dims;
  std::vector<SymInt> sizes(size_t(build.rank(x)), SymInt(1));
  sizes[1] = build.size(x, 1);
  for (int i = 0; i < build.rank(x); i++)
    if (i != 1) dims.push_back(i);
  auto by_channel = [&](ValueId id) { return build.cast(build.view(id, sizes), compute); };
  ValueId grad = build.cast(value(node, 0), compute);
  ValueId centre = by_channel(value(node, train ? 5 : 3)), rstd = by_channel(value(node, train ? 6 : 4));
  if (!train) rstd = build.call1("aten::rsqrt", {Build::v(build.add(rstd, *eps))});
  ValueId normal = build.mul(build.sub(build.cast(x, compute), centre), rstd);
  ValueId g = weight == kNoValue ? grad : build.mul(grad, by_channel(weight));
  DType stats = weight == kNoValue ? dtype : build.dtype(weight);
  Results results = std::vector<ValueId>();
  if (!wanted(node, 9, 0)) results->push_back(left_out(build, dtype));
  else if (train)
    results->push_back(build.cast(norm_gradient(build, g, normal, rstd, dims), dtype));
  else results->push_back(build.cast(build.mul(g, rstd), dtype));
  results->push_back(wanted(node, 9, 1)
                         ? build.cast(sum(build, build.mul(grad, normal), dims, false), stats)
                         : left_out(build, dtype));
  results->push_back(wanted(node, 9, 2) ? build.cast(sum(build, grad, dims, false), stats)
                                        : left_out(build, dtype));
  return results;
}

// grad_output, output, dim, input_dtype: y * (g - sum(g * y)), or g - exp(y) * sum(g) for the log.
template <bool log>
Results softmax_backward(Build& build, const Node& node) {
  auto dim = integer_at(node, 2), code = integer_at(node, 3);
  ValueId grad = value(node, 0), y = value(node, 1);
  if (!dim || !code) return std::nullopt;
  DType compute = computed_in(build.dtype(y));
  grad = build.cast(grad, compute);
  y = build.cast(y, compute);
  std::vector<int64_t> dims = {*dim};
  ValueId result;
  if (log) {
    ValueId exp = build.call1("aten::exp", {Build::v(y)});
    result = build.sub(grad, build.mul(exp, sum(build, grad, dims, true)));
  } else {
    ValueId weighted = build.mul(grad, y);
    result = build.sub(weighted, build.mul(y, sum(build, weighted, dims, true)));
  }
  return one(build.cast(result, DType(*code)));
}

}  // namespace

OP(native_layer_norm_backward) = {
    .schema = "aten::native_layer_norm_backward(Tensor grad_out, Tensor input, SymInt[] normalized_shape, Tensor mean, Tensor rstd, Tensor? weight, Tensor? bias, bool[3] output_mask) -> (Tensor, Tensor, Tensor)",
    .decompose = layer_norm_backward};
OP(native_group_norm_backward) = {
    .schema = "aten::native_group_norm_backward(Tensor grad_out, Tensor input, Tensor mean, Tensor rstd, Tensor? weight, SymInt N, SymInt C, SymInt HxW, int group, bool[3] output_mask) -> (Tensor, Tensor, Tensor)",
    .decompose = group_norm_backward};
OP(native_batch_norm_backward) = {
    .schema = "aten::native_batch_norm_backward(Tensor grad_out, Tensor input, Tensor? weight, Tensor? running_mean, Tensor? running_var, Tensor? save_mean, Tensor? save_invstd, bool train, float eps, bool[3] output_mask) -> (Tensor, Tensor, Tensor)",
    .decompose = batch_norm_backward};
OP(softmax_backward_data) = {
    .schema = "aten::_softmax_backward_data(Tensor grad_output, Tensor output, int dim, ScalarType input_dtype) -> Tensor",
    .decompose = softmax_backward<false>};
OP(log_softmax_backward_data) = {
    .schema = "aten::_log_softmax_backward_data(Tensor grad_output, Tensor output, int dim, ScalarType input_dtype) -> Tensor",
    .decompose = softmax_backward<true>};

}  // namespace sconce
