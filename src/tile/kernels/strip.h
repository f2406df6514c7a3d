// Many steps on a strip of elements, from slot to slot, the running value in registers.
#pragma once

#include "tile/kernels/apply.h"

namespace sconce::tile {
namespace {

// All steps on kVectors vectors from element `at` on; kPart: on n elements of one.
template <int kVectors, bool kPart>
void strip_steps(const StripBlock& b, int64_t at, int n = Simd::kLanes) {
  constexpr int W = Simd::kLanes;
  F a[kVectors];
  auto load = [&](const float* p)
                  SCONCE_LAMBDA { return kPart ? Simd::load_n(p, n) : Simd::load(p); };
  auto each = [&](const float* s, auto f) SCONCE_LAMBDA {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; v++) a[v] = f(a[v], load(s + v * W));
  };
  auto alone = [&](auto f) SCONCE_LAMBDA {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; v++) a[v] = f(a[v]);
  };
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; v++) a[v] = Simd::set(0);
#pragma GCC unroll 1
  for (const StripStep *step = b.steps, *end = step + b.step_count; step != end; step++) {
    float* const s = b.slots[step->slot] + at;
    switch (step->op) {
      case StripOp::load: each(s, [](F, F x) SCONCE_LAMBDA { return x; }); break;
      case StripOp::store:
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; v++) {
          if (kPart)
            Simd::store_n(s + v * W, a[v], n);
          else
            Simd::store(s + v * W, a[v]);
        }
        break;
      case StripOp::add: each(s, [](F y, F x) SCONCE_LAMBDA { return Simd::add(y, x); }); break;
      case StripOp::sub: each(s, [](F y, F x) SCONCE_LAMBDA { return Simd::sub(y, x); }); break;
      case StripOp::sub_from:
        each(s, [](F y, F x) SCONCE_LAMBDA { return Simd::sub(x, y); });
        break;
      case StripOp::mul: each(s, [](F y, F x) SCONCE_LAMBDA { return Simd::mul(y, x); }); break;
      case StripOp::mul_number: {
        const F number = Simd::set(step->number);
        alone([&](F y) SCONCE_LAMBDA { return Simd::mul(y, number); });
        break;
      }
      case StripOp::min: each(s, [](F y, F x) SCONCE_LAMBDA { return minimum(y, x); }); break;
      case StripOp::min_to: each(s, [](F y, F x) SCONCE_LAMBDA { return minimum(x, y); }); break;
      case StripOp::max: each(s, [](F y, F x) SCONCE_LAMBDA { return maximum(y, x); }); break;
      case StripOp::max_to: each(s, [](F y, F x) SCONCE_LAMBDA { return maximum(x, y); }); break;
      case StripOp::fma: {
        const float* const t = b.slots[step->other] + at;
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; v++) a[v] = Simd::fma(load(s + v * W), load(t + v * W), a[v]);
        break;
      }
      case StripOp::fma_number: {
        const F number = Simd::set(step->number);
        each(s, [&](F y, F x) SCONCE_LAMBDA { return Simd::fma(x, number, y); });
        break;
      }
      case StripOp::fma_of: {
        const float* const t = b.slots[step->other] + at;
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; v++) a[v] = Simd::fma(a[v], load(s + v * W), load(t + v * W));
        break;
      }
      case StripOp::neg: alone([](F y) SCONCE_LAMBDA { return apply<UnaryKernel::neg>(y); }); break;
      case StripOp::abs: alone([](F y) SCONCE_LAMBDA { return apply<UnaryKernel::abs>(y); }); break;
      case StripOp::relu:
        alone([](F y) SCONCE_LAMBDA { return apply<UnaryKernel::relu>(y); });
        break;
    }
  }
}

void strip(const StripBlock& b) {
  constexpr int W = Simd::kLanes, kWhole = kStrip / W, kHalf = kWhole > 1 ? kWhole / 2 : 1;
  int64_t at = 0;
  if (b.n == kStrip) return strip_steps<kWhole, false>(b, 0);
  for (; at + kHalf * W <= b.n; at += kHalf * W) strip_steps<kHalf, false>(b, at);
  for (; at + W <= b.n; at += W) strip_steps<1, false>(b, at);
  if (at < b.n) strip_steps<1, true>(b, at, int(b.n - at));
}

}  // namespace
}  // namespace sconce::tile
