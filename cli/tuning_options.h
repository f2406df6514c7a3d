// What `sconce run`, `bench` and `tune` share: how tile sizes that are known to be fast on this
// machine are used, and found.
#pragma once

#include "cli.h"
#include "sconce/load.h"

namespace sconce::cli {

// --tune, --tune-seconds and --no-tuned for a command that runs a program. `tuning` lives as long
// as the parser; call begin_tuning() before the module is loaded.
struct TuningFlags {
  bool tune = false, none = false;
  double seconds = 5;
};
void add_tuning_options(CLI::App* command, TuningFlags& flags);
// Progress is shown while a payload is tuned.
void begin_tuning(const TuningFlags& flags, Progress& progress, TuningOptions& tuning);
// "12 of 20 steps run by schedules of FILE"; "" when there are none, and nothing went wrong.
std::string tuning_text(const TuningReport& report);

}  // namespace sconce::cli
