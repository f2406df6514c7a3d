// Reads and writes through index tensors.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/shape/decompose.h"

namespace sconce {
namespace {

// The list of index tensors that indexes only dimension `dim`.
Argument index_at(int dim, ValueId index) {
  std::vector<ValueRef> list(size_t(dim), ValueRef{});
  list.push_back({index});
  return list;
}
ValueId flat(Build& build, ValueId x) {
  std::vector<SymInt> sizes = sizes_of(build, x);
  return build.view(x, {product(build, sizes, 0, sizes.size())});
}
std::string text(const Node& node, int i) {
  auto* string = std::get_if<std::string>(&node.arguments[size_t(i)]);
  return string ? *string : std::string();
}
bool flag(const Node& node, int i) { return number(node, i).value_or(0) != 0; }
bool is_mask(DType dtype) { return dtype == DType::b8 || dtype == DType::u8; }
ValueId zeros(Build& build, const std::vector<SymInt>& sizes, DType dtype) {
  return build.full(sizes, 0, dtype);
}

// --- rewritings for targets that lack a kernel: all in terms of index, index_put, scatter_add ------

Results decompose_take(Build& build, const Node& node) {
  return build.call("aten::index.Tensor",
                    {Build::v(flat(build, value(node, 0))), index_at(0, value(node, 1))});
}
// self, index, source, accumulate
Results put(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  ValueId index = flat(build, value(node, 1)), source = flat(build, value(node, 2));
  ValueId put = build.call1("aten::index_put", {Build::v(flat(build, x)), index_at(0, index),
                                                Build::v(source), node.arguments[3]});
  return one(build.view(put, sizes_of(build, x)));
}
// Indices that count from the end counted from the start; gather takes no others.
ValueId from_start(Build& build, ValueId indices, SymInt size) {
  ValueId is_negative = build.call1("aten::lt.Scalar", {Build::v(indices), int64_t(0)});
  ValueId shifted = build.call1("aten::add.Scalar", {Build::v(indices), integer_argument(build, size)});
  return build.call1("aten::where.self", {Build::v(is_negative), Build::v(shifted), Build::v(indices)});
}
// self, indices, dim
Results take_along_dim(Build& build, const Node& node) {
  ValueId x = value(node, 0), indices = value(node, 1);
  if (is_none(node, 2)) {
    x = flat(build, x);
    indices = from_start(build, flat(build, indices), build.size(x, 0));
    return build.call("aten::gather", {Build::v(x), int64_t(0), Build::v(indices), false});
  }
  int rank = build.rank(x);
  auto dim = wrap(known_integer(node, 2).value_or(99), rank);
  if (!dim || build.rank(indices) != rank || rank == 0) return std::nullopt;
  std::vector<SymInt> x_sizes = sizes_of(build, x), index_sizes = sizes_of(build, indices);
  for (int i = 0; i < rank; i++) {
    if (i == *dim) continue;
    SymInt& a = x_sizes[size_t(i)];
    SymInt& b = index_sizes[size_t(i)];
    if (a == SymInt(1)) a = b;
    else if (b == SymInt(1)) b = a;
  }
  if (x_sizes != sizes_of(build, x)) x = expand(build, x, x_sizes);
  indices = from_start(build, indices, x_sizes[size_t(*dim)]);
  if (index_sizes != sizes_of(build, indices)) indices = expand(build, indices, index_sizes);
  return build.call("aten::gather", {Build::v(x), int64_t(*dim), Build::v(indices), false});
}

// self, dim, index, source: dimension, and self and source with a dimension when they have none.
struct Slices { ValueId self, source; int dim; };
std::optional<Slices> slices_of(Build& build, const Node& node, bool with_source) {
  Slices s{value(node, 0), kNoValue, 0};
  if (with_source) s.source = value(node, 3);
  auto dim = wrap(known_integer(node, 1).value_or(99), build.rank(s.self));
  if (!dim) return std::nullopt;
  s.dim = *dim;
  if (build.rank(s.self) == 0) s.self = build.view(s.self, {1});
  if (with_source && build.rank(s.source) == 0) s.source = build.view(s.source, {1});
  return s;
}
Results put_slices(Build& build, const Node& node, const Slices& s, ValueId source, bool accumulate) {
  ValueId index = value(node, 2);
  if (build.rank(index) == 0) index = build.view(index, {1});
  ValueId put = build.call1("aten::index_put", {Build::v(s.self), index_at(s.dim, index),
                                                Build::v(source), accumulate});
  return one(build.rank(value(node, 0)) == 0 ? build.view(put, {}) : put);
}
Results decompose_index_copy(Build& build, const Node& node) {
  auto s = slices_of(build, node, true);
  return s ? put_slices(build, node, *s, s->source, false) : std::nullopt;
}
Results decompose_index_add(Build& build, const Node& node) {
  auto s = slices_of(build, node, true);
  auto alpha = number(node, 4);
  if (!s || !alpha) return std::nullopt;
  ValueId source = s->source;
  if (*alpha != 1) source = build.call1("aten::mul.Scalar", {Build::v(source), node.arguments[4]});
  return put_slices(build, node, *s, source, true);
}
Results decompose_index_fill(Build& build, const Node& node) {
  auto s = slices_of(build, node, false);
  DType dtype = build.dtype(value(node, 0));
  if (!s) return std::nullopt;
  ValueId fill;
  if (std::holds_alternative<ValueRef>(node.arguments[3]) && build.type(value(node, 3)).is_tensor())
    fill = build.cast(value(node, 3), dtype);
  else if (auto known = number(node, 3)) fill = build.scalar(*known, dtype);
  else return std::nullopt;
  // A value for each index, so that plain implementations of index_put need not broadcast.
  std::vector<SymInt> sizes = sizes_of(build, s->self);
  sizes[size_t(s->dim)] = build.rank(value(node, 2)) == 0 ? SymInt(1) : build.size(value(node, 2), 0);
  return put_slices(build, node, *s, expand(build, fill, sizes), false);
}

// --- reductions through an index, without a kernel that reduces ------------------------------------

// Everything that a target element may take stands in one more dimension: elements of `source` that
// `index` sends elsewhere are replaced by what changes nothing, and the dimension is reduced.
struct Gathered {
  ValueId chosen;  // b8 [.., targets at dim, .., sources at the end]
  ValueId source;  // the sources in the same place, to be broadcast
};
constexpr int64_t kGatheredMax = int64_t{1} << 26;  // elements of `chosen`, when they are known

// `index` and `source` (of the same sizes as `index`) for the sizes of self at `dim`.
std::optional<Gathered> gather_sources(Build& build, SymInt targets, int dim, ValueId index,
                                       ValueId source) {
  std::vector<SymInt> sizes = sizes_of(build, index);
  SymInt total = symbols(build).multiply(product(build, sizes, 0, sizes.size()), targets);
  if (total.is_known() && total.value > kGatheredMax) return std::nullopt;
  auto lined_up = [&](ValueId x) {
    x = build.call1("aten::movedim.int", {Build::v(x), int64_t(dim), int64_t(-1)});
    return unsqueeze(build, x, dim);
  };
  ValueId range = build.call1("aten::arange.start_step", {int64_t(0), integer_argument(build, targets),
                                                          int64_t(1), int64_t(DType::i64)});
  std::vector<SymInt> column(sizes.size() + 1, SymInt(1));
  column[size_t(dim)] = targets;
  ValueId chosen = build.call1("aten::eq.Tensor", {Build::v(build.cast(lined_up(index), DType::i64)),
                                                   Build::v(build.view(range, column))});
  return Gathered{chosen, lined_up(source)};
}
// A value of the type that changes nothing. The extremes of i64 are no doubles: see its caller.
double neutral_of(const std::string& how, DType dtype) {
  if (how == "prod") return 1;
  if (how != "amax" && how != "amin") return 0;
  if (is_floating(dtype)) return how == "amax" ? -INFINITY : INFINITY;
  int bits = 8 * int(dtype_bytes(dtype));
  if (dtype == DType::u8) return how == "amax" ? 0 : 255;
  return how == "amax" ? -std::ldexp(1, bits - 1) : std::ldexp(1, bits - 1) - 1;
}

// `self` with every source element combined into the element that the index names. All tensors have
// the same rank, at least 1; index and source have equal sizes.
std::optional<ValueId> reduce_through_index(Build& build, ValueId self, int dim, ValueId index,
                                            ValueId source, const std::string& how, bool include_self) {
  DType dtype = build.dtype(self);
  bool mean = how == "mean", known = mean || how == "sum" || how == "prod" || how == "amax" || how == "amin";
  if (!known || dtype == DType::b8 || dtype_category(dtype) == DTypeCategory::complex) return std::nullopt;
  ValueId block = self;  // the part of self that the index can reach
  for (int i = 0; i < build.rank(self); i++) {
    if (i == dim || build.size(index, i) == build.size(self, i)) continue;
    block = slice(build, block, i, int64_t(0), integer_argument(build, build.size(index, i)));
  }
  // Products and sums of 16-bit elements are rounded once, at the end.
  DType wide = dtype_bytes(dtype) == 2 && is_floating(dtype) ? DType::f32 : dtype;
  auto all = gather_sources(build, build.size(self, dim), dim, index, build.cast(source, wide));
  if (!all) return std::nullopt;
  Argument last = Build::ints(std::vector<int64_t>{-1});
  auto masked = [&](const Argument& neutral) {
    ValueId fill = std::holds_alternative<int64_t>(neutral)
                       ? build.call1("aten::full", {Build::ints(std::vector<int64_t>{}), neutral, int64_t(wide)})
                       : build.scalar(std::get<double>(neutral), wide);
    return build.call1("aten::where.self", {Build::v(all->chosen), Build::v(all->source), Build::v(fill)});
  };
  auto neutral = [&]() -> Argument {
    if (dtype == DType::i64 && how == "amin") return INT64_MAX;
    if (dtype == DType::i64 && how == "amax") return INT64_MIN;
    return neutral_of(how, dtype);
  };
  ValueId hits = build.call1("aten::sum.dim_IntList", {Build::v(all->chosen), last, false, int64_t(DType::i64)});
  ValueId start = build.cast(block, wide), reduced;
  if (how == "amax" || how == "amin") {
    reduced = build.call1(how == "amax" ? "aten::amax" : "aten::amin", {Build::v(masked(neutral())), last, false});
    if (include_self)
      reduced = build.call1(how == "amax" ? "aten::maximum" : "aten::minimum", {Build::v(start), Build::v(reduced)});
  } else if (how == "prod") {
    reduced = build.call1("aten::prod.dim_int", {Build::v(masked(1.0)), int64_t(-1), false, int64_t(wide)});
    if (include_self) reduced = build.mul(start, reduced);
  } else {
    reduced = build.call1("aten::sum.dim_IntList", {Build::v(masked(0.0)), last, false, int64_t(wide)});
    if (include_self) reduced = build.add(start, reduced);
  }
  if (mean) {
    ValueId count = build.call1("aten::add.Scalar", {Build::v(hits), int64_t(include_self)});
    count = build.call1("aten::clamp", {Build::v(count), int64_t(1), None{}});
    reduced = build.call1("aten::div.Tensor_mode",
                          {Build::v(reduced), Build::v(build.cast(count, wide)),
                           is_integral(wide) ? Argument(std::string("floor")) : Argument(None{})});
  }
  if (!include_self) {
    ValueId hit = build.call1("aten::gt.Scalar", {Build::v(hits), int64_t(0)});
    reduced = build.call1("aten::where.self", {Build::v(hit), Build::v(reduced), Build::v(start)});
  }
  reduced = build.cast(reduced, dtype);
  for (int i = build.rank(self) - 1; i >= 0; i--) {  // back to where the part was cut from
    if (i == dim || build.size(index, i) == build.size(self, i)) continue;
    ValueId whole = self;  // cut in the dimensions before i
    for (int k = 0; k < i; k++)
      if (k != dim && build.size(index, k) != build.size(self, k))
        whole = slice(build, whole, k, int64_t(0), integer_argument(build, build.size(index, k)));
    reduced = build.call1("aten::slice_scatter", {Build::v(whole), Build::v(reduced), int64_t(i), int64_t(0),
                                                  integer_argument(build, build.size(index, i)), int64_t(1)});
  }
  return reduced;
}

// The source elements that a smaller index reads.
ValueId as_large_as(Build& build, ValueId source, ValueId index) {
  for (int i = 0; i < build.rank(index); i++)
    if (build.size(source, i) != build.size(index, i))
      source = slice(build, source, i, int64_t(0), integer_argument(build, build.size(index, i)));
  return source;
}
Results scatter_reduced(Build& build, const Node& node, ValueId source, const std::string& how, bool include_self) {
  ValueId self = value(node, 0), index = value(node, 2);
  auto dim = wrap(known_integer(node, 1).value_or(99), build.rank(self));
  if (!dim) return std::nullopt;
  bool scalar = build.rank(self) == 0;
  auto lifted = [&](ValueId x) { return build.rank(x) == 0 ? build.view(x, {1}) : x; };
  self = lifted(self);
  index = lifted(index);
  source = as_large_as(build, lifted(source), index);
  auto reduced = reduce_through_index(build, self, *dim, index, source, how, include_self);
  if (!reduced) return std::nullopt;
  return one(scalar ? build.view(*reduced, {}) : *reduced);
}

// self, dim, index, source, reduce, include_self: the index has one dimension.
Results decompose_index_reduce(Build& build, const Node& node) {
  auto s = slices_of(build, node, true);
  if (!s) return std::nullopt;
  ValueId index = value(node, 2);
  if (build.rank(index) == 0) index = build.view(index, {1});
  std::vector<SymInt> column(size_t(build.rank(s->source)), SymInt(1));
  column[size_t(s->dim)] = build.size(index, 0);
  index = expand(build, build.view(index, column), sizes_of(build, s->source));
  auto reduced =
      reduce_through_index(build, s->self, s->dim, index, s->source, text(node, 4), flag(node, 5));
  if (!reduced) return std::nullopt;
  return one(build.rank(value(node, 0)) == 0 ? build.view(*reduced, {}) : *reduced);
}

// self, dim, index, src, reduce, include_self: sums become scatter_add, means count as well.
Results decompose_scatter_reduce(Build& build, const Node& node) {
  std::string how = text(node, 4);
  ValueId x = value(node, 0);
  Argument dim = node.arguments[1], index = node.arguments[2], source = node.arguments[3];
  if ((how != "sum" && how != "mean") || (how == "mean" && is_integral(build.dtype(x))))
    return scatter_reduced(build, node, value(node, 3), how, flag(node, 5));
  bool include = flag(node, 5);
  if (!include) x = build.call1("aten::scatter.value", {Build::v(x), dim, index, int64_t(0)});
  ValueId sum = build.call1("aten::scatter_add", {Build::v(x), dim, index, source});
  if (how == "sum") return one(sum);
  std::vector<SymInt> sizes = sizes_of(build, x), source_sizes = sizes_of(build, value(node, 3));
  ValueId start = build.full(sizes, include ? 1 : 0, build.dtype(x));
  ValueId ones = build.full(source_sizes, 1, build.dtype(x));
  ValueId counts = build.call1("aten::scatter_add", {Build::v(start), dim, index, Build::v(ones)});
  if (!include) counts = build.call1("aten::clamp", {Build::v(counts), 1.0, None{}});
  return one(build.div(sum, counts));
}
Results decompose_scatter_mode(Build& build, const Node& node) {
  if (text(node, 4) == "multiply") return scatter_reduced(build, node, value(node, 3), "prod", true);
  if (text(node, 4) != "add") return std::nullopt;
  return build.call("aten::scatter_add", {node.arguments[0], node.arguments[1], node.arguments[2], node.arguments[3]});
}
Results decompose_scatter_value_mode(Build& build, const Node& node) {
  auto known = number(node, 3);
  std::string how = text(node, 4);
  if ((how != "add" && how != "multiply") || !known) return std::nullopt;
  ValueId source = build.full(sizes_of(build, value(node, 2)), *known, build.dtype(value(node, 0)));
  if (how == "multiply") return scatter_reduced(build, node, source, "prod", true);
  return build.call("aten::scatter_add", {node.arguments[0], node.arguments[1], node.arguments[2], Build::v(source)});
}

// --- nonzero --------------------------------------------------------------------------------------

Results where_nonzero(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  if (build.rank(x) == 0) x = build.view(x, {1});
  ValueId positions = build.call1("aten::nonzero", {Build::v(x)});
  return build.call("aten::unbind.int", {Build::v(positions), int64_t(1)});
}

// self, size, fill_value: each element that is not 0 is sent to its rank among them, the others to a
// place behind the result.
Results decompose_nonzero_static(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto wanted = integer(build, node.arguments[1]);
  auto fill = known_integer(node, 2);
  int rank = build.rank(x);
  if (!wanted || !wanted->is_known() || wanted->value < 0 || !fill || !is_static(build.tensor(x)))
    return std::nullopt;
  if (rank == 0) return build.call("aten::full", {Build::ints(std::vector<int64_t>{wanted->value, 0}), *fill, int64_t(DType::i64)});
  int64_t count = 1;
  for (const SymInt& size : sizes_of(build, x)) count *= size.value;
  ValueId there = build.call1("aten::ne.Scalar", {Build::v(flat(build, x)), int64_t(0)});
  ValueId order = build.call1("aten::cumsum", {Build::v(build.cast(there, DType::i64)), int64_t(0), None{}});
  order = build.call1("aten::clamp", {Build::v(build.call1("aten::add.Scalar", {Build::v(order), int64_t(-1)})),
                                      None{}, wanted->value});
  ValueId none = build.call1("aten::logical_not", {Build::v(there)});
  order = build.call1("aten::masked_fill.Scalar", {Build::v(order), Build::v(none), wanted->value});
  ValueId numbers = build.call1("aten::arange", {count, int64_t(DType::i64)});
  ValueId empty = build.call1("aten::full", {Build::ints(std::vector<int64_t>{wanted->value + 1}), int64_t(-1), int64_t(DType::i64)});
  ValueId found = build.call1("aten::scatter.src", {Build::v(empty), int64_t(0), Build::v(order), Build::v(numbers)});
  found = slice(build, found, 0, int64_t(0), wanted->value);
  ValueId missing = build.call1("aten::lt.Scalar", {Build::v(found), int64_t(0)});
  std::vector<ValueId> coordinates;
  int64_t stride = count;
  for (const SymInt& size : sizes_of(build, x)) {
    stride /= std::max<int64_t>(size.value, 1);
    ValueId at = build.call1("aten::div.Scalar_mode", {Build::v(found), std::max<int64_t>(stride, 1), std::string("floor")});
    at = build.call1("aten::remainder.Scalar", {Build::v(at), std::max<int64_t>(size.value, 1)});
    coordinates.push_back(build.call1("aten::masked_fill.Scalar", {Build::v(at), Build::v(missing), *fill}));
  }
  return build.call("aten::stack", {tensor_list(coordinates), int64_t(1)});
}

// --- one_hot, embeddings --------------------------------------------------------------------------

// self, num_classes
Results one_hot(Build& build, const Node& node) {
  auto classes = integer(build, node.arguments[1]);
  if (!classes || (classes->is_known() && classes->value <= 0)) return std::nullopt;
  ValueId range = build.call1("aten::arange.start_step", {int64_t(0), integer_argument(build, *classes),
                                                          int64_t(1), int64_t(DType::i64)});
  ValueId equal = build.call1("aten::eq.Tensor",
                              {Build::v(unsqueeze(build, value(node, 0), -1)), Build::v(range)});
  return one(build.cast(equal, DType::i64));
}

// grad, indices, num_weights, padding_idx, scale_grad_by_freq
Results decompose_embedding_backward(Build& build, const Node& node) {
  ValueId grad = value(node, 0), indices = flat(build, value(node, 1));
  auto rows = integer(build, node.arguments[2]), padding = integer(build, node.arguments[3]);
  if (!rows || !padding || !padding->is_known()) return std::nullopt;
  DType dtype = build.dtype(grad);
  SymInt count = build.size(indices, 0), width = build.size(grad, build.rank(grad) - 1);
  grad = build.view(grad, {count, width});
  if (flag(node, 4)) {
    ValueId ones = build.full({count}, 1, dtype);
    ValueId counts = build.call1("aten::index_put", {Build::v(zeros(build, {*rows}, dtype)),
                                                     index_at(0, indices), Build::v(ones), true});
    ValueId each = build.call1("aten::index.Tensor", {Build::v(counts), index_at(0, indices)});
    grad = build.div(grad, unsqueeze(build, each, 1));
  }
  if (padding->value >= 0) {
    ValueId mask = build.call1("aten::eq.Scalar", {Build::v(indices), padding->value});
    grad = build.call1("aten::masked_fill.Scalar", {Build::v(grad), Build::v(unsqueeze(build, mask, 1)), 0.0});
  }
  return build.call("aten::index_put", {Build::v(zeros(build, {*rows, width}, dtype)),
                                        index_at(0, indices), Build::v(grad), true});
}

// weight, indices, offsets, scale_grad_by_freq, mode, sparse, per_sample_weights, include_last_offset,
// padding_idx (in one of the two: may be absent)
Results embedding_bag(Build& build, const Node& node) {
  std::vector<Argument> arguments = node.arguments;
  if (arguments.size() == 8) arguments.push_back(int64_t(-1));
  if (std::holds_alternative<None>(arguments[8])) arguments[8] = int64_t(-1);
  if (auto* padding = std::get_if<int64_t>(&arguments[8]); padding && !is_none(node, int(node.arguments.size()) - 1) &&
      node.arguments.size() == 9 && *padding < 0) {
    SymInt rows = build.size(value(node, 0), 0);  // counted from the end
    if (!rows.is_known()) return std::nullopt;
    *padding += rows.value;
  }
  return build.call("aten::_embedding_bag_forward_only", std::move(arguments));
}
// The same, but for sums torch gives the (unused) bag sizes an entry for the last offset too.
Results embedding_bag_forward_only(Build& build, const Node& node) {
  std::vector<ValueId> results = build.call("aten::_embedding_bag", node.arguments);
  if (known_integer(node, 4) == 0 && flag(node, 7) && results.size() == 4) {
    ValueId offsets = value(node, 2);
    results[2] = results[3] = zeros(build, {build.size(offsets, 0)}, build.dtype(offsets));
  }
  return results;
}

// The bag of index k is the number of bags that begin at or before k, less one.
Results decompose_embedding_bag(Build& build, const Node& node) {
  ValueId weight = value(node, 0), indices = value(node, 1), offsets = value(node, 2);
  int64_t mode = known_integer(node, 4).value_or(-1), padding = known_integer(node, 8).value_or(-1);
  DType dtype = build.dtype(weight), index_dtype = build.dtype(offsets);
  if (mode < 0 || mode > 2) return std::nullopt;
  SymInt bags = build.size(offsets, 0), count = build.size(indices, 0), width = build.size(weight, 1);
  ValueId end = kNoValue;  // one element: where the sums stop, which the kernel explains
  if (flag(node, 7)) {
    if (mode != 2 && padding < 0 && dtype != DType::f64)
      end = slice(build, offsets, 0, integer_argument(build, symbols(build).add(bags, -1)),
                  integer_argument(build, bags));
    bags = symbols(build).add(bags, -1);
    offsets = slice(build, offsets, 0, int64_t(0), integer_argument(build, bags));
  }
  ValueId range = build.call1("aten::arange.start_step", {int64_t(0), integer_argument(build, count),
                                                          int64_t(1), int64_t(DType::i64)});
  ValueId begun = build.call1("aten::ge.Tensor", {Build::v(unsqueeze(build, range, 1)), Build::v(offsets)});
  ValueId bag_of = build.call1("aten::sum.dim_IntList", {Build::v(build.cast(begun, DType::i64)),
                                                         Build::ints(std::vector<int64_t>{1}), false, None{}});
  bag_of = build.call1("aten::sub.Scalar", {Build::v(bag_of), int64_t(1), int64_t(1)});
  ValueId rows = build.call1("aten::embedding", {Build::v(weight), Build::v(indices), int64_t(-1), false, false});
  ValueId present = build.full({count}, 1, dtype);
  if (padding >= 0) {
    ValueId mask = build.call1("aten::ne.Scalar", {Build::v(indices), padding});
    present = build.cast(mask, dtype);
  }
  ValueId counts = build.call1("aten::index_put", {Build::v(zeros(build, {bags}, dtype)),
                                                   index_at(0, bag_of), Build::v(present), true});
  ValueId output, largest;
  if (mode == 2) {
    // [count, bags, 1]: rows of other bags count as minus infinity, empty bags give 0.
    ValueId each = build.call1("aten::arange.start_step", {int64_t(0), integer_argument(build, bags),
                                                           int64_t(1), int64_t(DType::i64)});
    ValueId member = build.call1("aten::eq.Tensor", {Build::v(unsqueeze(build, bag_of, 1)), Build::v(each)});
    if (padding >= 0) {
      ValueId mask = build.call1("aten::ne.Scalar", {Build::v(indices), padding});
      member = build.call1("aten::logical_and", {Build::v(member), Build::v(unsqueeze(build, mask, 1))});
    }
    ValueId low = build.scalar(-INFINITY, dtype);
    ValueId spread = build.call1("aten::where.self", {Build::v(unsqueeze(build, member, 2)),
                                                      Build::v(unsqueeze(build, rows, 1)), Build::v(low)});
    ValueId best = build.call1("aten::argmax", {Build::v(spread), int64_t(0), false});
    ValueId top = build.call1("aten::amax", {Build::v(spread), Build::ints(std::vector<int64_t>{0}), false});
    ValueId empty = unsqueeze(build, build.call1("aten::eq.Scalar", {Build::v(counts), int64_t(0)}), 1);
    output = build.call1("aten::masked_fill.Scalar", {Build::v(top), Build::v(empty), 0.0});
    largest = build.call1("aten::index.Tensor", {Build::v(indices), index_at(0, best)});
    largest = build.call1("aten::masked_fill.Scalar", {Build::v(largest), Build::v(empty), int64_t(0)});
    largest = build.cast(largest, index_dtype);
  } else {
    if (!is_none(node, 6)) rows = build.mul(rows, unsqueeze(build, value(node, 6), 1));
    if (padding >= 0) rows = build.mul(rows, unsqueeze(build, present, 1));
    if (end != kNoValue) {
      ValueId beyond = build.call1("aten::ge.Tensor", {Build::v(range), Build::v(end)});
      rows = build.call1("aten::masked_fill.Scalar",
                         {Build::v(rows), Build::v(unsqueeze(build, beyond, 1)), 0.0});
    }
    output = build.call1("aten::index_put", {Build::v(zeros(build, {bags, width}, dtype)),
                                             index_at(0, bag_of), Build::v(rows), true});
    if (mode == 1) {
      ValueId least = build.call1("aten::clamp", {Build::v(counts), 1.0, None{}});
      output = build.div(output, unsqueeze(build, least, 1));
    }
    largest = mode == 1 ? build.cast(counts, index_dtype) : zeros(build, {bags}, index_dtype);
  }
  bool fast = mode == 0 && dtype != DType::f64 && padding < 0;
  ValueId bags_out = fast ? zeros(build, {0}, index_dtype) : build.cast(bag_of, index_dtype);
  ValueId bag_sizes = mode == 0 ? zeros(build, {bags}, index_dtype) : build.cast(counts, index_dtype);
  return std::vector<ValueId>{output, bags_out, bag_sizes, largest};
}

// --- gradients of views: zeros with the gradient in one part --------------------------------------

Results slice_backward(Build& build, const Node& node) {
  auto sizes = integers(build, node, 1);
  if (!sizes) return std::nullopt;
  ValueId grad = value(node, 0), start = zeros(build, *sizes, build.dtype(grad));
  return build.call("aten::slice_scatter", {Build::v(start), Build::v(grad), node.arguments[2],
                                            node.arguments[3], node.arguments[4], node.arguments[5]});
}
Results select_backward(Build& build, const Node& node) {
  auto sizes = integers(build, node, 1);
  if (!sizes) return std::nullopt;
  ValueId grad = value(node, 0), start = zeros(build, *sizes, build.dtype(grad));
  return build.call("aten::select_scatter", {Build::v(start), Build::v(grad), node.arguments[2], node.arguments[3]});
}
Results diagonal_backward(Build& build, const Node& node) {
  auto sizes = integers(build, node, 1);
  if (!sizes) return std::nullopt;
  ValueId grad = value(node, 0), start = zeros(build, *sizes, build.dtype(grad));
  return build.call("aten::diagonal_scatter", {Build::v(start), Build::v(grad), node.arguments[2],
                                               node.arguments[3], node.arguments[4]});
}

// grad, self_sizes, dim, index
Results index_select_backward(Build& build, const Node& node) {
  auto sizes = integers(build, node, 1);
  if (!sizes) return std::nullopt;
  ValueId grad = value(node, 0), start = zeros(build, *sizes, build.dtype(grad));
  return build.call("aten::index_add", {Build::v(start), node.arguments[2], node.arguments[3],
                                        Build::v(grad), int64_t(1)});
}
// grad, self, dim, index, sparse_grad
Results gather_backward(Build& build, const Node& node) {
  ValueId grad = value(node, 0);
  ValueId start = zeros(build, sizes_of(build, value(node, 1)), build.dtype(grad));
  return build.call("aten::scatter_add", {Build::v(start), node.arguments[2], node.arguments[3], Build::v(grad)});
}
// self, indices, max_norm, norm_type: scales the rows that indices name down to the norm.
Results embedding_renorm(Build& build, const Node& node) {
  ValueId weight = value(node, 0), indices = flat(build, value(node, 1));
  auto limit = number(node, 2);
  if (!limit || build.rank(weight) != 2) return std::nullopt;
  ValueId norms = build.call1("aten::linalg_vector_norm",
                              {Build::v(weight), node.arguments[3], Build::ints(std::vector<int64_t>{1}), true, None{}});
  ValueId large = build.call1("aten::gt.Scalar", {Build::v(norms), *limit});
  ValueId named = build.call1("aten::index_put",
                              {Build::v(build.full({build.size(weight, 0)}, 0, DType::b8)), index_at(0, indices),
                               Build::v(build.full({build.size(indices, 0)}, 1, DType::b8)), false});
  ValueId chosen = build.call1("aten::logical_and", {Build::v(large), Build::v(unsqueeze(build, named, 1))});
  ValueId scale = build.mul(build.call1("aten::reciprocal", {Build::v(build.add(norms, 1e-7))}), *limit);
  return build.call("aten::where.self", {Build::v(chosen), Build::v(build.mul(weight, scale)), Build::v(weight)});
}
// self, indices, values, accumulate, unsafe
Results index_put_impl(Build& build, const Node& node) {
  std::vector<Argument> arguments(node.arguments.begin(), node.arguments.begin() + 4);
  return build.call("aten::index_put", std::move(arguments));
}

// Index tensors of `node`'s argument 2 brought into range: where the mask is not set they may point
// anywhere.
std::optional<Argument> clamped_indices(Build& build, const Node& node) {
  std::vector<ValueRef> out;
  auto* list = std::get_if<std::vector<ValueRef>>(&node.arguments[2]);
  ValueId x = value(node, 0);
  if (!list || int(list->size()) > build.rank(x)) return std::nullopt;
  for (size_t dim = 0; dim < list->size(); dim++) {
    ValueRef index = (*list)[dim];
    if (index.id != kNoValue) {
      SymInt size = build.size(x, int(dim));
      if (!size.is_known() || is_mask(build.dtype(index.id))) return std::nullopt;
      index.id = build.call1("aten::clamp", {Build::v(index.id), -size.value, size.value - 1});
    }
    out.push_back(index);
  }
  return Argument(out);
}
// self, mask, indices, fill
Results unsafe_masked_index(Build& build, const Node& node) {
  ValueId mask = value(node, 1);
  auto indices = clamped_indices(build, node);
  if (!indices) return std::nullopt;
  ValueId read = build.call1("aten::index.Tensor", {node.arguments[0], *indices});
  ValueId outside = build.call1("aten::logical_not", {Build::v(mask)});
  return build.call("aten::masked_fill.Scalar", {Build::v(read), Build::v(outside), node.arguments[3]});
}
// self, mask, indices, values
Results unsafe_masked_index_put(Build& build, const Node& node) {
  ValueId mask = value(node, 1), values = value(node, 3);
  auto indices = clamped_indices(build, node);
  if (!indices) return std::nullopt;
  ValueId outside = build.call1("aten::logical_not", {Build::v(mask)});
  values = build.call1("aten::masked_fill.Scalar", {Build::v(values), Build::v(outside), int64_t(0)});
  return build.call("aten::index_put", {node.arguments[0], *indices, Build::v(values), true});
}

// Adds the slices of `grad` along `dim` to those of zeros of `size` that `positions` name.
ValueId add_back(Build& build, ValueId grad, int dim, int64_t size, const std::vector<int64_t>& positions) {
  std::vector<uint8_t> bytes(positions.size() * 8);
  if (!positions.empty()) memcpy(bytes.data(), positions.data(), bytes.size());
  ValueId index = build.constant({DType::i64, {int64_t(positions.size())}, {}}, std::move(bytes), "positions");
  std::vector<SymInt> sizes = sizes_of(build, grad);
  sizes[size_t(dim)] = size;
  return build.call1("aten::index_add", {Build::v(zeros(build, sizes, build.dtype(grad))), int64_t(dim),
                                         Build::v(index), Build::v(grad), int64_t(1)});
}
// grad_output, self, padding
template <int dims, bool reflect>
Results pad_backward(Build& build, const Node& node) {
  ValueId grad = value(node, 0), x = value(node, 1);
  auto pad = known_integers(build, node, 2);
  if (!pad || pad->size() != 2 * dims || build.rank(x) < dims + 1) return std::nullopt;
  for (int i = 0; i < dims; i++) {
    int dim = build.rank(x) - 1 - i;
    if (!build.size(x, dim).is_known()) return std::nullopt;
    int64_t size = build.size(x, dim).value, before = (*pad)[size_t(2 * i)], after = (*pad)[size_t(2 * i) + 1];
    std::vector<int64_t> positions;
    for (int64_t k = -before; k < size + after; k++) {
      int64_t inside = reflect ? (k < 0 ? -k : k >= size ? 2 * (size - 1) - k : k)
                               : std::clamp<int64_t>(k, 0, size - 1);
      if (inside < 0 || inside >= size) return std::nullopt;
      positions.push_back(inside);
    }
    grad = add_back(build, grad, dim, size, positions);
  }
  return one(grad);
}
// grad_in, input_sizes, dim, size, step
Results unfold_backward(Build& build, const Node& node) {
  ValueId grad = value(node, 0);
  auto sizes = known_integers(build, node, 1);
  auto size = known_integer(node, 3), step = known_integer(node, 4);
  if (!sizes || !size || !step || sizes->empty()) return std::nullopt;
  auto dim = wrap(known_integer(node, 2).value_or(99), int(sizes->size()));
  if (!dim || !is_static(build.tensor(grad))) return std::nullopt;
  int64_t windows = build.size(grad, *dim).value;
  std::vector<int64_t> positions;
  for (int64_t w = 0; w < windows; w++)
    for (int64_t k = 0; k < *size; k++) positions.push_back(w * *step + k);
  // [.., windows, .., size] becomes [.., windows * size, ..].
  ValueId moved = build.call1("aten::movedim.int", {Build::v(grad), int64_t(-1), int64_t(*dim + 1)});
  std::vector<SymInt> flat_sizes = sizes_of(build, moved);
  flat_sizes[size_t(*dim)] = windows * *size;
  flat_sizes.erase(flat_sizes.begin() + *dim + 1);
  return one(add_back(build, build.view(moved, flat_sizes), *dim, (*sizes)[size_t(*dim)], positions));
}

}  // namespace

OP(embedding) = {.schema = "aten::embedding(Tensor weight, Tensor indices, SymInt padding_idx=-1, bool "
                           "scale_grad_by_freq=False, bool sparse=False) -> Tensor",
                 .out = "aten::embedding.out"};
OP(index_select) = {.schema = "aten::index_select(Tensor self, int dim, Tensor index) -> Tensor",
                    .out = "aten::index_select.out"};
OP(gather) = {.schema = "aten::gather(Tensor self, int dim, Tensor index, *, bool sparse_grad=False) -> "
                        "Tensor",
              .out = "aten::gather.out"};
OP(take) = {.schema = "aten::take(Tensor self, Tensor index) -> Tensor", .out = "aten::take.out",
            .decompose = decompose_take};
OP(put) = {.schema = "aten::put(Tensor self, Tensor index, Tensor source, bool accumulate=False) -> "
                     "Tensor",
           .decompose = put};
OP(take_along_dim) = {
    .schema = "aten::take_along_dim(Tensor self, Tensor indices, int? dim=None) -> Tensor",
    .decompose = take_along_dim};
OP(index_Tensor) = {.schema = "aten::index.Tensor(Tensor self, Tensor?[] indices) -> Tensor",
                    .out = "aten::index.Tensor_out"};
OP_ALIAS(index_Tensor_hacked_twin,
         "aten::index.Tensor_hacked_twin(Tensor self, Tensor[] indices) -> Tensor",
         "aten::index.Tensor")
OP_ALIAS(unsafe_index, "aten::_unsafe_index.Tensor(Tensor self, Tensor?[] indices) -> Tensor",
         "aten::index.Tensor")
OP(index_put) = {.schema = "aten::index_put(Tensor self, Tensor?[] indices, Tensor values, bool "
                           "accumulate=False) -> Tensor",
                 .out = "aten::index_put.out"};
OP_ALIAS(index_put_hacked_twin,
         "aten::index_put.hacked_twin(Tensor self, Tensor[] indices, Tensor values, bool "
         "accumulate=False) -> Tensor",
         "aten::index_put")
OP_ALIAS(unsafe_index_put,
         "aten::_unsafe_index_put(Tensor self, Tensor?[] indices, Tensor values, bool "
         "accumulate=False) -> Tensor",
         "aten::index_put")

OP_ALIAS(unsafe_index_put_hacked_twin,
         "aten::_unsafe_index_put.hacked_twin(Tensor self, Tensor[] indices, Tensor values, bool "
         "accumulate=False) -> Tensor",
         "aten::index_put")

OP(scatter_src) = {
    .schema = "aten::scatter.src(Tensor self, int dim, Tensor index, Tensor src) -> Tensor",
    .out = "aten::scatter.src_out"};
OP(scatter_value) = {
    .schema = "aten::scatter.value(Tensor self, int dim, Tensor index, Scalar value) -> Tensor",
    .out = "aten::scatter.value_out"};
OP(scatter_mode) = {.schema = "aten::scatter.reduce(Tensor self, int dim, Tensor index, Tensor src, *, "
                              "str reduce) -> Tensor",
                    .out = "aten::scatter.reduce_out",
                    .decompose = decompose_scatter_mode};
OP(scatter_value_mode) = {.schema = "aten::scatter.value_reduce(Tensor self, int dim, Tensor index, "
                                    "Scalar value, *, str reduce) -> Tensor",
                          .out = "aten::scatter.value_reduce_out",
                          .decompose = decompose_scatter_value_mode};
OP(scatter_add) = {
    .schema = "aten::scatter_add(Tensor self, int dim, Tensor index, Tensor src) -> Tensor",
    .out = "aten::scatter_add.out"};
OP(scatter_reduce) = {.schema = "aten::scatter_reduce.two(Tensor self, int dim, Tensor index, Tensor "
                                "src, str reduce, *, bool include_self=True) -> Tensor",
                      .out = "aten::scatter_reduce.two_out",
                      .decompose = decompose_scatter_reduce};
OP(index_copy) = {
    .schema = "aten::index_copy(Tensor self, int dim, Tensor index, Tensor source) -> Tensor",
    .out = "aten::index_copy.out",
    .decompose = decompose_index_copy};
OP(index_add) = {.schema = "aten::index_add(Tensor self, int dim, Tensor index, Tensor source, *, Scalar "
                           "alpha=1) -> Tensor",
                 .out = "aten::index_add.out",
                 .decompose = decompose_index_add};
OP(index_fill_Scalar) = {
    .schema = "aten::index_fill.int_Scalar(Tensor self, int dim, Tensor index, Scalar value) -> Tensor",
    .out = "aten::index_fill.int_Scalar_out",
    .decompose = decompose_index_fill};
OP(index_fill_Tensor) = {
    .schema = "aten::index_fill.int_Tensor(Tensor self, int dim, Tensor index, Tensor value) -> Tensor",
    .out = "aten::index_fill.int_Tensor_out",
    .decompose = decompose_index_fill};
OP(index_reduce) = {.schema = "aten::index_reduce(Tensor self, int dim, Tensor index, Tensor source, str "
                              "reduce, *, bool include_self=True) -> Tensor",
                    .out = "aten::index_reduce.out",
                    .decompose = decompose_index_reduce};

OP(nonzero) = {.schema = "aten::nonzero(Tensor self) -> Tensor", .out = "aten::nonzero.out"};
OP(nonzero_static) = {
    .schema = "aten::nonzero_static(Tensor self, *, SymInt size, int fill_value=-1) -> Tensor",
    .out = "aten::nonzero_static.out",
    .decompose = decompose_nonzero_static};
OP_ALIAS(argwhere, "aten::argwhere(Tensor self) -> Tensor", "aten::nonzero")
OP(nonzero_numpy) = {.schema = "aten::nonzero_numpy(Tensor self) -> Tensor[]",
                     .decompose = where_nonzero};
OP(where_nonzero) = {.schema = "aten::where(Tensor condition) -> Tensor[]",
                     .decompose = where_nonzero};
OP(masked_select) = {.schema = "aten::masked_select(Tensor self, Tensor mask) -> Tensor",
                     .out = "aten::masked_select.out"};
OP(masked_scatter) = {
    .schema = "aten::masked_scatter(Tensor self, Tensor mask, Tensor source) -> Tensor",
    .out = "aten::masked_scatter.out"};
OP(repeat_interleave_Tensor) = {
    .schema = "aten::repeat_interleave.Tensor(Tensor repeats, *, SymInt? output_size=None) -> Tensor",
    .out = "aten::repeat_interleave.Tensor_out"};

OP(one_hot) = {.schema = "aten::one_hot(Tensor self, int num_classes=-1) -> Tensor",
               .decompose = one_hot};
OP(embedding_dense_backward) = {
    .schema = "aten::embedding_dense_backward(Tensor grad_output, Tensor indices, SymInt num_weights, "
              "SymInt padding_idx, bool scale_grad_by_freq) -> Tensor",
    .out = "aten::embedding_dense_backward.out",
    .decompose = decompose_embedding_backward};
OP(_embedding_bag) = {
    .schema = "aten::_embedding_bag(Tensor weight, Tensor indices, Tensor offsets, bool "
              "scale_grad_by_freq=False, int mode=0, bool sparse=False, Tensor? per_sample_weights=None, "
              "bool include_last_offset=False, int padding_idx=-1) -> (Tensor, Tensor, Tensor, Tensor)",
    .out = "aten::_embedding_bag.out",
    .decompose = decompose_embedding_bag};
OP(_embedding_bag_forward_only) = {
    .schema = "aten::_embedding_bag_forward_only(Tensor weight, Tensor indices, Tensor offsets, bool "
              "scale_grad_by_freq=False, int mode=0, bool sparse=False, Tensor? per_sample_weights=None, "
              "bool include_last_offset=False, int padding_idx=-1) -> (Tensor, Tensor, Tensor, Tensor)",
    .decompose = embedding_bag_forward_only};
OP(embedding_bag) = {
    .schema = "aten::embedding_bag(Tensor weight, Tensor indices, Tensor offsets, bool "
              "scale_grad_by_freq=False, int mode=0, bool sparse=False, Tensor? per_sample_weights=None, "
              "bool include_last_offset=False) -> (Tensor, Tensor, Tensor, Tensor)",
    .decompose = embedding_bag};
OP(embedding_bag_padding_idx) = {
    .schema = "aten::embedding_bag.padding_idx(Tensor weight, Tensor indices, Tensor offsets, bool "
              "scale_grad_by_freq, int mode, bool sparse, Tensor? per_sample_weights, bool "
              "include_last_offset, int? padding_idx) -> (Tensor, Tensor, Tensor, Tensor)",
    .decompose = embedding_bag};

OP(slice_backward) = {.schema = "aten::slice_backward(Tensor grad_output, SymInt[] input_sizes, int dim, "
                                "SymInt start, SymInt end, SymInt step) -> Tensor",
                      .decompose = slice_backward};
OP(select_backward) = {.schema = "aten::select_backward(Tensor grad_output, SymInt[] input_sizes, int "
                                 "dim, SymInt index) -> Tensor",
                       .decompose = select_backward};
OP(diagonal_backward) = {.schema = "aten::diagonal_backward(Tensor grad_output, SymInt[] input_sizes, int "
                                   "offset, int dim1, int dim2) -> Tensor",
                         .decompose = diagonal_backward};

OP(index_select_backward) = {.schema = "aten::index_select_backward(Tensor grad, SymInt[] self_sizes, "
                                       "int dim, Tensor index) -> Tensor",
                             .decompose = index_select_backward};
OP(gather_backward) = {.schema = "aten::gather_backward(Tensor grad, Tensor self, int dim, Tensor index, "
                                 "bool sparse_grad) -> Tensor",
                       .decompose = gather_backward};
OP(embedding_renorm) = {.schema = "aten::embedding_renorm(Tensor self, Tensor indices, float max_norm, "
                                  "float norm_type) -> Tensor",
                        .decompose = embedding_renorm};
OP(index_put_impl) = {.schema = "aten::_index_put_impl(Tensor self, Tensor?[] indices, Tensor values, "
                                "bool accumulate=False, bool unsafe=False) -> Tensor",
                      .decompose = index_put_impl};
OP_ALIAS(unsafe_index_hacked_twin,
         "aten::_unsafe_index.Tensor_hacked_twin(Tensor self, Tensor[] indices) -> Tensor",
         "aten::index.Tensor")

OP(unsafe_masked_index) = {.schema = "aten::_unsafe_masked_index(Tensor self, Tensor mask, Tensor?[] "
                                     "indices, Scalar fill) -> Tensor",
                           .decompose = unsafe_masked_index};
OP(unsafe_masked_index_put) = {.schema = "aten::_unsafe_masked_index_put_accumulate(Tensor self, Tensor "
                                         "mask, Tensor?[] indices, Tensor values) -> Tensor",
                               .decompose = unsafe_masked_index_put};
OP(reflection_pad1d_backward) = {
    .schema = "aten::reflection_pad1d_backward(Tensor grad_output, Tensor self, SymInt[2] padding) -> Tensor",
    .decompose = pad_backward<1, true>};
OP(reflection_pad2d_backward) = {
    .schema = "aten::reflection_pad2d_backward(Tensor grad_output, Tensor self, SymInt[4] padding) -> Tensor",
    .decompose = pad_backward<2, true>};
OP(reflection_pad3d_backward) = {
    .schema = "aten::reflection_pad3d_backward(Tensor grad_output, Tensor self, SymInt[6] padding) -> Tensor",
    .decompose = pad_backward<3, true>};
OP(replication_pad1d_backward) = {
    .schema = "aten::replication_pad1d_backward(Tensor grad_output, Tensor self, SymInt[2] padding) -> Tensor",
    .decompose = pad_backward<1, false>};
OP(replication_pad2d_backward) = {
    .schema = "aten::replication_pad2d_backward(Tensor grad_output, Tensor self, SymInt[4] padding) -> Tensor",
    .decompose = pad_backward<2, false>};
OP(replication_pad3d_backward) = {
    .schema = "aten::replication_pad3d_backward(Tensor grad_output, Tensor self, SymInt[6] padding) -> Tensor",
    .decompose = pad_backward<3, false>};
OP(unfold_backward) = {.schema = "aten::unfold_backward(Tensor grad_in, SymInt[] input_sizes, int dim, "
                                 "int size, int step) -> Tensor",
                       .decompose = unfold_backward};

}  // namespace sconce
