// sconce_optest: runs one operator on given arguments, for tests written in another language.
//
// A plain C interface. Paths of a call (kMode...): through the IR (a program with one node, typed
// by the shape rule and run by the evaluator, composites decomposed), through the operator's own
// decomposition, or straight to the kernel with chosen dim orders. See opinfo.py.
#include <cstring>
#include <deque>

#include "eval/eval.h"
#include "ops/build.h"
#include "ops/call_arguments.h"
#include "passes/pipeline.h"
#include "platform/cpu.h"
#include "targets/lower_test.h"
#include "targets/target.h"

namespace sconce {
namespace {

enum Kind : int32_t {
  kNone,
  kInteger,
  kFloating,
  kBoolean,
  kString,
  kTensor,
  kIntegers,
  kFloats,
  kBooleans,
  kTensors
};

struct OptestValue {
  int32_t kind;
  int32_t count;    // entries of a list, bytes of a string, rank of a tensor
  int64_t integer;  // also bool
  double floating;
  const void* data;  // string, tensor data, int64 / double / uint8 / OptestValue entries
  const int64_t* sizes;
  const uint8_t* dim_order;  // null: contiguous
  int32_t dtype;
};

// kModePortable: compiled for stock ExecuTorch's kernels, as `--target portable` does.
// kModeTiles: all but the first tensor are constants; compiled for tile kernels as `--target cpu`
// does, and run by them on this processor.
// kModeFunctional: results of the form without side effects, then what each changed argument holds.
enum Mode : int32_t {
  kModeGraph = 0,
  kModeDecomposed = 1,
  kModeKernel = 2,
  kModeSymbolic = 3,
  kModeFunctional = 4,
  kModePortable = 5,
  kModeTiles = 6
};

// Results live here until the next call of the thread.
struct Results {
  std::vector<EvalValue> values;
  std::vector<OptestValue> rows;
  std::vector<ConstantData> keep_alive;
};
thread_local Results last;
thread_local std::string all_names;

EvalTensor to_eval_tensor(const OptestValue& value) {
  EvalTensor tensor;
  tensor.dtype = DType(value.dtype);
  tensor.sizes.assign(value.sizes, value.sizes + value.count);
  tensor.bytes = dtype_bytes(tensor.dtype);
  for (int64_t size : tensor.sizes) tensor.bytes *= uint64_t(size);
  tensor.data = static_cast<const uint8_t*>(value.data);
  return tensor;
}

struct Inputs {
  Program program;
  std::vector<EvalValue> values;
  std::vector<int64_t> symbol_values;
  bool symbolic = false, has_constants = false;
  Graph& graph() { return program.methods[0].graph; }

