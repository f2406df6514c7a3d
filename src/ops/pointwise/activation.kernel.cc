// Kernels of the activation rows, and activations that fit none: prelu, glu, logit, nan_to_num,
// round.decimals, log_sigmoid_forward.
#include "ops/pointwise/run.h"

namespace sconce {
namespace pointwise {

#define ROW_ACTIVATION(symbol, name, arguments, kinds, count, rule, expression)                   \
  struct Activation_##symbol {                                                                    \
    const Numbers* parameters;                                                                    \
    template <class T> T operator()(T x) const {                                                  \
      [[maybe_unused]] T p = parameters->get<T>(0), q = parameters->get<T>(1), r = parameters->get<T>(2); \
      return expression;                                                                          \
    }                                                                                             \
  };
#define ROW_ACTIVATION_OWN(symbol, name, arguments, kinds, count, rule, expression, how) \
  ROW_ACTIVATION(symbol, name, arguments, kinds, count, rule, expression)
#include "ops/pointwise/activation.rows.h"
#undef ROW_ACTIVATION

}  // namespace pointwise

namespace {

using namespace pointwise;

// prelu(self, weight): one slope, or one per channel (dimension 1).
struct Prelu { template <class T> T operator()(T x, T w) const { return x > T(0) ? x : x * w; } };
Status prelu_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor &x = args.tensor(0), &weight = args.tensor(1);
  int64_t channels = x.rank >= 2 ? x.sizes[1] : 1, count = element_count(weight);
  if (weight.rank > 1 || (count != 1 && (count != channels || x.rank == 0)))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "weight has rank %d and %lld elements: 1 or %lld in one dimension wanted",
                       weight.rank, (long long)count, (long long)channels);
  if (weight.dtype != x.dtype)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "weight of type %s: %s wanted",
                       dtype_name(weight.dtype), dtype_name(x.dtype));
  SCONCE_TRY_STATUS(pointwise_shape(args, 1, Rule::real, outs, diagnostic));
  return kOk;
}
Status run_prelu(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  Tensor weight = args.tensor(1);  // seen as [channels, 1, ..., 1]
  int32_t sizes[kRankMax];
  int64_t count = element_count(weight);
  weight.rank = uint8_t(count == 1 ? 0 : x.rank - 1);
  for (int i = 0; i < weight.rank; i++) sizes[i] = i == 0 ? int32_t(count) : 1;
  weight.sizes = sizes;
  weight.dim_order = nullptr;
  Value slope = Value::of(&weight);
  const Value* operands[] = {&args[0], &slope};
  static constexpr BlockFunctions functions = functions_of<Prelu, 2, Rule::real>();
  SCONCE_TRY_STATUS(check_cast(x.dtype, args.out().dtype, context.diagnostic));
  return run_elementwise(operands, x.dtype, args.out(), functions, nullptr, context.diagnostic);
}

// glu(self, dim): first half times sigmoid of the second.
Status glu_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  if (x.rank == 0) return SCONCE_FAIL(Code::invalid_argument, diagnostic, "a tensor without dimensions");
  int dim = wrap_dim(args.integer(1), x.rank, diagnostic);
  if (dim < 0) return {Code::invalid_argument};
  SCONCE_TRY_STATUS(pointwise_shape(args, 1, Rule::real, outs, diagnostic));
  if (x.sizes[dim] % 2 != 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "size %d of dimension %d cannot be halved",
                       x.sizes[dim], dim);
  outs[0].sizes[dim] /= 2;
  return kOk;
}
template <class T>
void glu(const Tensor& x, Tensor& out, int dim) {
  Strides x_strides = strides_of(x), out_strides = strides_of(out);
  int64_t half = out.sizes[dim], rows = half == 0 ? 0 : element_count(out) / half;
  int64_t index[kRankMax] = {};
  size_t x_bytes = dtype_bytes(x.dtype), out_bytes = dtype_bytes(out.dtype);
  for (int64_t row = 0; row < rows; row++) {
    int64_t x_offset = 0, out_offset = 0;
    for (int i = 0; i < x.rank; i++) {
      x_offset += index[i] * x_strides[i];
      out_offset += index[i] * out_strides[i];
    }
    T a[kBlockCount], b[kBlockCount];
    for (int64_t done = 0; done < half; done += kBlockCount) {
      int n = int(half - done < kBlockCount ? half - done : kBlockCount);
      const char* from = x.as<char>() + (x_offset + done * x_strides[dim]) * int64_t(x_bytes);
      load_elements<T>(a, from, x_strides[dim], n, x.dtype);
      load_elements<T>(b, from + half * x_strides[dim] * int64_t(x_bytes), x_strides[dim], n, x.dtype);
      for (int i = 0; i < n; i++) a[i] *= sigmoid(b[i]);
      store_elements<T>(out.as<char>() + (out_offset + done * out_strides[dim]) * int64_t(out_bytes),
                        out_strides[dim], a, n, out.dtype);
    }
    for (int i = x.rank - 1; i >= 0; i--) {
      if (i == dim) continue;
      if (++index[i] < x.sizes[i]) break;
      index[i] = 0;
    }
  }
}
Status run_glu(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  int dim = wrap_dim(args.integer(1), x.rank, context.diagnostic);
  SCONCE_TRY_STATUS(check_cast(x.dtype, args.out().dtype, context.diagnostic));
  if (x.dtype == DType::f64) glu<double>(x, args.out(), dim);
  else glu<float>(x, args.out(), dim);
  return kOk;
}

