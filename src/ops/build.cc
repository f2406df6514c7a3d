#include "ops/build.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "ops/call_arguments.h"
#include "ops/elementwise.h"

namespace sconce {
namespace {

// A way to give every symbol a value. The first one is what was seen at export.
using Assignment = std::vector<int64_t>;

int64_t clamp_to(const Symbol& symbol, int64_t value) {
  int64_t min = std::max<int64_t>(symbol.bounds.min, 0), max = symbol.bounds.max;
  int64_t divisor = std::max<int64_t>(symbol.divisor, 1);
  value = std::clamp(value, min, std::max(min, max));
  value = value / divisor * divisor;
  if (value < min && !checked_add(value, divisor, &value)) return min;
  return value;
}

std::vector<Assignment> sample_assignments(const SymbolTable& table) {
  constexpr int kSamples = 6;
  constexpr int64_t kSizeMax = int64_t{1} << 31;  // what a file says may be any number
  std::vector<Assignment> samples(kSamples);
  int64_t unlike = 0;
  for (const Symbol& symbol : table.symbols()) {
    bool bounded = symbol.bounds.max < kSizeMax;
    int64_t hint = std::min(symbol.hint > 0 ? symbol.hint : clamp_to(symbol, 4), kSizeMax);
    int64_t max = bounded ? std::max<int64_t>(symbol.bounds.max, 0) : 4 * hint + 13;
    unlike++;  // symbols get values unlike each other's
    samples[0].push_back(clamp_to(symbol, hint));
    samples[1].push_back(clamp_to(symbol, max));
    samples[2].push_back(clamp_to(symbol, max - 2 * unlike));
    samples[3].push_back(clamp_to(symbol, max / 2 + 1 + unlike));
    samples[4].push_back(clamp_to(symbol, max / 3 + 2 + 3 * unlike));
    samples[5].push_back(clamp_to(symbol, 2 + unlike));
  }
  return samples;
}

struct Sampled {
  const Op& op;
  const std::vector<Argument>& arguments;
  const Graph& graph;
  const SymbolTable& symbols;

  // Runs the shape rule with the symbols' values. Empty text in `failure` when it went well.
  bool run(const Assignment& assignment, size_t result_count, std::vector<OutMeta>* metas,
           Error* failure) const {
    CallArguments call;
    bool evaluated = true;
    auto value_of = [&](ValueId id) -> Value {
      const Type& type = graph.type(id);
      if (type.kind == Type::Kind::integer) {
        auto number = symbols.evaluate(type.number, assignment);
        if (!number) evaluated = false;
        return Value::of(number.value_or(0));
      }
      if (type.kind == Type::Kind::floating) return Value::of(0.0);
      if (type.kind == Type::Kind::boolean) return Value::of(false);
      std::vector<int64_t> sizes;
      for (const SymInt& size : type.tensor.sizes) {
        auto number = symbols.evaluate(size, assignment);
        if (!number || *number < 0 || *number > INT32_MAX) evaluated = false;
        sizes.push_back(evaluated ? *number : 0);
      }
      Tensor& tensor = call.add_tensor(type.tensor.dtype, sizes, nullptr, 0);
      if (!type.tensor.dim_order.empty()) tensor.dim_order = type.tensor.dim_order.data();
      return Value::of(&tensor);
    };
    for (int i : op.kernel_arguments)
      call.add(arguments[size_t(i)], op.arguments[size_t(i)].type, value_of);
    if (!evaluated) return false;
    Diagnostic diagnostic;
    metas->assign(result_count, OutMeta());
    int inputs = 0;
    // Only the kinds of inputs can be checked here: outs do not exist yet.
    std::vector<const Value*> with_outs(call.values().begin(), call.values().end());
    static Tensor out_tensor;
    static const Value out = Value::of(&out_tensor);
    Value list;
    const char* outs = strchr(op.kernel->signature, '>');
    CHECK(outs);
    for (const char* letter = outs + 1; *letter; letter++) {
      if (*letter == 'v') {
        list.kind = Value::Kind::tensors;
        with_outs.push_back(&list);
      } else {
        with_outs.push_back(&out);
      }
    }
    Status status = match_signature(*op.kernel, with_outs, &inputs, &diagnostic);
    if (status.ok()) status = shapes_of_call(op, arguments, call.values(), *metas, &diagnostic);
    if (!status.ok()) {
      *failure = to_error(status, diagnostic);
      return false;
    }
    return true;
  }
};

}  // namespace

bool has_symbols(const Graph& graph, const std::vector<Argument>& arguments) {
  bool found = false;
  Node probe;
  probe.arguments = arguments;
  Graph::for_each_use(probe, [&](ValueId id) {
    const Type& type = graph.type(id);
    if (type.kind == Type::Kind::integer) found |= !type.number.is_known();
    for (const SymInt& size : type.tensor.sizes) found |= !size.is_known();
  });
  return found;
}

namespace {

// Finds an expression that equals `wanted` at every sample.
class SizeMatcher {
 public:
  SizeMatcher(SymbolTable& symbols, std::vector<Assignment> samples)
      : symbols_(symbols), samples_(std::move(samples)) {}

