// Views: where the elements of a value lie in the memory of another.
#pragma once

#include <optional>

#include "ir/graph.h"

namespace sconce {

// Elements of `root`: the one at index i is at offset + sum of i[d] * strides[d].
struct ElementView {
  ValueId root = kNoValue;
  int64_t offset = 0;
  std::vector<int64_t> sizes, strides;
};

// Row-major over `sizes`, or with dimension 1 innermost.
std::vector<int64_t> contiguous_strides(const std::vector<int64_t>& sizes);
std::vector<int64_t> channels_last_strides(const std::vector<int64_t>& sizes);

// The same elements in row-major order as other sizes; nothing when strides cannot say that.
std::optional<ElementView> reshape_view(const ElementView& view, const std::vector<int64_t>& sizes);

// True when a node only renames memory: its result is a view of argument 0 for some strides.
bool is_view(const Graph& graph, const Node& node);
// That view, given where argument 0 lies; nothing when its strides do not allow it.
std::optional<ElementView> view_through(const Graph& graph, const Node& node,
                                        const ElementView& operand);

}  // namespace sconce
