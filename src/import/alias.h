// Aliases: which exported tensors are views of which, so that in-place writes can be made
// functional.
//
// Every exported tensor name is a Slot. A slot is a base of its own, or a view of another slot
// through one view operator. Writing to a slot writes through to its base (by the inverse of each
// view on the way), and every other view of that base is computed anew when it is read next.
#pragma once

#include <string>
#include <vector>

#include "ops/build.h"

namespace sconce {

using SlotId = int32_t;

class Aliases {
 public:
  explicit Aliases(Build& build) : build_(&build) {}

  // A tensor that shares memory with no other yet.
  SlotId add_base(ValueId value);
  // Result `result` of applying view operator `op` (functional name, arguments with the viewed
  // tensor first) to `of`; `value` is its current value.
  SlotId add_view(SlotId of, std::string op, std::vector<Argument> arguments, int result,
                  ValueId value);
  // The same tensor under another name.
  SlotId add_alias(SlotId of) { return of; }

  // Current value; adds nodes when the base was written since.
  Result<ValueId> read(SlotId slot);
  // Gives the slot a new value of the same type, written through to the base.
  Result<void> write(SlotId slot, ValueId value);
  bool was_written(SlotId base) const { return slots_[size_t(base)].version > 0; }
  // True when writes through this view operator can be made functional.
  static bool is_invertible(const std::string& op);

 private:
  struct Slot {
    SlotId of = -1;  // the slot this is a view of; -1: a base
    std::string op;
    std::vector<Argument> arguments;
    int result = 0;
    ValueId value = kNoValue;  // valid for `version` of the slot it views (base: always)
    int64_t version = 0;       // base: number of writes
    int64_t seen = 0;          // view: version of the root when `value` was computed
  };
  SlotId root(SlotId slot) const;
  // Value of the viewed tensor after its view (slot) got `value`.
  Result<ValueId> invert(const Slot& slot, ValueId viewed, ValueId value);

  Build* build_;
  std::vector<Slot> slots_;
};

}  // namespace sconce
