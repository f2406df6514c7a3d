// Weights of a program in a file of their own (.ptd), as ExecuTorch's external constants: the
// program names them, and whoever loads it brings the file.
#pragma once

#include <vector>

#include "formats/ptd/ptd.h"
#include "formats/pte/pte.h"

namespace sconce {

// Takes every constant out of `program`, and all named data that backends ask for (their packed
// weights); what stays are side facts of our own and the initial values of state. Entries view what
// `program` viewed. A constant keeps its name in the model; without one, or when another is called
// so, it gets one of its own. The same program gives the same entries.
std::vector<PtdEntry> take_weights_out(PteProgram& program);

}  // namespace sconce
