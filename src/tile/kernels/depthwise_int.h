// Convolutions by depth of bytes, over the units of dot_int.h.
//
// A unit adds four products of a channel at once, so four taps of each channel are brought next to
// each other first: those of a column of the window, which all windows that the column is part of
// then share. Weights are brought in the same order, and results leave it when they become bytes.
#pragma once

#include "tile/kernels/dot_int.h"

namespace sconce::tile {
namespace {

constexpr int kQuadsMax = 64;  // that are kept at a time: of inputs, and of weights

// Some channels of a convolution, as many as there are bytes in a vector.
template <class Unit>
struct DepthwiseChannels {
  static constexpr int W = Simd::kLanes, kChannels = 4 * W;
  static constexpr int kPixels = Simd::kRegisters == 32 ? 4 : 2;

  const DepthwiseI8Block& b;
  const int64_t first;  // channel
  const int n;          // how many
  const decltype(Simd::mask_of_bytes(0)) mask = Simd::mask_of_bytes(n);
  const int64_t quads = (b.down + 3) / 4;
  const int64_t reach = (b.across - 1) * b.spread + 1;  // columns of a window
  const bool keeps = b.across * quads <= kQuadsMax && reach * quads <= kQuadsMax;
  I inputs[kQuadsMax][4], weights[kQuadsMax][4];  // [column][quad], [column of the window][quad]
  I start[4];
  F scale[4];

  DepthwiseChannels(const DepthwiseI8Block& block, int64_t channel)
      : b(block),
        first(channel),
        n(b.channels - channel < kChannels ? int(b.channels - channel) : kChannels) {
    I sums[4] = {};
    const auto one = Unit::left(Simd::seti(0x01010101));
    for (int64_t k = 0; k < b.across; k++)
      for (int64_t q = 0; q < quads; q++) {
        I w[4];
        weights_of(k, q, w);
        for (int i = 0; i < 4; i++) {
          if (keeps) weights[k * quads + q][i] = w[i];
          sums[i] = Unit::dot(sums[i], one, Unit::right(w[i]));
        }
      }
    int32_t bias[kChannels] = {};
    float factor[kChannels] = {};
    if (b.bias) __builtin_memcpy(bias, b.bias + first, size_t(n) * 4);
    for (int i = 0; i < n; i++) factor[i] = b.scale[b.scale_step ? first + i : 0];
    in_order_of_quads(bias, start);
    in_order_of_quads(factor, scale);
    // Units that take one operand without a sign get the inputs' bytes with the top bit flipped.
    if (Unit::kUnsigned)
      for (int i = 0; i < 4; i++) start[i] = Simd::isub(start[i], Simd::template shl<7>(sums[i]));
  }

  // The order of Simd::to_quads(): in 128 bits at a time, four channels to each vector.
  template <class T, class Vector>
  static void in_order_of_quads(const T* from, Vector (&to)[4]) {
    constexpr int kGroup = W < 4 ? W : 4;
    T all[4][W];
    for (int i = 0; i < 4; i++)
      for (int l = 0; l < W; l++)
        all[i][l] = from[l / kGroup * 4 * kGroup + i * kGroup + l % kGroup];
    __builtin_memcpy(to, all, sizeof all);
  }

  SCONCE_INLINE I load(const int8_t* p) const { return Simd::load_bytes_of(p, mask); }
  // Weights of four taps of a column of the window; 0 behind the last.
  SCONCE_INLINE void weights_of(int64_t k, int64_t quad, I (&w)[4]) const {
    for (int j = 0; j < 4; j++) {
      const int64_t row = quad * 4 + j;
      w[j] = row < b.down ? load(b.weights + (row * b.across + k) * b.weight_row + first)
                          : Simd::seti(0);
    }
    Simd::to_quads(w);
  }

  // Brings the bytes of T taps next to each other, for `count` columns from `column` on, quads
  // `step` apart. What stands for a fourth tap that is not there is multiplied by 0.
  template <int T>
  SCONCE_INLINE void bring_taps(const WindowRow<int8_t>* rows, int64_t column, int64_t count,
                                I (*to)[4], int64_t step) const {
    const I flip = Simd::seti(Unit::kUnsigned ? int32_t(0x80808080u) : 0);
    const int64_t stride = b.column, end = column + count;
    const int8_t *at[T], *const outside = b.outside + first;
    int64_t low = column, high = end;  // where all are inside
#pragma GCC unroll 4
    for (int j = 0; j < T; j++) {
      at[j] = rows[j].at + column * stride + first;
      low = rows[j].begin > low ? rows[j].begin : low;
      high = rows[j].end < high ? rows[j].end : high;
    }
    for (; column < end; column++, to += step) {
      I x[4];
      const bool all = column >= low && column < high;
#pragma GCC unroll 4
      for (int j = 0; j < T; j++) {
        const bool inside = all || (column >= rows[j].begin && column < rows[j].end);
        x[j] = Simd::ixor(load(inside ? at[j] : outside), flip);
        at[j] += stride;
      }
#pragma GCC unroll 4
      for (int j = T; j < 4; j++) x[j] = x[T - 1];
      Simd::to_quads(x);
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) (*to)[i] = x[i];
    }
  }
  SCONCE_INLINE void bring(const WindowRow<int8_t>* rows, int64_t quad, int64_t column,
                           int64_t count, I (*to)[4], int64_t step) const {
    rows += quad * 4;
    switch (b.down - quad * 4) {
      case 1: return bring_taps<1>(rows, column, count, to, step);
      case 2: return bring_taps<2>(rows, column, count, to, step);
      case 3: return bring_taps<3>(rows, column, count, to, step);
      default: return bring_taps<4>(rows, column, count, to, step);
    }
  }

