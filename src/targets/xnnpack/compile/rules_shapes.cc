// Rules for operators that move elements.
#include <algorithm>

#include "targets/xnnpack/compile/lowering.h"

namespace sconce::xnn_compile {
namespace {

bool reshape_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  if (!x || l.is_constant(*x)) return false;
  Dims to = l.dims(node.results[0]);
  if (to.empty() || l.dims(*x).empty()) return false;
  l.set(node.results[0], l.reshaped(l.plain(*x), to));
  return true;
}

bool permute_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  if (!x || l.is_constant(*x)) return false;
  int64_t rank = int64_t(l.dims(*x).size());
  std::vector<uint32_t> order;
  for (int64_t i = 0; i < rank; i++) order.push_back(uint32_t(i));
  if (node.op == "aten::permute") {
    auto dims = ints_argument(node, 1, 0);
    if (!dims || int64_t(dims->size()) != rank) return false;
    for (size_t i = 0; i < order.size(); i++)
      order[i] = uint32_t((*dims)[i] < 0 ? (*dims)[i] + rank : (*dims)[i]);
  } else {
    int64_t a = 0, b = 1;
    if (node.op == "aten::transpose.int") {
      auto first = int_argument(node, 1), second = int_argument(node, 2);
      if (!first || !second) return false;
      a = *first < 0 ? *first + rank : *first, b = *second < 0 ? *second + rank : *second;
    }
    if (rank < 2 || a >= rank || b >= rank) return false;
    std::swap(order[size_t(a)], order[size_t(b)]);
  }
  l.set(node.results[0], l.transposed(l.plain(*x), order));
  return true;
}

bool cat_rule(Lowering& l, const Node& node) {
  auto* list = std::get_if<std::vector<ValueRef>>(&node.arguments[0]);
  auto dim = int_argument(node, 1);
  if (!list || !dim || list->size() < 2) return false;
  Dims out = l.dims(node.results[0]);
  int64_t rank = int64_t(out.size()), axis = *dim < 0 ? *dim + rank : *dim;
  bool as_image = false;
  for (ValueRef ref : *list) {
    if (ref.id == kNoValue || int64_t(l.dims(ref.id).size()) != rank) return false;
    as_image |= l.prefers_image(ref.id);
  }
  if (as_image) axis = axis == 0 ? 0 : axis == 1 ? 3 : axis + 3 - rank;  // its last two: 1 and 2
  std::vector<uint32_t> parts;
  for (ValueRef ref : *list) parts.push_back(as_image ? l.image(ref.id) : l.plain(ref.id));
  constexpr Kind kKinds[] = {Kind::concatenate2, Kind::concatenate3, Kind::concatenate4,
                             Kind::concatenate5};
  while (parts.size() > 1) {
    size_t count = std::min<size_t>(parts.size(), 5);
    Dims d = l.dims_of(parts[0]);
    for (size_t i = 1; i < count; i++) d[size_t(axis)] += l.dims_of(parts[i])[size_t(axis)];
    XnnNode& made = l.add(kKinds[count - 2], {parts.begin(), parts.begin() + long(count)}, d);
    made.axis = uint32_t(axis);
    uint32_t joined = made.outputs[0];
    parts.erase(parts.begin(), parts.begin() + long(count));
    parts.insert(parts.begin(), joined);
  }
  l.set(node.results[0], parts[0], as_image);
  return true;
}

bool slice_rule(Lowering& l, const Node& node) {
  bool select = node.op == "aten::select.int";
  auto x = value_argument(node, 0);
  auto dim = int_argument(node, 1);
  if (!x || !dim || l.is_constant(*x)) return false;
  Dims in = l.dims(*x), out = l.dims(node.results[0]);
  int64_t rank = int64_t(in.size()), axis = *dim < 0 ? *dim + rank : *dim;
  if (axis < 0 || axis >= rank || out.empty()) return false;
  int64_t size = in[size_t(axis)];
  std::optional<int64_t> start =
      is_none(node, 2) ? std::optional<int64_t>(0) : int_argument(node, 2);
  if (!start || (!select && int_argument(node, 4) != 1)) return false;
  int64_t from = std::clamp<int64_t>(*start < 0 ? *start + size : *start, 0, size);
  Dims part = in;
  part[size_t(axis)] = select ? 1 : out[size_t(axis)];
  uint32_t whole = l.plain(*x);
  XnnNode& made = l.add(Kind::slice, {whole}, part);
  made.first.assign(in.size(), 0);
  made.first[size_t(axis)] = uint32_t(from);
  made.second.assign(part.begin(), part.end());
  l.set(node.results[0], l.reshaped(made.outputs[0], out));
  return true;
}

constexpr Row kRules[] = {
    {"aten::cat", cat_rule, true},
    {"aten::permute", permute_rule, true},
    {"aten::reshape", reshape_rule, true},
    {"aten::select.int", slice_rule, true},
    {"aten::slice.Tensor", slice_rule, true},
    {"aten::squeeze", reshape_rule, true},
    {"aten::squeeze.dim", reshape_rule, true},
    {"aten::squeeze.dims", reshape_rule, true},
    {"aten::t", permute_rule, true},
    {"aten::transpose.int", permute_rule, true},
    {"aten::unsqueeze", reshape_rule, true},
    {"aten::view", reshape_rule, true},
};

}  // namespace

Span<const Row> shape_rules() { return kRules; }

}  // namespace sconce::xnn_compile
