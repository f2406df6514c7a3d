// CLI: what the subcommands share. Each subcommand is one file that adds itself to the parser; none
// has logic that a library user could not call.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "base/result.h"

namespace sconce::cli {

// A failed command: text to stderr as "sconce: text" (or {"error": ...} with --json), exit code
// from the error's code, which is stable (base/status.h): 3 invalid argument, 4 invalid file, ...
[[noreturn]] void exit_with(const Error& error, bool json);
template <class T>
T value_or_exit(Result<T> result, bool json) {
  if (!result.ok()) exit_with(result.error(), json);
  return std::move(*result);
}
inline void done_or_exit(Result<void> result, bool json) {
  if (!result.ok()) exit_with(result.error(), json);
}

// One line on a terminal that says what is being done; nothing when stderr is not a terminal, and
// nothing before a second has passed.
class Progress {
 public:
  Progress();
  ~Progress() { clear(); }
  void show(const std::string& what, double share);  // share of the work done, 0 to 1
  void clear();

 private:
  bool terminal_ = false, shown_ = false;
  double start_ = 0;
};

inline constexpr char kThreadsHelp[] =
    "How many threads tile programs run on (0: one for each processor); kernels use one";

double seconds_now();
std::string human_bytes(uint64_t bytes);      // "13.6 MB"
std::string json_string(std::string_view s);  // quoted and escaped

void add_compile(CLI::App& app);
void add_quantize(CLI::App& app);
void add_run(CLI::App& app);
void add_inspect(CLI::App& app);
void add_ops(CLI::App& app);
void add_compare(CLI::App& app);
void add_bench(CLI::App& app);
void add_check(CLI::App& app);
void add_bundle(CLI::App& app);
void add_extract(CLI::App& app);
void add_diff(CLI::App& app);
void add_kernels(CLI::App& app);
void add_tune(CLI::App& app);
void add_tensors(CLI::App& app);  // a group: tensors/tensors.h

}  // namespace sconce::cli
