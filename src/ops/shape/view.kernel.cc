// Operators that name elements of one tensor anew: view, permute, squeeze, expand, slice, select,
// split, diagonal, unfold, as_strided. Tensors here are dense, so each is a view and a copy; the
// compiler removes the copies that memory planning makes needless.
#include "ops/shape/strided.h"

namespace sconce {
namespace {

void set_from(OutMeta& out, const StridedView& view) {
  out.dtype = view.dtype;
  out.rank = view.rank;
  for (int i = 0; i < view.rank; i++) out.sizes[i] = view.sizes[i];
}

// An operator given by how it changes a view of self: its shape rule and its kernel follow.
using ViewRule = Status (*)(const Args& args, StridedView& view, Diagnostic* diagnostic);

template <ViewRule rule>
Status shape_of(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  StridedView view = view_of(args.tensor(0));
  SCONCE_TRY_STATUS(rule(args, view, diagnostic));
  if (view.rank > kRankMax)
    return SCONCE_FAIL(Code::too_large, diagnostic, "rank %d exceeds %d", view.rank, kRankMax);
  set_from(outs[0], view);
  return kOk;
}

template <ViewRule rule>
Status run_of(const Args& args, KernelContext& context) {
  StridedView view = view_of(args.tensor(0));
  SCONCE_TRY_STATUS(rule(args, view, context.diagnostic));
  return copy_view(view, view_of(args.out()), context.diagnostic);
}

// --- view ---------------------------------------------------------------------------------------

Status view_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  int rank = args.list_count(1), unknown = -1;
  if (rank > kRankMax)
    return SCONCE_FAIL(Code::too_large, diagnostic, "view of rank %d exceeds %d", rank, kRankMax);
  outs[0].dtype = x.dtype;
  outs[0].rank = rank;
  int64_t known = 1, count = element_count(x);
  for (int i = 0; i < rank; i++) {
    int64_t size = args.list_integer(1, i);
    if (size == -1) {
      if (unknown >= 0)
        return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                           "view: sizes %d and %d are both -1, only one can be inferred", unknown, i);
      unknown = i;
      continue;
    }
    if (size < 0)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "view: size %lld of dimension %d",
                         (long long)size, i);
    if (known != 0 && size != 0 && !checked_multiply(known, size, &known))
      return SCONCE_FAIL(Code::too_large, diagnostic, "view: product of the sizes overflows");
    if (size == 0) known = 0;
    outs[0].sizes[i] = size;
  }
  if (unknown >= 0) {
    if (known == 0)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "view: size -1 of dimension %d is ambiguous beside a size of 0", unknown);
    if (count % known != 0)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "view: %lld elements do not divide into %lld for dimension %d",
                         (long long)count, (long long)known, unknown);
    outs[0].sizes[unknown] = count / known;
  } else if (known != count) {
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "view: sizes of %lld elements for a tensor of %lld", (long long)known,
                       (long long)count);
  }
  return kOk;
}

Status run_view(const Args& args, KernelContext& context) {
  return copy_in_order(args.tensor(0), args.out(), 0, context.diagnostic);
}

// self, dtype: the same bytes as another type; the last dimension shrinks or grows.
Status view_dtype_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  DType dtype;
  SCONCE_TRY_STATUS(dtype_argument(args, 1, x.dtype, &dtype, diagnostic));
  set_like(outs[0], x, dtype);
  int64_t from = int64_t(dtype_bytes(x.dtype)), to = int64_t(dtype_bytes(dtype));
  if (from == to) return kOk;
  if (x.rank == 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "view of a %s without dimensions as %s: element sizes differ",
                       dtype_name(x.dtype), dtype_name(dtype));
  int64_t bytes = x.sizes[x.rank - 1] * from;
  if (bytes % to != 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "view as %s: the last dimension has %lld bytes, a multiple of %lld is wanted",
                       dtype_name(dtype), (long long)bytes, (long long)to);
  outs[0].sizes[x.rank - 1] = bytes / to;
  return kOk;
}

