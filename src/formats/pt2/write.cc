#include "formats/pt2/write.h"

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "formats/json/json_text.h"
#include "formats/pt2/program.h"
#include "formats/zip/zip_writer.h"

namespace sconce::pt2 {
namespace {

// JSON of the schema, appended to a text. A failure is kept and told at the end.
class Writer {
 public:
  std::string out;
  Result<void> status;

  void program(const Program& p) {
    out += "{\"graph_module\": {\"graph\": ";
    graph(p.graph);
    out += ", \"signature\": {\"input_specs\": ";
    list(p.inputs, [&](const InputSpec& spec) { input_spec(spec); });
    out += ", \"output_specs\": ";
    list(p.outputs, [&](const OutputSpec& spec) { output_spec(spec); });
    out += "}, \"module_call_graph\": ";
    list(p.module_calls, [&](const ModuleCall& call) { module_call(call); });
    out += ", \"metadata\": {}, \"treespec_namedtuple_fields\": {}}, \"opset_version\": ";
    table(p.opset_version, [&](int64_t version) { number(version); });
    out += ", \"range_constraints\": ";
    table(p.range_constraints, [&](const Range& range) {
      out += "{\"min_val\": ";
      range.min ? number(*range.min) : text_out("null");
      out += ", \"max_val\": ";
      range.max ? number(*range.max) : text_out("null");
      out += "}";
    });
    out += fmt::format(
        ", \"schema_version\": {{\"major\": {}, \"minor\": {}}}, \"verifiers\": "
        "[\"TRAINING\"], \"torch_version\": ",
        p.schema_major, p.schema_minor);
    string(p.torch_version);
    out += ", \"guards_code\": ";
    list(p.guards, [&](std::string_view guard) { string(guard); });
    out += "}";
  }

  // The table of weights or constants; `paths` by weight.
  void payloads(Span<const Weight> weights, Span<const std::string> paths) {
    out += "{\"config\": {";
    for (size_t i = 0; i < weights.size(); i++) {
      const Weight& w = weights[i];
      if (i) out += ", ";
      string(w.name);
      out += ": {\"path_name\": ";
      string(paths[i]);
      out += fmt::format(", \"is_param\": {}, \"use_pickle\": false, \"tensor_meta\": ",
                         w.is_parameter);
      std::vector<SymInt> sizes, strides;
      for (int64_t size : w.sizes) sizes.push_back({{}, size});
      for (int64_t stride : w.strides) strides.push_back({{}, stride});
      tensor_meta({w.dtype,
                   Layout::strided,
                   w.requires_grad,
                   sizes,
                   strides,
                   {{}, w.storage_offset},
                   {"cpu", -1}});
      out += "}";
    }
    out += "}}";
  }

 private:
  void text_out(std::string_view text) { out += text; }
  void string(std::string_view text) { json::append_string(text, &out); }
  void number(int64_t n) { fmt::format_to(std::back_inserter(out), "{}", n); }
  void number(double n) {
    if (std::isnan(n))
      out += "\"NaN\"";
    else if (std::isinf(n))
      out += n > 0 ? "\"Infinity\"" : "\"-Infinity\"";
    else
      fmt::format_to(std::back_inserter(out), "{}", n);
  }
  void boolean(bool b) { out += b ? "true" : "false"; }

  template <class T, class F>
  void list(Span<const T> items, F each) {
    out += "[";
    for (size_t i = 0; i < items.size(); i++) {
      if (i) out += ", ";
      each(items[i]);
    }
    out += "]";
  }
  template <class T, class F>
  void table(Span<const Named<T>> items, F each) {
    out += "{";
    for (size_t i = 0; i < items.size(); i++) {
      if (i) out += ", ";
      string(items[i].name);
      out += ": ";
      each(items[i].value);
    }
    out += "}";
  }
  // {"KIND": ...}
  template <class F>
  void member(std::string_view kind, F value) {
    out += "{";
    string(kind);
    out += ": ";
    value();
    out += "}";
  }

