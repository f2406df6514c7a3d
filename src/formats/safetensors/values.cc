#include "formats/safetensors/values.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/status.h"
#include "tensor/half.h"

namespace sconce {
namespace {

constexpr uint64_t kBlock = 4096;  // values at a time; a multiple of 4, so that blocks are bytes

// A small floating-point format, its top bit the sign.
struct SmallFloat {
  int exponent_bits, mantissa_bits, bias;
  enum Special { none, ieee, nan_all_ones, nan_negative_zero } special;
};

double decode_small(const SmallFloat& f, uint32_t bits) {
  uint32_t mantissa = bits & ((1u << f.mantissa_bits) - 1);
  uint32_t exponents = (1u << f.exponent_bits) - 1;
  uint32_t exponent = bits >> f.mantissa_bits & exponents;
  bool negative = bits >> (f.mantissa_bits + f.exponent_bits) & 1;
  if (f.special == SmallFloat::ieee && exponent == exponents)
    return mantissa ? NAN : negative ? -INFINITY : INFINITY;
  if (f.special == SmallFloat::nan_all_ones && exponent == exponents &&
      mantissa == (1u << f.mantissa_bits) - 1)
    return NAN;
  if (f.special == SmallFloat::nan_negative_zero && negative && exponent == 0 && mantissa == 0)
    return NAN;
  double value = exponent == 0 ? std::ldexp(double(mantissa), 1 - f.bias - f.mantissa_bits)
                               : std::ldexp(double((1u << f.mantissa_bits) | mantissa),
                                            int(exponent) - f.bias - f.mantissa_bits);
  return negative ? -value : value;
}

using Table = std::array<double, 256>;

Table make_table(SmallFloat format) {
  Table table;
  for (uint32_t i = 0; i < 256; i++) table[i] = decode_small(format, i);
  return table;
}

// Values of all bit patterns, for types of at most 8 bits that are floating.
const Table* small_table(ElementType type) {
  using F = SmallFloat;
  static const Table f4 = make_table({2, 1, 1, F::none});
  static const Table f6e2m3 = make_table({2, 3, 1, F::none});
  static const Table f6e3m2 = make_table({3, 2, 3, F::none});
  static const Table f8e5m2 = make_table({5, 2, 15, F::ieee});
  static const Table f8e4m3 = make_table({4, 3, 7, F::nan_all_ones});
  static const Table f8e4m3fnuz = make_table({4, 3, 8, F::nan_negative_zero});
  static const Table f8e5m2fnuz = make_table({5, 2, 16, F::nan_negative_zero});
  static const Table f8e8m0 = [] {
    Table table;
    for (int i = 0; i < 256; i++) table[size_t(i)] = i == 255 ? NAN : std::ldexp(1.0, i - 127);
    return table;
  }();
  switch (type) {
    case ElementType::f4: return &f4;
    case ElementType::f6e2m3: return &f6e2m3;
    case ElementType::f6e3m2: return &f6e3m2;
    case ElementType::f8e5m2: return &f8e5m2;
    case ElementType::f8e4m3: return &f8e4m3;
    case ElementType::f8e4m3fnuz: return &f8e4m3fnuz;
    case ElementType::f8e5m2fnuz: return &f8e5m2fnuz;
    case ElementType::f8e8m0: return &f8e8m0;
    default: return nullptr;
  }
}

template <class T>
void widen(const uint8_t* from, uint64_t count, double* out) {
  for (uint64_t i = 0; i < count; i++) {
    T value;
    memcpy(&value, from + i * sizeof(T), sizeof(T));
    if constexpr (requires { to_float(value); })
      out[i] = double(to_float(value));
    else
      out[i] = double(value);
  }
}

// Bits of a value; complex numbers are two.
uint32_t value_bits(ElementType type) { return type == ElementType::c64 ? 32 : element_bits(type); }

}  // namespace

uint64_t value_count(ElementType type, uint64_t bytes) {
  uint32_t bits = value_bits(type);
  return bits >= 8 ? bytes / (bits / 8) : bytes / bits * 8 + bytes % bits * 8 / bits;
}

void read_values(ElementType type, Bytes data, uint64_t first, uint64_t count, double* out) {
  CHECK(first + count <= value_count(type, data.size()));
  if (count == 0) return;
  uint32_t bits = value_bits(type);
  if (bits < 8) {
    const Table& table = *small_table(type);
    for (uint64_t i = 0; i < count; i++) {
      uint64_t at = (first + i) * bits, byte = at / 8, shift = at % 8;
      uint32_t pair = data[byte];
      if (shift + bits > 8) pair |= uint32_t(data[byte + 1]) << 8;
      out[i] = table[pair >> shift & ((1u << bits) - 1)];
    }
    return;
  }
  const uint8_t* from = data.data() + first * (bits / 8);
  if (const Table* table = small_table(type)) {
    for (uint64_t i = 0; i < count; i++) out[i] = (*table)[from[i]];
    return;
  }
  switch (type) {
    case ElementType::b8:
    case ElementType::u8: return widen<uint8_t>(from, count, out);
    case ElementType::i8: return widen<int8_t>(from, count, out);
    case ElementType::i16: return widen<int16_t>(from, count, out);
    case ElementType::u16: return widen<uint16_t>(from, count, out);
    case ElementType::f16: return widen<f16_t>(from, count, out);
    case ElementType::bf16: return widen<bf16_t>(from, count, out);
    case ElementType::i32: return widen<int32_t>(from, count, out);
    case ElementType::u32: return widen<uint32_t>(from, count, out);
    case ElementType::f32:
    case ElementType::c64: return widen<float>(from, count, out);
    case ElementType::f64: return widen<double>(from, count, out);
    case ElementType::i64: return widen<int64_t>(from, count, out);
    case ElementType::u64: return widen<uint64_t>(from, count, out);
    default: break;  // those of the table
  }
}

ValueStats compute_stats(ElementType type, Bytes data) {
  ValueStats stats;
  stats.count = value_count(type, data.size());
  double block[kBlock], min = INFINITY, max = -INFINITY;
  // Mean and squares from a first value on, so that large means do not eat small deviations.
  double shift = 0, sum = 0, squares = 0;
  uint64_t finite = 0;
  for (uint64_t at = 0; at < stats.count; at += kBlock) {
    uint64_t count = std::min(kBlock, stats.count - at);
    read_values(type, data, at, count, block);
    double block_sum = 0, block_squares = 0;
    for (uint64_t i = 0; i < count; i++) {
      double value = block[i];
      if (!std::isfinite(value)) {
        (std::isnan(value) ? stats.nans : stats.infinities)++;
        continue;
      }
      if (finite++ == 0) shift = value;
      stats.zeros += value == 0;
      min = std::min(min, value);
      max = std::max(max, value);
      block_sum += value - shift;
      block_squares += (value - shift) * (value - shift);
    }
    sum += block_sum;
    squares += block_squares;
  }
  if (finite == 0) return stats;
  stats.min = min;
  stats.max = max;
  stats.absolute_max = std::max(std::fabs(min), std::fabs(max));
  stats.mean = shift + sum / double(finite);
  double mean = sum / double(finite);
  stats.deviation = std::sqrt(std::max(0.0, squares / double(finite) - mean * mean));
  return stats;
}

ValueDifference compare_values(ElementType type_a, Bytes a, ElementType type_b, Bytes b) {
  ValueDifference difference;
  difference.count = value_count(type_b, b.size());
  CHECK(value_count(type_a, a.size()) == difference.count);
  double x[kBlock], y[kBlock];
  bool same_type = type_a == type_b;
  uint64_t block_bytes = kBlock * value_bits(type_b) / 8;
  for (uint64_t at = 0; at < difference.count; at += kBlock) {
    uint64_t count = std::min(kBlock, difference.count - at);
    read_values(type_b, b, at, count, y);
    for (uint64_t i = 0; i < count; i++)
      if (std::isfinite(y[i])) difference.scale = std::max(difference.scale, std::fabs(y[i]));
    uint64_t offset = at / kBlock * block_bytes;
    uint64_t bytes = std::min<uint64_t>(block_bytes, b.size() - offset);
    if (same_type && memcmp(a.data() + offset, b.data() + offset, bytes) == 0) continue;
    read_values(type_a, a, at, count, x);
    for (uint64_t i = 0; i < count; i++) {
      bool different = !(x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i])));
      double distance = different ? std::fabs(x[i] - y[i]) : 0;
      // Whole numbers past 2^53 may look the same when they are not.
      if (!different && same_type && std::fabs(y[i]) >= 9007199254740992.0 &&
          (type_a == ElementType::i64 || type_a == ElementType::u64)) {
        uint64_t p, q;
        memcpy(&p, a.data() + (at + i) * 8, 8);
        memcpy(&q, b.data() + (at + i) * 8, 8);
        different = p != q;
        distance = double(p > q ? p - q : q - p);
      }
      if (!different) continue;
      if (std::isnan(distance)) distance = INFINITY;
      difference.different++;
      if (distance > difference.absolute_max || difference.different == 1) {
        difference.absolute_max = distance;
        difference.worst = at + i;
        difference.worst_a = x[i];
        difference.worst_b = y[i];
      }
    }
  }
  return difference;
}

}  // namespace sconce
