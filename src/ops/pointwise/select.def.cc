#include "ops/pointwise/decompose.h"

namespace sconce {
namespace {

Results decompose_clamp_min(Build& build, const Node& node) {
  return build.call("aten::clamp", {node.arguments[0], node.arguments[1], None{}});
}
Results decompose_clamp_max(Build& build, const Node& node) {
  return build.call("aten::clamp", {node.arguments[0], None{}, node.arguments[1]});
}
Results decompose_clamp_min_Tensor(Build& build, const Node& node) {
  return build.call("aten::clamp.Tensor", {node.arguments[0], node.arguments[1], None{}});
}
Results decompose_clamp_max_Tensor(Build& build, const Node& node) {
  return build.call("aten::clamp.Tensor", {node.arguments[0], None{}, node.arguments[1]});
}
// masked_fill.Tensor: where(mask, value, self) in the type of self.
Results decompose_masked_fill(Build& build, const Node& node) {
  if (!std::holds_alternative<ValueRef>(node.arguments[2]))
    return build.call("aten::masked_fill.Scalar", node.arguments);
  ValueId fill = build.cast(value(node, 2), build.dtype(value(node, 0)));
  return build.call("aten::where.self", {node.arguments[1], Build::v(fill), node.arguments[0]});
}

}  // namespace

OP(clamp) = {.schema = "aten::clamp(Tensor self, Scalar? min=None, Scalar? max=None) -> Tensor",
             .out = "aten::clamp.out"};
OP(clamp_Tensor) = {
    .schema = "aten::clamp.Tensor(Tensor self, Tensor? min=None, Tensor? max=None) -> Tensor",
    .out = "aten::clamp.Tensor_out"};
OP_ALIAS(clip, "aten::clip(Tensor self, Scalar? min=None, Scalar? max=None) -> Tensor", "aten::clamp")
OP_ALIAS(clip_Tensor, "aten::clip.Tensor(Tensor self, Tensor? min=None, Tensor? max=None) -> Tensor",
         "aten::clamp.Tensor")
OP(clamp_min) = {.schema = "aten::clamp_min(Tensor self, Scalar min) -> Tensor",
                 .decompose = decompose_clamp_min};
OP(clamp_max) = {.schema = "aten::clamp_max(Tensor self, Scalar max) -> Tensor",
                 .decompose = decompose_clamp_max};
OP(clamp_min_Tensor) = {.schema = "aten::clamp_min.Tensor(Tensor self, Tensor min) -> Tensor",
                        .decompose = decompose_clamp_min_Tensor};
OP(clamp_max_Tensor) = {.schema = "aten::clamp_max.Tensor(Tensor self, Tensor max) -> Tensor",
                        .decompose = decompose_clamp_max_Tensor};
OP(hardtanh) = {.schema = "aten::hardtanh(Tensor self, Scalar min_val=-1, Scalar max_val=1) -> Tensor",
                .out = "aten::hardtanh.out"};
OP(where_self) = {.schema = "aten::where.self(Tensor condition, Tensor self, Tensor other) -> Tensor",
                  .out = "aten::where.self_out"};
OP_ALIAS(where_ScalarOther,
         "aten::where.ScalarOther(Tensor condition, Tensor self, Scalar other) -> Tensor",
         "aten::where.self")
OP_ALIAS(where_ScalarSelf,
         "aten::where.ScalarSelf(Tensor condition, Scalar self, Tensor other) -> Tensor",
         "aten::where.self")
OP_ALIAS(where_Scalar, "aten::where.Scalar(Tensor condition, Scalar self, Scalar other) -> Tensor",
         "aten::where.self")
OP(masked_fill_Scalar) = {
    .schema = "aten::masked_fill.Scalar(Tensor self, Tensor mask, Scalar value) -> Tensor",
    .out = "aten::masked_fill.Scalar_out"};
OP(masked_fill_Tensor) = {
    .schema = "aten::masked_fill.Tensor(Tensor self, Tensor mask, Tensor value) -> Tensor",
    .out = "aten::masked_fill.Tensor_out",
    .decompose = decompose_masked_fill};

}  // namespace sconce
