// Matcher: looks back from a value at how it is computed, and puts one operator in place of a
// pattern. What the recognizing passes share.
//
// Every node that is looked through becomes part of the pattern. A pattern is replaced only when
// nothing outside of it uses what it computes inside, so no work is done twice.
#pragma once

#include <initializer_list>
#include <optional>
#include <string_view>

#include "passes/pipeline.h"

namespace sconce {

using OpNames = std::initializer_list<std::string_view>;

// Factors of a tree of multiplications, divisions and powers; numbers go to the coefficient.
struct Product {
  double coefficient = 1;
  std::vector<ValueId> factors;
  bool is(double wanted, size_t count) const;  // coefficient to about f32's precision
};

class Matcher {
 public:
  Matcher(Program& program, Graph& graph, const PassContext& context);

  Program& program() { return program_; }
  Graph& graph() { return graph_; }
  const Node& node(NodeId id) const { return graph_.nodes[size_t(id)]; }
  const TensorType& type(ValueId id) const { return graph_.type(id).tensor; }
  bool is_constant(ValueId id) const {
    return graph_.values[size_t(id)].origin == Origin::constant;
  }
  int32_t uses(ValueId id) const { return uses_[size_t(id)]; }

  // --- looking. Node pointers are valid until the next node is added.
  // Node that computes `id`, when it is result 0 (or `result`) of one of `ops`.
  const Node* match(ValueId id, OpNames ops, int32_t result = 0);
  // How much has been looked through; rewind() forgets what came after.
  size_t mark() const { return inside_.size(); }
  void rewind(size_t mark) { inside_.resize(mark); }
  // The value in an argument; kNoValue when there is none.
  static ValueId value(const Node& node, size_t argument);
  // A number: in the argument itself, or a constant of one element.
  std::optional<double> number(const Node& node, size_t argument) const;
  // x + c (x - c, c + x).
  bool plus(ValueId id, ValueId* x, double* c);
  // x * x or pow(x, 2).
  bool square(ValueId id, ValueId* x);
  // `root` is the node of the pattern's result; inner nodes are entered when they have one user.
  bool product(const Node& root, Product* out) { return add_factors(root, 1, out, 0); }
  bool product(ValueId id, Product* out);
  // Operands of add.Tensor with alpha 1.
  bool sum(ValueId id, ValueId* a, ValueId* b);

  // --- replacing
  // True when the target runs `op`, or the one operator it is known to decompose into; `results`:
  // values of the types that it would give, where they are known.
  bool target_has(std::string_view op, const std::vector<Argument>& arguments,
                  const std::vector<ValueId>& results = {});
  // True when integers of 8 bits can be moved, padded and joined without leaving what runs them.
  bool runs_moves_of_integers() const {
    return context_.quantized == QuantizedGraphs::integers_then_numbers;
  }
  // Makes the node compute `op` instead, when nobody outside the pattern sees its inside and the
  // target has the operator. Missing trailing arguments take their defaults.
  bool replace(NodeId root, std::string_view op, std::vector<Argument> arguments) {
    return replace(root, op, std::move(arguments), true);
  }
  // The same for an operator that the target need not have as it stands: legalize rewrites it.
  bool replace_anyway(NodeId root, std::string_view op, std::vector<Argument> arguments) {
    return replace(root, op, std::move(arguments), false);
  }
  // A new node before the one that is looked at.
  ValueId add(std::string op, std::vector<Argument> arguments, Type type, const Node& like) {
    return add(std::move(op), std::move(arguments), std::vector<Type>{std::move(type)}, like);
  }
  // The same with several results, of which the first is given back.
  ValueId add(std::string op, std::vector<Argument> arguments, std::vector<Type> types,
              const Node& like);
  // Sizes as an argument: nodes that compute what is not known are added.
  Argument ints(const std::vector<SymInt>& sizes, const Node& like);
  // A value for a constant of the program.
  ValueId add_constant(int32_t index);
  // True when nothing outside the pattern uses what its nodes compute, the root's result aside.
  bool closed_at(NodeId root) const;
  void set_argument(NodeId node, size_t index, Argument argument);

 private:
  template <class F>
  friend void for_each_root(Matcher& matcher, F f);
  bool replace(NodeId root, std::string_view op, std::vector<Argument> arguments, bool ask);
  bool add_factors(const Node& node, int sign, Product* out, int depth);
  bool add_factor(ValueId id, int sign, Product* out, int depth);
  void count(const Node& node, int32_t change);
  void release(ValueId id);

  Program& program_;
  Graph& graph_;
  const PassContext& context_;
  std::vector<int32_t> uses_;
  std::vector<NodeId> inside_;
  std::vector<NodeId> placed_;  // the new order so far
};

// Calls f(matcher, id) for every node in order. What f replaces is done when this returns.
template <class F>
void for_each_root(Matcher& matcher, F f) {
  Graph& graph = matcher.graph_;
  std::vector<NodeId> order = graph.order;
  for (NodeId id : order) {
    matcher.inside_.clear();
    if (!graph.nodes[size_t(id)].removed) f(matcher, id);
    matcher.placed_.push_back(id);
  }
  graph.order = std::move(matcher.placed_);
  matcher.placed_.clear();
  std::erase_if(graph.order, [&](NodeId id) { return graph.nodes[size_t(id)].removed; });
}

}  // namespace sconce
