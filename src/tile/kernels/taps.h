// Rows of pixels, channels last: what each output pixel reads is given by pointers.
#pragma once

#include "tile/kernels/vector.h"

namespace sconce::tile {
namespace {

// For kPixels pixels and kVectors vectors of channels at once, and one of each for what is left.
template <int kPixels, int kVectors, class Taps, class Block, class Body>
SCONCE_INLINE void for_pixels(const Taps& t, const Block& block, const Body& body) {
  constexpr int W = Simd::kLanes;
  for (int64_t x = 0; x < t.width; x += kPixels) {
    const bool all = x + kPixels <= t.width;
    const int64_t last = all ? x + kPixels : t.width;
    int64_t c = 0;
    if (all)
      for (; c + kVectors * W <= t.channels; c += kVectors * W)
        body.template operator()<kPixels, kVectors>(block, x, c, W);
    for (; c < t.channels; c += W) {
      int64_t left = t.channels - c;
      for (int64_t one = x; one < last; one++)
        body.template operator()<1, 1>(block, one, c, left < W ? int(left) : W);
    }
  }
}

SCONCE_INLINE F load_lanes(const float* p, int n) {
  return n == Simd::kLanes ? Simd::load(p) : Simd::load_n(p, n);
}

// Bytes need no widening to be compared.
void max_pool_i8(const TapsI8Block& b) {
  typedef int8_t Bytes __attribute__((vector_size(4 * Simd::kLanes)));
  constexpr int kWidth = sizeof(Bytes);
  for (int64_t x = 0; x < b.width; x++)
    for (int64_t c = 0; c < b.channels; c += kWidth) {
      const int64_t left = b.channels - c;
      const size_t n = left < kWidth ? size_t(left) : size_t(kWidth);
      Bytes most;
      __builtin_memset(&most, -128, sizeof most);
      for (int64_t t = 0; t < b.tap_count; t++) {
        const int8_t* from = b.taps[x * b.tap_count + t] + c;
        Bytes value = most;
        if (n == kWidth)
          __builtin_memcpy(&value, from, kWidth);
        else
          __builtin_memcpy(&value, from, n);
        most = value > most ? value : most;
      }
      int8_t* to = b.out + x * b.out_pixel + c;
      if (n == kWidth)
        __builtin_memcpy(to, &most, kWidth);
      else
        __builtin_memcpy(to, &most, n);
    }
}

template <bool kMax>
struct Pool {
  template <int P, int V>
  SCONCE_INLINE void operator()(const PoolBlock& b, int64_t x, int64_t c, int n) const {
    const int64_t count = b.taps.tap_count;
    const float* const* taps = b.taps.taps + x * count;
    F acc = kMax && count ? load_lanes(taps[0] + c, n) : Simd::set(0);
    for (int64_t t = kMax; t < count; t++) {
      F value = load_lanes(taps[t] + c, n);
      acc = kMax ? maximum(acc, value) : Simd::add(acc, value);
    }
    if (!kMax) acc = Simd::div(acc, Simd::set(b.divisor[x]));
    put(b.taps.out + x * b.taps.out_pixel + c, acc, n);
  }
};
void max_pool(const PoolBlock& b) { for_pixels<1, 1>(b.taps, b, Pool<true>()); }
void average_pool(const PoolBlock& b) { for_pixels<1, 1>(b.taps, b, Pool<false>()); }

struct Blend {
  template <int P, int V>
  SCONCE_INLINE void operator()(const BlendBlock& b, int64_t x, int64_t c, int n) const {
    const int64_t count = b.taps.tap_count;
    const float* const* taps = b.taps.taps + x * count;
    const float* weights = b.weights + x * count;
    F acc = count ? Simd::mul(load_lanes(taps[0] + c, n), Simd::set(weights[0])) : Simd::set(0);
    for (int64_t t = 1; t < count; t++)
      acc = Simd::fma(load_lanes(taps[t] + c, n), Simd::set(weights[t]), acc);
    put(b.taps.out + x * b.taps.out_pixel + c, acc, n);
  }
};
void blend(const BlendBlock& b) { for_pixels<1, 1>(b.taps, b, Blend()); }

}  // namespace
}  // namespace sconce::tile
