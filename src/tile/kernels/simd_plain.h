// Simd in standard C++, one lane: the reference of all others, and what runs where they cannot.
#pragma once

#include "tile/kernels/simd_round.h"

#define SCONCE_VECTOR_REGISTER "r"  // constraint of assembly

namespace sconce::tile {
namespace {

struct Simd {
  static constexpr int kLanes = 1, kRegisters = 16;
  typedef float F;
  typedef int32_t I;
  typedef uint32_t U;
  typedef bool M;
  static SCONCE_INLINE F load(const float* p) { return *p; }
  static SCONCE_INLINE void store(float* p, F x) { *p = x; }
  static SCONCE_INLINE F interleave_low(F a, F) { return a; }
  static SCONCE_INLINE F interleave_high(F, F b) { return b; }
  static SCONCE_INLINE I load_i32(const int32_t* p) { return *p; }
  static SCONCE_INLINE void store_i32(int32_t* p, I x) { *p = x; }
  static SCONCE_INLINE F load_n(const float* p, int n) { return n ? *p : 0.f; }
  static SCONCE_INLINE void store_n(float* p, F x, int n) {
    if (n) *p = x;
  }
  static SCONCE_INLINE I load_i32_n(const int32_t* p, int n) { return n ? *p : 0; }
  static SCONCE_INLINE void store_i32_n(int32_t* p, I x, int n) {
    if (n) *p = x;
  }
  static SCONCE_INLINE F set(float x) { return x; }
  static SCONCE_INLINE I seti(int32_t x) { return x; }
  static SCONCE_INLINE F add(F a, F b) { return a + b; }
  static SCONCE_INLINE F sub(F a, F b) { return a - b; }
  static SCONCE_INLINE F mul(F a, F b) { return a * b; }
  static SCONCE_INLINE F div(F a, F b) { return a / b; }
  static SCONCE_INLINE F neg(F a) { return -a; }
  static SCONCE_INLINE F fma(F a, F b, F c) { return __builtin_fmaf(a, b, c); }
  static SCONCE_INLINE F fnma(F a, F b, F c) { return __builtin_fmaf(-a, b, c); }
  static SCONCE_INLINE F muladd(F a, F b, F c) { return __builtin_fmaf(a, b, c); }
  static SCONCE_INLINE F sqrt(F a) { return __builtin_sqrtf(a); }
  static SCONCE_INLINE F at_least(F x, F lo) { return lo > x ? lo : x; }
  static SCONCE_INLINE F at_most(F x, F hi) { return hi < x ? hi : x; }
  static SCONCE_INLINE M lt(F a, F b) { return a < b; }
  static SCONCE_INLINE M le(F a, F b) { return a <= b; }
  static SCONCE_INLINE M eq(F a, F b) { return a == b; }
  static SCONCE_INLINE M isnan(F a) { return a != a; }
  static SCONCE_INLINE M ieq(I a, I b) { return a == b; }
  static SCONCE_INLINE M igt(I a, I b) { return a > b; }
  static SCONCE_INLINE M both(M a, M b) { return a && b; }
  static SCONCE_INLINE M either(M a, M b) { return a || b; }
  static SCONCE_INLINE M none_of(M a) { return !a; }
  static SCONCE_INLINE bool any(M m) { return m; }
  static SCONCE_INLINE F select(M m, F a, F b) { return m ? a : b; }
  static SCONCE_INLINE I selecti(M m, I a, I b) { return m ? a : b; }
  static SCONCE_INLINE I ones(M m) { return m; }
  static SCONCE_INLINE I as_i(F a) { return __builtin_bit_cast(I, a); }
  static SCONCE_INLINE F as_f(I a) { return __builtin_bit_cast(F, a); }
  static SCONCE_INLINE I iadd(I a, I b) { return I(U(a) + U(b)); }
  static SCONCE_INLINE I isub(I a, I b) { return I(U(a) - U(b)); }
  static SCONCE_INLINE I imul(I a, I b) { return I(U(a) * U(b)); }
  static SCONCE_INLINE I iand(I a, I b) { return a & b; }
  static SCONCE_INLINE I ior(I a, I b) { return a | b; }
  static SCONCE_INLINE I ixor(I a, I b) { return a ^ b; }
  template <int k>
  static SCONCE_INLINE I shl(I a) {
    return I(U(a) << k);
  }
  template <int k>
  static SCONCE_INLINE I shr(I a) {
    return I(U(a) >> k);
  }
  template <int k>
  static SCONCE_INLINE I sar(I a) {
    return a >> k;
  }
  // Out of range and NaN: what lanes hold then is never used, but it must be defined.
  static SCONCE_INLINE I trunc_i(F a) { return a >= -0x1p31f && a < 0x1p31f ? I(a) : INT32_MIN; }
  static SCONCE_INLINE I to_i(F a) {
    if (!(a >= -0x1p31f && a < 0x1p31f)) return INT32_MIN;
    if (a >= 0x1p23f || a <= -0x1p23f) return I(a);
    // Next to 2^23 the unit in the last place is 1: the sum is rounded to nearest even.
    return a < 0 ? I((a - 0x1p23f) + 0x1p23f) : I((a + 0x1p23f) - 0x1p23f);
  }
  static SCONCE_INLINE F to_f(I a) { return F(a); }
  static SCONCE_INLINE F rint(F a) { return Rounding<Simd>::rint(a); }
  static SCONCE_INLINE F floor(F a) { return Rounding<Simd>::floor(a); }
  static SCONCE_INLINE F ceil(F a) { return Rounding<Simd>::ceil(a); }
  static SCONCE_INLINE F trunc(F a) { return Rounding<Simd>::trunc(a); }
  template <class T>
  static SCONCE_INLINE I widen(const T* p) {
    return I(*p);
  }
  template <class T>
  static SCONCE_INLINE void narrow(T* p, I x) {
    *p = T(x);
  }
  static SCONCE_INLINE I widen_n(const int8_t* p, int n) { return n ? I(*p) : 0; }
  static SCONCE_INLINE int mask_of_bytes(int n) { return n; }
  static SCONCE_INLINE I load_bytes_of(const void* p, int n) {
    I x = 0;
    __builtin_memcpy(&x, p, size_t(n));
    return x;
  }
  template <int kPart, int kParts>
  static SCONCE_INLINE void store_part(void* p, I bytes, int n) {
    __builtin_memcpy(p, &bytes, size_t(n));
  }
  // Four bytes as they lie in memory.
  struct FourBytes {
    int8_t at[4];
  };
  static SCONCE_INLINE FourBytes bytes_of(I x) { return __builtin_bit_cast(FourBytes, x); }
  static SCONCE_INLINE I max_bytes(I a, I b) {
    FourBytes x = bytes_of(a), y = bytes_of(b);
    for (int i = 0; i < 4; i++) x.at[i] = x.at[i] > y.at[i] ? x.at[i] : y.at[i];
    return __builtin_bit_cast(I, x);
  }
  static constexpr bool kNanToLeast = true;
  static SCONCE_INLINE int8_t pack_byte(I x, I zero) {
    I half = (x < INT16_MIN ? INT16_MIN : x > INT16_MAX ? INT16_MAX : x) + int16_t(zero);
    return int8_t(half < INT8_MIN ? INT8_MIN : half > INT8_MAX ? INT8_MAX : half);
  }
  static SCONCE_INLINE I pack_bytes(I a, I b, I c, I d, I zero) {
    return __builtin_bit_cast(I, FourBytes{{pack_byte(a, zero), pack_byte(b, zero),
                                            pack_byte(c, zero), pack_byte(d, zero)}});
  }
  static SCONCE_INLINE I in_order(I bytes) { return bytes; }
  static SCONCE_INLINE void to_quads(I (&x)[4]) {
    FourBytes from[4] = {bytes_of(x[0]), bytes_of(x[1]), bytes_of(x[2]), bytes_of(x[3])};
    for (int i = 0; i < 4; i++)
      x[i] = __builtin_bit_cast(
          I, FourBytes{{from[0].at[i], from[1].at[i], from[2].at[i], from[3].at[i]}});
  }
  static SCONCE_INLINE F load_f16(const uint16_t* p) { return Rounding<Simd>::from_f16(*p); }
  static SCONCE_INLINE void store_f16(uint16_t* p, F x) {
    *p = uint16_t(Rounding<Simd>::to_f16(x));
  }
};

}  // namespace
}  // namespace sconce::tile