  template <Then kThen>
  SCONCE_INLINE void put(const Rounding8<kThen>& rounding, const I (&sums)[4], int8_t* out) const {
    I x[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) x[i] = rounding.whole(sums[i], scale[i], Simd::seti(0));
    Simd::template store_part<0, 1>(out + first, rounding.bytes(x), n);
  }

  // P windows next to each other, of which the first begins with column `column` of those kept.
  // kAcross: how many columns a window has when each is one quad, else 0.
  template <int P, int kAcross, Then kThen>
  SCONCE_INLINE void windows(const Rounding8<kThen>& rounding, int64_t column, int8_t* out) const {
    const int64_t count = kAcross ? 1 : quads, next = b.step * count;
    const int64_t across = kAcross ? kAcross : b.across, spread = b.spread * count;
    I acc[P][4];
#pragma GCC unroll 4
    for (int p = 0; p < P; p++)
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) acc[p][i] = start[i];
    const I(*w)[4] = weights;
#pragma GCC unroll 3
    for (int64_t k = 0; k < across; k++)
      for (int64_t q = 0; q < count; q++, w++) {
        const I(*x)[4] = inputs + column * count + k * spread + q;
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
          const auto right = Unit::right((*w)[i]);
#pragma GCC unroll 4
          for (int p = 0; p < P; p++)
            acc[p][i] = Unit::dot(acc[p][i], Unit::left(x[p * next][i]), right);
        }
      }
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) put(rounding, acc[p], out + p * b.out_pixel);
  }

  // A row of pixels, as many at a time as there is room for their columns.
  template <int kAcross, Then kThen>
  SCONCE_INLINE void row(const Rounding8<kThen>& rounding, const WindowRow<int8_t>* rows,
                         int8_t* out) {
    const int64_t most = (kQuadsMax / quads - reach) / b.step + 1;
    for (int64_t x = 0; x < b.width; x += most, out += most * b.out_pixel) {
      const int64_t count = b.width - x < most ? b.width - x : most;
      const int64_t columns = (count - 1) * b.step + reach;
      for (int64_t q = 0; q < quads; q++) bring(rows, q, x * b.step, columns, inputs + q, quads);
      int64_t p = 0;
      for (; p + kPixels <= count; p += kPixels)
        windows<kPixels, kAcross>(rounding, p * b.step, out + p * b.out_pixel);
      for (; p < count; p++) windows<1, kAcross>(rounding, p * b.step, out + p * b.out_pixel);
    }
  }

  // The same where there is no room: nothing is shared.
  template <Then kThen>
  void large_row(const Rounding8<kThen>& rounding, const WindowRow<int8_t>* rows,
                 int8_t* out) const {
    for (int64_t x = 0; x < b.width; x++) {
      I acc[4] = {start[0], start[1], start[2], start[3]};
      for (int64_t k = 0; k < b.across; k++)
        for (int64_t q = 0; q < quads; q++) {
          I in[1][4], w[4];
          bring(rows, q, x * b.step + k * b.spread, 1, in, 1);
          weights_of(k, q, w);
          for (int i = 0; i < 4; i++)
            acc[i] = Unit::dot(acc[i], Unit::left(in[0][i]), Unit::right(w[i]));
        }
      put(rounding, acc, out + x * b.out_pixel);
    }
  }

  template <Then kThen>
  __attribute__((noinline)) void run() {
    const Rounding8<kThen> rounding(b.to, b.again);
    for (int64_t y = 0; y < b.height; y++) {
      const WindowRow<int8_t>* rows = b.rows + y * b.down;
      if (keeps && quads == 1 && b.across == 3)
        row<3>(rounding, rows, b.out[y]);
      else if (keeps)
        row<0>(rounding, rows, b.out[y]);
      else
        large_row(rounding, rows, b.out[y]);
    }
  }
};

template <class Unit>
void depthwise_i8(const DepthwiseI8Block& b) {
  for (int64_t c = 0; c < b.channels; c += DepthwiseChannels<Unit>::kChannels) {
    DepthwiseChannels<Unit> channels(b, c);
    if (b.again)
      channels.template run<Then::scaled>();
    else
      channels.template run<Then::nothing>();
  }
}

}  // namespace
}  // namespace sconce::tile
