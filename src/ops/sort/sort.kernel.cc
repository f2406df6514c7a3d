// Sorting along a dimension and what follows from it: top k, k-th value, median, mode.
//
// Sorts are stable. NaN counts as the greatest number.
#include <cmath>
#include <type_traits>

#include "ops/sort/order.h"

namespace sconce {
namespace {

// --- sort, argsort, topk ----------------------------------------------------------------------

struct Call {
  uint32_t mask = 0;
  int dim = 0;
  int64_t length = 1;
  bool descending = false;
  int64_t kept = 1;  // elements of a sorted row that go to the outs
};

Status read_dim(const Args& args, int i, Call* call, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(want_real(x, "sorting", diagnostic));
  call->dim = wrap_dim(args.integer(i), x.rank, diagnostic);
  if (call->dim < 0) return {Code::invalid_argument};
  call->mask = x.rank == 0 ? 0 : 1u << call->dim;
  call->kept = call->length = x.rank == 0 ? 1 : x.sizes[call->dim];
  return kOk;
}

// Positions of the arguments; k is -1 for a whole sort.
struct Layout { int dim, descending, k; };

template <Layout layout>
Status read_call(const Args& args, Call* call, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(read_dim(args, layout.dim, call, diagnostic));
  call->descending = args.boolean(layout.descending);
  if (layout.k < 0) return kOk;
  call->kept = args.integer(layout.k);
  if (call->kept < 0 || call->kept > call->length)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "k is %lld, 0 to %lld are there",
                       (long long)call->kept, (long long)call->length);
  return kOk;
}

template <Layout layout>
Status sort_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Call call;
  SCONCE_TRY_STATUS(read_call<layout>(args, &call, diagnostic));
  for (OutMeta& out : outs) {
    set_like(out, args.tensor(0));
    if (out.rank > 0) out.sizes[call.dim] = call.kept;
  }
  outs[outs.size() - 1].dtype = DType::i64;
  return kOk;
}

template <class T>
Status sort_rows(const Call& call, Rows rows, Rows* values, Rows indices,
                 const KernelContext& context) {
  OrderScratch<T> scratch{};
  SCONCE_TRY_STATUS(take_order_scratch(context, rows.length(), &scratch));
  for (int64_t i = 0; i < rows.count(); i++, rows.next(), indices.next()) {
    order_row(rows, scratch, call.descending);
    for (int64_t first = 0; first < call.kept; first += kBlockCount) {
      int n = int(call.kept - first < kBlockCount ? call.kept - first : kBlockCount);
      int64_t places[kBlockCount];
      T block[kBlockCount];
      for (int k = 0; k < n; k++) {
        places[k] = scratch.order[first + k];
        block[k] = scratch.keys[places[k]];
      }
      indices.write(first, n, places);
      if (values) values->write(first, n, block);
    }
    if (values) values->next();
  }
  return kOk;
}

template <Layout layout>
Status sort_run(const Args& args, KernelContext& context) {
  Call call;
  SCONCE_TRY_STATUS(read_call<layout>(args, &call, context.diagnostic));
  const Tensor& x = args.tensor(0);
  int outs = args.out_count();
  Rows values(args.out(0), call.mask), indices(args.out(outs - 1), call.mask);
  if (call.kept == 0) return kOk;
  return with_compute(x.dtype, [&](auto tag) {
    return sort_rows<decltype(tag)>(call, Rows(x, call.mask), outs > 1 ? &values : nullptr, indices,
                                    context);
  });
}

template <int dim>
uint64_t row_scratch(const Args& args) {
  Call call;
  if (!read_dim(args, dim, &call, nullptr).ok()) return 0;
  return order_scratch_bytes(call.length);
}
uint64_t flat_scratch(const Args& args) {
  return order_scratch_bytes(element_count(args.tensor(0)));
}

// --- one element of each row ------------------------------------------------------------------

enum class Pick { kth, median, nan_median, mode };

// Arguments: self, (k,) dim, keepdim.
template <Pick pick>
Status read_pick(const Args& args, Call* call, Diagnostic* diagnostic) {
  constexpr int at = pick == Pick::kth ? 2 : 1;
  SCONCE_TRY_STATUS(read_dim(args, at, call, diagnostic));
  SCONCE_TRY_STATUS(want_elements(args.tensor(0), call->mask, "choosing", diagnostic));
  if (pick != Pick::kth) return kOk;
  call->kept = args.integer(1);
  if (call->kept < 1 || call->kept > call->length)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "k is %lld, 1 to %lld are there",
                       (long long)call->kept, (long long)call->length);
  return kOk;
}

template <Pick pick>
Status pick_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Call call;
  SCONCE_TRY_STATUS(read_pick<pick>(args, &call, diagnostic));
  bool keepdim = args.boolean(pick == Pick::kth ? 3 : 2);
  set_reduced(outs[0], args.tensor(0), call.mask, keepdim, args.tensor(0).dtype);
  set_reduced(outs[1], args.tensor(0), call.mask, keepdim, DType::i64);
  return kOk;
}

