// Where everything lies in the scratch memory of a thread: values first, which share memory when
// they are not alive together, then what dots, windows and loops need beside them, and the worker.
#include <algorithm>

#include "tile/kernels/blocking.h"
#include "tile/vm/worker.h"

namespace sconce::tile {
namespace {

constexpr uint64_t kScratchMax = uint64_t(1) << 30;
constexpr int64_t kLongRow = 64;   // elements
constexpr int64_t kShortRun = 32;  // steps of a dot that are too few to begin anew after them

class Placement {
 public:
  explicit Placement(Plan::State& state) : s_(state), kernel_(state.kernel) {}

  Result<void> place_all() {
    TRY_VOID(place_values());
    for (size_t n = 0; n < kernel_.body.size(); n++)
      if (kernel_.body[n].op == Op::dot) TRY_VOID(place_dot(n));
    place_windows();
    place_outsides();
    place_carried();
    for (StripPlan& plan : s_.strips) {
      plan.rows_offset = take_last(uint64_t(plan.rows) * kStrip * sizeof(float));
      plan.slots_offset = take_last(Worker::slots_bytes(plan));
    }
    s_.zeros_offset = take_last(uint64_t(s_.zeros) * 4);
    s_.worker_offset = take_last(Worker::worker_bytes());
    take_last(kernel_.values.size() * sizeof(Ref));
    s_.scratch = std::max<uint64_t>(end_, 64);
    if (s_.scratch > kScratchMax)
      return error(Code::too_large, "kernel {}: a tile needs {} bytes; at most {}", kernel_.name,
                   s_.scratch, kScratchMax);
    return {};
  }

 private:
  struct Slot {
    uint64_t offset, bytes;
    int32_t free_from;  // instruction after which it is free
  };

  // The most indices of an axis that a tile has.
  int64_t length_max(AxisId a) const {
    const Axis& axis = kernel_.axes[size_t(a)];
    return axis.kind == AxisKind::parallel ? s_.tile[size_t(a)]
           : axis.kind == AxisKind::span   ? s_.extent[size_t(a)]
                                           : axis.block;
  }
  ValuePlan& plan_of(ValueId v) { return s_.values[size_t(v)]; }

  // Memory from one instruction to another.
  uint64_t take(uint64_t bytes, int32_t from, int32_t until) {
    bytes = round_up(std::max<uint64_t>(bytes, 64));
    for (Slot& slot : slots_)
      if (slot.free_from < from && slot.bytes >= bytes && slot.bytes <= 2 * bytes) {
        slot.free_from = until;
        return slot.offset;
      }
    slots_.push_back({end_, bytes, until});
    end_ += bytes;
    return slots_.back().offset;
  }
  void take_for(ValuePlan& value, size_t from, int32_t until) {
    value.offset = take(uint64_t(value.count) * computed_bytes(value.held), int32_t(from), until);
  }
  // Memory that is never shared.
  uint64_t take_last(uint64_t bytes) {
    uint64_t offset = end_;
    end_ += round_up(bytes);
    return offset;
  }

  Result<void> place_values() {
    // What lies in another value's memory needs that as long as it is used.
    for (size_t n = kernel_.body.size(); n-- > 0;) {
      if (kernel_.body[n].op != Op::rename) continue;
      int32_t& until = plan_of(kernel_.body[n].operands[0]).last_use;
      until = std::max(until, plan_of(kernel_.body[n].results[0]).last_use);
    }
    for (size_t n = 0; n < kernel_.body.size(); n++) {
      const Instruction& i = kernel_.body[n];
      if (s_.skipped[n] || i.op == Op::yield) continue;
      if (s_.strips_at[n] != kNone) {
        TRY_VOID(place_strips(n, s_.strips[size_t(s_.strips_at[n])]));
        continue;
      }
      for (ValueId v : i.results)
        TRY_VOID(place_value(n, v, i.op == Op::dot ? s_.dots[n].result : v));
      if (s_.powers[n].sums != kNone)
        TRY_VOID(place_value(n, s_.powers[n].sums, s_.powers[n].sums));
    }
    return {};
  }

