// Convolutions by depth of f32, channels last: windows next to each other share what they read.
//
// Each result adds its taps in order, so the bits do not depend on how many windows are done at
// once. Some windows go down all rows before the next ones, some channels at a time, so that what
// the rows share is still in the nearest cache.
#pragma once

#include "tile/kernels/vector.h"

namespace sconce::tile {
namespace {

constexpr int64_t kNearFloats = 4096;  // of the rows of some windows

constexpr int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// What is read of a row for some windows, from their first column on.
struct WindowRowPart {
  const float* at;
  int64_t column;      // from one to the next; 0 where nothing is inside
  int64_t begin, end;  // columns that are inside

  SCONCE_INLINE WindowRowPart(const DepthwiseBlock& b, const WindowRow<float>& row, int64_t first) {
    const bool any = row.begin < row.end;
    at = any ? row.at + first * b.column : b.outside;
    column = any ? b.column : 0;
    begin = any ? row.begin - first : 0;
    end = any ? row.end - first : INT64_MAX;
  }
};

// P windows, of which the first is window x of its row, for a vector of channels from c on.
// kAcross, kStep: those of the block with a spread of 1, or 0 for any. kEdges: columns may be
// outside. n: how many channels; less than a vector only with P = 1 and kAcross = 0.
template <int P, int kAcross, int kStep, bool kEdges, bool kPart = false>
SCONCE_INLINE void depthwise_windows(const DepthwiseBlock& b, const WindowRow<float>* rows,
                                     int64_t x, int64_t c, float* out, int n = Simd::kLanes) {
  auto load = [&](const float* p)
                  SCONCE_LAMBDA { return kPart ? Simd::load_n(p, n) : Simd::load(p); };
  const F start = b.bias ? load(b.bias + c) : Simd::set(0);
  F acc[P];
#pragma GCC unroll 8
  for (int p = 0; p < P; p++) acc[p] = start;
  const float *weights = b.weights + c, *const outside = b.outside + c;
#pragma GCC unroll 1
  for (int64_t r = 0; r < b.down; r++) {
    const WindowRowPart row(b, rows[r], x * b.step);
    const float* const at = row.at + c;
    auto column = [&](int64_t j) SCONCE_LAMBDA {
      return load(!kEdges || (j >= row.begin && j < row.end) ? at + j * row.column : outside);
    };
    if constexpr (kAcross > 0) {
      F w[kAcross];
#pragma GCC unroll 8
      for (int k = 0; k < kAcross; k++) w[k] = load(weights + k * b.weight_row);
      weights += kAcross * b.weight_row;
#pragma GCC unroll 32
      for (int j = 0; j < (P - 1) * kStep + kAcross; j++) {
        const F value = column(j);
#pragma GCC unroll 8
        for (int k = 0; k < kAcross; k++)
          if (j >= k && (j - k) % kStep == 0 && (j - k) / kStep < P)
            acc[(j - k) / kStep] = Simd::muladd(value, w[k], acc[(j - k) / kStep]);
      }
    } else {
#pragma GCC unroll 1
      for (int64_t k = 0; k < b.across; k++, weights += b.weight_row) {
        const F w = load(weights);
#pragma GCC unroll 8
        for (int p = 0; p < P; p++)
          acc[p] = Simd::muladd(column(p * b.step + k * b.spread), w, acc[p]);
      }
    }
  }
  const F lo = Simd::set(b.lo), hi = Simd::set(b.hi);
#pragma GCC unroll 8
  for (int p = 0; p < P; p++)
    put(out + p * b.out_pixel + c, Simd::at_most(Simd::at_least(acc[p], lo), hi), n);
}

template <int kAcross, int kStep>
struct DepthwiseRows {
  static constexpr int W = Simd::kLanes;
  const DepthwiseBlock& b;

  // P windows from x on in all rows, channels [c, end).
  template <int P, bool kEdges>
  void windows(int64_t x, int64_t c, int64_t end) const {
    for (int64_t y = 0; y < b.height; y++) {
      const WindowRow<float>* rows = b.rows + y * b.down;
      float* const out = b.out[y] + x * b.out_pixel;
      int64_t at = c;
      for (; at + W <= end; at += W)
        depthwise_windows<P, kAcross, kStep, kEdges>(b, rows, x, at, out);
      if (at == end) continue;
      if (end >= W) {  // some channels twice
        depthwise_windows<P, kAcross, kStep, kEdges>(b, rows, x, end - W, out);
        continue;
      }
      for (int64_t p = 0; p < P; p++)
        depthwise_windows<1, 0, 0, true, true>(b, rows, x + p, at, out + p * b.out_pixel,
                                               int(end - at));
    }
  }
  template <bool kEdges>
  int64_t some(int64_t x, int64_t left, int64_t most, int64_t c, int64_t end) const {
    if constexpr (kAcross > 0) {
      if (most == 8 && left >= 8) return windows<8, kEdges>(x, c, end), 8;
      if (left >= 7) return windows<7, kEdges>(x, c, end), 7;
    }
    if (left >= 4) return windows<4, kEdges>(x, c, end), 4;
    if (kAcross > 0 && left >= 2) return windows<2, kEdges>(x, c, end), 2;
    return windows<1, kEdges>(x, c, end), 1;
  }

  void run() const {
    // Windows of which all columns are inside, in every row of which any is.
    const int64_t reach = (b.across - 1) * b.spread;
    int64_t first = 0, last = b.width;
    for (int64_t r = 0; r < b.height * b.down; r++) {
      const WindowRow<float>& row = b.rows[r];
      if (row.begin >= row.end) continue;
      first = larger(first, (row.begin + b.step - 1) / b.step);
      if (row.end < b.width * b.step + reach)
        last = smaller(last, row.end > reach ? (row.end - reach - 1) / b.step + 1 : 0);
    }
    // Sizes of pictures are often multiples of 7.
    const int64_t most = b.width % 7 ? 8 : 7;
    const int64_t columns = (most - 1) * b.step + reach + 1;
    const int64_t near = larger(kNearFloats / (columns * b.down) / W * W, W);
    for (int64_t c = 0; c < b.channels; c += near) {
      // What is left at the end is not less than a vector, if there is one.
      int64_t end = smaller(c + near, b.channels);
      for (int64_t x = 0; x < b.width;) {
        int64_t left = smaller(most, b.width - x);
        if (x >= first && x + left <= last)
          x += some<false>(x, left, most, c, end);
        else
          x += some<true>(x, left, most, c, end);
      }
    }
  }
};

void depthwise(const DepthwiseBlock& b) {
  const bool near = b.spread == 1;
  if (near && b.across == 3 && b.step == 1) return DepthwiseRows<3, 1>{b}.run();
  if (near && b.across == 3 && b.step == 2) return DepthwiseRows<3, 2>{b}.run();
  if (near && b.across == 5 && b.step == 1) return DepthwiseRows<5, 1>{b}.run();
  if (near && b.across == 5 && b.step == 2) return DepthwiseRows<5, 2>{b}.run();
  DepthwiseRows<0, 0>{b}.run();
}

}  // namespace
}  // namespace sconce::tile
