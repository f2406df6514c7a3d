#include <cstring>

#include "ops/build.h"
#include "ops/promote.h"
#include "passes/pipeline.h"
#include "passes/rewrite.h"

namespace sconce {
namespace {

// A Value for promotion: only kind, dtype and rank count.
struct Probe {
  Tensor tensor;
  Value value;
};

}  // namespace

Result<void> make_promotion_explicit(Program& program, Graph& graph, const PassContext& context) {
  if (!context.explicit_promotion) return {};
  Build build(program, graph);
  std::vector<NodeId> order = graph.order;
  build.position = 0;
  for (NodeId id : order) {
    const Op* op = find_op(graph.nodes[size_t(id)].op);
    if (op && op->kernel && strchr(op->kernel->signature, 'e')) {
      Node node = graph.nodes[size_t(id)];
      build.source = node.source;
      ResultType promoted;
      const char* letters = op->kernel->signature;
      std::vector<size_t> operands;
      for (size_t k = 0; letters[k] != '>'; k++) {
        if (letters[k] != 'e') continue;
        size_t i = size_t(op->kernel_arguments[k]);
        const Argument& argument = node.arguments[i];
        Probe probe;
        if (auto* ref = std::get_if<ValueRef>(&argument)) {
          const Type& type = graph.type(ref->id);
          if (type.is_tensor()) {
            probe.tensor.dtype = type.tensor.dtype;
            probe.tensor.rank = uint8_t(type.tensor.sizes.size());
            probe.value = Value::of(&probe.tensor);
          } else if (type.kind == Type::Kind::floating) probe.value = Value::of(0.0);
          else if (type.kind == Type::Kind::boolean) probe.value = Value::of(false);
          else probe.value = Value::of(int64_t{0});
        } else if (std::holds_alternative<int64_t>(argument)) probe.value = Value::of(int64_t{0});
        else if (std::holds_alternative<double>(argument)) probe.value = Value::of(0.0);
        else if (std::holds_alternative<bool>(argument)) probe.value = Value::of(false);
        promoted.add(probe.value);
        operands.push_back(i);
      }
      DType dtype = promoted.get();
      for (size_t i : operands) {
        Argument& argument = node.arguments[i];
        if (auto* ref = std::get_if<ValueRef>(&argument)) {
          const Type& type = graph.type(ref->id);
          if (type.is_tensor()) {
            // A condition stays what it is; other operands take the common type.
            if (type.tensor.dtype != dtype) argument = ValueRef{build.cast(ref->id, dtype)};
          } else {
            ValueId scalar = build.call1("aten::scalar_tensor", {argument, int64_t(dtype)});
            argument = ValueRef{scalar};
          }
          continue;
        }
        if (auto* integer = std::get_if<int64_t>(&argument)) {
          if (is_integral(dtype)) {
            std::vector<uint8_t> bytes(dtype_bytes(dtype));
            int64_t value = dtype == DType::b8 ? *integer != 0 : *integer;
            memcpy(bytes.data(), &value, bytes.size());
            argument = ValueRef{build.constant({dtype, {}, {}}, std::move(bytes), "scalar")};
          } else {
            argument = ValueRef{build.scalar(double(*integer), dtype)};
          }
        } else if (auto* number = std::get_if<double>(&argument)) {
          argument = ValueRef{build.scalar(*number, dtype)};
        } else if (auto* boolean = std::get_if<bool>(&argument)) {
          argument = ValueRef{build.scalar(double(*boolean), dtype)};
        }
      }
      graph.nodes[size_t(id)].arguments = std::move(node.arguments);
    }
    build.position++;
  }
  return build.status();
}

}  // namespace sconce