  void add_candidate(SymInt size) {
    if (!size.is_known()) add(size);
  }
  void add_tensor(const TensorType& type) {
    SymInt product = 1;
    for (size_t i = 0; i < type.sizes.size(); i++) {
      add_candidate(type.sizes[i]);
      SymInt run = type.sizes[i];  // products of neighbouring sizes: flatten, view
      for (size_t j = i + 1; j < type.sizes.size(); j++) {
        run = symbols_.multiply(run, type.sizes[j]);
        add_candidate(run);
      }
      product = symbols_.multiply(product, type.sizes[i]);
    }
    totals_.push_back(product);
  }
  void add_sum(SymInt sum) { add_candidate(sum); }

  std::optional<SymInt> match(const std::vector<int64_t>& wanted) {
    if (std::all_of(wanted.begin(), wanted.end(), [&](int64_t v) { return v == wanted[0]; }))
      return SymInt(wanted[0]);
    for (const Candidate& c : candidates_)
      if (c.values == wanted) return c.size;
    // One candidate scaled and moved: cat with a constant, unfold, pooling with stride 1.
    for (const Candidate& c : candidates_) {
      if (auto size = linear(c, wanted)) return size;
    }
    for (const Candidate& c : candidates_)
      if (auto size = strided(c, wanted)) return size;
    for (size_t i = 0; i < candidates_.size(); i++)
      for (size_t j = 0; j < candidates_.size(); j++) {
        if (auto size = pair(candidates_[i], candidates_[j], wanted)) return size;
      }
    // The rest of a total: view with -1.
    for (SymInt total : totals_)
      for (const Candidate& c : candidates_)
        if (auto size = check(symbols_.floor_divide(total, c.size), wanted)) return size;
    return std::nullopt;
  }

 private:
  struct Candidate {
    SymInt size;
    std::vector<int64_t> values;
  };

