// Which values need no memory of their own: loads that are read where they lie, results that are
// computed where they are stored.
#include <algorithm>
#include <cmath>

#include "tile/vm/plan.h"

namespace sconce::tile {

// True for a load of a strided buffer that nothing else uses, at an index that no value computes.
bool Plan::State::is_known_load(ValueId v, DType dtype) const {
  if (!is_load(v) || values[size_t(v)].uses != 1) return false;
  const Instruction& load = producer(v);
  const Buffer& buffer = kernel.buffers[size_t(load.buffer)];
  return buffer.dtype == dtype && buffer.layout == Layout::strided && !load.strict &&
         !is_gather(load);
}

// True when a store writes each element of a value once, inside its buffer, rows at a step of one.
bool Plan::State::is_whole_store(const Instruction& store, ValueId v) const {
  AxisId inner = innermost(values[size_t(v)].axes);
  return stored_set(store) == axes_of(v) && always_inside(store) &&
         (inner == kNone || buffer_stride(store, inner) == 1);
}

// True for a maximum over a window of bytes that is read as bytes; of sizes for which there are
// tables of pointers.
bool Plan::State::is_narrow_maximum(const Instruction& reduce) const {
  ValueId v = reduce.results[0];
  const std::vector<AxisId>& out = values[size_t(v)].axes;
  if (Reduce(reduce.function) != Reduce::max || !stays_narrow(v)) return false;
  int64_t count = 1;
  for (AxisId a : reduce.axes) {
    if (extent[size_t(a)] < 1 || kernel.axes[size_t(a)].kind != AxisKind::span) return false;
    count = std::min<int64_t>(count * extent[size_t(a)], 1 << 20);
  }
  return count <= 1 << 10 && is_row_of_pixels(out);
}

// True for results whose rows of pixels have tables of pointers to windows, of up to 2^10 each.
bool Plan::State::is_row_of_pixels(const std::vector<AxisId>& out) const {
  auto most = [&](AxisId a) {
    const Axis& axis = kernel.axes[size_t(a)];
    return axis.kind == AxisKind::serial ? axis.block : extent[size_t(a)];
  };
  return !out.empty() && most(out.back()) <= 1 << 20 &&
         (out.size() == 1 || most(out[out.size() - 2]) <= 1 << 10);
}

// True when all that uses an i32 from bytes takes the bytes as well.
bool Plan::State::stays_narrow(ValueId v) const {
  const std::vector<int32_t>& all = users[size_t(v)];
  return !all.empty() && std::all_of(all.begin(), all.end(), [&](int32_t n) {
    const Instruction& i = kernel.body[size_t(n)];
    if (i.op == Op::store) return kernel.buffers[size_t(i.buffer)].dtype == DType::i8;
    return i.op == Op::cast && i.dtype == DType::f32;
  });
}

// Reductions over a window of a buffer read it in place when its edge changes nothing.
void Plan::State::fold_windows() {
  for (const Instruction& i : kernel.body) {
    if (i.op != Op::reduce || i.lanes) continue;
    ValueId x = i.operands[0];
    bool bytes = values[size_t(i.results[0])].dtype == DType::i32;
    if (!is_known_load(x, bytes ? DType::i8 : DType::f32)) continue;
    if (bytes && !is_narrow_maximum(i)) continue;
    const Instruction& load = producer(x);
    const std::vector<AxisId>& out = values[size_t(i.results[0])].axes;
    AxisId inner = innermost(out);
    bool fits = inner != kNone && buffer_stride(load, inner) == 1;
    auto f = Reduce(i.function);
    float identity = f == Reduce::sum    ? 0
                     : f == Reduce::prod ? 1
                     : f == Reduce::max  ? -INFINITY
                                         : INFINITY;
    if (bytes) identity = -128;
    fits &= always_inside(load) || (float(load.number) == identity &&
                                    !std::signbit(load.number + (f == Reduce::max ? INFINITY : 0)));
    if (!fits || !slides(load, set_of(i.axes))) continue;
    values[size_t(x)].home = Home::folded;
    if (bytes) values[size_t(i.results[0])].held = DType::i8;
  }
}

// Loads that can be read where they are.
void Plan::State::read_in_place() {
  for (const Instruction& i : kernel.body) {
    if (i.op != Op::load) continue;
    ValuePlan& value = values[size_t(i.results[0])];
    if (value.home != Home::scratch) continue;
    const Buffer& buffer = kernel.buffers[size_t(i.buffer)];
    AxisId inner = innermost(value.axes);
    bool narrow = buffer.dtype == DType::i8 && stays_narrow(i.results[0]);
    bool steps = inner == kNone || buffer_stride(i, inner) == 1;
    // Bytes that are only stored are copied with any step.
    steps |= narrow && users[size_t(i.results[0])].size() == 1 &&
             kernel.body[size_t(users[size_t(i.results[0])][0])].op == Op::store;
    if ((buffer.dtype == value.dtype || narrow) && buffer.layout == Layout::strided &&
        always_inside(i) && steps) {
      value.home = Home::buffer;
      value.held = buffer.dtype;
    }
  }
}

// Values that can be computed where they are stored.
void Plan::State::compute_in_place() {
  for (size_t n = 0; n < kernel.body.size(); n++) {
    const Instruction& i = kernel.body[n];
    if (i.op != Op::store) continue;
    ValueId v = i.operands[0];
    ValuePlan& value = values[size_t(v)];
    if (value.home != Home::scratch || value.uses != 1) continue;
    const Instruction& made = kernel.body[size_t(value.producer)];
    bool computed = made.op == Op::unary || made.op == Op::binary || made.op == Op::fma ||
                    made.op == Op::select || made.op == Op::dot || made.op == Op::reduce ||
                    made.op == Op::cast;
    DType buffer = kernel.buffers[size_t(i.buffer)].dtype;
    // Numbers become integers, and maxima of bytes bytes, where they are stored.
    bool narrows =
        buffer == DType::i8 && value.dtype == DType::i32 &&
        ((made.op == Op::cast && values[size_t(made.operands[0])].dtype == DType::f32) ||
         (made.op == Op::reduce && values[size_t(made.operands[0])].home == Home::folded));
    bool in_loop = false;
    for (size_t m = size_t(value.producer); m < n; m++)
      in_loop |= kernel.body[m].op == Op::serial || kernel.body[m].op == Op::yield;
    if (computed && !in_loop && (buffer == value.dtype || narrows) && is_whole_store(i, v)) {
      value.home = Home::buffer;
      value.held = buffer;
      value.store = int32_t(n);
    }
  }
}

void Plan::State::find_stored_axes() {
  stored.assign(kernel.body.size(), {});
  for (size_t n = 0; n < kernel.body.size(); n++) {
    if (kernel.body[n].op != Op::store) continue;
    for (AxisId a : order)
      if (stored_set(kernel.body[n]) >> a & 1) stored[n].push_back(a);
  }
}

}  // namespace sconce::tile
