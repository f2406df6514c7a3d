// Rewrite: replaces values all over a graph in one sweep. What several passes share.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "ir/graph.h"

namespace sconce {

// Collects "value a is now value b" and applies them all at once; chains are followed.
class Replacements {
 public:
  explicit Replacements(const Graph& graph) : to_(graph.values.size(), kNoValue) {}

  void add(ValueId from, ValueId to) {
    if (size_t(from) >= to_.size()) to_.resize(size_t(from) + 1, kNoValue);
    to_[size_t(from)] = to;
    any_ = true;
  }
  // What `id` is now.
  ValueId find(ValueId id) const {
    while (size_t(id) < to_.size() && to_[size_t(id)] != kNoValue) id = to_[size_t(id)];
    return id;
  }
  bool any() const { return any_; }
  // Rewrites the uses of one node; call before looking at its arguments.
  void apply(Node& node) const {
    Graph::for_each_use(node, [&](ValueId& id) { id = find(id); });
  }
  void apply(Graph& graph) const {
    if (!any_) return;
    for (NodeId id : graph.order) apply(graph.nodes[size_t(id)]);
    for (ValueId& id : graph.outputs) id = find(id);
    for (WriteBack& write : graph.write_backs) write.value = find(write.value);
  }

 private:
  std::vector<ValueId> to_;
  bool any_ = false;
};

// A number in an argument: the number itself, or a constant of one element.
std::optional<double> known_number(const Program& program, const Graph& graph,
                                   const Argument& argument);
// Operators that move elements and change none: of integers as of the numbers that these stand for.
inline const std::initializer_list<std::string_view> kMoves = {
    "aten::view",      "aten::reshape",       "aten::flatten.using_ints",
    "aten::permute",   "aten::transpose.int", "aten::t",
    "aten::squeeze",   "aten::squeeze.dim",   "aten::squeeze.dims",
    "aten::unsqueeze", "aten::slice.Tensor",  "aten::select.int",
    "aten::expand",    "aten::contiguous",    "aten::clone"};
inline bool only_moves(std::string_view op) {
  return std::find(kMoves.begin(), kMoves.end(), op) != kMoves.end();
}
// The permutation that a permute, transpose or t does; empty when the node is none of them.
std::vector<int64_t> permutation(const Graph& graph, const Node& node);
inline bool is_identity(const std::vector<int64_t>& dims) {
  for (size_t i = 0; i < dims.size(); i++)
    if (dims[i] != int64_t(i)) return false;
  return true;
}
// The node has the name of an operator, so it is no control flow ("cond").
inline bool is_operator(const Node& node) { return node.op.find("::") != std::string::npos; }

// Drops from `order` the nodes that are marked removed.
inline void drop_removed(Graph& graph) {
  std::erase_if(graph.order, [&](NodeId id) { return graph.nodes[size_t(id)].removed; });
}

}  // namespace sconce
