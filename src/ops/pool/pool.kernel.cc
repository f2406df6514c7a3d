// Max and average pooling in 2 and 3 dimensions, forward and (2d) backward.
//
// A row of outputs is made at a time: each tap of the window gives a strided row of inputs, which is
// combined with the row so far. Outside of the input, max pooling sees nothing, average pooling zeros.
#include "ops/pool/pool.h"

#include <cstring>
#include <limits>

#include "ops/linear/gemm.h"

namespace sconce {
namespace {

Status take_list(const char* what, const char* name, const Args& args, int position, int spatial,
                 int64_t min, int64_t fill, int64_t to[3], Diagnostic* diagnostic) {
  for (int i = 0; i < 3; i++) to[i] = fill;
  int count = args.list_count(position);
  if (count != 1 && count != spatial)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: %s has %d entries, 1 or %d wanted",
                       what, name, count, spatial);
  for (int i = 0; i < spatial; i++) {
    int64_t value = args.list_integer(position, count == 1 ? 0 : i);
    if (value < min || value > INT32_MAX)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: %s is %lld, at least %lld wanted",
                         what, name, (long long)value, (long long)min);
    to[3 - spatial + i] = value;
  }
  return kOk;
}

int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

}  // namespace

Status make_pool(const char* what, const Args& args, const Tensor& input, int spatial,
                 const PoolPositions& at, Pool* pool, Diagnostic* diagnostic) {
  Pool& p = *pool;
  p.spatial = spatial;
  if (input.rank != spatial + 1 && input.rank != spatial + 2)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: input of rank %d, %d or %d wanted",
                       what, input.rank, spatial + 1, spatial + 2);
  SCONCE_TRY_STATUS(take_list(what, "kernel size", args, at.kernel, spatial, 1, 1, p.kernel, diagnostic));
  if (args.list_count(at.stride) == 0) memcpy(p.stride, p.kernel, sizeof(p.stride));
  else
    SCONCE_TRY_STATUS(take_list(what, "stride", args, at.stride, spatial, 1, 1, p.stride, diagnostic));
  SCONCE_TRY_STATUS(take_list(what, "padding", args, at.padding, spatial, 0, 0, p.padding, diagnostic));
  for (int i = 0; i < 3; i++) p.dilation[i] = 1;
  if (at.dilation >= 0)
    SCONCE_TRY_STATUS(take_list(what, "dilation", args, at.dilation, spatial, 1, 1, p.dilation, diagnostic));
  bool ceil_mode = args.boolean(at.ceil_mode);
  for (int i = 0; i < 3; i++) {
    int dim = i + input.rank - 3;
    bool exists = i >= 3 - spatial;
    p.in[i] = exists ? input.sizes[dim] : 1;
    p.out[i] = 1;
    if (!exists) continue;
    int64_t reach = p.dilation[i] * (p.kernel[i] - 1) + 1;
    if (p.padding[i] > reach / 2)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s: padding %lld, at most half of the window's %lld wanted", what,
                         (long long)p.padding[i], (long long)reach);
    int64_t room = p.in[i] + 2 * p.padding[i] - reach;
    int64_t out = floor_div(room + (ceil_mode ? p.stride[i] - 1 : 0), p.stride[i]) + 1;
    // The last window must start inside the input or its left padding.
    if (ceil_mode && (out - 1) * p.stride[i] >= p.in[i] + p.padding[i]) out--;
    if (out < 1)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s: window of %lld does not fit the input's %lld with padding %lld", what,
                         (long long)reach, (long long)p.in[i], (long long)p.padding[i]);
    p.out[i] = out;
  }
  for (int i = input.rank - spatial; i < input.rank; i++)
    if (input.sizes[i] == 0)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: dimension %d of the input is empty",
                         what, i);
  return kOk;
}

void set_pooled(OutMeta& out, const Tensor& input, const Pool& pool, DType dtype) {
  set_like(out, input, dtype);
  for (int i = 0; i < pool.spatial; i++)
    out.sizes[input.rank - pool.spatial + i] = pool.out[3 - pool.spatial + i];
}

