// Simd for SSE2 alone: 4 lanes, no fused multiply-add in hardware.
//
// The declared exception to "same bits": muladd rounds twice. fma, which the elementary functions
// need, goes through double precision, which differs from a true fma only in rare ties.
#pragma once

#include <emmintrin.h>

#include "tile/kernels/simd_round.h"

#define SCONCE_SIMD_X86 1
#define SCONCE_VECTOR_REGISTER "x"  // constraint of assembly

namespace sconce::tile {
namespace {

struct Simd : VectorOps<4> {
  static constexpr int kRegisters = 16;
  // a[0] b[0] a[1] b[1] ...: the lower and the upper half of that.
  static SCONCE_INLINE F interleave_low(F a, F b) {
    return __builtin_shufflevector(a, b, 0, 4, 1, 5);
  }
  static SCONCE_INLINE F interleave_high(F a, F b) {
    return __builtin_shufflevector(a, b, 2, 6, 3, 7);
  }
  static SCONCE_INLINE F set(float x) { return (F)_mm_set1_ps(x); }
  static SCONCE_INLINE I seti(int32_t x) { return (I)_mm_set1_epi32(x); }
  static SCONCE_INLINE F fma(F a, F b, F c) {
    __m128d low = _mm_add_pd(_mm_mul_pd(_mm_cvtps_pd((__m128)a), _mm_cvtps_pd((__m128)b)),
                             _mm_cvtps_pd((__m128)c));
    __m128d high = _mm_add_pd(_mm_mul_pd(_mm_cvtps_pd(_mm_movehl_ps((__m128)a, (__m128)a)),
                                         _mm_cvtps_pd(_mm_movehl_ps((__m128)b, (__m128)b))),
                              _mm_cvtps_pd(_mm_movehl_ps((__m128)c, (__m128)c)));
    return (F)_mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high));
  }
  static SCONCE_INLINE F fnma(F a, F b, F c) { return fma(-a, b, c); }
  static SCONCE_INLINE F muladd(F a, F b, F c) { return a * b + c; }
  static SCONCE_INLINE F sqrt(F a) { return (F)_mm_sqrt_ps((__m128)a); }
  static SCONCE_INLINE F at_least(F x, F lo) { return (F)_mm_max_ps((__m128)lo, (__m128)x); }
  static SCONCE_INLINE F at_most(F x, F hi) { return (F)_mm_min_ps((__m128)hi, (__m128)x); }
  static SCONCE_INLINE bool any(M m) { return _mm_movemask_ps((__m128)m) != 0; }
  static SCONCE_INLINE I to_i(F a) { return (I)_mm_cvtps_epi32((__m128)a); }
  static SCONCE_INLINE I trunc_i(F a) { return (I)_mm_cvttps_epi32((__m128)a); }
  static SCONCE_INLINE F to_f(I a) { return (F)_mm_cvtepi32_ps((__m128i)a); }
  static SCONCE_INLINE F rint(F a) { return Rounding<Simd>::rint(a); }
  static SCONCE_INLINE F floor(F a) { return Rounding<Simd>::floor(a); }
  static SCONCE_INLINE F ceil(F a) { return Rounding<Simd>::ceil(a); }
  static SCONCE_INLINE F trunc(F a) { return Rounding<Simd>::trunc(a); }
  static constexpr bool kNanToLeast = true;
  template <int kPart, int kParts>
  static SCONCE_INLINE void store_part(void* p, I bytes, int n) {
    store_bytes_n(p, bytes, n);
  }
  static SCONCE_INLINE I pack_bytes(I a, I b, I c, I d, I zero) {
    __m128i low = _mm_packs_epi32((__m128i)a, (__m128i)b);
    __m128i high = _mm_packs_epi32((__m128i)c, (__m128i)d);
    return (I)_mm_packs_epi16(_mm_adds_epi16(low, (__m128i)zero),
                              _mm_adds_epi16(high, (__m128i)zero));
  }
  static SCONCE_INLINE I in_order(I bytes) { return bytes; }
  static SCONCE_INLINE void to_quads(I (&x)[4]) {
    __m128i ab = _mm_unpacklo_epi8((__m128i)x[0], (__m128i)x[1]);
    __m128i cd = _mm_unpacklo_epi8((__m128i)x[2], (__m128i)x[3]);
    __m128i ab_high = _mm_unpackhi_epi8((__m128i)x[0], (__m128i)x[1]);
    __m128i cd_high = _mm_unpackhi_epi8((__m128i)x[2], (__m128i)x[3]);
    x[0] = (I)_mm_unpacklo_epi16(ab, cd);
    x[1] = (I)_mm_unpackhi_epi16(ab, cd);
    x[2] = (I)_mm_unpacklo_epi16(ab_high, cd_high);
    x[3] = (I)_mm_unpackhi_epi16(ab_high, cd_high);
  }
  static SCONCE_INLINE F load_f16(const uint16_t* p) { return Rounding<Simd>::from_f16(widen(p)); }
  static SCONCE_INLINE void store_f16(uint16_t* p, F x) { narrow(p, Rounding<Simd>::to_f16(x)); }
};

}  // namespace
}  // namespace sconce::tile
