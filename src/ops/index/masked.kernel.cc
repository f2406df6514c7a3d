// Operators whose result sizes, or reading order, follow from which elements are set: nonzero,
// masked_select, masked_scatter, repeat_interleave of counts.
#include <cstring>

#include "ops/elementwise.h"
#include "ops/index/indices.h"
#include "ops/shape/strided.h"

namespace sconce {
namespace {

bool is_set(const char* element, DType dtype) {
  switch (dtype) {
    case DType::c64: return ((const float*)element)[0] != 0 || ((const float*)element)[1] != 0;
    case DType::c128: return ((const double*)element)[0] != 0 || ((const double*)element)[1] != 0;
    default: break;
  }
  if (is_integral(dtype)) {
    for (size_t i = 0; i < dtype_bytes(dtype); i++)
      if (element[i]) return true;
    return false;
  }
  double value = 0;
  load_elements<double>(&value, element, 1, 1, dtype);
  return value != 0;  // NaN is set
}

int64_t count_set(const Tensor& tensor) {
  int64_t count = element_count(tensor), set = 0;
  size_t bytes = dtype_bytes(tensor.dtype);
  for (int64_t i = 0; i < count; i++) set += is_set(tensor.as<char>() + size_t(i) * bytes, tensor.dtype);
  return set;
}

Status resize_first(Tensor& out, int64_t size, Diagnostic* diagnostic) {
  int32_t sizes[kRankMax];
  for (int i = 0; i < out.rank; i++) sizes[i] = out.sizes[i];
  if (size > INT32_MAX)
    return SCONCE_FAIL(Code::too_large, diagnostic, "result of %lld elements", (long long)size);
  sizes[0] = int32_t(size);
  return resize(out, sizes, diagnostic);
}

// --- nonzero: positions of the elements that are not zero, in row-major order ---------------------

Status nonzero_shape(const Args& args, Span<OutMeta> outs, Diagnostic*) {
  outs[0].dtype = DType::i64;
  outs[0].rank = 2;
  outs[0].sizes[0] = element_count(args.tensor(0));
  outs[0].sizes[1] = args.tensor(0).rank;
  outs[0].upper_bounds = 1;
  return kOk;
}

Status expect_i64(const Tensor& out, Diagnostic* diagnostic) {
  if (out.dtype == DType::i64) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "out is %s, i64 is wanted",
                     dtype_name(out.dtype));
}

// Writes the positions of at most `limit` elements; gives how many.
int64_t write_positions(const Tensor& x, Tensor& out, int64_t limit) {
  int64_t count = element_count(x), row = 0;
  int64_t bytes = int64_t(dtype_bytes(x.dtype));
  Strides strides = strides_of(out);
  Cursor at(x);
  for (int64_t k = 0; k < count && row < limit; k++, at.next()) {
    if (!is_set(x.as<char>() + at.offset * bytes, x.dtype)) continue;
    for (int i = 0; i < x.rank; i++) out.as<int64_t>()[row * strides[0] + i * strides[1]] = at.index[i];
    row++;
  }
  return row;
}

Status run_nonzero(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(expect_i64(out, context.diagnostic));
  int64_t count = count_set(x);
  SCONCE_TRY_STATUS(resize_first(out, count, context.diagnostic));
  write_positions(x, out, count);
  return kOk;
}

// self, size, fill_value
Status nonzero_static_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  if (args.integer(1) < 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "nonzero_static: size %lld",
                       (long long)args.integer(1));
  SCONCE_TRY_STATUS(nonzero_shape(args, outs, diagnostic));
  outs[0].sizes[0] = args.integer(1);
  outs[0].upper_bounds = 0;
  return kOk;
}

Status run_nonzero_static(const Args& args, KernelContext& context) {
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(expect_i64(out, context.diagnostic));
  int64_t row = write_positions(args.tensor(0), out, out.sizes[0]);
  StridedView rest = view_of(out);
  rest.narrow(0, row, out.sizes[0] - row);
  return fill_view(args[2], rest, context.diagnostic);
}

// --- masked_select, masked_scatter ----------------------------------------------------------------

