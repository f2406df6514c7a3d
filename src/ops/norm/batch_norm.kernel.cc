// Batch norm: each channel is normalized by running statistics (inference) or by its own (training).
#include <cmath>

#include "ops/reduce/rows.h"

namespace sconce {
namespace {

// What the forms of batch norm have in common; absent tensors are null.
struct Call {
  const Tensor *input, *weight, *bias, *mean, *variance;
  bool training;
  double momentum, eps;
};

// Positions of the arguments; -1 when a form has none.
struct Layout {
  int mean, variance, training, momentum, eps;
  bool always_training = false;
  bool updates = false;  // the last two outs are the new running statistics
};

template <Layout layout>
Status read_call(const Args& args, Call* call, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  *call = {&x, args.find_tensor(1), args.find_tensor(2),
           layout.mean >= 0 ? args.find_tensor(layout.mean) : nullptr,
           layout.variance >= 0 ? args.find_tensor(layout.variance) : nullptr,
           layout.training >= 0 ? args.boolean(layout.training) : layout.always_training,
           args.floating(layout.momentum), args.floating(layout.eps)};
  SCONCE_TRY_STATUS(want_floating(x, "batch_norm", diagnostic));
  if (x.rank < 2)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "batch_norm of rank %d: at least 2 is wanted", x.rank);
  for (const Tensor* parameter : {call->weight, call->bias, call->mean, call->variance}) {
    if (!parameter) continue;
    SCONCE_TRY_STATUS(want_floating(*parameter, "parameter of batch_norm", diagnostic));
    if (parameter->rank != 1 || parameter->sizes[0] != x.sizes[1])
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "parameter of rank %d and size %d: one of size %d is wanted",
                         parameter->rank, parameter->rank == 1 ? parameter->sizes[0] : 0,
                         x.sizes[1]);
  }
  if (!call->training && !(call->mean && call->variance))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "batch_norm without running statistics outside of training");
  return kOk;
}

template <Layout layout>
Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Call call;
  SCONCE_TRY_STATUS(read_call<layout>(args, &call, diagnostic));
  const Tensor& x = *call.input;
  DType stats = x.dtype;  // that of the first parameter there is
  for (const Tensor* parameter : {call.variance, call.mean, call.bias, call.weight})
    if (parameter) stats = parameter->dtype;
  set_like(outs[0], x);
  size_t count = outs.size() - (layout.updates ? 2 : 0);
  for (size_t k = 1; k < count; k++) outs[k] = {stats, 1, {call.training ? x.sizes[1] : 0}};
  if (count == 4) outs[3] = {DType::u8, 1, {0}};  // what a GPU library keeps for the backward pass
  if (layout.updates) {
    set_like(outs[count], *call.mean);
    set_like(outs[count + 1], *call.variance);
  }
  return kOk;
}

// Reads or writes element `at` of a tensor of rank 1.
template <class T>
T read_at(const Tensor* tensor, int64_t at, T fallback) {
  if (tensor) Rows(*tensor, 1).read(at, 1, &fallback);
  return fallback;
}
template <class T>
void write_at(const Tensor* tensor, int64_t at, T value) {
  if (tensor) Rows(*tensor, 1).write(at, 1, &value);
}

struct Targets { const Tensor *out, *save_mean, *save_rstd, *new_mean, *new_variance; };

