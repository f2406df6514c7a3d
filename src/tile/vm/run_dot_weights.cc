// Dots by quantised weights whose results are numbers.
#include <algorithm>

#include "tile/vm/run_dot_rows.h"

namespace sconce::tile {

// Rows of numbers as bytes, in the order of the dot.
void Worker::quantize_rows(const DotPlan& plan, int8_t* q) {
  const WeightsPlan& w = plan.weights;
  const Ref &x = ref(w.x), &inverse = ref(w.inverse), &zero = ref(w.zero);
  // Steps that lie behind each other are taken at once.
  size_t outer_axes = plan.depth.size();
  int64_t run = 1;
  for (; outer_axes > 0; outer_axes--) {
    AxisId a = plan.depth[outer_axes - 1];
    if (length_[a] == 1) continue;
    if (x.stride[a] != run) break;
    run *= length_[a];
  }
  Span<const AxisId> outer(plan.depth.data(), outer_axes);
  QuantizeBlock call = {1, run, nullptr, 0, nullptr, 0, 0, w.low, w.high, w.low, q, 0};
  each(plan.rows, [&](const int64_t* at) {
    const float* row = floats(x) + offset_at(x, plan.rows, at);
    call.scale = floats(inverse) + offset_at(inverse, plan.rows, at);
    call.zero_point = int32_t(floats(zero)[offset_at(zero, plan.rows, at)]);
    each(outer, [&](const int64_t* piece) {
      call.x = row + offset_at(x, outer, piece);
      call.out = q;
      table_.quantize_i8(call);
      q += run;
    });
  });
}

// What the block kernels want of each row beside its bytes: scale, zero point, sums of groups.
Worker::OwnRows Worker::own_rows(const DotPlan& plan) {
  const WeightsPlan& w = plan.weights;
  const int64_t rows = count_of(plan.rows), depth = count_of(plan.depth);
  const int64_t groups = w.halves ? depth / w.group : 0;
  auto* q = reinterpret_cast<int8_t*>(scratch_ + plan.rows_offset);
  auto* scales = reinterpret_cast<float*>(scratch_ + w.by_row_offset);
  auto* zeros = reinterpret_cast<int32_t*>(scales + rows);
  int32_t* sums = zeros + rows;
  quantize_rows(plan, q);
  int64_t r = 0;
  each(plan.rows, [&](const int64_t* at) {
    auto place = [&](ValueId v) { return offset_at(ref(v), plan.rows, at); };
    scales[r] = floats(ref(w.row_scale))[place(w.row_scale)];
    zeros[r] = 0;
    if (w.halves)
      zeros[r] = int32_t(floats(ref(w.zero))[place(w.zero)]);
    else if (w.subtracted != kNone)
      zeros[r] = int32_t(read_integer(ref(w.subtracted), DType::i32, place(w.subtracted)));
    for (int64_t g = 0; g < groups; g++) {
      const int8_t* part = q + r * depth + g * w.group;
      int32_t sum = 0;
      for (int64_t k = 0; k < w.group; k++) sum += part[k];
      sums[r * groups + g] = sum;
    }
    r++;
  });
  return {scales, zeros, sums, groups};
}

// What all of these block kernels are told alike: of the whole dot, and of a tile of it.
struct Worker::WeightedColumns {
  const DotPlan& plan;
  Ref to;
  int64_t columns, depth;
  const uint8_t* panels;
  int64_t panel_bytes;
  const float *bias, *moved;  // by column, or null
  const float* scales;        // by column; with groups: panels of them, so many apart
  int64_t scales_panel = 0;

