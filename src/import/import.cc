#include "import/import.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "import/alias.h"
#include "import/names.h"
#include "ops/def.h"

namespace sconce {
namespace {

using pt2::find_sym_int;
using pt2::find_tensor;
using Kind = pt2::Argument::Kind;

// The innermost line of the model in a Python stack trace: "model.py:12 in forward: y = x + 1".
std::string source_line(std::string_view trace) {
  std::string_view best;
  size_t at = 0;
  while ((at = trace.find("File \"", at)) != std::string_view::npos) {
    size_t end = trace.find("File \"", at + 1);
    std::string_view frame = trace.substr(at, end == std::string_view::npos ? end : end - at);
    size_t quote = frame.find('"', 6);
    std::string_view file = frame.substr(6, quote == std::string_view::npos ? 0 : quote - 6);
    bool of_torch = file.find("/torch/") != std::string_view::npos || file.starts_with("<");
    if (!of_torch || best.empty()) best = frame;
    at += 6;
  }
  if (best.empty()) return {};
  size_t quote = best.find('"', 6);
  if (quote == std::string_view::npos) return {};
  std::string_view file = best.substr(6, quote - 6);
  if (size_t slash = file.rfind('/'); slash != std::string_view::npos)
    file.remove_prefix(slash + 1);
  std::string text(file);
  if (size_t line = best.find("line ", quote); line != std::string_view::npos) {
    size_t end = best.find_first_not_of("0123456789", line + 5);
    text += ":" + std::string(best.substr(line + 5, end - line - 5));
  }
  if (size_t newline = best.find('\n'); newline != std::string_view::npos) {
    std::string_view code = best.substr(newline + 1);
    while (!code.empty() && code.front() == ' ') code.remove_prefix(1);
    if (size_t end = code.find('\n'); end != std::string_view::npos) code = code.substr(0, end);
    if (!code.empty()) text += ": " + std::string(code);
  }
  return text;
}

// A name of the exported graph: a tensor (by slot) or a number (by value).
struct Name {
  SlotId slot = -1;
  ValueId value = kNoValue;
};

// An operator that is not known, with where the model uses it. All of them are collected before the
// import gives up.
struct MissingOp {
  std::string op;
  std::string source;
};

// What several graphs of one program share.
struct Shared {
  Program& program;
  const OwnKernels& kernels;
  std::vector<MissingOp> missing;
  std::unordered_set<std::string> missing_names;
  bool has_writes = false;
};

class GraphImporter {
 public:
  GraphImporter(Shared& shared, const pt2::Graph& from, Graph& to)
      : shared_(shared), from_(from), to_(to), build_(shared.program, to), aliases_(build_) {}

  Build& build() { return build_; }
  Aliases& aliases() { return aliases_; }

  void define_tensor(std::string_view name, ValueId value) {
    names_[name] = Name{aliases_.add_base(value), kNoValue};
  }
  void define_number(std::string_view name, ValueId value) { names_[name] = Name{-1, value}; }
  void define(std::string_view name, Name what) { names_[name] = what; }
  bool was_written(std::string_view name) const {
    auto found = names_.find(name);
    return found != names_.end() && found->second.slot >= 0 &&
           aliases_.was_written(found->second.slot);
  }

  Result<Type> tensor_type(const pt2::TensorMeta& meta) {
    TensorType type;
    type.dtype = meta.dtype;
    if (meta.layout != pt2::Layout::strided && meta.layout != pt2::Layout::unknown)
      return error(Code::unsupported, "a tensor that is not strided");
    if (meta.sizes.size() > size_t(kRankMax))
      return error(Code::unsupported, "rank {} exceeds {}", meta.sizes.size(), kRankMax);
    for (const pt2::SymInt& size : meta.sizes) {
      TRY(SymInt number, sym_int(size));
      if (number.is_known() && (number.value < 0 || number.value > INT32_MAX))
        return error(Code::too_large, "size {} exceeds {}", number.value, INT32_MAX);
      type.sizes.push_back(number);
    }
    return Type::of(std::move(type));
  }

  Result<SymInt> sym_int(const pt2::SymInt& number) {
    if (number.is_constant()) return SymInt(number.hint.value_or(0));
    TRY(SymInt parsed, shared_.program.symbols.parse(std::string(number.expr)));
    if (number.hint && !parsed.is_known()) {
      const Expr& expr = shared_.program.symbols.expr(parsed.expr);
      if (expr.kind == ExprKind::symbol) {
        Symbol& symbol = shared_.program.symbols.symbols()[size_t(expr.value)];
        if (symbol.hint == 0) symbol.hint = *number.hint;
      }
    }
    return parsed;
  }

  Result<ValueId> value_of(std::string_view name) {
    auto found = names_.find(name);
    if (found == names_.end())
      return error(Code::invalid_file, "\"{}\" is used before it is defined", name);
    if (found->second.slot >= 0) return aliases_.read(found->second.slot);
    return found->second.value;
  }

  // A value for an argument where only a value will do (outputs, operands of control flow).
  Result<ValueId> operand(const pt2::Argument& argument) {
    switch (argument.kind) {
      case Kind::tensor:
      case Kind::sym_int:
      case Kind::sym_float:
      case Kind::sym_bool: return value_of(argument.name);
      case Kind::integer: return literal(argument.integer, Type::integer(SymInt(argument.integer)));
      case Kind::floating: {
        Type type;
        type.kind = Type::Kind::floating;
        return literal(argument.floating, type);
      }
      case Kind::boolean: {
        Type type;
        type.kind = Type::Kind::boolean;
        return literal(argument.boolean, type);
      }
      case Kind::none: {
        Type type;
        type.kind = Type::Kind::none;
        return literal(None{}, type);
      }
      case Kind::string: {
        Type type;
        type.kind = Type::Kind::none;
        return literal(argument.text.empty() ? std::string() : std::string(argument.text), type);
      }
      default:
        return error(Code::unsupported, "an output of kind {}", pt2::kind_name(argument.kind));
    }
  }

  Result<void> import_nodes();
  Result<void> import_node(const pt2::Node& node);

