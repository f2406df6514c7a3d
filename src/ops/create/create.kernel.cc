// Tensors from numbers: full, zeros, ones, empty, arange, linspace, eye, scalar_tensor.
//
// The out's element type is the result's: these kernels fill whatever type they are given.
#include <cmath>
#include <cstring>

#include "ops/convert/copy.h"
#include "ops/elementwise.h"
#include "ops/promote.h"

namespace sconce {
namespace {

Status sizes_from_list(const Args& args, int i, DType dtype, OutMeta& out, Diagnostic* diagnostic) {
  int count = args.list_count(i);
  if (count > kRankMax)
    return SCONCE_FAIL(Code::too_large, diagnostic, "%d sizes: at most %d are possible", count,
                       kRankMax);
  out = OutMeta{};
  out.dtype = dtype;
  out.rank = count;
  for (int k = 0; k < count; k++) {
    out.sizes[k] = args.list_integer(i, k);
    if (out.sizes[k] < 0)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "size %lld of dimension %d is negative",
                         (long long)out.sizes[k], k);
  }
  return kOk;
}

// full(size, fill_value): the type of the number.
Status full_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  return sizes_from_list(args, 0, number_dtype(args[1]), outs[0], diagnostic);
}
Status run_fill(const Args& args, KernelContext& context) {
  return fill_tensor(args[1], args.out(), context.diagnostic);
}
Status floats_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  return sizes_from_list(args, 0, DType::f32, outs[0], diagnostic);
}
template <int64_t number>
Status run_constant(const Args& args, KernelContext& context) {
  return fill_tensor(Value::of(number), args.out(), context.diagnostic);
}
Status like_shape(const Args& args, Span<OutMeta> outs, Diagnostic*) {
  set_like(outs[0], args.tensor(0));
  return kOk;
}
// Contents of an empty tensor are up to us; zeros keep results reproducible.
Status run_empty(const Args& args, KernelContext&) {
  if (uint64_t bytes = tensor_bytes(args.out())) memset(args.out().data, 0, size_t(bytes));
  return kOk;
}
Status scalar_shape(const Args&, Span<OutMeta> outs, Diagnostic*) {
  outs[0] = OutMeta{};
  return kOk;
}
Status run_scalar(const Args& args, KernelContext& context) {
  return fill_tensor(args[0], args.out(), context.diagnostic);
}

// Calls value(i) for every element of a contiguous or permuted out of rank 1 (or 0) and stores it.
template <class T, class F>
void store_sequence(Tensor& out, F value) {
  int64_t count = element_count(out);
  size_t bytes = dtype_bytes(out.dtype);
  T block[kBlockCount];
  for (int64_t done = 0; done < count; done += kBlockCount) {
    int n = int(count - done < kBlockCount ? count - done : kBlockCount);
    for (int i = 0; i < n; i++) block[i] = T(value(done + i));
    store_elements<T>(out.as<char>() + done * int64_t(bytes), 1, block, n, out.dtype);
  }
}