// logit(self, eps): of self clamped to [eps, 1 - eps].
struct Logit { template <class T> T operator()(T x) const { return std::log(x / (T(1) - x)); } };
struct LogitClamped {
  const Numbers* parameters;
  template <class T> T operator()(T x) const {
    T eps = parameters->get<T>(0);
    T z = x < eps ? eps : x > T(1) - eps ? T(1) - eps : x;
    return std::log(z / (T(1) - z));
  }
};
Status run_logit(const Args& args, KernelContext& context) {
  if (args.has(1)) return run_with_numbers<1, 1, Rule::floating, LogitClamped>(args, context);
  return run_of<1, Rule::floating, Logit>(args, context);
}

// nan_to_num(self, nan, posinf, neginf): 0 and the ends of the type by default.
struct NanToNum {
  const Numbers* parameters;
  template <class T> T operator()(T x) const {
    if constexpr (kInteger<T>) return x;
    else
      return x != x ? parameters->get<T>(0)
             : x == T(INFINITY) ? parameters->get<T>(1) : x == T(-INFINITY) ? parameters->get<T>(2) : x;
  }
};
Status run_nan_to_num(const Args& args, KernelContext& context) {
  DType dtype = args.tensor(0).dtype;
  double max = dtype == DType::f64   ? 1.7976931348623157e308
               : dtype == DType::f16 ? 65504.0
               : dtype == DType::bf16 ? 3.3895313892515355e38
                                      : 3.4028234663852886e38;
  Numbers numbers = {{args.floating_or(1, 0), args.floating_or(2, max), args.floating_or(3, -max)}, {}};
  static constexpr BlockFunctions functions = functions_of<NanToNum, 1, Rule::same>();
  return pointwise_run(args, 1, Rule::same, functions, &numbers, context);
}

// round.decimals(self, *, decimals)
struct RoundDecimals {
  const Numbers* parameters;  // 10^|decimals|, 1 when negative
  template <class T> T operator()(T x) const {
    T scale = parameters->get<T>(0);
    return parameters->i[1] ? round_even(x / scale) * scale : round_even(x * scale) / scale;
  }
};
Status run_round_decimals(const Args& args, KernelContext& context) {
  int64_t decimals = args.integer(1);
  Numbers numbers = {};
  numbers.f[0] = std::pow(10.0, std::fabs(double(decimals)));
  numbers.i[1] = decimals < 0;
  static constexpr BlockFunctions functions = functions_of<RoundDecimals, 1, Rule::real>();
  return pointwise_run(args, 1, Rule::real, functions, &numbers, context);
}

// polygamma(n, self)
struct Polygamma {
  const Numbers* parameters;
  template <class T> T operator()(T x) const { return T(polygamma(parameters->i[0], double(x))); }
};
Status polygamma_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  if (args.integer(0) < 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "order %lld: at least 0 wanted",
                       (long long)args.integer(0));
  const Tensor& x = args.tensor(1);
  set_like(outs[0], x, to_floating(x.dtype));
  return kOk;
}
Status run_polygamma(const Args& args, KernelContext& context) {
  const Value* operands[] = {&args[1], args.values[2]};
  Numbers numbers = numbers_of(args, 0, 1);
  static constexpr BlockFunctions functions = functions_of<Polygamma, 1, Rule::floating>();
  return pointwise_run({operands, 1}, 1, Rule::floating, functions, &numbers, context);
}

// log_sigmoid_forward(self) -> output, buffer: the buffer (exp(-|self|), for training) is empty on CPU
// in inference; torch fills it, so we do.
struct LogSigmoid { template <class T> T operator()(T x) const { return log_sigmoid(x); } };
struct Decay { template <class T> T operator()(T x) const { return std::exp(-std::fabs(x)); } };
Status log_sigmoid_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(pointwise_shape(args, 1, Rule::real, outs, diagnostic));
  outs[1] = outs[0];
  return kOk;
}
Status run_log_sigmoid_forward(const Args& args, KernelContext& context) {
  const Value* first[] = {&args[0], args.values[1]};
  const Value* second[] = {&args[0], args.values[2]};
  SCONCE_TRY_STATUS((run_of<1, Rule::real, LogSigmoid>({first, 1}, context)));
  return run_of<1, Rule::real, Decay>({second, 1}, context);
}

}  // namespace

#define ROW_ACTIVATION(symbol, name, arguments, kinds, count, rule, expression)               \
  KERNEL(symbol) = {"aten::" name ".out", "t" kinds ">t", shape_of<1, Rule::rule>, \
                    run_with_numbers<1, count, Rule::rule, Activation_##symbol>};
#include "ops/pointwise/activation.rows.h"

KERNEL(prelu) = {"sconce::prelu.out", "tt>t", prelu_shape, run_prelu};
KERNEL(glu) = {"aten::glu.out", "ti>t", glu_shape, run_glu};
KERNEL(logit) = {"aten::logit.out", "tF>t", shape_of<1, Rule::floating>, run_logit};
KERNEL(nan_to_num) = {"aten::nan_to_num.out", "tFFF>t", shape_of<1, Rule::same>, run_nan_to_num};
KERNEL(round_decimals) = {"aten::round.decimals_out", "ti>t", shape_of<1, Rule::real>,
                          run_round_decimals};
KERNEL(polygamma) = {"aten::polygamma.out", "it>t", polygamma_shape, run_polygamma};
KERNEL(log_sigmoid_forward) = {"aten::log_sigmoid_forward.output", "t>tt", log_sigmoid_shape,
                               run_log_sigmoid_forward};

}  // namespace sconce
