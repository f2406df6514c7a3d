// Matrix products in the tile language.
#include "ops/linear/product_tile.h"
#include "ops/linear/strassen.h"

namespace sconce {
namespace {

// What a node that multiplies rows x[..., k] by a constant matrix needs for Strassen's method;
// nothing where the direct way is better.
struct StrassenProduct {
  ValueId x;
  StrassenColumns columns;
  const ValueId* bias;  // [columns], or null
};
std::optional<StrassenProduct> strassen_product(const TileLowering& l, const Node& node) {
  const bool is_linear = node.op == "aten::linear", is_addmm = node.op == "aten::addmm";
  const ValueId *x = tensor_argument(node, is_addmm), *weight = tensor_argument(node, 1 + is_addmm),
                *bias = is_linear  ? tensor_argument(node, 2)
                        : is_addmm ? tensor_argument(node, 0)
                                   : nullptr;
  if (!x || !weight || l.graph.type(*x).tensor.dtype != DType::f32 || l.rank(*x) < 2 ||
      (!is_linear && l.rank(*x) != 2) || l.rank(*weight) != 2 || !is_static(l.type(*weight)) ||
      (is_addmm && (number_argument(node, 3) != 1 || number_argument(node, 4) != 1)))
    return std::nullopt;
  const int rows = l.rank(*x) - 2;
  StrassenColumns columns{*weight, l.size(*weight, is_linear), l.size(*weight, !is_linear), 1, 1};
  (is_linear ? columns.column_stride : columns.step_stride) = l.size(*weight, 1);
  if (l.shape(*x, rows + 1) != SymInt(columns.steps) ||
      (bias && (l.rank(*bias) != 1 || l.shape(*bias, 0) != SymInt(columns.columns))))
    return std::nullopt;
  int64_t batches = 1;
  for (int d = 0; d < rows; d++) batches *= l.likely(l.shape(*x, d));
  if (!is_worth_strassen(l, batches, l.shape(*x, rows), columns)) return std::nullopt;
  return StrassenProduct{*x, columns, bias};
}

std::optional<tile::ValueId> by_strassen(TileLowering& l, const StrassenProduct& product,
                                         const TileIndex& at) {
  auto x = [&](int64_t row, const tile::Index& k) {
    TileIndex from = at;
    from[from.size() - 2].offset = row;
    from.back() = k;
    return l.at(product.x, from);
  };
  auto bias = [&](const tile::Index& column) -> std::optional<tile::ValueId> {
    if (!product.bias) return l.build.constant(0);
    return l.broadcast(*product.bias, {column});
  };
  return strassen(l, product.columns, l.shape(product.x, int(at.size()) - 2), at, x, bias);
}

// Rules of products by Strassen's method where that is better, and directly elsewhere.
using Lower = std::optional<tile::ValueId>(TileLowering&, const Node&, const TileIndex&);
using Axes = std::optional<TileIndex>(TileLowering&, const Node&);
template <Lower direct>
std::optional<tile::ValueId> product_or(TileLowering& l, const Node& node, const TileIndex& at) {
  auto product = strassen_product(l, node);
  return product ? by_strassen(l, *product, at) : direct(l, node, at);
}
template <Axes direct>
std::optional<TileIndex> axes_or(TileLowering& l, const Node& node) {
  return strassen_product(l, node) ? strassen_axes(l, l.shape(node.results[0])) : direct(l, node);
}
std::vector<TileCell> product_cell(const TileLowering& l, const Node& node) {
  auto product = strassen_product(l, node);
  return product ? strassen_cell(l.shape(node.results[0])) : std::vector<TileCell>();
}
template <Lower lower, Axes axes>
constexpr TileRule rule_of(const char* op) {
  return {.op = op, .lower = product_or<lower>, .axes = axes_or<axes>, .cell = product_cell};
}

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

TILE(linear) = rule_of<linear, rows_and_columns>("aten::linear");
TILE(int_mm) = {"aten::_int_mm", int_mm, batched_axes};
TILE(mm) = rule_of<matmul, batched_axes>("aten::mm");
TILE(bmm) = {"aten::bmm", matmul, batched_axes};
TILE(matmul) = {"aten::matmul", matmul, batched_axes};
TILE(addmm) = rule_of<addmm, batched_axes>("aten::addmm");

}  // namespace sconce