  std::vector<int64_t> values_of(SymInt size) {
    std::vector<int64_t> values;
    for (const Assignment& sample : samples_)
      values.push_back(symbols_.evaluate(size, sample).value_or(INT64_MIN));
    return values;
  }
  void add(SymInt size) {
    for (const Candidate& c : candidates_)
      if (c.size == size) return;
    candidates_.push_back({size, values_of(size)});
  }
  std::optional<SymInt> check(SymInt size, const std::vector<int64_t>& wanted) {
    if (values_of(size) == wanted) return size;
    return std::nullopt;
  }
  std::optional<SymInt> linear(const Candidate& c, const std::vector<int64_t>& wanted) {
    for (size_t k = 1; k < wanted.size(); k++) {
      int64_t run = c.values[k] - c.values[0], rise = wanted[k] - wanted[0];
      if (run == 0) continue;
      if (rise % run != 0) return std::nullopt;
      int64_t slope = rise / run;
      return check(symbols_.add(symbols_.multiply(c.size, slope), wanted[0] - slope * c.values[0]),
                   wanted);
    }
    return std::nullopt;
  }
  // floor((c + a) / s) + b, as convolutions and slices with a step give.
  std::optional<SymInt> strided(const Candidate& c, const std::vector<int64_t>& wanted) {
    for (int64_t step = 2; step <= 8; step++)
      for (int64_t shift = -(step - 1) * 2; shift <= (step - 1) * 2; shift++) {
        SymInt quotient = symbols_.floor_divide(symbols_.add(c.size, shift), step);
        auto values = values_of(quotient);
        int64_t more = wanted[0] - values[0];
        bool same = true;
        for (size_t k = 0; k < wanted.size() && same; k++) same = values[k] + more == wanted[k];
        if (same) return symbols_.add(quotient, more);
      }
    return std::nullopt;
  }
  std::optional<SymInt> pair(const Candidate& a, const Candidate& b,
                             const std::vector<int64_t>& wanted) {
    auto equal = [&](auto f) {
      for (size_t k = 0; k < wanted.size(); k++)
        if (f(a.values[k], b.values[k]) != wanted[k]) return false;
      return true;
    };
    if (equal([](int64_t x, int64_t y) { return x + y; })) return symbols_.add(a.size, b.size);
    if (equal([](int64_t x, int64_t y) { return x - y; })) return symbols_.subtract(a.size, b.size);
    int64_t product = 0;
    if (equal(
            [&](int64_t x, int64_t y) { return checked_multiply(x, y, &product) ? product : -1; }))
      return symbols_.multiply(a.size, b.size);
    if (equal([](int64_t x, int64_t y) { return y == 0 ? -1 : x / y; }))
      return symbols_.floor_divide(a.size, b.size);
    // A sum or difference with a constant on top.
    int64_t more = wanted[0] - (a.values[0] + b.values[0]);
    if (equal([&](int64_t x, int64_t y) { return x + y + more; }))
      return symbols_.add(symbols_.add(a.size, b.size), more);
    more = wanted[0] - (a.values[0] - b.values[0]);
    if (equal([&](int64_t x, int64_t y) { return x - y + more; }))
      return symbols_.add(symbols_.subtract(a.size, b.size), more);
    return std::nullopt;
  }

