#include "formats/pt2/program.h"

#include <unordered_map>

#include "base/checked.h"
#include "formats/json/json_reader.h"

namespace sconce::pt2 {
namespace {

using json::Element;
using json::Field;
using json::optional_field;

constexpr int kSchemaMajor = 8;

// Element types by the file's numbers, which are not ATen's.
struct NumberedType {
  int number;
  DType dtype;
};
constexpr NumberedType kTypes[] = {
    {1, DType::u8},   {2, DType::i8},        {3, DType::i16},     {4, DType::i32},
    {5, DType::i64},  {6, DType::f16},       {7, DType::f32},     {8, DType::f64},
    {10, DType::c64}, {11, DType::c128},     {12, DType::b8},     {13, DType::bf16},
    {28, DType::u16}, {29, DType::f8e4m3fn}, {30, DType::f8e5m2}, {34, DType::u32},
    {35, DType::u64},
};
std::optional<DType> to_dtype(int64_t number) {
  for (const NumberedType& type : kTypes)
    if (type.number == number) return type.dtype;
  return std::nullopt;
}

// Those of the schema that have no DType.
const char* unsupported_dtype_name(int64_t number) {
  switch (number) {
    case 9: return "complex32";
    case 31: return "float8_e4m3fnuz";
    case 32: return "float8_e5m2fnuz";
    case 33: return "float8_e8m0fnu";
    default: return "unknown";
  }
}

class Reader : public json::JsonReader {
 public:
  Reader(Storage& storage, const ReadOptions& options) : JsonReader(storage), options_(options) {}

  bool program(Element element, Program* out) {
    Field fields[] = {{"graph_module"},
                      {"opset_version"},
                      {"range_constraints"},
                      {"schema_version"},
                      optional_field("torch_version"),
                      optional_field("guards_code")};
    auto& [graph_module, opset_version, range_constraints, schema_version, torch_version, guards] =
        fields;
    if (!members(element, fields)) return false;
    // The version first: a different one explains every other difference.
    if (!schema(schema_version.value, out)) return in("schema_version");
    if (torch_version.found && !text(torch_version.value, &out->torch_version))
      return in("torch_version");
    if (!table(opset_version.value, &out->opset_version,
               [&](Element e, int64_t* version) { return integer(e, version); }))
      return in("opset_version");
    if (!table(range_constraints.value, &out->range_constraints,
               [&](Element e, Range* range) { return this->range(e, range); }))
      return in("range_constraints");
    if (guards.found && !texts(guards.value, &out->guards)) return in("guards_code");
    if (!module(graph_module.value, out)) return in("graph_module");
    return true;
  }

  bool payloads(Element element, Span<const Named<Payload>>* out) {
    Field fields[] = {{"config"}};
    if (!members(element, fields)) return false;
    if (!table(fields[0].value, out, [&](Element e, Payload* p) { return payload(e, p); }))
      return in("config");
    return true;
  }

 private:
  bool schema(Element element, Program* out) {
    Field fields[] = {{"major"}, {"minor"}};
    int64_t major, minor;
    if (!members(element, fields)) return false;
    if (!integer_within(fields[0].value, 0, INT32_MAX, &major)) return in("major");
    if (!integer_within(fields[1].value, 0, INT32_MAX, &minor)) return in("minor");
    out->schema_major = int32_t(major);
    out->schema_minor = int32_t(minor);
    if (major != kSchemaMajor)
      return fail(Code::unsupported,
                  "found {}.{}, wanted {}.x; save the model again with torch 2.13", major, minor,
                  kSchemaMajor);
    return true;
  }

  bool range(Element element, Range* out) {
    Field fields[] = {optional_field("min_val"), optional_field("max_val")};
    if (!members(element, fields)) return false;
    if (!bound(fields[0], &out->min)) return in("min_val");
    if (!bound(fields[1], &out->max)) return in("max_val");
    if (out->min && out->max && *out->min > *out->max)
      return fail(Code::invalid_file, "minimum {} exceeds maximum {}", *out->min, *out->max);
    return true;
  }

  bool bound(const Field& field, std::optional<int64_t>* out) {
    std::string_view name;
    if (!field.found) return true;
    if (field.value.get_string().get(name) == simdjson::SUCCESS &&
        (name == "Infinity" || name == "-Infinity"))
      return true;
    int64_t value;
    if (!integer(field.value, &value)) return false;
    *out = value;
    return true;
  }