PlaneStrides plane_strides(const Tensor& tensor, int spatial) {
  PlaneStrides result{strides_of(tensor), {0, 0, 0}};
  for (int i = 0; i < spatial; i++)
    result.spatial[3 - spatial + i] = result.strides[tensor.rank - spatial + i];
  return result;
}
int64_t plane_count(const Tensor& tensor, int spatial) {
  int64_t count = 1;
  for (int i = 0; i < tensor.rank - spatial; i++) count *= tensor.sizes[i];
  return count;
}
int64_t plane_offset(const Tensor& tensor, const PlaneStrides& strides, int spatial, int64_t index) {
  int64_t offset = 0;
  for (int i = tensor.rank - spatial - 1; i >= 0; i--) {
    offset += index % tensor.sizes[i] * strides.strides[i];
    index /= tensor.sizes[i];
  }
  return offset;
}

namespace {

// Positions [*begin, *end) of outputs for which tap `tap` of dimension `i` lies inside the input.
void inside(const Pool& p, int i, int64_t tap, int64_t* begin, int64_t* end) {
  int64_t shift = tap * p.dilation[i] - p.padding[i];
  *begin = shift >= 0 ? 0 : (-shift + p.stride[i] - 1) / p.stride[i];
  int64_t last = p.in[i] - 1 - shift;
  *end = last < 0 ? 0 : last / p.stride[i] + 1;
  if (*end > p.out[i]) *end = p.out[i];
  if (*begin > *end) *begin = *end;
}

// Calls row(plane's offsets, od, oh, first, count) for every block of a row of outputs.
template <class Row>
void for_each_row(const Pool& p, Row row) {
  for (int64_t d = 0; d < p.out[0]; d++)
    for (int64_t h = 0; h < p.out[1]; h++)
      for (int64_t first = 0; first < p.out[2]; first += kBlockCount)
        row(d, h, first, int(p.out[2] - first < kBlockCount ? p.out[2] - first : kBlockCount));
}

// Calls tap(d, h, tap of w, first, last) for every row of inputs that meets the block of outputs.
template <class Tap>
void for_each_tap(const Pool& p, int64_t od, int64_t oh, int64_t first, int count, Tap tap) {
  for (int64_t kd = 0; kd < p.kernel[0]; kd++) {
    int64_t d = od * p.stride[0] - p.padding[0] + kd * p.dilation[0];
    if (d < 0 || d >= p.in[0]) continue;
    for (int64_t kh = 0; kh < p.kernel[1]; kh++) {
      int64_t h = oh * p.stride[1] - p.padding[1] + kh * p.dilation[1];
      if (h < 0 || h >= p.in[1]) continue;
      for (int64_t kw = 0; kw < p.kernel[2]; kw++) {
        int64_t begin, end;
        inside(p, 2, kw, &begin, &end);
        if (begin < first) begin = first;
        if (end > first + count) end = first + count;
        if (begin < end)
          tap(d, h, begin * p.stride[2] - p.padding[2] + kw * p.dilation[2], begin, end);
      }
    }
  }
}

template <class T>
T lowest() {
  if constexpr (std::is_floating_point_v<T>) return -std::numeric_limits<T>::infinity();
  else return std::numeric_limits<T>::min();
}

template <class T>
void max_pool(const Pool& p, const Tensor& input, Tensor& out, Tensor& indices) {
  PlaneStrides in = plane_strides(input, p.spatial), os = plane_strides(out, p.spatial),
               is = plane_strides(indices, p.spatial);
  int64_t planes = plane_count(input, p.spatial), element_bytes = int64_t(dtype_bytes(input.dtype));
  for (int64_t plane = 0; plane < planes; plane++) {
    const char* from = input.as<char>() + plane_offset(input, in, p.spatial, plane) * element_bytes;
    int64_t out_start = plane_offset(out, os, p.spatial, plane);
    int64_t indices_start = plane_offset(indices, is, p.spatial, plane);
    for_each_row(p, [&](int64_t d, int64_t h, int64_t first, int count) {
      T best[kBlockCount], block[kBlockCount];
      int64_t where[kBlockCount];
      for (int i = 0; i < count; i++) best[i] = lowest<T>(), where[i] = -1;
      for_each_tap(p, d, h, first, count,
                   [&](int64_t id, int64_t ih, int64_t iw, int64_t begin, int64_t end) {
        int n = int(end - begin), start = int(begin - first);
        load_elements<T>(block, from + (id * in.spatial[0] + ih * in.spatial[1] +
                                        iw * in.spatial[2]) * element_bytes,
                         p.stride[2] * in.spatial[2], n, input.dtype);
        int64_t index = (id * p.in[1] + ih) * p.in[2] + iw;
        for (int i = 0; i < n; i++) {
          T x = block[i];
          if (x > best[start + i] || x != x || where[start + i] < 0) {
            best[start + i] = x;
            where[start + i] = index + i * p.stride[2];
          }
        }
      });
      // A window of padding only (a dilated one can be) gives the lowest value, index 0.
      for (int i = 0; i < count; i++)
        if (where[i] < 0) where[i] = 0;
      int64_t at = d * os.spatial[0] + h * os.spatial[1] + first * os.spatial[2];
      store_elements<T>(out.as<char>() + (out_start + at) * int64_t(dtype_bytes(out.dtype)),
                        os.spatial[2], best, count, out.dtype);
      at = d * is.spatial[0] + h * is.spatial[1] + first * is.spatial[2];
      store_elements<int64_t>(
          indices.as<char>() + (indices_start + at) * int64_t(dtype_bytes(indices.dtype)),
          is.spatial[2], where, count, indices.dtype);
    });
  }
}

// Elements that the mean at an output divides by.
int64_t divisor_at(const Pool& p, const int64_t at[3]) {
  if (p.divisor != 0) return p.divisor;
  int64_t count = 1;
  for (int i = 0; i < 3; i++) {
    int64_t start = at[i] * p.stride[i] - p.padding[i], end = start + p.kernel[i];
    int64_t limit = p.in[i] + (p.count_include_pad ? p.padding[i] : 0);
    if (end > limit) end = limit;
    if (!p.count_include_pad && start < 0) start = 0;
    count *= end > start ? end - start : 0;
  }
  return count;
}

template <class T>
T divide(T sum, int64_t divisor) {
  if (divisor == 0) return T(0);
  if constexpr (std::is_floating_point_v<T>) return sum / T(divisor);
  else return T(int64_t(sum) / divisor);
}

template <class T>
void avg_pool(const Pool& p, const Tensor& input, Tensor& out) {
  PlaneStrides in = plane_strides(input, p.spatial), os = plane_strides(out, p.spatial);
  int64_t planes = plane_count(input, p.spatial), element_bytes = int64_t(dtype_bytes(input.dtype));
  for (int64_t plane = 0; plane < planes; plane++) {
    const char* from = input.as<char>() + plane_offset(input, in, p.spatial, plane) * element_bytes;
    int64_t out_start = plane_offset(out, os, p.spatial, plane);
    for_each_row(p, [&](int64_t d, int64_t h, int64_t first, int count) {
      // Integers are summed unsigned, so that they wrap.
      using Sum = std::conditional_t<std::is_integral_v<T>, uint64_t, T>;
      T block[kBlockCount];
      Sum sums[kBlockCount];
      for (int i = 0; i < count; i++) sums[i] = 0;
      for_each_tap(p, d, h, first, count,
                   [&](int64_t id, int64_t ih, int64_t iw, int64_t begin, int64_t end) {
        int n = int(end - begin), start = int(begin - first);
        load_elements<T>(block, from + (id * in.spatial[0] + ih * in.spatial[1] +
                                        iw * in.spatial[2]) * element_bytes,
                         p.stride[2] * in.spatial[2], n, input.dtype);
        for (int i = 0; i < n; i++) sums[start + i] += Sum(block[i]);
      });
      for (int i = 0; i < count; i++) {
        int64_t at[3] = {d, h, first + i};
        block[i] = divide(T(sums[i]), divisor_at(p, at));
      }
      int64_t at = d * os.spatial[0] + h * os.spatial[1] + first * os.spatial[2];
      store_elements<T>(out.as<char>() + (out_start + at) * int64_t(dtype_bytes(out.dtype)),
                        os.spatial[2], block, count, out.dtype);
    });
  }
}

template <class F>
void with_compute(DType dtype, F f) {
  switch (compute_of(dtype)) {
    case Compute::f32: return f(float{});
    case Compute::f64: return f(double{});
    case Compute::i64: return f(int64_t{});
  }
}

constexpr PoolPositions kMax = {1, 2, 3, 4, 5};
constexpr PoolPositions kAvg = {1, 2, 3, -1, 4};

template <int spatial>
constexpr const char* kMaxName = spatial == 2 ? "max_pool2d_with_indices" : "max_pool3d_with_indices";
template <int spatial>
constexpr const char* kAvgName = spatial == 2 ? "avg_pool2d" : "avg_pool3d";

template <int spatial>
Status max_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Pool pool;
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(check_arithmetic_dtype(kMaxName<spatial>, x.dtype, diagnostic));
  SCONCE_TRY_STATUS(make_pool(kMaxName<spatial>, args, x, spatial, kMax, &pool, diagnostic));
  set_pooled(outs[0], x, pool, x.dtype);
  set_pooled(outs[1], x, pool, DType::i64);
  return kOk;
}

