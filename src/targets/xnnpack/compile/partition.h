// Partition for stock ExecuTorch's XNNPACK: what XNNPACK has nodes for becomes calls of
// "XnnpackBackend", with as few cuts as the rest allows.
#pragma once

#include "base/result.h"
#include "ir/graph.h"
#include "ops/prefer.h"

namespace sconce {

// Constants become named data, as large as in the model whatever is preferred. Subgraphs too.
Result<void> partition_for_xnnpack(Program& program, Graph& graph, Prefer prefer);

}  // namespace sconce
