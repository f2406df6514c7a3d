// Conversions between float and the 16-bit formats, bit exact, round to nearest even. No tables.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tensor/dtype.h"

namespace sconce {

// Storage types: arithmetic is done in float.
struct f16_t {
  uint16_t bits;
};
struct bf16_t {
  uint16_t bits;
};

constexpr float to_float(f16_t value) {
  uint32_t sign = uint32_t(value.bits & 0x8000) << 16, magnitude = value.bits & 0x7fff;
  if (magnitude >= 0x7c00)
    return std::bit_cast<float>(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
  if (magnitude < 0x400) {  // subnormal: magnitude * 2^-24, exact in float
    float result = float(magnitude) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(result) | sign);
  }
  return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000));
}

constexpr f16_t to_f16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value), sign = (bits >> 16) & 0x8000;
  uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return {uint16_t(sign | 0x7e00 | ((magnitude >> 13) & 0x3ff))};
  if (magnitude >= 0x477ff000) return {uint16_t(sign | 0x7c00)};  // >= 65520 rounds to infinity
  if (magnitude < 0x38800000) {                                   // subnormal or zero
    float shifted = std::bit_cast<float>(magnitude) + 0.5f;       // rounds at 2^-24
    return {uint16_t(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000))};
  }
  uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
  return {uint16_t(sign | ((rounded - 0x38000000) >> 13))};
}

constexpr float to_float(bf16_t value) { return std::bit_cast<float>(uint32_t(value.bits) << 16); }

constexpr bf16_t to_bf16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return {uint16_t((bits >> 16) | 0x40)};
  return {uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

constexpr bool is_half(DType dtype) { return dtype == DType::f16 || dtype == DType::bf16; }

// Elements of a 16-bit type as floats. `from` need not be aligned.
inline void widen_halves(const uint8_t* from, DType dtype, size_t count, float* to) {
  for (size_t i = 0; i < count; i++) {
    uint16_t bits;
    memcpy(&bits, from + 2 * i, 2);
    to[i] = dtype == DType::f16 ? to_float(f16_t{bits}) : to_float(bf16_t{bits});
  }
}

}  // namespace sconce
