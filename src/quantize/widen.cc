#include "quantize/widen.h"

#include <algorithm>

#include "ops/build.h"
#include "ops/def.h"
#include "passes/rewrite.h"
#include "tensor/half.h"

namespace sconce {
namespace {

bool is_half(const Type& type) { return type.is_tensor() && sconce::is_half(type.tensor.dtype); }

std::shared_ptr<const std::vector<uint8_t>> widened(Bytes from, DType dtype) {
  size_t count = from.size() / dtype_bytes(dtype);
  auto out = std::make_shared<std::vector<uint8_t>>(count * sizeof(float));
  widen_halves(from.data(), dtype, count, reinterpret_cast<float*>(out->data()));
  return out;
}

class Widener {
 public:
  explicit Widener(Program& program) : program_(program) {}

  Result<std::string> run() {
    for (const Method& method : program_.methods) TRY_VOID(check(method.graph));
    if (name_.empty()) return name_;
    for (BufferData& buffer : program_.buffers) {
      if (!sconce::is_half(buffer.type.dtype)) continue;
      if (!buffer.initial.empty()) {
        buffer.owned = widened(buffer.initial, buffer.type.dtype);
        buffer.initial = *buffer.owned;
      }
      buffer.type.dtype = DType::f32;
    }
    for (Method& method : program_.methods) {
      std::vector<Type> outputs;
      for (ValueId id : method.graph.outputs) outputs.push_back(method.graph.type(id));
      widen(method.graph, true);
      TRY_VOID(cast_at_the_borders(method.graph, outputs));
    }
    return name_;
  }

 private:
  Result<void> check(const Graph& graph) {
    for (const ValueInfo& value : graph.values)
      if (is_half(value.type)) name_ = dtype_name(value.type.tensor.dtype);
    for (NodeId id : graph.order) {
      const Node& node = graph.nodes[size_t(id)];
      if (node.op != "aten::view.dtype") continue;
      auto* from = std::get_if<ValueRef>(&node.arguments[0]);
      if ((from && is_half(graph.type(from->id))) || is_half(graph.type(node.results[0])))
        return error(Code::unsupported,
                     "%{}: the bits of 16-bit floats are looked at, so they cannot be f32",
                     graph.values[size_t(node.results[0])].name);
    }
    for (const auto& subgraph : graph.subgraphs) TRY_VOID(check(*subgraph));
    return {};
  }

  void widen(Graph& graph, bool top) {
    for (ValueInfo& value : graph.values) {
      if (!is_half(value.type) || (top && value.origin == Origin::input)) continue;
      if (value.origin == Origin::constant) {
        const ConstantData& data = program_.constants[size_t(value.index)];
        TensorType type = data.type;
        type.dtype = DType::f32;
        value.index = program_.add_constant(type, widened(data.bytes, data.type.dtype), data.name);
      }
      value.type.tensor.dtype = DType::f32;
    }
    for (NodeId id : graph.order) {
      Node& node = graph.nodes[size_t(id)];
      const Op* op = find_op(node.op);
      if (!op) continue;
      for (size_t i = 0; i < std::min(op->arguments.size(), node.arguments.size()); i++) {
        auto* code = std::get_if<int64_t>(&node.arguments[i]);
        if (code && op->arguments[i].type.starts_with("ScalarType") && is_dtype(*code) &&
            sconce::is_half(DType(*code)))
          *code = int64_t(DType::f32);
      }
    }
    for (auto& subgraph : graph.subgraphs) widen(*subgraph, false);
  }

  // `outputs`: the types that they had.
  Result<void> cast_at_the_borders(Graph& graph, const std::vector<Type>& outputs) {
    Build build(program_, graph);
    const std::vector<NodeId> nodes = graph.order;
    Replacements wide(graph);
    build.position = 0;
    for (ValueId input : graph.inputs)
      if (is_half(graph.type(input))) wide.add(input, build.cast(input, DType::f32));
    for (NodeId id : nodes) wide.apply(graph.nodes[size_t(id)]);
    build.position = -1;
    for (size_t i = 0; i < outputs.size(); i++)
      if (is_half(outputs[i]))
        graph.outputs[i] = build.cast(graph.outputs[i], outputs[i].tensor.dtype);
    for (WriteBack& write : graph.write_backs) {
      if (write.target == WriteBack::Target::buffer) {
        write.value = build.cast(write.value, program_.buffers[size_t(write.index)].type.dtype);
        continue;
      }
      const Type& wanted = graph.type(graph.inputs[size_t(write.index)]);
      if (is_half(wanted)) write.value = build.cast(write.value, wanted.tensor.dtype);
    }
    return build.status();
  }

  Program& program_;
  std::string name_;
};

}  // namespace

Result<std::string> widen_floats(Program& program) { return Widener(program).run(); }

}  // namespace sconce
