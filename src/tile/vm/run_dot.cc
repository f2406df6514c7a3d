// Dots of f32, on rows and panels.
#include <algorithm>
#include <cmath>

#include "tile/kernels/blocking.h"
#include "tile/vm/run_dot_rows.h"

namespace sconce::tile {
namespace {

constexpr int64_t kDotSegmentsMax = 64;  // that a block kernel is given at once
constexpr int64_t kLongSums = 128;       // steps that take longer than memory
constexpr int64_t kFarRows = 4096;       // elements from one row of a result to the next

}  // namespace

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
                  uint8_t* panels) {
  if (plan.kind == DotPlan::Kind::bytes) {
    table_.pack_i8({1, depth, columns, reinterpret_cast<const int8_t*>(b.data),
                    b.stride[plan.depth[0]], b.stride[plan.column],
                    reinterpret_cast<int8_t*>(panels), bytes_packed_here(plan, depth)});
    return;
  }
  size_t last = plan.depth.size();
  while (last > 0 && length_[plan.depth[last - 1]] == 1) last--;
  AxisId inner = last > 0 ? plan.depth[last - 1] : kNone;
  Span<const AxisId> outer(plan.depth.data(), last > 0 ? last - 1 : 0);
  PackBlock call;
  call.k = inner == kNone ? 1 : length_[inner];
  call.n = columns;
  call.k_stride = inner == kNone ? 0 : b.stride[inner];
  call.n_stride = b.stride[plan.column];
  call.out = reinterpret_cast<float*>(panels);
  call.panel_stride = depth * kPanelColumns;
  if (depth == 0) return;
  each(outer, [&](const int64_t* at) {
    if (plan.bytes_load != kNone) {
      pack_bytes(reinterpret_cast<const int8_t*>(b.data) + offset_at(b, outer, at), call);
    } else {
      call.b = floats(b) + offset_at(b, outer, at);
      table_.pack_f32(call);
    }
    call.out += call.k * kPanelColumns;
  });
}

