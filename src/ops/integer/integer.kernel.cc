// int8:: operators: 8-bit integers that stand for (q - zero) * scale, multiplied and added as
// integers. Sums wrap at 32 bits; the way back to 8 bits is that of requantize.h.
#include "ops/elementwise.h"
#include "ops/integer/arguments.h"
#include "ops/integer/requantize.h"
#include "ops/reduce/rows.h"

namespace sconce {
namespace {

bool is_i8(const Tensor& tensor) { return tensor.dtype == DType::i8; }

Status want_i8(const char* what, const Tensor& tensor, Diagnostic* diagnostic) {
  (void)what;
  if (is_i8(tensor)) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s of %s: i8 is wanted", what,
                     dtype_name(tensor.dtype));
}

// A scale and zero point at `i`.
Status check_scale(const char* what, const Args& args, int i, Diagnostic* diagnostic) {
  (void)what;
  double scale = args.floating(i);
  int64_t zero = args.integer(i + 1);
  if (scale > 0 && scale < 1e38 && zero >= -128 && zero <= 127) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                     "%s: scale %g and zero point %lld; a positive one and -128 to 127 are wanted",
                     what, scale, (long long)zero);
}

// scale, zero, min, max of the result at `i`.
Status check_result(const char* what, const Args& args, int i, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(check_scale(what, args, i, diagnostic));
  int64_t min = args.integer(i + 2), max = args.integer(i + 3);
  if (min >= -128 && max <= 127 && min <= max) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: limits %lld and %lld", what,
                     (long long)min, (long long)max);
}
Requantize result_of(const Args& args, int i) {
  return {int32_t(args.integer(i + 1)), int32_t(args.integer(i + 2)), int32_t(args.integer(i + 3))};
}

// One f32 scale for all outputs, or one each; a bias of i32, one each.
Status check_weight(const char* what, const Args& args, int64_t outputs, const Tensor& scales,
                    const Tensor* bias, DType bias_type, Diagnostic* diagnostic) {
  (void)what;
  (void)args;
  int64_t count = element_count(scales);
  if (scales.dtype != DType::f32 || scales.rank != 1 || (count != 1 && count != outputs))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: %lld scales of %s for %lld outputs; f32, 1 or one each are wanted",
                       what, (long long)count, dtype_name(scales.dtype), (long long)outputs);
  if (bias && (bias->dtype != bias_type || bias->rank != 1 || bias->sizes[0] != outputs))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: bias of %s, rank %d for %lld outputs; %s, one each is wanted", what,
                       dtype_name(bias->dtype), bias->rank, (long long)outputs,
                       dtype_name(bias_type));
  return kOk;
}

// What becomes of sums of products by the scale, zero, min and max at `i`: integers, or, without a
// scale, numbers to which a bias is added.
class ProductResult {
 public:
  ProductResult(const Args& args, int i)
      : to_numbers_(!args.has(i)),
        scale_(to_numbers_ ? 1 : float(args.floating(i))),
        requantize_(result_of(args, i)) {}

  static Status check(const char* what, const Args& args, int i, Diagnostic* diagnostic) {
    return args.has(i) ? check_result(what, args, i, diagnostic) : kOk;
  }
  static DType dtype(const Args& args, int i) { return args.has(i) ? DType::i8 : DType::f32; }
  static DType bias_dtype(const Args& args, int i) { return args.has(i) ? DType::i32 : DType::f32; }

  // `unit`: what one stands for in the sum of products; `o`: which of the outputs it is.
  void put(const Tensor& out, int64_t at, uint32_t sum, float unit, const Tensor* bias,
           int64_t o) const {
    if (to_numbers_) {
      out.as<float>()[at] = float(int32_t(sum)) * unit + (bias ? bias->as<float>()[o] : 0.0f);
      return;
    }
    if (bias) sum += uint32_t(bias->as<int32_t>()[o]);
    out.as<int8_t>()[at] = requantize_(float(int32_t(sum)) * (unit / scale_));
  }

 private:
  bool to_numbers_;
  float scale_;
  Requantize requantize_;
};

