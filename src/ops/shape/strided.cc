#include "ops/shape/strided.h"

#include <cstring>

#include "ops/elementwise.h"

namespace sconce {

void StridedView::remove(int dim) {
  for (int i = dim; i + 1 < rank; i++) {
    sizes[i] = sizes[i + 1];
    strides[i] = strides[i + 1];
  }
  rank--;
}

void StridedView::insert(int dim, int64_t size, int64_t stride) {
  CHECK(rank < kRankLimit);
  for (int i = rank; i > dim; i--) {
    sizes[i] = sizes[i - 1];
    strides[i] = strides[i - 1];
  }
  sizes[dim] = size;
  strides[dim] = stride;
  rank++;
}

void StridedView::split(int dim, int64_t outer) {
  int64_t inner = outer == 0 ? 0 : sizes[dim] / outer;
  sizes[dim] = inner;
  insert(dim, outer, strides[dim] * inner);
}

void StridedView::swap(int a, int b) {
  int64_t size = sizes[a], stride = strides[a];
  sizes[a] = sizes[b];
  strides[a] = strides[b];
  sizes[b] = size;
  strides[b] = stride;
}

StridedView view_of(const Tensor& tensor) {
  StridedView view;
  view.data = tensor.as<char>();
  view.dtype = tensor.dtype;
  view.rank = tensor.rank;
  Strides strides = strides_of(tensor);
  for (int i = 0; i < tensor.rank; i++) {
    view.sizes[i] = tensor.sizes[i];
    view.strides[i] = strides[i];
  }
  return view;
}

namespace {

template <size_t n>
void move_elements(char* to, int64_t to_step, const char* from, int64_t from_step, int64_t count) {
  for (int64_t i = 0; i < count; i++) memcpy(to + i * to_step, from + i * from_step, n);
}

bool is_plain_number(DType dtype) {
  return dtype_category(dtype) != DTypeCategory::complex && dtype != DType::f8e5m2 &&
         dtype != DType::f8e4m3fn;
}

template <class T>
void convert_row_as(char* to, int64_t to_stride, DType to_dtype, const char* from,
                    int64_t from_stride, DType from_dtype, int64_t count) {
  int64_t to_bytes = int64_t(dtype_bytes(to_dtype)), from_bytes = int64_t(dtype_bytes(from_dtype));
  T block[kBlockCount];
  for (int64_t done = 0; done < count; done += kBlockCount) {
    int n = int(count - done < kBlockCount ? count - done : kBlockCount);
    load_elements<T>(block, from + done * from_stride * from_bytes, from_stride, n, from_dtype);
    store_elements<T>(to + done * to_stride * to_bytes, to_stride, block, n, to_dtype);
  }
}

// Computing in the type of the source keeps every element exact until it is stored.
void convert_row(char* to, int64_t to_stride, DType to_dtype, const char* from, int64_t from_stride,
                 DType from_dtype, int64_t count) {
  switch (compute_of(from_dtype)) {
    case Compute::f32:
      return convert_row_as<float>(to, to_stride, to_dtype, from, from_stride, from_dtype, count);
    case Compute::f64:
      return convert_row_as<double>(to, to_stride, to_dtype, from, from_stride, from_dtype, count);
    default:
      return convert_row_as<int64_t>(to, to_stride, to_dtype, from, from_stride, from_dtype, count);
  }
}

Status check_convertible(DType from, DType to, Diagnostic* diagnostic) {
  if (from != to && (!is_plain_number(from) || !is_plain_number(to)))
    return SCONCE_FAIL(Code::unsupported, diagnostic, "conversion from %s to %s is not supported",
                       dtype_name(from), dtype_name(to));
  return kOk;
}

struct Axis { int64_t count, to, from; };

// Nest of axes, innermost last, that visits the elements of both views with as few axes as possible.
int coalesce(const StridedView& from, const StridedView& to, Axis* axes) {
  int count = 0;
  for (int i = 0; i < to.rank; i++) {
    if (to.sizes[i] == 0) return -1;
    if (to.sizes[i] == 1) continue;
    Axis axis{to.sizes[i], to.strides[i], from.strides[i]};
    int at = count++;  // insertion sort: largest step of `to` first, so that writes run forwards
    for (; at > 0 && axes[at - 1].to < axis.to; at--) axes[at] = axes[at - 1];
    axes[at] = axis;
  }
  int kept = 0;
  for (int i = 0; i < count; i++) {
    if (kept > 0) {
      Axis& outer = axes[kept - 1];
      if (outer.to == axes[i].to * axes[i].count && outer.from == axes[i].from * axes[i].count) {
        outer = {outer.count * axes[i].count, axes[i].to, axes[i].from};
        continue;
      }
    }
    axes[kept++] = axes[i];
  }
  return kept;
}

}  // namespace

void move_row(void* to_data, int64_t to_stride, const void* from_data, int64_t from_stride,
              int64_t count, size_t bytes) {
  char* to = static_cast<char*>(to_data);
  const char* from = static_cast<const char*>(from_data);
  if (to_stride == 1 && from_stride == 1) {
    memmove(to, from, size_t(count) * bytes);
    return;
  }
  int64_t to_step = to_stride * int64_t(bytes), from_step = from_stride * int64_t(bytes);
  switch (bytes) {
    case 1: return move_elements<1>(to, to_step, from, from_step, count);
    case 2: return move_elements<2>(to, to_step, from, from_step, count);
    case 4: return move_elements<4>(to, to_step, from, from_step, count);
    case 8: return move_elements<8>(to, to_step, from, from_step, count);
    default: return move_elements<16>(to, to_step, from, from_step, count);
  }
}

Status copy_view(const StridedView& from, const StridedView& to, Diagnostic* diagnostic) {
  CHECK(from.rank == to.rank);
  for (int i = 0; i < to.rank; i++) CHECK(from.sizes[i] == to.sizes[i]);
  SCONCE_TRY_STATUS(check_convertible(from.dtype, to.dtype, diagnostic));
  Axis axes[StridedView::kRankLimit];
  int count = coalesce(from, to, axes);
  if (count < 0) return kOk;
  bool same = from.dtype == to.dtype;
  if (same && from.data == to.data) {
    bool identical = true;
    for (int i = 0; i < count; i++) identical &= axes[i].to == axes[i].from;
    if (identical) return kOk;
  }
  int64_t to_bytes = int64_t(dtype_bytes(to.dtype)), from_bytes = int64_t(dtype_bytes(from.dtype));
  if (count == 0) axes[count++] = {1, 1, 1};
  Axis inner = axes[--count];
  // A transpose: rows of `to` are columns of `from`. Walked in tiles that stay in the cache.
  Axis across{1, 0, 0};
  if (same && inner.from != 1 && inner.from != 0) {
    for (int i = 0; i < count; i++) {
      if (axes[i].from != 1) continue;
      across = axes[i];
      for (int k = i; k + 1 < count; k++) axes[k] = axes[k + 1];
      count--;
      break;
    }
  }
  constexpr int64_t kTile = 32;
  int64_t index[StridedView::kRankLimit] = {};
  char* target = to.data;
  const char* source = from.data;
  for (;;) {
    if (!same) {
      convert_row(target, inner.to, to.dtype, source, inner.from, from.dtype, inner.count);
    } else if (across.count == 1) {
      move_row(target, inner.to, source, inner.from, inner.count, size_t(to_bytes));
    } else {
      for (int64_t a = 0; a < across.count; a += kTile) {
        int64_t a_end = a + kTile < across.count ? a + kTile : across.count;
        for (int64_t b = 0; b < inner.count; b += kTile) {
          int64_t n = inner.count - b < kTile ? inner.count - b : kTile;
          for (int64_t k = a; k < a_end; k++)
            move_row(target + (k * across.to + b * inner.to) * to_bytes, inner.to,
                     source + (k * across.from + b * inner.from) * to_bytes, inner.from, n,
                     size_t(to_bytes));
        }
      }
    }
    int axis = count - 1;
    for (; axis >= 0; axis--) {
      target += axes[axis].to * to_bytes;
      source += axes[axis].from * from_bytes;
      if (++index[axis] < axes[axis].count) break;
      target -= axes[axis].to * axes[axis].count * to_bytes;
      source -= axes[axis].from * axes[axis].count * from_bytes;
      index[axis] = 0;
    }
    if (axis < 0) return kOk;
  }
}

Status fill_view(const Value& number, const StridedView& to, Diagnostic* diagnostic) {
  alignas(16) char element[16] = {};
  DType dtype = to.dtype;
  if (dtype_category(dtype) == DTypeCategory::complex)
    dtype = dtype == DType::c128 ? DType::f64 : DType::f32;  // the real part
  SCONCE_TRY_STATUS(check_convertible(DType::f32, dtype, diagnostic));
  if (number.kind == Value::Kind::floating) {
    store_elements<double>(element, 1, &number.floating, 1, dtype);
  } else {
    int64_t integer =
        number.kind == Value::Kind::boolean ? int64_t(number.boolean) : number.integer;
    store_elements<int64_t>(element, 1, &integer, 1, dtype);
  }
  StridedView from = to;
  from.data = element;
  for (int i = 0; i < from.rank; i++) from.strides[i] = 0;
  return copy_view(from, to, diagnostic);
}

Cursor::Cursor(const Tensor& tensor) : rank(tensor.rank) {
  Strides all = strides_of(tensor);
  for (int i = 0; i < rank; i++) {
    sizes[i] = tensor.sizes[i];
    strides[i] = all[i];
  }
}

void Cursor::seek(int64_t position) {
  offset = 0;
  for (int i = rank - 1; i >= 0; i--) {
    index[i] = sizes[i] == 0 ? 0 : position % sizes[i];
    position = sizes[i] == 0 ? 0 : position / sizes[i];
    offset += index[i] * strides[i];
  }
}

void Cursor::next() {
  for (int i = rank - 1; i >= 0; i--) {
    offset += strides[i];
    if (++index[i] < sizes[i]) return;
    offset -= index[i] * strides[i];
    index[i] = 0;
  }
}

Status copy_in_order(const Tensor& from, Tensor& out, int64_t shift, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(check_convertible(from.dtype, out.dtype, diagnostic));
  int64_t count = element_count(out);
  CHECK(element_count(from) == count);
  if (count == 0) return kOk;
  if (is_contiguous(from) && is_contiguous(out)) {
    StridedView source, target;
    source.data = from.as<char>();
    target.data = out.as<char>();
    source.dtype = from.dtype;
    target.dtype = out.dtype;
    source.rank = target.rank = 1;
    source.strides[0] = target.strides[0] = 1;
    StridedView source_end = source, target_start = target;
    source.sizes[0] = target.sizes[0] = count - shift;
    target.advance(0, shift);
    SCONCE_TRY_STATUS(copy_view(source, target, diagnostic));
    source_end.advance(0, count - shift);
    source_end.sizes[0] = target_start.sizes[0] = shift;
    return copy_view(source_end, target_start, diagnostic);
  }
  Cursor source(from), target(out);
  target.seek(shift);
  bool same = from.dtype == out.dtype;
  int64_t to_bytes = int64_t(dtype_bytes(out.dtype)), from_bytes = int64_t(dtype_bytes(from.dtype));
  for (int64_t i = 0; i < count; i++) {
    char* to = out.as<char>() + target.offset * to_bytes;
    const char* at = from.as<char>() + source.offset * from_bytes;
    if (same) move_row(to, 1, at, 1, 1, size_t(to_bytes));
    else convert_row(to, 1, out.dtype, at, 1, from.dtype, 1);
    source.next();
    target.next();
  }
  return kOk;
}

Status slice_bounds(const Args& args, int start_at, int64_t size, int64_t* start, int64_t* count,
                    int64_t* step, Diagnostic* diagnostic) {
  *step = args.integer(start_at + 2);
  if (*step <= 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "slice step %lld: must be positive",
                       (long long)*step);
  auto clamp = [size](int64_t at) {
    if (at < 0) at = at < -size ? 0 : at + size;
    return at > size ? size : at;
  };
  *start = clamp(args.integer_or(start_at, 0));
  int64_t end = clamp(args.integer_or(start_at + 1, size));
  if (end < *start) end = *start;
  int64_t length = end - *start;
  *count = length == 0 ? 0 : (length - 1) / *step + 1;
  return kOk;
}

Status wrap_index(int64_t index, int64_t size, int dim, int64_t* wrapped, Diagnostic* diagnostic) {
  if (index < -size || index >= size)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "index %lld is out of bounds for dimension %d of size %lld",
                       (long long)index, dim, (long long)size);
  *wrapped = index < 0 ? index + size : index;
  return kOk;
}

