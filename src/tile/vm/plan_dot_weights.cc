// Dots by quantised weights whose results are numbers: of rows that become bytes by their own
// ranges, or of numbers as they are, with what makes numbers of the sums. docs/tile.md has the
// forms.
#include <algorithm>
#include <cmath>
#include <optional>

#include "tile/vm/plan_follow.h"

namespace sconce::tile {
namespace {

constexpr int64_t kGroupMax = 4096;  // steps of which sums of products of 8 by 4 bits stay exact

bool is_byte(double x) { return x == std::rint(x) && x >= -128 && x <= 127; }

// From the columns of a dot, and its sums, to the numbers that come out.
class WeightsMatch : public Following {
 public:
  WeightsMatch(const Plan::State& state, size_t n, bool swapped)
      : Following(state, state.kernel.body[n].results[0], column_of(state, n, swapped)),
        n_(n),
        dot_(state.kernel.body[n]),
        rows_(dot_.operands[swapped ? 2 : 1]),
        columns_(dot_.operands[swapped ? 1 : 2]) {}

  // Bytes of own range by panels of i8: exact sums.
  bool match_bytes() {
    if (!has_columns(Layout::panels, dot_.axes, columns_) || !is_zero(dot_.operands[0]) ||
        !centered() || !own_rows(depth()) || !cast_to(DType::f32) || !times_row_scale() ||
        !times_scale(&found.scale, &found.scale_number))
      return false;
    return ends();
  }

  // Bytes of own range by nibbles, whose sums of groups have scales.
  bool match_nibbles() {
    if (!is_zero(dot_.operands[0]) || !has_groups(columns_, Layout::nibbles)) return false;
    found.quantized = rows_;
    if (!own_rows(depth()) || found.group % kNibbles || found.group > kGroupMax ||
        !cast_to(DType::f32) || !over_groups())
      return false;
    const Instruction* moved = user(Op::fma);  // -zero * sums + here
    if (!moved || moved->operands[2] != at_ || !is_by_column(moved->operands[1])) return false;
    ValueId negated = moved->operands[0];
    if (s_.users[size_t(negated)].size() != 1 || s_.producer(negated).op != Op::unary ||
        Unary(s_.producer(negated).function) != Unary::neg ||
        s_.producer(negated).operands[0] != found.zero)
      return false;
    taken.push_back(s_.values[size_t(negated)].producer);
    found.moved = s_.values[size_t(moved->operands[1])].producer;
    take_load(moved->operands[1]);
    go_on();
    return times_row_scale() && ends();
  }

  // Numbers by weights of 8 or 4 bits, whose sums of groups have scales.
  bool match_numbers() {
    if (!is_zero(dot_.operands[0]) || s_.is_load(columns_) ||
        s_.producer(columns_).op != Op::cast || s_.users[size_t(columns_)].size() != 1)
      return false;
    ValueId packed = s_.producer(columns_).operands[0];
    taken.push_back(s_.values[size_t(columns_)].producer);
    if (!has_groups(packed, Layout::panels) && !has_groups(packed, Layout::nibbles)) return false;
    int64_t together = found.halves ? kNibbles : kQuad;
    if (s_.extent[size_t(groups_axis_)] > 1 && found.group % together) return false;
    found.x = rows_;
    return s_.axes_of(rows_) == (row_set() | depth()) && over_groups() && ends();
  }

  WeightsPlan found;
  std::vector<AxisId> depth_axes;
  AxisId column() const { return column_; }
  ValueId result() const { return at_; }

 private:
  // The last index of the load that the columns come from.
  static AxisId column_of(const Plan::State& s, size_t n, bool swapped) {
    ValueId v = s.kernel.body[n].operands[swapped ? 1 : 2];
    if (!s.is_load(v) && s.values[size_t(v)].producer != kNone && s.producer(v).op == Op::cast)
      v = s.producer(v).operands[0];
    if (!s.is_load(v) || s.producer(v).index.empty()) return kNone;
    const Index& index = s.producer(v).index.back();
    return index.terms.size() == 1 ? index.terms[0].axis : kNone;
  }
  AxisSet depth() const { return set_of(depth_axes); }
  // Axes of the rows: those of the first sums that are neither columns nor groups.
  AxisSet row_set() const { return s_.axes_of(dot_.results[0]) & ~column_set() & ~depth(); }
  bool is_zero(ValueId v) const {
    const ValuePlan& value = s_.values[size_t(v)];
    return value.home == Home::constant && value.number == 0 && !std::signbit(value.number);
  }
  bool is_by_row(ValueId v) const {
    return !(s_.axes_of(v) & ~row_set()) && s_.values[size_t(v)].producer < int32_t(n_) &&
           s_.values[size_t(v)].home != Home::folded;
  }

