#include "emit/pt2/emit_pt2.h"

#include <algorithm>
#include <deque>
#include <set>

#include "formats/pt2/write.h"
#include "ops/def.h"

namespace sconce {
namespace {

constexpr int kSchemaMajor = 8, kSchemaMinor = 20;  // of torch 2.13
constexpr std::string_view kTorchVersion = "2.13.0";

using pt2::Argument;
using Kind = Argument::Kind;

// "model.py:12: y = x + 1" as Python prints a frame.
std::string frame_of(const std::string& source) {
  const size_t colon = source.find(':');
  const size_t end = source.find_first_not_of("0123456789", colon + 1);
  if (colon == std::string::npos || end == colon + 1) return source;
  std::string frame = "File \"" + source.substr(0, colon) + "\", line " +
                      source.substr(colon + 1, end - colon - 1) + ", in forward";
  if (end != std::string::npos && source.compare(end, 2, ": ") == 0)
    frame += "\n    " + source.substr(end + 2);
  return frame;
}

// True when a specification of arguments has no containers but the pair of positional and keyword
// arguments.
bool is_flat(std::string_view in_spec) {
  int containers = 0;
  for (size_t at = 0; (at = in_spec.find("\"type\": \"", at)) != std::string_view::npos; at++)
    containers++;
  return containers <= 3;
}

class Emitter {
 public:
  explicit Emitter(const Program& program)
      : program_(program), method_(program.methods[0]), graph_(method_.graph) {}

  Result<std::vector<uint8_t>> run() {
    uses_ = graph_.use_counts();
    name_values();
    name_constants();
    TRY_VOID(constants());
    TRY_VOID(inputs());
    for (NodeId id : graph_.order) TRY_VOID(node(graph_.nodes[size_t(id)]));
    TRY_VOID(outputs());
    return write();
  }

 private:
  // ---- what the structs point to ----

  std::string_view text(std::string value) { return texts_.emplace_back(std::move(value)); }
  template <class T>
  static Span<const T> kept(std::deque<std::vector<T>>& all, std::vector<T> items) {
    return all.emplace_back(std::move(items));
  }
  Span<const Argument> list(std::vector<Argument> items) { return kept(lists_, std::move(items)); }
  Span<const pt2::SymInt> numbers(const std::vector<int64_t>& values) {
    std::vector<pt2::SymInt> items;
    for (int64_t value : values) items.push_back({{}, value});
    return kept(numbers_, std::move(items));
  }
  Span<const int64_t> sizes(std::vector<int64_t> values) { return kept(sizes_, std::move(values)); }

  // ---- names ----

  // A Python identifier that no other value has.
  std::string_view unique(std::string_view wanted) {
    std::string name;
    for (char c : wanted) {
      const bool is_digit = c >= '0' && c <= '9';
      if (is_digit && name.empty()) name = "value_";
      name += is_digit || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ? c : '_';
    }
    if (name.empty()) name = "value";
    std::string found = name;
    for (int i = 1; !used_.insert(found).second; i++) found = name + "_" + std::to_string(i);
    return text(found);
  }
  void name_values() {
    names_.resize(graph_.values.size());
    for (ValueId id : graph_.inputs) names_[size_t(id)] = unique(graph_.values[size_t(id)].name);
    for (size_t v = 0; v < graph_.values.size(); v++) {
      const ValueInfo& info = graph_.values[v];
      if (info.origin == Origin::constant || info.origin == Origin::buffer)
        names_[v] = unique("b_" + info.name);
    }
    for (NodeId id : graph_.order)
      for (ValueId result : graph_.nodes[size_t(id)].results)
        names_[size_t(result)] = unique(graph_.values[size_t(result)].name);
  }

  // Of constants and state in the saved module.
  void name_constants() {
    std::set<std::string> all;
    auto distinct = [&](std::string name) {
      if (name.empty()) name = "constant";
      std::string found = name;
      for (int i = 1; !all.insert(found).second; i++) found = name + "_" + std::to_string(i);
      return found;
    };
    for (const ConstantData& c : program_.constants) saved_.push_back(distinct(c.name));
    for (const BufferData& b : program_.buffers) saved_.push_back(distinct(b.name));
    for (std::string& name : saved_)
      for (size_t dot = 0; (dot = name.find('.', dot)) != std::string::npos; dot++)
        if (all.count(name.substr(0, dot))) name[dot] = '_';
  }

