#include "targets/cpu/partition.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "ops/own_kernel.h"
#include "ops/tile.h"
#include "targets/content_name.h"
#include "targets/cpu/lower.h"
#include "targets/regions.h"
#include "tile/program_bytes.h"

namespace sconce {
namespace {

bool is_worth_it(const Graph& graph, const std::vector<NodeId>& nodes) {
  return std::any_of(nodes.begin(), nodes.end(), [&](NodeId id) {
    const std::string& op = graph.nodes[size_t(id)].op;
    return op == kOwnKernel || find_tile_rule(op) != nullptr;
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

NodeId make_call(Graph& graph, const std::vector<NodeId>& nodes, LoweredRegion region,
                 DelegateCalls& calls) {
  DelegateCall call{tile::kBackendId,          {}, {}, std::move(region.inputs),
                    std::move(region.outputs), {}};
  const std::vector<tile::Argument>& outputs = region.program.outputs;
  if (std::any_of(outputs.begin(), outputs.end(),
                  [](const tile::Argument& output) { return output.updates != tile::kNone; }))
    for (const tile::Argument& output : outputs) call.updates.push_back({output.updates});
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

// Nothing when it is not, or when the region's sizes follow from none of its inputs'.
Result<std::optional<LoweredRegion>> lower_if_worth_it(Program& program, const Graph& graph,
                                                       const std::vector<NodeId>& nodes,
                                                       Prefer prefer) {
  if (!is_worth_it(graph, nodes)) return std::optional<LoweredRegion>();
  Result<LoweredRegion> lowered = lower(program, graph, nodes, prefer);
  if (lowered.ok()) return std::optional(std::move(*lowered));
  // What is left runs on the plain kernels; a kernel of one's own has none.
  bool has_plain_kernels = std::none_of(nodes.begin(), nodes.end(), [&](NodeId id) {
    return graph.nodes[size_t(id)].op == kOwnKernel;
  });
  if (lowered.error().code == Code::unsupported && has_plain_kernels)
    return std::optional<LoweredRegion>();
  return std::move(lowered.error());
}

bool uses_integers(const Graph& graph, const std::vector<NodeId>& nodes) {
  bool any = false;
  for (NodeId id : nodes)
    Graph::for_each_use(graph.nodes[size_t(id)],
                        [&](ValueId used) { any |= graph.type(used).kind == Type::Kind::integer; });
  return any;
}

// Integers that only nodes used that are calls now.
void remove_unused_integers(Graph& graph) {
  std::vector<int32_t> uses = graph.use_counts();
  std::vector<NodeId> unused;
  for (size_t i = graph.order.size(); i-- > 0;) {
    const Node& node = graph.nodes[size_t(graph.order[i])];
    if (node.results.empty() ||
        !std::all_of(node.results.begin(), node.results.end(), [&](ValueId result) {
          return graph.type(result).kind == Type::Kind::integer && uses[size_t(result)] == 0;
        }))
      continue;
    unused.push_back(graph.order[i]);
    Graph::for_each_use(node, [&](ValueId used) { uses[size_t(used)]--; });
  }
  graph.remove_nodes(unused);
}

}  // namespace

Result<void> partition_for_cpu(Program& program, Graph& graph, Prefer prefer) {
  for (auto& inner : graph.subgraphs) TRY_VOID(partition_for_cpu(program, *inner, prefer));
  for (NodeId id : graph.order) {
    const Node& node = graph.nodes[size_t(id)];
    if (node.op != kOwnKernel) continue;
    const tile::Kernel& kernel = *own_kernel_of(program, node);
    if (auto why = why_not_own_kernel(program, graph, node))
      return error(Code::unsupported, "{}{}: kernel {} cannot run: {}", kernel.stands_for.name,
                   node.source.empty() ? "" : " at " + node.source, kernel.name, *why);
  }
  std::vector<bool> taken(graph.nodes.size(), false);
  for (NodeId id : graph.order)
    taken[size_t(id)] = can_lower(program, graph, graph.nodes[size_t(id)], prefer);
  // Nodes that a region leaves wait for integers that its call would not have needed, which may
  // come later: then all is cut anew without them.
  std::vector<Level> levels;
  std::vector<std::optional<LoweredRegion>> regions;
  for (bool settled = false; !settled;) {
    settled = true;
    regions.clear();
    levels = find_levels(
        graph, [&](const Node& node) { return taken[size_t(&node - graph.nodes.data())]; });
    for (const Level& level : levels) {
      TRY(auto region, lower_if_worth_it(program, graph, level.taken, prefer));
      if (!region && uses_integers(graph, level.taken)) {
        for (NodeId id : level.taken) taken[size_t(id)] = false;
        settled = false;
      }
      regions.push_back(std::move(region));
    }
  }
  DelegateCalls calls(program, graph);
  std::vector<NodeId> order;
  for (size_t l = 0; l < levels.size(); l++) {
    const Level& level = levels[l];
    order.insert(order.end(), level.left.begin(), level.left.end());
    if (regions[l])
      order.push_back(make_call(graph, level.taken, std::move(*regions[l]), calls));
    else
      order.insert(order.end(), level.taken.begin(), level.taken.end());
  }
  graph.order = std::move(order);
  remove_unused_integers(graph);
  return {};
}

}  // namespace sconce
