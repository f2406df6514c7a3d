#include "ops/quantized/affine.h"

#include "ops/reduce/rows.h"

namespace sconce {
namespace {

// Type that differs from every other, so that round_block() rounds.
constexpr DType kWide = DType::f64;

struct Run {
  const char* x;
  int64_t x_stride;
  char* out;
  int64_t out_stride;
  int count;
  int64_t parameter, parameter_stride;  // index of the first element's scale, and steps from it
};

// Calls body(Run) for runs along the last dimension that share a scale or have one each.
template <class Body>
void for_each_run(const Tensor& x, Tensor& out, const int64_t* blocks, Body body) {
  int64_t total = element_count(x);
  if (total == 0) return;
  int last = x.rank - 1;
  Strides in = strides_of(x), to = strides_of(out);
  int64_t parameter_strides[kRankMax];
  int64_t stride = 1;
  for (int d = last; d >= 0; d--) {
    parameter_strides[d] = stride;
    stride *= x.sizes[d] / blocks[d];
  }
  int64_t width = last < 0 ? 1 : x.sizes[last], block = last < 0 ? 1 : blocks[last];
  int64_t x_bytes = int64_t(dtype_bytes(x.dtype)), out_bytes = int64_t(dtype_bytes(out.dtype));
  int64_t index[kRankMax] = {};
  for (int64_t row = 0; row < total / width; row++) {
    int64_t x_at = 0, out_at = 0, parameter = 0;
    for (int d = 0; d < last; d++) {
      x_at += index[d] * in[d];
      out_at += index[d] * to[d];
      parameter += index[d] / blocks[d] * parameter_strides[d];
    }
    for (int64_t i = 0; i < width;) {
      int64_t n = width - i < kBlockCount ? width - i : kBlockCount;
      int64_t left = block - i % block;
      if (block > 1 && n > left) n = left;
      Run run{x.as<char>() + (x_at + (last < 0 ? 0 : i * in[last])) * x_bytes,
              last < 0 ? 1 : in[last],
              out.as<char>() + (out_at + (last < 0 ? 0 : i * to[last])) * out_bytes,
              last < 0 ? 1 : to[last],
              int(n),
              parameter + i / block,
              block > 1 ? 0 : 1};
      body(run);
      i += n;
    }
    for (int d = last - 1; d >= 0 && ++index[d] == x.sizes[d]; d--) index[d] = 0;
  }
}

void load_parameters(double* to, const Tensor* tensor, double number, const Run& run) {
  if (!tensor || element_count(*tensor) == 1) {
    double value = number;
    if (tensor) load_elements<double>(&value, tensor->data, 1, 1, tensor->dtype);
    for (int i = 0; i < run.count; i++) to[i] = value;
    return;
  }
  load_elements<double>(to,
                        tensor->as<char>() + run.parameter * int64_t(dtype_bytes(tensor->dtype)),
                        run.parameter_stride, run.count, tensor->dtype);
}

void round_all(double* values, int count, DType dtype) {
  if (dtype == DType::f32) {
    for (int i = 0; i < count; i++) values[i] = double(float(values[i]));
  } else if (dtype != DType::f64) {
    round_block(values, count, kWide, dtype);
  }
}

}  // namespace

double rounded(DType dtype, double value) {
  round_all(&value, 1, dtype);
  return value;
}

void quantize_affine(const Tensor& x, const AffineParameters& parameters,
                     const QuantizeSteps& steps, Tensor& out) {
  double min = rounded(steps.shifted, steps.min), max = rounded(steps.shifted, steps.max);
  for_each_run(x, out, parameters.blocks, [&](const Run& run) {
    double values[kBlockCount], inverse[kBlockCount], zero[kBlockCount];
    load_elements<double>(values, run.x, run.x_stride, run.count, x.dtype);
    load_parameters(inverse, parameters.scales, parameters.scale, run);
    load_parameters(zero, parameters.zeros, parameters.zero, run);
    for (int i = 0; i < run.count; i++) inverse[i] = 1 / inverse[i];
    round_all(inverse, run.count, steps.inverse);
    for (int i = 0; i < run.count; i++) values[i] *= inverse[i];
    round_all(values, run.count, steps.scaled);
    if (!steps.zero_first)
      for (int i = 0; i < run.count; i++) values[i] = std::rint(values[i]);
    for (int i = 0; i < run.count; i++) values[i] += zero[i];
    round_all(values, run.count, steps.shifted);
    for (int i = 0; i < run.count; i++) {
      double v = steps.zero_first ? std::rint(values[i]) : values[i];
      v = v < min ? min : v;  // NaN stays
      values[i] = v > max ? max : v;
    }
    // What is no number becomes the smallest i32, as on x86, whose lower bytes are 0.
    for (int i = 0; i < run.count && out.dtype == DType::i32; i++)
      if (values[i] != values[i]) values[i] = -0x1p31;
    store_elements<double>(run.out, run.out_stride, values, run.count, out.dtype);
  });
}

void dequantize_affine(const Tensor& q, const AffineParameters& parameters,
                       const DequantizeSteps& steps, Tensor& out) {
  for_each_run(q, out, parameters.blocks, [&](const Run& run) {
    double values[kBlockCount], scale[kBlockCount], zero[kBlockCount];
    load_elements<double>(values, run.x, run.x_stride, run.count, q.dtype);
    load_parameters(scale, parameters.scales, parameters.scale, run);
    load_parameters(zero, parameters.zeros, parameters.zero, run);
    round_all(values, run.count, steps.start);
    round_all(zero, run.count, steps.start);
    for (int i = 0; i < run.count; i++) values[i] -= zero[i];
    round_all(values, run.count, steps.shifted);
    // An integer becomes the type of the product before it is multiplied.
    if (is_integral(steps.shifted)) round_all(values, run.count, steps.scaled);
    for (int i = 0; i < run.count; i++) values[i] *= scale[i];
    round_all(values, run.count, steps.scaled);
    store_elements<double>(run.out, run.out_stride, values, run.count, out.dtype);
  });
}

bool quantized_limits(DType dtype, int64_t* min, int64_t* max) {
  switch (dtype) {
    case DType::u8: *min = 0, *max = 255; return true;
    case DType::i8: *min = -128, *max = 127; return true;
    case DType::u16: *min = 0, *max = 65535; return true;
    case DType::i16: *min = -32768, *max = 32767; return true;
    case DType::i32: *min = INT32_MIN, *max = INT32_MAX; return true;
    default: return false;
  }
}

Status read_blocks(const char* what, const Args& args, int list, const Tensor& x, int64_t* blocks,
                   Diagnostic* diagnostic) {
  (void)what;
  int count = args.list_count(list);
  if (count != x.rank)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: block_size of %d numbers for a tensor of rank %d", what, count, x.rank);
  for (int d = 0; d < count; d++) {
    int64_t block = args.list_integer(list, d);
    if (block < 1 || (x.sizes[d] != 0 && (block > x.sizes[d] || x.sizes[d] % block != 0)))
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s: block_size %lld of dimension %d does not divide its size %d", what,
                         (long long)block, d, int(x.sizes[d]));
    blocks[d] = block;
  }
  return kOk;
}

int64_t block_count(const Tensor& x, const int64_t* blocks) {
  int64_t count = 1;
  for (int d = 0; d < x.rank; d++) count *= x.sizes[d] / blocks[d];
  return count;
}

Status check_parameters(const char* what, const Tensor& x, const AffineParameters& parameters,
                        Diagnostic* diagnostic) {
  (void)what;
  int64_t wanted = block_count(x, parameters.blocks);
  const Tensor* both[2] = {parameters.scales, parameters.zeros};
  for (const Tensor* tensor : both) {
    if (!tensor) continue;
    int64_t count = element_count(*tensor);
    if (count != wanted && count != 1)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: %lld %s for %lld blocks", what,
                         (long long)count, tensor == parameters.scales ? "scales" : "zero points",
                         (long long)wanted);
    if (!is_contiguous(*tensor))
      return SCONCE_FAIL(Code::unsupported, diagnostic, "%s: %s are not in order in memory", what,
                         tensor == parameters.scales ? "scales" : "zero points");
    if (dtype_category(tensor->dtype) == DTypeCategory::complex)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: %s of type %s", what,
                         tensor == parameters.scales ? "scales" : "zero points",
                         dtype_name(tensor->dtype));
  }
  return kOk;
}

}  // namespace sconce
