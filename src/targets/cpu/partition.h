// Partition for CPUs: what the tile engine runs becomes calls of "SconceBackend".
//
// A call's operands are the region's inputs; its results are the region's outputs, then one more of
// bytes: the memory between its steps, which is planned with the method's own tensors. The payload
// is a tile program (tile/program_bytes.h), whose constants are named data called after their
// contents.
#pragma once

#include "ir/graph.h"
#include "ops/prefer.h"

namespace sconce {

// As few regions as the nodes in between allow; no path leaves a region and comes back to it.
// Subgraphs too. A region that would only rename memory is left as it is.
Result<void> partition_for_cpu(Program& program, Graph& graph, Prefer prefer);

}  // namespace sconce
