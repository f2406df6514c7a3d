// Many pointwise instructions on the same axes that follow one another become one pass,
// strip by strip, which reads buffers where they lie, edges included.
#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "tile/vm/plan.h"

namespace sconce::tile {
namespace {

constexpr size_t kStepsMin = 8;    // fewer pointwise instructions are not worth it
constexpr int64_t kInnerMin = 16;  // nor are shorter strips
constexpr size_t kSlotsMax = 1 << 12;

// The step that an instruction is, with `at` its operand that is in registers.
std::optional<StripOp> step_of(const Instruction& i, size_t at) {
  switch (i.op) {
    case Op::unary:
      switch (Unary(i.function)) {
        case Unary::neg: return StripOp::neg;
        case Unary::abs: return StripOp::abs;
        case Unary::relu: return StripOp::relu;
        default: return std::nullopt;
      }
    case Op::binary:
      switch (Binary(i.function)) {
        case Binary::add: return StripOp::add;
        case Binary::sub: return at == 0 ? StripOp::sub : StripOp::sub_from;
        case Binary::mul: return StripOp::mul;
        case Binary::min: return at == 0 ? StripOp::min : StripOp::min_to;
        case Binary::max: return at == 0 ? StripOp::max : StripOp::max_to;
        default: return std::nullopt;
      }
    case Op::fma: return at == 2 ? StripOp::fma : StripOp::fma_of;
    default: return std::nullopt;
  }
}

class Strips {
 public:
  explicit Strips(Plan::State& state) : s_(state), kernel_(state.kernel) {}

  void find() {
    s_.strips_at.assign(kernel_.body.size(), kNone);
    is_member_.assign(kernel_.body.size(), false);
    for (size_t n = 0; n < kernel_.body.size(); n++) {
      const Instruction& i = kernel_.body[n];
      if (s_.skipped[n] || i.op == Op::constant || i.op == Op::extent || is_stored_as_made(n))
        continue;
      if (fits(n)) {
        members_.push_back(int32_t(n));
        is_member_[n] = true;
      } else if (i.op == Op::serial || i.op == Op::yield || takes_from_members(n)) {
        end_group();
      }
    }
    end_group();
  }

 private:
  const ValuePlan& plan_of(ValueId v) const { return s_.values[size_t(v)]; }
  bool is_made_here(ValueId v) const {
    const int32_t by = plan_of(v).producer;
    return by != kNone && is_member_[size_t(by)];
  }
  // A store of what is computed where it is stored does nothing.
  bool is_stored_as_made(size_t n) const {
    const Instruction& i = kernel_.body[n];
    return i.op == Op::store && plan_of(i.operands[0]).store == int32_t(n);
  }
  bool is_pointwise(size_t n) const {
    const Instruction& i = kernel_.body[n];
    return i.op != Op::load && i.op != Op::store;
  }

  // Along the axes of the group, which the first member decides.
  bool has_axes(AxisSet axes) {
    if (!members_.empty()) return axes == axes_;
    axes_ = axes;
    return true;
  }
  AxisId inner_of(AxisSet axes) const {
    AxisId inner = kNone;
    for (AxisId a : s_.order)
      if (axes >> a & 1) inner = a;
    return inner;
  }

  // True when a load or store runs along memory by the innermost axis, and never leaves it there.
  bool runs_along(const Instruction& i, AxisId inner) const {
    return s_.buffer_stride(i, inner) == 1 && s_.stays_inside_along(i, inner);
  }

  bool fits(size_t n) {
    const Instruction& i = kernel_.body[n];
    if (i.op == Op::store) return fits_store(n);
    if (i.results.size() != 1) return false;
    const ValueId v = i.results[0];
    const ValuePlan& value = plan_of(v);
    const AxisSet axes = s_.axes_of(v);
    const AxisId inner = inner_of(axes);
    if (inner == kNone || value.dtype != DType::f32 || value.held != DType::f32 ||
        s_.innermost(value.axes) != inner || s_.extent[size_t(inner)] < kInnerMin)
      return false;
    if (i.op == Op::load) {
      const Buffer& buffer = kernel_.buffers[size_t(i.buffer)];
      return value.home == Home::scratch && buffer.dtype == DType::f32 &&
             buffer.layout == Layout::strided && !i.strict && !s_.is_gather(i) &&
             runs_along(i, inner) && has_axes(axes);
    }
    if (!step_of(i, 0) || s_.powers[n].sums != kNone ||
        (value.home != Home::scratch && (value.home != Home::buffer || value.store == kNone)))
      return false;
    size_t along = 0;
    for (ValueId x : i.operands) {
      if (!is_operand(x, axes, inner)) return false;
      along += plan_of(x).home != Home::constant;
    }
    return along > 0 && has_axes(axes);
  }