// arange over [start, end): all integers give i64, else f32.
struct Range { Value start, end, step; };
Range range_of(const Args& args) {
  if (args.input_count == 1) return {Value::of(int64_t(0)), args[0], Value::of(int64_t(1))};
  return {args[0], args[1], args[2]};
}
bool is_floating_number(const Value& value) { return value.kind == Value::Kind::floating; }
double as_double(const Value& value) {
  return value.kind == Value::Kind::floating  ? value.floating
         : value.kind == Value::Kind::boolean ? double(value.boolean)
                                              : double(value.integer);
}
int64_t as_integer(const Value& value) {
  return value.kind == Value::Kind::floating  ? int64_t(value.floating)
         : value.kind == Value::Kind::boolean ? int64_t(value.boolean)
                                              : value.integer;
}
Status arange_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Range range = range_of(args);
  outs[0] = OutMeta{};
  outs[0].rank = 1;
  for (const Value& number : {range.start, range.end, range.step})
    if (is_floating_number(number) && !(std::fabs(number.floating) < 0x1p63))
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "start, end and step must be finite numbers of 64 bits");
  // A result of i64 truncates its arguments first; one of another integer type keeps fractions when
  // it counts, and drops them in the values.
  bool truncates = args.out_count() > 0 && args.out().dtype == DType::i64;
  if (truncates || (!is_floating_number(range.start) && !is_floating_number(range.end) &&
                    !is_floating_number(range.step))) {
    outs[0].dtype = DType::i64;
    int64_t start = as_integer(range.start), end = as_integer(range.end), step = as_integer(range.step);
    int64_t length;
    if (step == 0) return SCONCE_FAIL(Code::invalid_argument, diagnostic, "step is 0");
    if (__builtin_sub_overflow(end, start, &length) || length == INT64_MIN || step == INT64_MIN)
      return SCONCE_FAIL(Code::too_large, diagnostic, "range from %lld to %lld", (long long)start,
                         (long long)end);
    if (length != 0 && (length > 0) != (step > 0))
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "end %lld is not reached from start %lld by steps of %lld", (long long)end,
                         (long long)start, (long long)step);
    outs[0].sizes[0] = length / step + (length % step != 0);
    return kOk;
  }
  outs[0].dtype = DType::f32;
  double start = as_double(range.start), end = as_double(range.end), step = as_double(range.step);
  if (step == 0) return SCONCE_FAIL(Code::invalid_argument, diagnostic, "step is 0");
  double count = std::ceil((end - start) / step);
  if (count < 0 || (end != start && (end > start) != (step > 0)))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "end is not reached from start by steps");
  if (count > double(INT32_MAX))
    return SCONCE_FAIL(Code::too_large, diagnostic, "more than %d elements", INT32_MAX);
  outs[0].sizes[0] = int64_t(count);
  return kOk;
}
Status run_arange(const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(check_plain_type(args.out().dtype, context.diagnostic));
  Range range = range_of(args);
  Tensor& out = args.out();
  if (is_integral(out.dtype)) {
    uint64_t start = uint64_t(as_integer(range.start)), step = uint64_t(as_integer(range.step));
    store_sequence<int64_t>(out, [&](int64_t i) { return int64_t(start + uint64_t(i) * step); });
  } else {
    double start = as_double(range.start), step = as_double(range.step);
    store_sequence<double>(out, [&](int64_t i) { return start + double(i) * step; });
  }
  return kOk;
}

// linspace(start, end, steps): from both ends towards the middle, as torch does.
Status steps_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  int64_t steps = args.integer(2);
  if (steps < 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%lld steps: at least 0 wanted",
                       (long long)steps);
  outs[0] = OutMeta{};
  outs[0].rank = 1;
  outs[0].sizes[0] = steps;
  return kOk;
}
template <class T>
void linspace(Tensor& out, double first, double last) {
  T start = T(first), end = T(last);
  int64_t steps = out.sizes[0], half = steps / 2;
  T step = steps > 1 ? (end - start) / T(steps - 1) : T(0);
  store_sequence<T>(out, [&](int64_t i) {
    return i < half || steps == 1 ? start + step * T(i) : end - step * T(steps - i - 1);
  });
}
Status run_linspace(const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(check_plain_type(args.out().dtype, context.diagnostic));
  Tensor& out = args.out();
  double start = args.floating(0), end = args.floating(1);
  if (is_integral(out.dtype)) {
    // Steps are floats, values are truncated.
    int64_t steps = out.sizes[0], half = steps / 2, first = args.integer(0), last = args.integer(1);
    float step = steps > 1 ? (float(last) - float(first)) / float(steps - 1) : 0;
    store_sequence<int64_t>(out, [&](int64_t i) {
      return i < half || steps == 1 ? int64_t(float(first) + step * float(i))
                                    : int64_t(float(last) - step * float(steps - i - 1));
    });
  } else if (out.dtype == DType::f64) {
    linspace<double>(out, start, end);
  } else {
    linspace<float>(out, start, end);
  }
  return kOk;
}