// Position in the ordered row.
template <class T, Pick pick>
int64_t picked(const OrderScratch<T>& scratch, int64_t count, int64_t kth) {
  const T* keys = scratch.keys;
  const uint32_t* order = scratch.order;
  auto is_nan = [&](int64_t i) { return keys[order[i]] != keys[order[i]]; };
  if constexpr (pick == Pick::kth) return kth - 1;
  if constexpr (pick == Pick::mode) {
    // The longest run of equal elements; the first of several, the last element in it.
    int64_t best = 0, best_length = 0, length = 0;
    for (int64_t i = 0; i < count; i++) {
      length++;
      if (i + 1 < count && keys[order[i]] == keys[order[i + 1]]) continue;
      if (length > best_length) best_length = length, best = i;
      length = 0;
    }
    return best;
  }
  int64_t numbers = count;
  while (numbers > 0 && is_nan(numbers - 1)) numbers--;
  if (pick == Pick::median && numbers < count) return numbers;  // the first NaN
  return numbers == 0 ? 0 : (numbers - 1) / 2;
}

// What torch gives for the median of no integers: NaN, converted.
int64_t median_of_none(DType dtype) {
  if (dtype == DType::i64) return INT64_MIN;
  return dtype == DType::i32 ? INT32_MIN : dtype == DType::b8;
}

template <class T, Pick pick>
Status pick_rows(Rows rows, Rows values, Rows* indices, int64_t kth, DType dtype,
                 const KernelContext& context) {
  OrderScratch<T> scratch{};
  SCONCE_TRY_STATUS(take_order_scratch(context, rows.length(), &scratch));
  for (int64_t i = 0; i < rows.count(); i++, rows.next(), values.next()) {
    if (rows.length() == 0) {  // median of nothing
      values.put(std::is_same_v<T, int64_t> ? T(median_of_none(dtype)) : T(NAN));
      continue;
    }
    order_row(rows, scratch, false);
    int64_t at = scratch.order[picked<T, pick>(scratch, rows.length(), kth)];
    values.put(scratch.keys[at]);
    if (!indices) continue;
    indices->put(at);
    indices->next();
  }
  return kOk;
}

template <Pick pick>
Status pick_run(const Args& args, KernelContext& context) {
  Call call;
  SCONCE_TRY_STATUS(read_pick<pick>(args, &call, context.diagnostic));
  const Tensor& x = args.tensor(0);
  uint32_t out_mask = args.boolean(pick == Pick::kth ? 3 : 2) ? call.mask : 0;
  Rows values(args.out(0), out_mask), indices(args.out(1), out_mask);
  return with_compute(x.dtype, [&](auto tag) {
    return pick_rows<decltype(tag), pick>(Rows(x, call.mask), values, &indices, call.kept, x.dtype,
                                     context);
  });
}

Status median_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  outs[0] = {args.tensor(0).dtype, 0, {}};
  return want_real(args.tensor(0), "median", diagnostic);
}
template <Pick pick>
Status median_run(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  return with_compute(x.dtype, [&](auto tag) {
    return pick_rows<decltype(tag), pick>(Rows(x, all_dims(x.rank)), Rows(args.out(), 0), nullptr, 0,
                                          x.dtype, context);
  });
}

constexpr Layout kSort{1, 2, -1}, kStableSort{2, 3, -1}, kTopk{2, 3, 1};

}  // namespace

KERNEL(sort) = {"aten::sort.values", "tib>tt", sort_shape<kSort>, sort_run<kSort>, row_scratch<1>};
KERNEL(sort_stable) = {"aten::sort.values_stable", "tBib>tt", sort_shape<kStableSort>,
                       sort_run<kStableSort>, row_scratch<2>};
KERNEL(argsort_stable) = {"aten::argsort.stable_out", "tbib>t", sort_shape<kStableSort>,
                          sort_run<kStableSort>, row_scratch<2>};
KERNEL(topk) = {"aten::topk.values", "tiibb>tt", sort_shape<kTopk>, sort_run<kTopk>,
                row_scratch<2>};
KERNEL(kthvalue) = {"aten::kthvalue.values", "tiib>tt", pick_shape<Pick::kth>, pick_run<Pick::kth>,
                    row_scratch<2>};
KERNEL(median_dim) = {"aten::median.dim_values", "tib>tt", pick_shape<Pick::median>,
                      pick_run<Pick::median>, row_scratch<1>};
KERNEL(nanmedian_dim) = {"aten::nanmedian.dim_values", "tib>tt", pick_shape<Pick::nan_median>,
                         pick_run<Pick::nan_median>, row_scratch<1>};
KERNEL(mode) = {"aten::mode.values", "tib>tt", pick_shape<Pick::mode>, pick_run<Pick::mode>,
                row_scratch<1>};
KERNEL(median) = {"aten::median.out", "t>t", median_shape, median_run<Pick::median>, flat_scratch};
KERNEL(nanmedian) = {"aten::nanmedian.out", "t>t", median_shape, median_run<Pick::nan_median>,
                     flat_scratch};

}  // namespace sconce
