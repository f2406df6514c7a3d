// Softmax and log-softmax over one dimension: exp(x - max) / sum, accumulated in the compute type.
#include <cmath>

#include "ops/elementwise.h"
#include "ops/promote.h"

namespace sconce {
namespace {

// Arguments: self, dim, half_to_float.
Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  if (wrap_dim(args.integer(1), x.rank, diagnostic) < 0) return {Code::invalid_argument};
  if (!is_floating(x.dtype))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "softmax of %s: floating type wanted",
                       dtype_name(x.dtype));
  set_like(outs[0], x, args.boolean(2) && x.dtype == DType::f16 ? DType::f32 : x.dtype);
  return kOk;
}

template <class T, bool log>
void softmax_rows(const Tensor& x, Tensor& out, int dim) {
  Strides x_strides = strides_of(x), out_strides = strides_of(out);
  int64_t count = x.rank == 0 ? 1 : x.sizes[dim];
  int64_t x_stride = x.rank == 0 ? 1 : x_strides[dim], out_stride = x.rank == 0 ? 1 : out_strides[dim];
  int64_t rows = count == 0 ? 0 : element_count(x) / count;
  size_t x_bytes = dtype_bytes(x.dtype), out_bytes = dtype_bytes(out.dtype);
  int64_t index[kRankMax] = {};
  for (int64_t row = 0; row < rows; row++) {
    int64_t x_offset = 0, out_offset = 0;
    for (int i = 0; i < x.rank; i++) {
      x_offset += index[i] * x_strides[i];
      out_offset += index[i] * out_strides[i];
    }
    const char* from = x.as<char>() + x_offset * int64_t(x_bytes);
    char* to = out.as<char>() + out_offset * int64_t(out_bytes);
    auto for_each_block = [&](auto body) {
      T block[kBlockCount];
      for (int64_t done = 0; done < count; done += kBlockCount) {
        int n = int(count - done < kBlockCount ? count - done : kBlockCount);
        load_elements<T>(block, from + done * x_stride * int64_t(x_bytes), x_stride, n, x.dtype);
        body(block, n, done);
      }
    };
    T max = -INFINITY, sum = 0;
    for_each_block([&](T* block, int n, int64_t) {
      for (int i = 0; i < n; i++) max = block[i] > max || block[i] != block[i] ? block[i] : max;
    });
    for_each_block([&](T* block, int n, int64_t) {
      for (int i = 0; i < n; i++) sum += std::exp(block[i] - max);
    });
    T log_sum = log ? std::log(sum) : T(0), scale = T(1) / sum;
    for_each_block([&](T* block, int n, int64_t done) {
      for (int i = 0; i < n; i++)
        block[i] = log ? block[i] - max - log_sum : std::exp(block[i] - max) * scale;
      store_elements<T>(to + done * out_stride * int64_t(out_bytes), out_stride, block, n, out.dtype);
    });
    for (int i = x.rank - 1; i >= 0; i--) {
      if (i == dim) continue;
      if (++index[i] < x.sizes[i]) break;
      index[i] = 0;
    }
  }
}

template <bool log>
Status run(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  int dim = wrap_dim(args.integer(1), x.rank, context.diagnostic);
  if (x.dtype == DType::f64) softmax_rows<double, log>(x, args.out(), dim);
  else softmax_rows<float, log>(x, args.out(), dim);
  return kOk;
}

}  // namespace

KERNEL(softmax) = {"aten::_softmax.out", "tib>t", shape, run<false>};
KERNEL(log_softmax) = {"aten::_log_softmax.out", "tib>t", shape, run<true>};

}  // namespace sconce