  bool module(Element element, Program* out) {
    Field fields[] = {{"graph"}, {"signature"}, {"module_call_graph"}};
    if (!members(element, fields)) return false;
    if (!graph(fields[0].value, 0, &out->graph)) return in("graph");
    if (!signature(fields[1].value, out) || !check_signature(*out)) return in("signature");
    if (!list(fields[2].value, &out->module_calls,
              [&](Element e, ModuleCall* call) { return module_call(e, call); }))
      return in("module_call_graph");
    return true;
  }

  bool module_call(Element element, ModuleCall* out) {
    Field fields[] = {{"fqn"}, optional_field("signature")};
    if (!members(element, fields)) return false;
    if (!text(fields[0].value, &out->fqn)) return in("fqn");
    if (!fields[1].found) return true;
    out->has_signature = true;
    Field parts[] = {
        {"inputs"}, {"outputs"}, {"in_spec"}, {"out_spec"}, optional_field("forward_arg_names")};
    auto& [inputs, outputs, in_spec, out_spec, names] = parts;
    if (!members(fields[1].value, parts)) return in("signature");
    if (!arguments(inputs.value, &out->inputs)) return in("signature: inputs");
    if (!arguments(outputs.value, &out->outputs)) return in("signature: outputs");
    if (!text(in_spec.value, &out->in_spec)) return in("signature: in_spec");
    if (!text(out_spec.value, &out->out_spec)) return in("signature: out_spec");
    if (names.found && !texts(names.value, &out->argument_names))
      return in("signature: forward_arg_names");
    return true;
  }

  bool texts(Element element, Span<const std::string_view>* out) {
    return list(element, out, [&](Element e, std::string_view* item) { return text(e, item); });
  }

  // --- Symbolic numbers and tensors

  template <class T, class Constant>
  bool symbolic(Element element, std::string_view constant_kind, Constant constant,
                Symbolic<T>* out) {
    std::string_view kind;
    Element value;
    if (!only_member(element, &kind, &value)) return false;
    if (kind == constant_kind) {
      T number;
      if (!constant(value, &number)) return in("{}", kind);
      out->hint = number;
      return true;
    }
    if (kind != "as_expr")
      return fail(Code::invalid_file, "found kind \"{}\", wanted \"{}\" or \"as_expr\"", kind,
                  constant_kind);
    Field fields[] = {{"expr_str"}, optional_field("hint")};
    if (!members(value, fields)) return in("as_expr");
    if (!text(fields[0].value, &out->expr)) return in("as_expr: expr_str");
    if (out->expr.empty()) return fail(Code::invalid_file, "as_expr: expr_str is empty");
    if (!fields[1].found) return true;
    if (!only_member(fields[1].value, &kind, &value)) return in("as_expr: hint");
    // A hint of another kind (an int behind a float) helps nobody: left out.
    T number;
    if (kind != constant_kind) return true;
    if (!constant(value, &number)) return in("as_expr: hint");
    out->hint = number;
    return true;
  }
  bool sym_int(Element element, SymInt* out) {
    return symbolic(
        element, "as_int", [&](Element e, int64_t* n) { return integer(e, n); }, out);
  }
  bool sym_float(Element element, SymFloat* out) {
    return symbolic(
        element, "as_float", [&](Element e, double* n) { return floating(e, n); }, out);
  }
  bool sym_bool(Element element, SymBool* out) {
    return symbolic(
        element, "as_bool", [&](Element e, bool* n) { return boolean(e, n); }, out);
  }

  bool dtype(Element element, DType* out) {
    int64_t number;
    if (!integer(element, &number)) return false;
    auto found = to_dtype(number);
    if (!found)
      return fail(Code::unsupported, "element type {} ({}) is not supported", number,
                  unsupported_dtype_name(number));
    *out = *found;
    return true;
  }

  bool device(Element element, Device* out) {
    Field fields[] = {{"type"}, optional_field("index")};
    if (!members(element, fields)) return false;
    if (!text(fields[0].value, &out->type)) return in("type");
    int64_t index;
    if (!fields[1].found) return true;
    if (!integer_within(fields[1].value, -1, INT32_MAX, &index)) return in("index");
    out->index = int32_t(index);
    return true;
  }

