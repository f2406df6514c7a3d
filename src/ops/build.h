// Build: adds nodes to a graph with types inferred from the operators' shape rules.
//
// Shape rules speak of concrete sizes. For symbolic sizes the rule is run at several assignments of
// the symbols, and each result size is matched to a constant, to an operand's size, or to a sum,
// difference or product of them; a size that matches none becomes a fresh bounded symbol. So one
// rule serves the microcontroller, the runtime and the compiler.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "ops/def.h"

namespace sconce {

class Build {
 public:
  // Nodes go to the end of graph.order, or before `position` in it when that is given (it moves
  // on).
  Build(Program& program, Graph& graph) : program_(program), graph_(graph) {}

  Program& program() { return program_; }
  Graph& graph() { return graph_; }
  const Type& type(ValueId id) const { return graph_.type(id); }
  const TensorType& tensor(ValueId id) const { return graph_.type(id).tensor; }
  int rank(ValueId id) const { return int(tensor(id).sizes.size()); }
  DType dtype(ValueId id) const { return tensor(id).dtype; }
  const SymInt& size(ValueId id, int dim) const { return tensor(id).sizes[size_t(dim)]; }

  // Adds `op` with positional arguments in schema order; missing trailing ones take defaults.
  // Results are typed by inference. What fails (no such operator, too few arguments, sizes that do
  // not fit) is kept in status() and gives back stand-ins of the highest rank, so that callers can
  // go on.
  std::vector<ValueId> call(std::string_view op, std::vector<Argument> arguments);
  ValueId call1(std::string_view op, std::vector<Argument> arguments) {
    return call(op, std::move(arguments))[0];
  }

  // Short forms for what decompositions use all the time.
  ValueId add(ValueId a, ValueId b) { return call1("aten::add.Tensor", {v(a), v(b)}); }
  ValueId sub(ValueId a, ValueId b) { return call1("aten::sub.Tensor", {v(a), v(b)}); }
  ValueId mul(ValueId a, ValueId b) { return call1("aten::mul.Tensor", {v(a), v(b)}); }
  ValueId div(ValueId a, ValueId b) { return call1("aten::div.Tensor", {v(a), v(b)}); }
  ValueId mul(ValueId a, double s) { return call1("aten::mul.Scalar", {v(a), s}); }
  ValueId add(ValueId a, double s) { return call1("aten::add.Scalar", {v(a), s}); }
  ValueId view(ValueId a, const std::vector<SymInt>& sizes) {
    return call1("aten::view", {v(a), ints(sizes)});
  }
  ValueId permute(ValueId a, const std::vector<int64_t>& dims) {
    return call1("aten::permute", {v(a), ints(dims)});
  }
  ValueId cast(ValueId a, DType dtype);  // no node when it has the type
  ValueId full(const std::vector<SymInt>& sizes, double value, DType dtype);
  // A 0-dim or shaped constant in the program's constants.
  ValueId constant(TensorType type, std::vector<uint8_t> bytes, std::string name);
  ValueId scalar(double value, DType dtype);  // 0-dim constant
  // An integer value (a node's result) for a size: sym_size and arithmetic nodes are added as
  // needed.
  IntItem int_item(SymInt size);
  Argument ints(const std::vector<SymInt>& sizes);
  static Argument ints(const std::vector<int64_t>& known);
  static Argument v(ValueId id) { return ValueRef{id}; }

  // Where new nodes say they come from.
  std::string source;
  // First inference error.
  const Result<void>& status() const { return status_; }
  // Insertion position in graph.order; -1 = the end.
  int32_t position = -1;

 private:
  Program& program_;
  Graph& graph_;
  Result<void> status_;
  std::vector<ValueId> failed(size_t count, Error error);

  std::vector<std::pair<ExprId, ValueId>> sizes_;  // integer values made so far
};

// True when an argument has a size or number that is a symbol.
bool has_symbols(const Graph& graph, const std::vector<Argument>& arguments);
// Types of the results of a node, by its kernel's shape rule; an error when it has no kernel or the
// arguments do not fit, whatever values symbols take.
Result<std::vector<Type>> infer_types(Program& program, const Graph& graph, const Op& op,
                                      const std::vector<Argument>& arguments);

}  // namespace sconce
