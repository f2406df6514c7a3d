// Loading: count what the method's tables need, cut the caller's arena into them, make the values,
// look up kernels, check every instruction. The file itself has been verified by Program::load(),
// so indices are trusted here; kinds are checked once against the kernels' signatures and cannot
// change afterwards (moves keep the kind, prims write numbers over numbers).
#include <cstdio>
#include <cstring>

#include "ops/prim/prim.h"
#include "runtime/method_impl.h"

namespace sconce {

using namespace pte;  // NOLINT: tables are this file's vocabulary

// --- counting and cutting -----------------------------------------------------------------------

Status Method::count(const Program& program, Table plan, const char* name,
                     Span<const DelegateType* const> types, Counts* counts,
                     Diagnostic* diagnostic) {
  Vector values = plan.vector(field::plan::values);
  counts->values = uint64_t(values.count) + 1;  // one more: the absent entry of lists
  for (uint32_t i = 0; i < values.count; i++) {
    Table content = content_of(values.table(i));
    switch (kind_of(values.table(i))) {
      case ValueKind::tensor:
        counts->tensors++;
        if (is_dynamic(content)) counts->sizes += content.vector(field::tensor::sizes).count;
        break;
      case ValueKind::integers:
      case ValueKind::tensors:
      case ValueKind::optional_tensors:
        counts->items += content.vector(field::list::items).count;
        break;
      default: break;
    }
  }
  Vector chains = plan.vector(field::plan::chains);
  for (uint32_t c = 0; c < chains.count; c++) {
    Vector instructions = chains.table(c).vector(field::chain::instructions);
    for (uint32_t i = 0; i < instructions.count; i++) {
      auto kind = InstructionKind(instructions.table(i).u8(field::instruction::kind));
      if (kind > InstructionKind::delegate) continue;
      Table call = instructions.table(i).table(field::instruction::arguments);
      uint32_t args = call.vector(field::call::args).count;
      if (args > counts->args) counts->args = args;
    }
  }
  counts->inputs = plan.vector(field::plan::inputs).count;
  counts->operators = plan.vector(field::plan::operators).count;
  Vector delegates = plan.vector(field::plan::delegates);
  counts->delegates = delegates.count;
  for (uint32_t i = 0; i < delegates.count; i++) {
    Table delegate = delegates.table(i);
    for (const DelegateType* type : types) {
      if (strcmp(type->id, delegate.string(field::delegate::id)) != 0) continue;
      uint64_t bytes = 0;
      DelegateSource source{&program, name, i, program.view().delegate_data(delegate),
                            delegate.vector(field::delegate::specs)};
      if (type->arena_bytes) SCONCE_TRY_STATUS(type->arena_bytes(source, &bytes, diagnostic));
      if (bytes > SIZE_MAX / 4 ||
          !checked_add(counts->delegate_bytes, align_up(bytes, 16), &counts->delegate_bytes))
        return SCONCE_FAIL(Code::too_large, diagnostic, "delegate %u wants %llu bytes", i,
                           (unsigned long long)bytes);
      break;
    }
  }
  return kOk;
}

Status Method::arena_bytes(const Program& program, const char* name,
                           Span<const DelegateType* const> delegates, uint64_t* bytes,
                           Diagnostic* diagnostic) {
  MethodMeta meta;
  Counts counts;
  SCONCE_TRY_STATUS(program.find_method(name, &meta, diagnostic));
  SCONCE_TRY_STATUS(count(program, meta.plan(), name, delegates, &counts, diagnostic));
  *bytes = counts.bytes();
  return kOk;
}

// Cuts the arena; it has been checked to be as large as Counts::bytes().
struct Method::Cursor {
  uint8_t* at;
  template <class T>
  T* take(uint64_t count) {
    T* taken = reinterpret_cast<T*>(at);
    at += align_up(count * sizeof(T), 16);
    return taken;
  }
};

Status Method::load(const Program& program, const char* name, const MethodOptions& options,
                    Diagnostic* diagnostic) {
  unload();
  program_ = &program;
  options_ = options;
  SCONCE_TRY_STATUS(program.find_method(name, &meta_, diagnostic));
  Status status = load_parts(diagnostic);
  if (!status.ok()) {
    SCONCE_CONTEXT(diagnostic, "method %s", meta_.name());
    unload();
  }
  return status;
}

Status Method::load_parts(Diagnostic* diagnostic) {
  Counts counts;
  SCONCE_TRY_STATUS(
      count(*program_, meta_.plan(), meta_.name(), options_.delegates, &counts, diagnostic));
  Span<uint8_t> arena = options_.arena;
  if (arena.size() < counts.bytes() || reinterpret_cast<uintptr_t>(arena.data()) % 16)
    return SCONCE_FAIL(Code::too_large, diagnostic, "arena of %zu bytes: want %llu, aligned to 16",
                       arena.size(), (unsigned long long)counts.bytes());
  if (options_.planned.size() < meta_.memory_count())
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%zu planned memories given, want %u",
                       options_.planned.size(), meta_.memory_count());
  for (uint32_t i = 0; i < meta_.memory_count(); i++) {
    Span<uint8_t> memory = options_.planned[i].bytes;
    if (memory.size() < meta_.memory_bytes(i) ||
        (!memory.empty() && reinterpret_cast<uintptr_t>(memory.data()) % 16))
      return SCONCE_FAIL(Code::too_large, diagnostic,
                         "planned memory %u of %zu bytes: want %llu, aligned to 16", i,
                         memory.size(), (unsigned long long)meta_.memory_bytes(i));
  }
  memset(arena.data(), 0, size_t(counts.bytes()));
  Cursor cursor{arena.data()};
  values_ = cursor.take<Value>(counts.values);
  tensors_ = cursor.take<Tensor>(counts.tensors);
  is_view_ = cursor.take<uint8_t>(counts.tensors);
  sizes_ = cursor.take<int32_t>(counts.sizes);
  items_ = cursor.take<const Value*>(counts.items);
  args_ = cursor.take<const Value*>(counts.args);
  inputs_ = cursor.take<Input>(counts.inputs);
  operators_ = cursor.take<Operator>(counts.operators);
  delegates_ = cursor.take<LoadedDelegate>(counts.delegates);
  value_count_ = uint32_t(counts.values - 1);