  bool tensor_meta(Element element, TensorMeta* out) {
    Field fields[] = {{"dtype"},   {"sizes"},          {"requires_grad"}, {"device"},
                      {"strides"}, {"storage_offset"}, {"layout"}};
    auto& [dtype, sizes, requires_grad, device, strides, storage_offset, layout] = fields;
    if (!members(element, fields)) return false;
    auto each = [&](Element e, SymInt* item) { return sym_int(e, item); };
    if (!this->dtype(dtype.value, &out->dtype)) return in("dtype");
    if (!list(sizes.value, &out->sizes, each)) return in("sizes");
    if (!boolean(requires_grad.value, &out->requires_grad)) return in("requires_grad");
    if (!this->device(device.value, &out->device)) return in("device");
    if (!list(strides.value, &out->strides, each)) return in("strides");
    if (!sym_int(storage_offset.value, &out->storage_offset)) return in("storage_offset");
    int64_t number;
    if (!integer_within(layout.value, 0, 7, &number)) return in("layout");
    out->layout = Layout(number);
    if (out->sizes.size() != out->strides.size() && out->layout == Layout::strided)
      return fail(Code::invalid_file, "{} sizes but {} strides", out->sizes.size(),
                  out->strides.size());
    // The part that is known must be sound on its own.
    int64_t bytes = int64_t(dtype_bytes(out->dtype));
    for (const SymInt& size : out->sizes) {
      if (!size.is_constant()) continue;
      if (*size.hint < 0) return fail(Code::invalid_file, "size {} is negative", *size.hint);
      if (*size.hint != 0 && !checked_multiply(bytes, *size.hint, &bytes))
        return fail(Code::too_large, "the product of the sizes exceeds 64 bits");
    }
    return true;
  }

  // --- Arguments

  static Argument make(Argument::Kind kind) {
    Argument argument;
    argument.kind = kind;
    return argument;
  }

  bool named(Element element, Argument::Kind kind, Argument* out) {
    Field fields[] = {{"name"}};
    *out = make(kind);
    if (!members(element, fields)) return false;
    if (!text(fields[0].value, &out->name)) return in("name");
    return true;
  }
  bool tensor(Element element, Argument* out) {
    return named(element, Argument::Kind::tensor, out);
  }
  bool custom_obj(Element element, Argument* out) {
    Field fields[] = {{"name"}, {"class_fqn"}};
    *out = make(Argument::Kind::custom_obj);
    if (!members(element, fields)) return false;
    if (!text(fields[0].value, &out->name)) return in("name");
    if (!text(fields[1].value, &out->text)) return in("class_fqn");
    return true;
  }

  bool integer_argument(Element element, Argument* out) {
    *out = make(Argument::Kind::integer);
    return integer(element, &out->integer);
  }
  bool floating_argument(Element element, Argument* out) {
    *out = make(Argument::Kind::floating);
    return floating(element, &out->floating);
  }
  bool boolean_argument(Element element, Argument* out) {
    *out = make(Argument::Kind::boolean);
    bool value;
    if (!boolean(element, &value)) return false;
    out->boolean = value;
    return true;
  }
  bool text_argument(Element element, Argument::Kind kind, Argument* out) {
    *out = make(kind);
    return text(element, &out->text);
  }

  // A name of the given kind, or a plain number read by `constant`.
  template <class Constant>
  bool symbolic_argument(Element element, Argument::Kind kind, std::string_view constant_kind,
                         Constant constant, Argument* out) {
    std::string_view key;
    Element value;
    if (!only_member(element, &key, &value)) return false;
    if (key == constant_kind) return constant(value, out) || in("{}", key);
    if (key != "as_name")
      return fail(Code::invalid_file, "found kind \"{}\", wanted \"as_name\" or \"{}\"", key,
                  constant_kind);
    *out = make(kind);
    return text(value, &out->name) || in("as_name");
  }
  bool sym_int_argument(Element element, Argument* out) {
    return symbolic_argument(
        element, Argument::Kind::sym_int, "as_int",
        [&](Element e, Argument* a) { return integer_argument(e, a); }, out);
  }
  bool sym_float_argument(Element element, Argument* out) {
    return symbolic_argument(
        element, Argument::Kind::sym_float, "as_float",
        [&](Element e, Argument* a) { return floating_argument(e, a); }, out);
  }
  bool sym_bool_argument(Element element, Argument* out) {
    return symbolic_argument(
        element, Argument::Kind::sym_bool, "as_bool",
        [&](Element e, Argument* a) { return boolean_argument(e, a); }, out);
  }

