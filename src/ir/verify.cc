#include <unordered_set>

#include "base/checked.h"
#include "ir/graph.h"
#include "ir/text.h"
#include "tensor/tensor.h"

namespace sconce {

namespace {

constexpr int kNestingMax = 32;

template <class... Arguments>
Error broken(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  return error(Code::internal, format, std::forward<Arguments>(arguments)...);
}

Result<void> verify_type(const TensorType& type, const SymbolTable& symbols) {
  if (type.sizes.size() > size_t(kRankMax))
    return broken("rank {} exceeds {}", type.sizes.size(), kRankMax);
  for (size_t i = 0; i < type.sizes.size(); i++) {
    const SymInt& size = type.sizes[i];
    if (!size.is_known() && size_t(size.expr) >= symbols.expr_count())
      return broken("size {} is expression {} of {}", i, size.expr, symbols.expr_count());
    if (size.is_known() && size.value < 0) return broken("size {} is {}", i, size.value);
  }
  if (!is_dtype(int64_t(type.dtype))) return broken("dtype code {}", int(type.dtype));
  if (!type.dim_order.empty() &&
      (type.dim_order.size() != type.sizes.size() ||
       !is_valid_dim_order(type.dim_order.data(), int(type.sizes.size()))))
    return broken("the dim order is not a permutation of {} dimensions", type.sizes.size());
  return {};
}

Result<void> verify_data(const TensorType& type, Bytes bytes, const SymbolTable& symbols) {
  TRY_VOID(verify_type(type, symbols));
  uint64_t wanted = dtype_bytes(type.dtype);
  for (const SymInt& size : type.sizes) {
    if (!size.is_known()) return broken("size {} is not known", symbols.print(size));
    if (!checked_multiply(wanted, uint64_t(size.value), &wanted)) return broken("sizes overflow");
  }
  if (bytes.size() != wanted)
    return broken("{} bytes of data, its type wants {}", bytes.size(), wanted);
  if (type.dtype == DType::b8 && !all_bools(bytes.data(), bytes.size()))
    return broken("bools with bytes above 1");
  return {};
}

class GraphVerifier {
 public:
  GraphVerifier(const Program& program, const Graph& graph, int nesting)
      : program_(program), graph_(graph), nesting_(nesting) {}

  Result<void> verify() {
    if (nesting_ > kNestingMax) return broken("graphs nest deeper than {}", kNestingMax);
    TRY_VOID(values());
    TRY_VOID(inputs());
    TRY_VOID(order());
    position_.assign(graph_.nodes.size(), -1);
    for (size_t i = 0; i < graph_.order.size(); i++) {
      NodeId id = graph_.order[i];
      Result<void> result = node(id);
      if (!result.ok()) {
        const Node& n = graph_.nodes[size_t(id)];
        std::string context = fmt::format("node {} {}", id, printable(n.op));
        if (!n.source.empty()) context += " (" + printable(n.source) + ")";
        return std::move(result).with_context(context);
      }
      position_[size_t(id)] = int32_t(i);
    }
    for (size_t i = 0; i < graph_.outputs.size(); i++)
      TRY_VOID(use(graph_.outputs[i]).with_context(fmt::format("output {}", i)));
    return write_backs();
  }

 private:
  std::string name(ValueId id) const { return "%" + printable(graph_.values[size_t(id)].name); }

