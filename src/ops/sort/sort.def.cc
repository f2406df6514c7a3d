// Sorting, selection by rank, distinct elements, bins.
#include <cmath>

#include "ops/reduce/decompose.h"
#include "ops/shape/decompose.h"

namespace sconce {
namespace {

const Argument kNone = None{};

// The dimension in argument i, in [0, rank); nullopt when it is not known or out of range.
std::optional<int64_t> dim_at(Build& build, const Node& node, size_t i) {
  auto dim = integer_at(node, i);
  int64_t rank = std::max(1, build.rank(value(node, 0)));
  if (dim && *dim < 0) *dim += rank;
  return dim && *dim >= 0 && *dim < rank ? dim : std::nullopt;
}
SymInt length_of(Build& build, ValueId x, int64_t dim) {
  return build.rank(x) == 0 ? SymInt(1) : build.size(x, int(dim));
}

// --- sorts as top k of everything ---------------------------------------------------------------

Results sort_as_topk(Build& build, ValueId x, std::optional<int64_t> dim, const Argument& descending) {
  if (!dim) return std::nullopt;
  return build.call("aten::topk", {Build::v(x), integer_argument(build, length_of(build, x, *dim)),
                                   *dim, descending, true});
}
Results sort_parts(Build& build, const Node& node) {  // self, dim, descending
  return sort_as_topk(build, value(node, 0), dim_at(build, node, 1), node.arguments[2]);
}
Results stable_sort_parts(Build& build, const Node& node) {  // self, stable, dim, descending
  return sort_as_topk(build, value(node, 0), dim_at(build, node, 2), node.arguments[3]);
}
Results argsort_parts(Build& build, const Node& node) {  // self, dim, descending
  return one(build.call("aten::sort", node.arguments)[1]);
}
Results stable_argsort_parts(Build& build, const Node& node) {
  return one(build.call("aten::sort.stable", node.arguments)[1]);
}
Results msort_parts(Build& build, const Node& node) {
  return one(build.call("aten::sort", {node.arguments[0], int64_t{0}, false})[0]);
}

// --- one element of a sorted row ----------------------------------------------------------------

ValueId element(Build& build, ValueId sorted, int64_t dim, int64_t at, bool keepdim) {
  if (build.rank(sorted) == 0) return sorted;
  if (!keepdim) return build.call1("aten::select.int", {Build::v(sorted), dim, at});
  return build.call1("aten::slice.Tensor", {Build::v(sorted), dim, at, at + 1, int64_t{1}});
}

Results kthvalue_parts(Build& build, const Node& node) {  // self, k, dim, keepdim
  auto k = integer_at(node, 1), dim = dim_at(build, node, 2);
  if (!k || !dim || *k < 1) return std::nullopt;
  auto sorted = build.call("aten::topk", {node.arguments[0], *k, *dim, false, true});
  bool keepdim = boolean_at(node, 3);
  return {{element(build, sorted[0], *dim, *k - 1, keepdim),
           element(build, sorted[1], *dim, *k - 1, keepdim)}};
}

// The lower middle of the sorted row, or the first NaN. self, dim, keepdim.
Results median_dim_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto dim = dim_at(build, node, 1);
  if (!dim) return std::nullopt;
  SymInt length = length_of(build, x, *dim);
  if (!length.is_known() || length.value < 1) return std::nullopt;
  int64_t middle = (length.value - 1) / 2;
  bool keepdim = boolean_at(node, 2);
  auto sorted = build.call("aten::topk", {Build::v(x), middle + 1, *dim, false, true});
  ValueId values = element(build, sorted[0], *dim, middle, keepdim);
  ValueId indices = element(build, sorted[1], *dim, middle, keepdim);
  if (is_floating(build.dtype(x))) {
    ValueId max = build.call1("aten::amax", {Build::v(x), Build::ints(std::vector{*dim}), keepdim});
    ValueId nan = build.call1("aten::isnan", {Build::v(max)});
    ValueId first = build.call1("aten::argmax", {Build::v(x), *dim, keepdim});
    values = build.call1("aten::where.self", {Build::v(nan), Build::v(max), Build::v(values)});
    indices = build.call1("aten::where.self", {Build::v(nan), Build::v(first), Build::v(indices)});
  }
  return {{values, indices}};
}
Results median_parts(Build& build, const Node& node) {
  ValueId flat = build.call1("aten::flatten.using_ints", {node.arguments[0], int64_t{0}, int64_t{-1}});
  if (!build.size(flat, 0).is_known() || build.size(flat, 0).value < 1) return std::nullopt;
  return one(build.call("aten::median.dim", {Build::v(flat), int64_t{0}, false})[0]);
}

// The lower middle of the numbers that are not NaN.
Results nanmedian_dim_parts(Build& build, const Node& node) {  // self, dim, keepdim
  ValueId x = value(node, 0);
  auto dim = dim_at(build, node, 1);
  if (!dim || build.rank(x) == 0) return std::nullopt;
  if (!is_floating(build.dtype(x))) return build.call("aten::median.dim", node.arguments);
  auto sorted = sort_as_topk(build, x, dim, false);
  Argument list = Build::ints(std::vector{*dim});
  ValueId nan = build.call1("aten::isnan", {Build::v(x)});
  ValueId numbers = build.call1("aten::logical_not", {Build::v(nan)});
  ValueId count = build.call1("aten::sum.dim_IntList", {Build::v(numbers), list, true, kNone});
  ValueId middle = build.call1("aten::div.Scalar_mode",
                               {Build::v(build.add(count, -1.0)), int64_t{2}, std::string("floor")});
  middle = build.cast(build.call1("aten::clamp", {Build::v(middle), int64_t{0}, kNone}), DType::i64);
  std::vector<ValueId> results;
  for (ValueId from : *sorted) {
    ValueId y = build.call1("aten::gather", {Build::v(from), *dim, Build::v(middle)});
    results.push_back(boolean_at(node, 2) ? y
                                          : build.call1("aten::squeeze.dim", {Build::v(y), *dim}));
  }
  return results;
}
Results nanmedian_parts(Build& build, const Node& node) {
  ValueId flat = build.call1("aten::flatten.using_ints", {node.arguments[0], int64_t{0}, int64_t{-1}});
  if (!build.size(flat, 0).is_known() || build.size(flat, 0).value < 1) return std::nullopt;
  return one(build.call("aten::nanmedian.dim", {Build::v(flat), int64_t{0}, false})[0]);
}

// The smallest of the values that stand most often in the row. self, dim, keepdim. Every element is
// compared with every other of its row.
Results mode_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto dim = dim_at(build, node, 1);
  if (!dim) return std::nullopt;
  bool scalar = build.rank(x) == 0, keepdim = boolean_at(node, 2);
  DType dtype = build.dtype(x);
  if (scalar) x = build.call1("aten::unsqueeze", {Build::v(x), int64_t{0}});
  if (dtype == DType::b8) x = build.cast(x, DType::u8);
  SymInt pairs = build.size(x, int(*dim));
  for (const SymInt& size : build.tensor(x).sizes)
    pairs = build.program().symbols.multiply(pairs, size);
  if (!pairs.is_known() || pairs.value < 1 || pairs.value > (int64_t{1} << 26)) return std::nullopt;
  auto sorted = sort_as_topk(build, x, dim, false);
  ValueId rows = build.call1("aten::movedim.int", {Build::v((*sorted)[0]), *dim, int64_t{-1}});
  ValueId column = build.call1("aten::unsqueeze", {Build::v(rows), int64_t{-1}});
  ValueId row = build.call1("aten::unsqueeze", {Build::v(rows), int64_t{-2}});
  ValueId equal = build.call1("aten::eq.Tensor", {Build::v(column), Build::v(row)});
  ValueId counts = build.call1("aten::sum.dim_IntList",
                               {Build::v(equal), Build::ints(std::vector<int64_t>{-1}), false, kNone});
  counts = build.call1("aten::movedim.int", {Build::v(counts), int64_t{-1}, *dim});
  ValueId best = build.call1("aten::argmax", {Build::v(counts), *dim, true});
  std::vector<ValueId> results;
  for (ValueId from : *sorted) {
    ValueId y = build.call1("aten::gather", {Build::v(from), *dim, Build::v(best)});
    if (scalar || !keepdim) y = build.call1("aten::squeeze.dim", {Build::v(y), *dim});
    results.push_back(y);
  }
  results[0] = build.cast(results[0], dtype);
  return results;
}

