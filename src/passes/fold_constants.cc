// Nodes whose operands are all known are run here, on the reference kernels.
//
// What they make is stored in the file, so size is watched: a result may be twice as large as the
// constants it comes from, or take from a small allowance (masks, tables of positions). A large
// constant is not stored a second time in another form while something still uses the first.
// Intermediate results are dropped as soon as all who use them are folded. Quantised weights stay
// integers, but for targets that compute with numbers. Floats of 8 bits become numbers for all:
// nobody computes with them, and stock does not even convert them.
#include <algorithm>
#include <cstring>

#include "base/file.h"
#include "eval/eval.h"
#include "ops/def.h"
#include "ops/prim/prim.h"
#include "ops/traits.h"
#include "passes/match.h"
#include "passes/pipeline.h"
#include "passes/rewrite.h"

namespace sconce {
namespace {

constexpr uint64_t kSmallBytes = 4096;  // always worth it
constexpr uint64_t kAllowanceBytes =
    64 << 10;  // for all larger growth of one graph, or 1/64 of the constants

class Folder {
 public:
  Folder(Program& program, Graph& graph, bool keeps_integers)
      : program_(program),
        graph_(graph),
        evaluator_(program, false),
        values_(graph.values.size()),
        known_(graph.values.size(), 0),
        from_bytes_(graph.values.size(), 0),
        uses_(graph.use_counts()),
        replacements_(graph),
        keeps_integers_(keeps_integers) {}

  void run() {
    uint64_t total = 0;
    for (const ConstantData& constant : program_.constants) total += constant.bytes.size();
    allowance_ = std::max(kAllowanceBytes, total / 64);
    know_constants();
    find_pinned();
    std::vector<NodeId> folded;
    for (NodeId id : graph_.order)
      if (fold(id)) folded.push_back(id);
    // What is left is stored when something that is not folded uses it.
    for (NodeId id : folded) {
      std::vector<ValueId> results = graph_.nodes[size_t(id)].results;
      for (ValueId result : results)
        if (uses_[size_t(result)] > 0 &&
            std::holds_alternative<EvalTensor>(values_[size_t(result)]))
          store(result);
      graph_.nodes[size_t(id)].removed = true;
    }
    put_numbers_in_arguments();
    replacements_.apply(graph_);
    drop_removed(graph_);
  }

 private:
  void know_constants() {
    for (size_t id = 0; id < graph_.values.size(); id++) {
      const ValueInfo& info = graph_.values[id];
      // A size that is the same whenever the model runs.
      if (info.type.kind == Type::Kind::integer && info.origin == Origin::node &&
          info.type.number.is_known()) {
        values_[id] = info.type.number.value;
        known_[id] = 1;
      }
      if (info.origin != Origin::constant || uses_[id] == 0) continue;
      const ConstantData& constant = program_.constants[size_t(info.index)];
      EvalTensor tensor;
      tensor.dtype = constant.type.dtype;
      for (const SymInt& size : constant.type.sizes) tensor.sizes.push_back(size.value);
      tensor.data = constant.bytes.data();
      tensor.bytes = constant.bytes.size();
      values_[id] = tensor;
      known_[id] = 1;
      from_bytes_[id] = tensor.bytes;
    }
  }

  // Outputs and operands of control flow have no place for a number: its node stays.
  void find_pinned() {
    pinned_.assign(graph_.values.size(), 0);
    for (ValueId id : graph_.outputs) pinned_[size_t(id)] = 1;
    for (NodeId id : graph_.order) {
      const Node& node = graph_.nodes[size_t(id)];
      if (!is_operator(node))
        Graph::for_each_use(node, [&](ValueId used) { pinned_[size_t(used)] = 1; });
    }
  }
  bool must_stay(const Node& node) const {
    for (ValueId result : node.results)
      if (!graph_.type(result).is_tensor() && pinned_[size_t(result)]) return true;
    return false;
  }

