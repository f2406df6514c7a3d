// Quantise and dequantise by one scale, or one for each row, in the tile language, in the steps of
// quantize.kernel.cc.
#include <algorithm>

#include "ops/quantized/tokens.h"

namespace sconce {
namespace {

using tile::Binary;
using tile::Unary;
using Value = std::optional<tile::ValueId>;

// What is no number becomes 0.
tile::ValueId as_integer(tile::Builder& b, tile::ValueId q, double min, double max) {
  q = b.binary(Binary::max, q, b.constant(double(float(min))));
  q = b.binary(Binary::min, q, b.constant(double(float(max))));
  q = b.select(b.binary(Binary::eq, q, q), q, b.constant(0));
  return b.cast(q, DType::i32);
}

// input, scale, zero_point, quant_min, quant_max, dtype
Value quantize(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId* x = tensor_argument(node, 0);
  auto scale = number_argument(node, 1), zero = number_argument(node, 2),
       min = number_argument(node, 3), max = number_argument(node, 4);
  if (!x || !scale || *scale == 0 || !zero || !min || !max || l.type(*x).dtype != DType::f32 ||
      !is_narrow(l.type(node.results[0]).dtype))
    return std::nullopt;
  Value value = l.at(*x, at);
  if (!value) return std::nullopt;
  auto number = [&](double x) { return l.build.constant(double(float(x))); };
  tile::ValueId q = l.build.unary(Unary::round, l.build.mul(*value, number(1 / *scale)));
  return as_integer(l.build, l.build.add(q, number(*zero)), *min, *max);
}

// input, scale, zero_point, quant_min, quant_max, dtype, out_dtype
Value dequantize(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId* q = tensor_argument(node, 0);
  auto scale = number_argument(node, 1), zero = number_argument(node, 2);
  if (!q || !scale || !zero || !is_narrow(l.type(*q).dtype) ||
      l.type(node.results[0]).dtype != DType::f32)
    return std::nullopt;
  Value value = l.at(*q, at);
  if (!value) return std::nullopt;
  auto number = [&](double x) { return l.build.constant(double(float(x))); };
  tile::ValueId x = l.build.sub(l.build.cast(*value, DType::f32), number(*zero));
  return l.build.mul(x, number(*scale));
}

// Zeros in the model, or made by a full.
bool is_zeros(const TileLowering& l, ValueId id) {
  const ValueInfo& info = l.graph.values[size_t(id)];
  if (info.origin == Origin::node) {
    const Node& node = l.graph.producer(id);
    return node.op == "aten::full" && number_argument(node, 1) == 0.0;
  }
  if (!l.constant_index(id)) return false;
  Bytes bytes = l.constant_bytes(id);
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

// A number for each row of x.
bool is_by_row(const TileLowering& l, ValueId id, ValueId x) {
  std::vector<SymInt> rows = l.shape(x);
  if (rows.empty()) return false;
  rows.back() = 1;
  return l.shape(id) == rows;
}

// input, scales, zero_points, quant_min, quant_max, dtype. Zero points are 0: then the steps are in
// the type of input and scales.
Value quantize_token(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId *x = tensor_argument(node, 0), *scale = tensor_argument(node, 1),
                *zero = tensor_argument(node, 2);
  auto min = number_argument(node, 3), max = number_argument(node, 4);
  if (!x || !scale || !zero || !min || !max || l.graph.type(*x).tensor.dtype != DType::f32 ||
      l.graph.type(*scale).tensor.dtype != DType::f32 || !is_zeros(l, *zero) ||
      !is_by_row(l, *scale, *x) || l.type(node.results[0]).dtype != DType::i8)
    return std::nullopt;
  Value value = l.at(*x, at), of_row = l.at(*scale, token_of(at));
  if (!value || !of_row) return std::nullopt;
  tile::ValueId q = l.build.mul(*value, l.build.unary(Unary::recip, *of_row));
  return as_integer(l.build, l.build.unary(Unary::round, q), *min, *max);
}

Value dequantize_token(TileLowering& l, const Node& node, const TileIndex& at) {
  auto integers = token_integers(l, node);
  if (!integers) return std::nullopt;
  Value q = l.at(integers->q, at), scale = l.at(integers->scale, token_of(at));
  if (!q || !scale) return std::nullopt;
  if (integers->zero == kNoValue) return l.build.mul(l.build.cast(*q, DType::f32), *scale);
  Value zero = l.at(integers->zero, token_of(at));
  if (!zero) return std::nullopt;
  return l.build.mul(without_zero(l.build, *q, *zero, l.type(integers->zero).dtype), *scale);
}

}  // namespace

TileIndex token_of(const TileIndex& at) {
  TileIndex token = at;
  token.back() = tile::at(0);
  return token;
}

// The same written out: (float(q) - zero) * scale.
static std::optional<TokenIntegers> written_out(const TileLowering& l, const Node& node) {
  const ValueId *numbers = tensor_argument(node, 0), *scale = tensor_argument(node, 1);
  auto made_by = [&](const ValueId* id, std::string_view op) {
    bool is_made = id && l.graph.is_node(*id) && l.graph.producer(*id).op == op;
    return is_made ? &l.graph.producer(*id) : nullptr;
  };
  TokenIntegers integers;
  if (const Node* sub = made_by(numbers, "aten::sub.Tensor")) {
    const ValueId* zero = tensor_argument(*sub, 1);
    numbers = tensor_argument(*sub, 0);
    if (!zero || !numbers || number_argument(*sub, 2) != 1.0) return std::nullopt;
    integers.zero = *zero;
  }
  const Node* cast = made_by(numbers, "aten::_to_copy");
  const ValueId* q = cast ? tensor_argument(*cast, 0) : nullptr;
  auto is_f32 = [&](ValueId id) { return l.graph.type(id).tensor.dtype == DType::f32; };
  if (!q || !scale || l.type(*q).dtype != DType::i8 || !is_f32(*numbers) || !is_f32(*scale) ||
      !is_by_row(l, *scale, *q) || l.shape(*q) != l.shape(node.results[0]))
    return std::nullopt;
  if (integers.zero != kNoValue && (!is_f32(integers.zero) || !is_by_row(l, integers.zero, *q)))
    return std::nullopt;
  integers.q = *q;
  integers.scale = *scale;
  return integers;
}

tile::ValueId without_zero(tile::Builder& build, tile::ValueId q, tile::ValueId zero,
                           DType of_zero) {
  if (of_zero == DType::f32) return build.sub(build.cast(q, DType::f32), zero);
  if (of_zero == DType::i64) q = build.cast(q, DType::i64);
  return build.cast(build.sub(q, zero), DType::f32);
}

// input, scales, zero_points, quant_min, quant_max, dtype, output_dtype
std::optional<TokenIntegers> token_integers(const TileLowering& l, const Node& node) {
  if (node.op == "aten::mul.Tensor") return written_out(l, node);
  if (node.op != "quantized_decomposed::dequantize_per_token") return std::nullopt;
  const ValueId *q = tensor_argument(node, 0), *scale = tensor_argument(node, 1),
                *zero = tensor_argument(node, 2);
  if (!q || !scale || !zero || l.type(*q).dtype != DType::i8 ||
      l.graph.type(node.results[0]).tensor.dtype != DType::f32)
    return std::nullopt;
  bool fits = l.graph.type(*scale).tensor.dtype == DType::f32 && is_by_row(l, *scale, *q);
  if (fits && is_zeros(l, *zero)) return TokenIntegers{*q, *scale, kNoValue};
  DType of_zero = l.type(*zero).dtype;
  fits &= (of_zero == DType::i32 || of_zero == DType::i64) && is_by_row(l, *zero, *q);
  return fits ? std::optional(TokenIntegers{*q, *scale, *zero}) : std::nullopt;
}

TILE(quantize_per_token) = {"quantized_decomposed::quantize_per_token", quantize_token};
TILE(dequantize_per_token) = {"quantized_decomposed::dequantize_per_token", dequantize_token};
TILE(quantize_per_tensor) = {"quantized_decomposed::quantize_per_tensor", quantize};
TILE(dequantize_per_tensor) = {"quantized_decomposed::dequantize_per_tensor", dequantize};

}  // namespace sconce
