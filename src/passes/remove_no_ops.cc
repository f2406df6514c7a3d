#include <numeric>

#include "ops/traits.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

namespace sconce {
namespace {

const ValueRef* operand(const Node& node, size_t i = 0) {
  return node.arguments.size() > i ? std::get_if<ValueRef>(&node.arguments[i]) : nullptr;
}

// The permutation of a permute, transpose or t; empty when the node is none of them.
std::vector<int64_t> permutation(const Graph& graph, const Node& node) {
  const ValueRef* x = operand(node);
  if (!x || !graph.type(x->id).is_tensor()) return {};
  int64_t rank = int64_t(graph.type(x->id).tensor.sizes.size());
  std::vector<int64_t> dims(static_cast<size_t>(rank));
  std::iota(dims.begin(), dims.end(), 0);
  auto wrap = [&](int64_t dim) { return size_t(dim < 0 ? dim + rank : dim); };
  if (node.op == "aten::permute" || node.op == "aten::permute_copy") {
    auto* items = std::get_if<std::vector<IntItem>>(&node.arguments[1]);
    if (!items || int64_t(items->size()) != rank) return {};
    for (size_t i = 0; i < items->size(); i++) dims[i] = int64_t(wrap((*items)[i].known));
    return dims;
  }
  if (node.op == "aten::transpose.int" || node.op == "aten::transpose_copy.int") {
    auto *a = std::get_if<int64_t>(&node.arguments[1]), *b = std::get_if<int64_t>(&node.arguments[2]);
    if (!a || !b || rank == 0) return {};
    std::swap(dims[wrap(*a)], dims[wrap(*b)]);
    return dims;
  }
  if ((node.op == "aten::t" || node.op == "aten::t_copy") && rank == 2) return {1, 0};
  return {};
}

bool is_identity(const std::vector<int64_t>& dims) {
  for (size_t i = 0; i < dims.size(); i++)
    if (dims[i] != int64_t(i)) return false;
  return true;
}

bool is_number(const Argument& argument, double value) {
  if (auto* i = std::get_if<int64_t>(&argument)) return double(*i) == value;
  if (auto* d = std::get_if<double>(&argument)) return *d == value;
  return false;
}

// Scalar arithmetic that changes nothing: x * 1, x / 1, x + 0 and x - 0 (of integers: -0.0 + 0 is not
// -0.0). `alpha` does not matter when the other operand is 0.
bool is_neutral(const Node& node, DType dtype) {
  if (node.arguments.size() < 2) return false;
  const Argument& other = node.arguments[1];
  if (node.op == "aten::mul.Scalar" || node.op == "aten::mul.Tensor" || node.op == "aten::div.Scalar" || node.op == "aten::div.Tensor")
    return is_number(other, 1);
  if (node.op == "aten::add.Scalar" || node.op == "aten::add.Tensor" || node.op == "aten::sub.Scalar" || node.op == "aten::sub.Tensor")
    return is_number(other, 0) && is_integral(dtype);
  if (node.op == "aten::pow.Tensor_Scalar") return is_number(other, 1);
  return false;
}

// Other operators whose result equals operand 0 when the types are equal.
bool returns_operand(const Node& node) {
  return node.op == "aten::expand" || node.op == "aten::expand_copy" || node.op == "aten::broadcast_to" ||
         node.op == "aten::expand_as" || node.op == "aten::type_as";
}

}  // namespace

Result<void> remove_no_ops(Program&, Graph& graph, const PassContext&) {
  Replacements replacements(graph);
  for (NodeId id : graph.order) {
    Node& node = graph.nodes[size_t(id)];
    replacements.apply(node);
    const ValueRef* x = operand(node);
    if (!x || node.results.size() != 1 || !graph.type(x->id).is_tensor()) continue;
    const Op* op = find_op(node.op);
    if (!op) continue;
    const TensorType &from = graph.type(x->id).tensor, &to = graph.type(node.results[0]).tensor;
    auto remove = [&] {
      replacements.add(node.results[0], x->id);
      node.removed = true;
    };
    bool same_type = from == to;
    if (same_type && (keeps_element_order(*op) || returns_operand(node) || is_neutral(node, from.dtype))) {
      remove();
      continue;
    }
    if (same_type && (node.op == "aten::dropout" || node.op == "aten::feature_dropout" || node.op == "aten::alpha_dropout") &&
        std::get_if<bool>(&node.arguments[2]) && !std::get<bool>(node.arguments[2])) {
      remove();
      continue;
    }
    if (same_type && node.op == "aten::slice.Tensor" && is_number(node.arguments[4], 1) &&
        (std::holds_alternative<None>(node.arguments[2]) || is_number(node.arguments[2], 0))) {
      remove();
      continue;
    }
    std::vector<int64_t> dims = permutation(graph, node);
    if (!dims.empty() && is_identity(dims)) {
      remove();
      continue;
    }
    if (!graph.is_node(x->id)) continue;
    const Node& inner = graph.producer(x->id);
    const ValueRef* inner_x = operand(inner);
    if (!inner_x) continue;
    if (!dims.empty()) {
      std::vector<int64_t> first = permutation(graph, inner);
      if (first.empty()) continue;
      std::vector<IntItem> both;
      for (int64_t dim : dims) both.push_back({first[size_t(dim)]});
      ValueId base = inner_x->id;
      std::vector<int64_t> plain;
      for (const IntItem& item : both) plain.push_back(item.known);
      if (is_identity(plain)) {
        replacements.add(node.results[0], base);
        node.removed = true;
      } else {
        node.op = "aten::permute";
        node.arguments = {ValueRef{base}, std::move(both)};
      }
      continue;
    }
    // A view of a view: the outer one decides the sizes.
    const Op* inner_op = find_op(inner.op);
    if ((node.op == "aten::view" || node.op == "aten::view_copy") && inner_op && keeps_element_order(*inner_op) &&
        graph.type(inner_x->id).is_tensor() && graph.type(inner_x->id).tensor.dtype == to.dtype) {
      const TensorType& base = graph.type(inner_x->id).tensor;
      if (base == to) {
        replacements.add(node.results[0], inner_x->id);
        node.removed = true;
      } else {
        node.arguments[0] = ValueRef{inner_x->id};
      }
    }
  }
  replacements.apply(graph);
  drop_removed(graph);
  return {};
}

}  // namespace sconce
