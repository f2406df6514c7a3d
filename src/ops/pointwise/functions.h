// Scalar functions of the pointwise rows, for the compute types float, double and int64_t.
// Special functions are computed in double.
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
template <class T> bool sign_bit(T x) {
  if constexpr (kInteger<T>) return x < 0;
  else return std::signbit(x);
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

template <class T> T elu(T x, T alpha, T scale, T input_scale) {
  return x <= T(0) ? std::expm1(x * input_scale) * (alpha * scale) : x * scale;
}
template <class T> T mish(T x) { return x * std::tanh(softplus(x, T(1), T(20))); }
template <class T> T hardsigmoid(T x) { return clamp(x + T(3), T(0), T(6)) / T(6); }
template <class T> T softshrink(T x, T lambda) {
  return x > lambda ? x - lambda : x < -lambda ? x + lambda : x * T(0);
}

// --- special functions ------------------------------------------------------------------------

inline constexpr double kPi = 3.14159265358979323846;

template <class T> T sinc(T x) {
  if (x == T(0)) return T(1);
  T scaled = T(kPi) * x;
  return std::sin(scaled) / scaled;
}
template <class T> T entropy(T x) {
  return x != x ? x : x > T(0) ? -x * std::log(x) : x == T(0) ? T(0) : T(-INFINITY);
}
// x * log(y), 0 when x is 0 (unless y is NaN).
template <class T> T xlogy(T x, T y) { return y != y ? y : x == T(0) ? T(0) : x * std::log(y); }
template <class T> T xlog1py(T x, T y) { return y != y ? y : x == T(0) ? T(0) : x * std::log1p(y); }
template <class T> T log_add_exp(T a, T b) {
  if (is_inf(a) && a == b) return a;
  T high = a > b ? a : b;
  return a != a || b != b ? a + b : high + std::log1p(std::exp(-std::fabs(a - b)));
}
template <class T> T log_add_exp2(T a, T b) {
  if (is_inf(a) && a == b) return a;
  T high = a > b ? a : b;
  return a != a || b != b ? a + b
                          : high + std::log1p(std::exp2(-std::fabs(a - b))) * T(1.4426950408889634074);
}
inline double erf_inverse(double y) {
  if (!(y > -1 && y < 1)) return y == 1 ? INFINITY : y == -1 ? -INFINITY : NAN;
  // Winitzki's estimate, then Newton steps on erfc, which keeps its precision in the tails.
  double l = std::log1p(-y * y), a = 0.147, t = 2 / (kPi * a) + l / 2;
  double x = std::copysign(std::sqrt(std::sqrt(t * t - l / a) - t), y);
  for (int i = 0; i < 4; i++) {
    double off = x >= 0 ? (1 - y) - std::erfc(x) : std::erfc(-x) - (1 + y);
    double step = off / (1.1283791670955126 * std::exp(-x * x));
    if (!std::isfinite(step)) break;
    x -= step / (1 + x * step);  // Halley's correction
  }
  return x;
}
// Quantile of the normal distribution: the tail by erfc, so that it keeps its precision.
inline double normal_quantile(double p) {
  if (!(p > 0 && p < 1)) return p == 0 ? -INFINITY : p == 1 ? INFINITY : NAN;
  if (p > 1e-3) return 1.4142135623730950488 * erf_inverse(2 * p - 1);
  double l = -2 * std::log(p), x = -std::sqrt(l - std::log(2 * kPi * l));
  for (int i = 0; i < 6; i++) {
    double off = std::erfc(-x * 0.70710678118654752440) / 2 - p;
    double step = off / (0.39894228040143267794 * std::exp(-0.5 * x * x));
    if (!std::isfinite(step)) break;
    x -= step / (1 + x * step / 2);
  }
  return x;
}
inline double digamma(double x) {
  if (x == 0) return std::copysign(INFINITY, -x);
  if (x < 0) {
    if (x == std::floor(x)) return NAN;
    double whole, part = std::modf(x, &whole);
    return digamma(1 - x) - kPi / std::tan(kPi * part);
  }
  double result = 0;
  for (; x < 10; x += 1) result -= 1 / x;
  if (std::isinf(x)) return x;
  double r = 1 / (x * x);  // asymptotic series with Bernoulli's numbers
  double series = r * (1.0 / 12 - r * (1.0 / 120 - r * (1.0 / 252 - r * (1.0 / 240 - r * (1.0 / 132 -
                  r * (691.0 / 32760 - r / 12))))));
  return result + std::log(x) - 0.5 / x - series;
}
// exp(-|x|) times the modified Bessel function of the first kind, of order 0 or 1.
inline double bessel_i_scaled(double x, int order) {
  double a = std::fabs(x), result;
  if (a <= 25) {
    double term = order == 0 ? 1 : a / 2, sum = term, q = a * a / 4;
    for (int k = 1; k < 200 && term > sum * 1e-17; k++) sum += term *= q / (double(k) * double(k + order));
    result = sum * std::exp(-a);
  } else {  // asymptotic: sum of (4 n^2 - 1^2)(4 n^2 - 3^2)... / (k! (8 x)^k), alternating
    double term = 1, sum = 1, mu = order == 0 ? 0 : 4;
    for (int k = 1; k < 30; k++) {
      double next = -term * (mu - double(2 * k - 1) * double(2 * k - 1)) / (double(k) * 8 * a);
      if (std::fabs(next) >= std::fabs(term)) break;
      sum += term = next;
    }
    result = std::isinf(a) ? 0 : sum / std::sqrt(2 * kPi * a);
  }
  return order == 1 && x < 0 ? -result : result;
}
inline double bessel_i(double x, int order) {
  double a = std::fabs(x);
  if (std::isinf(a)) return order == 1 ? x : a;
  double scaled = bessel_i_scaled(x, order);
  return a > 700 ? scaled * std::exp(a / 2) * std::exp(a / 2) : scaled * std::exp(a);
}
// log of the normal distribution function.
inline double log_normal_cdf(double x) {
  if (x > -5) return x > 1 ? std::log1p(-std::erfc(x * 0.70710678118654752440) / 2)
                           : std::log(std::erfc(-x * 0.70710678118654752440) / 2);
  // Continued fraction of Mills' ratio.
  double y = -x, f = y;
  for (int k = 60; k >= 1; k--) f = y + double(k) / f;
  return -0.5 * y * y - std::log(f) - 0.91893853320467274178;
}
// Hurwitz zeta: sum of (k + q)^-x, by Euler and Maclaurin.
inline double zeta(double x, double q) {
  if (x == 1) return INFINITY;
  if (x < 1) return NAN;
  if (q <= 0) {
    if (q == std::floor(q)) return INFINITY;
    if (x != std::floor(x)) return NAN;
  }
  if (x != x || q != q) return NAN;
  double sum = 0, a = q;
  int terms = 0;
  for (; terms < 12 || a <= 12; terms++, a += 1) {
    double term = std::pow(a, -x);
    sum += term;
    if (std::fabs(term) < 1e-17 * std::fabs(sum) && a > 1) return sum;
  }
  sum += a * std::pow(a, -x) / (x - 1) + 0.5 * std::pow(a, -x);
  // B(2k) / (2k)! of the correction terms.
  constexpr double kNumbers[] = {1.0 / 12, -1.0 / 720, 1.0 / 30240, -1.0 / 1209600, 1.0 / 47900160,
                                 -691.0 / 1307674368000, 1.0 / 74724249600};
  double factor = x * std::pow(a, -x - 1);
  for (int k = 0; k < 7; k++) {
    sum += kNumbers[k] * factor;
    factor *= (x + 2 * k + 1) * (x + 2 * k + 2) / (a * a);
  }
  return sum;
}
inline double polygamma(int64_t n, double x) {
  if (n == 0) return digamma(x);
  double factorial = std::exp(std::lgamma(double(n) + 1));
  return (n % 2 ? 1 : -1) * factorial * zeta(double(n) + 1, x);
}
// exp(x^2) erfc(x)
inline double scaled_erfc(double x) {
  if (x < 20) return std::exp(x * x) * std::erfc(x);
  double r = 1 / (x * x);  // asymptotic
  return (1 - r / 2 * (1 - 1.5 * r * (1 - 2.5 * r))) / (x * 1.7724538509055160273);
}
// Regularized lower (or upper) incomplete gamma function: series below a + 1, continued fraction above.
inline double incomplete_gamma(double a, double x, bool upper) {
  if (a < 0 || x < 0) return NAN;
  if (a == 0) return x > 0 ? (upper ? 0 : 1) : NAN;
  if (x == 0) return upper ? 1 : 0;
  if (std::isinf(a)) return std::isinf(x) ? NAN : upper ? 1 : 0;
  if (std::isinf(x)) return upper ? 0 : 1;
  double factor = std::exp(a * std::log(x) - x - std::lgamma(a));
  if (x < a + 1) {
    double term = 1 / a, sum = term;
    for (int k = 1; k < 20000 && term > sum * 1e-17; k++) sum += term *= x / (a + k);
    return upper ? 1 - sum * factor : sum * factor;
  }
  double b = x + 1 - a, c = 1e300, d = 1 / b, h = d;  // Lentz
  for (int k = 1; k < 20000; k++) {
    double n = -k * (k - a);
    b += 2;
    d = n * d + b;
    c = b + n / c;
    if (std::fabs(d) < 1e-300) d = 1e-300;
    if (std::fabs(c) < 1e-300) c = 1e-300;
    d = 1 / d;
    h *= d * c;
    if (std::fabs(d * c - 1) < 1e-16) break;
  }
  return upper ? h * factor : 1 - h * factor;
}
inline int64_t gcd(int64_t a, int64_t b) {
  uint64_t x = a < 0 ? 0 - uint64_t(a) : uint64_t(a), y = b < 0 ? 0 - uint64_t(b) : uint64_t(b);
  while (y) {
    uint64_t rest = x % y;
    x = y;
    y = rest;
  }
  return int64_t(x);
}
inline int64_t lcm(int64_t a, int64_t b) {
  int64_t divisor = gcd(a, b);
  return divisor == 0 ? 0 : absolute(mul(a / divisor, b));
}

}  // namespace sconce::pointwise
