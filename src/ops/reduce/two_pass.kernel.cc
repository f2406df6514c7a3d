// Reductions that pass over each row twice: variance, standard deviation, log of a sum of exponents.
#include <cmath>

#include "ops/promote.h"
#include "ops/reduce/rows.h"

namespace sconce {
namespace {

struct Call {
  uint32_t mask;
  bool keepdim;
  double correction;
};

// Arguments: self, dim, correction, keepdim, or with `unbiased` in the place of the correction.
template <bool unbiased>
Status read_call(const Args& args, Call* call, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(want_floating(x, "variance", diagnostic));
  SCONCE_TRY_STATUS(dims_mask(args, 1, x.rank, true, &call->mask, diagnostic));
  call->correction = unbiased ? double(args.boolean(2)) : args.floating_or(2, 1);
  call->keepdim = args.boolean(3);
  return kOk;
}

template <bool unbiased>
Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Call call;
  SCONCE_TRY_STATUS(read_call<unbiased>(args, &call, diagnostic));
  for (OutMeta& out : outs)
    set_reduced(out, args.tensor(0), call.mask, call.keepdim, args.tensor(0).dtype);
  return kOk;
}

template <class T>
void variance_rows(Rows rows, Rows variance, Rows* mean, double correction, bool root) {
  double count = double(rows.length()) - correction;
  for (int64_t i = 0; i < rows.count(); i++, rows.next(), variance.next()) {
    Moments<T> moments = moments_of<T>(rows);
    T value = moments.square_sum / T(count > 0 ? count : 0);
    variance.put(root ? T(std::sqrt(value)) : value);
    if (!mean) continue;
    mean->put(moments.mean);
    mean->next();
  }
}

template <bool unbiased, bool root>
Status run(const Args& args, KernelContext& context) {
  Call call;
  SCONCE_TRY_STATUS(read_call<unbiased>(args, &call, context.diagnostic));
  const Tensor& x = args.tensor(0);
  uint32_t out_mask = call.keepdim ? call.mask : 0;
  for (int k = 0; k < args.out_count(); k++)
    SCONCE_TRY_STATUS(want_floating(args.out(k), "result", context.diagnostic));
  Rows variance(args.out(0), out_mask);
  Rows mean(args.out(args.out_count() - 1), out_mask);
  with_floating(x.dtype, [&](auto tag) {
    variance_rows<decltype(tag)>(Rows(x, call.mask), variance,
                                 args.out_count() > 1 ? &mean : nullptr, call.correction, root);
  });
  return kOk;
}

// Arguments of logsumexp: self, dim, keepdim. The type of integers becomes f32.
Status logsumexp_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  uint32_t mask;
  SCONCE_TRY_STATUS(want_real(x, "logsumexp", diagnostic));
  SCONCE_TRY_STATUS(dims_mask(args, 1, x.rank, true, &mask, diagnostic));
  set_reduced(outs[0], x, mask, args.boolean(2), to_floating(x.dtype));
  return kOk;
}

template <class T>
void logsumexp_rows(Rows rows, Rows to) {
  for (int64_t i = 0; i < rows.count(); i++, rows.next(), to.next()) {
    T max = -T(INFINITY);
    for_each_block<T>(rows, [&](T* x, int n, int64_t) {
      for (int k = 0; k < n; k++)
        if (x[k] > max || x[k] != x[k]) max = x[k];
    });
    T shift = std::isinf(max) ? T(0) : max;
    PairwiseSum<T> sum;
    for_each_block<T>(rows, [&](T* x, int n, int64_t) {
      for (int k = 0; k < n; k++) x[k] = std::exp(x[k] - shift);
      sum.add_block(x, n);
    });
    to.put(T(std::log(sum.total()) + shift));
  }
}

Status logsumexp_run(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  uint32_t mask;
  SCONCE_TRY_STATUS(dims_mask(args, 1, x.rank, true, &mask, context.diagnostic));
  SCONCE_TRY_STATUS(want_floating(args.out(), "result", context.diagnostic));
  with_floating(x.dtype, [&](auto tag) {
    logsumexp_rows<decltype(tag)>(Rows(x, mask), Rows(args.out(), args.boolean(2) ? mask : 0));
  });
  return kOk;
}

}  // namespace

KERNEL(logsumexp) = {"aten::logsumexp.out", "tlb>t", logsumexp_shape, logsumexp_run};
KERNEL(var_correction) = {"aten::var.correction_out", "tLNb>t", shape<false>, run<false, false>};
KERNEL(var_dim) = {"aten::var.out", "tLbb>t", shape<true>, run<true, false>};
KERNEL(var_mean) = {"aten::var_mean.correction_out", "tLNb>tt", shape<false>, run<false, false>};
KERNEL(std_correction) = {"aten::std.correction_out", "tLNb>t", shape<false>, run<false, true>};
KERNEL(std_dim) = {"aten::std.out", "tLbb>t", shape<true>, run<true, true>};
KERNEL(std_mean) = {"aten::std_mean.correction_out", "tLNb>tt", shape<false>, run<false, true>};

}  // namespace sconce
