// Values of an XNNPACK graph while it runs: shapes and data as XNNPACK lays them out, and the step
// between real numbers and quantised ones. Internal to the delegate.
#pragma once

#include <vector>

#include "base/result.h"
#include "formats/xnnpack/xnnpack.h"
#include "tensor/tensor.h"

namespace sconce::xnn {

struct RunValue {
  const XnnValue* declared = nullptr;
  XnnDType dtype = XnnDType::f32;
  int rank = 0;
  int32_t sizes[kXnnRankMax] = {};  // of this call; of a constant always
  uint8_t* data = nullptr;          // of a constant: never written
  // Per tensor.
  float scale = 1;
  int32_t zero = 0;
  // Per channel, or per group of a row (row-major). Empty for other kinds.
  std::vector<float> scales;
  // Dynamic: a scale and a zero point a row; a row is what stands in the inner dimensions.
  int inner_dims = 0;
  std::vector<float> row_scales;
  std::vector<int32_t> row_zeros;
};

inline bool is_float(XnnDType t) {
  return t == XnnDType::f32 || t == XnnDType::f16 || t == XnnDType::bf16;
}
inline bool is_static_int8(XnnDType t) { return t == XnnDType::qint8 || t == XnnDType::quint8; }
inline bool is_dynamic_int8(XnnDType t) { return t == XnnDType::qdint8 || t == XnnDType::qpint8; }
inline bool is_channelwise(XnnDType t) {
  return t == XnnDType::qcint8 || t == XnnDType::qcint4 || t == XnnDType::qbint4;
}
// Bytes of an element in memory here; 0 for 4-bit types.
inline size_t element_bytes(XnnDType t) {
  return is_dynamic_int8(t) ? 1 : size_t(xnn_dtype_bits(t)) / 8;
}
// The element type that kernels see.
DType plain_dtype(XnnDType t);

int64_t count_of(const RunValue& value);
// Bytes of the value's data at its sizes; 4-bit rows are padded to a byte.
uint64_t bytes_of(const RunValue& value);

// Rounds to nearest even and saturates; NaN becomes 0 (XNNPACK's reference kernels).
int32_t round_saturating(float x, int32_t low, int32_t high);
inline int32_t low_of(XnnDType t) { return t == XnnDType::quint8 ? 0 : -128; }
inline int32_t high_of(XnnDType t) { return t == XnnDType::quint8 ? 255 : 127; }
inline int32_t quantize(float x, const RunValue& value) {
  return round_saturating(x * (1 / value.scale) + float(value.zero), low_of(value.dtype),
                          high_of(value.dtype));
}

// Real numbers of any value; `out` has count_of(value) entries.
void to_floats(const RunValue& value, float* out);
// Stores real numbers as the value's type and quantisation want them. A dynamic value gets its
// rows' scales from the numbers; `from_half`: as XNNPACK does it for numbers that were f16.
void from_floats(const float* in, RunValue& value, bool from_half = false);
// Elements of a dynamic value that share a scale.
int64_t row_width(const RunValue& value);

}  // namespace sconce::xnn
