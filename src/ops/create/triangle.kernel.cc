// tril and triu, and the indices of these triangles.
#include <cstring>

#include "ops/convert/copy.h"
#include "ops/elementwise.h"

namespace sconce {
namespace {

Status triangle_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  if (args.tensor(0).rank < 2)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "rank %d: at least 2 wanted",
                       args.tensor(0).rank);
  set_like(outs[0], args.tensor(0));
  return kOk;
}
// Copies, then clears what lies on the other side of the diagonal.
template <bool lower>
Status run_triangle(const Args& args, KernelContext& context) {
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(copy_tensor(args.tensor(0), out, context.diagnostic));
  if (element_count(out) == 0) return kOk;
  int64_t diagonal = args.integer(1), rows = out.sizes[out.rank - 2], columns = out.sizes[out.rank - 1];
  if (diagonal < -rows) diagonal = -rows;
  if (diagonal > columns) diagonal = columns;
  Strides strides = strides_of(out);
  int64_t bytes = int64_t(dtype_bytes(out.dtype)), index[kRankMax] = {};
  for (int64_t n = element_count(out) / columns; n > 0; n--) {
    int64_t row = index[out.rank - 2], offset = 0;
    for (int i = 0; i < out.rank - 1; i++) offset += index[i] * strides[i];
    int64_t first = lower ? row + diagonal + 1 : 0, end = lower ? columns : row + diagonal;
    if (first < 0) first = 0;
    if (end > columns) end = columns;
    for (int64_t column = first; column < end; column++)
      memset(out.as<char>() + (offset + column * strides[out.rank - 1]) * bytes, 0, size_t(bytes));
    for (int i = out.rank - 2; i >= 0; i--) {
      if (++index[i] < out.sizes[i]) break;
      index[i] = 0;
    }
  }
  return kOk;
}

// x_indices(row, col, offset): 2 rows, the coordinates of the triangle's elements in row-major order.
template <bool lower>
void columns_of_row(int64_t row, int64_t columns, int64_t offset, int64_t* first, int64_t* end) {
  *first = lower ? 0 : row + offset;
  *end = lower ? row + offset + 1 : columns;
  if (*first < 0) *first = 0;
  if (*end > columns) *end = columns;
  if (*end < *first) *end = *first;
}
template <bool lower>
Status indices_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  int64_t rows = args.integer(0), columns = args.integer(1), offset = args.integer(2), count = 0;
  if (rows < 0 || columns < 0 || rows > INT32_MAX || columns > INT32_MAX || offset < -INT32_MAX ||
      offset > INT32_MAX)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%lld rows and %lld columns",
                       (long long)rows, (long long)columns);
  // Row r holds clamp(r + offset + 1, 0, columns) elements below the diagonal; the sum in closed form,
  // since the numbers come from files. up_to(n) sums clamp(t, 0, columns) over all t <= n.
  auto up_to = [&](int64_t n) -> uint64_t {
    uint64_t c = uint64_t(columns), t = uint64_t(n);
    if (n <= 0) return 0;
    return t <= c ? t * (t + 1) / 2 : c * (c + 1) / 2 + (t - c) * c;
  };
  int64_t shift = lower ? 0 : 1;
  uint64_t below = up_to(offset + rows - shift) - up_to(offset - shift);
  uint64_t total = lower ? below : uint64_t(rows) * uint64_t(columns) - below;
  if (total > INT32_MAX)
    return SCONCE_FAIL(Code::too_large, diagnostic, "%llu elements", (unsigned long long)total);
  count = int64_t(total);
  outs[0] = OutMeta{};
  outs[0].dtype = DType::i64;
  outs[0].rank = 2;
  outs[0].sizes[0] = 2;
  outs[0].sizes[1] = count;
  return kOk;
}
template <bool lower>
Status run_indices(const Args& args, KernelContext& context) {
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(check_plain_type(out.dtype, context.diagnostic));
  if (element_count(out) == 0) return kOk;
  Strides strides = strides_of(out);
  int64_t bytes = int64_t(dtype_bytes(out.dtype)), at = 0;
  int64_t rows = args.integer(0), columns = args.integer(1), offset = args.integer(2);
  if (element_count(out) == 0) return kOk;
  // Rows without elements are not walked: there may be two billion.
  int64_t begin = lower && offset < 0 ? -offset : 0;
  if (!lower && columns - offset < rows) rows = columns - offset;
  for (int64_t row = begin; row < rows; row++) {
    int64_t first, end;
    columns_of_row<lower>(row, columns, offset, &first, &end);
    for (int64_t column = first; column < end; column++, at++) {
      store_elements<int64_t>(out.as<char>() + at * strides[1] * bytes, 1, &row, 1, out.dtype);
      store_elements<int64_t>(out.as<char>() + (strides[0] + at * strides[1]) * bytes, 1, &column, 1,
                              out.dtype);
    }
  }
  return kOk;
}

}  // namespace

KERNEL(tril) = {"aten::tril.out", "ti>t", triangle_shape, run_triangle<true>};
KERNEL(triu) = {"aten::triu.out", "ti>t", triangle_shape, run_triangle<false>};
KERNEL(tril_indices) = {"aten::tril_indices.out", "iii>t", indices_shape<true>, run_indices<true>};
KERNEL(triu_indices) = {"aten::triu_indices.out", "iii>t", indices_shape<false>, run_indices<false>};

}  // namespace sconce
