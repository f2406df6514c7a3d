// Distances between points: each of one set to each of another, or between all pairs of one set.
#include <cmath>
#include <cstring>

#include "ops/promote.h"
#include "ops/reduce/rows.h"

namespace sconce {
namespace {

Status check_order(double p, Diagnostic* diagnostic) {
  if (p >= 0) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "distance of a negative order");
}

// The p-norm of the difference of the current rows.
template <class T>
T distance(const Rows& a, const Rows& b, double p) {
  PairwiseSum<T> sum;
  T largest = 0, other[kBlockCount];
  for_each_block<T>(a, [&](T* x, int n, int64_t first) {
    b.read(first, n, other);
    for (int i = 0; i < n; i++) {
      x[i] = std::fabs(x[i] - other[i]);
      if (x[i] > largest || x[i] != x[i]) largest = x[i];
      if (p == 0) x[i] = x[i] != T(0);
      else if (p == 2) x[i] *= x[i];
      else if (p != 1 && !std::isinf(p)) x[i] = std::pow(x[i], T(p));
    }
    sum.add_block(x, n);
  });
  if (std::isinf(p)) return largest;
  T total = a.length() == 0 ? T(0) : sum.total();
  if (p == 2) return std::sqrt(total);
  return p == 0 || p == 1 ? total : std::pow(total, T(1) / T(p));
}

// x1, x2, p, compute_mode: [..., P, M] and [..., R, M] give [..., P, R].
Status cdist_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor &a = args.tensor(0), &b = args.tensor(1);
  SCONCE_TRY_STATUS(want_floating(a, "cdist", diagnostic));
  SCONCE_TRY_STATUS(want_floating(b, "cdist", diagnostic));
  SCONCE_TRY_STATUS(check_order(args.floating(2), diagnostic));
  if (a.rank < 2 || b.rank < 2 || a.sizes[a.rank - 1] != b.sizes[b.rank - 1])
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "cdist of ranks %d and %d: at least 2, with the same last size, are wanted",
                       a.rank, b.rank);
  Tensor batch_a = a, batch_b = b;
  batch_a.rank = uint8_t(a.rank - 2);
  batch_b.rank = uint8_t(b.rank - 2);
  outs[0] = {promote_types(a.dtype, b.dtype), 0, {}};
  SCONCE_TRY_STATUS(broadcast_into(batch_a, outs[0], diagnostic));
  SCONCE_TRY_STATUS(broadcast_into(batch_b, outs[0], diagnostic));
  outs[0].sizes[outs[0].rank++] = a.sizes[a.rank - 2];
  outs[0].sizes[outs[0].rank++] = b.sizes[b.rank - 2];
  return kOk;
}

// Points of one operand, repeated where the result has dimensions that it has not.
Rows points(const Tensor& x, const Tensor& out, int point_dim) {
  Strides strides = strides_of(x);
  RowAxis kept[kRankMax];
  for (int i = 0; i < out.rank; i++) {
    int at = i - (out.rank - x.rank);
    bool batch = i < out.rank - 2 && at >= 0 && x.sizes[at] != 1;
    kept[i] = {out.sizes[i], batch ? strides[at] : 0};
    if (i == point_dim) kept[i].stride = strides[x.rank - 2];
  }
  RowAxis row[] = {{x.sizes[x.rank - 1], strides[x.rank - 1]}};
  return Rows(x, {kept, size_t(out.rank)}, row);
}

Status cdist_run(const Args& args, KernelContext& context) {
  const Tensor &a = args.tensor(0), &b = args.tensor(1);
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(want_floating(out, "result", context.diagnostic));
  double p = args.floating(2);
  with_floating(promote_types(a.dtype, b.dtype), [&](auto tag) {
    using T = decltype(tag);
    Rows from = points(a, out, out.rank - 2), other = points(b, out, out.rank - 1), to(out, 0);
    for (int64_t i = 0; i < to.count(); i++, from.next(), other.next(), to.next())
      to.put(distance<T>(from, other, p));
  });
  return kOk;
}

// self, p: [N, M] gives [N * (N - 1) / 2]. Without elements any type and rank will do, as in torch.
Status pdist_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(check_order(args.floating(1), diagnostic));
  int64_t n = x.rank == 0 ? 0 : x.sizes[0];
  bool trivial = x.rank > 0 && (n < 2 || element_count(x) == 0);
  if (!trivial) SCONCE_TRY_STATUS(want_floating(x, "pdist", diagnostic));
  if (x.rank != 2 && !trivial)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "pdist of rank %d: 2 is wanted", x.rank);
  outs[0] = {x.dtype, 1, {n * (n - 1) / 2}};
  return kOk;
}

Status pdist_run(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  if (x.sizes[0] < 2) return kOk;
  if (element_count(x) == 0) {
    memset(args.out().data, 0, tensor_bytes(args.out()));
    return kOk;
  }
  SCONCE_TRY_STATUS(want_floating(args.out(), "result", context.diagnostic));
  double p = args.floating(1);
  with_floating(x.dtype, [&](auto tag) {
    Rows a(x, 2), b(x, 2), to(args.out(), 0);
    for (int64_t i = 0; i < x.sizes[0]; i++, a.next()) {
      b.seek(i);
      for (int64_t j = i + 1; j < x.sizes[0]; j++, to.next()) {
        b.next();
        to.put(distance<decltype(tag)>(a, b, p));
      }
    }
  });
  return kOk;
}

}  // namespace

KERNEL(cdist_forward) = {"aten::_cdist_forward.out", "ttfI>t", cdist_shape, cdist_run};
KERNEL(pdist_forward) = {"aten::_pdist_forward.out", "tf>t", pdist_shape, pdist_run};

}  // namespace sconce
