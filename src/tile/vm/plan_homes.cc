// Which values need no memory of their own: loads that are read where they lie, results that are
// computed where they are stored.
#include <algorithm>
#include <cmath>

#include "tile/vm/plan.h"

namespace sconce::tile {

// True for a load of a strided buffer that nothing else uses, at an index that no value computes.
bool Plan::State::is_known_load(ValueId v, DType dtype) const {
  if (!is_load(v) || values[size_t(v)].uses != 1) return false;
  const Instruction& load = producer(v);
  const Buffer& buffer = kernel.buffers[size_t(load.buffer)];
  return buffer.dtype == dtype && buffer.layout == Layout::strided && !load.strict &&
         !is_gather(load);
}

// True when a store writes each element of a value once, inside its buffer, rows at a step of one.
bool Plan::State::is_whole_store(const Instruction& store, ValueId v) const {
  AxisId inner = innermost(values[size_t(v)].axes);
  return stored_set(store) == axes_of(v) && always_inside(store) &&
         (inner == kNone || buffer_stride(store, inner) == 1);
}

// True when rows of what lies in a buffer are long, or follow one another: else block kernels do
// better on a copy.
bool Plan::State::has_long_rows(const Instruction& i, const std::vector<AxisId>& axes) const {
  constexpr int64_t kLong = 8;
  int64_t row = 1;
  for (size_t d = axes.size(); d-- > 0 && row < kLong;) {
    const int64_t length = extent[size_t(axes[d])];
    if (length == 1) continue;
    if (buffer_stride(i, axes[d]) != row) return false;
    row *= length;
  }
  return true;
}

// True for a maximum over a window of bytes that is read as bytes; of sizes for which there are
// tables of pointers.
bool Plan::State::is_narrow_maximum(const Instruction& reduce) const {
  ValueId v = reduce.results[0];
  const std::vector<AxisId>& out = values[size_t(v)].axes;
  if (Reduce(reduce.function) != Reduce::max || !stays_narrow(v)) return false;
  int64_t count = 1;
  for (AxisId a : reduce.axes) {
    if (extent[size_t(a)] < 1 || kernel.axes[size_t(a)].kind != AxisKind::span) return false;
    count = std::min<int64_t>(count * extent[size_t(a)], 1 << 20);
  }
  return count <= 1 << 10 && is_row_of_pixels(out);
}

// True for results whose rows of pixels have tables of pointers to windows, of up to 2^10 each.
bool Plan::State::is_row_of_pixels(const std::vector<AxisId>& out) const {
  auto most = [&](AxisId a) {
    const Axis& axis = kernel.axes[size_t(a)];
    return axis.kind == AxisKind::serial ? axis.block : extent[size_t(a)];
  };
  return !out.empty() && most(out.back()) <= 1 << 20 &&
         (out.size() == 1 || most(out[out.size() - 2]) <= 1 << 10);
}

// True when all that uses an i32 from bytes takes the bytes as well.
bool Plan::State::stays_narrow(ValueId v) const {
  const std::vector<int32_t>& all = users[size_t(v)];
  return !all.empty() && std::all_of(all.begin(), all.end(), [&](int32_t n) {
    const Instruction& i = kernel.body[size_t(n)];
    if (i.op == Op::store) return kernel.buffers[size_t(i.buffer)].dtype == DType::i8;
    return i.op == Op::cast && i.dtype == DType::f32;
  });
}

// Reductions over a window of a buffer read it in place when its edge changes nothing.
void Plan::State::fold_windows() {
  for (const Instruction& i : kernel.body) {
    if (i.op != Op::reduce || i.lanes) continue;
    ValueId x = i.operands[0];
    bool bytes = values[size_t(i.results[0])].dtype == DType::i32;
    if (!is_known_load(x, bytes ? DType::i8 : DType::f32)) continue;
    if (bytes && !is_narrow_maximum(i)) continue;
    const Instruction& load = producer(x);
    const std::vector<AxisId>& out = values[size_t(i.results[0])].axes;
    AxisId inner = innermost(out);
    bool fits = inner != kNone && buffer_stride(load, inner) == 1;
    auto f = Reduce(i.function);
    float identity = f == Reduce::sum    ? 0
                     : f == Reduce::prod ? 1
                     : f == Reduce::max  ? -INFINITY
                                         : INFINITY;
    if (bytes) identity = -128;
    // Of the two zeros one is that of sums.
    fits &= always_inside(load) ||
            (float(load.number) == identity && (identity != 0 || !std::signbit(load.number)));
    fits &= !bytes || stays_inside_along(load, inner);  // these have no other way
    if (!fits || !slides(load, set_of(i.axes))) continue;
    values[size_t(x)].home = Home::folded;
    if (bytes) values[size_t(i.results[0])].held = DType::i8;
  }
}

// e^(x - center) along rows and its sums by lanes are one pass; the difference is never made.
void Plan::State::fold_powers() {
  powers.assign(kernel.body.size(), {});
  for (size_t n = 0; n < kernel.body.size(); n++) {
    const Instruction& sum = kernel.body[n];
    if (sum.op != Op::reduce || !sum.lanes || Reduce(sum.function) != Reduce::sum ||
        sum.axes.size() != 1 || skipped[n])
      continue;
    ValueId power = sum.operands[0];
    const std::vector<AxisId>& axes = values[size_t(power)].axes;
    AxisId row = sum.axes[0];
    const Instruction& exp = producer(power);
    if (exp.op != Op::unary || Unary(exp.function) != Unary::exp || innermost(axes) != row)
      continue;
    ValueId difference = exp.operands[0];
    const Instruction& sub = producer(difference);
    if (sub.op != Op::binary || Binary(sub.function) != Binary::sub ||
        values[size_t(difference)].uses != 1 || values[size_t(difference)].home != Home::scratch)
      continue;
    ValueId x = sub.operands[0], center = sub.operands[1];
    size_t first = size_t(values[size_t(difference)].producer),
           at = size_t(values[size_t(power)].producer);
    bool fits = values[size_t(x)].axes == axes && values[size_t(x)].home == Home::scratch &&
                !(axes_of(center) >> row & 1) && !skipped[first] && !skipped[at];
    for (size_t m = first; m < n; m++)
      fits &= kernel.body[m].op != Op::serial && kernel.body[m].op != Op::yield;
    if (!fits) continue;
    powers[at] = {x, center, sum.results[0]};
    skipped[first] = skipped[n] = true;
    values[size_t(difference)].home = Home::folded;
    for (ValueId v : {x, center}) {
      int32_t& last = values[size_t(v)].last_use;
      last = std::max(last, int32_t(at));
    }
  }
}

// Loads that can be read where they are.
void Plan::State::read_in_place() {
  for (const Instruction& i : kernel.body) {
    if (i.op != Op::load) continue;
    ValuePlan& value = values[size_t(i.results[0])];
    if (value.home != Home::scratch) continue;
    const Buffer& buffer = kernel.buffers[size_t(i.buffer)];
    AxisId inner = innermost(value.axes);
    bool narrow = buffer.dtype == DType::i8 && stays_narrow(i.results[0]);
    bool steps = inner == kNone || buffer_stride(i, inner) == 1;
    // Bytes that are only stored are copied with any step.
    steps |= narrow && users[size_t(i.results[0])].size() == 1 &&
             kernel.body[size_t(users[size_t(i.results[0])][0])].op == Op::store;
    if ((buffer.dtype == value.dtype || narrow) && buffer.layout == Layout::strided &&
        always_inside(i) && steps && (narrow || value.uses < 2 || has_long_rows(i, value.axes))) {
      value.home = Home::buffer;
      value.held = buffer.dtype;
    }
  }
}

// Values that can be computed where they are stored.
void Plan::State::compute_in_place() {
  for (size_t n = 0; n < kernel.body.size(); n++) {
    const Instruction& i = kernel.body[n];
    if (i.op != Op::store) continue;
    ValueId v = i.operands[0];
    ValuePlan& value = values[size_t(v)];
    if (value.home != Home::scratch || value.uses != 1) continue;
    const Instruction& made = kernel.body[size_t(value.producer)];
    bool computed = made.op == Op::unary || made.op == Op::binary || made.op == Op::fma ||
                    made.op == Op::select || made.op == Op::dot || made.op == Op::reduce ||
                    made.op == Op::cast;
    DType buffer = kernel.buffers[size_t(i.buffer)].dtype;
    // Numbers become integers, and maxima of bytes bytes, where they are stored.
    bool narrows =
        buffer == DType::i8 && value.dtype == DType::i32 &&
        ((made.op == Op::cast && values[size_t(made.operands[0])].dtype == DType::f32) ||
         (made.op == Op::reduce && values[size_t(made.operands[0])].home == Home::folded));
    bool in_loop = false;
    for (size_t m = size_t(value.producer); m < n; m++)
      in_loop |= kernel.body[m].op == Op::serial || kernel.body[m].op == Op::yield;
    if (computed && !in_loop && (buffer == value.dtype || narrows) && is_whole_store(i, v) &&
        (narrows || made.op == Op::dot || has_long_rows(i, value.axes))) {
      value.home = Home::buffer;
      value.held = buffer;
      value.store = int32_t(n);
    }
  }
}

// What makes the bytes of a cast: nan(min(max(add(round(mul(x, scale)), zero), low), high)), where
// nan(v) = select(eq(v, v), v, none) and the sum may be missing. The instructions before the cast;
// none when it is something else.
std::vector<int32_t> Plan::State::find_rounding(size_t n, RoundingPlan* rounding) const {
  std::vector<int32_t> taken;
  ValueId v = kernel.body[n].operands[0];
  auto made_by = [&](Op op, size_t uses) -> const Instruction* {
    const ValuePlan& value = values[size_t(v)];
    if (value.dtype != DType::f32 || value.producer == kNone || users[size_t(v)].size() != uses)
      return nullptr;
    const Instruction& i = kernel.body[size_t(value.producer)];
    if (i.op != op || i.results.size() != 1) return nullptr;
    taken.push_back(value.producer);
    return &i;
  };
  auto whole = [&](ValueId constant, int32_t* to) {
    double number = 0;
    if (!is_constant(constant, &number) || number != std::rint(number) || std::fabs(number) > 1024)
      return false;
    *to = int32_t(number);
    return true;
  };
  // f(v, a whole constant): goes on with v.
  auto with_whole = [&](Binary f, int32_t* to) {
    const Instruction* i = made_by(Op::binary, 1);
    if (!i || Binary(i->function) != f || !whole(i->operands[1], to)) return false;
    v = i->operands[0];
    return true;
  };
  const Instruction* select = made_by(Op::select, 1);
  if (!select || !whole(select->operands[2], &rounding->none)) return {};
  const int32_t equal = values[size_t(select->operands[0])].producer;
  v = select->operands[1];
  if (equal == kNone || users[size_t(select->operands[0])].size() != 1) return {};
  const Instruction& compare = kernel.body[size_t(equal)];
  if (compare.op != Op::binary || Binary(compare.function) != Binary::eq ||
      compare.operands[0] != v || compare.operands[1] != v)
    return {};
  taken.push_back(equal);
  // Used three times: twice by the comparison.
  const Instruction* least = made_by(Op::binary, 3);
  if (!least || Binary(least->function) != Binary::min ||
      !whole(least->operands[1], &rounding->high))
    return {};
  v = least->operands[0];
  if (!with_whole(Binary::max, &rounding->low)) return {};
  const Instruction* sum = made_by(Op::binary, 1);
  if (sum) {
    if (Binary(sum->function) != Binary::add || !whole(sum->operands[1], &rounding->zero))
      return {};
    v = sum->operands[0];
  }
  const Instruction* round = made_by(Op::unary, 1);
  if (!round || Unary(round->function) != Unary::round) return {};
  v = round->operands[0];
  const Instruction* product = made_by(Op::binary, 1);
  double scale = 1;
  if (!product || Binary(product->function) != Binary::mul) return {};
  const bool second = is_constant(product->operands[1], &scale);
  if (!second && !is_constant(product->operands[0], &scale)) return {};
  rounding->x = product->operands[second ? 0 : 1];
  rounding->scale = float(scale);
  const ValuePlan& x = values[size_t(rounding->x)];
  if (x.dtype != DType::f32 || x.home == Home::constant || x.home == Home::folded ||
      axes_of(rounding->x) != axes_of(kernel.body[n].results[0]) || rounding->low < -128 ||
      rounding->high > 127 || rounding->low > rounding->none || rounding->none > rounding->high)
    return {};
  return taken;
}

// Loads as they lie in memory, so that they are read where they are or copied by runs.
void Plan::State::keep_order(ValuePlan* value) const {
  const Instruction& load = kernel.body[size_t(value->producer)];
  std::stable_sort(value->axes.begin(), value->axes.end(), [&](AxisId a, AxisId b) {
    return std::abs(buffer_stride(load, a)) > std::abs(buffer_stride(load, b));
  });
  if (always_inside(load)) value->home = Home::buffer;
}

// Such bytes are made in one go when they are stored at once.
void Plan::State::fold_roundings() {
  roundings.assign(kernel.body.size(), {});
  for (size_t n = 0; n < kernel.body.size(); n++) {
    const Instruction& i = kernel.body[n];
    if (i.op != Op::cast || skipped[n]) continue;
    const ValuePlan& value = values[size_t(i.results[0])];
    if (value.held != DType::i8 || value.home != Home::buffer || value.store == kNone) continue;
    RoundingPlan rounding;
    std::vector<int32_t> taken = find_rounding(n, &rounding);
    bool apart = taken.empty();
    for (int32_t m : taken) apart |= skipped[size_t(m)];
    if (apart) continue;
    for (size_t m = size_t(*std::min_element(taken.begin(), taken.end())); m < n; m++)
      apart |= kernel.body[m].op == Op::serial || kernel.body[m].op == Op::yield;
    if (apart) continue;
    for (int32_t m : taken) {
      skipped[size_t(m)] = true;
      values[size_t(kernel.body[size_t(m)].results[0])].home = Home::folded;
    }
    ValuePlan& x = values[size_t(rounding.x)];
    x.last_use = std::max(x.last_use, int32_t(n));
    if (is_known_load(rounding.x, DType::f32) && x.home == Home::scratch) keep_order(&x);
    roundings[n] = rounding;
  }
}

void Plan::State::find_stored_axes() {
  stored.assign(kernel.body.size(), {});
  for (size_t n = 0; n < kernel.body.size(); n++) {
    if (kernel.body[n].op != Op::store) continue;
    for (AxisId a : order)
      if (stored_set(kernel.body[n]) >> a & 1) stored[n].push_back(a);
  }
}

}  // namespace sconce::tile
