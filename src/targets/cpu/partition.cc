#include "targets/cpu/partition.h"

#include <algorithm>
#include <unordered_map>

#include "ops/tile.h"
#include "targets/content_name.h"
#include "targets/cpu/lower.h"
#include "tile/program_bytes.h"

namespace sconce {
namespace {

class Partition {
 public:
  Partition(Program& program, Graph& graph) : program_(program), graph_(graph) {
    for (const NamedData& data : program.named_data) known_.insert(data.name);
  }

  Result<void> run() {
    find_depths();
    std::vector<NodeId> order;
    for (size_t depth = 0; depth < taken_.size(); depth++) {
      if (is_worth_it(taken_[depth])) {
        TRY(NodeId call, make_call(taken_[depth]));
        order.push_back(call);
      } else {
        order.insert(order.end(), taken_[depth].begin(), taken_[depth].end());
      }
      order.insert(order.end(), left_[depth].begin(), left_[depth].end());
    }
    graph_.order = std::move(order);
    return {};
  }

 private:
  // The depth of a node: how often a path to it changes from nodes that are left to nodes that are
  // taken. Nodes taken at one depth are a region: a path that leaves it comes back deeper.
  void find_depths() {
    std::vector<size_t> depth(graph_.values.size(), 0);
    std::vector<bool> is_left(graph_.values.size(), false);
    for (NodeId id : graph_.order) {
      const Node& node = graph_.nodes[size_t(id)];
      bool takes = can_lower(program_, graph_, node);
      size_t here = 0;
      Graph::for_each_use(node, [&](ValueId used) {
        here = std::max(here, depth[size_t(used)] + (takes && is_left[size_t(used)]));
      });
      // Numbers drawn by lot depend on the order in which they are drawn.
      if (const Op* op = find_op(node.op); op && op->def->random)
        last_random_ = here = std::max(here, last_random_);
      for (ValueId result : node.results) {
        depth[size_t(result)] = here;
        is_left[size_t(result)] = !takes;
      }
      if (taken_.size() <= here) {
        taken_.resize(here + 1);
        left_.resize(here + 1);
      }
      (takes ? taken_ : left_)[here].push_back(id);
    }
  }

  bool is_worth_it(const std::vector<NodeId>& nodes) const {
    return std::any_of(nodes.begin(), nodes.end(), [&](NodeId id) {
      return find_tile_rule(graph_.nodes[size_t(id)].op) != nullptr;
    });
  }

  Result<NodeId> make_call(const std::vector<NodeId>& nodes) {
    TRY(LoweredRegion region, lower(program_, graph_, nodes));
    std::unordered_map<std::string, std::string> names;
    for (TileConstant& constant : region.constants) {
      std::string name = content_name(constant.bytes);
      names[constant.name] = name;
      if (known_.insert(name).second)
        program_.named_data.push_back(
            {name, constant.bytes, std::move(constant.owned), uint32_t(tile::kArenaAlignment)});
    }
    for (tile::Storage& storage : region.program.storages)
      if (storage.kind == tile::Storage::Kind::constant) storage.name = names.at(storage.name);

    Node call;
    call.op = "delegate";
    std::vector<ValueRef> operands;
    for (ValueId id : region.inputs) operands.push_back({id});
    call.arguments = {int64_t(program_.delegates.size()), std::move(operands)};
    call.source = graph_.nodes[size_t(nodes[0])].source;
    call.results = region.outputs;
    program_.delegates.push_back({tile::kBackendId, tile::write_program(region.program)});

    NodeId id = NodeId(graph_.nodes.size());
    for (NodeId taken : nodes) graph_.nodes[size_t(taken)].removed = true;
    for (size_t r = 0; r < call.results.size(); r++) {
      ValueInfo& info = graph_.values[size_t(call.results[r])];
      info.index = id;
      info.result = int32_t(r);
    }
    if (region.program.arena_bytes > 0) {
      // Planned memory begins at multiples of 16; there is room to go on to the next one of 64.
      TensorType type;
      type.dtype = DType::u8;
      uint64_t bytes = region.program.arena_bytes + tile::kArenaAlignment - 16;
      constexpr uint64_t kRow = 1 << 16;  // sizes of tensors are 32 bits
      if (bytes <= INT32_MAX)
        type.sizes = {SymInt(int64_t(bytes))};
      else
        type.sizes = {SymInt(int64_t((bytes + kRow - 1) / kRow)), SymInt(int64_t(kRow))};
      call.results.push_back(graph_.add_value(Type::of(std::move(type)), "between", Origin::node,
                                              id, int32_t(call.results.size())));
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

Result<void> partition_for_cpu(Program& program, Graph& graph) {
  for (auto& inner : graph.subgraphs) TRY_VOID(partition_for_cpu(program, *inner));
  return Partition(program, graph).run();
}

}  // namespace sconce
