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

// Four steps of a panel's columns, of which some may not be there.
SCONCE_INLINE void pack_quad(const PackI8Block& b, const int8_t* from, int steps, int columns,
                             int8_t* out) {
  for (int j = 0; j < kPanel; j++)
    for (int i = 0; i < 4; i++)
      out[j * 4 + i] = j < columns && i < steps ? from[i * b.k_stride + j * b.n_stride] : 0;
}
typedef int8_t PanelBytes __attribute__((vector_size(kPanel)));
// Four steps that are rows of columns.
SCONCE_INLINE void pack_quad_of_rows(const int8_t* from, int64_t row, int columns, int8_t* out) {
  static_assert(kPanel == 16);
  PanelBytes x[4] = {}, pairs[4], quads[4];
  if (columns == kPanel)
    for (int i = 0; i < 4; i++) __builtin_memcpy(&x[i], from + i * row, kPanel);
  else
    for (int i = 0; i < 4; i++) __builtin_memcpy(&x[i], from + i * row, size_t(columns));
  for (int i = 0; i < 4; i += 2) {
    pairs[i] = __builtin_shufflevector(x[i], x[i + 1], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6,
                                       22, 7, 23);
    pairs[i + 1] = __builtin_shufflevector(x[i], x[i + 1], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13,
                                           29, 14, 30, 15, 31);
  }
  for (int i = 0; i < 2; i++) {
    quads[2 * i] = __builtin_shufflevector(pairs[i], pairs[i + 2], 0, 1, 16, 17, 2, 3, 18, 19, 4, 5,
                                           20, 21, 6, 7, 22, 23);
    quads[2 * i + 1] = __builtin_shufflevector(pairs[i], pairs[i + 2], 8, 9, 24, 25, 10, 11, 26, 27,
                                               12, 13, 28, 29, 14, 15, 30, 31);
  }
  __builtin_memcpy(out, quads, sizeof quads);
}

void pack_i8(const PackI8Block& b) {
  typedef int32_t Quads __attribute__((vector_size(4 * kPanel)));  // four bytes a column
  for (int64_t n = 0; n < b.n; n += kPanel) {
    int8_t* out = b.out + n / kPanel * b.panel_stride;
    const int columns = b.n - n < kPanel ? int(b.n - n) : kPanel;
    Quads sums = {};
    for (int64_t s = 0; s < b.segments; s++) {
      const int8_t* from = b.b + s * b.length * b.k_stride + n * b.n_stride;
      const int64_t quads = b.length / 4;
      int8_t* const first = out;
      if (b.n_stride == 1) {
        for (int64_t q = 0; q < quads; q++, out += 4 * kPanel)
          pack_quad_of_rows(from + 4 * q * b.k_stride, b.k_stride, columns, out);
      } else if (b.k_stride == 1 && b.n_stride % 4 == 0 && (uintptr_t)from % 4 == 0) {
        // Steps that lie together move as one element.
        if (columns < kPanel) __builtin_memset(out, 0, size_t(quads) * 4 * kPanel);
        transpose_floats(columns, quads, (const float*)from, b.n_stride / 4, (float*)out, kPanel);
        out += quads * 4 * kPanel;
      } else {
        for (int64_t q = 0; q < quads; q++, out += 4 * kPanel)
          pack_quad(b, from + 4 * q * b.k_stride, 4, columns, out);
      }
      if (b.length % 4) {
        pack_quad(b, from + 4 * quads * b.k_stride, int(b.length % 4), columns, out);
        out += 4 * kPanel;
      }
      for (const int8_t* at = first; at < out; at += sizeof(Quads)) {
        Quads x;
        __builtin_memcpy(&x, at, sizeof x);
        sums += (x << 24 >> 24) + (x << 16 >> 24) + (x << 8 >> 24) + (x >> 24);
      }
    }
    __builtin_memcpy(out, &sums, sizeof sums);
  }
}

void gather(const GatherBlock& b) {
  for (int64_t i = 0; i < b.count; i++)
    __builtin_memcpy((char*)b.out + i * b.out_row, (const char*)b.table + b.index[i] * b.table_row,
                     size_t(b.row_bytes));
}

}  // namespace
}  // namespace sconce::tile
