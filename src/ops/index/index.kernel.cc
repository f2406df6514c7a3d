// Advanced indexing, as in x[a, :, mask]: index and index_put.
//
// Entry i of `indices` stands for one dimension of self, or, when it is a mask (bool or u8), for as
// many as the mask has. Entries that are absent, and dimensions after the last entry, stay whole. The
// index tensors are broadcast with each other; their dimensions replace the indexed ones when these
// stand side by side, and come first otherwise.
#include <cstring>

#include "ops/elementwise.h"
#include "ops/index/indices.h"
#include "ops/shape/strided.h"

namespace sconce {
namespace {

struct Entry {
  const Tensor* tensor = nullptr;
  bool mask = false;
  int dim = 0;              // first dimension of self that it stands for
  int rank = 0;             // of the index: 1 for a mask
  int64_t count = 0;        // mask: number of set elements (an upper bound in shape rules)
  int64_t* offsets = nullptr;  // mask: where each set element lies in self, in elements
};

struct Plan {
  Entry entries[kRankMax];
  int entry_count = 0;
  int index_rank = 0;
  int64_t index_sizes[kRankMax];  // of the broadcast index tensors
  bool from_masks = false;        // index_sizes[0] is what masks say: known only with their data
  int slices[kRankMax];           // dimensions of self that stay whole
  int slice_count = 0;
  int position = 0;               // where the index dimensions stand in the result
};

bool is_mask(const Tensor& tensor) {
  return tensor.dtype == DType::b8 || tensor.dtype == DType::u8;
}

// Reads the entries: which dimensions they stand for. Knows sizes only.
Status read_entries(const Args& args, Plan& plan, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  int dim = 0;
  bool indexed[kRankMax] = {};
  for (int i = 0; i < args.list_count(1); i++) {
    const Tensor* tensor = args.list_tensor(1, i);
    int width = !tensor ? 1 : is_mask(*tensor) ? tensor->rank : 1;
    if (dim + width > x.rank)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "index: entry %d is for dimension %d, self has rank %d", i, dim + width - 1,
                         x.rank);
    if (tensor) {
      Entry& entry = plan.entries[plan.entry_count];
      if (plan.entry_count++ == kRankMax)
        return SCONCE_FAIL(Code::too_large, diagnostic, "index: more than %d entries", kRankMax);
      entry = {tensor, is_mask(*tensor), dim, is_mask(*tensor) ? 1 : tensor->rank, 0, nullptr};
      if (entry.mask) {
        for (int k = 0; k < width; k++)
          if (tensor->sizes[k] != x.sizes[dim + k])
            return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                               "index: mask %d has size %d at dimension %d, self has %d at %d", i,
                               int(tensor->sizes[k]), k, int(x.sizes[dim + k]), dim + k);
        entry.count = element_count(*tensor);
      } else {
        SCONCE_TRY_STATUS(check_index_type("index", *tensor, diagnostic));
      }
      for (int k = 0; k < width; k++) indexed[dim + k] = true;
    }
    dim += width;
  }
  if (plan.entry_count == 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "index: no index tensor is given");
  // Adjacent entries: no whole dimension between the first and the last of them.
  const Entry& first = plan.entries[0];
  const Entry& last = plan.entries[plan.entry_count - 1];
  bool adjacent = true;
  for (int i = first.dim; i < last.dim; i++) adjacent &= indexed[i];
  for (int i = 0; i < x.rank; i++)
    if (!indexed[i]) plan.slices[plan.slice_count++] = i;
  plan.position = adjacent ? first.dim : 0;
  return kOk;
}

// Broadcasts the sizes of the entries, with the counts that their masks have now.
Status broadcast_entries(Plan& plan, bool counted, Diagnostic* diagnostic) {
  OutMeta sizes;
  bool masks = false;
  for (int i = 0; i < plan.entry_count; i++) {
    const Entry& entry = plan.entries[i];
    if (entry.mask && !counted) { masks = true; continue; }
    int32_t count = int32_t(entry.count);
    Tensor counts;
    counts.sizes = &count;
    counts.rank = 1;
    SCONCE_TRY_STATUS(broadcast_into(entry.mask ? counts : *entry.tensor, sizes, diagnostic));
  }
  if (masks) {  // counts are unknown: whatever the other entries say, or else at most the smallest mask
    if (sizes.rank == 0) {
      sizes.rank = 1;
      sizes.sizes[0] = 1;
    }
    if (sizes.sizes[sizes.rank - 1] == 1) {
      int64_t bound = INT64_MAX;
      for (int i = 0; i < plan.entry_count; i++)
        if (plan.entries[i].mask && plan.entries[i].count < bound) bound = plan.entries[i].count;
      // A mask with one element broadcasts, so the others decide then.
      for (int i = 0; i < plan.entry_count; i++)
        if (bound <= 1 && plan.entries[i].mask && plan.entries[i].count > bound)
          bound = plan.entries[i].count;
      sizes.sizes[sizes.rank - 1] = bound;
      plan.from_masks = true;
    }
  }
  plan.index_rank = sizes.rank;
  for (int i = 0; i < sizes.rank; i++) plan.index_sizes[i] = sizes.sizes[i];
  if (plan.index_rank + plan.slice_count > kRankMax)
    return SCONCE_FAIL(Code::too_large, diagnostic, "index: result of rank %d exceeds %d",
                       plan.index_rank + plan.slice_count, kRankMax);
  return kOk;
}