Status dim_set(const Args& args, int i, int rank, uint32_t* set, Diagnostic* diagnostic) {
  *set = 0;
  for (int k = 0; k < args.list_count(i); k++) {
    int dim = wrap_dim(args.list_integer(i, k), rank, diagnostic);
    if (dim < 0) return {Code::invalid_argument};
    if (*set >> dim & 1)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "dimension %d is named twice", dim);
    *set |= 1u << dim;
  }
  return kOk;
}

Status expect_sizes(const char* what, const Tensor& tensor, const int64_t* sizes, int rank,
                    Diagnostic* diagnostic) {
  (void)what;
  if (tensor.rank != rank)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s has rank %d: %d is wanted", what,
                       tensor.rank, rank);
  for (int i = 0; i < rank; i++)
    if (tensor.sizes[i] != sizes[i])
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s has size %d at dimension %d: %lld is wanted", what,
                         int(tensor.sizes[i]), i, (long long)sizes[i]);
  return kOk;
}

Status diagonal_view(StridedView& view, int64_t offset, int64_t dim1, int64_t dim2,
                     Diagnostic* diagnostic) {
  int a = wrap_dim(dim1, view.rank, diagnostic), b = wrap_dim(dim2, view.rank, diagnostic);
  if (a < 0 || b < 0) return {Code::invalid_argument};
  if (a == b || view.rank < 2)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "diagonal of dimension %d and %d: two different ones are wanted", a, b);
  int64_t rows = view.sizes[a], columns = view.sizes[b];
  // Offsets past the ends give an empty diagonal; clamped so that the sums below cannot overflow.
  if (offset > columns) offset = columns;
  if (offset < -rows) offset = -rows;
  int64_t count = offset >= 0 ? columns - offset : rows + offset;
  int64_t limit = offset >= 0 ? rows : columns;
  if (count > limit) count = limit;
  if (count > 0) view.advance(offset >= 0 ? b : a, offset >= 0 ? offset : -offset);
  int64_t stride = view.strides[a] + view.strides[b];
  view.remove(a > b ? a : b);
  view.remove(a > b ? b : a);
  view.insert(view.rank, count, stride);
  return kOk;
}