  Result<void> values() {
    std::unordered_set<std::string_view> names;
    for (size_t i = 0; i < graph_.values.size(); i++) {
      const ValueInfo& value = graph_.values[i];
      auto context = [&](Result<void> result) {
        return std::move(result).with_context(
            fmt::format("value {} \"{}\"", i, printable(value.name)));
      };
      if (value.name.empty()) return broken("value {} has no name", i);
      if (!names.insert(value.name).second) return context(broken("another value has that name"));
      switch (value.type.kind) {
        case Type::Kind::tensor:
          TRY_VOID(context(verify_type(value.type.tensor, program_.symbols)));
          break;
        case Type::Kind::integer:
          if (!value.type.number.is_known() &&
              size_t(value.type.number.expr) >= program_.symbols.expr_count())
            return context(broken("number is expression {} of {}", value.type.number.expr,
                                  program_.symbols.expr_count()));
          break;
        case Type::Kind::floating:
        case Type::Kind::boolean:
        case Type::Kind::none: break;
        default: return context(broken("kind {}", int(value.type.kind)));
      }
      auto inside = [&](size_t count, const char* what) -> Result<void> {
        if (value.index >= 0 && size_t(value.index) < count) return {};
        return context(broken("{} {} of {}", what, value.index, count));
      };
      switch (value.origin) {
        case Origin::node: {
          TRY_VOID(inside(graph_.nodes.size(), "comes from node"));
          const Node& producer = graph_.nodes[size_t(value.index)];
          if (value.result < 0 || size_t(value.result) >= producer.results.size() ||
              producer.results[size_t(value.result)] != ValueId(i))
            return context(broken("is not result {} of node {}", value.result, value.index));
          break;
        }
        case Origin::input:
          TRY_VOID(inside(graph_.inputs.size(), "is input"));
          if (graph_.inputs[size_t(value.index)] != ValueId(i))
            return context(broken("is not input {}", value.index));
          break;
        case Origin::constant: TRY_VOID(inside(program_.constants.size(), "is constant")); break;
        case Origin::buffer: TRY_VOID(inside(program_.buffers.size(), "is buffer")); break;
        default: return context(broken("origin {}", int(value.origin)));
      }
      // What the program holds has one type everywhere.
      if (value.origin == Origin::constant || value.origin == Origin::buffer) {
        const TensorType& type = value.origin == Origin::constant
                                     ? program_.constants[size_t(value.index)].type
                                     : program_.buffers[size_t(value.index)].type;
        if (!value.type.is_tensor() || value.type.tensor.dtype != type.dtype ||
            value.type.tensor.sizes != type.sizes)
          return context(broken("differs in type from what it refers to"));
      }
    }
    return {};
  }

  Result<void> inputs() {
    for (size_t i = 0; i < graph_.inputs.size(); i++) {
      ValueId id = graph_.inputs[i];
      if (id < 0 || size_t(id) >= graph_.values.size())
        return broken("input {}: value {} of {}", i, id, graph_.values.size());
      const ValueInfo& value = graph_.values[size_t(id)];
      if (value.origin != Origin::input || value.index != int32_t(i))
        return broken("input {}: {} does not point back", i, name(id));
    }
    return {};
  }

  Result<void> order() {
    std::vector<bool> seen(graph_.nodes.size());
    for (NodeId id : graph_.order) {
      if (id < 0 || size_t(id) >= graph_.nodes.size())
        return broken("order: node {} of {}", id, graph_.nodes.size());
      if (seen[size_t(id)]) return broken("order: node {} stands twice", id);
      if (graph_.nodes[size_t(id)].removed) return broken("order: node {} was removed", id);
      seen[size_t(id)] = true;
    }
    for (size_t i = 0; i < graph_.nodes.size(); i++)
      if (!seen[i] && !graph_.nodes[i].removed)
        return broken("node {} {} is not in the order", i, printable(graph_.nodes[i].op));
    return {};
  }

  Result<void> use(ValueId id) const {
    if (id < 0 || size_t(id) >= graph_.values.size())
      return broken("uses value {} of {}", id, graph_.values.size());
    const ValueInfo& value = graph_.values[size_t(id)];
    if (value.origin != Origin::node) return {};
    if (graph_.nodes[size_t(value.index)].removed)
      return broken("uses {} of node {}, which was removed", name(id), value.index);
    if (position_[size_t(value.index)] < 0)
      return broken("uses {} before node {} defines it", name(id), value.index);
    return {};
  }

  Result<void> node(NodeId id) {
    const Node& node = graph_.nodes[size_t(id)];
    if (node.op.empty()) return broken("has no operator");
    for (size_t i = 0; i < node.arguments.size(); i++) {
      Result<void> result = argument(node.arguments[i]);
      if (!result.ok()) return std::move(result).with_context(fmt::format("argument {}", i));
    }
    for (size_t i = 0; i < node.results.size(); i++) {
      ValueId result = node.results[i];
      if (result < 0 || size_t(result) >= graph_.values.size())
        return broken("result {}: value {} of {}", i, result, graph_.values.size());
      const ValueInfo& value = graph_.values[size_t(result)];
      if (value.origin != Origin::node || value.index != id || value.result != int32_t(i))
        return broken("result {}: {} does not point back", i, name(result));
    }
    if (node.op == "kernel") {
      const int64_t* index =
          node.arguments.size() == 2 ? std::get_if<int64_t>(&node.arguments[0]) : nullptr;
      if (!index || !std::holds_alternative<std::vector<ValueRef>>(node.arguments[1]) ||
          *index < 0 || size_t(*index) >= program_.own_kernels.size())
        return broken("arguments: the index of one of {} kernels and a list of operands are wanted",
                      program_.own_kernels.size());
    }
    return {};
  }

