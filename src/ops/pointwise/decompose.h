// What decompositions of pointwise operators share.
#pragma once

#include "ops/build.h"
#include "ops/promote.h"

namespace sconce {

using Results = std::optional<std::vector<ValueId>>;

// A string as a template argument.
template <size_t n>
struct Text {
  char text[n];
  constexpr Text(const char (&from)[n]) { for (size_t i = 0; i < n; i++) text[i] = from[i]; }
};

// The same operator under another name: all arguments go over as they are.
template <Text target>
Results forward(Build& build, const Node& node) {
  return build.call(target.text, node.arguments);
}

// The result is the first argument.
inline Results identity(Build&, const Node& node) {
  return std::vector<ValueId>{std::get<ValueRef>(node.arguments[0]).id};
}

// Tensor argument `i`.
inline ValueId value(const Node& node, int i) { return std::get<ValueRef>(node.arguments[size_t(i)]).id; }
inline bool is_none(const Node& node, int i) {
  return std::holds_alternative<None>(node.arguments[size_t(i)]);
}
// A known number (int, bool or float argument); nullopt when it is symbolic, a tensor or absent.
inline std::optional<double> number(const Node& node, int i) {
  const Argument& argument = node.arguments[size_t(i)];
  if (auto* integer = std::get_if<int64_t>(&argument)) return double(*integer);
  if (auto* floating = std::get_if<double>(&argument)) return *floating;
  if (auto* boolean = std::get_if<bool>(&argument)) return double(*boolean);
  return std::nullopt;
}
inline std::vector<ValueId> one(ValueId id) { return {id}; }

// Tensor arguments 0 and 1 converted to the type they promote to (integers to f32 when `floating`).
inline std::pair<ValueId, ValueId> promoted(Build& build, const Node& node, bool floating) {
  ResultType type;
  int32_t none = 1;
  for (int i = 0; i < 2; i++) {
    Tensor tensor;
    tensor.dtype = build.dtype(value(node, i));
    tensor.rank = build.rank(value(node, i)) > 0;
    tensor.sizes = &none;
    type.add(tensor);
  }
  DType dtype = floating ? to_floating(type.get()) : type.get();
  ValueId first = build.cast(value(node, 0), dtype), second = build.cast(value(node, 1), dtype);
  return {first, second};
}

// An operator that is another one by another name.
#define OP_ALIAS(name, schema_text, target) \
  OP(name) = {.schema = schema_text, .decompose = forward<target>};

}  // namespace sconce
