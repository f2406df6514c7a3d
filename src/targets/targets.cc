#include <algorithm>
#include <cstring>
#include <string_view>

#include "targets/cpu/lower.h"
#include "targets/cpu/partition.h"
#include "targets/portable/stock_kernels.h"
#include "targets/target.h"
#include "targets/xnnpack/compile/lower.h"
#include "targets/xnnpack/compile/partition.h"

namespace sconce {
namespace {

// ExecuTorch's kernels that return lists take their outs as they are, so the parts' sizes must be
// fixed.
bool results_are_static(const Graph& graph, const Node& node) {
  for (ValueId id : node.results)
    if (graph.type(id).is_tensor() && !is_static(graph.type(id).tensor)) return false;
  return true;
}

// Operands that a kernel of stock's does not take, though it has the operator.
bool stock_takes(const Op& op, const Graph& graph, const Node& node) {
  std::string_view name = op.kernel->name;
  if (op.kernel->signature[strlen(op.kernel->signature) - 1] == 'v' &&
      !results_are_static(graph, node))
    return false;
  // Stock's transform of real numbers gives one side of the spectrum only.
  if (name == "aten::_fft_r2c.out") {
    auto* onesided = std::get_if<bool>(&node.arguments[3]);
    return !onesided || *onesided;
  }
  // Stock's padding adds and does not take away.
  if (name == "aten::constant_pad_nd.out") {
    auto* pad = std::get_if<std::vector<IntItem>>(&node.arguments[1]);
    return !pad || std::none_of(pad->begin(), pad->end(),
                                [](const IntItem& n) { return n.is_known() && n.known < 0; });
  }
  // Stock's convolution knows one and two spatial dimensions.
  if (name == "aten::convolution.out") {
    auto* weight = std::get_if<ValueRef>(&node.arguments[1]);
    return !weight || graph.type(weight->id).tensor.sizes.size() <= 4;
  }
  return true;
}

// A linear stays whole when its weight is used elsewhere too, as a tied embedding is: its parts
// would need a transposed copy. Otherwise the portable kernels do, which every build of ExecuTorch
// has.
bool portable_has(const Op& op, Program&, const Graph& graph, const Node& node) {
  if (!op.kernel || !stock_has_kernel(op.kernel->name) || !stock_takes(op, graph, node))
    return false;
  if (std::string_view(op.kernel->name) == "aten::linear.out") {
    auto* weight = std::get_if<ValueRef>(&node.arguments[1]);
    if (!weight || graph.values[size_t(weight->id)].origin != Origin::constant) return false;
    int uses = 0;
    for (const Node& other : graph.nodes)
      if (!other.removed)
        Graph::for_each_use(other, [&](ValueId used) { uses += used == weight->id; });
    return uses > 1 && graph.type(weight->id).tensor.dtype == DType::f32;
  }
  return true;
}

// On stock ExecuTorch our library adds kernels under names that stock has none for; where it has
// one, that one runs there. Integers where tile programs have them; else numbers are faster.
bool cpu_has(const Op& op, Program& program, const Graph& graph, const Node& node) {
  if (node.op.starts_with("int8::")) return can_lower(program, graph, node);
  return op.kernel && (!stock_has_kernel(op.kernel->name) || stock_takes(op, graph, node));
}

// Left whole for XNNPACK; what it lacks is for stock's kernels.
bool xnnpack_has(const Op& op, Program& program, const Graph& graph, const Node& node) {
  return xnn_can_lower(program, graph, node) || portable_has(op, program, graph, node);
}

constexpr Target kTargets[] = {
    {"cpu", "our runtime on CPUs, fast: tile programs, and kernels where those do not reach",
     cpu_has, QuantizedGraphs::integers_then_numbers, partition_for_cpu, true},
    {"portable", "plain instructions that ExecuTorch 1.5 and our runtime both run", portable_has,
     QuantizedGraphs::as_they_are, nullptr},
    {"xnnpack", "XNNPACK payloads and plain instructions, for stock ExecuTorch 1.5", xnnpack_has,
     QuantizedGraphs::integers, partition_for_xnnpack},
};

}  // namespace

Span<const Target> all_targets() { return kTargets; }

const Target* find_target(std::string_view name) {
  for (const Target& target : kTargets)
    if (name == target.name) return &target;
  return nullptr;
}

}  // namespace sconce
