// Dots of integers: rows of bytes by packed columns, windows by depth, and what makes bytes of
// their sums again.
#include <algorithm>
#include <cmath>

#include "tile/vm/plan.h"

namespace sconce::tile {

// The block kernels of integers take bytes where they lie; others are for the plain loops.
void Plan::State::plan_integer_dot(size_t n) {
  const Instruction& i = kernel.body[n];
  DotPlan& plan = dots[n];
  const std::vector<AxisId>& out = values[size_t(i.results[0])].axes;
  AxisSet contracted = 0;
  for (AxisId a : i.axes) {
    contracted |= AxisSet(1) << a;
    if (extent[size_t(a)] < 1) return;
  }
  AxisId inner = innermost(out);
  const ValuePlan& initial = values[size_t(i.operands[0])];
  auto takes_initial = [&](AxisId column) {
    if (initial.home == Home::constant) return initial.number == 0;
    return column != kNone && axes_of(i.operands[0]) == AxisSet(1) << column;
  };
  // Bytes around what is read, when some of it lies outside.
  auto takes_fill = [&](const Instruction& load) {
    if (always_inside(load)) return true;
    plan.fill = int8_t(std::clamp(load.number, -128.0, 127.0));
    return double(plan.fill) == load.number;
  };
  for (bool swapped : {false, true}) {
    ValueId rows = i.operands[swapped ? 2 : 1], columns = i.operands[swapped ? 1 : 2];
    if (!is_known_load(rows, DType::i8) || !is_load(columns) ||
        kernel.buffers[size_t(producer(columns).buffer)].dtype != DType::i8 ||
        !find_panel_axes(i, columns, &plan.run_axes))
      continue;
    const Index& index = producer(columns).index.back();
    AxisId column = index.terms.empty() ? kNone : index.terms[0].axis;
    if (column != kNone && ((axes_of(rows) >> column & 1) || inner != column)) continue;
    const Instruction& load = producer(rows);
    if (!takes_initial(column) || (contracted & ~axes_of(rows)) || !takes_fill(load)) continue;
    plan.swapped = swapped;
    plan.column = column;
    for (AxisId a : out)
      if (a != column) plan.rows.push_back(a);
    // In place when a run lies behind each other, and only its outermost axis ever leaves the
    // buffer.
    int64_t segments = 1, length = 1;
    bool in_place = true;
    for (size_t d = i.axes.size(); d-- > 0;) {
      AxisId a = i.axes[d];
      if (extent[size_t(a)] == 1) continue;
      if (i.axes.size() - d > plan.run_axes) {
        segments *= extent[size_t(a)];
        continue;
      }
      in_place &= buffer_stride(load, a) == length;
      bool is_first = length == 1;
      length *= extent[size_t(a)];
      for (size_t dim = 0; dim < load.index.size() && is_first; dim++) {
        int64_t low = load.index[dim].offset, high = low;
        bool along = false;
        for (const Term& term : load.index[dim].terms) {
          along |= term.axis == a;
          int64_t reach = term.factor * (extent[size_t(term.axis)] - 1);
          (reach < 0 ? low : high) += reach;
        }
        if (along) in_place &= low >= 0 && high < shapes[size_t(load.buffer)].sizes[dim];
      }
    }
    plan.rows_copied = !in_place || segments > 4096 || plan.run_axes > 2;
    plan.kind = DotPlan::Kind::bytes;
    values[size_t(rows)].home = values[size_t(columns)].home = Home::folded;
    fold_bytes(n, true);
    return;
  }

  // By depth: what slides, and its weights, run along the innermost axis.
  for (bool swapped : {false, true}) {
    ValueId window = i.operands[swapped ? 2 : 1], taps = i.operands[swapped ? 1 : 2];
    if (!is_known_load(window, DType::i8) || !is_known_load(taps, DType::i8) || inner == kNone ||
        (axes_of(window) | AxisSet(1) << inner) != axes_of(window) ||
        axes_of(taps) != (contracted | AxisSet(1) << inner) ||
        axes_of(window) != (contracted | axes_of(i.results[0])) || !takes_initial(inner))
      continue;
    const Instruction &load = producer(window), &weights = producer(taps);
    bool fits = buffer_stride(load, inner) == 1 && buffer_stride(weights, inner) == 1 &&
                always_inside(weights) && takes_fill(load) && slides(load, contracted);
    int64_t count = 1, row = 0;  // weights of all taps, at equal distances
    for (size_t d = i.axes.size(); d-- > 0;) {
      int64_t size = extent[size_t(i.axes[d])], stride = buffer_stride(weights, i.axes[d]);
      fits &= size > 0 && kernel.axes[size_t(i.axes[d])].kind == AxisKind::span;
      if (size == 1) continue;
      if (row == 0) row = stride;
      fits &= stride == row * count && count < 1 << 16;
      count *= size;
    }
    if (!fits || count > 1 << 10 || !is_row_of_pixels(out)) continue;
    plan.swapped = swapped;
    plan.column = inner;
    if (!fold_bytes(n, false)) continue;
    plan.kind = DotPlan::Kind::bytes_vector;
    values[size_t(window)].home = values[size_t(taps)].home = Home::folded;
    return;
  }
}

// Takes along what makes bytes of the sums of a dot, as BytesPlan has it. False, and nothing is
// changed, when something else becomes of them.
bool Plan::State::fold_bytes(size_t n, bool may_add) {
  DotPlan& plan = dots[n];
  BytesPlan found;
  std::vector<int32_t> taken;
  ValueId at = kernel.body[n].results[0];
  auto is_constant = [&](ValueId v, double* number) {
    *number = double(float(values[size_t(v)].number));
    return values[size_t(v)].home == Home::constant && values[size_t(v)].dtype == DType::f32 &&
           producer(v).op == Op::constant;
  };
  auto is_whole = [](double x) { return x == std::rint(x) && std::fabs(x) <= 1024; };
  // The only user of `at`.
  auto user = [&]() -> const Instruction* {
    return users[size_t(at)].size() == 1 ? &kernel.body[size_t(users[size_t(at)][0])] : nullptr;
  };
  auto go_on = [&] {
    taken.push_back(users[size_t(at)][0]);
    at = kernel.body[size_t(taken.back())].results[0];
  };
  // x -> f(x, constant), with the operand at either place when that does not matter.
  auto with_constant = [&](Binary f, bool either, double* number) {
    const Instruction* i = user();
    if (!i || i->op != Op::binary || Binary(i->function) != f) return false;
    bool first = i->operands[0] == at;
    if ((!first && !either) || !is_constant(i->operands[first ? 1 : 0], number)) return false;
    go_on();
    return true;
  };
  auto cast_to = [&](DType dtype) {
    const Instruction* i = user();
    if (!i || i->op != Op::cast || i->dtype != dtype) return false;
    go_on();
    return true;
  };
  // x > low ? x : low; at most high; rounded; a zero point added; i32.
  auto limit = [&](LimitI8* to) {
    double low = 0, again = 0, high = 0, zero = 0;
    const std::vector<int32_t>& two = users[size_t(at)];
    if (two.size() != 2) return false;
    const Instruction &compare = kernel.body[size_t(two[0])], &select = kernel.body[size_t(two[1])];
    if (compare.op != Op::binary || Binary(compare.function) != Binary::gt ||
        compare.operands[0] != at || !is_constant(compare.operands[1], &low) ||
        users[size_t(compare.results[0])].size() != 1 || select.op != Op::select ||
        select.operands[0] != compare.results[0] || select.operands[1] != at ||
        !is_constant(select.operands[2], &again) || low != again)
      return false;
    taken.insert(taken.end(), two.begin(), two.end());
    at = select.results[0];
    if (!with_constant(Binary::min, false, &high)) return false;
    const Instruction* round = user();
    if (!round || round->op != Op::unary || Unary(round->function) != Unary::round) return false;
    go_on();
    with_constant(Binary::add, true, &zero);
    if (!cast_to(DType::i32) || !is_whole(low) || !is_whole(high) || !is_whole(zero)) return false;
    *to = {int32_t(zero), int32_t(low + zero), int32_t(high + zero)};
    return to->low >= -128 && to->low <= to->high && to->high <= 127;
  };
  // The end: a store to bytes, whole rows of them.
  auto store = [&] {
    const Instruction* i = user();
    if (!i || i->op != Op::store || kernel.buffers[size_t(i->buffer)].dtype != DType::i8 ||
        !always_inside(*i))
      return false;
    AxisSet stored = 0;
    for (const Index& index : i->index)
      for (const Term& term : index.terms)
        if (has_dimension(term.axis)) stored |= AxisSet(1) << term.axis;
    if (stored != axes_of(at) || (plan.column != kNone && buffer_stride(*i, plan.column) != 1))
      return false;
    found.store = users[size_t(at)][0];
    taken.push_back(found.store);
    return true;
  };
  // Bytes as numbers, for the sum of two: the load that they come from.
  auto added_bytes = [&](ValueId v, double* ratio, double* zero) -> int32_t {
    auto alone = [&](ValueId x, Op op) {
      return users[size_t(x)].size() == 1 && producer(x).op == op;
    };
    *zero = 0;
    if (!alone(v, Op::binary) || Binary(producer(v).function) != Binary::mul ||
        !is_constant(producer(v).operands[1], ratio))
      return kNone;
    std::vector<int32_t> steps{values[size_t(v)].producer};
    ValueId x = producer(v).operands[0];
    if (alone(x, Op::binary)) {
      if (Binary(producer(x).function) != Binary::sub ||
          !is_constant(producer(x).operands[1], zero))
        return kNone;
      steps.push_back(values[size_t(x)].producer);
      x = producer(x).operands[0];
    }
    if (!alone(x, Op::cast)) return kNone;
    steps.push_back(values[size_t(x)].producer);
    ValueId loaded = producer(x).operands[0];
    if (!is_known_load(loaded, DType::i8) || !always_inside(producer(loaded)) ||
        axes_of(loaded) != axes_of(kernel.body[n].results[0]) ||
        (plan.column != kNone && buffer_stride(producer(loaded), plan.column) != 1))
      return kNone;
    steps.push_back(values[size_t(loaded)].producer);
    taken.insert(taken.end(), steps.begin(), steps.end());
    return steps.back();
  };
  auto match = [&] {
    double number = 1;
    if (!cast_to(DType::f32)) return false;
    const Instruction* scaled = user();
    if (!scaled || scaled->op != Op::binary || Binary(scaled->function) != Binary::mul)
      return false;
    ValueId scale = scaled->operands[scaled->operands[0] == at ? 1 : 0];
    if (is_constant(scale, &number)) {
      found.scale_number = float(number);
    } else {
      if (plan.column == kNone || !is_known_load(scale, DType::f32) ||
          axes_of(scale) != AxisSet(1) << plan.column || !always_inside(producer(scale)) ||
          buffer_stride(producer(scale), plan.column) != 1)
        return false;
      found.scale = values[size_t(scale)].producer;
      taken.push_back(found.scale);
    }
    go_on();
    if (!limit(&found.to)) return false;
    if (store()) return true;
    double zero = 0, own = 0, other_zero = 0, ratio = 0;
    if (!cast_to(DType::f32)) return false;
    with_constant(Binary::sub, false, &zero);
    if (zero != found.to.zero || !with_constant(Binary::mul, true, &own)) return false;
    found.is_again = true;
    found.again.factor = 1;
    const Instruction* sum = user();
    if (may_add && sum && sum->op == Op::binary &&
        (Binary(sum->function) == Binary::add || Binary(sum->function) == Binary::sub)) {
      bool first = sum->operands[0] == at;
      found.added = added_bytes(sum->operands[first ? 1 : 0], &ratio, &other_zero);
      if (found.added == kNone || !is_whole(other_zero)) return false;
      if (Binary(sum->function) == Binary::sub) (first ? ratio : own) *= -1;
      go_on();
    } else if (with_constant(Binary::mul, true, &number)) {
      found.again.factor = float(number);
    }
    found.again.x_zero = int32_t(other_zero);
    found.again.own_ratio = float(own);
    found.again.x_ratio = float(ratio);
    return limit(&found.again.to) && store();
  };
  if (!match()) return false;
  // All of it must stand at the level of the dot, where the tile is the same.
  auto [least, most] = std::minmax_element(taken.begin(), taken.end());
  for (size_t m = std::min(n, size_t(*least)); m <= size_t(*most); m++)
    if (kernel.body[m].op == Op::serial || kernel.body[m].op == Op::yield) return false;
  plan.bytes = found;
  for (int32_t m : taken) {
    skipped[size_t(m)] = true;
    for (ValueId v : kernel.body[size_t(m)].results) values[size_t(v)].home = Home::folded;
  }
  values[size_t(kernel.body[n].results[0])].home = Home::folded;
  return true;
}

}  // namespace sconce::tile
