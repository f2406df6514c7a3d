// Rounding and f16 from integer operations, for sets that have no instructions for them.
#pragma once

#include "tile/kernels/simd_vector.h"

namespace sconce::tile {
namespace {

// S gives to_i, to_f and what VectorOps gives. Values of 2^23 and more are whole already; the sign
// of zero is kept.
template <class S>
struct Rounding {
  typedef typename S::F F;
  typedef typename S::I I;
  static SCONCE_INLINE F with_sign_of(F x, F sign) {
    I bit = S::seti(INT32_MIN);
    return S::as_f(
        S::ior(S::iand(S::as_i(x), S::isub(bit, S::seti(1))), S::iand(S::as_i(sign), bit)));
  }
  static SCONCE_INLINE F keep_whole(F x, F rounded) {
    F magnitude = S::as_f(S::iand(S::as_i(x), S::seti(INT32_MAX)));
    return S::select(S::lt(magnitude, S::set(0x1p23f)), with_sign_of(rounded, x), x);
  }
  static SCONCE_INLINE F rint(F x) { return keep_whole(x, S::to_f(S::to_i(x))); }
  static SCONCE_INLINE F trunc(F x) { return keep_whole(x, S::to_f(S::trunc_i(x))); }
  static SCONCE_INLINE F floor(F x) {
    F t = S::to_f(S::trunc_i(x));
    return keep_whole(x, S::select(S::lt(x, t), S::sub(t, S::set(1)), t));
  }
  static SCONCE_INLINE F ceil(F x) {
    F t = S::to_f(S::trunc_i(x));
    return keep_whole(x, S::select(S::lt(t, x), S::add(t, S::set(1)), t));
  }

  // IEEE binary16; the same roundings as the instructions (see tensor/half.h for the idea).
  static SCONCE_INLINE F from_f16(I bits) {
    I sign = S::template shl<16>(S::iand(bits, S::seti(0x8000)));
    I magnitude = S::iand(bits, S::seti(0x7fff));
    I wide = S::template shl<13>(magnitude);
    I normal = S::iadd(wide, S::seti(0x38000000));
    I special = S::ior(wide, S::seti(0x7f800000));
    I small = S::as_i(S::mul(S::to_f(magnitude), S::set(0x1p-24f)));
    I result = S::selecti(S::igt(S::seti(0x400), magnitude), small, normal);
    result = S::selecti(S::igt(magnitude, S::seti(0x7bff)), special, result);
    return S::as_f(S::ior(result, sign));
  }
  static SCONCE_INLINE I to_f16(F x) {
    I bits = S::as_i(x), sign = S::iand(S::template shr<16>(bits), S::seti(0x8000));
    I magnitude = S::iand(bits, S::seti(INT32_MAX));
    I odd = S::iand(S::template shr<13>(magnitude), S::seti(1));
    I rounded = S::iadd(S::iadd(magnitude, S::seti(0xfff)), odd);
    I normal = S::template shr<13>(S::isub(rounded, S::seti(0x38000000)));
    I small = S::isub(S::as_i(S::add(S::as_f(magnitude), S::set(0.5f))), S::seti(0x3f000000));
    I nan = S::ior(S::seti(0x7e00), S::iand(S::template shr<13>(magnitude), S::seti(0x3ff)));
    I result = S::selecti(S::igt(S::seti(0x38800000), magnitude), small, normal);
    result = S::selecti(S::igt(magnitude, S::seti(0x477fefff)), S::seti(0x7c00), result);
    result = S::selecti(S::igt(magnitude, S::seti(0x7f800000)), nan, result);
    return S::ior(result, sign);
  }
};

}  // namespace
}  // namespace sconce::tile