  // ---- types ----

  Result<std::vector<int64_t>> known_sizes(const TensorType& type, std::string_view name) const {
    std::vector<int64_t> sizes;
    for (const SymInt& size : type.sizes) {
      if (!size.is_known())
        return error(Code::unsupported,
                     "\"{}\" has a size that changes: a .pt2 is written of fixed "
                     "ones",
                     name);
      sizes.push_back(size.value);
    }
    return sizes;
  }
  static std::vector<int64_t> strides_of(const std::vector<int64_t>& sizes,
                                         const std::vector<uint8_t>& dim_order) {
    std::vector<int64_t> strides(sizes.size());
    int64_t stride = 1;
    for (size_t i = sizes.size(); i-- > 0;) {
      const size_t d = dim_order.empty() ? i : dim_order[i];
      strides[d] = stride;
      stride *= std::max<int64_t>(sizes[d], 1);
    }
    return strides;
  }

  Result<Argument> define(ValueId id) {
    const Type& type = graph_.type(id);
    Argument a;
    a.kind = Kind::tensor;
    a.name = names_[size_t(id)];
    pt2::TensorMeta meta;
    meta.device.type = "cpu";
    meta.storage_offset = {{}, 0};
    // A result that nobody can use is a tensor like any other there.
    if (type.kind != Type::Kind::tensor && type.kind != Type::Kind::none)
      return error(Code::unsupported,
                   "\"{}\" is a number that is computed: a .pt2 is written of "
                   "tensors",
                   a.name);
    if (type.is_tensor()) {
      TRY(const std::vector<int64_t> sizes, known_sizes(type.tensor, a.name));
      meta.dtype = type.tensor.dtype;
      meta.sizes = numbers(sizes);
      meta.strides = numbers(strides_of(sizes, type.tensor.dim_order));
    }
    tensors_.push_back({a.name, meta});
    return a;
  }

  // ---- signature ----

  Result<pt2::Weight> weight(const std::string& name, const TensorType& type, Bytes bytes) {
    TRY(std::vector<int64_t> known, known_sizes(type, name));
    pt2::Weight w;
    w.name = name;
    w.dtype = type.dtype;
    w.strides = sizes(strides_of(known, {}));
    w.sizes = sizes(std::move(known));
    w.bytes = w.storage = bytes;
    return w;
  }

  Result<void> constants() {
    for (size_t v = 0; v < graph_.values.size(); v++) {
      const ValueInfo& info = graph_.values[v];
      const bool is_state = info.origin == Origin::buffer;
      if (!is_state && info.origin != Origin::constant) continue;
      if (uses_[v] == 0 && !is_state) continue;
      TRY(Argument a, define(ValueId(v)));
      const size_t at = size_t(info.index) + (is_state ? program_.constants.size() : 0);
      const std::string& name = saved_[at];
      graph_inputs_.push_back(a);
      input_specs_.push_back({pt2::InputSpec::Kind::buffer, true, a, name});
      if (!written_.insert(name).second) continue;
      if (is_state) {
        const BufferData& b = program_.buffers[size_t(info.index)];
        Bytes bytes = b.initial;
        if (bytes.empty()) {
          auto size = bytes_max(b.type, program_.symbols);
          if (!size) return error(Code::unsupported, "state \"{}\" has no known size", name);
          bytes = zeros_.emplace_back(size_t(*size));
        }
        TRY(pt2::Weight w, weight(name, b.type, bytes));
        weights_.push_back(w);
      } else {
        const ConstantData& c = program_.constants[size_t(info.index)];
        TRY(pt2::Weight w, weight(name, c.type, c.bytes));
        weights_.push_back(w);
      }
    }
    return {};
  }

