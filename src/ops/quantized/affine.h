// Affine quantisation: q = clamp(round(x / scale) + zero), x = (q - zero) * scale, with one scale
// and zero for each block of elements. Sizes of blocks say whether that is a tensor, a channel, a
// token or a group; what the operators of torch differ in is where they round. Freestanding.
//
// Values pass in blocks of double; after each step that torch does in a narrower type they are
// rounded to it, so results have torch's bits.
#pragma once

#include "ops/elementwise.h"

namespace sconce {

// One scale and zero for each block, or one for all.
struct AffineParameters {
  const Tensor* scales = nullptr;  // in order of blocks, row-major; null: `scale`
  const Tensor* zeros = nullptr;   // the same; null: `zero`
  double scale = 1, zero = 0;
  int64_t blocks[kRankMax] = {};  // elements of a block, by dimension; each divides its size
};

// x * (1 / scale), round, + zero, limits; or with `zero_first` + zero, round, limits.
struct QuantizeSteps {
  DType inverse = DType::f32;  // what 1 / scale is computed in
  DType scaled = DType::f32, shifted = DType::f32;
  bool zero_first = false;
  double min = 0, max = 0;
};
// (q as `start` - zero as `start`) as `shifted` * scale as `scaled`, then as the result's type.
struct DequantizeSteps {
  DType start = DType::f32, shifted = DType::f32, scaled = DType::f32;
};

void quantize_affine(const Tensor& x, const AffineParameters& parameters,
                     const QuantizeSteps& steps, Tensor& out);
void dequantize_affine(const Tensor& q, const AffineParameters& parameters,
                       const DequantizeSteps& steps, Tensor& out);

// The nearest value of the type; integers wrap.
double rounded(DType dtype, double value);

// Limits of a type that quantised values may have; false for types that they may not.
bool quantized_limits(DType dtype, int64_t* min, int64_t* max);

// Reads block_size (a list) into parameters.blocks: as long as the rank, each entry dividing its
// size; and checks that scales and zeros are as many as there are blocks.
Status read_blocks(const char* what, const Args& args, int list, const Tensor& x, int64_t* blocks,
                   Diagnostic* diagnostic);
int64_t block_count(const Tensor& x, const int64_t* blocks);
Status check_parameters(const char* what, const Tensor& x, const AffineParameters& parameters,
                        Diagnostic* diagnostic);

}  // namespace sconce