  // With symbols, every size that is neither 0 nor 1 is one; equal sizes are the same symbol.
  SymInt size(int64_t known) {
    if (!symbolic || known < 2) return known;
    std::string name = "s" + std::to_string(known);
    bool is_new = !program.symbols.find_symbol(name);
    SymInt symbol = program.symbols.symbol(name);
    if (is_new) {
      Symbol& entry = *program.symbols.find_symbol(name);
      entry.bounds = {2, 64};
      entry.hint = known;
      if (known > 64) entry.bounds.max = 4 * known;
      symbol_values.push_back(known);
    }
    return symbol;
  }
  ValueRef add_tensor(const OptestValue& value) {
    TensorType type;
    type.dtype = DType(value.dtype);
    for (int32_t i = 0; i < value.count; i++) type.sizes.push_back(size(value.sizes[i]));
    if (has_constants && !values.empty()) {
      EvalTensor tensor = to_eval_tensor(value);
      auto owned = std::make_shared<const std::vector<uint8_t>>(tensor.data, tensor.data + tensor.bytes);
      program.constants.push_back({});
      ConstantData& constant = program.constants.back();
      constant.name = "c" + std::to_string(program.constants.size());
      constant.type = type;
      constant.bytes = *owned;
      constant.owned = owned;
      return ValueRef{graph().add_value(Type::of(std::move(type)), constant.name, Origin::constant,
                                        int32_t(program.constants.size()) - 1, 0)};
    }
    values.push_back(to_eval_tensor(value));
    return ValueRef{graph().add_input(Type::of(std::move(type)), "x")};
  }
  Argument argument(const OptestValue& value) {
    switch (value.kind) {
      case kInteger: return value.integer;
      case kFloating: return value.floating;
      case kBoolean: return value.integer != 0;
      case kString: return std::string(static_cast<const char*>(value.data), size_t(value.count));
      case kTensor: return add_tensor(value);
      case kIntegers: {
        auto* from = static_cast<const int64_t*>(value.data);
        std::vector<IntItem> items;
        for (int32_t i = 0; i < value.count; i++) items.push_back({from[i]});
        return items;
      }
      case kFloats: {
        auto* from = static_cast<const double*>(value.data);
        return std::vector<double>(from, from + value.count);
      }
      case kBooleans: {
        auto* from = static_cast<const uint8_t*>(value.data);
        std::vector<bool> flags;
        for (int32_t i = 0; i < value.count; i++) flags.push_back(from[i] != 0);
        return flags;
      }
      case kTensors: {
        auto* from = static_cast<const OptestValue*>(value.data);
        std::vector<ValueRef> refs;
        for (int32_t i = 0; i < value.count; i++)
          refs.push_back(from[i].kind == kTensor ? add_tensor(from[i]) : ValueRef{});
        return refs;
      }
      default: return None{};
    }
  }
};

// The graph as tile kernels; unsupported when one of its nodes is left to others.
Result<std::vector<EvalValue>> run_tiles(Inputs& inputs) {
  Program& program = inputs.program;
  Graph& graph = inputs.graph();
  const Target* target = find_target("cpu");
  TRY_VOID(run_pipeline(program, {target->has_node, target->quantized}, {.verify = true}));
  for (NodeId id : graph.order)
    if (!can_lower(program, graph, graph.nodes[size_t(id)]))
      return error(Code::unsupported, "{} is no tile kernel", graph.nodes[size_t(id)].op);
  if (graph.order.empty()) return error(Code::unsupported, "nothing is left to compute");
  TRY(LoweredRegion region, lower(program, graph, graph.order));
  std::vector<const void*> in;
  for (ValueId id : region.inputs)
    for (size_t i = 0; i < graph.inputs.size(); i++)
      if (graph.inputs[i] == id) in.push_back(std::get<EvalTensor>(inputs.values[i]).data);
  std::vector<EvalValue> outputs(graph.outputs.size());
  std::vector<void*> out(region.outputs.size(), nullptr);
  for (size_t o = 0; o < graph.outputs.size(); o++)
    for (size_t r = 0; r < region.outputs.size(); r++) {
      if (region.outputs[r] != graph.outputs[o]) continue;
      const TensorType& type = graph.type(graph.outputs[o]).tensor;
      std::vector<int64_t> sizes;
      for (SymInt size : type.sizes) sizes.push_back(size.value);
      EvalTensor tensor = make_eval_tensor(type.dtype, sizes);
      out[r] = tensor.owner->data();
      outputs[o] = std::move(tensor);
    }
  for (const EvalValue& output : outputs)
    if (!std::holds_alternative<EvalTensor>(output) || !std::get<EvalTensor>(output).owner)
      return error(Code::unsupported, "a result that nothing computes");
  TRY_VOID(run_region(runnable_isas().back(), region, in, out));
  return outputs;
}

Result<std::vector<EvalValue>> run_graph(const Op& op, Span<const OptestValue> values, int mode) {
  Inputs inputs;
  inputs.symbolic = mode == kModeSymbolic;
  inputs.has_constants = mode == kModeTiles;
  inputs.program.methods.emplace_back().name = "forward";
  Graph& graph = inputs.graph();
  std::vector<Argument> arguments;
  for (const OptestValue& value : values) arguments.push_back(inputs.argument(value));
  Build build(inputs.program, graph);
  std::vector<ValueId> results;
  if (mode == kModeDecomposed) {
    if (!op.def->decompose) return error(Code::unsupported, "{} has no decomposition", op.name);
    Node node;
    node.op = op.name;
    node.arguments = arguments;
    auto parts = op.def->decompose(build, node);
    if (!parts)
      return error(Code::unsupported, "{}: no decomposition for these arguments", op.name);
    results = *parts;
  } else if (mode == kModeFunctional) {
    Node node;
    node.op = op.name;
    node.arguments = arguments;
    auto effects = op.def->functionalize ? op.def->functionalize(build, node) : std::nullopt;
    if (!effects) return error(Code::unsupported, "{}: these arguments are not changed", op.name);
    results = effects->results;
    for (const Effects::Write& write : effects->writes) results.push_back(write.value);
  } else {
    results = build.call(op.name, std::move(arguments));
  }
  if (!build.status().ok()) return build.status().error();
  graph.outputs = results;
  if (mode == kModeTiles) return run_tiles(inputs);
  if (mode == kModePortable) {
    const Target* target = find_target("portable");
    TRY_VOID(run_pipeline(inputs.program, {target->has_node, target->quantized}, {.verify = true}));
    results = graph.outputs;
  }
  Evaluator evaluator(inputs.program);
  TRY(std::vector<EvalValue> outputs, evaluator.run(graph, std::move(inputs.values)));
  for (size_t i = 0; i < outputs.size(); i++) {  // what was inferred is what came out
    const Type& type = graph.type(results[i]);
    auto* tensor = std::get_if<EvalTensor>(&outputs[i]);
    if (!tensor) continue;
    if (!type.is_tensor() || type.tensor.dtype != tensor->dtype ||
        type.tensor.sizes.size() != tensor->sizes.size())
      return error(Code::internal, "result {}: its type is not what was inferred", i);
    for (size_t d = 0; d < tensor->sizes.size(); d++) {
      SymInt size = type.tensor.sizes[d];
      if (op.kernel && op.kernel->data_dependent) continue;
      std::vector<int64_t> symbols = inputs.symbol_values;
      if (symbols.size() < inputs.program.symbols.symbols().size()) continue;  // fresh ones
      auto wanted = inputs.program.symbols.evaluate(size, symbols);
      if (wanted && *wanted != tensor->sizes[d])
        return error(Code::internal, "result {}: size {} of dimension {}, {} was inferred", i,
                     tensor->sizes[d], d, inputs.program.symbols.print(size));
    }
  }
  last.keep_alive = inputs.program.constants;  // a result may be a constant
  return outputs;
}

// The kernel alone. Outs of the rank of `out_order` get that dim order, and come back contiguous.
Result<std::vector<EvalValue>> run_kernel(const Op& op, Span<const OptestValue> given,
                                          const std::vector<uint8_t>& out_order) {
  if (!op.kernel) return error(Code::unsupported, "{} has no kernel", op.name);
  const Kernel& kernel = *op.kernel;
  std::deque<Value> values;
  std::deque<Tensor> tensors;
  std::deque<std::vector<int32_t>> sizes;
  std::deque<std::vector<const Value*>> lists;
  std::vector<const Value*> pointers;
  auto keep = [&](Value value) {
    values.push_back(value);
    return &values.back();
  };
  auto add_tensor = [&](DType dtype, const std::vector<int64_t>& of, void* data,
                        const uint8_t* order) {
    sizes.emplace_back(of.begin(), of.end());
    Tensor tensor;
    tensor.data = data;
    tensor.sizes = sizes.back().data();
    tensor.dim_order = order;
    tensor.dtype = dtype;
    tensor.rank = uint8_t(of.size());
    tensor.capacity_bytes = tensor_bytes(tensor);
    tensors.push_back(tensor);
    return &tensors.back();
  };
  auto to_value = [&](const OptestValue& v, auto& self) -> Value {
    Value value;
    switch (v.kind) {
      case kInteger: return Value::of(v.integer);
      case kFloating: return Value::of(v.floating);
      case kBoolean: return Value::of(v.integer != 0);
      case kString:
        value.kind = Value::Kind::string;
        value.string = static_cast<const char*>(v.data);
        break;
      case kTensor:
        return Value::of(add_tensor(DType(v.dtype),
                                    std::vector<int64_t>(v.sizes, v.sizes + v.count),
                                    const_cast<void*>(v.data), v.dim_order));
      case kIntegers:
        lists.emplace_back();
        for (int32_t i = 0; i < v.count; i++)
          lists.back().push_back(keep(Value::of(static_cast<const int64_t*>(v.data)[i])));
        value.kind = Value::Kind::integers;
        value.items = lists.back().data();
        break;
      case kFloats:
        value.kind = Value::Kind::floats;
        value.floats = static_cast<const double*>(v.data);
        break;
      case kBooleans:
        value.kind = Value::Kind::booleans;
        value.booleans = static_cast<const bool*>(v.data);
        break;
      case kTensors: {
        std::vector<const Value*> items;
        for (int32_t i = 0; i < v.count; i++)
          items.push_back(keep(self(static_cast<const OptestValue*>(v.data)[i], self)));
        lists.push_back(std::move(items));
        value.kind = Value::Kind::tensors;
        value.items = lists.back().data();
        break;
      }
      default: return value;
    }
    value.count = uint32_t(v.count);
    return value;
  };
  for (int i : op.kernel_arguments) pointers.push_back(keep(to_value(given[size_t(i)], to_value)));
  int input_count = int(pointers.size());
  const char* letters = strchr(kernel.signature, '>') + 1;
  if (*letters == 'v') return error(Code::unsupported, "lists of outs run through the graph only");
  std::vector<OutMeta> metas(strlen(letters));
  Diagnostic diagnostic;
  if (Status s = kernel.shape({pointers, input_count}, metas, &diagnostic); !s.ok())
    return to_error(s, diagnostic);
  if (op.dtype_option >= 0 && given[size_t(op.dtype_option)].kind == kInteger)
    for (OutMeta& meta : metas) meta.dtype = DType(given[size_t(op.dtype_option)].integer);
  std::vector<EvalTensor> memory;
  std::vector<Tensor*> outs;
  for (const OutMeta& meta : metas) {
    memory.push_back(
        make_eval_tensor(meta.dtype, std::vector<int64_t>(meta.sizes, meta.sizes + meta.rank)));
    bool ordered = meta.rank == int(out_order.size()) && meta.rank > 0;
    outs.push_back(add_tensor(meta.dtype, memory.back().sizes, memory.back().owner->data(),
                              ordered ? out_order.data() : nullptr));
    pointers.push_back(keep(Value::of(outs.back())));
  }
  int matched = 0;
  if (Status s = match_signature(kernel, pointers, &matched, &diagnostic); !s.ok())
    return to_error(s, diagnostic);
  Args args{pointers, input_count};
  std::vector<uint64_t> scratch((kernel.scratch_bytes ? kernel.scratch_bytes(args) : 0) / 8 + 4);
  auto* start = reinterpret_cast<uint8_t*>((uintptr_t(scratch.data()) + 15) & ~uintptr_t(15));
  uint64_t random_state = 0;
  KernelContext context{&diagnostic, {start, scratch.size() * 8 - 16}, &random_state};
  if (Status s = kernel.run(args, context); !s.ok()) return to_error(s, diagnostic);
  std::vector<EvalValue> results;
  for (size_t k = 0; k < outs.size(); k++) {
    const Tensor& out = *outs[k];
    std::vector<int64_t> of(out.sizes, out.sizes + out.rank);
    EvalTensor contiguous = make_eval_tensor(out.dtype, of);
    Strides strides = strides_of(out);
    size_t bytes = dtype_bytes(out.dtype);
    std::vector<int64_t> index(of.size());
    for (int64_t n = 0, count = element_count(out); n < count; n++) {
      int64_t offset = 0;
      for (size_t i = 0; i < of.size(); i++) offset += index[i] * strides[int(i)];
      memcpy(contiguous.owner->data() + size_t(n) * bytes, out.as<char>() + offset * int64_t(bytes),
             bytes);
      for (size_t i = of.size(); i-- > 0;) {
        if (++index[i] < of[i]) break;
        index[i] = 0;
      }
    }
    results.push_back(std::move(contiguous));
  }
  return results;
}

}  // namespace

extern "C" {

#define OPTEST_API __attribute__((visibility("default")))

// Runs `op` with `count` arguments in the order of its schema. 0, and the results, which stay valid
// until the next call of this thread; or a Code, with its text in `message`.
OPTEST_API int sconce_optest_run(const char* op_name, const OptestValue* values, int32_t count,
                                 int32_t mode, const uint8_t* out_order, int32_t out_rank,
                                 const OptestValue** results, int32_t* result_count, char* message,
                                 uint64_t message_bytes) {
  last = Results();
  auto refuse = [&](const Error& e) {
    snprintf(message, message_bytes, "%s", e.text.c_str());
    return int(e.code);
  };
  const Op* op = find_op(op_name);
  if (!op) return refuse(error(Code::not_found, "operator {} is not defined", op_name));
  if (size_t(count) != op->arguments.size())
    return refuse(
        error(Code::invalid_argument, "{} arguments, {} are wanted", count, op->arguments.size()));
  Span<const OptestValue> given(values, size_t(count));
  Result<std::vector<EvalValue>> outputs =
      mode == kModeKernel
          ? run_kernel(*op, given, std::vector<uint8_t>(out_order, out_order + out_rank))
          : run_graph(*op, given, mode);
  if (!outputs.ok()) return refuse(outputs.error());
  last.values = std::move(*outputs);
  for (const EvalValue& value : last.values) {
    OptestValue row = {};
    if (auto* tensor = std::get_if<EvalTensor>(&value)) {
      row.kind = kTensor;
      row.count = int32_t(tensor->sizes.size());
      row.sizes = tensor->sizes.data();
      row.data = tensor->data;
      row.dtype = int32_t(tensor->dtype);
    } else if (auto* integer = std::get_if<int64_t>(&value)) {
      row.kind = kInteger;
      row.integer = *integer;
    } else if (auto* number = std::get_if<double>(&value)) {
      row.kind = kFloating;
      row.floating = *number;
    } else {
      row.kind = kBoolean;
      row.integer = std::get<bool>(value);
    }
    last.rows.push_back(row);
  }
  *results = last.rows.data();
  *result_count = int32_t(last.rows.size());
  return 0;
}

// Every operator, one a line: name, kernel's name or "-", "decomposes" or "-", "random" or "-",
// "functionalizes" or "-".
OPTEST_API const char* sconce_optest_list() {
  if (all_names.empty())
    for (const Op& op : all_ops())
      all_names += op.name + "\t" + (op.kernel ? op.kernel->name : "-") + "\t" +
                   (op.def->decompose ? "decomposes" : "-") + "\t" +
                   (op.def->random ? "random" : "-") + "\t" +
                   (op.def->functionalize ? "functionalizes" : "-") + "\n";
  return all_names.c_str();
}

}  // extern "C"

}  // namespace sconce
