// Lowering to XNNPACK: nodes of a graph become a payload of ExecuTorch's XnnpackBackend.
//
// f32, shapes known. Images keep channels innermost from one convolution to the next; limits go
// into the node before them; layer norm and attention become nodes that XNNPACK has. What a rule
// (rules_*.cc) refuses is left to kernels, so that "supported" is said once.
#pragma once

#include <memory>
#include <vector>

#include "formats/xnnpack/xnnpack.h"
#include "ir/graph.h"

namespace sconce {

struct XnnRegion {
  XnnGraph graph;
  std::vector<NamedData> constants;      // that the graph's keys name
  std::vector<ValueId> inputs, outputs;  // in the order of the call's arguments
};

// True when a node can be part of a region.
bool xnn_can_lower(const Program& program, const Graph& graph, const Node& node);

// A region: nodes in the order of execution, each of which xnn_can_lower(). Values used outside it
// are its outputs.
Result<XnnRegion> xnn_lower(const Program& program, const Graph& graph, Span<const NodeId> nodes);

}  // namespace sconce