  SCONCE_TRY_STATUS(make_values(diagnostic));
  SCONCE_TRY_STATUS(initialise(!options_.planned_is_zero, diagnostic));
  SCONCE_TRY_STATUS(check_constraints(diagnostic));
  SCONCE_TRY_STATUS(find_operators(diagnostic));
  SCONCE_TRY_STATUS(check_instructions(diagnostic));
  return load_delegates(cursor.at, diagnostic);
}

void Method::unload() {
  if (delegates_)
    for (uint32_t i = 0; i < meta_.plan().vector(field::plan::delegates).count; i++)
      if (delegates_[i].loaded && delegates_[i].type->unload)
        delegates_[i].type->unload(delegates_[i].state);
  program_ = nullptr;
  meta_ = MethodMeta();
  options_ = MethodOptions();
  values_ = nullptr, tensors_ = nullptr, is_view_ = nullptr, sizes_ = nullptr, items_ = nullptr;
  args_ = nullptr, operators_ = nullptr, delegates_ = nullptr, inputs_ = nullptr;
  value_count_ = 0, scratch_wanted_ = 0, random_state_ = 0, views_used_ = false;
}

// --- values -------------------------------------------------------------------------------------

Status Method::make_values(Diagnostic* diagnostic) {
  Vector values = meta_.plan().vector(field::plan::values);
  Tensor* tensor = tensors_;
  int32_t* sizes = sizes_;
  const Value** items = items_;
  for (uint32_t i = 0; i <= values.count; i++) values_[i] = Value();
  for (uint32_t i = 0; i < values.count; i++) {
    Table content = content_of(values.table(i));
    Value& made = values_[i];
    uint32_t listed = made.count;  // a list before this value may hold it
    Vector list;
    switch (kind_of(values.table(i))) {
      case ValueKind::integer: made = Value::of(content.i64(field::scalar::value)); break;
      case ValueKind::boolean: made = Value::of(content.u8(field::scalar::value) != 0); break;
      case ValueKind::floating: made = Value::of(content.f64(field::scalar::value)); break;
      case ValueKind::string:
        made.kind = Value::Kind::string;
        made.string = content.string(field::scalar::value);
        made.count = uint32_t(strlen(made.string));
        break;
      case ValueKind::tensor: {
        Vector bounds = content.vector(field::tensor::sizes);
        *tensor = Tensor();
        if (is_dynamic(content)) {
          tensor->sizes = sizes;
          sizes += bounds.count;
        }
        made = Value::of(tensor);
        if (Status status = make_tensor(content, tensor, diagnostic); !status.ok()) {
          SCONCE_CONTEXT(diagnostic, "value %u", i);
          return status;
        }
        tensor++;
        break;
      }
      case ValueKind::integers:
      case ValueKind::tensors:
      case ValueKind::optional_tensors: {
        bool integers = kind_of(values.table(i)) == ValueKind::integers;
        list = content.vector(field::list::items);
        made.kind = integers ? Value::Kind::integers : Value::Kind::tensors;
        made.count = list.count;
        made.items = items;
        for (uint32_t k = 0; k < list.count; k++) {
          int64_t item = integers ? list.i64(k) : list.i32(k);
          *items++ = &values_[item < 0 ? values.count : uint32_t(item)];
          if (integers) values_[item].count = kListed;
        }
        break;
      }
      case ValueKind::floats:
        list = content.vector(field::list::items);
        made.kind = Value::Kind::floats;
        made.count = list.count;
        made.floats = reinterpret_cast<const double*>(list.items);
        break;
      case ValueKind::booleans:
        list = content.vector(field::list::items);
        made.kind = Value::Kind::booleans;
        made.count = list.count;
        made.booleans = reinterpret_cast<const bool*>(list.items);
        break;
      default: break;
    }
    if (made.is_number()) made.count = listed;
  }
  Vector inputs = meta_.plan().vector(field::plan::inputs);
  for (uint32_t i = 0; i < inputs.count; i++) {
    Value& value = values_[inputs.i32(i)];
    inputs_[i] = {uint32_t(inputs.i32(i)), false, value.is_tensor() ? value.tensor : nullptr};
  }
  return kOk;
}