  bool optional_tensor(Element element, Argument* out) {
    std::string_view key;
    Element value;
    if (!only_member(element, &key, &value)) return false;
    if (key == "as_tensor") return tensor(value, out);
    if (key != "as_none")
      return fail(Code::invalid_file, "found kind \"{}\", wanted \"as_tensor\" or \"as_none\"",
                  key);
    *out = Argument();
    return true;
  }

  using ReadArgument = bool (Reader::*)(Element, Argument*);
  bool list_argument(Element element, Argument::Kind kind, ReadArgument read, Argument* out) {
    *out = make(kind);
    return list(element, &out->items, [&](Element e, Argument* a) { return (this->*read)(e, a); });
  }
  bool tensor_list(Element element, Argument* out) {
    return list_argument(element, Argument::Kind::tensors, &Reader::tensor, out);
  }
  bool integer_list(Element element, Argument* out) {
    return list_argument(element, Argument::Kind::integers, &Reader::integer_argument, out);
  }
  bool floating_list(Element element, Argument* out) {
    return list_argument(element, Argument::Kind::floats, &Reader::floating_argument, out);
  }
  bool string_argument(Element element, Argument* out) {
    return text_argument(element, Argument::Kind::string, out);
  }

  bool dictionary(Element element, Argument* out) {
    *out = make(Argument::Kind::dictionary);
    Span<const Named<Argument>> entries;
    if (!table(element, &entries, [&](Element e, Argument* a) { return argument(e, a); }))
      return false;
    Span<Argument> items = arena_.allocate<Argument>(entries.size());
    for (size_t i = 0; i < items.size(); i++) {
      items[i] = entries[i].value;
      items[i].key = entries[i].name;
    }
    out->items = items;
    return true;
  }

  bool complex(Element element, Argument* out) {
    Field fields[] = {{"real"}, {"imag"}};
    *out = make(Argument::Kind::complex);
    return members(element, fields) && (floating(fields[0].value, &out->floating) || in("real")) &&
           (floating(fields[1].value, &out->imaginary) || in("imag"));
  }

  bool graph_argument(Element element, Argument* out) {
    Field fields[] = {{"name"}, {"graph"}};
    *out = make(Argument::Kind::graph);
    if (!members(element, fields)) return false;
    if (!text(fields[0].value, &out->name)) return in("name");
    if (depth_ >= options_.graph_depth_max)
      return fail(Code::too_large, "graph \"{}\" is nested deeper than the limit of {}", out->name,
                  options_.graph_depth_max);
    Graph* nested = &arena_.allocate<Graph>(1)[0];
    out->graph = nested;
    return graph(fields[1].value, depth_ + 1, nested) || in("graph \"{}\"", out->name);
  }

  template <class Enum>
  bool enumerator(Element element, Argument::Kind kind, int64_t max, Enum Argument::*member,
                  Argument* out) {
    int64_t number;
    *out = make(kind);
    if (!integer_within(element, 0, max, &number)) return false;
    out->*member = Enum(number);
    return true;
  }

  bool argument(Element element, Argument* out) {
    std::string_view kind;
    Element value;
    if (!only_member(element, &kind, &value)) return false;
    return argument_of_kind(kind, value, out) || in("{}", kind);
  }

