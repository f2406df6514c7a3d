// Dots by depth: a window and its taps run along the innermost axis.
#include <cmath>

#include "tile/vm/run_taps.h"

namespace sconce::tile {

// The columns of a row of taps that are inside the buffer.
template <class T>
WindowRow<T> Worker::row_of_columns(const Instruction& window, const SlidingColumns& columns,
                                    const At& outer, const At& tap, AxisId width,
                                    const T* base) const {
  WindowRow<T> row = {base, 0, INT64_MAX};
  if (columns.axis == kNone) {
    row.end = width == kNone ? 1 : length_[width];
    Reach reach(*this, window, outer.axes, tap.axes, width);
    reach.go_to(outer.index, tap.index);
    reach.narrow_run(0, &row.begin, &row.end);
    return row;
  }
  // All of the row's other positions, then the one that columns move.
  for (size_t d = 0; d < window.index.size(); d++) {
    int64_t position = index_base(window.index[d]),
            size = p_.shapes[size_t(window.buffer)].sizes[d];
    for (const Term& term : window.index[d].terms)
      if (has_dimension(term.axis) && term.axis != width)
        position += term.factor * (outer.of(term.axis) + tap.of(term.axis));
    if (d == columns.dim) {
      const int64_t unit = columns.unit;
      row.begin = std::max(row.begin, position >= 0 ? 0 : (-position + unit - 1) / unit);
      row.end = std::min(row.end, size <= position ? 0 : (size - position + unit - 1) / unit);
    } else if (position < 0 || position >= size) {
      row.end = 0;
    }
  }
  return row;
}

// A convolution by depth whose results, along `axes`, begin at `to`: fills in what `call` has of
// places and sizes, and calls run() for some rows of pixels at a time.
template <class T, class F>
void Worker::slide(size_t n, const Instruction& window, const std::vector<AxisId>& axes,
                   const Ref& to, SlidingWindows<T>& call, F run) {
  const SlidingColumns& columns = p_.dots[n].columns;
  const AxisId width = axes.size() > 1 ? axes[axes.size() - 2] : kNone;
  const Span<const AxisId> outer(axes.data(), axes.size() > 1 ? axes.size() - 2 : 0);
  const Ref from = buffer_ref(window);
  call.width = width == kNone ? 1 : length_[width];
  call.channels = length_[axes.back()];
  call.out_pixel = width == kNone ? 0 : to.stride[width];
  call.across = columns.across;
  call.step = columns.step;
  call.spread = columns.spread;
  call.down = count_of(columns.down);
  call.column = width == kNone ? 0 : from.stride[width] / columns.step;
  call.height = 0;
  if (call.width * call.channels == 0) return;

  auto* rows = reinterpret_cast<WindowRow<T>*>(scratch_ + p_.taps_offset[n]);
  auto** out = reinterpret_cast<T**>(rows + columns.rows * call.down);
  call.rows = rows;
  call.out = out;
  each(outer, [&](const int64_t* at) {
    WindowRow<T>* row = rows + call.height * call.down;
    each(columns.down, [&](const int64_t* tap) {
      const T* base = reinterpret_cast<const T*>(from.data) + offset_at(from, columns.down, tap) +
                      offset_at(from, outer, at);
      *row++ = row_of_columns(window, columns, {outer, at}, {columns.down, tap}, width, base);
    });
    out[call.height++] = reinterpret_cast<T*>(to.data) + offset_at(to, outer, at);
    if (call.height < columns.rows) return;
    run();
    call.height = 0;
  });
  if (call.height > 0) run();
}

// On the kernel for numbers. False when the operands do not lie as that wants them.
bool Worker::dot_depthwise(const Instruction& i, size_t n, const DotPlan& plan, const Ref& to) {
  const std::vector<AxisId>& axes = plan_of(plan.result).axes;
  if (axes.empty() || p_.taps_offset[n] == kNoTaps) return false;
  AxisId channels = axes.back();
  const ValuePlan& initial = plan_of(i.operands[0]);
  const Ref &bias = ref(i.operands[0]), &weights = ref(i.operands[plan.swapped ? 1 : 2]);
  // One for each channel, the same for all pixels.
  auto is_by_channel = [&](const Ref& r) {
    for (AxisId a : axes)
      if (r.stride[a] != (a == channels) && length_[a] > 1) return false;
    return true;
  };
  bool is_zero =
      initial.home == Home::constant && initial.number == 0 && !std::signbit(initial.number);
  if (to.stride[channels] != 1 || !is_by_channel(weights) || (!is_zero && !is_by_channel(bias)))
    return false;
  const Instruction& window = p_.producer(i.operands[plan.swapped ? 2 : 1]);
  if ((buffer_ref(window).stride[channels] != 1 && length_[channels] > 1) ||
      !p_.stays_inside_along(window, channels))
    return false;
  DepthwiseBlock call = {};
  for (size_t d = plan.depth.size(), count = 1; d-- > 0;) {
    int64_t length = length_[plan.depth[d]], stride = weights.stride[plan.depth[d]];
    if (length == 1) continue;
    if (call.weight_row == 0) call.weight_row = stride;
    if (stride != call.weight_row * int64_t(count)) return false;
    count *= size_t(length);
  }
  call.weights = floats(weights);
  call.bias = is_zero ? nullptr : floats(bias);
  call.lo = plan.lo;
  call.hi = plan.hi;
  call.outside = reinterpret_cast<const float*>(scratch_ + p_.zeros_offset);
  slide<float>(n, window, axes, to, call, [&] { table_.depthwise(call); });
  return true;
}

// On the kernel for bytes.
void Worker::dot_bytes_vector(const Instruction& i, size_t n, const DotPlan& plan) {
  const Instruction& window = p_.producer(i.operands[plan.swapped ? 2 : 1]);
  const Ref weights = buffer_ref(p_.producer(i.operands[plan.swapped ? 1 : 2]));
  const Ref to = buffer_ref(k_.body[size_t(plan.bytes.store)]);
  DepthwiseI8Block call = {};
  call.outside = reinterpret_cast<const int8_t*>(scratch_ + plan.fill_offset);
  call.weights = reinterpret_cast<const int8_t*>(weights.data);
  for (AxisId a : plan.depth)
    if (length_[a] > 1) call.weight_row = weights.stride[a];  // of the innermost one
  call.bias = integer_bias(i);
  call.scale = scales_of(plan.bytes, &call.scale_step);
  call.to = plan.bytes.to;
  call.again = plan.bytes.is_again ? &plan.bytes.again : nullptr;
  slide<int8_t>(n, window, plan_of(i.results[0]).axes, to, call,
                [&] { table_.depthwise_i8(call); });
}

// Both operands run along the innermost axis: one multiply-add of rows for each tap.
void Worker::dot_vector(const Instruction& i, size_t n, const DotPlan& plan) {
  ValueId v = plan.result;
  const std::vector<AxisId>& axes = plan_of(v).axes;
  const Ref& to = ref(v);
  if (dot_depthwise(i, n, plan, to)) return;
  copy(axes, to, ref(i.operands[0]), 4);
  const Instruction& window = p_.producer(i.operands[plan.swapped ? 2 : 1]);
  const Ref& taps = ref(i.operands[plan.swapped ? 1 : 2]);
  Ref from = buffer_ref(window);
  each_tap(window, plan.depth, axes, [&](const int64_t* tap) {
    Ref x = from, w = taps, y = to;
    for (AxisId a : plan.depth) {
      x.data += tap[a] * from.stride[a] * 4;
      w.data += tap[a] * taps.stride[a] * 4;
    }
    for (AxisId a : axes) {
      x.data += begin_[a] * from.stride[a] * 4;
      w.data += begin_[a] * taps.stride[a] * 4;
      y.data += begin_[a] * to.stride[a] * 4;
    }
    const Ref* refs[] = {&y, &x, &w};
    unit_blocks(
        axes, refs,
        [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
          table_.fma({rows, n, floats(x) + o[1], row[1], step[1], floats(w) + o[2], row[2], step[2],
                      floats(y) + o[0], row[0], 1, floats(y) + o[0], row[0]});
        });
  });
  if (plan.lo == -INFINITY && plan.hi == INFINITY) return;
  const Ref* refs[] = {&to};
  unit_blocks(
      axes, refs,
      [&](const int64_t* o, const int64_t* row, const int64_t*, int64_t rows, int64_t count) {
        table_.clamp({rows, count, floats(to) + o[0], row[0], 1, plan.lo, plan.hi,
                      floats(to) + o[0], row[0]});
      });
}

}  // namespace sconce::tile