template <int spatial>
Status max_run(const Args& args, KernelContext& context) {
  Pool pool;
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(
      make_pool(kMaxName<spatial>, args, x, spatial, kMax, &pool, context.diagnostic));
  SCONCE_TRY_STATUS(check_out_dtype(args.out(0), x.dtype, context.diagnostic));
  SCONCE_TRY_STATUS(check_out_dtype(args.out(1), DType::i64, context.diagnostic));
  with_compute(x.dtype,
               [&](auto tag) { max_pool<decltype(tag)>(pool, x, args.out(0), args.out(1)); });
  return kOk;
}

Status make_avg(const char* what, const Args& args, const Tensor& x, int spatial,
                const PoolPositions& at, Pool* pool, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(make_pool(what, args, x, spatial, at, pool, diagnostic));
  pool->count_include_pad = args.boolean(at.ceil_mode + 1);
  if (args.has(at.ceil_mode + 2)) {
    pool->divisor = args.integer(at.ceil_mode + 2);
    if (pool->divisor == 0)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: divisor is 0", what);
  }
  return kOk;
}

template <int spatial>
Status avg_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Pool pool;
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(check_arithmetic_dtype(kAvgName<spatial>, x.dtype, diagnostic));
  SCONCE_TRY_STATUS(make_avg(kAvgName<spatial>, args, x, spatial, kAvg, &pool, diagnostic));
  set_pooled(outs[0], x, pool, x.dtype);
  return kOk;
}