float scale_at(const Tensor& scales, int64_t i) {
  return scales.as<float>()[element_count(scales) == 1 ? 0 : i];
}
int8_t element(const Tensor& tensor, int64_t at) { return tensor.as<int8_t>()[at]; }

// --- matmul
// a, a_scale, a_zero, b, b_scale, b_zero, scale, zero, min, max

Status matmul_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const char* what = "int8::matmul";
  const Tensor &a = args.tensor(0), &b = args.tensor(3);
  SCONCE_TRY_STATUS(want_i8(what, a, diagnostic));
  SCONCE_TRY_STATUS(want_i8(what, b, diagnostic));
  bool fits = a.rank >= 2 && a.rank == b.rank && a.sizes[a.rank - 1] == b.sizes[b.rank - 2];
  for (int d = 0; fits && d + 2 < a.rank; d++) fits = a.sizes[d] == b.sizes[d];
  if (!fits)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "int8::matmul: matrices of ranks %d and %d do not fit", a.rank, b.rank);
  SCONCE_TRY_STATUS(check_scale(what, args, 1, diagnostic));
  SCONCE_TRY_STATUS(check_scale(what, args, 4, diagnostic));
  SCONCE_TRY_STATUS(ProductResult::check(what, args, 6, diagnostic));
  set_like(outs[0], a);
  outs[0].sizes[a.rank - 1] = b.sizes[b.rank - 1];
  outs[0].dtype = ProductResult::dtype(args, 6);
  return kOk;
}

Status run_matmul(const Args& args, KernelContext& context) {
  const Tensor &a = args.tensor(0), &b = args.tensor(3);
  Tensor& out = args.out();
  if (!is_contiguous(a) || !is_contiguous(b) || !is_contiguous(out))
    return SCONCE_FAIL(Code::unsupported, context.diagnostic,
                       "int8::matmul: a tensor that is not in order in memory");
  const int64_t rows = a.sizes[a.rank - 2], depth = a.sizes[a.rank - 1],
                columns = b.sizes[b.rank - 1], count = element_count(out);
  const int32_t a_zero = int32_t(args.integer(2)), b_zero = int32_t(args.integer(5));
  const float unit = float(args.floating(1)) * float(args.floating(4));
  const ProductResult result(args, 6);
  for (int64_t i = 0; i < count; i++) {
    const int64_t row = i / columns, batch = row / rows;
    const int8_t* left = a.as<int8_t>() + row * depth;
    const int8_t* right = b.as<int8_t>() + batch * depth * columns + i % columns;
    uint32_t sum = 0;
    for (int64_t k = 0; k < depth; k++)
      sum += uint32_t((left[k] - a_zero) * (right[k * columns] - b_zero));
    result.put(out, i, sum, unit, nullptr, 0);
  }
  return kOk;
}

// --- linear
// x, x_scale, x_zero, weight, weight_scales, bias, scale, zero, min, max

Status linear_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const char* what = "int8::linear";
  const Tensor &x = args.tensor(0), &weight = args.tensor(3);
  SCONCE_TRY_STATUS(want_i8(what, x, diagnostic));
  SCONCE_TRY_STATUS(want_i8(what, weight, diagnostic));
  if (x.rank < 1 || weight.rank != 2 || x.sizes[x.rank - 1] != weight.sizes[1])
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "int8::linear: input of rank %d and weight of rank %d do not fit", x.rank,
                       weight.rank);
  SCONCE_TRY_STATUS(check_scale(what, args, 1, diagnostic));
  SCONCE_TRY_STATUS(ProductResult::check(what, args, 6, diagnostic));
  SCONCE_TRY_STATUS(check_weight(what, args, weight.sizes[0], args.tensor(4), args.find_tensor(5),
                                 ProductResult::bias_dtype(args, 6), diagnostic));
  set_like(outs[0], x);
  outs[0].sizes[x.rank - 1] = weight.sizes[0];
  outs[0].dtype = ProductResult::dtype(args, 6);
  return kOk;
}

