// Where everything lies in the scratch memory of a thread.
#include <algorithm>

#include "tile/vm/worker.h"

namespace sconce::tile {

namespace {

constexpr uint64_t kScratchMax = uint64_t(1) << 30;
constexpr int64_t kShortRun = 32;  // steps of a dot that are too few to begin anew after them

}  // namespace

Result<void> Plan::State::place_values() {
  auto length_max = [&](AxisId a) {
    const Axis& axis = kernel.axes[size_t(a)];
    return axis.kind == AxisKind::parallel ? tile[size_t(a)]
           : axis.kind == AxisKind::span   ? extent[size_t(a)]
                                           : axis.block;
  };
  struct Slot {
    uint64_t offset, bytes;
    int32_t free_from;  // instruction after which it is free
  };
  std::vector<Slot> slots;
  uint64_t end = 0;
  auto take = [&](uint64_t bytes, int32_t from, int32_t until) {
    bytes = round_up(std::max<uint64_t>(bytes, 64));
    for (Slot& slot : slots)
      if (slot.free_from < from && slot.bytes >= bytes && slot.bytes <= 2 * bytes) {
        slot.free_from = until;
        return slot.offset;
      }
    slots.push_back({end, bytes, until});
    end += bytes;
    return slots.back().offset;
  };
  auto is_carried = [&](ValueId v) {
    Op op = kernel.body[size_t(values[size_t(v)].producer)].op;
    return op == Op::serial || op == Op::yield;
  };
  for (size_t n = 0; n < kernel.body.size(); n++) {
    const Instruction& i = kernel.body[n];
    if (skipped[n] || i.op == Op::yield) continue;
    for (ValueId v : i.results) {
      ValueId made = v;
      if (i.op == Op::dot) made = dots[n].result;
      ValuePlan& value = values[size_t(made)];
      if (value.home != Home::scratch) continue;
      int64_t count = 1;
      for (size_t d = value.axes.size(); d-- > 0;) {
        value.stride[value.axes[d]] = count;
        if (__builtin_mul_overflow(count, length_max(value.axes[d]), &count) ||
            uint64_t(count) > kScratchMax / 8)
          return error(Code::too_large, "kernel {}: a value of a tile needs more than {} bytes",
                       kernel.name, kScratchMax);
      }
      value.count = count;
      uint64_t bytes = uint64_t(count) * computed_bytes(value.held);
      // Over an operand that ends here.
      bool placed = false;
      if (i.op == Op::unary || i.op == Op::binary || i.op == Op::fma)
        for (ValueId x : i.operands) {
          const ValuePlan& operand = values[size_t(x)];
          if (placed || operand.home != Home::scratch || operand.last_use != int32_t(n) ||
              operand.axes != value.axes || operand.dtype != value.dtype || is_carried(x))
            continue;
          for (Slot& slot : slots)
            if (slot.offset == operand.offset && slot.free_from == int32_t(n)) {
              slot.free_from = std::max(value.last_use, int32_t(n));
              value.offset = slot.offset;
              placed = true;
            }
        }
      int32_t until = std::max(value.last_use, int32_t(n));
      if (i.op == Op::serial) {
        // Also what the loop gives: its results are where the carried values are.
        ValueId after = kernel.body[size_t(partner[n])].results[size_t(
            std::find(i.results.begin(), i.results.end(), v) - i.results.begin())];
        until = std::max({until, partner[n], values[size_t(after)].last_use});
      }
      if (!placed) value.offset = take(bytes, int32_t(n), until);
    }
  }
  // What dots need beside their values.
  for (size_t n = 0; n < kernel.body.size(); n++) {
    DotPlan& plan = dots[n];
    if (kernel.body[n].op != Op::dot) continue;
    if (plan.kind == DotPlan::Kind::plain || plan.kind == DotPlan::Kind::vector ||
        plan.kind == DotPlan::Kind::bytes_vector)
      continue;
    bool bytes = plan.kind == DotPlan::Kind::bytes;
    uint64_t element = bytes ? 1 : 4;
    int64_t rows = 1, depth = 1, segments = 1, columns = 1;
    bool overflow = false;
    for (AxisId a : plan.rows) overflow |= __builtin_mul_overflow(rows, length_max(a), &rows);
    bool inner_seen = false;
    int64_t inner_length = 1;
    for (size_t d = plan.depth.size(); d-- > 0;) {
      int64_t length = length_max(plan.depth[d]);
      overflow |= __builtin_mul_overflow(depth, length, &depth);
      // Runs of bytes are those of the panels, and no longer.
      bool apart = bytes ? plan.depth.size() - d > plan.run_axes
                         : length > 1 && inner_seen && !plan.rows_copied;
      if (apart) overflow |= __builtin_mul_overflow(segments, length, &segments);
      if (length > 1 && !inner_seen) inner_length = length;
      inner_seen |= length > 1;
    }
    if (plan.column != kNone) columns = length_max(plan.column);
    (bytes ? fills : zeros) = std::max(bytes ? fills : zeros, depth);
    auto grow = [&](uint64_t bytes, uint64_t* offset) {
      *offset = end;
      end += round_up(bytes);
    };
    if (overflow || depth > int64_t(kScratchMax / 64) ||
        uint64_t(rows) >
            kScratchMax / 64 / uint64_t(std::max<int64_t>(std::max(depth, segments), 1)))
      return error(Code::too_large, "kernel {}: a dot of {} steps", kernel.name, depth);
    if (plan.rows_copied) grow(uint64_t(rows * depth) * element, &plan.rows_offset);
    ValueId of_rows = kernel.body[n].operands[plan.swapped ? 2 : 1];
    if (!plan.rows_copied && values[size_t(of_rows)].home == Home::folded &&
        !always_inside(producer(of_rows)) &&
        (bytes ? plan.run_axes > 1 : inner_length <= kShortRun))
      grow(uint64_t(rows * depth) * element, &plan.edges_offset);
    if (plan.kind == DotPlan::Kind::packed_here) {
      int64_t panels = (columns + kPanelColumns - 1) / kPanelColumns;
      if (uint64_t(panels) > kScratchMax / 64 / uint64_t(std::max<int64_t>(depth, 1)))
        return error(Code::too_large, "kernel {}: a dot of {} steps", kernel.name, depth);
      grow(uint64_t(panels * depth * kPanelColumns) * 4, &plan.panels_offset);
    }
    grow(uint64_t(rows) * (uint64_t(std::max<int64_t>(segments, 1)) + 2) * 8,
         &plan.pointers_offset);
  }
  // What windows need: pointers for a row of pixels, a row of what lies outside the buffer.
  taps_offset.assign(kernel.body.size(), kNoTaps);
  bool pools = false;
  for (size_t n = 0; n < kernel.body.size(); n++) {
    const Instruction& i = kernel.body[n];
    bool is_pool = i.op == Op::reduce && values[size_t(i.operands[0])].home == Home::folded;
    bool bytes = i.op == Op::dot && dots[n].kind == DotPlan::Kind::bytes_vector;
    if (!is_pool && !bytes && (i.op != Op::dot || dots[n].kind != DotPlan::Kind::vector)) continue;
    const std::vector<AxisId>& out = values[size_t(is_pool ? i.results[0] : dots[n].result)].axes;
    if (out.empty()) continue;
    int64_t width = out.size() > 1 ? length_max(out[out.size() - 2]) : 1, count = width;
    bool overflow = false;
    for (AxisId a : i.axes) overflow |= __builtin_mul_overflow(count, length_max(a), &count);
    int64_t row = std::max(length_max(out.back()), width);
    if (overflow || count > 1 << 20 || row > 1 << 20) continue;  // the general way has no tables
    (bytes ? fills : zeros) = std::max(bytes ? fills : zeros, row);
    pools |= is_pool;
    taps_offset[n] = end;
    end += round_up(uint64_t(count) * sizeof(float*));
  }
  for (DotPlan& plan : dots)
    if (plan.kind == DotPlan::Kind::bytes || plan.kind == DotPlan::Kind::bytes_vector) {
      plan.fill_offset = end;
      end += round_up(uint64_t(fills));
    }
  outside_offset = end;
  if (pools) end += round_up(2 * uint64_t(zeros) * 4);
  carries.assign(kernel.body.size(), {});
  for (size_t n = 0; n < kernel.body.size(); n++) {
    const Instruction& i = kernel.body[n];
    if (i.op != Op::serial && i.op != Op::yield) continue;
    const std::vector<ValueId>& to =
        i.op == Op::serial ? i.results : kernel.body[size_t(partner[n])].results;
    for (size_t k = 0; k < i.operands.size(); k++) {
      bool overwritten = std::find(to.begin(), to.begin() + std::ptrdiff_t(k), i.operands[k]) !=
                         to.begin() + std::ptrdiff_t(k);
      carries[n].aside.push_back(overwritten ? end : CarryPlan::kNotAside);
      const ValuePlan& value = values[size_t(i.operands[k])];
      if (overwritten) end += round_up(uint64_t(value.count) * computed_bytes(value.dtype));
    }
  }
  zeros_offset = end;
  end += round_up(uint64_t(zeros) * 4);
  worker_offset = end;
  end += Worker::worker_bytes() + round_up(kernel.values.size() * sizeof(Ref));
  scratch = std::max<uint64_t>(end, 64);
  if (scratch > kScratchMax)
    return error(Code::too_large, "kernel {}: a tile needs {} bytes; at most {}", kernel.name,
                 scratch, kScratchMax);
  return {};
}

}  // namespace sconce::tile
