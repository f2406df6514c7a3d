// Loops around the dot kernels that use the caches well: how much of K, of the panels and of the
// rows to take at a time. Results do not depend on it.
#pragma once

#include "tile/kernels/table.h"

namespace sconce::tile {

// From outside: blocks of `panels` panels, so that their part of C stays near; blocks of `k` steps,
// all but the first with DotInit::c; groups of tile.panels; tiles of at most tile.rows rows. Cut
// evenly: piece i of `count` starts at i * total / count.
struct DotBlocking {
  DotTile tile;
  int64_t k = 0, panels = 0;
};

constexpr int64_t pieces(int64_t total, int64_t at_most) { return (total + at_most - 1) / at_most; }
constexpr int64_t piece_start(int64_t total, int64_t count, int64_t index) {
  return total * index / count;
}

// For m rows, n columns, k steps (k: of all segments). `kernels` chooses the tile: the one that
// wastes least on the edges, the first of equals.
template <class Kernels>
DotBlocking choose_blocking(const Kernels& kernels, int64_t m, int64_t n, int64_t k) {
  DotBlocking best;
  const int64_t panels = pieces(n, kPanel);
  // One row is bound by memory: as many panels as there are, for as many streams.
  if (m == 1) {
    for (int p = 1; p <= kDotPanelsMax; p++)
      if (kernels.kernel[0][p - 1]) best.tile = {1, uint8_t(p)};
    best.k = k > 0 ? k : 1;
    best.panels = panels > 0 ? panels : 1;
    return best;
  }
  double best_cost = 0;
  for (int i = 0; i < kernels.tile_count; i++) {
    DotTile t = kernels.tiles[i];
    // Steps of all tiles; one takes rows * panels multiply-adds and a row of loads and broadcasts.
    double steps = double(pieces(m, t.rows)) * double(pieces(panels, t.panels));
    double rows = double(m) / double(pieces(m, t.rows));
    double wide = double(panels) / double(pieces(panels, t.panels));
    double cost = steps * (rows * wide + 0.3 * (rows + wide) + 2);
    if (i == 0 || cost < 0.95 * best_cost) {
      best_cost = cost;
      best.tile = t;
    }
  }
  constexpr int64_t kStepsMax = 512, kPanelsMax = 12;
  best.k = k > 0 ? pieces(k, pieces(k, kStepsMax)) : 1;
  best.panels = kPanelsMax;
  return best;
}

}  // namespace sconce::tile
