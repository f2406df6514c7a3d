// Tuning: tile sizes that are fastest on the machine at hand, found by trying, and where they are
// kept. Results of a model never depend on them, bit for bit.
//
// Programs of --target cpu look for schedules when they are loaded: first in a folder of this
// machine's own, in a file for the payload, the processor's kind, its instruction set and the number
// of threads; then in the .pte itself (`sconce tune -o`). A file that is old, foreign, cut off or
// worse counts as none. Nothing is ever tuned unasked.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace sconce {

// Steps of a model that do the same at the same shapes.
struct TunedStep {
  std::string kernel, source;  // of the first of them: its name, where in the model it comes from
  int count = 0;
  double default_us = 0, best_us = 0;  // least time of one, in runs of the whole payload
  std::string schedule;                // "" when the default stays
};

// What became of the payloads that were loaded with these options, one after the other.
struct TuningReport {
  size_t payloads = 0, steps = 0, scheduled = 0;  // scheduled: steps that run by a schedule
  std::vector<std::string> from;  // where schedules came from: files, or "the program"
  double seconds = 0;             // that tuning took
  std::vector<TunedStep> tuned;
  std::string schedules;  // of what was tuned, as tile/schedules.h has it
  std::string problem;    // why a payload was not tuned, or what was found is not kept
};

struct TuningOptions {
  bool use_kept = true;  // look for schedules; false: tiles as the planner thinks best
  // Where they are kept. "": what SCONCE_CACHE names, else sconce in XDG_CACHE_HOME, else
  // ~/.cache/sconce. Only made when something was tuned.
  std::string folder;
  // > 0: a payload without a file in the folder is tuned when it is loaded, for about as long, and
  // what was found is kept. The threads of ModuleOptions do the work.
  double seconds = 0;
  bool again = false;  // also one that has a file
  std::function<void(const std::string& what, double share)> progress;
  std::shared_ptr<TuningReport> report;  // filled when there is one
};

}  // namespace sconce