  // Roughly by frequency.
  bool argument_of_kind(std::string_view kind, Element value, Argument* out) {
    using Kind = Argument::Kind;
    if (kind == "as_tensor") return tensor(value, out);
    if (kind == "as_int") return integer_argument(value, out);
    if (kind == "as_ints") return integer_list(value, out);
    if (kind == "as_bool") return boolean_argument(value, out);
    if (kind == "as_float") return floating_argument(value, out);
    if (kind == "as_none") return *out = Argument(), true;
    if (kind == "as_tensors") return tensor_list(value, out);
    if (kind == "as_sym_int") return sym_int_argument(value, out);
    if (kind == "as_sym_ints")
      return list_argument(value, Kind::sym_ints, &Reader::sym_int_argument, out);
    if (kind == "as_string") return string_argument(value, out);
    if (kind == "as_scalar_type") {
      *out = make(Kind::dtype);
      DType type;
      if (!dtype(value, &type)) return false;
      out->dtype = type;
      return true;
    }
    if (kind == "as_device") {
      Device read;
      if (!device(value, &read)) return false;
      *out = make(Kind::device);
      out->text = read.type;
      out->integer = read.index;
      return true;
    }
    if (kind == "as_layout") return enumerator(value, Kind::layout, 7, &Argument::layout, out);
    if (kind == "as_memory_format")
      return enumerator(value, Kind::memory_format, 4, &Argument::memory_format, out);
    if (kind == "as_optional_tensors")
      return list_argument(value, Kind::optional_tensors, &Reader::optional_tensor, out);
    if (kind == "as_optional_tensor") return optional_tensor(value, out);
    if (kind == "as_graph") return graph_argument(value, out);
    if (kind == "as_floats") return floating_list(value, out);
    if (kind == "as_bools")
      return list_argument(value, Kind::booleans, &Reader::boolean_argument, out);
    if (kind == "as_strings")
      return list_argument(value, Kind::strings, &Reader::string_argument, out);
    if (kind == "as_sym_bool") return sym_bool_argument(value, out);
    if (kind == "as_sym_bools")
      return list_argument(value, Kind::sym_bools, &Reader::sym_bool_argument, out);
    if (kind == "as_sym_float") return sym_float_argument(value, out);
    if (kind == "as_sym_floats")
      return list_argument(value, Kind::sym_floats, &Reader::sym_float_argument, out);
    if (kind == "as_complex") return complex(value, out);
    if (kind == "as_operator") return text_argument(value, Kind::op, out);
    if (kind == "as_custom_obj") return custom_obj(value, out);
    if (kind == "as_nested_tensors")
      return list_argument(value, Kind::tensor_lists, &Reader::tensor_list, out);
    if (kind == "as_int_lists")
      return list_argument(value, Kind::integer_lists, &Reader::integer_list, out);
    if (kind == "as_float_lists")
      return list_argument(value, Kind::float_lists, &Reader::floating_list, out);
    if (kind == "as_string_to_argument") return dictionary(value, out);
    return fail(Code::unsupported, "no such kind of argument is known");
  }

  bool arguments(Element element, Span<const Argument>* out) {
    return list(element, out, [&](Element e, Argument* a) { return argument(e, a); });
  }

  // --- Graphs

  bool named_argument(Element element, NamedArgument* out) {
    Field fields[] = {{"name"}, {"arg"}, optional_field("kind")};
    auto& [name, value, kind] = fields;
    if (!members(element, fields)) return false;
    if (!text(name.value, &out->name)) return in("name");
    if (!argument(value.value, &out->value)) return in("argument \"{}\"", out->name);
    int64_t number;
    if (!kind.found) return true;
    if (!integer_within(kind.value, 0, 2, &number)) return in("kind");
    out->is_keyword = number == 2;
    return true;
  }

  bool metadata(Element element, Node* out) {
    simdjson::dom::object entries;
    if (!object(element, &entries)) return false;
    for (auto [name, value] : entries) {
      std::string_view* target = name == "stack_trace"       ? &out->stack_trace
                                 : name == "nn_module_stack" ? &out->nn_module_stack
                                 : name == "torch_fn"        ? &out->torch_fn
                                 : name == "custom"          ? &out->custom
                                                             : nullptr;
      if (target && !text(value, target)) return in("{}", name);
    }
    return true;
  }

  bool node(Element element, Node* out) {
    Field fields[] = {{"target"},
                      {"inputs"},
                      {"outputs"},
                      {"metadata"},
                      optional_field("is_hop_single_tensor_return"),
                      optional_field("name")};
    auto& [target, inputs, outputs, metadata, is_single, name] = fields;
    if (!members(element, fields)) return false;
    if (!text(target.value, &out->target)) return in("target");
    if (name.found && !text(name.value, &out->name)) return in("name");
    if (!list(inputs.value, &out->inputs,
              [&](Element e, NamedArgument* a) { return named_argument(e, a); }))
      return in("{}: inputs", out->target);
    if (!arguments(outputs.value, &out->outputs)) return in("{}: outputs", out->target);
    if (!this->metadata(metadata.value, out)) return in("{}: metadata", out->target);
    if (is_single.found && !boolean(is_single.value, &out->is_single_tensor_return))
      return in("{}: is_hop_single_tensor_return", out->target);
    return true;
  }

  bool graph(Element element, uint32_t depth, Graph* out) {
    uint32_t outer_depth = depth_;
    depth_ = depth;
    bool done = graph_parts(element, out) && check_names(*out);
    depth_ = outer_depth;
    return done;
  }