Status run_linear(const Args& args, KernelContext& context) {
  const Tensor &x = args.tensor(0), &weight = args.tensor(3), &scales = args.tensor(4);
  const Tensor* bias = args.find_tensor(5);
  Tensor& out = args.out();
  if (!is_contiguous(x) || !is_contiguous(out) || !is_contiguous(weight))
    return SCONCE_FAIL(Code::unsupported, context.diagnostic,
                       "int8::linear: a tensor that is not in order in memory");
  int64_t inputs = weight.sizes[1], outputs = weight.sizes[0];
  int64_t rows = inputs ? element_count(x) / inputs : element_count(out) / (outputs ? outputs : 1);
  int32_t x_zero = int32_t(args.integer(2));
  float x_scale = float(args.floating(1));
  const ProductResult result(args, 6);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t o = 0; o < outputs; o++) {
      uint32_t sum = 0;
      const int8_t *a = x.as<int8_t>() + r * inputs, *b = weight.as<int8_t>() + o * inputs;
      for (int64_t i = 0; i < inputs; i++) sum += uint32_t((a[i] - x_zero) * b[i]);
      result.put(out, r * outputs + o, sum, x_scale * scale_at(scales, o), bias, o);
    }
  return kOk;
}

// --- convolution
// x, x_scale, x_zero, weight, weight_scales, bias, stride, padding, dilation, transposed,
// output_padding, groups, scale, zero, min, max

Status read_window(const Args& args, Window* window, Diagnostic* diagnostic) {
  const char* what = "int8::convolution";
  SCONCE_TRY_STATUS(want_i8(what, args.tensor(0), diagnostic));
  SCONCE_TRY_STATUS(want_i8(what, args.tensor(3), diagnostic));
  // Checks all but the bias, which is of another type than the input.
  const Value* values[16];
  Value none;
  for (int i = 0; i < 16; i++)
    values[i] = i == kIntegerConvolution.bias ? &none : args.values[size_t(i)];
  SCONCE_TRY_STATUS(make_window(Args{Span<const Value* const>(values, 16), 16}, kIntegerConvolution,
                                window, diagnostic));
  SCONCE_TRY_STATUS(check_scale(what, args, 1, diagnostic));
  SCONCE_TRY_STATUS(ProductResult::check(what, args, 12, diagnostic));
  return check_weight(what, args, window->out_channels, args.tensor(4), args.find_tensor(5),
                      ProductResult::bias_dtype(args, 12), diagnostic);
}

template <Status (*read)(const Args&, Window*, Diagnostic*)>
Status convolution_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Window w;
  SCONCE_TRY_STATUS(read(args, &w, diagnostic));
  set_like(outs[0], args.tensor(0));
  outs[0].sizes[1] = w.out_channels;
  for (int i = 0; i < w.spatial; i++) outs[0].sizes[2 + i] = w.out[3 - w.spatial + i];
  return kOk;
}

Status integer_convolution_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(convolution_shape<read_window>(args, outs, diagnostic));
  outs[0].dtype = ProductResult::dtype(args, 12);
  return kOk;
}

// Position in the input that tap `k` of output position `out` reads; false when there is none.
bool find_position(const Window& w, int d, int64_t out, int64_t k, int64_t* in) {
  *in = window_position(out, k * w.dilation[d], w.stride[d], w.padding[d], w.in[d], w.transposed);
  return *in >= 0;
}

