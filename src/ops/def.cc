#include "ops/def.h"

#include <charconv>
#include <unordered_map>

#include "ops/def_table.h"

namespace sconce {
namespace {

// Reads a schema from left to right.
struct SchemaReader {
  std::string_view text;
  size_t at = 0;

  void skip_space() {
    while (at < text.size() && text[at] == ' ') at++;
  }
  bool take(char c) {
    skip_space();
    if (at < text.size() && text[at] == c) {
      at++;
      return true;
    }
    return false;
  }
  bool peek(char c) {
    skip_space();
    return at < text.size() && text[at] == c;
  }
  std::string_view take_word() {
    skip_space();
    size_t start = at;
    while (at < text.size() &&
           (isalnum(text[at]) || text[at] == '_' || text[at] == '.' || text[at] == ':'))
      at++;
    return text.substr(start, at - start);
  }
  // "Tensor(a!)[]?" -> type "Tensor[]?", alias 'a', mutated.
  bool take_type(std::string* type, char* alias, bool* mutated) {
    std::string_view word = take_word();
    if (word.empty()) return false;
    *type = word;
    if (at < text.size() && text[at] == '(') {
      at++;
      if (at < text.size()) *alias = text[at];
      while (at < text.size() && text[at] != ')') {
        if (text[at] == '!') *mutated = true;
        at++;
      }
      at++;
    }
    while (at < text.size() && (text[at] == '[' || text[at] == '?')) {
      char open = text[at];
      *type += text[at++];
      if (open == '[') {
        while (at < text.size() && text[at] != ']') *type += text[at++];
        if (at < text.size()) *type += text[at++];
      }
    }
    return true;
  }
};

bool parse_number(std::string_view word, Argument* out) {
  int64_t integer = 0;
  auto end = word.data() + word.size();
  if (auto r = std::from_chars(word.data(), end, integer); r.ec == std::errc() && r.ptr == end) {
    *out = integer;
    return true;
  }
  double number = 0;
  if (auto r = std::from_chars(word.data(), end, number); r.ec == std::errc() && r.ptr == end) {
    *out = number;
    return true;
  }
  return false;
}

bool parse_default(SchemaReader& reader, const std::string& type, Argument* out) {
  reader.skip_space();
  if (reader.peek('[')) {
    reader.at++;
    std::vector<IntItem> ints;
    std::vector<double> floats;
    std::vector<bool> bools;
    while (!reader.take(']')) {
      size_t start = reader.at;
      while (reader.at < reader.text.size() && reader.text[reader.at] != ',' &&
             reader.text[reader.at] != ']')
        reader.at++;
      std::string_view word = reader.text.substr(start, reader.at - start);
      while (!word.empty() && word.front() == ' ') word.remove_prefix(1);
      Argument item;
      if (word == "True" || word == "False")
        bools.push_back(word == "True");
      else if (!parse_number(word, &item))
        return false;
      else if (auto* i = std::get_if<int64_t>(&item)) {
        ints.push_back({*i});
        floats.push_back(double(*i));
      } else
        floats.push_back(std::get<double>(item));
      reader.take(',');
      if (reader.at >= reader.text.size()) return false;
    }
    if (type.starts_with("bool"))
      *out = bools;
    else if (type.starts_with("float"))
      *out = floats;
    else
      *out = ints;
    return true;
  }
  if (reader.peek('"') || reader.peek('\'')) {
    char quote = reader.text[reader.at++];
    size_t start = reader.at;
    while (reader.at < reader.text.size() && reader.text[reader.at] != quote) reader.at++;
    *out = std::string(reader.text.substr(start, reader.at - start));
    reader.at++;
    return true;
  }
  size_t start = reader.at;
  while (reader.at < reader.text.size() && reader.text[reader.at] != ',' &&
         reader.text[reader.at] != ')')
    reader.at++;
  std::string_view word = reader.text.substr(start, reader.at - start);
  while (!word.empty() && word.back() == ' ') word.remove_suffix(1);
  if (word == "None") {
    *out = None{};
    return true;
  }
  if (word == "True") {
    *out = true;
    return true;
  }
  if (word == "False") {
    *out = false;
    return true;
  }
  if (word == "Mean") {
    *out = int64_t{1};
    return true;
  }  // at::Reduction::Mean
  if (word == "contiguous_format") {
    *out = int64_t{0};
    return true;
  }
  if (word == "long") {
    *out = int64_t(DType::i64);
    return true;
  }
  if (word == "strided") {
    *out = int64_t{0};
    return true;
  }
  if (!parse_number(word, out)) return false;
  if (type.starts_with("float") && std::holds_alternative<int64_t>(*out))
    *out = double(std::get<int64_t>(*out));
  // int[2] stride=1 means [1, 1].
  if (size_t bracket = type.find('['); bracket != std::string::npos && type.back() != '?') {
    int64_t count = 1;
    std::from_chars(type.data() + bracket + 1, type.data() + type.size(), count);
    if (auto* i = std::get_if<int64_t>(out))
      *out = std::vector<IntItem>(size_t(count), IntItem{*i});
  }
  return true;
}

}  // namespace

Result<Op> parse_schema(std::string_view schema) {
  SchemaReader reader{schema};
  Op op;
  op.name = reader.take_word();
  auto bad = [&](const char* wanted) {
    return error(Code::internal, "schema \"{}\": at {}: {} wanted", schema, reader.at, wanted);
  };
  if (op.name.empty() || !reader.take('(')) return bad("name and '('");
  bool keyword_only = false;
  while (!reader.take(')')) {
    if (reader.take('*')) {
      keyword_only = true;
      reader.take(',');
      continue;
    }
    SchemaArgument argument;
    argument.keyword_only = keyword_only;
    if (!reader.take_type(&argument.type, &argument.alias, &argument.mutated)) return bad("type");
    argument.name = reader.take_word();
    if (argument.name.empty()) return bad("argument name");
    argument.optional = argument.type.back() == '?';
    if (reader.take('=')) {
      argument.has_default = argument.optional = true;
      if (!parse_default(reader, argument.type, &argument.default_value)) return bad("default");
    }
    op.arguments.push_back(std::move(argument));
    if (!reader.take(',') && !reader.peek(')')) return bad("',' or ')'");
  }
  reader.skip_space();
  if (reader.at + 1 < schema.size() && schema.substr(reader.at, 2) == "->")
    reader.at += 2;
  else
    return bad("'->'");
  auto take_return = [&] {
    SchemaReturn result;
    bool mutated = false;
    if (!reader.take_type(&result.type, &result.alias, &mutated)) return false;
    reader.skip_space();
    if (!reader.peek(',') && !reader.peek(')')) reader.take_word();  // names of results
    op.returns.push_back(std::move(result));
    return true;
  };
  if (reader.take('(')) {
    while (!reader.take(')')) {
      if (!take_return()) return bad("type of a result");
      reader.take(',');
    }
  } else if (!take_return()) {
    return bad("type of the result");
  }
  return op;
}

int Op::argument_index(std::string_view wanted) const {
  for (size_t i = 0; i < arguments.size(); i++)
    if (arguments[i].name == wanted) return int(i);
  return -1;
}

namespace {

void set_kernel_arguments(Op& op) {
  bool options = op.argument_index("layout") >= 0 && op.argument_index("pin_memory") >= 0;
  for (size_t i = 0; i < op.arguments.size(); i++) {
    const std::string& name = op.arguments[i].name;
    if (options &&
        (name == "dtype" || name == "layout" || name == "device" || name == "pin_memory")) {
      if (name == "dtype") op.dtype_option = int(i);
    } else {
      op.kernel_arguments.push_back(int(i));
    }
  }
}

struct Registry {
  std::vector<Op> ops;
  std::unordered_map<std::string_view, const Op*> by_name;
  std::unordered_map<std::string_view, const KernelRow*> kernels;
  std::unordered_map<std::string_view, const Op*> by_kernel;

