#include "tile/functions.h"

#include <cmath>

namespace sconce::tile {

float apply(Unary function, float x) {
  switch (function) {
    case Unary::neg: return -x;
    case Unary::abs: return std::fabs(x);
    case Unary::sqrt: return std::sqrt(x);
    case Unary::rsqrt: return 1 / std::sqrt(x);
    case Unary::recip: return 1 / x;
    case Unary::exp: return std::exp(x);
    case Unary::expm1: return std::expm1(x);
    case Unary::log: return std::log(x);
    case Unary::log1p: return std::log1p(x);
    case Unary::tanh: return std::tanh(x);
    case Unary::erf: return std::erf(x);
    case Unary::sin: return std::sin(x);
    case Unary::cos: return std::cos(x);
    case Unary::floor: return std::floor(x);
    case Unary::ceil: return std::ceil(x);
    case Unary::round: return std::nearbyint(x);
    case Unary::trunc: return std::trunc(x);
    case Unary::sigmoid: return 1 / (1 + std::exp(-x));
    case Unary::silu: return x / (1 + std::exp(-x));
    case Unary::gelu: return 0.5f * x * (1 + std::erf(x * 0.70710678118654752f));
    case Unary::gelu_tanh:
      return 0.5f * x * (1 + std::tanh(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case Unary::relu: return x > 0 || x != x ? x : 0;
    case Unary::bit_not: break;
  }
  return x;
}

float apply(Binary function, float x, float y) {
  switch (function) {
    case Binary::add: return x + y;
    case Binary::sub: return x - y;
    case Binary::mul: return x * y;
    case Binary::div: return x / y;
    case Binary::min: return x != x || y != y ? x + y : y < x ? y : x;
    case Binary::max: return x != x || y != y ? x + y : y > x ? y : x;
    case Binary::pow: return std::pow(x, y);
    default: return 0;
  }
}

namespace {

int64_t in(DType dtype, uint64_t x) {
  if (dtype == DType::i32) return int32_t(uint32_t(x));
  return dtype == DType::b8 ? int64_t(x & 1) : int64_t(x);
}

}  // namespace

int64_t apply_integer(Unary function, int64_t x, DType dtype) {
  switch (function) {
    case Unary::neg: return in(dtype, 0 - uint64_t(x));
    case Unary::abs: return in(dtype, x < 0 ? 0 - uint64_t(x) : uint64_t(x));
    case Unary::relu: return x > 0 ? x : 0;
    case Unary::bit_not: return in(dtype, ~uint64_t(x));
    default: return x;
  }
}

int64_t apply_integer(Binary function, int64_t x, int64_t y, DType dtype) {
  switch (function) {
    case Binary::add: return in(dtype, uint64_t(x) + uint64_t(y));
    case Binary::sub: return in(dtype, uint64_t(x) - uint64_t(y));
    case Binary::mul: return in(dtype, uint64_t(x) * uint64_t(y));
    case Binary::min: return y < x ? y : x;
    case Binary::max: return y > x ? y : x;
    case Binary::bit_and: return x & y;
    case Binary::bit_or: return x | y;
    case Binary::bit_xor: return x ^ y;
    default: return 0;
  }
}

int64_t float_to_integer(float x, DType dtype) {
  if (dtype == DType::b8) return x != 0;
  if (x != x) return 0;
  if (dtype == DType::i32) return x >= 0x1p31f ? INT32_MAX : x < -0x1p31f ? INT32_MIN : int32_t(x);
  return x >= 0x1p63f ? INT64_MAX : x < -0x1p63f ? INT64_MIN : int64_t(x);
}

}  // namespace sconce::tile
