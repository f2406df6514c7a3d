// The processor under us: its name, caches, and the instruction sets that kernels are built for.
//
// Knows no kernels. A set counts as present only when the operating system keeps its registers too
// (XGETBV on x86, HWCAP on Arm). Everything is read once and is safe to call from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "platform/isa.h"

namespace sconce {

const char* isa_name(Isa isa);
std::optional<Isa> find_isa(std::string_view name);

// True when this processor and its operating system can run `isa`.
bool can_run(Isa isa);
// All that can_run(), weakest first; `plain` is always there.
std::vector<Isa> runnable_isas();
// The last of them: what a caller wants who has no reason to want another.
Isa best_isa();
// best_isa(), or the one that the environment variable SCONCE_ISA names. An unknown name, or one
// that cannot run here, is an error that lists what can.
Result<Isa> chosen_isa();
// The same rule for a given text; null or "" means best_isa().
Result<Isa> choose_isa(const char* name);

// Bytes; 0 where the system does not say. Data caches as one core sees them.
struct Caches {
  uint32_t l1_bytes = 0, l2_bytes = 0, l3_bytes = 0;
};
Caches caches();
// As the processor or the system names itself, "unknown processor" where neither does.
const std::string& processor_name();
// Its kind, for what is measured on one and holds for others of the same: "GenuineIntel-6-143"
// (vendor, family, model), on Arm "arm-0x41-0xd0c" (implementer, part); "unknown" where it does not
// say.
const std::string& micro_architecture();
// Processors this process may run on, at least 1.
int processor_count();

}  // namespace sconce
