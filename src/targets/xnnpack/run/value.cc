#include "targets/xnnpack/run/value.h"

#include <cmath>
#include <cstring>

#include "tensor/half.h"

namespace sconce::xnn {

DType plain_dtype(XnnDType t) {
  switch (t) {
    case XnnDType::f32: return DType::f32;
    case XnnDType::f16: return DType::f16;
    case XnnDType::bf16: return DType::bf16;
    case XnnDType::quint8: return DType::u8;
    case XnnDType::qint32:
    case XnnDType::qcint32:
    case XnnDType::int32: return DType::i32;
    default: return DType::i8;
  }
}

int64_t count_of(const RunValue& value) {
  int64_t count = 1;
  for (int i = 0; i < value.rank; i++) count *= value.sizes[i];
  return count;
}

uint64_t bytes_of(const RunValue& value) {
  uint64_t count = uint64_t(count_of(value));
  if (size_t bytes = element_bytes(value.dtype)) return count * bytes;
  if (value.rank == 0) return 1;
  uint64_t row = uint64_t(value.sizes[value.rank - 1]);
  return row ? count / row * ((row + 1) / 2) : 0;
}

int64_t row_width(const RunValue& value) {
  int64_t width = 1;
  for (int i = value.rank - value.inner_dims; i < value.rank; i++) width *= value.sizes[i];
  return width;
}

int32_t round_saturating(float x, int32_t low, int32_t high) {
  if (std::isnan(x)) x = 0;
  x = std::nearbyint(x);
  if (x <= float(low)) return low;
  if (x >= float(high)) return high;
  return int32_t(x);
}

namespace {

template <class T>
T load(const uint8_t* data, int64_t i) {
  T value;
  memcpy(&value, data + i * int64_t(sizeof(T)), sizeof(T));
  return value;
}
template <class T>
void store(uint8_t* data, int64_t i, T value) {
  memcpy(data + i * int64_t(sizeof(T)), &value, sizeof(T));
}

// Scale and zero point that take a row's range, which always holds 0, to -128 .. 127
// (XNNPACK, src/xnnpack/quantization.h: the end with the larger error gets the zero point).
void row_quantization(float low, float high, bool half, float* inverse, float* scale,
                      int32_t* zero) {
  low = std::fmin(0.0f, low), high = std::fmax(0.0f, high);
  float factor = low == high ? 1.0f : 255.0f / (high - low);
  float low_end = low * factor, high_end = high * factor;
  float exact = (-128 + low_end) + (127 + high_end) > 0 ? -128 - low_end : 127 - high_end;
  *zero = round_saturating(exact, -128, 127);
  *inverse = half ? to_float(to_f16(factor)) : factor;
  *scale = 1 / factor;
}

void quantize_rows(const float* in, RunValue& value, bool half) {
  int64_t width = row_width(value), rows = width ? count_of(value) / width : 0;
  value.row_scales.assign(size_t(rows), 1);
  value.row_zeros.assign(size_t(rows), 0);
  for (int64_t r = 0; r < rows; r++, in += width) {
    float low = 0, high = 0, inverse;
    for (int64_t i = 0; i < width; i++) low = std::fmin(low, in[i]), high = std::fmax(high, in[i]);
    int32_t zero;
    row_quantization(low, high, half, &inverse, &value.row_scales[size_t(r)], &zero);
    value.row_zeros[size_t(r)] = zero;
    for (int64_t i = 0; i < width; i++)
      store(value.data, r * width + i,
            int8_t(round_saturating(in[i] * inverse, -128 - zero, 127 - zero) + zero));
  }
}

// Calls get(i, channel) for every element of a value with a scale a channel.
template <class Get>
void scaled(const RunValue& value, float* out, Get get) {
  int64_t count = count_of(value);
  int channel_dim = value.declared->quantization.channel_dim;
  int64_t inner = 1, channels = value.sizes[channel_dim];
  for (int i = channel_dim + 1; i < value.rank; i++) inner *= value.sizes[i];
  for (int64_t i = 0; i < count; i++) out[i] = get(i) * value.scales[size_t(i / inner % channels)];
}

int nibble(const RunValue& value, int64_t i) {
  int64_t width = value.sizes[value.rank - 1], row = i / width, column = i % width;
  uint8_t pair = value.data[row * ((width + 1) / 2) + column / 2];
  return int(column % 2 ? pair >> 4 : pair & 15) - 8;
}

}  // namespace

void to_floats(const RunValue& value, float* out) {
  int64_t count = count_of(value);
  switch (value.dtype) {
    case XnnDType::f32:
      if (count) memcpy(out, value.data, size_t(count) * 4);
      return;
    case XnnDType::f16:
      for (int64_t i = 0; i < count; i++) out[i] = to_float(load<f16_t>(value.data, i));
      return;
    case XnnDType::bf16:
      for (int64_t i = 0; i < count; i++) out[i] = to_float(load<bf16_t>(value.data, i));
      return;
    case XnnDType::qint8:
      for (int64_t i = 0; i < count; i++)
        out[i] = float(int32_t(load<int8_t>(value.data, i)) - value.zero) * value.scale;
      return;
    case XnnDType::quint8:
      for (int64_t i = 0; i < count; i++)
        out[i] = float(int32_t(value.data[i]) - value.zero) * value.scale;
      return;
    case XnnDType::qint32:
    case XnnDType::int32:
      for (int64_t i = 0; i < count; i++)
        out[i] = float(load<int32_t>(value.data, i)) *
                 (value.dtype == XnnDType::int32 ? 1.0f : value.scale);
      return;
    case XnnDType::qcint32:
      return scaled(value, out, [&](int64_t i) { return float(load<int32_t>(value.data, i)); });
    case XnnDType::qcint8:
      return scaled(value, out, [&](int64_t i) { return float(load<int8_t>(value.data, i)); });
    case XnnDType::qcint4:
      return scaled(value, out, [&](int64_t i) { return float(nibble(value, i)); });
    case XnnDType::qbint4: {
      int64_t group = value.declared->quantization.group_size;
      for (int64_t i = 0; i < count; i++)
        out[i] = float(nibble(value, i)) * value.scales[size_t(i / group)];
      return;
    }
    case XnnDType::qdint8:
    case XnnDType::qpint8: {
      int64_t width = row_width(value);
      for (int64_t i = 0; i < count; i++)
        out[i] = float(int32_t(load<int8_t>(value.data, i)) - value.row_zeros[size_t(i / width)]) *
                 value.row_scales[size_t(i / width)];
      return;
    }
    case XnnDType::invalid:
    case XnnDType::pf32: break;
  }
  CHECK(false);  // refused when the graph was checked
}

void from_floats(const float* in, RunValue& value, bool from_half) {
  int64_t count = count_of(value);
  switch (value.dtype) {
    case XnnDType::f32:
      if (count) memcpy(value.data, in, size_t(count) * 4);
      return;
    case XnnDType::f16:
      for (int64_t i = 0; i < count; i++) store(value.data, i, to_f16(in[i]));
      return;
    case XnnDType::bf16:
      for (int64_t i = 0; i < count; i++) store(value.data, i, to_bf16(in[i]));
      return;
    case XnnDType::qint8:
    case XnnDType::quint8:
      for (int64_t i = 0; i < count; i++) value.data[i] = uint8_t(quantize(in[i], value));
      return;
    case XnnDType::int32:
      for (int64_t i = 0; i < count; i++)
        store(value.data, i, round_saturating(in[i], INT32_MIN, INT32_MAX));
      return;
    case XnnDType::qdint8:
    case XnnDType::qpint8: return quantize_rows(in, value, from_half);
    default: CHECK(false);  // refused when the graph was checked
  }
}

}  // namespace sconce::xnn
