// Adaptive pooling: output position o covers inputs [floor(o * in / out), ceil((o + 1) * in / out)).
#include <cstring>
#include <limits>

#include "ops/linear/gemm.h"
#include "ops/pool/pool.h"

namespace sconce {
namespace {

Status make_adaptive(const char* what, const Args& args, const Tensor& input, int spatial, Pool* pool,
                     Diagnostic* diagnostic) {
  Pool& p = *pool;
  p.spatial = spatial;
  if (input.rank != spatial + 1 && input.rank != spatial + 2)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: input of rank %d, %d or %d wanted",
                       what, input.rank, spatial + 1, spatial + 2);
  int count = args.list_count(1);
  if (count != spatial && count != 1)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: %d output sizes, %d wanted", what,
                       count, spatial);
  for (int i = 0; i < 3; i++) {
    int dim = i - (3 - spatial);
    p.in[i] = dim < 0 ? 1 : input.sizes[input.rank - spatial + dim];
    p.out[i] = dim < 0 ? 1 : args.list_integer(1, count == 1 ? 0 : dim);
    if (p.out[i] < 0 || p.out[i] > INT32_MAX)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: output size %lld", what,
                         (long long)p.out[i]);
    if (p.in[i] == 0)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: dimension %d of the input is empty",
                         what, input.rank - spatial + dim);
  }
  return kOk;
}

int64_t start_of(const Pool& p, int i, int64_t o) { return o * p.in[i] / p.out[i]; }
int64_t end_of(const Pool& p, int i, int64_t o) {
  return ((o + 1) * p.in[i] + p.out[i] - 1) / p.out[i];
}

// Calls output(od, oh, ow) for every output position of a plane.
template <class F>
void for_each_output(const Pool& p, F output) {
  for (int64_t d = 0; d < p.out[0]; d++)
    for (int64_t h = 0; h < p.out[1]; h++)
      for (int64_t w = 0; w < p.out[2]; w++) output(d, h, w);
}

// Calls row(d, h, w, values, count) for every block of inputs of a window.
template <class T, class F>
void for_each_block(const Pool& p, const char* from, const PlaneStrides& in, DType dtype, int64_t od,
                    int64_t oh, int64_t ow, F row) {
  int64_t element_bytes = int64_t(dtype_bytes(dtype));
  int64_t begin = start_of(p, 2, ow), end = end_of(p, 2, ow);
  for (int64_t d = start_of(p, 0, od); d < end_of(p, 0, od); d++)
    for (int64_t h = start_of(p, 1, oh); h < end_of(p, 1, oh); h++)
      for (int64_t w = begin; w < end; w += kBlockCount) {
        T block[kBlockCount];
        int n = int(end - w < kBlockCount ? end - w : kBlockCount);
        load_elements<T>(block,
                         from + (d * in.spatial[0] + h * in.spatial[1] + w * in.spatial[2]) * element_bytes,
                         in.spatial[2], n, dtype);
        row(d, h, w, block, n);
      }
}

template <class T>
void adaptive_avg(const Pool& p, const Tensor& x, Tensor& out) {
  PlaneStrides in = plane_strides(x, p.spatial), os = plane_strides(out, p.spatial);
  int64_t planes = plane_count(x, p.spatial);
  for (int64_t plane = 0; plane < planes; plane++) {
    const char* from =
        x.as<char>() + plane_offset(x, in, p.spatial, plane) * int64_t(dtype_bytes(x.dtype));
    int64_t out_start = plane_offset(out, os, p.spatial, plane);
    for_each_output(p, [&](int64_t d, int64_t h, int64_t w) {
      T sum = 0;
      for_each_block<T>(p, from, in, x.dtype, d, h, w,
                        [&](int64_t, int64_t, int64_t, const T* block, int n) {
        T part = 0;
        for (int i = 0; i < n; i++) part += block[i];
        sum += part;
      });
      sum /= T((end_of(p, 0, d) - start_of(p, 0, d)) * (end_of(p, 1, h) - start_of(p, 1, h)) *
               (end_of(p, 2, w) - start_of(p, 2, w)));
      int64_t at = out_start + d * os.spatial[0] + h * os.spatial[1] + w * os.spatial[2];
      store_elements<T>(out.as<char>() + at * int64_t(dtype_bytes(out.dtype)), 1, &sum, 1, out.dtype);
    });
  }
}

