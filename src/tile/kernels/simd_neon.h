// Simd for AArch64 Advanced SIMD: 4 lanes.
#pragma once

#include <arm_neon.h>

#include "tile/kernels/simd_vector.h"

#define SCONCE_SIMD_NEON 1
#define SCONCE_VECTOR_REGISTER "w"  // constraint of assembly

namespace sconce::tile {
namespace {

struct Simd : VectorOps<4> {
  static constexpr int kRegisters = 32;
  // a[0] b[0] a[1] b[1] ...: the lower and the upper half of that.
  static SCONCE_INLINE F interleave_low(F a, F b) {
    return __builtin_shufflevector(a, b, 0, 4, 1, 5);
  }
  static SCONCE_INLINE F interleave_high(F a, F b) {
    return __builtin_shufflevector(a, b, 2, 6, 3, 7);
  }
  static SCONCE_INLINE F set(float x) { return (F)vdupq_n_f32(x); }
  static SCONCE_INLINE I seti(int32_t x) { return (I)vdupq_n_s32(x); }
  static SCONCE_INLINE F fma(F a, F b, F c) {
    return (F)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
  }
  static SCONCE_INLINE F fnma(F a, F b, F c) {
    return (F)vfmsq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
  }
  static SCONCE_INLINE F muladd(F a, F b, F c) { return fma(a, b, c); }
  static SCONCE_INLINE F sqrt(F a) { return (F)vsqrtq_f32((float32x4_t)a); }
  // Not FMAX: it orders the zeros, which x86 does not.
  static SCONCE_INLINE F at_least(F x, F lo) { return lo > x ? lo : x; }
  static SCONCE_INLINE F at_most(F x, F hi) { return hi < x ? hi : x; }
  static SCONCE_INLINE bool any(M m) { return vmaxvq_u32((uint32x4_t)m) != 0; }
  static SCONCE_INLINE I to_i(F a) { return (I)vcvtnq_s32_f32((float32x4_t)a); }
  static SCONCE_INLINE I trunc_i(F a) { return (I)vcvtq_s32_f32((float32x4_t)a); }
  static SCONCE_INLINE F to_f(I a) { return (F)vcvtq_f32_s32((int32x4_t)a); }
  static SCONCE_INLINE F rint(F a) { return (F)vrndnq_f32((float32x4_t)a); }
  static SCONCE_INLINE F floor(F a) { return (F)vrndmq_f32((float32x4_t)a); }
  static SCONCE_INLINE F ceil(F a) { return (F)vrndpq_f32((float32x4_t)a); }
  static SCONCE_INLINE F trunc(F a) { return (F)vrndq_f32((float32x4_t)a); }
  static constexpr bool kNanToLeast = false;  // but to 0
  template <int kPart, int kParts>
  static SCONCE_INLINE void store_part(void* p, I bytes, int n) {
    store_bytes_n(p, bytes, n);
  }
  static SCONCE_INLINE I pack_bytes(I a, I b, I c, I d, I zero) {
    int16x8_t low = vqmovn_high_s32(vqmovn_s32((int32x4_t)a), (int32x4_t)b);
    int16x8_t high = vqmovn_high_s32(vqmovn_s32((int32x4_t)c), (int32x4_t)d);
    return (I)vqmovn_high_s16(vqmovn_s16(vqaddq_s16(low, (int16x8_t)zero)),
                              vqaddq_s16(high, (int16x8_t)zero));
  }
  static SCONCE_INLINE I in_order(I bytes) { return bytes; }
  static SCONCE_INLINE void to_quads(I (&x)[4]) {
    int16x8_t ab = (int16x8_t)vzip1q_s8((int8x16_t)x[0], (int8x16_t)x[1]);
    int16x8_t cd = (int16x8_t)vzip1q_s8((int8x16_t)x[2], (int8x16_t)x[3]);
    int16x8_t ab_high = (int16x8_t)vzip2q_s8((int8x16_t)x[0], (int8x16_t)x[1]);
    int16x8_t cd_high = (int16x8_t)vzip2q_s8((int8x16_t)x[2], (int8x16_t)x[3]);
    x[0] = (I)vzip1q_s16(ab, cd);
    x[1] = (I)vzip2q_s16(ab, cd);
    x[2] = (I)vzip1q_s16(ab_high, cd_high);
    x[3] = (I)vzip2q_s16(ab_high, cd_high);
  }
  static SCONCE_INLINE F load_f16(const uint16_t* p) {
    float16x4_t x;
    memcpy(&x, p, 8);
    return (F)vcvt_f32_f16(x);
  }
  static SCONCE_INLINE void store_f16(uint16_t* p, F x) {
    float16x4_t y = vcvt_f16_f32((float32x4_t)x);
    memcpy(p, &y, 8);
  }
};

}  // namespace
}  // namespace sconce::tile
