#include <cmath>

#include "ops/pointwise/decompose.h"

namespace sconce {
namespace {

// rsub.Tensor(self, other, alpha) = other - alpha * self.
Results decompose_rsub(Build& build, const Node& node) {
  if (!std::holds_alternative<ValueRef>(node.arguments[1])) return std::nullopt;
  return build.call("aten::sub.Tensor", {node.arguments[1], node.arguments[0], node.arguments[2]});
}

// A number on the left of a shift becomes a tensor of the other's type.
template <Text target>
Results shift_of_number(Build& build, const Node& node) {
  auto known = number(node, 0);
  if (!known) return std::nullopt;
  DType dtype = build.dtype(value(node, 1));
  ValueId self = build.scalar(*known, dtype == DType::b8 ? DType::i64 : dtype);
  return build.call(target.text, {Build::v(self), node.arguments[1]});
}
// self + weight * (end - self)
Results decompose_lerp_Scalar(Build& build, const Node& node) {
  auto weight = number(node, 2);
  if (!weight) return std::nullopt;
  ValueId self = value(node, 0), end = value(node, 1), distance = build.sub(end, self);
  if (std::fabs(*weight) < 0.5) return one(build.add(self, build.mul(distance, *weight)));
  return one(build.sub(end, build.mul(distance, 1 - *weight)));
}
Results decompose_lerp_Tensor(Build& build, const Node& node) {
  ValueId self = value(node, 0), end = value(node, 1), weight = value(node, 2);
  ValueId distance = build.sub(end, self);
  ValueId rest = build.call1("aten::rsub.Scalar", {Build::v(weight), 1.0});
  ValueId near = build.add(self, build.mul(weight, distance));
  ValueId far = build.sub(end, build.mul(distance, rest));
  ValueId size = build.call1("aten::abs", {Build::v(weight)});
  ValueId less = build.call1("aten::lt.Scalar", {Build::v(size), 0.5});
  return build.call("aten::where.self", {Build::v(less), Build::v(near), Build::v(far)});
}
Results decompose_addcmul(Build& build, const Node& node) {
  ValueId product = build.mul(value(node, 1), value(node, 2));
  return build.call("aten::add.Tensor", {node.arguments[0], Build::v(product), node.arguments[3]});
}
Results decompose_addcdiv(Build& build, const Node& node) {
  ValueId quotient = build.div(value(node, 1), value(node, 2));
  return build.call("aten::add.Tensor", {node.arguments[0], Build::v(quotient), node.arguments[3]});
}

}  // namespace

OP(add_Tensor) = {.schema = "aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
                  .out = "aten::add.out"};
OP(add_Scalar) = {.schema = "aten::add.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor",
                  .out = "aten::add.Scalar_out"};
OP(sub_Tensor) = {.schema = "aten::sub.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
                  .out = "aten::sub.out"};
OP(sub_Scalar) = {.schema = "aten::sub.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor",
                  .out = "aten::sub.Scalar_out"};
OP(rsub_Tensor) = {
    .schema = "aten::rsub.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
    .out = "aten::rsub.Tensor_out",
    .decompose = decompose_rsub};
OP(rsub_Scalar) = {.schema = "aten::rsub.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor",
                   .out = "aten::rsub.Scalar_out"};
OP(pow_Tensor_Scalar) = {.schema = "aten::pow.Tensor_Scalar(Tensor self, Scalar exponent) -> Tensor",
                         .out = "aten::pow.Tensor_Scalar_out"};
OP(div_Tensor_mode) = {
    .schema = "aten::div.Tensor_mode(Tensor self, Tensor other, *, str? rounding_mode) -> Tensor",
    .out = "aten::div.out_mode"};
OP(div_Scalar_mode) = {
    .schema = "aten::div.Scalar_mode(Tensor self, Scalar other, *, str? rounding_mode) -> Tensor",
    .out = "aten::div.Scalar_mode_out"};
OP(bitwise_left_shift_Tensor) = {
    .schema = "aten::bitwise_left_shift.Tensor(Tensor self, Tensor other) -> Tensor",
    .out = "aten::bitwise_left_shift.Tensor_out"};
OP(bitwise_left_shift_Tensor_Scalar) = {
    .schema = "aten::bitwise_left_shift.Tensor_Scalar(Tensor self, Scalar other) -> Tensor",
    .out = "aten::bitwise_left_shift.Tensor_Scalar_out"};
OP(bitwise_left_shift_Scalar_Tensor) = {
    .schema = "aten::bitwise_left_shift.Scalar_Tensor(Scalar self, Tensor other) -> Tensor",
    .out = "aten::bitwise_left_shift.Scalar_Tensor_out",
    .decompose = shift_of_number<"aten::bitwise_left_shift.Tensor">};
OP(bitwise_right_shift_Tensor) = {
    .schema = "aten::bitwise_right_shift.Tensor(Tensor self, Tensor other) -> Tensor",
    .out = "aten::bitwise_right_shift.Tensor_out"};
OP(bitwise_right_shift_Tensor_Scalar) = {
    .schema = "aten::bitwise_right_shift.Tensor_Scalar(Tensor self, Scalar other) -> Tensor",
    .out = "aten::bitwise_right_shift.Tensor_Scalar_out"};
OP(bitwise_right_shift_Scalar_Tensor) = {
    .schema = "aten::bitwise_right_shift.Scalar_Tensor(Scalar self, Tensor other) -> Tensor",
    .out = "aten::bitwise_right_shift.Scalar_Tensor_out",
    .decompose = shift_of_number<"aten::bitwise_right_shift.Tensor">};
OP(lerp_Scalar) = {.schema = "aten::lerp.Scalar(Tensor self, Tensor end, Scalar weight) -> Tensor",
                   .out = "aten::lerp.Scalar_out",
                   .decompose = decompose_lerp_Scalar};
OP(lerp_Tensor) = {.schema = "aten::lerp.Tensor(Tensor self, Tensor end, Tensor weight) -> Tensor",
                   .out = "aten::lerp.Tensor_out",
                   .decompose = decompose_lerp_Tensor};
OP(addcmul) = {
    .schema = "aten::addcmul(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor",
    .out = "aten::addcmul.out",
    .decompose = decompose_addcmul};
OP(addcdiv) = {
    .schema = "aten::addcdiv(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor",
    .out = "aten::addcdiv.out",
    .decompose = decompose_addcdiv};

}  // namespace sconce
