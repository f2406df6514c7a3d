// Interpreter: runs a kernel one output element at a time, as its definition says. The oracle for
// everything that runs kernels faster, and what runs where there is nothing faster.
#pragma once

#include <functional>

#include "tile/program.h"

namespace sconce::tile {

struct InterpretLimits {
  uint64_t steps_max = uint64_t(1) << 40;  // scalar operations of one call
  uint64_t bytes_max = uint64_t(1) << 30;  // memory for values
};

// `buffers` in the order of kernel.buffers; outputs may not overlap inputs. Fails, with outputs
// partly written, when a strict load reads outside its buffer or a limit is met.
Result<void> interpret(const Kernel& kernel, Span<const BufferView> buffers,
                       const InterpretLimits& limits = {});

// A whole program. Inputs and outputs lie as its arguments say; `constant` finds bytes by name.
Result<void> interpret(const Program& program, Span<const void* const> inputs,
                       Span<void* const> outputs,
                       const std::function<Bytes(const std::string&)>& constant,
                       const InterpretLimits& limits = {});

}  // namespace sconce::tile