// The integers of an image, less their zero point, times weights; sums of these are exact.
struct Image {
  const int8_t* data;
  int32_t zero;
  uint32_t operator()(int64_t at, int8_t weight) const {
    return uint32_t((data[at] - zero) * weight);
  }
};
// The sums of products of a convolution: put(output channel, offset in the result, sum), image by
// image. begin(image) gives what makes products: of the image's element at an offset by `xs` and a
// weight.
template <class Begin, class Put>
void convolve(const Window& w, const ImageStrides& xs, const Tensor& weight, const ImageStrides& os,
              Begin begin, Put put) {
  ImageStrides ws = image_strides(weight);
  int64_t group_inputs = w.in_channels / w.groups, group_outputs = w.out_channels / w.groups;
  for (int64_t n = 0; n < w.batch; n++) {
    const auto product = begin(n);
    for (int64_t o = 0; o < w.out_channels; o++) {
      int64_t group = o / group_outputs;
      // Weights are [outputs, inputs of a group, ...]; transposed [inputs, outputs of a group,
      // ...].
      int64_t filter = w.transposed
                           ? o % group_outputs * ws.channel + group * group_inputs * ws.batch
                           : o * ws.batch;
      int64_t step = w.transposed ? ws.batch : ws.channel;
      for (int64_t oz = 0; oz < w.out[0]; oz++)
        for (int64_t oy = 0; oy < w.out[1]; oy++)
          for (int64_t ox = 0; ox < w.out[2]; ox++) {
            decltype(product(0, 0)) sum = 0;
            for (int64_t kz = 0; kz < w.kernel[0]; kz++) {
              int64_t iz, iy, ix;
              if (!find_position(w, 0, oz, kz, &iz)) continue;
              for (int64_t ky = 0; ky < w.kernel[1]; ky++) {
                if (!find_position(w, 1, oy, ky, &iy)) continue;
                for (int64_t kx = 0; kx < w.kernel[2]; kx++) {
                  if (!find_position(w, 2, ox, kx, &ix)) continue;
                  int64_t from = group * group_inputs * xs.channel + iz * xs.spatial[0] +
                                 iy * xs.spatial[1] + ix * xs.spatial[2];
                  int64_t tap =
                      filter + kz * ws.spatial[0] + ky * ws.spatial[1] + kx * ws.spatial[2];
                  for (int64_t c = 0; c < group_inputs; c++)
                    sum += product(from + c * xs.channel, element(weight, tap + c * step));
                }
              }
            }
            put(o,
                n * os.batch + o * os.channel + oz * os.spatial[0] + oy * os.spatial[1] +
                    ox * os.spatial[2],
                sum);
          }
    }
  }
}

Status run_convolution(const Args& args, KernelContext& context) {
  Window w;
  SCONCE_TRY_STATUS(read_window(args, &w, context.diagnostic));
  const Tensor &x = args.tensor(0), &weight = args.tensor(3), &scales = args.tensor(4);
  const Tensor* bias = args.find_tensor(5);
  Tensor& out = args.out();
  ImageStrides xs = image_strides(x);
  int32_t x_zero = int32_t(args.integer(2));
  float x_scale = float(args.floating(1));
  const ProductResult result(args, 12);
  convolve(
      w, xs, weight, image_strides(out),
      [&](int64_t n) {
        return Image{x.as<int8_t>() + n * xs.batch, x_zero};
      },
      [&](int64_t o, int64_t to, uint32_t sum) {
        result.put(out, to, sum, x_scale * scale_at(scales, o), bias, o);
      });
  return kOk;
}

// --- add, sub, mul
// a, a_scale, a_zero, b, b_scale, b_zero, scale, zero, min, max

Status binary_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const char* what = "int8:: operator";
  const Tensor &a = args.tensor(0), &b = args.tensor(3);
  SCONCE_TRY_STATUS(want_i8(what, a, diagnostic));
  SCONCE_TRY_STATUS(want_i8(what, b, diagnostic));
  SCONCE_TRY_STATUS(check_scale(what, args, 1, diagnostic));
  SCONCE_TRY_STATUS(check_scale(what, args, 4, diagnostic));
  SCONCE_TRY_STATUS(check_result(what, args, 6, diagnostic));
  set_like(outs[0], a);
  return broadcast_into(b, outs[0], diagnostic);
}

struct Pair {
  float a_ratio, b_ratio, ratio;  // to the result's scale
  int32_t a_zero, b_zero;
  Requantize result;
};

