// Inputs of a method from tensor files, as `sconce run` and `sconce bench` take them.
#pragma once

#include "named_tensors.h"
#include "sconce/runtime.h"

namespace sconce::cli {

// Tensors named input.0, input.1, ... fill the method's tensor inputs in order; inputs that are
// numbers or None keep the value seen at export. Errors name the input and what is wanted. Their
// bytes are copied to `owned` in `file`: a mapped file is read-only, a method may write to its inputs.
Result<std::vector<Argument>> method_inputs(const MethodMeta& meta, TensorFile& file);
// Pseudo-random inputs at the upper bounds, for timing: floats in [-1, 1), integers 0.
std::vector<Argument> made_up_inputs(const MethodMeta& meta,
                                     std::vector<std::vector<uint8_t>>* storage);
// "f32[1, 3, 224, 224]".
std::string slot_text(const SlotMeta& slot);

}  // namespace sconce::cli