// --- quantiles ----------------------------------------------------------------------------------

// self, q (a number or a tensor), dim, keepdim, interpolation.
Results quantile_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto* interpolation = std::get_if<std::string>(&node.arguments[4]);
  bool keepdim = boolean_at(node, 3), flat = is_none(node, 2);
  int rank = build.rank(x);
  auto dim = flat ? std::optional<int64_t>(0) : dim_at(build, node, 2);
  if (!interpolation || !dim) return std::nullopt;
  if (flat) x = build.call1("aten::flatten.using_ints", {Build::v(x), int64_t{0}, int64_t{-1}});
  if (build.rank(x) == 0) x = build.call1("aten::unsqueeze", {Build::v(x), int64_t{0}});
  SymInt length = build.size(x, int(*dim));
  if (!length.is_known() || length.value < 1) return std::nullopt;
  DType dtype = build.dtype(x);

  ValueId q = value_at(node, 1);
  int q_rank = q == kNoValue ? 0 : build.rank(q);
  if (q_rank > 1) return std::nullopt;
  if (q == kNoValue) {
    auto known = number(node, 1);
    if (!known) return std::nullopt;
    q = build.scalar(*known, dtype);
  }
  q = build.call1("aten::reshape", {Build::v(q), Build::ints(std::vector<int64_t>{-1})});
  // Rows last: ranks of q along the last dimension.
  ValueId moved = build.call1("aten::transpose.int", {Build::v(x), *dim, int64_t{-1}});
  ValueId sorted = build.call("aten::sort", {Build::v(moved), int64_t{-1}, false})[0];
  ValueId ranks = build.mul(q, double(length.value - 1));
  auto take = [&](const char* round) {
    ValueId at = round ? build.call1(round, {Build::v(ranks)}) : ranks;
    return build.call1("aten::index_select", {Build::v(sorted), int64_t{-1},
                                              Build::v(build.cast(at, DType::i64))});
  };
  ValueId y;
  if (*interpolation == "lower") y = take("aten::floor");
  else if (*interpolation == "higher") y = take("aten::ceil");
  else if (*interpolation == "nearest") y = take("aten::round");
  else {
    ValueId low = take("aten::floor"), high = take("aten::ceil");
    ValueId weight = *interpolation == "midpoint"
                         ? build.scalar(0.5, dtype)
                         : build.sub(ranks, build.call1("aten::floor", {Build::v(ranks)}));
    y = build.add(low, build.mul(build.sub(high, low), weight));
  }
  // A row with a NaN has no quantile: its sorted end is NaN.
  ValueId last = build.call1("aten::slice.Tensor", {Build::v(sorted), int64_t{-1}, int64_t{-1},
                                                    INT64_MAX, int64_t{1}});
  ValueId nan = build.call1("aten::isnan", {Build::v(last)});
  y = build.call1("aten::where.self", {Build::v(nan), Build::v(last), Build::v(y)});
  // Back: the dimension at its place (kept, size of q), then that of q first or gone.
  y = build.call1("aten::transpose.int", {Build::v(y), *dim, int64_t{-1}});
  if (keepdim && flat) {
    std::vector<int64_t> ones(size_t(rank), 1);
    if (q_rank == 1) ones.insert(ones.begin(), -1);
    return one(build.call1("aten::reshape", {Build::v(y), Build::ints(ones)}));
  }
  if (q_rank == 0) return one(keepdim ? y : build.call1("aten::squeeze.dim", {Build::v(y), *dim}));
  std::vector<int64_t> order = {*dim};
  for (int64_t i = 0; i < build.rank(y); i++)
    if (i != *dim) order.push_back(i);
  y = build.permute(y, order);
  return one(keepdim ? build.call1("aten::unsqueeze", {Build::v(y), *dim + 1}) : y);
}