template <int spatial>
Status avg_run(const Args& args, KernelContext& context) {
  Pool pool;
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(
      make_avg(kAvgName<spatial>, args, x, spatial, kAvg, &pool, context.diagnostic));
  SCONCE_TRY_STATUS(check_out_dtype(args.out(), x.dtype, context.diagnostic));
  with_compute(x.dtype, [&](auto tag) { avg_pool<decltype(tag)>(pool, x, args.out()); });
  return kOk;
}

// --- backward: grad_output, self, then the forward's arguments ---------------------------------

constexpr PoolPositions kMaxBackward = {2, 3, 4, 5, 6};
constexpr PoolPositions kAvgBackward = {2, 3, 4, -1, 5};

Status check_pooled_sizes(const char* what, const char* name, const Tensor& tensor, const Tensor& x,
                          const Pool& pool, Diagnostic* diagnostic) {
  OutMeta wanted;
  set_pooled(wanted, x, pool, x.dtype);
  bool fits = tensor.rank == wanted.rank;
  for (int i = 0; fits && i < wanted.rank; i++) fits = tensor.sizes[i] == wanted.sizes[i];
  if (fits) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                     "%s: sizes of %s are not those of the pooled input", what, name);
}

Status max_backward_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  constexpr const char* what = "max_pool2d_with_indices_backward";
  Pool pool;
  const Tensor &grad = args.tensor(0), &x = args.tensor(1), &indices = args.tensor(7);
  SCONCE_TRY_STATUS(make_pool(what, args, x, 2, kMaxBackward, &pool, diagnostic));
  SCONCE_TRY_STATUS(check_same_dtype(what, grad, x, diagnostic));
  SCONCE_TRY_STATUS(check_floating_dtype(what, x.dtype, diagnostic));
  SCONCE_TRY_STATUS(check_pooled_sizes(what, "grad_output", grad, x, pool, diagnostic));
  SCONCE_TRY_STATUS(check_pooled_sizes(what, "indices", indices, x, pool, diagnostic));
  if (indices.dtype != DType::i64)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: indices of type %s, i64 wanted", what,
                       dtype_name(indices.dtype));
  set_like(outs[0], x);
  return kOk;
}