  bool is_operand(ValueId x, AxisSet axes, AxisId inner) const {
    const ValuePlan& value = plan_of(x);
    if (value.dtype != DType::f32 || value.held != DType::f32) return false;
    if (value.home == Home::constant) return true;
    if (s_.axes_of(x) != axes || s_.innermost(value.axes) != inner) return false;
    if (value.home == Home::scratch) return true;
    // Where it is loaded from.
    return value.home == Home::buffer && value.store == kNone && s_.is_load(x) &&
           s_.buffer_stride(s_.producer(x), inner) == 1;
  }

  bool fits_store(size_t n) const {
    const Instruction& i = kernel_.body[n];
    const ValueId v = i.operands[0];
    return is_made_here(v) && is_pointwise(size_t(plan_of(v).producer)) && !i.strict &&
           plan_of(v).home == Home::scratch && !s_.is_gather(i) &&
           kernel_.buffers[size_t(i.buffer)].dtype == DType::f32 && s_.stored_set(i) == axes_ &&
           runs_along(i, inner_of(axes_));
  }

  // What an instruction that is none of the group reads of it, it needs before.
  bool takes_from_members(size_t n) const {
    const Instruction& i = kernel_.body[n];
    auto is_made = [&](ValueId v) { return v != kNone && is_made_here(v); };
    bool takes = std::any_of(i.operands.begin(), i.operands.end(), is_made);
    for (const Index& index : i.index) takes |= is_made(index.value);
    // Of what other instructions were folded into it only some is known here.
    const DotPlan& dot = s_.dots[n];
    if (i.op == Op::dot)
      takes |= is_made(dot.residual) || dot.kind == DotPlan::Kind::weights ||
               dot.kind == DotPlan::Kind::bytes || dot.kind == DotPlan::Kind::bytes_vector;
    return takes || s_.roundings[n].x != kNone || s_.powers[n].sums != kNone;
  }

  void end_group() {
    // Loads that others use as well stay what they are.
    std::vector<int32_t> members = std::exchange(members_, {});
    for (int32_t n : members) {
      const Instruction& i = kernel_.body[size_t(n)];
      if (i.op != Op::load) continue;
      for (int32_t user : s_.users[size_t(i.results[0])])
        if (!is_member_[size_t(user)]) is_member_[size_t(n)] = false;
    }
    std::erase_if(members, [&](int32_t n) { return !is_member_[size_t(n)]; });
    const auto steps = std::count_if(members.begin(), members.end(),
                                     [&](int32_t n) { return is_pointwise(size_t(n)); });
    if (size_t(steps) >= kStepsMin) make(members);
    is_member_.assign(kernel_.body.size(), false);
  }

  // ---- the steps ----

  using Slot = StripPlan::Slot;

  int32_t add_slot(const Slot& slot) {
    f_.slots.push_back(slot);
    return int32_t(f_.slots.size() - 1);
  }
  int32_t slot_of_number(float number) {
    uint32_t bits;
    memcpy(&bits, &number, 4);
    auto [at, is_new] = numbers_.try_emplace(bits, 0);
    if (is_new) at->second = add_slot({Slot::Kind::number, f_.rows++, kNone, number});
    return at->second;
  }
  int32_t slot_of(ValueId v) {
    const ValuePlan& value = plan_of(v);
    if (value.home == Home::constant) return slot_of_number(float(value.number));
    auto [at, is_new] = slots_.try_emplace(v, 0);
    if (is_new) at->second = add_slot({Slot::Kind::value, v, kNone, 0});
    return at->second;
  }
  void step(StripOp op, int32_t slot = 0, int32_t other = 0, float number = 0) {
    f_.steps.push_back({op, uint16_t(slot), uint16_t(other), number});
  }

