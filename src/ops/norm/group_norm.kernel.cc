// Group norm: each sample's channels are normalized in groups.
#include <cmath>

#include "ops/reduce/rows.h"

namespace sconce {
namespace {

struct Call {
  int64_t samples, channels, groups, inner;
  const Tensor *weight, *bias;
  double eps;
  DType stats;
};

// native: input, weight, bias, N, C, HxW, group, eps. Whole: input, num_groups, weight, bias, eps.
template <bool native>
Status read_call(const Args& args, Call* call, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(want_floating(x, "group_norm", diagnostic));
  if (native) {
    *call = {args.integer(3), args.integer(4), args.integer(6), args.integer(5),
             args.find_tensor(1), args.find_tensor(2), args.floating(7), x.dtype};
    int64_t area;
    if (call->samples < 0 || call->channels < 0 || call->inner < 0 ||
        !checked_multiply(call->channels, call->inner, &area) ||
        !checked_multiply(area, call->samples, &area) || area != element_count(x))
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "N %lld, C %lld and HxW %lld do not give the %lld elements of the input",
                         (long long)call->samples, (long long)call->channels,
                         (long long)call->inner, (long long)element_count(x));
  } else {
    if (x.rank < 2)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "group_norm of rank %d: at least 2 is wanted", x.rank);
    int64_t inner = 1;
    for (int i = 2; i < x.rank; i++) inner *= x.sizes[i];
    *call = {x.sizes[0], x.sizes[1], args.integer(1), inner,
             args.find_tensor(2), args.find_tensor(3), args.floating(4), x.dtype};
  }
  if (call->groups < 1 || call->channels % call->groups != 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%lld channels do not divide into %lld groups", (long long)call->channels,
                       (long long)call->groups);
  for (const Tensor* parameter : {call->weight, call->bias}) {
    if (!parameter) continue;
    SCONCE_TRY_STATUS(want_floating(*parameter, "weight or bias", diagnostic));
    if (parameter->rank != 1 || parameter->sizes[0] != call->channels)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "weight or bias of rank %d and size %d: one of size %lld is wanted",
                         parameter->rank, parameter->rank == 1 ? parameter->sizes[0] : 0,
                         (long long)call->channels);
    call->stats = parameter->dtype;
  }
  return kOk;
}

template <bool native>
Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Call call;
  SCONCE_TRY_STATUS(read_call<native>(args, &call, diagnostic));
  set_like(outs[0], args.tensor(0));
  for (size_t k = 1; k < outs.size(); k++)
    outs[k] = {call.stats, 2, {call.samples, call.groups}};
  return kOk;
}

// One row per sample and group (channels within the group, then space), or per sample and channel.
Rows cut(const Tensor& x, const Call& call, bool by_channel) {
  int64_t groups = by_channel ? call.channels : call.groups;
  int64_t each = groups == 0 ? 0 : call.channels / groups;
  if (x.rank < 2 || x.sizes[0] != call.samples || x.sizes[1] != call.channels) {
    // Flat form: shape() has checked the count, and run() that memory is in logical order.
    RowAxis kept[] = {{call.samples * groups, each * call.inner}}, row[] = {{each * call.inner, 1}};
    return Rows(x, kept, row);
  }
  Strides strides = strides_of(x);
  RowAxis kept[] = {{call.samples, strides[0]}, {groups, strides[1] * each}}, row[kRankMax];
  size_t count = 0;
  row[count++] = {each, strides[1]};
  for (int i = 2; i < x.rank; i++) row[count++] = {x.sizes[i], strides[i]};
  return Rows(x, kept, {row, count});
}

template <class T>
void normalize(const Tensor& x, const Call& call, Tensor& out, Tensor* mean_out, Tensor* rstd_out) {
  Rows groups = cut(x, call, false), channels = cut(x, call, true), to = cut(out, call, true);
  Tensor none;
  Rows means(mean_out ? *mean_out : none, 0), rstds(rstd_out ? *rstd_out : none, 0);
  int64_t each = call.channels / call.groups;
  for (int64_t i = 0; i < call.samples * call.groups; i++, groups.next()) {
    Moments<T> moments = moments_of<T>(groups);
    T rstd = T(1) / std::sqrt(moments.square_sum / T(groups.length()) + T(call.eps));
    for (int64_t c = 0; c < each; c++, channels.next(), to.next()) {
      int64_t channel = i % call.groups * each + c;
      T scale = 1, shift = 0;
      if (call.weight) Rows(*call.weight, 1).read(channel, 1, &scale);
      if (call.bias) Rows(*call.bias, 1).read(channel, 1, &shift);
      for_each_block<T>(channels, [&](T* block, int n, int64_t first) {
        for (int k = 0; k < n; k++) block[k] = (block[k] - moments.mean) * rstd * scale + shift;
        to.write(first, n, block);
      });
    }
    if (mean_out) means.put(moments.mean), means.next();
    if (rstd_out) rstds.put(rstd), rstds.next();
  }
}

template <bool native>
Status run(const Args& args, KernelContext& context) {
  Call call;
  SCONCE_TRY_STATUS(read_call<native>(args, &call, context.diagnostic));
  const Tensor& x = args.tensor(0);
  for (int k = 0; k < args.out_count(); k++)
    SCONCE_TRY_STATUS(want_floating(args.out(k), "result", context.diagnostic));
  bool shaped = x.rank >= 2 && x.sizes[0] == call.samples && x.sizes[1] == call.channels;
  if (!shaped && !(is_contiguous(x) && is_contiguous(args.out())))
    return SCONCE_FAIL(Code::unsupported, context.diagnostic,
                       "input does not begin with N, C: memory in logical order is wanted then");
  with_floating(x.dtype, [&](auto tag) {
    normalize<decltype(tag)>(x, call, args.out(), native ? &args.out(1) : nullptr,
                             native ? &args.out(2) : nullptr);
  });
  return kOk;
}

}  // namespace

KERNEL(native_group_norm) = {"aten::native_group_norm.out", "tTTiiiif>ttt", shape<true>, run<true>};
KERNEL(group_norm) = {"sconce::group_norm.out", "tiTTfb>t", shape<false>, run<false>};

}  // namespace sconce
