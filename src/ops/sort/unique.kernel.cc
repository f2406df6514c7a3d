// Distinct elements or slices of a tensor, sorted or in runs as they stand.
//
// Outs: the distinct ones; for every element (slice) which of them it is; how often each occurs.
// Sizes follow from the data, so the shape rule gives bounds and the kernel resizes its outs.
#include "ops/sort/order.h"

namespace sconce {
namespace {

struct Call {
  int dim = -1;  // -1: elements of the flat tensor
  bool inverse = true, counts = true;
  uint32_t mask = 0;  // what one slice covers
  int64_t slices = 0;
};

enum class Form { unique, unique2, unique_dim, consecutive };

// unique: self, sorted, inverse. unique2: self, sorted, inverse, counts.
// unique_dim: self, dim, sorted, inverse, counts. consecutive: self, inverse, counts, dim.
template <Form form>
Status read_call(const Args& args, Call* call, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(want_real(x, "unique", diagnostic));
  constexpr int dim_at = form == Form::unique_dim ? 1 : 3;
  // torch takes dimension 0 of rank 1 for the flat form, which leaves out what is not asked for.
  bool by_dim = form == Form::unique_dim ||
                (form == Form::consecutive && args.has(3) &&
                 !(x.rank == 1 && args.integer(3) == 0));
  if (form == Form::unique) call->inverse = args.boolean(2), call->counts = false;
  if (form == Form::unique2) call->inverse = args.boolean(2), call->counts = args.boolean(3);
  if (form == Form::consecutive && !by_dim)
    call->inverse = args.boolean(1), call->counts = args.boolean(2);
  if (by_dim && x.rank > 0) {
    call->dim = wrap_dim(args.integer(dim_at), x.rank, diagnostic);
    if (call->dim < 0) return {Code::invalid_argument};
    call->mask = all_dims(x.rank) & ~(1u << call->dim);
    call->slices = x.sizes[call->dim];
    if (element_count(x) == 0 && call->slices != 0)
      return SCONCE_FAIL(Code::unsupported, diagnostic, "unique of %lld slices without elements",
                         (long long)call->slices);
  } else {
    call->slices = element_count(x);
  }
  return kOk;
}

template <Form form>
Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Call call;
  SCONCE_TRY_STATUS(read_call<form>(args, &call, diagnostic));
  const Tensor& x = args.tensor(0);
  if (call.dim >= 0) {
    set_like(outs[0], x);
    outs[1] = {DType::i64, 1, {call.inverse ? call.slices : 0}};
  } else {
    outs[0] = {x.dtype, 1, {call.slices}};
    if (call.inverse) set_like(outs[1], x, DType::i64);
    else outs[1] = {DType::i64, 1, {0}};
  }
  if (outs.size() > 2) outs[2] = {DType::i64, 1, {call.counts ? call.slices : 0}};
  return kOk;
}

// -1, 0, 1: slice a is less, equal, greater. NaN equals nothing.
template <class T>
int compare_slices(Rows& a, Rows& b) {
  T left[kBlockCount], right[kBlockCount];
  for (int64_t first = 0; first < a.length(); first += kBlockCount) {
    int n = int(a.length() - first < kBlockCount ? a.length() - first : kBlockCount);
    a.read(first, n, left);
    b.read(first, n, right);
    for (int i = 0; i < n; i++) {
      if (left[i] == right[i]) continue;
      return key_less(left[i], right[i]) ? -1 : 1;
    }
  }
  return 0;
}

template <class T>
Status unique_slices(const Call& call, const Tensor& x, bool sorted, const Args& args,
                     const KernelContext& context) {
  OrderScratch<T> scratch{};
  SCONCE_TRY_STATUS(take_order_scratch(context, call.slices, &scratch));
  Rows a(x, call.mask), b(x, call.mask);
  auto compare = [&](uint32_t i, uint32_t j) {
    a.seek(i);
    b.seek(j);
    return compare_slices<T>(a, b);
  };
  if (sorted)
    sort_order(scratch.order, scratch.spare, call.slices,
               [&](uint32_t i, uint32_t j) { return compare(i, j) < 0; });
  else
    for (int64_t i = 0; i < call.slices; i++) scratch.order[i] = uint32_t(i);

  // First pass: the number of each slice. The order becomes the first slice of each number.
  Tensor &values = args.out(0), &inverse = args.out(1);
  Tensor* counts = args.out_count() > 2 && call.counts ? &args.out(2) : nullptr;
  Rows numbers(inverse, all_dims(inverse.rank));
  int64_t distinct = 0, run = 0;
  uint32_t previous = 0;
  for (int64_t i = 0; i < call.slices; i++) {
    uint32_t slice = scratch.order[i];
    if (i == 0 || compare(previous, slice) != 0) {
      if (distinct > 0) scratch.spare[distinct - 1] = uint32_t(run);
      scratch.order[distinct++] = slice;
      run = 0;
    }
    run++;
    previous = slice;
    int64_t number = distinct - 1;
    if (call.inverse) numbers.write(slice, 1, &number);
  }
  if (distinct > 0) scratch.spare[distinct - 1] = uint32_t(run);

  int32_t sizes[kRankMax];
  for (int i = 0; i < values.rank; i++) sizes[i] = values.sizes[i];
  sizes[call.dim >= 0 ? call.dim : 0] = int32_t(distinct);
  SCONCE_TRY_STATUS(resize(values, sizes, context.diagnostic));
  Rows to(values, call.dim >= 0 ? call.mask : 0);
  for (int64_t i = 0; i < distinct; i++, to.next()) {
    a.seek(scratch.order[i]);
    for_each_block<T>(a, [&](T* block, int n, int64_t first) { to.write(first, n, block); });
  }
  if (!counts) return kOk;
  int32_t count = int32_t(distinct);
  SCONCE_TRY_STATUS(resize(*counts, &count, context.diagnostic));
  Rows count_rows(*counts, 0);
  for (int64_t i = 0; i < distinct; i++, count_rows.next()) count_rows.put(int64_t(scratch.spare[i]));
  return kOk;
}

template <Form form>
Status run(const Args& args, KernelContext& context) {
  Call call;
  SCONCE_TRY_STATUS(read_call<form>(args, &call, context.diagnostic));
  const Tensor& x = args.tensor(0);
  return with_compute(x.dtype, [&](auto tag) {
    return unique_slices<decltype(tag)>(call, x, form != Form::consecutive, args, context);
  });
}

template <Form form>
uint64_t scratch_bytes(const Args& args) {
  Call call;
  if (!read_call<form>(args, &call, nullptr).ok()) return 0;
  return order_scratch_bytes(call.slices);
}

}  // namespace

KERNEL(unique) = {"aten::_unique.out", "tbb>tt", shape<Form::unique>, run<Form::unique>,
                  scratch_bytes<Form::unique>, true};
KERNEL(unique2) = {"aten::_unique2.out", "tbbb>ttt", shape<Form::unique2>, run<Form::unique2>,
                   scratch_bytes<Form::unique2>, true};
KERNEL(unique_dim) = {"aten::unique_dim.out", "tibbb>ttt", shape<Form::unique_dim>,
                      run<Form::unique_dim>, scratch_bytes<Form::unique_dim>, true};
KERNEL(unique_consecutive) = {"aten::unique_consecutive.out", "tbbI>ttt", shape<Form::consecutive>,
                              run<Form::consecutive>, scratch_bytes<Form::consecutive>, true};

}  // namespace sconce
