// Layer, group, batch, instance and weight norms.
#include "ops/reduce/decompose.h"

namespace sconce {
namespace {

// --- layer norms ------------------------------------------------------------------------------

Results layer_norm_as_native(Build& build, const Node& node) {
  const auto& a = node.arguments;
  return {{build.call1("aten::native_layer_norm", {a[0], a[1], a[2], a[3], a[4]})}};
}

DType computed_in(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

// x * rsqrt(mean(x * x) + eps) * weight. Arguments: input, normalized_shape, weight, eps.
Results fused_rms_norm_parts(Build& build, const Node& node) {
  auto* sizes = std::get_if<std::vector<IntItem>>(&node.arguments[1]);
  if (!sizes) return std::nullopt;
  ValueId x = value_at(node, 0);
  DType dtype = build.dtype(x), compute = computed_in(dtype);
  double eps = number(node, 3).value_or(compute == DType::f64 ? 0x1p-52 : 0x1p-23);
  std::vector<int64_t> dims;
  for (size_t k = 0; k < sizes->size(); k++)
    dims.push_back(build.rank(x) - int64_t(sizes->size()) + int64_t(k));
  ValueId wide = build.cast(x, compute);
  ValueId square = build.mul(wide, wide);
  ValueId mean = build.call1("aten::mean.dim", {Build::v(square), Build::ints(dims), true});
  ValueId rstd = build.call1("aten::rsqrt", {Build::v(build.add(mean, eps))});
  ValueId y = build.mul(wide, rstd);
  if (ValueId weight = value_at(node, 2); weight != kNoValue)
    y = build.mul(y, build.cast(weight, compute));
  return {{build.cast(y, dtype), rstd}};
}

Results rms_norm_parts(Build& build, const Node& node) {
  auto parts = fused_rms_norm_parts(build, node);
  if (parts) parts->pop_back();
  return parts;
}

// --- group and instance norm ------------------------------------------------------------------

Results group_norm_as_native(Build& build, const Node& node) {
  const auto& a = node.arguments;
  ValueId x = value_at(node, 0);
  SymInt inner = 1;
  for (int i = 2; i < build.rank(x); i++)
    inner = build.program().symbols.multiply(inner, build.size(x, i));
  auto sizes = std::get<std::vector<IntItem>>(build.ints({build.size(x, 0), build.size(x, 1), inner}));
  auto as_argument = [](const IntItem& item) {
    return item.is_known() ? Argument(item.known) : Argument(ValueRef{item.value});
  };
  return {{build.call1("aten::native_group_norm",
                       {a[0], a[2], a[3], as_argument(sizes[0]), as_argument(sizes[1]),
                        as_argument(sizes[2]), a[1], a[4]})}};
}

// input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, cudnn_enabled.
// A group of one channel each; with running statistics it is batch norm.
Results instance_norm_parts(Build& build, const Node& node) {
  const auto& a = node.arguments;
  ValueId x = value_at(node, 0);
  if (build.rank(x) < 2) return std::nullopt;
  if (!boolean_at(node, 5)) {
    if (is_none(node, 3) && is_none(node, 4)) return std::nullopt;
    return {{build.call1("aten::batch_norm",
                         {a[0], a[1], a[2], a[3], a[4], false, a[6], a[7], false})}};
  }
  if (!is_none(node, 3) || !is_none(node, 4) || !build.size(x, 1).is_known()) return std::nullopt;
  return {{build.call1("aten::group_norm", {a[0], build.size(x, 1).value, a[1], a[2], a[7], false})}};
}

// (1 - momentum) * running + momentum * now, in the type of `running`.
ValueId updated(Build& build, ValueId running, ValueId now, double momentum) {
  DType compute = computed_in(build.dtype(running));
  ValueId sum = build.add(build.mul(build.cast(running, compute), 1 - momentum),
                          build.mul(build.cast(now, compute), momentum));
  return build.cast(sum, build.dtype(running));
}

// Statistics of each sample; the running ones take their mean over the batch.
std::optional<Effects> instance_norm_effects(Build& build, const Node& node) {
  const auto& a = node.arguments;
  ValueId x = value_at(node, 0), mean = value_at(node, 3), variance = value_at(node, 4);
  auto momentum = number(node, 6);
  if (!boolean_at(node, 5) || (mean == kNoValue && variance == kNoValue) || !momentum ||
      build.rank(x) < 3 || !build.size(x, 1).is_known())
    return std::nullopt;
  Effects effects;
  effects.results = {build.call1("aten::instance_norm", {a[0], a[1], a[2], None{}, None{}, true, a[6],
                                                         a[7], a[8]})};
  std::vector<int64_t> dims;
  for (int i = 2; i < build.rank(x); i++) dims.push_back(i);
  ValueId wide = build.cast(x, computed_in(build.dtype(x)));
  auto moments = build.call("aten::var_mean.correction",
                            {Build::v(wide), Build::ints(dims), int64_t{1}, false});
  auto over_batch = [&](ValueId id) {
    return build.call1("aten::mean.dim", {Build::v(id), Build::ints(std::vector<int64_t>{0}), false});
  };
  if (mean != kNoValue)
    effects.writes.push_back({3, updated(build, mean, over_batch(moments[1]), *momentum)});
  if (variance != kNoValue)
    effects.writes.push_back({4, updated(build, variance, over_batch(moments[0]), *momentum)});
  return effects;
}

// --- batch norm -------------------------------------------------------------------------------

// Inference form of (input, weight, bias, running_mean, running_var, training, momentum, eps, ...).
Results batch_norm_as_native(Build& build, const Node& node) {
  const auto& a = node.arguments;
  if (boolean_at(node, 5)) {
    if (!is_none(node, 3)) return std::nullopt;
    return {{build.call("aten::_native_batch_norm_legit.no_stats",
                        {a[0], a[1], a[2], true, a[6], a[7]})[0]}};
  }
  return {{build.call1("aten::_native_batch_norm_legit_no_training",
                       {a[0], a[1], a[2], a[3], a[4], a[6], a[7]})}};
}
Results native_batch_norm_as_legit(Build& build, const Node& node) {
  const auto& a = node.arguments;
  if (boolean_at(node, 5)) {
    if (!is_none(node, 3)) return std::nullopt;
    return build.call("aten::_native_batch_norm_legit.no_stats", {a[0], a[1], a[2], true, a[6], a[7]});
  }
  return build.call("aten::_native_batch_norm_legit_no_training",
                    {a[0], a[1], a[2], a[3], a[4], a[6], a[7]});
}

// Training form with the running statistics as results. Mixed types meet in the widest.
Results train_batch_norm(Build& build, const Node& node, size_t momentum_at) {
  ValueId x = value_at(node, 0);
  auto momentum = number(node, int(momentum_at));
  if (!momentum) return std::nullopt;
  DType dtype = build.dtype(x), compute = computed_in(dtype);
  auto wide = [&](size_t i) -> Argument {
    ValueId id = value_at(node, i);
    return id == kNoValue ? Argument(None{}) : Build::v(build.cast(id, compute));
  };
  std::vector<int64_t> dims;
  for (int i = 0; i < build.rank(x); i++)
    if (i != 1) dims.push_back(i);
  auto out = build.call("aten::_native_batch_norm_legit.no_stats",
                        {wide(0), wide(1), wide(2), true, *momentum,
                         node.arguments[momentum_at + 1]});
  size_t first = 1;  // parameter, whose type the saved statistics have
  while (value_at(node, first) == kNoValue) first++;
  out[0] = build.cast(out[0], dtype);
  for (size_t i : {1, 2}) out[i] = build.cast(out[i], build.dtype(value_at(node, first)));
  auto moments =
      build.call("aten::var_mean.correction", {wide(0), Build::ints(dims), int64_t{1}, false});
  out.push_back(updated(build, value_at(node, 3), moments[1], *momentum));
  out.push_back(updated(build, value_at(node, 4), moments[0], *momentum));
  return out;
}

Results functional_parts(Build& build, const Node& node) {
  if (boolean_at(node, 5)) return train_batch_norm(build, node, 6);
  const auto& a = node.arguments;
  auto results = build.call("aten::_native_batch_norm_legit_no_training",
                            {a[0], a[1], a[2], a[3], a[4], a[6], a[7]});
  results.push_back(value_at(node, 3));
  results.push_back(value_at(node, 4));
  return results;
}

ValueId empty_reserve(Build& build) { return build.full({SymInt(0)}, 0, DType::u8); }

Results no_update_parts(Build& build, const Node& node) {
  auto results = build.call("aten::_native_batch_norm_legit_no_training", node.arguments);
  results.push_back(empty_reserve(build));
  return results;
}

Results with_update_parts(Build& build, const Node& node) {
  auto results = train_batch_norm(build, node, 5);
  if (results) results->insert(results->begin() + 3, empty_reserve(build));
  return results;
}

// Forms with (..., running_mean, running_var, training, momentum, eps): all that a call in training
// gives, the new statistics last. `result_count` of the results are the operator's.
template <size_t result_count>
std::optional<Effects> batch_norm_effects(Build& build, const Node& node) {
  const auto& a = node.arguments;
  if (!boolean_at(node, 5) || is_none(node, 3) || is_none(node, 4)) return std::nullopt;
  auto all = build.call("aten::_native_batch_norm_legit_functional",
                        {a[0], a[1], a[2], a[3], a[4], true, a[6], a[7]});
  return Effects{{all.begin(), all.begin() + result_count}, {{3, all[3]}, {4, all[4]}}};
}
std::optional<Effects> with_update_effects(Build& build, const Node& node) {
  auto all = build.call("aten::_batch_norm_with_update_functional", node.arguments);
  return Effects{{all.begin(), all.begin() + 4}, {{3, all[4]}, {4, all[5]}}};
}

// --- weight norm ------------------------------------------------------------------------------

// The norm over every dimension but `dim` (-1: all), with 1 in their place.
ValueId norm_except(Build& build, ValueId v, Argument order, int64_t dim) {
  int rank = build.rank(v);
  std::vector<int64_t> dims;
  for (int k = 0; k < rank; k++)
    if (dim == -1 || k != dim) dims.push_back(k);
  // An empty list would mean all.
  if (dims.empty()) return build.call1("aten::abs", {Build::v(v)});
  return build.call1("aten::linalg_vector_norm", {Build::v(v), order, Build::ints(dims), dim != -1});
}

// v, g, dim -> v * (g / norm), norm; the norm of 16-bit types stays f32.
Results weight_norm_interface_parts(Build& build, const Node& node) {
  auto dim = integer_at(node, 2);
  if (!dim) return std::nullopt;
  ValueId v = value_at(node, 0), g = value_at(node, 1);
  DType dtype = build.dtype(v), compute = computed_in(dtype);
  ValueId wide = build.cast(v, compute);
  ValueId norm = norm_except(build, wide, int64_t{2}, *dim);
  ValueId w = build.mul(wide, build.div(build.cast(g, compute), norm));
  return {{build.cast(w, dtype), build.cast(norm, computed_in(build.dtype(g)))}};
}
Results weight_norm_parts(Build& build, const Node& node) {
  auto parts = weight_norm_interface_parts(build, node);
  if (parts) parts->pop_back();
  return parts;
}
Results norm_except_dim_parts(Build& build, const Node& node) {
  auto dim = integer_at(node, 2);
  if (!dim) return std::nullopt;
  return {{norm_except(build, value_at(node, 0), node.arguments[1], *dim)}};
}

}  // namespace

OP(layer_norm) = {
    .schema = "aten::layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, Tensor? bias=None, float eps=1.0000000000000001e-05, bool cudnn_enable=True) -> Tensor",
    .out = "sconce::layer_norm.out", .decompose = layer_norm_as_native};
OP(native_layer_norm) = {
    .schema = "aten::native_layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight, Tensor? bias, float eps) -> (Tensor, Tensor, Tensor)",
    .out = "aten::native_layer_norm.out"};
OP(rms_norm) = {
    .schema = "aten::rms_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, float? eps=None) -> Tensor",
    .out = "sconce::rms_norm.out", .decompose = rms_norm_parts};
OP(fused_rms_norm) = {
    .schema = "aten::_fused_rms_norm(Tensor input, int[] normalized_shape, Tensor? weight, float? eps) -> (Tensor, Tensor)",
    .out = "sconce::_fused_rms_norm.out", .decompose = fused_rms_norm_parts};
OP(group_norm) = {
    .schema = "aten::group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, float eps=1.0000000000000001e-05, bool cudnn_enabled=True) -> Tensor",
    .out = "sconce::group_norm.out", .decompose = group_norm_as_native};
OP(native_group_norm) = {
    .schema = "aten::native_group_norm(Tensor input, Tensor? weight, Tensor? bias, SymInt N, SymInt C, SymInt HxW, int group, float eps) -> (Tensor, Tensor, Tensor)",
    .out = "aten::native_group_norm.out"};
OP(instance_norm) = {
    .schema = "aten::instance_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, bool use_input_stats, float momentum, float eps, bool cudnn_enabled) -> Tensor",
    .decompose = instance_norm_parts, .functionalize = instance_norm_effects};
OP(batch_norm) = {
    .schema = "aten::batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, bool training, float momentum, float eps, bool cudnn_enabled) -> Tensor",
    .out = "sconce::batch_norm.out", .decompose = batch_norm_as_native,
    .functionalize = batch_norm_effects<1>};
OP(native_batch_norm_legit) = {
    .schema = "aten::_native_batch_norm_legit(Tensor input, Tensor? weight, Tensor? bias, Tensor(a!) running_mean, Tensor(b!) running_var, bool training, float momentum, float eps) -> (Tensor, Tensor, Tensor)",
    .out = "aten::_native_batch_norm_legit.out", .decompose = native_batch_norm_as_legit,
    .functionalize = batch_norm_effects<3>};
OP(native_batch_norm_legit_no_stats) = {
    .schema = "aten::_native_batch_norm_legit.no_stats(Tensor input, Tensor? weight, Tensor? bias, bool training, float momentum, float eps) -> (Tensor, Tensor, Tensor)",
    .out = "aten::_native_batch_norm_legit.no_stats_out"};
OP(native_batch_norm_legit_no_training) = {
    .schema = "aten::_native_batch_norm_legit_no_training(Tensor input, Tensor? weight, Tensor? bias, Tensor running_mean, Tensor running_var, float momentum, float eps) -> (Tensor, Tensor, Tensor)",
    .out = "aten::_native_batch_norm_legit_no_training.out"};
OP(native_batch_norm_legit_functional) = {
    .schema = "aten::_native_batch_norm_legit_functional(Tensor input, Tensor? weight, Tensor? bias, Tensor running_mean, Tensor running_var, bool training, float momentum, float eps) -> (Tensor, Tensor, Tensor, Tensor running_mean_out, Tensor running_var_out)",
    .out = "sconce::_native_batch_norm_legit_functional.out", .decompose = functional_parts};
OP(native_batch_norm) = {
    .schema = "aten::native_batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, bool training, float momentum, float eps) -> (Tensor, Tensor, Tensor)",
    .out = "aten::native_batch_norm.out", .decompose = native_batch_norm_as_legit,
    .functionalize = batch_norm_effects<3>};
OP(batch_norm_no_update) = {
    .schema = "aten::_batch_norm_no_update(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, float momentum, float eps) -> (Tensor, Tensor, Tensor, Tensor)",
    .out = "aten::_batch_norm_no_update.out", .decompose = no_update_parts};
OP(batch_norm_with_update) = {
    .schema = "aten::_batch_norm_with_update(Tensor input, Tensor? weight, Tensor? bias, Tensor(a!) running_mean, Tensor(b!) running_var, float momentum, float eps) -> (Tensor, Tensor, Tensor, Tensor)",
    .functionalize = with_update_effects};
OP(batch_norm_with_update_functional) = {
    .schema = "aten::_batch_norm_with_update_functional(Tensor input, Tensor? weight, Tensor? bias, Tensor running_mean, Tensor running_var, float momentum, float eps) -> (Tensor, Tensor, Tensor, Tensor, Tensor running_mean_out, Tensor running_var_out)",
    .out = "sconce::_batch_norm_with_update_functional.out", .decompose = with_update_parts};
OP(weight_norm) = {.schema = "aten::_weight_norm(Tensor v, Tensor g, int dim=0) -> Tensor",
                   .decompose = weight_norm_parts};
OP(weight_norm_interface) = {
    .schema = "aten::_weight_norm_interface(Tensor v, Tensor g, int dim=0) -> (Tensor, Tensor)",
    .decompose = weight_norm_interface_parts};
OP(norm_except_dim) = {
    .schema = "aten::norm_except_dim(Tensor v, int pow=2, int dim=0) -> Tensor",
    .decompose = norm_except_dim_parts};

}  // namespace sconce