  Result<void> place_strips(size_t n, const StripPlan& plan) {
    for (ValueId v : plan.made) {
      ValuePlan& value = plan_of(v);
      if (value.home != Home::scratch) continue;
      TRY_VOID(choose_strides(value));
      take_for(value, n, needed_until(n, v, value));
    }
    return {};
  }

  // `made`: what comes out of the instruction in place of its result v.
  Result<void> place_value(size_t n, ValueId v, ValueId made) {
    ValuePlan& value = plan_of(made);
    if (value.home != Home::scratch) return {};
    TRY_VOID(choose_strides(value));
    if (place_over_operand(n, value)) return {};
    take_for(value, n, needed_until(n, v, value));
    return {};
  }

  Result<void> choose_strides(ValuePlan& value) {
    int64_t count = 1;
    for (size_t d = value.axes.size(); d-- > 0;) {
      value.stride[value.axes[d]] = count;
      int64_t length = length_max(value.axes[d]);
      // Long rows begin at lines of the cache.
      if (s_.keeps_rows && d > 0 && count == 1 && length >= kLongRow &&
          uint64_t(length) < kScratchMax && value.dtype == DType::f32)
        length = int64_t(round_up(uint64_t(length) * 4) / 4);
      if (__builtin_mul_overflow(count, length, &count) || uint64_t(count) > kScratchMax / 8)
        return error(Code::too_large, "kernel {}: a value of a tile needs more than {} bytes",
                     kernel_.name, kScratchMax);
    }
    value.count = count;
    return {};
  }

  // Over an operand that ends here.
  bool place_over_operand(size_t n, ValuePlan& value) {
    const Instruction& i = kernel_.body[n];
    if (i.op != Op::unary && i.op != Op::binary && i.op != Op::fma) return false;
    const PowersPlan& powers = s_.powers[n];
    for (ValueId x : powers.sums == kNone ? i.operands : std::vector<ValueId>{powers.x}) {
      const ValuePlan& operand = plan_of(x);
      Op made_by = kernel_.body[size_t(operand.producer)].op;
      bool is_carried = made_by == Op::serial || made_by == Op::yield;
      // Read by another name at once, elements would be overwritten before they are read.
      bool is_read_again = std::any_of(i.operands.begin(), i.operands.end(),
                                       [&](ValueId y) { return y != x && s_.named(y) == x; });
      if (operand.home != Home::scratch || operand.last_use != int32_t(n) ||
          operand.axes != value.axes || operand.dtype != value.dtype ||
          operand.held != value.held || is_carried || is_read_again)
        continue;
      for (Slot& slot : slots_)
        if (slot.offset == operand.offset && slot.free_from == int32_t(n)) {
          slot.free_from = std::max(value.last_use, int32_t(n));
          value.offset = slot.offset;
          return true;
        }
    }
    return false;
  }

  int32_t needed_until(size_t n, ValueId v, const ValuePlan& value) const {
    const Instruction& i = kernel_.body[n];
    int32_t until = std::max(value.last_use, int32_t(n));
    if (i.op != Op::serial) return until;
    // Also what the loop gives: its results are where the carried values are.
    size_t k = size_t(std::find(i.results.begin(), i.results.end(), v) - i.results.begin());
    ValueId after = kernel_.body[size_t(s_.partner[n])].results[k];
    return std::max({until, s_.partner[n], s_.values[size_t(after)].last_use});
  }

