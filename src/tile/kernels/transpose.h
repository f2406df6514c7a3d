// Transposition in registers: as many vectors as each has lanes.
#pragma once

#include "tile/kernels/simd_vector.h"

namespace sconce::tile {
namespace {

// Lane j of vector i becomes lane i of vector j, by log2(W) rounds of interleaving vector i with
// vector i + W / 2.
SCONCE_INLINE void transpose_vectors(Simd::F* rows) {
  constexpr int W = Simd::kLanes;
  Simd::F mixed[W];
#pragma GCC unroll 4
  for (int round = 1; round < W; round *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < W / 2; i++) {
      mixed[2 * i] = Simd::interleave_low(rows[i], rows[i + W / 2]);
      mixed[2 * i + 1] = Simd::interleave_high(rows[i], rows[i + W / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) rows[i] = mixed[i];
  }
}

}  // namespace
}  // namespace sconce::tile
