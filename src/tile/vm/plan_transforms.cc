// Finding transforms (kernels/transforms.h) among the instructions of a kernel.
#include <algorithm>

#include "tile/vm/plan.h"

namespace sconce::tile {
namespace {

// The steps of one transform, instruction by instruction.
class Matching {
 public:
  // `values`: room for those of the transform, which are told where it matches.
  Matching(const Plan::State& state, const Transform& transform, ValueId* values)
      : s_(state), t_(transform), values_(values) {
    std::fill_n(values_, t_.values(), kNone);
  }

  bool matches(Span<const int32_t> instructions) {
    for (size_t s = 0; s < instructions.size(); s++) {
      const Instruction& i = s_.kernel.body[size_t(instructions[s])];
      if (!is_step(i, t_.steps[s])) return false;
      values_[size_t(t_.inputs) + s] = i.results[0];
    }
    const ValueId *made = values_ + t_.inputs, *end = values_ + t_.values();
    for (const ValueId* input = values_; input != made; input++)
      if (*input == kNone || std::find(made, end, *input) != end) return false;
    // What is no output is used by the steps alone.
    for (const ValueId* value = made; value != end; value++) {
      const int8_t at = int8_t(value - values_);
      if (std::find(t_.output, t_.output + t_.outputs, at) != t_.output + t_.outputs) continue;
      for (int32_t user : s_.users[size_t(*value)])
        if (std::find(instructions.begin(), instructions.end(), user) == instructions.end())
          return false;
    }
    return true;
  }

 private:
  bool is_step(const Instruction& i, const TransformStep& step) {
    const std::vector<ValueId>& x = i.operands;
    switch (step.op) {
      case TransformOp::add: return is(i, Binary::add) && is(x[0], step.x) && is(x[1], step.y);
      case TransformOp::sub: return is(i, Binary::sub) && is(x[0], step.x) && is(x[1], step.y);
      case TransformOp::mul:
        return is(i, Binary::mul) && is(x[0], step.x) && is_number(x[1], step.number);
      case TransformOp::fma: break;
    }
    return i.op == Op::fma && is(x[0], step.x) && is_number(x[1], step.number) && is(x[2], step.y);
  }
  static bool is(const Instruction& i, Binary function) {
    return i.op == Op::binary && Binary(i.function) == function;
  }
  bool is_number(ValueId v, double wanted) const {
    double number;
    return s_.is_constant(v, &number) && float(number) == float(wanted);
  }
  // The value of that place; an input is what stands there first.
  bool is(ValueId v, int8_t at) {
    ValueId& value = values_[at];
    if (value == kNone && s_.values[size_t(v)].home != Home::constant) value = v;
    return value == v;
  }

  const Plan::State& s_;
  const Transform& t_;
  ValueId* values_;
};

}  // namespace

std::optional<FoundTransform> Plan::State::find_transform(Span<const int32_t> instructions) const {
  std::optional<FoundTransform> found;
  for (int kind = 0; kind < int(TransformKind::count); kind++) {
    const Transform& t = kTransforms[kind];
    const size_t steps = size_t(t.step_count);
    if (steps > instructions.size() || (found && steps <= found->steps)) continue;
    FoundTransform candidate = {TransformKind(kind), steps, {}};
    if (Matching(*this, t, candidate.values).matches({instructions.data(), steps}))
      found = candidate;
  }
  return found;
}

}  // namespace sconce::tile
