// Constraints: what a method's inputs must satisfy, from the symbols' ranges and shared sizes.
#pragma once

#include <optional>

#include "formats/pte/pte.h"
#include "ir/graph.h"

namespace sconce {

// Nullopt when every size is fixed.
std::optional<PteMethodConstraints> input_constraints(const Program& program, const Method& method);

}  // namespace sconce
