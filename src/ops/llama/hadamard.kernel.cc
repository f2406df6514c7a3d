// Walsh-Hadamard transforms of rows: of 2^n numbers, or of 28 * 2^n, where each of 28 parts is
// transformed and a Hadamard matrix of order 28 then mixes them.
#include <cmath>
#include <cstring>

#include "ops/linear/gemm.h"
#include "ops/llama/hadamard.h"

namespace sconce {
namespace {

constexpr const char* kOp = "llama::fast_hadamard_transform";

Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(check_floating_dtype(kOp, x.dtype, diagnostic));
  if (x.rank > 0 && !hadamard_form(x.sizes[x.rank - 1]))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: rows of %d numbers, a power of two or 28 times one wanted", kOp,
                       int(x.sizes[x.rank - 1]));
  set_like(outs[0], x);
  return kOk;
}

// Sums and differences of neighbours at growing distances, then 1 / sqrt(count).
template <class T>
void transform(T* x, int64_t count) {
  for (int64_t step = 1; step < count; step *= 2)
    for (int64_t from = 0; from < count; from += 2 * step)
      for (int64_t i = from; i < from + step; i++) {
        T a = x[i], b = x[i + step];
        x[i] = a + b;
        x[i + step] = a - b;
      }
  T scale = T(1) / std::sqrt(T(count));
  for (int64_t i = 0; i < count; i++) x[i] *= scale;
}

template <class T>
void mix_28(T* x, int64_t stride) {
  T from[28];
  for (int i = 0; i < 28; i++) from[i] = x[i * stride];
  for (int i = 0; i < 28; i++) {
    T sum = 0;
    for (int j = 0; j < 28; j++) sum += T(hadamard_28_sign(i, j)) * from[j];
    x[i * stride] = sum;
  }
}

uint64_t scratch_bytes(const Args& args) {
  const Tensor& x = args.tensor(0);
  return x.rank ? uint64_t(x.sizes[x.rank - 1]) * compute_bytes(compute_of(x.dtype)) : 0;
}

template <class T>
void run_rows(const Tensor& x, Tensor& out, T* row) {
  int last = x.rank - 1;
  int64_t width = x.sizes[last], bytes = int64_t(dtype_bytes(x.dtype));
  HadamardForm form = *hadamard_form(width);
  Strides from = strides_of(x), to = strides_of(out);
  auto blocks = [&](auto each) {
    for (int64_t i = 0; i < width; i += kBlockCount)
      each(i, int(width - i < kBlockCount ? width - i : kBlockCount));
  };
  int64_t index[kRankMax] = {};
  for (;;) {
    int64_t from_offset = 0, to_offset = 0;
    for (int d = 0; d < last; d++) {
      from_offset += index[d] * from[d];
      to_offset += index[d] * to[d];
    }
    blocks([&](int64_t i, int count) {
      load_elements<T>(row + i, x.as<char>() + (from_offset + i * from[last]) * bytes, from[last],
                       count, x.dtype);
    });
    for (int64_t part = 0; part < form.parts; part++)
      transform(row + part * form.power, form.power);
    if (form.parts == 28)
      for (int64_t i = 0; i < form.power; i++) mix_28(row + i, form.power);
    blocks([&](int64_t i, int count) {
      store_elements<T>(out.as<char>() + (to_offset + i * to[last]) * bytes, to[last], row + i,
                        count, out.dtype);
    });
    int d = last - 1;
    for (; d >= 0; d--) {
      if (++index[d] < x.sizes[d]) break;
      index[d] = 0;
    }
    if (d < 0) return;
  }
}

Status run(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(check_out_dtype(out, x.dtype, context.diagnostic));
  if (element_count(x) == 0) return kOk;
  if (x.rank == 0)  // a single number is its own transform
    memmove(out.data, x.data, dtype_bytes(x.dtype));
  else if (compute_of(x.dtype) == Compute::f64)
    run_rows(x, out, reinterpret_cast<double*>(context.scratch.data()));
  else
    run_rows(x, out, reinterpret_cast<float*>(context.scratch.data()));
  return kOk;
}

}  // namespace

KERNEL(fast_hadamard_transform) = {"llama::fast_hadamard_transform.out", "t>t", shape, run,
                                   scratch_bytes};

}  // namespace sconce