  Registry() {
    for (const KernelRow& row : all_kernels()) kernels.emplace(row.kernel->name, &row);
    for (const OpDef* def : all_defs()) {
      Result<Op> op = parse_schema(def->schema);
      if (!op.ok()) {
        fmt::print(stderr, "{}\n", op.error().text);
        CHECK(op.ok());
      }
      op->def = def;
      if (def->out) {
        auto found = kernels.find(def->out);
        if (found == kernels.end()) fmt::print(stderr, "{}: no kernel {}\n", def->schema, def->out);
        CHECK(found != kernels.end());
        op->kernel = found->second->kernel;
        op->kernel_symbol = found->second->symbol;
        set_kernel_arguments(*op);
      }
      ops.push_back(std::move(*op));
    }
    for (const Op& op : ops) {
      bool added = by_name.emplace(op.name, &op).second;
      if (!added) fmt::print(stderr, "{} is defined twice\n", op.name);
      CHECK(added);
      if (!op.kernel) continue;
      const Op*& best = by_kernel[op.kernel->name];
      auto rank = [](const Op& o) { return std::pair(o.name.size(), std::string_view(o.name)); };
      if (!best || rank(op) < rank(*best)) best = &op;
    }
  }
};

const Registry& registry() {
  static const Registry instance;
  return instance;
}

}  // namespace

const Op* find_op(std::string_view name) {
  if (name.ends_with(".default")) name.remove_suffix(8);
  auto found = registry().by_name.find(name);
  return found == registry().by_name.end() ? nullptr : found->second;
}

const Kernel* find_kernel(std::string_view name) {
  auto found = registry().kernels.find(name);
  return found == registry().kernels.end() ? nullptr : found->second->kernel;
}

const Op* find_op_of_kernel(std::string_view name) {
  auto found = registry().by_kernel.find(name);
  return found == registry().by_kernel.end() ? nullptr : found->second;
}

Span<const Op> all_ops() { return registry().ops; }

}  // namespace sconce