Status run_view_dtype(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  Tensor& out = args.out();
  OutMeta meta;
  SCONCE_TRY_STATUS(view_dtype_shape(args, {&meta, 1}, context.diagnostic));
  if (meta.dtype != out.dtype)  // the bytes would not fill it
    return SCONCE_FAIL(Code::invalid_argument, context.diagnostic, "out is %s, %s is wanted",
                       dtype_name(out.dtype), dtype_name(meta.dtype));
  if (element_count(out) == 0) return kOk;
  // Both as bytes, with a dimension for the bytes of an element.
  auto bytes_of = [](const Tensor& tensor) {
    StridedView view = view_of(tensor);
    int64_t bytes = int64_t(dtype_bytes(tensor.dtype));
    for (int i = 0; i < view.rank; i++) view.strides[i] *= bytes;
    view.dtype = DType::u8;
    view.insert(view.rank, bytes, 1);
    return view;
  };
  StridedView from = bytes_of(x), to = bytes_of(out);
  if (from.sizes[from.rank - 1] > to.sizes[to.rank - 1]) {
    int64_t parts = from.sizes[from.rank - 1] / to.sizes[to.rank - 1];
    from.split(from.rank - 1, parts);
    to.split(to.rank - 2, to.sizes[to.rank - 2] / parts);
  } else if (from.sizes[from.rank - 1] < to.sizes[to.rank - 1]) {
    int64_t parts = to.sizes[to.rank - 1] / from.sizes[from.rank - 1];
    to.split(to.rank - 1, parts);
    from.split(from.rank - 2, from.sizes[from.rank - 2] / parts);
  }
  return copy_view(from, to, context.diagnostic);
}

// --- order of dimensions --------------------------------------------------------------------------

Status permute_view(const Args& args, StridedView& view, Diagnostic* diagnostic) {
  if (args.list_count(1) != view.rank)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "permute of a tensor of rank %d names %d dimensions", view.rank,
                       args.list_count(1));
  uint32_t set;
  SCONCE_TRY_STATUS(dim_set(args, 1, view.rank, &set, diagnostic));
  StridedView from = view;
  for (int i = 0; i < view.rank; i++) {
    int64_t dim = args.list_integer(1, i);
    if (dim < 0) dim += view.rank;
    view.sizes[i] = from.sizes[dim];
    view.strides[i] = from.strides[dim];
  }
  return kOk;
}

Status transpose_view(const Args& args, StridedView& view, Diagnostic* diagnostic) {
  int a = wrap_dim(args.integer(1), view.rank, diagnostic);
  int b = wrap_dim(args.integer(2), view.rank, diagnostic);
  if (a < 0 || b < 0) return {Code::invalid_argument};
  if (view.rank > 0) view.swap(a, b);
  return kOk;
}

Status t_view(const Args&, StridedView& view, Diagnostic* diagnostic) {
  if (view.rank > 2)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "t of rank %d: at most 2 is wanted",
                       view.rank);
  if (view.rank == 2) view.swap(0, 1);
  return kOk;
}

// --- dimensions of size 1 -------------------------------------------------------------------------

void squeeze_dims(StridedView& view, uint32_t set) {
  for (int i = view.rank - 1; i >= 0; i--)
    if ((set >> i & 1) && view.sizes[i] == 1) view.remove(i);
}

Status squeeze_view(const Args&, StridedView& view, Diagnostic*) {
  squeeze_dims(view, ~0u);
  return kOk;
}
Status squeeze_dim_view(const Args& args, StridedView& view, Diagnostic* diagnostic) {
  int dim = wrap_dim(args.integer(1), view.rank, diagnostic);
  if (dim < 0) return {Code::invalid_argument};
  squeeze_dims(view, 1u << dim);
  return kOk;
}
Status squeeze_dims_view(const Args& args, StridedView& view, Diagnostic* diagnostic) {
  uint32_t set;
  SCONCE_TRY_STATUS(dim_set(args, 1, view.rank, &set, diagnostic));
  squeeze_dims(view, set);
  return kOk;
}
Status unsqueeze_view(const Args& args, StridedView& view, Diagnostic* diagnostic) {
  int dim = wrap_dim(args.integer(1), view.rank + 1, diagnostic);
  if (dim < 0) return {Code::invalid_argument};
  view.insert(dim, 1, 1);
  return kOk;
}

