#include "tile/build.h"

namespace sconce::tile {

Index operator+(Index a, const Index& b) {
  for (const Term& term : b.terms) a.terms.push_back(term);
  a.offset += b.offset;
  if (b.value != kNone) a.value = b.value;
  return a;
}

Extent Builder::dim(std::string name) {
  kernel_.dims.push_back(std::move(name));
  return {int32_t(kernel_.dims.size()) - 1, 0};
}

int32_t Builder::buffer(Buffer buffer) {
  buffer.name = fmt::format("{}{}", buffer.output ? "y" : "x", kernel_.buffers.size());
  kernel_.buffers.push_back(std::move(buffer));
  return int32_t(kernel_.buffers.size()) - 1;
}
int32_t Builder::input(DType dtype, std::vector<Extent> dims) {
  return buffer({"", dtype, std::move(dims), false, Layout::strided, 0});
}
int32_t Builder::output(DType dtype, std::vector<Extent> dims) {
  return buffer({"", dtype, std::move(dims), true, Layout::strided, 0});
}
int32_t Builder::packed(Layout layout, DType dtype, std::vector<Extent> dims, int32_t lead) {
  return buffer({"", dtype, std::move(dims), false, layout, lead});
}

AxisId Builder::axis(AxisKind kind, Extent extent, int64_t block, bool each) {
  kernel_.axes.push_back({fmt::format("a{}", kernel_.axes.size()), kind, extent, block, each});
  return AxisId(kernel_.axes.size()) - 1;
}

ValueId Builder::value(Instruction instruction) {
  instruction.results = {next_++};
  kernel_.body.push_back(std::move(instruction));
  return next_ - 1;
}

ValueId Builder::constant(double number, DType dtype, std::vector<AxisId> over) {
  return value({.op = Op::constant, .dtype = dtype, .number = number, .axes = std::move(over)});
}
ValueId Builder::extent(AxisId axis) { return value({.op = Op::extent, .axes = {axis}}); }
ValueId Builder::iota(AxisId axis) { return value({.op = Op::iota, .axes = {axis}}); }
ValueId Builder::load(int32_t buffer, std::vector<Index> index, double outside) {
  return value({.op = Op::load, .buffer = buffer, .number = outside, .index = std::move(index)});
}
ValueId Builder::load_strict(int32_t buffer, std::vector<Index> index) {
  return value({.op = Op::load, .strict = true, .buffer = buffer, .index = std::move(index)});
}
void Builder::store(int32_t buffer, std::vector<Index> index, ValueId value, bool strict) {
  kernel_.body.push_back({.op = Op::store,
                          .strict = strict,
                          .buffer = buffer,
                          .operands = {value},
                          .index = std::move(index)});
}
ValueId Builder::unary(Unary function, ValueId x) {
  return value({.op = Op::unary, .function = uint8_t(function), .operands = {x}});
}
ValueId Builder::binary(Binary function, ValueId x, ValueId y) {
  return value({.op = Op::binary, .function = uint8_t(function), .operands = {x, y}});
}
ValueId Builder::fma(ValueId x, ValueId y, ValueId z) {
  return value({.op = Op::fma, .operands = {x, y, z}});
}
ValueId Builder::select(ValueId condition, ValueId yes, ValueId no) {
  return value({.op = Op::select, .operands = {condition, yes, no}});
}
ValueId Builder::cast(ValueId x, DType dtype) {
  return value({.op = Op::cast, .dtype = dtype, .operands = {x}});
}
ValueId Builder::reduce(Reduce function, ValueId x, std::vector<AxisId> over, bool lanes) {
  return value({.op = Op::reduce,
                .function = uint8_t(function),
                .lanes = lanes,
                .axes = std::move(over),
                .operands = {x}});
}
ValueId Builder::dot(ValueId initial, ValueId a, ValueId b, std::vector<AxisId> over) {
  return value({.op = Op::dot, .axes = std::move(over), .operands = {initial, a, b}});
}
ValueId Builder::rename(ValueId x, AxisId from, AxisId to) {
  return value({.op = Op::rename, .axes = {from, to}, .operands = {x}});
}

std::vector<ValueId> Builder::begin_loop(AxisId axis, std::vector<ValueId> initial) {
  Instruction loop{.op = Op::serial, .axes = {axis}, .operands = std::move(initial)};
  for (size_t k = 0; k < loop.operands.size(); k++) loop.results.push_back(next_++);
  kernel_.body.push_back(loop);
  return loop.results;
}
std::vector<ValueId> Builder::end_loop(AxisId axis, std::vector<ValueId> next) {
  Instruction yield{.op = Op::yield, .axes = {axis}, .operands = std::move(next)};
  for (size_t k = 0; k < yield.operands.size(); k++) yield.results.push_back(next_++);
  kernel_.body.push_back(yield);
  return yield.results;
}

Result<Kernel> Builder::finish() {
  TRY_VOID(verify(kernel_));
  return std::move(kernel_);
}

}  // namespace sconce::tile
