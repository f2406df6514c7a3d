#include <cstring>

#include "eval/eval.h"
#include "ops/def.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

namespace sconce {
namespace {

// A folded result may be this much larger than its operands: one page, or twice their size.
constexpr uint64_t kGrowthFree = 4096;

// What is known about a value: nothing, or the value itself.
using Known = std::vector<std::optional<EvalValue>>;

std::optional<EvalValue> known_value(const Program& program, const Graph& graph, ValueId id) {
  const ValueInfo& info = graph.values[size_t(id)];
  if (info.origin != Origin::constant) return std::nullopt;
  const ConstantData& constant = program.constants[size_t(info.index)];
  EvalTensor tensor;
  tensor.dtype = constant.type.dtype;
  for (const SymInt& size : constant.type.sizes) tensor.sizes.push_back(size.value);
  tensor.data = constant.bytes.data();
  tensor.bytes = constant.bytes.size();
  return tensor;
}

uint64_t operand_bytes(const Graph& graph, const Node& node, const std::vector<EvalValue>& values) {
  uint64_t bytes = 0;
  Graph::for_each_use(node, [&](ValueId id) {
    (void)graph;
    if (auto* tensor = std::get_if<EvalTensor>(&values[size_t(id)])) bytes += tensor->bytes;
  });
  return bytes;
}

}  // namespace

Result<void> fold_constants(Program& program, Graph& graph, const PassContext&) {
  Evaluator evaluator(program);
  std::vector<EvalValue> values(graph.values.size());
  std::vector<uint8_t> known(graph.values.size(), 0);
  for (size_t id = 0; id < graph.values.size(); id++) {
    if (auto value = known_value(program, graph, ValueId(id))) {
      values[id] = *value;
      known[id] = 1;
    }
  }
  std::vector<int32_t> uses = graph.use_counts();
  Replacements replacements(graph);
  for (NodeId id : std::vector<NodeId>(graph.order)) {
    Node& node = graph.nodes[size_t(id)];
    if (node.op.find("::") == std::string::npos) continue;
    const Op* op = find_op(node.op);
    if (op && (op->def->random || !op->kernel || op->kernel->data_dependent)) continue;
    bool all_known = true;
    Graph::for_each_use(node, [&](ValueId used) { all_known &= known[size_t(used)] != 0; });
    if (!all_known || node.results.empty()) continue;
    // A reading of the size of a constant, arithmetic on numbers: keep as numbers for the arguments.
    uint64_t result_bytes = 0;
    bool sized = true;
    for (ValueId result : node.results) {
      const Type& type = graph.type(result);
      if (!type.is_tensor()) continue;
      auto bytes = bytes_max(type.tensor, program.symbols);
      if (!is_static(type.tensor) || !bytes) sized = false;
      else result_bytes += *bytes;
    }
    uint64_t limit = std::max(kGrowthFree, 2 * operand_bytes(graph, node, values));
    if (!sized || result_bytes > limit) continue;
    // Transposing or converting a large constant that other nodes use as it is would store it twice.
    bool shared = false;
    if (result_bytes > kGrowthFree)
      Graph::for_each_use(node, [&](ValueId used) {
        if (auto* tensor = std::get_if<EvalTensor>(&values[size_t(used)]))
          shared |= tensor->bytes * 2 > result_bytes && uses[size_t(used)] > 1;
      });
    if (shared) continue;
    Result<std::vector<EvalValue>> results = evaluator.run_node(graph, node, values);
    if (!results.ok()) continue;  // it will fail, if it is reached at all, when the model runs
    std::string name = graph.values[size_t(node.results[0])].name;
    for (size_t r = 0; r < node.results.size(); r++) {
      ValueId result = node.results[r];
      EvalValue& value = (*results)[r];
      if (auto* tensor = std::get_if<EvalTensor>(&value)) {
        TensorType type = graph.type(result).tensor;
        type.dim_order.clear();
        for (size_t d = 0; d < type.sizes.size(); d++) type.sizes[d] = tensor->sizes[d];
        std::shared_ptr<const std::vector<uint8_t>> bytes;
        if (tensor->owner && tensor->data == tensor->owner->data()) {
          tensor->owner->resize(tensor->bytes);
          bytes = tensor->owner;
        } else {
          bytes = std::make_shared<std::vector<uint8_t>>(tensor->data, tensor->data + tensor->bytes);
        }
        int32_t index = program.add_constant(type, bytes, name + "_folded");
        ValueId constant = graph.add_value(Type::of(type), name + "_folded", Origin::constant, index);
        replacements.add(result, constant);
        values.resize(graph.values.size());
        known.resize(graph.values.size(), 0);
        tensor->data = program.constants[size_t(index)].bytes.data();
        values[size_t(constant)] = value;
        known[size_t(constant)] = 1;
      }
      values[size_t(result)] = value;
      known[size_t(result)] = 1;
    }
    bool numbers = false;
    for (ValueId result : node.results) numbers |= !graph.type(result).is_tensor();
    if (!numbers) node.removed = true;
  }
  // Known numbers stand in the arguments themselves.
  for (NodeId id : graph.order) {
    Node& node = graph.nodes[size_t(id)];
    if (node.removed) continue;
    for (Argument& argument : node.arguments) {
      if (auto* ref = std::get_if<ValueRef>(&argument)) {
        if (!known[size_t(ref->id)]) continue;
        const EvalValue value = values[size_t(ref->id)];
        if (auto* integer = std::get_if<int64_t>(&value)) argument = *integer;
        else if (auto* number = std::get_if<double>(&value)) argument = *number;
        else if (auto* boolean = std::get_if<bool>(&value)) argument = *boolean;
      } else if (auto* items = std::get_if<std::vector<IntItem>>(&argument)) {
        for (IntItem& item : *items) {
          if (item.is_known() || !known[size_t(item.value)]) continue;
          if (auto* integer = std::get_if<int64_t>(&values[size_t(item.value)])) item = IntItem{*integer};
        }
      }
    }
  }
  replacements.apply(graph);
  drop_removed(graph);
  return {};
}

}  // namespace sconce