  template <class T, class F>
  void symbolic(const Symbolic<T>& value, std::string_view kind, F constant) {
    if (value.is_constant()) return member(kind, [&] { constant(*value.hint); });
    member("as_expr", [&] {
      out += "{\"expr_str\": ";
      string(value.expr);
      out += ", \"hint\": ";
      if (value.hint)
        member(kind, [&] { constant(*value.hint); });
      else
        out += "null";
      out += "}";
    });
  }
  void sym_int(const SymInt& value) {
    symbolic(value, "as_int", [&](int64_t n) { number(n); });
  }

  void device(std::string_view type, int64_t index) {
    out += "{\"type\": ";
    string(type);
    out += ", \"index\": ";
    index < 0 ? text_out("null") : number(index);
    out += "}";
  }

  void tensor_meta(const TensorMeta& meta) {
    out += fmt::format("{{\"dtype\": {}, \"sizes\": ", dtype_number(meta.dtype));
    list(meta.sizes, [&](const SymInt& size) { sym_int(size); });
    out += ", \"requires_grad\": ";
    boolean(meta.requires_grad);
    out += ", \"device\": ";
    device(meta.device.type, meta.device.index);
    out += ", \"strides\": ";
    list(meta.strides, [&](const SymInt& stride) { sym_int(stride); });
    out += ", \"storage_offset\": ";
    sym_int(meta.storage_offset);
    out += fmt::format(", \"layout\": {}}}", int(meta.layout));
  }

  // --- Arguments

  void name(const Argument& a) {
    member("name", [&] { string(a.name); });
  }
  // A name or a plain number.
  void symbolic_argument(const Argument& a) {
    using Kind = Argument::Kind;
    switch (a.kind) {
      case Kind::integer: return member("as_int", [&] { number(a.integer); });
      case Kind::floating: return member("as_float", [&] { number(a.floating); });
      case Kind::boolean: return member("as_bool", [&] { boolean(a.boolean); });
      default: return member("as_name", [&] { string(a.name); });
    }
  }
  void items_of(const Argument& a) {
    using Kind = Argument::Kind;
    list(a.items, [&](const Argument& item) {
      switch (a.kind) {
        case Kind::tensors: return name(item);
        case Kind::integers: return number(item.integer);
        case Kind::floats: return number(item.floating);
        case Kind::booleans: return boolean(item.boolean);
        case Kind::strings: return string(item.text);
        case Kind::optional_tensors: return argument(item);
        case Kind::tensor_lists:
        case Kind::integer_lists:
        case Kind::float_lists: return items_of(item);
        default: return symbolic_argument(item);
      }
    });
  }
  // The schema's name of a kind; null for those that are refused.
  static const char* member_of(Argument::Kind kind) {
    using Kind = Argument::Kind;
    switch (kind) {
      case Kind::none: return "as_none";
      case Kind::tensor: return "as_tensor";
      case Kind::sym_int: return "as_sym_int";
      case Kind::sym_float: return "as_sym_float";
      case Kind::sym_bool: return "as_sym_bool";
      case Kind::integer: return "as_int";
      case Kind::floating: return "as_float";
      case Kind::boolean: return "as_bool";
      case Kind::complex: return "as_complex";
      case Kind::string: return "as_string";
      case Kind::dtype: return "as_scalar_type";
      case Kind::layout: return "as_layout";
      case Kind::memory_format: return "as_memory_format";
      case Kind::device: return "as_device";
      case Kind::op: return "as_operator";
      case Kind::tensors: return "as_tensors";
      case Kind::optional_tensors: return "as_optional_tensors";
      case Kind::tensor_lists: return "as_nested_tensors";
      case Kind::integers: return "as_ints";
      case Kind::integer_lists: return "as_int_lists";
      case Kind::floats: return "as_floats";
      case Kind::float_lists: return "as_float_lists";
      case Kind::booleans: return "as_bools";
      case Kind::strings: return "as_strings";
      case Kind::sym_ints: return "as_sym_ints";
      case Kind::sym_floats: return "as_sym_floats";
      case Kind::sym_bools: return "as_sym_bools";
      case Kind::custom_obj:
      case Kind::token:
      case Kind::graph:
      case Kind::dictionary: break;
    }
    return nullptr;
  }
  void argument(const Argument& a) {
    using Kind = Argument::Kind;
    const char* kind = member_of(a.kind);
    if (!kind) {
      if (status.ok())
        status = error(Code::unsupported, "an argument of the kind {} cannot be written to a .pt2",
                       kind_name(a.kind));
      out += "null";
      return;
    }
    member(kind, [&] {
      switch (a.kind) {
        case Kind::none: return boolean(true);
        case Kind::tensor: return name(a);
        case Kind::integer: return number(a.integer);
        case Kind::floating: return number(a.floating);
        case Kind::boolean: return boolean(a.boolean);
        case Kind::complex:
          out += "{\"real\": ";
          number(a.floating);
          out += ", \"imag\": ";
          number(a.imaginary);
          out += "}";
          return;
        case Kind::string:
        case Kind::op: return string(a.text);
        case Kind::dtype: return number(int64_t(dtype_number(a.dtype)));
        case Kind::layout: return number(int64_t(a.layout));
        case Kind::memory_format: return number(int64_t(a.memory_format));
        case Kind::device: return device(a.text, a.integer);
        default: return a.is_list() ? items_of(a) : symbolic_argument(a);
      }
    });
  }
  void arguments(Span<const Argument> items) {
    list(items, [&](const Argument& a) { argument(a); });
  }

