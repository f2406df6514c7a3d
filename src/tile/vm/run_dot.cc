// Dots of f32, on rows and panels.
#include <algorithm>
#include <cmath>

#include "tile/kernels/blocking.h"
#include "tile/vm/run_dot_rows.h"

namespace sconce::tile {

void Worker::dot_plain(const Instruction& i) {
  ValueId v = i.results[0];
  const ValuePlan& out = plan_of(v);
  const Ref &to = ref(v), &c = ref(i.operands[0]), &a = ref(i.operands[1]), &b = ref(i.operands[2]);
  each(out.axes, [&](const int64_t* at) {
    int64_t ca = offset_at(c, plan_of(i.operands[0]).axes, at), aa = offset_at(a, out.axes, at),
            ba = offset_at(b, out.axes, at);
    if (out.dtype == DType::f32) {
      float sum = floats(c)[ca];
      each(i.axes, [&](const int64_t* k) {
        sum = std::fma(floats(a)[aa + offset_at(a, i.axes, k)],
                       floats(b)[ba + offset_at(b, i.axes, k)], sum);
      });
      floats(to)[offset_at(to, out.axes, at)] = sum;
    } else {
      uint32_t sum = uint32_t(read_integer(c, out.dtype, ca));
      each(i.axes, [&](const int64_t* k) {
        sum += uint32_t(read_integer(a, out.dtype, aa + offset_at(a, i.axes, k))) *
               uint32_t(read_integer(b, out.dtype, ba + offset_at(b, i.axes, k)));
      });
      write_integer(to, out.dtype, offset_at(to, out.axes, at), int32_t(sum));
    }
  });
}

// Packs an operand [depth][column] into panels.
void Worker::pack(const Ref& b, const DotPlan& plan, int64_t depth, int64_t columns,
                  float* panels) {
  size_t last = plan.depth.size();
  while (last > 0 && length_[plan.depth[last - 1]] == 1) last--;
  AxisId inner = last > 0 ? plan.depth[last - 1] : kNone;
  Span<const AxisId> outer(plan.depth.data(), last > 0 ? last - 1 : 0);
  PackBlock call;
  call.k = inner == kNone ? 1 : length_[inner];
  call.n = columns;
  call.k_stride = inner == kNone ? 0 : b.stride[inner];
  call.n_stride = b.stride[plan.column];
  call.out = panels;
  call.panel_stride = depth * kPanelColumns;
  if (depth == 0) return;
  each(outer, [&](const int64_t* at) {
    call.b = floats(b) + offset_at(b, outer, at);
    table_.pack_f32(call);
    call.out += call.k * kPanelColumns;
  });
}

// Where the rows of a dot lie when they are put in order first.
Ref Worker::copied_rows(const DotPlan& plan) const {
  Ref a;
  a.data = scratch_ + plan.rows_offset;
  int64_t stride = 1;
  for (size_t d = plan.depth.size(); d-- > 0;) {
    a.stride[plan.depth[d]] = stride;
    stride *= length_[plan.depth[d]];
  }
  for (size_t d = plan.rows.size(); d-- > 0;) {
    a.stride[plan.rows[d]] = stride;
    stride *= length_[plan.rows[d]];
  }
  return a;
}

Result<void> Worker::dot(const Instruction& i, size_t n) {
  const DotPlan& plan = p_.dots[n];
  ValueId v = plan.result;
  settle(i.results[0]);
  settle(v);
  if (plan.kind == DotPlan::Kind::plain) {
    dot_plain(i);
    return {};
  }
  if (plan.kind == DotPlan::Kind::vector) {
    dot_vector(i, n, plan);
    return {};
  }
  if (plan.kind == DotPlan::Kind::bytes) return dot_bytes(i, plan);
  if (plan.kind == DotPlan::Kind::bytes_vector) {
    dot_bytes_vector(i, n, plan);
    return {};
  }
  const Ref& to = ref(v);
  const std::vector<AxisId>& out_axes = plan_of(v).axes;
  ValueId rows_value = i.operands[plan.swapped ? 2 : 1],
          columns_value = i.operands[plan.swapped ? 1 : 2];
  int64_t depth = 1, row_count = 1;
  for (AxisId a : plan.depth) depth *= length_[a];
  for (AxisId a : plan.rows) row_count *= length_[a];
  int64_t columns = plan.column == kNone ? 1 : length_[plan.column];
  if (row_count == 0 || columns == 0) return {};

  // Columns: packed in the file, or here.
  const float* panels = nullptr;
  int64_t panel_stride = depth * kPanelColumns;
  if (plan.kind == DotPlan::Kind::panels) {
    const Instruction& load = p_.producer(columns_value);
    const BufferView& shape = p_.shapes[size_t(load.buffer)];
    const Buffer& buffer = k_.buffers[size_t(load.buffer)];
    int64_t lead = 0;
    for (size_t d = 0; d < size_t(buffer.panel_lead); d++)
      lead = lead * shape.sizes[d] + index_base(load.index[d]);
    int64_t all = (shape.sizes.back() + kPanelColumns - 1) / kPanelColumns;
    int64_t first = index_base(load.index.back()) / kPanelColumns;
    panels = reinterpret_cast<const float*>(data_[size_t(load.buffer)]) +
             (lead * all + first) * panel_stride;
  } else {
    Ref b = plan_of(columns_value).home == Home::folded ? buffer_ref(p_.producer(columns_value))
                                                        : ref(columns_value);
    float* packed = reinterpret_cast<float*>(scratch_ + plan.panels_offset);
    pack(b, plan, depth, columns, packed);
    panels = packed;
  }

  // Rows: where they are, or put in order first.
  const Instruction* window = nullptr;
  Ref a;
  if (plan.rows_copied) {
    a = copied_rows(plan);
    const std::vector<AxisId>& axes = plan.rows_and_depth;
    if (plan_of(rows_value).home == Home::folded)
      TRY_VOID(load_into(p_.producer(rows_value), a, axes, DType::f32));
    else
      copy(axes, a, ref(rows_value), 4);
  } else if (plan_of(rows_value).home == Home::folded) {
    a = buffer_ref(p_.producer(rows_value));
    if (!is_inside(p_.producer(rows_value))) window = &p_.producer(rows_value);
  } else {
    a = ref(rows_value);
  }

  const RowTable<float> table =
      row_table(plan, a, window, reinterpret_cast<const float*>(scratch_ + p_.zeros_offset), 0, to,
                plan.residual == kNone ? Ref() : ref(plan.residual));
  const int64_t segments = table.segments, length = table.length;
  const float* const* pointers = table.pointers;
  const int64_t *c_offset = table.c_offset, *residual_offset = table.added_offset;
  Ref residual;
  if (plan.residual != kNone) residual = ref(plan.residual);

  // Initial value.
  DotInit init = DotInit::zero;
  const float* bias = nullptr;
  const ValuePlan& initial = plan_of(i.operands[0]);
  const Ref& initial_ref = ref(i.operands[0]);
  bool is_zero = initial.home == Home::constant && initial.dtype == DType::f32 &&
                 initial.number == 0 && !std::signbit(initial.number);
  bool is_bias = plan.column != kNone && initial_ref.stride[plan.column] == 1;
  for (AxisId x : plan.rows) is_bias &= initial_ref.stride[x] == 0 || length_[x] == 1;
  if (is_zero) {
  } else if (is_bias) {
    init = DotInit::bias;
    bias = floats(initial_ref);
  } else {
    copy(out_axes, to, ref(i.operands[0]), 4);
    init = DotInit::c;
  }

  const DotF32Kernels& kernels = table_.dot_f32;
  int64_t panel_count = (columns + kPanelColumns - 1) / kPanelColumns;
  // Blocks of steps: whole segments, or parts of the only one.
  int64_t segments_block = segments, length_block = length;
  if (segments > 1)
    segments_block = std::max<int64_t>(1, plan.depth_block / std::max<int64_t>(length, 1));
  else
    length_block = pieces(length, std::max<int64_t>(1, pieces(length, plan.depth_block)));
  const DotBlocking blocking = choose_blocking(kernels, row_count, columns, depth);
  int64_t groups = pieces(panel_count, blocking.tile.panels);

  const float* block_rows[kDotRowsMax * 64];
  for (int64_t s0 = 0, k0 = 0;;) {
    int64_t s_count = std::min(segments_block, segments - s0);
    int64_t k_count = std::min(length_block, length - k0);
    if (segments > 1) k_count = length;
    // A table of pointers for the rows of one block holds 64 segments.
    s_count = std::min<int64_t>(s_count, 64);
    if (s_count <= 0) s_count = 0;
    bool last = segments == 0 || (segments > 1 ? s0 + s_count >= segments : k0 + k_count >= length);
    for (int64_t group = 0; group < groups; group++) {
      int64_t panel = piece_start(panel_count, groups, group);
      int64_t wide = piece_start(panel_count, groups, group + 1) - panel;
      int64_t most = blocking.tile.rows;
      for (int64_t r0 = 0; r0 < row_count;) {
        // Even blocks rather than a thin last one.
        int64_t left = row_count - r0;
        int64_t high = pieces(left, pieces(left, most));
        int64_t c_stride = 0, residual_stride = 0;
        high = table.even_rows(r0, high, &c_stride, &residual_stride);
        const float* const* rows = pointers + s0 * row_count + r0;
        if (s_count > 1 || k0 > 0) {
          for (int64_t s = 0; s < s_count; s++)
            for (int64_t x = 0; x < high; x++)
              block_rows[s * high + x] = pointers[(s0 + s) * row_count + r0 + x] + k0;
          rows = block_rows;
        }
        int64_t column0 = panel * kPanelColumns;
        DotF32 call;
        call.rows = rows;
        call.b = panels + panel * panel_stride + (s0 * length + k0) * kPanelColumns;
        call.panel_stride = panel_stride;
        call.segments = s_count;
        call.length = k_count;
        call.c = floats(to) + c_offset[r0] + column0;
        call.c_stride = c_stride;
        call.columns = int32_t(std::min(columns - column0, wide * kPanelColumns));
        bool first = s0 == 0 && k0 == 0;
        call.init = first ? init : DotInit::c;
        call.bias = bias ? bias + column0 : nullptr;
        call.residual = last && plan.residual != kNone
                            ? floats(residual) + residual_offset[r0] + column0
                            : nullptr;
        call.residual_stride = residual_stride;
        call.lo = last ? plan.lo : -INFINITY;
        call.hi = last ? plan.hi : INFINITY;
        kernels.kernel[high - 1][wide - 1](call);
        r0 += high;
      }
    }
    if (last) break;
    if (segments > 1)
      s0 += s_count;
    else
      k0 += k_count;
  }
  return {};
}

}  // namespace sconce::tile