  // Strips that are kept from one member to another, in rows that are used again.
  int32_t take_row() {
    if (free_rows_.empty()) return add_slot({Slot::Kind::row, f_.rows++, kNone, 0});
    int32_t slot = free_rows_.back();
    free_rows_.pop_back();
    return slot;
  }
  void free_rows(int32_t n) {
    for (ValueId x : kernel_.body[size_t(n)].operands) {
      auto at = rows_.find(x);
      if (at == rows_.end() || --at->second.uses > 0) continue;
      free_rows_.push_back(at->second.slot);
      rows_.erase(at);
    }
  }

  void make(const std::vector<int32_t>& members) {
    f_ = {};
    slots_.clear();
    numbers_.clear();
    rows_.clear();
    free_rows_.clear();
    nowhere_ = kNone;
    f_.inner = inner_of(axes_);
    for (AxisId a : s_.order)
      if ((axes_ >> a & 1) && a != f_.inner) f_.outer.push_back(a);
    held_ = kNone;
    for (size_t m = 0; m < members.size(); m++) {
      const int32_t n = members[m];
      const Instruction& i = kernel_.body[size_t(n)];
      if (i.op == Op::store) continue;  // with what it stores
      if (i.op == Op::load) {
        slots_[i.results[0]] = add_slot({Slot::Kind::load, n, slot_of_number(float(i.number)), 0});
        continue;
      }
      if (auto found = transform_at(members, m)) {
        transform(*found);
        for (size_t s = 0; s < found->steps; s++) free_rows(members[m + s]);
        m += found->steps - 1;
        continue;
      }
      compute(i);
      store_everywhere(held_, is_taken_next(members, m),
                       [&](int32_t slot) { step(StripOp::store, slot); });
      free_rows(n);
    }
    // Many more than its numbers can name: it stays as it was.
    if (f_.slots.size() <= kSlotsMax && f_.operands.size() <= UINT16_MAX) settle(members);
  }

  std::optional<FoundTransform> transform_at(const std::vector<int32_t>& members, size_t m) const {
    return s_.find_transform({members.data() + m, members.size() - m});
  }

  void transform(const FoundTransform& found) {
    const Transform& t = kTransforms[int(found.kind)];
    step(StripOp::transform, int32_t(f_.operands.size()), int32_t(found.kind));
    for (int k = 0; k < t.inputs; k++)
      f_.operands.push_back(uint16_t(slot_of_kept(found.values[size_t(k)])));
    std::vector<int32_t> aside;
    for (int8_t output : Span<const int8_t>(t.output, size_t(t.outputs))) {
      if (output < t.inputs) continue;
      std::vector<int32_t> to;
      store_everywhere(found.values[size_t(output)], false,
                       [&](int32_t slot) { to.push_back(slot); });
      if (to.empty()) to.push_back(slot_of_nowhere());
      // Copied from where nothing else is stored, as it may be where stores are outside.
      if (to.size() > 1 && f_.slots[size_t(to.back())].kind == Slot::Kind::store) {
        to.push_back(take_row());
        aside.push_back(to.back());
      }
      f_.operands.push_back(uint16_t(to.back()));
      for (size_t k = 0; k + 1 < to.size(); k++) {
        step(StripOp::load, to.back());
        step(StripOp::store, to[k]);
      }
    }
    free_rows_.insert(free_rows_.end(), aside.begin(), aside.end());
    held_ = kNone;
  }

  int32_t slot_of_kept(ValueId v) {
    auto at = rows_.find(v);
    return at != rows_.end() ? at->second.slot : slot_of(v);
  }