template <class T>
void adaptive_max(const Pool& p, const Tensor& x, Tensor& out, Tensor& indices) {
  PlaneStrides in = plane_strides(x, p.spatial), os = plane_strides(out, p.spatial),
               is = plane_strides(indices, p.spatial);
  int64_t planes = plane_count(x, p.spatial);
  for (int64_t plane = 0; plane < planes; plane++) {
    const char* from =
        x.as<char>() + plane_offset(x, in, p.spatial, plane) * int64_t(dtype_bytes(x.dtype));
    int64_t out_start = plane_offset(out, os, p.spatial, plane);
    int64_t indices_start = plane_offset(indices, is, p.spatial, plane);
    for_each_output(p, [&](int64_t od, int64_t oh, int64_t ow) {
      T best = 0;
      int64_t where = -1;
      for_each_block<T>(p, from, in, x.dtype, od, oh, ow,
                        [&](int64_t d, int64_t h, int64_t w, const T* block, int n) {
        for (int i = 0; i < n; i++)
          if (where < 0 || block[i] > best || block[i] != block[i]) {
            best = block[i];
            where = (d * p.in[1] + h) * p.in[2] + w + i;
          }
      });
      int64_t at = out_start + od * os.spatial[0] + oh * os.spatial[1] + ow * os.spatial[2];
      store_elements<T>(out.as<char>() + at * int64_t(dtype_bytes(out.dtype)), 1, &best, 1, out.dtype);
      at = indices_start + od * is.spatial[0] + oh * is.spatial[1] + ow * is.spatial[2];
      indices.as<int64_t>()[at] = where;
    });
  }
}

template <int spatial>
constexpr const char* kAvgName = spatial == 2 ? "_adaptive_avg_pool2d" : "_adaptive_avg_pool3d";
template <int spatial>
constexpr const char* kMaxName = spatial == 2 ? "adaptive_max_pool2d" : "adaptive_max_pool3d";

void set_sizes(OutMeta& out, const Tensor& x, const Pool& pool, DType dtype) {
  set_pooled(out, x, pool, dtype);
}

template <int spatial>
Status avg_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Pool pool;
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(check_floating_dtype(kAvgName<spatial>, x.dtype, diagnostic));
  SCONCE_TRY_STATUS(make_adaptive(kAvgName<spatial>, args, x, spatial, &pool, diagnostic));
  set_sizes(outs[0], x, pool, x.dtype);
  return kOk;
}

template <int spatial>
Status avg_run(const Args& args, KernelContext& context) {
  Pool pool;
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(make_adaptive(kAvgName<spatial>, args, x, spatial, &pool, context.diagnostic));
  SCONCE_TRY_STATUS(check_out_dtype(args.out(), x.dtype, context.diagnostic));
  if (x.dtype == DType::f64) adaptive_avg<double>(pool, x, args.out());
  else adaptive_avg<float>(pool, x, args.out());
  return kOk;
}

template <int spatial>
Status max_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Pool pool;
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(check_floating_dtype(kMaxName<spatial>, x.dtype, diagnostic));
  SCONCE_TRY_STATUS(make_adaptive(kMaxName<spatial>, args, x, spatial, &pool, diagnostic));
  set_sizes(outs[0], x, pool, x.dtype);
  set_sizes(outs[1], x, pool, DType::i64);
  return kOk;
}

template <int spatial>
Status max_run(const Args& args, KernelContext& context) {
  Pool pool;
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(make_adaptive(kMaxName<spatial>, args, x, spatial, &pool, context.diagnostic));
  SCONCE_TRY_STATUS(check_out_dtype(args.out(0), x.dtype, context.diagnostic));
  SCONCE_TRY_STATUS(check_out_dtype(args.out(1), DType::i64, context.diagnostic));
  if (x.dtype == DType::f64) adaptive_max<double>(pool, x, args.out(0), args.out(1));
  else adaptive_max<float>(pool, x, args.out(0), args.out(1));
  return kOk;
}

