#include "passes/match.h"

#include <algorithm>
#include <cmath>

#include "ops/build.h"
#include "ops/elementwise.h"
#include "passes/rewrite.h"

namespace sconce {

bool Product::is(double wanted, size_t count) const {
  return factors.size() == count && std::fabs(coefficient - wanted) <= 2e-6 * std::fabs(wanted);
}

Matcher::Matcher(Program& program, Graph& graph, const PassContext& context)
    : program_(program), graph_(graph), context_(context), uses_(graph.use_counts()) {}

const Node* Matcher::match(ValueId id, OpNames ops, int32_t result) {
  if (id == kNoValue || !graph_.is_node(id)) return nullptr;
  const ValueInfo& info = graph_.values[size_t(id)];
  if (info.result != result) return nullptr;
  const Node& node = graph_.nodes[size_t(info.index)];
  if (std::find(ops.begin(), ops.end(), node.op) == ops.end()) return nullptr;
  inside_.push_back(info.index);
  return &node;
}

ValueId Matcher::value(const Node& node, size_t argument) {
  if (argument >= node.arguments.size()) return kNoValue;
  auto* ref = std::get_if<ValueRef>(&node.arguments[argument]);
  return ref ? ref->id : kNoValue;
}

std::optional<double> Matcher::number(const Node& node, size_t argument) const {
  if (argument >= node.arguments.size()) return std::nullopt;
  return known_number(program_, graph_, node.arguments[argument]);
}

bool Matcher::sum(ValueId id, ValueId* a, ValueId* b) {
  size_t before = mark();
  const Node* node = match(id, {"aten::add.Tensor"});
  if (node && number(*node, 2) == 1.0) {
    *a = value(*node, 0);
    *b = value(*node, 1);
    if (*a != kNoValue && *b != kNoValue) return true;
  }
  rewind(before);
  return false;
}

bool Matcher::plus(ValueId id, ValueId* x, double* c) {
  size_t before = mark();
  const Node* node =
      match(id, {"aten::add.Tensor", "aten::add.Scalar", "aten::sub.Tensor", "aten::sub.Scalar"});
  if (node) {
    auto alpha = number(*node, 2);
    double sign = node->op.starts_with("aten::sub") ? -1 : 1;
    auto right = number(*node, 1), left = number(*node, 0);
    if (alpha && right && value(*node, 0) != kNoValue) {
      *x = value(*node, 0);
      *c = sign * *alpha * *right;
      return true;
    }
    if (left && alpha == 1.0 && sign > 0 && value(*node, 1) != kNoValue) {
      *x = value(*node, 1);
      *c = *left;
      return true;
    }
  }
  rewind(before);
  return false;
}

bool Matcher::square(ValueId id, ValueId* x) {
  size_t before = mark();
  if (const Node* node = match(id, {"aten::pow.Tensor_Scalar"}); node && number(*node, 1) == 2.0) {
    *x = value(*node, 0);
    return *x != kNoValue;
  }
  rewind(before);
  if (const Node* node = match(id, {"aten::mul.Tensor"});
      node && value(*node, 0) == value(*node, 1)) {
    *x = value(*node, 0);
    return *x != kNoValue;
  }
  rewind(before);
  if (const Node* node = match(id, {"aten::square"})) {
    *x = value(*node, 0);
    return *x != kNoValue;
  }
  rewind(before);
  return false;
}

bool Matcher::product(ValueId id, Product* out) { return add_factor(id, 1, out, 0); }

bool Matcher::add_factor(ValueId id, int sign, Product* out, int depth) {
  constexpr size_t kFactorsMax = 6;
  if (sign > 0 && depth < 8 && graph_.is_node(id) && uses(id) == 1) {
    size_t before = mark();
    Product saved = *out;
    if (const Node* node = match(
            id, {"aten::mul.Tensor", "aten::mul.Scalar", "aten::div.Tensor", "aten::div.Scalar",
                 "aten::neg", "aten::pow.Tensor_Scalar", "aten::square"})) {
      if (add_factors(*node, sign, out, depth + 1)) return true;
    }
    *out = saved;
    rewind(before);
  }
  if (sign < 0 || out->factors.size() == kFactorsMax) return false;
  out->factors.push_back(id);
  return true;
}

bool Matcher::add_factors(const Node& node, int sign, Product* out, int depth) {
  auto operand = [&](size_t i, int s) {
    if (auto n = number(node, i)) {
      out->coefficient = s > 0 ? out->coefficient * *n : out->coefficient / *n;
      return true;
    }
    ValueId id = value(node, i);
    // Mixed types are converted first; that is another computation.
    if (id == kNoValue || !graph_.type(id).is_tensor() ||
        type(id).dtype != type(node.results[0]).dtype)
      return false;
    return add_factor(id, s, out, depth);
  };
  if (node.op == "aten::mul.Tensor" || node.op == "aten::mul.Scalar")
    return operand(0, sign) && operand(1, sign);
  if (node.op == "aten::div.Tensor" || node.op == "aten::div.Scalar")
    return number(node, 1) && operand(0, sign) && operand(1, -sign);
  if (node.op == "aten::neg") {
    out->coefficient = -out->coefficient;
    return operand(0, sign);
  }
  bool square = node.op == "aten::square";
  if (square || node.op == "aten::pow.Tensor_Scalar") {
    auto exponent = square ? 2.0 : number(node, 1);
    ValueId base = value(node, 0);
    if (base == kNoValue || !exponent || (*exponent != 2 && *exponent != 3)) return false;
    if (type(base).dtype != type(node.results[0]).dtype) return false;
    for (int k = 0; k < int(*exponent); k++) out->factors.push_back(base);
    return true;
  }
  return false;
}

bool Matcher::target_has(std::string_view name, const std::vector<Argument>& arguments,
                         const std::vector<ValueId>& results) {
  const Op* op = find_op(name);
  if (!op || !op->kernel) return false;
  Node node;
  node.op = op->name;
  node.arguments = arguments;
  node.results = results;
  if (context_.has_node(*op, program_, graph_, node)) return true;
  // One operator for one operator, so nothing is lost.
  if (name == "aten::layer_norm")
    if (const Op* native = find_op("aten::native_layer_norm"); native && native->kernel) {
      node.op = native->name;
      return context_.has_node(*native, program_, graph_, node);
    }
  return false;
}

bool Matcher::closed_at(NodeId root) const {
  std::vector<NodeId> inside = inside_;
  std::sort(inside.begin(), inside.end());
  inside.erase(std::unique(inside.begin(), inside.end()), inside.end());
  // Uses from within, by value; patterns are small.
  std::vector<std::pair<ValueId, int32_t>> within;
  auto count_uses = [&](const Node& node) {
    Graph::for_each_use(node, [&](ValueId id) {
      for (auto& [value, n] : within)
        if (value == id) {
          n++;
          return;
        }
      within.emplace_back(id, 1);
    });
  };
  count_uses(node(root));
  for (NodeId id : inside)
    if (id != root) count_uses(node(id));
  for (NodeId id : inside) {
    if (id == root) continue;
    for (ValueId result : node(id).results) {
      int32_t found = 0;
      for (auto& [value, n] : within)
        if (value == result) found = n;
      if (found != uses(result)) return false;
    }
  }
  return true;
}

void Matcher::count(const Node& node, int32_t change) {
  uses_.resize(graph_.values.size(), 0);
  Graph::for_each_use(node, [&](ValueId id) { uses_[size_t(id)] += change; });
}

// Removes the node of a value that nobody uses any more, and what only it used.
void Matcher::release(ValueId id) {
  if (!graph_.is_node(id)) return;
  Node& node = graph_.nodes[size_t(graph_.values[size_t(id)].index)];
  if (node.removed) return;
  for (ValueId result : node.results)
    if (uses(result) > 0) return;
  node.removed = true;
  count(node, -1);
  Graph::for_each_use(node, [&](ValueId used) { release(used); });
}

bool Matcher::replace(NodeId root, std::string_view name, std::vector<Argument> arguments,
                      bool ask) {
  const Op* op = find_op(name);
  if (!op) return false;
  for (size_t i = arguments.size(); i < op->arguments.size(); i++) {
    if (!op->arguments[i].optional) return false;
    arguments.push_back(op->arguments[i].has_default ? op->arguments[i].default_value
                                                     : Argument(None{}));
  }
  if (!closed_at(root) || (ask && !target_has(name, arguments, this->node(root).results)))
    return false;
  Node& node = graph_.nodes[size_t(root)];
  Node before = node;
  node.op = op->name;
  node.arguments = std::move(arguments);
  count(node, 1);
  count(before, -1);
  Graph::for_each_use(before, [&](ValueId used) { release(used); });
  return true;
}

ValueId Matcher::add(std::string op, std::vector<Argument> arguments, std::vector<Type> types,
                     const Node& like) {
  std::string source = like.source;  // `like` may move
  NodeId id =
      graph_.add_node(std::move(op), std::move(arguments), std::move(types), std::move(source));
  graph_.order.pop_back();
  placed_.push_back(id);
  count(graph_.nodes[size_t(id)], 1);
  return graph_.nodes[size_t(id)].results[0];
}

Argument Matcher::ints(const std::vector<SymInt>& sizes, const Node& like) {
  // Only what is already placed may be used.
  std::swap(graph_.order, placed_);
  size_t before = graph_.order.size();
  Build build(program_, graph_);
  build.source = like.source;
  Argument items = build.ints(sizes);
  for (size_t k = before; k < graph_.order.size(); k++)
    count(graph_.nodes[size_t(graph_.order[k])], 1);
  std::swap(graph_.order, placed_);
  uses_.resize(graph_.values.size(), 0);
  return items;
}

ValueId Matcher::add_constant(int32_t index) {
  const ConstantData& constant = program_.constants[size_t(index)];
  ValueId id = graph_.add_value(Type::of(constant.type), constant.name, Origin::constant, index);
  uses_.resize(graph_.values.size(), 0);
  return id;
}

void Matcher::set_argument(NodeId id, size_t index, Argument argument) {
  Node& node = graph_.nodes[size_t(id)];
  Node before = node;
  node.arguments[index] = std::move(argument);
  count(node, 1);
  count(before, -1);
  Graph::for_each_use(before, [&](ValueId used) { release(used); });
}

}  // namespace sconce
