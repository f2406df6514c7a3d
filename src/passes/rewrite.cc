#include "passes/rewrite.h"

#include <numeric>

#include "ops/elementwise.h"

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
  if (dtype_category(dtype) == DTypeCategory::complex || constant.bytes.size() != dtype_bytes(dtype))
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
  int64_t rank = int64_t(graph.type(x->id).tensor.sizes.size());
  std::vector<int64_t> dims(static_cast<size_t>(rank));
  std::iota(dims.begin(), dims.end(), 0);
  auto wrap = [&](int64_t dim) -> int64_t {
    if (dim < 0) dim += rank;
    return dim >= 0 && dim < rank ? dim : -1;
  };
  if (node.op == "aten::permute" || node.op == "aten::permute_copy") {
    auto* items = std::get_if<std::vector<IntItem>>(&node.arguments[1]);
    if (!items || int64_t(items->size()) != rank) return {};
    for (size_t i = 0; i < items->size(); i++) {
      dims[i] = (*items)[i].is_known() ? wrap((*items)[i].known) : -1;
      if (dims[i] < 0) return {};
    }
    return dims;
  }
  if (node.op == "aten::transpose.int" || node.op == "aten::transpose_copy.int") {
    auto *a = std::get_if<int64_t>(&node.arguments[1]), *b = std::get_if<int64_t>(&node.arguments[2]);
    if (!a || !b || rank == 0) return {};
    int64_t i = wrap(*a), j = wrap(*b);
    if (i < 0 || j < 0) return {};
    std::swap(dims[size_t(i)], dims[size_t(j)]);
    return dims;
  }
  if ((node.op == "aten::t" || node.op == "aten::t_copy") && rank == 2) return {1, 0};
  return {};
}

}  // namespace sconce
