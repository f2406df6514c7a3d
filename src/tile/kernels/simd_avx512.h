// Simd for AVX-512 F, BW, DQ, VL: 16 lanes, masks in mask registers.
#pragma once

#include <immintrin.h>

#include "tile/kernels/simd_vector.h"

#define SCONCE_SIMD_X86 1
#define SCONCE_VECTOR_REGISTER "v"  // constraint of assembly

namespace sconce::tile {
namespace {

struct Simd : VectorOps<16> {
  static constexpr int kRegisters = 32;
  // a[0] b[0] a[1] b[1] ...: the lower and the upper half of that.
  static SCONCE_INLINE F interleave_low(F a, F b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  }
  static SCONCE_INLINE F interleave_high(F a, F b) {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                   31);
  }
  typedef __mmask16 M;
  static SCONCE_INLINE M first(int n) { return M((1u << n) - 1); }
  static SCONCE_INLINE F load_n(const float* p, int n) {
    return (F)_mm512_maskz_loadu_ps(first(n), p);
  }
  static SCONCE_INLINE void store_n(float* p, F x, int n) {
    _mm512_mask_storeu_ps(p, first(n), (__m512)x);
  }
  static SCONCE_INLINE I load_i32_n(const int32_t* p, int n) {
    return (I)_mm512_maskz_loadu_epi32(first(n), p);
  }
  static SCONCE_INLINE void store_i32_n(int32_t* p, I x, int n) {
    _mm512_mask_storeu_epi32(p, first(n), (__m512i)x);
  }
  static SCONCE_INLINE F set(float x) { return (F)_mm512_set1_ps(x); }
  static SCONCE_INLINE I seti(int32_t x) { return (I)_mm512_set1_epi32(x); }
  static SCONCE_INLINE F fma(F a, F b, F c) {
    return (F)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
  }
  static SCONCE_INLINE F fnma(F a, F b, F c) {
    return (F)_mm512_fnmadd_ps((__m512)a, (__m512)b, (__m512)c);
  }
  static SCONCE_INLINE F muladd(F a, F b, F c) { return fma(a, b, c); }
  static SCONCE_INLINE F sqrt(F a) { return (F)_mm512_sqrt_ps((__m512)a); }
  static SCONCE_INLINE F at_least(F x, F lo) { return (F)_mm512_max_ps((__m512)lo, (__m512)x); }
  static SCONCE_INLINE F at_most(F x, F hi) { return (F)_mm512_min_ps((__m512)hi, (__m512)x); }
  static SCONCE_INLINE M lt(F a, F b) {
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ);
  }
  static SCONCE_INLINE M le(F a, F b) {
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LE_OQ);
  }
  static SCONCE_INLINE M eq(F a, F b) {
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ);
  }
  static SCONCE_INLINE M isnan(F a) {
    return _mm512_cmp_ps_mask((__m512)a, (__m512)a, _CMP_UNORD_Q);
  }
  static SCONCE_INLINE M ieq(I a, I b) { return _mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b); }
  static SCONCE_INLINE M igt(I a, I b) { return _mm512_cmpgt_epi32_mask((__m512i)a, (__m512i)b); }
  static SCONCE_INLINE M both(M a, M b) { return M(a & b); }
  static SCONCE_INLINE M either(M a, M b) { return M(a | b); }
  static SCONCE_INLINE M none_of(M a) { return M(~a); }
  static SCONCE_INLINE bool any(M a) { return a != 0; }
  static SCONCE_INLINE F select(M m, F a, F b) {
    return (F)_mm512_mask_blend_ps(m, (__m512)b, (__m512)a);
  }
  static SCONCE_INLINE I selecti(M m, I a, I b) {
    return (I)_mm512_mask_blend_epi32(m, (__m512i)b, (__m512i)a);
  }
  static SCONCE_INLINE I ones(M m) { return (I)_mm512_maskz_set1_epi32(m, 1); }
  static SCONCE_INLINE I to_i(F a) { return (I)_mm512_cvtps_epi32((__m512)a); }
  static SCONCE_INLINE I trunc_i(F a) { return (I)_mm512_cvttps_epi32((__m512)a); }
  static SCONCE_INLINE F to_f(I a) { return (F)_mm512_cvtepi32_ps((__m512i)a); }
  static SCONCE_INLINE F scale(F a, F n) { return (F)_mm512_scalef_ps((__m512)a, (__m512)n); }
  static SCONCE_INLINE F rint(F a) { return (F)_mm512_roundscale_ps((__m512)a, 8); }
  static SCONCE_INLINE F floor(F a) { return (F)_mm512_roundscale_ps((__m512)a, 9); }
  static SCONCE_INLINE F ceil(F a) { return (F)_mm512_roundscale_ps((__m512)a, 10); }
  static SCONCE_INLINE F trunc(F a) { return (F)_mm512_roundscale_ps((__m512)a, 11); }
  static SCONCE_INLINE I widen(const uint8_t* p) {
    return (I)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p));
  }
  static SCONCE_INLINE I widen(const int8_t* p) {
    return (I)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p));
  }
  static SCONCE_INLINE I widen(const uint16_t* p) {
    return (I)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
  }
  static SCONCE_INLINE void narrow(uint8_t* p, I x) {
    _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8((__m512i)x));
  }
  static SCONCE_INLINE void narrow(int8_t* p, I x) { narrow((uint8_t*)p, x); }
  static SCONCE_INLINE void narrow(uint16_t* p, I x) {
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16((__m512i)x));
  }
  static constexpr bool kNanToLeast = true;
  static SCONCE_INLINE __mmask64 first_bytes(int n) { return n ? ~0ull >> (64 - n) : 0; }
  static SCONCE_INLINE __mmask64 mask_of_bytes(int n) { return first_bytes(n); }
  static SCONCE_INLINE I load_bytes_of(const void* p, __mmask64 mask) {
    return (I)_mm512_maskz_loadu_epi8(mask, p);
  }
  template <int kPart, int kParts>
  static SCONCE_INLINE void store_part(void* p, I bytes, int n) {
    if constexpr (kParts == 1) {
      if (n == 64) return _mm512_storeu_si512(p, (__m512i)bytes);
      _mm512_mask_storeu_epi8(p, first_bytes(n), (__m512i)bytes);
    } else if constexpr (kParts == 2) {
      __m256i part = _mm512_extracti64x4_epi64((__m512i)bytes, kPart);
      if (n == 32) return _mm256_storeu_si256((__m256i*)p, part);
      _mm256_mask_storeu_epi8(p, __mmask32(first_bytes(n)), part);
    } else {
      __m128i part = _mm512_extracti32x4_epi32((__m512i)bytes, kPart);
      if (n == 16) return _mm_storeu_si128((__m128i*)p, part);
      _mm_mask_storeu_epi8(p, __mmask16(first_bytes(n)), part);
    }
  }
  static SCONCE_INLINE I max_bytes(I a, I b) { return (I)_mm512_max_epi8((__m512i)a, (__m512i)b); }
  static SCONCE_INLINE I pack_bytes(I a, I b, I c, I d, I zero) {
    __m512i low = _mm512_packs_epi32((__m512i)a, (__m512i)b);
    __m512i high = _mm512_packs_epi32((__m512i)c, (__m512i)d);
    return (I)_mm512_packs_epi16(_mm512_adds_epi16(low, (__m512i)zero),
                                 _mm512_adds_epi16(high, (__m512i)zero));
  }
  static SCONCE_INLINE I in_order(I bytes) {
    return (I)_mm512_permutexvar_epi32(
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), (__m512i)bytes);
  }
  static SCONCE_INLINE void to_quads(I (&x)[4]) {
    __m512i ab = _mm512_unpacklo_epi8((__m512i)x[0], (__m512i)x[1]);
    __m512i cd = _mm512_unpacklo_epi8((__m512i)x[2], (__m512i)x[3]);
    __m512i ab_high = _mm512_unpackhi_epi8((__m512i)x[0], (__m512i)x[1]);
    __m512i cd_high = _mm512_unpackhi_epi8((__m512i)x[2], (__m512i)x[3]);
    x[0] = (I)_mm512_unpacklo_epi16(ab, cd);
    x[1] = (I)_mm512_unpackhi_epi16(ab, cd);
    x[2] = (I)_mm512_unpacklo_epi16(ab_high, cd_high);
    x[3] = (I)_mm512_unpackhi_epi16(ab_high, cd_high);
  }
  static SCONCE_INLINE I widen_n(const int8_t* p, int n) {
    return (I)_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(__mmask16(first(n)), p));
  }
  static SCONCE_INLINE F load_f16(const uint16_t* p) {
    return (F)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
  }
  static SCONCE_INLINE void store_f16(uint16_t* p, F x) {
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph((__m512)x, 0));
  }
};

}  // namespace
}  // namespace sconce::tile
