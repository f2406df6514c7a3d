// Running a loaded method: inputs are checked, then instructions run until the last chain ends.
//
// Load has checked kinds; what can change from call to call is checked here: data that nobody gave,
// sizes against capacities, constants reached through moves.
#include <cstdio>
#include <cstring>

#include "ops/prim/prim.h"
#include "runtime/method_impl.h"

namespace sconce {

using namespace pte;  // NOLINT: tables are this file's vocabulary

// --- inputs -------------------------------------------------------------------------------------

Status Method::input_failed(Status status, [[maybe_unused]] uint32_t input,
                            [[maybe_unused]] Diagnostic* diagnostic) const {
  if (status.ok()) return status;
  [[maybe_unused]] const char* name = meta_.input_name(input);
  if (*name)
    SCONCE_CONTEXT(diagnostic, "input %u \"%s\"", input, name);
  else
    SCONCE_CONTEXT(diagnostic, "input %u", input);
  return status;
}

Status Method::set_input(uint32_t i, const Value& value, Diagnostic* diagnostic) {
  if (i >= meta_.input_count())
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "input %u: method %s has %u inputs", i,
                       meta_.name(), meta_.input_count());
  SlotMeta meta = meta_.input(i);
  if (value.is_number() && meta.value.is_number())
    return input_failed(set_number(i, value, diagnostic), i, diagnostic);
  if (value.kind != meta.kind)
    return input_failed(SCONCE_FAIL(Code::invalid_argument, diagnostic, "kind is %s, want %s",
                                    kind_name(value.kind), kind_name(meta.kind)),
                        i, diagnostic);
  if (value.is_tensor())
    return input_failed(set_tensor(i, *value.tensor, diagnostic), i, diagnostic);
  if (value.kind == Value::Kind::string &&
      (value.count != meta.value.count ||
       memcmp(value.string, meta.value.string, value.count) != 0))
    return input_failed(SCONCE_FAIL(Code::invalid_argument, diagnostic,
                                    "was fixed to \"%s\" at export", meta.value.string),
                        i, diagnostic);
  if (value.is_none() || value.kind == Value::Kind::string) return kOk;
  return input_failed(SCONCE_FAIL(Code::unsupported, diagnostic, "lists cannot be set"), i,
                      diagnostic);
}

Status Method::check_size(uint32_t input, uint32_t dim, int64_t size,
                          Diagnostic* diagnostic) const {
  const MethodConstraints& constraints = meta_.constraints();
  for (uint32_t r = 0; r < constraints.rule_count; r++) {
    PteDimRule rule = constraints.rule(r);
    if (rule.input != input || rule.dim != dim) continue;
    char what[32] = "value";
#if SCONCE_TEXT
    if (dim != kIntegerInput) snprintf(what, sizeof(what), "dimension %u", unsigned(dim));
#endif
    if (size < rule.min || (rule.max != INT32_MAX && size > rule.max)) {
      if (rule.max == INT32_MAX)
        return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s is %lld, want at least %d", what,
                           (long long)size, int(rule.min));
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s is %lld, want %d to %d", what,
                         (long long)size, int(rule.min), int(rule.max));
    }
    int64_t remainder = size % rule.divisor;
    if (remainder < 0) remainder += rule.divisor;
    if (remainder != rule.remainder) {
      if (rule.remainder == 0)
        return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s is %lld, want a multiple of %d",
                           what, (long long)size, int(rule.divisor));
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s is %lld, want a multiple of %d plus %d", what, (long long)size,
                         int(rule.divisor), int(rule.remainder));
    }
  }
  return kOk;
}