  // --- Graphs

  void node(const Node& n) {
    out += "{\"target\": ";
    string(n.target);
    out += ", \"inputs\": ";
    list(n.inputs, [&](const NamedArgument& a) {
      out += "{\"name\": ";
      string(a.name);
      out += ", \"arg\": ";
      argument(a.value);
      out += a.is_keyword ? ", \"kind\": 2}" : ", \"kind\": 1}";
    });
    out += ", \"outputs\": ";
    arguments(n.outputs);
    out += ", \"metadata\": {";
    const char* separator = "";
    auto entry = [&](std::string_view key, std::string_view value) {
      if (value.empty()) return;
      out += separator;
      string(key);
      out += ": ";
      string(value);
      separator = ", ";
    };
    entry("stack_trace", n.stack_trace);
    entry("nn_module_stack", n.nn_module_stack);
    entry("torch_fn", n.torch_fn);
    entry("custom", n.custom);
    out += "}, \"is_hop_single_tensor_return\": ";
    out += n.is_single_tensor_return ? "true" : "null";
    out += ", \"name\": ";
    n.name.empty() ? text_out("null") : string(n.name);
    out += "}";
  }

  void graph(const Graph& g) {
    out += "{\"inputs\": ";
    arguments(g.inputs);
    out += ", \"outputs\": ";
    arguments(g.outputs);
    out += ", \"nodes\": ";
    list(g.nodes, [&](const Node& n) { node(n); });
    out += ", \"tensor_values\": ";
    table(g.tensor_values, [&](const TensorMeta& meta) { tensor_meta(meta); });
    out += ", \"sym_int_values\": ";
    table(g.sym_int_values, [&](const SymInt& value) { sym_int(value); });
    out += ", \"sym_bool_values\": ";
    table(g.sym_bool_values,
          [&](const SymBool& value) { symbolic(value, "as_bool", [&](bool b) { boolean(b); }); });
    out += ", \"is_single_tensor_return\": ";
    boolean(g.is_single_tensor_return);
    out += ", \"custom_obj_values\": {}, \"sym_float_values\": ";
    table(g.sym_float_values, [&](const SymFloat& value) {
      symbolic(value, "as_float", [&](double n) { number(n); });
    });
    out += "}";
  }

  // --- Signature

