// What a Module did and when: instructions, and the steps of backends within them. One collector
// for tables, ETDumps and traces.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "sconce/runtime.h"

namespace sconce::cli {

struct ProfileEvent {
  // Point into the loaded program. A step of a backend has its own name, and no overload.
  const char *name = "", *overload = "", *source = "";
  uint32_t chain = 0, instruction = 0;
  pte::InstructionKind kind = pte::InstructionKind::absent;
  bool is_step = false;
  uint64_t start_ns = 0, end_ns = 0;  // of one steady clock

  double seconds() const { return double(end_ns - start_ns) * 1e-9; }
};

struct ProfileRun {
  std::string method;
  bool is_load = false;
  uint64_t start_ns = 0, end_ns = 0;
  std::vector<ProfileEvent> events;  // in the order in which they ended; none of a load

  double seconds() const { return double(end_ns - start_ns) * 1e-9; }
};

uint64_t nanoseconds_now();

// Watches one Module, from now until its own end; the Module's observers are its own meanwhile.
class Profiler {
 public:
  explicit Profiler(Module& module);
  ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  Result<void> load_method(const std::string& method);
  // As the Module's; recorded when it succeeds.
  Result<std::vector<Argument>> execute(const std::string& method, Span<const Argument> inputs);

  // Names are good while the Module lives.
  const std::vector<ProfileRun>& runs() const { return runs_; }

 private:
  static void before(void* self, const Step& step);
  static void after(void* self, const Step& step);
  static void on_step(void* self, const DelegateStep& step);
  Module& module_;
  std::vector<ProfileRun> runs_;
  ProfileRun current_;
  ProfileEvent instruction_;  // the one in progress
};

// Both replace a file in one step, or leave it. ETDump: for stock's Inspector. Trace: for Perfetto
// and chrome://tracing.
Result<void> save_etdump(const std::string& path, const std::vector<ProfileRun>& runs);
Result<void> save_trace(const std::string& path, const std::vector<ProfileRun>& runs);

// Where a command was asked to put what a Profiler saw.
struct ProfileFiles {
  std::string etdump, trace;
  bool wanted() const { return !etdump.empty() || !trace.empty(); }
  Result<void> save(const std::vector<ProfileRun>& runs) const;
};

// --etdump and --trace.
void add_profile_options(CLI::App* command, ProfileFiles& files);

}  // namespace sconce::cli