  // What a dot needs beside its values.
  Result<void> place_dot(size_t n) {
    DotPlan& plan = s_.dots[n];
    if (plan.kind == DotPlan::Kind::plain || plan.kind == DotPlan::Kind::vector ||
        plan.kind == DotPlan::Kind::bytes_vector)
      return {};
    bool bytes = plan.kind == DotPlan::Kind::bytes, own = plan.weights.is_own();
    uint64_t element = bytes || own ? 1 : 4;
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
    int64_t& outside = bytes ? s_.fills : s_.zeros;
    outside = std::max(outside, depth);
    auto too_deep = [&] {
      return error(Code::too_large, "kernel {}: a dot of {} steps", kernel_.name, depth);
    };
    if (overflow || depth > int64_t(kScratchMax / 64) ||
        uint64_t(rows) >
            kScratchMax / 64 / uint64_t(std::max<int64_t>(std::max(depth, segments), 1)))
      return too_deep();
    if (own) {  // a scale, a zero point, sums of groups
      int64_t sums = plan.weights.halves ? depth / plan.weights.group : 0;
      plan.weights.by_row_offset = take_last(uint64_t(rows * (2 + sums)) * 4);
    }
    if (plan.bytes.row_scale != kNone)
      plan.bytes.row_scale_offset = take_last(uint64_t(rows) * sizeof(float));
    if (plan.rows_copied) plan.rows_offset = take_last(uint64_t(rows * depth) * element);
    ValueId of_rows = bytes ? kernel_.body[size_t(plan.rows_load)].results[0]
                            : kernel_.body[n].operands[plan.swapped ? 2 : 1];
    if (!plan.rows_copied && plan.kind != DotPlan::Kind::weights &&
        plan_of(of_rows).home == Home::folded && !s_.always_inside(s_.producer(of_rows)) &&
        (bytes ? plan.run_axes > 1 : inner_length <= kShortRun))
      plan.edges_offset = take_last(uint64_t(rows * depth) * element);
    if (Plan::State::packs_here(plan)) {
      int64_t panels = pieces(columns, kPanelColumns);
      if (uint64_t(panels) > kScratchMax / 64 / uint64_t(std::max<int64_t>(depth, 1)))
        return too_deep();
      const int64_t panel = Worker::bytes_packed_here(plan, depth);
      plan.packed_bytes = round_up(uint64_t(panels * panel));
      plan.packed_steps = steps_packed_once(n);
      uint64_t steps = uint64_t(std::max<int64_t>(plan.packed_steps, 1));
      plan.panels_offset = take_last(steps * plan.packed_bytes);
      plan.packed_offset = take_last(steps * sizeof(PackedColumns));
      if (plan.columns_zero != 0)
        plan.row_sums_offset = take_last(uint64_t(panel) + uint64_t(rows) * sizeof(int32_t));
    }
    plan.pointers_offset =
        take_last(uint64_t(rows) * (uint64_t(std::max<int64_t>(segments, 1)) + 2) * 8);
    return {};
  }

  // True when several tiles have the same columns.
  bool is_read_again(size_t n) const {
    const Instruction& load = *s_.packed_load(kernel_.body[n], s_.dots[n]);
    for (size_t g = 0; g < s_.grid.size(); g++) {
      bool moves = false;
      for (const Index& index : load.index)
        for (const Term& term : index.terms) moves |= term.axis == s_.grid[g];
      if (!moves && s_.grid_count[g] > 1) return true;
    }
    return false;
  }

  // How many steps of the columns of a dot stay packed; 0 when they are packed for every tile.
  int64_t steps_packed_once(size_t n) {
    constexpr uint64_t kPackedMax = 1 << 19;  // bytes, beside which tiles fit the second cache
    DotPlan& plan = s_.dots[n];
    if (!s_.can_pack_once(kernel_.body[n], plan) || !is_read_again(n)) return 0;
    std::vector<AxisId> axes = plan.depth;
    axes.push_back(plan.column);
    for (AxisId a : axes) {
      if (kernel_.axes[size_t(a)].kind != AxisKind::serial) continue;
      if (plan.packed_axis != kNone) return 0;
      plan.packed_axis = a;
    }
    if (plan.packed_axis == kNone) return 1;
    const Axis& axis = kernel_.axes[size_t(plan.packed_axis)];
    int64_t steps = std::max<int64_t>(pieces(s_.extent[size_t(plan.packed_axis)], axis.block), 1);
    return uint64_t(steps) > kPackedMax / std::max<uint64_t>(plan.packed_bytes, 1) ? 0 : steps;
  }