// self, size, implicit
Status expand_view(const Args& args, StridedView& view, Diagnostic* diagnostic) {
  int rank = args.list_count(1), more = rank - view.rank;
  if (more < 0 || rank > kRankMax)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "expand of rank %d to rank %d: between the first and %d is wanted",
                       view.rank, rank, kRankMax);
  for (int i = 0; i < more; i++) view.insert(0, 1, 0);
  for (int i = 0; i < rank; i++) {
    int64_t size = args.list_integer(1, i);
    if (size == -1 && i >= more) continue;
    if (size < 0 || (view.sizes[i] != 1 && view.sizes[i] != size))
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "expand: dimension %d has size %lld, %lld was asked for", i,
                         (long long)view.sizes[i], (long long)size);
    if (view.sizes[i] != size) view.strides[i] = 0;
    view.sizes[i] = size;
  }
  return kOk;
}

// --- parts of a dimension -------------------------------------------------------------------------

int dim_of_part(const char* what, int64_t wanted, const StridedView& view, Diagnostic* diagnostic) {
  (void)what;
  if (view.rank == 0) {
    (void)SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s of a tensor without dimensions", what);
    return -1;
  }
  return wrap_dim(wanted, view.rank, diagnostic);
}

// self, dim, start, end, step
Status slice_view(const Args& args, StridedView& view, Diagnostic* diagnostic) {
  int dim = dim_of_part("slice", args.integer(1), view, diagnostic);
  if (dim < 0) return {Code::invalid_argument};
  int64_t start, count, step;
  SCONCE_TRY_STATUS(slice_bounds(args, 2, view.sizes[dim], &start, &count, &step, diagnostic));
  view.narrow(dim, start, count, count > 1 ? step : 1);
  return kOk;
}

// self, dim, index
Status select_view(const Args& args, StridedView& view, Diagnostic* diagnostic) {
  int dim = dim_of_part("select", args.integer(1), view, diagnostic);
  if (dim < 0) return {Code::invalid_argument};
  int64_t index;
  SCONCE_TRY_STATUS(wrap_index(args.integer(2), view.sizes[dim], dim, &index, diagnostic));
  view.advance(dim, index);
  view.remove(dim);
  return kOk;
}

// self, dim, start, length
Status narrow_view(const Args& args, StridedView& view, Diagnostic* diagnostic) {
  int dim = dim_of_part("narrow", args.integer(1), view, diagnostic);
  if (dim < 0) return {Code::invalid_argument};
  int64_t size = view.sizes[dim], start = args.integer(2), length = args.integer(3);
  if (start < 0 && start >= -size) start += size;
  if (start < 0 || start > size || length < 0 || length > size - start)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "narrow: start %lld and length %lld exceed dimension %d of size %lld",
                       (long long)args.integer(2), (long long)length, dim, (long long)size);
  view.narrow(dim, start, length);
  return kOk;
}

// The parts of dimension `dim` for split (each of `each`), split_with_sizes and unbind.
struct Parts {
  int dim = 0;
  int64_t each = 0;    // 0: sizes come from the list
  bool remove = false; // unbind drops the dimension
};

Status find_parts(const Args& args, const StridedView& view, int count, bool with_sizes, Parts* parts,
                  Diagnostic* diagnostic) {
  parts->dim = dim_of_part("split", args.integer(2), view, diagnostic);
  if (parts->dim < 0) return {Code::invalid_argument};
  int64_t size = view.sizes[parts->dim], wanted;
  if (with_sizes) {
    wanted = args.list_count(1);
    int64_t sum = 0;
    for (int k = 0; k < args.list_count(1); k++) {
      int64_t part = args.list_integer(1, k);
      if (part < 0 || part > size)
        return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                           "split: part %d has size %lld, dimension %d has %lld", k, (long long)part,
                           parts->dim, (long long)size);
      sum += part;
    }
    if (sum != size)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "split: parts add up to %lld, dimension %d has size %lld", (long long)sum,
                         parts->dim, (long long)size);
  } else {
    parts->each = args.integer(1);
    if (parts->each < 0 || (parts->each == 0 && size != 0))
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "split: size %lld of the parts; at least 1 is wanted",
                         (long long)parts->each);
    if (parts->each == 0) parts->each = 1;
    wanted = size == 0 ? 1 : (size - 1) / parts->each + 1;
  }
  if (wanted != count)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "split: dimension %d of size %lld gives %lld parts, %d are wanted", parts->dim,
                       (long long)size, (long long)wanted, count);
  return kOk;
}

