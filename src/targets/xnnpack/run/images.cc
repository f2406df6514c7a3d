#include "targets/xnnpack/run/images.h"

#include <cmath>
#include <cstring>

namespace sconce::xnn {

void copy_box(int rank, const int64_t* sizes, size_t bytes, const uint8_t* from,
              const int64_t* from_strides, uint8_t* to, const int64_t* to_strides) {
  if (rank == 0) {
    memcpy(to, from, bytes);
    return;
  }
  if (rank == 1 && from_strides[0] == 1 && to_strides[0] == 1) {
    if (sizes[0]) memcpy(to, from, size_t(sizes[0]) * bytes);
    return;
  }
  for (int64_t i = 0; i < sizes[0]; i++)
    copy_box(rank - 1, sizes + 1, bytes, from + i * from_strides[0] * int64_t(bytes),
             from_strides + 1, to + i * to_strides[0] * int64_t(bytes), to_strides + 1);
}

namespace {

// Taps of a window at output position `o` that lie inside the image: first to last, last excluded.
void inside(const Taps& t, int dim, int64_t o, int64_t* first, int64_t* last) {
  int64_t start = o * t.stride[dim] - t.padding[dim], step = t.dilation[dim];
  *first = start < 0 ? (step - 1 - start) / step : 0;
  *last = start < t.in[dim] ? (t.in[dim] - 1 - start) / step + 1 : 0;
  if (*last > t.kernel[dim]) *last = t.kernel[dim];
}

// Calls pixel(pointer to the pixel's channels, tap) for every tap inside the image, and
// finish(pointer to the output's channels) for every output pixel.
template <class Pixel, class Finish>
void windows(const Taps& t, const float* in, Pixel pixel, Finish finish) {
  int64_t channels = t.inputs(), at = 0, top, bottom, left, right;
  for (int64_t n = 0; n < t.batch; n++)
    for (int64_t oy = 0; oy < t.out[0]; oy++) {
      inside(t, 0, oy, &top, &bottom);
      for (int64_t ox = 0; ox < t.out[1]; ox++, at += channels) {
        inside(t, 1, ox, &left, &right);
        for (int64_t kx = left; kx < right; kx++) {
          int64_t ix = ox * t.stride[1] - t.padding[1] + kx * t.dilation[1];
          for (int64_t ky = top; ky < bottom; ky++) {
            int64_t iy = oy * t.stride[0] - t.padding[0] + ky * t.dilation[0];
            pixel(in + ((n * t.in[0] + iy) * t.in[1] + ix) * channels, kx * t.kernel[0] + ky);
          }
        }
        finish(at);
      }
    }
}

}  // namespace

void avg_pool(const Taps& t, const float* in, float* out) {
  size_t channels = size_t(t.inputs());
  std::vector<float> sums(channels);
  int64_t count = 0;
  windows(
      t, in,
      [&](const float* pixel, int64_t) {
        for (size_t c = 0; c < channels; c++) sums[c] += pixel[c];
        count++;
      },
      [&](int64_t at) {
        for (size_t c = 0; c < channels; c++) {
          out[at + int64_t(c)] = sums[c] / float(count);
          sums[c] = 0;
        }
        count = 0;
      });
}

void max_pool(const Taps& t, const float* in, float* out, int32_t* index) {
  size_t channels = size_t(t.inputs());
  std::vector<float> largest(channels, -INFINITY);
  std::vector<int32_t> where(channels, 0);
  bool first = true;
  windows(
      t, in,
      [&](const float* pixel, int64_t tap) {
        for (size_t c = 0; c < channels; c++)
          if (first || pixel[c] > largest[c] || (std::isnan(pixel[c]) && !std::isnan(largest[c])))
            largest[c] = pixel[c], where[c] = int32_t(tap);
        first = false;
      },
      [&](int64_t at) {
        for (size_t c = 0; c < channels; c++) {
          out[at + int64_t(c)] = largest[c];
          if (index) index[at + int64_t(c)] = where[c];
          largest[c] = -INFINITY, where[c] = 0;
        }
        first = true;
      });
}

void resize_bilinear(const Taps& t, ResizeMode mode, const float* in, float* out) {
  int64_t channels = t.inputs();
  // The two positions around output position `o`, and the weight of the second.
  auto around = [&](int dim, int64_t o, int64_t* a, int64_t* b) {
    bool ends = mode == ResizeMode::align_corners && t.out[dim] > 1;
    float scale =
        ends ? float(t.in[dim] - 1) / float(t.out[dim] - 1) : float(t.in[dim]) / float(t.out[dim]);
    float at = mode == ResizeMode::half_pixel ? (float(o) + 0.5f) * scale - 0.5f : float(o) * scale;
    at = std::fmin(std::fmax(at, 0.0f), float(t.in[dim] - 1));
    *a = int64_t(at);
    *b = *a + 1 < t.in[dim] ? *a + 1 : *a;
    return at - float(*a);
  };
  for (int64_t n = 0; n < t.batch; n++)
    for (int64_t oy = 0; oy < t.out[0]; oy++) {
      int64_t top, bottom, left, right;
      float down = around(0, oy, &top, &bottom);
      const float* image = in + n * t.in[0] * t.in[1] * channels;
      for (int64_t ox = 0; ox < t.out[1]; ox++) {
        float across = around(1, ox, &left, &right);
        auto pixel = [&](int64_t y, int64_t x) { return image + (y * t.in[1] + x) * channels; };
        const float *a = pixel(top, left), *b = pixel(top, right);
        const float *c = pixel(bottom, left), *d = pixel(bottom, right);
        for (int64_t k = 0; k < channels; k++, out++) {
          float upper = a[k] + (b[k] - a[k]) * across, lower = c[k] + (d[k] - c[k]) * across;
          *out = upper + (lower - upper) * down;
        }
      }
    }
}

}  // namespace sconce::xnn
