#include "targets/cpu/partition.h"

#include <algorithm>
#include <unordered_map>

#include "ops/tile.h"
#include "targets/content_name.h"
#include "targets/cpu/lower.h"
#include "targets/regions.h"
#include "tile/program_bytes.h"

namespace sconce {
namespace {

bool is_worth_it(const Graph& graph, const std::vector<NodeId>& nodes) {
  return std::any_of(nodes.begin(), nodes.end(), [&](NodeId id) {
    return find_tile_rule(graph.nodes[size_t(id)].op) != nullptr;
  });
}

// The memory between the steps of a call: bytes that are planned with the method's tensors.
Type memory_between(uint64_t arena_bytes) {
  TensorType type;
  type.dtype = DType::u8;
  // Planned memory begins at multiples of 16; there is room to go on to the next one of 64.
  uint64_t bytes = arena_bytes + tile::kArenaAlignment - 16;
  constexpr uint64_t kRow = 1 << 16;  // sizes of tensors are 32 bits
  if (bytes <= INT32_MAX)
    type.sizes = {SymInt(int64_t(bytes))};
  else
    type.sizes = {SymInt(int64_t((bytes + kRow - 1) / kRow)), SymInt(int64_t(kRow))};
  return Type::of(std::move(type));
}

Result<NodeId> make_call(const Program& program, Graph& graph, const std::vector<NodeId>& nodes,
                         DelegateCalls& calls) {
  TRY(LoweredRegion region, lower(program, graph, nodes));
  DelegateCall call{tile::kBackendId, {}, {}, std::move(region.inputs), std::move(region.outputs)};
  std::unordered_map<std::string, std::string> names;
  for (TileConstant& constant : region.constants) {
    std::string name = content_name(constant.bytes);
    names[constant.name] = name;
    call.constants.push_back(
        {name, constant.bytes, std::move(constant.owned), uint32_t(tile::kArenaAlignment)});
  }
  for (tile::Storage& storage : region.program.storages)
    if (storage.kind == tile::Storage::Kind::constant) storage.name = names.at(storage.name);
  call.payload = tile::write_program(region.program);
  if (region.program.arena_bytes > 0)
    call.outputs.push_back(graph.add_value(memory_between(region.program.arena_bytes), "between",
                                           Origin::node, kNoValue, 0));
  return calls.replace(nodes, std::move(call));
}

}  // namespace

Result<void> partition_for_cpu(Program& program, Graph& graph) {
  for (auto& inner : graph.subgraphs) TRY_VOID(partition_for_cpu(program, *inner));
  DelegateCalls calls(program, graph);
  std::vector<NodeId> order;
  for (const Level& level :
       find_levels(graph, [&](const Node& node) { return can_lower(program, graph, node); })) {
    order.insert(order.end(), level.left.begin(), level.left.end());
    if (is_worth_it(graph, level.taken)) {
      TRY(NodeId call, make_call(program, graph, level.taken, calls));
      order.push_back(call);
    } else {
      order.insert(order.end(), level.taken.begin(), level.taken.end());
    }
  }
  graph.order = std::move(order);
  return {};
}

}  // namespace sconce
