// Tensors from numbers. All that only names sizes or types differently becomes full or empty.
#include "ops/pointwise/decompose.h"

namespace sconce {
namespace {

#define OPTIONS "ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None"

// self.dtype unless argument `i` says another.
Argument dtype_like(Build& build, const Node& node, int i) {
  if (!is_none(node, i)) return node.arguments[size_t(i)];
  return int64_t(build.dtype(value(node, 0)));
}
// new_x(self, size, *, dtype, ...)
template <int number>
Results new_constant(Build& build, const Node& node) {
  return build.call("aten::full", {node.arguments[1], int64_t(number), dtype_like(build, node, 2)});
}
Results new_full(Build& build, const Node& node) {
  return build.call("aten::full", {node.arguments[1], node.arguments[2], dtype_like(build, node, 3)});
}
Results new_empty(Build& build, const Node& node) {
  return build.call("aten::empty.memory_format", {node.arguments[1], dtype_like(build, node, 2)});
}
Results new_empty_strided(Build& build, const Node& node) {
  return build.call("aten::empty.memory_format", {node.arguments[1], dtype_like(build, node, 3)});
}
// x_like(self, *, dtype, layout, device, pin_memory, memory_format)
template <int number>
Results constant_like(Build& build, const Node& node) {
  return build.call("aten::full_like", {node.arguments[0], int64_t(number), node.arguments[1], None{},
                                        None{}, None{}, node.arguments[5]});
}
Results empty_like(Build& build, const Node& node) {
  ValueId self = value(node, 0);
  return build.call("aten::empty.memory_format",
                    {build.ints(build.tensor(self).sizes), dtype_like(build, node, 1)});
}
// empty_permuted(size, physical_layout, *, dtype, ...), empty_strided(size, stride, *, dtype, ...)
Results empty_placed(Build& build, const Node& node) {
  return build.call("aten::empty.memory_format", {node.arguments[0], node.arguments[2]});
}
Results arange_start(Build& build, const Node& node) {
  return build.call("aten::arange.start_step",
                    {node.arguments[0], node.arguments[1], int64_t(1), node.arguments[2]});
}

// linspace whose ends are tensors without dimensions: start + i * (end - start) / (steps - 1).
Results linspace_of_tensors(Build& build, const Node& node) {
  auto steps = number(node, 2);
  if (!steps) return std::nullopt;
  auto* code = std::get_if<int64_t>(&node.arguments[3]);
  DType dtype = code && is_dtype(*code) ? DType(*code) : DType::f32;
  DType wide = dtype == DType::f64 ? DType::f64 : DType::f32;
  auto end_of = [&](int i) {
    if (auto known = number(node, i)) return build.scalar(*known, wide);
    return build.cast(value(node, i), wide);
  };
  ValueId start = end_of(0), end = end_of(1);
  ValueId index = build.call1("aten::arange", {node.arguments[2], int64_t(wide)});
  ValueId step = build.sub(end, start);
  if (*steps > 1) step = build.call1("aten::div.Scalar", {Build::v(step), *steps - 1});
  return one(build.cast(build.add(start, build.mul(index, step)), dtype));
}

}  // namespace

OP(full) = {.schema = "aten::full(SymInt[] size, Scalar fill_value, *, " OPTIONS ") -> Tensor",
            .out = "aten::full.out"};
OP(full_like) = {.schema = "aten::full_like(Tensor self, Scalar fill_value, *, " OPTIONS
                           ", MemoryFormat? memory_format=None) -> Tensor",
                 .out = "aten::full_like.out"};
OP(zeros) = {.schema = "aten::zeros(SymInt[] size, *, " OPTIONS ") -> Tensor",
             .out = "aten::zeros.out"};
OP(ones) = {.schema = "aten::ones(SymInt[] size, *, " OPTIONS ") -> Tensor", .out = "aten::ones.out"};
OP(empty_memory_format) = {.schema = "aten::empty.memory_format(SymInt[] size, *, " OPTIONS
                                     ", MemoryFormat? memory_format=None) -> Tensor",
                           .out = "aten::empty.out"};
OP(empty_permuted) = {.schema = "aten::empty_permuted(SymInt[] size, int[] physical_layout, *, " OPTIONS
                                ") -> Tensor",
                      .decompose = empty_placed};
OP(empty_strided) = {.schema = "aten::empty_strided(SymInt[] size, SymInt[] stride, *, " OPTIONS
                               ") -> Tensor",
                     .decompose = empty_placed};
OP(empty_dim_order) = {.schema = "dim_order_ops::_empty_dim_order(int[] size, *, " OPTIONS
                                 ", int[]? dim_order=None) -> Tensor",
                       .out = "dim_order_ops::_empty_dim_order.out"};
OP(zeros_like) = {.schema = "aten::zeros_like(Tensor self, *, " OPTIONS
                            ", MemoryFormat? memory_format=None) -> Tensor",
                  .decompose = constant_like<0>};
OP(ones_like) = {.schema = "aten::ones_like(Tensor self, *, " OPTIONS
                           ", MemoryFormat? memory_format=None) -> Tensor",
                 .decompose = constant_like<1>};
OP(empty_like) = {.schema = "aten::empty_like(Tensor self, *, " OPTIONS
                            ", MemoryFormat? memory_format=None) -> Tensor",
                  .decompose = empty_like};
OP(new_zeros) = {.schema = "aten::new_zeros(Tensor self, SymInt[] size, *, " OPTIONS ") -> Tensor",
                 .decompose = new_constant<0>};
OP(new_ones) = {.schema = "aten::new_ones(Tensor self, SymInt[] size, *, " OPTIONS ") -> Tensor",
                .decompose = new_constant<1>};
OP(new_full) = {.schema = "aten::new_full(Tensor self, SymInt[] size, Scalar fill_value, *, " OPTIONS
                          ") -> Tensor",
                .decompose = new_full};
OP(new_empty) = {.schema = "aten::new_empty(Tensor self, SymInt[] size, *, " OPTIONS ") -> Tensor",
                 .decompose = new_empty};
OP(new_empty_strided) = {.schema = "aten::new_empty_strided(Tensor self, SymInt[] size, SymInt[] "
                                   "stride, *, " OPTIONS ") -> Tensor",
                         .decompose = new_empty_strided};
OP(scalar_tensor) = {.schema = "aten::scalar_tensor(Scalar s, *, " OPTIONS ") -> Tensor",
                     .out = "aten::scalar_tensor.out"};
OP(arange) = {.schema = "aten::arange(Scalar end, *, " OPTIONS ") -> Tensor", .out = "aten::arange.out"};
OP(arange_start) = {.schema = "aten::arange.start(Scalar start, Scalar end, *, " OPTIONS ") -> Tensor",
                    .decompose = arange_start};
OP(arange_start_step) = {.schema = "aten::arange.start_step(Scalar start, Scalar end, Scalar step=1, "
                                   "*, " OPTIONS ") -> Tensor",
                         .out = "aten::arange.start_out"};
OP(linspace) = {.schema = "aten::linspace(Scalar start, Scalar end, int steps, *, " OPTIONS
                          ") -> Tensor",
                .out = "aten::linspace.out"};
OP(linspace_Tensor_Tensor) = {
    .schema = "aten::linspace.Tensor_Tensor(Tensor start, Tensor end, int steps, *, " OPTIONS ") -> Tensor",
    .decompose = linspace_of_tensors};
OP(linspace_Tensor_Scalar) = {
    .schema = "aten::linspace.Tensor_Scalar(Tensor start, Scalar end, int steps, *, " OPTIONS ") -> Tensor",
    .decompose = linspace_of_tensors};
OP(linspace_Scalar_Tensor) = {
    .schema = "aten::linspace.Scalar_Tensor(Scalar start, Tensor end, int steps, *, " OPTIONS ") -> Tensor",
    .decompose = linspace_of_tensors};
OP(logspace) = {.schema = "aten::logspace(Scalar start, Scalar end, int steps, float base=10., *, " OPTIONS
                          ") -> Tensor",
                .out = "aten::logspace.out"};
OP(range) = {.schema = "aten::range(Scalar start, Scalar end, *, " OPTIONS ") -> Tensor",
             .out = "aten::range.out_"};
OP(range_step) = {.schema = "aten::range.step(Scalar start, Scalar end, Scalar step=1, *, " OPTIONS
                            ") -> Tensor",
                  .out = "aten::range.out"};
OP(eye) = {.schema = "aten::eye(SymInt n, *, " OPTIONS ") -> Tensor", .out = "aten::eye.out"};
OP(eye_m) = {.schema = "aten::eye.m(SymInt n, SymInt m, *, " OPTIONS ") -> Tensor",
             .out = "aten::eye.m_out"};

}  // namespace sconce