Status Method::set_tensor(uint32_t i, const Tensor& given, Diagnostic* diagnostic) {
  Input& input = inputs_[i];
  Tensor& tensor = *input.tensor;
  SlotMeta meta = meta_.input(i);
  input.set = false;
  if (meta.constant)
    return SCONCE_FAIL(Code::unsupported, diagnostic, "is a constant of the program");
  if (given.dtype != tensor.dtype)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "dtype is %s, want %s",
                       dtype_name(given.dtype), dtype_name(tensor.dtype));
  if (given.rank != tensor.rank)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "rank is %d, want %d", given.rank,
                       tensor.rank);
  Vector bounds = input_table(i).vector(field::tensor::sizes);
  int8_t dynamism = input_table(i).i8(field::tensor::dynamism);
  int64_t count;
  if (!checked_element_count(given.sizes, given.rank, &count))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "a size is negative, or sizes overflow");
  for (int d = 0; d < given.rank; d++) {
    int32_t bound = bounds.i32(uint32_t(d)), size = given.sizes[d];
    if (dynamism == 0 && size != bound)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "dimension %d is %d, want %d", d,
                         int(size), int(bound));
    SCONCE_TRY_STATUS(check_size(i, uint32_t(d), size, diagnostic));
    if (dynamism == 1 && size > bound)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "dimension %d is %d, want at most %d",
                         d, int(size), int(bound));
  }
  // The method's kernels were chosen for one order of dimensions in memory.
  Tensor wanted = given;
  wanted.dim_order = tensor.dim_order;
  if (count && !same_memory_order(given, wanted))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "dimensions lie in another order in memory than the program wants (%s)",
                       is_contiguous(wanted) ? "contiguous" : "permuted, as channels last");
  uint64_t bytes = uint64_t(count) * dtype_bytes(given.dtype);
  if (given.capacity_bytes < bytes || (bytes && !given.data))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "has %llu bytes, its sizes need %llu",
                       (unsigned long long)(given.data ? given.capacity_bytes : 0),
                       (unsigned long long)bytes);
  if (given.dtype == DType::b8 && !all_bools(given.data, bytes))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "holds bools with bytes above 1");

  if (meta.planned) {
    if (bytes) memmove(tensor.data, given.data, size_t(bytes));
  } else {
    uint64_t alignment = dtype_bytes(given.dtype) < 8 ? dtype_bytes(given.dtype) : 8;
    if (reinterpret_cast<uintptr_t>(given.data) % alignment)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "data is not aligned to %u bytes",
                         unsigned(alignment));
    tensor.data = given.data;
    tensor.capacity_bytes = bytes;
    tensor.read_only = given.read_only;
    is_view_[&tensor - tensors_] = 0;
  }
  if (!tensor.fixed_sizes)
    for (int d = 0; d < given.rank; d++) tensor.sizes[d] = given.sizes[d];
  values_[input.value].tensor = &tensor;  // an earlier call may have moved another there
  input.set = true;
  return kOk;
}

Status Method::set_number(uint32_t i, const Value& given, Diagnostic* diagnostic) {
  Value fixed = meta_.input(i).value;
  uint32_t index = inputs_[i].value;
  auto as_double = [](const Value& v) {
    return v.kind == Value::Kind::floating  ? v.floating
           : v.kind == Value::Kind::boolean ? double(v.boolean)
                                            : double(v.integer);
  };
  if (given.kind == Value::Kind::floating && fixed.kind != Value::Kind::floating)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "kind is float, want %s",
                       kind_name(fixed.kind));
  if (fixed.kind == Value::Kind::boolean && given.kind != Value::Kind::boolean)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "kind is %s, want bool",
                       kind_name(given.kind));
  double a = as_double(given), b = as_double(fixed);
  bool same = fixed.kind == Value::Kind::floating ? (a - b <= 1e-4 * (b < 0 ? -b : b) + 1e-5 &&
                                                     b - a <= 1e-4 * (b < 0 ? -b : b) + 1e-5)
                                                  : a == b;
  if (!same && !reads_value(index)) {
    if (fixed.kind == Value::Kind::floating)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "is %g, was fixed to %g at export", a,
                         b);
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "is %lld, was fixed to %lld at export",
                       (long long)a, (long long)b);
  }
  Value made =
      fixed.kind == Value::Kind::floating ? Value::of(a)
      : fixed.kind == Value::Kind::boolean
          ? Value::of(given.boolean)
          : Value::of(given.kind == Value::Kind::boolean ? int64_t(given.boolean) : given.integer);
  if (made.kind == Value::Kind::integer)
    SCONCE_TRY_STATUS(check_size(i, kIntegerInput, made.integer, diagnostic));
  return store_number(values_[index], made, diagnostic);
}

