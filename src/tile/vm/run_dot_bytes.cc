// Dots of bytes, to sums or to bytes.
#include <algorithm>

#include "tile/kernels/blocking.h"
#include "tile/vm/run_dot_rows.h"

namespace sconce::tile {
namespace {

constexpr int64_t kNearBytes = 24 * 1024;  // of weights, beside which rows fit the first cache

}  // namespace

// Scales by column, from where the current tile begins.
const float* Worker::scales_of(const BytesPlan& bytes, int64_t* step) const {
  *step = bytes.scale == kNone ? 0 : 1;
  return bytes.scale == kNone ? &bytes.scale_number
                              : floats(buffer_ref(k_.body[size_t(bytes.scale)]));
}
// What sums of integers begin with, by column; null for 0.
const int32_t* Worker::integer_bias(const Instruction& dot) {
  if (plan_of(dot.operands[0]).home == Home::constant) return nullptr;
  return reinterpret_cast<const int32_t*>(ref(dot.operands[0]).data);
}

// The rows' operand: where it is, or put in order first.
Result<DotRows<int8_t>> Worker::rows_of_bytes(const Instruction& dot, const DotPlan& plan) {
  const Instruction& load = p_.producer(dot.operands[plan.swapped ? 2 : 1]);
  DotRows<int8_t> rows;
  rows.outside = reinterpret_cast<const int8_t*>(scratch_ + plan.fill_offset);
  rows.fill = plan.fill;
  if (plan.rows_copied) {
    rows.at = copied_rows(plan);
    TRY_VOID(load_into(load, rows.at, plan.rows_and_depth, DType::i8));
  } else {
    rows.at = buffer_ref(load);
    if (!is_inside(load)) rows.window = &load;
  }
  return rows;
}

// Rows of bytes by packed columns, to sums or to bytes.
Result<void> Worker::dot_bytes(const Instruction& i, const DotPlan& plan) {
  const Instruction& load = p_.producer(i.operands[plan.swapped ? 1 : 2]);
  const BytesPlan& bytes = plan.bytes;
  const int64_t columns = plan.column == kNone ? 1 : length_[plan.column];
  const int64_t depth = count_of(plan.depth), row_count = count_of(plan.rows);
  if (row_count == 0 || columns == 0) return {};
  const auto* panels = reinterpret_cast<const int8_t*>(panels_of(load));
  const int64_t panel_bytes = p_.panels[size_t(load.buffer)].panel_bytes;
  TRY(const DotRows<int8_t> rows, rows_of_bytes(i, plan));
  bool to_bytes = bytes.store != kNone;
  const Ref to = to_bytes ? buffer_ref(k_.body[size_t(bytes.store)]) : ref(i.results[0]);
  Ref added;
  if (bytes.added != kNone) added = buffer_ref(k_.body[size_t(bytes.added)]);
  const RowTable<int8_t> table = row_table(plan, rows, to, added);

  const DotI8Kernels& kernels = table_.dot_i8;
  const DotBlocking blocking = choose_blocking(kernels, row_count, columns, depth);
  int64_t panel_count = pieces(columns, kPanelColumns);
  int64_t groups = pieces(panel_count, blocking.tile.panels);
  const int32_t* bias = integer_bias(i);
  AgainI8 again = bytes.again;
  DotI8 call = {};
  call.segment_rows = table.rows;
  call.a_signed = true;
  call.panel_stride = panel_bytes;
  call.segments = table.segments;
  call.length = table.length;
  call.finish = to_bytes ? DotI8Finish::i8 : DotI8Finish::i32;
  const float* scale = scales_of(bytes, &call.scale_step);
  call.to = bytes.to;
  call.again = bytes.is_again ? &again : nullptr;
  auto block = [&](int64_t group, int64_t r0, int64_t high) {
    int64_t panel = piece_start(panel_count, groups, group);
    int64_t wide = piece_start(panel_count, groups, group + 1) - panel;
    int64_t column0 = panel * kPanelColumns;
    call.b = panels + panel * panel_bytes;
    call.columns = int32_t(std::min(columns - column0, wide * kPanelColumns));
    call.bias = bias ? bias + column0 : nullptr;
    call.scale = scale + column0 * call.scale_step;
    call.rows = table.pointers + r0;
    call.c = to.data + (table.c_offset[r0] + column0) * (to_bytes ? 1 : 4);
    if (bytes.added != kNone)
      again.x = reinterpret_cast<const int8_t*>(added.data) + table.added_offset[r0] + column0;
    kernels.kernel[high - 1][wide - 1](call);
  };
  auto rows_from = [&](int64_t r0) {
    int64_t left = row_count - r0;
    return table.even_rows(r0, pieces(left, pieces(left, blocking.tile.rows)), &call.c_stride,
                           &again.x_row);
  };
  // Few columns stay near while rows pass, and results are written whole; else rows stay.
  if (depth * columns <= kNearBytes) {
    for (int64_t r0 = 0, high; r0 < row_count; r0 += high) {
      high = rows_from(r0);
      for (int64_t group = 0; group < groups; group++) block(group, r0, high);
    }
  } else {
    for (int64_t group = 0; group < groups; group++)
      for (int64_t r0 = 0, high; r0 < row_count; r0 += high) {
        high = rows_from(r0);
        block(group, r0, high);
      }
  }
  return {};
}

}  // namespace sconce::tile
