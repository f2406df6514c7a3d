// The order of the axes, and what each value is: its type, its axes, who makes and who uses it.
#include <algorithm>
#include <cstring>

#include "tile/vm/plan.h"

namespace sconce::tile {
namespace {

// True when some of the axes share a dim of a load with others.
bool is_window(const Instruction& load, const std::vector<AxisId>& axes) {
  for (const Index& index : load.index) {
    const auto inside = std::count_if(
        index.terms.begin(), index.terms.end(),
        [&](const Term& term) { return std::count(axes.begin(), axes.end(), term.axis) > 0; });
    if (inside > 0 && size_t(inside) < index.terms.size()) return true;
  }
  return false;
}

}  // namespace

// A dot stands right before what uses it, so that this can become part of it.
void Plan::State::move_dots() {
  for (size_t n = kernel.body.size(); n-- > 0;) {
    if (kernel.body[n].op != Op::dot) continue;
    ValueId v = kernel.body[n].results[0];
    size_t user = 0, uses = 0;
    for (size_t m = n + 1; m < kernel.body.size(); m++)
      for (ValueId operand : kernel.body[m].operands)
        if (operand == v) {
          user = m;
          uses++;
        }
    if (uses != 1) continue;
    bool same_level = true;
    for (size_t m = n + 1; m < user; m++)
      same_level &= kernel.body[m].op != Op::serial && kernel.body[m].op != Op::yield;
    if (same_level)
      std::rotate(kernel.body.begin() + std::ptrdiff_t(n),
                  kernel.body.begin() + std::ptrdiff_t(n) + 1,
                  kernel.body.begin() + std::ptrdiff_t(user));
  }
}

void Plan::State::choose_order() {
  // By the strides of the first store; a dot's columns innermost, since its rows are written whole.
  const Instruction* store = nullptr;
  AxisId column = kNone;
  for (const Instruction& i : kernel.body) {
    if (i.op == Op::store && !store) store = &i;
    if (i.op == Op::load && kernel.buffers[size_t(i.buffer)].is_packed() && column == kNone &&
        !i.index.back().terms.empty())
      column = i.index.back().terms.back().axis;
  }
  if (column == kNone) column = read_row();
  std::vector<std::pair<int64_t, AxisId>> stored;
  std::vector<AxisId> others;
  for (AxisId a = 0; size_t(a) < kernel.axes.size(); a++) {
    int64_t stride = 0;
    if (store) stride = std::abs(buffer_stride(*store, a));
    if (a == column) continue;
    if (stride > 0)
      stored.push_back({stride, a});
    else
      others.push_back(a);
  }
  std::stable_sort(stored.begin(), stored.end(),
                   [](auto& x, auto& y) { return x.first > y.first; });
  for (size_t s = 0; s < stored.size(); s++) {
    if (s + 1 == stored.size() && column == kNone)
      order.insert(order.end(), others.begin(), others.end());
    order.push_back(stored[s].second);
  }
  if (column != kNone || stored.empty()) order.insert(order.end(), others.begin(), others.end());
  if (column != kNone) order.push_back(column);
  if (AxisId row = column == kNone ? reduced_row() : kNone; row != kNone) {
    order.erase(std::find(order.begin(), order.end(), row));
    order.push_back(row);
  }
}

// The axis along which gathers, and windows, read rows of memory, when there is one: these
// are read in place or at once, and results that lie otherwise are turned when they are stored.
AxisId Plan::State::read_row() const {
  constexpr int64_t kLeast = 8;  // indices; a few are better gathered one by one
  auto made_by = [&](ValueId v) -> const Instruction* {
    for (const Instruction& i : kernel.body)
      if (std::find(i.results.begin(), i.results.end(), v) != i.results.end()) return &i;
    return nullptr;
  };
  for (AxisId a = 0; size_t(a) < kernel.axes.size(); a++) {
    const Axis& axis = kernel.axes[size_t(a)];
    if (axis.kind != AxisKind::parallel || axis.each || extent[size_t(a)] < kLeast) continue;
    bool any = false, all = true;
    auto take = [&](const Instruction& load) {
      for (const Index& index : load.index)
        all &= index.value == kNone || !(axes_of(index.value) >> a & 1);
      all &= buffer_stride(load, a) == 1;
      any = true;
    };
    for (const Instruction& i : kernel.body) {
      if (i.op == Op::load && is_gather(i)) take(i);
      if (i.op == Op::reduce && !i.lanes) {
        const Instruction* x = made_by(i.operands[0]);
        if (x && x->op == Op::load && is_window(*x, i.axes)) take(*x);
      }
      if (i.op != Op::dot) continue;
      const Instruction *x = made_by(i.operands[1]), *y = made_by(i.operands[2]);
      if (x && y && x->op == Op::load && y->op == Op::load) {
        take(*x);
        take(*y);
      } else {
        all = false;
      }
    }
    if (any && all) return a;
  }
  return kNone;
}

// The axis of a reduction along rows of memory, when nothing runs along rows of results: its tiles
// then lie as memory does, and are read in place.
AxisId Plan::State::reduced_row() const {
  AxisId row = kNone;
  for (const Instruction& i : kernel.body) {
    if (i.op == Op::dot || i.op == Op::serial) return kNone;
    if (i.op == Op::reduce && !i.axes.empty()) row = i.axes.back();
  }
  if (row == kNone) return kNone;
  bool is_along = false;
  for (const Instruction& i : kernel.body) {
    if (i.op != Op::load && i.op != Op::store) continue;
    if (i.op == Op::load && std::abs(buffer_stride(i, row)) == 1) is_along = true;
    // What has an element for each result says nothing about how rows lie.
    for (AxisId a = 0; size_t(a) < kernel.axes.size(); a++)
      if (a != row && extent[size_t(a)] > 1 && i.op == Op::load && buffer_stride(i, row) != 0 &&
          std::abs(buffer_stride(i, a)) == 1)
        return kNone;
    if (i.op == Op::store && buffer_stride(i, row) != 0) return kNone;
  }
  return is_along ? row : kNone;
}

// A number has a single element, in the plan.
void Plan::State::keep_constant(ValueId v, const Instruction& made) {
  ValuePlan& value = values[size_t(v)];
  value.home = Home::constant;
  value.axes.clear();
  value.number = made.number;
  uint8_t* place = &constants[size_t(v) * 8];
  float f = float(made.number);
  int64_t whole = int64_t(value.dtype == DType::f32 ? 0 : made.number);
  if (made.op == Op::extent) whole = extent[size_t(made.axes[0])];
  if (value.dtype == DType::f32)
    memcpy(place, &f, 4);
  else if (value.dtype == DType::b8)
    *place = whole != 0 || made.number != 0;
  else
    memcpy(place, &whole, 8);
  if (value.dtype == DType::i32) {
    int32_t narrow = int32_t(whole);
    memcpy(place, &narrow, 4);
  }
}

// The axes stay in the order in which the elements lie. Another name of a number is that number.
void Plan::State::name_again(ValueId v, const Instruction& rename) {
  ValueId x = rename.operands[0];
  ValuePlan& value = values[size_t(v)];
  value.axes = values[size_t(x)].axes;
  std::replace(value.axes.begin(), value.axes.end(), rename.axes[0], rename.axes[1]);
  value.home = Home::alias;
  if (values[size_t(x)].home != Home::constant) return;
  value.home = Home::constant;
  value.number = values[size_t(x)].number;
  memcpy(&constants[size_t(v) * 8], &constants[size_t(x) * 8], 8);
}

void Plan::State::describe_values() {
  values.assign(kernel.values.size(), {});
  users.assign(kernel.values.size(), {});
  partner.assign(kernel.body.size(), kNone);
  skipped.assign(kernel.body.size(), false);
  constants.assign(kernel.values.size() * 8, 0);
  std::vector<int32_t> open;
  for (size_t n = 0; n < kernel.body.size(); n++) {
    const Instruction& i = kernel.body[n];
    if (i.op == Op::serial) open.push_back(int32_t(n));
    if (i.op == Op::yield) {
      partner[n] = open.back();
      partner[size_t(open.back())] = int32_t(n);
      open.pop_back();
    }
    for (ValueId v : i.results) {
      ValuePlan& value = values[size_t(v)];
      value.held = value.dtype = kernel.values[size_t(v)].dtype;
      value.producer = int32_t(n);
      for (AxisId a : order)
        if (axes_of(v) >> a & 1) value.axes.push_back(a);
      if (i.op == Op::constant || i.op == Op::extent) keep_constant(v, i);
      if (i.op == Op::rename) name_again(v, i);
    }
    auto use = [&](ValueId v) {
      values[size_t(v)].uses++;
      users[size_t(v)].push_back(int32_t(n));
      int32_t last = int32_t(n);
      // Used inside a loop that its definition is outside of: needed until the loop ends.
      for (size_t o = 0; o < open.size(); o++)
        if (values[size_t(v)].producer < open[o] ||
            (values[size_t(v)].producer == open[o] && i.op != Op::serial)) {
          last = INT32_MAX - open[o];
          break;
        }
      values[size_t(v)].last_use = std::max(values[size_t(v)].last_use, last);
    };
    for (ValueId v : i.operands) use(v);
    for (const Index& index : i.index)
      if (index.value != kNone) use(index.value);
  }
  // The ends of loops are known now.
  for (ValuePlan& value : values)
    if (value.last_use > int32_t(kernel.body.size()))
      value.last_use = partner[size_t(INT32_MAX - value.last_use)];
}

}  // namespace sconce::tile
