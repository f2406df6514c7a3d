// Emit: a program as torch has it, before anything was made legal for a target, becomes a .pt2 that
// torch.export.load opens.
#pragma once

#include "base/result.h"
#include "ir/graph.h"

namespace sconce {

// Of a program of one method. Constants and state become saved buffers under their names; a name
// that goes on where another one ends ("a.weight" and "a.weight.scales") gets an underscore there,
// since torch has no module below a tensor. Refused: sizes that change, control flow, and operators
// that torch does not have.
Result<std::vector<uint8_t>> emit_pt2(const Program& program);

}  // namespace sconce
