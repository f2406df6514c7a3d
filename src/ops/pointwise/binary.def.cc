// Definitions of the binary rows, and of binary operators that are others by another name.
#include <cmath>

#include "ops/pointwise/special.h"

namespace sconce {
namespace {

template <Text target>
Results swap_operands(Build& build, const Node& node) {
  return build.call(target.text, {node.arguments[1], node.arguments[0]});
}
// x(Scalar self, Tensor other): the number becomes a tensor without dimensions of other's type, or of
// f32 when that is what the two promote to.
template <Text target>
Results with_tensor_self(Build& build, const Node& node) {
  DType dtype = build.dtype(value(node, 1));
  bool number_floats = std::holds_alternative<double>(node.arguments[0]);
  auto known = number(node, 0);
  if (!known) return std::nullopt;
  ValueId self = build.scalar(*known, is_integral(dtype) && number_floats ? DType::f32
                                      : dtype == DType::b8               ? DType::i64
                                                                          : dtype);
  return build.call(target.text, {Build::v(self), node.arguments[1]});
}
Results decompose_floor_divide(Build& build, const Node& node) {
  return build.call("aten::div.Scalar_mode", {node.arguments[0], node.arguments[1], std::string("floor")});
}
ValueId where(Build& build, ValueId condition, const Argument& yes, const Argument& no) {
  return build.call1("aten::where.self", {Build::v(condition), yes, no});
}
// The other operand where one is NaN.
template <Text target>
Results decompose_fmax(Build& build, const Node& node) {
  if (!std::holds_alternative<ValueRef>(node.arguments[1])) return std::nullopt;
  ValueId a_nan = build.call1("aten::isnan", {node.arguments[0]});
  ValueId b_nan = build.call1("aten::isnan", {node.arguments[1]});
  ValueId both = build.call1(target.text, node.arguments);
  ValueId b_there = where(build, b_nan, node.arguments[0], Build::v(both));
  return one(where(build, a_nan, node.arguments[1], Build::v(b_there)));
}
// Scaled by the larger magnitude, so that squares do not overflow.
Results decompose_hypot(Build& build, const Node& node) {
  if (!std::holds_alternative<ValueRef>(node.arguments[1])) return std::nullopt;
  auto [x, y] = promoted(build, node, true);
  ValueId a = build.call1("aten::abs", {Build::v(x)}), b = build.call1("aten::abs", {Build::v(y)});
  ValueId high = build.call1("aten::maximum", {Build::v(a), Build::v(b)});
  ValueId low = build.call1("aten::minimum", {Build::v(a), Build::v(b)});
  ValueId ratio = build.div(low, high);
  ValueId root = build.call1("aten::sqrt", {Build::v(build.add(build.mul(ratio, ratio), 1.0))});
  ValueId length = build.mul(high, root);
  ValueId zero = build.call1("aten::eq.Scalar", {Build::v(high), 0.0});
  ValueId a_inf = build.call1("aten::isinf", {Build::v(a)}), b_inf = build.call1("aten::isinf", {Build::v(b)});
  ValueId infinite = build.call1("aten::logical_or", {Build::v(a_inf), Build::v(b_inf)});
  ValueId bounded = where(build, zero, Build::v(high), Build::v(length));
  return build.call("aten::masked_fill.Scalar", {Build::v(bounded), Build::v(infinite), INFINITY});
}
Results decompose_heaviside(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  ValueId zero = build.call1("aten::eq.Scalar", {Build::v(x), 0.0});
  ValueId step = build.cast(build.call1("aten::gt.Scalar", {Build::v(x), 0.0}), build.dtype(x));
  return one(where(build, zero, node.arguments[1], Build::v(step)));
}
Results decompose_logaddexp(Build& build, const Node& node) {
  if (!std::holds_alternative<ValueRef>(node.arguments[1])) return std::nullopt;
  auto [a, b] = promoted(build, node, true);
  ValueId distance = build.call1("aten::abs", {Build::v(build.sub(a, b))});
  ValueId decay = build.call1("aten::exp", {Build::v(build.call1("aten::neg", {Build::v(distance)}))});
  ValueId high = build.call1("aten::maximum", {Build::v(a), Build::v(b)});
  ValueId sum = build.add(high, build.call1("aten::log1p", {Build::v(decay)}));
  ValueId equal = build.call1("aten::eq.Tensor", {Build::v(a), Build::v(b)});
  ValueId infinite = build.call1("aten::isinf", {Build::v(high)});
  ValueId same = build.call1("aten::logical_and", {Build::v(equal), Build::v(infinite)});
  return one(where(build, same, Build::v(high), Build::v(sum)));
}
// self * log(other); 0 where self is 0, unless other is NaN.
template <Text logarithm>
Results decompose_xlogy(Build& build, const Node& node) {
  if (!std::holds_alternative<ValueRef>(node.arguments[1])) return std::nullopt;
  auto [x, y] = promoted(build, node, true);
  ValueId product = build.mul(x, build.call1(logarithm.text, {Build::v(y)}));
  ValueId zero = build.call1("aten::eq.Scalar", {Build::v(x), 0.0});
  ValueId nan = build.call1("aten::isnan", {Build::v(y)});
  ValueId there = build.call1("aten::logical_not", {Build::v(nan)});
  ValueId clear = build.call1("aten::logical_and", {Build::v(zero), Build::v(there)});
  return build.call("aten::masked_fill.Scalar", {Build::v(product), Build::v(clear), 0.0});
}
// The same with a number as self, or as other.
template <Text target>
Results with_floating_self(Build& build, const Node& node) {
  auto known = number(node, 0);
  if (!known) return std::nullopt;
  ValueId y = build.cast(value(node, 1), to_floating(build.dtype(value(node, 1))));
  return build.call(target.text, {Build::v(build.scalar(*known, build.dtype(y))), Build::v(y)});
}
template <Text target>
Results decompose_xlogy_number(Build& build, const Node& node) {
  auto known = number(node, 1);
  if (!known) return std::nullopt;
  ValueId x = build.cast(value(node, 0), to_floating(build.dtype(value(node, 0))));
  return build.call(target.text, {Build::v(x), Build::v(build.scalar(*known, build.dtype(x)))});
}
// float_power: in f64.
Results float_power(Build& build, const Node& node, const char* target) {
  std::vector<Argument> arguments = node.arguments;
  for (Argument& argument : arguments) {
    if (auto* ref = std::get_if<ValueRef>(&argument)) argument = Build::v(build.cast(ref->id, DType::f64));
    else if (auto* integer = std::get_if<int64_t>(&argument)) argument = double(*integer);
    else if (auto* boolean = std::get_if<bool>(&argument)) argument = double(*boolean);
  }
  return build.call(target, std::move(arguments));
}
template <Text target>
Results decompose_float_power(Build& build, const Node& node) {
  return float_power(build, node, target.text);
}
// self * 2^other
Results decompose_ldexp(Build& build, const Node& node) {
  ValueId x = value(node, 0), scale = build.call1("aten::pow.Scalar", {2.0, node.arguments[1]});
  if (is_floating(build.dtype(x)) && !is_floating(build.dtype(value(node, 1))))
    scale = build.cast(scale, build.dtype(x));
  return one(build.mul(x, scale));
}
// |a - b| <= atol + rtol * |b|, or equal; NaNs equal each other when asked.
Results decompose_isclose(Build& build, const Node& node) {
  ValueId a = value(node, 0), b = value(node, 1);
  auto rtol = number(node, 2), atol = number(node, 3);
  if (!rtol || !atol) return std::nullopt;
  ValueId close = build.call1("aten::eq.Tensor", {Build::v(a), Build::v(b)});
  if (number(node, 4).value_or(0) != 0 && is_floating(build.dtype(a))) {
    ValueId nans = build.call1("aten::logical_and", {Build::v(build.call1("aten::isnan", {Build::v(a)})),
                                                     Build::v(build.call1("aten::isnan", {Build::v(b)}))});
    close = build.call1("aten::logical_or", {Build::v(close), Build::v(nans)});
  }
  if (*rtol == 0 && *atol == 0) return one(close);
  DType dtype = is_floating(build.dtype(a)) ? build.dtype(a) : DType::f32;
  ValueId fa = build.cast(a, dtype), fb = build.cast(b, dtype);
  ValueId limit = build.add(build.call1("aten::abs", {Build::v(build.mul(fb, *rtol))}), *atol);
  ValueId error = build.call1("aten::abs", {Build::v(build.sub(fa, fb))});
  ValueId finite = build.call1("aten::isfinite", {Build::v(error)});
  ValueId near = build.call1("aten::le.Tensor", {Build::v(error), Build::v(limit)});
  ValueId both = build.call1("aten::logical_and", {Build::v(finite), Build::v(near)});
  return build.call("aten::logical_or", {Build::v(close), Build::v(both)});
}

}  // namespace

#define ROW_BINARY(symbol, name, out_name, arguments, kinds, rule, expression) \
  OP(symbol) = {.schema = "aten::" name "(" arguments ") -> Tensor", .out = "aten::" out_name};
#define ROW_BINARY_OWN(symbol, name, out_name, arguments, kinds, rule, expression, how) \
  OP(symbol) = {.schema = "aten::" name "(" arguments ") -> Tensor",                    \
                .out = "aten::" out_name,                                               \
                .decompose = how};
#define ROW_DIVIDE ROW_BINARY
#define ROW_EXACT ROW_BINARY
#define ROW_DIVIDE_OWN ROW_BINARY_OWN
#include "ops/pointwise/binary.rows.h"

OP(float_power_Tensor_Tensor) = {
    .schema = "aten::float_power.Tensor_Tensor(Tensor self, Tensor exponent) -> Tensor",
    .decompose = decompose_float_power<"aten::pow.Tensor_Tensor">};
OP(float_power_Tensor_Scalar) = {
    .schema = "aten::float_power.Tensor_Scalar(Tensor self, Scalar exponent) -> Tensor",
    .decompose = decompose_float_power<"aten::pow.Tensor_Scalar">};
OP(float_power_Scalar) = {.schema = "aten::float_power.Scalar(Scalar self, Tensor exponent) -> Tensor",
                          .decompose = decompose_float_power<"aten::pow.Scalar">};
OP(ldexp_Tensor) = {.schema = "aten::ldexp.Tensor(Tensor self, Tensor other) -> Tensor",
                    .decompose = decompose_ldexp};
OP(nextafter) = {.schema = "aten::nextafter(Tensor self, Tensor other) -> Tensor",
                 .out = "aten::nextafter.out"};
OP(isclose) = {.schema = "aten::isclose(Tensor self, Tensor other, float "
                         "rtol=1.0000000000000001e-05, float atol=1e-08, bool equal_nan=False) -> Tensor",
               .decompose = decompose_isclose};
OP_ALIAS(greater_Tensor, "aten::greater.Tensor(Tensor self, Tensor other) -> Tensor",
         "aten::gt.Tensor")
OP_ALIAS(greater_Scalar, "aten::greater.Scalar(Tensor self, Scalar other) -> Tensor",
         "aten::gt.Scalar")
OP_ALIAS(greater_equal_Tensor, "aten::greater_equal.Tensor(Tensor self, Tensor other) -> Tensor",
         "aten::ge.Tensor")
OP_ALIAS(greater_equal_Scalar, "aten::greater_equal.Scalar(Tensor self, Scalar other) -> Tensor",
         "aten::ge.Scalar")
OP_ALIAS(less_Tensor, "aten::less.Tensor(Tensor self, Tensor other) -> Tensor",
         "aten::lt.Tensor")
OP_ALIAS(less_Scalar, "aten::less.Scalar(Tensor self, Scalar other) -> Tensor",
         "aten::lt.Scalar")
OP_ALIAS(less_equal_Tensor, "aten::less_equal.Tensor(Tensor self, Tensor other) -> Tensor",
         "aten::le.Tensor")
OP_ALIAS(less_equal_Scalar, "aten::less_equal.Scalar(Tensor self, Scalar other) -> Tensor",
         "aten::le.Scalar")
OP_ALIAS(not_equal_Tensor, "aten::not_equal.Tensor(Tensor self, Tensor other) -> Tensor",
         "aten::ne.Tensor")
OP_ALIAS(not_equal_Scalar, "aten::not_equal.Scalar(Tensor self, Scalar other) -> Tensor",
         "aten::ne.Scalar")
OP_ALIAS(multiply_Tensor, "aten::multiply.Tensor(Tensor self, Tensor other) -> Tensor",
         "aten::mul.Tensor")
OP_ALIAS(multiply_Scalar, "aten::multiply.Scalar(Tensor self, Scalar other) -> Tensor",
         "aten::mul.Scalar")
OP_ALIAS(true_divide_Tensor, "aten::true_divide.Tensor(Tensor self, Tensor other) -> Tensor",
         "aten::div.Tensor")
OP_ALIAS(true_divide_Scalar, "aten::true_divide.Scalar(Tensor self, Scalar other) -> Tensor",
         "aten::div.Scalar")
OP_ALIAS(divide_Tensor, "aten::divide.Tensor(Tensor self, Tensor other) -> Tensor",
         "aten::div.Tensor")
OP_ALIAS(divide_Scalar, "aten::divide.Scalar(Tensor self, Scalar other) -> Tensor",
         "aten::div.Scalar")
OP_ALIAS(divide_Tensor_mode, "aten::divide.Tensor_mode(Tensor self, Tensor other, *, str? rounding_mode) -> Tensor",
         "aten::div.Tensor_mode")
OP_ALIAS(divide_Scalar_mode, "aten::divide.Scalar_mode(Tensor self, Scalar other, *, str? rounding_mode) -> Tensor",
         "aten::div.Scalar_mode")
OP_ALIAS(subtract_Tensor, "aten::subtract.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
         "aten::sub.Tensor")
OP_ALIAS(subtract_Scalar, "aten::subtract.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor",
         "aten::sub.Scalar")
OP_ALIAS(arctan2, "aten::arctan2(Tensor self, Tensor other) -> Tensor",
         "aten::atan2")
OP_ALIAS(max_other, "aten::max.other(Tensor self, Tensor other) -> Tensor",
         "aten::maximum")
OP_ALIAS(min_other, "aten::min.other(Tensor self, Tensor other) -> Tensor",
         "aten::minimum")
OP_ALIAS(dunder_and_Tensor, "aten::__and__.Tensor(Tensor self, Tensor other) -> Tensor",
         "aten::bitwise_and.Tensor")
OP_ALIAS(dunder_and_Scalar, "aten::__and__.Scalar(Tensor self, Scalar other) -> Tensor",
         "aten::bitwise_and.Scalar")
OP_ALIAS(dunder_or_Tensor, "aten::__or__.Tensor(Tensor self, Tensor other) -> Tensor",
         "aten::bitwise_or.Tensor")
OP_ALIAS(dunder_or_Scalar, "aten::__or__.Scalar(Tensor self, Scalar other) -> Tensor",
         "aten::bitwise_or.Scalar")
OP_ALIAS(dunder_xor_Tensor, "aten::__xor__.Tensor(Tensor self, Tensor other) -> Tensor",
         "aten::bitwise_xor.Tensor")
OP_ALIAS(dunder_xor_Scalar, "aten::__xor__.Scalar(Tensor self, Scalar other) -> Tensor",
         "aten::bitwise_xor.Scalar")
OP_ALIAS(dunder_lshift_Tensor, "aten::__lshift__.Tensor(Tensor self, Tensor other) -> Tensor",
         "aten::bitwise_left_shift.Tensor")
OP_ALIAS(dunder_lshift_Scalar, "aten::__lshift__.Scalar(Tensor self, Scalar other) -> Tensor",
         "aten::bitwise_left_shift.Tensor_Scalar")
OP_ALIAS(dunder_rshift_Tensor, "aten::__rshift__.Tensor(Tensor self, Tensor other) -> Tensor",
         "aten::bitwise_right_shift.Tensor")
OP_ALIAS(dunder_rshift_Scalar, "aten::__rshift__.Scalar(Tensor self, Scalar other) -> Tensor",
         "aten::bitwise_right_shift.Tensor_Scalar")
OP_ALIAS(special_gammainc, "aten::special_gammainc(Tensor self, Tensor other) -> Tensor",
         "aten::igamma")
OP_ALIAS(special_gammaincc, "aten::special_gammaincc(Tensor self, Tensor other) -> Tensor",
         "aten::igammac")
OP_ALIAS(special_xlogy, "aten::special_xlogy(Tensor self, Tensor other) -> Tensor",
         "aten::xlogy.Tensor")
OP_ALIAS(special_xlogy_self_scalar, "aten::special_xlogy.self_scalar(Scalar self, Tensor other) -> Tensor",
         "aten::xlogy.Scalar_Self")
OP_ALIAS(special_xlogy_other_scalar, "aten::special_xlogy.other_scalar(Tensor self, Scalar other) -> Tensor",
         "aten::xlogy.Scalar_Other")

}  // namespace sconce
