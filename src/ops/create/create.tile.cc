// Tensors from numbers, and triangles, in the tile language.
#include <cmath>

#include "ops/tile.h"

namespace sconce {
namespace {

using tile::Binary;
using Value = std::optional<tile::ValueId>;

// `number` in the type of the result, a fraction dropped for integers.
Value filled(TileLowering& l, const Node& node, std::optional<double> number) {
  DType dtype = tile::value_dtype(l.type(node.results[0]).dtype);
  if (!number) return std::nullopt;
  if (dtype == DType::b8) return l.build.constant(*number != 0, dtype);
  return l.build.constant(dtype == DType::f32 ? *number : std::trunc(*number), dtype);
}

template <int position>
Value full(TileLowering& l, const Node& node, const TileIndex&) {
  return filled(l, node, number_argument(node, position));
}
template <int number>
Value constant(TileLowering& l, const Node& node, const TileIndex&) {
  return filled(l, node, number);
}

// start + index * step, of whole numbers: floats of such are rounded once.
Value range(TileLowering& l, const Node& node, const TileIndex& at, std::optional<double> start,
            std::optional<double> step) {
  auto is_whole = [](std::optional<double> x) {
    return x && std::trunc(*x) == *x && std::fabs(*x) <= INT32_MAX;
  };
  if (!is_whole(start) || !is_whole(step) || at.size() != 1) return std::nullopt;
  DType dtype = tile::value_dtype(l.type(node.results[0]).dtype);
  tile::ValueId x = l.position(at[0]);
  if (*step != 1) x = l.build.mul(x, l.build.constant(*step, DType::i64));
  if (*start != 0) x = l.build.add(x, l.build.constant(*start, DType::i64));
  return dtype == DType::i64 ? x : l.build.cast(x, dtype);
}
// end
Value arange(TileLowering& l, const Node& node, const TileIndex& at) {
  return range(l, node, at, 0, 1);
}
// start, end, step
Value arange_start_step(TileLowering& l, const Node& node, const TileIndex& at) {
  return range(l, node, at, number_argument(node, 0), number_argument(node, 2));
}

// self, diagonal: what lies on the other side is 0.
template <Binary side>
Value triangle(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId* x = tensor_argument(node, 0);
  auto diagonal = number_argument(node, 1);
  if (!x || !diagonal || at.size() < 2 || std::fabs(*diagonal) > INT32_MAX) return std::nullopt;
  Value loaded = l.at(*x, at);
  if (!loaded) return std::nullopt;
  tile::ValueId right = l.build.sub(l.position(at[at.size() - 1]), l.position(at[at.size() - 2]));
  tile::ValueId stays = l.build.binary(side, right, l.build.constant(*diagonal, DType::i64));
  DType dtype = tile::value_dtype(l.type(*x).dtype);
  return l.build.select(stays, *loaded, l.build.constant(0, dtype));
}

}  // namespace

TILE(full) = {.op = "aten::full", .lower = full<1>, .sized = true};
TILE(full_like) = {.op = "aten::full_like", .lower = full<1>};
TILE(fill_Scalar) = {.op = "aten::fill.Scalar", .lower = full<1>};
TILE(scalar_tensor) = {.op = "aten::scalar_tensor", .lower = full<0>};
TILE(zeros) = {.op = "aten::zeros", .lower = constant<0>, .sized = true};
TILE(ones) = {.op = "aten::ones", .lower = constant<1>, .sized = true};
TILE(empty_memory_format) = {
    .op = "aten::empty.memory_format", .lower = constant<0>, .sized = true};
TILE(arange) = {.op = "aten::arange", .lower = arange, .sized = true};
TILE(arange_start_step) = {
    .op = "aten::arange.start_step", .lower = arange_start_step, .sized = true};
TILE(tril) = {.op = "aten::tril", .lower = triangle<Binary::le>};
TILE(triu) = {.op = "aten::triu", .lower = triangle<Binary::ge>};

}  // namespace sconce