// logspace(start, end, steps, base)
Status run_logspace(const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(check_plain_type(args.out().dtype, context.diagnostic));
  Tensor& out = args.out();
  double base = args.floating(3), start = args.floating(0), end = args.floating(1);
  int64_t steps = out.sizes[0], half = steps / 2;
  double step = steps > 1 ? (end - start) / double(steps - 1) : 0;
  auto value = [&](int64_t i) {
    return std::pow(base, i < half || steps == 1 ? start + step * double(i) : end - step * double(steps - i - 1));
  };
  if (is_integral(out.dtype)) store_sequence<int64_t>(out, value);
  else store_sequence<double>(out, value);
  return kOk;
}

// range(start, end, step): the end included.
Status range_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  double start = args.floating(0), end = args.floating(1);
  double step = args.input_count > 2 ? args.floating(2) : 1;
  double count = std::floor((end - start) / step) + 1;
  if (!(count >= 1 && count <= double(INT32_MAX)))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "end is not reached from start by steps");
  outs[0] = OutMeta{};
  outs[0].rank = 1;
  outs[0].sizes[0] = int64_t(count);
  return kOk;
}
Status run_range(const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(check_plain_type(args.out().dtype, context.diagnostic));
  double start = args.floating(0), step = args.input_count > 2 ? args.floating(2) : 1;
  auto value = [&](int64_t i) { return start + double(i) * step; };
  if (is_integral(args.out().dtype)) store_sequence<int64_t>(args.out(), value);
  else store_sequence<double>(args.out(), value);
  return kOk;
}

// eye(n), eye.m(n, m)
Status eye_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  outs[0] = OutMeta{};
  outs[0].rank = 2;
  for (int i = 0; i < 2; i++) {
    outs[0].sizes[i] = args.integer(i < args.input_count ? i : 0);
    if (outs[0].sizes[i] < 0)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "size %lld is negative",
                         (long long)outs[0].sizes[i]);
  }
  return kOk;
}
Status run_eye(const Args& args, KernelContext& context) {
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(check_plain_type(out.dtype, context.diagnostic));
  SCONCE_TRY_STATUS(fill_tensor(Value::of(int64_t(0)), out, context.diagnostic));
  Strides strides = strides_of(out);
  int64_t count = out.sizes[0] < out.sizes[1] ? out.sizes[0] : out.sizes[1], one = 1;
  size_t bytes = dtype_bytes(out.dtype);
  for (int64_t i = 0; i < count; i++)
    store_elements<int64_t>(out.as<char>() + i * (strides[0] + strides[1]) * int64_t(bytes), 1, &one,
                            1, out.dtype);
  return kOk;
}

}  // namespace

KERNEL(full) = {"aten::full.out", "ln>t", full_shape, run_fill};
KERNEL(full_like) = {"aten::full_like.out", "tnI>t", like_shape, run_fill};
KERNEL(zeros) = {"aten::zeros.out", "l>t", floats_shape, run_constant<0>};
KERNEL(ones) = {"aten::ones.out", "l>t", floats_shape, run_constant<1>};
KERNEL(empty_memory_format) = {"aten::empty.out", "lI>t", floats_shape, run_empty};
KERNEL(empty_dim_order) = {"dim_order_ops::_empty_dim_order.out", "lL>t", floats_shape, run_empty};
KERNEL(scalar_tensor) = {"aten::scalar_tensor.out", "n>t", scalar_shape, run_scalar};
KERNEL(arange) = {"aten::arange.out", "n>t", arange_shape, run_arange};
KERNEL(arange_start_step) = {"aten::arange.start_out", "nnn>t", arange_shape, run_arange};
KERNEL(linspace) = {"aten::linspace.out", "nni>t", steps_shape, run_linspace};
KERNEL(logspace) = {"aten::logspace.out", "nnif>t", steps_shape, run_logspace};
KERNEL(range) = {"aten::range.out_", "nn>t", range_shape, run_range};
KERNEL(range_step) = {"aten::range.out", "nnn>t", range_shape, run_range};
KERNEL(eye) = {"aten::eye.out", "i>t", eye_shape, run_eye};
KERNEL(eye_m) = {"aten::eye.m_out", "ii>t", eye_shape, run_eye};

}  // namespace sconce
