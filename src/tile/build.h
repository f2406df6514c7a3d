// Builder: makes a kernel of TileIR step by step.
//
// Mistakes are found by verify() in finish(), so the steps themselves cannot fail.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "tile/ir.h"

namespace sconce::tile {

inline Extent known(int64_t size) { return {kNone, size}; }
// An index along one axis: factor * axis + offset.
inline Index along(AxisId axis, int64_t factor = 1, int64_t offset = 0) {
  return {{{axis, factor}}, offset, kNone};
}
inline Index at(int64_t offset) { return {{}, offset, kNone}; }
// The sum of two indices, at most one of which has a computed value.
Index operator+(Index a, const Index& b);

class Builder {
 public:
  explicit Builder(std::string name) { kernel_.name = std::move(name); }

  Extent dim(std::string name);
  // Buffers and axes are named by the builder: x0, x1, ... and a0, a1, ...
  int32_t input(DType dtype, std::vector<Extent> dims);
  int32_t output(DType dtype, std::vector<Extent> dims);
  // Packed as `layout` says (ir.h).
  int32_t packed(Layout layout, DType dtype, std::vector<Extent> dims, int32_t lead = 0);
  int32_t panels(DType dtype, std::vector<Extent> dims, int32_t lead = 0) {
    return packed(Layout::panels, dtype, std::move(dims), lead);
  }
  AxisId parallel(Extent extent) { return axis(AxisKind::parallel, extent, 0, false); }
  AxisId each(Extent extent) { return axis(AxisKind::parallel, extent, 0, true); }
  AxisId span(Extent extent) { return axis(AxisKind::span, extent, 0, false); }
  AxisId serial(Extent extent, int64_t block, int64_t whole = 0, bool backward = false) {
    AxisId id = axis(AxisKind::serial, extent, block, false);
    kernel_.axes.back().whole = whole;
    kernel_.axes.back().backward = backward;
    return id;
  }
  AxisId serial_each(Extent extent, bool backward = false) {
    AxisId id = axis(AxisKind::serial, extent, 1, true);
    kernel_.axes.back().backward = backward;
    return id;
  }

  ValueId constant(double number, DType dtype = DType::f32, std::vector<AxisId> over = {});
  ValueId extent(AxisId axis);
  ValueId iota(AxisId axis);
  ValueId load(int32_t buffer, std::vector<Index> index, double outside = 0);
  ValueId load_strict(int32_t buffer, std::vector<Index> index);
  void store(int32_t buffer, std::vector<Index> index, ValueId value, bool strict = false);
  ValueId unary(Unary function, ValueId x);
  ValueId binary(Binary function, ValueId x, ValueId y);
  ValueId add(ValueId x, ValueId y) { return binary(Binary::add, x, y); }
  ValueId sub(ValueId x, ValueId y) { return binary(Binary::sub, x, y); }
  ValueId mul(ValueId x, ValueId y) { return binary(Binary::mul, x, y); }
  ValueId div(ValueId x, ValueId y) { return binary(Binary::div, x, y); }
  ValueId fma(ValueId x, ValueId y, ValueId z);
  ValueId select(ValueId condition, ValueId yes, ValueId no);
  ValueId cast(ValueId x, DType dtype);
  ValueId reduce(Reduce function, ValueId x, std::vector<AxisId> over, bool lanes = false);
  ValueId dot(ValueId initial, ValueId a, ValueId b, std::vector<AxisId> over);
  // x with the span `to` in place of the span `from`.
  ValueId rename(ValueId x, AxisId from, AxisId to);
  // begin_loop gives the carried values inside the loop, end_loop those after it.
  std::vector<ValueId> begin_loop(AxisId axis, std::vector<ValueId> initial);
  std::vector<ValueId> end_loop(AxisId axis, std::vector<ValueId> next);

  const Kernel& kernel() const { return kernel_; }
  Result<Kernel> finish();

 private:
  AxisId axis(AxisKind kind, Extent extent, int64_t block, bool each);
  int32_t buffer(Buffer buffer);
  ValueId value(Instruction instruction);
  Kernel kernel_;
  ValueId next_ = 0;
};

}  // namespace sconce::tile
