// CPU backend, run side: tile programs of a .pte on the tile VM.
//
// Loading verifies the payload, finds its constants among the program's named data and plans every
// step for this processor (SCONCE_ISA chooses another instruction set) and the threads given, by
// schedules that were tuned where there are some (tuning.h). What a
// file says is not believed: dtypes, sizes and memory of every call are compared with the payload.
// Constants are used where the file has them. After loading nothing is allocated.
#pragma once

#include "runtime/delegate.h"

namespace sconce {

extern const DelegateType kCpuBackend;

}  // namespace sconce
