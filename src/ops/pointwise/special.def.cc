// Special functions in terms of plain ones. All is computed in f64, so f32 results are as good as
// those of the kernels; f64 results lose some digits near zeros and singularities.
#include "ops/pointwise/special.h"

#include <cmath>

#include "ops/pointwise/expression.h"

namespace sconce {
namespace {

constexpr double kPi = 3.14159265358979323846;

// Argument `i` in f64; the type of the result goes to `dtype`.
Expression wide_argument(Build& build, const Node& node, int i, DType* dtype) {
  ValueId x = value(node, i);
  *dtype = to_floating(build.dtype(x));
  return {&build, build.cast(x, DType::f64)};
}
std::vector<ValueId> narrowed(Expression y, DType dtype) { return one(y.cast(dtype).id); }

// Winitzki's estimate, then Halley's steps on erf(x) = y. Beyond |y| = 1: NaN.
Expression erf_inverse(Expression y) {
  constexpr double a = 0.147;
  Expression l = log1p(-(y * y)), t = l * 0.5 + 2 / (kPi * a);
  Expression x = sign(y) * sqrt(sqrt(t * t - l / a) - t);
  for (int i = 0; i < 4; i++) {
    Expression step = (erf(x) - y) / (exp(-(x * x)) * 1.1283791670955126);
    Expression next = x - step / (x * step + 1);
    x = where(isinf(x), x, next);
  }
  return x;
}

// log gamma of x >= 0.5: Stirling's series beyond 10, below it after ten steps up.
Expression lgamma_positive(Expression x) {
  Expression small = x < 10.0;
  Expression low = where(small, x, 1.0), product = low;
  for (int k = 1; k < 10; k++) product = product * (low + double(k));
  Expression z = where(small, x + 10.0, x), r = 1.0 / (z * z);
  constexpr double kSeries[] = {1.0 / 156, -691.0 / 360360, 1.0 / 1188, -1.0 / 1680,
                                1.0 / 1260, -1.0 / 360,      1.0 / 12};
  Expression series = r * kSeries[0];
  for (int k = 1; k < 7; k++) series = k < 6 ? (series + kSeries[k]) * r : series + kSeries[k];
  Expression l = log(z);
  // (z - 1/2) log z - z, so that large z do not overflow before it must.
  Expression stirling = (l - 1.0) * z - l * 0.5 + series / z + 0.91893853320467274178;
  return where(small, stirling - log(product), stirling);
}

// The fractional part around the nearest integer: in [-1/2, 1/2].
Expression off_integer(Expression x) { return x - round(x); }

Expression log_gamma(Expression x) {
  Expression reflected = x < 0.5;
  Expression y = lgamma_positive(where(reflected, 1.0 - x, x));
  Expression off = off_integer(x), sine = abs(sin(off * kPi));
  Expression mirror = 1.1447298858494001741 - log(sine) - y;  // log(pi / |sin(pi x)|)
  mirror = where(off == 0.0, INFINITY, mirror);
  return where(isinf(x), INFINITY, where(reflected, mirror, y));
}

// digamma of x >= 0.5.
Expression digamma_positive(Expression x) {
  Expression small = x < 10.0;
  Expression low = where(small, x, INFINITY), steps = 1.0 / low;
  for (int k = 1; k < 10; k++) steps = steps + 1.0 / (low + double(k));
  Expression z = where(small, x + 10.0, x), r = 1.0 / (z * z);
  constexpr double kSeries[] = {-1.0 / 12, 691.0 / 32760, -1.0 / 132, 1.0 / 240,
                                -1.0 / 252, 1.0 / 120,     -1.0 / 12};
  Expression series = r * kSeries[0];
  for (int k = 1; k < 7; k++) series = (series + kSeries[k]) * r;
  return log(z) - 0.5 / z + series - steps;
}

// Coefficients of the polynomial in cot(pi x) that is the n-th derivative of it, over pi^n.
std::vector<double> cotangent_derivative(int64_t n) {
  std::vector<double> p = {0, 1};
  for (int64_t i = 0; i < n; i++) {  // p <- -(1 + c^2) p'
    std::vector<double> next(p.size() + 1, 0);
    for (size_t k = 1; k < p.size(); k++) {
      next[k - 1] -= double(k) * p[k];
      next[k + 1] -= double(k) * p[k];
    }
    p = std::move(next);
  }
  return p;
}

// Hurwitz zeta of known s > 1 and q >= 0.5, by Euler and Maclaurin at q + 12.
Expression zeta_positive(double s, Expression q) {
  auto power = [](Expression x, double e) { return x.call("aten::pow.Tensor_Scalar", {e}); };
  Expression sum = power(q, -s);
  for (int k = 1; k < 12; k++) sum = sum + power(q + double(k), -s);
  Expression a = q + 12.0, tail = power(a, -s), r = 1.0 / (a * a);
  sum = sum + tail * a / (s - 1) + tail * 0.5;
  constexpr double kNumbers[] = {1.0 / 12,         -1.0 / 720,
                                 1.0 / 30240,      -1.0 / 1209600,
                                 1.0 / 47900160,   -691.0 / 1307674368000,
                                 1.0 / 74724249600};
  Expression factor = tail / a * s;
  for (int k = 0; k < 7; k++) {
    sum = sum + factor * kNumbers[k];
    factor = factor * r * ((s + 2 * k + 1) * (s + 2 * k + 2));
  }
  return sum;
}

// exp(-|x|) I(order, x): the power series up to 20, the asymptotic one beyond.
Expression bessel_scaled(Expression x, int order) {
  Expression a = abs(x), near = a <= 20.0;
  Expression small = where(near, a, 1.0), q = small * small * 0.25;
  constexpr int kTerms = 50;
  Expression series = q * 0.0 + 1.0;
  for (int k = kTerms; k >= 1; k--) series = series * q / (double(k) * (k + order)) + 1.0;
  if (order == 1) series = series * small * 0.5;
  Expression large = where(near, 20.0, a), inverse = 1.0 / (large * 8.0);
  double mu = 4.0 * order * order;
  Expression tail = inverse * 0.0 + 1.0;
  for (int k = 16; k >= 1; k--)
    tail = 1.0 - tail * inverse * ((mu - double(2 * k - 1) * double(2 * k - 1)) / k);
  Expression y = where(near, series * exp(-small), tail / sqrt(large * (2 * kPi)));
  return order == 0 ? y : y * sign(x);
}
template <int order, bool scaled>
Results bessel_parts(Build& build, const Node& node) {
  DType dtype;
  Expression x = wide_argument(build, node, 0, &dtype), y = bessel_scaled(x, order);
  if (scaled) return narrowed(y, dtype);
  Expression half = exp(abs(x) * 0.5);  // twice, so that it overflows no sooner than the result
  return narrowed(where(isinf(x), order == 0 ? abs(x) : x, y * half * half), dtype);
}

// True of -0 and below. What sign a NaN has cannot be seen: it counts as positive.
Expression is_negative(Expression x) {
  if (!is_floating(x.dtype())) return x < 0.0;
  return (x < 0.0) || ((x == 0.0) && (1.0 / x < 0.0));
}

// Both operands as integers of the type they promote to, without sign; nullopt for booleans.
struct Integers { Expression a, b; };
std::optional<Integers> integer_operands(Build& build, const Node& node) {
  if (!std::holds_alternative<ValueRef>(node.arguments[1])) return std::nullopt;
  auto [a, b] = promoted(build, node, false);
  if (!is_integral(build.dtype(a)) || build.dtype(a) == DType::b8) return std::nullopt;
  return Integers{{&build, a}, {&build, b}};
}
Expression integer_where(Expression condition, int64_t yes, Expression no) {
  return no.call("aten::masked_fill.Scalar", {argument(condition), yes});
}
Expression integer_equals(Expression a, int64_t b) { return a.call("aten::eq.Scalar", {b}); }
Expression magnitude(Expression x) { return x.dtype() == DType::u8 ? x : abs(x); }

// Euclid's algorithm with as many steps as the type can need.
Expression greatest_divisor(Expression a, Expression b) {
  a = magnitude(a);
  b = magnitude(b);
  int bytes = int(dtype_bytes(a.dtype()));
  int steps = bytes == 1 ? 13 : bytes == 2 ? 24 : bytes == 4 ? 47 : 93;
  for (int i = 0; i < steps; i++) {
    Expression done = integer_equals(b, 0);
    Expression rest = a.call("aten::fmod.Tensor", {argument(integer_where(done, 1, b))});
    a = where(done, a, b);
    b = rest;  // 0 when done: a modulo 1
  }
  return a;
}

}  // namespace

Results erfinv_parts(Build& build, const Node& node) {
  DType dtype;
  Expression x = wide_argument(build, node, 0, &dtype);
  return narrowed(erf_inverse(x), dtype);
}
Results lgamma_parts(Build& build, const Node& node) {
  DType dtype;
  Expression x = wide_argument(build, node, 0, &dtype);
  return narrowed(log_gamma(x), dtype);
}
Results digamma_parts(Build& build, const Node& node) {
  DType dtype;
  Expression x = wide_argument(build, node, 0, &dtype), reflected = x < 0.5;
  Expression y = digamma_positive(where(reflected, 1.0 - x, x));
  Expression off = off_integer(x), mirror = y - kPi / tan(off * kPi);
  mirror = where(off == 0.0, NAN, mirror);
  mirror = where(x == 0.0, -(1.0 / x), mirror);
  return narrowed(where(reflected, mirror, y), dtype);
}
// n, self
Results polygamma_parts(Build& build, const Node& node) {
  auto n = number(node, 0);
  if (!n || *n < 0 || *n > 60) return std::nullopt;
  if (*n == 0) return build.call("aten::digamma", {node.arguments[1]});
  DType dtype;
  Expression x = wide_argument(build, node, 1, &dtype), reflected = x < 0.5;
  double odd = int64_t(*n) % 2 ? 1 : -1, factorial = std::tgamma(*n + 1);
  Expression y = zeta_positive(*n + 1, where(reflected, 1.0 - x, x)) * (odd * factorial);
  Expression off = off_integer(x), cotangent = 1.0 / tan(off * kPi);
  std::vector<double> p = cotangent_derivative(int64_t(*n));
  Expression derivative = cotangent * p.back();
  for (size_t k = p.size() - 1; k-- > 0;)
    derivative = k > 0 ? (derivative + p[k]) * cotangent : derivative + p[k];
  Expression mirror = y * -odd - derivative * std::pow(kPi, *n + 1);
  mirror = where(off == 0.0, odd * INFINITY, mirror);
  return narrowed(where(reflected, mirror, y), dtype);
}
Results bessel_i0_parts(Build& build, const Node& node) { return bessel_parts<0, false>(build, node); }
Results bessel_i0e_parts(Build& build, const Node& node) { return bessel_parts<0, true>(build, node); }
Results bessel_i1_parts(Build& build, const Node& node) { return bessel_parts<1, false>(build, node); }
Results bessel_i1e_parts(Build& build, const Node& node) { return bessel_parts<1, true>(build, node); }

Results signbit_parts(Build& build, const Node& node) {
  return one(is_negative({&build, value(node, 0)}).id);
}
// self, other (a tensor or a number)
Results copysign_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  if (auto known = number(node, 1)) {
    Expression size = abs(Expression{&build, build.cast(x, to_floating(build.dtype(x)))});
    return one(std::signbit(*known) ? (-size).id : size.id);
  }
  if (!std::holds_alternative<ValueRef>(node.arguments[1])) return std::nullopt;
  Expression negative = is_negative({&build, value(node, 1)});
  auto [a, b] = promoted(build, node, true);
  Expression size = abs(Expression{&build, a});
  return one(where(negative, -size, size).id);
}
Results logaddexp2_parts(Build& build, const Node& node) {
  if (!std::holds_alternative<ValueRef>(node.arguments[1])) return std::nullopt;
  constexpr double kLog2 = 0.69314718055994530942;
  auto [x, y] = promoted(build, node, true);
  Expression a{&build, x}, b{&build, y}, high = maximum(a, b);
  Expression sum = high + log1p(exp(abs(a - b) * -kLog2)) / kLog2;
  return one(where((a == b) && isinf(high), high, sum).id);
}
Results gcd_parts(Build& build, const Node& node) {
  auto operands = integer_operands(build, node);
  if (!operands) return std::nullopt;
  return one(greatest_divisor(operands->a, operands->b).id);
}
Results lcm_parts(Build& build, const Node& node) {
  auto operands = integer_operands(build, node);
  if (!operands) return std::nullopt;
  auto [a, b] = *operands;
  Expression divisor = greatest_divisor(a, b), none = integer_equals(divisor, 0);
  Expression quotient = magnitude(a).call(
      "aten::div.Tensor_mode", {argument(integer_where(none, 1, divisor)), std::string("trunc")});
  return one(magnitude(quotient * b).id);
}

OP(polygamma) = {.schema = "aten::polygamma(int n, Tensor self) -> Tensor",
                 .out = "aten::polygamma.out",
                 .decompose = polygamma_parts};

}  // namespace sconce