// The row of float sums for one plane would need scratch; elements are read, added to and written.
template <class T>
void add_element(Tensor& out, int64_t offset, T value) {
  char* at = out.as<char>() + offset * int64_t(dtype_bytes(out.dtype));
  T sum;
  load_elements<T>(&sum, at, 1, 1, out.dtype);
  sum += value;
  store_elements<T>(at, 1, &sum, 1, out.dtype);
}

template <class T>
Status max_backward(const Pool& p, const Tensor& grad, const Tensor& indices, Tensor& out,
                    Diagnostic* diagnostic) {
  PlaneStrides gs = plane_strides(grad, 2), is = plane_strides(indices, 2),
               os = plane_strides(out, 2);
  int64_t planes = plane_count(grad, 2), limit = p.in[1] * p.in[2];
  for (int64_t plane = 0; plane < planes; plane++) {
    int64_t grad_start = plane_offset(grad, gs, 2, plane);
    int64_t indices_start = plane_offset(indices, is, 2, plane);
    int64_t out_start = plane_offset(out, os, 2, plane);
    for (int64_t h = 0; h < p.out[1]; h++)
      for (int64_t w = 0; w < p.out[2]; w++) {
        int64_t index = indices.as<int64_t>()[indices_start + h * is.spatial[1] + w * is.spatial[2]];
        if (index < 0 || index >= limit)
          return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                             "max_pool2d_with_indices_backward: index %lld, below %lld wanted",
                             (long long)index, (long long)limit);
        T value;
        load_elements<T>(&value,
                         grad.as<char>() + (grad_start + h * gs.spatial[1] + w * gs.spatial[2]) *
                                               int64_t(dtype_bytes(grad.dtype)),
                         1, 1, grad.dtype);
        add_element<T>(out, out_start + index / p.in[2] * os.spatial[1] +
                                index % p.in[2] * os.spatial[2], value);
      }
  }
  return kOk;
}

Status max_backward_run(const Args& args, KernelContext& context) {
  Pool pool;
  const Tensor& x = args.tensor(1);
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(
      make_pool("max_pool2d_with_indices_backward", args, x, 2, kMaxBackward, &pool, context.diagnostic));
  SCONCE_TRY_STATUS(check_out_dtype(out, x.dtype, context.diagnostic));
  memset(out.data, 0, tensor_bytes(out));
  if (x.dtype == DType::f64)
    return max_backward<double>(pool, args.tensor(0), args.tensor(7), out, context.diagnostic);
  return max_backward<float>(pool, args.tensor(0), args.tensor(7), out, context.diagnostic);
}