// Whether any instruction, list or output uses a value: a number that none uses was fixed.
bool Method::reads_value(uint32_t index) const {
  if (values_[index].count == kListed) return true;
  auto holds = [&](Vector list) {
    for (uint32_t i = 0; i < list.count; i++)
      if (list.i32(i) == int32_t(index)) return true;
    return false;
  };
  if (holds(meta_.plan().vector(field::plan::outputs))) return true;
  Vector chains = meta_.plan().vector(field::plan::chains);
  for (uint32_t c = 0; c < chains.count; c++) {
    Vector instructions = chains.table(c).vector(field::chain::instructions);
    for (uint32_t i = 0; i < instructions.count; i++) {
      Table content = instructions.table(i).table(field::instruction::arguments);
      auto kind = InstructionKind(instructions.table(i).u8(field::instruction::kind));
      if (kind == InstructionKind::release) continue;
      if (kind <= InstructionKind::delegate) {
        if (holds(content.vector(field::call::args))) return true;
      } else if (content.i32(field::move::from) == int32_t(index)) {  // or a jump's condition
        return true;
      }
    }
  }
  return false;
}

Table Method::input_table(uint32_t i) const {
  return content_of(meta_.plan().vector(field::plan::values).table(inputs_[i].value));
}

int64_t Method::size_of_input(uint32_t input, uint32_t dim) const {
  if (dim == kIntegerInput) return values_[inputs_[input].value].integer;
  return inputs_[input].tensor->sizes[dim];
}

// Rules about inputs that do not exist would be read out of range later.
Status Method::check_constraints(Diagnostic* diagnostic) {
  const MethodConstraints& constraints = meta_.constraints();
  auto exists = [&](uint32_t input, uint32_t dim) {
    if (input >= meta_.input_count()) return false;
    if (dim == kIntegerInput) return meta_.input(input).kind == Value::Kind::integer;
    return inputs_[input].tensor && dim < inputs_[input].tensor->rank;
  };
  for (uint32_t r = 0; r < constraints.rule_count; r++) {
    PteDimRule rule = constraints.rule(r);
    if (!exists(rule.input, rule.dim) ||
        (rule.related && !exists(rule.other_input, rule.other_dim)))
      return SCONCE_FAIL(Code::invalid_file, diagnostic,
                         "%s: rule %u is about an input or dimension that is not there",
                         kConstraintsKey, r);
  }
  return kOk;
}

Status Method::check_relations(Diagnostic* diagnostic) const {
  const MethodConstraints& constraints = meta_.constraints();
  for (uint32_t r = 0; r < constraints.rule_count; r++) {
    PteDimRule rule = constraints.rule(r);
    if (!rule.related) continue;
    int64_t own = size_of_input(rule.input, rule.dim);
    int64_t other = size_of_input(rule.other_input, rule.other_dim), left, right;
    if (checked_multiply<int64_t>(own, rule.own_scale, &left) &&
        checked_multiply<int64_t>(other, rule.other_scale, &right) &&
        checked_add<int64_t>(right, rule.offset, &right) && left == right)
      continue;
    char relation[80] = "";
#if SCONCE_TEXT
    int at = snprintf(relation, sizeof(relation), "as input %u dimension %u",
                      unsigned(rule.other_input), unsigned(rule.other_dim));
    if (rule.own_scale != 1 || rule.other_scale != 1 || rule.offset != 0)
      snprintf(relation + at, sizeof(relation) - size_t(at), " * %d / %d + %d / %d",
               int(rule.other_scale), int(rule.own_scale), int(rule.offset), int(rule.own_scale));
#endif
    return input_failed(SCONCE_FAIL(Code::invalid_argument, diagnostic,
                                    "dimension %u is %lld, want it %s, which is %lld",
                                    unsigned(rule.dim), (long long)own, relation, (long long)other),
                        rule.input, diagnostic);
  }
  return kOk;
}

// --- outputs ------------------------------------------------------------------------------------

Status Method::set_output(uint32_t i, Span<uint8_t> memory, Diagnostic* diagnostic) {
  if (i >= meta_.output_count())
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "output %u: method %s has %u outputs", i,
                       meta_.name(), meta_.output_count());
  SlotMeta meta = meta_.output(i);
  if (meta.kind != Value::Kind::tensor || meta.planned || meta.constant)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "output %u has its own place", i);
  uint64_t alignment = dtype_bytes(meta.dtype) < 8 ? dtype_bytes(meta.dtype) : 8;
  if (memory.size() < meta.bytes || reinterpret_cast<uintptr_t>(memory.data()) % alignment)
    return SCONCE_FAIL(Code::too_large, diagnostic,
                       "output %u: %zu bytes given, want %llu aligned to %u", i, memory.size(),
                       (unsigned long long)meta.bytes, unsigned(alignment));
  uint32_t index = uint32_t(meta_.plan().vector(field::plan::outputs).i32(i));
  // The tensor this value was made with; moves may have put another handle there.
  Tensor* tensor = tensors_;
  Vector values = meta_.plan().vector(field::plan::values);
  for (uint32_t k = 0; k < index; k++) tensor += kind_of(values.table(k)) == ValueKind::tensor;
  tensor->data = memory.data();
  tensor->capacity_bytes = memory.size();
  tensor->read_only = false;
  is_view_[tensor - tensors_] = 0;
  return kOk;
}

