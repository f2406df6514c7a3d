// Loops of matrix products in the tile language, of numbers and of integers.
#pragma once

#include "ops/tile.h"

namespace sconce {

// Every dimension of the result in tiles.
inline std::optional<TileIndex> rows_and_columns(TileLowering& l, const Node& node) {
  TileIndex at;
  for (SymInt size : l.shape(node.results[0])) at.push_back(l.parallel(size));
  return at;
}

// Products of matrices in the last two dimensions; those before them are batches.
inline std::optional<TileIndex> batched_axes(TileLowering& l, const Node& node) {
  TileIndex at;
  const auto& sizes = l.shape(node.results[0]);
  for (size_t d = 0; d < sizes.size(); d++)
    at.push_back(d + 2 < sizes.size() ? l.each(sizes[d]) : l.parallel(sizes[d]));
  return at;
}

// The sizes of two such operands fit.
inline bool are_batches_of_products(const TileLowering& l, ValueId a, ValueId b, int rank) {
  if (rank < 2 || l.rank(a) != rank || l.rank(b) != rank ||
      l.shape(a, rank - 1) != l.shape(b, rank - 2))
    return false;
  for (int d = 0; d + 2 < rank; d++)
    if (l.shape(a, d) != l.shape(b, d)) return false;
  return true;
}

}  // namespace sconce
