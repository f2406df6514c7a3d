// Matrix product over any strides and element type: the loop that linear algebra, convolution,
// attention and recurrent kernels share.
//
// Operands are copied in small blocks into scratch as one of three compute types (float for f32, f16
// and bf16; double; wrapping 64-bit integers), so one loop serves every dtype and layout. Sums run
// over K in blocks: each block is summed in order, then the blocks in order.
#pragma once

#include "ops/elementwise.h"

namespace sconce {

// A matrix in memory; strides count elements and may be 0 (broadcast).
struct Matrix {
  const void* data = nullptr;
  DType dtype = DType::f32;
  int64_t row_stride = 0, column_stride = 0;
};

// Writes the block of B with rows [k, k + rows) and columns [n, n + columns) as compute type T:
// element (i, j) goes to to[i * width + j]; columns up to `width` are filled with zeros.
using PackColumns = void (*)(const void* state, int64_t n, int columns, int64_t k, int rows,
                             void* to, int width);
// Writes A[m][k .. k + count) as compute type T.
using PackRow = void (*)(const void* state, int64_t m, int64_t k, int count, void* to);

// A number in both forms; integers beyond 2^53 are kept exact.
struct Factor {
  double real = 1;
  int64_t integer = 1;
};
inline Factor factor_argument(const Args& args, int i) {
  return {args.floating(i), args.integer(i)};
}

// out = alpha * (a . b) + beta * added. Nothing is added when added.data is null or beta is 0.
// `out` may not overlap a and b; it may be `added` itself.
struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  Matrix a;                            // m x k, unless pack_row is given
  Matrix b;                            // k x n, unless pack_columns is given
  void* out = nullptr;
  DType out_dtype = DType::f32;
  int64_t out_row_stride = 0, out_column_stride = 0;
  Matrix added;
  Factor alpha, beta;
  PackRow pack_row = nullptr;
  PackColumns pack_columns = nullptr;
  const void* state = nullptr;         // what the two functions get
};

// What `gemm` needs of scratch, at most about 40 KB.
uint64_t gemm_scratch_bytes(Compute compute, int64_t m, int64_t n, int64_t k);
// `scratch` is aligned to 16 and as large as gemm_scratch_bytes says for sizes not below these.
void gemm(const Gemm& gemm, Compute compute, uint8_t* scratch);

inline constexpr DType dtype_of(Compute compute) {
  return compute == Compute::f32 ? DType::f32 : compute == Compute::f64 ? DType::f64 : DType::i64;
}
// Bytes of one element of the compute type.
inline constexpr uint64_t compute_bytes(Compute compute) { return compute == Compute::f32 ? 4 : 8; }

// Errors that name the operator: operands of two types, a type the operator is not defined for, an
// out of another type than the result's.
Status check_same_dtype(const char* what, const Tensor& a, const Tensor& b, Diagnostic* diagnostic);
Status check_arithmetic_dtype(const char* what, DType dtype, Diagnostic* diagnostic);  // no bool
Status check_floating_dtype(const char* what, DType dtype, Diagnostic* diagnostic);
Status check_out_dtype(const Tensor& out, DType dtype, Diagnostic* diagnostic);

}  // namespace sconce
