// Dots of f32: which block kernels do them, where their rows and columns come from, and which
// instructions after them they take along.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "tile/vm/plan.h"

namespace sconce::tile {

// True when `columns` is a load of packed weights whose contracted dims are these axes in order,
// and whose columns are those of a parallel axis or of a span, or one. A dim may have several axes,
// like digits of a number; `run_axes`: how many the last one has.
bool Plan::State::find_panel_axes(const std::vector<AxisId>& axes, ValueId columns,
                                  size_t* run_axes) const {
  if (!is_load(columns) || values[size_t(columns)].uses != 1) return false;
  const Instruction& load = producer(columns);
  const Buffer& buffer = kernel.buffers[size_t(load.buffer)];
  if (!buffer.is_packed() || is_gather(load) || load.strict || !always_inside(load)) return false;
  size_t next = 0, last = load.index.size() - 1;
  *run_axes = 0;
  for (size_t d = 0; d < last; d++) {
    const Index& index = load.index[d];
    if (d < size_t(buffer.panel_lead)) {
      for (const Term& term : index.terms)
        if (has_dimension(term.axis)) return false;
      continue;
    }
    if (index.offset != 0 || next + index.terms.size() > axes.size()) return false;
    int64_t size = 1;
    for (size_t t = index.terms.size(); t-- > 0;) {
      AxisId axis = axes[next + t];
      auto term = std::find_if(index.terms.begin(), index.terms.end(),
                               [&](const Term& x) { return x.axis == axis; });
      if (term == index.terms.end() || term->factor != size ||
          kernel.axes[size_t(axis)].kind != AxisKind::span)
        return false;
      size *= extent[size_t(axis)];
    }
    if (size != shapes[size_t(load.buffer)].sizes[d]) return false;
    next += index.terms.size();
    *run_axes = index.terms.size();
  }
  const Index& column = load.index[last];
  if (next != axes.size() || column.offset % kPanelColumns || column.terms.size() > 1) return false;
  if (column.terms.empty()) return true;
  AxisId along = column.terms[0].axis;
  return column.terms[0].factor == 1 && has_dimension(along) &&
         kernel.axes[size_t(along)].kind != AxisKind::serial && !(set_of(axes) >> along & 1);
}

// Makes instructions part of a dot. False, and nothing is changed, when some do not stand at its
// level, where the tile is the same.
bool Plan::State::make_part(size_t n, const std::vector<int32_t>& parts) {
  auto [least, most] = std::minmax_element(parts.begin(), parts.end());
  for (size_t m = std::min(n, size_t(*least)); m <= std::max(n, size_t(*most)); m++)
    if (kernel.body[m].op == Op::serial || kernel.body[m].op == Op::yield) return false;
  for (int32_t m : parts) {
    skipped[size_t(m)] = true;
    for (ValueId v : kernel.body[size_t(m)].results) values[size_t(v)].home = Home::folded;
  }
  return true;
}
// The same with what follows a dot, whose own result is then never made.
bool Plan::State::take_along(size_t n, const std::vector<int32_t>& taken) {
  if (!make_part(n, taken)) return false;
  values[size_t(kernel.body[n].results[0])].home = Home::folded;
  return true;
}

void Plan::State::plan_dot(size_t n) {
  const Instruction& i = kernel.body[n];
  DotPlan& plan = dots[n];
  plan.result = i.results[0];
  plan.depth = i.axes;
  for (AxisId a : i.axes)
    if (extent[size_t(a)] == 0) return;  // of no steps: what it begins with, which the plain way is
  if (plan_weights(n)) return;
  if (values[size_t(i.results[0])].dtype != DType::f32) return plan_integer_dot(n);
  for (bool swapped : {false, true})
    if (plan_rows_by_columns(n, swapped)) return;
  for (bool swapped : {false, true})
    if (plan_window(n, swapped)) return;
}

// Rows by columns; the columns are innermost in the result, whose rows are written whole.
bool Plan::State::plan_rows_by_columns(size_t n, bool swapped) {
  const Instruction& i = kernel.body[n];
  DotPlan& plan = dots[n];
  const std::vector<AxisId>& out = values[size_t(i.results[0])].axes;
  const AxisSet contracted = set_of(i.axes);
  ValueId rows = i.operands[swapped ? 2 : 1], columns = i.operands[swapped ? 1 : 2];
  AxisId column = kNone;
  size_t run_axes = 0;
  auto stored = [&] { return kernel.buffers[size_t(producer(columns).buffer)].dtype; };
  if (is_load(columns) && value_dtype(stored()) == DType::f32 &&
      find_panel_axes(i.axes, columns, &run_axes)) {
    const Index& index = producer(columns).index.back();
    if (!index.terms.empty()) column = index.terms[0].axis;
    if (column != kNone && ((axes_of(rows) >> column & 1) || innermost(out) != column))
      return false;
    plan.kind = DotPlan::Kind::panels;
    plan.panels_of = stored();
    values[size_t(columns)].home = Home::folded;
  } else {
    AxisSet others = axes_of(columns) & ~contracted;
    if (std::popcount(others) != 1) return false;
    column = std::countr_zero(others);
    if ((axes_of(rows) >> column & 1) || innermost(out) != column ||
        (contracted & ~axes_of(columns)))
      return false;
    plan.kind = DotPlan::Kind::packed_here;
    if (is_known_load(columns, DType::f32) && always_inside(producer(columns)))
      values[size_t(columns)].home = Home::folded;
    fold_bytes(n, columns);
  }
  plan.swapped = swapped;
  plan.column = column;
  for (AxisId a : out)
    if (a != column) plan.rows.push_back(a);
  plan.rows_copied = !has_rows_in_place(i, rows);
  if (is_known_load(rows, DType::f32)) values[size_t(rows)].home = Home::folded;
  return true;
}

// Columns that are cast from a load of bytes, which nothing else uses, become numbers as they are
// packed.
void Plan::State::fold_bytes(size_t n, ValueId columns) {
  const int32_t at = values[size_t(columns)].producer;
  if (at == kNone || values[size_t(columns)].uses != 1) return;
  const Instruction& cast = kernel.body[size_t(at)];
  if (cast.op != Op::cast || cast.dtype != DType::f32 ||
      !is_known_load(cast.operands[0], DType::i8) || !always_inside(producer(cast.operands[0])))
    return;
  const int32_t load = values[size_t(cast.operands[0])].producer;
  if (make_part(n, {load, at})) dots[n].bytes_load = load;
}

// True when columns become panels tile by tile, and are not those of the file.
bool Plan::State::packs_here(const DotPlan& plan) {
  return plan.kind == DotPlan::Kind::packed_here ||
         (plan.kind == DotPlan::Kind::bytes && plan.bytes_load != kNone);
}

// The load of the columns that a dot packs where they lie; null when they are computed.
const Instruction* Plan::State::packed_load(const Instruction& dot, const DotPlan& plan) const {
  if (!packs_here(plan)) return nullptr;
  if (plan.bytes_load != kNone) return &kernel.body[size_t(plan.bytes_load)];
  ValueId columns = dot.operands[plan.swapped ? 1 : 2];
  return values[size_t(columns)].home == Home::folded ? &producer(columns) : nullptr;
}

// True when the columns that a dot packs here are those of a buffer that only others write: what a
// worker packed once is then right for as long as it runs.
bool Plan::State::can_pack_once(const Instruction& dot, const DotPlan& plan) const {
  const Instruction* load = packed_load(dot, plan);
  return load && !kernel.buffers[size_t(load->buffer)].output;
}

// True when the innermost depth axis of the rows' operand lies along memory and never leaves it.
bool Plan::State::has_rows_in_place(const Instruction& dot, ValueId rows) const {
  AxisId inner = kNone;
  int64_t segments = 1;
  for (size_t d = dot.axes.size(); d-- > 0;) {
    if (extent[size_t(dot.axes[d])] == 1) continue;
    if (inner == kNone)
      inner = dot.axes[d];
    else
      segments *= extent[size_t(dot.axes[d])];
  }
  if (set_of(dot.axes) & ~axes_of(rows)) return false;
  if (!is_known_load(rows, DType::f32))
    return (inner == kNone || innermost(values[size_t(rows)].axes) == inner) &&
           values[size_t(rows)].home != Home::constant;
  const Instruction& load = producer(rows);
  if (inner != kNone && buffer_stride(load, inner) != 1) return false;
  // Where something lies outside, zeros stand for it.
  if (!always_inside(load) && (load.number != 0 || std::signbit(load.number))) return false;
  return segments <= 4096 &&
         (inner == kNone ? always_inside(load) : stays_inside_along(load, inner));
}

// True when no dim of a buffer that an axis runs along can be left.
bool Plan::State::stays_inside_along(const Instruction& load, AxisId axis) const {
  for (size_t d = 0; d < load.index.size(); d++) {
    bool along = false;
    for (const Term& term : load.index[d].terms) along |= term.axis == axis;
    if (along && !is_dim_inside(load, d)) return false;
  }
  return true;
}

// Both operands have the innermost axis: a window that slides along rows of channels.
bool Plan::State::plan_window(size_t n, bool swapped) {
  const Instruction& i = kernel.body[n];
  DotPlan& plan = dots[n];
  const AxisSet contracted = set_of(i.axes);
  ValueId window = i.operands[swapped ? 2 : 1], taps = i.operands[swapped ? 1 : 2];
  AxisId inner = innermost(values[size_t(i.results[0])].axes);
  if (!is_known_load(window, DType::f32) || inner == kNone || !(axes_of(window) >> inner & 1))
    return false;
  const Instruction& load = producer(window);
  if (buffer_stride(load, inner) != 1 || load.number != 0 ||
      (axes_of(window) & ~(contracted | axes_of(i.results[0]))) ||
      values[size_t(taps)].home == Home::constant || !slides(load, contracted))
    return false;
  plan.kind = DotPlan::Kind::vector;
  plan.swapped = swapped;
  values[size_t(window)].home = Home::folded;
  return true;
}

// Whether windows along `width` share columns of what they slide over, and which.
void Plan::State::share_columns(size_t n, const Instruction& window, AxisId width) {
  DotPlan* plan = &dots[n];
  SlidingColumns columns;
  plan->columns.down = plan->depth;
  int64_t taps = 1, of_width = 0, of_tap = 0;
  for (AxisId a : plan->depth) {
    taps *= extent[size_t(a)];
    if (extent[size_t(a)] > 1) columns.axis = a;
  }
  if (columns.axis == kNone || width == kNone ||
      kernel.axes[size_t(columns.axis)].kind != AxisKind::span)
    return;
  int dims = 0;
  for (size_t d = 0; d < window.index.size(); d++) {
    int64_t x = 0, k = 0;
    for (const Term& term : window.index[d].terms) {
      if (term.axis == width) x += term.factor;
      if (term.axis == columns.axis) k += term.factor;
    }
    if (x == 0 && k == 0) continue;
    dims++;
    columns.dim = d;
    of_width = x;
    of_tap = k;
  }
  if (dims != 1 || of_width <= 0 || of_tap <= 0) return;
  columns.unit = std::gcd(of_width, of_tap);
  columns.across = extent[size_t(columns.axis)];
  columns.step = of_width / columns.unit;
  columns.spread = of_tap / columns.unit;
  // Far apart, windows next to each other share nothing that is still near.
  if (columns.spread >= 64 || columns.across >= 64) return;
  for (AxisId a : plan->depth)
    if (a != columns.axis) columns.down.push_back(a);
  // Of bytes, for a vector of channels: eight operations bring four taps together, four multiply
  // them.
  const int64_t quads = (taps / columns.across + 3) / 4;
  if (plan->kind == DotPlan::Kind::vector ||
      columns.step * quads * 8 + columns.across * quads * 4 < (taps + 3) / 4 * 12)
    plan->columns = columns;
}

// Takes a clamp, what is added to the sums and a function of them along.
void Plan::State::fold_epilogue(size_t n) {
  DotPlan& plan = dots[n];
  const bool bytes = plan.kind == DotPlan::Kind::bytes;
  if (plan.kind == DotPlan::Kind::plain || plan.kind == DotPlan::Kind::bytes_vector ||
      (bytes && !plan.bytes.to_numbers))
    return;
  bool clamped = false;
  for (size_t m = n + 1; m < kernel.body.size(); m++) {
    const Instruction& i = kernel.body[m];
    if (i.op == Op::constant || skipped[m]) continue;
    bool uses = std::find(i.operands.begin(), i.operands.end(), plan.result) != i.operands.end();
    if (!uses || values[size_t(plan.result)].uses != 1 || plan.function != kNone ||
        values[size_t(plan.result)].dtype != DType::f32)
      return;
    if (i.op == Op::unary && Unary(i.function) == Unary::relu && plan.lo == -INFINITY &&
        plan.hi == INFINITY) {
      plan.lo = 0;
      clamped = true;
    } else if (i.op == Op::unary &&
               (plan.kind == DotPlan::Kind::panels || plan.kind == DotPlan::Kind::packed_here)) {
      plan.function = i.function;
    } else if (i.op == Op::binary) {
      ValueId other = i.operands[0] == plan.result ? i.operands[1] : i.operands[0];
      const ValuePlan& value = values[size_t(other)];
      auto f = Binary(i.function);
      if (f == Binary::max && value.home == Home::constant && plan.lo == -INFINITY &&
          plan.hi == INFINITY && i.operands[0] == plan.result) {
        plan.lo = float(value.number);
        clamped = true;
      } else if (f == Binary::min && value.home == Home::constant && plan.hi == INFINITY &&
                 i.operands[0] == plan.result) {
        plan.hi = float(value.number);
        clamped = true;
      } else if (f == Binary::add && plan.kind != DotPlan::Kind::vector &&
                 plan.kind != DotPlan::Kind::weights && !bytes && !clamped &&
                 plan.residual == kNone && value.home != Home::constant &&
                 value.producer < int32_t(n) && axes_of(other) == axes_of(plan.result) &&
                 plan.column != kNone && innermost(value.axes) == plan.column) {
        plan.residual = other;
        values[size_t(other)].last_use = std::max(values[size_t(other)].last_use, int32_t(m));
      } else {
        return;
      }
    } else {
      return;
    }
    values[size_t(plan.result)].home = Home::folded;
    plan.result = i.results[0];
    values[size_t(plan.result)].producer = int32_t(n);
    skipped[m] = true;
  }
}

}  // namespace sconce::tile
