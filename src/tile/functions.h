// Functions of TileIR on single elements: what each means, for the interpreter.
#pragma once

#include <cstdint>

#include "tile/ir.h"

namespace sconce::tile {

// The value that every executor computes, bit for bit: the elementary functions are the block
// kernels' polynomials, not those of the C library.
float apply(Unary function, float x);
// min and max: NaN when either is NaN; of -0 and +0 the first operand.
float apply(Binary function, float x, float y);
// In `dtype`, wrapping around. b8: the bit operations are logical.
int64_t apply_integer(Unary function, int64_t x, DType dtype);
int64_t apply_integer(Binary function, int64_t x, int64_t y, DType dtype);
// The same for n of them: x[k] = f(x[k]), x[k] = f(x[k], y[k]). Comparisons give 0 or 1.
void apply_integers(Unary function, int64_t n, int64_t* x, DType dtype);
void apply_integers(Binary function, int64_t n, int64_t* x, const int64_t* y, DType dtype);
// Toward zero, saturating; NaN gives 0. To b8: whether it differs from 0.
int64_t float_to_integer(float x, DType dtype);

template <class T>
bool compare(Binary function, T x, T y) {
  switch (function) {
    case Binary::eq: return x == y;
    case Binary::ne: return x != y;
    case Binary::lt: return x < y;
    case Binary::le: return x <= y;
    case Binary::gt: return x > y;
    default: return x >= y;
  }
}

}  // namespace sconce::tile
