#include "passes/passes.h"

namespace sconce {

Result<void> remove_dead_code(Program&, Graph& graph, const PassContext&) {
  std::vector<int32_t> uses = graph.use_counts();
  std::vector<NodeId> kept;
  for (size_t k = graph.order.size(); k-- > 0;) {
    NodeId id = graph.order[k];
    Node& node = graph.nodes[size_t(id)];
    bool used = false;
    for (ValueId result : node.results) used |= uses[size_t(result)] > 0;
    if (used) {
      kept.push_back(id);
      continue;
    }
    Graph::for_each_use(node, [&](ValueId value) { uses[size_t(value)]--; });
    node.removed = true;
  }
  graph.order.assign(kept.rbegin(), kept.rend());
  return {};
}

}  // namespace sconce