const Value& Method::output(uint32_t i) const {
  return values_[meta_.plan().vector(field::plan::outputs).i32(i)];
}

Tensor* Method::find_buffer(const char* name) {
  Vector values = meta_.plan().vector(field::plan::values);
  Tensor* tensor = tensors_;
  for (uint32_t i = 0; i < values.count; i++) {
    if (kind_of(values.table(i)) != ValueKind::tensor) continue;
    Table extra = content_of(values.table(i)).table(field::tensor::extra);
    if (extra && strcmp(extra.string(field::extra::name), name) == 0) return tensor;
    tensor++;
  }
  return nullptr;
}

// --- instructions -------------------------------------------------------------------------------

Status Method::execute(const ExecuteOptions& options, Diagnostic* diagnostic) {
  Status status = kOk;
  for (uint32_t i = 0; i < meta_.input_count() && status.ok(); i++)
    if (inputs_[i].tensor && !inputs_[i].set && !meta_.input(i).constant)
      status = input_failed(
          SCONCE_FAIL(Code::invalid_argument, diagnostic, "was not set since the last execution"),
          i, diagnostic);
  if (status.ok()) status = check_relations(diagnostic);
  // Refused before anything ran: what was set stays set.
  if (!status.ok()) return status;

  if (views_used_) status = restore_views(diagnostic);
  uint64_t budget = options.instruction_budget ? options.instruction_budget : UINT64_MAX;
  uint32_t chains = meta_.plan().vector(field::plan::chains).count;
  for (uint32_t c = 0; c < chains && status.ok(); c++)
    status = run_chain(c, options, &budget, diagnostic);
  // Planned inputs share memory with activations, and others belong to the caller again.
  for (uint32_t i = 0; i < meta_.input_count(); i++) inputs_[i].set = false;
  if (!status.ok()) {
    SCONCE_CONTEXT(diagnostic, "method %s", meta_.name());
    restore_values();
  }
  return status;
}

Status Method::run_chain(uint32_t chain, const ExecuteOptions& options, uint64_t* budget,
                         Diagnostic* diagnostic) {
  Vector instructions =
      meta_.plan().vector(field::plan::chains).table(chain).vector(field::chain::instructions);
  uint32_t next = 0;
  while (next < instructions.count) {
    uint32_t index = next++;
    Table instruction = instructions.table(index);
    if ((*budget)-- == 0)
      return SCONCE_FAIL(Code::too_large, diagnostic,
                         "more than %llu instructions: an endless loop?",
                         (unsigned long long)options.instruction_budget);
    Step step_now;
    if (options.before || options.after) {
      Table content = instruction.table(field::instruction::arguments);
      step_now.chain = chain, step_now.instruction = index;
      step_now.kind = InstructionKind(instruction.u8(field::instruction::kind));
      if (step_now.kind == InstructionKind::kernel) {
        Table op = meta_.plan()
                       .vector(field::plan::operators)
                       .table(uint32_t(content.i32(field::call::callee)));
        step_now.name = op.string(field::oper::name);
        step_now.overload = op.string(field::oper::overload);
        step_now.args = gather_args(content);
      } else if (step_now.kind == InstructionKind::delegate) {
        step_now.name = delegates_[content.i32(field::call::callee)].type->id;
        step_now.args = gather_args(content);
      }
      if (options.before) options.before(options.context, step_now);
    }
    Status status = step(instruction, &next, diagnostic);
    if (options.after) options.after(options.context, step_now);
    if (!status.ok()) {
      add_step_context(chain, index, instruction, diagnostic);
      return status;
    }
  }
  return kOk;
}

