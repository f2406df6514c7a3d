#include "import/pte/branches.h"

#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>

namespace sconce {
namespace {

// Values that a branch takes from what stands before it, in the order of their first use.
// Constants are named by the subgraph itself.
void find_operands(const Graph& graph, const Branch& branch, std::vector<ValueId>* operands) {
  std::set<ValueId> own, seen(operands->begin(), operands->end());
  auto use = [&](ValueId id) {
    if (own.count(id) || graph.values[size_t(id)].origin == Origin::constant) return;
    if (seen.insert(id).second) operands->push_back(id);
  };
  for (NodeId id : branch.nodes) {
    const Node& node = graph.nodes[size_t(id)];
    Graph::for_each_use(node, use);
    own.insert(node.results.begin(), node.results.end());
  }
  for (ValueId id : branch.outputs) use(id);
}

std::unique_ptr<Graph> move_out(Graph& graph, const Branch& branch,
                                const std::vector<ValueId>& operands, std::string name) {
  auto made = std::make_unique<Graph>();
  made->name = std::move(name);
  std::map<ValueId, ValueId> now;
  for (ValueId id : operands) {
    const ValueInfo& info = graph.values[size_t(id)];
    now[id] = made->add_input(info.type, info.name);
  }
  auto of = [&](ValueId id) {
    auto [found, is_new] = now.try_emplace(id, kNoValue);
    if (is_new) {
      const ValueInfo& info = graph.values[size_t(id)];
      found->second = made->add_value(info.type, info.name, info.origin, info.index);
    }
    return found->second;
  };
  for (NodeId id : branch.nodes) {
    Node& from = graph.nodes[size_t(id)];
    Node copy = from;
    Graph::for_each_use(copy, [&](ValueId& used) { used = of(used); });
    for (Argument& argument : copy.arguments)
      if (auto* inner = std::get_if<GraphRef>(&argument)) {
        made->subgraphs.push_back(std::move(graph.subgraphs[size_t(inner->index)]));
        inner->index = int(made->subgraphs.size()) - 1;
      }
    std::vector<Type> types;
    for (ValueId result : from.results) types.push_back(graph.type(result));
    NodeId moved =
        made->add_node(copy.op, std::move(copy.arguments), std::move(types), copy.source);
    for (size_t i = 0; i < from.results.size(); i++)
      now[from.results[i]] = made->nodes[size_t(moved)].results[i];
    from.removed = true;
  }
  for (ValueId id : branch.outputs) made->outputs.push_back(of(id));
  return made;
}

}  // namespace

std::vector<ValueId> add_cond(Graph& graph, ValueId predicate, const Branch& if_true,
                              const Branch& if_false, const std::string& source) {
  std::vector<ValueId> operands;
  find_operands(graph, if_true, &operands);
  find_operands(graph, if_false, &operands);
  std::vector<Type> types;
  for (ValueId id : if_true.outputs) types.push_back(graph.type(id));
  int first = int(graph.subgraphs.size());
  auto yes = move_out(graph, if_true, operands, fmt::format("true_graph_{}", first));
  auto no = move_out(graph, if_false, operands, fmt::format("false_graph_{}", first));
  // Those of branches within were the last to come, and have moved.
  while (!graph.subgraphs.empty() && !graph.subgraphs.back()) graph.subgraphs.pop_back();
  int index = int(graph.subgraphs.size());
  graph.subgraphs.push_back(std::move(yes));
  graph.subgraphs.push_back(std::move(no));
  std::vector<ValueRef> list(operands.begin(), operands.end());
  NodeId id = graph.add_node(
      "cond", {ValueRef{predicate}, GraphRef{index}, GraphRef{index + 1}, std::move(list)},
      std::move(types), source);
  return graph.nodes[size_t(id)].results;
}

}  // namespace sconce