  bool graph_parts(Element element, Graph* out) {
    Field fields[] = {{"inputs"},
                      {"outputs"},
                      {"nodes"},
                      {"tensor_values"},
                      {"sym_int_values"},
                      {"sym_bool_values"},
                      optional_field("is_single_tensor_return"),
                      optional_field("custom_obj_values"),
                      optional_field("sym_float_values")};
    auto& [inputs, outputs, nodes, tensors, ints, bools, is_single, objects, floats] = fields;
    if (!members(element, fields)) return false;
    if (!table(tensors.value, &out->tensor_values,
               [&](Element e, TensorMeta* meta) { return tensor_meta(e, meta); }))
      return in("tensor_values");
    if (!table(ints.value, &out->sym_int_values,
               [&](Element e, SymInt* number) { return sym_int(e, number); }))
      return in("sym_int_values");
    if (!table(bools.value, &out->sym_bool_values,
               [&](Element e, SymBool* number) { return sym_bool(e, number); }))
      return in("sym_bool_values");
    if (floats.found && !table(floats.value, &out->sym_float_values,
                               [&](Element e, SymFloat* number) { return sym_float(e, number); }))
      return in("sym_float_values");
    if (objects.found && !table(objects.value, &out->custom_obj_values,
                                [&](Element e, std::string_view* class_name) {
                                  Argument read;
                                  if (!custom_obj(e, &read)) return false;
                                  *class_name = read.text;
                                  return true;
                                }))
      return in("custom_obj_values");
    if (is_single.found && !boolean(is_single.value, &out->is_single_tensor_return))
      return in("is_single_tensor_return");
    if (!arguments(inputs.value, &out->inputs)) return in("inputs");
    if (!list(nodes.value, &out->nodes, [&](Element e, Node* n) { return node(e, n); }))
      return in("nodes");
    if (!arguments(outputs.value, &out->outputs)) return in("outputs");
    return true;
  }

  // --- Names

  using Names = std::unordered_map<std::string_view, Argument::Kind>;

  bool define(const Graph& graph, const Argument& argument, Names* names) {
    using Kind = Argument::Kind;
    for (const Argument& item : argument.items)
      if (!define(graph, item, names)) return false;
    bool has_value = true;
    switch (argument.kind) {
      case Kind::tensor: has_value = find_tensor(graph, argument.name); break;
      case Kind::sym_int: has_value = find_sym_int(graph, argument.name); break;
      case Kind::sym_float: has_value = find_sym_float(graph, argument.name); break;
      case Kind::sym_bool: has_value = find_sym_bool(graph, argument.name); break;
      default: return true;
    }
    if (!has_value)
      return fail(Code::invalid_file, "{} \"{}\" is missing in {}_values", kind_name(argument.kind),
                  argument.name, kind_name(argument.kind));
    if (!names->emplace(argument.name, argument.kind).second)
      return fail(Code::invalid_file, "\"{}\" is defined twice", argument.name);
    return true;
  }

  bool use(const Argument& argument, const Names& names) {
    using Kind = Argument::Kind;
    for (const Argument& item : argument.items)
      if (!use(item, names)) return false;
    if (argument.kind < Kind::tensor || argument.kind > Kind::sym_bool) return true;
    auto found = names.find(argument.name);
    if (found == names.end())
      return fail(Code::invalid_file, "{} \"{}\" is used before anything defines it",
                  kind_name(argument.kind), argument.name);
    if (found->second != argument.kind)
      return fail(Code::invalid_file, "\"{}\" is used as {} but defined as {}", argument.name,
                  kind_name(argument.kind), kind_name(found->second));
    return true;
  }

  bool check_names(const Graph& graph) {
    Names names;
    names.reserve(graph.tensor_values.size() + graph.sym_int_values.size());
    for (size_t i = 0; i < graph.inputs.size(); i++)
      if (!define(graph, graph.inputs[i], &names)) return in("inputs: [{}]", i);
    for (size_t i = 0; i < graph.nodes.size(); i++) {
      const Node& node = graph.nodes[i];
      for (const NamedArgument& input : node.inputs)
        if (!use(input.value, names))
          return in("nodes: [{}]: {}: argument \"{}\"", i, node.target, input.name);
      for (const Argument& output : node.outputs)
        if (!define(graph, output, &names)) return in("nodes: [{}]: {}: outputs", i, node.target);
    }
    for (size_t i = 0; i < graph.outputs.size(); i++)
      if (!use(graph.outputs[i], names)) return in("outputs: [{}]", i);
    return true;
  }

  // --- Signature