// --- bins -------------------------------------------------------------------------------------

// How many boundaries stand before each value. values, boundaries, out_int32, right.
Results count_before(Build& build, ValueId values, const Argument& boundaries, bool int32, bool right) {
  ValueId column = build.call1("aten::unsqueeze", {Build::v(values), int64_t{-1}});
  ValueId before = build.call1(right ? "aten::ge.Tensor" : "aten::gt.Tensor",
                               {Build::v(column), boundaries});
  return one(build.call1("aten::sum.dim_IntList",
                         {Build::v(before), Build::ints(std::vector<int64_t>{-1}), false,
                          int64_t(int32 ? DType::i32 : DType::i64)}));
}
Results bucketize_parts(Build& build, const Node& node) {
  return count_before(build, value(node, 0), node.arguments[1], boolean_at(node, 2),
                      boolean_at(node, 3));
}
// A number against one row of boundaries.
Results count_before_number(Build& build, const Argument& boundaries, const Argument& limit, bool int32,
                            bool right) {
  ValueId before = build.call1(right ? "aten::le.Scalar" : "aten::lt.Scalar", {boundaries, limit});
  return one(build.call1("aten::sum.dim_IntList",
                         {Build::v(before), kNone, false, int64_t(int32 ? DType::i32 : DType::i64)}));
}
Results bucketize_scalar_parts(Build& build, const Node& node) {
  const auto& a = node.arguments;
  return count_before_number(build, a[1], a[0], boolean_at(node, 2), boolean_at(node, 3));
}
Results searchsorted_scalar_parts(Build& build, const Node& node) {
  auto* side = std::get_if<std::string>(&node.arguments[4]);
  if (!is_none(node, 5)) return std::nullopt;
  return count_before_number(build, node.arguments[0], node.arguments[1], boolean_at(node, 2),
                             boolean_at(node, 3) || (side && *side == "right"));
}
// self, bins, min, max: how many elements have each bin as theirs.
Results histc_parts(Build& build, const Node& node) {
  auto bins = integer_at(node, 1);
  auto low = number(node, 2), high = number(node, 3);
  if (!bins || *bins < 1 || !low || !high || *low >= *high) return std::nullopt;
  ValueId x = build.call1("aten::flatten.using_ints", {node.arguments[0], int64_t{0}, int64_t{-1}});
  ValueId bin = build.call1("aten::div.Scalar",
                            {Build::v(build.mul(build.add(x, -*low), double(*bins))), *high - *low});
  bin = build.call1("aten::floor", {Build::v(bin)});
  bin = build.call1("aten::clamp", {Build::v(bin), kNone, double(*bins - 1)});
  ValueId above = build.call1("aten::ge.Scalar", {Build::v(x), *low});
  ValueId below = build.call1("aten::le.Scalar", {Build::v(x), *high});
  ValueId outside = build.call1("aten::logical_not", {Build::v(build.call1(
                                    "aten::logical_and", {Build::v(above), Build::v(below)}))});
  bin = build.call1("aten::masked_fill.Scalar", {Build::v(bin), Build::v(outside), -1.0});
  ValueId numbers = build.call1("aten::arange", {*bins, int64_t(DType::f32)});
  ValueId column = build.call1("aten::unsqueeze", {Build::v(bin), int64_t{-1}});
  ValueId hit = build.call1("aten::eq.Tensor", {Build::v(column), Build::v(numbers)});
  return one(build.call1("aten::sum.dim_IntList", {Build::v(hit), Build::ints(std::vector<int64_t>{0}),
                                                   false, int64_t(build.dtype(x))}));
}
// sorted_sequence, self, out_int32, right, side, sorter.
Results searchsorted_parts(Build& build, const Node& node) {
  ValueId sequence = value(node, 0), values = value_at(node, 1);
  if (values == kNoValue || !is_none(node, 5)) return std::nullopt;
  auto* side = std::get_if<std::string>(&node.arguments[4]);
  bool right = boolean_at(node, 3) || (side && *side == "right");
  if (build.rank(sequence) > 1)
    sequence = build.call1("aten::unsqueeze", {Build::v(sequence), int64_t{-2}});
  return count_before(build, values, Build::v(sequence), boolean_at(node, 2), right);
}

}  // namespace

