// Kernels as C99: one function each, self-contained, with the interpreter's bits.
//
// What it leaves out: threads (the caller may split what it likes), tuning per processor. The text
// needs <stdint.h>, <string.h> and of <math.h> fmaf and sqrtf; elementary functions are written
// out. It allocates nothing and touches nothing outside its arrays: what lies outside reads as the
// load's fill value, as tile/interpret.h has it. Which bits a NaN has is not stated.
//
//   int softmax(const float *restrict x, float *restrict y, int64_t M, int64_t N, void *scratch);
//
// Arrays come in the order of the kernel's buffers, then strides when they are arguments
// (`const int64_t *x_strides`, in elements), then the dims that are not fixed, then scratch memory:
// softmax_scratch(M, N) bytes, aligned to 8, better to 64. Arrays are aligned for their elements;
// f16 and bf16 are uint16_t, b8 is uint8_t. No output may overlap another array. Returns 0, or n +
// 1 when a strict load's index lies outside array n (counted from 0): the outputs are then partly
// written. Compile with -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math (none is needed
// for the bits with GCC in its ISO modes, all for speed).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tile/ir.h"

namespace sconce::tile {

struct CKernel {
  const Kernel* kernel = nullptr;                     // verified
  std::string name;                                   // of the function; empty: the kernel's
  std::vector<std::pair<std::string, int64_t>> dims;  // that are constants of the text
  // By buffer, in elements: constants of the text. Empty ones, and missing ones: dense, row-major.
  std::vector<std::vector<int64_t>> strides;
  bool stride_arguments = false;  // strides come with every call instead
};

struct EmitCOptions {
  // A dot keeps so many rows of columns in registers. `columns` is 4, 8 or 16.
  int rows = 8, columns = 16;
};

struct CText {
  std::string source;                  // the .c
  std::string header;                  // declarations of the functions, for a .h
  std::vector<std::string> functions;  // by kernel
};

// One translation unit with all of `kernels`. Names that C has a use for get a "k_" in front.
// Errors name the kernel and what of its options does not fit.
Result<CText> emit_c(Span<const CKernel> kernels, const EmitCOptions& options = {});

}  // namespace sconce::tile
