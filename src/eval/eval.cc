#include "eval/eval.h"

#include <cstring>

#include "ops/call_arguments.h"
#include "ops/prim/prim.h"

namespace sconce {

EvalTensor make_eval_tensor(DType dtype, std::vector<int64_t> sizes) {
  uint64_t count = 1;
  for (int64_t size : sizes) count *= uint64_t(size);
  EvalTensor tensor;
  tensor.dtype = dtype;
  tensor.sizes = std::move(sizes);
  tensor.bytes = count * dtype_bytes(dtype);
  tensor.owner = std::make_shared<std::vector<uint8_t>>(tensor.bytes + 16);  // never a null pointer
  tensor.data = tensor.owner->data();
  return tensor;
}

// First try for a result whose size only its kernel knows.
static constexpr uint64_t kUnknownBytes = 1 << 20;

static std::vector<int64_t> known_sizes(const TensorType& type) {
  std::vector<int64_t> sizes;
  for (const SymInt& size : type.sizes) {
    CHECK(size.is_known());
    sizes.push_back(size.value);
  }
  return sizes;
}

Evaluator::Evaluator(const Program& program, bool with_buffers) : program_(program) {
  if (!with_buffers) return;
  for (const BufferData& buffer : program.buffers) {
    EvalTensor tensor = make_eval_tensor(buffer.type.dtype, known_sizes(buffer.type));
    if (!buffer.initial.empty()) memcpy(tensor.owner->data(), buffer.initial.data(), tensor.bytes);
    buffers_.push_back(std::move(tensor));
  }
}

Result<std::vector<EvalValue>> Evaluator::run(const Graph& graph, std::vector<EvalValue> inputs) {
  return run_values(graph, std::move(inputs), true);
}

Result<std::vector<EvalValue>> Evaluator::run_values(const Graph& graph,
                                                     std::vector<EvalValue> inputs, bool top) {
  if (inputs.size() != graph.inputs.size())
    return error(Code::invalid_argument, "{}: {} inputs, {} are wanted", graph.name, inputs.size(),
                 graph.inputs.size());
  std::vector<EvalValue> values(graph.values.size());
  std::vector<int32_t> uses = graph.use_counts();
  for (size_t i = 0; i < inputs.size(); i++) values[size_t(graph.inputs[i])] = std::move(inputs[i]);
  for (size_t id = 0; id < values.size(); id++) {
    const ValueInfo& info = graph.values[id];
    if (info.origin == Origin::constant && uses[id] > 0) {
      const ConstantData& constant = program_.constants[size_t(info.index)];
      EvalTensor tensor;
      tensor.dtype = constant.type.dtype;
      tensor.sizes = known_sizes(constant.type);
      tensor.data = constant.bytes.data();
      tensor.bytes = constant.bytes.size();
      values[id] = tensor;
    } else if (info.origin == Origin::buffer && uses[id] > 0) {
      values[id] = buffers_[size_t(info.index)];
    }
  }
  for (NodeId id : graph.order) {
    const Node& node = graph.nodes[size_t(id)];
    Result<std::vector<EvalValue>> results = run_node(graph, node, values);
    if (!results.ok()) {
      std::string where = fmt::format(
          "{} (%{})", node.op,
          node.results.empty() ? std::string("?") : graph.values[size_t(node.results[0])].name);
      if (!node.source.empty()) where += " at " + node.source;
      return std::move(results).with_context(where);
    }
    for (size_t r = 0; r < node.results.size(); r++)
      values[size_t(node.results[r])] = std::move((*results)[r]);
    Graph::for_each_use(node, [&](ValueId used) {
      if (--uses[size_t(used)] == 0 && graph.is_node(used)) values[size_t(used)] = EvalValue();
    });
  }
  std::vector<EvalValue> outputs;
  for (ValueId id : graph.outputs) outputs.push_back(values[size_t(id)]);
  if (top) {
    mutated_inputs_.clear();
    for (const WriteBack& write : graph.write_backs) {
      const EvalTensor& tensor = std::get<EvalTensor>(values[size_t(write.value)]);
      if (write.target == WriteBack::Target::buffer)
        buffers_[size_t(write.index)] = tensor;
      else
        mutated_inputs_.emplace_back(write.index, tensor);
    }
  }
  return outputs;
}

// A Value that stands for an EvalValue; tensors are kept in `call`.
static Value to_value(CallArguments& call, const EvalValue& value) {
  if (auto* tensor = std::get_if<EvalTensor>(&value)) {
    return Value::of(&call.add_tensor(tensor->dtype, tensor->sizes,
                                      const_cast<uint8_t*>(tensor->data), tensor->bytes));
  }
  if (auto* integer = std::get_if<int64_t>(&value)) return Value::of(*integer);
  if (auto* number = std::get_if<double>(&value)) return Value::of(*number);
  return Value::of(std::get<bool>(value));
}

Result<std::vector<EvalValue>> Evaluator::run_node(const Graph& graph, const Node& node,
                                                   const std::vector<EvalValue>& values) {
  if (node.op.find("::") == std::string::npos) return run_control_flow(graph, node, values);
  CallArguments call;
  auto value_of = [&](ValueId id) { return to_value(call, values[size_t(id)]); };
  Diagnostic diagnostic;
  if (const Prim* prim = find_prim(node.op.data(), node.op.size())) {
    for (const Argument& argument : node.arguments) call.add(argument, "Scalar", value_of);
    if (call.values().size() != prim->input_count)
      return error(Code::invalid_argument, "{} arguments, {} are wanted", call.values().size(),
                   prim->input_count);
    Value out;
    if (Status status = prim->run(call.values(), &out, &diagnostic); !status.ok())
      return to_error(status, diagnostic);
    switch (out.kind) {
      case Value::Kind::floating: return std::vector<EvalValue>{out.floating};
      case Value::Kind::boolean: return std::vector<EvalValue>{out.boolean};
      default: return std::vector<EvalValue>{out.integer};
    }
  }
  const Op* op = find_op(node.op);
  if (!op) return error(Code::unsupported, "operator is not known");
  if (!op->kernel)
    return error(Code::internal, "operator has no kernel; it should have been decomposed");
  const Kernel& kernel = *op->kernel;
  if (node.arguments.size() != op->arguments.size())
    return error(Code::invalid_argument, "{} arguments, {} are wanted", node.arguments.size(),
                 op->arguments.size());
  for (int i : op->kernel_arguments)
    call.add(node.arguments[size_t(i)], op->arguments[size_t(i)].type, value_of);
  int input_count = int(call.values().size());
  std::vector<OutMeta> metas(node.results.size());
  if (Status status = shapes_of_call(*op, node.arguments, call.values(), metas, &diagnostic);
      !status.ok())
    return to_error(status, diagnostic);
  std::vector<EvalValue> results;
  std::vector<Tensor*> outs;
  for (const OutMeta& meta : metas) {
    std::vector<int64_t> sizes(meta.sizes, meta.sizes + meta.rank);
    uint64_t bytes = dtype_bytes(meta.dtype);
    for (int64_t size : sizes)
      if (size < 0 || size > INT32_MAX || !checked_multiply(bytes, uint64_t(size), &bytes) ||
          bytes > tensor_bytes_max)
        return error(Code::too_large, "a result of [{}] {} is too large", fmt::join(sizes, ", "),
                     dtype_name(meta.dtype));
    EvalTensor tensor;
    if (meta.upper_bounds && bytes > kUnknownBytes) {
      // Only the kernel knows how large it gets: starts small and grows when it does not fit.
      tensor = make_eval_tensor(DType::u8, {int64_t(kUnknownBytes)});
      tensor.dtype = meta.dtype;
      tensor.sizes = std::move(sizes);
    } else {
      tensor = make_eval_tensor(meta.dtype, std::move(sizes));
    }
    outs.push_back(
        &call.add_tensor(tensor.dtype, tensor.sizes, tensor.owner->data(), tensor.bytes));
    results.push_back(std::move(tensor));
  }
  const char* out_letters = strchr(kernel.signature, '>') + 1;
  if (*out_letters == 'v')
    call.add_out_list(outs);
  else
    for (Tensor* out : outs) call.add_out(out);
  int matched = 0;
  if (Status status = match_signature(kernel, call.values(), &matched, &diagnostic); !status.ok())
    return to_error(status, diagnostic);
  Args args{call.values(), input_count};
  std::vector<uint64_t> scratch;
  if (kernel.scratch_bytes) scratch.resize(kernel.scratch_bytes(args) / 8 + 2);
  KernelContext context{&diagnostic,
                        {reinterpret_cast<uint8_t*>(scratch.data()), scratch.size() * 8},
                        &random_state_};
  if ((uintptr_t(scratch.data()) & 15) != 0) context.scratch = context.scratch.subspan(8);
  for (;;) {
    Status status = kernel.run(args, context);
    if (status.ok()) break;
    bool grown = false;
    for (size_t r = 0; r < results.size() && status.code == Code::too_large; r++) {
      EvalTensor& tensor = std::get<EvalTensor>(results[r]);
      if (!metas[r].upper_bounds || tensor.bytes < kUnknownBytes ||
          tensor.bytes > tensor_bytes_max / 4)
        continue;
      tensor.bytes *= 4;
      tensor.owner = std::make_shared<std::vector<uint8_t>>(tensor.bytes + 16);
      outs[r]->data = tensor.owner->data();
      tensor.data = tensor.owner->data();
      outs[r]->capacity_bytes = tensor.bytes;
      grown = true;
    }
    if (!grown) return to_error(status, diagnostic);
  }
  for (size_t r = 0; r < results.size(); r++) {
    if (kernel.data_dependent || metas[r].upper_bounds) {
      EvalTensor& tensor = std::get<EvalTensor>(results[r]);
      tensor.sizes.assign(outs[r]->sizes, outs[r]->sizes + outs[r]->rank);
      tensor.bytes = tensor_bytes(*outs[r]);
    }
  }
  return results;
}

// --- control flow, as torch.ops.higher_order defines it ----------------------------------------

// Slice `index` along the first dimension, which is dropped.
static Result<EvalTensor> take_slice(const EvalTensor& tensor, int64_t index) {
  if (tensor.sizes.empty() || index >= tensor.sizes[0])
    return error(Code::invalid_argument, "slice {} of a tensor of rank {}", index,
                 tensor.sizes.size());
  EvalTensor slice = tensor;
  slice.sizes.erase(slice.sizes.begin());
  slice.bytes = tensor.bytes / uint64_t(tensor.sizes[0]);
  slice.data = tensor.data + uint64_t(index) * slice.bytes;
  return slice;
}

static EvalTensor stack_slices(const std::vector<EvalTensor>& slices) {
  std::vector<int64_t> sizes = slices[0].sizes;
  sizes.insert(sizes.begin(), int64_t(slices.size()));
  EvalTensor stacked = make_eval_tensor(slices[0].dtype, sizes);
  for (size_t i = 0; i < slices.size(); i++)
    if (slices[i].bytes)
      memcpy(stacked.owner->data() + i * slices[i].bytes, slices[i].data, slices[i].bytes);
  return stacked;
}

static Result<bool> truth(const EvalValue& value) {
  if (auto* boolean = std::get_if<bool>(&value)) return *boolean;
  if (auto* integer = std::get_if<int64_t>(&value)) return *integer != 0;
  auto* tensor = std::get_if<EvalTensor>(&value);
  if (!tensor || tensor->bytes != dtype_bytes(tensor->dtype))
    return error(Code::invalid_argument, "condition is not one number");
  for (uint64_t i = 0; i < tensor->bytes; i++)
    if (tensor->data[i]) return true;
  return false;
}

Result<std::vector<EvalValue>> Evaluator::run_control_flow(const Graph& graph, const Node& node,
                                                           const std::vector<EvalValue>& values) {
  auto list = [&](size_t i) {
    std::vector<EvalValue> items;
    if (auto* refs = std::get_if<std::vector<ValueRef>>(&node.arguments[i]))
      for (const ValueRef& ref : *refs) items.push_back(values[size_t(ref.id)]);
    return items;
  };
  auto subgraph = [&](size_t i) -> const Graph& {
    return *graph.subgraphs[size_t(std::get<GraphRef>(node.arguments[i]).index)];
  };
  if (node.op == "cond") {
    const auto* ref = std::get_if<ValueRef>(&node.arguments[0]);
    bool taken = false;
    if (ref) {
      TRY(taken, truth(values[size_t(ref->id)]));
    } else if (auto* known = std::get_if<bool>(&node.arguments[0])) {
      taken = *known;
    }
    return run_values(subgraph(taken ? 1 : 2), list(3), false);
  }
  if (node.op == "while_loop") {
    std::vector<EvalValue> carried = list(2), additional = list(3);
    for (;;) {
      std::vector<EvalValue> inputs = carried;
      inputs.insert(inputs.end(), additional.begin(), additional.end());
      TRY(auto condition, run_values(subgraph(0), inputs, false));
      TRY(bool go_on, truth(condition.at(0)));
      if (!go_on) return carried;
      TRY(carried, run_values(subgraph(1), std::move(inputs), false));
    }
  }
  if (node.op == "map" || node.op == "scan") {
    bool scan = node.op == "scan";
    std::vector<EvalValue> carried = scan ? list(1) : std::vector<EvalValue>();
    std::vector<EvalValue> xs = list(scan ? 2 : 1), additional = list(scan ? 3 : 2);
    const auto* first = xs.empty() ? nullptr : std::get_if<EvalTensor>(&xs[0]);
    if (!first || first->sizes.empty() || first->sizes[0] == 0)
      return error(Code::unsupported, "{} over nothing", node.op);
    std::vector<std::vector<EvalTensor>> stacks(node.results.size() - carried.size());
    for (int64_t step = 0; step < first->sizes[0]; step++) {
      std::vector<EvalValue> inputs = carried;
      for (const EvalValue& x : xs) {
        TRY(EvalTensor slice, take_slice(std::get<EvalTensor>(x), step));
        inputs.push_back(std::move(slice));
      }
      inputs.insert(inputs.end(), additional.begin(), additional.end());
      TRY(auto results, run_values(subgraph(0), std::move(inputs), false));
      if (results.size() != node.results.size())
        return error(Code::invalid_argument, "body has {} results, {} are wanted", results.size(),
                     node.results.size());
      for (size_t i = 0; i < stacks.size(); i++)
        stacks[i].push_back(std::get<EvalTensor>(results[carried.size() + i]));
      results.resize(carried.size());
      carried = std::move(results);
    }
    for (const auto& stack : stacks) carried.push_back(stack_slices(stack));
    return carried;
  }
  return error(Code::unsupported, "control flow \"{}\" is not known", node.op);
}

}  // namespace sconce