// Bytes as panels of numbers, by blocks that stay in the first cache: rows as long as they lie
// together, since those are converted at once.
void Worker::pack_bytes(const int8_t* b, const PackBlock& call) {
  constexpr int64_t kNumbers = 2048;
  alignas(64) float numbers[kNumbers];
  const ConvertKernelFn widen = table_.convert[int(Element::i8)][int(Element::f32)];
  const bool across = call.n_stride == 1;  // rows of columns, not of steps
  const int64_t columns = across ? kNumbers : kPanelColumns;
  for (int64_t n = 0; n < call.n; n += columns) {
    PackBlock block = call;
    block.n = std::min(columns, call.n - n);
    block.b = numbers;
    const int64_t steps = kNumbers / (across ? block.n : kPanelColumns);
    for (int64_t k = 0; k < call.k; k += steps) {
      block.k = std::min(steps, call.k - k);
      block.out = call.out + n / kPanelColumns * call.panel_stride + k * kPanelColumns;
      block.k_stride = across ? block.n : 1;
      block.n_stride = across ? 1 : steps;
      const int8_t* from = b + n * call.n_stride + k * call.k_stride;
      if (across)
        widen({block.k, block.n, from, call.k_stride, numbers, block.k_stride});
      else if (call.k_stride == 1)
        widen({block.n, block.k, from, call.n_stride, numbers, block.n_stride});
      else
        for (int64_t y = 0; y < block.n; y++)
          for (int64_t x = 0; x < block.k; x++)
            numbers[y * steps + x] = float(from[x * call.k_stride + y * call.n_stride]);
      table_.pack_f32(block);
    }
  }
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

// How the steps of a dot follow each other: a segment is the last depth axis, and those before it
// that continue it in memory.
DotSegments Worker::cut_depth(const DotPlan& plan, const Ref& rows, bool partly_outside) const {
  DotSegments cut;
  size_t axes = plan.depth.size();
  while (axes > 0 && plan.depth.size() - axes < plan.run_axes) {
    AxisId x = plan.depth[axes - 1];
    if (length_[x] != 1) {
      if (rows.stride[x] != cut.length) break;
      // Steps outside the buffer end a run, but for the innermost axis, which is inside. Short
      // runs go on along one more axis; those that are partly outside are copied.
      if (cut.length != 1 && partly_outside) {
        if (plan.edges_offset == kNoEdges || cut.wide != kNone) break;
        cut.wide = x;
        cut.wide_step = cut.length;
      }
      cut.length *= length_[x];
    }
    axes--;
  }
  cut.axes = {plan.depth.data(), axes};
  int64_t depth = count_of(plan.depth);
  cut.count = depth == 0 ? 0 : depth / std::max<int64_t>(cut.length, 1);
  return cut;
}

// Where the panels of a load of packed weights begin, for the columns of the tile.
const uint8_t* Worker::panels_of(const Instruction& load) const {
  const BufferView& shape = p_.shapes[size_t(load.buffer)];
  int64_t lead = 0;
  for (size_t d = 0; d < size_t(k_.buffers[size_t(load.buffer)].panel_lead); d++)
    lead = lead * shape.sizes[d] + index_base(load.index[d]);
  return data_[size_t(load.buffer)] +
         p_.panels[size_t(load.buffer)].panel(lead, index_base(load.index.back()));
}

// The columns' operand as panels: of the file, or packed here, unless they are still there from the
// tile before.
const uint8_t* Worker::columns_of(const Instruction& dot, const DotPlan& plan) {
  ValueId v = dot.operands[plan.swapped ? 1 : 2];
  if (plan.kind == DotPlan::Kind::panels) return panels_of(p_.producer(v));
  const Instruction* load = p_.packed_load(dot, plan);
  Ref b = load ? buffer_ref(*load) : ref(v);
  const int64_t depth = count_of(plan.depth), columns = length_[plan.column];
  AxisId axis = plan.packed_axis;
  int64_t step = plan.packed_steps < 2 ? 0 : first_[axis] / k_.axes[size_t(axis)].block;
  uint8_t* panels = scratch_ + plan.panels_offset + uint64_t(step) * plan.packed_bytes;
  if (plan.packed_steps > 0) {
    PackedColumns& packed = packed_columns(plan)[step];
    if (packed.data == b.data && packed.depth == depth && packed.columns == columns) return panels;
    packed = {b.data, depth, columns};
  }
  pack(b, plan, depth, columns, panels);
  return panels;
}

// The rows' operand: where it is, or put in order first.
Result<DotRows<float>> Worker::rows_of(const Instruction& dot, const DotPlan& plan) {
  ValueId v = dot.operands[plan.swapped ? 2 : 1];
  DotRows<float> rows;
  rows.outside = reinterpret_cast<const float*>(scratch_ + p_.zeros_offset);
  bool in_buffer = plan_of(v).home == Home::folded;
  if (plan.rows_copied) {
    rows.at = copied_rows(plan);
    if (in_buffer)
      TRY_VOID(load_into(p_.producer(v), rows.at, plan.rows_and_depth, DType::f32));
    else
      copy(plan.rows_and_depth, rows.at, ref(v), 4);
  } else if (in_buffer) {
    rows.at = buffer_ref(p_.producer(v));
    if (!is_inside(p_.producer(v))) rows.window = &p_.producer(v);
  } else {
    rows.at = ref(v);
  }
  return rows;
}

// What the sums begin with; where block kernels cannot give it, it is written to the result.
DotInit Worker::begin_sums(const Instruction& dot, const DotPlan& plan, const float** bias) {
  const ValuePlan& initial = plan_of(dot.operands[0]);
  const Ref& from = ref(dot.operands[0]);
  if (initial.home == Home::constant && initial.dtype == DType::f32 && initial.number == 0 &&
      !std::signbit(initial.number))
    return DotInit::zero;
  bool is_bias = plan.column != kNone && from.stride[plan.column] == 1;
  for (AxisId x : plan.rows) is_bias &= from.stride[x] == 0 || length_[x] == 1;
  if (is_bias) {
    *bias = floats(from);
    return DotInit::bias;
  }
  copy(plan_of(plan.result).axes, ref(plan.result), from, 4);
  return DotInit::c;
}

// A dot of f32 on panels, with all that its block kernels need.
struct Worker::PanelDot {
  const DotPlan& plan;
  const DotF32Kernels& kernels;
  RowTable<float> rows;
  const uint8_t* panels = nullptr;
  int64_t panel_stride = 0, columns = 0;
  int64_t panels_left = 0;  // of the file from `panels` on; 0: packed here
  float* c = nullptr;
  const float* residual = nullptr;  // or null
  DotInit init = DotInit::zero;
  const float* bias = nullptr;
  DotTile tile;
};
// Steps that are done before the next block of rows: whole segments, or a part of the only one.
struct Worker::DotPart {
  int64_t segment = 0, segments = 0;  // the first, how many
  int64_t step = 0, length = 0;       // within each
  bool is_first = true, is_last = true;
};

namespace {

// The weights that are wanted next, of which each call asks for a part: what comes from beyond the
// second cache is too far away to be waited for.
struct NextPanels {
  const uint8_t* first = nullptr;
  int64_t count = 0, distance = 0, bytes = 0;  // panels, and of each so many
  int64_t calls = 1, steps = 1;                // of each call

  void ask(int64_t call, DotF32* dot) const {
    dot->next = nullptr;
    if (count == 0 || call >= calls || calls < 2) return;
    // A call takes one panel, or a part of it that others go on with.
    int64_t panel = call * count / calls;
    int64_t from = pieces(panel * calls, count), until = pieces((panel + 1) * calls, count);
    int64_t part = bytes / (until - from);
    dot->next = first + panel * distance + (call - from) * part;
    dot->next_step = part / steps;
  }
};

}  // namespace

Result<void> Worker::dot_panels(const Instruction& i, const DotPlan& plan) {
  const int64_t depth = count_of(plan.depth), row_count = count_of(plan.rows);
  const int64_t columns = plan.column == kNone ? 1 : length_[plan.column];
  if (row_count == 0 || columns == 0) return {};
  const uint8_t* panels = columns_of(i, plan);
  TRY(const DotRows<float> rows, rows_of(i, plan));
  const Ref& to = ref(plan.result);
  const Ref added = plan.residual == kNone ? Ref() : ref(plan.residual);
  const DotF32Kernels& kernels = plan.panels_of == DType::f16    ? table_.dot_f16
                                 : plan.panels_of == DType::bf16 ? table_.dot_bf16
                                                                 : table_.dot_f32;
  PanelDot dot{plan, kernels, row_table(plan, rows, to, added)};
  dot.panels = panels;
  dot.panel_stride = depth * kPanelColumns;
  dot.columns = columns;
  if (plan.kind == DotPlan::Kind::panels) {
    const Instruction& load = p_.producer(i.operands[plan.swapped ? 1 : 2]);
    dot.panels_left = pieces(
        p_.shapes[size_t(load.buffer)].sizes.back() - index_base(load.index.back()), kPanelColumns);
  }
  dot.c = floats(to);
  if (plan.residual != kNone) dot.residual = floats(added);
  dot.init = begin_sums(i, plan, &dot.bias);
  dot.tile = choose_blocking(kernels, row_count, columns, depth).tile;

  const int64_t segments = dot.rows.segments, length = dot.rows.length;
  DotPart part;
  if (segments <= 1) {
    int64_t most = pieces(length, std::max<int64_t>(1, pieces(length, plan.depth_block)));
    part.segments = segments;
    do {
      part.length = std::min(most, length - part.step);
      part.is_last = segments == 0 || part.step + part.length >= length;
      multiply(dot, part);
      part.step += part.length;
      part.is_first = false;
    } while (!part.is_last);
    return {};
  }
  int64_t most = std::max<int64_t>(1, plan.depth_block / std::max<int64_t>(length, 1));
  part.length = length;
  do {
    part.segments = std::min({most, segments - part.segment, kDotSegmentsMax});
    part.is_last = part.segment + part.segments >= segments;
    multiply(dot, part);
    part.segment += part.segments;
    part.is_first = false;
  } while (!part.is_last);
  return {};
}

// One part of the steps, for all rows and columns.
void Worker::multiply(const PanelDot& dot, const DotPart& part) {
  const DotPlan& plan = dot.plan;
  const RowTable<float>& table = dot.rows;
  int64_t panel_count = pieces(dot.columns, kPanelColumns);
  int64_t groups = pieces(panel_count, dot.tile.panels);
  const float* block_rows[kDotRowsMax * kDotSegmentsMax];
  bool as_they_are = part.segments <= 1 && part.step == 0;
  DotF32 call;
  call.panel_stride = dot.panel_stride;
  call.segments = part.segments;
  call.length = part.length;
  call.init = part.is_first ? dot.init : DotInit::c;
  call.lo = part.is_last ? plan.lo : -INFINITY;
  call.hi = part.is_last ? plan.hi : INFINITY;
  // Lines of a result whose rows lie far apart are fetched while the sums are made.
  const bool asks_for_results = part.is_first && part.segments * part.length >= kLongSums &&
                                table.rows > 1 &&
                                std::abs(table.c_at(1) - table.c_at(0)) >= kFarRows;
  // The same steps of the panels that follow; behind the last ones the next steps of the first
  // ones, or those of the next tile.
  auto next_panels = [&](int64_t first) {
    int64_t step = part.segment * table.length + part.step, steps = part.segments * part.length;
    if (first == panel_count) {
      step = part.is_last ? 0 : step + steps;
      if (!part.is_last) first = 0;
    }
    int64_t count = std::min<int64_t>(dot.tile.panels, dot.panels_left - first);
    steps = std::min(steps, dot.panel_stride / kPanelColumns - step);
    if (count <= 0 || steps <= 0) return NextPanels();
    const int64_t element = int64_t(dtype_bytes(plan.panels_of));
    return NextPanels{dot.panels + (first * dot.panel_stride + step * kPanelColumns) * element,
                      count,
                      dot.panel_stride * element,
                      steps * kPanelColumns * element,
                      pieces(table.rows, dot.tile.rows),
                      std::max<int64_t>(part.segments * part.length, 1)};
  };
  for (int64_t group = 0; group < groups; group++) {
    int64_t panel = piece_start(panel_count, groups, group);
    int64_t wide = piece_start(panel_count, groups, group + 1) - panel;
    int64_t column0 = panel * kPanelColumns;
    int64_t first =
        panel * dot.panel_stride + (part.segment * table.length + part.step) * kPanelColumns;
    call.b = dot.panels + first * int64_t(dtype_bytes(plan.panels_of));
    call.columns = int32_t(std::min(dot.columns - column0, wide * kPanelColumns));
    NextPanels next = next_panels(panel + wide);
    call.bias = dot.bias ? dot.bias + column0 : nullptr;
    for (int64_t r0 = 0, high, calls = 0; r0 < table.rows; r0 += high) {
      // Even blocks rather than a thin last one.
      int64_t left = table.rows - r0;
      high = pieces(left, pieces(left, dot.tile.rows));
      high = table.even_rows(r0, high, &call.c_stride, &call.residual_stride);
      call.rows = table.pointers + part.segment * table.rows + r0;
      if (!as_they_are) {
        for (int64_t s = 0; s < part.segments; s++)
          for (int64_t x = 0; x < high; x++)
            block_rows[s * high + x] = call.rows[s * table.rows + x] + part.step;
        call.rows = block_rows;
      }
      call.c = dot.c + table.c_at(r0) + column0;
      call.residual =
          part.is_last && dot.residual ? dot.residual + table.added_at(r0) + column0 : nullptr;
      next.ask(calls++, &call);
      if (asks_for_results)
        for (int64_t x = 0; x < high; x++)
          for (int64_t column = 0; column < call.columns; column += kPanelColumns)
            __builtin_prefetch(call.c + x * call.c_stride + column, 1, 2);
      dot.kernels.kernel[high - 1][wide - 1](call);
      if (part.is_last && plan.function != kNone)  // while they are in the first cache
        table_.unary[plan.function](
            {high, call.columns, call.c, call.c_stride, 1, call.c, call.c_stride});
    }
  }
}

Result<void> Worker::dot(const Instruction& i, size_t n) {
  const DotPlan& plan = p_.dots[n];
  settle(i.results[0]);
  settle(plan.result);
  switch (plan.kind) {
    case DotPlan::Kind::panels:
    case DotPlan::Kind::packed_here: return dot_panels(i, plan);
    case DotPlan::Kind::bytes: return dot_bytes(i, plan);
    case DotPlan::Kind::weights: return dot_weights(plan);
    case DotPlan::Kind::vector: dot_vector(i, n, plan); break;
    case DotPlan::Kind::bytes_vector: dot_bytes_vector(i, n, plan); break;
    case DotPlan::Kind::plain: dot_plain(i); break;
  }
  return {};
}

}  // namespace sconce::tile
