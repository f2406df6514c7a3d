#include "targets/cpu/view.h"

#include <algorithm>

#include "ops/tile.h"
#include "ops/traits.h"

namespace sconce {
namespace {

// An integer, known or told by the call.
std::optional<SymInt> int_argument(const Graph& graph, const Node& node, size_t i) {
  if (i >= node.arguments.size()) return std::nullopt;
  if (auto* known = std::get_if<int64_t>(&node.arguments[i])) return SymInt(*known);
  auto* ref = std::get_if<ValueRef>(&node.arguments[i]);
  if (!ref || graph.type(ref->id).kind != Type::Kind::integer) return std::nullopt;
  return graph.type(ref->id).number;
}

// count / divisor, when it has no remainder whatever the symbols are.
std::optional<SymInt> exact_quotient(SymbolTable& symbols, SymInt count, SymInt divisor) {
  if (divisor == SymInt(0)) return std::nullopt;
  SymInt quotient = symbols.floor_divide(count, divisor);
  if (symbols.multiply(quotient, divisor) != count) return std::nullopt;
  return quotient;
}

}  // namespace

std::vector<SymInt> dense_strides(SymbolTable& symbols, const std::vector<SymInt>& sizes,
                                  const std::vector<size_t>& order) {
  std::vector<SymInt> strides(sizes.size(), SymInt(1));
  SymInt stride = 1;
  for (size_t d : order) {
    strides[d] = stride;
    if (sizes[d] != SymInt(0)) stride = symbols.multiply(stride, sizes[d]);
  }
  return strides;
}

std::vector<SymInt> contiguous_strides(SymbolTable& symbols, const std::vector<SymInt>& sizes) {
  std::vector<size_t> order;
  for (size_t d = sizes.size(); d-- > 0;) order.push_back(d);
  return dense_strides(symbols, sizes, order);
}

std::vector<SymInt> channels_last_strides(SymbolTable& symbols, const std::vector<SymInt>& sizes) {
  if (sizes.size() < 3) return contiguous_strides(symbols, sizes);
  std::vector<size_t> order{1};
  for (size_t d = sizes.size(); d-- > 2;) order.push_back(d);
  order.push_back(0);
  return dense_strides(symbols, sizes, order);
}

std::optional<ElementView> reshape_view(SymbolTable& symbols, const ElementView& view,
                                        const std::vector<SymInt>& sizes) {
  const SymInt one = 1;
  ElementView result{view.root, view.offset, sizes, std::vector<SymInt>(sizes.size(), SymInt(0))};
  for (SymInt size : sizes)
    if (size == SymInt(0)) {
      result.strides = contiguous_strides(symbols, sizes);
      return result;
    }
  // Dimensions of size 1 say nothing; the others are taken apart from the innermost on.
  size_t from = view.sizes.size(), to = sizes.size();
  SymInt step = 1;
  while (from > 0 || to > 0) {
    while (from > 0 && view.sizes[from - 1] == one) from--;
    while (to > 0 && sizes[to - 1] == one) result.strides[--to] = step;
    if (from == 0 || to == 0) break;
    // One run of operand dimensions that lie behind each other, cut into dimensions of the result.
    SymInt count = view.sizes[from - 1];
    step = view.strides[--from];
    SymInt start = step;
    SymInt taken = 1;
    while (true) {
      while (to > 0 && taken != count) {
        SymInt more = symbols.multiply(taken, sizes[to - 1]);
        if (!exact_quotient(symbols, count, more)) break;
        result.strides[--to] = symbols.multiply(start, taken);
        taken = more;
      }
      if (taken == count) break;
      // The run must go on in the operand without a jump.
      while (from > 0 && view.sizes[from - 1] == one) from--;
      if (from == 0 || view.strides[from - 1] != symbols.multiply(start, count))
        return std::nullopt;
      count = symbols.multiply(count, view.sizes[--from]);
    }
    step = symbols.multiply(start, count);
  }
  while (to > 0 && sizes[to - 1] == one) result.strides[--to] = step;
  return to == 0 ? std::optional(result) : std::nullopt;
}

bool is_view(const Graph& graph, const Node& node) {
  if (node.results.size() != 1 || node.arguments.empty()) return false;
  const ValueId* operand = tensor_argument(node, 0);
  if (!operand || !graph.type(*operand).is_tensor() || !graph.type(node.results[0]).is_tensor() ||
      graph.type(*operand).tensor.dtype != graph.type(node.results[0]).tensor.dtype)
    return false;
  const Op* op = find_op(node.op);
  if (!op) return false;
  int rank = int(graph.type(*operand).tensor.sizes.size());
  return keeps_element_order(*op) || !permutation_of(node.op, node.arguments, rank).empty() ||
         node.op == "aten::select.int" || node.op == "aten::slice.Tensor" ||
         node.op == "aten::expand" || node.op == "aten::unfold" || node.op == "aten::diagonal";
}

std::optional<ElementView> view_through(SymbolTable& symbols, const Graph& graph, const Node& node,
                                        const ElementView& operand) {
  const std::vector<SymInt>& sizes = graph.type(node.results[0]).tensor.sizes;
  ElementView result = operand;
  int rank = int(operand.sizes.size());
  if (std::vector<int64_t> order = permutation_of(node.op, node.arguments, rank); !order.empty()) {
    for (size_t d = 0; d < order.size(); d++) {
      result.sizes[d] = operand.sizes[size_t(order[d])];
      result.strides[d] = operand.strides[size_t(order[d])];
    }
    return result;
  }
  // What moves by some elements of a dimension.
  auto move = [&](size_t d, SymInt by) {
    result.offset = symbols.add(result.offset, symbols.multiply(by, operand.strides[d]));
  };
  // Python's way to count from the end; nothing when only the call tells which is meant.
  auto from_begin = [&](SymInt index, size_t d) -> std::optional<SymInt> {
    Bounds bounds = symbols.bounds(index);
    if (bounds.min >= 0) return index;
    if (bounds.max < 0) return symbols.add(index, operand.sizes[d]);
    return std::nullopt;
  };
  if (node.op == "aten::select.int") {
    auto dim = int_argument(graph, node, 1), index = int_argument(graph, node, 2);
    if (!dim || !dim->is_known() || !index) return std::nullopt;
    size_t d = size_t(dim->value < 0 ? dim->value + rank : dim->value);
    auto start = from_begin(*index, d);
    if (!start) return std::nullopt;
    move(d, *start);
    result.sizes.erase(result.sizes.begin() + std::ptrdiff_t(d));
    result.strides.erase(result.strides.begin() + std::ptrdiff_t(d));
    return result;
  }
  if (node.op == "aten::slice.Tensor") {
    auto dim = int_argument(graph, node, 1), step = int_argument(graph, node, 4);
    if (!dim || !dim->is_known() || !step || !step->is_known()) return std::nullopt;
    size_t d = size_t(dim->value < 0 ? dim->value + rank : dim->value);
    if (!std::holds_alternative<None>(node.arguments[2])) {
      auto given = int_argument(graph, node, 2);
      auto start = given ? from_begin(*given, d) : std::nullopt;
      if (!start) return std::nullopt;
      start = symbols.minimum(symbols.maximum(*start, 0), operand.sizes[d]);
      if (sizes[d] != SymInt(0)) move(d, *start);
    }
    result.sizes[d] = sizes[d];
    result.strides[d] = symbols.multiply(result.strides[d], *step);
    return result;
  }
  if (node.op == "aten::expand") {
    size_t more = sizes.size() - operand.sizes.size();
    result.sizes = sizes;
    result.strides.assign(sizes.size(), SymInt(0));
    for (size_t d = 0; d < operand.sizes.size(); d++) {
      if (operand.sizes[d] == sizes[d + more])
        result.strides[d + more] = operand.strides[d];
      else if (operand.sizes[d] != SymInt(1))
        return std::nullopt;
    }
    return result;
  }
  // Windows that may overlap, their elements innermost.
  if (node.op == "aten::unfold") {
    auto dim = int_argument(graph, node, 1), step = int_argument(graph, node, 3);
    if (!dim || !dim->is_known() || !step || !step->is_known() || rank == 0) return std::nullopt;
    size_t d = size_t(dim->value < 0 ? dim->value + rank : dim->value);
    result.sizes = sizes;
    result.strides.push_back(operand.strides[d]);
    result.strides[d] = symbols.multiply(operand.strides[d], *step);
    return result;
  }
  if (node.op == "aten::diagonal") {
    auto offset = int_argument(graph, node, 1), first = int_argument(graph, node, 2),
         second = int_argument(graph, node, 3);
    if (!offset || !offset->is_known() || !first || !first->is_known() || !second ||
        !second->is_known())
      return std::nullopt;
    size_t row = size_t(first->value < 0 ? first->value + rank : first->value),
           column = size_t(second->value < 0 ? second->value + rank : second->value);
    if (sizes.back() != SymInt(0)) {
      if (offset->value < 0) move(row, -offset->value);
      if (offset->value > 0) move(column, offset->value);
    }
    SymInt stride = symbols.add(operand.strides[row], operand.strides[column]);
    for (size_t d : {std::max(row, column), std::min(row, column)})
      result.strides.erase(result.strides.begin() + std::ptrdiff_t(d));
    result.strides.push_back(stride);
    result.sizes = sizes;
    return result;
  }
  return reshape_view(symbols, operand, sizes);
}

}  // namespace sconce
