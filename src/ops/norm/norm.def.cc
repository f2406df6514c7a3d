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
  bool running = !is_none(node, 3) || !is_none(node, 4);
  if (!boolean_at(node, 5)) {
    if (!running) return std::nullopt;
    return {{build.call1("aten::batch_norm",
                         {a[0], a[1], a[2], a[3], a[4], false, a[6], a[7], false})}};
  }
  if (running || !build.size(x, 1).is_known()) return std::nullopt;
  return {{build.call1("aten::group_norm", {a[0], build.size(x, 1).value, a[1], a[2], a[7], false})}};
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

// Training form with the running statistics as results.
std::vector<ValueId> train_batch_norm(Build& build, const Node& node, size_t momentum_at) {
  ValueId x = value_at(node, 0);
  DType dtype = build.dtype(x), compute = computed_in(dtype);
  auto* eps = &node.arguments[momentum_at + 1];
  double momentum = number(node, momentum_at).value_or(0.1);
  std::vector<int64_t> dims;
  SymInt count = 1;
  for (int i = 0; i < build.rank(x); i++) {
    if (i == 1) continue;
    dims.push_back(i);
    count = build.program().symbols.multiply(count, build.size(x, i));
  }
  auto out = build.call("aten::_native_batch_norm_legit.no_stats",
                        {node.arguments[0], node.arguments[1], node.arguments[2], true, momentum,
                         *eps});
  auto moments = build.call("aten::var_mean.correction",
                            {Build::v(build.cast(x, compute)), Build::ints(dims), int64_t{1}, false});
  auto update = [&](size_t running, ValueId now) {
    ValueId before = value_at(node, running);
    ValueId sum = build.add(build.mul(build.cast(before, compute), 1 - momentum),
                            build.mul(now, momentum));
    return build.cast(sum, build.dtype(before));
  };
  out.push_back(update(3, moments[1]));
  out.push_back(update(4, moments[0]));
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
  results.insert(results.begin() + 3, empty_reserve(build));
  return results;
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

// v, g, dim -> v * (g / norm), norm.
Results weight_norm_interface_parts(Build& build, const Node& node) {
  auto dim = integer_at(node, 2);
  if (!dim) return std::nullopt;
  ValueId v = value_at(node, 0), g = value_at(node, 1);
  DType dtype = build.dtype(v), compute = computed_in(dtype);
  ValueId wide = build.cast(v, compute);
  ValueId norm = norm_except(build, wide, int64_t{2}, *dim);
  ValueId w = build.mul(wide, build.div(build.cast(g, compute), norm));
  return {{build.cast(w, dtype), build.cast(norm, build.dtype(g))}};
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
    .decompose = instance_norm_parts};
OP(batch_norm) = {
    .schema = "aten::batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, bool training, float momentum, float eps, bool cudnn_enabled) -> Tensor",
    .out = "sconce::batch_norm.out", .decompose = batch_norm_as_native};
OP(native_batch_norm_legit) = {
    .schema = "aten::_native_batch_norm_legit(Tensor input, Tensor? weight, Tensor? bias, Tensor(a!) running_mean, Tensor(b!) running_var, bool training, float momentum, float eps) -> (Tensor, Tensor, Tensor)",
    .out = "aten::_native_batch_norm_legit.out"};
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
    .out = "aten::native_batch_norm.out", .decompose = native_batch_norm_as_legit};
OP(batch_norm_no_update) = {
    .schema = "aten::_batch_norm_no_update(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, float momentum, float eps) -> (Tensor, Tensor, Tensor, Tensor)",
    .out = "aten::_batch_norm_no_update.out", .decompose = no_update_parts};
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
