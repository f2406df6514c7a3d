// Schedules as text: how kernels are cut into tiles on the machines where that was tried. A file of
// a machine's own holds it, or a .pte does, for those that it is shipped to.
//
//   sconce-schedules 1
//   for GenuineIntel-6-143 avx512_vnni threads 2
//   3f0c5a1b9d2e4f60 tile 0,28,64 depth 256
//
// `for` begins what was found on one machine: micro-architecture, instruction set, threads. A line
// under it is a kernel at the shapes of its buffers, known by schedule_key(), the tile sizes of its
// axes and the steps of its dots that are done at a time; 0: as the planner thinks best.
//
// A schedule decides speed alone: no result depends on it, and Plan takes any. So a text from
// anyone can be used; what is not sound is an error with the line.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "platform/isa.h"
#include "tile/vm.h"

namespace sconce::tile {

// The version of the text, and of what its numbers mean to the planner.
inline constexpr int kSchedulesVersion = 1;
inline constexpr size_t kSchedulesBytesMax = 1 << 20;

struct Machine {
  std::string micro_architecture, isa;
  int threads = 1;
  bool operator==(const Machine&) const = default;
};
// This one, with kernels for `isa`.
Machine this_machine(Isa isa, int threads);

using Schedules = std::map<uint64_t, Schedule>;  // by schedule_key()

struct MachineSchedules {
  Machine machine;
  Schedules steps;
  bool operator==(const MachineSchedules&) const = default;
};

// What a kernel does on buffers of these sizes and strides; its name and the data do not count.
uint64_t schedule_key(const Kernel& kernel, Span<const BufferView> shapes);
// FNV-1a, 64 bits.
uint64_t hash_of(Bytes bytes, uint64_t start = 0xcbf29ce484222325);

// Print and parse are inverse, but for the order of keys.
std::string print(Span<const MachineSchedules> all);
Result<std::vector<MachineSchedules>> parse_schedules(std::string_view text);

}  // namespace sconce::tile
