#include "passes/rewrite.h"

#include "ops/elementwise.h"
#include "ops/traits.h"

namespace sconce {

std::optional<double> known_number(const Program& program, const Graph& graph,
                                   const Argument& argument) {
  if (auto* integer = std::get_if<int64_t>(&argument)) return double(*integer);
  if (auto* number = std::get_if<double>(&argument)) return *number;
  auto* ref = std::get_if<ValueRef>(&argument);
  if (!ref || ref->id == kNoValue) return std::nullopt;
  const ValueInfo& info = graph.values[size_t(ref->id)];
  if (info.origin != Origin::constant) return std::nullopt;
  const ConstantData& constant = program.constants[size_t(info.index)];
  for (const SymInt& size : constant.type.sizes)
    if (size != SymInt(1)) return std::nullopt;
  DType dtype = constant.type.dtype;
  if (dtype_category(dtype) == DTypeCategory::complex ||
      constant.bytes.size() != dtype_bytes(dtype))
    return std::nullopt;
  if (is_integral(dtype)) {
    int64_t value = 0;
    load_elements<int64_t>(&value, constant.bytes.data(), 1, 1, dtype);
    return double(value);
  }
  double value = 0;
  load_elements<double>(&value, constant.bytes.data(), 1, 1, dtype);
  return value;
}

std::vector<int64_t> permutation(const Graph& graph, const Node& node) {
  auto* x = node.arguments.empty() ? nullptr : std::get_if<ValueRef>(&node.arguments[0]);
  if (!x || !graph.type(x->id).is_tensor()) return {};
  return permutation_of(node.op, node.arguments, int(graph.type(x->id).tensor.sizes.size()));
}

}  // namespace sconce
