// The test cases of a .bpte, run on this runtime: `sconce check --bundle`.
#pragma once

#include <string>

#include "base/span.h"
#include "sconce/runtime.h"

namespace sconce::cli {

struct BundleCheck {
  double rtol = 1e-4;  // relative to the largest value of each expected tensor
  double atol = 0;
  ModuleOptions module;
};

// Runs every case from the state that the method has after load, prints a row for each, and says
// whether all passed. A case that cannot run fails. Exits when `file` is no bundle or its program
// cannot be loaded.
bool check_bundle(const std::string& path, Bytes file, const BundleCheck& options, bool json);

}  // namespace sconce::cli