 private:
  ValueId literal(Argument value, Type type) {
    NodeId id =
        to_.add_node("sconce_prim::constant", {std::move(value)}, {std::move(type)}, build_.source);
    return to_.nodes[size_t(id)].results[0];
  }
  Result<Argument> convert(const pt2::Argument& argument, const std::string& type);
  Result<void> import_operator(const pt2::Node& node, const std::string& name);
  Result<void> import_prim(const pt2::Node& node, const char* prim);
  Result<void> import_control_flow(const pt2::Node& node, std::string_view what);
  Result<void> inline_region(const pt2::Node& node);
  Result<void> import_ordered_effect(const pt2::Node& node);
  Result<void> import_missing(const pt2::Node& node, const std::string& name);
  Result<void> import_own_kernel(const pt2::Node& node, const std::string& name,
                                 const std::shared_ptr<const tile::Kernel>& kernel);
  Result<void> define_outputs(const pt2::Node& node, const std::vector<ValueId>& results);
  Result<Type> number_type(const pt2::Argument& output);
  Result<void> check_types(const Op& op, const std::vector<Argument>& arguments,
                           const std::vector<Type>& exported);
  Result<void> take_exported_sizes(const std::vector<ValueId>& results,
                                   const std::vector<Type>& exported);
  Result<void> write_in_place(std::string_view name, ValueId value);
  Result<int> subgraph(const pt2::Argument& argument);

