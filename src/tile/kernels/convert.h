// Conversions between element types, and to and from 8-bit quantised values.
#pragma once

#include "tile/kernels/vector.h"

namespace sconce::tile {
namespace {

struct B8 {
  uint8_t byte;
};
struct F16 {
  uint16_t bits;
};
struct Bf16 {
  uint16_t bits;
};
template <class T>
struct Limits;  // smallest and largest of an integer type
template <>
struct Limits<int32_t> {
  static constexpr int64_t kLow = INT32_MIN, kHigh = INT32_MAX;
};
template <>
struct Limits<int64_t> {
  static constexpr int64_t kLow = INT64_MIN, kHigh = INT64_MAX;
};
template <>
struct Limits<int16_t> {
  static constexpr int64_t kLow = INT16_MIN, kHigh = INT16_MAX;
};
template <>
struct Limits<int8_t> {
  static constexpr int64_t kLow = INT8_MIN, kHigh = INT8_MAX;
};
template <>
struct Limits<uint8_t> {
  static constexpr int64_t kLow = 0, kHigh = UINT8_MAX;
};

// One element at a time: the compiler makes vectors of the loops.
template <class From>
SCONCE_INLINE int64_t integer_of(From x) {
  return x;
}
SCONCE_INLINE int64_t integer_of(B8 x) { return x.byte != 0; }

template <class From, class To>
struct Convert {
  static SCONCE_INLINE To one(From x) {
    int64_t value = integer_of(x);
    if (value < Limits<To>::kLow) return To(Limits<To>::kLow);
    return value > Limits<To>::kHigh ? To(Limits<To>::kHigh) : To(value);
  }
};
template <class From>
struct Convert<From, B8> {
  static SCONCE_INLINE B8 one(From x) { return {uint8_t(x != 0)}; }
};
template <class From>
struct Convert<From, float> {
  static SCONCE_INLINE float one(From x) {
    // 32 bits where they hold it: vectors of them are twice as wide.
    if constexpr (sizeof(From) < sizeof(int64_t))
      return float(int32_t(integer_of(x)));
    else
      return float(integer_of(x));
  }
};
template <class To>
struct Convert<float, To> {
  static SCONCE_INLINE To one(float x) {
    // 2^63 and 2^31 are not of the type, what comes before them in f32 is.
    constexpr float kLow = float(Limits<To>::kLow), kHigh = float(Limits<To>::kHigh);
    return x != x       ? To(0)
           : x < kLow   ? To(Limits<To>::kLow)
           : x >= kHigh ? To(Limits<To>::kHigh)
                        : To(x);
  }
};
template <>
struct Convert<float, B8> {
  static SCONCE_INLINE B8 one(float x) { return {uint8_t(x != 0)}; }
};

template <class From, class To>
void convert(const ConvertBlock& b) {
  for (int64_t r = 0; r < b.rows; r++) {
    const From* x = (const From*)b.x + r * b.x_row;
    To* out = (To*)b.out + r * b.out_row;
    for (int64_t i = 0; i < b.n; i++) out[i] = Convert<From, To>::one(x[i]);
  }
}

// 16-bit floating types by vectors.
template <class Half>
SCONCE_INLINE F load_half(const uint16_t* p);
template <>
SCONCE_INLINE F load_half<F16>(const uint16_t* p) {
  return Simd::load_f16(p);
}
template <>
SCONCE_INLINE F load_half<Bf16>(const uint16_t* p) {
  return Simd::as_f(Simd::template shl<16>(Simd::widen(p)));
}
template <class Half>
SCONCE_INLINE void store_half(uint16_t* p, F x);
template <>
SCONCE_INLINE void store_half<F16>(uint16_t* p, F x) {
  Simd::store_f16(p, x);
}
template <>
SCONCE_INLINE void store_half<Bf16>(uint16_t* p, F x) {
  I bits = Simd::as_i(x);
  I odd = Simd::iand(Simd::template shr<16>(bits), Simd::seti(1));
  I rounded = Simd::template shr<16>(Simd::iadd(bits, Simd::iadd(odd, Simd::seti(0x7fff))));
  I nan = Simd::ior(Simd::template shr<16>(bits), Simd::seti(0x40));
  Simd::narrow(p, Simd::selecti(Simd::isnan(x), nan, rounded));
}

template <class Half>
void from_half(const ConvertBlock& b) {
  for (int64_t r = 0; r < b.rows; r++) {
    const uint16_t* x = (const uint16_t*)b.x + r * b.x_row;
    float* out = (float*)b.out + r * b.out_row;
    for_vectors(b.n, [&](int64_t i, int n) SCONCE_LAMBDA {
      if (n == Simd::kLanes) return Simd::store(out + i, load_half<Half>(x + i));
      uint16_t all[Simd::kLanes] = {};
      for (int j = 0; j < n; j++) all[j] = x[i + j];
      Simd::store_n(out + i, load_half<Half>(all), n);
    });
  }
}
template <class Half>
void to_half(const ConvertBlock& b) {
  for (int64_t r = 0; r < b.rows; r++) {
    const float* x = (const float*)b.x + r * b.x_row;
    uint16_t* out = (uint16_t*)b.out + r * b.out_row;
    for_vectors(b.n, [&](int64_t i, int n) SCONCE_LAMBDA {
      if (n == Simd::kLanes) return store_half<Half>(out + i, Simd::load(x + i));
      uint16_t all[Simd::kLanes];
      store_half<Half>(all, Simd::load_n(x + i, n));
      for (int j = 0; j < n; j++) out[i + j] = all[j];
    });
  }
}

template <class T>
void quantize(const QuantizeBlock& b) {
  const F zero = Simd::set(float(b.zero_point));
  const F low = Simd::set(float(b.low)), high = Simd::set(float(b.high));
  const F none = Simd::set(float(b.none));
  for (int64_t r = 0; r < b.rows; r++) {
    const float* x = b.x + r * b.x_row;
    T* out = (T*)b.out + r * b.out_row;
    for_vectors(b.n, [&](int64_t i, int n) SCONCE_LAMBDA {
      F value = any_step(x, 1, i, n), scale = any_step(b.scale, b.scale_step, i, n);
      F q = Simd::add(Simd::rint(Simd::mul(value, scale)), zero);
      q = Simd::select(Simd::isnan(q), none, q);
      narrow_n(out + i, Simd::to_i(Simd::at_most(Simd::at_least(q, low), high)), n);
    });
  }
}
template <class T>
void dequantize(const DequantizeBlock& b) {
  const I zero = Simd::seti(b.zero_point);
  for (int64_t r = 0; r < b.rows; r++) {
    const T* x = (const T*)b.x + r * b.x_row;
    float* out = b.out + r * b.out_row;
    for_vectors(b.n, [&](int64_t i, int n) SCONCE_LAMBDA {
      F value = Simd::to_f(Simd::isub(widen_n(x + i, n), zero));
      put(out + i, Simd::mul(value, any_step(b.scale, b.scale_step, i, n)), n);
    });
  }
}

constexpr void fill_convert(KernelTable& table) {
  auto& c = table.convert;
  auto pair = [&](Element from, Element to) -> ConvertKernelFn& { return c[int(from)][int(to)]; };
#define SCONCE_PAIR(from, From, to, To) pair(Element::from, Element::to) = convert<From, To>;
#define SCONCE_INTEGER(name, T)      \
  SCONCE_PAIR(f32, float, name, T)   \
  SCONCE_PAIR(name, T, f32, float)   \
  SCONCE_PAIR(name, T, b8, B8)       \
  SCONCE_PAIR(b8, B8, name, T)       \
  SCONCE_PAIR(name, T, i32, int32_t) \
  SCONCE_PAIR(name, T, i64, int64_t) \
  SCONCE_PAIR(name, T, i16, int16_t) \
  SCONCE_PAIR(name, T, i8, int8_t)   \
  SCONCE_PAIR(name, T, u8, uint8_t)
  SCONCE_INTEGER(i32, int32_t)
  SCONCE_INTEGER(i64, int64_t)
  SCONCE_INTEGER(i16, int16_t)
  SCONCE_INTEGER(i8, int8_t)
  SCONCE_INTEGER(u8, uint8_t)
  SCONCE_PAIR(f32, float, b8, B8)
  SCONCE_PAIR(b8, B8, f32, float)
#undef SCONCE_INTEGER
#undef SCONCE_PAIR
  pair(Element::f16, Element::f32) = from_half<F16>;
  pair(Element::bf16, Element::f32) = from_half<Bf16>;
  pair(Element::f32, Element::f16) = to_half<F16>;
  pair(Element::f32, Element::bf16) = to_half<Bf16>;
  table.quantize_i8 = quantize<int8_t>;
  table.quantize_u8 = quantize<uint8_t>;
  table.dequantize_i8 = dequantize<int8_t>;
  table.dequantize_u8 = dequantize<uint8_t>;
}

}  // namespace
}  // namespace sconce::tile