template <char op>
bool pair_block(const void* const* in, void* out, int count, const void* parameters) {
  const Pair& p = *static_cast<const Pair*>(parameters);
  const int64_t *a = static_cast<const int64_t*>(in[0]), *b = static_cast<const int64_t*>(in[1]);
  for (int i = 0; i < count; i++) {
    int32_t x = int32_t(a[i]) - p.a_zero, y = int32_t(b[i]) - p.b_zero;
    float r = op == '*'   ? float(x * y) * p.ratio
              : op == '+' ? float(x) * p.a_ratio + float(y) * p.b_ratio
                          : float(x) * p.a_ratio - float(y) * p.b_ratio;
    static_cast<int64_t*>(out)[i] = p.result(r);
  }
  return true;
}

template <char op>
Status run_binary(const Args& args, KernelContext& context) {
  float a = float(args.floating(1)), b = float(args.floating(4)), out = float(args.floating(6));
  Pair pair{
      a / out,           b / out, a * b / out, int32_t(args.integer(2)), int32_t(args.integer(5)),
      result_of(args, 6)};
  const Value* operands[2] = {args.values[0], args.values[3]};
  return run_elementwise(operands, DType::i8, args.out(), {nullptr, nullptr, pair_block<op>}, &pair,
                         context.diagnostic);
}

// --- mean
// x, x_scale, x_zero, dim, keepdim, scale, zero, min, max

Status mean_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const char* what = "int8::mean";
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(want_i8(what, x, diagnostic));
  SCONCE_TRY_STATUS(check_scale(what, args, 1, diagnostic));
  SCONCE_TRY_STATUS(check_result(what, args, 5, diagnostic));
  uint32_t mask;
  SCONCE_TRY_STATUS(dims_mask(args, 3, x.rank, true, &mask, diagnostic));
  set_reduced(outs[0], x, mask, args.boolean(4), DType::i8);
  return want_elements(x, mask, what, diagnostic);
}

Status run_mean(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  uint32_t mask;
  SCONCE_TRY_STATUS(dims_mask(args, 3, x.rank, true, &mask, context.diagnostic));
  Tensor& out = args.out();
  Rows rows(x, mask), results(out, args.boolean(4) ? mask : 0);
  float ratio = float(args.floating(1)) / float(args.floating(5));
  int64_t zeros = args.integer(2) * rows.length();
  Requantize requantize = result_of(args, 5);
  for (int64_t i = 0; i < rows.count(); i++, rows.next(), results.next()) {
    int64_t sum = -zeros;
    for_each_block<int64_t>(rows, [&](int64_t* block, int n, int64_t) {
      for (int k = 0; k < n; k++) sum += block[k];
    });
    results.put(int64_t(requantize(float(sum) / float(rows.length()) * ratio)));
  }
  return kOk;
}

// --- clamp: to another scale, between real limits
// x, x_scale, x_zero, low, high, scale, zero

Status clamp_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(want_i8("int8::clamp", args.tensor(0), diagnostic));
  SCONCE_TRY_STATUS(check_scale("int8::clamp", args, 1, diagnostic));
  SCONCE_TRY_STATUS(check_scale("int8::clamp", args, 5, diagnostic));
  set_like(outs[0], args.tensor(0));
  return kOk;
}

struct Scaled {
  float x_scale, inverse, low, high;
  int32_t x_zero;
  Requantize result;
};

Status run_clamp(const Args& args, KernelContext& context) {
  Scaled scaled{float(args.floating(1)),
                1 / float(args.floating(5)),
                float(args.floating_or(3, -INFINITY)),
                float(args.floating_or(4, INFINITY)),
                int32_t(args.integer(2)),
                {int32_t(args.integer(6)), -128, 127}};
  auto block = [](const void* const* in, void* out, int count, const void* parameters) {
    const Scaled& s = *static_cast<const Scaled*>(parameters);
    for (int i = 0; i < count; i++) {
      float x = float(int32_t(static_cast<const int64_t*>(in[0])[i]) - s.x_zero) * s.x_scale;
      x = x < s.low ? s.low : x;
      x = x > s.high ? s.high : x;
      static_cast<int64_t*>(out)[i] = s.result(x * s.inverse);
    }
    return true;
  };
  const Value* operands[1] = {args.values[0]};
  return run_elementwise(operands, DType::i8, args.out(), {nullptr, nullptr, block}, &scaled,
                         context.diagnostic);
}