  bool has_columns(Layout layout, const std::vector<AxisId>& axes, ValueId packed) {
    size_t run_axes = 0;
    if (column_ == kNone || !s_.is_load(packed)) return false;
    const Buffer& buffer = kernel().buffers[size_t(s_.producer(packed).buffer)];
    if (buffer.layout != layout || buffer.dtype != DType::i8 ||
        buffer.dims.size() != size_t(buffer.panel_lead) + 2 ||
        !s_.find_panel_axes(axes, packed, &run_axes) || (s_.axes_of(rows_) & column_set()))
      return false;
    depth_axes = axes;
    for (AxisId a : axes)
      if (s_.extent[size_t(a)] < 1) return false;
    found.weights = s_.values[size_t(packed)].producer;
    found.halves = layout == Layout::nibbles;
    take_load(packed);
    return true;
  }
  // The steps are digits: which group, which of its steps; the dot is over the latter.
  bool has_groups(ValueId packed, Layout layout) {
    if (dot_.axes.size() != 1 || !s_.is_load(packed) || s_.producer(packed).index.size() < 2)
      return false;
    AxisId step = dot_.axes[0];
    const Index& steps = s_.producer(packed).index[s_.producer(packed).index.size() - 2];
    groups_axis_ = kNone;
    for (const Term& term : steps.terms)
      if (term.axis != step) groups_axis_ = term.axis;
    if (groups_axis_ == kNone || !has_columns(layout, {groups_axis_, step}, packed)) return false;
    found.group = s_.extent[size_t(step)];
    return true;
  }

  // The rows less a zero point of each, as integers.
  bool centered() {
    found.quantized = rows_;
    if (s_.producer(rows_).op != Op::binary || Binary(s_.producer(rows_).function) != Binary::sub)
      return true;
    if (s_.users[size_t(rows_)].size() != 1) return false;
    found.subtracted = s_.producer(rows_).operands[1];
    if (!is_by_row(found.subtracted)) return false;
    taken.push_back(s_.values[size_t(rows_)].producer);
    found.quantized = s_.producer(rows_).operands[0];
    return true;
  }

  // v = min(t > low ? t : low, high), which is no NaN.
  struct Limited {
    double low = 0, high = 0;
    ValueId t = kNone, select = kNone, compare = kNone;
  };
  std::optional<Limited> limited(ValueId v) const {
    Limited l;
    const Instruction& least = s_.producer(v);
    if (least.op != Op::binary || Binary(least.function) != Binary::min ||
        !is_constant(least.operands[1], &l.high))
      return std::nullopt;
    l.select = least.operands[0];
    const Instruction& select = s_.producer(l.select);
    if (select.op != Op::select || !is_constant(select.operands[2], &l.low)) return std::nullopt;
    l.compare = select.operands[0];
    l.t = select.operands[1];
    const Instruction& compare = s_.producer(l.compare);
    double low = 0;
    if (compare.op != Op::binary || Binary(compare.function) != Binary::gt ||
        compare.operands[0] != l.t || !is_constant(compare.operands[1], &low) || low != l.low ||
        !(l.low <= l.high))
      return std::nullopt;
    return l;
  }

  // Numbers times a number of their row, rounded, a whole number of their row added, limited to
  // bytes.
  bool own_rows(AxisSet depth) {
    auto alone = [&](ValueId v) { return s_.users[size_t(v)].size() == 1; };
    auto take = [&](ValueId v) { taken.push_back(s_.values[size_t(v)].producer); };
    auto binary_of = [&](ValueId v, Binary f) {
      return s_.producer(v).op == Op::binary && Binary(s_.producer(v).function) == f;
    };
    ValueId q = found.quantized;
    if (s_.producer(q).op != Op::cast || !alone(q) || s_.axes_of(q) != (row_set() | depth))
      return false;
    ValueId limit = s_.producer(q).operands[0];
    if (s_.values[size_t(limit)].dtype != DType::f32 || !alone(limit)) return false;
    auto l = limited(limit);
    if (!l || !is_byte(l->low) || !is_byte(l->high) || !alone(l->select) || !alone(l->compare))
      return false;
    ValueId sum = l->t;
    if (s_.users[size_t(sum)].size() != 2 || !binary_of(sum, Binary::add)) return false;
    ValueId rounded = s_.producer(sum).operands[0];
    found.zero = s_.producer(sum).operands[1];
    if (!alone(rounded) || s_.producer(rounded).op != Op::unary ||
        Unary(s_.producer(rounded).function) != Unary::round || !is_by_row(found.zero) ||
        !is_whole_number(found.zero))
      return false;
    ValueId scaled = s_.producer(rounded).operands[0];
    if (!alone(scaled) || !binary_of(scaled, Binary::mul)) return false;
    found.x = s_.producer(scaled).operands[0];
    found.inverse = s_.producer(scaled).operands[1];
    if (!is_by_row(found.inverse) || s_.values[size_t(found.x)].dtype != DType::f32 ||
        s_.axes_of(found.x) != (row_set() | depth))
      return false;
    for (ValueId v : {q, limit, l->select, l->compare, sum, rounded, scaled}) take(v);
    found.low = int32_t(l->low);
    found.high = int32_t(l->high);
    return true;
  }
  // Rounded, and never NaN nor large.
  bool is_whole_number(ValueId v) const {
    const Instruction& round = s_.producer(v);
    if (round.op != Op::unary || Unary(round.function) != Unary::round) return false;
    auto l = limited(round.operands[0]);
    return l && std::fabs(l->low) <= 1 << 20 && std::fabs(l->high) <= 1 << 20;
  }

