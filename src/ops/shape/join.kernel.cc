// Operators that put elements together: cat, stack, repeat, pads with a constant, and the writes of a
// part into a whole that undo slice, select, diagonal and as_strided.
#include "ops/promote.h"
#include "ops/shape/strided.h"

namespace sconce {
namespace {

// --- cat and stack: tensors, dim ------------------------------------------------------------------

// torch skips tensors of sizes [0] when it joins others.
bool is_skipped(const Tensor& tensor) { return tensor.rank == 1 && tensor.sizes[0] == 0; }

Status cat_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  int count = args.list_count(0), first = -1;
  if (count == 0) return SCONCE_FAIL(Code::invalid_argument, diagnostic, "cat of no tensors");
  ResultType type;
  for (int k = 0; k < count; k++) {
    const Tensor& tensor = *args.list_tensor(0, k);
    if (tensor.rank == 0)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "cat: tensor %d has no dimensions to join along", k);
    type.add(tensor);
    if (first < 0 && !is_skipped(tensor)) first = k;
  }
  const Tensor& model = *args.list_tensor(0, first < 0 ? 0 : first);
  set_like(outs[0], model, type.get());
  int dim = wrap_dim(args.integer(1), model.rank, diagnostic);
  if (dim < 0) return {Code::invalid_argument};
  outs[0].sizes[dim] = 0;
  for (int k = 0; k < count; k++) {
    const Tensor& tensor = *args.list_tensor(0, k);
    if (is_skipped(tensor) && first >= 0) continue;
    bool fits = tensor.rank == model.rank;
    for (int i = 0; fits && i < model.rank; i++)
      if (i != dim && tensor.sizes[i] != model.sizes[i])
        return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                           "cat: tensor %d has size %d at dimension %d, %d is wanted", k,
                           int(tensor.sizes[i]), i, int(model.sizes[i]));
    if (!fits)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "cat: tensor %d has rank %d, not %d", k,
                         tensor.rank, model.rank);
    outs[0].sizes[dim] += tensor.sizes[dim];
  }
  return kOk;
}

Status run_cat(const Args& args, KernelContext& context) {
  Tensor& out = args.out();
  int dim = wrap_dim(args.integer(1), out.rank, context.diagnostic);
  int64_t start = 0;
  for (int k = 0; k < args.list_count(0); k++) {
    const Tensor& tensor = *args.list_tensor(0, k);
    if (is_skipped(tensor)) continue;
    StridedView to = view_of(out);
    to.narrow(dim, start, tensor.sizes[dim]);
    SCONCE_TRY_STATUS(copy_view(view_of(tensor), to, context.diagnostic));
    start += tensor.sizes[dim];
  }
  return kOk;
}

Status stack_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  int count = args.list_count(0);
  if (count == 0) return SCONCE_FAIL(Code::invalid_argument, diagnostic, "stack of no tensors");
  const Tensor& model = *args.list_tensor(0, 0);
  int dim = wrap_dim(args.integer(1), model.rank + 1, diagnostic);
  if (dim < 0) return {Code::invalid_argument};
  if (model.rank == kRankMax)
    return SCONCE_FAIL(Code::too_large, diagnostic, "rank %d exceeds %d", kRankMax + 1, kRankMax);
  set_like(outs[0], model);
  ResultType type;
  for (int k = 0; k < count; k++) {
    const Tensor& tensor = *args.list_tensor(0, k);
    SCONCE_TRY_STATUS(expect_sizes("stack: a tensor", tensor, outs[0].sizes, model.rank, diagnostic));
    type.add(tensor);
  }
  StridedView view = view_of(model);
  view.insert(dim, count, 0);
  outs[0].dtype = type.get();
  outs[0].rank = view.rank;
  for (int i = 0; i < view.rank; i++) outs[0].sizes[i] = view.sizes[i];
  return kOk;
}

Status run_stack(const Args& args, KernelContext& context) {
  int dim = wrap_dim(args.integer(1), args.out().rank, context.diagnostic);
  for (int k = 0; k < args.list_count(0); k++) {
    StridedView to = view_of(args.out());
    to.advance(dim, k);
    to.remove(dim);
    SCONCE_TRY_STATUS(copy_view(view_of(*args.list_tensor(0, k)), to, context.diagnostic));
  }
  return kOk;
}

// --- repeat: self, repeats ------------------------------------------------------------------------

Status repeat_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  int rank = args.list_count(1);
  if (rank < x.rank || rank > kRankMax)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "repeat: %d counts for a tensor of rank %d", rank, x.rank);
  outs[0].dtype = x.dtype;
  outs[0].rank = rank;
  for (int i = 0; i < rank; i++) {
    int64_t count = args.list_integer(1, i);
    int64_t size = i < rank - x.rank ? 1 : x.sizes[i - (rank - x.rank)];
    if (count < 0 || !checked_multiply(size, count, &outs[0].sizes[i]))
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "repeat: count %lld of dimension %d",
                         (long long)count, i);
  }
  return kOk;
}

Status run_repeat(const Args& args, KernelContext& context) {
  StridedView from = view_of(args.tensor(0)), to = view_of(args.out());
  int rank = to.rank;
  while (from.rank < rank) from.insert(0, 1, 0);
  for (int i = rank - 1; i >= 0; i--) {
    int64_t count = args.list_integer(1, i);
    from.insert(i, count, 0);
    to.split(i, count);
    if (count == 0) return kOk;
  }
  return copy_view(from, to, context.diagnostic);
}

// --- constant_pad_nd: self, pad (pairs from the last dimension on), value -------------------------

