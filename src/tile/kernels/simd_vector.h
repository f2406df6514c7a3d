// VectorOps: what GCC's and Clang's vector extensions give for any width; simd_*.h add the rest.
//
// Included only by the translation units isa_*.cc, each compiled for its own instruction set. So
// everything is in an anonymous namespace and nothing of the standard library's templates is used:
// a shared inline function could be linked from the unit with the widest instructions.
#pragma once

#include <stdint.h>
#include <string.h>

#define SCONCE_INLINE __attribute__((always_inline)) inline
#define SCONCE_LAMBDA __attribute__((always_inline))  // after the parameters

namespace sconce::tile {
namespace {

// Lanes of f32 and of i32. A mask M is a vector of 0 and -1 unless the set has mask registers.
template <int kWidth>
struct VectorOps {
  static constexpr int kLanes = kWidth;
  typedef float F __attribute__((vector_size(4 * kWidth)));
  typedef int32_t I __attribute__((vector_size(4 * kWidth)));
  typedef uint32_t U __attribute__((vector_size(4 * kWidth)));
  typedef I M;
  typedef F UnalignedF __attribute__((aligned(4), may_alias));
  typedef I UnalignedI __attribute__((aligned(4), may_alias));

  static SCONCE_INLINE F load(const float* p) { return *(const UnalignedF*)p; }
  static SCONCE_INLINE void store(float* p, F x) { *(UnalignedF*)p = x; }
  static SCONCE_INLINE I load_i32(const int32_t* p) { return *(const UnalignedI*)p; }
  static SCONCE_INLINE void store_i32(int32_t* p, I x) { *(UnalignedI*)p = x; }
  // The first `n` lanes, 0 <= n <= kLanes; lanes beyond load as zero and are not stored.
  static SCONCE_INLINE F load_n(const float* p, int n) {
    F x = {};
    __builtin_memcpy(&x, p, size_t(n) * 4);
    return x;
  }
  static SCONCE_INLINE void store_n(float* p, F x, int n) {
    __builtin_memcpy(p, &x, size_t(n) * 4);
  }
  static SCONCE_INLINE I load_i32_n(const int32_t* p, int n) {
    I x = {};
    __builtin_memcpy(&x, p, size_t(n) * 4);
    return x;
  }
  static SCONCE_INLINE void store_i32_n(int32_t* p, I x, int n) {
    __builtin_memcpy(p, &x, size_t(n) * 4);
  }
  // x - {} keeps the sign of zero, which {} + x does not, and needs no instruction.
  static SCONCE_INLINE F set(float x) { return x - F{}; }
  static SCONCE_INLINE I seti(int32_t x) { return x - I{}; }

  static SCONCE_INLINE F add(F a, F b) { return a + b; }
  static SCONCE_INLINE F sub(F a, F b) { return a - b; }
  static SCONCE_INLINE F mul(F a, F b) { return a * b; }
  static SCONCE_INLINE F div(F a, F b) { return a / b; }
  static SCONCE_INLINE F neg(F a) { return -a; }

  static SCONCE_INLINE M lt(F a, F b) { return a < b; }
  static SCONCE_INLINE M le(F a, F b) { return a <= b; }
  static SCONCE_INLINE M eq(F a, F b) { return a == b; }
  static SCONCE_INLINE M isnan(F a) { return a != a; }
  static SCONCE_INLINE M ieq(I a, I b) { return a == b; }
  static SCONCE_INLINE M igt(I a, I b) { return a > b; }
  static SCONCE_INLINE M both(M a, M b) { return a & b; }
  static SCONCE_INLINE M either(M a, M b) { return a | b; }
  static SCONCE_INLINE M none_of(M a) { return ~a; }
  static SCONCE_INLINE F select(M m, F a, F b) { return m ? a : b; }
  static SCONCE_INLINE I selecti(M m, I a, I b) { return m ? a : b; }
  static SCONCE_INLINE I ones(M m) { return m & 1; }  // 1 where true, 0 where false

  static SCONCE_INLINE I as_i(F a) { return (I)a; }
  static SCONCE_INLINE F as_f(I a) { return (F)a; }
  static SCONCE_INLINE I iadd(I a, I b) { return (I)((U)a + (U)b); }
  static SCONCE_INLINE I isub(I a, I b) { return (I)((U)a - (U)b); }
  static SCONCE_INLINE I imul(I a, I b) { return (I)((U)a * (U)b); }
  static SCONCE_INLINE I iand(I a, I b) { return a & b; }
  static SCONCE_INLINE I ior(I a, I b) { return a | b; }
  static SCONCE_INLINE I ixor(I a, I b) { return a ^ b; }
  template <int k>
  static SCONCE_INLINE I shl(I a) {
    return (I)((U)a << k);
  }
  template <int k>
  static SCONCE_INLINE I shr(I a) {  // zeros come in
    return (I)((U)a >> k);
  }
  template <int k>
  static SCONCE_INLINE I sar(I a) {  // copies of the sign come in
    return a >> k;
  }

  // A vector of bytes. Sets add, where they have instructions for it:
  // - store_part<part, parts>(p, bytes, n): the first n bytes of one of 1, 2 or 4 equal parts;
  // - pack_bytes(a, b, c, d, zero): i32 to bytes, saturated to 16 bits, plus `zero` (twice in each
  //   element), saturated to 8. Within 128 bits first those of a, then of b, c, d;
  // - in_order(bytes): of those, all of a, then of b, c, d;
  // - to_quads(x): byte i of four vectors next to each other. Within 128 bits x[0] has the first
  //   four such quads, x[1] the next: the order that pack_bytes() undoes;
  // - kNanToLeast: to_i() makes the least integer of what is no number.
  typedef int8_t Bytes __attribute__((vector_size(4 * kWidth)));
  // The first n of them, by a mask that is made once.
  static SCONCE_INLINE int mask_of_bytes(int n) { return n; }
  static SCONCE_INLINE I load_bytes_of(const void* p, int n) {
    I x = {};
    if (n == 4 * kWidth)
      __builtin_memcpy(&x, p, 4 * kWidth);
    else if (n == 2 * kWidth)
      __builtin_memcpy(&x, p, 2 * kWidth);
    else
      __builtin_memcpy(&x, p, size_t(n));
    return x;
  }
  static SCONCE_INLINE void store_bytes_n(void* p, I bytes, int n) {
    if (n == 4 * kWidth)
      __builtin_memcpy(p, &bytes, sizeof bytes);
    else
      __builtin_memcpy(p, &bytes, size_t(n));
  }
  static SCONCE_INLINE I max_bytes(I a, I b) {
    Bytes x = (Bytes)a, y = (Bytes)b;
    return (I)(x > y ? x : y);
  }
  static SCONCE_INLINE I widen_n(const int8_t* p, int n) {
    int8_t all[kWidth] = {};
    for (int i = 0; i < n; i++) all[i] = p[i];
    return widen(all);
  }

  // Narrow elements, widened to i32. The stores keep the low bits.
  template <class T>
  static SCONCE_INLINE I widen(const T* p) {
    typedef T Narrow __attribute__((vector_size(sizeof(T) * kWidth)));
    Narrow x;
    __builtin_memcpy(&x, p, sizeof x);
    return __builtin_convertvector(x, I);
  }
  template <class T>
  static SCONCE_INLINE void narrow(T* p, I x) {
    typedef T Narrow __attribute__((vector_size(sizeof(T) * kWidth)));
    Narrow y = __builtin_convertvector(x, Narrow);
    __builtin_memcpy(p, &y, sizeof y);
  }
};

}  // namespace
}  // namespace sconce::tile