Status Method::make_tensor(Table table, Tensor* tensor, Diagnostic* diagnostic) {
  Vector sizes = table.vector(field::tensor::sizes);
  tensor->dtype = DType(table.i8(field::tensor::dtype));
  tensor->rank = uint8_t(sizes.count);
  tensor->dim_order = table.vector(field::tensor::dim_order).items;
  if (tensor->sizes) {
    for (uint32_t i = 0; i < sizes.count; i++) tensor->sizes[i] = sizes.i32(i);
  } else {
    // Never written: resize() leaves fixed sizes alone.
    tensor->sizes = const_cast<int32_t*>(sizes.i32s());
    tensor->fixed_sizes = true;
  }
  Table extra = table.table(field::tensor::extra);
  if (extra && extra.i8(field::extra::device_type) != 0)
    return SCONCE_FAIL(Code::unsupported, diagnostic,
                       "tensor lives on device type %d, want CPU (0)",
                       extra.i8(field::extra::device_type));
  if (is_unbounded(table) && table.table(field::tensor::placement))
    return SCONCE_FAIL(Code::unsupported, diagnostic, "planned tensor without upper bound");
  return place_tensor(table, tensor, diagnostic);
}

// Points the tensor at its data as the file places it.
Status Method::place_tensor(Table table, Tensor* tensor, Diagnostic* diagnostic) {
  uint64_t bytes = 0;
  (void)tensor_bytes_of(table, &bytes);
  tensor->data = nullptr;
  tensor->capacity_bytes = 0;
  tensor->read_only = false;
  if (Table placement = table.table(field::tensor::placement)) {
    const PlannedMemory& memory = options_.planned[placement.u32(field::placement::memory_id) - 1];
    if (!memory.bytes.empty()) tensor->data = memory.bytes.data() + placement_offset(placement);
    tensor->capacity_bytes = bytes;
    return kOk;
  }
  uint32_t data_index = table.u32(field::tensor::data_index);
  const uint8_t* constant = nullptr;
  if (is_external(table)) {
    SCONCE_TRY_STATUS(find_external(table, bytes, &constant, diagnostic));
    uint64_t alignment = dtype_bytes(tensor->dtype) < 8 ? dtype_bytes(tensor->dtype) : 8;
    if (bytes && reinterpret_cast<uintptr_t>(constant) % alignment)
      return SCONCE_FAIL(Code::unsupported, diagnostic, "external data is not aligned to %u bytes",
                         unsigned(alignment));
  } else if (data_index) {
    constant = program_->view().constant(data_index);
  } else {
    return kOk;  // the pointer comes at run time
  }
  if (tensor->dtype == DType::b8 && !all_bools(constant, bytes))
    return SCONCE_FAIL(Code::invalid_file, diagnostic, "constant of bools has bytes above 1");
  tensor->data = const_cast<uint8_t*>(constant);
  tensor->capacity_bytes = bytes;
  tensor->read_only = true;
  return kOk;
}

