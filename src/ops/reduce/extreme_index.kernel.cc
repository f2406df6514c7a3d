// Largest and smallest elements with their positions: argmax, argmin, max.dim, min.dim, aminmax.
//
// NaN counts as the extreme; of equal elements the first is taken.
#include "ops/reduce/rows.h"

namespace sconce {
namespace {

// Arguments: self, dim (an absent one means all), keepdim.
Status read_mask(const Args& args, uint32_t* mask, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(want_real(x, "extreme", diagnostic));
  SCONCE_TRY_STATUS(dims_mask(args, 1, x.rank, true, mask, diagnostic));
  return want_elements(x, *mask, "extreme", diagnostic);
}

Status index_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  uint32_t mask;
  SCONCE_TRY_STATUS(read_mask(args, &mask, diagnostic));
  set_reduced(outs[0], args.tensor(0), mask, args.boolean(2), DType::i64);
  return kOk;
}

Status value_index_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  uint32_t mask;
  SCONCE_TRY_STATUS(read_mask(args, &mask, diagnostic));
  set_reduced(outs[0], args.tensor(0), mask, args.boolean(2), args.tensor(0).dtype);
  set_reduced(outs[1], args.tensor(0), mask, args.boolean(2), DType::i64);
  return kOk;
}

Status both_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  uint32_t mask;
  SCONCE_TRY_STATUS(read_mask(args, &mask, diagnostic));
  for (OutMeta& out : outs)
    set_reduced(out, args.tensor(0), mask, args.boolean(2), args.tensor(0).dtype);
  return kOk;
}

template <class T, int sign>
void find_rows(Rows rows, Rows* values, Rows* indices) {
  for (int64_t i = 0; i < rows.count(); i++, rows.next()) {
    T best = 0;
    int64_t at = -1;
    for_each_block<T>(rows, [&](T* x, int n, int64_t first) {
      if (best != best) return;
      if (at < 0) best = x[0], at = 0;
      for (int k = 0; k < n; k++) {
        if (!((sign > 0 ? x[k] > best : x[k] < best) || x[k] != x[k])) continue;
        best = x[k];
        at = first + k;
        if (best != best) return;
      }
    });
    if (best != best && at < 0) at = 0;
    if (values) values->put(best), values->next();
    if (indices) indices->put(at), indices->next();
  }
}

template <int sign>
Status index_run(const Args& args, KernelContext& context) {
  uint32_t mask;
  SCONCE_TRY_STATUS(read_mask(args, &mask, context.diagnostic));
  Rows indices(args.out(), args.boolean(2) ? mask : 0);
  with_compute(args.tensor(0).dtype, [&](auto tag) {
    find_rows<decltype(tag), sign>(Rows(args.tensor(0), mask), nullptr, &indices);
  });
  return kOk;
}

template <int sign>
Status value_index_run(const Args& args, KernelContext& context) {
  uint32_t mask;
  SCONCE_TRY_STATUS(read_mask(args, &mask, context.diagnostic));
  uint32_t out_mask = args.boolean(2) ? mask : 0;
  Rows values(args.out(0), out_mask), indices(args.out(1), out_mask);
  with_compute(args.tensor(0).dtype, [&](auto tag) {
    find_rows<decltype(tag), sign>(Rows(args.tensor(0), mask), &values, &indices);
  });
  return kOk;
}

Status both_run(const Args& args, KernelContext& context) {
  uint32_t mask;
  SCONCE_TRY_STATUS(read_mask(args, &mask, context.diagnostic));
  uint32_t out_mask = args.boolean(2) ? mask : 0;
  Rows smallest(args.out(0), out_mask), largest(args.out(1), out_mask);
  with_compute(args.tensor(0).dtype, [&](auto tag) {
    find_rows<decltype(tag), -1>(Rows(args.tensor(0), mask), &smallest, nullptr);
    find_rows<decltype(tag), 1>(Rows(args.tensor(0), mask), &largest, nullptr);
  });
  return kOk;
}

}  // namespace

KERNEL(argmax) = {"aten::argmax.out", "tIb>t", index_shape, index_run<1>};
KERNEL(argmin) = {"aten::argmin.out", "tIb>t", index_shape, index_run<-1>};
KERNEL(max_dim) = {"aten::max.dim_max", "tib>tt", value_index_shape, value_index_run<1>};
KERNEL(min_dim) = {"aten::min.dim_min", "tib>tt", value_index_shape, value_index_run<-1>};
KERNEL(aminmax) = {"aten::aminmax.out", "tIb>tt", both_shape, both_run};

}  // namespace sconce
