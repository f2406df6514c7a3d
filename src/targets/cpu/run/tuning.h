// Tuning of a payload: which schedules its steps run by, where they are found and kept.
#pragma once

#include "runtime/delegate.h"
#include "sconce/tuning.h"
#include "tile/program.h"
#include "tile/schedules.h"
#include "tile/tune.h"

namespace sconce {

// Under this name a .pte holds schedules for the machines that it is shipped to.
inline constexpr char kSchedulesName[] = "sconce.schedules";

// Schedules for the payload on this machine, as source.tuning says: those that are kept, or found
// now. `constants`: where each storage begins, of those that are constants. Nothing here is an
// error: without a schedule a step runs as the planner thinks best.
tile::Schedules find_schedules(const DelegateSource& source, const tile::Program& program,
                               Span<uint8_t* const> constants, Isa isa, ThreadPool& threads);

// Shapes of the buffers of a step; their data is not set.
std::vector<tile::BufferView> shapes_of(const tile::Program& program, const tile::Step& step);

// A plan by a schedule that asks for no more memory than is sensible; else by none.
Result<tile::Plan> make_plan(const tile::Kernel& kernel, Span<const tile::BufferView> shapes,
                             Isa isa, int threads, const tile::Schedule* schedule, bool* scheduled);

}  // namespace sconce
