// Pools and resizes of NHWC images, and moves of whole elements. Internal to the delegate.
#pragma once

#include "targets/xnnpack/run/multiply.h"
#include "targets/xnnpack/run/value.h"

namespace sconce::xnn {

// Copies a box of `rank` dimensions, elements of `bytes` bytes; strides in elements.
void copy_box(int rank, const int64_t* sizes, size_t bytes, const uint8_t* from,
              const int64_t* from_strides, uint8_t* to, const int64_t* to_strides);

// Averages of the pixels that a window covers; padding does not count.
void avg_pool(const Taps& taps, const float* in, float* out);
// The largest of the pixels that a window covers; NaN if there is one. `index`, unless null: where
// it stood, column by column of the window, the first of equals.
void max_pool(const Taps& taps, const float* in, float* out, int32_t* index);

enum class ResizeMode { half_pixel, align_corners, legacy };
// From taps.in to taps.out.
void resize_bilinear(const Taps& taps, ResizeMode mode, const float* in, float* out);

}  // namespace sconce::xnn