Status Method::find_external(Table table, uint64_t bytes, const uint8_t** data,
                             Diagnostic* diagnostic) const {
  const char* name = table.table(field::tensor::extra).string(field::extra::name);
  Bytes found;
  if (!program_->find_named_data(name, &found) && options_.find_external)
    found = options_.find_external(options_.context, name);
  if (found.size() < bytes)
    return SCONCE_FAIL(found.empty() ? Code::not_found : Code::invalid_file, diagnostic,
                       "external data \"%s\": %zu bytes found, want %llu", name, found.size(),
                       (unsigned long long)bytes);
  *data = found.data();
  return kOk;
}

// Planned memory as a fresh method has it: zeros, then initial values. Shared memories are left.
Status Method::initialise(bool clear, Diagnostic* diagnostic) {
  for (uint32_t i = 0; i < meta_.memory_count(); i++) {
    const PlannedMemory& memory = options_.planned[i];
    uint64_t bytes = meta_.memory_bytes(i);
    if (clear && !memory.keep && bytes) memset(memory.bytes.data(), 0, size_t(bytes));
  }
  random_state_ = 0;
  Vector values = meta_.plan().vector(field::plan::values);
  for (uint32_t i = 0; i < values.count; i++) {
    if (kind_of(values.table(i)) != ValueKind::tensor) continue;
    Table table = content_of(values.table(i));
    Table placement = table.table(field::tensor::placement);
    uint32_t data_index = table.u32(field::tensor::data_index);
    if (!placement || (data_index == 0 && !is_external(table))) continue;
    const PlannedMemory& memory = options_.planned[placement.u32(field::placement::memory_id) - 1];
    uint64_t bytes = 0;
    (void)tensor_bytes_of(table, &bytes);
    if (memory.keep || bytes == 0) continue;
    const uint8_t* from = nullptr;
    if (is_external(table))
      SCONCE_TRY_STATUS(find_external(table, bytes, &from, diagnostic));
    else
      from = program_->view().initial_value(data_index);
    if (table.i8(field::tensor::dtype) == int8_t(DType::b8) && !all_bools(from, bytes))
      return SCONCE_FAIL(Code::invalid_file, diagnostic,
                         "value %u: initial value of bools has bytes above 1", i);
    memcpy(memory.bytes.data() + placement_offset(placement), from, size_t(bytes));
  }
  return kOk;
}

