// Quantise and dequantise by one scale in the tile language, in the steps of quantize.kernel.cc.
#include "ops/tile.h"

namespace sconce {
namespace {

using tile::Binary;
using tile::Unary;
using Value = std::optional<tile::ValueId>;

// input, scale, zero_point, quant_min, quant_max, dtype
Value quantize(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId* x = tensor_argument(node, 0);
  auto scale = number_argument(node, 1), zero = number_argument(node, 2),
       min = number_argument(node, 3), max = number_argument(node, 4);
  if (!x || !scale || *scale == 0 || !zero || !min || !max || l.type(*x).dtype != DType::f32 ||
      l.type(node.results[0]).dtype != DType::i8)
    return std::nullopt;
  Value value = l.at(*x, at);
  if (!value) return std::nullopt;
  auto number = [&](double x) { return l.build.constant(double(float(x))); };
  tile::ValueId q = l.build.unary(Unary::round, l.build.mul(*value, number(1 / *scale)));
  q = l.build.add(q, number(*zero));
  q = l.build.binary(Binary::max, q, number(*min));
  q = l.build.binary(Binary::min, q, number(*max));
  // What is no number becomes 0.
  q = l.build.select(l.build.binary(Binary::eq, q, q), q, number(0));
  return l.build.cast(q, DType::i32);
}

// input, scale, zero_point, quant_min, quant_max, dtype, out_dtype
Value dequantize(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId* q = tensor_argument(node, 0);
  auto scale = number_argument(node, 1), zero = number_argument(node, 2);
  if (!q || !scale || !zero || l.type(*q).dtype != DType::i8 ||
      l.type(node.results[0]).dtype != DType::f32)
    return std::nullopt;
  Value value = l.at(*q, at);
  if (!value) return std::nullopt;
  auto number = [&](double x) { return l.build.constant(double(float(x))); };
  tile::ValueId x = l.build.sub(l.build.cast(*value, DType::f32), number(*zero));
  return l.build.mul(x, number(*scale));
}

}  // namespace

TILE(quantize_per_tensor) = {"quantized_decomposed::quantize_per_tensor", quantize};
TILE(dequantize_per_tensor) = {"quantized_decomposed::dequantize_per_tensor", dequantize};

}  // namespace sconce
