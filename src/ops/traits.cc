#include "ops/traits.h"

#include <algorithm>
#include <string>
#include <unordered_set>

namespace sconce {

bool keeps_element_order(const Op& op) {
  static const std::unordered_set<std::string_view> kKernels = {
      "aten::view_copy.out", "aten::squeeze_copy.out", "aten::squeeze_copy.dim_out",
      "aten::squeeze_copy.dims_out", "aten::unsqueeze_copy.out", "aten::alias_copy.out",
      "aten::detach_copy.out", "aten::clone.out", "aten::lift_fresh_copy.out", "aten::_to_copy.out",
      "dim_order_ops::_to_dim_order_copy.out", "dim_order_ops::_clone_dim_order.out"};
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

bool may_run_in_place(const Op& op) {
  // The elementwise engine loads a block of every operand before it stores one of the result, and so
  // do ExecuTorch's portable kernels, element by element.
  static const std::unordered_set<std::string_view> kBases = {
      "add", "sub", "mul", "div", "rsub", "relu", "neg", "abs", "exp", "log", "log1p", "sqrt",
      "rsqrt", "reciprocal", "sigmoid", "tanh", "gelu", "silu", "hardtanh", "hardswish",
      "hardsigmoid", "leaky_relu", "elu", "clamp", "where", "pow", "sin", "cos", "erf", "floor",
      "ceil", "round", "trunc", "sign", "square", "maximum", "minimum", "masked_fill", "logical_not",
      "logical_and", "logical_or", "bitwise_and", "bitwise_or", "bitwise_not", "softplus", "mish"};
  return kBases.count(kernel_base(op)) > 0;
}

bool is_pointwise(const Op& op) {
  static const std::unordered_set<std::string_view> kMore = {
      "eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "isfinite", "atan2", "fmod", "remainder",
      "floor_divide", "logical_xor", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift",
      "asin", "acos", "atan", "tan", "sinh", "cosh", "asinh", "acosh", "atanh", "expm1", "log2",
      "log10", "exp2", "erfc", "threshold", "selu", "celu", "log_sigmoid", "relu6", "_to_copy"};
  return may_run_in_place(op) || kMore.count(kernel_base(op)) > 0;
}

}  // namespace sconce