  Result<void> argument(const Argument& argument) {
    if (auto* ref = std::get_if<ValueRef>(&argument)) return use(ref->id);
    if (auto* items = std::get_if<std::vector<IntItem>>(&argument)) {
      for (const IntItem& item : *items) {
        if (item.is_known()) continue;
        TRY_VOID(use(item.value));
        if (graph_.type(item.value).kind != Type::Kind::integer)
          return broken("{} is no integer", name(item.value));
      }
    } else if (auto* refs = std::get_if<std::vector<ValueRef>>(&argument)) {
      for (const ValueRef& item : *refs)
        if (item.id != kNoValue) TRY_VOID(use(item.id));
    } else if (auto* graph = std::get_if<GraphRef>(&argument)) {
      if (graph->index < 0 || size_t(graph->index) >= graph_.subgraphs.size())
        return broken("subgraph {} of {}", graph->index, graph_.subgraphs.size());
      if (!graph_.subgraphs[size_t(graph->index)])
        return broken("subgraph {} is empty", graph->index);
      const Graph& subgraph = *graph_.subgraphs[size_t(graph->index)];
      if (!verified_.insert(graph->index).second) return {};
      return GraphVerifier(program_, subgraph, nesting_ + 1)
          .verify()
          .with_context("graph " + printable(subgraph.name));
    }
    return {};
  }

  Result<void> write_backs() {
    std::unordered_set<int64_t> targets;
    for (size_t i = 0; i < graph_.write_backs.size(); i++) {
      const WriteBack& write_back = graph_.write_backs[i];
      std::string context = fmt::format("write-back {}", i);
      TRY_VOID(use(write_back.value).with_context(context));
      bool buffer = write_back.target == WriteBack::Target::buffer;
      size_t count = buffer ? program_.buffers.size() : graph_.inputs.size();
      if (write_back.index < 0 || size_t(write_back.index) >= count)
        return broken("{}: to {} {} of {}", context, buffer ? "buffer" : "input", write_back.index,
                      count);
      if (!targets.insert(int64_t(write_back.index) * 2 + buffer).second)
        return broken("{}: another one has the same target", context);
      const Type& type = graph_.type(write_back.value);
      Type target = buffer ? Type::of(program_.buffers[size_t(write_back.index)].type)
                           : graph_.type(graph_.inputs[size_t(write_back.index)]);
      if (!type.is_tensor() || !target.is_tensor() || type.tensor.dtype != target.tensor.dtype ||
          type.tensor.sizes.size() != target.tensor.sizes.size())
        return broken("{}: {} is not of the type of its target", context, name(write_back.value));
    }
    return {};
  }

  const Program& program_;
  const Graph& graph_;
  int nesting_;
  std::vector<int32_t> position_;  // by node; -1: not met yet
  std::unordered_set<int> verified_;
};

}  // namespace

Result<void> verify(const Program& program) {
  for (size_t i = 0; i < program.constants.size(); i++) {
    const ConstantData& data = program.constants[i];
    TRY_VOID(verify_data(data.type, data.bytes, program.symbols)
                 .with_context(fmt::format("constant {} \"{}\"", i, printable(data.name))));
  }
  for (size_t i = 0; i < program.buffers.size(); i++) {
    const BufferData& data = program.buffers[i];
    Result<void> result = data.initial.empty()
                              ? verify_type(data.type, program.symbols)
                              : verify_data(data.type, data.initial, program.symbols);
    TRY_VOID(
        std::move(result).with_context(fmt::format("buffer {} \"{}\"", i, printable(data.name))));
  }
  std::unordered_set<std::string_view> names;
  for (const Method& method : program.methods) {
    std::string context = "method " + printable(method.name);
    if (method.name.empty()) return broken("a method has no name");
    if (!names.insert(method.name).second) return broken("{} stands twice", context);
    TRY_VOID(GraphVerifier(program, method.graph, 0).verify().with_context(context));
    size_t count = method.graph.inputs.size();
    for (const FixedInput& fixed : method.fixed_inputs)
      if (fixed.position < 0 || size_t(fixed.position) >= count)
        return broken("{}: fixed input {} of {}", context, fixed.position, count);
    if (method.input_names.size() > count)
      return broken("{}: {} names of {} inputs", context, method.input_names.size(), count);
  }
  return {};
}

}  // namespace sconce