Status Method::step(Table instruction, uint32_t* next, Diagnostic* diagnostic) {
  Table content = instruction.table(field::instruction::arguments);
  switch (InstructionKind(instruction.u8(field::instruction::kind))) {
    case InstructionKind::kernel: return call_operator(content, diagnostic);
    case InstructionKind::delegate: return call_delegate(content, diagnostic);
    case InstructionKind::move: {
      const Value& from = values_[content.i32(field::move::from)];
      Value& to = values_[content.i32(field::move::to)];
      if (from.is_number()) return store_number(to, from, diagnostic);
      to = from;  // a tensor: another handle of it
      return kOk;
    }
    case InstructionKind::jump_false: {
      const Value& condition = values_[content.i32(field::jump::condition)];
      bool truth = true;
      if (condition.is_tensor()) {
        const Tensor& tensor = *condition.tensor;
        if (tensor.dtype != DType::b8 || !has_data(tensor))
          return SCONCE_FAIL(Code::invalid_file, diagnostic,
                             "condition is no tensor of bools with data");
        auto at = static_cast<const uint8_t*>(tensor.data);
        for (int64_t i = 0, count = element_count(tensor); i < count; i++) truth &= at[i] != 0;
      } else {
        truth = condition.kind == Value::Kind::floating  ? condition.floating != 0
                : condition.kind == Value::Kind::boolean ? condition.boolean
                                                         : condition.integer != 0;
      }
      if (!truth) *next = uint32_t(content.i32(field::jump::destination));
      return kOk;
    }
    default: {
      // Only tensors without upper bound are ever freed, and their data is the caller's.
      Table table = content_of(meta_.plan()
                                   .vector(field::plan::values)
                                   .table(uint32_t(content.i32(field::free::value))));
      Tensor& tensor = *values_[content.i32(field::free::value)].tensor;
      if (is_unbounded(table)) tensor.data = nullptr, tensor.capacity_bytes = 0;
      return kOk;
    }
  }
}

static Status check_data(Span<const Value* const> args, Diagnostic* diagnostic) {
  for (size_t i = 0; i < args.size(); i++) {
    const Value& value = *args[i];
    bool missing = value.is_tensor() && !has_data(*value.tensor);
    if (value.kind == Value::Kind::tensors)
      for (uint32_t k = 0; k < value.count; k++)
        missing |= value.items[k]->is_tensor() && !has_data(*value.items[k]->tensor);
    if (missing)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "argument %zu has no data: an output without memory, or never computed",
                         i);
  }
  return kOk;
}

Status Method::call_operator(Table call, Diagnostic* diagnostic) {
  const Operator& op = operators_[call.i32(field::call::callee)];
  Span<const Value* const> args = gather_args(call).first(op.arg_count);
  switch (op.kind) {
    case Operator::Kind::kernel:
      return call_kernel(*op.kernel, Args{args, op.input_count}, diagnostic);
    case Operator::Kind::view: return view_tensor(args, diagnostic);
    case Operator::Kind::copy_into_row: return copy_into_row(args, diagnostic);
    default: {
      Value result;
      SCONCE_TRY_STATUS(check_data(args, diagnostic));
      SCONCE_TRY_STATUS(op.prim->run(args.first(op.input_count), &result, diagnostic));
      return store_number(values_[args[op.input_count] - values_], result, diagnostic);
    }
  }
}

Status Method::call_kernel(const Kernel& kernel, const Args& args, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(check_data(args.values, diagnostic));
  for (int k = 0; k < args.out_count(); k++)
    if (args.out(k).read_only)
      return SCONCE_FAIL(Code::invalid_file, diagnostic, "writes to a constant");
  SCONCE_TRY_STATUS(prepare_outs(kernel, args, diagnostic));
  KernelContext context{diagnostic, options_.scratch, &random_state_};
  if (kernel.scratch_bytes) {
    uint64_t bytes = kernel.scratch_bytes(args);
    if (bytes > options_.scratch.size() && options_.grow_scratch)
      options_.scratch = options_.grow_scratch(options_.context, bytes);
    if (bytes > options_.scratch.size())
      return SCONCE_FAIL(Code::too_large, diagnostic, "needs %llu bytes of scratch, %zu are given",
                         (unsigned long long)bytes, options_.scratch.size());
    context.scratch = options_.scratch;
  }
  return kernel.run(args, context);
}

