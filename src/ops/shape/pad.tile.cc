// Padding in the tile language: a load outside gives what is around.
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
  if (dtype != DType::f32 && dtype != DType::i32 && dtype != DType::i64 && !bytes)
    return std::nullopt;
  // Pairs from the last dimension on: before, after.
  TileIndex from = at;
  for (size_t p = 0; p < pad->size() / 2; p++) from[from.size() - 1 - p].offset -= (*pad)[2 * p];
  return l.at(*x, from, *value);
}

}  // namespace

TILE(constant_pad_nd) = {"aten::constant_pad_nd", constant_pad, padded_axes};

}  // namespace sconce
