// Convolutions, their transposes and fully connected nodes, in integers or in floats, as plain
// loops over NHWC images. Internal to the delegate.
#pragma once

#include "targets/xnnpack/run/value.h"

namespace sconce::xnn {

// A fully connected node is a convolution of images of one pixel.
struct Taps {
  int64_t batch = 1, in[2] = {1, 1}, out[2] = {1, 1};  // height, width
  int64_t groups = 1, group_inputs = 1, group_outputs = 1;
  int64_t kernel[2] = {1, 1}, stride[2] = {1, 1}, dilation[2] = {1, 1};
  int64_t padding[2] = {0, 0};  // top, left; below and to the right it follows from `out`
  bool transposed = false;
  // How the filter lies in memory: [outputs][kernel][group inputs], or with outputs innermost.
  bool outputs_innermost = false;

  int64_t inputs() const { return groups * group_inputs; }
  int64_t outputs() const { return groups * group_outputs; }
  int64_t image() const { return in[0] * in[1] * inputs(); }
};

// int8 of any kind times int8 or 4 bits into int8 (static) or floats (dynamic input). `bias` may be
// null. Sums wrap at 32 bits, as XNNPACK's do.
void multiply_integers(const Taps& taps, const RunValue& input, const RunValue& filter,
                       const RunValue* bias, RunValue& output);
// Any types; sums and products in f32.
void multiply_floats(const Taps& taps, const RunValue& input, const RunValue& filter,
                     const RunValue* bias, RunValue& output);

}  // namespace sconce::xnn
