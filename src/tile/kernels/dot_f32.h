// The f32 dot kernels: a grid of accumulators in registers, any width of vectors.
//
// One row of B serves all rows of the tile; each element of A is broadcast. The tile shapes of a
// set follow from its registers: accumulators + one row of B + one broadcast value must fit.
#pragma once

#include "tile/kernels/table.h"

namespace sconce::tile {
namespace {

// How B's elements become f32.
struct StoredF32 {
  typedef float T;
  static SCONCE_INLINE Simd::F load(const float* p) { return Simd::load(p); }
};
struct StoredF16 {
  typedef uint16_t T;
  static SCONCE_INLINE Simd::F load(const uint16_t* p) { return Simd::load_f16(p); }
};
struct StoredBf16 {
  typedef uint16_t T;
  static SCONCE_INLINE Simd::F load(const uint16_t* p) {
    return Simd::as_f(Simd::shl<16>(Simd::widen(p)));
  }
};

// Vectors of a panel, and lanes of the v-th vector of `columns` columns.
constexpr int kPerPanel = kPanel / Simd::kLanes;
SCONCE_INLINE int lanes_of(int v, int columns) {
  int rest = columns - v * Simd::kLanes;
  return rest < 0 ? 0 : rest > Simd::kLanes ? Simd::kLanes : rest;
}

template <int R, int P, class Stored>
void dot_f32(const DotF32& d) {
  constexpr int W = Simd::kLanes, V = P * kPerPanel;
  typedef Simd::F F;
  typedef typename Stored::T T;
  const bool whole = d.columns == P * kPanel;
  F acc[R][V];
  if (d.init == DotInit::zero) {
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 64
      for (int v = 0; v < V; v++) acc[r][v] = Simd::set(0);
  } else {
    const float* from = d.init == DotInit::c ? d.c : d.bias;
    int64_t stride = d.init == DotInit::c ? d.c_stride : 0;
    if (whole) {
#pragma GCC unroll 16
      for (int r = 0; r < R; r++)
#pragma GCC unroll 64
        for (int v = 0; v < V; v++) acc[r][v] = Simd::load(from + r * stride + v * W);
    } else {
#pragma GCC unroll 16
      for (int r = 0; r < R; r++)
#pragma GCC unroll 64
        for (int v = 0; v < V; v++)
          acc[r][v] = Simd::load_n(from + r * stride + v * W, lanes_of(v, d.columns));
    }
  }

  const float* const* rows = d.rows;
  const T* b = (const T*)d.b;
  const int64_t length = d.length, panel_stride = d.panel_stride;
  const char* next = (const char*)(d.next ? d.next : d.b);
  const int64_t next_step = d.next ? d.next_step : 0;
  for (int64_t s = 0; s < d.segments; s++) {
    const float* a[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) a[r] = rows[r];
    rows += R;
    for (int64_t k = 0; k < length; k++, b += kPanel) {
      if constexpr (R > 1) __builtin_prefetch(next, 0, 2);
      next += next_step;
      // One register for all panels: the compiler would take one for each, more than there are.
      if constexpr (P > 2) __asm__("" : "+r"(b));
      F row[V];
#pragma GCC unroll 64
      for (int v = 0; v < V; v++)
        row[v] = Stored::load(b + v / kPerPanel * panel_stride + v % kPerPanel * W);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        F x = Simd::set(a[r][k]);
#pragma GCC unroll 64
        for (int v = 0; v < V; v++) acc[r][v] = Simd::muladd(x, row[v], acc[r][v]);
      }
    }
  }

  if (d.residual) {
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 64
      for (int v = 0; v < V; v++) {
        const float* from = d.residual + r * d.residual_stride + v * W;
        F x = whole ? Simd::load(from) : Simd::load_n(from, lanes_of(v, d.columns));
        acc[r][v] = Simd::add(acc[r][v], x);
      }
  }
  if (d.lo > -__builtin_inff() || d.hi < __builtin_inff()) {
    const F lo = Simd::set(d.lo), hi = Simd::set(d.hi);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 64
      for (int v = 0; v < V; v++) acc[r][v] = Simd::at_most(Simd::at_least(acc[r][v], lo), hi);
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 64
    for (int v = 0; v < V; v++) {
      float* to = d.c + r * d.c_stride + v * W;
      if (whole)
        Simd::store(to, acc[r][v]);
      else
        Simd::store_n(to, acc[r][v], lanes_of(v, d.columns));
    }
}

// Fills column P of the table with 1 .. rows_max rows.
template <class Stored, int P, int R>
constexpr void fill_dot_f32(DotF32Kernels& kernels) {
  if constexpr (R > 0) {
    kernels.kernel[R - 1][P - 1] = dot_f32<R, P, Stored>;
    fill_dot_f32<Stored, P, R - 1>(kernels);
  }
}

// R1 .. R4: the most rows with 1 .. 4 panels.
template <class Stored, int R1, int R2, int R3, int R4, int kTiles>
constexpr DotF32Kernels make_dot_f32(const DotTile (&tiles)[kTiles]) {
  DotF32Kernels kernels = {};
  fill_dot_f32<Stored, 1, R1>(kernels);
  fill_dot_f32<Stored, 2, R2>(kernels);
  fill_dot_f32<Stored, 3, R3>(kernels);
  fill_dot_f32<Stored, 4, R4>(kernels);
  for (int i = 0; i < kTiles; i++) kernels.tiles[i] = tiles[i];
  kernels.tile_count = kTiles;
  return kernels;
}

}  // namespace
}  // namespace sconce::tile
