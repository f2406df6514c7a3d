// Pointwise operators in the tile language.
#include <cmath>

#include "ops/tile.h"
#include "tensor/half.h"

namespace sconce {
namespace {

using tile::Binary;
using tile::Unary;
using Value = std::optional<tile::ValueId>;

DType result_dtype(TileLowering& l, const Node& node) { return l.type(node.results[0]).dtype; }

// The operand of a function on f32 alone.
Value float_operand(TileLowering& l, const Node& node, const TileIndex& at) {
  if (result_dtype(l, node) != DType::f32) return std::nullopt;
  return l.operand(node.arguments[0], DType::f32, at);
}

// The operand of a function that every number has.
Value number_operand(TileLowering& l, const Node& node, const TileIndex& at) {
  DType dtype = result_dtype(l, node);
  if (dtype != DType::f32 && dtype != DType::i32 && dtype != DType::i64) return std::nullopt;
  return l.operand(node.arguments[0], dtype, at);
}

template <Unary function>
Value of_floats(TileLowering& l, const Node& node, const TileIndex& at) {
  Value x = float_operand(l, node, at);
  if (!x) return std::nullopt;
  return l.build.unary(function, *x);
}

template <Unary function>
Value of_numbers(TileLowering& l, const Node& node, const TileIndex& at) {
  Value x = number_operand(l, node, at);
  if (!x) return std::nullopt;
  return l.build.unary(function, *x);
}

// An argument as the reference kernels see it: beside tensors of 16-bit floats a number is one.
Argument rounded_number(TileLowering& l, const Node& node, size_t i) {
  auto number = number_argument(node, i);
  if (!number || std::holds_alternative<bool>(node.arguments[i])) return node.arguments[i];
  for (size_t k = 0; k < 2; k++)
    if (const ValueId* tensor = tensor_argument(node, k)) {
      DType dtype = l.graph.type(*tensor).tensor.dtype;
      if (dtype == DType::f16) return double(to_float(to_f16(float(*number))));
      if (dtype == DType::bf16) return double(to_float(to_bf16(float(*number))));
    }
  return node.arguments[i];
}

struct Operands {
  tile::ValueId x, y;
};
std::optional<Operands> operands(TileLowering& l, const Node& node, DType dtype,
                                 const TileIndex& at, bool exact_numbers = false) {
  auto operand = [&](size_t i) {
    return l.operand(exact_numbers ? node.arguments[i] : rounded_number(l, node, i), dtype, at);
  };
  Value x = operand(0), y = operand(1);
  if (!x || !y) return std::nullopt;
  return Operands{*x, *y};
}

bool is_computed(DType dtype) {
  return dtype == DType::f32 || dtype == DType::i32 || dtype == DType::i64;
}

template <Binary function>
Value arithmetic(TileLowering& l, const Node& node, const TileIndex& at) {
  DType dtype = result_dtype(l, node);
  // The product and the smaller of booleans are their and, the larger is their or.
  if (dtype == DType::b8 &&
      (function == Binary::mul || function == Binary::min || function == Binary::max)) {
    auto o = operands(l, node, dtype, at);
    if (!o) return std::nullopt;
    return l.build.binary(function == Binary::max ? Binary::bit_or : Binary::bit_and, o->x, o->y);
  }
  if (!is_computed(dtype) ||
      ((function == Binary::div || function == Binary::pow) && dtype != DType::f32))
    return std::nullopt;
  auto o = operands(l, node, dtype, at, function == Binary::mul || function == Binary::div);
  if (!o) return std::nullopt;
  return l.build.binary(function, o->x, o->y);
}

// x + alpha * y.
template <int sign, int alpha_position>
Value scaled_sum(TileLowering& l, const Node& node, const TileIndex& at) {
  DType dtype = result_dtype(l, node);
  if (!is_computed(dtype)) return std::nullopt;
  auto alpha = number_argument(node, alpha_position);
  auto o = operands(l, node, dtype, at);
  if (!alpha || !o) return std::nullopt;
  if (*alpha == 1) return sign > 0 ? l.build.add(o->x, o->y) : l.build.sub(o->x, o->y);
  tile::ValueId factor = l.build.constant(sign * *alpha, tile::value_dtype(dtype));
  if (dtype == DType::f32) return l.build.fma(o->y, factor, o->x);
  return l.build.add(o->x, l.build.mul(o->y, factor));
}

// The type that a comparison or a logical operator computes in: that of its tensors.
std::optional<DType> operand_dtype(TileLowering& l, const Node& node) {
  std::optional<DType> dtype;
  for (size_t i = 0; i < 2; i++)
    if (const ValueId* tensor = tensor_argument(node, i)) {
      if (!l.graph.type(*tensor).is_tensor() || (dtype && *dtype != l.type(*tensor).dtype))
        return std::nullopt;
      dtype = l.type(*tensor).dtype;
    }
  return dtype;
}

template <Binary function>
Value comparison(TileLowering& l, const Node& node, const TileIndex& at) {
  auto dtype = operand_dtype(l, node);
  if (!dtype || result_dtype(l, node) != DType::b8) return std::nullopt;
  auto* other = tensor_argument(node, 1);
  // Beside a boolean, a number may be any.
  bool of_booleans = *dtype == DType::b8 && other && l.graph.type(*other).is_tensor();
  if (!is_computed(*dtype) && !of_booleans) return std::nullopt;
  auto o = operands(l, node, *dtype, at);
  if (!o) return std::nullopt;
  return l.build.binary(function, o->x, o->y);
}

template <Binary function>
Value bits(TileLowering& l, const Node& node, const TileIndex& at) {
  auto dtype = operand_dtype(l, node);
  bool logical = dtype == DType::b8;
  if (!dtype || dtype != result_dtype(l, node) ||
      (!logical && dtype != DType::i32 && dtype != DType::i64))
    return std::nullopt;
  auto o = operands(l, node, *dtype, at);
  if (!o) return std::nullopt;
  return l.build.binary(function, o->x, o->y);
}

// What a tensor is where booleans are wanted.
Value is_true(TileLowering& l, const Argument& argument, const TileIndex& at) {
  auto* tensor = std::get_if<ValueRef>(&argument);
  if (!tensor || !l.graph.type(tensor->id).is_tensor()) return std::nullopt;
  DType dtype = l.type(tensor->id).dtype;
  if (dtype != DType::b8 && !is_computed(dtype)) return std::nullopt;
  Value x = l.broadcast(tensor->id, at);
  if (!x || dtype == DType::b8) return x;
  return l.build.binary(Binary::ne, *x, l.build.constant(0, dtype));
}
template <Binary function>
Value logical(TileLowering& l, const Node& node, const TileIndex& at) {
  Value x = is_true(l, node.arguments[0], at), y = is_true(l, node.arguments[1], at);
  if (!x || !y || result_dtype(l, node) != DType::b8) return std::nullopt;
  return l.build.binary(function, *x, *y);
}
Value logical_not(TileLowering& l, const Node& node, const TileIndex& at) {
  Value x = is_true(l, node.arguments[0], at);
  if (!x || result_dtype(l, node) != DType::b8) return std::nullopt;
  return l.build.unary(Unary::bit_not, *x);
}
Value bitwise_not(TileLowering& l, const Node& node, const TileIndex& at) {
  DType dtype = result_dtype(l, node);
  if (dtype != DType::b8 && dtype != DType::i32 && dtype != DType::i64) return std::nullopt;
  Value x = l.operand(node.arguments[0], dtype, at);
  if (!x) return std::nullopt;
  return l.build.unary(Unary::bit_not, *x);
}

// What only floats can be; integers never are.
Value isnan(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId* x = tensor_argument(node, 0);
  if (!x || result_dtype(l, node) != DType::b8) return std::nullopt;
  if (l.type(*x).dtype != DType::f32) return l.build.constant(0, DType::b8);
  Value loaded = l.at(*x, at);
  if (!loaded) return std::nullopt;
  return l.build.binary(Binary::ne, *loaded, *loaded);
}
Value isinf(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId* x = tensor_argument(node, 0);
  if (!x || result_dtype(l, node) != DType::b8) return std::nullopt;
  if (l.type(*x).dtype != DType::f32) return l.build.constant(0, DType::b8);
  Value loaded = l.at(*x, at);
  if (!loaded) return std::nullopt;
  return l.build.binary(Binary::eq, l.build.unary(Unary::abs, *loaded), l.build.constant(INFINITY));
}

// (x > 0) - (x < 0): of NaN 0, as torch has it.
Value sign(TileLowering& l, const Node& node, const TileIndex& at) {
  Value x = number_operand(l, node, at);
  if (!x) return std::nullopt;
  DType dtype = tile::value_dtype(result_dtype(l, node));
  tile::ValueId zero = l.build.constant(0, dtype);
  tile::ValueId above = l.build.cast(l.build.binary(Binary::gt, *x, zero), dtype);
  return l.build.sub(above, l.build.cast(l.build.binary(Binary::lt, *x, zero), dtype));
}

// floor and its like: integers stay what they are.
template <Unary function>
Value rounded(TileLowering& l, const Node& node, const TileIndex& at) {
  Value x = number_operand(l, node, at);
  if (!x || result_dtype(l, node) != DType::f32) return x;
  return l.build.unary(function, *x);
}

// min and max of the tile language pass a NaN on, as torch's clamp does.
Value clamp_between(TileLowering& l, Value x, std::optional<double> low,
                    std::optional<double> high) {
  if (!x) return std::nullopt;
  if (low) x = l.build.binary(Binary::max, *x, l.build.constant(*low));
  if (high) x = l.build.binary(Binary::min, *x, l.build.constant(*high));
  return x;
}
// Limits are numbers or tensors; none is none.
Value clamp(TileLowering& l, const Node& node, const TileIndex& at) {
  Value x = number_operand(l, node, at);
  for (size_t i : {1, 2}) {
    if (std::holds_alternative<None>(node.arguments[i])) continue;
    Value limit = l.operand(node.arguments[i], result_dtype(l, node), at);
    if (!x || !limit) return std::nullopt;
    x = l.build.binary(i == 1 ? Binary::max : Binary::min, *x, *limit);
  }
  return x;
}
Value relu6(TileLowering& l, const Node& node, const TileIndex& at) {
  return clamp_between(l, float_operand(l, node, at), 0, 6);
}

// clamp(x / 6 + 1 / 2, 0, 1), as torch computes it: min(max(x + 3, 0), 6) / 6.
Value hard_gate(TileLowering& l, tile::ValueId x) {
  Value gate = clamp_between(l, l.build.add(x, l.build.constant(3)), 0, 6);
  return l.build.mul(*gate, l.build.constant(1.0f / 6));
}
Value hardsigmoid(TileLowering& l, const Node& node, const TileIndex& at) {
  Value x = float_operand(l, node, at);
  if (!x) return std::nullopt;
  return hard_gate(l, *x);
}
Value hardswish(TileLowering& l, const Node& node, const TileIndex& at) {
  Value x = float_operand(l, node, at);
  if (!x) return std::nullopt;
  return l.build.mul(*x, *hard_gate(l, *x));
}

Value gelu(TileLowering& l, const Node& node, const TileIndex& at) {
  auto* how = std::get_if<std::string>(&node.arguments[1]);
  Value x = float_operand(l, node, at);
  if (!x || !how) return std::nullopt;
  return l.build.unary(*how == "tanh" ? Unary::gelu_tanh : Unary::gelu, *x);
}

Value leaky_relu(TileLowering& l, const Node& node, const TileIndex& at) {
  auto slope = number_argument(node, 1);
  Value x = float_operand(l, node, at);
  if (!x || !slope) return std::nullopt;
  tile::ValueId positive = l.build.binary(Binary::gt, *x, l.build.constant(0));
  return l.build.select(positive, *x, l.build.mul(*x, l.build.constant(*slope)));
}

Value elu(TileLowering& l, const Node& node, const TileIndex& at) {
  auto alpha = number_argument(node, 1), scale = number_argument(node, 2),
       inner = number_argument(node, 3);
  Value x = float_operand(l, node, at);
  if (!x || !alpha || !scale || !inner) return std::nullopt;
  tile::ValueId positive = l.build.binary(Binary::gt, *x, l.build.constant(0));
  tile::ValueId below = l.build.unary(Unary::expm1, l.build.mul(*x, l.build.constant(*inner)));
  return l.build.select(positive, l.build.mul(*x, l.build.constant(*scale)),
                        l.build.mul(below, l.build.constant(*alpha * *scale)));
}

Value pow_scalar(TileLowering& l, const Node& node, const TileIndex& at) {
  auto exponent = number_argument(node, 1);
  Value x = float_operand(l, node, at);
  if (!x || !exponent) return std::nullopt;
  if (*exponent == 2) return l.build.mul(*x, *x);
  if (*exponent == 3) return l.build.mul(l.build.mul(*x, *x), *x);
  if (*exponent == 0.5) return l.build.unary(Unary::sqrt, *x);
  if (*exponent == -0.5) return l.build.unary(Unary::rsqrt, *x);
  if (*exponent == -1) return l.build.unary(Unary::recip, *x);
  return l.build.binary(Binary::pow, *x, l.build.constant(*exponent));
}

Value rsub(TileLowering& l, const Node& node, const TileIndex& at) {
  auto alpha = number_argument(node, 2);
  if (!alpha || *alpha != 1 || !is_computed(result_dtype(l, node))) return std::nullopt;
  auto o = operands(l, node, result_dtype(l, node), at);
  if (!o) return std::nullopt;
  return l.build.sub(o->y, o->x);
}

Value where(TileLowering& l, const Node& node, const TileIndex& at) {
  DType dtype = result_dtype(l, node);
  Value condition = l.operand(node.arguments[0], DType::b8, at),
        yes = l.operand(node.arguments[1], dtype, at), no = l.operand(node.arguments[2], dtype, at);
  if (!condition || !yes || !no || (!is_computed(dtype) && dtype != DType::b8)) return std::nullopt;
  return l.build.select(*condition, *yes, *no);
}
Value masked_fill(TileLowering& l, const Node& node, const TileIndex& at) {
  DType dtype = result_dtype(l, node);
  Value x = l.operand(node.arguments[0], dtype, at),
        mask = l.operand(node.arguments[1], DType::b8, at),
        fill = l.operand(node.arguments[2], dtype, at);
  if (!x || !mask || !fill || (!is_computed(dtype) && dtype != DType::b8)) return std::nullopt;
  return l.build.select(*mask, *fill, *x);
}

// True when a number was just limited to what a narrow integer can be.
bool is_limited(const tile::Builder& b, tile::ValueId x, double least, double most) {
  auto made = [&](tile::ValueId v) -> const tile::Instruction* {
    const auto& body = b.kernel().body;
    for (size_t n = body.size(); n-- > 0;)
      for (tile::ValueId result : body[n].results)
        if (result == v) return &body[n];
    return nullptr;
  };
  for (Binary f : {Binary::min, Binary::max}) {
    const tile::Instruction* limit = made(x);
    if (!limit || limit->op != tile::Op::binary || Binary(limit->function) != f) return false;
    const tile::Instruction* bound = made(limit->operands[1]);
    if (!bound || bound->op != tile::Op::constant || !(bound->number >= least) ||
        !(bound->number <= most))
      return false;
    x = limit->operands[0];
  }
  return true;
}

// A number or an integer of 32 bits as a narrow integer, which wraps.
tile::ValueId narrowed(tile::Builder& b, tile::ValueId x, bool is_number, DType to) {
  const int64_t all = dtype_bytes(to) == 1 ? 0xff : 0xffff, half = (all + 1) / 2;
  const double least = to == DType::u8 ? 0 : double(-half);
  const bool fits = is_number && is_limited(b, x, least, least + double(all));
  if (is_number) x = b.cast(x, DType::i32);
  if (fits) return x;
  auto whole = [&](int64_t number) { return b.constant(double(number), DType::i32); };
  x = b.binary(Binary::bit_and, x, whole(all));
  return to == DType::u8 ? x : b.sub(b.binary(Binary::bit_xor, x, whole(half)), whole(half));
}

// The element of tensor argument i in the type of the result. A float out of range has no value
// that torch promises; saturating is as good as any.
Value converted(TileLowering& l, const Node& node, size_t i, const TileIndex& at) {
  const ValueId* x = tensor_argument(node, i);
  if (!x || !l.graph.type(*x).is_tensor()) return std::nullopt;
  DType from = l.type(*x).dtype, to = result_dtype(l, node);
  auto known = [](DType dtype) { return is_computed(dtype) || dtype == DType::b8; };
  // A float out of range has no value that torch promises; saturating is as good as any.
  bool narrows = is_narrow(to) && (is_narrow(from) || from == DType::f32 || from == DType::i32);
  bool widens = is_narrow(from) && is_computed(to);
  if (!widens && !narrows && (!known(from) || !known(to))) return std::nullopt;
  Value loaded = i == 0 ? l.at(*x, at) : l.broadcast(*x, at);
  if (!loaded || from == to) return loaded;
  if (narrows) return narrowed(l.build, *loaded, from == DType::f32, to);
  return l.build.cast(*loaded, to);
}
Value to_copy(TileLowering& l, const Node& node, const TileIndex& at) {
  return converted(l, node, 0, at);
}
// self, and what takes its place.
Value copy(TileLowering& l, const Node& node, const TileIndex& at) {
  return converted(l, node, 1, at);
}

}  // namespace

TILE(relu) = {"aten::relu", of_numbers<Unary::relu>};
TILE(neg) = {"aten::neg", of_numbers<Unary::neg>};
TILE(abs) = {"aten::abs", of_numbers<Unary::abs>};
TILE(sqrt) = {"aten::sqrt", of_floats<Unary::sqrt>};
TILE(rsqrt) = {"aten::rsqrt", of_floats<Unary::rsqrt>};
TILE(reciprocal) = {"aten::reciprocal", of_floats<Unary::recip>};
TILE(exp) = {"aten::exp", of_floats<Unary::exp>};
TILE(expm1) = {"aten::expm1", of_floats<Unary::expm1>};
TILE(log) = {"aten::log", of_floats<Unary::log>};
TILE(log1p) = {"aten::log1p", of_floats<Unary::log1p>};
TILE(tanh) = {"aten::tanh", of_floats<Unary::tanh>};
TILE(erf) = {"aten::erf", of_floats<Unary::erf>};
TILE(sin) = {"aten::sin", of_floats<Unary::sin>};
TILE(cos) = {"aten::cos", of_floats<Unary::cos>};
TILE(floor) = {"aten::floor", rounded<Unary::floor>};
TILE(ceil) = {"aten::ceil", rounded<Unary::ceil>};
TILE(round) = {"aten::round", rounded<Unary::round>};
TILE(trunc) = {"aten::trunc", rounded<Unary::trunc>};
TILE(sigmoid) = {"aten::sigmoid", of_floats<Unary::sigmoid>};
TILE(silu) = {"aten::silu", of_floats<Unary::silu>};
TILE(gelu) = {"aten::gelu", gelu};
TILE(hardtanh) = {"aten::hardtanh", clamp};
TILE(clamp) = {"aten::clamp", clamp};
TILE(relu6) = {"aten::relu6", relu6};
TILE(hardsigmoid) = {"aten::hardsigmoid", hardsigmoid};
TILE(hardswish) = {"aten::hardswish", hardswish};
TILE(leaky_relu) = {"aten::leaky_relu", leaky_relu};
TILE(elu) = {"aten::elu", elu};
TILE(add_Tensor) = {"aten::add.Tensor", scaled_sum<1, 2>};
TILE(add_Scalar) = {"aten::add.Scalar", scaled_sum<1, 2>};
TILE(sub_Tensor) = {"aten::sub.Tensor", scaled_sum<-1, 2>};
TILE(sub_Scalar) = {"aten::sub.Scalar", scaled_sum<-1, 2>};
TILE(rsub_Tensor) = {"aten::rsub.Tensor", rsub};
TILE(rsub_Scalar) = {"aten::rsub.Scalar", rsub};
TILE(mul_Tensor) = {"aten::mul.Tensor", arithmetic<Binary::mul>};
TILE(mul_Scalar) = {"aten::mul.Scalar", arithmetic<Binary::mul>};
TILE(div_Tensor) = {"aten::div.Tensor", arithmetic<Binary::div>};
TILE(div_Scalar) = {"aten::div.Scalar", arithmetic<Binary::div>};
TILE(pow_Tensor_Scalar) = {"aten::pow.Tensor_Scalar", pow_scalar};
TILE(maximum) = {"aten::maximum", arithmetic<Binary::max>};
TILE(minimum) = {"aten::minimum", arithmetic<Binary::min>};
TILE(eq_Tensor) = {"aten::eq.Tensor", comparison<Binary::eq>};
TILE(eq_Scalar) = {"aten::eq.Scalar", comparison<Binary::eq>};
TILE(ne_Tensor) = {"aten::ne.Tensor", comparison<Binary::ne>};
TILE(ne_Scalar) = {"aten::ne.Scalar", comparison<Binary::ne>};
TILE(lt_Tensor) = {"aten::lt.Tensor", comparison<Binary::lt>};
TILE(lt_Scalar) = {"aten::lt.Scalar", comparison<Binary::lt>};
TILE(le_Tensor) = {"aten::le.Tensor", comparison<Binary::le>};
TILE(le_Scalar) = {"aten::le.Scalar", comparison<Binary::le>};
TILE(gt_Tensor) = {"aten::gt.Tensor", comparison<Binary::gt>};
TILE(gt_Scalar) = {"aten::gt.Scalar", comparison<Binary::gt>};
TILE(ge_Tensor) = {"aten::ge.Tensor", comparison<Binary::ge>};
TILE(ge_Scalar) = {"aten::ge.Scalar", comparison<Binary::ge>};
TILE(bitwise_and_Tensor) = {"aten::bitwise_and.Tensor", bits<Binary::bit_and>};
TILE(bitwise_or_Tensor) = {"aten::bitwise_or.Tensor", bits<Binary::bit_or>};
TILE(bitwise_xor_Tensor) = {"aten::bitwise_xor.Tensor", bits<Binary::bit_xor>};
TILE(logical_and) = {"aten::logical_and", logical<Binary::bit_and>};
TILE(logical_or) = {"aten::logical_or", logical<Binary::bit_or>};
TILE(logical_xor) = {"aten::logical_xor", logical<Binary::bit_xor>};
TILE(logical_not) = {"aten::logical_not", logical_not};
TILE(bitwise_and_Scalar) = {"aten::bitwise_and.Scalar", bits<Binary::bit_and>};
TILE(bitwise_or_Scalar) = {"aten::bitwise_or.Scalar", bits<Binary::bit_or>};
TILE(bitwise_xor_Scalar) = {"aten::bitwise_xor.Scalar", bits<Binary::bit_xor>};
TILE(bitwise_not) = {"aten::bitwise_not", bitwise_not};
TILE(isnan) = {"aten::isnan", isnan};
TILE(isinf) = {"aten::isinf", isinf};
TILE(sign) = {"aten::sign", sign};
TILE(clamp_Tensor) = {"aten::clamp.Tensor", clamp};
TILE(pow_Tensor_Tensor) = {"aten::pow.Tensor_Tensor", arithmetic<Binary::pow>};
TILE(pow_Scalar) = {"aten::pow.Scalar", arithmetic<Binary::pow>};
TILE(where_self) = {"aten::where.self", where};
TILE(masked_fill_Scalar) = {"aten::masked_fill.Scalar", masked_fill};
TILE(masked_fill_Tensor) = {"aten::masked_fill.Tensor", masked_fill};
TILE(copy) = {"aten::copy", copy};
TILE(fill_Tensor) = {"aten::fill.Tensor", copy};
TILE(to_copy) = {"aten::_to_copy", to_copy};

}  // namespace sconce