  bool may_fold(const Node& node) const {
    if (!is_operator(node) || node.results.empty()) return false;
    const Op* op = find_op(node.op);
    if (!op) return find_prim(node.op.data(), node.op.size()) != nullptr;
    return !op->def->random && op->kernel && !op->kernel->data_dependent &&
           !node.op.starts_with("aten::empty") && !(keeps_integers_ && widens_weights(*op));
  }

  // True when a result is wanted however much larger it is.
  bool widens_numbers(const Node& node) const {
    const Op* op = find_op(node.op);
    if (op && widens_weights(*op)) return true;
    if (node.op != "aten::_to_copy") return false;
    const Type& from = graph_.type(Matcher::value(node, 0));
    return from.tensor.dtype == DType::f8e5m2 || from.tensor.dtype == DType::f8e4m3fn;
  }

  // Bytes of all results; nullopt when they are not fixed.
  std::optional<uint64_t> result_bytes(const Node& node) const {
    uint64_t total = 0;
    for (ValueId result : node.results) {
      const Type& type = graph_.type(result);
      if (type.kind == Type::Kind::none) return std::nullopt;
      if (!type.is_tensor()) continue;
      auto bytes = bytes_max(type.tensor, program_.symbols);
      if (!is_static(type.tensor) || !bytes || !type.tensor.dim_order.empty()) return std::nullopt;
      total += *bytes;
    }
    return total;
  }

  // A large operand that others use as it is would be stored in both forms.
  bool shares_large(const Node& node, uint64_t bytes) const {
    bool shares = false;
    Graph::for_each_use(node, [&](ValueId used) {
      auto* tensor = std::get_if<EvalTensor>(&values_[size_t(used)]);
      if (!tensor || tensor->bytes * 2 <= bytes) return;
      const ValueInfo& info = graph_.values[size_t(used)];
      shares |= uses_[size_t(used)] > 1 ||
                (info.origin == Origin::constant && other_graphs_use(info.index));
    });
    return shares;
  }
  bool other_graphs_use(int32_t constant) const {
    for (const Method& method : program_.methods)
      if (uses_constant(method.graph, constant)) return true;
    return false;
  }
  bool uses_constant(const Graph& graph, int32_t constant) const {
    for (const auto& inner : graph.subgraphs)
      if (uses_constant(*inner, constant)) return true;
    if (&graph == &graph_) return false;
    std::vector<ValueId> same;
    for (size_t v = 0; v < graph.values.size(); v++)
      if (graph.values[v].origin == Origin::constant && graph.values[v].index == constant)
        same.push_back(ValueId(v));
    if (same.empty()) return false;
    std::vector<int32_t> uses = graph.use_counts();
    return std::any_of(same.begin(), same.end(), [&](ValueId v) { return uses[size_t(v)] > 0; });
  }

  bool fold(NodeId id) {
    Node& node = graph_.nodes[size_t(id)];
    if (!may_fold(node)) return false;
    bool all_known = true, known_already = true;
    Graph::for_each_use(node, [&](ValueId used) { all_known &= known_[size_t(used)] != 0; });
    for (ValueId result : node.results) known_already &= known_[size_t(result)] != 0;
    if (known_already) {  // the size of a tensor
      if (must_stay(node)) return false;
      Graph::for_each_use(node, [&](ValueId used) { drop_use(used); });
      return true;
    }
    if (!all_known) return false;
    auto bytes = result_bytes(node);
    if (!bytes) return false;
    uint64_t from = 0;
    Graph::for_each_use(node, [&](ValueId used) { from += from_bytes_[size_t(used)]; });
    uint64_t growth = 0;
    const bool widens = widens_numbers(node);
    if (*bytes > kSmallBytes) {
      if (shares_large(node, *bytes)) return false;
      if (*bytes > 2 * from && !widens) growth = *bytes;
      if (growth > allowance_) return false;
    }
    Result<std::vector<EvalValue>> results = evaluator_.run_node(graph_, node, values_);
    if (!results.ok()) return false;  // it will fail, if it is reached at all, when the model runs
    for (size_t r = 0; r < node.results.size(); r++) {
      size_t result = size_t(node.results[r]);
      if (auto* tensor = std::get_if<EvalTensor>(&(*results)[r]))
        if (!fits(*tensor, graph_.type(node.results[r]))) return false;
      values_[result] = std::move((*results)[r]);
      known_[result] = 1;
      from_bytes_[result] = widens ? *bytes : std::max(from, std::min(*bytes, kSmallBytes));
    }
    if (must_stay(node)) return false;
    allowance_ -= growth;
    Graph::for_each_use(node, [&](ValueId used) { drop_use(used); });
    return true;
  }

