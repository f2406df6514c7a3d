// Follows a value from one instruction to the next, to find out what a block kernel can take along.
#pragma once

#include <vector>

#include "tile/vm/plan.h"

namespace sconce::tile {

class Following {
 public:
  // Instructions that were passed, and loads of what they use: they become part of the dot.
  std::vector<int32_t> taken;

 protected:
  // `column`: the axis of the dot's columns, or none.
  Following(const Plan::State& state, ValueId from, AxisId column)
      : s_(state), column_(column), at_(from) {}

  const Kernel& kernel() const { return s_.kernel; }
  AxisSet column_set() const { return AxisSet(1) << column_; }
  // Rows of a load or store lie along the dot's columns.
  bool along_columns(const Instruction& i) const {
    return column_ == kNone || s_.buffer_stride(i, column_) == 1;
  }
  // The only user of where we are.
  const Instruction* user() const {
    const std::vector<int32_t>& all = s_.users[size_t(at_)];
    return all.size() == 1 ? &kernel().body[size_t(all[0])] : nullptr;
  }
  const Instruction* user(Op op) const {
    const Instruction* i = user();
    return i && i->op == op ? i : nullptr;
  }
  const Instruction* user(Binary f) const {
    const Instruction* i = user(Op::binary);
    return i && Binary(i->function) == f ? i : nullptr;
  }
  ValueId other_operand(const Instruction& binary) const {
    return binary.operands[binary.operands[0] == at_ ? 1 : 0];
  }
  void go_on() {
    taken.push_back(s_.users[size_t(at_)][0]);
    at_ = kernel().body[size_t(taken.back())].results[0];
  }
  void take_load(ValueId loaded) { taken.push_back(s_.values[size_t(loaded)].producer); }

  bool is_constant(ValueId v, double* number) const { return s_.is_constant(v, number); }

  // x -> f(x, constant), with the operand at either place when that does not matter.
  bool with_constant(Binary f, bool either, double* number) {
    const Instruction* i = user(f);
    if (!i) return false;
    bool first = i->operands[0] == at_;
    if ((!first && !either) || !is_constant(i->operands[first ? 1 : 0], number)) return false;
    go_on();
    return true;
  }
  bool cast_to(DType dtype) {
    const Instruction* i = user(Op::cast);
    if (!i || i->dtype != dtype) return false;
    go_on();
    return true;
  }
  // A load of one f32 for each column, which nothing else uses.
  bool is_by_column(ValueId v) const {
    return column_ != kNone && s_.is_known_load(v, DType::f32) && s_.axes_of(v) == column_set() &&
           s_.always_inside(s_.producer(v)) && along_columns(s_.producer(v));
  }

  // Times a scale: a constant, or one for each column, of which `load` is the instruction.
  bool times_scale(int32_t* load, float* number) {
    const Instruction* i = user(Binary::mul);
    if (!i) return false;
    ValueId scale = other_operand(*i);
    double constant = 1;
    if (is_constant(scale, &constant)) {
      *number = float(constant);
    } else if (is_by_column(scale)) {
      *load = s_.values[size_t(scale)].producer;
      take_load(scale);
    } else {
      return false;
    }
    go_on();
    return true;
  }

  // Plus one number for each column, of which `load` is the instruction; perhaps.
  void plus_bias(int32_t* load) {
    const Instruction* sum = user(Binary::add);
    if (!sum || sum->operands[0] != at_ || !is_by_column(sum->operands[1])) return;
    *load = s_.values[size_t(sum->operands[1])].producer;
    take_load(sum->operands[1]);
    go_on();
  }
  // Where we are: numbers of these axes, whole columns innermost.
  bool are_numbers_of(AxisSet axes) const {
    return s_.values[size_t(at_)].dtype == DType::f32 && s_.axes_of(at_) == axes &&
           s_.innermost(s_.values[size_t(at_)].axes) == column_;
  }

  const Plan::State& s_;
  const AxisId column_;
  ValueId at_;
};

}  // namespace sconce::tile
