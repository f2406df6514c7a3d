// Reading for tools: verify first (freestanding, shared with the runtime), then decode what is
// known to be sound into plain structs. What only a host can afford to check follows here:
// duplicate names, overlapping segments.
#include <algorithm>

#include "base/checked.h"
#include "formats/pte/pte.h"
#include "formats/pte/tables.h"

namespace sconce {
namespace {

using namespace pte;  // NOLINT: the views are this file's vocabulary

std::vector<int32_t> int32s(Vector v) {
  std::vector<int32_t> all(v.count);
  for (uint32_t i = 0; i < v.count; i++) all[i] = v.i32(i);
  return all;
}
std::vector<uint8_t> bytes_of(Vector v) { return {v.items, v.items + v.count}; }

PteTensor decode_tensor(Table t) {
  PteTensor tensor;
  tensor.scalar_type = t.i8(field::tensor::dtype);
  tensor.sizes = int32s(t.vector(field::tensor::sizes));
  tensor.dim_order = bytes_of(t.vector(field::tensor::dim_order));
  tensor.dynamism = PteDynamism(t.i8(field::tensor::dynamism));
  tensor.data_index = t.u32(field::tensor::data_index);
  tensor.requires_grad = t.u8(field::tensor::requires_grad) != 0;
  if (Table p = t.table(field::tensor::placement))
    tensor.placement = PtePlacement{p.u32(field::placement::memory_id), placement_offset(p)};
  tensor.external = is_external(t);
  if (Table extra = t.table(field::tensor::extra)) {
    tensor.name = extra.string(field::extra::name);
    tensor.device_type = extra.u8(field::extra::device_type);
    tensor.device_index = extra.i8(field::extra::device_index);
  }
  return tensor;
}

PteValue decode_value(Table value) {
  Table content = value.table(field::value::value);
  Vector items;
  switch (kind_of(value)) {
    case ValueKind::none: return std::monostate();
    case ValueKind::integer: return content.i64(field::scalar::value);
    case ValueKind::boolean: return content.u8(field::scalar::value) != 0;
    case ValueKind::floating: return content.f64(field::scalar::value);
    case ValueKind::tensor: return decode_tensor(content);
    case ValueKind::string: return std::string(content.string(field::scalar::value));
    default: break;
  }
  items = content.vector(field::list::items);
  switch (kind_of(value)) {
    case ValueKind::integers: {
      PteIntList list;
      for (uint32_t i = 0; i < items.count; i++) list.items.push_back(items.i64(i));
      return list;
    }
    case ValueKind::floats: {
      PteDoubleList list;
      for (uint32_t i = 0; i < items.count; i++) list.items.push_back(items.f64(i));
      return list;
    }
    case ValueKind::booleans: return PteBoolList{bytes_of(items)};
    case ValueKind::tensors: return PteTensorList{int32s(items)};
    case ValueKind::optional_tensors: return PteOptionalTensorList{int32s(items)};
    default: return std::monostate();
  }
}

PteInstruction decode_instruction(Table instruction) {
  Table content = instruction.table(field::instruction::arguments);
  switch (InstructionKind(instruction.u8(field::instruction::kind))) {
    case InstructionKind::kernel:
      return PteKernelCall{content.i32(field::call::callee),
                           int32s(content.vector(field::call::args))};
    case InstructionKind::delegate:
      return PteDelegateCall{content.i32(field::call::callee),
                             int32s(content.vector(field::call::args))};
    case InstructionKind::move:
      return PteMove{content.i32(field::move::from), content.i32(field::move::to)};
    case InstructionKind::jump_false:
      return PteJumpFalse{content.i32(field::jump::condition),
                          content.i32(field::jump::destination)};
    default: return PteFree{content.i32(field::free::value)};
  }
}

PteChain decode_chain(Table t) {
  PteChain chain;
  chain.inputs = int32s(t.vector(field::chain::inputs));
  chain.outputs = int32s(t.vector(field::chain::outputs));
  Vector instructions = t.vector(field::chain::instructions);
  chain.instructions.reserve(instructions.count);
  for (uint32_t i = 0; i < instructions.count; i++)
    chain.instructions.push_back(decode_instruction(instructions.table(i)));
  Vector stacks = t.vector(field::chain::stacks);
  if (stacks.count != instructions.count) return chain;  // a note nobody could place
  for (uint32_t i = 0; i < stacks.count; i++) {
    Vector frames = stacks.table(i).vector(field::list::items);
    std::vector<PteFrame>& stack = chain.stacks.emplace_back();
    for (uint32_t k = 0; k < frames.count; k++) {
      Table f = frames.table(k);
      stack.push_back({f.string(field::frame::file), f.i32(field::frame::line),
                       f.string(field::frame::function), f.string(field::frame::code)});
    }
  }
  return chain;
}

PteMethod decode_method(const View& view, Table plan) {
  PteMethod method;
  method.name = plan.string(field::plan::name);
  if (Table container = plan.table(field::plan::container)) {
    method.input_spec = container.string(field::container::inputs);
    method.output_spec = container.string(field::container::outputs);
  }
  Vector values = plan.vector(field::plan::values);
  method.values.reserve(values.count);
  for (uint32_t i = 0; i < values.count; i++)
    method.values.push_back(decode_value(values.table(i)));
  method.inputs = int32s(plan.vector(field::plan::inputs));
  method.outputs = int32s(plan.vector(field::plan::outputs));
  Vector chains = plan.vector(field::plan::chains);
  for (uint32_t i = 0; i < chains.count; i++)
    method.chains.push_back(decode_chain(chains.table(i)));
  Vector operators = plan.vector(field::plan::operators);
  for (uint32_t i = 0; i < operators.count; i++)
    method.operators.push_back({operators.table(i).string(field::oper::name),
                                operators.table(i).string(field::oper::overload)});
  Vector delegates = plan.vector(field::plan::delegates);
  for (uint32_t i = 0; i < delegates.count; i++) {
    Table d = delegates.table(i);
    PteDelegate& delegate = method.delegates.emplace_back();
    delegate.id = d.string(field::delegate::id);
    delegate.data = view.delegate_data(d);
    delegate.stored_inline =
        d.table(field::delegate::processed).i8(field::processed::location) == 0;
    Vector specs = d.vector(field::delegate::specs);
    for (uint32_t k = 0; k < specs.count; k++)
      delegate.specs.push_back({specs.table(k).string(field::spec::key),
                                bytes_of(specs.table(k).vector(field::spec::value))});
  }
  Vector memories = plan.vector(field::plan::memories);
  for (uint32_t i = 1; i < memories.count; i++) method.memories.push_back(memories.u64(i));
  Vector devices = plan.vector(field::plan::devices);
  for (uint32_t i = 0; i < devices.count; i++)
    method.devices.push_back({devices.table(i).i32(field::device::memory_id),
                              devices.table(i).u8(field::device::type),
                              devices.table(i).i8(field::device::index)});
  return method;
}

// The file keeps no sizes of constants: each is as long as the largest tensor that names it.
void collect_data(const View& view, PteProgram& program) {
  Table constants = view.root.table(field::program::constants);
  uint32_t constant_count = 0, initial_count = 0;
  if (constants) constant_count = constants.vector(field::subsegments::offsets).count;
  if (constant_count == 0)
    constant_count = view.root.vector(field::program::constant_buffers).count;
  Vector initial = view.root.vector(field::program::initial_values);
  if (initial.count) initial_count = initial.table(0).vector(field::subsegments::offsets).count;
  program.constants.resize(std::max<uint32_t>(constant_count, 1));
  program.initial_values.resize(std::max<uint32_t>(initial_count, 1));
  Vector plans = view.plans();
  for (uint32_t m = 0; m < plans.count; m++) {
    Vector values = plans.table(m).vector(field::plan::values);
    for (uint32_t i = 0; i < values.count; i++) {
      if (kind_of(values.table(i)) != ValueKind::tensor) continue;
      Table tensor = values.table(i).table(field::value::value);
      uint32_t index = tensor.u32(field::tensor::data_index);
      if (index == 0 || is_external(tensor)) continue;
      bool planned = bool(tensor.table(field::tensor::placement));
      uint64_t bytes = 0;
      (void)tensor_bytes_of(tensor, &bytes);
      Bytes& data = (planned ? program.initial_values : program.constants)[index];
      if (bytes > data.size())
        data = Bytes(planned ? view.initial_value(index) : view.constant(index), size_t(bytes));
    }
  }
}

Result<View> verified(Bytes file) {
  View view;
  Diagnostic diagnostic;
  if (Status status = verify_pte(file, &view, &diagnostic); !status.ok())
    return to_error(status, diagnostic);
  return view;
}

}  // namespace

Result<PteProgram> read_pte(Bytes file) {
  TRY(View view, verified(file));
  PteProgram program;
  program.version = view.root.u32(field::program::version);
  Vector plans = view.plans();
  for (uint32_t i = 0; i < plans.count; i++) {
    program.methods.push_back(decode_method(view, plans.table(i)));
    for (uint32_t k = 0; k < i; k++)
      if (program.methods[k].name == program.methods[i].name)
        return error(Code::invalid_file, "two methods are called {}", program.methods[i].name);
  }
  collect_data(view, program);
  Vector named = view.root.vector(field::program::named_data);
  for (uint32_t i = 0; i < named.count; i++) {
    std::string key = named.table(i).string(field::named::key);
    for (const PteNamedData& other : program.named_data)
      if (other.key == key)
        return error(Code::invalid_file, "two entries of named data are called \"{}\"", key);
    program.named_data.push_back({key, view.segment(named.table(i).u32(field::named::segment)), 1});
  }
  TRY(PteLayout layout, read_pte_layout(file));
  (void)layout;
  return program;
}

Result<PteLayout> read_pte_layout(Bytes file) {
  TRY(View view, verified(file));
  PteLayout layout;
  layout.program_bytes = view.program_bytes;
  layout.segment_base = view.segment_base;
  layout.extended_header = view.extended_header;
  Vector segments = view.root.vector(field::program::segments);
  for (uint32_t i = 0; i < segments.count; i++) {
    Bytes bytes = view.segment(i);
    layout.segments.push_back({uint64_t(bytes.data() - file.data()), bytes.size(), ""});
  }
  auto name = [&](uint32_t index, std::string what) {
    if (index >= layout.segments.size()) return;
    std::string& text = layout.segments[index].what;
    text += text.empty() ? what : ", " + what;
  };
  Table constants = view.root.table(field::program::constants);
  if (constants && constants.vector(field::subsegments::offsets).count)
    name(constants.u32(field::subsegments::segment), "constants");
  Vector initial = view.root.vector(field::program::initial_values);
  for (uint32_t i = 0; i < initial.count; i++)
    name(initial.table(i).u32(field::subsegments::segment), "initial values");
  Vector plans = view.plans();
  for (uint32_t m = 0; m < plans.count; m++) {
    Vector delegates = plans.table(m).vector(field::plan::delegates);
    for (uint32_t i = 0; i < delegates.count; i++) {
      Table processed = delegates.table(i).table(field::delegate::processed);
      if (processed.i8(field::processed::location) == 1)
        name(processed.u32(field::processed::index),
             fmt::format("delegate {} of {}: {}", i, plans.table(m).string(field::plan::name),
                         delegates.table(i).string(field::delegate::id)));
    }
  }
  Vector named = view.root.vector(field::program::named_data);
  for (uint32_t i = 0; i < named.count; i++)
    name(named.table(i).u32(field::named::segment),
         fmt::format("named data \"{}\"", named.table(i).string(field::named::key)));

  std::vector<PteLayout::Segment> sorted = layout.segments;
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.offset < b.offset; });
  uint64_t end = 0;
  for (const auto& segment : sorted) {
    if (segment.bytes == 0) continue;
    if (segment.offset < end)
      return error(Code::invalid_file,
                   "segment at {} ({}) overlaps the one before, which ends at {}", segment.offset,
                   segment.what, end);
    end = segment.offset + segment.bytes;
  }
  return layout;
}

