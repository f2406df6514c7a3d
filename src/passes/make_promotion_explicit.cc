// Mixed element types and numbers among the operands of pointwise operators.
//
// Torch converts operands to their common type as it computes; here these conversions become nodes.
// A number becomes the Scalar overload when the target has one, which keeps it exact, else a 0-dim
// tensor of the common type.
#include <cstring>
#include <map>

#include "ops/build.h"
#include "ops/elementwise.h"
#include "ops/promote.h"
#include "passes/pipeline.h"
#include "passes/rewrite.h"

namespace sconce {
namespace {

class Promoter {
 public:
  Promoter(Program& program, Graph& graph, const PassContext& context)
      : program_(program), graph_(graph), context_(context), build_(program, graph) {}

  Result<void> run() {
    // New nodes go to the end of the order, which grows again from nothing.
    std::vector<NodeId> order = std::move(graph_.order);
    graph_.order.clear();
    for (NodeId id : order) {
      const Op* op =
          is_operator(graph_.nodes[size_t(id)]) ? find_op(graph_.nodes[size_t(id)].op) : nullptr;
      if (op && op->kernel && strchr(op->kernel->signature, 'e') && !use_scalar_overload(id, *op))
        promote(id, *op);
      graph_.order.push_back(id);
    }
    return build_.status();
  }

 private:
  // Arguments of the node that take part in promotion: numbers and the tensors they meet.
  static std::vector<size_t> promoted_arguments(const Op& op) {
    std::vector<size_t> arguments;
    std::string_view name = op.kernel->name;
    bool condition_first = name.starts_with("aten::where.");
    for (size_t k = 0; op.kernel->signature[k] != '>'; k++) {
      char letter = op.kernel->signature[k];
      if (letter != 'e' && letter != 't') continue;
      if (k == 0 && condition_first) continue;
      arguments.push_back(size_t(op.kernel_arguments[k]));
    }
    return arguments;
  }

  // mul.Tensor(x, 2) -> mul.Scalar(x, 2)
  bool use_scalar_overload(NodeId id, const Op& op) {
    Node& node = graph_.nodes[size_t(id)];
    if (node.arguments.size() < 2) return false;
    const Argument& number = node.arguments[1];
    if (!std::holds_alternative<int64_t>(number) && !std::holds_alternative<double>(number) &&
        !std::holds_alternative<bool>(number))
      return false;
    size_t dot = op.name.rfind('.');
    std::string_view overload =
        dot == std::string::npos ? std::string_view() : std::string_view(op.name).substr(dot);
    std::string name = op.name.substr(0, dot);
    if (overload == ".Tensor")
      name += ".Scalar";
    else if (overload == ".Tensor_mode")
      name += ".Scalar_mode";
    else
      return false;
    const Op* scalar = find_op(name);
    if (!scalar || !scalar->kernel || scalar->arguments.size() != op.arguments.size()) return false;
    for (size_t i = 0; i < op.arguments.size(); i++)
      if (scalar->arguments[i].name != op.arguments[i].name) return false;
    Node candidate = node;
    candidate.op = name;
    if (!context_.has_node(*scalar, program_, graph_, candidate)) return false;
    node.op = name;
    return true;
  }

  void promote(NodeId id, const Op& op) {
    Node node = graph_.nodes[size_t(id)];
    build_.source = node.source;
    bool masked_fill = std::string_view(op.kernel->name).starts_with("aten::masked_fill.");
    std::vector<size_t> operands = promoted_arguments(op);
    DType dtype;
    if (masked_fill) {  // the fill takes the type of what is filled
      dtype = graph_.type(std::get<ValueRef>(node.arguments[0]).id).tensor.dtype;
      operands = {2};
    } else {
      dtype = common_type(node, operands);
    }
    for (size_t i : operands) node.arguments[i] = converted(node.arguments[i], dtype);
    graph_.nodes[size_t(id)].arguments = std::move(node.arguments);
  }

  DType common_type(const Node& node, const std::vector<size_t>& operands) const {
    ResultType promoted;
    for (size_t i : operands) {
      const Argument& argument = node.arguments[i];
      // Only kind, type and rank count.
      Tensor tensor;
      Value value;
      if (auto* ref = std::get_if<ValueRef>(&argument)) {
        const Type& type = graph_.type(ref->id);
        if (type.is_tensor()) {
          tensor.dtype = type.tensor.dtype;
          tensor.rank = uint8_t(type.tensor.sizes.size());
          value = Value::of(&tensor);
        } else if (type.kind == Type::Kind::floating) {
          value = Value::of(0.0);
        } else if (type.kind == Type::Kind::boolean) {
          value = Value::of(false);
        } else {
          value = Value::of(int64_t{0});
        }
      } else if (std::holds_alternative<int64_t>(argument)) {
        value = Value::of(int64_t{0});
      } else if (std::holds_alternative<double>(argument)) {
        value = Value::of(0.0);
      } else if (std::holds_alternative<bool>(argument)) {
        value = Value::of(false);
      } else {
        continue;
      }
      promoted.add(value);
    }
    return promoted.get();
  }

  Argument converted(const Argument& argument, DType dtype) {
    if (auto* ref = std::get_if<ValueRef>(&argument)) {
      const Type& type = graph_.type(ref->id);
      if (!type.is_tensor())
        return ValueRef{build_.call1("aten::scalar_tensor", {argument, int64_t(dtype)})};
      return ValueRef{cast(ref->id, dtype)};
    }
    if (auto* integer = std::get_if<int64_t>(&argument))
      return ValueRef{scalar(*integer, double(*integer), dtype)};
    if (auto* number = std::get_if<double>(&argument)) return ValueRef{scalar(0, *number, dtype)};
    if (auto* boolean = std::get_if<bool>(&argument))
      return ValueRef{scalar(*boolean, *boolean, dtype)};
    return argument;
  }

  ValueId cast(ValueId id, DType dtype) {
    if (graph_.type(id).tensor.dtype == dtype) return id;
    auto [found, added] = casts_.try_emplace({id, dtype}, kNoValue);
    if (added) found->second = build_.cast(id, dtype);
    return found->second;
  }

  ValueId scalar(int64_t integer, double number, DType dtype) {
    auto bytes = std::make_shared<std::vector<uint8_t>>(dtype_bytes(dtype));
    if (dtype == DType::b8)
      (*bytes)[0] = integer != 0 || number != 0;
    else if (is_integral(dtype))
      store_elements<int64_t>(bytes->data(), 1, &integer, 1, dtype);
    else
      store_elements<double>(bytes->data(), 1, &number, 1, dtype);
    auto [found, added] = scalars_.try_emplace({dtype, *bytes}, kNoValue);
    if (added) {
      int32_t index = program_.add_constant({dtype, {}, {}}, bytes, "scalar");
      found->second =
          graph_.add_value(Type::of(TensorType{dtype, {}, {}}), "scalar", Origin::constant, index);
    }
    return found->second;
  }

  Program& program_;
  Graph& graph_;
  const PassContext& context_;
  Build build_;
  std::map<std::pair<DType, std::vector<uint8_t>>, ValueId> scalars_;
  std::map<std::pair<ValueId, DType>, ValueId> casts_;
};

}  // namespace

Result<void> make_promotion_explicit(Program& program, Graph& graph, const PassContext& context) {
  return Promoter(program, graph, context).run();
}

}  // namespace sconce
