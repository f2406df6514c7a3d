// Tuning: tries how a kernel is cut into tiles, on the processor at hand, and measures.
//
// Results do not depend on it, bit for bit, so a schedule can be taken without another look at
// them.
#pragma once

#include "tile/scratch.h"
#include "tile/vm.h"

namespace sconce::tile {

// What is no faster than the default by more is noise, and is not taken.
inline constexpr double kGainMin = 0.03;
// Memory that a thread may need for a schedule; beyond, the default does better or as well.
inline constexpr uint64_t kScheduleScratchMax = uint64_t(64) << 20;

// Runs a plan on the arrays' data.
Result<void> run_plan(const Plan& plan, Span<const BufferView> arrays, ThreadPool& pool,
                      Scratch& scratch);
// Microseconds of a clock that only runs forward.
double now_us();

struct TunedSchedule {
  Schedule schedule;  // the default, when nothing was faster by kGainMin in two rounds
  double default_us = 0, best_us = 0;  // least time of a call
  int tried = 0;
};

// Tries schedules for about `seconds`, one axis at a time from the best so far, each by turns with
// it, so that what else the machine does falls on both. Arrays have data of their sizes, which
// is overwritten as a run does.
Result<TunedSchedule> tune_schedule(const Kernel& kernel, Span<const BufferView> arrays,
                                    const KernelTable& table, ThreadPool& pool, double seconds);

}  // namespace sconce::tile