// --- dynamic_linear: rows of numbers are quantised, multiplied as integers, and numbers again
// x, weight, weight_scales, bias, weight_bits

Status dynamic_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const char* what = "int8:: linear of numbers";
  const Tensor &x = args.tensor(0), &weight = args.tensor(1), &scales = args.tensor(2);
  const Tensor* bias = args.find_tensor(3);
  SCONCE_TRY_STATUS(want_i8(what, weight, diagnostic));
  if (x.dtype != DType::f32 || x.rank < 1 || weight.rank != 2 ||
      x.sizes[x.rank - 1] != weight.sizes[1] || weight.sizes[1] < 1)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: input of %s, rank %d and weight of rank %d do not fit", what,
                       dtype_name(x.dtype), x.rank, weight.rank);
  bool grouped = scales.rank == 2;
  if (scales.dtype != DType::f32 ||
      (grouped ? scales.sizes[0] != weight.sizes[0] || scales.sizes[1] < 1 ||
                     weight.sizes[1] % scales.sizes[1] != 0
               : scales.rank != 1 || (scales.sizes[0] != 1 && scales.sizes[0] != weight.sizes[0])))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: scales of %s, rank %d; f32, for all, for outputs or for groups of "
                       "inputs are wanted",
                       what, dtype_name(scales.dtype), scales.rank);
  if (bias && (bias->dtype != DType::f32 || bias->rank != 1 || bias->sizes[0] != weight.sizes[0]))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: bias of %s, rank %d", what,
                       dtype_name(bias->dtype), bias->rank);
  set_like(outs[0], x);
  outs[0].sizes[x.rank - 1] = weight.sizes[0];
  return kOk;
}

uint64_t dynamic_scratch(const Args& args) { return uint64_t(args.tensor(1).sizes[1]); }

// The scale and zero point of a row or an image: both ends of its range, 0 included, are kept as
// well as they can.
struct OwnQuantization {
  float scale;
  int32_t zero;
};
struct Range {
  float min = 0, max = 0;
  void see(float x) {
    min = x < min ? x : min;
    max = x > max ? x : max;
  }
  OwnQuantization quantization() const {
    float scale = (max - min) / 255;
    if (!(scale > 0x1p-23f)) scale = 0x1p-23f;
    float below = min / scale, above = max / scale;
    float zero = (-128 + below) + (127 + above) > 0 ? -128 - below : 127 - above;
    zero = zero < -128 ? -128 : zero > 127 ? 127 : zero;
    return {scale, zero == zero ? int32_t(std::rint(zero)) : 0};
  }
};

Status run_dynamic(const Args& args, KernelContext& context) {
  const Tensor &x = args.tensor(0), &weight = args.tensor(1), &scales = args.tensor(2);
  const Tensor* bias = args.find_tensor(3);
  Tensor& out = args.out();
  if (!is_contiguous(x) || !is_contiguous(out) || !is_contiguous(weight) || !is_contiguous(scales))
    return SCONCE_FAIL(Code::unsupported, context.diagnostic,
                       "int8::dynamic_linear: a tensor that is not in order in memory");
  int64_t inputs = weight.sizes[1], outputs = weight.sizes[0], rows = element_count(x) / inputs;
  int64_t groups = scales.rank == 2 ? scales.sizes[1] : 1, group = inputs / groups;
  int8_t* q = reinterpret_cast<int8_t*>(context.scratch.data());
  for (int64_t r = 0; r < rows; r++) {
    const float* row = x.as<float>() + r * inputs;
    Range range;
    for (int64_t i = 0; i < inputs; i++) range.see(row[i]);
    OwnQuantization how = range.quantization();
    Requantize quantize{how.zero};
    for (int64_t i = 0; i < inputs; i++) q[i] = quantize(row[i] * (1 / how.scale));
    for (int64_t o = 0; o < outputs; o++) {
      const int8_t* b = weight.as<int8_t>() + o * inputs;
      float total = 0;
      for (int64_t g = 0; g < groups; g++) {
        uint32_t sum = 0;
        for (int64_t i = g * group; i < (g + 1) * group; i++)
          sum += uint32_t((q[i] - how.zero) * b[i]);
        float scale = scales.rank == 2 ? scales.as<float>()[o * groups + g] : scale_at(scales, o);
        total += float(int32_t(sum)) * scale;
      }
      out.as<float>()[r * outputs + o] = total * how.scale + (bias ? bias->as<float>()[o] : 0.0f);
    }
  }
  return kOk;
}

