// Simd for AVX2 with FMA and F16C: 8 lanes.
#pragma once

#include <immintrin.h>

#include "tile/kernels/simd_vector.h"

#define SCONCE_SIMD_X86 1
#define SCONCE_VECTOR_REGISTER "x"  // constraint of assembly

namespace sconce::tile {
namespace {

struct Simd : VectorOps<8> {
  static constexpr int kRegisters = 16;
  // a[0] b[0] a[1] b[1] ...: the lower and the upper half of that.
  static SCONCE_INLINE F interleave_low(F a, F b) {
    return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  }
  static SCONCE_INLINE F interleave_high(F a, F b) {
    return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
  }
  static SCONCE_INLINE __m256i first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static SCONCE_INLINE F load_n(const float* p, int n) {
    return (F)_mm256_maskload_ps(p, first(n));
  }
  static SCONCE_INLINE void store_n(float* p, F x, int n) {
    _mm256_maskstore_ps(p, first(n), (__m256)x);
  }
  static SCONCE_INLINE I load_i32_n(const int32_t* p, int n) {
    return (I)_mm256_maskload_epi32(p, first(n));
  }
  static SCONCE_INLINE void store_i32_n(int32_t* p, I x, int n) {
    _mm256_maskstore_epi32(p, first(n), (__m256i)x);
  }
  static SCONCE_INLINE F set(float x) { return (F)_mm256_set1_ps(x); }
  static SCONCE_INLINE I seti(int32_t x) { return (I)_mm256_set1_epi32(x); }
  static SCONCE_INLINE F fma(F a, F b, F c) {
    return (F)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
  }
  static SCONCE_INLINE F fnma(F a, F b, F c) {
    return (F)_mm256_fnmadd_ps((__m256)a, (__m256)b, (__m256)c);
  }
  static SCONCE_INLINE F muladd(F a, F b, F c) { return fma(a, b, c); }
  static SCONCE_INLINE F sqrt(F a) { return (F)_mm256_sqrt_ps((__m256)a); }
  static SCONCE_INLINE F at_least(F x, F lo) { return (F)_mm256_max_ps((__m256)lo, (__m256)x); }
  static SCONCE_INLINE F at_most(F x, F hi) { return (F)_mm256_min_ps((__m256)hi, (__m256)x); }
  static SCONCE_INLINE F select(M m, F a, F b) {
    return (F)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)m);
  }
  static SCONCE_INLINE I selecti(M m, I a, I b) {
    return (I)_mm256_blendv_epi8((__m256i)b, (__m256i)a, (__m256i)m);
  }
  static SCONCE_INLINE bool any(M m) { return _mm256_movemask_ps((__m256)m) != 0; }
  static SCONCE_INLINE I to_i(F a) { return (I)_mm256_cvtps_epi32((__m256)a); }
  static SCONCE_INLINE I trunc_i(F a) { return (I)_mm256_cvttps_epi32((__m256)a); }
  static SCONCE_INLINE F to_f(I a) { return (F)_mm256_cvtepi32_ps((__m256i)a); }
  static SCONCE_INLINE F rint(F a) { return (F)_mm256_round_ps((__m256)a, 8); }
  static SCONCE_INLINE F floor(F a) { return (F)_mm256_round_ps((__m256)a, 9); }
  static SCONCE_INLINE F ceil(F a) { return (F)_mm256_round_ps((__m256)a, 10); }
  static SCONCE_INLINE F trunc(F a) { return (F)_mm256_round_ps((__m256)a, 11); }
  static SCONCE_INLINE I widen(const uint8_t* p) {
    return (I)_mm256_cvtepu8_epi32(_mm_loadu_si64(p));
  }
  static SCONCE_INLINE I widen(const int8_t* p) {
    return (I)_mm256_cvtepi8_epi32(_mm_loadu_si64(p));
  }
  static SCONCE_INLINE I widen(const uint16_t* p) {
    return (I)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
  }
  static constexpr bool kNanToLeast = true;
  template <int kPart, int kParts>
  static SCONCE_INLINE void store_part(void* p, I bytes, int n) {
    if (n == 32 / kParts) {
      if constexpr (kParts == 1)
        _mm256_storeu_si256((__m256i*)p, (__m256i)bytes);
      else
        _mm_storeu_si128((__m128i*)p, _mm256_extracti128_si256((__m256i)bytes, kPart));
      return;
    }
    __builtin_memcpy(p, (const char*)&bytes + 32 / kParts * kPart, size_t(n));
  }
  static SCONCE_INLINE I max_bytes(I a, I b) { return (I)_mm256_max_epi8((__m256i)a, (__m256i)b); }
  static SCONCE_INLINE I pack_bytes(I a, I b, I c, I d, I zero) {
    __m256i low = _mm256_packs_epi32((__m256i)a, (__m256i)b);
    __m256i high = _mm256_packs_epi32((__m256i)c, (__m256i)d);
    return (I)_mm256_packs_epi16(_mm256_adds_epi16(low, (__m256i)zero),
                                 _mm256_adds_epi16(high, (__m256i)zero));
  }
  static SCONCE_INLINE I in_order(I bytes) {
    return (I)_mm256_permutevar8x32_epi32((__m256i)bytes,
                                          _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  }
  static SCONCE_INLINE void to_quads(I (&x)[4]) {
    __m256i ab = _mm256_unpacklo_epi8((__m256i)x[0], (__m256i)x[1]);
    __m256i cd = _mm256_unpacklo_epi8((__m256i)x[2], (__m256i)x[3]);
    __m256i ab_high = _mm256_unpackhi_epi8((__m256i)x[0], (__m256i)x[1]);
    __m256i cd_high = _mm256_unpackhi_epi8((__m256i)x[2], (__m256i)x[3]);
    x[0] = (I)_mm256_unpacklo_epi16(ab, cd);
    x[1] = (I)_mm256_unpackhi_epi16(ab, cd);
    x[2] = (I)_mm256_unpacklo_epi16(ab_high, cd_high);
    x[3] = (I)_mm256_unpackhi_epi16(ab_high, cd_high);
  }
  static SCONCE_INLINE F load_f16(const uint16_t* p) {
    return (F)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
  }
  static SCONCE_INLINE void store_f16(uint16_t* p, F x) {
    _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph((__m256)x, 0));
  }
};

}  // namespace
}  // namespace sconce::tile