// Sizes of what is indexed.
void result_of(const Plan& plan, const Tensor& x, OutMeta& out) {
  out.dtype = x.dtype;
  out.rank = 0;
  out.upper_bounds = 0;
  for (int i = 0; i <= plan.slice_count; i++) {
    if (i == plan.position) {
      for (int k = 0; k < plan.index_rank; k++) out.sizes[out.rank++] = plan.index_sizes[k];
      if (plan.from_masks) out.upper_bounds = 1u << (out.rank - 1);
    }
    if (i < plan.slice_count) out.sizes[out.rank++] = x.sizes[plan.slices[i]];
  }
}

uint64_t mask_bytes(const Args& args) {
  uint64_t count = 0;
  for (int i = 0; i < args.list_count(1); i++) {
    const Tensor* tensor = args.list_tensor(1, i);
    if (tensor && is_mask(*tensor)) count += uint64_t(element_count(*tensor));
  }
  return count * sizeof(int64_t);
}

// Finds the set elements of masks, then broadcasts.
Status make_plan(const Args& args, KernelContext& context, Plan& plan) {
  SCONCE_TRY_STATUS(read_entries(args, plan, context.diagnostic));
  Strides strides = strides_of(args.tensor(0));
  int64_t* next = reinterpret_cast<int64_t*>(context.scratch.data());
  for (int i = 0; i < plan.entry_count; i++) {
    Entry& entry = plan.entries[i];
    if (!entry.mask) continue;
    int64_t count = element_count(*entry.tensor);
    Cursor at(*entry.tensor);
    entry.offsets = next;
    for (int64_t k = 0; k < count; k++, at.next()) {
      if (!entry.tensor->as<uint8_t>()[at.offset]) continue;
      int64_t offset = 0;
      for (int d = 0; d < entry.tensor->rank; d++) offset += at.index[d] * strides[entry.dim + d];
      *next++ = offset;
    }
    entry.count = next - entry.offsets;
  }
  return broadcast_entries(plan, true, context.diagnostic);
}

// Calls move(part of x, part of other) once per combination of index elements. `other` is laid out
// like the result; x_data is the memory of self or of a copy of it.
template <class Move>
Status for_each_part(const Plan& plan, const StridedView& x, const StridedView& other,
                     Diagnostic* diagnostic, Move move) {
  int64_t count = 1;
  for (int i = 0; i < plan.index_rank; i++) count *= plan.index_sizes[i];
  StridedView part = x, other_part = other;
  part.rank = other_part.rank = plan.slice_count;
  for (int i = 0; i < plan.slice_count; i++) {
    int at = i < plan.position ? i : i + plan.index_rank;
    part.sizes[i] = x.sizes[plan.slices[i]];
    part.strides[i] = x.strides[plan.slices[i]];
    other_part.sizes[i] = other.sizes[at];
    other_part.strides[i] = other.strides[at];
  }
  // Steps of each entry per index dimension; 0 where it is broadcast.
  int64_t steps[kRankMax][kRankMax] = {}, offsets[kRankMax] = {}, index[kRankMax] = {};
  for (int e = 0; e < plan.entry_count; e++) {
    const Entry& entry = plan.entries[e];
    if (entry.mask) {
      steps[e][plan.index_rank - 1] = entry.count == 1 ? 0 : 1;
      continue;
    }
    Strides strides = strides_of(*entry.tensor);
    for (int i = 0; i < entry.rank; i++)
      steps[e][plan.index_rank - entry.rank + i] = entry.tensor->sizes[i] == 1 ? 0 : strides[i];
  }
  int64_t x_bytes = int64_t(dtype_bytes(x.dtype)), other_bytes = int64_t(dtype_bytes(other.dtype));
  int64_t other_offset = 0;
  for (int64_t n = 0; n < count; n++) {
    int64_t offset = 0;
    for (int e = 0; e < plan.entry_count; e++) {
      const Entry& entry = plan.entries[e];
      if (entry.mask) {
        offset += entry.offsets[offsets[e]];
        continue;
      }
      int64_t wanted = read_index(*entry.tensor, offsets[e]), size = x.sizes[entry.dim];
      if (wanted < -size || wanted >= size)
        return index_out_of_range(wanted, size, entry.dim, diagnostic);
      offset += (wanted < 0 ? wanted + size : wanted) * x.strides[entry.dim];
    }
    part.data = x.data + offset * x_bytes;
    other_part.data = other.data + other_offset * other_bytes;
    SCONCE_TRY_STATUS(move(part, other_part));
    for (int i = plan.index_rank - 1; i >= 0; i--) {
      int64_t stride = other.strides[plan.position + i];
      other_offset += stride;
      for (int e = 0; e < plan.entry_count; e++) offsets[e] += steps[e][i];
      if (++index[i] < plan.index_sizes[i]) break;
      other_offset -= stride * index[i];
      for (int e = 0; e < plan.entry_count; e++) offsets[e] -= steps[e][i] * index[i];
      index[i] = 0;
    }
  }
  return kOk;
}