  static Argument number(int64_t value) {
    Argument a;
    a.kind = Kind::integer;
    a.integer = value;
    return a;
  }
  static Argument number(double value) {
    Argument a;
    a.kind = Kind::floating;
    a.floating = value;
    return a;
  }
  static Argument number(bool value) {
    Argument a;
    a.kind = Kind::boolean;
    a.boolean = value;
    return a;
  }
  Argument string(const std::string& value) {
    Argument a;
    a.kind = Kind::string;
    a.text = text(value);
    return a;
  }

  Result<void> inputs() {
    for (size_t i = 0; i < graph_.inputs.size(); i++) {
      const ValueId id = graph_.inputs[i];
      auto fixed = std::find_if(method_.fixed_inputs.begin(), method_.fixed_inputs.end(),
                                [&](const FixedInput& f) { return size_t(f.position) == i; });
      if (fixed != method_.fixed_inputs.end()) {
        Argument a;
        if (auto* x = std::get_if<int64_t>(&fixed->value)) a = number(*x);
        if (auto* x = std::get_if<double>(&fixed->value)) a = number(*x);
        if (auto* x = std::get_if<bool>(&fixed->value)) a = number(*x);
        if (auto* x = std::get_if<std::string>(&fixed->value)) a = string(*x);
        if (uses_[size_t(id)] > 0)
          return error(Code::unsupported, "input \"{}\", which is fixed, is used",
                       names_[size_t(id)]);
        graph_inputs_.push_back(a);
        input_specs_.push_back(
            {pt2::InputSpec::Kind::constant_input, false, a, names_[size_t(id)]});
        continue;
      }
      TRY(Argument a, define(id));
      graph_inputs_.push_back(a);
      input_specs_.push_back({pt2::InputSpec::Kind::user_input, false, a, {}});
    }
    return {};
  }

  Argument use(ValueId id) const {
    Argument a;
    if (id == kNoValue) return a;
    a.kind = Kind::tensor;
    a.name = names_[size_t(id)];
    return a;
  }

  Result<void> outputs() {
    for (const WriteBack& write : graph_.write_backs) {
      const bool is_buffer = write.target == WriteBack::Target::buffer;
      const std::string_view target =
          is_buffer ? std::string_view(saved_[program_.constants.size() + size_t(write.index)])
                    : names_[size_t(graph_.inputs[size_t(write.index)])];
      graph_outputs_.push_back(use(write.value));
      output_specs_.push_back({is_buffer ? pt2::OutputSpec::Kind::buffer_mutation
                                         : pt2::OutputSpec::Kind::user_input_mutation,
                               use(write.value), target});
    }
    for (ValueId id : graph_.outputs) {
      const Argument a = graph_.type(id).kind == Type::Kind::none ? Argument() : use(id);
      graph_outputs_.push_back(a);
      output_specs_.push_back({pt2::OutputSpec::Kind::user_output, a, {}});
    }
    return {};
  }

  // ---- nodes ----

  // An enumeration's ATen code as the file has it; nullopt where the type is none.
  std::optional<Argument> enumerator(std::string_view type, int64_t code) const {
    Argument a;
    if (type.starts_with("ScalarType")) {
      a.kind = Kind::dtype;
      a.dtype = DType(code);
    } else if (type.starts_with("Layout")) {
      a.kind = Kind::layout;
      a.layout = pt2::Layout::strided;
    } else if (type.starts_with("MemoryFormat")) {
      constexpr pt2::MemoryFormat kFormats[] = {
          pt2::MemoryFormat::contiguous, pt2::MemoryFormat::preserve,
          pt2::MemoryFormat::channels_last, pt2::MemoryFormat::channels_last_3d};
      a.kind = Kind::memory_format;
      a.memory_format = kFormats[size_t(std::clamp<int64_t>(code, 0, 3))];
    } else {
      return std::nullopt;
    }
    return a;
  }

