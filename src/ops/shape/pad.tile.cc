// Padding in the tile language: a load outside gives what is around, or is one inside.
#include "ops/tile.h"

namespace sconce {
namespace {

std::optional<TileIndex> padded_axes(TileLowering& l, const Node& node) {
  TileIndex at;
  for (SymInt size : l.shape(node.results[0])) at.push_back(l.parallel(size));
  return at;
}

std::optional<tile::ValueId> constant_pad(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId* x = tensor_argument(node, 0);
  auto pad = ints_argument(node, 1);
  auto value = number_argument(node, 2);
  if (!x || !pad || !value || pad->size() % 2 || pad->size() > 2 * at.size()) return std::nullopt;
  DType dtype = l.type(*x).dtype;
  bool bytes = dtype == DType::i8 && *value >= -128 && *value <= 127;
  if (dtype != DType::f32 && dtype != DType::i32 && dtype != DType::i64 && dtype != DType::b8 &&
      !bytes)
    return std::nullopt;
  if (dtype == DType::b8) value = *value != 0;
  // Pairs from the last dimension on: before, after.
  TileIndex from = at;
  for (size_t p = 0; p < pad->size() / 2; p++) from[from.size() - 1 - p].offset -= (*pad)[2 * p];
  return l.at(*x, from, *value);
}

// The border is the axis, or goes on.
template <int dims, bool reflect>
std::optional<tile::ValueId> continued_pad(TileLowering& l, const Node& node, const TileIndex& at) {
  using tile::Binary;
  const ValueId* x = tensor_argument(node, 0);
  auto pad = ints_argument(node, 1);
  if (!x || !pad || at.size() < dims) return std::nullopt;
  if (pad->size() == 1) pad->resize(2 * dims, pad->front());
  if (pad->size() != 2 * dims) return std::nullopt;
  tile::Builder& b = l.build;
  TileIndex from = at;
  for (size_t k = 0; k < dims; k++) {  // pairs from the last dimension on
    size_t d = at.size() - 1 - k;
    from[d].offset -= (*pad)[2 * k];
    if ((*pad)[2 * k] <= 0 && (*pad)[2 * k + 1] <= 0) continue;
    tile::ValueId place = l.position(from[d]);
    tile::ValueId last =
        b.sub(l.number_of(l.shape(*x, int(d)), DType::i64), b.constant(1, DType::i64));
    if (reflect) {
      place = b.unary(tile::Unary::abs, place);
      place = b.binary(Binary::min, place, b.sub(b.add(last, last), place));
    } else {
      place = b.binary(Binary::min, b.binary(Binary::max, place, b.constant(0, DType::i64)), last);
    }
    from[d] = {{}, 0, place};
  }
  return l.at(*x, from);
}

// self, dims: from the last element to the first.
std::optional<tile::ValueId> flip(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId* x = tensor_argument(node, 0);
  auto dims = ints_argument(node, 1);
  if (!x || !dims) return std::nullopt;
  TileIndex from = at;
  for (int64_t dim : *dims) {
    size_t d = size_t(dim < 0 ? dim + int64_t(at.size()) : dim);
    if (d >= at.size()) continue;  // rank 0 has no dimension
    if (at[d].value != tile::kNone) return std::nullopt;
    for (tile::Term& term : from[d].terms) term.factor = -term.factor;
    from[d].offset = l.number(l.shape(*x, int(d))) - 1 - from[d].offset;
  }
  return l.at(*x, from);
}

}  // namespace

TILE(reflection_pad1d) = {
    .op = "aten::reflection_pad1d", .lower = continued_pad<1, true>, .gathers = true};
TILE(reflection_pad2d) = {
    .op = "aten::reflection_pad2d", .lower = continued_pad<2, true>, .gathers = true};
TILE(reflection_pad3d) = {
    .op = "aten::reflection_pad3d", .lower = continued_pad<3, true>, .gathers = true};
TILE(replication_pad1d) = {
    .op = "aten::replication_pad1d", .lower = continued_pad<1, false>, .gathers = true};
TILE(replication_pad2d) = {
    .op = "aten::replication_pad2d", .lower = continued_pad<2, false>, .gathers = true};
TILE(replication_pad3d) = {
    .op = "aten::replication_pad3d", .lower = continued_pad<3, false>, .gathers = true};
TILE(flip) = {.op = "aten::flip", .lower = flip, .gathers = true};
TILE(constant_pad_nd) = {"aten::constant_pad_nd", constant_pad, padded_axes};

}  // namespace sconce
