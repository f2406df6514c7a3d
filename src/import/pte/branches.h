// Branches: straight pieces of a graph that become the subgraphs of a "cond" node.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace sconce {

// Nodes that were added to a graph one after the other and taken out of its order again, and the
// values that they leave behind: made by them, or by what stands before.
struct Branch {
  std::vector<NodeId> nodes;
  std::vector<ValueId> outputs;
};

// Appends a node that runs one branch or the other as `predicate` (a b8 tensor, or a bool) says,
// and gives its results: outputs[i] of whichever ran, of the type that outputs[i] of the first has.
// Values from before become operands; the branches' nodes are moved, with subgraphs of their own.
std::vector<ValueId> add_cond(Graph& graph, ValueId predicate, const Branch& if_true,
                              const Branch& if_false, const std::string& source);

}  // namespace sconce