// _adaptive_avg_pool2d_backward(grad_output, self).
Status backward_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  constexpr const char* what = "_adaptive_avg_pool2d_backward";
  const Tensor &grad = args.tensor(0), &x = args.tensor(1);
  SCONCE_TRY_STATUS(check_same_dtype(what, grad, x, diagnostic));
  SCONCE_TRY_STATUS(check_floating_dtype(what, x.dtype, diagnostic));
  bool fits = (x.rank == 3 || x.rank == 4) && grad.rank == x.rank;
  for (int i = 0; fits && i < x.rank - 2; i++) fits = grad.sizes[i] == x.sizes[i];
  for (int i = x.rank - 2; fits && i < x.rank; i++) fits = grad.sizes[i] > 0;
  if (!fits)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: ranks 3 or 4 with the same planes wanted, found %d and %d", what,
                       grad.rank, x.rank);
  set_like(outs[0], x);
  return kOk;
}

template <class T>
void avg_backward(const Pool& p, const Tensor& grad, Tensor& out) {
  PlaneStrides gs = plane_strides(grad, 2), os = plane_strides(out, 2);
  int64_t planes = plane_count(grad, 2), grad_bytes = int64_t(dtype_bytes(grad.dtype));
  int64_t out_bytes = int64_t(dtype_bytes(out.dtype));
  for (int64_t plane = 0; plane < planes; plane++) {
    const char* from = grad.as<char>() + plane_offset(grad, gs, 2, plane) * grad_bytes;
    char* to = out.as<char>() + plane_offset(out, os, 2, plane) * out_bytes;
    for_each_output(p, [&](int64_t, int64_t h, int64_t w) {
      T value;
      load_elements<T>(&value, from + (h * gs.spatial[1] + w * gs.spatial[2]) * grad_bytes, 1, 1,
                       grad.dtype);
      value /= T((end_of(p, 1, h) - start_of(p, 1, h)) * (end_of(p, 2, w) - start_of(p, 2, w)));
      for (int64_t y = start_of(p, 1, h); y < end_of(p, 1, h); y++)
        for (int64_t x = start_of(p, 2, w); x < end_of(p, 2, w); x++) {
          char* at = to + (y * os.spatial[1] + x * os.spatial[2]) * out_bytes;
          T sum;
          load_elements<T>(&sum, at, 1, 1, out.dtype);
          sum += value;
          store_elements<T>(at, 1, &sum, 1, out.dtype);
        }
    });
  }
}

Status backward_run(const Args& args, KernelContext& context) {
  const Tensor &grad = args.tensor(0), &x = args.tensor(1);
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(check_out_dtype(out, x.dtype, context.diagnostic));
  memset(out.data, 0, tensor_bytes(out));
  Pool pool;
  pool.spatial = 2;
  for (int i = 0; i < 3; i++) {
    pool.in[i] = i == 0 ? 1 : x.sizes[x.rank - 3 + i];
    pool.out[i] = i == 0 ? 1 : grad.sizes[x.rank - 3 + i];
  }
  if (element_count(out) == 0) return kOk;
  if (x.dtype == DType::f64) avg_backward<double>(pool, grad, out);
  else avg_backward<float>(pool, grad, out);
  return kOk;
}

}  // namespace

KERNEL(adaptive_avg_pool2d) = {"aten::_adaptive_avg_pool2d.out", "tl>t", avg_shape<2>, avg_run<2>};
KERNEL(adaptive_avg_pool3d) = {"aten::_adaptive_avg_pool3d.out", "tl>t", avg_shape<3>, avg_run<3>};
KERNEL(adaptive_max_pool2d) = {"aten::adaptive_max_pool2d.out", "tl>tt", max_shape<2>, max_run<2>};
KERNEL(adaptive_max_pool3d) = {"aten::adaptive_max_pool3d.out", "tl>tt", max_shape<3>, max_run<3>};
KERNEL(adaptive_avg_pool2d_backward) = {"aten::_adaptive_avg_pool2d_backward.out", "tt>t",
                                        backward_shape, backward_run};

}  // namespace sconce
