// Matrix products with a constant weight are linear layers, with the bias that is added and without
// the views around that only make the input a matrix.
//
// Runs before constants are folded, so that a transposed weight is taken as it is stored.
#include "ops/traits.h"
#include "passes/match.h"
#include "passes/rewrite.h"

namespace sconce {
namespace {

bool is_vector(const TensorType& type, const SymInt& size) {
  return type.sizes.size() == 1 && type.sizes[0] == size;
}

// mm(x, t(weight)), addmm(bias, x, t(weight)); a weight that is stored transposed gets a transpose,
// which constant folding does.
bool try_product(Matcher& m, NodeId root) {
  const Node node = m.node(root);
  bool adds = node.op == "aten::addmm";
  if (!adds && node.op != "aten::mm") return false;
  ValueId x = Matcher::value(node, adds ? 1 : 0), right = Matcher::value(node, adds ? 2 : 1);
  if (x == kNoValue || right == kNoValue || m.is_constant(x)) return false;
  const TensorType type = m.type(node.results[0]);
  if (!is_floating(type.dtype)) return false;
  Argument bias = None{};
  if (adds) {
    ValueId b = Matcher::value(node, 0);
    if (m.number(node, 3) != 1.0 || m.number(node, 4) != 1.0 || b == kNoValue || !m.is_constant(b))
      return false;
    if (m.type(b).dtype != type.dtype || !is_vector(m.type(b), type.sizes[1])) return false;
    bias = ValueRef{b};
  }
  const Node* transposed = m.graph().is_node(right) ? &m.graph().producer(right) : nullptr;
  if (transposed && permutation(m.graph(), *transposed) == std::vector<int64_t>{1, 0}) {
    ValueId weight = Matcher::value(*transposed, 0);
    return m.is_constant(weight) &&
           m.replace(root, "aten::linear", {ValueRef{x}, ValueRef{weight}, bias});
  }
  if (!m.is_constant(right) || m.uses(right) != 1) return false;
  if (!m.target_has("aten::linear", {ValueRef{x}, ValueRef{right}, bias})) return false;
  TensorType turned = m.type(right);
  std::swap(turned.sizes[0], turned.sizes[1]);
  std::vector<IntItem> dims = {{1}, {0}};
  ValueId weight = m.add("aten::permute", {ValueRef{right}, dims}, Type::of(turned), node);
  return m.replace(root, "aten::linear", {ValueRef{x}, ValueRef{weight}, bias});
}

// linear(x, weight) + bias
bool try_bias(Matcher& m, NodeId root) {
  const Node node = m.node(root);
  if (node.op != "aten::add.Tensor" || m.number(node, 2) != 1.0) return false;
  for (size_t i = 0; i < 2; i++) {
    m.rewind(0);
    ValueId product = Matcher::value(node, i), bias = Matcher::value(node, 1 - i);
    if (bias == kNoValue || !m.is_constant(bias)) continue;
    const Node* linear = m.match(product, {"aten::linear"});
    if (!linear || !std::holds_alternative<None>(linear->arguments[2])) continue;
    const TensorType& type = m.type(product);
    if (m.type(node.results[0]) != type || m.type(bias).dtype != type.dtype ||
        !is_vector(m.type(bias), type.sizes.back()))
      continue;
    std::vector<Argument> arguments = linear->arguments;
    arguments[2] = ValueRef{bias};
    if (m.replace(root, "aten::linear", arguments)) return true;
  }
  return false;
}

// view(linear(view(x))) where the views split and join leading dimensions.
bool try_views(Matcher& m, NodeId root) {
  const Node node = m.node(root);
  auto is_view = [](const Node& n) {
    const Op* op = find_op(n.op);
    return op && keeps_element_order(*op);
  };
  if (!is_view(node)) return false;
  const Node* linear = m.match(Matcher::value(node, 0), {"aten::linear"});
  if (!linear || Matcher::value(*linear, 0) == kNoValue ||
      !m.graph().is_node(Matcher::value(*linear, 0)))
    return false;
  const Node& view = m.graph().producer(Matcher::value(*linear, 0));
  if (!is_view(view) || Matcher::value(view, 0) == kNoValue) return false;
  ValueId x = Matcher::value(view, 0), flat = Matcher::value(*linear, 0),
          product = Matcher::value(node, 0);
  std::vector<SymInt> from = m.type(x).sizes, to = m.type(node.results[0]).sizes;
  if (m.type(x).dtype != m.type(flat).dtype ||
      m.type(product).dtype != m.type(node.results[0]).dtype)
    return false;
  if (from.empty() || from.size() != to.size()) return false;
  if (from.back() != m.type(flat).sizes.back() || to.back() != m.type(product).sizes.back())
    return false;
  from.pop_back();
  to.pop_back();
  if (from != to) return false;
  std::vector<Argument> arguments = linear->arguments;
  arguments[0] = ValueRef{x};
  // Others may look at the input as a matrix too: that view is no part of the pattern.
  return m.replace(root, "aten::linear", arguments);
}

}  // namespace

Result<void> recognize_linear(Program& program, Graph& graph, const PassContext& context) {
  Matcher matcher(program, graph, context);
  for_each_root(matcher, [](Matcher& m, NodeId root) {
    for (auto* attempt : {try_product, try_bias, try_views}) {
      m.rewind(0);
      if (attempt(m, root)) return;
    }
  });
  return {};
}

}  // namespace sconce