  Result<Argument> argument(const sconce::Argument& from, std::string_view type,
                            const std::string& op) {
    Argument a;
    if (std::holds_alternative<None>(from)) return a;
    if (auto* x = std::get_if<ValueRef>(&from)) return use(x->id);
    if (auto* x = std::get_if<int64_t>(&from)) {
      if (auto found = enumerator(type, *x)) return *found;
      return number(*x);
    }
    if (auto* x = std::get_if<double>(&from)) return number(*x);
    if (auto* x = std::get_if<bool>(&from)) return number(*x);
    if (auto* x = std::get_if<std::string>(&from)) return string(*x);
    std::vector<Argument> items;
    if (auto* x = std::get_if<std::vector<IntItem>>(&from)) {
      a.kind = Kind::integers;
      for (const IntItem& item : *x) {
        if (!item.is_known())
          return error(Code::unsupported,
                       "{} takes a size that is computed: a .pt2 is written of "
                       "fixed ones",
                       op);
        items.push_back(number(item.known));
      }
    } else if (auto* y = std::get_if<std::vector<double>>(&from)) {
      a.kind = Kind::floats;
      for (double item : *y) items.push_back(number(item));
    } else if (auto* z = std::get_if<std::vector<bool>>(&from)) {
      a.kind = Kind::booleans;
      for (bool item : *z) items.push_back(number(item));
    } else if (auto* refs = std::get_if<std::vector<ValueRef>>(&from)) {
      a.kind = type.starts_with("Tensor?") ? Kind::optional_tensors : Kind::tensors;
      for (const ValueRef& item : *refs) items.push_back(use(item.id));
    } else {
      return error(Code::unsupported, "{} takes a graph: control flow is not written to a .pt2",
                   op);
    }
    a.items = list(std::move(items));
    return a;
  }

  static bool is_number(const Argument& a) {
    return a.kind == Kind::integer || a.kind == Kind::floating || a.kind == Kind::boolean;
  }
  // Operators to which torch passes numbers where their schema has tensors.
  static bool takes_numbers(std::string_view op) {
    for (std::string_view name : {"add", "sub", "mul", "div", "floor_divide"})
      if (op == "aten::" + std::string(name) || op.starts_with("aten::" + std::string(name) + "."))
        return true;
    return false;
  }
  // A number as a tensor without dims, which does not change the type that comes out.
  Argument tensor_of(const Argument& number, const Type& result) {
    pt2::TensorMeta meta;
    meta.device.type = "cpu";
    meta.storage_offset = {{}, 0};
    meta.dtype =
        number.kind == Kind::integer   ? DType::i64
        : number.kind == Kind::boolean ? DType::b8
        : result.is_tensor() && dtype_category(result.tensor.dtype) == DTypeCategory::floating
            ? result.tensor.dtype
            : DType::f32;
    Argument dtype;
    dtype.kind = Kind::dtype;
    dtype.dtype = meta.dtype;
    pt2::Node node;
    node.target = "torch.ops.aten.scalar_tensor.default";
    node.inputs = kept(arguments_, {{"s", false, number}, {"dtype", true, dtype}});
    Argument made;
    made.kind = Kind::tensor;
    made.name = node.name = unique("number");
    node.outputs = list({made});
    tensors_.push_back({made.name, meta});
    nodes_.push_back(node);
    return made;
  }

