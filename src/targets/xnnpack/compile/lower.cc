#include "targets/xnnpack/compile/lower.h"

#include <unordered_map>

#include "targets/xnnpack/compile/lowering.h"

namespace sconce {
namespace xnn_compile {

const Row* find_row(const std::string& op) {
  static const auto* rows = [] {
    auto* made = new std::unordered_map<std::string, const Row*>;
    for (Span<const Row> rules :
         {pointwise_rules(), image_rules(), product_rules(), shape_rules(), integer_rules()})
      for (const Row& row : rules) made->emplace(row.op, &row);
    return made;
  }();
  auto found = rows->find(op);
  return found == rows->end() ? nullptr : found->second;
}

namespace {

// A mask of booleans becomes numbers before lowering (partition.cc).
bool is_mask(const Node& node, ValueId id) {
  return node.op == "aten::scaled_dot_product_attention" && value_argument(node, 3) == id;
}

bool is_integer_bias(const Node& node, ValueId id) {
  return (node.op == "int8::linear" || node.op == "int8::convolution") &&
         value_argument(node, 5) == id;
}

}  // namespace
}  // namespace xnn_compile

using namespace xnn_compile;

bool xnn_can_lower(const Program& program, const Graph& graph, const Node& node) {
  const Row* row = find_row(node.op);
  if (!row) return false;
  Lowering trial(program, graph, true);
  bool fits = true;
  Graph::for_each_use(node, [&](ValueId id) {
    bool mask = is_mask(node, id) && graph.type(id).is_tensor() &&
                graph.type(id).tensor.dtype == DType::b8 && is_static(graph.type(id).tensor);
    bool integers =
        row->moves && (trial.is_i8(id) || (is_integer_bias(node, id) && trial.is_i32(id)));
    fits &= mask || integers || trial.is_f32(id);
  });
  // Passes ask for nodes that they may make; what a rule refuses after all is decomposed later.
  if (node.results.empty()) return fits;
  for (size_t i = 0; fits && i < node.results.size(); i++) {
    const Type& type = graph.type(node.results[i]);
    fits &= i > 0 || trial.is_f32(node.results[i]) || (row->moves && trial.is_i8(node.results[i]));
    if (!type.is_tensor() && type.kind != Type::Kind::none) fits = false;
  }
  return fits && row->rule(trial, node);
}

Result<XnnRegion> xnn_lower(const Program& program, const Graph& graph, Span<const NodeId> nodes) {
  return Lowering(program, graph, false).run(nodes);
}

}  // namespace sconce
