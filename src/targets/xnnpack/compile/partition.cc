#include "targets/xnnpack/compile/partition.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_set>

#include "ops/def.h"
#include "targets/xnnpack/compile/lower.h"

namespace sconce {
namespace {

constexpr const char* kBackendId = "XnnpackBackend";
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

class Partition {
 public:
  Partition(Program& program, Graph& graph) : program_(program), graph_(graph) {
    for (const NamedData& data : program.named_data) known_.insert(data.name);
  }

  Result<void> run() {
    find_depths();
    std::vector<NodeId> order;
    for (size_t depth = 0; depth < taken_.size(); depth++) {
      order.insert(order.end(), left_[depth].begin(), left_[depth].end());
      for (const std::vector<NodeId>& piece : split(taken_[depth])) {
        TRY(NodeId call, make_call(piece));
        order.push_back(call);
      }
    }
    graph_.order = std::move(order);
    return {};
  }

 private:
  // The depth of a node: how often a path to it changes from nodes that are taken to nodes that are
  // left. At each depth those that are left come first, then those that are taken, which are a
  // region: a path that leaves it comes back deeper.
  void find_depths() {
    std::vector<size_t> depth(graph_.values.size(), 0);
    std::vector<bool> is_taken(graph_.values.size(), false);
    for (NodeId id : graph_.order) {
      const Node& node = graph_.nodes[size_t(id)];
      bool takes = xnn_can_lower(program_, graph_, node);
      size_t here = 0;
      Graph::for_each_use(node, [&](ValueId used) {
        here = std::max(here, depth[size_t(used)] + (!takes && is_taken[size_t(used)]));
      });
      // Numbers drawn by lot depend on the order in which they are drawn.
      if (const Op* op = find_op(node.op); op && op->def->random)
        last_random_ = here = std::max(here, last_random_);
      for (ValueId result : node.results) {
        depth[size_t(result)] = here;
        is_taken[size_t(result)] = takes;
      }
      if (taken_.size() <= here) {
        taken_.resize(here + 1);
        left_.resize(here + 1);
      }
      (takes ? taken_ : left_)[here].push_back(id);
    }
  }

  // XNNPACK packs the weights of a payload before stock lets go of the unpacked ones, so that
  // loading takes a payload's weights twice for a while. A region with many weights becomes several
  // payloads, cut where little passes: one value, and no image, which would have to be turned
  // around.
  std::vector<std::vector<NodeId>> split(const std::vector<NodeId>& nodes) const {
    std::vector<size_t> last_use(graph_.values.size(), 0);
    for (size_t i = 0; i < nodes.size(); i++)
      Graph::for_each_use(graph_.nodes[size_t(nodes[i])],
                          [&](ValueId used) { last_use[size_t(used)] = i; });
    std::vector<std::vector<NodeId>> pieces(nodes.empty() ? 0 : 1);
    std::unordered_set<ValueId> live, counted;
    uint64_t weights = 0;
    for (size_t i = 0; i < nodes.size(); i++) {
      const Node& node = graph_.nodes[size_t(nodes[i])];
      bool is_narrow = live.size() == 1 && graph_.type(*live.begin()).tensor.sizes.size() != 4;
      if (weights > kWeightBytes && is_narrow) {
        pieces.emplace_back();
        counted.clear();
        weights = 0;
      }
      pieces.back().push_back(nodes[i]);
      Graph::for_each_use(node, [&](ValueId used) {
        if (last_use[size_t(used)] == i) live.erase(used);
        const ValueInfo& info = graph_.values[size_t(used)];
        if (info.origin == Origin::constant && counted.insert(used).second)
          weights += program_.constants[size_t(info.index)].bytes.size();
      });
      for (ValueId result : node.results)
        if (last_use[size_t(result)] > i) live.insert(result);
    }
    return pieces;
  }

  Result<NodeId> make_call(const std::vector<NodeId>& nodes) {
    TRY(XnnRegion region, xnn_lower(program_, graph_, nodes));
    for (NamedData& data : region.constants)
      if (known_.insert(data.name).second) program_.named_data.push_back(std::move(data));
    Node call;
    call.op = "delegate";
    std::vector<ValueRef> operands;
    for (ValueId id : region.inputs) operands.push_back({id});
    call.arguments = {int64_t(program_.delegates.size()), std::move(operands)};
    call.source = graph_.nodes[size_t(nodes[0])].source;
    call.results = region.outputs;
    program_.delegates.push_back({kBackendId, write_xnnpack(region.graph)});
    NodeId id = NodeId(graph_.nodes.size());
    for (NodeId taken : nodes) graph_.nodes[size_t(taken)].removed = true;
    for (size_t r = 0; r < call.results.size(); r++) {
      ValueInfo& info = graph_.values[size_t(call.results[r])];
      info.index = id;
      info.result = int32_t(r);
    }
    graph_.nodes.push_back(std::move(call));
    return id;
  }

  Program& program_;
  Graph& graph_;
  std::vector<std::vector<NodeId>> taken_, left_;  // by depth
  size_t last_random_ = 0;
  std::unordered_set<std::string> known_;  // names of named data
};

}  // namespace

Result<void> partition_for_xnnpack(Program& program, Graph& graph) {
  for (auto& inner : graph.subgraphs) TRY_VOID(partition_for_xnnpack(program, *inner));
  make_masks_additive(program, graph);
  return Partition(program, graph).run();
}

}  // namespace sconce
