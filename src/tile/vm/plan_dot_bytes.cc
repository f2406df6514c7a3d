// Dots of integers: rows of bytes by packed columns, windows by depth, and what makes bytes of
// their sums again.
#include <algorithm>
#include <bit>
#include <cmath>

#include "tile/vm/plan_follow.h"

namespace sconce::tile {
namespace {

// Looks for what makes bytes of the sums of a dot; BytesPlan has what is found.
class BytesMatch : public Following {
 public:
  BytesMatch(const Plan::State& state, size_t n)
      : Following(state, state.kernel.body[n].results[0], state.dots[n].column), n_(n) {}

  // False when something else becomes of them.
  bool match(bool may_add) {
    if (!rounded()) return false;
    if (stored()) return true;
    return again(may_add) && limit(&found.again.to) && stored();
  }
  // The same when they are bytes that others read.
  bool match_kept() {
    found.is_kept = true;
    return column_ != kNone && rounded() && s_.innermost(s_.values[size_t(at_)].axes) == column_ &&
           s_.axes_of(at_) == s_.axes_of(kernel().body[n_].results[0]);
  }
  ValueId result() const { return at_; }

  BytesPlan found;

 private:
  static bool is_whole(double x) { return x == std::rint(x) && std::fabs(x) <= 1024; }

  bool rounded() {
    return cast_to(DType::f32) && times_scale(&found.scale, &found.scale_number) &&
           limit(&found.to);
  }

  // x > low ? x : low; at most high; rounded; a zero point added; i32.
  bool limit(LimitI8* to) {
    double low = 0, again = 0, high = 0, zero = 0;
    const std::vector<int32_t>& two = s_.users[size_t(at_)];
    if (two.size() != 2) return false;
    const Instruction& compare = kernel().body[size_t(two[0])];
    const Instruction& select = kernel().body[size_t(two[1])];
    if (compare.op != Op::binary || Binary(compare.function) != Binary::gt ||
        compare.operands[0] != at_ || !is_constant(compare.operands[1], &low) ||
        s_.users[size_t(compare.results[0])].size() != 1 || select.op != Op::select ||
        select.operands[0] != compare.results[0] || select.operands[1] != at_ ||
        !is_constant(select.operands[2], &again) || low != again)
      return false;
    taken.insert(taken.end(), two.begin(), two.end());
    at_ = select.results[0];
    if (!with_constant(Binary::min, false, &high)) return false;
    const Instruction* round = user();
    if (!round || round->op != Op::unary || Unary(round->function) != Unary::round) return false;
    go_on();
    with_constant(Binary::add, true, &zero);
    if (!cast_to(DType::i32) || !is_whole(low) || !is_whole(high) || !is_whole(zero)) return false;
    *to = {int32_t(zero), int32_t(low + zero), int32_t(high + zero)};
    return to->low >= -128 && to->low <= to->high && to->high <= 127;
  }

  // The end: a store to bytes, whole rows of them.
  bool stored() {
    const Instruction* i = user();
    if (!i || i->op != Op::store || kernel().buffers[size_t(i->buffer)].dtype != DType::i8 ||
        !s_.always_inside(*i) || s_.stored_set(*i) != s_.axes_of(at_) || !along_columns(*i))
      return false;
    found.store = s_.users[size_t(at_)][0];
    taken.push_back(found.store);
    return true;
  }

  // Numbers again, with others added or by another scale, that become bytes once more.
  bool again(bool may_add) {
    double zero = 0, own = 0, other_zero = 0, ratio = 0, factor = 1;
    if (!cast_to(DType::f32)) return false;
    with_constant(Binary::sub, false, &zero);
    if (zero != found.to.zero || !with_constant(Binary::mul, true, &own)) return false;
    const Instruction* sum = user();
    if (may_add && sum && sum->op == Op::binary &&
        (Binary(sum->function) == Binary::add || Binary(sum->function) == Binary::sub)) {
      bool first = sum->operands[0] == at_;
      found.added = added_bytes(sum->operands[first ? 1 : 0], &ratio, &other_zero);
      if (found.added == kNone || !is_whole(other_zero)) return false;
      if (Binary(sum->function) == Binary::sub) (first ? ratio : own) *= -1;
      go_on();
    } else if (!with_constant(Binary::mul, true, &factor)) {
      factor = 1;
    }
    found.is_again = true;
    found.again.factor = float(factor);
    found.again.x_zero = int32_t(other_zero);
    found.again.own_ratio = float(own);
    found.again.x_ratio = float(ratio);
    return true;
  }