Status constant_pad_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  int count = args.list_count(1);
  if (count % 2 != 0 || count / 2 > x.rank)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "constant_pad_nd: %d numbers for a tensor of rank %d; pairs for at most all "
                       "dimensions are wanted",
                       count, x.rank);
  set_like(outs[0], x);
  for (int i = 0; i < count / 2; i++) {
    int dim = x.rank - 1 - i;
    int64_t before = args.list_integer(1, 2 * i), after = args.list_integer(1, 2 * i + 1);
    if (!checked_add(outs[0].sizes[dim], before, &outs[0].sizes[dim]) ||
        !checked_add(outs[0].sizes[dim], after, &outs[0].sizes[dim]) || outs[0].sizes[dim] < 0)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "constant_pad_nd: padding %lld and %lld of dimension %d of size %d",
                         (long long)before, (long long)after, dim, int(x.sizes[dim]));
  }
  return kOk;
}

Status run_constant_pad(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  StridedView from = view_of(x), to = view_of(args.out());
  // Fills the two borders of each dimension in turn; what is left in the end is the inside.
  for (int i = 0; i < args.list_count(1) / 2; i++) {
    int dim = x.rank - 1 - i;
    int64_t before = args.list_integer(1, 2 * i), after = args.list_integer(1, 2 * i + 1);
    int64_t size = to.sizes[dim];
    int64_t border[2][2] = {{0, before < size ? before : size},
                            {after < size ? size - after : 0, after < size ? after : size}};
    for (auto [start, count] : border) {
      if (count <= 0) continue;
      StridedView part = to;
      part.narrow(dim, start, count);
      SCONCE_TRY_STATUS(fill_view(args[2], part, context.diagnostic));
    }
    int64_t from_start = before < 0 ? -before : 0, from_end = from.sizes[dim] + (after < 0 ? after : 0);
    int64_t count = from_end > from_start ? from_end - from_start : 0;
    from.narrow(dim, from_start, count);
    to.narrow(dim, before > 0 ? before : 0, count);
  }
  return copy_view(from, to, context.diagnostic);
}

// --- a part written into a copy of the whole ------------------------------------------------------

// Changes a view of the whole into the part that src replaces.
using PartRule = Status (*)(const Args& args, StridedView& view, Diagnostic* diagnostic);

template <PartRule rule>
Status scatter_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  StridedView part = view_of(args.tensor(0));
  SCONCE_TRY_STATUS(rule(args, part, diagnostic));
  SCONCE_TRY_STATUS(expect_sizes("source", args.tensor(1), part.sizes, part.rank, diagnostic));
  set_like(outs[0], args.tensor(0));
  return kOk;
}

template <PartRule rule>
Status run_scatter(const Args& args, KernelContext& context) {
  StridedView part = view_of(args.out());
  SCONCE_TRY_STATUS(copy_view(view_of(args.tensor(0)), part, context.diagnostic));
  SCONCE_TRY_STATUS(rule(args, part, context.diagnostic));
  return copy_view(view_of(args.tensor(1)), part, context.diagnostic);
}

int dim_of_part(int64_t wanted, const StridedView& view, Diagnostic* diagnostic) {
  if (view.rank > 0) return wrap_dim(wanted, view.rank, diagnostic);
  (void)SCONCE_FAIL(Code::invalid_argument, diagnostic, "a part of a tensor without dimensions");
  return -1;
}

// self, src, dim, start, end, step
Status slice_part(const Args& args, StridedView& view, Diagnostic* diagnostic) {
  int dim = dim_of_part(args.integer(2), view, diagnostic);
  if (dim < 0) return {Code::invalid_argument};
  int64_t start, count, step;
  SCONCE_TRY_STATUS(slice_bounds(args, 3, view.sizes[dim], &start, &count, &step, diagnostic));
  view.narrow(dim, start, count, count > 1 ? step : 1);
  return kOk;
}
// self, src, dim, index
Status select_part(const Args& args, StridedView& view, Diagnostic* diagnostic) {
  int dim = dim_of_part(args.integer(2), view, diagnostic);
  if (dim < 0) return {Code::invalid_argument};
  int64_t index;
  SCONCE_TRY_STATUS(wrap_index(args.integer(3), view.sizes[dim], dim, &index, diagnostic));
  view.advance(dim, index);
  view.remove(dim);
  return kOk;
}
// self, src, offset, dim1, dim2
Status diagonal_part(const Args& args, StridedView& view, Diagnostic* diagnostic) {
  return diagonal_view(view, args.integer(2), args.integer(3), args.integer(4), diagnostic);
}
// self, src, size, stride, storage_offset
Status as_strided_part(const Args& args, StridedView& view, Diagnostic* diagnostic) {
  return as_strided_view(args, 2, view, diagnostic);
}

}  // namespace

KERNEL(cat) = {"aten::cat.out", "vi>t", cat_shape, run_cat};
KERNEL(stack) = {"aten::stack.out", "vi>t", stack_shape, run_stack};
KERNEL(repeat) = {"aten::repeat.out", "tl>t", repeat_shape, run_repeat};
KERNEL(constant_pad_nd) = {"aten::constant_pad_nd.out", "tln>t", constant_pad_shape,
                           run_constant_pad};
KERNEL(slice_scatter) = {"aten::slice_scatter.out", "ttiIIi>t", scatter_shape<slice_part>,
                         run_scatter<slice_part>};
KERNEL(select_scatter) = {"aten::select_scatter.out", "ttii>t", scatter_shape<select_part>,
                          run_scatter<select_part>};
KERNEL(diagonal_scatter) = {"aten::diagonal_scatter.out", "ttiii>t", scatter_shape<diagonal_part>,
                            run_scatter<diagonal_part>};
KERNEL(as_strided_scatter) = {"aten::as_strided_scatter.out", "ttllI>t",
                              scatter_shape<as_strided_part>, run_scatter<as_strided_part>};

}  // namespace sconce