// --- dynamic_convolution: images of numbers are quantised, each by its own range, and numbers
// again x, weight, weight_scales, bias, stride, padding, dilation, transposed, output_padding,
// groups

Status read_dynamic_window(const Args& args, Window* window, Diagnostic* diagnostic) {
  const char* what = "int8:: convolution of numbers";
  SCONCE_TRY_STATUS(want_i8(what, args.tensor(1), diagnostic));
  if (args.tensor(0).dtype != DType::f32)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: input of %s: f32 is wanted", what,
                       dtype_name(args.tensor(0).dtype));
  // Checks all but the types, which differ here.
  Tensor numbers = args.tensor(1);
  numbers.dtype = DType::f32;
  Value weight = Value::of(&numbers), none;
  const Value* values[10];
  for (int i = 0; i < 10; i++)
    values[i] = i == kConvolutionOfNumbers.weight ? &weight
                : i == kConvolutionOfNumbers.bias ? &none
                                                  : args.values[size_t(i)];
  SCONCE_TRY_STATUS(make_window(Args{Span<const Value* const>(values, 10), 10},
                                kConvolutionOfNumbers, window, diagnostic));
  return check_weight(what, args, window->out_channels, args.tensor(2), args.find_tensor(3),
                      DType::f32, diagnostic);
}

// The integers of an image.
uint64_t image_scratch(const Args& args) {
  const Tensor& x = args.tensor(0);
  uint64_t count = 1;
  for (int d = 1; d < x.rank; d++) count *= uint64_t(x.sizes[d]);
  return count;
}

Status run_dynamic_convolution(const Args& args, KernelContext& context) {
  Window w;
  SCONCE_TRY_STATUS(read_dynamic_window(args, &w, context.diagnostic));
  const Tensor &x = args.tensor(0), &weight = args.tensor(1), &scales = args.tensor(2);
  const Tensor* bias = args.find_tensor(3);
  Tensor& out = args.out();
  ImageStrides from = image_strides(x), xs;  // of the integers: in order
  xs.spatial[2] = 1;
  xs.spatial[1] = w.in[2];
  xs.spatial[0] = w.in[1] * w.in[2];
  xs.channel = w.in[0] * xs.spatial[0];
  int8_t* q = reinterpret_cast<int8_t*>(context.scratch.data());
  auto for_each = [&](int64_t n, auto see) {
    int64_t i = 0;
    for (int64_t c = 0; c < w.in_channels; c++)
      for (int64_t z = 0; z < w.in[0]; z++)
        for (int64_t row = 0; row < w.in[1]; row++)
          for (int64_t column = 0; column < w.in[2]; column++)
            see(i++, x.as<float>()[n * from.batch + c * from.channel + z * from.spatial[0] +
                                   row * from.spatial[1] + column * from.spatial[2]]);
  };
  OwnQuantization how{};
  convolve(
      w, xs, weight, image_strides(out),
      [&](int64_t n) {
        Range range;
        for_each(n, [&](int64_t, float number) { range.see(number); });
        how = range.quantization();
        Requantize quantize{how.zero};
        for_each(n, [&](int64_t i, float number) { q[i] = quantize(number * (1 / how.scale)); });
        return Image{q, how.zero};
      },
      [&](int64_t o, int64_t to, uint32_t sum) {
        out.as<float>()[to] = float(int32_t(sum)) * scale_at(scales, o) * how.scale +
                              (bias ? bias->as<float>()[o] : 0.0f);
      });
  return kOk;
}

// --- weight_convolution: numbers by quantised weights; arguments as above

