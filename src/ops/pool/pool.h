// Pool: geometry of a pooling window over 1 to 3 spatial dimensions, always held as three.
#pragma once

#include "ops/kernel.h"

namespace sconce {

// Tensors are [batch, channel, spatial...], the batch optional; `planes` counts both.
struct Pool {
  int spatial = 0;
  int64_t in[3], out[3], kernel[3], stride[3], padding[3], dilation[3];
  int64_t divisor = 0;  // avg_pool's divisor_override; 0: none
  bool count_include_pad = true;
};

// Where arguments stand: kernel_size, stride, padding, dilation (-1: none), ceil_mode.
struct PoolPositions { int kernel, stride, padding, dilation, ceil_mode; };

Status make_pool(const char* what, const Args& args, const Tensor& input, int spatial,
                 const PoolPositions& at, Pool* pool, Diagnostic* diagnostic);
// Sizes of the result: those of `input` with the last `spatial` replaced.
void set_pooled(OutMeta& out, const Tensor& input, const Pool& pool, DType dtype);

// Visits planes (all dimensions before the spatial ones) of tensors of equal leading sizes.
struct PlaneStrides {
  Strides strides;
  int64_t spatial[3];  // of the three spatial dimensions
};
PlaneStrides plane_strides(const Tensor& tensor, int spatial);
// Product of the leading sizes, and where plane `index` starts, in elements.
int64_t plane_count(const Tensor& tensor, int spatial);
int64_t plane_offset(const Tensor& tensor, const PlaneStrides& strides, int spatial, int64_t index);

}  // namespace sconce
