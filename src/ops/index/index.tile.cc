// Gathers and writes by index in the tile language: loads and stores at indices that tensors hold,
// and at those of slices.
#include <algorithm>

#include "ops/tile.h"

namespace sconce {
namespace {

using tile::Binary;
using Value = std::optional<tile::ValueId>;

bool is_index(const TileLowering& l, ValueId tensor) {
  DType dtype = l.type(tensor).dtype;
  return dtype == DType::i32 || dtype == DType::i64;
}

// weight[indices[...], e]
Value embedding(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId *weight = tensor_argument(node, 0), *indices = tensor_argument(node, 1);
  if (!weight || !indices || l.type(*weight).dtype != DType::f32 || at.empty()) return std::nullopt;
  TileIndex row(at.begin(), at.end() - 1);
  auto index = l.at(*indices, row);
  if (!index) return std::nullopt;
  return l.at_strict(*weight, {tile::Index{{}, 0, *index}, at.back()});
}

std::optional<size_t> dim_argument(const TileLowering& l, const Node& node) {
  auto dim = number_argument(node, 1);
  int rank = l.rank(*tensor_argument(node, 0));
  if (!dim || *dim < -rank || *dim >= rank) return std::nullopt;  // rank 0 is left to others
  return size_t(*dim < 0 ? int(*dim) + rank : int(*dim));
}

// x[..., index[at[dim]], ...]
Value index_select(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId *x = tensor_argument(node, 0), *index = tensor_argument(node, 2);
  if (!x || !index || !is_index(l, *index) || l.rank(*index) > 1) return std::nullopt;
  auto dim = dim_argument(l, node);
  if (!dim || at.size() != size_t(l.rank(*x))) return std::nullopt;
  TileIndex where, from = at;
  if (l.rank(*index) == 1) where.push_back(at[*dim]);
  Value chosen = l.at(*index, where);
  if (!chosen) return std::nullopt;
  from[*dim] = {{}, 0, *chosen};
  return l.at_strict(*x, from);
}

// x[..., index[at], ...]
Value gather(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId *x = tensor_argument(node, 0), *index = tensor_argument(node, 2);
  if (!x || !index || !is_index(l, *index) || l.rank(*x) != l.rank(*index)) return std::nullopt;
  auto dim = dim_argument(l, node);
  Value chosen = dim ? l.at(*index, at) : std::nullopt;
  if (!chosen) return std::nullopt;
  TileIndex from = at;
  from[*dim] = {{}, 0, *chosen};
  return l.at_strict(*x, from);
}

// x[a, :, b]: tensors of integers for some dimensions, broadcast with each other. Theirs, `width`
// from `position` on, replace the indexed dimensions where those stand side by side, and come first
// otherwise.
struct Indexed {
  ValueId x;
  std::vector<ValueId> indices;              // by dimension of x, or none
  size_t position = 0, width = 0, rank = 0;  // `rank`: of what is indexed
};
std::optional<Indexed> indexed_by(const TileLowering& l, const Node& node) {
  const ValueId* x = tensor_argument(node, 0);
  auto* entries = std::get_if<std::vector<ValueRef>>(&node.arguments[1]);
  if (!x || !entries || entries->size() > size_t(l.rank(*x))) return std::nullopt;
  Indexed indexed{*x, std::vector<ValueId>(size_t(l.rank(*x)), kNoValue)};
  size_t first = SIZE_MAX, last = 0, count = 0;
  for (size_t d = 0; d < entries->size(); d++) {
    ValueId id = (*entries)[d].id;
    if (id == kNoValue) continue;
    if (!is_index(l, id)) return std::nullopt;  // a mask: its count is known only with its data
    indexed.indices[d] = id;
    first = std::min(first, d);
    last = d;
    count++;
    indexed.width = std::max(indexed.width, size_t(l.rank(id)));
  }
  if (count == 0) return std::nullopt;
  indexed.position = last - first + 1 == count ? first : 0;
  indexed.rank = indexed.indices.size() - count + indexed.width;
  return indexed;
}
// Where in x the element `at` of what is indexed lies.
std::optional<TileIndex> place_in(TileLowering& l, const Indexed& indexed, const TileIndex& at) {
  TileIndex where(at.begin() + std::ptrdiff_t(indexed.position),
                  at.begin() + std::ptrdiff_t(indexed.position + indexed.width));
  TileIndex from;
  for (size_t d = 0, next = 0; d < indexed.indices.size(); d++) {
    ValueId index = indexed.indices[d];
    if (index == kNoValue) {
      if (next == indexed.position) next += indexed.width;
      from.push_back(at[next++]);
      continue;
    }
    Value chosen = l.broadcast(index, where);
    if (!chosen) return std::nullopt;
    // Below zero it counts from the end.
    DType dtype = l.type(index).dtype;
    tile::ValueId from_end = l.build.add(*chosen, l.number_of(l.shape(indexed.x, int(d)), dtype));
    tile::ValueId is_below = l.build.binary(Binary::lt, *chosen, l.build.constant(0, dtype));
    from.push_back({{}, 0, l.build.select(is_below, from_end, *chosen)});
  }
  return from;
}

Value index_tensor(TileLowering& l, const Node& node, const TileIndex& at) {
  auto indexed = indexed_by(l, node);
  if (!indexed || at.size() != indexed->rank) return std::nullopt;
  auto from = place_in(l, *indexed, at);
  return from ? l.at_strict(indexed->x, *from) : std::nullopt;
}

// Loops over rows that go to places which tensors tell: one after the other, so that of rows for
// one place the last is kept.
class RowLoops {
 public:
  explicit RowLoops(TileLowering& l) : l_(l) {}
  tile::Index over(SymInt size) {
    if (size == SymInt(1)) return tile::at(0);
    axes_.push_back(l_.build.serial_each(l_.extent(size)));
    return tile::along(axes_.back());
  }
  void begin() {
    for (tile::AxisId axis : axes_) l_.build.begin_loop(axis, {});
  }
  void end() {
    for (size_t n = axes_.size(); n-- > 0;) l_.build.end_loop(axes_[n], {});
  }

