// What a set can do at most, for benchmarks and the tuner to compare with.
#pragma once

#include "tile/kernels/dot_int.h"
#include "tile/kernels/table.h"

namespace sconce::tile {
namespace {

int64_t peak_f32(int64_t rounds, float* sink) {
  constexpr int kCount = Simd::kRegisters * 3 / 4;
  Simd::F acc[kCount], factor = Simd::set(sink[0]), term = Simd::set(sink[1]);
#pragma GCC unroll 32
  for (int i = 0; i < kCount; i++) acc[i] = Simd::set(float(i));
  for (int64_t round = 0; round < rounds; round++) {
#pragma GCC unroll 32
    for (int i = 0; i < kCount; i++) acc[i] = Simd::muladd(acc[i], factor, term);
  }
  Simd::F sum = acc[0];
#pragma GCC unroll 32
  for (int i = 1; i < kCount; i++) sum = Simd::add(sum, acc[i]);
  Simd::store(sink, sum);
  return rounds * kCount * Simd::kLanes * 2;
}

// Makes the value unknown to the compiler, which would multiply once and add often.
SCONCE_INLINE void hide(I& x) { __asm__("" : "+" SCONCE_VECTOR_REGISTER(x)); }
#if SCONCE_SIMD_X86
SCONCE_INLINE void hide(WideningUnit::Pair& x) {
  hide(x.even);
  hide(x.odd);
}
#endif

template <class Unit>
int64_t peak_i8(int64_t rounds, float* sink) {
  constexpr int kCount = Simd::kRegisters * 3 / 4;
  I acc[kCount];
  auto a = Unit::left(Simd::seti(int32_t(sink[0])));
  auto b = Unit::right(Simd::seti(int32_t(sink[1])));
#pragma GCC unroll 32
  for (int i = 0; i < kCount; i++) acc[i] = Simd::seti(i);
  for (int64_t round = 0; round < rounds; round++) {
#pragma GCC unroll 32
    for (int i = 0; i < kCount; i++) {
      hide(a);
      acc[i] = Unit::dot(acc[i], a, b);
    }
  }
  I sum = acc[0];
#pragma GCC unroll 32
  for (int i = 1; i < kCount; i++) sum = Simd::iadd(sum, acc[i]);
  Simd::store(sink, Simd::to_f(sum));
  return rounds * kCount * Simd::kLanes * 8;
}

}  // namespace
}  // namespace sconce::tile
