// Reductions in the tile language.
#include "ops/tile.h"

namespace sconce {
namespace {

using tile::AxisId;
using tile::Reduce;

struct Reduction {
  ValueId x;
  std::vector<bool> reduced;  // by dimension of x
  bool keep;
};

std::optional<Reduction> read(const TileLowering& l, const Node& node) {
  const ValueId* x = tensor_argument(node, 0);
  if (!x || l.type(*x).dtype != DType::f32 || l.type(node.results[0]).dtype != DType::f32)
    return std::nullopt;
  int rank = l.rank(*x);
  Reduction r{*x, std::vector<bool>(size_t(rank), false),
              number_argument(node, 2).value_or(0) != 0};
  std::vector<int64_t> dims;
  if (auto list = ints_argument(node, 1)) dims = *list;
  if (dims.empty()) r.reduced.assign(size_t(rank), true);
  for (int64_t dim : dims) r.reduced[size_t(dim < 0 ? dim + rank : dim)] = true;
  return r;
}

std::optional<TileIndex> kept_axes(TileLowering& l, const Node& node) {
  auto r = read(l, node);
  if (!r) return std::nullopt;
  TileIndex at;
  for (SymInt size : l.shape(node.results[0])) at.push_back(l.parallel(size));
  return at;
}

template <Reduce function, bool mean>
std::optional<tile::ValueId> reduce(TileLowering& l, const Node& node, const TileIndex& at) {
  auto r = read(l, node);
  if (!r) return std::nullopt;
  TileIndex from;
  std::vector<AxisId> over;
  size_t kept = 0;
  bool lanes = false;
  for (size_t d = 0; d < r->reduced.size(); d++) {
    if (!r->reduced[d]) {
      from.push_back(at[kept++]);
      continue;
    }
    kept += r->keep;
    // The axis along memory last, so that the 16 lanes run along it.
    AxisId axis = l.span(l.shape(r->x, int(d)));
    bool innermost = l.is_innermost(r->x, int(d));
    over.insert(innermost || !lanes ? over.end() : over.end() - 1, axis);
    lanes |= innermost;
    from.push_back(tile::along(axis));
  }
  auto x = l.at(r->x, from);
  if (!x) return std::nullopt;
  if (over.empty()) return x;
  tile::ValueId y = l.build.reduce(function, *x, over, lanes && function == Reduce::sum);
  return mean ? l.build.mul(y, l.share_of(over)) : y;
}

}  // namespace

TILE(sum_dim) = {"aten::sum.dim_IntList", reduce<Reduce::sum, false>, kept_axes};
TILE(mean_dim) = {"aten::mean.dim", reduce<Reduce::sum, true>, kept_axes};
TILE(amax) = {"aten::amax", reduce<Reduce::max, false>, kept_axes};
TILE(amin) = {"aten::amin", reduce<Reduce::min, false>, kept_axes};

}  // namespace sconce