Status Method::call_delegate(Table call, Diagnostic* diagnostic) {
  Span<const Value* const> args = gather_args(call);
  LoadedDelegate& delegate = delegates_[call.i32(field::call::callee)];
  SCONCE_TRY_STATUS(check_data(args, diagnostic));
  KernelContext context{diagnostic, options_.scratch, &random_state_};
  return delegate.type->execute(delegate.state, args, context);
}

// et_view: `out` becomes another shape of the same data.
Status Method::view_tensor(Span<const Value* const> args, Diagnostic* diagnostic) {
  const Tensor& self = *args[0]->tensor;
  Tensor& out = *args[2]->tensor;
  int64_t count = element_count(self), known = 1;
  int inferred = -1, rank = int(args[1]->count);
  int32_t sizes[kRankMax];
  if (rank != out.rank || self.dtype != out.dtype || !is_contiguous(self) || !is_contiguous(out))
    return SCONCE_FAIL(Code::invalid_file, diagnostic,
                       "view of rank %d and dtype %s as rank %d and dtype %s: want the same, and "
                       "contiguous tensors",
                       rank, dtype_name(self.dtype), out.rank, dtype_name(out.dtype));
  for (int i = 0; i < rank; i++) {
    int64_t size = args[1]->items[i]->integer;
    if (size == -1 && inferred < 0) {
      inferred = i;
      continue;
    }
    if (size < 0 || size > INT32_MAX || !checked_multiply(known, size, &known))
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "size %lld of dimension %d",
                         (long long)size, i);
    sizes[i] = int32_t(size);
  }
  if (inferred >= 0) {
    if (known == 0 || count % known || count / known > INT32_MAX)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%lld elements do not fill %lld",
                         (long long)count, (long long)known);
    sizes[inferred] = int32_t(count / known);
    known = count;
  }
  if (known != count)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "view of %lld elements as %lld",
                       (long long)count, (long long)known);
  if (!has_data(self))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "the viewed tensor has no data");
  out.data = self.data;
  out.capacity_bytes = self.capacity_bytes;
  out.read_only = self.read_only;
  is_view_[&out - tensors_] = 1;
  views_used_ = true;
  return resize(out, sizes, diagnostic);
}

// A view may point into memory that its owner has taken back since: none survives a call.
Status Method::restore_views(Diagnostic* diagnostic) {
  Vector values = meta_.plan().vector(field::plan::values);
  Tensor* tensor = tensors_;
  for (uint32_t i = 0; i < values.count; i++) {
    if (kind_of(values.table(i)) != ValueKind::tensor) continue;
    if (is_view_[tensor - tensors_]) {
      is_view_[tensor - tensors_] = 0;
      SCONCE_TRY_STATUS(place_tensor(content_of(values.table(i)), tensor, diagnostic));
    }
    tensor++;
  }
  views_used_ = false;
  return kOk;
}

// et_copy_index: row `index` of `to` becomes `from`; a growing `to` then has index + 1 rows.
Status Method::copy_into_row(Span<const Value* const> args, Diagnostic* diagnostic) {
  Tensor& to = *args[0]->tensor;
  const Tensor& from = *args[1]->tensor;
  int64_t index = args[2]->integer;
  bool fits = to.rank == from.rank + 1 && to.dtype == from.dtype &&
              args[2]->kind == Value::Kind::integer && is_contiguous(to) && is_contiguous(from);
  for (int i = 0; fits && i < from.rank; i++) fits = to.sizes[i + 1] == from.sizes[i];
  if (!fits)
    return SCONCE_FAIL(Code::invalid_file, diagnostic,
                       "a row does not have the shape of its target");
  if (index < 0 || index >= INT32_MAX || (to.fixed_sizes && index >= to.sizes[0]))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "row %lld of %d", (long long)index,
                       to.rank ? int(to.sizes[0]) : 0);
  if (to.read_only) return SCONCE_FAIL(Code::invalid_file, diagnostic, "writes to a constant");
  if (!to.fixed_sizes) {
    int32_t sizes[kRankMax];
    for (int i = 1; i < to.rank; i++) sizes[i] = to.sizes[i];
    sizes[0] = int32_t(index + 1);
    SCONCE_TRY_STATUS(resize(to, sizes, diagnostic));
  }
  SCONCE_TRY_STATUS(check_data(args, diagnostic));
  uint64_t bytes = tensor_bytes(from);
  if (bytes) memmove(to.as<uint8_t>() + uint64_t(index) * bytes, from.data, size_t(bytes));
  return kOk;
}

}  // namespace sconce
