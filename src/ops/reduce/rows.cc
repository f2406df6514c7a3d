#include "ops/reduce/rows.h"

namespace sconce {

Rows::Rows(const Tensor& tensor, uint32_t mask)
    : data_(static_cast<char*>(tensor.data)), dtype_(tensor.dtype) {
  Strides strides = strides_of(tensor);
  RowAxis kept[kRankMax], row[kRankMax];
  size_t kept_count = 0, row_count = 0;
  for (int i = 0; i < tensor.rank; i++) {
    if (mask >> i & 1) row[row_count++] = {tensor.sizes[i], strides[i]};
    else kept[kept_count++] = {tensor.sizes[i], strides[i]};
  }
  set_axes({kept, kept_count}, {row, row_count});
}

Rows::Rows(const Tensor& tensor, Span<const RowAxis> kept, Span<const RowAxis> row)
    : data_(static_cast<char*>(tensor.data)), dtype_(tensor.dtype) {
  set_axes(kept, row);
}

// Merges neighbours that walk on evenly and drops axes of one step.
static int merge_axes(Span<const RowAxis> from, RowAxis* to, int64_t* total) {
  int count = 0;
  for (RowAxis axis : from) {
    *total *= axis.count;
    if (axis.count == 1) continue;
    if (count > 0 && to[count - 1].stride == axis.stride * axis.count)
      to[count - 1] = {to[count - 1].count * axis.count, axis.stride};
    else
      to[count++] = axis;
  }
  return count;
}

void Rows::set_axes(Span<const RowAxis> kept, Span<const RowAxis> row) {
  kept_count_ = merge_axes(kept, kept_, &count_);
  row_count_ = merge_axes(row, row_, &length_);
}

void Rows::next() {
  for (int i = kept_count_ - 1; i >= 0; i--) {
    offset_ += kept_[i].stride;
    if (++index_[i] < kept_[i].count) return;
    offset_ -= kept_[i].stride * kept_[i].count;
    index_[i] = 0;
  }
}

void Rows::seek(int64_t row) {
  offset_ = 0;
  for (int i = kept_count_ - 1; i >= 0; i--) {
    index_[i] = row % kept_[i].count;
    offset_ += index_[i] * kept_[i].stride;
    row /= kept_[i].count;
  }
}

// Calls body(offset in elements, stride, how many, how many before) for runs along the inner axis.
template <class F>
void Rows::for_each_run(int64_t first, int n, F body) const {
  if (row_count_ <= 1) {
    int64_t stride = row_count_ == 0 ? 1 : row_[0].stride;
    body(offset_ + first * stride, stride, n, 0);
    return;
  }
  const RowAxis& inner = row_[row_count_ - 1];
  for (int done = 0; done < n;) {
    int64_t position = first + done, at = position % inner.count;
    int64_t offset = offset_ + at * inner.stride, rest = position / inner.count;
    for (int i = row_count_ - 2; i >= 0; i--) {
      offset += rest % row_[i].count * row_[i].stride;
      rest /= row_[i].count;
    }
    int64_t left = inner.count - at;
    int run = left < n - done ? int(left) : n - done;
    body(offset, inner.stride, run, done);
    done += run;
  }
}

Rows complex_part(const Tensor& tensor, uint32_t mask, int part) {
  Strides strides = strides_of(tensor);
  RowAxis axes[2][kRankMax];
  size_t counts[2] = {};
  for (int i = 0; i < tensor.rank; i++) {
    int list = int(mask >> i & 1);
    axes[list][counts[list]++] = {tensor.sizes[i], strides[i] * 2};
  }
  Tensor parts = tensor;
  parts.dtype = part_dtype(tensor.dtype);
  parts.data = static_cast<char*>(tensor.data) + size_t(part) * dtype_bytes(parts.dtype);
  return Rows(parts, {axes[0], counts[0]}, {axes[1], counts[1]});
}

#define SCONCE_ROWS(T)                                                                       \
  void Rows::read(int64_t first, int n, T* to) const {                                       \
    for_each_run(first, n, [&](int64_t offset, int64_t stride, int run, int done) {          \
      load_elements<T>(to + done, data_ + offset * int64_t(dtype_bytes(dtype_)), stride, run, \
                       dtype_);                                                              \
    });                                                                                      \
  }                                                                                          \
  void Rows::write(int64_t first, int n, const T* from) const {                              \
    for_each_run(first, n, [&](int64_t offset, int64_t stride, int run, int done) {          \
      store_elements<T>(data_ + offset * int64_t(dtype_bytes(dtype_)), stride, from + done,  \
                        run, dtype_);                                                        \
    });                                                                                      \
  }
SCONCE_ROWS(float)
SCONCE_ROWS(double)
SCONCE_ROWS(int64_t)
#undef SCONCE_ROWS

template <class T>
void round_block(T* block, int n, DType from, DType to) {
  if (from == to || (is_floating(to) && dtype_bytes(to) == sizeof(T))) return;
  if (to == DType::i64) return;
  uint64_t rounded[kBlockCount];
  store_elements<T>(rounded, 1, block, n, to);
  load_elements<T>(block, rounded, 1, n, to);
}
template void round_block(float*, int, DType, DType);
template void round_block(double*, int, DType, DType);
template void round_block(int64_t*, int, DType, DType);

Status dims_mask(const Args& args, int i, int rank, bool empty_is_all, uint32_t* mask,
                 Diagnostic* diagnostic) {
  *mask = 0;
  int count = args.has(i) ? args.list_count(i) : 0;
  if (!args.has(i) || (count == 0 && empty_is_all)) {
    *mask = all_dims(rank);
    return kOk;
  }
  for (int k = 0; k < count; k++) {
    int dim = wrap_dim(args.list_integer(i, k), rank, diagnostic);
    if (dim < 0) return {Code::invalid_argument};
    if (*mask >> dim & 1)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "dimension %d appears more than once in the list of dimensions", dim);
    *mask |= 1u << dim;
  }
  if (rank == 0) *mask = 0;
  return kOk;
}

void set_reduced(OutMeta& out, const Tensor& x, uint32_t mask, bool keepdim, DType dtype) {
  out.dtype = dtype;
  out.rank = 0;
  for (int i = 0; i < x.rank; i++) {
    if (!(mask >> i & 1)) out.sizes[out.rank++] = x.sizes[i];
    else if (keepdim) out.sizes[out.rank++] = 1;
  }
}

Status want_elements(const Tensor& x, uint32_t mask, const char* what, Diagnostic* diagnostic) {
  for (int i = 0; i < x.rank; i++)
    if ((mask >> i & 1) && x.sizes[i] == 0)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s over dimension %d of size 0: at least one element is wanted", what, i);
  return kOk;
}

Status want_floating(const Tensor& x, const char* what, Diagnostic* diagnostic) {
  if (is_floating(x.dtype) && dtype_bytes(x.dtype) > 1) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s of %s: a floating type is wanted", what,
                     dtype_name(x.dtype));
}

Status want_real(const Tensor& x, const char* what, Diagnostic* diagnostic) {
  bool small_float = is_floating(x.dtype) && dtype_bytes(x.dtype) == 1;
  if (dtype_category(x.dtype) != DTypeCategory::complex && !small_float) return kOk;
  return SCONCE_FAIL(Code::unsupported, diagnostic,
                     "%s of %s: a real type of integers or at least 16-bit floats is wanted", what,
                     dtype_name(x.dtype));
}

}  // namespace sconce
