// The kernels of docs/write_kernels.md: each is one kernel, and beside it what it is made of, an
// operator a kernel, as a graph without fusion runs it.
#pragma once

#include <string>
#include <vector>

#include "sconce/tile.h"

namespace sconce::examples {

// What a step of the operator-by-operator way reads and writes: arrays of the fused kernel by name,
// and temporaries, whose sizes are dims of the step's kernel.
struct Step {
  kernels::Kernel kernel;
  std::vector<std::string> arrays;  // by buffer of the kernel
};

struct Example {
  kernels::Kernel fused;
  std::vector<Step> steps;
  kernels::DimSizes check, bench;  // sizes for each
};

// Errors are mistakes in the kernels: they name them.
Result<std::vector<Example>> all_examples();

}  // namespace sconce::examples
