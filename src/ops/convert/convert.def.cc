// Conversions, copies and names for the same tensor.
#include "ops/pointwise/decompose.h"

namespace sconce {
namespace {

// A tensor of the wanted type: the same one when it has it and no copy is asked for.
Results convert(Build& build, const Node& node, DType dtype, bool copy, const Argument& memory_format) {
  ValueId x = value(node, 0);
  if (build.dtype(x) == dtype && !copy) return one(x);
  return build.call("aten::_to_copy",
                    {Build::v(x), int64_t(dtype), None{}, None{}, None{}, false, memory_format});
}
DType dtype_or(Build& build, const Node& node, int i) {
  auto* code = std::get_if<int64_t>(&node.arguments[size_t(i)]);
  return code && is_dtype(*code) ? DType(*code) : build.dtype(value(node, 0));
}
bool flag(const Node& node, int i) {
  auto* set = std::get_if<bool>(&node.arguments[size_t(i)]);
  return set && *set;
}

// self, dtype, non_blocking, copy, memory_format
Results to_dtype(Build& build, const Node& node) {
  return convert(build, node, dtype_or(build, node, 1), flag(node, 3), node.arguments[4]);
}
// self, device, dtype, non_blocking, copy, memory_format
Results to_device(Build& build, const Node& node) {
  return convert(build, node, dtype_or(build, node, 2), flag(node, 4), node.arguments[5]);
}
// self, other, non_blocking, copy, memory_format
Results to_other(Build& build, const Node& node) {
  return convert(build, node, build.dtype(value(node, 1)), flag(node, 3), node.arguments[4]);
}
// self, *, dtype, layout, device, pin_memory, non_blocking, copy, memory_format
Results to_dtype_layout(Build& build, const Node& node) {
  return convert(build, node, dtype_or(build, node, 1), flag(node, 6), node.arguments[7]);
}
// self, device, dtype, non_blocking, copy
Results to_prim_device(Build& build, const Node& node) {
  return convert(build, node, dtype_or(build, node, 2), flag(node, 4), None{});
}
// self, dtype, non_blocking, copy
Results to_prim_dtype(Build& build, const Node& node) {
  return convert(build, node, dtype_or(build, node, 1), flag(node, 3), None{});
}
Results type_as(Build& build, const Node& node) {
  return convert(build, node, build.dtype(value(node, 1)), false, None{});
}
Results decompose_zero(Build& build, const Node& node) {
  return build.call("aten::fill.Scalar", {node.arguments[0], int64_t(0)});
}

}  // namespace

OP(to_copy) = {
    .schema = "aten::_to_copy(Tensor self, *, ScalarType? dtype=None, Layout? layout=None, Device? "
              "device=None, bool? pin_memory=None, bool non_blocking=False, MemoryFormat? "
              "memory_format=None) -> Tensor",
    .out = "aten::_to_copy.out"};
OP(to_dtype) = {.schema = "aten::to.dtype(Tensor(a) self, ScalarType dtype, bool non_blocking=False, bool "
                          "copy=False, MemoryFormat? memory_format=None) -> Tensor(a)",
                .decompose = to_dtype};
OP(to_device) = {.schema = "aten::to.device(Tensor(a) self, Device device, ScalarType dtype, bool "
                           "non_blocking=False, bool copy=False, MemoryFormat? memory_format=None) -> "
                           "Tensor(a)",
                 .decompose = to_device};
OP(to_other) = {.schema = "aten::to.other(Tensor(a) self, Tensor other, bool non_blocking=False, bool "
                          "copy=False, MemoryFormat? memory_format=None) -> Tensor(a)",
                .decompose = to_other};
OP(to_dtype_layout) = {
    .schema = "aten::to.dtype_layout(Tensor(a) self, *, ScalarType? dtype=None, Layout? layout=None, "
              "Device? device=None, bool? pin_memory=None, bool non_blocking=False, bool copy=False, "
              "MemoryFormat? memory_format=None) -> Tensor(a)",
    .decompose = to_dtype_layout};
OP(to_prim_Device) = {.schema = "aten::to.prim_Device(Tensor(a) self, Device? device, int? dtype=None, "
                                "bool non_blocking=False, bool copy=False) -> Tensor(b|a)",
                      .decompose = to_prim_device};
OP(to_prim_dtype) = {.schema = "aten::to.prim_dtype(Tensor(a) self, int? dtype=None, bool "
                               "non_blocking=False, bool copy=False) -> Tensor(b|a)",
                     .decompose = to_prim_dtype};
OP(type_as) = {.schema = "aten::type_as(Tensor self, Tensor other) -> Tensor", .decompose = type_as};
OP(clone) = {.schema = "aten::clone(Tensor self, *, MemoryFormat? memory_format=None) -> Tensor",
             .out = "aten::clone.out"};
OP(alias_copy) = {.schema = "aten::alias_copy(Tensor self) -> Tensor", .out = "aten::alias_copy.out"};
OP(detach_copy) = {.schema = "aten::detach_copy(Tensor self) -> Tensor",
                   .out = "aten::detach_copy.out"};
OP(lift_fresh_copy) = {.schema = "aten::lift_fresh_copy(Tensor self) -> Tensor",
                       .out = "aten::lift_fresh_copy.out"};
// Strides are no part of a value here, so these name the same tensor again.
OP(contiguous) = {
    .schema = "aten::contiguous(Tensor(a) self, *, MemoryFormat memory_format=0) -> Tensor(a)",
    .decompose = identity};
OP(alias) = {.schema = "aten::alias(Tensor(a) self) -> Tensor(a)", .decompose = identity};
OP(detach) = {.schema = "aten::detach(Tensor(a) self) -> Tensor(a)", .decompose = identity};
OP(lift_fresh) = {.schema = "aten::lift_fresh(Tensor(a) self) -> Tensor(a)", .decompose = identity};
OP(positive) = {.schema = "aten::positive(Tensor(a) self) -> Tensor(a)", .decompose = identity};
OP(resolve_conj) = {.schema = "aten::resolve_conj(Tensor(a) self) -> Tensor(a)",
                    .decompose = identity};
OP(resolve_neg) = {.schema = "aten::resolve_neg(Tensor(a) self) -> Tensor(a)", .decompose = identity};
OP(copy) = {.schema = "aten::copy(Tensor self, Tensor src, bool non_blocking=False) -> Tensor",
            .out = "aten::copy.out"};
OP(fill_Scalar) = {.schema = "aten::fill.Scalar(Tensor self, Scalar value) -> Tensor",
                   .out = "aten::fill.Scalar_out"};
OP(fill_Tensor) = {.schema = "aten::fill.Tensor(Tensor self, Tensor value) -> Tensor",
                   .out = "aten::fill.Tensor_out"};
OP(zero) = {.schema = "aten::zero(Tensor self) -> Tensor",
            .out = "aten::zero.out",
            .decompose = decompose_zero};
OP(to_dim_order_copy) = {
    .schema = "dim_order_ops::_to_dim_order_copy(Tensor self, *, ScalarType? dtype=None, Layout? "
              "layout=None, Device? device=None, bool? pin_memory=None, bool non_blocking=False, int[]? "
              "dim_order=None) -> Tensor",
    .out = "dim_order_ops::_to_dim_order_copy.out"};
OP(clone_dim_order) = {.schema = "dim_order_ops::_clone_dim_order(Tensor self, *, bool "
                                 "non_blocking=False, int[]? dim_order=None) -> Tensor",
                       .out = "dim_order_ops::_clone_dim_order.out"};

}  // namespace sconce
