// Operators on quantised operands as stock's files hold them: products of numbers with a table of
// int8, and sums of integers that stand for numbers.
#include "ops/promote.h"
#include "ops/quantized/affine.h"

namespace sconce {
namespace {

Status check_product(const char* what, const Args& args, bool turned, Span<OutMeta> outs,
                     Diagnostic* diagnostic) {
  (void)what;
  const Tensor &x = args.tensor(0), &weight = args.tensor(1), &scales = args.tensor(2);
  if (args.find_tensor(3))
    return SCONCE_FAIL(Code::unsupported, diagnostic, "%s: weights with zero points", what);
  if ((x.dtype != DType::f32 && x.dtype != DType::f16) || scales.dtype != x.dtype ||
      weight.dtype != DType::i8)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s of %s with weights of %s, scales of %s; f32 or f16, i8 and the first "
                       "again are wanted",
                       what, dtype_name(x.dtype), dtype_name(weight.dtype),
                       dtype_name(scales.dtype));
  bool fits = x.rank == 2 && weight.rank == 2 && x.sizes[1] == weight.sizes[turned ? 1 : 0] &&
              (scales.rank == 1 || (turned && scales.rank == 2 && scales.sizes[1] > 0)) &&
              scales.sizes[0] == weight.sizes[0];
  if (!fits)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: sizes of input, weight (ranks %d, %d) and scales do not fit", what,
                       x.rank, weight.rank);
  outs[0].dtype = x.dtype;
  outs[0].rank = 2;
  outs[0].sizes[0] = x.sizes[0];
  outs[0].sizes[1] = weight.sizes[turned ? 0 : 1];
  return kOk;
}

Status mm_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  return check_product("mixed_mm", args, false, outs, diagnostic);
}

Status linear_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(check_product("mixed_linear", args, true, outs, diagnostic));
  SCONCE_TRY_STATUS(dtype_argument(args, 4, outs[0].dtype, &outs[0].dtype, diagnostic));
  if (outs[0].dtype == DType::f32 || outs[0].dtype == DType::f16) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "mixed_linear: result of %s; f32 or f16",
                     dtype_name(outs[0].dtype));
}

float element(const Tensor& tensor, int64_t at) {
  return tensor.dtype == DType::f16 ? to_float(tensor.as<f16_t>()[at]) : tensor.as<float>()[at];
}

// Scales go with the columns of x, or (turned) with rows of the weight and groups in them.
Status run_product(const Args& args, bool turned) {
  const Tensor &x = args.tensor(0), &weight = args.tensor(1), &scales = args.tensor(2);
  Tensor& out = args.out();
  Strides xs = strides_of(x), ws = strides_of(weight), ss = strides_of(scales),
          os = strides_of(out);
  int64_t inner = x.sizes[1], columns = out.sizes[1];
  int64_t groups = scales.rank == 2 ? scales.sizes[1] : 1;
  int64_t group = groups ? (inner + groups - 1) / groups : inner;
  for (int64_t i = 0; i < x.sizes[0]; i++)
    for (int64_t j = 0; j < columns; j++) {
      float sum = 0;
      if (turned) {
        for (int64_t g = 0; g * group < inner; g++) {
          float part = 0;
          for (int64_t k = g * group; k < inner && k < (g + 1) * group; k++)
            part += element(x, i * xs[0] + k * xs[1]) *
                    float(weight.as<int8_t>()[j * ws[0] + k * ws[1]]);
          sum += part * element(scales, j * ss[0] + (scales.rank == 2 ? g * ss[1] : 0));
        }
      } else {
        for (int64_t k = 0; k < inner; k++)
          sum += element(x, i * xs[0] + k * xs[1]) *
                 float(weight.as<int8_t>()[k * ws[0] + j * ws[1]]) * element(scales, k * ss[0]);
      }
      store_elements<float>(
          out.as<char>() + (i * os[0] + j * os[1]) * int64_t(dtype_bytes(out.dtype)), 1, &sum, 1,
          out.dtype);
    }
  return kOk;
}

Status run_mm(const Args& args, KernelContext&) { return run_product(args, false); }
Status run_linear(const Args& args, KernelContext&) { return run_product(args, true); }

// a, scale, zero, min, max; b, scale, zero, min, max; scale, zero, min, max of the result.
Status add_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor &a = args.tensor(0), &b = args.tensor(5);
  bool same = a.rank == b.rank && a.dtype == b.dtype;
  for (int d = 0; same && d < a.rank; d++) same = a.sizes[d] == b.sizes[d];
  int64_t lowest, highest;
  if (!same || !quantized_limits(a.dtype, &lowest, &highest))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "quantized add of %s and %s: two tensors of one integer type and the same "
                       "sizes are wanted",
                       dtype_name(a.dtype), dtype_name(b.dtype));
  if (args.integer(12) < lowest || args.integer(13) > highest)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "quantized add: limits %lld and %lld lie outside those of %s",
                       (long long)args.integer(12), (long long)args.integer(13),
                       dtype_name(a.dtype));
  set_like(outs[0], a);
  return kOk;
}

Status run_add(const Args& args, KernelContext& context) {
  const Tensor& a = args.tensor(0);
  struct Numbers {
    float a_scale, b_scale, inverse;
    float a_zero, b_zero, zero, min, max;
  };
  Numbers n{float(args.floating(1)), float(args.floating(6)), 1 / float(args.floating(10)),
            float(args.integer(2)),  float(args.integer(7)),  float(args.integer(11)),
            float(args.integer(12)), float(args.integer(13))};
  auto add = [](const void* const* in, void* to, int count, const void* parameters) {
    const Numbers& n = *static_cast<const Numbers*>(parameters);
    const int64_t *x = static_cast<const int64_t*>(in[0]), *y = static_cast<const int64_t*>(in[1]);
    for (int i = 0; i < count; i++) {
      float sum = (float(x[i]) - n.a_zero) * n.a_scale + (float(y[i]) - n.b_zero) * n.b_scale;
      float q = n.zero + std::rint(n.inverse * sum);
      q = q < n.min ? n.min : q;
      q = q > n.max ? n.max : q;
      static_cast<int64_t*>(to)[i] = q == q ? int64_t(q) : int64_t(n.min);
    }
    return true;
  };
  const Value* operands[2] = {args.values[0], args.values[5]};
  return run_elementwise(operands, a.dtype, args.out(), {nullptr, nullptr, add}, &n,
                         context.diagnostic);
}

}  // namespace

KERNEL(mixed_mm) = {"quantized_decomposed::mixed_mm.out", "tttT>t", mm_shape, run_mm};
KERNEL(mixed_linear) = {"quantized_decomposed::mixed_linear.out", "tttTI>t", linear_shape,
                        run_linear};
KERNEL(quantized_add) = {"quantized_decomposed::add.out", "tfiiitfiiifiii>t", add_shape, run_add};

}  // namespace sconce