// Elements of one run of memory in both views; 0 when they are not.
int64_t run_of(const StridedView& a, const StridedView& b) {
  int64_t run = 1;
  if (a.dtype != b.dtype) return 0;
  for (int i = a.rank - 1; i >= 0; i--) {
    if (a.sizes[i] != 1 && (a.strides[i] != run || b.strides[i] != run)) return 0;
    run *= a.sizes[i];
  }
  return run;
}

Status index_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Plan plan;
  SCONCE_TRY_STATUS(read_entries(args, plan, diagnostic));
  SCONCE_TRY_STATUS(broadcast_entries(plan, false, diagnostic));
  result_of(plan, args.tensor(0), outs[0]);
  return kOk;
}

Status run_index(const Args& args, KernelContext& context) {
  Plan plan;
  SCONCE_TRY_STATUS(make_plan(args, context, plan));
  const Tensor& x = args.tensor(0);
  Tensor& out = args.out();
  OutMeta result;
  result_of(plan, x, result);
  if (mask_bytes(args) > 0) {
    int32_t sizes[kRankMax];
    if (result.rank != out.rank)
      return SCONCE_FAIL(Code::invalid_argument, context.diagnostic,
                         "index: out has rank %d, the result has %d", out.rank, result.rank);
    for (int i = 0; i < result.rank; i++) sizes[i] = int32_t(result.sizes[i]);
    SCONCE_TRY_STATUS(resize(out, sizes, context.diagnostic));
  }
  StridedView from = view_of(x), to = view_of(out);
  StridedView part = from;
  part.rank = plan.slice_count;
  StridedView to_part = to;
  to_part.rank = plan.slice_count;
  for (int i = 0; i < plan.slice_count; i++) {
    part.sizes[i] = x.sizes[plan.slices[i]];
    part.strides[i] = from.strides[plan.slices[i]];
    to_part.strides[i] = to.strides[i < plan.position ? i : i + plan.index_rank];
  }
  if (int64_t run = run_of(part, to_part)) {
    size_t bytes = size_t(run) * dtype_bytes(x.dtype);
    return for_each_part(plan, from, to, context.diagnostic,
                         [bytes](const StridedView& a, const StridedView& b) {
                           memmove(b.data, a.data, bytes);
                           return kOk;
                         });
  }
  return for_each_part(plan, from, to, context.diagnostic,
                       [&](const StridedView& a, const StridedView& b) {
                         return copy_view(a, b, context.diagnostic);
                       });
}

// --- index_put: self, indices, values, accumulate -------------------------------------------------

Status index_put_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Plan plan;
  const Tensor& x = args.tensor(0);
  const Tensor& values = args.tensor(2);
  SCONCE_TRY_STATUS(read_entries(args, plan, diagnostic));
  SCONCE_TRY_STATUS(broadcast_entries(plan, false, diagnostic));
  if (values.dtype != x.dtype)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "index_put: values are %s, self is %s; the same type is wanted",
                       dtype_name(values.dtype), dtype_name(x.dtype));
  set_like(outs[0], x);
  return kOk;
}

// values broadcast to the sizes of the result of indexing.
Status broadcast_values(const Tensor& values, const OutMeta& result, StridedView& view,
                        Diagnostic* diagnostic) {
  view = view_of(values);
  while (view.rank > result.rank && view.sizes[0] == 1) view.remove(0);
  while (view.rank < result.rank) view.insert(0, 1, 0);
  for (int i = 0; i < result.rank; i++) {
    if (view.rank != result.rank || (view.sizes[i] != 1 && view.sizes[i] != result.sizes[i]))
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "index_put: values of size %lld at dimension %d, what is indexed has %lld",
                         (long long)view.sizes[i], i, (long long)result.sizes[i]);
    if (view.sizes[i] != result.sizes[i]) view.strides[i] = 0;
    view.sizes[i] = result.sizes[i];
  }
  if (view.rank != result.rank)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "index_put: values of rank %d, what is indexed has rank %d", values.rank,
                       result.rank);
  return kOk;
}

