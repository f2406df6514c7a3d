// Elementary functions over Simd: our own polynomials, so that every set gives the same bits.
//
// Made of fused multiply-adds, adds, multiplications, divisions and integer operations, each
// rounded as IEEE 754 says. Errors stay below 2 ulp, and special values are those of C's functions;
// the test is math_test.cc, with what was measured in docs/kernels.md.
#pragma once

#include "tile/kernels/simd_vector.h"

namespace sconce::tile {
namespace {

typedef Simd::F F;
typedef Simd::I I;
typedef Simd::M M;

// Made by coefficients.py, lowest power first: what remains of the function after the terms that
// each function below writes out. kLn2 and kHalfPi: parts that add up to the number.
constexpr float kExp[] = {0x1.p-1f,       0x1.555556p-3f,  0x1.5554fp-5f,
                          0x1.110fe2p-7f, 0x1.6d438cp-10f, 0x1.a28f22p-13f};
constexpr float kLog[] = {0x1.555546p-2f,  -0x1.p-2f,       0x1.99a546p-3f,
                          -0x1.555f16p-3f, 0x1.232fe8p-3f,  -0x1.fbc1e6p-4f,
                          0x1.e6f4eep-4f,  -0x1.e04a3ap-4f, 0x1.16babcp-4f};
constexpr float kTanh[] = {-0x1.55552ap-2f, 0x1.110542p-3f, -0x1.b7fc22p-5f, 0x1.507d3cp-6f,
                           -0x1.6e5c06p-8f};
constexpr float kErf[] = {0x1.06eba8p-3f, -0x1.812742p-2f,  0x1.ce2dep-4f,  -0x1.b80b26p-6f,
                          0x1.54a622p-8f, -0x1.a90b78p-11f, 0x1.58c4cap-14f};
constexpr float kErfc[] = {0x1.6cb7ep-13f,  -0x1.21275ep+0f,  -0x1.4449b8p-1f,
                           -0x1.bb4fcap-4f, 0x1.9ab8f8p-6f,   -0x1.0f4abap-8f,
                           0x1.bb68e2p-12f, -0x1.3aa2fep-16f, -0x1.abecf2p-23f};
constexpr float kGelu[] = {0x1.07463cp-3f,  -0x1.06d994p-4f,  0x1.871116p-5f,  -0x1.3dca0cp-5f,
                           0x1.06b84p-5f,   -0x1.aacddcp-6f,  0x1.4da3d2p-6f,  -0x1.eb2fbap-7f,
                           0x1.4f43d2p-7f,  -0x1.c08afp-8f,   0x1.2e706ep-8f,  -0x1.3890acp-9f,
                           0x1.7cb254p-11f, -0x1.22052ep-11f, 0x1.4a166cp-11f, -0x1.e198fep-13f};
constexpr float kSin[] = {-0x1.555556p-3f, 0x1.111166p-7f, -0x1.a04a76p-13f, 0x1.7864f8p-19f};
constexpr float kCos[] = {0x1.555556p-5f, -0x1.6c1754p-10f, 0x1.a067fp-16f, -0x1.33be1p-22f};
constexpr float kLn2[] = {0x1.62e43p-1f, -0x1.05c61p-29f, -0x1.950d88p-54f};
constexpr float kHalfPi[] = {0x1.921fb6p+0f, -0x1.777a5cp-25f, -0x1.ee59dap-50f};

constexpr float kInfinity = __builtin_inff();

// c[0] + c[1] x + ...: two terms at once, then Horner's rule over x^2, which waits half as often.
template <int kCount>
SCONCE_INLINE F polynomial(F x, const float (&c)[kCount]) {
  constexpr int kTop = (kCount - 1) / 2 * 2;
  auto pair = [&](int i) SCONCE_LAMBDA {
    return i + 1 < kCount ? Simd::fma(Simd::set(c[i + 1]), x, Simd::set(c[i])) : Simd::set(c[i]);
  };
  F square = Simd::mul(x, x), sum = pair(kTop);
#pragma GCC unroll 16
  for (int i = kTop - 2; i >= 0; i -= 2) sum = Simd::fma(sum, square, pair(i));
  return sum;
}

SCONCE_INLINE F magnitude(F x) {
  return Simd::as_f(Simd::iand(Simd::as_i(x), Simd::seti(INT32_MAX)));
}
SCONCE_INLINE I sign_bit(F x) { return Simd::iand(Simd::as_i(x), Simd::seti(INT32_MIN)); }
// `x` with the sign of `sign`; x >= 0.
SCONCE_INLINE F with_sign(F x, I sign) { return Simd::as_f(Simd::ior(Simd::as_i(x), sign)); }
// 2^n for -126 <= n <= 127.
SCONCE_INLINE F power_of_2(I n) {
  return Simd::as_f(Simd::template shl<23>(Simd::iadd(n, Simd::seti(127))));
}

// x = n ln 2 + r with |r| <= ln 2 / 2, for |x| up to 200.
SCONCE_INLINE F reduce_exp(F x, F* n) {
  *n = Simd::rint(Simd::mul(x, Simd::set(0x1.715476p0f)));
  return Simd::fnma(*n, Simd::set(kLn2[1]), Simd::fnma(*n, Simd::set(kLn2[0]), x));
}
// e^r - 1.
SCONCE_INLINE F expm1_reduced(F r) { return Simd::fma(Simd::mul(r, r), polynomial(r, kExp), r); }

// y 2^n rounded once, for y near 1 and whole -252 <= n <= 254; by an instruction where there is
// one.
template <class S>
SCONCE_INLINE F scaled(F y, F n) {
  if constexpr (requires(F x) { S::scale(x, x); }) {
    return S::scale(y, n);
  } else {
    // In two steps: 2^n may be out of range where the result is not.
    I whole = S::to_i(n), half = S::template sar<1>(whole);
    return S::mul(S::mul(y, power_of_2(half)), power_of_2(S::isub(whole, half)));
  }
}

SCONCE_INLINE F exp(F x) {
  // Beyond these the result is infinity or zero; NaN passes.
  x = Simd::at_most(Simd::at_least(x, Simd::set(-104)), Simd::set(89));
  F n, r = reduce_exp(x, &n);
  return scaled<Simd>(Simd::add(expm1_reduced(r), Simd::set(1)), n);
}

SCONCE_INLINE F expm1(F x) {
  F y = Simd::at_most(Simd::at_least(x, Simd::set(-40)), Simd::set(89));
  F whole, r = reduce_exp(y, &whole);
  I n = Simd::to_i(whole);
  F half = power_of_2(Simd::isub(n, Simd::seti(1)));  // of 2^n, which may be out of range
  y = Simd::fma(half, expm1_reduced(r), Simd::sub(half, Simd::set(0.5f)));
  y = Simd::add(y, y);
  // n = 0 keeps all bits of small results, and the sign of zero.
  return Simd::select(Simd::ieq(n, Simd::seti(0)),
                      Simd::select(Simd::eq(x, Simd::set(0)), x, expm1_reduced(r)), y);
}

// log(1 + f) + e ln 2, for 1 + f in [sqrt(1/2), sqrt(2)].
SCONCE_INLINE F log_reduced(F f, F e) {
  F y = Simd::fma(polynomial(f, kLog), f, Simd::set(-0.5f));
  y = Simd::fma(e, Simd::set(kLn2[1]), Simd::mul(Simd::mul(f, f), y));
  return Simd::fma(e, Simd::set(kLn2[0]), Simd::add(f, y));
}
// The exponent that leaves a normal x in [sqrt(1/2), sqrt(2)).
SCONCE_INLINE I log_exponent(F x) {
  return Simd::template sar<23>(Simd::isub(Simd::as_i(x), Simd::seti(0x3f3504f4)));
}
SCONCE_INLINE F log_special(F x, F y) {
  y = Simd::select(Simd::eq(x, Simd::set(0)), Simd::set(-kInfinity), y);
  y = Simd::select(Simd::lt(x, Simd::set(0)), Simd::set(__builtin_nanf("")), y);
  y = Simd::select(Simd::eq(x, Simd::set(kInfinity)), x, y);
  return Simd::select(Simd::isnan(x), x, y);
}

SCONCE_INLINE F log(F x) {
  M small = Simd::lt(x, Simd::set(0x1p-126f));
  F normal = Simd::select(small, Simd::mul(x, Simd::set(0x1p23f)), x);
  I e = log_exponent(normal);
  F m = Simd::as_f(Simd::isub(Simd::as_i(normal), Simd::template shl<23>(e)));
  e = Simd::selecti(small, Simd::isub(e, Simd::seti(23)), e);
  return log_special(x, log_reduced(Simd::sub(m, Simd::set(1)), Simd::to_f(e)));
}

SCONCE_INLINE F log1p(F x) {
  F one = Simd::set(1), u = Simd::add(x, one);
  // What the sum lost; exact since the larger term comes first.
  F lost = Simd::select(Simd::lt(one, x), Simd::sub(one, Simd::sub(u, x)),
                        Simd::sub(x, Simd::sub(u, one)));
  I e = log_exponent(u);
  F m = Simd::as_f(Simd::isub(Simd::as_i(u), Simd::template shl<23>(e)));
  // 2^-e; from e = 100 on `lost` does not matter and the exponent field would run over.
  I field =
      Simd::selecti(Simd::igt(e, Simd::seti(100)), Simd::seti(0), Simd::isub(Simd::seti(127), e));
  F scale = Simd::as_f(Simd::template shl<23>(field));
  F f = Simd::fma(lost, scale, Simd::sub(m, one));
  F y = log_special(u, log_reduced(f, Simd::to_f(e)));
  return Simd::select(Simd::eq(x, Simd::set(0)), x, y);
}

SCONCE_INLINE F tanh(F x) {
  F z = magnitude(x), s = Simd::mul(x, x);
  F small = Simd::fma(Simd::mul(x, s), polynomial(s, kTanh), x);
  F e = exp(Simd::add(z, z));
  F large = Simd::sub(Simd::set(1), Simd::div(Simd::set(2), Simd::add(e, Simd::set(1))));
  large = with_sign(large, sign_bit(x));
  F y = Simd::select(Simd::lt(z, Simd::set(0.625f)), small, large);
  return Simd::select(Simd::eq(x, Simd::set(0)), x, y);
}

SCONCE_INLINE F erf(F x) {
  F z = magnitude(x), s = Simd::mul(x, x);
  F small = Simd::fma(x, polynomial(s, kErf), x);
  F t = Simd::at_most(z, Simd::set(4));  // erfc(4) is less than half an ulp of 1
  F large = Simd::sub(Simd::set(1), exp(polynomial(t, kErfc)));
  large = with_sign(large, sign_bit(x));
  F y = Simd::select(Simd::lt(z, Simd::set(0.9375f)), small, large);
  return Simd::select(Simd::eq(x, Simd::set(0)), x, y);
}

SCONCE_INLINE uint32_t bits_of(float x) { return __builtin_bit_cast(uint32_t, x); }
SCONCE_INLINE float f32_of(uint32_t bits) { return __builtin_bit_cast(float, bits); }
SCONCE_INLINE uint64_t bits_of_f64(double x) { return __builtin_bit_cast(uint64_t, x); }
SCONCE_INLINE double f64_of(uint64_t bits) { return __builtin_bit_cast(double, bits); }
#include "tile/kernels/scalar_math.inc"

// The quadrant and what remains of an angle.
SCONCE_INLINE F reduce_angle(F x, I* q) {
  F whole = Simd::rint(Simd::mul(x, Simd::set(0x1.45f306p-1f)));
  F r = Simd::fnma(whole, Simd::set(kHalfPi[0]), x);
  r = Simd::fnma(whole, Simd::set(kHalfPi[1]), r);
  r = Simd::fnma(whole, Simd::set(kHalfPi[2]), r);
  *q = Simd::to_i(whole);
  M large = Simd::none_of(Simd::le(magnitude(x), Simd::set(32768)));
  if (__builtin_expect(Simd::any(large), 0)) {
    float all[Simd::kLanes], rest[Simd::kLanes];
    int32_t quadrants[Simd::kLanes];
    Simd::store(all, x);
    for (int i = 0; i < Simd::kLanes; i++) rest[i] = reduce_large(all[i], &quadrants[i]);
    r = Simd::select(large, Simd::load(rest), r);
    *q = Simd::selecti(large, Simd::load_i32(quadrants), *q);
  }
  return r;
}
// sin(r + quadrant pi/2).
SCONCE_INLINE F sin_reduced(F r, I quadrant) {
  F s = Simd::mul(r, r);
  F sine = Simd::fma(Simd::mul(r, s), polynomial(s, kSin), r);
  F cosine =
      Simd::fma(Simd::mul(s, s), polynomial(s, kCos), Simd::fnma(Simd::set(0.5f), s, Simd::set(1)));
  M odd = Simd::ieq(Simd::iand(quadrant, Simd::seti(1)), Simd::seti(1));
  I sign = Simd::template shl<30>(Simd::iand(quadrant, Simd::seti(2)));
  return Simd::as_f(Simd::ixor(Simd::as_i(Simd::select(odd, cosine, sine)), sign));
}

SCONCE_INLINE F sin(F x) {
  I q;
  F r = reduce_angle(x, &q);
  return Simd::select(Simd::eq(x, Simd::set(0)), x, sin_reduced(r, q));
}
SCONCE_INLINE F cos(F x) {
  I q;
  F r = reduce_angle(x, &q);
  return sin_reduced(r, Simd::iadd(q, Simd::seti(1)));
}

SCONCE_INLINE F rsqrt(F x) { return Simd::div(Simd::set(1), Simd::sqrt(x)); }

// From e^-|x|, which never overflows.
SCONCE_INLINE F sigmoid(F x) {
  F e = exp(Simd::neg(magnitude(x)));
  F top = Simd::select(Simd::lt(x, Simd::set(0)), e, Simd::set(1));
  return Simd::select(Simd::isnan(x), x, Simd::div(top, Simd::add(e, Simd::set(1))));
}
SCONCE_INLINE F silu(F x) { return Simd::mul(x, sigmoid(x)); }
// x times the normal distribution, which is 0 or 1 beyond kEnd: the polynomial is that less a half,
// over x, of x^2 put on -1 .. 1.
SCONCE_INLINE F gelu(F x) {
  constexpr float kEnd = 5.5f;
  F z = Simd::at_most(Simd::at_least(x, Simd::set(-kEnd)), Simd::set(kEnd));
  F t = Simd::fma(Simd::mul(z, z), Simd::set(2 / (kEnd * kEnd)), Simd::set(-1));
  F y = Simd::fma(z, polynomial(t, kGelu), Simd::set(0.5f));
  return Simd::mul(x, Simd::at_most(Simd::at_least(y, Simd::set(0)), Simd::set(1)));
}
SCONCE_INLINE F gelu_tanh(F x) {
  F cube = Simd::mul(Simd::mul(x, x), x);
  F inner = Simd::mul(Simd::set(0.79788456080286536f), Simd::fma(Simd::set(0.044715f), cube, x));
  return Simd::mul(Simd::mul(Simd::set(0.5f), x), Simd::add(tanh(inner), Simd::set(1)));
}

// max(a, b) = b > a ? b : a, or a NaN when either is one.
SCONCE_INLINE F maximum(F a, F b) {
  F y = Simd::at_least(a, b);
  return Simd::select(Simd::isnan(b), b, y);
}
SCONCE_INLINE F minimum(F a, F b) {
  F y = Simd::at_most(a, b);
  return Simd::select(Simd::isnan(b), b, y);
}

}  // namespace
}  // namespace sconce::tile
