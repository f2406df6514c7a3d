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
// self, indices, dim
Results take_along_dim(Build& build, const Node& node) {
  ValueId x = value(node, 0), indices = value(node, 1);
  if (is_none(node, 2))
    return build.call("aten::gather", {Build::v(flat(build, x)), int64_t(0), Build::v(flat(build, indices)), false});
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

// self, dim, index, src, reduce, include_self: sums become scatter_add, means count as well.
Results decompose_scatter_reduce(Build& build, const Node& node) {
  std::string how = text(node, 4);
  ValueId x = value(node, 0);
  Argument dim = node.arguments[1], index = node.arguments[2], source = node.arguments[3];
  if ((how != "sum" && how != "mean") || (how == "mean" && is_integral(build.dtype(x)))) return std::nullopt;
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
  if (text(node, 4) != "add") return std::nullopt;
  return build.call("aten::scatter_add", {node.arguments[0], node.arguments[1], node.arguments[2], node.arguments[3]});
}
Results decompose_scatter_value_mode(Build& build, const Node& node) {
  auto known = number(node, 3);
  if (text(node, 4) != "add" || !known) return std::nullopt;
  ValueId source = build.full(sizes_of(build, value(node, 2)), *known, build.dtype(value(node, 0)));
  return build.call("aten::scatter_add", {node.arguments[0], node.arguments[1], node.arguments[2], Build::v(source)});
}

// --- nonzero --------------------------------------------------------------------------------------

Results where_nonzero(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  if (build.rank(x) == 0) x = build.view(x, {1});
  ValueId positions = build.call1("aten::nonzero", {Build::v(x)});
  return build.call("aten::unbind.int", {Build::v(positions), int64_t(1)});
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
  if (flag(node, 7)) {
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
                    .out = "aten::index_reduce.out"};

OP(nonzero) = {.schema = "aten::nonzero(Tensor self) -> Tensor", .out = "aten::nonzero.out"};
OP(nonzero_static) = {
    .schema = "aten::nonzero_static(Tensor self, *, SymInt size, int fill_value=-1) -> Tensor",
    .out = "aten::nonzero_static.out"};
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
