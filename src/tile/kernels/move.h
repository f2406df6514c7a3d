// Transposition, packing and gathering.
#pragma once

#include "tile/kernels/table.h"
#include "tile/kernels/transpose.h"

namespace sconce::tile {
namespace {

SCONCE_INLINE void transpose_tile(const float* x, int64_t x_row, float* out, int64_t out_row) {
  constexpr int W = Simd::kLanes;
  Simd::F rows[W];
#pragma GCC unroll 16
  for (int i = 0; i < W; i++) rows[i] = Simd::load(x + i * x_row);
  transpose_vectors(rows);
#pragma GCC unroll 16
  for (int i = 0; i < W; i++) Simd::store(out + i * out_row, rows[i]);
}

SCONCE_INLINE void transpose_floats(int64_t rows, int64_t columns, const float* x, int64_t x_row,
                                    float* out, int64_t out_row) {
  constexpr int W = Simd::kLanes;
  for (int64_t r = 0; r < rows; r += W)
    for (int64_t c = 0; c < columns; c += W) {
      if (r + W <= rows && c + W <= columns) {
        transpose_tile(x + r * x_row + c, x_row, out + c * out_row + r, out_row);
        continue;
      }
      for (int64_t i = r; i < rows && i < r + W; i++)
        for (int64_t j = c; j < columns && j < c + W; j++) out[j * out_row + i] = x[i * x_row + j];
    }
}

void transpose_32(const TransposeBlock& b) {
  transpose_floats(b.rows, b.columns, (const float*)b.x, b.x_row, (float*)b.out, b.out_row);
}
template <class T>
void transpose_narrow(const TransposeBlock& b) {
  constexpr int64_t kTile = 16;  // of cache lines on both sides
  const T* x = (const T*)b.x;
  T* out = (T*)b.out;
  for (int64_t r = 0; r < b.rows; r += kTile)
    for (int64_t c = 0; c < b.columns; c += kTile)
      for (int64_t j = c; j < b.columns && j < c + kTile; j++)
        for (int64_t i = r; i < b.rows && i < r + kTile; i++)
          out[j * b.out_row + i] = x[i * b.x_row + j];
}

void pack_f32(const PackBlock& b) {
  constexpr int W = Simd::kLanes;
  for (int64_t n = 0; n < b.n; n += kPanel) {
    float* out = b.out + n / kPanel * b.panel_stride;
    const float* from = b.b + n * b.n_stride;
    const int columns = b.n - n < kPanel ? int(b.n - n) : kPanel;
    if (b.n_stride == 1) {
      for (int64_t k = 0; k < b.k; k++)
        for (int v = 0; v < kPanel / W; v++) {
          int left = columns - v * W, lanes = left < 0 ? 0 : left > W ? W : left;
          const float* p = from + k * b.k_stride + v * W;
          Simd::store(out + k * kPanel + v * W, lanes == W ? Simd::load(p)
                                                : lanes    ? Simd::load_n(p, lanes)
                                                           : Simd::set(0));
        }
      continue;
    }
    if (columns < kPanel)
      for (int64_t k = 0; k < b.k; k++)
        for (int j = columns; j < kPanel; j++) out[k * kPanel + j] = 0;
    if (b.k_stride == 1) {
      transpose_floats(columns, b.k, from, b.n_stride, out, kPanel);
      continue;
    }
    for (int64_t k = 0; k < b.k; k++)
      for (int j = 0; j < columns; j++) out[k * kPanel + j] = from[k * b.k_stride + j * b.n_stride];
  }
}

void pack_i8(const PackI8Block& b) {
  for (int64_t n = 0; n < b.n; n += kPanel) {
    int8_t* out = b.out + n / kPanel * b.panel_stride;
    const int columns = b.n - n < kPanel ? int(b.n - n) : kPanel;
    int32_t sums[kPanel] = {};
    for (int64_t s = 0; s < b.segments; s++) {
      const int8_t* from = b.b + s * b.length * b.k_stride + n * b.n_stride;
      for (int64_t k = 0; k < b.length; k += 4, out += 4 * kPanel)
        for (int j = 0; j < kPanel; j++)
          for (int i = 0; i < 4; i++) {
            int8_t value =
                j < columns && k + i < b.length ? from[(k + i) * b.k_stride + j * b.n_stride] : 0;
            out[j * 4 + i] = value;
            sums[j] += value;
          }
    }
    __builtin_memcpy(out, sums, sizeof sums);
  }
}

void gather(const GatherBlock& b) {
  for (int64_t i = 0; i < b.count; i++)
    __builtin_memcpy((char*)b.out + i * b.out_row, (const char*)b.table + b.index[i] * b.table_row,
                     size_t(b.row_bytes));
}

}  // namespace
}  // namespace sconce::tile
