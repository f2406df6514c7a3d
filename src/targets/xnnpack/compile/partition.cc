#include "targets/xnnpack/compile/partition.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_set>

#include "targets/regions.h"
#include "targets/xnnpack/compile/lower.h"

namespace sconce {
namespace {

constexpr float kHidden = -1e30f;             // far below any score, and still finite
constexpr uint64_t kWeightBytes = 2'500'000;  // of a payload, about: see split()

ValueId add_number(Program& program, Graph& graph, float number, const char* name) {
  auto bytes = std::make_shared<std::vector<uint8_t>>(4);
  memcpy(bytes->data(), &number, 4);
  TensorType type;
  int32_t index = program.add_constant(type, bytes, name);
  return graph.add_value(Type::of(type), name, Origin::constant, index);
}

ValueId additive_constant(Program& program, Graph& graph, ValueId mask) {
  const ConstantData& from = program.constants[size_t(graph.values[size_t(mask)].index)];
  auto bytes = std::make_shared<std::vector<uint8_t>>(from.bytes.size() * 4);
  for (size_t i = 0; i < from.bytes.size(); i++) {
    float number = from.bytes[i] ? 0 : kHidden;
    memcpy(bytes->data() + 4 * i, &number, 4);
  }
  TensorType type = from.type;
  type.dtype = DType::f32;
  int32_t index = program.add_constant(type, bytes, "mask");
  return graph.add_value(Type::of(type), "mask", Origin::constant, index);
}

// XNNPACK adds a mask to the scores: masks of booleans become numbers, once for all that use them.
void make_masks_additive(Program& program, Graph& graph) {
  std::map<ValueId, ValueId> made;
  std::vector<NodeId> order;
  std::optional<std::pair<ValueId, ValueId>> numbers;
  for (NodeId id : std::vector<NodeId>(graph.order)) {
    bool takes = graph.nodes[size_t(id)].op == "aten::scaled_dot_product_attention" &&
                 xnn_can_lower(program, graph, graph.nodes[size_t(id)]);
    auto* mask = takes ? std::get_if<ValueRef>(&graph.nodes[size_t(id)].arguments[3]) : nullptr;
    if (mask && mask->id != kNoValue && graph.type(mask->id).tensor.dtype == DType::b8) {
      ValueId from = mask->id;
      if (graph.values[size_t(from)].origin == Origin::constant) {
        made.try_emplace(from, additive_constant(program, graph, from));
      } else if (!made.contains(from)) {
        if (!numbers)
          numbers = {add_number(program, graph, 0, "seen"),
                     add_number(program, graph, kHidden, "hidden")};
        Type type = graph.type(from);
        type.tensor.dtype = DType::f32;
        NodeId choice =
            graph.add_node("aten::where.self",
                           {ValueRef{from}, ValueRef{numbers->first}, ValueRef{numbers->second}},
                           {type}, graph.nodes[size_t(id)].source, "mask");
        order.push_back(choice);
        made[from] = graph.nodes[size_t(choice)].results[0];
      }
      graph.nodes[size_t(id)].arguments[3] = ValueRef{made[from]};
    }
    order.push_back(id);
  }
  graph.order = std::move(order);
}

// XNNPACK packs the weights of a payload before stock lets go of the unpacked ones, so that
// loading takes a payload's weights twice for a while. A region with many weights becomes several
// payloads, cut where little passes: one value, and no image, which would have to be turned
// around.
std::vector<std::vector<NodeId>> split(const Program& program, const Graph& graph,
                                       const std::vector<NodeId>& nodes) {
  std::vector<size_t> last_use(graph.values.size(), 0);
  for (size_t i = 0; i < nodes.size(); i++)
    Graph::for_each_use(graph.nodes[size_t(nodes[i])],
                        [&](ValueId used) { last_use[size_t(used)] = i; });
  std::vector<std::vector<NodeId>> pieces(nodes.empty() ? 0 : 1);
  std::unordered_set<ValueId> live, counted;
  uint64_t weights = 0;
  for (size_t i = 0; i < nodes.size(); i++) {
    const Node& node = graph.nodes[size_t(nodes[i])];
    bool is_narrow = live.size() == 1 && graph.type(*live.begin()).tensor.sizes.size() != 4;
    if (weights > kWeightBytes && is_narrow) {
      pieces.emplace_back();
      counted.clear();
      weights = 0;
    }
    pieces.back().push_back(nodes[i]);
    Graph::for_each_use(node, [&](ValueId used) {
      if (last_use[size_t(used)] == i) live.erase(used);
      const ValueInfo& info = graph.values[size_t(used)];
      if (info.origin == Origin::constant && counted.insert(used).second)
        weights += program.constants[size_t(info.index)].bytes.size();
    });
    for (ValueId result : node.results)
      if (last_use[size_t(result)] > i) live.insert(result);
  }
  return pieces;
}

}  // namespace

Result<void> partition_for_xnnpack(Program& program, Graph& graph, Prefer prefer) {
  for (auto& inner : graph.subgraphs) TRY_VOID(partition_for_xnnpack(program, *inner, prefer));
  make_masks_additive(program, graph);
  DelegateCalls calls(program, graph);
  std::vector<NodeId> order;
  for (const Level& level :
       find_levels(graph, [&](const Node& node) { return xnn_can_lower(program, graph, node); })) {
    order.insert(order.end(), level.left.begin(), level.left.end());
    for (const std::vector<NodeId>& piece : split(program, graph, level.taken)) {
      TRY(XnnRegion region, xnn_lower(program, graph, piece));
      order.push_back(calls.replace(
          piece, {kXnnBackendId, write_xnnpack(region.graph), std::move(region.constants),
                  std::move(region.inputs), std::move(region.outputs)}));
    }
  }
  graph.order = std::move(order);
  return {};
}

}  // namespace sconce