template <class T>
void add_row(char* to, int64_t to_stride, const char* from, int64_t from_stride, int64_t count,
             DType dtype) {
  int64_t bytes = int64_t(dtype_bytes(dtype));
  T sum[kBlockCount], more[kBlockCount];
  for (int64_t done = 0; done < count; done += kBlockCount) {
    int n = int(count - done < kBlockCount ? count - done : kBlockCount);
    char* at = to + done * to_stride * bytes;
    load_elements<T>(sum, at, to_stride, n, dtype);
    load_elements<T>(more, from + done * from_stride * bytes, from_stride, n, dtype);
    for (int i = 0; i < n; i++) sum[i] = T(sum[i] + more[i]);
    store_elements<T>(at, to_stride, sum, n, dtype);
  }
}

// to += from, elements of one part.
void add_view(const StridedView& from, const StridedView& to) {
  int64_t index[kRankMax] = {}, count = 1;
  int last = to.rank - 1;
  for (int i = 0; i < to.rank; i++) count *= to.sizes[i];
  if (count == 0) return;
  int64_t row = last < 0 ? 1 : to.sizes[last];
  int64_t bytes = int64_t(dtype_bytes(to.dtype));
  for (int64_t r = 0; r < count / row; r++) {
    int64_t to_offset = 0, from_offset = 0;
    for (int i = 0; i < last; i++) {
      to_offset += index[i] * to.strides[i];
      from_offset += index[i] * from.strides[i];
    }
    char* target = to.data + to_offset * bytes;
    const char* source = from.data + from_offset * bytes;
    int64_t to_stride = last < 0 ? 1 : to.strides[last], from_stride = last < 0 ? 1 : from.strides[last];
    switch (compute_of(to.dtype)) {
      case Compute::f32: add_row<float>(target, to_stride, source, from_stride, row, to.dtype); break;
      case Compute::f64: add_row<double>(target, to_stride, source, from_stride, row, to.dtype); break;
      default: add_row<int64_t>(target, to_stride, source, from_stride, row, to.dtype); break;
    }
    for (int i = last - 1; i >= 0; i--) {
      if (++index[i] < to.sizes[i]) break;
      index[i] = 0;
    }
  }
}

Status put_values(const Args& args, KernelContext& context, Tensor& out) {
  Plan plan;
  SCONCE_TRY_STATUS(make_plan(args, context, plan));
  if (out.dtype != args.tensor(2).dtype)
    return SCONCE_FAIL(Code::invalid_argument, context.diagnostic, "index_put: out is %s, values are %s",
                       dtype_name(out.dtype), dtype_name(args.tensor(2).dtype));
  if (args.boolean(3) && dtype_category(out.dtype) == DTypeCategory::complex)
    return SCONCE_FAIL(Code::unsupported, context.diagnostic, "index_put: adding complex numbers");
  OutMeta result;
  result_of(plan, args.tensor(0), result);
  StridedView values;
  SCONCE_TRY_STATUS(broadcast_values(args.tensor(2), result, values, context.diagnostic));
  if (args.boolean(3))
    return for_each_part(plan, view_of(out), values, context.diagnostic,
                         [](const StridedView& a, const StridedView& b) {
                           add_view(b, a);
                           return kOk;
                         });
  return for_each_part(plan, view_of(out), values, context.diagnostic,
                       [&](const StridedView& a, const StridedView& b) {
                         return copy_view(b, a, context.diagnostic);
                       });
}

Status run_index_put(const Args& args, KernelContext& context) {
  Tensor& out = args.out();
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(copy_view(view_of(x), view_of(out), context.diagnostic));
  // Mask offsets follow the layout of self: the out may have another one.
  if (out.data == x.data) return put_values(args, context, out);
  Value self = Value::of(&out);
  const Value* values[5] = {&self, args.values[1], args.values[2], args.values[3], args.values[4]};
  return put_values({values, args.input_count}, context, out);
}

}  // namespace

KERNEL(index_Tensor) = {"aten::index.Tensor_out", "tV>t", index_shape, run_index, mask_bytes};
KERNEL(index_put) = {"aten::index_put.out", "tVtb>t", index_put_shape, run_index_put, mask_bytes};

}  // namespace sconce