  bool signature(Element element, Program* out) {
    Field fields[] = {{"input_specs"}, {"output_specs"}};
    if (!members(element, fields)) return false;
    if (!list(fields[0].value, &out->inputs,
              [&](Element e, InputSpec* spec) { return input_spec(e, spec); }))
      return in("input_specs");
    if (!list(fields[1].value, &out->outputs,
              [&](Element e, OutputSpec* spec) { return output_spec(e, spec); }))
      return in("output_specs");
    return true;
  }

  // What `arg` of a specification holds.
  enum class Holds { argument, tensor, custom_obj, token };
  bool spec_argument(Element element, Holds holds, Argument* out) {
    switch (holds) {
      case Holds::argument: return argument(element, out);
      case Holds::tensor: return tensor(element, out);
      case Holds::custom_obj: return custom_obj(element, out);
      case Holds::token: return named(element, Argument::Kind::token, out);
    }
    return false;
  }

  // `target_field` is empty when the specification has no target.
  bool spec_parts(Element element, Holds holds, std::string_view target_field, Argument* argument,
                  std::string_view* target) {
    Field fields[] = {{"arg"}, {target_field}};
    if (!members(element, Span<Field>(fields, target_field.empty() ? 1 : 2))) return false;
    if (!spec_argument(fields[0].value, holds, argument)) return in("arg");
    if (!target_field.empty() && !text(fields[1].value, target)) return in("{}", target_field);
    return true;
  }

  bool input_spec(Element element, InputSpec* out) {
    std::string_view kind;
    Element value;
    if (!only_member(element, &kind, &value)) return false;
    return input_spec_of_kind(kind, value, out) || in("{}", kind);
  }

  bool input_spec_of_kind(std::string_view kind, Element value, InputSpec* out) {
    using Kind = InputSpec::Kind;
    auto parts = [&](Kind k, Holds holds, std::string_view target_field) {
      out->kind = k;
      return spec_parts(value, holds, target_field, &out->arg, &out->target);
    };
    if (kind == "parameter") return parts(Kind::parameter, Holds::tensor, "parameter_name");
    if (kind == "user_input") return parts(Kind::user_input, Holds::argument, "");
    if (kind == "tensor_constant")
      return parts(Kind::tensor_constant, Holds::tensor, "tensor_constant_name");
    if (kind == "custom_obj") return parts(Kind::custom_obj, Holds::custom_obj, "custom_obj_name");
    if (kind == "token") return parts(Kind::token, Holds::token, "");
    if (kind == "buffer") {
      Field fields[] = {{"persistent"}};
      return parts(Kind::buffer, Holds::tensor, "buffer_name") && members(value, fields) &&
             (boolean(fields[0].value, &out->persistent) || in("persistent"));
    }
    if (kind == "constant_input") {
      Field fields[] = {{"name"}, {"value"}};
      out->kind = Kind::constant_input;
      // The value has the form of an argument, restricted to plain numbers, strings and none.
      return members(value, fields) && (text(fields[0].value, &out->target) || in("name")) &&
             (argument(fields[1].value, &out->arg) || in("value"));
    }
    return fail(Code::unsupported, "no such kind of input is known");
  }

  bool output_spec(Element element, OutputSpec* out) {
    std::string_view kind;
    Element value;
    if (!only_member(element, &kind, &value)) return false;
    return output_spec_of_kind(kind, value, out) || in("{}", kind);
  }

  bool output_spec_of_kind(std::string_view kind, Element value, OutputSpec* out) {
    using Kind = OutputSpec::Kind;
    auto parts = [&](Kind k, Holds holds, std::string_view target_field) {
      out->kind = k;
      return spec_parts(value, holds, target_field, &out->arg, &out->target);
    };
    if (kind == "user_output") return parts(Kind::user_output, Holds::argument, "");
    if (kind == "loss_output") return parts(Kind::loss, Holds::tensor, "");
    if (kind == "buffer_mutation")
      return parts(Kind::buffer_mutation, Holds::tensor, "buffer_name");
    if (kind == "parameter_mutation")
      return parts(Kind::parameter_mutation, Holds::tensor, "parameter_name");
    if (kind == "user_input_mutation")
      return parts(Kind::user_input_mutation, Holds::tensor, "user_input_name");
    if (kind == "gradient_to_parameter")
      return parts(Kind::gradient_to_parameter, Holds::tensor, "parameter_name");
    if (kind == "gradient_to_user_input")
      return parts(Kind::gradient_to_user_input, Holds::tensor, "user_input_name");
    if (kind == "token") return parts(Kind::token, Holds::token, "");
    return fail(Code::unsupported, "no such kind of output is known");
  }

