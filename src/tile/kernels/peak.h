// What a set can do at most, for benchmarks and the tuner to compare with.
#pragma once

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

}  // namespace
}  // namespace sconce::tile
