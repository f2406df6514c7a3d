#include "targets/xnnpack/run/multiply.h"

#include <cstring>

#include "ops/conv/window.h"

namespace sconce::xnn {
namespace {

// The filter as [outputs][kernel height][kernel width][group inputs].
template <class T, class Get>
std::vector<T> ordered_filter(const Taps& t, Get get) {
  int64_t taps = t.kernel[0] * t.kernel[1] * t.group_inputs, outputs = t.outputs();
  std::vector<T> filter(size_t(outputs * taps));
  for (int64_t o = 0; o < outputs; o++)
    for (int64_t i = 0; i < taps; i++)
      filter[size_t(o * taps + i)] = get(t.outputs_innermost ? i * outputs + o : o * taps + i);
  return filter;
}

// Position in the input that tap `k` of output position `out` reads; false when there is none.
bool find_position(const Taps& t, int dim, int64_t out, int64_t k, int64_t* in) {
  *in = window_position(out, k * t.dilation[dim], t.stride[dim], t.padding[dim], t.in[dim],
                        t.transposed);
  return *in >= 0;
}

// Calls tap(channels of an input pixel, their filter) for every tap inside the image,
// then finish(batch, index of the output).
template <class T, class Tap, class Finish>
void walk(const Taps& t, const T* x, const T* filter, Tap tap, Finish finish) {
  int64_t channels = t.inputs(), outputs = t.outputs();
  int64_t taps = t.kernel[0] * t.kernel[1] * t.group_inputs, index = 0;
  for (int64_t n = 0; n < t.batch; n++)
    for (int64_t oy = 0; oy < t.out[0]; oy++)
      for (int64_t ox = 0; ox < t.out[1]; ox++)
        for (int64_t o = 0; o < outputs; o++, index++) {
          int64_t group = o / t.group_outputs;
          const T* row = filter + o * taps;
          for (int64_t ky = 0; ky < t.kernel[0]; ky++) {
            int64_t iy, ix;
            if (!find_position(t, 0, oy, ky, &iy)) continue;
            for (int64_t kx = 0; kx < t.kernel[1]; kx++) {
              if (!find_position(t, 1, ox, kx, &ix)) continue;
              tap(x + ((n * t.in[0] + iy) * t.in[1] + ix) * channels + group * t.group_inputs,
                  row + (ky * t.kernel[1] + kx) * t.group_inputs);
            }
          }
          finish(n, o, index);
        }
}

uint32_t dot(const int16_t* x, const int16_t* w, int64_t count) {
  uint32_t sum = 0;
  for (int64_t i = 0; i < count; i++) sum += uint32_t(int32_t(x[i]) * int32_t(w[i]));
  return sum;
}

int raw_filter(const RunValue& filter, int64_t i) {
  switch (filter.dtype) {
    case XnnDType::quint8: return int(filter.data[i]) - filter.zero;
    case XnnDType::qcint4:
    case XnnDType::qbint4: {
      int64_t width = filter.sizes[filter.rank - 1], row = i / width, column = i % width;
      uint8_t pair = filter.data[row * ((width + 1) / 2) + column / 2];
      return int(column % 2 ? pair >> 4 : pair & 15) - 8;
    }
    default: return int(int8_t(filter.data[i])) - filter.zero;
  }
}

int32_t load_i32(const RunValue& value, int64_t i) {
  int32_t number;
  memcpy(&number, value.data + 4 * i, 4);
  return number;
}

}  // namespace

void multiply_integers(const Taps& t, const RunValue& input, const RunValue& filter,
                       const RunValue* bias, RunValue& output) {
  bool dynamic = is_dynamic_int8(input.dtype);
  int64_t count = count_of(input), width = dynamic ? row_width(input) : 0;
  std::vector<int16_t> x(size_t(count), 0);
  for (int64_t i = 0; i < count; i++) {
    int q = input.dtype == XnnDType::quint8 ? int(input.data[i]) : int(int8_t(input.data[i]));
    x[size_t(i)] = int16_t(q - (dynamic ? input.row_zeros[size_t(i / width)] : input.zero));
  }
  auto w = ordered_filter<int16_t>(t, [&](int64_t i) { return int16_t(raw_filter(filter, i)); });
  auto channel_scale = [&](int64_t o) {
    return filter.scales.empty() ? filter.scale : filter.scales[size_t(o)];
  };

  if (!dynamic) {
    int32_t low = low_of(output.dtype), high = high_of(output.dtype);
    uint32_t sum = 0;
    walk<int16_t>(
        t, x.data(), w.data(),
        [&](const int16_t* a, const int16_t* b) { sum += dot(a, b, t.group_inputs); },
        [&](int64_t, int64_t o, int64_t index) {
          if (bias) sum += uint32_t(load_i32(*bias, o));
          float scale = input.scale * channel_scale(o) / output.scale;
          float y = float(int32_t(sum)) * scale;
          int32_t q = round_saturating(y, low - output.zero, high - output.zero) + output.zero;
          output.data[index] = uint8_t(q);
          sum = 0;
        });
    return;
  }

  std::vector<float> biases(size_t(t.outputs()), 0), out(size_t(count_of(output)));
  if (bias) to_floats(*bias, biases.data());
  bool grouped = filter.dtype == XnnDType::qbint4;
  int64_t group = grouped ? filter.declared->quantization.group_size : 0;
  int64_t group_count = grouped ? t.group_inputs / group : 0;
  uint32_t sum = 0;
  float total = 0;
  walk<int16_t>(
      t, x.data(), w.data(),
      [&](const int16_t* a, const int16_t* b) {
        if (!grouped) {
          sum += dot(a, b, t.group_inputs);
          return;
        }
        const float* scales = filter.scales.data() + (b - w.data()) / t.group_inputs * group_count;
        for (int64_t g = 0; g < group_count; g++)
          total += float(int32_t(dot(a + g * group, b + g * group, group))) * scales[g];
      },
      [&](int64_t n, int64_t o, int64_t index) {
        float row_scale = count ? input.row_scales[size_t(n * t.image() / width)] : 0;
        float y = grouped ? total * row_scale : float(int32_t(sum)) * row_scale * channel_scale(o);
        out[size_t(index)] = y + biases[size_t(o)];
        sum = 0, total = 0;
      });
  from_floats(out.data(), output);
}

void multiply_floats(const Taps& t, const RunValue& input, const RunValue& filter,
                     const RunValue* bias, RunValue& output) {
  std::vector<float> x(size_t(count_of(input))), raw(size_t(count_of(filter)));
  std::vector<float> biases(size_t(t.outputs()), 0), out(size_t(count_of(output)));
  to_floats(input, x.data());
  to_floats(filter, raw.data());
  if (bias) to_floats(*bias, biases.data());
  auto w = ordered_filter<float>(t, [&](int64_t i) { return raw[size_t(i)]; });
  float sum = 0;
  walk<float>(
      t, x.data(), w.data(),
      [&](const float* a, const float* b) {
        for (int64_t i = 0; i < t.group_inputs; i++) sum += a[i] * b[i];
      },
      [&](int64_t, int64_t o, int64_t index) {
        out[size_t(index)] = sum + biases[size_t(o)];
        sum = 0;
      });
  from_floats(out.data(), output);
}

}  // namespace sconce::xnn