Status as_strided_view(const Args& args, int first, StridedView& view, Diagnostic* diagnostic) {
  int rank = args.list_count(first);
  if (rank != args.list_count(first + 1) || rank > kRankMax)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "as_strided: %d sizes and %d strides; as many are wanted, at most %d", rank,
                       args.list_count(first + 1), kRankMax);
  int64_t available = 1, offset = args.integer_or(first + 2, 0), last = offset;
  for (int i = 0; i < view.rank; i++) available *= view.sizes[i];
  bool empty = false, fits = offset >= 0;
  view.rank = 0;
  for (int i = 0; i < rank; i++) {
    int64_t size = args.list_integer(first, i), stride = args.list_integer(first + 1, i), reach = 0;
    if (size < 0 || size > INT32_MAX || stride < 0)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "as_strided: size %lld and stride %lld of dimension %d", (long long)size,
                         (long long)stride, i);
    view.insert(i, size, stride);
    empty |= size == 0;
    fits = fits && (size == 0 || (checked_multiply(size - 1, stride, &reach) &&
                                  checked_add(last, reach, &last)));
  }
  if (!empty && (!fits || last >= available))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "as_strided: element %lld of a tensor of %lld elements", (long long)last,
                       (long long)available);
  if (!empty && view.data) view.data += offset * int64_t(dtype_bytes(view.dtype));
  return kOk;
}

}  // namespace sconce
