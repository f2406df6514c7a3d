// Widening: a model of f16 or bf16 becomes one of f32, which is what layers are quantised from.
#pragma once

#include <string>

#include "base/result.h"
#include "ir/graph.h"

namespace sconce {

// Constants, state and all values between inputs and outputs that are f16 or bf16 become f32;
// inputs and outputs keep their types, with casts inside. Results are then those of f32 arithmetic
// on the same weights: nothing is rounded to 16 bits in between. Gives the type that was widened
// ("bf16"), empty when there was none. A program that looks at the bits of such values (view to
// another type) is an error, and is left as it was.
Result<std::string> widen_floats(Program& program);

}  // namespace sconce
