#include "ops/traits.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <unordered_set>

namespace sconce {

bool keeps_element_order(const Op& op) {
  static const std::unordered_set<std::string_view> kKernels = {
      "aten::view_copy.out",
      "aten::squeeze_copy.out",
      "aten::squeeze_copy.dim_out",
      "aten::squeeze_copy.dims_out",
      "aten::unsqueeze_copy.out",
      "aten::alias_copy.out",
      "aten::detach_copy.out",
      "aten::clone.out",
      "aten::lift_fresh_copy.out",
      "aten::_to_copy.out",
      "dim_order_ops::_to_dim_order_copy.out",
      "dim_order_ops::_clone_dim_order.out"};
  return op.kernel && kKernels.count(op.kernel->name) > 0;
}

// "add" of "aten::add.out"; empty when there is no kernel.
static std::string_view kernel_base(const Op& op) {
  if (!op.kernel) return {};
  std::string_view name = op.kernel->name;
  size_t colons = name.find("::");
  if (colons == std::string_view::npos) return {};
  name.remove_prefix(colons + 2);
  return name.substr(0, name.find('.'));
}

std::vector<int64_t> permutation_of(std::string_view op, Span<const Argument> arguments, int rank) {
  std::vector<int64_t> dims(static_cast<size_t>(rank));
  std::iota(dims.begin(), dims.end(), 0);
  // Dimension given by argument i; -1 when it is not a known one of this rank.
  auto dimension = [&](int64_t dim) -> int64_t {
    if (dim < 0) dim += rank;
    return dim >= 0 && dim < rank ? dim : -1;
  };
  auto argument = [&](size_t i) -> int64_t {
    auto* known = i < arguments.size() ? std::get_if<int64_t>(&arguments[i]) : nullptr;
    return known ? dimension(*known) : -1;
  };
  if (op.ends_with("_copy") || op.find("_copy.") != std::string_view::npos) {
    std::string plain(op);
    plain.erase(plain.find("_copy"), 5);
    return permutation_of(plain, arguments, rank);
  }
  if (op == "aten::permute") {
    auto* items = arguments.size() > 1 ? std::get_if<std::vector<IntItem>>(&arguments[1]) : nullptr;
    if (!items || int(items->size()) != rank) return {};
    std::vector<bool> seen(dims.size(), false);
    for (size_t i = 0; i < items->size(); i++) {
      dims[i] = (*items)[i].is_known() ? dimension((*items)[i].known) : -1;
      if (dims[i] < 0 || seen[size_t(dims[i])]) return {};
      seen[size_t(dims[i])] = true;
    }
    return dims;
  }
  if (op == "aten::transpose.int" || op == "aten::swapaxes" || op == "aten::swapdims") {
    int64_t i = argument(1), j = argument(2);
    if (i < 0 || j < 0) return {};
    std::swap(dims[size_t(i)], dims[size_t(j)]);
    return dims;
  }
  if (op == "aten::movedim.int") {
    int64_t from = argument(1), to = argument(2);
    if (from < 0 || to < 0) return {};
    dims.erase(dims.begin() + from);
    dims.insert(dims.begin() + to, from);
    return dims;
  }
  if (op == "aten::t" || op == "aten::numpy_T") {
    if (op == "aten::t" && rank > 2) return {};
    std::reverse(dims.begin(), dims.end());
    return dims;
  }
  if ((op == "aten::mT" || op == "aten::adjoint") && rank >= 2) {
    std::swap(dims[size_t(rank - 1)], dims[size_t(rank - 2)]);
    return dims;
  }
  return {};
}

bool may_run_in_place(const Op& op) {
  // The elementwise engine loads a block of every operand before it stores one of the result, and
  // so do ExecuTorch's portable kernels, element by element.
  static const std::unordered_set<std::string_view> kBases = {
      "add",        "sub",         "mul",         "div",         "rsub",       "relu",
      "neg",        "abs",         "exp",         "log",         "log1p",      "sqrt",
      "rsqrt",      "reciprocal",  "sigmoid",     "tanh",        "gelu",       "silu",
      "hardtanh",   "hardswish",   "hardsigmoid", "leaky_relu",  "elu",        "clamp",
      "where",      "pow",         "sin",         "cos",         "erf",        "floor",
      "ceil",       "round",       "trunc",       "sign",        "square",     "maximum",
      "minimum",    "masked_fill", "logical_not", "logical_and", "logical_or", "bitwise_and",
      "bitwise_or", "bitwise_not", "softplus",    "mish"};
  return kBases.count(kernel_base(op)) > 0;
}

bool may_update_in_place(const Op& op) {
  return op.name == "sconce::updated_cache" || op.name == "sconce::updated_cache_at";
}

const ValueId* tensor_of_integer(const Graph& graph, ValueId integer) {
  if (!graph.is_node(integer) || graph.type(integer).kind != Type::Kind::integer) return nullptr;
  const Node& node = graph.producer(integer);
  if (node.op != "aten::_local_scalar_dense") return nullptr;
  auto* tensor = std::get_if<ValueRef>(&node.arguments[0]);
  return tensor ? &tensor->id : nullptr;
}

bool widens_weights(const Op& op) {
  return op.name.starts_with("quantized_decomposed::dequantize_") ||
         op.name == "torchao::dequantize_affine";
}

bool is_pointwise(const Op& op) {
  static const std::unordered_set<std::string_view> kMore = {"eq",
                                                             "ne",
                                                             "lt",
                                                             "le",
                                                             "gt",
                                                             "ge",
                                                             "isnan",
                                                             "isinf",
                                                             "isfinite",
                                                             "atan2",
                                                             "fmod",
                                                             "remainder",
                                                             "floor_divide",
                                                             "logical_xor",
                                                             "bitwise_xor",
                                                             "bitwise_left_shift",
                                                             "bitwise_right_shift",
                                                             "asin",
                                                             "acos",
                                                             "atan",
                                                             "tan",
                                                             "sinh",
                                                             "cosh",
                                                             "asinh",
                                                             "acosh",
                                                             "atanh",
                                                             "expm1",
                                                             "log2",
                                                             "log10",
                                                             "exp2",
                                                             "erfc",
                                                             "threshold",
                                                             "selu",
                                                             "celu",
                                                             "log_sigmoid",
                                                             "relu6",
                                                             "_to_copy"};
  return may_run_in_place(op) || kMore.count(kernel_base(op)) > 0;
}

}  // namespace sconce