  // Bytes as numbers, for the sum of two: the load that they come from.
  int32_t added_bytes(ValueId v, double* ratio, double* zero) {
    auto alone = [&](ValueId x, Op op) {
      return s_.users[size_t(x)].size() == 1 && s_.producer(x).op == op;
    };
    auto producer_of = [&](ValueId x) { return s_.values[size_t(x)].producer; };
    *zero = 0;
    if (!alone(v, Op::binary) || Binary(s_.producer(v).function) != Binary::mul ||
        !is_constant(s_.producer(v).operands[1], ratio))
      return kNone;
    std::vector<int32_t> steps{producer_of(v)};
    ValueId x = s_.producer(v).operands[0];
    if (alone(x, Op::binary)) {
      if (Binary(s_.producer(x).function) != Binary::sub ||
          !is_constant(s_.producer(x).operands[1], zero))
        return kNone;
      steps.push_back(producer_of(x));
      x = s_.producer(x).operands[0];
    }
    if (!alone(x, Op::cast)) return kNone;
    steps.push_back(producer_of(x));
    ValueId loaded = s_.producer(x).operands[0];
    if (!s_.is_known_load(loaded, DType::i8) || !s_.always_inside(s_.producer(loaded)) ||
        s_.axes_of(loaded) != s_.axes_of(kernel().body[n_].results[0]) ||
        !along_columns(s_.producer(loaded)))
      return kNone;
    steps.push_back(producer_of(loaded));
    taken.insert(taken.end(), steps.begin(), steps.end());
    return steps.back();
  }

  const size_t n_;
};

// Looks for what makes numbers of the sums of a dot: perhaps a scale of the row, a scale, perhaps a
// bias.
class NumbersMatch : public Following {
 public:
  NumbersMatch(const Plan::State& state, size_t n)
      : Following(state, state.kernel.body[n].results[0], state.dots[n].column),
        n_(n),
        axes_(state.axes_of(at_)) {}

  bool match() {
    if (column_ == kNone || !cast_to(DType::f32)) return false;
    const bool by_row = times_row_scale();
    if (!times_scale(&found.scale, &found.scale_number) && !by_row) return false;
    plus_bias(&found.bias);
    return are_numbers_of(axes_);
  }
  ValueId result() const { return at_; }

  BytesPlan found{.to_numbers = true};

 private:
  bool times_row_scale() {
    const Instruction* scaled = user(Binary::mul);
    if (!scaled) return false;
    const ValueId scale = other_operand(*scaled);
    const ValuePlan& value = s_.values[size_t(scale)];
    if (value.home == Home::constant || value.home == Home::folded || value.dtype != DType::f32 ||
        (s_.axes_of(scale) & ~(axes_ & ~column_set())) || value.producer >= int32_t(n_))
      return false;
    found.row_scale = scale;
    go_on();
    return true;
  }