  // Same count as the graph's, the same names, and targets that exist.
  bool check_signature(const Program& program) {
    const Graph& graph = program.graph;
    if (program.inputs.size() != graph.inputs.size())
      return fail(Code::invalid_file, "{} input_specs, but the graph has {} inputs",
                  program.inputs.size(), graph.inputs.size());
    if (program.outputs.size() != graph.outputs.size())
      return fail(Code::invalid_file, "{} output_specs, but the graph has {} outputs",
                  program.outputs.size(), graph.outputs.size());
    auto agrees = [](const Argument& spec, const Argument& value) {
      using Kind = Argument::Kind;
      if (spec.kind == Kind::token || spec.kind == Kind::custom_obj) return true;
      return spec.kind == value.kind && spec.name == value.name;
    };
    std::unordered_map<std::string_view, InputSpec::Kind> sources;  // by target, or by input name
    for (size_t i = 0; i < program.inputs.size(); i++) {
      const InputSpec& spec = program.inputs[i];
      if (!agrees(spec.arg, graph.inputs[i]))
        return fail(Code::invalid_file,
                    "input_specs: [{}] is {} \"{}\", input of the graph {} \"{}\"", i,
                    kind_name(spec.arg.kind), spec.arg.name, kind_name(graph.inputs[i].kind),
                    graph.inputs[i].name);
      bool is_user = spec.kind == InputSpec::Kind::user_input;
      sources.emplace(is_user ? spec.arg.name : spec.target, spec.kind);
    }
    for (size_t i = 0; i < program.outputs.size(); i++) {
      const OutputSpec& spec = program.outputs[i];
      if (!agrees(spec.arg, graph.outputs[i]))
        return fail(Code::invalid_file,
                    "output_specs: [{}] is {} \"{}\", output of the graph {} \"{}\"", i,
                    kind_name(spec.arg.kind), spec.arg.name, kind_name(graph.outputs[i].kind),
                    graph.outputs[i].name);
      if (spec.target.empty()) continue;
      auto source = sources.find(spec.target);
      if (source == sources.end() || source->second != wanted_source(spec.kind))
        return fail(Code::invalid_file, "output_specs: [{}]: no input stands for \"{}\"", i,
                    spec.target);
    }
    return true;
  }

  static InputSpec::Kind wanted_source(OutputSpec::Kind kind) {
    switch (kind) {
      case OutputSpec::Kind::buffer_mutation: return InputSpec::Kind::buffer;
      case OutputSpec::Kind::parameter_mutation:
      case OutputSpec::Kind::gradient_to_parameter: return InputSpec::Kind::parameter;
      default: return InputSpec::Kind::user_input;
    }
  }

  // --- Weights

  bool payload(Element element, Payload* out) {
    Field fields[] = {{"path_name"}, {"is_param"}, {"use_pickle"}, optional_field("tensor_meta")};
    auto& [path, is_parameter, is_pickle, meta] = fields;
    if (!members(element, fields)) return false;
    if (!text(path.value, &out->path)) return in("path_name");
    if (!boolean(is_parameter.value, &out->is_parameter)) return in("is_param");
    if (!boolean(is_pickle.value, &out->is_pickle)) return in("use_pickle");
    if (!meta.found || out->is_pickle) return true;  // a pickle is refused whatever it describes
    out->meta.emplace();
    return tensor_meta(meta.value, &*out->meta) || in("tensor_meta");
  }

  const ReadOptions& options_;
  uint32_t depth_ = 0;  // of the graph being read
};

}  // namespace

int dtype_number(DType dtype) {
  for (const NumberedType& type : kTypes)
    if (type.dtype == dtype) return type.number;
  return 0;  // unknown
}

Result<Program> read_program(simdjson::dom::element root, const ReadOptions& options,
                             Storage& storage) {
  Reader reader(storage, options);
  Program program;
  if (!reader.program(root, &program)) return std::move(reader.error());
  return program;
}

Result<Span<const Named<Payload>>> read_payloads(simdjson::dom::element root, Storage& storage) {
  ReadOptions options;
  Reader reader(storage, options);
  Span<const Named<Payload>> payloads;
  if (!reader.payloads(root, &payloads)) return std::move(reader.error());
  return payloads;
}

}  // namespace sconce::pt2
