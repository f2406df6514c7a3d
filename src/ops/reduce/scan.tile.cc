// Running sums and products in the tile language: a loop over blocks of the dimension, which
// carries what stands before a block. Within one, each element is reduced from those up to it.
#include "ops/tile.h"

namespace sconce {
namespace {

using tile::AxisId;
using tile::Binary;
using tile::Reduce;
using Value = std::optional<tile::ValueId>;

constexpr int64_t kBlock = 16;  // part of the kernel: it decides how sums of floats round

struct Scan {
  ValueId x;
  size_t dim;
  DType dtype;  // of the result
};
std::optional<Scan> read(const TileLowering& l, const Node& node) {
  const ValueId* x = tensor_argument(node, 0);
  auto dim = number_argument(node, 1);
  if (!x || !dim) return std::nullopt;
  int rank = l.rank(*x);
  DType dtype = l.type(node.results[0]).dtype;
  if (*dim < -rank || *dim >= rank || (dtype != DType::f32 && dtype != DType::i64))
    return std::nullopt;
  return Scan{*x, size_t(*dim < 0 ? int(*dim) + rank : int(*dim)), dtype};
}

// The loop is open from here on, so that all that joins the kernel is in it.
template <Reduce function>
std::optional<TileIndex> scanned_axes(TileLowering& l, const Node& node) {
  auto scan = read(l, node);
  if (!scan) return std::nullopt;
  TileIndex at;
  std::vector<AxisId> rows;
  for (size_t d = 0; d < size_t(l.rank(scan->x)); d++) {
    SymInt size = l.shape(scan->x, int(d));
    at.push_back(d == scan->dim ? tile::along(l.build.serial(l.extent(size), kBlock))
                                : l.parallel(size));
    if (d != scan->dim)
      for (const tile::Term& term : at[d].terms) rows.push_back(term.axis);
  }
  tile::ValueId none = l.build.constant(function == Reduce::sum ? 0 : 1, scan->dtype, rows);
  l.kept = l.build.begin_loop(at[scan->dim].terms[0].axis, {none});
  return at;
}

template <Reduce function, Binary join>
Value scan(TileLowering& l, const Node& node, const TileIndex& at) {
  auto scan = read(l, node);
  if (!scan) return std::nullopt;
  tile::Builder& b = l.build;
  AxisId place = at[scan->dim].terms[0].axis, other = b.span(tile::known(kBlock));
  tile::ValueId places = b.iota(place), first = b.reduce(Reduce::min, places, {place});
  TileIndex from = at;
  from[scan->dim] = {{{other, 1}}, 0, first};
  double none = function == Reduce::sum ? 0 : 1;
  // What lies behind the end joins nothing.
  Value x = l.at(scan->x, from, none);
  if (!x) return std::nullopt;
  if (l.type(scan->x).dtype != scan->dtype) x = b.cast(*x, scan->dtype);
  tile::ValueId is_before = b.binary(Binary::le, b.add(first, b.iota(other)), places);
  tile::ValueId before = b.select(is_before, *x, b.constant(none, scan->dtype));
  tile::ValueId carried = l.kept[0];
  l.loop = {place, {b.binary(join, carried, b.reduce(function, *x, {other}))}, {}};
  return b.binary(join, carried, b.reduce(function, before, {other}));
}

}  // namespace

TILE(cumsum) = {.op = "aten::cumsum",
                .lower = scan<Reduce::sum, Binary::add>,
                .axes = scanned_axes<Reduce::sum>};
TILE(cumprod) = {.op = "aten::cumprod",
                 .lower = scan<Reduce::prod, Binary::mul>,
                 .axes = scanned_axes<Reduce::prod>};

}  // namespace sconce
