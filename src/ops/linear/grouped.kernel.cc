// Grouped matrix product of mixtures of experts: rows [offsets[g - 1], offsets[g]) of the input times
// matrix g. Rows after the last offset become zeros.
#include <cstring>

#include "ops/linear/gemm.h"

namespace sconce {
namespace {

constexpr const char* kName = "grouped_mm";

// Arguments: input [rows, in], weight [groups, in, out], offsets [groups] (i32 or i64).
Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor &x = args.tensor(0), &weight = args.tensor(1), &offsets = args.tensor(2);
  SCONCE_TRY_STATUS(check_same_dtype(kName, x, weight, diagnostic));
  SCONCE_TRY_STATUS(check_floating_dtype(kName, x.dtype, diagnostic));
  if (x.rank != 2 || weight.rank != 3 || offsets.rank != 1 || x.sizes[1] != weight.sizes[1] ||
      offsets.sizes[0] != weight.sizes[0])
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: input [rows, in], weight [groups, in, out], offsets [groups] wanted; "
                       "ranks are %d, %d, %d",
                       kName, x.rank, weight.rank, offsets.rank);
  if (offsets.dtype != DType::i32 && offsets.dtype != DType::i64)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: offsets of type %s, i32 or i64 wanted",
                       kName, dtype_name(offsets.dtype));
  outs[0] = OutMeta{x.dtype, 2, {x.sizes[0], weight.sizes[2]}};
  return kOk;
}

uint64_t scratch_bytes(const Args& args) {
  const Tensor &x = args.tensor(0), &weight = args.tensor(1);
  return gemm_scratch_bytes(compute_of(x.dtype), x.sizes[0], weight.sizes[2], x.sizes[1]);
}

Status run(const Args& args, KernelContext& context) {
  const Tensor &x = args.tensor(0), &weight = args.tensor(1), &offsets = args.tensor(2);
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(check_out_dtype(out, x.dtype, context.diagnostic));
  Strides xs = strides_of(x), ws = strides_of(weight), os = strides_of(out);
  int64_t element_bytes = int64_t(dtype_bytes(x.dtype)), begin = 0;
  memset(out.data, 0, tensor_bytes(out));
  for (int64_t group = 0; group < weight.sizes[0]; group++) {
    int64_t end = offsets.dtype == DType::i32 ? offsets.as<int32_t>()[group]
                                              : offsets.as<int64_t>()[group];
    if (end < begin || end > x.sizes[0])
      return SCONCE_FAIL(Code::invalid_argument, context.diagnostic,
                         "%s: offset %lld of group %lld, %lld to %d wanted", kName, (long long)end,
                         (long long)group, (long long)begin, int(x.sizes[0]));
    Gemm g;
    g.m = end - begin;
    g.n = weight.sizes[2];
    g.k = x.sizes[1];
    g.a = {x.as<char>() + begin * xs[0] * element_bytes, x.dtype, xs[0], xs[1]};
    g.b = {weight.as<char>() + group * ws[0] * element_bytes, weight.dtype, ws[1], ws[2]};
    g.out = out.as<char>() + begin * os[0] * element_bytes;
    g.out_dtype = out.dtype;
    g.out_row_stride = os[0];
    g.out_column_stride = os[1];
    gemm(g, compute_of(x.dtype), context.scratch.data());
    begin = end;
  }
  return kOk;
}

}  // namespace

KERNEL(grouped_mm) = {"sconce::grouped_mm.out", "ttt>t", shape, run, scratch_bytes};

}  // namespace sconce