Status Method::reset(Diagnostic* diagnostic) {
  restore_values();
  return initialise(true, diagnostic);
}

// Numbers and tensor handles as after load, where instructions may have changed them; inputs keep
// what was set.
void Method::restore_values() {
  Vector values = meta_.plan().vector(field::plan::values);
  Tensor* tensor = tensors_;
  for (uint32_t i = 0; i < values.count; i++) {
    Table content = content_of(values.table(i));
    Value& value = values_[i];
    uint32_t listed = value.count;
    bool is_input = false;
    for (uint32_t k = 0; k < meta_.input_count(); k++) is_input |= inputs_[k].value == i;
    switch (kind_of(values.table(i))) {
      case ValueKind::tensor: value.tensor = tensor++; continue;
      case ValueKind::integer:
        if (!is_input) value = Value::of(content.i64(field::scalar::value));
        break;
      case ValueKind::boolean:
        if (!is_input) value = Value::of(content.u8(field::scalar::value) != 0);
        break;
      case ValueKind::floating:
        if (!is_input) value = Value::of(content.f64(field::scalar::value));
        break;
      default: continue;
    }
    value.count = listed;
  }
}

// --- operators and delegates --------------------------------------------------------------------

namespace {

// Appends ", name" while there is room for it and for an ending.
struct NameList {
  char text[300] = {0};
  size_t used = 0;
  uint32_t count = 0;

  void add(const char* name) {
    count++;
    size_t size = strlen(name);
    if (used + size + 8 > sizeof(text)) {
      if (used + 6 < sizeof(text) && text[used ? used - 1 : 0] != '.') {
        memcpy(text + used, ", ...", 6);
        used += 5;
      }
      return;
    }
    if (used) memcpy(text + used, ", ", 2), used += 2;
    memcpy(text + used, name, size + 1);
    used += size;
  }
};

}  // namespace

Status Method::find_operators(Diagnostic* diagnostic) {
  NameList missing;
  for (uint32_t i = 0; i < meta_.operator_count(); i++) {
    char name[128];
    Operator& op = operators_[i];
    op = Operator();
    if (!meta_.operator_name(i, name, sizeof(name)))
      return SCONCE_FAIL(Code::invalid_file, diagnostic, "operator %u: name exceeds 127 bytes", i);
    if (strcmp(name, "executorch_prim::et_view.default") == 0) {
      op.kind = Operator::Kind::view, op.input_count = 2, op.arg_count = 3;
      continue;
    }
    if (strcmp(name, "executorch_prim::et_copy_index.tensor") == 0) {
      op.kind = Operator::Kind::copy_into_row, op.input_count = 3, op.arg_count = 3;
      continue;
    }
    if (const Prim* prim = find_prim(name, strlen(name))) {
      op.kind = Operator::Kind::prim, op.prim = prim;
      op.input_count = prim->input_count, op.arg_count = uint16_t(prim->input_count + 1);
      continue;
    }
    for (const KernelRow& row : options_.kernels)
      if (strcmp(row.kernel->name, name) == 0) op.kernel = row.kernel;
    if (!op.kernel) {
      missing.add(name);
      continue;
    }
    for (const char* letter = op.kernel->signature; *letter; letter++)
      if (*letter == '>')
        op.input_count = op.arg_count;
      else
        op.arg_count++;
  }
  Vector delegates = meta_.plan().vector(field::plan::delegates);
  for (uint32_t i = 0; i < delegates.count; i++) {
    const char* id = delegates.table(i).string(field::delegate::id);
    delegates_[i] = {nullptr, nullptr, false};
    for (const DelegateType* type : options_.delegates)
      if (strcmp(type->id, id) == 0) delegates_[i].type = type;
    bool listed = false;
    for (uint32_t k = 0; k < i; k++)
      listed |= strcmp(id, delegates.table(k).string(field::delegate::id)) == 0;
    if (!delegates_[i].type && !listed) {
      char name[128];
      size_t size = strlen(id);
      if (size > sizeof(name) - 10) size = sizeof(name) - 10;
      memcpy(name, "delegate ", 9);
      memcpy(name + 9, id, size);
      name[9 + size] = 0;
      missing.add(name);
    }
  }
  if (missing.count)
    return SCONCE_FAIL(Code::not_found, diagnostic, "%u missing here: %s", missing.count,
                       missing.text);
  return kOk;
}

