// Gathers in the tile language: loads at indices that tensors hold.
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

// x[a, :, b]: tensors of integers for some dimensions, broadcast with each other. Theirs replace
// the indexed dimensions where those stand side by side, and come first otherwise.
Value index_tensor(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId* x = tensor_argument(node, 0);
  auto* entries = std::get_if<std::vector<ValueRef>>(&node.arguments[1]);
  if (!x || !entries || entries->size() > size_t(l.rank(*x))) return std::nullopt;
  std::vector<ValueId> indices(size_t(l.rank(*x)), kNoValue);
  size_t first = SIZE_MAX, last = 0, count = 0, width = 0;
  for (size_t d = 0; d < entries->size(); d++) {
    ValueId id = (*entries)[d].id;
    if (id == kNoValue) continue;
    if (!is_index(l, id)) return std::nullopt;  // a mask: its count is known only with its data
    indices[d] = id;
    first = std::min(first, d);
    last = d;
    count++;
    width = std::max(width, size_t(l.rank(id)));
  }
  if (count == 0 || at.size() != indices.size() - count + width) return std::nullopt;
  size_t position = last - first + 1 == count ? first : 0;
  TileIndex where(at.begin() + std::ptrdiff_t(position),
                  at.begin() + std::ptrdiff_t(position + width));
  TileIndex from;
  for (size_t d = 0, next = 0; d < indices.size(); d++) {
    if (indices[d] == kNoValue) {
      if (next == position) next += width;
      from.push_back(at[next++]);
      continue;
    }
    Value chosen = l.broadcast(indices[d], where);
    if (!chosen) return std::nullopt;
    // Below zero it counts from the end.
    DType dtype = l.type(indices[d]).dtype;
    tile::ValueId from_end = l.build.add(*chosen, l.number_of(l.shape(*x, int(d)), dtype));
    tile::ValueId is_below = l.build.binary(Binary::lt, *chosen, l.build.constant(0, dtype));
    from.push_back({{}, 0, l.build.select(is_below, from_end, *chosen)});
  }
  return l.at_strict(*x, from);
}

}  // namespace

TILE(embedding) = {.op = "aten::embedding", .lower = embedding, .gathers = true};
TILE(index_select) = {.op = "aten::index_select", .lower = index_select, .gathers = true};
TILE(gather) = {.op = "aten::gather", .lower = gather, .gathers = true};
TILE(index_Tensor) = {.op = "aten::index.Tensor", .lower = index_tensor, .gathers = true};

}  // namespace sconce