  template <class Call>
  void begin(Call& call) const {
    call.panel_stride = panel_bytes;
    call.lo = plan.lo;
    call.hi = plan.hi;
    if constexpr (requires { call.group; }) {
      call.k = depth;
      call.group = plan.weights.group;
      call.scales_panel = scales_panel;
    }
  }
  template <class Call, class T>
  void at(Call& call, const RowTable<T>& table, const RowBlock& b) const {
    call.rows = table.pointers + b.row;
    call.b = reinterpret_cast<decltype(call.b)>(panels + b.panel * panel_bytes);
    call.c = reinterpret_cast<float*>(to.data) + table.c_at(b.row) + b.column;
    call.c_stride = b.c_stride;
    call.columns = b.columns;
    const float* own_bias = bias ? bias + b.column : nullptr;
    if constexpr (requires { call.group; }) {
      call.scales = scales + b.panel * scales_panel;
      call.bias = own_bias;
    } else {
      call.bias_f32 = own_bias;
    }
  }
};

Result<void> Worker::dot_weights(const DotPlan& plan) {
  const WeightsPlan& w = plan.weights;
  if (count_of(plan.rows) == 0 || length_[plan.column] == 0) return {};
  auto load_at = [&](int32_t n) -> const Instruction& { return k_.body[size_t(n)]; };
  auto by_column = [&](int32_t n) { return n == kNone ? nullptr : floats(buffer_ref(load_at(n))); };
  const Instruction& weights = load_at(w.weights);
  WeightedColumns columns{plan,
                          ref(plan.result),
                          length_[plan.column],
                          count_of(plan.depth),
                          panels_of(weights),
                          p_.panels[size_t(weights.buffer)].panel_bytes,
                          by_column(w.bias),
                          by_column(w.moved),
                          nullptr};
  if (w.group > 0) {
    const Instruction& scales = load_at(w.scale);
    columns.scales = reinterpret_cast<const float*>(panels_of(scales));
    columns.scales_panel = p_.panels[size_t(scales.buffer)].panel_bytes / 4;
  } else {
    columns.scales = w.scale == kNone ? &w.scale_number : by_column(w.scale);
  }
  if (!w.is_own())
    dot_numbers(columns);
  else if (w.halves)
    dot_own_by_nibbles(columns);
  else
    dot_own_by_bytes(columns);
  return {};
}

// Numbers as they are.
void Worker::dot_numbers(const WeightedColumns& columns) {
  const DotPlan& plan = columns.plan;
  DotRows<float> rows;
  if (plan.rows_copied) {
    rows.at = copied_rows(plan);
    copy(plan.rows_and_depth, rows.at, ref(plan.weights.x), 4);
  } else {
    rows.at = buffer_ref(p_.producer(plan.weights.x));
  }
  const RowTable<float> table = row_table(plan, rows, columns.to, Ref());
  const DotWeightsKernels& kernels =
      plan.weights.halves ? table_.dot_weights_i4 : table_.dot_weights_i8;
  DotWeights call = {};
  columns.begin(call);
  each_block(table, kernels, columns.columns, columns.depth, [&](const RowBlock& b) {
    columns.at(call, table, b);
    kernels.kernel[b.rows - 1][b.panels - 1](call);
  });
}

void Worker::dot_own_by_nibbles(const WeightedColumns& columns) {
  const OwnRows own = own_rows(columns.plan);
  DotRows<int8_t> rows;
  rows.at = copied_rows(columns.plan);
  const RowTable<int8_t> table = row_table(columns.plan, rows, columns.to, Ref());
  DotI4 call = {};
  columns.begin(call);
  call.group_sums_row = own.groups;
  each_block(table, table_.dot_i4, columns.columns, columns.depth, [&](const RowBlock& b) {
    columns.at(call, table, b);
    call.group_sums = own.sums + b.row * own.groups;
    call.row_scale = own.scales + b.row;
    call.zero = own.zeros + b.row;
    call.weight_sums = columns.moved + b.column;
    table_.dot_i4.kernel[b.rows - 1][b.panels - 1](call);
  });
}

void Worker::dot_own_by_bytes(const WeightedColumns& columns) {
  const WeightsPlan& w = columns.plan.weights;
  const OwnRows own = own_rows(columns.plan);
  DotRows<int8_t> rows;
  rows.at = copied_rows(columns.plan);
  const RowTable<int8_t> table = row_table(columns.plan, rows, columns.to, Ref());
  DotI8 call = {};
  columns.begin(call);
  call.segment_rows = table.rows;
  call.a_signed = true;
  call.segments = 1;
  call.length = columns.depth;
  call.zero_step = 1;
  call.finish = DotI8Finish::f32;
  call.scale_step = w.scale == kNone ? 0 : 1;
  each_block(table, table_.dot_i8, columns.columns, columns.depth, [&](const RowBlock& b) {
    columns.at(call, table, b);
    call.zero = w.subtracted == kNone ? nullptr : own.zeros + b.row;
    call.scale = columns.scales + b.column * call.scale_step;
    call.row_scale = own.scales + b.row;
    table_.dot_i8.kernel[b.rows - 1][b.panels - 1](call);
  });
}

}  // namespace sconce::tile
