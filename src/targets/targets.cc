#include <algorithm>
#include <cstring>
#include <string_view>
#include <unordered_map>

#include "ops/build.h"
#include "ops/prim/prim.h"
#include "targets/cpu/lower.h"
#include "targets/cpu/partition.h"
#include "targets/portable/stock_kernels.h"
#include "targets/target.h"
#include "targets/xnnpack/compile/lower.h"
#include "targets/xnnpack/compile/partition.h"
#include "tensor/half.h"

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

bool is_recurrence(const Node& node) {
  return node.op == "aten::lstm.input" || node.op == "aten::gru.input" ||
         node.op == "aten::rnn_tanh.input" || node.op == "aten::rnn_relu.input";
}

// Recurrent layers that tile programs run: products of all steps at once, and a loop over the steps
// for each layer and direction (ops/rnn/rnn.tile.cc).
bool is_recurrence_in_loops(const Graph& graph, const Node& node) {
  if (!is_recurrence(node)) return false;
  auto* x = std::get_if<ValueRef>(&node.arguments[0]);
  auto* dropout = std::get_if<double>(&node.arguments[5]);
  auto* parameters = std::get_if<std::vector<ValueRef>>(&node.arguments[2]);
  if (!x || !dropout || *dropout != 0 || !parameters) return false;
  const TensorType& type = graph.type(x->id).tensor;
  if ((type.dtype != DType::f32 && !is_half(type.dtype)) || type.sizes.size() != 3) return false;
  return std::all_of(parameters->begin(), parameters->end(), [&](ValueRef parameter) {
    return graph.values[size_t(parameter.id)].origin == Origin::constant;
  });
}

// Torch's operators, and torchao's unless they make constants of constants, which is done once, or
// compute in a half type: each step of theirs is rounded to it, while a tile program rounds once.
bool may_come_apart(const Op& op, const Graph& graph, const Node& node) {
  if (op.name.starts_with("aten::")) return true;
  bool varies = false, half = false;
  Graph::for_each_use(node, [&](ValueId used) {
    const ValueInfo& info = graph.values[size_t(used)];
    if (info.origin == Origin::constant) return;
    varies = true;
    half |= info.type.is_tensor() && is_half(info.type.tensor.dtype);
  });
  return op.name.starts_with("torchao::") && varies && !half;
}

// An operator without a tile rule whose parts all have one, or come apart into such: a kernel of
// its own would cut the region around it.
bool comes_apart(const Op& op, Program& program, const Graph& graph, const Node& node,
                 int depth = 0) {
  constexpr int kDepthMax = 4;
  constexpr size_t kPartsMax = 64;  // as of a split; a recurrence has more by far
  if (!op.def->decompose || op.def->random || depth == kDepthMax ||
      !may_come_apart(op, graph, node) || is_recurrence(node))
    return false;
  // The operator alone, with operands and results of the same types.
  Graph alone;
  std::unordered_map<ValueId, ValueId> copies;
  Node copy = node;
  Graph::for_each_use(copy, [&](ValueId& used) {
    auto [found, is_new] = copies.emplace(used, kNoValue);
    if (is_new) {
      const ValueInfo& info = graph.values[size_t(used)];
      found->second = info.origin == Origin::constant
                          ? alone.add_value(info.type, "c", Origin::constant, info.index, 0)
                          : alone.add_input(info.type, "x");
    }
    used = found->second;
  });
  for (ValueId& result : copy.results) result = alone.add_input(graph.type(result), "y");
  Build build(program, alone);
  auto results = op.def->decompose(build, copy);
  if (!results || !build.status().ok() || alone.order.size() > kPartsMax) return false;
  alone.outputs = *results;
  return std::all_of(alone.order.begin(), alone.order.end(), [&](NodeId id) {
    const Node& part = alone.nodes[size_t(id)];
    if (find_prim(part.op.data(), part.op.size())) return true;  // sizes
    const Op* known = find_op(part.op);
    return known && (can_lower(program, alone, part) ||
                     comes_apart(*known, program, alone, part, depth + 1));
  });
}

// ExecuTorch's attention over a cache, which is torch's behind a mask when it is taken apart: tile
// programs run that many times as fast over a whole cache.
bool is_attention_of_known_sizes(const Graph& graph, const Node& node) {
  if (node.op != "llama::custom_sdpa") return false;
  bool all_known = true;
  for (size_t i = 0; i < 3; i++) {
    auto* operand = std::get_if<ValueRef>(&node.arguments[i]);
    all_known &= operand && is_static(graph.type(operand->id).tensor);
  }
  return all_known;
}

// On stock ExecuTorch our library adds kernels under names that stock has none for; where it has
// one, that one runs there, unless tile programs do all of it for sure. Integers where tile
// programs have them; else numbers are faster.
bool cpu_has(const Op& op, Program& program, const Graph& graph, const Node& node) {
  if (node.op.starts_with("int8::")) return can_lower(program, graph, node);
  if (!op.kernel || is_recurrence_in_loops(graph, node) || is_attention_of_known_sizes(graph, node))
    return false;
  if (!can_lower(program, graph, node) && comes_apart(op, program, graph, node)) return false;
  if (!stock_has_kernel(op.kernel->name) || stock_takes(op, graph, node)) return true;
  bool all_known = true;
  auto check = [&](ValueId id) {
    all_known &= !graph.type(id).is_tensor() || is_static(graph.type(id).tensor);
  };
  Graph::for_each_use(node, check);
  for (ValueId id : node.results) check(id);
  return all_known && can_lower(program, graph, node);
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
