// Dots of bytes, to sums or to bytes.
#include <algorithm>

#include "tile/vm/run_dot_rows.h"

namespace sconce::tile {

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
Result<DotRows<int8_t>> Worker::rows_of_bytes(const DotPlan& plan) {
  const Instruction& load = k_.body[size_t(plan.rows_load)];
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

// Scales by row, in the order of the rows; null for none.
const float* Worker::row_scales(const DotPlan& plan) {
  if (plan.bytes.row_scale == kNone) return nullptr;
  const Ref& from = ref(plan.bytes.row_scale);
  auto* scales = reinterpret_cast<float*>(scratch_ + plan.bytes.row_scale_offset);
  int64_t r = 0;
  each(plan.rows,
       [&](const int64_t* at) { scales[r++] = floats(from)[offset_at(from, plan.rows, at)]; });
  return scales;
}

// What the zero point of the columns takes from all results of a row: that times the sum of the
// row, which is its product with a column of ones.
const int32_t* Worker::taken_from_rows(const DotPlan& plan, const RowTable<int8_t>& table,
                                       DotI8 call) {
  if (plan.columns_zero == 0) return nullptr;
  const int64_t depth = call.segments * call.length, panel = bytes_packed_here(plan, depth);
  auto* ones = reinterpret_cast<int8_t*>(scratch_ + plan.row_sums_offset);
  auto* sums = reinterpret_cast<int32_t*>(ones + panel);
  const int8_t one = 1;
  table_.pack_i8({1, depth, 1, &one, 0, 0, ones, panel});
  call.b = ones;
  call.panel_stride = panel;
  call.columns = 1;
  call.finish = DotI8Finish::i32;
  call.c_stride = 1;
  each_block(table, table_.dot_i8, 1, depth, [&](const RowBlock& b) {
    call.rows = table.pointers + b.row;
    call.c = sums + b.row;
    table_.dot_i8.kernel[b.rows - 1][0](call);
  });
  for (int64_t r = 0; r < table.rows; r++)
    sums[r] = int32_t(uint32_t(sums[r]) * uint32_t(-plan.columns_zero));
  return sums;
}

// Rows of bytes by packed columns, to sums or to bytes.
Result<void> Worker::dot_bytes(const Instruction& i, const DotPlan& plan) {
  const Instruction& load = p_.producer(i.operands[plan.swapped ? 1 : 2]);
  const BytesPlan& bytes = plan.bytes;
  const int64_t columns = plan.column == kNone ? 1 : length_[plan.column];
  const int64_t depth = count_of(plan.depth);
  if (count_of(plan.rows) == 0 || columns == 0) return {};
  const bool here = Plan::State::packs_here(plan);
  const auto* panels =
      reinterpret_cast<const int8_t*>(here ? columns_of(i, plan) : panels_of(load));
  const int64_t panel_bytes =
      here ? bytes_packed_here(plan, depth) : p_.panels[size_t(load.buffer)].panel_bytes;
  TRY(const DotRows<int8_t> rows, rows_of_bytes(plan));
  const bool to_bytes = bytes.store != kNone || bytes.is_kept;
  const Ref to = bytes.store != kNone ? buffer_ref(k_.body[size_t(bytes.store)]) : ref(plan.result);
  Ref added;
  if (bytes.added != kNone) added = buffer_ref(k_.body[size_t(bytes.added)]);
  const RowTable<int8_t> table = row_table(plan, rows, to, added);

  const int32_t* bias = integer_bias(i);
  AgainI8 again = bytes.again;
  DotI8 call = {};
  call.segment_rows = table.rows;
  call.a_signed = true;
  call.panel_stride = panel_bytes;
  call.segments = table.segments;
  call.length = table.length;
  if (plan.rows_zero != 0) call.zero = &plan.rows_zero;
  const int32_t* row_bias = taken_from_rows(plan, table, call);
  call.finish = to_bytes ? DotI8Finish::i8 : bytes.to_numbers ? DotI8Finish::f32 : DotI8Finish::i32;
  const float* bias_f32 =
      bytes.bias == kNone ? nullptr : floats(buffer_ref(k_.body[size_t(bytes.bias)]));
  const float* row_scale = row_scales(plan);
  call.lo = plan.lo;
  call.hi = plan.hi;
  const float* scale = scales_of(bytes, &call.scale_step);
  call.to = bytes.to;
  call.again = bytes.is_again ? &again : nullptr;
  // The panels of the file behind those at hand are asked for by all calls of these, evenly.
  const int64_t panel_count =
      here ? 0
           : pieces(p_.shapes[size_t(load.buffer)].sizes.back() - index_base(load.index.back()),
                    kPanelColumns);
  const int64_t steps = std::max<int64_t>(1, table.segments * pieces(table.length, 4));
  int64_t asked = 0;  // by a call
  each_block(table, table_.dot_i8, columns, depth, [&](const RowBlock& b) {
    call.b = panels + b.panel * panel_bytes;
    if (b.call == 0) {
      const int64_t next = std::min(b.panels, panel_count - b.panel - b.panels);
      asked = b.calls < 2 || next <= 0 ? 0 : next * panel_bytes / b.calls;
      call.next_step = pieces(asked, steps);
    }
    call.next = asked ? call.b + b.panels * panel_bytes + b.call * asked : nullptr;
    call.columns = b.columns;
    call.bias = bias ? bias + b.column : nullptr;
    call.bias_f32 = bias_f32 ? bias_f32 + b.column : nullptr;
    call.row_scale = row_scale ? row_scale + b.row : nullptr;
    call.row_bias = row_bias ? row_bias + b.row : nullptr;
    call.scale = scale + b.column * call.scale_step;
    call.rows = table.pointers + b.row;
    call.c = to.data + (table.c_at(b.row) + b.column) * (to_bytes ? 1 : 4);
    call.c_stride = b.c_stride;
    again.x_row = b.added_stride;
    if (bytes.added != kNone)
      again.x = reinterpret_cast<const int8_t*>(added.data) + table.added_at(b.row) + b.column;
    table_.dot_i8.kernel[b.rows - 1][b.panels - 1](call);
  });
  return {};
}

}  // namespace sconce::tile
