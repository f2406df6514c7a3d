// CPU backend, run side: tile programs of a .pte on the tile VM.
//
// Loading verifies the payload, finds its constants among the program's named data and plans every
// step for this processor (SCONCE_ISA chooses another instruction set) and the threads given, by
// schedules that were tuned where there are some (tuning.h). What a file says is not believed:
// dtypes, sizes and memory of every call are compared with the payload. Constants are used where the
// file has them. After loading nothing is allocated; but when sizes differ from call to call, a call
// with sizes that the last few calls did not have checks and plans the steps for them, as the
// planner thinks best.
#pragma once

#include "runtime/delegate.h"

namespace sconce {

extern const DelegateType kCpuBackend;

// For callers that must resize the outputs of a call themselves: which arguments these are, and
// whether sizes differ from call to call.
struct CpuOutputs {
  size_t first = 0, count = 0;
  bool vary = false;
};
CpuOutputs cpu_outputs(const void* state);
// What execute() does before it computes: checks the arguments, resizes the outputs within their
// capacity.
Status prepare_cpu_call(void* state, Span<const Value* const> args, Diagnostic* diagnostic);

}  // namespace sconce