Status avg_backward_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  constexpr const char* what = "avg_pool2d_backward";
  Pool pool;
  const Tensor &grad = args.tensor(0), &x = args.tensor(1);
  SCONCE_TRY_STATUS(make_avg(what, args, x, 2, kAvgBackward, &pool, diagnostic));
  SCONCE_TRY_STATUS(check_same_dtype(what, grad, x, diagnostic));
  SCONCE_TRY_STATUS(check_floating_dtype(what, x.dtype, diagnostic));
  SCONCE_TRY_STATUS(check_pooled_sizes(what, "grad_output", grad, x, pool, diagnostic));
  set_like(outs[0], x);
  return kOk;
}

template <class T>
void avg_backward(const Pool& p, const Tensor& grad, Tensor& out) {
  PlaneStrides gs = plane_strides(grad, 2), os = plane_strides(out, 2);
  int64_t planes = plane_count(grad, 2);
  for (int64_t plane = 0; plane < planes; plane++) {
    int64_t grad_start = plane_offset(grad, gs, 2, plane);
    int64_t out_start = plane_offset(out, os, 2, plane);
    for (int64_t h = 0; h < p.out[1]; h++)
      for (int64_t w = 0; w < p.out[2]; w++) {
        int64_t at[3] = {0, h, w};
        T value;
        load_elements<T>(&value,
                         grad.as<char>() + (grad_start + h * gs.spatial[1] + w * gs.spatial[2]) *
                                               int64_t(dtype_bytes(grad.dtype)),
                         1, 1, grad.dtype);
        value = divide(value, divisor_at(p, at));
        for (int64_t kh = 0; kh < p.kernel[1]; kh++)
          for (int64_t kw = 0; kw < p.kernel[2]; kw++) {
            int64_t ih = h * p.stride[1] - p.padding[1] + kh;
            int64_t iw = w * p.stride[2] - p.padding[2] + kw;
            if (ih < 0 || iw < 0 || ih >= p.in[1] || iw >= p.in[2]) continue;
            add_element<T>(out, out_start + ih * os.spatial[1] + iw * os.spatial[2], value);
          }
      }
  }
}

Status avg_backward_run(const Args& args, KernelContext& context) {
  Pool pool;
  const Tensor& x = args.tensor(1);
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(
      make_avg("avg_pool2d_backward", args, x, 2, kAvgBackward, &pool, context.diagnostic));
  SCONCE_TRY_STATUS(check_out_dtype(out, x.dtype, context.diagnostic));
  memset(out.data, 0, tensor_bytes(out));
  if (x.dtype == DType::f64) avg_backward<double>(pool, args.tensor(0), out);
  else avg_backward<float>(pool, args.tensor(0), out);
  return kOk;
}

}  // namespace

KERNEL(max_pool2d_with_indices) = {"aten::max_pool2d_with_indices.out", "tllllb>tt", max_shape<2>,
                                   max_run<2>};
KERNEL(max_pool3d_with_indices) = {"aten::max_pool3d_with_indices.out", "tllllb>tt", max_shape<3>,
                                   max_run<3>};
KERNEL(avg_pool2d) = {"aten::avg_pool2d.out", "tlllbbI>t", avg_shape<2>, avg_run<2>};
KERNEL(avg_pool3d) = {"aten::avg_pool3d.out", "tlllbbI>t", avg_shape<3>, avg_run<3>};
KERNEL(max_pool2d_with_indices_backward) = {"aten::max_pool2d_with_indices_backward.grad_input",
                                            "ttllllbt>t", max_backward_shape, max_backward_run};
KERNEL(avg_pool2d_backward) = {"aten::avg_pool2d_backward.grad_input", "ttlllbbI>t",
                               avg_backward_shape, avg_backward_run};

}  // namespace sconce