Status run_weight_convolution(const Args& args, KernelContext& context) {
  Window w;
  SCONCE_TRY_STATUS(read_dynamic_window(args, &w, context.diagnostic));
  const Tensor &x = args.tensor(0), &scales = args.tensor(2);
  const Tensor* bias = args.find_tensor(3);
  Tensor& out = args.out();
  const ImageStrides xs = image_strides(x);
  convolve(
      w, xs, args.tensor(1), image_strides(out),
      [&](int64_t n) {
        return [image = x.as<float>() + n * xs.batch](int64_t at, int8_t weight) {
          return image[at] * float(weight);
        };
      },
      [&](int64_t o, int64_t to, float sum) {
        out.as<float>()[to] = sum * scale_at(scales, o) + (bias ? bias->as<float>()[o] : 0.0f);
      });
  return kOk;
}

// --- weight_linear: numbers by quantised weights; arguments as for dynamic_linear

Status run_weights(const Args& args, KernelContext& context) {
  const Tensor &x = args.tensor(0), &weight = args.tensor(1), &scales = args.tensor(2);
  const Tensor* bias = args.find_tensor(3);
  Tensor& out = args.out();
  if (!is_contiguous(x) || !is_contiguous(out) || !is_contiguous(weight) || !is_contiguous(scales))
    return SCONCE_FAIL(Code::unsupported, context.diagnostic,
                       "int8::weight_linear: a tensor that is not in order in memory");
  int64_t inputs = weight.sizes[1], outputs = weight.sizes[0], rows = element_count(x) / inputs;
  int64_t groups = scales.rank == 2 ? scales.sizes[1] : 1, group = inputs / groups;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t o = 0; o < outputs; o++) {
      const float* a = x.as<float>() + r * inputs;
      const int8_t* b = weight.as<int8_t>() + o * inputs;
      float total = 0;
      for (int64_t g = 0; g < groups; g++) {
        float sum = 0;
        for (int64_t i = g * group; i < (g + 1) * group; i++) sum += a[i] * float(b[i]);
        total +=
            sum * (scales.rank == 2 ? scales.as<float>()[o * groups + g] : scale_at(scales, o));
      }
      out.as<float>()[r * outputs + o] = total + (bias ? bias->as<float>()[o] : 0.0f);
    }
  return kOk;
}

}  // namespace

KERNEL(int8_linear) = {"int8::linear.out", "tfittTFiii>t", linear_shape, run_linear};
KERNEL(int8_convolution) = {"int8::convolution.out", "tfittTlllbliFiii>t",
                            integer_convolution_shape, run_convolution};
KERNEL(int8_add) = {"int8::add.out", "tfitfifiii>t", binary_shape, run_binary<'+'>};
KERNEL(int8_sub) = {"int8::sub.out", "tfitfifiii>t", binary_shape, run_binary<'-'>};
KERNEL(int8_mul) = {"int8::mul.out", "tfitfifiii>t", binary_shape, run_binary<'*'>};
KERNEL(int8_matmul) = {"int8::matmul.out", "tfitfiFiii>t", matmul_shape, run_matmul};
KERNEL(int8_mean) = {"int8::mean.out", "tfiLbfiii>t", mean_shape, run_mean};
KERNEL(int8_clamp) = {"int8::clamp.out", "tfiFFfi>t", clamp_shape, run_clamp};
KERNEL(int8_dynamic_linear) = {"int8::dynamic_linear.out", "tttTi>t", dynamic_shape, run_dynamic,
                               dynamic_scratch};
KERNEL(int8_dynamic_convolution) = {"int8::dynamic_convolution.out", "tttTlllbli>t",
                                    convolution_shape<read_dynamic_window>, run_dynamic_convolution,
                                    image_scratch};
KERNEL(int8_weight_convolution) = {"int8::weight_convolution.out", "tttTlllbli>t",
                                   convolution_shape<read_dynamic_window>, run_weight_convolution};
KERNEL(int8_weight_linear) = {"int8::weight_linear.out", "tttTi>t", dynamic_shape, run_weights};

}  // namespace sconce
