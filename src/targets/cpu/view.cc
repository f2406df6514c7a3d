#include "targets/cpu/view.h"

#include "ops/tile.h"
#include "ops/traits.h"

namespace sconce {
namespace {

std::vector<int64_t> known_sizes(const Graph& graph, ValueId id) {
  std::vector<int64_t> sizes;
  for (const SymInt& size : graph.type(id).tensor.sizes) sizes.push_back(size.value);
  return sizes;
}

std::optional<int64_t> int_argument(const Node& node, size_t i) {
  if (i >= node.arguments.size()) return std::nullopt;
  auto* known = std::get_if<int64_t>(&node.arguments[i]);
  return known ? std::optional(*known) : std::nullopt;
}

}  // namespace

std::vector<int64_t> contiguous_strides(const std::vector<int64_t>& sizes) {
  std::vector<int64_t> strides(sizes.size(), 1);
  for (size_t d = sizes.size(); d-- > 1;)
    strides[d - 1] = strides[d] * std::max<int64_t>(sizes[d], 1);
  return strides;
}

std::vector<int64_t> channels_last_strides(const std::vector<int64_t>& sizes) {
  if (sizes.size() < 3) return contiguous_strides(sizes);
  std::vector<int64_t> strides(sizes.size(), 1);
  int64_t stride = std::max<int64_t>(sizes[1], 1);
  for (size_t d = sizes.size(); d-- > 2;) {
    strides[d] = stride;
    stride *= std::max<int64_t>(sizes[d], 1);
  }
  strides[0] = stride;
  return strides;
}

std::optional<ElementView> reshape_view(const ElementView& view,
                                        const std::vector<int64_t>& sizes) {
  ElementView result{view.root, view.offset, sizes, std::vector<int64_t>(sizes.size(), 0)};
  for (int64_t size : sizes)
    if (size == 0) {
      result.strides = contiguous_strides(sizes);
      return result;
    }
  // Dimensions of size 1 say nothing; the others are taken apart from the innermost on.
  size_t from = view.sizes.size(), to = sizes.size();
  int64_t step = 1;
  while (from > 0 || to > 0) {
    while (from > 0 && view.sizes[from - 1] == 1) from--;
    while (to > 0 && sizes[to - 1] == 1) result.strides[--to] = step;
    if (from == 0 || to == 0) break;
    // One run of operand dimensions that lie behind each other, cut into dimensions of the result.
    int64_t count = view.sizes[from - 1];
    step = view.strides[--from];
    int64_t start = step;
    int64_t taken = 1;
    while (true) {
      while (to > 0 && taken * sizes[to - 1] <= count && count % (taken * sizes[to - 1]) == 0 &&
             taken < count) {
        result.strides[--to] = start * taken;
        taken *= sizes[to];
      }
      if (taken == count) break;
      // The run must go on in the operand without a jump.
      while (from > 0 && view.sizes[from - 1] == 1) from--;
      if (from == 0 || view.strides[from - 1] != start * count) return std::nullopt;
      count *= view.sizes[--from];
    }
    step = start * count;
  }
  while (to > 0 && sizes[to - 1] == 1) result.strides[--to] = step;
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
         node.op == "aten::expand";
}

std::optional<ElementView> view_through(const Graph& graph, const Node& node,
                                        const ElementView& operand) {
  std::vector<int64_t> sizes = known_sizes(graph, node.results[0]);
  ElementView result = operand;
  int rank = int(operand.sizes.size());
  if (std::vector<int64_t> order = permutation_of(node.op, node.arguments, rank); !order.empty()) {
    for (size_t d = 0; d < order.size(); d++) {
      result.sizes[d] = operand.sizes[size_t(order[d])];
      result.strides[d] = operand.strides[size_t(order[d])];
    }
    return result;
  }
  if (node.op == "aten::select.int") {
    auto dim = int_argument(node, 1), index = int_argument(node, 2);
    if (!dim || !index) return std::nullopt;
    size_t d = size_t(*dim < 0 ? *dim + rank : *dim);
    result.offset += (*index < 0 ? *index + operand.sizes[d] : *index) * operand.strides[d];
    result.sizes.erase(result.sizes.begin() + std::ptrdiff_t(d));
    result.strides.erase(result.strides.begin() + std::ptrdiff_t(d));
    return result;
  }
  if (node.op == "aten::slice.Tensor") {
    auto dim = int_argument(node, 1), step = int_argument(node, 4);
    if (!dim || !step) return std::nullopt;
    int64_t start = 0;
    if (!std::holds_alternative<None>(node.arguments[2])) {
      auto given = int_argument(node, 2);
      if (!given) return std::nullopt;
      start = *given;
    }
    size_t d = size_t(*dim < 0 ? *dim + rank : *dim);
    if (start < 0) start += operand.sizes[d];
    start = std::min(std::max<int64_t>(start, 0), operand.sizes[d]);
    if (sizes[d] > 0) result.offset += start * operand.strides[d];
    result.sizes[d] = sizes[d];
    result.strides[d] *= *step;
    return result;
  }
  if (node.op == "aten::expand") {
    size_t more = sizes.size() - operand.sizes.size();
    result.sizes = sizes;
    result.strides.assign(sizes.size(), 0);
    for (size_t d = 0; d < operand.sizes.size(); d++)
      if (operand.sizes[d] == sizes[d + more]) result.strides[d + more] = operand.strides[d];
    return result;
  }
  return reshape_view(operand, sizes);
}

}  // namespace sconce