  // What windows need: where their rows lie, a row of what lies outside the buffer.
  void place_windows() {
    s_.taps_offset.assign(kernel_.body.size(), kNoTaps);
    for (size_t n = 0; n < kernel_.body.size(); n++) {
      const Instruction& i = kernel_.body[n];
      bool is_pool = i.op == Op::reduce && plan_of(i.operands[0]).home == Home::folded;
      bool bytes = i.op == Op::dot && s_.dots[n].kind == DotPlan::Kind::bytes_vector;
      if (!is_pool && !bytes && (i.op != Op::dot || s_.dots[n].kind != DotPlan::Kind::vector))
        continue;
      const std::vector<AxisId>& out = plan_of(is_pool ? i.results[0] : s_.dots[n].result).axes;
      if (out.empty()) continue;
      int64_t width = out.size() > 1 ? length_max(out[out.size() - 2]) : 1, count = width;
      bool overflow = false;
      for (AxisId a : i.axes) overflow |= __builtin_mul_overflow(count, length_max(a), &count);
      int64_t row = std::max(length_max(out.back()), width);
      if (overflow || count > 1 << 20 || row > 1 << 20) continue;  // the general way has no tables
      int64_t& outside = bytes ? s_.fills : s_.zeros;
      outside = std::max(outside, row);
      pools_ |= is_pool;
      if (!is_pool) {
        const DotPlan& dot = s_.dots[n];
        s_.share_columns(n, s_.producer(i.operands[dot.swapped ? 2 : 1]),
                         out.size() > 1 ? out[out.size() - 2] : kNone);
        s_.taps_offset[n] = take_last(bytes_of_rows(s_.dots[n].columns, out));
        continue;
      }
      s_.taps_offset[n] = take_last(uint64_t(count) * sizeof(float*));
    }
  }

  // Of the tables for some rows of pixels.
  uint64_t bytes_of_rows(SlidingColumns& columns, const std::vector<AxisId>& out) const {
    int64_t down = 1;
    for (AxisId a : columns.down) down *= length_max(a);
    const int64_t most = std::max<int64_t>(4096 / down, 1);
    columns.rows = 1;
    for (size_t d = 0; d + 2 < out.size(); d++)
      columns.rows = std::min(columns.rows * length_max(out[d]), most);
    return uint64_t(columns.rows) * (uint64_t(down) * sizeof(WindowRow<float>) + sizeof(float*));
  }

  // What lies outside buffers of bytes, by dot; and outside those that pools read.
  void place_outsides() {
    for (DotPlan& plan : s_.dots)
      if (plan.kind == DotPlan::Kind::bytes || plan.kind == DotPlan::Kind::bytes_vector)
        plan.fill_offset = take_last(uint64_t(s_.fills));
    s_.outside_offset = end_;
    if (pools_) take_last(2 * uint64_t(s_.zeros) * 4);
  }

  // Values aside that are carried to where others are overwritten first.
  void place_carried() {
    s_.carries.assign(kernel_.body.size(), {});
    for (size_t n = 0; n < kernel_.body.size(); n++) {
      const Instruction& i = kernel_.body[n];
      if (i.op != Op::serial && i.op != Op::yield) continue;
      const std::vector<ValueId>& to =
          i.op == Op::serial ? i.results : kernel_.body[size_t(s_.partner[n])].results;
      for (size_t k = 0; k < i.operands.size(); k++) {
        // By another name a value would also be overwritten while it is copied onto itself.
        ValueId from = s_.named(i.operands[k]);
        auto until = to.begin() + std::ptrdiff_t(k + (from != i.operands[k]));
        bool overwritten = std::find(to.begin(), until, from) != until;
        const ValuePlan& value = plan_of(from);
        plan_of(i.operands[k]).count = value.count;
        s_.carries[n].aside.push_back(
            overwritten ? take_last(uint64_t(value.count) * computed_bytes(value.dtype))
                        : CarryPlan::kNotAside);
      }
    }
  }

  Plan::State& s_;
  const Kernel& kernel_;
  std::vector<Slot> slots_;
  uint64_t end_ = 0;
  bool pools_ = false;
};

}  // namespace

Result<void> Plan::State::place_values() { return Placement(*this).place_all(); }

}  // namespace sconce::tile
