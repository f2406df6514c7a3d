// Elementwise engine: broadcasts operands and runs a function over blocks of elements.
//
// Elements are loaded into blocks of one of three compute types (float for f32, f16, bf16; double;
// int64_t for integers and bool), the function runs on blocks, and results are stored with the out's
// element type: integers wrap, floats round to nearest even. So an operator is written once per
// compute type and serves every dtype, with little code. Freestanding, no allocation.
#pragma once

#include "ops/kernel.h"
#include "tensor/half.h"

namespace sconce {

enum class Compute : uint8_t { f32, f64, i64 };

constexpr Compute compute_of(DType dtype) {
  if (is_integral(dtype)) return Compute::i64;
  return dtype == DType::f64 ? Compute::f64 : Compute::f32;
}

// What complex types are computed in.
struct Complex {
  double re = 0, im = 0;
  constexpr Complex() = default;
  constexpr Complex(double re, double im = 0) : re(re), im(im) {}
  friend constexpr Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
  friend constexpr Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
  friend constexpr Complex operator*(Complex a, Complex b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
  }
  friend constexpr Complex operator/(Complex a, Complex b) {
    double square = b.re * b.re + b.im * b.im;
    Complex c = a * Complex(b.re, -b.im);
    return {c.re / square, c.im / square};
  }
};

inline constexpr int kBlockCount = 128;  // elements of a block
inline constexpr int kOperandsMax = 4;

// Computes out[i] from in[k][i] for i < count <= kBlockCount; every pointer is to the compute type.
// False when an element cannot be computed (integer division by zero); the caller words the error.
using BlockFunction = bool (*)(const void* const* in, void* out, int count, const void* parameters);

struct BlockFunctions {
  BlockFunction f32, f64, i64;  // null: not defined for the type
  // Numbers and 0-dim operands keep the precision of the compute type, where torch does so (mul and
  // div: f16 / 1e10 is 0, not f16 / inf).
  bool exact_numbers = false;
  BlockFunction complex = nullptr;  // in Complex
  bool of_f8 = false;               // operands and out may be floats of 8 bits
};

// Each operand is a tensor, or a number (broadcast). All are converted to the compute type of
// `dtype` *after* being converted to `dtype` itself, as torch's type promotion does. Operands must
// broadcast to the sizes of `out`. An operand may be the out itself; other overlap is not allowed.
Status run_elementwise(Span<const Value* const> operands, DType dtype, Tensor& out,
                       const BlockFunctions& functions, const void* parameters,
                       Diagnostic* diagnostic);

// Reads `count` elements, `stride` apart (in elements), as compute type T (float, double, int64_t,
// Complex).
template <class T>
void load_elements(T* to, const void* from, int64_t stride, int count, DType dtype);
// Writes them; conversions as above.
template <class T>
void store_elements(void* to, int64_t stride, const T* from, int count, DType dtype);

// Wraps a functor with `template <class T> T operator()(T...)` into block functions.
template <class T, class F, int N>
bool block_of(const void* const* in, void* out, int count, const void* parameters) {
  T* to = static_cast<T*>(out);
  F f;
  if constexpr (requires { f.parameters; }) f.parameters = static_cast<decltype(f.parameters)>(parameters);
  (void)parameters;
  const T* a = static_cast<const T*>(in[0]);
  if constexpr (N == 1) {
    for (int i = 0; i < count; i++) to[i] = T(f(a[i]));
  } else if constexpr (N == 2) {
    const T* b = static_cast<const T*>(in[1]);
    for (int i = 0; i < count; i++) to[i] = T(f(a[i], b[i]));
  } else {
    const T* b = static_cast<const T*>(in[1]);
    const T* c = static_cast<const T*>(in[2]);
    for (int i = 0; i < count; i++) to[i] = T(f(a[i], b[i], c[i]));
  }
  return true;
}

}  // namespace sconce
