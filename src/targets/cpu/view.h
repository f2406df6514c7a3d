// Views: where the elements of a value lie in the memory of another.
#pragma once

#include <optional>

#include "ir/graph.h"

namespace sconce {

// Elements of `root`: the one at index i is at offset + sum of i[d] * strides[d].
struct ElementView {
  ValueId root = kNoValue;
  SymInt offset;
  std::vector<SymInt> sizes, strides;
};

// Strides of dimensions that lie behind each other, the first of `order` innermost. Those of size 0
// count as one: strides of what has no elements say nothing.
std::vector<SymInt> dense_strides(SymbolTable& symbols, const std::vector<SymInt>& sizes,
                                  const std::vector<size_t>& order);
// Row-major over `sizes`, or with dimension 1 innermost.
std::vector<SymInt> contiguous_strides(SymbolTable& symbols, const std::vector<SymInt>& sizes);
std::vector<SymInt> channels_last_strides(SymbolTable& symbols, const std::vector<SymInt>& sizes);

// The same elements in row-major order as other sizes; nothing when strides cannot say that, or
// when nobody knows before the call.
std::optional<ElementView> reshape_view(SymbolTable& symbols, const ElementView& view,
                                        const std::vector<SymInt>& sizes);

// True when a node only renames memory: its result is a view of argument 0 for some strides.
bool is_view(const Graph& graph, const Node& node);
// That view, given where argument 0 lies; nothing when its strides do not allow it.
std::optional<ElementView> view_through(SymbolTable& symbols, const Graph& graph, const Node& node,
                                        const ElementView& operand);

}  // namespace sconce
