// Regions: which nodes of a graph become one call of a delegate, and what stands there instead.
#pragma once

#include <functional>
#include <string>
#include <unordered_set>
#include <vector>

#include "ir/graph.h"

namespace sconce {

// Nodes in the order of execution: first some that no backend took, then some that it did, which
// can be one call. Either may be empty.
struct Level {
  std::vector<NodeId> left, taken;
};

// Cuts a graph into as few levels as it allows: what is left runs as early as it can, and all that
// can follow it before the next one that is left is one region. No path leaves a region and comes
// back to it.
std::vector<Level> find_levels(const Graph& graph, const std::function<bool(const Node&)>& takes);

// What a backend made of some nodes.
struct DelegateCall {
  std::string backend;
  std::vector<uint8_t> payload;
  std::vector<NamedData> constants;  // those of a name that the program has are dropped
  std::vector<ValueId> inputs, outputs;
  // By output: the input that it is with a part changed, which emit gives the same memory where it
  // can; or -1. Empty: all are -1.
  std::vector<IntItem> updates;
};

// Puts calls into a program in place of nodes.
class DelegateCalls {
 public:
  DelegateCalls(Program& program, Graph& graph);
  // Removes the nodes; the call that is returned is not in graph.order yet.
  NodeId replace(Span<const NodeId> nodes, DelegateCall call);

 private:
  Program& program_;
  Graph& graph_;
  std::unordered_set<std::string> known_;  // names of named data
};

}  // namespace sconce
