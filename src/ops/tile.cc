#include "ops/tile.h"

#include <algorithm>
#include <unordered_map>

#include "ops/traits.h"
#include "tensor/half.h"

namespace sconce {

std::optional<tile::ValueId> TileLowering::broadcast(ValueId tensor, const TileIndex& index) {
  size_t rank = type(tensor).sizes.size();
  if (rank > index.size()) return std::nullopt;
  TileIndex own(index.end() - std::ptrdiff_t(rank), index.end());
  // An axis of one index is kept: what is reduced over it must have it.
  auto has_one = [&](const tile::Index& i) {
    return i.value == tile::kNone && i.offset == 0 &&
           std::all_of(i.terms.begin(), i.terms.end(), [&](const tile::Term& term) {
             return build.kernel().axes[size_t(term.axis)].extent == tile::known(1);
           });
  };
  for (size_t d = 0; d < rank; d++) {
    SymInt size = shape(tensor, int(d));
    if (size == SymInt(1) && !has_one(own[d])) {
      own[d] = tile::at(0);
      continue;
    }
    // Sizes that a call tells must be the same for sure: else one of them might be 1 there.
    const std::vector<tile::Term>& terms = own[d].terms;
    if (terms.size() > 1 || (terms.size() == 1 && own[d] != tile::along(terms[0].axis))) continue;
    tile::Extent along =
        terms.empty() ? tile::known(1) : build.kernel().axes[size_t(terms[0].axis)].extent;
    bool is_told = !size.is_known() || along.dim != tile::kNone;
    if (is_told && along != extent(size)) return std::nullopt;
  }
  return at(tensor, own);
}

tile::Extent TileLowering::extent(SymInt size) {
  if (size.is_known()) return tile::known(size.value);
  for (const auto& [expr, dim] : dims_)
    if (expr == size.expr) return dim;
  tile::Extent dim = build.dim(fmt::format("d{}", dims_.size()));
  dims_.push_back({size.expr, dim});
  return dim;
}

tile::Index TileLowering::parallel(SymInt size) {
  return size == SymInt(1) ? tile::at(0) : tile::along(build.parallel(extent(size)));
}
tile::Index TileLowering::each(SymInt size) {
  return size == SymInt(1) ? tile::at(0) : tile::along(build.each(extent(size)));
}

tile::AxisId TileLowering::shared_span(int64_t key, SymInt size) {
  auto [found, is_new] = shared_.emplace(key, 0);
  if (is_new) found->second = span(size);
  return found->second;
}

tile::ValueId TileLowering::position(const tile::Index& index) {
  std::optional<tile::ValueId> sum;
  auto add = [&](tile::ValueId part) { sum = sum ? build.add(*sum, part) : part; };
  for (const tile::Term& term : index.terms) {
    tile::ValueId along = build.iota(term.axis);
    if (term.factor != 1) along = build.mul(along, build.constant(double(term.factor), DType::i64));
    add(along);
  }
  if (index.value != tile::kNone) add(build.cast(index.value, DType::i64));
  if (index.offset != 0 || !sum) add(build.constant(double(index.offset), DType::i64));
  return *sum;
}

tile::ValueId TileLowering::number_of(SymInt size, DType dtype) {
  if (!size.is_known()) return build.cast(build.extent(span(size)), dtype);
  double number = double(size.value);
  return build.constant(dtype == DType::f32 ? double(float(number)) : number, dtype);
}

tile::ValueId TileLowering::share_of(Span<const tile::AxisId> axes) {
  double known = 1;
  tile::ValueId told = tile::kNone;
  for (tile::AxisId axis : axes) {
    tile::Extent extent = build.kernel().axes[size_t(axis)].extent;
    if (extent.dim == tile::kNone) {
      known *= double(extent.known);
      continue;
    }
    tile::ValueId count = build.extent(axis);
    told = told == tile::kNone ? count : build.mul(told, count);
  }
  if (told == tile::kNone) return build.constant(1 / known);
  if (known != 1) told = build.mul(told, build.constant(known, DType::i64));
  return build.unary(tile::Unary::recip, build.cast(told, DType::f32));
}

int64_t TileLowering::number(SymInt size) const {
  is_refused_ |= !size.is_known();
  return size.is_known() ? size.value : 1;
}

int64_t TileLowering::likely(SymInt size) const {
  int64_t hint = symbols.hint(size);
  return hint > 0 ? hint : std::max<int64_t>(symbols.bounds(size).min, 1);
}

std::optional<tile::ValueId> TileLowering::operand(const Argument& argument, DType dtype,
                                                   const TileIndex& index) {
  DType computed = tile::value_dtype(dtype);
  if (auto* ref = std::get_if<ValueRef>(&argument)) {
    if (const ValueId* tensor = tensor_of_integer(graph, ref->id)) {
      auto element = at(*tensor, TileIndex(type(*tensor).sizes.size(), tile::at(0)));
      return element ? std::optional(build.cast(*element, computed)) : std::nullopt;
    }
    if (!graph.type(ref->id).is_tensor() || type(ref->id).dtype != dtype) return std::nullopt;
    return broadcast(ref->id, index);
  }
  if (auto* number = std::get_if<double>(&argument)) {
    if (computed != DType::f32) return std::nullopt;
    return build.constant(*number, computed);
  }
  if (auto* number = std::get_if<int64_t>(&argument))
    return build.constant(double(*number), computed);
  if (auto* flag = std::get_if<bool>(&argument)) return build.constant(*flag, computed);
  return std::nullopt;
}

const TensorType& TileLowering::type(ValueId id) const {
  const TensorType& own = graph.type(id).tensor;
  if (!is_half(own.dtype)) return own;
  auto [found, is_new] = widened_.emplace(id, own);
  if (is_new) found->second.dtype = DType::f32;
  return found->second;
}

std::vector<int64_t> TileLowering::sizes(ValueId id) const {
  std::vector<int64_t> known;
  for (const SymInt& size : type(id).sizes) known.push_back(number(size));
  return known;
}

const TileRule* find_tile_rule(std::string_view op) {
  static const auto* index = [] {
    auto* made = new std::unordered_map<std::string_view, const TileRule*>;
    for (const TileRule* rule : all_tile_rules()) made->emplace(rule->op, rule);
    return made;
  }();
  auto found = index->find(op);
  return found == index->end() ? nullptr : found->second;
}

std::optional<double> number_argument(const Node& node, size_t i) {
  if (i >= node.arguments.size()) return std::nullopt;
  if (auto* number = std::get_if<double>(&node.arguments[i])) return *number;
  if (auto* number = std::get_if<int64_t>(&node.arguments[i])) return double(*number);
  if (auto* flag = std::get_if<bool>(&node.arguments[i])) return double(*flag);
  return std::nullopt;
}

std::optional<std::vector<int64_t>> ints_argument(const Node& node, size_t i) {
  if (i >= node.arguments.size()) return std::nullopt;
  auto* items = std::get_if<std::vector<IntItem>>(&node.arguments[i]);
  if (!items) return std::nullopt;
  std::vector<int64_t> known;
  for (const IntItem& item : *items) {
    if (!item.is_known()) return std::nullopt;
    known.push_back(item.known);
  }
  return known;
}

}  // namespace sconce