  void arg_and(const Argument& arg, std::string_view key, std::string_view target) {
    out += "{\"arg\": ";
    name(arg);
    out += ", ";
    string(key);
    out += ": ";
    string(target);
  }
  void input_spec(const InputSpec& spec) {
    using Kind = InputSpec::Kind;
    switch (spec.kind) {
      case Kind::user_input:
        return member("user_input", [&] { member("arg", [&] { argument(spec.arg); }); });
      case Kind::parameter:
        return member("parameter", [&] {
          arg_and(spec.arg, "parameter_name", spec.target);
          out += "}";
        });
      case Kind::buffer:
        return member("buffer", [&] {
          arg_and(spec.arg, "buffer_name", spec.target);
          out += ", \"persistent\": ";
          boolean(spec.persistent);
          out += "}";
        });
      case Kind::tensor_constant:
        return member("tensor_constant", [&] {
          arg_and(spec.arg, "tensor_constant_name", spec.target);
          out += "}";
        });
      case Kind::constant_input:
        return member("constant_input", [&] {
          out += "{\"name\": ";
          string(spec.target);
          out += ", \"value\": ";
          argument(spec.arg);
          out += "}";
        });
      case Kind::custom_obj:
      case Kind::token: break;
    }
    if (status.ok())
      status = error(Code::unsupported, "input \"{}\": tokens and custom objects cannot be written",
                     spec.arg.name);
    out += "null";
  }
  void output_spec(const OutputSpec& spec) {
    using Kind = OutputSpec::Kind;
    auto mutation = [&](std::string_view kind, std::string_view key) {
      member(kind, [&] {
        arg_and(spec.arg, key, spec.target);
        out += "}";
      });
    };
    switch (spec.kind) {
      case Kind::user_output:
        return member("user_output", [&] { member("arg", [&] { argument(spec.arg); }); });
      case Kind::buffer_mutation: return mutation("buffer_mutation", "buffer_name");
      case Kind::parameter_mutation: return mutation("parameter_mutation", "parameter_name");
      case Kind::user_input_mutation: return mutation("user_input_mutation", "user_input_name");
      case Kind::loss:
      case Kind::gradient_to_parameter:
      case Kind::gradient_to_user_input:
      case Kind::token: break;
    }
    if (status.ok())
      status =
          error(Code::unsupported, "output \"{}\": losses, gradients and tokens cannot be written",
                spec.arg.name);
    out += "null";
  }

  void module_call(const ModuleCall& call) {
    out += "{\"fqn\": ";
    string(call.fqn);
    out += ", \"signature\": ";
    if (!call.has_signature) {
      out += "null}";
      return;
    }
    out += "{\"inputs\": ";
    arguments(call.inputs);
    out += ", \"outputs\": ";
    arguments(call.outputs);
    out += ", \"in_spec\": ";
    string(call.in_spec);
    out += ", \"out_spec\": ";
    string(call.out_spec);
    out += ", \"forward_arg_names\": ";
    if (call.argument_names.empty())
      out += "null";
    else
      list(call.argument_names, [&](std::string_view text) { string(text); });
    out += "}}";
  }
};

// Payloads of one folder, each storage once, and the table that says where they are.
void add_payloads(ZipWriter& zip, Span<const Weight> weights, const std::string& folder,
                  const char* prefix, const std::string& table) {
  std::map<const uint8_t*, std::string> paths;
  std::vector<std::string> path_of;
  for (const Weight& weight : weights) {
    auto [at, is_new] = paths.try_emplace(weight.storage.data());
    if (is_new || weight.storage.empty()) {
      at->second = prefix + std::to_string(path_of.size());
      zip.add(folder + at->second, weight.storage);
    }
    path_of.push_back(at->second);
  }
  Writer writer;
  writer.payloads(weights, path_of);
  zip.add(folder + table, writer.out);
}

}  // namespace

Result<std::vector<uint8_t>> write_archive(const Program& program) {
  Writer writer;
  writer.program(program);
  TRY_VOID(writer.status);
  const std::string name(program.name), top = name + "/";
  ZipWriter zip;
  add_payloads(zip, program.weights, top + "data/weights/", "weight_",
               name + "_weights_config.json");
  add_payloads(zip, program.constants, top + "data/constants/", "tensor_",
               name + "_constants_config.json");
  zip.add(top + "models/" + name + ".json", writer.out);
  zip.add(top + "data/sample_inputs/" + name + ".pt", std::string_view());
  zip.add(top + "archive_format", std::string_view("pt2"));
  zip.add(top + "archive_version", std::string_view("0"));
  zip.add(top + ".data/version", std::string_view("6\n"));
  zip.add(top + "byteorder", std::string_view("little"));
  return zip.finish();
}

}  // namespace sconce::pt2
