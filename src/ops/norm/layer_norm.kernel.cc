// Layer norm and root-mean-square norm over the last dimensions.
#include <cmath>

#include "ops/reduce/rows.h"

namespace sconce {
namespace {

// Arguments: input, normalized_shape, weight, then bias (layer norm only) and eps.
struct Call {
  uint32_t mask = 0;  // the normalized dimensions
  DType stats = DType::f32;
};

Status check_parameter(const Args& args, int i, const Tensor& x, int first, const char* what,
                       Call* call, Diagnostic* diagnostic) {
  const Tensor* parameter = args.find_tensor(i);
  if (!parameter) return kOk;
  SCONCE_TRY_STATUS(want_floating(*parameter, what, diagnostic));
  bool same = parameter->rank == x.rank - first;
  for (int k = 0; same && k < parameter->rank; k++)
    same = parameter->sizes[k] == x.sizes[first + k];
  if (!same)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s has rank %d or other sizes than the %d normalized dimensions of the input",
                       what, parameter->rank, x.rank - first);
  call->stats = parameter->dtype;
  return kOk;
}

Status read_call(const Args& args, bool bias, Call* call, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(want_floating(x, "norm", diagnostic));
  int count = args.list_count(1), first = x.rank - count;
  if (count < 1 || first < 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "normalized_shape of %d dimensions for an input of rank %d", count, x.rank);
  for (int k = 0; k < count; k++) {
    if (args.list_integer(1, k) != x.sizes[first + k])
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "normalized_shape has %lld where the input has size %d",
                         (long long)args.list_integer(1, k), x.sizes[first + k]);
    call->mask |= 1u << (first + k);
  }
  call->stats = x.dtype;
  SCONCE_TRY_STATUS(check_parameter(args, 2, x, first, "weight", call, diagnostic));
  if (bias) SCONCE_TRY_STATUS(check_parameter(args, 3, x, first, "bias", call, diagnostic));
  return kOk;
}

template <class T>
struct Parameter {
  Parameter(const Tensor* tensor, T fallback)
      : present(tensor), rows(tensor ? *tensor : Tensor(), tensor ? all_dims(tensor->rank) : 0) {
    for (T& value : block) value = fallback;
  }
  void load(int64_t first, int n) {
    if (present) rows.read(first, n, block);
  }
  bool present;
  Rows rows;
  T block[kBlockCount];
};

// `mean` is null for the root-mean-square norm; both are null when not wanted.
template <class T, bool root_mean_square>
void normalize(const Tensor& x, uint32_t mask, const Tensor* weight, const Tensor* bias, double eps,
               Tensor& out, Tensor* mean_out, Tensor* rstd_out) {
  Rows rows(x, mask), to(out, mask);
  Tensor none;
  Rows means(mean_out ? *mean_out : none, 0), rstds(rstd_out ? *rstd_out : none, 0);
  Parameter<T> scale(weight, 1), shift(bias, 0);
  T length = T(rows.length());
  for (int64_t i = 0; i < rows.count(); i++, rows.next(), to.next()) {
    T mean = 0, variance;
    if constexpr (root_mean_square) {
      PairwiseSum<T> squares;
      for_each_block<T>(rows, [&](T* block, int n, int64_t) {
        for (int k = 0; k < n; k++) block[k] *= block[k];
        squares.add_block(block, n);
      });
      variance = squares.total() / length;
    } else {
      Moments<T> moments = moments_of<T>(rows);
      mean = moments.mean;
      variance = moments.square_sum / length;
    }
    T rstd = T(1) / std::sqrt(variance + T(eps));
    for_each_block<T>(rows, [&](T* block, int n, int64_t first) {
      scale.load(first, n);
      shift.load(first, n);
      for (int k = 0; k < n; k++)
        block[k] = (block[k] - mean) * rstd * scale.block[k] + shift.block[k];
      to.write(first, n, block);
    });
    if (mean_out) means.put(mean), means.next();
    if (rstd_out) rstds.put(rstd), rstds.next();
  }
}

template <bool root_mean_square>
Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Call call;
  SCONCE_TRY_STATUS(read_call(args, !root_mean_square, &call, diagnostic));
  set_like(outs[0], args.tensor(0));
  for (size_t k = 1; k < outs.size(); k++)
    set_reduced(outs[k], args.tensor(0), call.mask, true, call.stats);
  if (root_mean_square && outs.size() > 1 && call.stats != DType::f64) outs[1].dtype = DType::f32;
  return kOk;
}

template <bool root_mean_square>
Status run(const Args& args, KernelContext& context) {
  Call call;
  SCONCE_TRY_STATUS(read_call(args, !root_mean_square, &call, context.diagnostic));
  const Tensor& x = args.tensor(0);
  int outs = args.out_count();
  Tensor* mean = outs == 3 ? &args.out(1) : nullptr;
  Tensor* rstd = outs > 1 ? &args.out(outs - 1) : nullptr;
  for (int k = 0; k < outs; k++)
    SCONCE_TRY_STATUS(want_floating(args.out(k), "result", context.diagnostic));
  // An absent eps is the smallest step at 1 of the type computed in.
  double fallback = x.dtype == DType::f64 ? 0x1p-52 : 0x1p-23;
  double eps = root_mean_square ? args.floating_or(3, fallback) : args.floating(4);
  with_floating(x.dtype, [&](auto tag) {
    normalize<decltype(tag), root_mean_square>(x, call.mask, args.find_tensor(2),
                                               root_mean_square ? nullptr : args.find_tensor(3),
                                               eps, args.out(0), mean, rstd);
  });
  return kOk;
}

}  // namespace

KERNEL(native_layer_norm) = {"aten::native_layer_norm.out", "tlTTf>ttt", shape<false>, run<false>};
KERNEL(layer_norm) = {"sconce::layer_norm.out", "tlTTfb>t", shape<false>, run<false>};
KERNEL(rms_norm) = {"sconce::rms_norm.out", "tlTF>t", shape<true>, run<true>};
KERNEL(fused_rms_norm) = {"sconce::_fused_rms_norm.out", "tlTF>tt", shape<true>, run<true>};

}  // namespace sconce
