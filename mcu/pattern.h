// Inputs that image and host both make: element `i` of input `input`, the same on every machine.
#pragma once

#include <cstdint>
#include <cstring>

#include "tensor/dtype.h"
#include "tensor/half.h"

namespace sconce {

// Multiples of 1/8 in [-2, 2): exact in every floating type.
inline double pattern_value(uint32_t input, uint32_t i) {
  uint32_t x = (i + 1) * 2654435761u + (input + 1) * 40503u;
  x ^= x >> 15;
  return double(int32_t(x % 32) - 16) / 8;
}

// False for a dtype without a pattern.
inline bool fill_pattern(DType dtype, uint32_t input, int64_t count, void* data) {
  auto to = static_cast<uint8_t*>(data);
  for (int64_t i = 0; i < count; i++, to += dtype_bytes(dtype)) {
    double value = pattern_value(input, uint32_t(i));
    auto store = [&](auto stored) { memcpy(to, &stored, sizeof(stored)); };
    switch (dtype) {
      case DType::f32: store(float(value)); break;
      case DType::f64: store(value); break;
      case DType::f16: store(to_f16(float(value))); break;
      case DType::bf16: store(to_bf16(float(value))); break;
      case DType::i8: store(int8_t(value)); break;
      case DType::u8: store(uint8_t(value + 2)); break;
      case DType::i16: store(int16_t(value)); break;
      case DType::i32: store(int32_t(value)); break;
      case DType::i64: store(int64_t(value + 2)); break;  // indices want no negatives
      case DType::b8: store(uint8_t(value > 0)); break;
      default: return false;
    }
  }
  return true;
}

}  // namespace sconce