Status check_mask(const Tensor& mask, Diagnostic* diagnostic) {
  if (mask.dtype == DType::b8 || mask.dtype == DType::u8) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "mask of type %s: b8 is wanted",
                     dtype_name(mask.dtype));
}

// Strides of a tensor broadcast to `rank` dimensions.
void broadcast_strides(const Tensor& tensor, int rank, int64_t* strides) {
  Strides own = strides_of(tensor);
  for (int i = 0; i < rank; i++) {
    int at = i - (rank - tensor.rank);
    strides[i] = at < 0 || tensor.sizes[at] == 1 ? 0 : own[at];
  }
}

// Walks self and mask broadcast with each other; visit(offset in self) where the mask is set.
template <class Visit>
Status for_each_set(const OutMeta& sizes, const Tensor& x, const Tensor& mask, Visit visit) {
  int64_t x_strides[kRankMax], mask_strides[kRankMax], index[kRankMax] = {}, count = 1;
  broadcast_strides(x, sizes.rank, x_strides);
  broadcast_strides(mask, sizes.rank, mask_strides);
  for (int i = 0; i < sizes.rank; i++) count *= sizes.sizes[i];
  int64_t at = 0, mask_at = 0;
  for (int64_t n = 0; n < count; n++) {
    if (mask.as<uint8_t>()[mask_at]) SCONCE_TRY_STATUS(visit(at));
    for (int i = sizes.rank - 1; i >= 0; i--) {
      at += x_strides[i];
      mask_at += mask_strides[i];
      if (++index[i] < sizes.sizes[i]) break;
      at -= x_strides[i] * index[i];
      mask_at -= mask_strides[i] * index[i];
      index[i] = 0;
    }
  }
  return kOk;
}

Status broadcast_both(const Args& args, OutMeta& sizes, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(check_mask(args.tensor(1), diagnostic));
  set_like(sizes, args.tensor(0));
  return broadcast_into(args.tensor(1), sizes, diagnostic);
}

Status masked_select_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  OutMeta sizes;
  SCONCE_TRY_STATUS(broadcast_both(args, sizes, diagnostic));
  outs[0].dtype = sizes.dtype;
  outs[0].rank = 1;
  outs[0].sizes[0] = 1;
  for (int i = 0; i < sizes.rank; i++)
    if (!checked_multiply(outs[0].sizes[0], sizes.sizes[i], &outs[0].sizes[0]))
      return SCONCE_FAIL(Code::too_large, diagnostic, "masked_select: sizes overflow");
  outs[0].upper_bounds = 1;
  return kOk;
}

Status run_masked_select(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  const Tensor& mask = args.tensor(1);
  Tensor& out = args.out();
  if (out.dtype != x.dtype)
    return SCONCE_FAIL(Code::invalid_argument, context.diagnostic, "masked_select: out is %s, self %s",
                       dtype_name(out.dtype), dtype_name(x.dtype));
  OutMeta sizes;
  SCONCE_TRY_STATUS(broadcast_both(args, sizes, context.diagnostic));
  int64_t count = 0, next = 0;
  SCONCE_TRY_STATUS(for_each_set(sizes, x, mask, [&](int64_t) { count++; return kOk; }));
  SCONCE_TRY_STATUS(resize_first(out, count, context.diagnostic));
  size_t bytes = dtype_bytes(x.dtype);
  return for_each_set(sizes, x, mask, [&](int64_t at) {
    memmove(out.as<char>() + size_t(next++) * bytes, x.as<char>() + size_t(at) * bytes, bytes);
    return kOk;
  });
}

// self, mask, source: set elements take the elements of source one after another.
Status masked_scatter_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  if (args.tensor(2).dtype != x.dtype)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "masked_scatter: source is %s, self is %s; the same type is wanted",
                       dtype_name(args.tensor(2).dtype), dtype_name(x.dtype));
  return broadcast_both(args, outs[0], diagnostic);
}

