// Definitions of the unary rows: ATen's schema follows from the name.
#include "ops/pointwise/decompose.h"

namespace sconce {
namespace {

Results decompose_silu(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  return one(build.mul(x, build.call1("aten::sigmoid", {Build::v(x)})));
}

}  // namespace

#define ROW_UNARY(name, rule, expression) \
  OP(name) = {.schema = "aten::" #name "(Tensor self) -> Tensor", .out = "aten::" #name ".out"};
#define ROW_UNARY_OWN(name, rule, expression, how)                \
  OP(name) = {.schema = "aten::" #name "(Tensor self) -> Tensor", \
              .out = "aten::" #name ".out",                       \
              .decompose = how};
#include "ops/pointwise/unary.rows.h"

OP(bitwise_not) = {.schema = "aten::bitwise_not(Tensor self) -> Tensor",
                   .out = "aten::bitwise_not.out"};
OP(gelu) = {.schema = "aten::gelu(Tensor self, *, str approximate=\"none\") -> Tensor",
            .out = "aten::gelu.out"};

}  // namespace sconce
