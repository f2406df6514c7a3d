// Load: a .pte is compiled anew in memory, for this machine, before it runs. Host only.
//
// Stock ExecuTorch's files hold XNNPACK payloads and plain instructions; compiled anew they run as
// tile programs, with the same answers but for rounding. What cannot be compiled anew runs as it
// stands. Inputs and outputs keep their order, types and state; the work takes milliseconds, and
// about the file's size in memory. A method of dynamic shape without state is compiled anew for the
// sizes of a call: for the first few that it meets at once, for others when they come again, eight
// in all.
#pragma once

#include <string>
#include <vector>

#include "sconce/compile.h"
#include "sconce/runtime.h"

namespace sconce {

struct LoadOptions {
  ModuleOptions module;
  bool as_is = false;  // run what the file says, and compile nothing
};

struct LoadReport {
  bool improved = false;              // some method was compiled anew
  double milliseconds = 0;            // that this took
  std::vector<MethodAsIs> as_is;      // methods that were not, and why
  std::vector<std::string> by_sizes;  // methods of dynamic shape, compiled when they are called
};

// `path` is a .pte; the weights of ModuleOptions::data_files count as its own. A file that is not
// sound gives the error that Module::load() has for it.
Result<Module> load_module(const std::string& path, const LoadOptions& options = {},
                           LoadReport* report = nullptr);

}  // namespace sconce
