// Operators that put the elements of one tensor in another order or place: flip, roll, pixel_shuffle,
// diag_embed.
#include "ops/shape/strided.h"

namespace sconce {
namespace {

// --- flip: self, dims -----------------------------------------------------------------------------

Status flip_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  uint32_t set;
  SCONCE_TRY_STATUS(dim_set(args, 1, args.tensor(0).rank, &set, diagnostic));
  set_like(outs[0], args.tensor(0));
  return kOk;
}

Status run_flip(const Args& args, KernelContext& context) {
  StridedView from = view_of(args.tensor(0));
  uint32_t set;
  SCONCE_TRY_STATUS(dim_set(args, 1, from.rank, &set, context.diagnostic));
  for (int i = 0; i < from.rank; i++) {
    if (!(set >> i & 1) || from.sizes[i] == 0) continue;
    from.advance(i, from.sizes[i] - 1);
    from.strides[i] = -from.strides[i];
  }
  return copy_view(from, view_of(args.out()), context.diagnostic);
}

// --- roll: self, shifts, dims (none: of all elements in row-major order) ---------------------------

Status roll_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  int shifts = args.list_count(1), dims = args.list_count(2);
  if (shifts == 0 || (dims == 0 ? shifts != 1 : dims != shifts))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "roll: %d shifts and %d dimensions; one shift for each is wanted", shifts, dims);
  for (int i = 0; i < dims; i++)
    if (wrap_dim(args.list_integer(2, i), x.rank, diagnostic) < 0) return {Code::invalid_argument};
  set_like(outs[0], x);
  return kOk;
}

int64_t positive_remainder(int64_t a, int64_t b) {
  int64_t rest = a % b;
  return rest < 0 ? rest + b : rest;
}

Status run_roll(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  int64_t count = element_count(x);
  if (count == 0) return kOk;
  if (args.list_count(2) == 0)
    return copy_in_order(x, args.out(), positive_remainder(args.list_integer(1, 0), count),
                         context.diagnostic);
  // Each rolled dimension falls in two pieces that move as a block each.
  int64_t shift[kRankMax] = {};
  for (int i = 0; i < args.list_count(2); i++) {
    int dim = wrap_dim(args.list_integer(2, i), x.rank, context.diagnostic);
    int64_t size = x.rank == 0 ? 1 : x.sizes[dim];
    shift[dim] = (shift[dim] + positive_remainder(args.list_integer(1, i), size)) % size;
  }
  int pieces = 0, dims[kRankMax];
  for (int i = 0; i < x.rank; i++)
    if (shift[i] != 0) dims[pieces++] = i;
  for (uint32_t which = 0; which < 1u << pieces; which++) {
    StridedView from = view_of(x), to = view_of(args.out());
    for (int k = 0; k < pieces; k++) {
      int dim = dims[k];
      int64_t rest = x.sizes[dim] - shift[dim];
      if (which >> k & 1) {  // the end comes first
        from.narrow(dim, rest, shift[dim]);
        to.narrow(dim, 0, shift[dim]);
      } else {
        from.narrow(dim, 0, rest);
        to.narrow(dim, shift[dim], rest);
      }
    }
    SCONCE_TRY_STATUS(copy_view(from, to, context.diagnostic));
  }
  return kOk;
}

// --- pixel_shuffle and back: self, factor ---------------------------------------------------------

template <bool shuffle>
Status pixel_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  int64_t r = args.integer(1);
  if (x.rank < 3 || r <= 0 || r > 32768)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "pixel_%sshuffle: rank %d and factor %lld; at least 3 and 1 are wanted",
                       shuffle ? "" : "un", x.rank, (long long)r);
  set_like(outs[0], x);
  int64_t* sizes = outs[0].sizes + x.rank - 3;
  if (shuffle ? sizes[0] % (r * r) != 0 : sizes[1] % r != 0 || sizes[2] % r != 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "pixel_%sshuffle: %lld channels of %lld x %lld do not divide by factor %lld",
                       shuffle ? "" : "un", (long long)sizes[0], (long long)sizes[1],
                       (long long)sizes[2], (long long)r);
  sizes[0] = shuffle ? sizes[0] / (r * r) : sizes[0] * r * r;
  for (int i = 1; i < 3; i++) sizes[i] = shuffle ? sizes[i] * r : sizes[i] / r;
  return kOk;
}

// Both as [.., channel, row, row in cell, column, column in cell].
template <bool shuffle>
Status run_pixel(const Args& args, KernelContext& context) {
  StridedView small = view_of(shuffle ? args.tensor(0) : args.out());
  StridedView large = view_of(shuffle ? args.out() : args.tensor(0));
  if (element_count(args.out()) == 0) return kOk;
  int64_t r = args.integer(1);
  int c = small.rank - 3;
  small.split(c, small.sizes[c] / (r * r));
  small.split(c + 1, r);     // channel, row in cell, column in cell, row, column
  small.swap(c + 1, c + 3);  // channel, row, column in cell, row in cell, column
  small.swap(c + 2, c + 3);  // channel, row, row in cell, column in cell, column
  small.swap(c + 3, c + 4);
  large.split(c + 2, large.sizes[c + 2] / r);
  large.split(c + 1, large.sizes[c + 1] / r);
  return shuffle ? copy_view(small, large, context.diagnostic)
                 : copy_view(large, small, context.diagnostic);
}

// --- diag_embed: self, offset, dim1, dim2 ---------------------------------------------------------

Status diag_embed_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  int rank = x.rank + 1;
  if (x.rank == 0 || rank > kRankMax)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "diag_embed of rank %d: between 1 and %d is wanted", x.rank, kRankMax - 1);
  int a = wrap_dim(args.integer(2), rank, diagnostic), b = wrap_dim(args.integer(3), rank, diagnostic);
  if (a < 0 || b < 0) return {Code::invalid_argument};
  if (a == b)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "diag_embed: dimension %d is named twice",
                       a);
  int64_t offset = args.integer(1), size;
  if (offset == INT64_MIN || !checked_add<int64_t>(x.sizes[x.rank - 1], offset < 0 ? -offset : offset, &size))
    return SCONCE_FAIL(Code::too_large, diagnostic, "diag_embed: offset %lld", (long long)offset);
  outs[0].dtype = x.dtype;
  outs[0].rank = rank;
  for (int i = 0, at = 0; i < rank; i++)
    outs[0].sizes[i] = i == a || i == b ? size : x.sizes[at++];
  return kOk;
}

Status run_diag_embed(const Args& args, KernelContext& context) {
  StridedView to = view_of(args.out());
  SCONCE_TRY_STATUS(fill_view(Value::of(int64_t(0)), to, context.diagnostic));
  SCONCE_TRY_STATUS(diagonal_view(to, args.integer(1), args.integer(2), args.integer(3),
                                  context.diagnostic));
  return copy_view(view_of(args.tensor(0)), to, context.diagnostic);
}

}  // namespace

KERNEL(flip) = {"aten::flip.out", "tl>t", flip_shape, run_flip};
KERNEL(roll) = {"aten::roll.out", "tll>t", roll_shape, run_roll};
KERNEL(pixel_shuffle) = {"aten::pixel_shuffle.out", "ti>t", pixel_shape<true>, run_pixel<true>};
KERNEL(pixel_unshuffle) = {"aten::pixel_unshuffle.out", "ti>t", pixel_shape<false>, run_pixel<false>};
KERNEL(diag_embed) = {"aten::diag_embed.out", "tiii>t", diag_embed_shape, run_diag_embed};

}  // namespace sconce