  Shared& shared_;
  const pt2::Graph& from_;
  Graph& to_;
  Build build_;
  Aliases aliases_;
  std::unordered_map<std::string_view, Name> names_;
};

// Names of the results in the order of the operator's results; lists are spread.
void result_names(const pt2::Node& node, std::vector<const pt2::Argument*>* names) {
  for (const pt2::Argument& output : node.outputs) {
    if (output.is_list())
      for (const pt2::Argument& item : output.items) names->push_back(&item);
    else
      names->push_back(&output);
  }
}

Result<Argument> GraphImporter::convert(const pt2::Argument& argument, const std::string& type) {
  auto number_item = [&](const pt2::Argument& item) -> Result<IntItem> {
    if (item.kind == Kind::integer) return IntItem{item.integer};
    if (item.kind == Kind::sym_int) {
      TRY(ValueId id, value_of(item.name));
      const Type& known = to_.type(id);
      if (known.kind == Type::Kind::integer && known.number.is_known())
        return IntItem{known.number.value};
      return IntItem{0, id};
    }
    return error(Code::unsupported, "a list item of kind {}", pt2::kind_name(item.kind));
  };
  switch (argument.kind) {
    case Kind::none: return Argument(None{});
    case Kind::tensor:
    case Kind::sym_float:
    case Kind::sym_bool: {
      TRY(ValueId id, value_of(argument.name));
      return Argument(ValueRef{id});
    }
    case Kind::sym_int: {
      TRY(ValueId id, value_of(argument.name));
      const Type& known = to_.type(id);
      if (known.kind == Type::Kind::integer && known.number.is_known())
        return Argument(known.number.value);
      if (type.find('[') != std::string::npos) return Argument(std::vector<IntItem>{{0, id}});
      return Argument(ValueRef{id});
    }
    case Kind::integer:
      if (type.find("int[") == 0 || type.find("SymInt[") == 0) {
        // int[2] x=1 stands for [1, 1].
        size_t count = 1;
        size_t bracket = type.find('[');
        std::from_chars(type.data() + bracket + 1, type.data() + type.size(), count);
        return Argument(
            std::vector<IntItem>(std::max<size_t>(count, 1), IntItem{argument.integer}));
      }
      if (type.starts_with("float")) return Argument(double(argument.integer));
      if (type.starts_with("bool")) return Argument(argument.integer != 0);
      return Argument(argument.integer);
    case Kind::floating: return Argument(argument.floating);
    case Kind::boolean: return Argument(argument.boolean);
    case Kind::string: return Argument(std::string(argument.text));
    case Kind::dtype: return Argument(int64_t(argument.dtype));
    case Kind::layout: return Argument(None{});  // all tensors are strided
    case Kind::device: return Argument(None{});
    case Kind::memory_format: {
      // ATen's codes: contiguous 0, preserve 1, channels-last 2, 3-D 3.
      switch (argument.memory_format) {
        case pt2::MemoryFormat::contiguous: return Argument(int64_t{0});
        case pt2::MemoryFormat::preserve: return Argument(int64_t{1});
        case pt2::MemoryFormat::channels_last: return Argument(int64_t{2});
        case pt2::MemoryFormat::channels_last_3d: return Argument(int64_t{3});
        default: return Argument(None{});
      }
    }
    case Kind::tensors:
    case Kind::optional_tensors: {
      if (argument.items.empty() && type.find("Tensor") == std::string::npos) {
        // The exporter writes an empty list of unknown type as a list of tensors.
        if (type.starts_with("float")) return Argument(std::vector<double>());
        if (type.starts_with("bool")) return Argument(std::vector<bool>());
        return Argument(std::vector<IntItem>());
      }
      std::vector<ValueRef> refs;
      for (const pt2::Argument& item : argument.items) {
        if (item.kind == Kind::none) {
          refs.push_back({kNoValue});
          continue;
        }
        TRY(ValueId id, value_of(item.name));
        refs.push_back({id});
      }
      return Argument(std::move(refs));
    }
    case Kind::integers:
    case Kind::sym_ints: {
      if (type.starts_with("float")) {
        std::vector<double> floats;
        for (const pt2::Argument& item : argument.items) {
          if (item.kind != Kind::integer)
            return error(Code::unsupported, "a symbolic list of floats");
          floats.push_back(double(item.integer));
        }
        return Argument(std::move(floats));
      }
      std::vector<IntItem> items;
      for (const pt2::Argument& item : argument.items) {
        TRY(IntItem converted, number_item(item));
        items.push_back(converted);
      }
      return Argument(std::move(items));
    }
    case Kind::floats:
    case Kind::sym_floats: {
      std::vector<double> floats;
      for (const pt2::Argument& item : argument.items) {
        if (item.kind != Kind::floating)
          return error(Code::unsupported, "a symbolic list of floats");
        floats.push_back(item.floating);
      }
      return Argument(std::move(floats));
    }
    case Kind::booleans:
    case Kind::sym_bools: {
      std::vector<bool> booleans;
      for (const pt2::Argument& item : argument.items) {
        if (item.kind != Kind::boolean) return error(Code::unsupported, "a symbolic list of bools");
        booleans.push_back(item.boolean);
      }
      return Argument(std::move(booleans));
    }
    case Kind::graph: {
      TRY(int index, subgraph(argument));
      return Argument(GraphRef{index});
    }
    default:
      return error(Code::unsupported, "an argument of kind {}", pt2::kind_name(argument.kind));
  }
}

Result<Type> GraphImporter::number_type(const pt2::Argument& output) {
  Type type;
  switch (output.kind) {
    case Kind::sym_int: {
      const pt2::SymInt* meta = find_sym_int(from_, output.name);
      if (!meta) return error(Code::invalid_file, "\"{}\" has no value", output.name);
      TRY(SymInt number, sym_int(*meta));
      return Type::integer(number);
    }
    case Kind::sym_float: type.kind = Type::Kind::floating; return type;
    case Kind::sym_bool: type.kind = Type::Kind::boolean; return type;
    default: return error(Code::unsupported, "a result of kind {}", pt2::kind_name(output.kind));
  }
}

Result<void> GraphImporter::define_outputs(const pt2::Node& node,
                                           const std::vector<ValueId>& results) {
  std::vector<const pt2::Argument*> names;
  result_names(node, &names);
  if (names.size() != results.size())
    return error(Code::invalid_file, "{} results in the file, the operator has {}", names.size(),
                 results.size());
  for (size_t i = 0; i < names.size(); i++) {
    if (names[i]->kind == Kind::none) continue;
    if (names[i]->kind == Kind::tensor)
      define_tensor(names[i]->name, results[i]);
    else
      define_number(names[i]->name, results[i]);
  }
  return {};
}

Result<int> GraphImporter::subgraph(const pt2::Argument& argument) {
  auto graph = std::make_unique<Graph>();
  graph->name = std::string(argument.name);
  const pt2::Graph& inner = *argument.graph;
  GraphImporter importer(shared_, inner, *graph);
  for (const pt2::Argument& input : inner.inputs) {
    if (input.kind == Kind::tensor) {
      const pt2::TensorMeta* meta = find_tensor(inner, input.name);
      if (!meta) return error(Code::invalid_file, "input \"{}\" has no type", input.name);
      TRY(Type type, importer.tensor_type(*meta));
      importer.define_tensor(input.name,
                             graph->add_input(std::move(type), std::string(input.name)));
    } else if (input.kind == Kind::sym_int || input.kind == Kind::sym_float ||
               input.kind == Kind::sym_bool) {
      TRY(Type type, importer.number_type(input));
      importer.define_number(input.name,
                             graph->add_input(std::move(type), std::string(input.name)));
    } else {
      // A literal operand takes a place, though nothing reads it.
      Type type;
      type.kind = input.kind == Kind::integer    ? Type::Kind::integer
                  : input.kind == Kind::floating ? Type::Kind::floating
                  : input.kind == Kind::boolean  ? Type::Kind::boolean
                                                 : Type::Kind::none;
      if (input.kind == Kind::integer) type.number = SymInt(input.integer);
      graph->add_input(std::move(type), "literal");
    }
  }
  TRY_VOID(importer.import_nodes());
  for (const pt2::Argument& input : inner.inputs)
    if (input.kind == Kind::tensor && importer.was_written(input.name))
      return error(Code::unsupported, "\"{}\" is changed in place inside {}, and was made outside",
                   input.name, argument.name);
  for (const pt2::Argument& output : inner.outputs) {
    TRY(ValueId id, importer.operand(output));
    graph->outputs.push_back(id);
  }
  TRY_VOID(importer.build().status());
  to_.subgraphs.push_back(std::move(graph));
  return int(to_.subgraphs.size()) - 1;
}

// no_grad and autocast regions: their body is part of the graph around.
Result<void> GraphImporter::inline_region(const pt2::Node& node) {
  const pt2::Graph* inner = nullptr;
  std::vector<const pt2::Argument*> operands;
  for (const pt2::NamedArgument& input : node.inputs) {
    if (input.value.kind == Kind::graph)
      inner = input.value.graph;
    else if (inner)
      operands.push_back(&input.value);
  }
  if (!inner || operands.size() != inner->inputs.size())
    return error(Code::invalid_file, "a region with {} operands and no matching body",
                 operands.size());
  GraphImporter importer(shared_, *inner, to_);
  // The region reads and writes the tensors of the graph around, so it shares its alias table.
  std::swap(importer.aliases_, aliases_);
  importer.build_.source = build_.source;
  for (size_t i = 0; i < operands.size(); i++) {
    const pt2::Argument& outside = *operands[i];
    if (outside.kind == Kind::tensor || outside.kind == Kind::sym_int ||
        outside.kind == Kind::sym_float || outside.kind == Kind::sym_bool) {
      auto found = names_.find(outside.name);
      if (found == names_.end())
        return error(Code::invalid_file, "\"{}\" is used before it is defined", outside.name);
      importer.define(inner->inputs[i].name, found->second);
    }
  }
  Result<void> done = importer.import_nodes();
  std::vector<Name> results;
  if (done.ok()) {
    for (const pt2::Argument& output : inner->outputs) {
      auto found = importer.names_.find(output.name);
      if (found != importer.names_.end())
        results.push_back(found->second);
      else
        done = error(Code::invalid_file, "region output \"{}\" is not defined", output.name);
    }
  }
  std::swap(importer.aliases_, aliases_);
  TRY_VOID(std::move(done));
  std::vector<const pt2::Argument*> names;
  result_names(node, &names);
  if (names.size() != results.size())
    return error(Code::invalid_file, "a region has {} results, {} are wanted", results.size(),
                 names.size());
  for (size_t i = 0; i < names.size(); i++)
    if (names[i]->kind != Kind::none) define(names[i]->name, results[i]);
  return {};
}

Result<void> GraphImporter::import_control_flow(const pt2::Node& node, std::string_view what) {
  std::string op(what == "map_impl" ? "map" : what);
  std::vector<Argument> arguments;
  for (const pt2::NamedArgument& input : node.inputs) {
    const pt2::Argument& value = input.value;
    if (value.is_list()) {
      std::vector<ValueRef> refs;
      for (const pt2::Argument& item : value.items) {
        TRY(ValueId id, operand(item));
        refs.push_back({id});
      }
      arguments.push_back(std::move(refs));
    } else if (value.kind == Kind::graph) {
      TRY(int index, subgraph(value));
      arguments.push_back(GraphRef{index});
    } else {
      TRY(Argument argument, convert(value, "Scalar"));
      arguments.push_back(std::move(argument));
    }
  }
  size_t wanted = op == "map" ? 3 : 4;
  while (arguments.size() < wanted) arguments.push_back(std::vector<ValueRef>());
  std::vector<const pt2::Argument*> names;
  result_names(node, &names);
  std::vector<Type> types;
  for (size_t i = 0; i < names.size(); i++) {
    const pt2::Argument& output = *names[i];
    if (output.kind == Kind::tensor) {
      const pt2::TensorMeta* meta = find_tensor(from_, output.name);
      if (!meta) return error(Code::invalid_file, "result \"{}\" has no type", output.name);
      TRY(Type type, tensor_type(*meta));
      types.push_back(std::move(type));
    } else if (output.kind == Kind::none) {
      types.push_back(Type());
      types.back().kind = Type::Kind::none;
    } else {
      TRY(Type type, number_type(output));
      types.push_back(std::move(type));
    }
  }
  NodeId id = to_.add_node(op, std::move(arguments), std::move(types), build_.source,
                           names.empty() ? op : std::string(names[0]->name));
  return define_outputs(node, to_.nodes[size_t(id)].results);
}

Result<void> GraphImporter::import_prim(const pt2::Node& node, const char* prim) {
  std::vector<Argument> arguments;
  for (const pt2::NamedArgument& input : node.inputs) {
    TRY(Argument argument, convert(input.value, "Scalar"));
    arguments.push_back(std::move(argument));
  }
  if (node.outputs.size() != 1)
    return error(Code::invalid_file, "{} results, 1 is wanted", node.outputs.size());
  const pt2::Argument& output = node.outputs[0];
  if (output.kind == Kind::none) return {};
  Type type;
  if (output.kind == Kind::sym_int || output.kind == Kind::sym_float ||
      output.kind == Kind::sym_bool) {
    TRY(type, number_type(output));
  } else {
    return error(Code::unsupported, "a result of kind {}", pt2::kind_name(output.kind));
  }
  NodeId id =
      to_.add_node(prim, std::move(arguments), {type}, build_.source, std::string(output.name));
  define_number(output.name, to_.nodes[size_t(id)].results[0]);
  return {};
}

// What the file says of a node's results must be what its operator gives: the operator's own shape
// rule looks at the arguments, so that nothing behind the importer meets arguments that do not fit.
Result<void> GraphImporter::check_types(const Op& op, const std::vector<Argument>& arguments,
                                        const std::vector<Type>& exported) {
  Result<std::vector<Type>> inferred = infer_types(shared_.program, to_, op, arguments);
  // Numbers out of the data may be bound by what the exporter asserted: parts that add up to a
  // size. No guess fulfils that; the calls themselves are checked.
  if (!inferred.ok() && has_symbols(to_, arguments)) return {};
  if (!inferred.ok()) return std::move(inferred.error());
  if (inferred->size() != exported.size())
    return error(Code::invalid_file, "{} results in the file, {} has {}", exported.size(), op.name,
                 inferred->size());
  for (size_t i = 0; i < exported.size(); i++) {
    if (!exported[i].is_tensor()) continue;
    const TensorType &said = exported[i].tensor, &given = (*inferred)[i].tensor;
    if (said.dtype != given.dtype || said.sizes.size() != given.sizes.size())
      return error(Code::invalid_file,
                   "result {} is {} of rank {} in the file, {} gives {} of rank {}", i,
                   dtype_name(said.dtype), said.sizes.size(), op.name, dtype_name(given.dtype),
                   given.sizes.size());
    for (size_t d = 0; d < said.sizes.size(); d++)
      if (said.sizes[d].is_known() && given.sizes[d].is_known() &&
          said.sizes[d].value != given.sizes[d].value)
        return error(Code::invalid_file, "result {}: dimension {} is {} in the file, {} gives {}",
                     i, d, said.sizes[d].value, op.name, given.sizes[d].value);
  }
  return {};
}

// An operator that is not known is noted, and its results are made up so that the rest can be
// looked at.
Result<void> GraphImporter::import_missing(const pt2::Node& node, const std::string& name) {
  if (shared_.missing_names.insert(name).second) shared_.missing.push_back({name, build_.source});
  std::vector<const pt2::Argument*> names;
  result_names(node, &names);
  for (const pt2::Argument* output : names) {
    if (output->kind == Kind::tensor) {
      const pt2::TensorMeta* meta = find_tensor(from_, output->name);
      Type type;
      if (meta) {
        TRY(type, tensor_type(*meta));
      }
      define_tensor(output->name,
                    to_.add_value(type, std::string(output->name), Origin::constant, 0));
    } else if (output->kind != Kind::none) {
      TRY(Type type, number_type(*output));
      define_number(output->name,
                    to_.add_value(type, std::string(output->name), Origin::constant, 0));
    }
  }
  return {};
}

// Values that an operator's parts gave get the sizes that the exporter saw, which are exact.
Result<void> GraphImporter::take_exported_sizes(const std::vector<ValueId>& results,
                                                const std::vector<Type>& exported) {
  if (results.size() != exported.size())
    return error(Code::internal, "{} results from the parts, {} are wanted", results.size(),
                 exported.size());
  for (size_t i = 0; i < results.size(); i++) {
    if (!exported[i].is_tensor() || !to_.is_node(results[i])) continue;
    Type& type = to_.values[size_t(results[i])].type;
    if (!type.is_tensor() || type.tensor.dtype != exported[i].tensor.dtype ||
        type.tensor.sizes.size() != exported[i].tensor.sizes.size())
      return error(Code::internal, "result {} is {} of rank {}, the exporter says {} of rank {}", i,
                   dtype_name(type.tensor.dtype), type.tensor.sizes.size(),
                   dtype_name(exported[i].tensor.dtype), exported[i].tensor.sizes.size());
    type.tensor.sizes = exported[i].tensor.sizes;
  }
  return {};
}

// The tensor called `name` holds `value` from now on, in its own type and sizes.
Result<void> GraphImporter::write_in_place(std::string_view name, ValueId value) {
  auto target = names_.find(name);
  if (target == names_.end() || target->second.slot < 0)
    return error(Code::unsupported, "an in-place operator on something that is not a tensor");
  TRY(ValueId before, aliases_.read(target->second.slot));
  TensorType type = build_.tensor(before);
  value = build_.cast(value, type.dtype);
  if (build_.tensor(value).sizes != type.sizes)
    value = build_.call1("aten::expand", {ValueRef{value}, build_.ints(type.sizes), false});
  return aliases_.write(target->second.slot, value);
}

// A call of an operator for which a kernel stands: tensors as they are, numbers as constants.
Result<void> GraphImporter::import_own_kernel(const pt2::Node& node, const std::string& name,
                                              const std::shared_ptr<const tile::Kernel>& kernel) {
  const std::vector<std::string>& wanted = kernel->stands_for.arguments;
  std::vector<ValueRef> operands;
  std::vector<TensorType> types;
  for (size_t i = 0; i < node.inputs.size(); i++) {
    const pt2::NamedArgument& input = node.inputs[i];
    if (i >= wanted.size()) {
      // What the kernel does not take must be what it is when nobody says anything.
      const Op* op = find_op(name);
      int index = op ? op->argument_index(input.name) : -1;
      if (index >= 0 && op->arguments[size_t(index)].has_default) {
        TRY(Argument given, convert(input.value, op->arguments[size_t(index)].type));
        if (given == op->arguments[size_t(index)].default_value) continue;
      }
      if (input.value.kind == Kind::none) continue;
      return error(Code::unsupported,
                   "kernel {} takes {} arguments of the operator; the model also gives \"{}\"",
                   kernel->name, wanted.size(), input.name);
    }
    const tile::Buffer& buffer = kernel->buffers[buffer_of_argument(*kernel, i)];
    if (input.value.kind == Kind::tensor) {
      TRY(ValueId id, operand(input.value));
      operands.push_back({id});
      types.push_back(build_.tensor(id));
      continue;
    }
    TRY(Argument given, convert(input.value, "Scalar"));
    double number = 0;
    if (auto* whole = std::get_if<int64_t>(&given))
      number = double(*whole);
    else if (auto* real = std::get_if<double>(&given))
      number = *real;
    else if (auto* truth = std::get_if<bool>(&given))
      number = *truth;
    else
      return error(
          Code::unsupported,
          "kernel {}: input {} is {} of rank {}; argument \"{}\" of the model is neither a "
          "tensor nor a number that is known",
          kernel->name, buffer.name, dtype_name(buffer.dtype), buffer.dims.size(), input.name);
    bool whole = is_integral(buffer.dtype);
    if (!buffer.dims.empty() || (whole && number != std::trunc(number)) ||
        std::fabs(number) > 0x1p53)
      return error(
          Code::unsupported,
          "kernel {}: input {} is {} of rank {}; argument \"{}\" of the model is the number {}",
          kernel->name, buffer.name, dtype_name(buffer.dtype), buffer.dims.size(), input.name,
          number);
    operands.push_back({build_.scalar(number, buffer.dtype)});
    types.push_back(TensorType{buffer.dtype, {}, {}});
  }
  std::vector<const pt2::Argument*> outputs;
  result_names(node, &outputs);
  std::vector<Type> results;
  std::vector<TensorType> result_types;
  for (const pt2::Argument* output : outputs) {
    const pt2::TensorMeta* meta =
        output->kind == Kind::tensor ? find_tensor(from_, output->name) : nullptr;
    if (!meta)
      return error(Code::unsupported, "kernel {} gives tensors; result \"{}\" of the model is none",
                   kernel->name, output->name);
    TRY(Type type, tensor_type(*meta));
    result_types.push_back(type.tensor);
    results.push_back(std::move(type));
  }
  TRY_VOID(check_own_kernel(*kernel, types, result_types));
  auto& known = shared_.program.own_kernels;
  size_t index = size_t(std::find(known.begin(), known.end(), kernel) - known.begin());
  if (index == known.size()) known.push_back(kernel);
  std::string hint = outputs.empty() ? std::string() : std::string(outputs[0]->name);
  NodeId id = to_.add_node(kOwnKernel, {int64_t(index), std::move(operands)}, std::move(results),
                           build_.source, hint);
  return define_outputs(node, std::vector<ValueId>(to_.nodes[size_t(id)].results));
}

Result<void> GraphImporter::import_operator(const pt2::Node& node, const std::string& name) {
  if (auto kernel = find_own_kernel(shared_.kernels, name))
    return import_own_kernel(node, name, kernel);
  const Op* op = find_op(name);
  bool in_place = !op && (op = find_op(functional_name(name)));
  if (!op) return import_missing(node, name);
  // Arguments in schema order.
  std::vector<Argument> arguments;
  std::vector<std::string_view> tensor_names(op->arguments.size());
  size_t positional = 0;
  std::vector<const pt2::Argument*> given(op->arguments.size(), nullptr);
  for (const pt2::NamedArgument& input : node.inputs) {
    int index = input.name.empty() ? -1 : op->argument_index(input.name);
    if (index < 0 && in_place && input.name == "self") index = 0;
    if (index < 0 && input.name.empty() && positional < given.size()) index = int(positional);
    if (index < 0)
      return error(Code::unsupported, "argument \"{}\" is not in the schema {}", input.name,
                   op->def->schema);
    given[size_t(index)] = &input.value;
    positional = size_t(index) + 1;
  }
  for (size_t i = 0; i < op->arguments.size(); i++) {
    const SchemaArgument& wanted = op->arguments[i];
    if (!given[i]) {
      if (!wanted.optional)
        return error(Code::invalid_file, "argument \"{}\" is missing", wanted.name);
      arguments.push_back(wanted.has_default ? wanted.default_value : Argument(None{}));
      continue;
    }
    if (given[i]->kind == Kind::tensor) tensor_names[i] = given[i]->name;
    Result<Argument> argument = convert(*given[i], wanted.type);
    if (!argument.ok())
      return std::move(argument.error()).with_context("argument \"" + wanted.name + "\"");
    arguments.push_back(std::move(*argument));
  }

  std::vector<const pt2::Argument*> outputs;
  result_names(node, &outputs);
  // Types as the exporter saw them: their symbolic sizes are exact.
  std::vector<Type> exported;
  for (const pt2::Argument* output : outputs) {
    Type type;
    type.kind = Type::Kind::none;
    if (output->kind == Kind::tensor) {
      const pt2::TensorMeta* meta = find_tensor(from_, output->name);
      if (!meta) return error(Code::invalid_file, "result \"{}\" has no type", output->name);
      TRY(type, tensor_type(*meta));
    }
    exported.push_back(std::move(type));
  }

  std::vector<ValueId> results;
  bool no_op = false;
  std::optional<Effects> effects;
  if (op->def->functionalize && !in_place) {
    Node call;
    call.op = op->name;
    call.arguments = arguments;
    effects = op->def->functionalize(build_, call);
    if (!build_.status().ok()) return build_.status().error();
  }
  if (effects) {
    results = effects->results;
    TRY_VOID(take_exported_sizes(results, exported));
  } else if (op->kernel && exported.size() > 0 && !in_place) {
    TRY_VOID(check_types(*op, arguments, exported));
    std::string hint =
        outputs[0]->kind == Kind::tensor ? std::string(outputs[0]->name) : std::string();
    NodeId id = to_.add_node(op->name, arguments, exported, build_.source, hint);
    results = to_.nodes[size_t(id)].results;
  } else {
    size_t nodes_before = to_.nodes.size();
    results = build_.call(op->name, arguments);
    if (!build_.status().ok()) return build_.status().error();
    no_op = to_.nodes.size() == nodes_before;
    if (!in_place && !no_op) TRY_VOID(take_exported_sizes(results, exported));
  }

  if (in_place) {
    TRY_VOID(write_in_place(tensor_names[0], results.at(0)));
    if (!outputs.empty() && outputs[0]->kind == Kind::tensor)
      define(outputs[0]->name, names_.at(tensor_names[0]));
    return {};
  }
  if (effects)
    for (const Effects::Write& write : effects->writes)
      TRY_VOID(write_in_place(tensor_names[size_t(write.argument)], write.value));
  // Views stay connected to what they view, as long as somebody writes in place at all.
  bool list = op->returns.size() == 1 && op->returns[0].type.ends_with("[]");
  for (size_t i = 0; i < outputs.size() && i < results.size(); i++) {
    if (outputs[i]->kind == Kind::none) continue;
    if (outputs[i]->kind != Kind::tensor) {
      define_number(outputs[i]->name, results[i]);
      continue;
    }
    char alias = list ? op->returns[0].alias : i < op->returns.size() ? op->returns[i].alias : 0;
    auto viewed = names_.find(tensor_names.empty() ? std::string_view() : tensor_names[0]);
    bool view = shared_.has_writes && (alias || no_op) && !tensor_names.empty() &&
                !tensor_names[0].empty() && viewed != names_.end() && viewed->second.slot >= 0 &&
                Aliases::is_invertible(op->name);
    // contiguous, to and reshape copy when they must.
    if (view && (op->name == "aten::contiguous" || op->name.starts_with("aten::to.") ||
                 op->name == "aten::reshape" || op->name == "aten::flatten.using_ints")) {
      const pt2::TensorMeta* from = find_tensor(from_, tensor_names[0]);
      bool dense = from && from->dtype == exported[i].tensor.dtype;
      SymInt stride = 1;
      for (size_t d = from ? from->sizes.size() : 0; dense && d-- > 0;) {
        TRY(SymInt have, sym_int(from->strides[d]));
        TRY(SymInt size, sym_int(from->sizes[d]));
        dense = (size.is_known() && size.value == 1) || have == stride;
        stride = shared_.program.symbols.multiply(stride, size);
      }
      view = dense;
    }
    if (view) {
      if (no_op)
        define(outputs[i]->name, viewed->second);
      else
        define(outputs[i]->name,
               Name{aliases_.add_view(viewed->second.slot, op->name, arguments, int(i), results[i]),
                    kNoValue});
    } else {
      define_tensor(outputs[i]->name, results[i]);
    }
  }
  return {};
}

// with_effects(token, operator, arguments...) -> token, results...: the order of the nodes is kept
// anyway, so the operator alone is imported and nothing is known of tokens.
Result<void> GraphImporter::import_ordered_effect(const pt2::Node& node) {
  if (node.inputs.size() < 2 || node.inputs[1].value.kind != Kind::op || node.outputs.empty() ||
      node.outputs[0].kind != Kind::tensor)
    return error(Code::invalid_file, "a token, an operator and a token as first result are wanted");
  pt2::Node inner = node;
  inner.target = node.inputs[1].value.text;
  inner.inputs = node.inputs.subspan(2);
  inner.outputs = node.outputs.subspan(1);
  if (higher_order(inner.target) != HigherOrder::none)
    return import_missing(inner, std::string(inner.target));
  if (inner.outputs.size() == 1 && inner.outputs[0].kind == Kind::none) inner.outputs = {};
  return import_node(inner);
}

Result<void> GraphImporter::import_node(const pt2::Node& node) {
  build_.source = source_line(node.stack_trace);
  std::string_view target = node.target;
  switch (higher_order(target)) {
    case HigherOrder::region: return inline_region(node);
    case HigherOrder::control_flow:
      return import_control_flow(node, target.substr(target.rfind('.') + 1));
    case HigherOrder::ordered_effect: return import_ordered_effect(node);
    case HigherOrder::unknown: return import_missing(node, std::string(target));
    case HigherOrder::none: break;
  }
  if (const char* prim = prim_name(target)) return import_prim(node, prim);
  std::string name = operator_name(target);
  if (is_assertion(name)) {
    if (!node.outputs.empty() && node.outputs[0].kind == Kind::tensor && !node.inputs.empty() &&
        node.inputs[0].value.kind == Kind::tensor) {  // functional assertions pass a tensor on
      if (auto found = names_.find(node.inputs[0].value.name); found != names_.end())
        define(node.outputs[0].name, found->second);
    }
    return {};
  }
  return import_operator(node, name);
}

Result<void> GraphImporter::import_nodes() {
  for (const pt2::Node& node : from_.nodes) {
    Result<void> done = import_node(node);
    if (!done.ok()) {
      std::string where =
          fmt::format("node {} ({})", node.name.empty() ? "?" : node.name, node.target);
      if (!build_.source.empty()) where += " at " + build_.source;
      return std::move(done.error()).with_context(where);
    }
  }
  return {};
}

bool writes_in_place(const pt2::Graph& graph) {
  for (const pt2::Node& node : graph.nodes) {
    std::string name = operator_name(node.target);
    if (!functional_name(name).empty()) return true;
    if (const Op* op = find_op(name); op && op->def->functionalize) return true;
    for (const pt2::NamedArgument& input : node.inputs)
      if (input.value.kind == Kind::graph && writes_in_place(*input.value.graph)) return true;
  }
  return false;
}

// Bytes of a weight in row-major order; a copy only when its strides are not.
std::pair<Bytes, std::shared_ptr<const std::vector<uint8_t>>> dense_bytes(
    const pt2::Weight& weight) {
  uint64_t count = 1;
  for (int64_t size : weight.sizes) count *= uint64_t(size);
  size_t element = dtype_bytes(weight.dtype);
  if (pt2::is_contiguous(weight)) return {weight.bytes.first(count * element), nullptr};
  auto copy = std::make_shared<std::vector<uint8_t>>(count * element);
  std::vector<int64_t> index(weight.sizes.size(), 0);
  for (uint64_t i = 0; i < count; i++) {
    int64_t offset = 0;
    for (size_t d = 0; d < index.size(); d++) offset += index[d] * weight.strides[d];
    memcpy(copy->data() + i * element, weight.bytes.data() + uint64_t(offset) * element, element);
    for (size_t d = index.size(); d-- > 0;) {
      if (++index[d] < weight.sizes[d]) break;
      index[d] = 0;
    }
  }
  return {Bytes(*copy), copy};
}

// Bounds of symbols. A range may also be said of an expression in one symbol ("8*s79" is 8 to 128);
// then it decides: the bounds that torch keeps for such a symbol start at 2 because it treats sizes
// 0 and 1 apart while tracing, not because the model refuses them.
Result<void> read_ranges(const pt2::Program& exported, SymbolTable& symbols) {
  auto is_name = [](std::string_view text) {
    return std::all_of(text.begin(), text.end(),
                       [](char c) { return isalnum(static_cast<unsigned char>(c)) || c == '_'; });
  };
  for (const auto& range : exported.range_constraints) {
    if (!is_name(range.name)) continue;
    symbols.symbol(std::string(range.name));
    Symbol* symbol = symbols.find_symbol(std::string(range.name));
    if (range.value.min) symbol->bounds.min = *range.value.min;
    if (range.value.max) symbol->bounds.max = *range.value.max;
  }
  for (const auto& range : exported.range_constraints) {
    if (is_name(range.name)) continue;
    TRY(SymInt size, symbols.parse(std::string(range.name)));
    if (size.is_known()) continue;
    for (size_t i = 0; i < symbols.symbols().size(); i++) {
      // size = scale * symbol + offset, found by trying two values.
      std::vector<int64_t> at(symbols.symbols().size(), 0);
      auto zero = symbols.evaluate(size, at);
      at[i] = 1;
      auto one = symbols.evaluate(size, at);
      at[i] = 5;
      auto five = symbols.evaluate(size, at);
      if (!zero || !one || !five || *one <= *zero || *five - *zero != 5 * (*one - *zero)) continue;
      int64_t scale = *one - *zero, offset = *zero;
      Bounds& bounds = symbols.symbols()[i].bounds;
      if (range.value.min) bounds.min = (*range.value.min - offset + scale - 1) / scale;
      if (range.value.max) bounds.max = std::min(bounds.max, (*range.value.max - offset) / scale);
      break;
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Program>> import_program(const pt2::Program& exported,
                                                const std::string& method_name,
                                                const OwnKernels& kernels) {
  auto program = std::make_unique<Program>();
  Method& method = program->methods.emplace_back();
  method.name = method_name;
  Graph& graph = method.graph;
  graph.name = method_name;
  Shared shared{*program, kernels, {}, {}, writes_in_place(exported.graph)};
  TRY_VOID(read_ranges(exported, program->symbols));
  GraphImporter importer(shared, exported.graph, graph);

  // Inputs: parameters, buffers and constants become values that refer to the program; the user's
  // inputs become inputs of the graph.
  struct State {
    SlotId slot;
    ValueId value;
    const pt2::InputSpec* spec;
    int32_t constant;
    int32_t input;
  };
  std::vector<State> states;
  std::unordered_map<const uint8_t*, std::vector<std::pair<int32_t, ValueId>>> by_data;
  std::unordered_map<std::string_view, size_t> state_by_target;
  for (const pt2::InputSpec& spec : exported.inputs) {
    std::string_view name = spec.arg.name;
    switch (spec.kind) {
      case pt2::InputSpec::Kind::parameter:
      case pt2::InputSpec::Kind::buffer:
      case pt2::InputSpec::Kind::tensor_constant: {
        const pt2::Weight* weight = pt2::find_data(exported, spec);
        if (!weight)
          return error(Code::invalid_file, "\"{}\" has no data in the archive", spec.target);
        TensorType type{weight->dtype, {}, {}};
        for (int64_t size : weight->sizes) type.sizes.push_back(size);
        auto [bytes, owned] = dense_bytes(*weight);
        // The same memory under several names is one constant: tied weights.
        int32_t constant = -1;
        ValueId value = kNoValue;
        for (auto [index, id] : by_data[bytes.data()]) {
          if (program->constants[size_t(index)].type == type && !bytes.empty()) {
            constant = index;
            value = id;
            program->constants[size_t(index)].aliases.emplace_back(spec.target);
          }
        }
        if (constant < 0) {
          constant = int32_t(program->constants.size());
          program->constants.push_back({type, bytes, std::string(spec.target), {}, owned});
          value = graph.add_value(Type::of(type), std::string(name), Origin::constant, constant);
          by_data[bytes.data()].emplace_back(constant, value);
        }
        state_by_target[spec.target] = states.size();
        states.push_back({importer.aliases().add_base(value), value, &spec, constant, -1});
        importer.define(name, Name{states.back().slot, kNoValue});
        break;
      }
      case pt2::InputSpec::Kind::user_input:
      case pt2::InputSpec::Kind::constant_input: {
        int32_t position = int32_t(graph.inputs.size());
        const pt2::Argument& arg = spec.arg;
        method.input_names.emplace_back(
            spec.kind == pt2::InputSpec::Kind::constant_input ? spec.target : name);
        if (arg.kind == Kind::tensor) {
          const pt2::TensorMeta* meta = find_tensor(exported.graph, name);
          if (!meta) return error(Code::invalid_file, "input \"{}\" has no type", name);
          Result<Type> type = importer.tensor_type(*meta);
          if (!type.ok())
            return std::move(type.error()).with_context(fmt::format("input \"{}\"", name));
          ValueId value = graph.add_input(*type, std::string(name));
          SlotId slot = importer.aliases().add_base(value);
          importer.define(name, Name{slot, kNoValue});
          state_by_target[name] = states.size();
          states.push_back({slot, value, &spec, -1, position});
        } else if (arg.kind == Kind::sym_int) {
          const pt2::SymInt* meta = find_sym_int(exported.graph, name);
          if (!meta) return error(Code::invalid_file, "input \"{}\" has no value", name);
          TRY(SymInt number, importer.sym_int(*meta));
          importer.define_number(name, graph.add_input(Type::integer(number), std::string(name)));
        } else {
          // Fixed at export; callers may pass the same value again.
          Type type;
          FixedInput fixed;
          fixed.position = position;
          switch (arg.kind) {
            case Kind::integer:
              type = Type::integer(SymInt(arg.integer));
              fixed.value = arg.integer;
              break;
            case Kind::floating:
              type.kind = Type::Kind::floating;
              fixed.value = arg.floating;
              break;
            case Kind::boolean:
              type.kind = Type::Kind::boolean;
              fixed.value = arg.boolean;
              break;
            case Kind::string:
              type.kind = Type::Kind::none;
              fixed.value = std::string(arg.text);
              break;
            case Kind::none:
              type.kind = Type::Kind::none;
              fixed.value = None{};
              break;
            default:
              return error(Code::unsupported, "input \"{}\" of kind {}", name,
                           pt2::kind_name(arg.kind));
          }
          std::string hint = name.empty() ? fmt::format("input_{}", position) : std::string(name);
          ValueId value = graph.add_input(type, hint);
          if (!name.empty()) importer.define_number(name, value);
          method.fixed_inputs.push_back(std::move(fixed));
        }
        break;
      }
      case pt2::InputSpec::Kind::token: break;  // orders effects; see import_ordered_effect
      case pt2::InputSpec::Kind::custom_obj:
        return error(
            Code::unsupported,
            "\"{}\" is an object of class {}, whose methods are not in the file: keep it out of "
            "the exported model, or hold what it has in buffers",
            spec.target.empty() ? name : spec.target, spec.arg.text.empty() ? "?" : spec.arg.text);
    }
  }

  TRY_VOID(importer.import_nodes());
  if (!shared.missing.empty()) {
    std::string text = fmt::format("{} operators are not known:", shared.missing.size());
    for (const MissingOp& op : shared.missing) {
      text += "\n  " + op.op;
      if (!op.source.empty()) text += "  at " + op.source;
    }
    text += "\nA tile kernel of yours can stand for one: sconce compile --kernels FILE";
    return Error{Code::unsupported, text};
  }

  // Outputs, and the new contents of what was mutated.
  std::unordered_map<size_t, ValueId> written;  // by index in states
  for (const pt2::OutputSpec& spec : exported.outputs) {
    switch (spec.kind) {
      case pt2::OutputSpec::Kind::user_output:
      case pt2::OutputSpec::Kind::loss: {
        TRY(ValueId id, importer.operand(spec.arg));
        graph.outputs.push_back(id);
        break;
      }
      case pt2::OutputSpec::Kind::buffer_mutation:
      case pt2::OutputSpec::Kind::parameter_mutation:
      case pt2::OutputSpec::Kind::user_input_mutation: {
        auto found = state_by_target.find(spec.target);
        if (found == state_by_target.end())
          return error(Code::invalid_file, "mutation of \"{}\", which is no input", spec.target);
        TRY(ValueId id, importer.operand(spec.arg));
        written[found->second] = id;
        break;
      }
      case pt2::OutputSpec::Kind::token: break;
      default: return error(Code::unsupported, "an output that is a gradient");
    }
  }
  for (size_t i = 0; i < states.size(); i++) {
    if (importer.aliases().was_written(states[i].slot)) {
      TRY(ValueId id, importer.aliases().read(states[i].slot));
      written.emplace(i, id);
    }
  }
  for (size_t i = 0; i < states.size(); i++) {
    auto found = written.find(i);
    if (found == written.end()) continue;
    const State& state = states[i];
    WriteBack write;
    write.value = found->second;
    if (state.input >= 0) {
      write.target = WriteBack::Target::input;
      write.index = state.input;
    } else {
      ConstantData& constant = program->constants[size_t(state.constant)];
      write.index = int32_t(program->buffers.size());
      program->buffers.push_back({constant.type, constant.name, constant.bytes, constant.owned});
      ValueInfo& info = graph.values[size_t(state.value)];
      info.origin = Origin::buffer;
      info.index = write.index;
    }
    graph.write_backs.push_back(write);
  }
  TRY_VOID(importer.build().status());
  for (const pt2::ModuleCall& call : exported.module_calls) {
    if (!call.fqn.empty()) continue;
    method.in_spec = std::string(call.in_spec);
    method.out_spec = std::string(call.out_spec);
  }
  TRY_VOID(verify(*program));
  return program;
}

Result<std::unique_ptr<Program>> import_pt2(const std::string& path, const std::string& method_name,
                                            const OwnKernels& kernels) {
  TRY(MappedFile file, map_file(path));
  auto keep = std::make_shared<MappedFile>(std::move(file));
  auto archive = pt2::read_archive(keep->bytes());
  if (!archive.ok()) return std::move(archive.error()).with_context(path);
  auto kept_archive = std::make_shared<pt2::Archive>(std::move(*archive));
  if (kept_archive->programs.size() != 1)
    return error(Code::unsupported, "{}: {} programs in one archive, 1 is wanted", path,
                 kept_archive->programs.size());
  auto program = import_program(kept_archive->programs[0], method_name, kernels);
  if (!program.ok()) return std::move(program.error()).with_context(path);
  (*program)->keep_alive.push_back(keep);
  (*program)->keep_alive.push_back(kept_archive);
  return program;
}

}  // namespace sconce
