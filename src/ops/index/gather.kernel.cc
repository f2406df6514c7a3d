// Reads through index tensors along one dimension: embedding, index_select, gather, take.
#include <cstring>

#include "ops/index/indices.h"
#include "ops/shape/strided.h"

namespace sconce {
namespace {

// to[.., k, ..] = from[.., index[k], ..]. `to` has the type and, but for `dim`, the sizes of `from`.
Status select_along(const StridedView& from, const StridedView& to, int dim, const Tensor& index,
                    Diagnostic* diagnostic) {
  int64_t count = element_count(index), size = from.sizes[dim];
  Cursor at(index);
  // When what lies inside of `dim` is one run of memory in both, each index moves runs.
  int64_t run = 1, rows = 1;
  bool dense = from.dtype == to.dtype;
  for (int i = to.rank - 1; i > dim; i--) {
    dense = dense && (to.sizes[i] == 1 || (from.strides[i] == run && to.strides[i] == run));
    run *= to.sizes[i];
  }
  for (int i = 0; i < dim; i++) rows *= to.sizes[i];
  if (!dense || rows != 1) {  // rows: the whole of each index at once, as copy_view orders it best
    StridedView source = from, target = to;
    source.remove(dim);
    target.remove(dim);
    int64_t bytes = int64_t(dtype_bytes(from.dtype)), to_bytes = int64_t(dtype_bytes(to.dtype));
    for (int64_t k = 0; k < count; k++, at.next()) {
      int64_t i = read_index(index, at.offset);
      if (i < 0 || i >= size) return index_out_of_range(i, size, dim, diagnostic);
      source.data = from.data + i * from.strides[dim] * bytes;
      target.data = to.data + k * to.strides[dim] * to_bytes;
      SCONCE_TRY_STATUS(copy_view(source, target, diagnostic));
    }
    return kOk;
  }
  size_t bytes = dtype_bytes(from.dtype), run_bytes = size_t(run) * bytes;
  for (int64_t k = 0; k < count; k++, at.next()) {
    int64_t i = read_index(index, at.offset);
    if (i < 0 || i >= size) return index_out_of_range(i, size, dim, diagnostic);
    memmove(to.data + k * to.strides[dim] * int64_t(bytes),
            from.data + i * from.strides[dim] * int64_t(bytes), run_bytes);
  }
  return kOk;
}

// --- embedding: weight, indices, padding_idx, scale_grad_by_freq, sparse --------------------------

Status embedding_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& weight = args.tensor(0);
  const Tensor& indices = args.tensor(1);
  if (weight.rank != 2)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "embedding: weight of rank %d, 2 is wanted",
                       weight.rank);
  SCONCE_TRY_STATUS(check_index_type("embedding", indices, diagnostic));
  if (indices.rank == kRankMax)
    return SCONCE_FAIL(Code::too_large, diagnostic, "rank %d exceeds %d", kRankMax + 1, kRankMax);
  set_like(outs[0], indices, weight.dtype);
  outs[0].sizes[outs[0].rank++] = weight.sizes[1];
  return kOk;
}

Status run_embedding(const Args& args, KernelContext& context) {
  const Tensor& weight = args.tensor(0);
  const Tensor& indices = args.tensor(1);
  Tensor& out = args.out();
  if (element_count(out) == 0 && element_count(indices) == 0) return kOk;
  if (is_contiguous(out)) {
    StridedView to = view_of(out);
    to.rank = 2;
    to.sizes[0] = element_count(indices);
    to.sizes[1] = weight.sizes[1];
    to.strides[0] = weight.sizes[1];
    to.strides[1] = 1;
    return select_along(view_of(weight), to, 0, indices, context.diagnostic);
  }
  // Row by row into an out of another dim order.
  StridedView from = view_of(weight), to = view_of(out);
  from.remove(0);
  Cursor at(indices);
  int64_t count = element_count(indices), width = to.strides[to.rank - 1];
  Strides out_strides = strides_of(out);
  for (int64_t k = 0; k < count; k++, at.next()) {
    int64_t row = read_index(indices, at.offset);
    if (row < 0 || row >= weight.sizes[0])
      return index_out_of_range(row, weight.sizes[0], 0, context.diagnostic);
    StridedView source = from, target;
    source.data = weight.as<char>() +
                  row * strides_of(weight)[0] * int64_t(dtype_bytes(weight.dtype));
    target.data = out.as<char>();
    target.dtype = out.dtype;
    target.rank = 1;
    target.sizes[0] = weight.sizes[1];
    target.strides[0] = width;
    int64_t offset = 0;
    for (int i = 0; i < indices.rank; i++) offset += at.index[i] * out_strides[i];
    target.data += offset * int64_t(dtype_bytes(out.dtype));
    SCONCE_TRY_STATUS(copy_view(source, target, context.diagnostic));
  }
  return kOk;
}

// --- index_select: self, dim, index ---------------------------------------------------------------

Status index_select_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  const Tensor& index = args.tensor(2);
  int dim = wrap_dim(args.integer(1), x.rank, diagnostic);
  if (dim < 0) return {Code::invalid_argument};
  SCONCE_TRY_STATUS(check_index_type("index_select", index, diagnostic));
  if (index.rank > 1)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "index_select: index of rank %d, at most 1 is wanted", index.rank);
  set_like(outs[0], x);
  if (x.rank > 0) outs[0].sizes[dim] = element_count(index);
  else if (element_count(index) != 1)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "index_select: %lld indices into a tensor without dimensions, 1 is wanted",
                       (long long)element_count(index));
  return kOk;
}

