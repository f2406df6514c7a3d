// Scalar functions of the pointwise rows, for the compute types float, double and int64_t.
//
// Integer arithmetic wraps: it goes through uint64_t, and the store to the element type keeps the low
// bits. Freestanding.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "ops/elementwise.h"

namespace sconce::pointwise {

template <class T> inline constexpr bool kInteger = std::is_same_v<T, int64_t>;

template <class T> T add(T a, T b) {
  if constexpr (kInteger<T>) return T(uint64_t(a) + uint64_t(b));
  else return a + b;
}
template <class T> T sub(T a, T b) {
  if constexpr (kInteger<T>) return T(uint64_t(a) - uint64_t(b));
  else return a - b;
}
template <class T> T mul(T a, T b) {
  if constexpr (kInteger<T>) return T(uint64_t(a) * uint64_t(b));
  else return a * b;
}
template <class T> bool is_nan(T x) { return x != x; }
template <class T> bool is_inf(T x) {
  if constexpr (kInteger<T>) return false;
  else return x == T(INFINITY) || x == T(-INFINITY);
}
// NaN wins, as in torch.
template <class T> T maximum(T a, T b) { return a != a ? a : b != b ? b : a > b ? a : b; }
template <class T> T minimum(T a, T b) { return a != a ? a : b != b ? b : a < b ? a : b; }
template <class T> T clamp(T x, T low, T high) { return minimum(maximum(x, low), high); }

template <class T> T absolute(T x) {
  if constexpr (kInteger<T>) return x < 0 ? sub(T(0), x) : x;
  else return std::fabs(x);
}
template <class T> T sign(T x) { return T(T(0) < x) - T(x < T(0)); }

template <class T> T round_even(T x) {
  if constexpr (kInteger<T>) return x;
  else return std::nearbyint(x);
}
template <class T> T floor(T x) {
  if constexpr (kInteger<T>) return x;
  else return std::floor(x);
}
template <class T> T ceil(T x) {
  if constexpr (kInteger<T>) return x;
  else return std::ceil(x);
}
template <class T> T trunc(T x) {
  if constexpr (kInteger<T>) return x;
  else return std::trunc(x);
}

// Quotients of integers: `b` is not 0 (the block function refuses it before).
template <class T> T divide_trunc(T a, T b) {
  if constexpr (kInteger<T>) return b == -1 ? sub(T(0), a) : a / b;
  else return std::trunc(a / b);
}
template <class T> T divide_floor(T a, T b) {
  if constexpr (kInteger<T>) {
    if (b == -1) return sub(T(0), a);
    T quotient = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
  } else {
    // Exact: the quotient of a - mod(a, b), rounded to the integer that it is.
    if (b == 0) return a / b;
    T mod = std::fmod(a, b), quotient = (a - mod) / b;
    if (mod != 0 && (b < 0) != (mod < 0)) quotient -= 1;
    if (quotient == 0) return std::copysign(T(0), a / b);
    T rounded = std::floor(quotient);
    return quotient - rounded > T(0.5) ? rounded + 1 : rounded;
  }
}
template <class T> T fmod(T a, T b) {
  if constexpr (kInteger<T>) return b == -1 ? 0 : a % b;
  else return std::fmod(a, b);
}
template <class T> T remainder(T a, T b) {
  if constexpr (kInteger<T>) {
    if (b == -1) return 0;
    T mod = a % b;
    return mod != 0 && (mod < 0) != (b < 0) ? mod + b : mod;
  } else {
    T mod = std::fmod(a, b);
    return mod != 0 && (b < 0) != (mod < 0) ? mod + b : mod;
  }
}
template <class T> T power(T a, T b) {
  if constexpr (kInteger<T>) {
    if (b < 0) return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
    uint64_t base = uint64_t(a), result = 1;
    for (uint64_t e = uint64_t(b); e; e >>= 1) {
      if (e & 1) result *= base;
      base *= base;
    }
    return T(result);
  } else {
    if (b == T(2)) return a * a;
    return std::pow(a, b);
  }
}

// --- activations ------------------------------------------------------------------------------

template <class T> T sigmoid(T x) { return T(1) / (T(1) + std::exp(-x)); }
template <class T> T silu(T x) { return x / (T(1) + std::exp(-x)); }
template <class T> T gelu(T x) { return T(0.5) * x * (T(1) + std::erf(x * T(0.70710678118654752440))); }
template <class T> T gelu_tanh(T x) {
  T inner = T(0.79788456080286535588) * (x + T(0.044715) * x * x * x);
  return T(0.5) * x * (T(1) + std::tanh(inner));
}
template <class T> T softplus(T x, T beta, T threshold) {
  T scaled = x * beta;
  return scaled > threshold ? x : std::log1p(std::exp(scaled)) / beta;
}
template <class T> T log_sigmoid(T x) {
  T low = x < T(0) ? x : T(0);
  return low - std::log1p(std::exp(-std::fabs(x)));
}

}  // namespace sconce::pointwise