// --- constraints --------------------------------------------------------------------------------

std::vector<uint8_t> write_constraints(Span<const PteMethodConstraints> methods) {
  std::vector<uint8_t> out;
  auto u32 = [&](uint32_t value) {
    for (int i = 0; i < 4; i++) out.push_back(uint8_t(value >> (8 * i)));
  };
  auto text = [&](const std::string& value) {
    u32(uint32_t(value.size()));
    out.insert(out.end(), value.begin(), value.end());
    out.resize(align_up(out.size() + 1, 4));
  };
  u32(kConstraintsMagic);
  u32(uint32_t(methods.size()));
  for (const PteMethodConstraints& method : methods) {
    text(method.method);
    u32(uint32_t(method.input_names.size()));
    for (const std::string& name : method.input_names) text(name);
    u32(uint32_t(method.rules.size()));
    for (const PteDimRule& rule : method.rules) {
      u32(uint32_t(rule.input) | uint32_t(rule.dim) << 16);
      u32(uint32_t(rule.min)), u32(uint32_t(rule.max));
      u32(uint32_t(rule.divisor)), u32(uint32_t(rule.remainder));
      u32(rule.related ? uint32_t(rule.other_input) | uint32_t(rule.other_dim) << 16 : kNoRelation);
      u32(uint32_t(rule.own_scale)), u32(uint32_t(rule.other_scale)), u32(uint32_t(rule.offset));
    }
  }
  return out;
}

