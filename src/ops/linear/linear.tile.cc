// Matrix products in the tile language.
#include "ops/linear/product_tile.h"

namespace sconce {
namespace {

// x[..., k] w[n, k] + b[n]
std::optional<tile::ValueId> linear(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId *x = tensor_argument(node, 0), *weight = tensor_argument(node, 1),
                *bias = tensor_argument(node, 2);
  if (!x || !weight || l.type(*x).dtype != DType::f32 || l.type(*weight).dtype != DType::f32 ||
      l.rank(*weight) != 2 || l.rank(*x) < 1 || l.shape(*x, l.rank(*x) - 1) != l.shape(*weight, 1))
    return std::nullopt;
  std::optional<tile::ValueId> initial = l.build.constant(0);
  if (bias) initial = l.broadcast(*bias, {at.back()});
  tile::AxisId k = l.span(l.shape(*weight, 1));
  TileIndex from(at.begin(), at.end() - 1);
  from.push_back(tile::along(k));
  auto rows = l.at(*x, from);
  if (!initial || !rows) return std::nullopt;
  std::optional<tile::ValueId> columns;
  if (auto packed = is_static(l.type(*weight)) ? l.panels(*weight, l.sizes(*weight), {1, 0}, 0)
                                               : std::nullopt)
    columns = l.build.load(*packed, {tile::along(k), at.back()});
  else
    columns = l.at(*weight, {at.back(), tile::along(k)});
  if (!columns) return std::nullopt;
  return l.build.dot(*initial, *rows, *columns, {k});
}

// `fits`: of which types both are.
std::optional<tile::ValueId> product(
    TileLowering& l, const Node& node, const TileIndex& at, size_t first,
    std::optional<tile::ValueId> initial,
    bool (*fits)(DType) = [](DType t) { return t == DType::f32; }) {
  const ValueId *a = tensor_argument(node, first), *b = tensor_argument(node, first + 1);
  const int rank = int(at.size());
  if (!a || !b || !initial || !fits(l.type(*a).dtype) || !fits(l.type(*b).dtype) ||
      !are_batches_of_products(l, *a, *b, rank))
    return std::nullopt;
  tile::AxisId k = l.span(l.shape(*a, rank - 1));
  TileIndex left = at, right = at;
  left.back() = tile::along(k);
  right[right.size() - 2] = tile::along(k);
  auto rows = l.at(*a, left);
  if (!rows) return std::nullopt;
  const DType dtype = l.type(*b).dtype;
  std::optional<tile::ValueId> columns;
  if (auto packed =
          rank == 2 && is_static(l.type(*b)) && (dtype == DType::f32 || dtype == DType::i8)
              ? l.panels(*b, l.sizes(*b), {0, 1}, 0)
              : std::nullopt)
    columns = l.build.load(*packed, right);
  else
    columns = l.at(*b, right);
  if (!columns) return std::nullopt;
  return l.build.dot(*initial, *rows, *columns, {k});
}

std::optional<tile::ValueId> matmul(TileLowering& l, const Node& node, const TileIndex& at) {
  return product(l, node, at, 0, l.build.constant(0));
}

std::optional<tile::ValueId> addmm(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId* bias = tensor_argument(node, 0);
  auto beta = number_argument(node, 3), alpha = number_argument(node, 4);
  if (!bias || beta != 1 || alpha != 1 || l.type(*bias).dtype != DType::f32) return std::nullopt;
  return product(l, node, at, 1, l.broadcast(*bias, at));
}

// Bytes by bytes: exact sums of 32 bits.
std::optional<tile::ValueId> int_mm(TileLowering& l, const Node& node, const TileIndex& at) {
  return product(l, node, at, 0, l.build.constant(0, DType::i32), is_narrow);
}

}  // namespace

TILE(linear) = {"aten::linear", linear, rows_and_columns};
TILE(int_mm) = {"aten::_int_mm", int_mm, batched_axes};
TILE(mm) = {"aten::mm", matmul, batched_axes};
TILE(bmm) = {"aten::bmm", matmul, batched_axes};
TILE(matmul) = {"aten::matmul", matmul, batched_axes};
TILE(addmm) = {"aten::addmm", addmm, batched_axes};

}  // namespace sconce
