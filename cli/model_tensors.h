// Tensors of files as inputs of a method, and its results as tensors of a file: `sconce run`,
// `sconce bench` and bundles.
#pragma once

#include "named_tensors.h"
#include "sconce/load.h"
#include "tensor/reordered.h"

namespace sconce::cli {

// load_module(); `verbose` prints what it did.
Result<Module> open_model(const std::string& path, const LoadOptions& options, bool verbose,
                          LoadReport* report = nullptr);
// Tensors named input.0, input.1, ... fill the method's tensor inputs in order; inputs that are
// numbers or None keep the value seen at export. Errors name the input and what is wanted. Their
// bytes are copied to `owned` in `file`, in the order that the method wants its dimensions in: a
// mapped file is read-only, a method may write to its inputs.
Result<std::vector<Argument>> method_inputs(const MethodMeta& meta, TensorFile& file);
// Pseudo-random inputs at the upper bounds, for timing: floats in [-1, 1), integers 0.
std::vector<Argument> made_up_inputs(const MethodMeta& meta,
                                     std::vector<std::vector<uint8_t>>* storage);
// Results as named tensors, row-major. Tensors are counted as inputs are (output.0, output.1, ...);
// a number is a 0-dim tensor named for its position among all results (number.POSITION); None has
// no tensor. They view `results` where they can.
std::vector<NamedTensor> named_results(const std::vector<Argument>& results);
// The order that a method wants the dimensions of a tensor in; empty = the logical one.
std::vector<uint8_t> order_wanted(const SlotMeta& slot);
// "f32[1, 3, 224, 224]".
std::string slot_text(const SlotMeta& slot);

}  // namespace sconce::cli