  Result<void> node(const Node& from) {
    // Tensors are contiguous here where torch's may be views with strides, of which not all can be
    // views of another shape.
    const bool is_view = from.op == "aten::view" || from.op == "aten::_unsafe_view";
    const Op* op = find_op(is_view ? "aten::reshape" : from.op);
    if (!op || from.op.starts_with("sconce::"))
      return error(Code::unsupported,
                   "{} is not written to a .pt2: it is no operator of tensors that torch has",
                   from.op);
    pt2::Node to;
    // "aten::add.Tensor" and "aten::relu" are torch.ops.aten.add.Tensor and ...relu.default.
    std::string target = op->name;
    const size_t colons = target.find("::");
    if (target.find('.', colons) == std::string::npos) target += ".default";
    to.target = text("torch.ops." + target.replace(colons, 2, "."));
    std::vector<pt2::NamedArgument> arguments;
    for (size_t i = 0; i < from.arguments.size() && i < op->arguments.size(); i++) {
      const SchemaArgument& schema = op->arguments[i];
      if (schema.keyword_only && schema.has_default && schema.default_value == from.arguments[i])
        continue;
      TRY(Argument value, argument(from.arguments[i], schema.type, from.op));
      if (is_number(value) && !takes_numbers(from.op) &&
          (schema.type == "Tensor" || schema.type == "Tensor?"))
        value = tensor_of(value, graph_.type(from.results[0]));
      arguments.push_back({schema.name, schema.keyword_only, value});
    }
    to.inputs = kept(arguments_, std::move(arguments));
    std::vector<Argument> results;
    for (ValueId id : from.results) {
      TRY(Argument result, define(id));
      results.push_back(result);
    }
    if (op->returns.size() == 1 && op->returns[0].type.starts_with("Tensor[")) {
      Argument all;
      all.kind = Kind::tensors;
      all.items = list(std::move(results));
      results = {all};
    }
    // A node of several results has a name of its own.
    if (from.results.size() == 1)
      to.name = names_[size_t(from.results[0])];
    else if (!from.results.empty())
      to.name = unique(from.op.substr(from.op.find("::") + 2));
    to.outputs = list(std::move(results));
    if (!from.source.empty()) to.stack_trace = text(frame_of(from.source));
    nodes_.push_back(to);
    return {};
  }

  Result<std::vector<uint8_t>> write() {
    auto by_name = [](const auto& a, const auto& b) { return a.name < b.name; };
    std::sort(tensors_.begin(), tensors_.end(), by_name);
    std::sort(weights_.begin(), weights_.end(), by_name);
    pt2::ModuleCall call;
    call.has_signature = true;
    call.in_spec = method_.in_spec;
    call.out_spec = method_.out_spec;
    // Names of the inputs are those of the arguments unless these are lists or dictionaries.
    std::vector<std::string_view> argument_names;
    if (is_flat(method_.in_spec))
      argument_names.assign(method_.input_names.begin(), method_.input_names.end());
    call.argument_names = argument_names;
    const pt2::Named<int64_t> opset[] = {{"aten", 10}};
    pt2::Program p;
    p.name = "model";
    p.graph.inputs = graph_inputs_;
    p.graph.outputs = graph_outputs_;
    p.graph.nodes = nodes_;
    p.graph.tensor_values = tensors_;
    p.inputs = input_specs_;
    p.outputs = output_specs_;
    p.module_calls = {&call, 1};
    p.opset_version = opset;
    p.weights = weights_;
    p.torch_version = kTorchVersion;
    p.schema_major = kSchemaMajor;
    p.schema_minor = kSchemaMinor;
    return pt2::write_archive(p);
  }

  const Program& program_;
  const Method& method_;
  const Graph& graph_;
  std::vector<int32_t> uses_;
  std::vector<std::string_view> names_;  // by value
  std::set<std::string, std::less<>> used_;
  std::vector<std::string> saved_;  // names of constants, then of state
  std::set<std::string> written_;
  std::deque<std::string> texts_;
  std::deque<std::vector<Argument>> lists_;
  std::deque<std::vector<pt2::NamedArgument>> arguments_;
  std::deque<std::vector<pt2::SymInt>> numbers_;
  std::deque<std::vector<int64_t>> sizes_;
  std::deque<std::vector<uint8_t>> zeros_;
  std::vector<Argument> graph_inputs_, graph_outputs_;
  std::vector<pt2::InputSpec> input_specs_;
  std::vector<pt2::OutputSpec> output_specs_;
  std::vector<pt2::Node> nodes_;
  std::vector<pt2::Named<pt2::TensorMeta>> tensors_;
  std::vector<pt2::Weight> weights_;
};

}  // namespace

Result<std::vector<uint8_t>> emit_pt2(const Program& program) {
  if (program.methods.size() != 1)
    return error(Code::unsupported, "a .pt2 is written of one method: the program has {}",
                 program.methods.size());
  return Emitter(program).run();
}

}  // namespace sconce