Status find_unbind(const Args& args, const StridedView& view, int count, Parts* parts,
                   Diagnostic* diagnostic) {
  parts->dim = dim_of_part("unbind", args.integer(1), view, diagnostic);
  if (parts->dim < 0) return {Code::invalid_argument};
  parts->each = 1;
  parts->remove = true;
  if (view.sizes[parts->dim] != count)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "unbind: dimension %d has size %lld, %d results are wanted", parts->dim,
                       (long long)view.sizes[parts->dim], count);
  return kOk;
}

enum class Split { equal, sizes, unbind };

template <Split split>
Status find_parts_of(const Args& args, const StridedView& view, int count, Parts* parts,
                     Diagnostic* diagnostic) {
  if (split == Split::unbind) return find_unbind(args, view, count, parts, diagnostic);
  return find_parts(args, view, count, split == Split::sizes, parts, diagnostic);
}

// Part `k`, which starts at *start; moves *start on.
StridedView take_part(const Args& args, StridedView view, const Parts& parts, int k, int64_t* start) {
  int64_t rest = view.sizes[parts.dim] - *start;
  int64_t length = parts.each == 0 ? args.list_integer(1, k) : parts.each < rest ? parts.each : rest;
  view.narrow(parts.dim, *start, length);
  *start += length;
  if (parts.remove) view.remove(parts.dim);
  return view;
}

template <Split split>
Status split_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  StridedView view = view_of(args.tensor(0));
  Parts parts;
  SCONCE_TRY_STATUS(find_parts_of<split>(args, view, int(outs.size()), &parts, diagnostic));
  int64_t start = 0;
  for (size_t k = 0; k < outs.size(); k++)
    set_from(outs[k], take_part(args, view, parts, int(k), &start));
  return kOk;
}

template <Split split>
Status split_part_shape(const Args& args, int count, int part, OutMeta* out, Diagnostic* diagnostic) {
  StridedView view = view_of(args.tensor(0));
  Parts parts;
  SCONCE_TRY_STATUS(find_parts_of<split>(args, view, count, &parts, diagnostic));
  int64_t start = parts.each * part;
  if (parts.each == 0)
    for (int k = 0; k < part; k++) start += args.list_integer(1, k);
  set_from(*out, take_part(args, view, parts, part, &start));
  return kOk;
}

template <Split split>
Status run_split(const Args& args, KernelContext& context) {
  StridedView view = view_of(args.tensor(0));
  Parts parts;
  SCONCE_TRY_STATUS(find_parts_of<split>(args, view, args.out_count(), &parts, context.diagnostic));
  int64_t start = 0;
  for (int k = 0; k < args.out_count(); k++)
    SCONCE_TRY_STATUS(copy_view(take_part(args, view, parts, k, &start), view_of(args.out(k)),
                                context.diagnostic));
  return kOk;
}

// --- views that overlap ---------------------------------------------------------------------------

// self, offset, dim1, dim2
Status diagonal_rule(const Args& args, StridedView& view, Diagnostic* diagnostic) {
  return diagonal_view(view, args.integer(1), args.integer(2), args.integer(3), diagnostic);
}

// self, dimension, size, step: windows; their content becomes the last dimension.
Status unfold_view(const Args& args, StridedView& view, Diagnostic* diagnostic) {
  int dim = wrap_dim(args.integer(1), view.rank, diagnostic);
  if (dim < 0) return {Code::invalid_argument};
  int64_t limit = view.rank == 0 ? 1 : view.sizes[dim], size = args.integer(2),
          step = args.integer(3);
  if (size < 0 || size > limit || step <= 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "unfold: windows of size %lld, step %lld over dimension %d of size %lld",
                       (long long)size, (long long)step, dim, (long long)limit);
  if (view.rank == 0) {
    view.insert(0, size, 1);
    return kOk;
  }
  int64_t stride = view.strides[dim], count = (limit - size) / step + 1;
  view.sizes[dim] = count;
  view.strides[dim] = count > 1 ? stride * step : stride;
  view.insert(view.rank, size, stride);
  return kOk;
}

// self, size, stride, storage_offset
Status as_strided_rule(const Args& args, StridedView& view, Diagnostic* diagnostic) {
  return as_strided_view(args, 1, view, diagnostic);
}