  void compute(const Instruction& i) {
    const std::vector<ValueId>& x = i.operands;
    size_t at = size_t(std::find(x.begin(), x.end(), held_) - x.begin());
    held_ = i.results[0];
    if (at == x.size()) {
      // No constant, and of a multiply-add what is added.
      at = i.op == Op::fma && plan_of(x[2]).home != Home::constant ? 2 : 0;
      while (plan_of(x[at]).home == Home::constant) at++;
      step(StripOp::load, slot_of_kept(x[at]));
    }
    const StripOp op = *step_of(i, at);
    if (x.size() == 1) return step(op);
    auto is_constant = [&](size_t k) { return plan_of(x[k]).home == Home::constant; };
    if (x.size() == 2) {
      const ValueId other = x[1 - at];
      if (op == StripOp::mul && is_constant(1 - at))
        return step(StripOp::mul_number, 0, 0, float(plan_of(other).number));
      return step(op, slot_of_kept(other));
    }
    if (at == 2 && (is_constant(0) || is_constant(1)) && !(is_constant(0) && is_constant(1))) {
      const size_t number = is_constant(0) ? 0 : 1;
      return step(StripOp::fma_number, slot_of_kept(x[1 - number]), 0,
                  float(plan_of(x[number]).number));
    }
    if (at == 2) return step(op, slot_of_kept(x[0]), slot_of_kept(x[1]));
    return step(op, slot_of_kept(x[1 - at]), slot_of_kept(x[2]));
  }

  // True when the next member takes the value that was computed last where it is.
  bool is_taken_next(const std::vector<int32_t>& members, size_t m) const {
    while (++m < members.size() && !is_pointwise(size_t(members[m]))) continue;
    if (m == members.size() || transform_at(members, m)) return false;
    const std::vector<ValueId>& x = kernel_.body[size_t(members[m])].operands;
    return std::find(x.begin(), x.end(), held_) != x.end();
  }

  // Calls f(slot) for wherever a value goes: where it is stored, where others read it, a row for
  // later members unless the only one takes it next.
  template <class F>
  void store_everywhere(ValueId v, bool is_taken_next, F f) {
    const ValuePlan& value = plan_of(v);
    int32_t inside = 0;
    bool by_others = value.home == Home::buffer;
    for (int32_t user : s_.users[size_t(v)]) {
      if (user == value.store) continue;
      if (!is_member_[size_t(user)])
        by_others = true;
      else if (is_pointwise(size_t(user)))
        inside++;
      else
        f(slot_of_store(user));
    }
    if (by_others) {
      f_.made.push_back(v);
      f(slot_of(v));
    } else if (inside > 1 || (inside == 1 && !is_taken_next)) {
      rows_[v] = {take_row(), inside};
      f(rows_[v].slot);
    }
  }

  int32_t slot_of_nowhere() {
    if (nowhere_ == kNone) nowhere_ = add_slot({Slot::Kind::row, f_.rows++, kNone, 0});
    return nowhere_;
  }
  int32_t slot_of_store(int32_t n) {
    return add_slot({Slot::Kind::store, n, slot_of_nowhere(), 0});
  }

  void settle(const std::vector<int32_t>& members) {
    const int32_t last = members.back();
    for (int32_t n : members) {
      const Instruction& i = kernel_.body[size_t(n)];
      s_.skipped[size_t(n)] = true;
      for (ValueId x : i.operands) {
        ValuePlan& value = s_.values[size_t(x)];
        if (!is_made_here(x)) value.last_use = std::max(value.last_use, last);
      }
      if (i.op != Op::store &&
          std::find(f_.made.begin(), f_.made.end(), i.results[0]) == f_.made.end())
        s_.values[size_t(i.results[0])].home = Home::folded;
    }
    s_.skipped[size_t(last)] = false;
    s_.strips_at[size_t(last)] = int32_t(s_.strips.size());
    s_.strips.push_back(std::move(f_));
  }

  struct Row {
    int32_t slot, uses;
  };

  Plan::State& s_;
  const Kernel& kernel_;
  AxisSet axes_ = 0;
  std::vector<int32_t> members_;  // of the group at hand
  std::vector<bool> is_member_;   // by instruction
  StripPlan f_;
  ValueId held_ = kNone;     // in registers
  int32_t nowhere_ = kNone;  // the slot of a row for what is stored outside
  std::map<ValueId, int32_t> slots_;
  std::map<uint32_t, int32_t> numbers_;  // by bits
  std::map<ValueId, Row> rows_;
  std::vector<int32_t> free_rows_;
};

}  // namespace

void Plan::State::find_strips() { Strips(*this).find(); }

}  // namespace sconce::tile
