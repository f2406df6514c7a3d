#include <algorithm>
#include <bit>
#include <map>

#include "ops/def.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

namespace sconce {
namespace {

bool less(double a, double b) {
  return std::bit_cast<int64_t>(a) <
         std::bit_cast<int64_t>(b);  // by bits: -0 differs from 0, NaN equals itself
}

bool less(const Argument& a, const Argument& b) {
  if (a.index() != b.index()) return a.index() < b.index();
  return std::visit(
      [&](const auto& x) -> bool {
        using T = std::decay_t<decltype(x)>;
        const T& y = std::get<T>(b);
        if constexpr (std::is_same_v<T, None>)
          return false;
        else if constexpr (std::is_same_v<T, ValueRef>)
          return x.id < y.id;
        else if constexpr (std::is_same_v<T, GraphRef>)
          return x.index < y.index;
        else if constexpr (std::is_same_v<T, double>)
          return less(x, y);
        else if constexpr (std::is_same_v<T, std::vector<IntItem>>)
          return std::lexicographical_compare(
              x.begin(), x.end(), y.begin(), y.end(), [](const IntItem& p, const IntItem& q) {
                return p.value != q.value ? p.value < q.value : p.known < q.known;
              });
        else if constexpr (std::is_same_v<T, std::vector<ValueRef>>)
          return std::lexicographical_compare(x.begin(), x.end(), y.begin(), y.end(),
                                              [](ValueRef p, ValueRef q) { return p.id < q.id; });
        else if constexpr (std::is_same_v<T, std::vector<double>>)
          return std::lexicographical_compare(x.begin(), x.end(), y.begin(), y.end(),
                                              [](double p, double q) { return less(p, q); });
        else
          return x < y;
      },
      a);
}

struct NodeLess {
  bool operator()(const Node* a, const Node* b) const {
    if (a->op != b->op) return a->op < b->op;
    return std::lexicographical_compare(
        a->arguments.begin(), a->arguments.end(), b->arguments.begin(), b->arguments.end(),
        [](const Argument& x, const Argument& y) { return less(x, y); });
  }
};

}  // namespace

Result<void> merge_common_subexpressions(Program&, Graph& graph, const PassContext&) {
  std::map<const Node*, const Node*, NodeLess> seen;
  Replacements replacements(graph);
  // One value for each constant and each buffer.
  std::map<std::pair<Origin, int32_t>, ValueId> sources;
  for (size_t v = 0; v < graph.values.size(); v++) {
    const ValueInfo& info = graph.values[v];
    if (info.origin != Origin::constant && info.origin != Origin::buffer) continue;
    auto [found, added] = sources.try_emplace({info.origin, info.index}, ValueId(v));
    if (!added && graph.values[size_t(found->second)].type.tensor == info.type.tensor)
      replacements.add(ValueId(v), found->second);
  }
  for (NodeId id : graph.order) {
    Node& node = graph.nodes[size_t(id)];
    replacements.apply(node);
    if (!is_operator(node)) continue;  // control flow: bodies are not compared
    const Op* op = find_op(node.op);
    if (op && op->def->random) continue;
    auto [found, added] = seen.try_emplace(&node, &node);
    if (added) continue;
    const Node& first = *found->second;
    bool same = first.results.size() == node.results.size();
    for (size_t r = 0; same && r < node.results.size(); r++) {
      const Type &a = graph.type(first.results[r]), &b = graph.type(node.results[r]);
      same = a.kind == b.kind && a.tensor.dtype == b.tensor.dtype &&
             a.tensor.dim_order == b.tensor.dim_order;
    }
    if (!same) continue;
    for (size_t r = 0; r < node.results.size(); r++)
      replacements.add(node.results[r], first.results[r]);
    node.removed = true;
  }
  replacements.apply(graph);
  drop_removed(graph);
  return {};
}

}  // namespace sconce
