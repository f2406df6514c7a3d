// Zeros around a convolution's input become its own padding: constant_pad_nd with 0 that pads both
// ends of the spatial dimensions alike.
#include "ops/def.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

namespace sconce {
namespace {

// Zeros before every dimension of a tensor of `rank`, the same after it; empty when the node is
// something else.
std::vector<int64_t> even_padding(const Program& program, const Graph& graph, const Node& node,
                                  size_t rank) {
  if (node.op != "aten::constant_pad_nd") return {};
  auto* pads = std::get_if<std::vector<IntItem>>(&node.arguments[1]);
  if (!pads || pads->size() % 2 != 0 || pads->size() > 2 * rank) return {};
  if (known_number(program, graph, node.arguments[2]) != 0.0) return {};
  std::vector<int64_t> zeros(rank, 0);
  for (size_t k = 0; k < pads->size(); k += 2) {  // the last dimension stands first
    const IntItem &front = (*pads)[k], &back = (*pads)[k + 1];
    if (!front.is_known() || front.known < 0 || back != front) return {};
    zeros[rank - 1 - k / 2] = front.known;
  }
  return zeros;
}

}  // namespace

Result<void> fold_padding(Program& program, Graph& graph, const PassContext&) {
  for (NodeId id : graph.order) {
    Node& node = graph.nodes[size_t(id)];
    if (node.op != "aten::convolution") continue;
    auto* input = std::get_if<ValueRef>(&node.arguments[0]);
    auto* padding = std::get_if<std::vector<IntItem>>(&node.arguments[4]);
    auto* transposed = std::get_if<bool>(&node.arguments[6]);
    if (!input || !padding || !transposed || *transposed || !graph.is_node(input->id)) continue;
    const Node& pad = graph.producer(input->id);
    size_t rank = graph.type(input->id).tensor.sizes.size();
    std::vector<int64_t> zeros = even_padding(program, graph, pad, rank);
    if (zeros.empty() || zeros[0] != 0 || zeros[1] != 0 || padding->size() + 2 != rank) continue;
    std::vector<IntItem> more = *padding;
    bool known = true;
    for (size_t d = 0; d < more.size(); d++) {
      known &= more[d].is_known();
      more[d].known += zeros[d + 2];
    }
    if (!known) continue;
    ValueId base = std::get<ValueRef>(pad.arguments[0]).id;
    node.arguments[4] = std::move(more);
    node.arguments[0] = ValueRef{base};
  }
  return {};
}

}  // namespace sconce
