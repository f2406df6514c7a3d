// Conversions between float and the formats of 16 and 8 bits, bit exact, round to nearest even. No
// tables. The 8-bit ones are those of OFP8 (Open Compute Project, 2023), as torch has them: beyond
// the largest number f8e5m2 is infinite, and f8e4m3fn, which has no infinity, stays the largest.
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
struct f8e5m2_t {
  uint8_t bits;
};
struct f8e4m3fn_t {
  uint8_t bits;
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

constexpr float to_float(f8e5m2_t value) { return to_float(f16_t{uint16_t(value.bits << 8)}); }

constexpr float to_float(f8e4m3fn_t value) {
  uint32_t sign = uint32_t(value.bits & 0x80) << 24, magnitude = value.bits & 0x7f;
  if (magnitude == 0x7f) return std::bit_cast<float>(sign | 0x7fc00000);
  if (magnitude < 8)  // subnormal: magnitude * 2^-9, exact in float
    return std::bit_cast<float>(std::bit_cast<uint32_t>(float(magnitude) * 0x1p-9f) | sign);
  return std::bit_cast<float>(sign | ((magnitude << 20) + 0x3c000000));
}

constexpr f8e5m2_t to_f8e5m2(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value), sign = (bits >> 24) & 0x80;
  uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return {uint8_t(sign | 0x7f)};
  if (magnitude >= 0x47700000) return {uint8_t(sign | 0x7c)};  // >= 61440 rounds to infinity
  if (magnitude < 0x38800000) {                                // subnormal or zero
    float shifted = std::bit_cast<float>(magnitude) + 128.f;   // rounds at 2^-16
    return {uint8_t(sign | (std::bit_cast<uint32_t>(shifted) - 0x43000000))};
  }
  uint32_t rounded = magnitude + 0xfffff + ((magnitude >> 21) & 1);
  return {uint8_t(sign | ((rounded - 0x38000000) >> 21))};
}

constexpr f8e4m3fn_t to_f8e4m3fn(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value), sign = (bits >> 24) & 0x80;
  uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return {uint8_t(sign | 0x7f)};
  if (magnitude >= 0x43e00000) return {uint8_t(sign | 0x7e)};   // >= 448
  if (magnitude < 0x3c800000) {                                 // subnormal or zero
    float shifted = std::bit_cast<float>(magnitude) + 16384.f;  // rounds at 2^-9
    return {uint8_t(sign | (std::bit_cast<uint32_t>(shifted) - 0x46800000))};
  }
  uint32_t rounded = magnitude + 0x7ffff + ((magnitude >> 20) & 1);
  return {uint8_t(sign | ((rounded - 0x3c000000) >> 20))};
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