  SymbolTable& symbols_;
  std::vector<Assignment> samples_;
  std::vector<Candidate> candidates_;
  std::vector<SymInt> totals_;
};

std::optional<int64_t> known_integer(const Argument& argument) {
  if (auto* i = std::get_if<int64_t>(&argument)) return *i;
  return std::nullopt;
}

// Number of results of an operator that returns a list; the rules mirror the schemas of ATen's few
// list operators, whose count follows from arguments alone.
Result<size_t> result_count(const Op& op, const Graph& graph, const SymbolTable& symbols,
                            const std::vector<Argument>& arguments) {
  if (op.returns.size() != 1 || !op.returns[0].type.ends_with("[]")) return op.returns.size();
  for (size_t i = 0; i < op.arguments.size(); i++)
    if (op.arguments[i].name == "split_sizes" || op.arguments[i].name == "indices")
      if (auto* items = std::get_if<std::vector<IntItem>>(&arguments[i]))
        return items->size() + (op.arguments[i].name == "indices" ? 1 : 0);
  if (auto* list = std::get_if<std::vector<ValueRef>>(&arguments[0])) return list->size();
  auto* ref = std::get_if<ValueRef>(&arguments[0]);
  int at = op.argument_index("dim");
  int64_t dim = at >= 0 ? known_integer(arguments[size_t(at)]).value_or(0) : 0;
  if (!ref || !graph.type(ref->id).is_tensor())
    return error(Code::unsupported, "{}: how many results it has is not known", op.name);
  const TensorType& type = graph.type(ref->id).tensor;
  if (dim < 0) dim += int64_t(type.sizes.size());
  if (dim < 0 || dim >= int64_t(type.sizes.size()))
    return error(Code::invalid_argument, "{}: dimension {} of rank {}", op.name, dim,
                 type.sizes.size());
  SymInt size = type.sizes[size_t(dim)];
  int64_t total = size.is_known() ? size.value : symbols.hint(size);
  if (int split = op.argument_index("split_size"); split >= 0) {
    auto each = known_integer(arguments[size_t(split)]);
    if (!each || *each < 0 || (*each == 0 && total != 0))
      return error(Code::unsupported, "{}: split size is not a known positive number", op.name);
    return size_t(*each == 0 ? 1 : std::max<int64_t>(1, (total + *each - 1) / *each));
  }
  if (int chunks = op.argument_index("chunks"); chunks >= 0) {
    auto count = known_integer(arguments[size_t(chunks)]);
    if (!count || *count <= 0)
      return error(Code::unsupported, "{}: number of chunks is not known", op.name);
    int64_t each = std::max<int64_t>(1, (total + *count - 1) / *count);
    return size_t(std::max<int64_t>(1, (total + each - 1) / each));
  }
  return size_t(total);  // unbind
}

}  // namespace

Result<std::vector<Type>> infer_types(Program& program, const Graph& graph, const Op& op,
                                      const std::vector<Argument>& arguments) {
  if (!op.kernel) return error(Code::internal, "{} has no kernel to infer shapes with", op.name);
  if (arguments.size() != op.arguments.size())
    return error(Code::invalid_argument, "{}: {} arguments, {} are wanted", op.name,
                 arguments.size(), op.arguments.size());
  TRY(size_t count, result_count(op, graph, program.symbols, arguments));
  bool symbolic = has_symbols(graph, arguments);
  std::vector<Assignment> samples =
      symbolic ? sample_assignments(program.symbols) : std::vector<Assignment>(1);
  Sampled sampled{op, arguments, graph, program.symbols};
  std::vector<std::vector<OutMeta>> results;
  std::vector<Assignment> good;
  Error failure = error(Code::invalid_argument, "sizes are not known");
  for (size_t k = 0; k < samples.size(); k++) {
    std::vector<OutMeta> metas;
    if (!sampled.run(samples[k], count, &metas, &failure)) continue;
    // Ranks depend on arguments only; a sample where broadcasting differs would mislead.
    results.push_back(std::move(metas));
    good.push_back(samples[k]);
  }
  if (good.empty()) return std::move(failure).with_context(op.name);
  std::vector<Type> types;
  std::optional<SizeMatcher> matcher;
  if (symbolic) {
    matcher.emplace(program.symbols, good);
    Node probe;
    probe.arguments = arguments;
    SymInt sum_per_dim[kRankMax];
    Graph::for_each_use(probe, [&](ValueId id) {
      const Type& type = graph.type(id);
      if (type.kind == Type::Kind::integer) matcher->add_candidate(type.number);
      if (!type.is_tensor()) return;
      matcher->add_tensor(type.tensor);
      for (size_t i = 0; i < type.tensor.sizes.size() && i < kRankMax; i++)
        sum_per_dim[i] = program.symbols.add(sum_per_dim[i], type.tensor.sizes[i]);
    });
    for (SymInt sum : sum_per_dim) matcher->add_sum(sum);
  }
  for (size_t r = 0; r < count; r++) {
    const OutMeta& first = results[0][r];
    TensorType type{first.dtype, {}, {}};
    for (int i = 0; i < first.rank; i++) {
      if (first.upper_bounds ? first.upper_bounds >> i & 1 : op.kernel->data_dependent) {
        int64_t max = 0;
        for (const auto& result : results) max = std::max(max, result[r].sizes[i]);
        type.sizes.push_back(program.symbols.fresh({0, max}, first.sizes[i]));
        continue;
      }
      if (!symbolic) {
        type.sizes.push_back(first.sizes[i]);
        continue;
      }
      std::vector<int64_t> wanted;
      for (const auto& result : results) wanted.push_back(result[r].sizes[i]);
      if (auto size = matcher->match(wanted)) {
        type.sizes.push_back(*size);
      } else {
        int64_t max = *std::max_element(wanted.begin(), wanted.end());
        type.sizes.push_back(program.symbols.fresh({0, max}, wanted[0]));
      }
    }
    types.push_back(Type::of(std::move(type)));
  }
  return types;
}

// How many stand-ins a caller may ask for when an operator's results could not be inferred.
static size_t stand_in_count(const Op* op) {
  constexpr size_t kListLength = 64;
  bool list = !op || (op->returns.size() == 1 && op->returns[0].type.ends_with("[]"));
  return list ? kListLength : std::max<size_t>(1, op->returns.size());
}

// The caller goes on until it looks at status(), so every dimension it may ask for has to exist.
std::vector<ValueId> Build::failed(size_t count, Error error) {
  if (status_.ok()) status_ = std::move(error);
  TensorType type{DType::f32, std::vector<SymInt>(size_t(kRankMax), SymInt(1)), {}};
  std::vector<ValueId> values;
  for (size_t i = 0; i < count; i++)
    values.push_back(graph_.add_value(Type::of(type), "failed", Origin::constant, 0));
  return values;
}

std::vector<ValueId> Build::call(std::string_view name, std::vector<Argument> arguments) {
  const Op* op = find_op(name);
  if (!op)
    return failed(stand_in_count(op), error(Code::unsupported, "operator {} is not known", name));
  if (arguments.size() > op->arguments.size())
    return failed(stand_in_count(op),
                  error(Code::invalid_argument, "{}: {} arguments, {} are wanted", op->name,
                        arguments.size(), op->arguments.size()));
  for (size_t i = arguments.size(); i < op->arguments.size(); i++) {
    const SchemaArgument& argument = op->arguments[i];
    if (!argument.optional)
      return failed(
          stand_in_count(op),
          error(Code::invalid_argument, "{}: argument \"{}\" is missing", op->name, argument.name));
    arguments.push_back(argument.has_default ? argument.default_value : Argument(None{}));
  }
  if (!op->kernel) {  // composite: its parts are added instead
    Node node;
    node.op = op->name;
    node.arguments = std::move(arguments);
    if (op->def->decompose)
      if (auto results = op->def->decompose(*this, node)) return *results;
    return failed(stand_in_count(op),
                  error(Code::unsupported, "{}: no decomposition for these arguments", op->name));
  }
  Result<std::vector<Type>> types = infer_types(program_, graph_, *op, arguments);
  if (!types.ok()) return failed(stand_in_count(op), std::move(types.error()));
  NodeId id = graph_.add_node(op->name, std::move(arguments), std::move(*types), source);
  if (position >= 0) {
    graph_.order.pop_back();
    graph_.order.insert(graph_.order.begin() + position++, id);
  }
  return graph_.nodes[size_t(id)].results;
}

ValueId Build::cast(ValueId a, DType dtype) {
  if (this->dtype(a) == dtype) return a;
  return call1("aten::_to_copy", {v(a), int64_t(dtype)});
}

static void store_scalar(double value, DType dtype, std::vector<uint8_t>* bytes) {
  bytes->resize(dtype_bytes(dtype));
  if (is_integral(dtype)) {
    int64_t integer = int64_t(value);
    store_elements<int64_t>(bytes->data(), 1, &integer, 1, dtype);
  } else {
    store_elements<double>(bytes->data(), 1, &value, 1, dtype);
  }
}

ValueId Build::constant(TensorType type, std::vector<uint8_t> bytes, std::string name) {
  int32_t index = program_.add_constant(
      type, std::make_shared<const std::vector<uint8_t>>(std::move(bytes)), name);
  for (size_t id = 0; id < graph_.values.size(); id++)
    if (graph_.values[id].origin == Origin::constant && graph_.values[id].index == index &&
        graph_.values[id].name != "failed")
      return ValueId(id);
  return graph_.add_value(Type::of(std::move(type)), std::move(name), Origin::constant, index);
}

ValueId Build::scalar(double value, DType dtype) {
  std::vector<uint8_t> bytes;
  store_scalar(value, dtype, &bytes);
  return constant(TensorType{dtype, {}, {}}, std::move(bytes), "scalar");
}

ValueId Build::full(const std::vector<SymInt>& sizes, double value, DType dtype) {
  Argument fill = is_integral(dtype) ? Argument(int64_t(value)) : Argument(value);
  return call1("aten::full", {ints(sizes), fill, int64_t(dtype)});
}

Argument Build::ints(const std::vector<int64_t>& known) {
  std::vector<IntItem> items;
  for (int64_t k : known) items.push_back({k});
  return items;
}

Argument Build::ints(const std::vector<SymInt>& sizes) {
  std::vector<IntItem> items;
  for (SymInt size : sizes) items.push_back(int_item(size));
  return items;
}

IntItem Build::int_item(SymInt size) {
  if (size.is_known()) return {size.value};
  for (auto [expr, id] : sizes_)
    if (expr == size.expr) return {0, id};
  auto remember = [&](ValueId id) {
    sizes_.emplace_back(size.expr, id);
    return IntItem{0, id};
  };
  auto insert = [&](const char* op, std::vector<Argument> arguments) {
    NodeId id = graph_.add_node(op, std::move(arguments), {Type::integer(size)}, source);
    if (position >= 0) {
      graph_.order.pop_back();
      graph_.order.insert(graph_.order.begin() + position++, id);
    }
    return remember(graph_.nodes[size_t(id)].results[0]);
  };
  // An integer value, or a tensor that has this size; only what exists before the position.
  auto try_value = [&](ValueId id) -> std::optional<IntItem> {
    const Type& type = graph_.type(id);
    if (type.kind == Type::Kind::integer && type.number == size) return remember(id);
    if (!type.is_tensor()) return std::nullopt;
    for (size_t i = 0; i < type.tensor.sizes.size(); i++)
      if (type.tensor.sizes[i] == size)
        return insert("aten::sym_size.int", {ValueRef{id}, int64_t(i)});
    return std::nullopt;
  };
  for (ValueId id : graph_.inputs)
    if (auto item = try_value(id)) return *item;
  size_t end = position >= 0 ? size_t(position) : graph_.order.size();
  for (size_t k = 0; k < end; k++)
    for (ValueId id : std::vector<ValueId>(graph_.nodes[size_t(graph_.order[k])].results))
      if (auto item = try_value(id)) return *item;
  // Arithmetic on what its parts are.
  Expr expr = program_.symbols.expr(size.expr);
  auto operand = [&](size_t i) -> Argument {
    const Expr& part = program_.symbols.expr(expr.operands[i]);
    if (part.kind == ExprKind::constant) return part.value;
    return ValueRef{int_item(SymInt::symbolic(expr.operands[i])).value};
  };
  const char* op = nullptr;
  switch (expr.kind) {
    case ExprKind::add: op = "executorch_prim::add.Scalar"; break;
    case ExprKind::multiply: op = "executorch_prim::mul.Scalar"; break;
    case ExprKind::floor_divide: op = "executorch_prim::floordiv.int"; break;
    case ExprKind::modulo: op = "executorch_prim::mod.int"; break;
    case ExprKind::minimum: op = "executorch_prim::sym_min.Scalar"; break;
    case ExprKind::maximum: op = "executorch_prim::sym_max.Scalar"; break;
    default: break;
  }
  if (!op || expr.operands.size() < 2) {
    if (status_.ok())
      status_ = error(Code::unsupported, "size {} comes from no tensor of the graph",
                      program_.symbols.print(size));
    return {program_.symbols.hint(size)};
  }
  // Left to right; the last node is the whole expression.
  Argument left = operand(0);
  for (size_t i = 1; i + 1 < expr.operands.size(); i++) {
    Argument right = operand(i);
    NodeId id =
        graph_.add_node(op, {left, right}, {Type::integer(program_.symbols.fresh({}, 0))}, source);
    if (position >= 0) {
      graph_.order.pop_back();
      graph_.order.insert(graph_.order.begin() + position++, id);
    }
    left = ValueRef{graph_.nodes[size_t(id)].results[0]};
  }
  Argument right = operand(expr.operands.size() - 1);
  return insert(op, {left, right});
}

}  // namespace sconce