// Complex numbers as pairs: the same memory with one dimension more.
Status view_as_real_view(const Args&, StridedView& view, Diagnostic* diagnostic) {
  if (dtype_category(view.dtype) != DTypeCategory::complex)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "view_as_real of %s: complex is wanted",
                       dtype_name(view.dtype));
  view.dtype = view.dtype == DType::c128 ? DType::f64 : DType::f32;
  for (int i = 0; i < view.rank; i++) view.strides[i] *= 2;
  view.insert(view.rank, 2, 1);
  return kOk;
}
Status view_as_complex_view(const Args&, StridedView& view, Diagnostic* diagnostic) {
  bool fits = view.rank > 0 && view.sizes[view.rank - 1] == 2 &&
              (view.dtype == DType::f32 || view.dtype == DType::f64);
  if (!fits)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "view_as_complex of %s: f32 or f64 with a last dimension of size 2 is wanted",
                       dtype_name(view.dtype));
  view.remove(view.rank - 1);
  view.dtype = view.dtype == DType::f64 ? DType::c128 : DType::c64;
  return kOk;
}
// Pairs may lie apart in memory (other dim orders), so they are copied as two real numbers.
Status run_view_as_complex(const Args& args, KernelContext& context) {
  StridedView to = view_of(args.out());
  SCONCE_TRY_STATUS(view_as_real_view(args, to, context.diagnostic));
  return copy_view(view_of(args.tensor(0)), to, context.diagnostic);
}

}  // namespace

#define ROW(rule) shape_of<rule>, run_of<rule>
KERNEL(view_copy) = {"aten::view_copy.out", "tl>t", view_shape, run_view};
KERNEL(view_copy_dtype) = {"aten::view_copy.dtype_out", "ti>t", view_dtype_shape, run_view_dtype};
KERNEL(permute_copy) = {"aten::permute_copy.out", "tl>t", ROW(permute_view)};
KERNEL(transpose_copy) = {"aten::transpose_copy.int_out", "tii>t", ROW(transpose_view)};
KERNEL(t_copy) = {"aten::t_copy.out", "t>t", ROW(t_view)};
KERNEL(squeeze_copy) = {"aten::squeeze_copy.out", "t>t", ROW(squeeze_view)};
KERNEL(squeeze_copy_dim) = {"aten::squeeze_copy.dim_out", "ti>t", ROW(squeeze_dim_view)};
KERNEL(squeeze_copy_dims) = {"aten::squeeze_copy.dims_out", "tl>t", ROW(squeeze_dims_view)};
KERNEL(unsqueeze_copy) = {"aten::unsqueeze_copy.out", "ti>t", ROW(unsqueeze_view)};
KERNEL(expand_copy) = {"aten::expand_copy.out", "tlb>t", ROW(expand_view)};
KERNEL(slice_copy) = {"aten::slice_copy.Tensor_out", "tiIIi>t", ROW(slice_view)};
KERNEL(select_copy) = {"aten::select_copy.int_out", "tii>t", ROW(select_view)};
KERNEL(narrow_copy) = {"aten::narrow_copy.out", "tiii>t", ROW(narrow_view)};
KERNEL(split_copy) = {"aten::split_copy.Tensor_out", "tii>v", split_shape<Split::equal>,
                      run_split<Split::equal>,
                      nullptr, false, split_part_shape<Split::equal>};
KERNEL(split_with_sizes_copy) = {"aten::split_with_sizes_copy.out", "tli>v",
                                 split_shape<Split::sizes>, run_split<Split::sizes>,
                      nullptr, false, split_part_shape<Split::sizes>};
KERNEL(unbind_copy) = {"aten::unbind_copy.int_out", "ti>v", split_shape<Split::unbind>,
                       run_split<Split::unbind>,
                      nullptr, false, split_part_shape<Split::unbind>};
KERNEL(diagonal_copy) = {"aten::diagonal_copy.out", "tiii>t", ROW(diagonal_rule)};
KERNEL(unfold_copy) = {"aten::unfold_copy.out", "tiii>t", ROW(unfold_view)};
KERNEL(as_strided_copy) = {"aten::as_strided_copy.out", "tllI>t", ROW(as_strided_rule)};
KERNEL(view_as_real_copy) = {"aten::view_as_real_copy.out", "t>t", ROW(view_as_real_view)};
KERNEL(view_as_complex_copy) = {"aten::view_as_complex_copy.out", "t>t",
                                shape_of<view_as_complex_view>, run_view_as_complex};
#undef ROW

}  // namespace sconce
