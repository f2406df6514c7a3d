#include "targets/regions.h"

#include <algorithm>

#include "ops/def.h"
#include "ops/traits.h"

namespace sconce {

// The level of a node is how often a path to it changes from nodes that are taken to ones that are
// left.
std::vector<Level> find_levels(const Graph& graph, const std::function<bool(const Node&)>& takes) {
  std::vector<Level> levels;
  std::vector<size_t> level(graph.values.size(), 0);
  std::vector<bool> is_taken(graph.values.size(), false);
  size_t last_random = 0;
  for (NodeId id : graph.order) {
    const Node& node = graph.nodes[size_t(id)];
    bool taken = takes(node);
    size_t here = 0;
    Graph::for_each_use(node, [&](ValueId used) {
      // Integers of a node that is taken are sizes, which its call learns by itself, or elements of
      // tensors, which it reads.
      if (taken && graph.type(used).kind == Type::Kind::integer) {
        if (const ValueId* tensor = tensor_of_integer(graph, used))
          here = std::max(here, level[size_t(*tensor)]);
        return;
      }
      here = std::max(here, level[size_t(used)] + (!taken && is_taken[size_t(used)]));
    });
    // Numbers drawn by lot depend on the order in which they are drawn.
    if (const Op* op = find_op(node.op); op && op->def->random)
      last_random = here = std::max(here, last_random);
    for (ValueId result : node.results) {
      level[size_t(result)] = here;
      is_taken[size_t(result)] = taken;
    }
    if (levels.size() <= here) levels.resize(here + 1);
    (taken ? levels[here].taken : levels[here].left).push_back(id);
  }
  return levels;
}

DelegateCalls::DelegateCalls(Program& program, Graph& graph) : program_(program), graph_(graph) {
  for (const NamedData& data : program.named_data) known_.insert(data.name);
}

NodeId DelegateCalls::replace(Span<const NodeId> nodes, DelegateCall call) {
  for (NamedData& data : call.constants)
    if (known_.insert(data.name).second) program_.named_data.push_back(std::move(data));
  Node node;
  node.op = "delegate";
  std::vector<ValueRef> operands;
  for (ValueId id : call.inputs) operands.push_back({id});
  node.arguments = {int64_t(program_.delegates.size()), std::move(operands)};
  if (!call.updates.empty()) node.arguments.push_back(std::move(call.updates));
  node.source = graph_.nodes[size_t(nodes[0])].source;
  node.results = std::move(call.outputs);
  program_.delegates.push_back({std::move(call.backend), std::move(call.payload)});

  NodeId id = NodeId(graph_.nodes.size());
  for (NodeId replaced : nodes) graph_.nodes[size_t(replaced)].removed = true;
  for (size_t r = 0; r < node.results.size(); r++) {
    ValueInfo& info = graph_.values[size_t(node.results[r])];
    info.index = id;
    info.result = int32_t(r);
  }
  graph_.nodes.push_back(std::move(node));
  return id;
}

}  // namespace sconce