  bool times_row_scale() {
    const Instruction* scaled = user(Binary::mul);
    if (!scaled) return false;
    found.row_scale = other_operand(*scaled);
    if (!is_by_row(found.row_scale)) return false;
    go_on();
    return true;
  }

  // The sums of groups by the scales of groups and columns, in order.
  bool over_groups() {
    const Instruction* dot = user(Op::dot);
    if (!dot || dot->axes.size() != 1 || dot->axes[0] != groups_axis_ ||
        !is_zero(dot->operands[0]) || dot->operands[0] == at_)
      return false;
    ValueId scales = dot->operands[dot->operands[1] == at_ ? 2 : 1];
    size_t run_axes = 0;
    if (!s_.is_load(scales)) return false;
    const Instruction& load = s_.producer(scales);
    const Buffer& buffer = kernel().buffers[size_t(load.buffer)];
    if (buffer.layout != Layout::panels || buffer.dtype != DType::f32 || buffer.panel_lead != 0 ||
        !s_.find_panel_axes({groups_axis_}, scales, &run_axes) ||
        load.index.back() != kernel().body[size_t(found.weights)].index.back())
      return false;
    found.scale = s_.values[size_t(scales)].producer;
    take_load(scales);
    go_on();
    return true;
  }

  // A bias by column, perhaps; what comes out has all rows, and whole columns innermost.
  bool ends() {
    plus_bias(&found.bias);
    return are_numbers_of(row_set() | column_set());
  }

  const size_t n_;
  const Instruction& dot_;
  const ValueId rows_, columns_;
  AxisId groups_axis_ = kNone;
};

}  // namespace

bool Plan::State::plan_weights(size_t n) {
  bool integers = values[size_t(kernel.body[n].results[0])].dtype == DType::i32;
  if (!integers && values[size_t(kernel.body[n].results[0])].dtype != DType::f32) return false;
  for (bool swapped : {false, true}) {
    for (auto form :
         {&WeightsMatch::match_bytes, &WeightsMatch::match_nibbles, &WeightsMatch::match_numbers}) {
      if (integers == (form == &WeightsMatch::match_numbers)) continue;
      WeightsMatch match(*this, n, swapped);
      if (!(match.*form)() || !take_along(n, match.taken)) continue;
      DotPlan& plan = dots[n];
      plan.kind = DotPlan::Kind::weights;
      plan.weights = match.found;
      plan.column = match.column();
      plan.depth = match.depth_axes;
      plan.result = match.result();
      for (AxisId a : values[size_t(plan.result)].axes)
        if (a != plan.column) plan.rows.push_back(a);
      plan.rows_copied = plan.weights.is_own() || !lies_in_rows(plan.weights.x, plan.depth);
      if (!plan.rows_copied && is_known_load(plan.weights.x, DType::f32))
        values[size_t(plan.weights.x)].home = Home::folded;
      // What is read when the dot runs is there until then.
      for (ValueId v : {plan.weights.x, plan.weights.inverse, plan.weights.zero,
                        plan.weights.subtracted, plan.weights.row_scale})
        if (v != kNone)
          values[size_t(v)].last_use = std::max(values[size_t(v)].last_use, int32_t(n));
      ValuePlan& result = values[size_t(plan.result)];
      result.home = Home::scratch;
      result.producer = int32_t(n);
      return true;
    }
  }
  return false;
}

// True when a value's steps along `depth` lie behind each other in the buffer that it is loaded
// from, all of it inside.
bool Plan::State::lies_in_rows(ValueId v, const std::vector<AxisId>& depth) const {
  if (!is_load(v)) return false;
  const Instruction& load = producer(v);
  const Buffer& buffer = kernel.buffers[size_t(load.buffer)];
  if (buffer.dtype != DType::f32 || buffer.layout != Layout::strided || !always_inside(load))
    return false;
  int64_t length = 1;
  for (size_t d = depth.size(); d-- > 0;) {
    if (extent[size_t(depth[d])] == 1) continue;
    if (buffer_stride(load, depth[d]) != length) return false;
    length *= extent[size_t(depth[d])];
  }
  return true;
}

}  // namespace sconce::tile