Status run_masked_scatter(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  const Tensor& source = args.tensor(2);
  Tensor& out = args.out();
  if (out.dtype != source.dtype)
    return SCONCE_FAIL(Code::invalid_argument, context.diagnostic,
                       "masked_scatter: out is %s, source is %s", dtype_name(out.dtype),
                       dtype_name(source.dtype));
  StridedView from = view_of(x), to = view_of(out);
  int64_t strides[kRankMax];
  broadcast_strides(x, out.rank, strides);
  from.rank = to.rank;
  for (int i = 0; i < to.rank; i++) {
    from.sizes[i] = to.sizes[i];
    from.strides[i] = strides[i];
  }
  SCONCE_TRY_STATUS(copy_view(from, to, context.diagnostic));
  OutMeta sizes;
  set_like(sizes, out);
  size_t bytes = dtype_bytes(out.dtype);
  Cursor at(source);
  int64_t used = 0, available = element_count(source);
  return for_each_set(sizes, out, args.tensor(1), [&](int64_t offset) {
    if (used++ == available)
      return SCONCE_FAIL(Code::invalid_argument, context.diagnostic,
                         "masked_scatter: the mask sets more elements than the %lld of source",
                         (long long)available);
    memmove(out.as<char>() + size_t(offset) * bytes, source.as<char>() + size_t(at.offset) * bytes,
            bytes);
    at.next();
    return kOk;
  });
}

// --- repeat_interleave: repeats, output_size: position i repeats[i] times -------------------------

Status repeat_interleave_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& repeats = args.tensor(0);
  SCONCE_TRY_STATUS(check_index_type("repeat_interleave", repeats, diagnostic));
  if (repeats.rank != 1)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "repeat_interleave: counts of rank %d, 1 is wanted", repeats.rank);
  outs[0].dtype = repeats.dtype;
  outs[0].rank = 1;
  outs[0].sizes[0] = args.integer_or(1, INT32_MAX);
  outs[0].upper_bounds = args.has(1) ? 0 : 1;
  return kOk;
}

Status run_repeat_interleave(const Args& args, KernelContext& context) {
  const Tensor& repeats = args.tensor(0);
  Tensor& out = args.out();
  int64_t count = element_count(repeats), total = 0;
  for (int64_t i = 0; i < count; i++) {
    int64_t times = read_index(repeats, i);
    if (times < 0 || times > INT32_MAX)
      return SCONCE_FAIL(Code::invalid_argument, context.diagnostic,
                         "repeat_interleave: count %lld of element %lld", (long long)times,
                         (long long)i);
    total += times;
  }
  if (args.has(1) && args.integer(1) != total)
    return SCONCE_FAIL(Code::invalid_argument, context.diagnostic,
                       "repeat_interleave: counts add up to %lld, output_size is %lld",
                       (long long)total, (long long)args.integer(1));
  if (!is_index_type(out.dtype))
    return SCONCE_FAIL(Code::invalid_argument, context.diagnostic, "out is %s, i64 or i32 is wanted",
                       dtype_name(out.dtype));
  SCONCE_TRY_STATUS(resize_first(out, total, context.diagnostic));
  int64_t next = 0;
  for (int64_t i = 0; i < count; i++) {
    for (int64_t k = read_index(repeats, i); k > 0; k--, next++) {
      if (out.dtype == DType::i64) out.as<int64_t>()[next] = i;
      else out.as<int32_t>()[next] = int32_t(i);
    }
  }
  return kOk;
}

}  // namespace

KERNEL(nonzero) = {"aten::nonzero.out", "t>t", nonzero_shape, run_nonzero, nullptr, true};
KERNEL(nonzero_static) = {"aten::nonzero_static.out", "tii>t", nonzero_static_shape,
                          run_nonzero_static};
KERNEL(masked_select) = {"aten::masked_select.out", "tt>t", masked_select_shape, run_masked_select,
                         nullptr, true};
KERNEL(masked_scatter) = {"aten::masked_scatter.out", "ttt>t", masked_scatter_shape,
                          run_masked_scatter};
KERNEL(repeat_interleave_Tensor) = {"aten::repeat_interleave.Tensor_out", "tI>t",
                                    repeat_interleave_shape, run_repeat_interleave, nullptr, true};

}  // namespace sconce