Status Method::load_delegates(uint8_t* memory, Diagnostic* diagnostic) {
  Vector delegates = meta_.plan().vector(field::plan::delegates);
  for (uint32_t i = 0; i < delegates.count; i++) {
    Table delegate = delegates.table(i);
    LoadedDelegate& loaded = delegates_[i];
    DelegateSource source{program_,
                          meta_.name(),
                          i,
                          program_->view().delegate_data(delegate),
                          delegate.vector(field::delegate::specs),
                          options_.find_external,
                          options_.context,
                          options_.threads,
                          options_.tuning};
    uint64_t bytes = 0;
    Status status = kOk;
    if (loaded.type->arena_bytes) status = loaded.type->arena_bytes(source, &bytes, diagnostic);
    // A delegate whose answer grew since the arena was sized must not run past it.
    if (status.ok() && bytes > uint64_t(options_.arena.data() + options_.arena.size() - memory))
      status = SCONCE_FAIL(Code::internal, diagnostic, "wants more arena than before");
    if (status.ok())
      status = loaded.type->load(source, {memory, size_t(bytes)}, &loaded.state, diagnostic);
    if (!status.ok()) {
      SCONCE_CONTEXT(diagnostic, "delegate %u (%s)", i, loaded.type->id);
      return status;
    }
    loaded.loaded = true;
    if (options_.profile && loaded.type->set_profile)
      loaded.type->set_profile(loaded.state, options_.profile);
    memory += align_up(bytes, 16);
  }
  return kOk;
}

Span<const Value* const> Method::gather_args(Table call) {
  Vector args = call.vector(field::call::args);
  for (uint32_t i = 0; i < args.count; i++) args_[i] = &values_[args.i32(i)];
  return {args_, args.count};
}

// Kinds of one call's arguments; `args` are all that the file gives.
Status Method::check_args(const Operator& op, Span<const Value* const> args,
                          Diagnostic* diagnostic) {
  // Behind the schema's arguments stock repeats what is returned: the out, or a list of the outs.
  size_t returned = op.arg_count > op.input_count ? op.arg_count - op.input_count : 1;
  if (args.size() < op.arg_count || args.size() > op.arg_count + returned)
    return SCONCE_FAIL(Code::invalid_file, diagnostic, "%zu arguments, want %u to %zu", args.size(),
                       op.arg_count, op.arg_count + returned);
  if (op.kind == Operator::Kind::kernel) {
    int input_count;
    SCONCE_TRY_STATUS(
        match_signature(*op.kernel, args.first(op.arg_count), &input_count, diagnostic));
    Args all{args.first(op.arg_count), op.input_count};
    for (int k = 0; k < all.out_count(); k++)
      if (all.out(k).read_only)
        return SCONCE_FAIL(Code::invalid_file, diagnostic, "writes to a constant");
    return kOk;
  }
  auto tensor = [&](size_t i) { return args[i]->is_tensor(); };
  bool fits = true;
  if (op.kind == Operator::Kind::view) {
    fits = tensor(0) && args[1]->kind == Value::Kind::integers && tensor(2);
  } else if (op.kind == Operator::Kind::copy_into_row) {
    fits = tensor(0) && tensor(1) && args[2]->is_number();
  } else {
    // Prims read numbers; those of "aten::" read a tensor first.
    bool reads_tensor = strncmp(op.prim->name, "aten::", 6) == 0;
    for (size_t i = 0; i < op.arg_count; i++)
      fits &= reads_tensor && i == 0 ? tensor(0) : args[i]->is_number();
  }
  if (!fits) return SCONCE_FAIL(Code::invalid_file, diagnostic, "an argument is of the wrong kind");
  return kOk;
}

