// Reductions in the tile language.
#include <algorithm>

#include "ops/tile.h"

namespace sconce {
namespace {

using tile::AxisId;
using tile::Binary;
using tile::Reduce;
using Value = std::optional<tile::ValueId>;

bool is_computed(DType dtype) {
  return dtype == DType::f32 || dtype == DType::i32 || dtype == DType::i64 || dtype == DType::b8;
}

struct Reduction {
  ValueId x;
  std::vector<bool> reduced;  // by dimension of x
  bool keep;
};

// `dims`: of an operator with a list of dimensions, or one, and perhaps keepdim behind it. Else all
// are reduced.
template <bool dims>
std::optional<Reduction> read(const TileLowering& l, const Node& node) {
  const ValueId* x = tensor_argument(node, 0);
  if (!x || !is_computed(l.type(*x).dtype) || !is_computed(l.type(node.results[0]).dtype))
    return std::nullopt;
  int rank = l.rank(*x);
  Reduction r{*x, std::vector<bool>(size_t(rank), false), false};
  std::vector<int64_t> list;
  if (dims) {
    r.keep = number_argument(node, 2).value_or(0) != 0;
    if (auto several = ints_argument(node, 1))
      list = *several;
    else if (auto single = number_argument(node, 1))
      list = {int64_t(*single)};
    else if (!std::holds_alternative<None>(node.arguments[1]))
      return std::nullopt;
  }
  if (list.empty()) r.reduced.assign(size_t(rank), true);
  for (int64_t dim : list) {
    if (dim < 0) dim += rank;
    if (dim >= 0 && dim < rank) r.reduced[size_t(dim)] = true;  // rank 0 has no dimension
  }
  return r;
}

template <bool dims>
std::optional<TileIndex> kept_axes(TileLowering& l, const Node& node) {
  if (!read<dims>(l, node)) return std::nullopt;
  TileIndex at;
  for (SymInt size : l.shape(node.results[0])) at.push_back(l.parallel(size));
  return at;
}

// Where the elements that become the one at `at` lie, and the axes that they are along.
struct Row {
  TileIndex from;
  std::vector<AxisId> over;
  bool has_innermost = false;  // it is the last of `over` then, so that lanes run along memory
};
Row row_of(TileLowering& l, const Reduction& r, const TileIndex& at, bool in_order = false) {
  Row row;
  size_t kept = 0;
  for (size_t d = 0; d < r.reduced.size(); d++) {
    if (!r.reduced[d]) {
      row.from.push_back(at[kept++]);
      continue;
    }
    kept += r.keep;
    AxisId axis = l.span(l.shape(r.x, int(d)));
    bool innermost = l.is_innermost(r.x, int(d));
    bool last = innermost || in_order || !row.has_innermost;
    row.over.insert(last ? row.over.end() : row.over.end() - 1, axis);
    row.has_innermost |= innermost;
    row.from.push_back(tile::along(axis));
  }
  return row;
}

template <Reduce function, bool mean, bool dims>
Value reduce(TileLowering& l, const Node& node, const TileIndex& at) {
  auto r = read<dims>(l, node);
  if (!r) return std::nullopt;
  DType to = l.type(node.results[0]).dtype;
  if (mean && to != DType::f32) return std::nullopt;
  // Booleans are added up as the integers that the result is of; the largest of them is one.
  DType in = to == DType::b8 ? DType::i32 : to;
  Row row = row_of(l, *r, at);
  Value x = l.at(r->x, row.from);
  if (!x) return std::nullopt;
  if (l.type(r->x).dtype != in) x = l.build.cast(*x, in);
  tile::ValueId y = *x;
  if (!row.over.empty()) {
    bool lanes = row.has_innermost && function == Reduce::sum && in == DType::f32;
    y = l.build.reduce(function, *x, row.over, lanes);
    if (mean) y = l.build.mul(y, l.share_of(row.over));
  }
  return to == in ? y : l.build.cast(y, to);
}

// Whether any element is not 0.
template <bool dims>
Value any(TileLowering& l, const Node& node, const TileIndex& at) {
  auto r = read<dims>(l, node);
  if (!r || l.type(node.results[0]).dtype != DType::b8) return std::nullopt;
  DType dtype = l.type(r->x).dtype;
  Row row = row_of(l, *r, at);
  Value x = l.at(r->x, row.from);
  if (!x) return std::nullopt;
  if (dtype != DType::b8) x = l.build.binary(Binary::ne, *x, l.build.constant(0, dtype));
  if (row.over.empty()) return x;
  // Of nothing, the largest is the least number there is.
  tile::ValueId y = l.build.reduce(Reduce::max, l.build.cast(*x, DType::i32), row.over);
  return l.build.binary(Binary::gt, y, l.build.constant(0, DType::i32));
}

// How many elements are reduced to one, at most.
int64_t most_places(const TileLowering& l, const Reduction& r) {
  int64_t count = 1;
  for (size_t d = 0; d < r.reduced.size(); d++)
    if (r.reduced[d] &&
        __builtin_mul_overflow(count, l.symbols.bounds(l.shape(r.x, int(d))).max, &count))
      return INT64_MAX;
  return count;
}

// The first place of the largest (smallest) element; NaN counts as that. With several dimensions
// places are counted through all of them.
template <Reduce function>
Value extreme_index(TileLowering& l, const Node& node, const TileIndex& at) {
  auto r = read<true>(l, node);
  if (!r || l.type(node.results[0]).dtype != DType::i64) return std::nullopt;
  for (size_t d = 0; d < r->reduced.size(); d++)  // of nothing there is no largest
    if (r->reduced[d] && l.symbols.bounds(l.shape(r->x, int(d))).min < 1) return std::nullopt;
  Row row = row_of(l, *r, at, true);
  Value x = l.at(r->x, row.from);
  if (!x) return std::nullopt;
  if (row.over.empty()) return l.build.constant(0, DType::i64);
  DType dtype = l.type(r->x).dtype;
  if (dtype == DType::b8) x = l.build.cast(*x, DType::i32);
  // Places are numbers where these count exactly: there are block kernels for those.
  const DType places = most_places(l, *r) <= int64_t(1) << 24 ? DType::f32 : DType::i64;
  auto counted = [&](tile::ValueId whole) {
    return places == DType::f32 ? l.build.cast(whole, DType::f32) : whole;
  };
  tile::ValueId place = counted(l.build.iota(row.over[0]));
  for (size_t k = 1; k < row.over.size(); k++)
    place = l.build.add(l.build.mul(place, counted(l.build.extent(row.over[k]))),
                        counted(l.build.iota(row.over[k])));
  tile::ValueId best = l.build.reduce(function, *x, row.over);
  tile::ValueId none = l.build.constant(0x1p53, places);
  tile::ValueId found = l.build.select(l.build.binary(Binary::eq, *x, best), place, none);
  if (dtype == DType::f32)  // where there is a NaN, `best` is one, which nothing equals
    found = l.build.select(l.build.binary(Binary::ne, *x, *x), place, found);
  tile::ValueId first = l.build.reduce(Reduce::min, found, row.over);
  return places == DType::f32 ? l.build.cast(first, DType::i64) : first;
}

// self, dim, correction, keepdim: squared distances from the mean, added up, by count - correction.
Value variance(TileLowering& l, const Node& node, const TileIndex& at) {
  auto r = read<true>(l, node);
  if (!r || l.type(r->x).dtype != DType::f32) return std::nullopt;
  r->keep = number_argument(node, 3).value_or(0) != 0;
  double correction = number_argument(node, 2).value_or(1);
  Row row = row_of(l, *r, at);
  Value x = l.at(r->x, row.from);
  if (!x || row.over.empty()) return std::nullopt;
  auto sum = [&](tile::ValueId y) {
    return l.build.reduce(Reduce::sum, y, row.over, row.has_innermost);
  };
  tile::ValueId mean = l.build.mul(sum(*x), l.share_of(row.over));
  tile::ValueId distance = l.build.sub(*x, mean);
  tile::ValueId squares = sum(l.build.mul(distance, distance));
  tile::ValueId count = l.build.cast(l.build.extent(row.over[0]), DType::f32);
  for (size_t k = 1; k < row.over.size(); k++)
    count = l.build.mul(count, l.build.cast(l.build.extent(row.over[k]), DType::f32));
  tile::ValueId freedom = l.build.binary(
      Binary::max, l.build.sub(count, l.build.constant(correction)), l.build.constant(0));
  return l.build.div(squares, freedom);
}

}  // namespace

TILE(sum_dim) = {"aten::sum.dim_IntList", reduce<Reduce::sum, false, true>, kept_axes<true>};
TILE(mean_dim) = {"aten::mean.dim", reduce<Reduce::sum, true, true>, kept_axes<true>};
TILE(mean) = {"aten::mean", reduce<Reduce::sum, true, false>, kept_axes<false>};
TILE(prod) = {"aten::prod", reduce<Reduce::prod, false, false>, kept_axes<false>};
TILE(prod_dim) = {"aten::prod.dim_int", reduce<Reduce::prod, false, true>, kept_axes<true>};
TILE(amax) = {"aten::amax", reduce<Reduce::max, false, true>, kept_axes<true>};
TILE(amin) = {"aten::amin", reduce<Reduce::min, false, true>, kept_axes<true>};
TILE(max) = {"aten::max", reduce<Reduce::max, false, false>, kept_axes<false>};
TILE(min) = {"aten::min", reduce<Reduce::min, false, false>, kept_axes<false>};
TILE(any) = {"aten::any", any<false>, kept_axes<false>};
TILE(any_dim) = {"aten::any.dim", any<true>, kept_axes<true>};
TILE(any_dims) = {"aten::any.dims", any<true>, kept_axes<true>};
TILE(argmax) = {"aten::argmax", extreme_index<Reduce::max>, kept_axes<true>};
TILE(argmin) = {"aten::argmin", extreme_index<Reduce::min>, kept_axes<true>};
TILE(var_correction) = {"aten::var.correction", variance, kept_axes<true>};

}  // namespace sconce