OP(sort) = {.schema = "aten::sort(Tensor self, int dim=-1, bool descending=False) -> (Tensor values, Tensor indices)",
            .out = "aten::sort.values", .decompose = sort_parts};
OP(sort_stable) = {.schema = "aten::sort.stable(Tensor self, *, bool? stable, int dim=-1, bool descending=False) -> (Tensor values, Tensor indices)",
                   .out = "aten::sort.values_stable", .decompose = stable_sort_parts};
OP(argsort) = {.schema = "aten::argsort(Tensor self, int dim=-1, bool descending=False) -> Tensor",
               .decompose = argsort_parts};
OP(argsort_stable) = {.schema = "aten::argsort.stable(Tensor self, *, bool stable, int dim=-1, bool descending=False) -> Tensor",
                      .out = "aten::argsort.stable_out", .decompose = stable_argsort_parts};
OP(msort) = {.schema = "aten::msort(Tensor self) -> Tensor", .decompose = msort_parts};
OP(topk) = {.schema = "aten::topk(Tensor self, SymInt k, int dim=-1, bool largest=True, bool sorted=True) -> (Tensor values, Tensor indices)",
            .out = "aten::topk.values"};
OP(kthvalue) = {.schema = "aten::kthvalue(Tensor self, SymInt k, int dim=-1, bool keepdim=False) -> (Tensor values, Tensor indices)",
                .out = "aten::kthvalue.values", .decompose = kthvalue_parts};