Status Method::check_instructions(Diagnostic* diagnostic) {
  Vector chains = meta_.plan().vector(field::plan::chains);
  for (uint32_t c = 0; c < chains.count; c++) {
    Vector instructions = chains.table(c).vector(field::chain::instructions);
    for (uint32_t i = 0; i < instructions.count; i++) {
      Table instruction = instructions.table(i);
      if (InstructionKind(instruction.u8(field::instruction::kind)) != InstructionKind::kernel)
        continue;
      Table call = instruction.table(field::instruction::arguments);
      const Operator& op = operators_[call.i32(field::call::callee)];
      Span<const Value* const> args = gather_args(call);
      if (Status status = check_args(op, args, diagnostic); !status.ok()) {
        add_step_context(c, i, instruction, diagnostic);
        return status;
      }
      if (op.kind != Operator::Kind::kernel || !op.kernel->scratch_bytes) continue;
      // At upper bounds, as far as sizes are known before running; execute() asks again.
      Args all{args.first(op.arg_count), op.input_count};
      if (!prepare_outs(*op.kernel, all, nullptr).ok()) continue;
      uint64_t bytes = op.kernel->scratch_bytes(all);
      if (bytes > scratch_wanted_) scratch_wanted_ = bytes;
    }
  }
  // prepare_outs() may have made dynamic tensors smaller.
  Vector values = meta_.plan().vector(field::plan::values);
  for (uint32_t i = 0; i < values.count; i++) {
    if (kind_of(values.table(i)) != ValueKind::tensor) continue;
    Tensor& tensor = *values_[i].tensor;
    Vector bounds = content_of(values.table(i)).vector(field::tensor::sizes);
    if (tensor.fixed_sizes) continue;
    for (uint32_t k = 0; k < bounds.count; k++) tensor.sizes[k] = bounds.i32(k);
  }
  return kOk;
}

// "instruction 3 (aten::add.out, model.py:12)" in front of the text.
void Method::add_step_context([[maybe_unused]] uint32_t chain, [[maybe_unused]] uint32_t index,
                              [[maybe_unused]] Table instruction,
                              [[maybe_unused]] Diagnostic* diagnostic) const {
#if SCONCE_TEXT
  if (!diagnostic) return;
  char name[128] = "";
  Table content = instruction.table(field::instruction::arguments);
  auto kind = InstructionKind(instruction.u8(field::instruction::kind));
  if (kind == InstructionKind::kernel)
    (void)meta_.operator_name(uint32_t(content.i32(field::call::callee)), name, sizeof(name));
  else if (kind == InstructionKind::delegate)
    snprintf(name, sizeof(name), "%s",
             meta_.plan()
                 .vector(field::plan::delegates)
                 .table(uint32_t(content.i32(field::call::callee)))
                 .string(field::delegate::id));
  Vector stacks =
      meta_.plan().vector(field::plan::chains).table(chain).vector(field::chain::stacks);
  if (index < stacks.count) {
    Vector frames = stacks.table(index).vector(field::list::items);
    if (frames.count) {  // outermost first: the last frame is the model's line
      Table frame = frames.table(frames.count - 1);
      add_context(diagnostic, "%s:%d", frame.string(field::frame::file),
                  int(frame.i32(field::frame::line)));
    }
  }
  if (name[0])
    add_context(diagnostic, "instruction %u (%s)", index, name);
  else
    add_context(diagnostic, "instruction %u", index);
#endif
}

}  // namespace sconce
