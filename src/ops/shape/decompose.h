// What decompositions of shape and index operators share: sizes and integers, symbolic or not. Host.
#pragma once

#include "ops/pointwise/decompose.h"

namespace sconce {

inline SymbolTable& symbols(Build& build) { return build.program().symbols; }

// An integer argument: known, or what is known of a value. Nullopt when it is none or no integer.
inline std::optional<SymInt> integer(Build& build, const Argument& argument) {
  if (auto* known = std::get_if<int64_t>(&argument)) return SymInt(*known);
  if (auto* flag = std::get_if<bool>(&argument)) return SymInt(int64_t(*flag));
  if (auto* ref = std::get_if<ValueRef>(&argument))
    if (build.type(ref->id).kind == Type::Kind::integer) return build.type(ref->id).number;
  return std::nullopt;
}
inline std::optional<int64_t> known_integer(const Node& node, int i) {
  if (auto* known = std::get_if<int64_t>(&node.arguments[size_t(i)])) return *known;
  return std::nullopt;
}
// An argument for an integer: the number, or a value that has it.
inline Argument integer_argument(Build& build, SymInt size) {
  IntItem item = build.int_item(size);
  if (item.is_known()) return item.known;
  return ValueRef{item.value};
}
// The integers of a list argument (or of one integer); nullopt when it is no list.
inline std::optional<std::vector<SymInt>> integers(Build& build, const Node& node, int i) {
  std::vector<SymInt> out;
  const Argument& argument = node.arguments[size_t(i)];
  if (auto* items = std::get_if<std::vector<IntItem>>(&argument)) {
    for (const IntItem& item : *items) {
      if (item.is_known()) out.push_back(item.known);
      else out.push_back(build.type(item.value).number);
    }
    return out;
  }
  if (auto one = integer(build, argument)) return std::vector<SymInt>{*one};
  return std::nullopt;
}
// The same when all are known.
inline std::optional<std::vector<int64_t>> known_integers(Build& build, const Node& node, int i) {
  auto all = integers(build, node, i);
  if (!all) return std::nullopt;
  std::vector<int64_t> out;
  for (const SymInt& size : *all) {
    if (!size.is_known()) return std::nullopt;
    out.push_back(size.value);
  }
  return out;
}
// A dimension in [0, rank); nullopt when out of range.
inline std::optional<int> wrap(int64_t dim, int rank) {
  int limit = rank == 0 ? 1 : rank;
  if (dim < -limit || dim >= limit) return std::nullopt;
  return int(dim < 0 ? dim + limit : dim);
}
inline std::vector<ValueId> tensors(const Node& node, int i) {
  std::vector<ValueId> out;
  if (auto* refs = std::get_if<std::vector<ValueRef>>(&node.arguments[size_t(i)]))
    for (const ValueRef& ref : *refs) out.push_back(ref.id);
  return out;
}
inline Argument tensor_list(const std::vector<ValueId>& values) {
  std::vector<ValueRef> refs;
  for (ValueId id : values) refs.push_back({id});
  return refs;
}
inline std::vector<SymInt> sizes_of(Build& build, ValueId id) { return build.tensor(id).sizes; }
inline SymInt product(Build& build, const std::vector<SymInt>& sizes, size_t begin, size_t end) {
  SymInt total = 1;
  for (size_t i = begin; i < end; i++) total = symbols(build).multiply(total, sizes[i]);
  return total;
}
inline ValueId slice(Build& build, ValueId x, int64_t dim, Argument start, Argument end,
                     int64_t step = 1) {
  return build.call1("aten::slice.Tensor", {Build::v(x), dim, std::move(start), std::move(end), step});
}
inline ValueId unsqueeze(Build& build, ValueId x, int64_t dim) {
  return build.call1("aten::unsqueeze", {Build::v(x), dim});
}
inline ValueId expand(Build& build, ValueId x, const std::vector<SymInt>& sizes) {
  return build.call1("aten::expand", {Build::v(x), build.ints(sizes), false});
}
inline ValueId transpose(Build& build, ValueId x, int64_t a, int64_t b) {
  return build.call1("aten::transpose.int", {Build::v(x), a, b});
}
inline ValueId join(Build& build, const std::vector<ValueId>& parts, int64_t dim) {
  if (parts.size() == 1) return parts[0];
  return build.call1("aten::cat", {tensor_list(parts), dim});
}

}  // namespace sconce