OP(median) = {.schema = "aten::median(Tensor self) -> Tensor", .out = "aten::median.out",
              .decompose = median_parts};
OP(median_dim) = {.schema = "aten::median.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)",
                  .out = "aten::median.dim_values", .decompose = median_dim_parts};
OP(nanmedian) = {.schema = "aten::nanmedian(Tensor self) -> Tensor", .out = "aten::nanmedian.out",
                .decompose = nanmedian_parts};
OP(nanmedian_dim) = {.schema = "aten::nanmedian.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)",
                     .out = "aten::nanmedian.dim_values", .decompose = nanmedian_dim_parts};
OP(mode) = {.schema = "aten::mode(Tensor self, int dim=-1, bool keepdim=False) -> (Tensor values, Tensor indices)",
            .out = "aten::mode.values", .decompose = mode_parts};
OP(quantile) = {.schema = "aten::quantile(Tensor self, Tensor q, int? dim=None, bool keepdim=False, *, str interpolation=\"linear\") -> Tensor",
                .decompose = quantile_parts};
OP(quantile_scalar) = {.schema = "aten::quantile.scalar(Tensor self, float q, int? dim=None, bool keepdim=False, *, str interpolation=\"linear\") -> Tensor",
                       .decompose = quantile_parts};

OP(unique) = {.schema = "aten::_unique(Tensor self, bool sorted=True, bool return_inverse=False) -> (Tensor, Tensor)",
              .out = "aten::_unique.out"};
OP(unique2) = {.schema = "aten::_unique2(Tensor self, bool sorted=True, bool return_inverse=False, bool return_counts=False) -> (Tensor, Tensor, Tensor)",
               .out = "aten::_unique2.out"};
OP(unique_dim) = {.schema = "aten::unique_dim(Tensor self, int dim, bool sorted=True, bool return_inverse=False, bool return_counts=False) -> (Tensor, Tensor, Tensor)",
                  .out = "aten::unique_dim.out"};
OP(unique_consecutive) = {.schema = "aten::unique_consecutive(Tensor self, bool return_inverse=False, bool return_counts=False, int? dim=None) -> (Tensor, Tensor, Tensor)",
                          .out = "aten::unique_consecutive.out"};

OP(histc) = {.schema = "aten::histc(Tensor self, int bins=100, Scalar min=0, Scalar max=0) -> Tensor",
             .out = "aten::histc.out", .decompose = histc_parts};
OP(searchsorted) = {.schema = "aten::searchsorted.Tensor(Tensor sorted_sequence, Tensor self, *, bool out_int32=False, bool right=False, str? side=None, Tensor? sorter=None) -> Tensor",
                    .out = "aten::searchsorted.Tensor_out", .decompose = searchsorted_parts};
OP(searchsorted_scalar) = {.schema = "aten::searchsorted.Scalar(Tensor sorted_sequence, Scalar self, *, bool out_int32=False, bool right=False, str? side=None, Tensor? sorter=None) -> Tensor",
                           .out = "aten::searchsorted.Scalar_out", .decompose = searchsorted_scalar_parts};
OP(bucketize) = {.schema = "aten::bucketize.Tensor(Tensor self, Tensor boundaries, *, bool out_int32=False, bool right=False) -> Tensor",
                 .out = "aten::bucketize.Tensor_out", .decompose = bucketize_parts};
OP(bucketize_scalar) = {.schema = "aten::bucketize.Scalar(Scalar self, Tensor boundaries, *, bool out_int32=False, bool right=False) -> Tensor",
                        .out = "aten::bucketize.Scalar_out", .decompose = bucketize_scalar_parts};

}  // namespace sconce
