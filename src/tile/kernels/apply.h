// Functions of math.h by their row of the table.
#pragma once

#include "tile/kernels/math.h"
#include "tile/kernels/table.h"

namespace sconce::tile {
namespace {

template <UnaryKernel kKernel>
SCONCE_INLINE F apply(F x) {
  switch (kKernel) {
    case UnaryKernel::neg: return Simd::neg(x);
    case UnaryKernel::abs: return magnitude(x);
    case UnaryKernel::sqrt: return Simd::sqrt(x);
    case UnaryKernel::rsqrt: return rsqrt(x);
    case UnaryKernel::recip: return Simd::div(Simd::set(1), x);
    case UnaryKernel::exp: return exp(x);
    case UnaryKernel::expm1: return expm1(x);
    case UnaryKernel::log: return log(x);
    case UnaryKernel::log1p: return log1p(x);
    case UnaryKernel::tanh: return tanh(x);
    case UnaryKernel::erf: return erf(x);
    case UnaryKernel::sin: return sin(x);
    case UnaryKernel::cos: return cos(x);
    case UnaryKernel::floor: return Simd::floor(x);
    case UnaryKernel::ceil: return Simd::ceil(x);
    case UnaryKernel::round: return Simd::rint(x);
    case UnaryKernel::trunc: return Simd::trunc(x);
    case UnaryKernel::sigmoid: return sigmoid(x);
    case UnaryKernel::silu: return silu(x);
    case UnaryKernel::gelu: return gelu(x);
    case UnaryKernel::gelu_tanh: return gelu_tanh(x);
    case UnaryKernel::relu: return Simd::at_least(x, Simd::set(0));
    case UnaryKernel::count: break;
  }
  return x;
}

SCONCE_INLINE F power_of(F x, F y) {
  float a[Simd::kLanes], b[Simd::kLanes];
  Simd::store(a, x);
  Simd::store(b, y);
  for (int i = 0; i < Simd::kLanes; i++) a[i] = power(a[i], b[i]);
  return Simd::load(a);
}

template <BinaryKernel kKernel>
SCONCE_INLINE F apply(F a, F b) {
  switch (kKernel) {
    case BinaryKernel::add: return Simd::add(a, b);
    case BinaryKernel::sub: return Simd::sub(a, b);
    case BinaryKernel::mul: return Simd::mul(a, b);
    case BinaryKernel::div: return Simd::div(a, b);
    case BinaryKernel::min: return minimum(a, b);
    case BinaryKernel::max: return maximum(a, b);
    case BinaryKernel::pow: return power_of(a, b);
    case BinaryKernel::count: break;
  }
  return a;
}

}  // namespace
}  // namespace sconce::tile
