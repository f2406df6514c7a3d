// Window: sizes of a convolution as its arguments give them, always with three spatial dimensions.
//
// Missing leading dimensions have input, kernel and output size 1. Shared by forward and backward.
#pragma once

#include "ops/kernel.h"

namespace sconce {

struct Window {
  int spatial = 0;  // dimensions that exist: 1 to 3
  int64_t in[3], kernel[3], out[3];
  int64_t stride[3], padding[3], dilation[3], output_padding[3];
  int64_t batch = 0, in_channels = 0, out_channels = 0, groups = 1;
  bool transposed = false;

  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  int64_t in_count() const { return in[0] * in[1] * in[2]; }
  int64_t out_count() const { return out[0] * out[1] * out[2]; }
};

// Where tap `tap` (counted in steps of the input: its index times the dilation) of position `out`
// of the output reads along a dimension of `size`; -1 when that is outside, or, transposed, between
// positions.
inline int64_t window_position(int64_t out, int64_t tap, int64_t stride, int64_t padding,
                               int64_t size, bool transposed) {
  int64_t at;
  if (transposed) {
    at = out + padding - tap;
    if (at < 0 || at % stride != 0) return -1;
    at /= stride;
  } else {
    at = out * stride - padding + tap;
  }
  return at >= 0 && at < size ? at : -1;
}

// Where the arguments of a convolution stand in its schema.
struct ConvolutionPositions { int input, weight, bias, stride, padding, dilation, transposed, output_padding, groups; };

// Checks everything that torch checks, and computes the output's sizes.
Status make_window(const Args& args, const ConvolutionPositions& at, Window* window,
                   Diagnostic* diagnostic);

// Strides of a tensor [batch, channel, (d, h,) w], with three spatial ones.
struct ImageStrides { int64_t batch, channel, spatial[3]; };
ImageStrides image_strides(const Tensor& tensor);
// True when the spatial dimensions walk on evenly, as one dimension of stride spatial[2].
bool is_even(const ImageStrides& strides, const int64_t sizes[3]);

}  // namespace sconce
