// Pads that continue the content: reflection (the border is the axis) and replication of the border,
// over the last one, two or three dimensions. Negative pads crop.
#include "ops/shape/strided.h"

namespace sconce {
namespace {

// self, padding: pairs from the last dimension on.
template <int dims, bool reflect>
Status pad_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  const char* name = reflect ? "reflection" : "replication";
  (void)name;
  if (args.list_count(1) != 2 * dims && args[1].kind != Value::Kind::integer)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s_pad%dd: %d numbers, %d are wanted",
                       name, dims, args.list_count(1), 2 * dims);
  if (x.rank != dims + 1 && x.rank != dims + 2)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s_pad%dd: rank %d, %d or %d is wanted",
                       name, dims, x.rank, dims + 1, dims + 2);
  // Only the batch may be empty.
  for (int i = x.rank - dims - 1; i < x.rank; i++)
    if (x.sizes[i] == 0)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s_pad%dd: dimension %d is empty", name,
                         dims, i);
  set_like(outs[0], x);
  for (int i = 0; i < dims; i++) {
    int dim = x.rank - 1 - i;
    int64_t size = x.sizes[dim], before = args.list_integer(1, 2 * i),
            after = args.list_integer(1, 2 * i + 1);
    if (reflect && (before >= size || after >= size))
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "reflection_pad%dd: padding %lld and %lld of dimension %d; less than its "
                         "size %lld is wanted",
                         dims, (long long)before, (long long)after, dim, (long long)size);
    if (before < -size || after < -size || before > INT32_MAX || after > INT32_MAX ||
        size + before + after < 1)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s_pad%dd: padding %lld and %lld of dimension %d of size %lld", name, dims,
                         (long long)before, (long long)after, dim, (long long)size);
    outs[0].sizes[dim] = size + before + after;
  }
  return kOk;
}

template <bool reflect>
int64_t source_of(int64_t at, int64_t before, int64_t size) {
  at -= before;
  if (!reflect) return at < 0 ? 0 : at >= size ? size - 1 : at;
  return at < 0 ? -at : at >= size ? 2 * (size - 1) - at : at;
}

template <int dims, bool reflect>
Status run_pad(const Args& args, KernelContext& context) {
  Tensor& out = args.out();
  StridedView from = view_of(args.tensor(0)), to = view_of(out);
  if (from.dtype != to.dtype)
    return SCONCE_FAIL(Code::invalid_argument, context.diagnostic, "pad: out is %s, self is %s",
                       dtype_name(to.dtype), dtype_name(from.dtype));
  int last = to.rank - 1;
  int64_t row = to.sizes[last], rows = element_count(out) / row, size = from.sizes[last];
  int64_t before = args.list_integer(1, 0), bytes = int64_t(dtype_bytes(to.dtype));
  // The part of a row that lies inside of self.
  int64_t inside = before > 0 ? before : 0, inside_end = before + size < row ? before + size : row;
  if (inside_end < inside) inside = inside_end = 0;
  int64_t index[kRankMax] = {};
  for (int64_t r = 0; r < rows; r++) {
    int64_t from_offset = 0, to_offset = 0;
    for (int i = 0; i < last; i++) {
      int64_t at = index[i];
      if (i > last - dims)
        at = source_of<reflect>(at, args.list_integer(1, 2 * (last - i)), from.sizes[i]);
      from_offset += at * from.strides[i];
      to_offset += index[i] * to.strides[i];
    }
    const char* source = from.data + from_offset * bytes;
    char* target = to.data + to_offset * bytes;
    auto move = [&](int64_t at, int64_t count) {
      move_row(target + at * to.strides[last] * bytes, to.strides[last],
               source + source_of<reflect>(at, before, size) * from.strides[last] * bytes,
               from.strides[last], count, size_t(bytes));
    };
    for (int64_t k = 0; k < inside; k++) move(k, 1);
    if (inside_end > inside) move(inside, inside_end - inside);
    for (int64_t k = inside_end; k < row; k++) move(k, 1);
    for (int i = last - 1; i >= 0; i--) {
      if (++index[i] < to.sizes[i]) break;
      index[i] = 0;
    }
  }
  return kOk;
}

}  // namespace

#define ROW(dims, reflect) "tl>t", pad_shape<dims, reflect>, run_pad<dims, reflect>
KERNEL(reflection_pad1d) = {"aten::reflection_pad1d.out", ROW(1, true)};
KERNEL(reflection_pad2d) = {"aten::reflection_pad2d.out", ROW(2, true)};
KERNEL(reflection_pad3d) = {"aten::reflection_pad3d.out", ROW(3, true)};
KERNEL(replication_pad1d) = {"aten::replication_pad1d.out", ROW(1, false)};
KERNEL(replication_pad2d) = {"aten::replication_pad2d.out", ROW(2, false)};
KERNEL(replication_pad3d) = {"aten::replication_pad3d.out", ROW(3, false)};
#undef ROW

}  // namespace sconce