Result<std::vector<PteMethodConstraints>> read_constraints(Bytes bytes) {
  Diagnostic diagnostic;
  if (Status status = verify_constraints(bytes, &diagnostic); !status.ok())
    return to_error(status, diagnostic);
  std::vector<PteMethodConstraints> all;
  // Verified, so the walk below stays inside.
  size_t at = 4;
  auto u32 = [&] {
    uint32_t value = load<uint32_t>(bytes.data() + at);
    at += 4;
    return value;
  };
  auto text = [&] {
    uint32_t length = u32();
    std::string value(reinterpret_cast<const char*>(bytes.data() + at), length);
    at += align_up(size_t(length) + 1, 4);
    return value;
  };
  uint32_t method_count = u32();
  for (uint32_t m = 0; m < method_count; m++) {
    PteMethodConstraints& method = all.emplace_back();
    method.method = text();
    uint32_t name_count = u32();
    for (uint32_t i = 0; i < name_count; i++) method.input_names.push_back(text());
    MethodConstraints view;
    view.rule_count = u32();
    view.rules = bytes.data() + at;
    for (uint32_t i = 0; i < view.rule_count; i++) method.rules.push_back(view.rule(i));
    at += size_t(view.rule_count) * kDimRuleBytes;
  }
  return all;
}

}  // namespace sconce
