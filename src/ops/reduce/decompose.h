// What decompositions of this family read from a node's arguments. Host only.
#pragma once

#include "ops/pointwise/decompose.h"

namespace sconce {

// kNoValue when the argument is absent or not a tensor.
inline ValueId value_at(const Node& node, size_t i) {
  auto* ref = std::get_if<ValueRef>(&node.arguments[i]);
  return ref ? ref->id : kNoValue;
}
inline std::optional<int64_t> integer_at(const Node& node, size_t i) {
  if (auto* x = std::get_if<int64_t>(&node.arguments[i])) return *x;
  if (auto* x = std::get_if<bool>(&node.arguments[i])) return int64_t(*x);
  return std::nullopt;
}
inline bool boolean_at(const Node& node, size_t i) { return integer_at(node, i).value_or(0) != 0; }

// The dimensions in argument i (a list, an integer or none), in [0, rank). None, and an empty list,
// mean all. Nullopt when they are not known numbers.
inline std::optional<std::vector<int64_t>> dims_at(const Node& node, size_t i, int rank) {
  std::vector<int64_t> dims;
  if (auto dim = integer_at(node, i)) dims.push_back(*dim);
  else if (auto* items = std::get_if<std::vector<IntItem>>(&node.arguments[i])) {
    for (const IntItem& item : *items) {
      if (!item.is_known()) return std::nullopt;
      dims.push_back(item.known);
    }
  } else if (!is_none(node, i)) {
    return std::nullopt;
  }
  for (int64_t& dim : dims)
    if (dim < 0) dim += rank == 0 ? 1 : rank;
  if (dims.empty())
    for (int k = 0; k < rank; k++) dims.push_back(k);
  return dims;
}

}  // namespace sconce