 private:
  TileLowering& l_;
  std::vector<tile::AxisId> axes_;
};
constexpr size_t kLoopsMax = 4;  // in each other

// x[a, :, b] = values
bool index_put(TileLowering& l, const Node& node, int32_t to) {
  auto indexed = indexed_by(l, node);
  const ValueId* values = tensor_argument(node, 2);
  auto accumulate = number_argument(node, 3);
  if (!indexed || !values || !accumulate || *accumulate != 0 || indexed->width > kLoopsMax ||
      l.type(*values).dtype != l.type(indexed->x).dtype)
    return false;
  std::vector<SymInt> rows(indexed->width, SymInt(1));
  for (ValueId index : indexed->indices) {
    if (index == kNoValue) continue;
    size_t skipped = indexed->width - size_t(l.rank(index));
    for (size_t d = skipped; d < rows.size(); d++) {
      SymInt size = l.shape(index, int(d - skipped));
      if (rows[d] == SymInt(1)) rows[d] = size;
      if (size != SymInt(1) && size != rows[d]) return false;
    }
  }
  RowLoops loops(l);
  TileIndex at;
  for (size_t d = 0; d <= indexed->indices.size(); d++) {
    if (d == indexed->position)
      for (SymInt size : rows) at.push_back(loops.over(size));
    if (d < indexed->indices.size() && indexed->indices[d] == kNoValue)
      at.push_back(l.parallel(l.shape(indexed->x, int(d))));
  }
  loops.begin();
  auto place = place_in(l, *indexed, at);
  Value value = place ? l.broadcast(*values, at) : std::nullopt;
  if (!value) return false;
  l.build.store(to, *place, *value, true);
  loops.end();
  return true;
}

// x[..., index, ...] = rows, where `index_of(row)` is the index of a row along `dim`.
template <class F>
bool put_rows(TileLowering& l, ValueId x, ValueId rows, size_t dim, int32_t to, F index_of) {
  if (l.type(rows).dtype != l.type(x).dtype || l.rank(rows) != l.rank(x)) return false;
  RowLoops loops(l);
  TileIndex row;
  for (size_t d = 0; d < size_t(l.rank(x)); d++) {
    SymInt size = l.shape(rows, int(d));
    if (d != dim && size != l.shape(x, int(d))) return false;
    row.push_back(d == dim ? loops.over(size) : l.parallel(size));
  }
  loops.begin();
  Value chosen = index_of(row), value = l.at(rows, row);
  if (!chosen || !value) return false;
  TileIndex place = row;
  place[dim] = {{}, 0, *chosen};
  l.build.store(to, place, *value, true);
  loops.end();
  return true;
}

// self, dim, index, source
bool index_copy(TileLowering& l, const Node& node, int32_t to) {
  const ValueId *x = tensor_argument(node, 0), *index = tensor_argument(node, 2),
                *source = tensor_argument(node, 3);
  if (!x || !index || !source || l.rank(*index) > 1 || !is_index(l, *index)) return false;
  auto dim = dim_argument(l, node);
  return dim && put_rows(l, *x, *source, *dim, to, [&](const TileIndex& row) {
           return l.at(*index, l.rank(*index) == 1 ? TileIndex{row[*dim]} : TileIndex{});
         });
}

// cache, value, indices: those of a row for each batch.
bool updated_cache_at(TileLowering& l, const Node& node, int32_t to) {
  const ValueId *cache = tensor_argument(node, 0), *rows = tensor_argument(node, 1),
                *indices = tensor_argument(node, 2);
  return cache && rows && indices && l.rank(*cache) == 4 && l.rank(*indices) == 2 &&
         is_index(l, *indices) && put_rows(l, *cache, *rows, 1, to, [&](const TileIndex& row) {
           return l.at(*indices, {row[0], row[1]});
         });
}

// The index of a row that goes `start` places on.
Value moved_on(TileLowering& l, Value start, const tile::Index& row) {
  if (!start || row.terms.empty()) return start;
  return l.build.add(*start, l.build.iota(row.terms[0].axis));
}

// cache, value, start_pos
bool updated_cache(TileLowering& l, const Node& node, int32_t to) {
  const ValueId *cache = tensor_argument(node, 0), *rows = tensor_argument(node, 1);
  return cache && rows && l.rank(*cache) == 4 &&
         put_rows(l, *cache, *rows, 1, to, [&](const TileIndex& row) {
           return moved_on(l, l.operand(node.arguments[2], DType::i64, {}), row[1]);
         });
}

// x with `source` as those of its elements whose index along `dim` is start, start + step, ...
bool put_slice(TileLowering& l, ValueId x, ValueId source, size_t dim, int64_t start, int64_t step,
               bool has_dim, int32_t to) {
  if (l.type(source).dtype != l.type(x).dtype) return false;
  TileIndex place, from;
  for (size_t d = 0; d < size_t(l.rank(x)); d++) {
    if (d == dim && !has_dim) {
      place.push_back(tile::at(start));
      continue;
    }
    SymInt size = l.shape(source, int(from.size()));
    if (d != dim && size != l.shape(x, int(d))) return false;
    tile::Index along = l.parallel(size);
    from.push_back(along);
    if (d == dim) {
      for (tile::Term& term : along.terms) term.factor = step;
      along.offset = start;
    }
    place.push_back(along);
  }
  Value value = l.at(source, from);
  if (value) l.build.store(to, place, *value);
  return value.has_value();
}

std::optional<size_t> scattered_dim(const TileLowering& l, const Node& node) {
  auto dim = number_argument(node, 2);
  int rank = l.rank(*tensor_argument(node, 0));
  if (!dim || *dim < -rank || *dim >= rank) return std::nullopt;
  return size_t(*dim < 0 ? int(*dim) + rank : int(*dim));
}

// self, src, dim, start, end, step
bool slice_scatter(TileLowering& l, const Node& node, int32_t to) {
  const ValueId *x = tensor_argument(node, 0), *source = tensor_argument(node, 1);
  auto dim = x && source ? scattered_dim(l, node) : std::nullopt;
  auto start = std::holds_alternative<None>(node.arguments[3]) ? 0.0 : number_argument(node, 3);
  auto step = number_argument(node, 5);
  if (!dim || !step || l.rank(*source) != l.rank(*x)) return false;
  if (!start) {  // a call tells it; below zero it counts from the end
    return *step == 1 && put_rows(l, *x, *source, *dim, to, [&](const TileIndex& row) -> Value {
      Value given = l.operand(node.arguments[3], DType::i64, {});
      if (!given) return given;
      tile::ValueId from_end = l.build.add(*given, l.number_of(l.shape(*x, int(*dim)), DType::i64));
      tile::ValueId is_below = l.build.binary(Binary::lt, *given, l.build.constant(0, DType::i64));
      return moved_on(l, l.build.select(is_below, from_end, *given), row[*dim]);
    });
  }
  int64_t size = l.size(*x, int(*dim)), count = l.size(*source, int(*dim));
  auto first = int64_t(*start);
  if (first < 0) first += size;
  first = std::clamp<int64_t>(first, 0, size);
  bool inside = *step >= 1 && (count == 0 || first + (count - 1) * int64_t(*step) < size);
  return inside && put_slice(l, *x, *source, *dim, first, int64_t(*step), true, to);
}

// self, src, dim, index
bool select_scatter(TileLowering& l, const Node& node, int32_t to) {
  const ValueId *x = tensor_argument(node, 0), *source = tensor_argument(node, 1);
  auto dim = x && source ? scattered_dim(l, node) : std::nullopt;
  auto index = number_argument(node, 3);
  if (!dim || !index || l.rank(*source) + 1 != l.rank(*x)) return false;
  int64_t size = l.size(*x, int(*dim)), at = int64_t(*index) + (*index < 0 ? size : 0);
  return at >= 0 && at < size && put_slice(l, *x, *source, *dim, at, 1, false, to);
}

}  // namespace

TILE(embedding) = {.op = "aten::embedding", .lower = embedding, .gathers = true};
TILE(index_select) = {.op = "aten::index_select", .lower = index_select, .gathers = true};
TILE(gather) = {.op = "aten::gather", .lower = gather, .gathers = true};
TILE(index_Tensor) = {.op = "aten::index.Tensor", .lower = index_tensor, .gathers = true};
TILE(index_copy) = {.op = "aten::index_copy", .update = index_copy};
TILE(index_put) = {.op = "aten::index_put", .update = index_put};
TILE(slice_scatter) = {.op = "aten::slice_scatter", .update = slice_scatter};
TILE(select_scatter) = {.op = "aten::select_scatter", .update = select_scatter};
TILE(updated_cache) = {.op = "sconce::updated_cache", .update = updated_cache};
TILE(updated_cache_at) = {.op = "sconce::updated_cache_at", .update = updated_cache_at};

}  // namespace sconce