template <class T>
void normalize(const Call& call, const Targets& targets) {
  const Tensor& x = *call.input;
  uint32_t mask = all_dims(x.rank) & ~2u;
  Rows rows(x, mask), to(*targets.out, mask);
  T count = T(rows.length());
  for (int64_t c = 0; c < x.sizes[1]; c++, rows.next(), to.next()) {
    T mean = read_at<T>(call.mean, c, 0), variance = read_at<T>(call.variance, c, 1);
    T new_mean = mean, new_variance = variance, rstd;
    if (call.training) {
      Moments<T> moments = moments_of<T>(rows);
      T momentum = T(call.momentum);
      new_mean = (1 - momentum) * mean + momentum * moments.mean;
      new_variance = (1 - momentum) * variance + momentum * moments.square_sum / (count - 1);
      mean = moments.mean;
      variance = moments.square_sum / count;
    }
    rstd = T(1) / std::sqrt(variance + T(call.eps));
    T scale = rstd * read_at<T>(call.weight, c, 1), shift = read_at<T>(call.bias, c, 0);
    for_each_block<T>(rows, [&](T* block, int n, int64_t first) {
      for (int k = 0; k < n; k++) block[k] = (block[k] - mean) * scale + shift;
      to.write(first, n, block);
    });
    if (call.training) {
      write_at(targets.save_mean, c, mean);
      write_at(targets.save_rstd, c, rstd);
    }
    write_at(targets.new_mean, c, new_mean);
    write_at(targets.new_variance, c, new_variance);
  }
}

template <Layout layout>
Status run(const Args& args, KernelContext& context) {
  Call call;
  SCONCE_TRY_STATUS(read_call<layout>(args, &call, context.diagnostic));
  int outs = args.out_count();
  SCONCE_TRY_STATUS(want_floating(args.out(0), "result", context.diagnostic));
  Targets targets = {&args.out(0), outs > 2 ? &args.out(1) : nullptr,
                     outs > 2 ? &args.out(2) : nullptr,
                     layout.updates ? &args.out(outs - 2) : nullptr,
                     layout.updates ? &args.out(outs - 1) : nullptr};
  with_floating(call.input->dtype, [&](auto tag) { normalize<decltype(tag)>(call, targets); });
  return kOk;
}

// Forms whose schema changes (or hides that it changes) the running statistics in place.
template <Layout layout>
Status run_frozen(const Args& args, KernelContext& context) {
  Call call;
  SCONCE_TRY_STATUS(read_call<layout>(args, &call, context.diagnostic));
  if (call.training && call.mean)
    return SCONCE_FAIL(Code::unsupported, context.diagnostic,
                       "batch_norm in training mode changes its running statistics: export the "
                       "model after model.eval()");
  return run<layout>(args, context);
}

constexpr Layout kNoTraining{3, 4, -1, 5, 6}, kWhole{3, 4, 5, 6, 7}, kNoStats{-1, -1, 3, 4, 5},
    kFunctional{3, 4, 5, 6, 7, false, true}, kWithUpdate{3, 4, -1, 5, 6, true, true};

}  // namespace

KERNEL(native_batch_norm_legit_no_training) = {"aten::_native_batch_norm_legit_no_training.out",
                                               "tTTttff>ttt", shape<kNoTraining>, run<kNoTraining>};
KERNEL(native_batch_norm_legit) = {"aten::_native_batch_norm_legit.out", "tTTttbff>ttt",
                                   shape<kWhole>, run_frozen<kWhole>};
KERNEL(native_batch_norm_legit_no_stats) = {"aten::_native_batch_norm_legit.no_stats_out",
                                            "tTTbff>ttt", shape<kNoStats>, run<kNoStats>};
KERNEL(native_batch_norm_legit_functional) = {"sconce::_native_batch_norm_legit_functional.out",
                                              "tTTttbff>ttttt", shape<kFunctional>,
                                              run<kFunctional>};
KERNEL(native_batch_norm) = {"aten::native_batch_norm.out", "tTTTTbff>ttt", shape<kWhole>,
                             run_frozen<kWhole>};
KERNEL(batch_norm_no_update) = {"aten::_batch_norm_no_update.out", "tTTTTff>tttt",
                                shape<kNoTraining>, run<kNoTraining>};
KERNEL(batch_norm_with_update_functional) = {"sconce::_batch_norm_with_update_functional.out",
                                             "tTTttff>tttttt", shape<kWithUpdate>,
                                             run<kWithUpdate>};
KERNEL(batch_norm) = {"sconce::batch_norm.out", "tTTTTbffb>t", shape<kWhole>, run_frozen<kWhole>};

}  // namespace sconce
