// Gathers in the tile language.
#include "ops/tile.h"

namespace sconce {
namespace {

// weight[indices[...], e]
std::optional<tile::ValueId> embedding(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId *weight = tensor_argument(node, 0), *indices = tensor_argument(node, 1);
  if (!weight || !indices || l.type(*weight).dtype != DType::f32 || at.empty()) return std::nullopt;
  TileIndex row(at.begin(), at.end() - 1);
  auto index = l.at(*indices, row);
  if (!index) return std::nullopt;
  return l.at_strict(*weight, {tile::Index{{}, 0, *index}, at.back()});
}

}  // namespace

TILE(embedding) = {"aten::embedding", embedding};

}  // namespace sconce