  const size_t n_;
  const AxisSet axes_;
};

}  // namespace

// Takes along what makes bytes of the sums of a dot. False, and nothing is changed, when something
// else becomes of them.
bool Plan::State::fold_bytes(size_t n, bool may_add) {
  BytesMatch match(*this, n);
  if (!match.match(may_add) || !take_along(n, match.taken)) return false;
  dots[n].bytes = match.found;
  return true;
}

// Takes along what makes numbers of the sums of a dot, or bytes that others read, if that is what
// becomes of them.
void Plan::State::fold_result(size_t n) {
  auto take = [&](const auto& match, DType held) {
    if (!take_along(n, match.taken)) return false;
    dots[n].bytes = match.found;
    dots[n].result = match.result();
    ValuePlan& result = values[size_t(match.result())];
    result.home = Home::scratch;
    result.held = held;
    result.producer = int32_t(n);
    return true;
  };
  BytesMatch bytes(*this, n);
  if (bytes.match_kept() && take(bytes, DType::i8)) return;
  NumbersMatch numbers(*this, n);
  if (numbers.match()) take(numbers, DType::f32);
}

// The block kernels of integers take bytes where they lie; other dots are for the plain loops.
void Plan::State::plan_integer_dot(size_t n) {
  for (AxisId a : kernel.body[n].axes)
    if (extent[size_t(a)] < 1) return;
  for (bool swapped : {false, true})
    if (plan_rows_of_bytes(n, swapped)) return;
  for (bool swapped : {false, true})
    if (plan_window_of_bytes(n, swapped)) return;
}

// What the sums begin with: 0, or one for each column.
bool Plan::State::is_bytes_bias(ValueId initial, AxisId column) const {
  const ValuePlan& value = values[size_t(initial)];
  if (value.home == Home::constant) return value.number == 0;
  return column != kNone && axes_of(initial) == AxisSet(1) << column;
}

// Any byte may lie around what is read, when some of it lies outside.
bool Plan::State::find_fill(const Instruction& load, int8_t* fill) const {
  if (always_inside(load)) return true;
  *fill = int8_t(std::clamp(load.number, -128.0, 127.0));
  return double(*fill) == load.number;
}

// Bytes as a dot takes them: as they are loaded, or less a zero point.
std::optional<CenteredBytes> Plan::State::centered_bytes(ValueId v) const {
  CenteredBytes bytes;
  const int32_t made = values[size_t(v)].producer;
  if (made != kNone && !is_load(v) && values[size_t(v)].uses == 1) {
    const Instruction& i = kernel.body[size_t(made)];
    if (i.op != Op::binary || Binary(i.function) != Binary::sub) return std::nullopt;
    const ValuePlan& zero = values[size_t(i.operands[1])];
    if (zero.home != Home::constant || zero.dtype != DType::i32 || std::fabs(zero.number) > 256)
      return std::nullopt;
    bytes.subtraction = made;
    bytes.zero = int32_t(zero.number);
    v = i.operands[0];
  }
  if (!is_load(v) || values[size_t(v)].uses != 1 ||
      kernel.buffers[size_t(producer(v).buffer)].dtype != DType::i8)
    return std::nullopt;
  bytes.load = values[size_t(v)].producer;
  return bytes;
}

// The axis of columns that are panels of the file, or kNone for a single one; nothing where they
// are not.
std::optional<AxisId> Plan::State::file_columns(size_t n, ValueId columns,
                                                const CenteredBytes& bytes) {
  const Instruction& load = kernel.body[size_t(bytes.load)];
  if (bytes.subtraction != kNone || kernel.buffers[size_t(load.buffer)].layout != Layout::panels ||
      !find_panel_axes(kernel.body[n].axes, columns, &dots[n].run_axes))
    return std::nullopt;
  const Index& index = load.index.back();
  return index.terms.empty() ? kNone : index.terms[0].axis;
}

// The axis of columns of a buffer, the only one beside that of the dot.
std::optional<AxisId> Plan::State::buffer_columns(size_t n, const CenteredBytes& bytes) {
  const Instruction& load = kernel.body[size_t(bytes.load)];
  const AxisSet axes = axes_of(load.results[0]), contracted = set_of(kernel.body[n].axes);
  if (!is_known_load(load.results[0], DType::i8) || !always_inside(load) ||
      kernel.body[n].axes.size() != 1 || (contracted & ~axes) ||
      std::popcount(axes & ~contracted) != 1)
    return std::nullopt;
  dots[n].run_axes = 1;
  return std::countr_zero(axes & ~contracted);
}

// Rows of bytes by columns that are packed, in the file or here.
bool Plan::State::plan_rows_of_bytes(size_t n, bool swapped) {
  const Instruction& i = kernel.body[n];
  DotPlan& plan = dots[n];
  const std::vector<AxisId>& out = values[size_t(i.results[0])].axes;
  const auto rows = centered_bytes(i.operands[swapped ? 2 : 1]),
             columns = centered_bytes(i.operands[swapped ? 1 : 2]);
  if (!rows || !columns) return false;
  const Instruction& load = kernel.body[size_t(rows->load)];
  const AxisSet row_axes = axes_of(load.results[0]);
  auto column = file_columns(n, i.operands[swapped ? 1 : 2], *columns);
  const bool here = !column;
  if (here) column = buffer_columns(n, *columns);
  if (!column || !is_known_load(load.results[0], DType::i8)) return false;
  if (*column != kNone && ((row_axes >> *column & 1) || innermost(out) != *column)) return false;
  if (!is_bytes_bias(i.operands[0], *column) || (set_of(i.axes) & ~row_axes) ||
      !find_fill(load, &plan.fill))
    return false;
  std::vector<int32_t> parts{rows->load, columns->load};
  for (int32_t subtraction : {rows->subtraction, columns->subtraction})
    if (subtraction != kNone) parts.push_back(subtraction);
  if (!make_part(n, parts)) return false;
  plan.kind = DotPlan::Kind::bytes;
  plan.swapped = swapped;
  plan.column = *column;
  plan.rows_load = rows->load;
  plan.rows_zero = rows->zero;
  plan.columns_zero = columns->zero;
  if (here) plan.bytes_load = columns->load;
  for (AxisId a : out)
    if (a != *column) plan.rows.push_back(a);
  plan.rows_copied = !has_runs_of_bytes(i, load, plan.run_axes);
  if (!fold_bytes(n, true)) fold_result(n);
  return true;
}

// True when rows are read in place: a run lies behind each other, and only its outermost axis ever
// leaves the buffer.
bool Plan::State::has_runs_of_bytes(const Instruction& dot, const Instruction& load,
                                    size_t run_axes) const {
  int64_t segments = 1, length = 1;
  for (size_t d = dot.axes.size(); d-- > 0;) {
    AxisId a = dot.axes[d];
    if (extent[size_t(a)] == 1) continue;
    if (dot.axes.size() - d > run_axes) {
      segments *= extent[size_t(a)];
      continue;
    }
    if (buffer_stride(load, a) != length) return false;
    if (length == 1 && !stays_inside_along(load, a)) return false;
    length *= extent[size_t(a)];
  }
  return segments <= 4096 && run_axes <= 2;
}

// By depth: what slides, and its weights, run along the innermost axis.
bool Plan::State::plan_window_of_bytes(size_t n, bool swapped) {
  const Instruction& i = kernel.body[n];
  DotPlan& plan = dots[n];
  const std::vector<AxisId>& out = values[size_t(i.results[0])].axes;
  const AxisSet contracted = set_of(i.axes);
  AxisId inner = innermost(out);
  ValueId window = i.operands[swapped ? 2 : 1], taps = i.operands[swapped ? 1 : 2];
  if (!is_known_load(window, DType::i8) || !is_known_load(taps, DType::i8) || inner == kNone ||
      (axes_of(window) | AxisSet(1) << inner) != axes_of(window) ||
      axes_of(taps) != (contracted | AxisSet(1) << inner) ||
      axes_of(window) != (contracted | axes_of(i.results[0])) ||
      !is_bytes_bias(i.operands[0], inner))
    return false;
  const Instruction &load = producer(window), &weights = producer(taps);
  if (buffer_stride(load, inner) != 1 || buffer_stride(weights, inner) != 1 ||
      !stays_inside_along(load, inner) || !always_inside(weights) || !find_fill(load, &plan.fill) ||
      !slides(load, contracted) || !has_even_taps(i, weights) || !is_row_of_pixels(out))
    return false;
  plan.swapped = swapped;
  plan.column = inner;
  if (!fold_bytes(n, false)) return false;
  plan.kind = DotPlan::Kind::bytes_vector;
  values[size_t(window)].home = values[size_t(taps)].home = Home::folded;
  return true;
}

// True when the weights of all taps, up to 2^10 of them, lie at equal distances.
bool Plan::State::has_even_taps(const Instruction& dot, const Instruction& weights) const {
  int64_t count = 1, row = 0;
  for (size_t d = dot.axes.size(); d-- > 0;) {
    int64_t size = extent[size_t(dot.axes[d])], stride = buffer_stride(weights, dot.axes[d]);
    if (kernel.axes[size_t(dot.axes[d])].kind != AxisKind::span) return false;
    if (size == 1) continue;
    if (row == 0) row = stride;
    if (stride != row * count || size > 1 << 10) return false;
    count *= size;
    if (count > 1 << 10) return false;
  }
  return true;
}

}  // namespace sconce::tile