  static bool fits(const EvalTensor& tensor, const Type& type) {
    if (!type.is_tensor() || type.tensor.dtype != tensor.dtype ||
        type.tensor.sizes.size() != tensor.sizes.size())
      return false;
    for (size_t d = 0; d < tensor.sizes.size(); d++)
      if (type.tensor.sizes[d] != SymInt(tensor.sizes[d])) return false;
    return true;
  }

  void drop_use(ValueId id) {
    if (--uses_[size_t(id)] > 0) return;
    auto* tensor = std::get_if<EvalTensor>(&values_[size_t(id)]);
    if (!tensor) return;
    const ValueInfo& info = graph_.values[size_t(id)];
    if (info.origin == Origin::constant)
      release_pages(program_.constants[size_t(info.index)].bytes);
    if (graph_.is_node(id)) tensor->owner.reset();
  }

  void store(ValueId id) {
    EvalTensor& tensor = std::get<EvalTensor>(values_[size_t(id)]);
    TensorType type = graph_.type(id).tensor;
    std::shared_ptr<const std::vector<uint8_t>> bytes;
    if (tensor.owner && tensor.data == tensor.owner->data()) {
      tensor.owner->resize(tensor.bytes);
      bytes = std::move(tensor.owner);
    } else {
      bytes = std::make_shared<std::vector<uint8_t>>(tensor.data, tensor.data + tensor.bytes);
    }
    std::string name = graph_.values[size_t(id)].name;
    int32_t index = program_.add_constant(type, std::move(bytes), name);
    replacements_.add(id, graph_.add_value(Type::of(type), name, Origin::constant, index));
  }

  void put_numbers_in_arguments() {
    auto known = [&](ValueId id) -> const EvalValue* {
      return size_t(id) < known_.size() && known_[size_t(id)] ? &values_[size_t(id)] : nullptr;
    };
    for (NodeId id : graph_.order) {
      Node& node = graph_.nodes[size_t(id)];
      if (node.removed || !is_operator(node)) continue;
      for (Argument& argument : node.arguments) {
        if (auto* ref = std::get_if<ValueRef>(&argument)) {
          const EvalValue* value = known(ref->id);
          if (!value) continue;
          if (auto* integer = std::get_if<int64_t>(value))
            argument = *integer;
          else if (auto* number = std::get_if<double>(value))
            argument = *number;
          else if (auto* boolean = std::get_if<bool>(value))
            argument = *boolean;
        } else if (auto* items = std::get_if<std::vector<IntItem>>(&argument)) {
          for (IntItem& item : *items) {
            const EvalValue* value = item.is_known() ? nullptr : known(item.value);
            if (!value) continue;
            if (auto* integer = std::get_if<int64_t>(value)) item = IntItem{*integer};
          }
        }
      }
    }
  }

  Program& program_;
  Graph& graph_;
  Evaluator evaluator_;
  std::vector<EvalValue> values_;
  std::vector<uint8_t> known_, pinned_;
  std::vector<uint64_t> from_bytes_;  // of the constants that a value was made from
  std::vector<int32_t> uses_;         // by nodes that are not folded
  Replacements replacements_;
  bool keeps_integers_;
  uint64_t allowance_ = 0;
};

}  // namespace

Result<void> fold_constants(Program& program, Graph& graph, const PassContext&) {
  Folder(program, graph, true).run();
  return {};
}

Result<void> fold_constants_again(Program& program, Graph& graph, const PassContext& context) {
  Folder(program, graph, context.quantized != QuantizedGraphs::integers_then_numbers).run();
  return {};
}

}  // namespace sconce
