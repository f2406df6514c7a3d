// Running sums, products, extremes and log-sum-exps along one dimension.
#include <cmath>
#include <type_traits>

#include "ops/reduce/rows.h"

namespace sconce {
namespace {

enum class Scan { sum, product, log_sum_exp };

Status read_dim(const Args& args, uint32_t* mask, Diagnostic* diagnostic) {
  int dim = wrap_dim(args.integer(1), args.tensor(0).rank, diagnostic);
  if (dim < 0) return {Code::invalid_argument};
  *mask = args.tensor(0).rank == 0 ? 0 : 1u << dim;
  return want_real(args.tensor(0), "running reduction", diagnostic);
}

// Arguments: self, dim, dtype.
Status dtype_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  uint32_t mask;
  SCONCE_TRY_STATUS(read_dim(args, &mask, diagnostic));
  DType dtype = is_integral(x.dtype) ? DType::i64 : x.dtype;
  SCONCE_TRY_STATUS(dtype_argument(args, 2, dtype, &dtype, diagnostic));
  set_like(outs[0], x, dtype);
  return kOk;
}

// Arguments: self, dim.
Status log_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  uint32_t mask;
  SCONCE_TRY_STATUS(read_dim(args, &mask, diagnostic));
  SCONCE_TRY_STATUS(want_floating(args.tensor(0), "logcumsumexp", diagnostic));
  set_like(outs[0], args.tensor(0));
  return kOk;
}

// Sums run in double for float, as torch's do, so that long rows stay exact to the last place.
template <class T, Scan scan>
void scan_rows(Rows rows, Rows to, DType from, DType as) {
  using Sum = std::conditional_t<std::is_same_v<T, int64_t>, uint64_t, double>;
  for (int64_t i = 0; i < rows.count(); i++, rows.next(), to.next()) {
    Sum sum = scan == Scan::product ? 1 : 0;
    T log_sum = -T(INFINITY);
    for_each_block<T>(rows, [&](T* x, int n, int64_t first) {
      round_block(x, n, from, as);
      for (int k = 0; k < n; k++) {
        if constexpr (scan == Scan::sum) {
          x[k] = T(sum += Sum(x[k]));
        } else if constexpr (scan == Scan::product) {
          x[k] = T(sum *= Sum(x[k]));
        } else {
          T high = log_sum > x[k] || log_sum != log_sum ? log_sum : x[k];
          T low = log_sum > x[k] || log_sum != log_sum ? x[k] : log_sum;
          if (x[k] != x[k]) log_sum = x[k];
          else if (low != high || !std::isinf(low))
            log_sum = high + T(std::log1p(std::exp(low - high)));
          x[k] = log_sum;
        }
      }
      to.write(first, n, x);
    });
  }
}

template <Scan scan>
Status scan_run(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  Tensor& out = args.out();
  uint32_t mask;
  SCONCE_TRY_STATUS(read_dim(args, &mask, context.diagnostic));
  SCONCE_TRY_STATUS(want_real(out, "result", context.diagnostic));
  Rows rows(x, mask), to(out, mask);
  if constexpr (scan == Scan::log_sum_exp) {
    with_floating(x.dtype, [&](auto tag) {
      scan_rows<decltype(tag), scan>(rows, to, x.dtype, x.dtype);
    });
  } else {
    with_compute(out.dtype, [&](auto tag) {
      scan_rows<decltype(tag), scan>(rows, to, x.dtype, out.dtype);
    });
  }
  return kOk;
}

// cummax, cummin: self, dim. Of equal elements the last is taken; NaN stays.
Status extreme_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  uint32_t mask;
  SCONCE_TRY_STATUS(read_dim(args, &mask, diagnostic));
  set_like(outs[0], args.tensor(0));
  set_like(outs[1], args.tensor(0), DType::i64);
  return kOk;
}

template <class T, int sign>
void extreme_rows(Rows rows, Rows values, Rows indices) {
  for (int64_t i = 0; i < rows.count(); i++, rows.next(), values.next(), indices.next()) {
    T best = 0;
    int64_t at = -1, places[kBlockCount];
    for_each_block<T>(rows, [&](T* x, int n, int64_t first) {
      for (int k = 0; k < n; k++) {
        if (at < 0 || x[k] != x[k] || (sign > 0 ? x[k] >= best : x[k] <= best)) {
          best = x[k];
          at = first + k;
        }
        x[k] = best;
        places[k] = at;
      }
      values.write(first, n, x);
      indices.write(first, n, places);
    });
  }
}

template <int sign>
Status extreme_run(const Args& args, KernelContext& context) {
  uint32_t mask;
  SCONCE_TRY_STATUS(read_dim(args, &mask, context.diagnostic));
  with_compute(args.tensor(0).dtype, [&](auto tag) {
    extreme_rows<decltype(tag), sign>(Rows(args.tensor(0), mask), Rows(args.out(0), mask),
                                      Rows(args.out(1), mask));
  });
  return kOk;
}

}  // namespace

KERNEL(cumsum) = {"aten::cumsum.out", "tiI>t", dtype_shape, scan_run<Scan::sum>};
KERNEL(cumprod) = {"aten::cumprod.out", "tiI>t", dtype_shape, scan_run<Scan::product>};
KERNEL(logcumsumexp) = {"aten::logcumsumexp.out", "ti>t", log_shape, scan_run<Scan::log_sum_exp>};
KERNEL(cummax) = {"aten::cummax.out", "ti>tt", extreme_shape, extreme_run<1>};
KERNEL(cummin) = {"aten::cummin.out", "ti>tt", extreme_shape, extreme_run<-1>};

}  // namespace sconce
