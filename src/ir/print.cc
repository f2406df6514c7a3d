// The text form, written. docs/ir.md shows it.
#include <cmath>
#include <cstring>

#include "ir/graph.h"
#include "ir/text.h"
#include "tensor/half.h"

namespace sconce {

namespace {

std::string print_at_name(std::string_view name) { return "@" + print_dotted(name); }

template <class T>
T read_element(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// One element as a number that reads back to the same bits; false when there is none (NaN, odd
// bool).
bool print_element(const uint8_t* bytes, DType dtype, std::string* text) {
  auto floating = [&](auto value) {
    if (std::isnan(value)) return false;
    *text += fmt::format("{}", value);
    return true;
  };
  switch (dtype) {
    case DType::f32: return floating(read_element<float>(bytes));
    case DType::f64: return floating(read_element<double>(bytes));
    case DType::f16: return floating(to_float(read_element<f16_t>(bytes)));
    case DType::bf16: return floating(to_float(read_element<bf16_t>(bytes)));
    case DType::u8: *text += std::to_string(*bytes); return true;
    case DType::i8: *text += std::to_string(int8_t(*bytes)); return true;
    case DType::i16: *text += std::to_string(read_element<int16_t>(bytes)); return true;
    case DType::i32: *text += std::to_string(read_element<int32_t>(bytes)); return true;
    case DType::i64: *text += std::to_string(read_element<int64_t>(bytes)); return true;
    case DType::u16: *text += std::to_string(read_element<uint16_t>(bytes)); return true;
    case DType::u32: *text += std::to_string(read_element<uint32_t>(bytes)); return true;
    case DType::u64: *text += std::to_string(read_element<uint64_t>(bytes)); return true;
    case DType::b8: *text += *bytes ? "true" : "false"; return *bytes <= 1;
    default: return false;
  }
}

class Printer {
 public:
  explicit Printer(const Program& program) : program_(program) {}

  std::string program() {
    for (const Symbol& symbol : program_.symbols.symbols()) {
      text_ += "symbol " + print_name(symbol.name);
      if (symbol.bounds != Bounds{})
        text_ += " in [" + end(symbol.bounds.min) + ", " + end(symbol.bounds.max) + "]";
      if (symbol.hint) text_ += " hint " + std::to_string(symbol.hint);
      if (symbol.divisor != 1) text_ += " divisor " + std::to_string(symbol.divisor);
      text_ += "\n";
    }
    for (const ConstantData& constant : program_.constants) {
      text_ += "constant " + print_at_name(constant.name);
      for (const std::string& alias : constant.aliases) text_ += " alias " + print_at_name(alias);
      text_ += ": " + type(constant.type) + " = " +
               data(constant.bytes, constant.type.dtype, constant.omitted) + "\n";
    }
    for (const BufferData& buffer : program_.buffers) {
      text_ += "buffer " + print_at_name(buffer.name) + ": " + type(buffer.type);
      if (!buffer.initial.empty())
        text_ += " = " + data(buffer.initial, buffer.type.dtype, buffer.omitted);
      text_ += "\n";
    }
    for (const Method& method : program_.methods) {
      if (!text_.empty()) text_ += "\n";
      text_ += "method " + print_name(method.name);
      if (method.graph.name != method.name) text_ += " graph " + print_name(method.graph.name);
      graph(method.graph, &method, "");
    }
    return std::move(text_);
  }

  std::string graph(const Graph& graph) {
    text_ = "graph " + print_name(graph.name);
    this->graph(graph, nullptr, "");
    return std::move(text_);
  }

 private:
  static std::string end(int64_t value) {
    return value == INT64_MIN ? "-inf" : value == INT64_MAX ? "inf" : std::to_string(value);
  }

  std::string type(const TensorType& type) {
    std::string text = std::string(dtype_name(type.dtype)) + "[";
    for (size_t i = 0; i < type.sizes.size(); i++)
      text += (i ? ", " : "") + program_.symbols.print(type.sizes[i]);
    text += "]";
    if (!type.dim_order.empty()) {
      text += "(";
      for (size_t i = 0; i < type.dim_order.size(); i++)
        text += (i ? ", " : "") + std::to_string(type.dim_order[i]);
      text += ")";
    }
    return text;
  }

  std::string type(const Type& type) {
    switch (type.kind) {
      case Type::Kind::tensor: return this->type(type.tensor);
      case Type::Kind::integer: return "int(" + program_.symbols.print(type.number) + ")";
      case Type::Kind::floating: return "float";
      case Type::Kind::boolean: return "bool";
      case Type::Kind::none: break;
    }
    return "none";
  }

  static std::string data(Bytes bytes, DType dtype, uint64_t omitted) {
    if (omitted) return fmt::format("omitted {:016x}", omitted);
    if (bytes.size() <= kInlineBytesMax) {
      std::string text = "{";
      bool exact = true;
      for (size_t i = 0; i < bytes.size() && exact; i += dtype_bytes(dtype)) {
        if (i) text += ", ";
        exact = print_element(bytes.data() + i, dtype, &text);
      }
      if (exact) return text + "}";
      text = "0x";
      for (uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
      return text;
    }
    bool zeros =
        bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
    return zeros ? "zeros" : fmt::format("omitted {:016x}", hash_bytes(bytes));
  }

  std::string value(const Graph& graph, ValueId id) {
    return "%" + print_value_name(graph.values[size_t(id)].name);
  }

  // The name when it leads back to `index`, else the index.
  template <class Data>
  static std::string reference(const std::vector<Data>& all,
                               std::unordered_map<std::string_view, size_t>& first, size_t index) {
    if (first.empty())
      for (size_t i = 0; i < all.size(); i++) first.emplace(all[i].name, i);
    auto found = first.find(all[index].name);
    if (found->second != index) return "@" + std::to_string(index);
    return print_at_name(all[index].name);
  }

  std::string argument(const Graph& graph, const Argument& argument) {
    struct Visitor {
      Printer& printer;
      const Graph& graph;
      std::string operator()(None) { return "none"; }
      std::string operator()(ValueRef ref) { return printer.value(graph, ref.id); }
      std::string operator()(int64_t value) { return std::to_string(value); }
      std::string operator()(double value) { return print_floating(value); }
      std::string operator()(bool value) { return value ? "true" : "false"; }
      std::string operator()(const std::string& value) { return print_quoted(value); }
      std::string operator()(const std::vector<IntItem>& items) {
        std::string text = "[";
        for (const IntItem& item : items) {
          if (text.size() > 1) text += ", ";
          text += item.is_known() ? std::to_string(item.known) : printer.value(graph, item.value);
        }
        return text + "]";
      }
      std::string operator()(const std::vector<double>& items) {
        if (items.empty()) return "floats[]";
        std::string text = "[";
        for (double item : items) text += (text.size() > 1 ? ", " : "") + print_floating(item);
        return text + "]";
      }
      std::string operator()(const std::vector<bool>& items) {
        if (items.empty()) return "bools[]";
        std::string text = "[";
        for (bool item : items)
          text += std::string(text.size() > 1 ? ", " : "") + (item ? "true" : "false");
        return text + "]";
      }
      std::string operator()(const std::vector<ValueRef>& items) {
        std::string text = "{";
        for (ValueRef item : items) {
          if (text.size() > 1) text += ", ";
          text += item.id == kNoValue ? "none" : printer.value(graph, item.id);
        }
        return text + "}";
      }
      std::string operator()(GraphRef ref) { return "graph " + std::to_string(ref.index); }
    };
    return std::visit(Visitor{*this, graph}, argument);
  }

  static std::string print_fixed(const FixedInput& fixed) {
    if (auto* value = std::get_if<int64_t>(&fixed.value)) return std::to_string(*value);
    if (auto* value = std::get_if<double>(&fixed.value)) return print_floating(*value);
    if (auto* value = std::get_if<bool>(&fixed.value)) return *value ? "true" : "false";
    if (auto* value = std::get_if<std::string>(&fixed.value)) return print_quoted(*value);
    return "none";
  }

  // From the parameter list to the closing brace.
  void graph(const Graph& graph, const Method* method, const std::string& indent) {
    text_ += "(";
    for (size_t i = 0; i < graph.inputs.size(); i++) {
      if (i) text_ += ", ";
      text_ += value(graph, graph.inputs[i]) + ": " + type(graph.type(graph.inputs[i]));
      if (!method) continue;
      if (i < method->input_names.size()) text_ += " as " + print_name(method->input_names[i]);
      for (const FixedInput& fixed : method->fixed_inputs)
        if (fixed.position == int32_t(i)) {
          text_ += " = " + print_fixed(fixed);
          break;
        }
    }
    text_ += ") {\n";
    const std::string inner = indent + "  ";
    if (method && !method->in_spec.empty())
      text_ += inner + "in_spec " + print_quoted(method->in_spec) + "\n";
    if (method && !method->out_spec.empty())
      text_ += inner + "out_spec " + print_quoted(method->out_spec) + "\n";
    for (size_t i = 0; i < graph.subgraphs.size(); i++) {
      text_ += inner + "graph " + std::to_string(i) + " " + print_name(graph.subgraphs[i]->name);
      this->graph(*graph.subgraphs[i], nullptr, inner);
    }
    for (size_t i = 0; i < graph.values.size(); i++) {
      const ValueInfo& info = graph.values[i];
      if (info.origin != Origin::constant && info.origin != Origin::buffer) continue;
      text_ += inner + value(graph, ValueId(i)) + " = ";
      if (info.origin == Origin::constant)
        text_ += "constant " + reference(program_.constants, constants_, size_t(info.index));
      else
        text_ += "buffer " + reference(program_.buffers, buffers_, size_t(info.index));
      text_ += "\n";
    }
    for (NodeId id : graph.order) {
      const Node& node = graph.nodes[size_t(id)];
      text_ += inner;
      for (size_t i = 0; i < node.results.size(); i++)
        text_ += (i ? ", " : "") + value(graph, node.results[i]) + ": " +
                 type(graph.type(node.results[i]));
      if (!node.results.empty()) text_ += " = ";
      text_ += print_op_name(node.op) + "(";
      for (size_t i = 0; i < node.arguments.size(); i++)
        text_ += (i ? ", " : "") + argument(graph, node.arguments[i]);
      text_ += ")";
      if (!node.source.empty()) text_ += "  # " + print_comment(node.source);
      text_ += "\n";
    }
    for (const WriteBack& write_back : graph.write_backs) {
      text_ += inner + "write ";
      if (write_back.target == WriteBack::Target::buffer)
        text_ += "buffer " + reference(program_.buffers, buffers_, size_t(write_back.index));
      else
        text_ += "input " + value(graph, graph.inputs[size_t(write_back.index)]);
      text_ += " = " + value(graph, write_back.value) + "\n";
    }
    text_ += inner + "return";
    for (size_t i = 0; i < graph.outputs.size(); i++)
      text_ += (i ? ", " : " ") + value(graph, graph.outputs[i]);
    text_ += "\n" + indent + "}\n";
  }

  const Program& program_;
  std::string text_;
  std::unordered_map<std::string_view, size_t> constants_, buffers_;  // first of each name
};

}  // namespace

std::string print(const Program& program) { return Printer(program).program(); }
std::string print(const Graph& graph, const Program& program) {
  return Printer(program).graph(graph);
}

}  // namespace sconce
