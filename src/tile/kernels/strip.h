// Many steps on a strip of elements, from slot to slot, the running value in registers.
#pragma once

#include "tile/kernels/apply.h"

namespace sconce::tile {
namespace {

// The steps of a transform from kStep on, on its values.
template <int kKind, int kStep = 0>
SCONCE_INLINE void transform_steps(F* values) {
  constexpr Transform t = kTransforms[kKind];
  if constexpr (kStep < t.step_count) {
    constexpr TransformStep step = t.steps[kStep];
    const F x = values[step.x], y = values[step.y];
    F made;
    if constexpr (step.op == TransformOp::add)
      made = Simd::add(x, y);
    else if constexpr (step.op == TransformOp::sub)
      made = Simd::sub(x, y);
    else if constexpr (step.op == TransformOp::mul)
      made = Simd::mul(x, Simd::set(float(step.number)));
    else
      made = Simd::fma(x, Simd::set(float(step.number)), y);
    values[t.inputs + kStep] = made;
    transform_steps<kKind, kStep + 1>(values);
  }
}

// Stores the outputs from kOutput on that are no inputs.
template <int kKind, bool kPart, int kOutput = 0>
SCONCE_INLINE void store_outputs(const F* values, float* const* to, int64_t at, int n) {
  constexpr Transform t = kTransforms[kKind];
  if constexpr (kOutput < t.outputs) {
    constexpr bool is_made = t.output[kOutput] >= t.inputs;
    if constexpr (is_made && kPart)
      Simd::store_n(*to + at, values[t.output[kOutput]], n);
    else if constexpr (is_made)
      Simd::store(*to + at, values[t.output[kOutput]]);
    store_outputs<kKind, kPart, kOutput + 1>(values, to + is_made, at, n);
  }
}

template <int kKind, int kVectors, bool kPart>
void transform_strip(const StripBlock& b, const uint16_t* operands, int64_t at, int n) {
  constexpr Transform t = kTransforms[kKind];
  constexpr int kInputs = t.inputs, kSlots = kInputs + t.made(), W = Simd::kLanes;
  float* slots[kSlots];
#pragma GCC unroll 16
  for (int k = 0; k < kSlots; k++) slots[k] = b.slots[operands[k]] + at;
#pragma GCC unroll 1
  for (int64_t i = 0; i < kVectors * W; i += W) {
    F values[t.values()];
#pragma GCC unroll 16
    for (int k = 0; k < kInputs; k++)
      values[k] = kPart ? Simd::load_n(slots[k] + i, n) : Simd::load(slots[k] + i);
    transform_steps<kKind>(values);
    store_outputs<kKind, kPart>(values, slots + kInputs, i, n);
  }
}

template <int kVectors, bool kPart, int kKind = 0>
void transform_strip(int kind, const StripBlock& b, const uint16_t* operands, int64_t at, int n) {
  if constexpr (kKind < int(TransformKind::count)) {
    if (kind == kKind) return transform_strip<kKind, kVectors, kPart>(b, operands, at, n);
    transform_strip<kVectors, kPart, kKind + 1>(kind, b, operands, at, n);
  }
}

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
    float* const s = step->op == StripOp::transform ? nullptr : b.slots[step->slot] + at;
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
      case StripOp::transform:
        transform_strip<kVectors, kPart>(step->other, b, b.operands + step->slot, at, n);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; v++) a[v] = Simd::set(0);
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
