// What decompositions of linear algebra, convolution, pooling and resizing share. Host only.
#pragma once

#include "ops/pointwise/decompose.h"

namespace sconce {

// kNoValue when the argument is absent.
inline ValueId optional_value(const Node& node, int i) {
  auto* ref = std::get_if<ValueRef>(&node.arguments[size_t(i)]);
  return ref ? ref->id : kNoValue;
}
inline Argument optional_argument(ValueId id) {
  return id == kNoValue ? Argument(None{}) : Argument(ValueRef{id});
}

// Known integers of a list argument (one integer is a list of it); nullopt when one is symbolic.
inline std::optional<std::vector<int64_t>> known_list(const Node& node, int i) {
  const Argument& argument = node.arguments[size_t(i)];
  if (auto* integer = std::get_if<int64_t>(&argument)) return std::vector<int64_t>{*integer};
  auto* items = std::get_if<std::vector<IntItem>>(&argument);
  if (!items) return std::nullopt;
  std::vector<int64_t> known;
  for (const IntItem& item : *items) {
    if (!item.is_known()) return std::nullopt;
    known.push_back(item.known);
  }
  return known;
}

// A list argument as list items, repeated to `count` entries when it has one.
inline std::vector<IntItem> list_items(const Node& node, int i, size_t count) {
  const Argument& argument = node.arguments[size_t(i)];
  std::vector<IntItem> items;
  if (auto* integer = std::get_if<int64_t>(&argument)) items = {IntItem{*integer}};
  else if (auto* ref = std::get_if<ValueRef>(&argument)) items = {IntItem{0, ref->id}};
  else if (auto* list = std::get_if<std::vector<IntItem>>(&argument)) items = *list;
  if (items.size() == 1) items.resize(count, items[0]);
  return items;
}

inline std::vector<SymInt> sizes_of(Build& build, ValueId id) { return build.tensor(id).sizes; }

// Product of sizes [first, last).
inline SymInt size_product(Build& build, const std::vector<SymInt>& sizes, size_t first, size_t last) {
  SymInt product = 1;
  for (size_t i = first; i < last; i++) product = build.program().symbols.multiply(product, sizes[i]);
  return product;
}

inline ValueId unsqueeze(Build& build, ValueId id, int64_t dim) {
  return build.call1("aten::unsqueeze", {Build::v(id), dim});
}
inline ValueId squeeze(Build& build, ValueId id, int64_t dim) {
  return build.call1("aten::squeeze.dim", {Build::v(id), dim});
}
// Last two dimensions exchanged.
inline ValueId transposed(Build& build, ValueId id) {
  std::vector<int64_t> dims;
  for (int i = 0; i < build.rank(id); i++) dims.push_back(i);
  std::swap(dims[dims.size() - 1], dims[dims.size() - 2]);
  return build.permute(id, dims);
}

}  // namespace sconce
