// Dots by depth: a window and its taps run along the innermost axis.
#include <cmath>

#include "tile/vm/run_taps.h"

namespace sconce::tile {

// A convolution by depth on its kernel. False when its operands do not lie as that wants them.
bool Worker::dot_depthwise(const Instruction& i, size_t n, const DotPlan& plan, const Ref& to) {
  const std::vector<AxisId>& axes = plan_of(plan.result).axes;
  if (axes.empty()) return false;
  AxisId channels = axes.back();
  const ValuePlan& initial = plan_of(i.operands[0]);
  const Ref& bias = ref(i.operands[0]);
  bool is_zero =
      initial.home == Home::constant && initial.number == 0 && !std::signbit(initial.number);
  DepthwiseBlock call;
  call.bias = is_zero ? nullptr : floats(bias);
  if (!is_zero) {
    if (bias.stride[channels] != 1 && length_[channels] > 1) return false;
    for (AxisId a : axes)
      if (a != channels && bias.stride[a] != 0 && length_[a] > 1) return false;
  }
  const Ref& weights = ref(i.operands[plan.swapped ? 1 : 2]);
  if (weights.stride[channels] != 1 && length_[channels] > 1) return false;
  for (AxisId a : axes)
    if (a != channels && weights.stride[a] != 0 && length_[a] > 1) return false;
  call.weights = floats(weights);
  call.weight_row = 0;
  int64_t count = 1;
  for (size_t d = plan.depth.size(); d-- > 0;) {
    int64_t length = length_[plan.depth[d]], stride = weights.stride[plan.depth[d]];
    if (length == 1) continue;
    if (call.weight_row == 0) call.weight_row = stride;
    if (stride != call.weight_row * count) return false;
    count *= length;
  }
  call.lo = plan.lo;
  call.hi = plan.hi;
  const auto* zeros = reinterpret_cast<const float*>(scratch_ + p_.zeros_offset);
  return each_row_of_taps<TapsBlock>(n, p_.producer(i.operands[plan.swapped ? 2 : 1]), plan.depth,
                                     axes, to, zeros, [&](const TapsBlock& block, const int64_t*) {
                                       call.taps = block;
                                       table_.depthwise(call);
                                     });
}

void Worker::dot_bytes_vector(const Instruction& i, size_t n, const DotPlan& plan) {
  const std::vector<AxisId>& axes = plan_of(i.results[0]).axes;
  Ref weights = buffer_ref(p_.producer(i.operands[plan.swapped ? 1 : 2]));
  DepthwiseI8Block call;
  call.weights = reinterpret_cast<const int8_t*>(weights.data);
  call.weight_row = 0;
  for (AxisId a : plan.depth)
    if (length_[a] > 1) call.weight_row = weights.stride[a];  // of the innermost one
  call.bias = integer_bias(i);
  call.scale = scales_of(plan.bytes, &call.scale_step);
  call.to = plan.bytes.to;
  call.again = plan.bytes.is_again ? &plan.bytes.again : nullptr;
  const auto* outside = reinterpret_cast<const int8_t*>(scratch_ + plan.fill_offset);
  each_row_of_taps<TapsI8Block>(n, p_.producer(i.operands[plan.swapped ? 2 : 1]), plan.depth, axes,
                                buffer_ref(k_.body[size_t(plan.bytes.store)]), outside,
                                [&](const TapsI8Block& block, const int64_t*) {
                                  call.taps = block;
                                  table_.depthwise_i8(call);
                                });
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
    blocks(axes, refs,
           [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
             table_.fma({rows, n, floats(x) + o[1], row[1], step[1], floats(w) + o[2], row[2],
                         step[2], floats(y) + o[0], row[0], 1, floats(y) + o[0], row[0]});
           });
  });
  if (plan.lo == -INFINITY && plan.hi == INFINITY) return;
  const Ref* refs[] = {&to};
  blocks(axes, refs,
         [&](const int64_t* o, const int64_t* row, const int64_t*, int64_t rows, int64_t count) {
           table_.clamp({rows, count, floats(to) + o[0], row[0], 1, plan.lo, plan.hi,
                         floats(to) + o[0], row[0]});
         });
}

}  // namespace sconce::tile