Status run_index_select(const Args& args, KernelContext& context) {
  StridedView from = view_of(args.tensor(0)), to = view_of(args.out());
  if (from.rank == 0) {
    from.insert(0, 1, 1);
    to.insert(0, 1, 1);
  }
  int dim = wrap_dim(args.integer(1), from.rank, context.diagnostic);
  return select_along(from, to, dim, args.tensor(2), context.diagnostic);
}

// --- gather: self, dim, index, sparse_grad --------------------------------------------------------

Status gather_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  const Tensor& index = args.tensor(2);
  int dim = wrap_dim(args.integer(1), x.rank, diagnostic);
  if (dim < 0) return {Code::invalid_argument};
  set_like(outs[0], index, x.dtype);
  if (element_count(index) == 0) return kOk;
  SCONCE_TRY_STATUS(check_index_type("gather", index, diagnostic));
  int x_rank = x.rank == 0 ? 1 : x.rank, index_rank = index.rank == 0 ? 1 : index.rank;
  if (x_rank != index_rank)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "gather: index of rank %d, self has rank %d", index.rank, x.rank);
  for (int i = 0; i < index.rank && i < x.rank; i++)
    if (i != dim && index.sizes[i] > x.sizes[i])
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "gather: index has size %d at dimension %d, self has %d",
                         int(index.sizes[i]), i, int(x.sizes[i]));
  return kOk;
}

Status run_gather(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  const Tensor& index = args.tensor(2);
  Tensor& out = args.out();
  if (out.dtype != x.dtype)
    return SCONCE_FAIL(Code::invalid_argument, context.diagnostic, "gather: out is %s, self is %s",
                       dtype_name(out.dtype), dtype_name(x.dtype));
  if (element_count(index) == 0) return kOk;
  StridedView from = view_of(x), at = view_of(index), to = view_of(out);
  if (from.rank == 0) from.insert(0, 1, 1);
  if (at.rank == 0) {
    at.insert(0, 1, 1);
    to.insert(0, 1, 1);
  }
  int dim = wrap_dim(args.integer(1), from.rank, context.diagnostic), last = at.rank - 1;
  int64_t size = from.sizes[dim], dim_stride = from.strides[dim], bytes = int64_t(dtype_bytes(x.dtype));
  from.strides[dim] = 0;
  int64_t rows = element_count(index) / at.sizes[last];
  int64_t position[kRankMax] = {};
  for (int64_t row = 0; row < rows; row++) {
    int64_t from_offset = 0, at_offset = 0, to_offset = 0;
    for (int i = 0; i < last; i++) {
      from_offset += position[i] * from.strides[i];
      at_offset += position[i] * at.strides[i];
      to_offset += position[i] * to.strides[i];
    }
    for (int64_t k = 0; k < at.sizes[last]; k++) {
      int64_t i = read_index(index, at_offset + k * at.strides[last]);
      if (i < 0 || i >= size) return index_out_of_range(i, size, dim, context.diagnostic);
      const char* source = from.data + (from_offset + k * from.strides[last] + i * dim_stride) * bytes;
      char* target = to.data + (to_offset + k * to.strides[last]) * bytes;
      switch (bytes) {
        case 1: *target = *source; break;
        case 2: memcpy(target, source, 2); break;
        case 4: memcpy(target, source, 4); break;
        case 8: memcpy(target, source, 8); break;
        default: memcpy(target, source, 16); break;
      }
    }
    for (int i = last - 1; i >= 0; i--) {
      if (++position[i] < at.sizes[i]) break;
      position[i] = 0;
    }
  }
  return kOk;
}

// --- take: self, index (positions in row-major order, negative ones from the end) ------------------

Status take_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(check_index_type("take", args.tensor(1), diagnostic));
  set_like(outs[0], args.tensor(1), args.tensor(0).dtype);
  return kOk;
}

Status run_take(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  const Tensor& index = args.tensor(1);
  Tensor& out = args.out();
  if (out.dtype != x.dtype)
    return SCONCE_FAIL(Code::invalid_argument, context.diagnostic, "take: out is %s, self is %s",
                       dtype_name(out.dtype), dtype_name(x.dtype));
  int64_t count = element_count(index), size = element_count(x);
  size_t bytes = dtype_bytes(x.dtype);
  Cursor from(x), at(index), to(out);
  for (int64_t k = 0; k < count; k++) {
    int64_t i;
    SCONCE_TRY_STATUS(wrap_index(read_index(index, at.offset), size, 0, &i, context.diagnostic));
    from.seek(i);
    memmove(out.as<char>() + to.offset * int64_t(bytes),
            x.as<char>() + from.offset * int64_t(bytes), bytes);
    at.next();
    to.next();
  }
  return kOk;
}

}  // namespace

KERNEL(embedding) = {"aten::embedding.out", "ttibb>t", embedding_shape, run_embedding};
KERNEL(index_select) = {"aten::index_select.out", "tit>t", index_select_shape, run_index_select};
KERNEL(gather) = {"aten::gather.out", "titb>t", gather_shape, run_gather};
KERNEL(take) = {"aten::take.out", "tt>t", take_shape, run_take};

}  // namespace sconce
