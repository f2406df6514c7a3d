#include "ops/pointwise/decompose.h"

namespace sconce {
namespace {

// rsub.Tensor(self, other, alpha) = other - alpha * self.
Results decompose_rsub(Build& build, const Node& node) {
  if (!std::holds_alternative<ValueRef>(node.arguments[1])) return std::nullopt;
  return build.call("aten::sub.Tensor", {node.arguments[1], node.arguments[0], node.arguments[2]});
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

}  // namespace sconce
