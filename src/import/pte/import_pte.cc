#include "import/pte/import_pte.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "import/names.h"
#include "import/pte/branches.h"
#include "import/pte/memory.h"
#include "import/pte/payload.h"
#include "ops/def.h"
#include "ops/prim/prim.h"

namespace sconce {
namespace {

// Memories that callers bring are numbered after the planned ones, then places of results that a
// branch chose.
constexpr uint64_t kCallerSpace = uint64_t(1) << 32, kChosenSpace = uint64_t(1) << 33;

// Loops whose rounds are known are written out, up to so many instructions in all.
constexpr size_t kStepsMax = 1 << 16;
// Each branch keeps all that is known before it.
constexpr int kBranchDepthMax = 16, kBranchesMax = 256;

// True when memory order equals logical order.
bool in_order(const std::vector<uint8_t>& dim_order, const std::vector<int32_t>& sizes) {
  int last = -1;
  for (uint8_t dim : dim_order) {
    if (sizes[dim] == 1) continue;
    if (int(dim) < last) return false;
    last = dim;
  }
  return true;
}

bool is_identity(const std::vector<uint8_t>& dim_order) {
  for (size_t i = 0; i < dim_order.size(); i++)
    if (dim_order[i] != i) return false;
  return true;
}

Type number_type(Type::Kind kind) {
  Type type;
  type.kind = kind;
  return type;
}

std::string operator_text(const PteOperator& op) {
  return op.overload.empty() ? op.name : op.name + "." + op.overload;
}

class MethodImporter {
 public:
  MethodImporter(const PteProgram& file, const PteMethod& from, const PteImportOptions& options,
                 Program& program)
      : file_(file),
        from_(from),
        options_(options),
        program_(program),
        graph_(program.methods[0].graph),
        build_(program, graph_),
        memory_(build_) {}

  Result<void> run();

 private:
  // What a value of the file is: a tensor at a place, or a number.
  struct Tensor {
    DType dtype = DType::f32;
    std::vector<int32_t> sizes;
    std::vector<uint8_t> dim_order;  // empty when memory order is logical order
    MemoryPlace place;
    const PteTensor* declared = nullptr;
    bool constant = false;
    bool dynamic = false;  // sizes are what was written last,
    bool unknown = false;  // or the upper bounds, when nothing was
    uint64_t bytes_max = 0;
  };
  struct State {  // lives in planned memory from call to call
    MemoryPlace place;
    int32_t buffer;
    ValueId value;
    TensorType type;
  };

  Result<void> make_tensors();
  Result<Tensor> make_tensor(size_t index, const PteTensor& declared);
  Result<void> add_states();
  Result<ValueId> add_state(const Tensor& tensor, Bytes initial);
  Result<void> add_inputs();
  Result<void> find_written_numbers();
  Result<void> check_carried_numbers();
  bool reads(int32_t value) const;
  Result<void> add_outputs();
  Result<void> add_write_backs();

  // What values of the file are at some point of the program.
  struct Moment {
    PlannedMemory memory;
    std::vector<Tensor> tensors;
    std::vector<std::optional<Argument>> numbers;
    std::vector<bool> forgotten;
  };
  // One way of two, as far as it has been followed.
  struct Way {
    Branch branch;
    Moment end;
    std::map<int32_t, ValueId> tensors;  // by value of the file: handles that it changed
    std::vector<ValueId> kept;           // what memory that outlives the call holds
  };
  Moment moment() const { return {memory_, tensors_, numbers_, forgotten_}; }
  void go_to(const Moment& then) {
    memory_ = then.memory;
    tensors_ = then.tensors;
    numbers_ = then.numbers;
    forgotten_ = then.forgotten;
  }
  Result<void> import_steps(const PteChain& chain, size_t from, size_t to);
  Result<size_t> import_jump(const PteChain& chain, size_t at, size_t from, size_t to);
  Result<Way> follow(const PteChain& chain, size_t from, size_t to, const Moment& start);
  Result<void> join_ways(ValueId predicate, Way& if_true, Way& if_false, const Moment& start,
                         const std::string& source);
  std::vector<MemoryPlace> kept_places() const;
  Result<void> import_instruction(const PteInstruction& instruction);
  Result<void> import_kernel(const PteKernelCall& call);
  bool is_of_kind(const Argument& argument, char letter) const;
  Result<void> import_operator(const Op& op, const std::vector<int32_t>& args, bool in_place);
  Result<std::vector<int32_t>> view_sizes(const Tensor& self, int32_t list);
  Result<void> import_prim(const Prim& prim, const std::vector<int32_t>& args);
  Result<void> import_delegate(const PteDelegateCall& call);
  Result<void> move(const PteMove& move);

  bool is_tensor(int32_t value) const {
    return std::holds_alternative<PteTensor>(from_.values[size_t(value)]);
  }
  Result<const Tensor*> tensor(int32_t value) const {
    if (!is_tensor(value)) return error(Code::invalid_file, "value {} is no tensor", value);
    return &tensors_[size_t(value)];
  }
  // Gives a tensor of dynamic shape its sizes.
  Result<void> set_sizes(Tensor& t, std::vector<int32_t> sizes) {
    int64_t count;
    uint64_t bytes;
    if (sizes.size() != t.sizes.size() ||
        !checked_element_count(sizes.data(), int(sizes.size()), &count) ||
        !checked_multiply<uint64_t>(uint64_t(count), dtype_bytes(t.dtype), &bytes) ||
        bytes > t.bytes_max)
      return error(Code::unsupported, "[{}] does not fit the tensor of [{}]",
                   fmt::join(sizes, ", "), fmt::join(t.declared->sizes, ", "));
    t.sizes = std::move(sizes);
    t.place.bytes = bytes;
    t.unknown = false;
    return {};
  }
  static std::vector<SymInt> memory_sizes(const Tensor& t) {
    std::vector<SymInt> sizes;
    for (size_t i = 0; i < t.sizes.size(); i++)
      sizes.push_back(t.sizes[t.dim_order.empty() ? i : t.dim_order[i]]);
    return sizes;
  }
  static std::vector<SymInt> sizes_of(const Tensor& t) { return {t.sizes.begin(), t.sizes.end()}; }

  // The value as it lies in memory, and with its dimensions in order.
  Result<ValueId> read_memory(int32_t value);
  Result<ValueId> read(int32_t value);
  Result<void> write_memory(int32_t value, ValueId id);
  Result<void> write(int32_t value, ValueId id);
  Result<ValueId> constant(const Tensor& t);
  Result<Argument> number(int32_t value);
  Result<Argument> argument(int32_t value, const std::string& type);
  ValueId literal(Argument value, Type type) {
    NodeId id = graph_.add_node("sconce_prim::constant", {std::move(value)}, {std::move(type)},
                                build_.source);
    return graph_.nodes[size_t(id)].results[0];
  }
  // The same value with its dimensions in another order in memory; empty: the logical one.
  ValueId reordered(ValueId id, const std::vector<uint8_t>& order) {
    std::vector<int64_t> dims(order.begin(), order.end());
    for (int d = 0; order.empty() && d < build_.rank(id); d++) dims.push_back(d);
    TensorType type = build_.tensor(id);
    type.dim_order = order;
    NodeId node =
        graph_.add_node("dim_order_ops::_clone_dim_order", {ValueRef{id}, false, Build::ints(dims)},
                        {Type::of(type)}, build_.source);
    return graph_.nodes[size_t(node)].results[0];
  }
  Bytes find_data(const std::string& name) const {
    for (const PteNamedData& data : file_.named_data)
      if (data.key == name) return data.data;
    return options_.find_external ? options_.find_external(name) : Bytes();
  }

  const PteProgram& file_;
  const PteMethod& from_;
  const PteImportOptions& options_;
  Program& program_;
  Graph& graph_;
  Build build_;
  PlannedMemory memory_;
  std::vector<Tensor> tensors_;                   // by value; a view or a move changes the place
  std::vector<std::optional<Argument>> numbers_;  // by value; what stands there now
  bool has_dynamic_input_ = false;
  std::vector<bool> written_;    // by value: a number that instructions write
  std::vector<bool> carried_;    // ... and that is read before, as the file has it
  std::vector<bool> forgotten_;  // by value: only one of two ways has changed it
  size_t steps_ = 0;
  int depth_ = 0, branches_ = 0;
  uint64_t chosen_ = 0, chosen_places_ = 0;
  std::vector<State> states_;
  std::vector<ValueId> inputs_;  // by position: what lies in memory at first; numbers have none
  ConstantValues constants_;
};

// --- tensors
// --------------------------------------------------------------------------------------

Result<MethodImporter::Tensor> MethodImporter::make_tensor(size_t index,
                                                           const PteTensor& declared) {
  Tensor t;
  t.declared = &declared;
  if (!is_dtype(declared.scalar_type))
    return error(Code::unsupported, "element type {}", declared.scalar_type);
  t.dtype = DType(declared.scalar_type);
  if (declared.dynamism != PteDynamism::fixed) {
    if (has_dynamic_input_ && options_.input_sizes.empty())
      return error(Code::unsupported, "a tensor of dynamic shape");
    if (declared.dynamism == PteDynamism::unbounded)
      return error(Code::unsupported, "a tensor without upper bound");
    t.dynamic = t.unknown = true;
  }
  if (declared.sizes.size() > size_t(kRankMax))
    return error(Code::too_large, "rank {} exceeds {}", declared.sizes.size(), kRankMax);
  t.sizes = declared.sizes;
  int64_t count;
  if (!checked_element_count(t.sizes.data(), int(t.sizes.size()), &count) ||
      !checked_multiply<uint64_t>(uint64_t(count), dtype_bytes(t.dtype), &t.place.bytes))
    return error(Code::invalid_file, "sizes overflow");
  if (t.place.bytes > options_.bytes_max)
    return error(Code::too_large, "{} bytes exceed {}", t.place.bytes, options_.bytes_max);
  t.bytes_max = t.place.bytes;
  if (!declared.dim_order.empty()) {
    if (declared.dim_order.size() != t.sizes.size() ||
        !is_valid_dim_order(declared.dim_order.data(), int(t.sizes.size())))
      return error(Code::invalid_file, "a dim order that is none");
    if (t.dynamic || !in_order(declared.dim_order, t.sizes)) t.dim_order = declared.dim_order;
  }
  if (is_identity(t.dim_order)) t.dim_order.clear();
  if (declared.placement) {
    t.place.space = declared.placement->memory_id;
    t.place.offset = declared.placement->offset;
  } else if (declared.data_index > 0 || declared.external) {
    t.constant = true;
  } else {
    t.place.space = kCallerSpace + index;
  }
  return t;
}

Result<void> MethodImporter::make_tensors() {
  tensors_.resize(from_.values.size());
  numbers_.resize(from_.values.size());
  carried_.assign(from_.values.size(), false);
  forgotten_.assign(from_.values.size(), false);
  for (int32_t input : from_.inputs)
    if (auto* declared = std::get_if<PteTensor>(&from_.values[size_t(input)]))
      has_dynamic_input_ |= declared->dynamism != PteDynamism::fixed;
  for (size_t i = 0; i < from_.values.size(); i++) {
    const auto* declared = std::get_if<PteTensor>(&from_.values[i]);
    if (!declared) continue;
    auto made = make_tensor(i, *declared);
    if (!made.ok()) {
      std::string name = declared->name.empty() ? "" : fmt::format(" \"{}\"", declared->name);
      return std::move(made.error()).with_context(fmt::format("tensor {}{}", i, name));
    }
    tensors_[i] = std::move(*made);
  }
  return {};
}

Result<ValueId> MethodImporter::constant(const Tensor& t) {
  const PteTensor& declared = *t.declared;
  Bytes bytes = declared.external ? find_data(declared.name) : file_.constants[declared.data_index];
  if (bytes.size() < t.place.bytes || (t.place.bytes && !bytes.data()))
    return error(Code::not_found, "the bytes of \"{}\" are {}, {} are wanted", declared.name,
                 bytes.size(), t.place.bytes);
  return add_constant_view(build_, t.dtype, memory_sizes(t), bytes.first(size_t(t.place.bytes)),
                           declared.name, &constants_);
}

Result<ValueId> MethodImporter::read_memory(int32_t value) {
  TRY(const Tensor* t, tensor(value));
  if (t->unknown)
    return error(Code::unsupported, "a tensor of dynamic shape is read, and none was written");
  if (forgotten_[size_t(value)])
    return error(Code::unsupported, "tensor {} is read, which only a branch has made", value);
  if (t->constant) return constant(*t);
  TensorType type{t->dtype, memory_sizes(*t), {}};
  // Planned memory that nothing has written: what an earlier call left there, zeros at first.
  if (t->place.bytes && t->place.space < kCallerSpace && memory_.is_untouched(t->place)) {
    TRY(ValueId state, add_state(*t, {}));
    (void)state;
  }
  return memory_.read(t->place, type);
}

Result<ValueId> MethodImporter::read(int32_t value) {
  TRY(ValueId id, read_memory(value));
  const Tensor& t = tensors_[size_t(value)];
  if (t.dim_order.empty()) return id;
  std::vector<int64_t> back(t.dim_order.size());
  for (size_t i = 0; i < back.size(); i++) back[t.dim_order[i]] = int64_t(i);
  return build_.permute(id, back);
}

Result<void> MethodImporter::write_memory(int32_t value, ValueId id) {
  TRY(const Tensor* t, tensor(value));
  if (t->constant) return error(Code::invalid_file, "writes to a constant");
  const Type type = build_.type(id);
  if (!type.is_tensor()) return error(Code::invalid_file, "a number becomes a tensor");
  if (t->dynamic && is_static(type.tensor)) {
    Tensor& mine = tensors_[size_t(value)];
    std::vector<int32_t> sizes(type.tensor.sizes.size());
    for (size_t i = 0; i < sizes.size(); i++) {
      size_t dim = mine.dim_order.size() == sizes.size() ? mine.dim_order[i] : i;
      sizes[dim] = int32_t(type.tensor.sizes[i].value);
    }
    TRY_VOID(set_sizes(mine, std::move(sizes)));
  }
  if (type.tensor.sizes != memory_sizes(*t)) {
    std::string found;
    for (const SymInt& size : type.tensor.sizes)
      found += (found.empty() ? "" : ", ") + program_.symbols.print(size);
    return error(Code::unsupported, "the result is [{}], its tensor [{}]", found,
                 fmt::join(t->sizes, ", "));
  }
  memory_.write(t->place, build_.cast(id, t->dtype));
  return {};
}

Result<void> MethodImporter::write(int32_t value, ValueId id) {
  TRY(const Tensor* t, tensor(value));
  if (!t->dim_order.empty() && build_.type(id).is_tensor()) {
    if (build_.rank(id) != int(t->dim_order.size()))
      return error(Code::unsupported, "the result has rank {}, its tensor {}", build_.rank(id),
                   t->dim_order.size());
    id = build_.permute(id, {t->dim_order.begin(), t->dim_order.end()});
  }
  return write_memory(value, id);
}

// --- state, inputs, outputs
// -----------------------------------------------------------------------

Result<ValueId> MethodImporter::add_state(const Tensor& t, Bytes initial) {
  State state{t.place, int32_t(program_.buffers.size()), kNoValue,
              TensorType{t.dtype, memory_sizes(t), {}}};
  BufferData buffer;
  buffer.type = state.type;
  buffer.name = t.declared->name;
  if (buffer.name.empty()) buffer.name = fmt::format("state.{}", program_.buffers.size());
  if (!initial.empty()) {
    buffer.owned = std::make_shared<const std::vector<uint8_t>>(initial.begin(), initial.end());
    buffer.initial = *buffer.owned;
  }
  program_.buffers.push_back(buffer);
  state.value = graph_.add_value(Type::of(state.type), buffer.name, Origin::buffer, state.buffer);
  memory_.write(state.place, state.value);
  states_.push_back(state);
  return state.value;
}

// Mutable buffers that the file says something about: where they start, or what they are called.
Result<void> MethodImporter::add_states() {
  for (const Tensor& t : tensors_) {
    if (!t.declared || !t.declared->placement || t.place.bytes == 0) continue;
    Bytes initial;
    if (t.declared->external)
      initial = find_data(t.declared->name);
    else if (t.declared->data_index > 0)
      initial = file_.initial_values[t.declared->data_index];
    else if (t.declared->name.empty())
      continue;
    if (t.declared->external || t.declared->data_index > 0) {
      if (initial.size() < t.place.bytes)
        return error(Code::not_found, "\"{}\" starts with {} bytes, {} are wanted",
                     t.declared->name, initial.size(), t.place.bytes);
      initial = initial.first(size_t(t.place.bytes));
    }
    if (t.dynamic) return error(Code::unsupported, "state of dynamic shape");
    bool again = std::any_of(states_.begin(), states_.end(),
                             [&](const State& s) { return s.place == t.place; });
    if (again) continue;
    if (!memory_.is_untouched(t.place)) return error(Code::unsupported, "mutable buffers overlap");
    TRY(ValueId state, add_state(t, initial));
    (void)state;
  }
  return {};
}

Result<void> MethodImporter::find_written_numbers() {
  written_.assign(from_.values.size(), false);
  for (const PteChain& chain : from_.chains)
    for (const PteInstruction& instruction : chain.instructions) {
      if (auto* call = std::get_if<PteKernelCall>(&instruction)) {
        std::string name = operator_text(from_.operators[size_t(call->operator_index)]);
        const Prim* prim = find_prim(name.data(), name.size());
        if (prim && call->args.size() > prim->input_count)
          written_[size_t(call->args[prim->input_count])] = true;
      } else if (auto* move = std::get_if<PteMove>(&instruction)) {
        written_[size_t(move->to)] = true;
      }
    }
  return {};
}

// A number that no instruction reads was fixed at export.
bool MethodImporter::reads(int32_t value) const {
  auto holds = [&](const std::vector<int32_t>& list) {
    return std::find(list.begin(), list.end(), value) != list.end();
  };
  if (holds(from_.outputs)) return true;
  for (const PteValue& other : from_.values)
    if (auto* list = std::get_if<PteIntList>(&other);
        list && std::find(list->items.begin(), list->items.end(), value) != list->items.end())
      return true;
  for (const PteChain& chain : from_.chains)
    for (const PteInstruction& instruction : chain.instructions) {
      if (auto* call = std::get_if<PteKernelCall>(&instruction); call && holds(call->args))
        return true;
      if (auto* call = std::get_if<PteDelegateCall>(&instruction); call && holds(call->args))
        return true;
      if (auto* move = std::get_if<PteMove>(&instruction); move && move->from == value) return true;
    }
  return false;
}

Result<void> MethodImporter::add_inputs() {
  Method& method = program_.methods[0];
  for (size_t i = 0; i < from_.inputs.size(); i++) {
    int32_t index = from_.inputs[i];
    std::string name = i < options_.input_names.size() ? options_.input_names[i] : "";
    method.input_names.push_back(name);
    std::string hint = name.empty() ? fmt::format("input_{}", i) : name;
    auto context = [&] { return fmt::format("input {}", i); };
    const PteValue& value = from_.values[size_t(index)];
    if (std::holds_alternative<PteTensor>(value)) {
      Tensor& t = tensors_[size_t(index)];
      if (t.constant) return error(Code::unsupported, "{} is a constant", context());
      if (t.dynamic) {
        if (i >= options_.input_sizes.size())
          return error(Code::invalid_argument, "{} has no sizes", context());
        TRY_VOID(set_sizes(t, options_.input_sizes[i]).with_context(context()));
      }
      ValueId id = graph_.add_input(Type::of(TensorType{t.dtype, sizes_of(t), t.dim_order}), hint);
      if (t.place.bytes && !memory_.is_untouched(t.place))
        return error(Code::unsupported, "{} shares memory with another, or with state", context());
      if (!t.dim_order.empty()) {
        id = reordered(id, {});
        id = build_.permute(id, {t.dim_order.begin(), t.dim_order.end()});
      }
      memory_.write(t.place, id);
      inputs_.push_back(id);
      continue;
    }
    inputs_.push_back(kNoValue);
    Type type;
    FixedInput fixed;
    fixed.position = int32_t(i);
    if (auto* integer = std::get_if<int64_t>(&value)) {
      fixed.value = *integer;
      type = Type::integer(SymInt(*integer));
      if (reads(index)) type = Type::integer(program_.symbols.fresh({}, *integer));
    } else if (auto* number = std::get_if<double>(&value)) {
      fixed.value = *number;
      type.kind = Type::Kind::floating;
    } else if (auto* boolean = std::get_if<bool>(&value)) {
      fixed.value = *boolean;
      type.kind = Type::Kind::boolean;
    } else if (auto* text = std::get_if<std::string>(&value)) {
      fixed.value = *text;
      type.kind = Type::Kind::none;
    } else if (std::holds_alternative<std::monostate>(value)) {
      fixed.value = None{};
      type.kind = Type::Kind::none;
    } else {
      return error(Code::unsupported, "{} is a list", context());
    }
    bool read = type.kind != Type::Kind::none && reads(index);
    if (read && numbers_[size_t(index)])
      return error(Code::unsupported, "{} is another input too", context());
    ValueId id = graph_.add_input(type, hint);
    if (read)
      numbers_[size_t(index)] = ValueRef{id};
    else
      method.fixed_inputs.push_back(std::move(fixed));
  }
  return {};
}

Result<void> MethodImporter::add_outputs() {
  for (size_t i = 0; i < from_.outputs.size(); i++) {
    int32_t index = from_.outputs[i];
    if (is_tensor(index)) {
      Result<ValueId> id = read(index);
      if (!id.ok()) return std::move(id.error()).with_context(fmt::format("output {}", i));
      const std::vector<uint8_t>& order = tensors_[size_t(index)].dim_order;
      graph_.outputs.push_back(order.empty() ? *id : reordered(*id, order));
      continue;
    }
    TRY(Argument value, number(index));
    if (auto* ref = std::get_if<ValueRef>(&value)) {
      graph_.outputs.push_back(ref->id);
    } else if (auto* integer = std::get_if<int64_t>(&value)) {
      graph_.outputs.push_back(literal(*integer, Type::integer(SymInt(*integer))));
    } else if (std::holds_alternative<double>(value)) {
      graph_.outputs.push_back(literal(value, number_type(Type::Kind::floating)));
    } else if (std::holds_alternative<bool>(value)) {
      graph_.outputs.push_back(literal(value, number_type(Type::Kind::boolean)));
    } else {
      graph_.outputs.push_back(literal(value, number_type(Type::Kind::none)));
    }
  }
  return {};
}

// Memory that outlives the call and holds something else now: state, and what callers bring.
Result<void> MethodImporter::add_write_backs() {
  for (const State& state : states_) {
    Result<ValueId> now = memory_.read(state.place, state.type);
    if (!now.ok())
      return std::move(now.error())
          .with_context(fmt::format("state \"{}\"", program_.buffers[size_t(state.buffer)].name));
    if (*now == state.value) continue;
    graph_.write_backs.push_back({WriteBack::Target::buffer, state.buffer, *now});
  }
  for (size_t i = 0; i < from_.inputs.size(); i++) {
    if (!is_tensor(from_.inputs[i])) continue;
    // As the file has it: a move may have made its value another tensor.
    const PteTensor& declared = std::get<PteTensor>(from_.values[size_t(from_.inputs[i])]);
    if (declared.placement) continue;
    // Where the input was given: an instruction may have made its value a view of something else.
    TRY(Tensor given, make_tensor(size_t(from_.inputs[i]), declared));
    if (given.dynamic) TRY_VOID(set_sizes(given, options_.input_sizes[i]));
    if (given.place.bytes == 0) continue;
    TRY(ValueId now, memory_.read(given.place, TensorType{given.dtype, memory_sizes(given), {}}));
    if (now == inputs_[i]) continue;
    if (!given.dim_order.empty())
      return error(Code::unsupported, "input {} is changed, and lies in another order", i);
    graph_.write_backs.push_back({WriteBack::Target::input, int32_t(i), now});
  }
  return {};
}

// --- instructions
// ---------------------------------------------------------------------------------

Result<Argument> MethodImporter::number(int32_t value) {
  if (forgotten_[size_t(value)])
    return error(Code::unsupported, "number {} is read that only a branch has computed", value);
  if (numbers_[size_t(value)]) return *numbers_[size_t(value)];
  // As the file has it, or as the last call left it: the same, if this call leaves it so too.
  if (written_[size_t(value)]) carried_[size_t(value)] = true;
  const PteValue& v = from_.values[size_t(value)];
  if (std::holds_alternative<std::monostate>(v)) return Argument(None{});
  if (auto* integer = std::get_if<int64_t>(&v)) return Argument(*integer);
  if (auto* boolean = std::get_if<bool>(&v)) return Argument(*boolean);
  if (auto* number = std::get_if<double>(&v)) return Argument(*number);
  if (auto* text = std::get_if<std::string>(&v)) return Argument(*text);
  return error(Code::invalid_file, "value {} is no number", value);
}

Result<Argument> MethodImporter::argument(int32_t value, const std::string& type) {
  const PteValue& v = from_.values[size_t(value)];
  if (std::holds_alternative<PteTensor>(v)) {
    TRY(ValueId id, read(value));
    return Argument(ValueRef{id});
  }
  if (auto* list = std::get_if<PteIntList>(&v)) {
    std::vector<IntItem> items;
    for (int64_t item : list->items) {
      TRY(Argument number, number(int32_t(item)));
      if (auto* known = std::get_if<int64_t>(&number))
        items.push_back({*known});
      else if (auto* ref = std::get_if<ValueRef>(&number))
        items.push_back({0, ref->id});
      else
        return error(Code::invalid_file, "a list of integers holds something else");
    }
    return Argument(std::move(items));
  }
  if (auto* list = std::get_if<PteDoubleList>(&v)) return Argument(list->items);
  if (auto* list = std::get_if<PteBoolList>(&v))
    return Argument(std::vector<bool>(list->items.begin(), list->items.end()));
  const std::vector<int32_t>* tensors = nullptr;
  if (auto* list = std::get_if<PteTensorList>(&v)) tensors = &list->items;
  if (auto* list = std::get_if<PteOptionalTensorList>(&v)) tensors = &list->items;
  if (tensors) {
    std::vector<ValueRef> refs;
    for (int32_t item : *tensors) {
      if (item < 0 || !is_tensor(item)) {
        refs.push_back({kNoValue});
        continue;
      }
      TRY(ValueId id, read(item));
      refs.push_back({id});
    }
    return Argument(std::move(refs));
  }
  TRY(Argument number, number(value));
  if (auto* integer = std::get_if<int64_t>(&number)) {
    if (type.starts_with("float")) return Argument(double(*integer));
    if (type.starts_with("bool")) return Argument(*integer != 0);
    if (type.find('[') != std::string::npos) return Argument(std::vector<IntItem>{{*integer}});
  }
  if (auto* boolean = std::get_if<bool>(&number); boolean && type.starts_with("int"))
    return Argument(int64_t(*boolean));
  return number;
}

Result<void> MethodImporter::move(const PteMove& move) {
  if (is_tensor(move.from) != is_tensor(move.to))
    return error(Code::unsupported, "a tensor moves to a number");
  forgotten_[size_t(move.to)] = false;
  if (is_tensor(move.from)) {
    if (forgotten_[size_t(move.from)])
      return error(Code::unsupported, "tensor {} moves, which only a branch has made", move.from);
    tensors_[size_t(move.to)] = tensors_[size_t(move.from)];
    return {};
  }
  TRY(Argument value, number(move.from));
  if (from_.values[size_t(move.from)].index() != from_.values[size_t(move.to)].index())
    return error(Code::unsupported, "a number moves to another kind");
  numbers_[size_t(move.to)] = std::move(value);
  return {};
}

Result<void> MethodImporter::import_prim(const Prim& prim, const std::vector<int32_t>& args) {
  if (args.size() <= prim.input_count)
    return error(Code::invalid_file, "{} arguments", args.size());
  int32_t out = args[prim.input_count];
  auto set = [&](Argument value) -> Result<void> {
    // The value keeps its kind, whatever was computed.
    const PteValue& kind = from_.values[size_t(out)];
    auto* integer = std::get_if<int64_t>(&value);
    auto* number = std::get_if<double>(&value);
    auto* boolean = std::get_if<bool>(&value);
    bool same = (integer && std::holds_alternative<int64_t>(kind)) ||
                (number && std::holds_alternative<double>(kind)) ||
                (boolean && std::holds_alternative<bool>(kind));
    if (auto* ref = std::get_if<ValueRef>(&value)) {
      Type::Kind made = graph_.type(ref->id).kind;
      same = (made == Type::Kind::integer && std::holds_alternative<int64_t>(kind)) ||
             (made == Type::Kind::floating && std::holds_alternative<double>(kind)) ||
             (made == Type::Kind::boolean && std::holds_alternative<bool>(kind));
    }
    if (!same) return error(Code::unsupported, "the number computed is of another kind");
    numbers_[size_t(out)] = std::move(value);
    forgotten_[size_t(out)] = false;
    return {};
  };
  std::string_view name = prim.name;
  if (name == "aten::sym_size.int" || name == "aten::sym_numel") {
    TRY(const Tensor* t, tensor(args[0]));
    if (t->unknown) return error(Code::unsupported, "the size of a tensor that was not written");
    if (name == "aten::sym_numel") {
      int64_t count = 1;
      for (int32_t size : t->sizes) count *= size;
      return set(count);
    }
    TRY(Argument dim, number(args[1]));
    auto* at = std::get_if<int64_t>(&dim);
    if (!at) return error(Code::unsupported, "a dimension that is computed");
    int64_t wrapped = *at < 0 ? *at + int64_t(t->sizes.size()) : *at;
    if (wrapped < 0 || wrapped >= int64_t(t->sizes.size()))
      return error(Code::invalid_file, "dimension {} of rank {}", *at, t->sizes.size());
    return set(int64_t(t->sizes[size_t(wrapped)]));
  }
  if (name == "aten::_local_scalar_dense") {
    TRY(ValueId id, read(args[0]));
    DType dtype = build_.dtype(id);
    Type type = number_type(is_floating(dtype)   ? Type::Kind::floating
                            : dtype == DType::b8 ? Type::Kind::boolean
                                                 : Type::Kind::integer);
    if (type.kind == Type::Kind::integer) type = Type::integer(program_.symbols.fresh({}, 0));
    NodeId node = graph_.add_node(prim.name, {ValueRef{id}}, {type}, build_.source);
    return set(ValueRef{graph_.nodes[size_t(node)].results[0]});
  }
  // Arithmetic on numbers: done now when all are known.
  std::vector<Argument> inputs;
  std::vector<Value> values;
  bool known = true;
  for (int i = 0; i < prim.input_count; i++) {
    TRY(Argument a, number(args[size_t(i)]));
    if (auto* integer = std::get_if<int64_t>(&a))
      values.push_back(Value::of(*integer));
    else if (auto* number = std::get_if<double>(&a))
      values.push_back(Value::of(*number));
    else if (auto* boolean = std::get_if<bool>(&a))
      values.push_back(Value::of(*boolean));
    else if (std::holds_alternative<ValueRef>(a))
      known = false;
    else
      return error(Code::invalid_file, "arithmetic on something that is no number");
    inputs.push_back(std::move(a));
  }
  if (known) {
    std::vector<const Value*> pointers;
    for (const Value& value : values) pointers.push_back(&value);
    Value result;
    Diagnostic diagnostic;
    if (Status status = prim.run(pointers, &result, &diagnostic); !status.ok())
      return to_error(status, diagnostic);
    if (result.kind == Value::Kind::integer) return set(result.integer);
    if (result.kind == Value::Kind::floating) return set(result.floating);
    return set(result.boolean);
  }
  // What the value is declared as is what it is: the runtime converts nothing.
  const PteValue& kind = from_.values[size_t(out)];
  Type type = number_type(std::holds_alternative<double>(kind) ? Type::Kind::floating
                          : std::holds_alternative<bool>(kind) ? Type::Kind::boolean
                                                               : Type::Kind::integer);
  if (type.kind == Type::Kind::integer) type = Type::integer(program_.symbols.fresh({}, 0));
  NodeId node = graph_.add_node(prim.name, std::move(inputs), {type}, build_.source);
  return set(ValueRef{graph_.nodes[size_t(node)].results[0]});
}

// Whether an argument is what a letter of a kernel's signature wants (ops/kernel.h).
bool MethodImporter::is_of_kind(const Argument& argument, char letter) const {
  if (std::holds_alternative<None>(argument)) return isupper(letter);
  auto* ref = std::get_if<ValueRef>(&argument);
  Type::Kind kind = ref ? graph_.type(ref->id).kind : Type::Kind::none;
  bool is_tensor = ref && kind == Type::Kind::tensor;
  bool is_integer = std::holds_alternative<int64_t>(argument) || kind == Type::Kind::integer;
  bool is_boolean = std::holds_alternative<bool>(argument) || kind == Type::Kind::boolean;
  bool is_float = std::holds_alternative<double>(argument) || kind == Type::Kind::floating;
  auto* refs = std::get_if<std::vector<ValueRef>>(&argument);
  switch (tolower(letter)) {
    case 't': return is_tensor;
    case 'e': return is_tensor || is_integer || is_boolean || is_float;
    case 'n': return is_integer || is_boolean || is_float;
    case 'i': return is_integer;
    case 'f': return is_float;
    case 'b': return is_boolean;
    case 's': return std::holds_alternative<std::string>(argument);
    case 'l':
      if (auto* items = std::get_if<std::vector<IntItem>>(&argument))
        return std::all_of(items->begin(), items->end(), [&](const IntItem& item) {
          return item.is_known() || graph_.type(item.value).kind == Type::Kind::integer;
        });
      return false;
    case 'd': return std::holds_alternative<std::vector<double>>(argument);
    case 'c': return std::holds_alternative<std::vector<bool>>(argument);
    case 'v':
      return refs && std::all_of(refs->begin(), refs->end(), [&](ValueRef item) {
               return item.id == kNoValue ? letter == 'V' : graph_.type(item.id).is_tensor();
             });
    default: return false;
  }
}

Result<void> MethodImporter::import_operator(const Op& op, const std::vector<int32_t>& args,
                                             bool in_place) {
  if (op.def->random) return error(Code::unsupported, "random numbers");
  std::string_view signature = op.kernel->signature;
  size_t inputs = signature.find('>');
  if (inputs == std::string_view::npos || inputs != op.kernel_arguments.size())
    return error(Code::unsupported, "arguments of another form");
  // Outs; written in place, the first argument is the only one.
  std::vector<int32_t> outs;
  if (in_place) {
    if (args.size() < inputs) return error(Code::invalid_file, "{} arguments", args.size());
    outs.push_back(args[0]);
  } else {
    size_t count = signature.size() - inputs - 1;
    if (args.size() < inputs + count)
      return error(Code::invalid_file, "{} arguments, {} are wanted", args.size(), inputs + count);
    if (signature.back() == 'v') {
      auto* list = std::get_if<PteTensorList>(&from_.values[size_t(args[inputs])]);
      if (!list) return error(Code::invalid_file, "a list of results is wanted");
      outs = list->items;
    } else {
      outs.assign(args.begin() + int64_t(inputs), args.begin() + int64_t(inputs + count));
    }
  }
  for (int32_t out : outs)
    if (out < 0 || !is_tensor(out)) return error(Code::invalid_file, "a result that is no tensor");
  std::vector<Argument> arguments;
  for (const SchemaArgument& a : op.arguments)
    arguments.push_back(a.has_default ? a.default_value : Argument(None{}));
  for (size_t i = 0; i < inputs; i++) {
    size_t at = size_t(op.kernel_arguments[i]);
    const SchemaArgument& a = op.arguments[at];
    if (a.name == "memory_format") continue;  // where the dimensions lie is the tensor's business
    Result<Argument> given = argument(args[i], a.type);
    if (given.ok() && !is_of_kind(*given, signature[i]))
      given = error(Code::invalid_file, "another kind than {} wants", a.type);
    if (!given.ok())
      return std::move(given.error()).with_context(fmt::format("argument \"{}\"", a.name));
    arguments[at] = std::move(*given);
  }
  if (op.dtype_option >= 0 && !outs.empty())
    arguments[size_t(op.dtype_option)] = int64_t(tensors_[size_t(outs[0])].dtype);
  std::vector<ValueId> results;
  std::vector<Effects::Write> writes;
  std::optional<Effects> effects;
  if (op.def->functionalize) {
    Node call;
    call.op = op.name;
    call.arguments = arguments;
    effects = op.def->functionalize(build_, call);
  }
  if (effects) {
    results = std::move(effects->results);
    writes = std::move(effects->writes);
  } else {
    results = build_.call(op.name, std::move(arguments));
  }
  TRY_VOID(build_.status());
  if (results.size() != outs.size())
    return error(Code::invalid_file, "{} results, {} tensors for them", results.size(),
                 outs.size());
  for (const Effects::Write& change : writes) {
    auto at = std::find(op.kernel_arguments.begin(), op.kernel_arguments.end(), change.argument);
    if (at == op.kernel_arguments.end())
      return error(Code::internal, "argument {} is changed, and no kernel takes it",
                   change.argument);
    TRY_VOID(write(args[size_t(at - op.kernel_arguments.begin())], change.value));
  }
  for (size_t i = 0; i < outs.size(); i++) TRY_VOID(write(outs[i], results[i]));
  return {};
}

// The sizes of a view, of which one may be left to be found.
Result<std::vector<int32_t>> MethodImporter::view_sizes(const Tensor& self, int32_t list) {
  TRY(Argument given, argument(list, "int[]"));
  auto* items = std::get_if<std::vector<IntItem>>(&given);
  if (!items) return error(Code::invalid_file, "a list of sizes is wanted");
  int64_t count = 1, known = 1;
  for (int32_t size : self.sizes) count *= size;
  std::optional<size_t> open;
  std::vector<int32_t> sizes;
  for (const IntItem& item : *items) {
    if (!item.is_known()) return error(Code::unsupported, "a size that only data decide");
    if (item.known == -1 && !open)
      open = sizes.size();
    else if (item.known < 0 || item.known > INT32_MAX ||
             !checked_multiply(known, item.known, &known))
      return error(Code::invalid_file, "size {} of a view", item.known);
    sizes.push_back(int32_t(item.known));
  }
  if (open) {
    if (known == 0 || count % known || count / known > INT32_MAX)
      return error(Code::invalid_file, "{} elements do not fill {}", count, known);
    sizes[*open] = int32_t(count / known);
  }
  return sizes;
}

Result<void> MethodImporter::import_kernel(const PteKernelCall& call) {
  std::string name = operator_text(from_.operators[size_t(call.operator_index)]);
  const std::vector<int32_t>& args = call.args;
  auto step = [&]() -> Result<void> {
    auto wants = [&](size_t count) -> Result<void> {
      if (args.size() >= count) return {};
      return error(Code::invalid_file, "{} arguments, {} are wanted", args.size(), count);
    };
    if (name == "executorch_prim::et_view.default" || name == "executorch_prim::et_view") {
      TRY_VOID(wants(3));
      TRY(const Tensor* self, tensor(args[0]));
      TRY(const Tensor* out, tensor(args[2]));
      TRY(std::vector<int32_t> sizes, view_sizes(*self, args[1]));
      if (self->dtype != out->dtype || self->unknown || !self->dim_order.empty() ||
          !out->dim_order.empty())
        return error(Code::invalid_file, "a view of another type");
      Tensor& view = tensors_[size_t(args[2])];
      if (view.dynamic) TRY_VOID(set_sizes(view, sizes));
      if (view.sizes != sizes || view.place.bytes != self->place.bytes)
        return error(Code::invalid_file, "a view of another size");
      view.place = self->place;
      view.constant = self->constant;
      if (self->constant) view.declared = self->declared;
      return {};
    }
    if (name == "executorch_prim::et_copy_index.tensor") {
      TRY_VOID(wants(3));
      TRY(const Tensor* to, tensor(args[0]));
      TRY(const Tensor* from, tensor(args[1]));
      TRY(Argument index, number(args[2]));
      auto* row = std::get_if<int64_t>(&index);
      if (to->dynamic && row && *row >= 0 && *row < INT32_MAX && to->sizes.size() >= 1) {
        std::vector<int32_t> sizes = to->sizes;
        sizes[0] = int32_t(*row + 1);
        TRY_VOID(set_sizes(tensors_[size_t(args[0])], std::move(sizes)));
      }
      bool fits = row && to->dtype == from->dtype && to->sizes.size() == from->sizes.size() + 1 &&
                  std::equal(from->sizes.begin(), from->sizes.end(), to->sizes.begin() + 1) &&
                  *row >= 0 && *row < to->sizes[0] && to->dim_order.empty() &&
                  from->dim_order.empty() && !to->constant;
      if (!fits) return error(Code::unsupported, "a row that is no row of its tensor");
      MemoryPlace place{to->place.space, to->place.offset + uint64_t(*row) * from->place.bytes,
                        from->place.bytes};
      TRY(ValueId value, read_memory(args[1]));
      memory_.write(place, value);
      return {};
    }
    if (const Prim* prim = find_prim(name.data(), name.size())) return import_prim(*prim, args);
    // Orders of dimensions are where values lie: a copy into another order is the same value.
    bool converts = name == "dim_order_ops::_to_dim_order_copy.out";
    if (converts || name == "dim_order_ops::_clone_dim_order.out") {
      TRY_VOID(wants(4));
      TRY(ValueId value, read(args[0]));
      TRY(const Tensor* out, tensor(args[3]));
      return write(args[3], build_.cast(value, out->dtype));
    }
    if (name == "dim_order_ops::_empty_dim_order.out" || name == "aten::empty.out") {
      TRY_VOID(wants(3));
      TRY(const Tensor* out, tensor(args[2]));
      TRY(Argument sizes, argument(args[0], "int[]"));
      return write(args[2], build_.call1("aten::full", {sizes, int64_t{0}, int64_t(out->dtype)}));
    }
    if (std::string functional = functional_name(name); !functional.empty()) {
      const Op* op = find_op(functional);
      if (op && op->kernel) return import_operator(*op, args, true);
    }
    const Op* op = find_op_of_kernel(name);
    if (!op) return error(Code::unsupported, "not an operator of the compiler");
    return import_operator(*op, args, false);
  };
  return step().with_context(name);
}

Result<void> MethodImporter::import_delegate(const PteDelegateCall& call) {
  const PteDelegate& delegate = from_.delegates[size_t(call.delegate_index)];
  if (delegate.id != "XnnpackBackend")
    return error(Code::unsupported, "a payload of {}", delegate.id);
  TRY(XnnGraph payload, read_xnnpack(delegate.data));
  std::vector<ValueId> values(call.args.size(), kNoValue);
  for (const XnnValue& value : payload.values) {
    if (!value.is_input()) continue;
    if (value.external_id >= call.args.size())
      return error(Code::invalid_file, "argument {} of {}", value.external_id, call.args.size());
    TRY(values[value.external_id], read_memory(call.args[value.external_id]));
  }
  PayloadData data{[&](const std::string& name) { return find_data(name); }, &constants_};
  TRY_VOID(import_payload(build_, payload, data, &values));
  if (payload.copy) program_.keep_alive.push_back(payload.copy);
  for (const XnnValue& value : payload.values) {
    if (!value.is_output()) continue;
    if (value.external_id >= call.args.size())
      return error(Code::invalid_file, "argument {} of {}", value.external_id, call.args.size());
    int32_t to = call.args[value.external_id];
    TRY(const Tensor* t, tensor(to));
    ValueId result = values[value.external_id];
    if (build_.dtype(result) != t->dtype &&
        !(build_.dtype(result) == DType::i32 && t->dtype == DType::i64))
      return error(Code::invalid_file, "argument {} is {}, the payload gives {}", value.external_id,
                   dtype_name(t->dtype), dtype_name(build_.dtype(result)));
    TRY_VOID(write_memory(to, result));
  }
  return {};
}

Result<void> MethodImporter::import_instruction(const PteInstruction& instruction) {
  if (auto* call = std::get_if<PteKernelCall>(&instruction)) return import_kernel(*call);
  if (auto* call = std::get_if<PteDelegateCall>(&instruction)) {
    const std::string& id = from_.delegates[size_t(call->delegate_index)].id;
    return import_delegate(*call).with_context(id);
  }
  if (auto* m = std::get_if<PteMove>(&instruction)) return move(*m);
  if (std::holds_alternative<PteFree>(instruction)) return {};  // of tensors without bounds only
  return error(Code::internal, "a jump among instructions");
}

// --- jumps
// ----------------------------------------------------------------------------------------

std::string source_of(const std::vector<PteFrame>& stack) {
  if (stack.empty()) return {};
  const PteFrame& frame = stack.back();
  std::string file = frame.file;
  if (size_t slash = file.rfind('/'); slash != std::string::npos) file.erase(0, slash + 1);
  if (file.empty()) return {};
  std::string text = fmt::format("{}:{}", file, frame.line);
  return frame.code.empty() ? text : text + ": " + frame.code;
}

// Instructions [from, to), in the order that they run in; jumps stay within.
Result<void> MethodImporter::import_steps(const PteChain& chain, size_t from, size_t to) {
  for (size_t at = from; at < to;) {
    build_.source = at < chain.stacks.size() ? source_of(chain.stacks[at]) : std::string();
    auto step = [&]() -> Result<void> {
      if (std::holds_alternative<PteJumpFalse>(chain.instructions[at])) {
        TRY(at, import_jump(chain, at, from, to));
      } else {
        TRY_VOID(import_instruction(chain.instructions[at]));
        at++;
      }
      TRY_VOID(build_.status());
      if (graph_.nodes.size() > options_.nodes_max)
        return error(Code::too_large, "more than {} nodes", options_.nodes_max);
      if (++steps_ > kStepsMax)
        return error(Code::too_large, "a loop of more than {} instructions", kStepsMax);
      return {};
    };
    size_t instruction = at;
    Result<void> done = step();
    if (!done.ok())
      return std::move(done.error()).with_context(fmt::format("instruction {}", instruction));
  }
  return {};
}

// Where to go on. A condition that is known now is followed; loops of a known number of rounds are
// written out that way. Else it decides between two ways, which end at the same place.
Result<size_t> MethodImporter::import_jump(const PteChain& chain, size_t at, size_t from,
                                           size_t to) {
  auto jump_at = [&](size_t i) { return std::get_if<PteJumpFalse>(&chain.instructions[i]); };
  auto known = [&](int32_t condition) -> Result<std::optional<bool>> {
    if (is_tensor(condition)) return std::optional<bool>();
    TRY(Argument value, number(condition));
    if (auto* boolean = std::get_if<bool>(&value)) return std::optional<bool>(*boolean);
    if (std::holds_alternative<ValueRef>(value)) return std::optional<bool>();
    return error(Code::invalid_file, "a condition that is no bool");
  };
  const PteJumpFalse& jump = *jump_at(at);
  if (jump.destination < 0 || size_t(jump.destination) > to || size_t(jump.destination) < from)
    return error(Code::unsupported, "a jump out of a branch");
  size_t target = size_t(jump.destination);
  TRY(std::optional<bool> decided, known(jump.condition));
  if (decided) return *decided ? at + 1 : target;
  if (target <= at) return error(Code::unsupported, "a loop that only data end");
  if (++branches_ > kBranchesMax)
    return error(Code::too_large, "more than {} branches", kBranchesMax);
  if (depth_ == kBranchDepthMax)
    return error(Code::too_large, "branches in branches, {} deep", kBranchDepthMax);

  // The first way ends with a jump over the second, or there is no second.
  size_t first_end = target, end = target;
  const PteJumpFalse* over = target > at + 1 ? jump_at(target - 1) : nullptr;
  if (over && size_t(over->destination) >= target && size_t(over->destination) <= to &&
      over->destination > 0) {
    const PteValue& condition = from_.values[size_t(over->condition)];
    if (auto* never = std::get_if<bool>(&condition);
        never && !*never && !written_[size_t(over->condition)]) {
      first_end = target - 1;
      end = size_t(over->destination);
    }
  }
  ValueId predicate;
  if (is_tensor(jump.condition)) {
    TRY(predicate, read(jump.condition));
    if (build_.dtype(predicate) != DType::b8)
      return error(Code::unsupported, "a condition of {}", dtype_name(build_.dtype(predicate)));
  } else {
    TRY(Argument value, number(jump.condition));
    predicate = std::get<ValueRef>(value).id;
  }
  std::string source = build_.source;
  Moment start = moment();
  size_t states = states_.size();
  depth_++;
  TRY(Way if_true, follow(chain, at + 1, first_end, start));
  // State that the first way was the first to read was there before both.
  for (; states < states_.size(); states++)
    start.memory.write(states_[states].place, states_[states].value);
  go_to(start);
  TRY(Way if_false, follow(chain, target, end, start));
  for (; states < states_.size(); states++) {
    start.memory.write(states_[states].place, states_[states].value);
    if (if_true.end.memory.is_untouched(states_[states].place))
      if_true.end.memory.write(states_[states].place, states_[states].value);
    else
      return error(Code::unsupported, "state that both ways use otherwise");
  }
  depth_--;
  TRY_VOID(join_ways(predicate, if_true, if_false, start, source));
  return end;
}

// Memory whose contents outlive the call: state, and what callers bring.
std::vector<MemoryPlace> MethodImporter::kept_places() const {
  std::vector<MemoryPlace> places;
  for (const State& state : states_) places.push_back(state.place);
  for (int32_t input : from_.inputs)  // what a caller brings has a memory of its own
    if (is_tensor(input)) places.push_back({kCallerSpace + uint64_t(input), 0, INT64_MAX});
  return places;
}

// One way from `start`, where the importer stands, to its end; its nodes are out of the order then.
Result<MethodImporter::Way> MethodImporter::follow(const PteChain& chain, size_t from, size_t to,
                                                   const Moment& start) {
  size_t first = graph_.order.size();
  TRY_VOID(import_steps(chain, from, to));
  Way way{{}, moment(), {}, {}};
  // Handles that moves have changed are what a way leaves behind.
  for (size_t i = 0; i < tensors_.size(); i++) {
    const Tensor &now = tensors_[i], &before = start.tensors[i];
    if (!is_tensor(int32_t(i)) ||
        (now.place == before.place && now.sizes == before.sizes &&
         now.constant == before.constant && now.declared == before.declared))
      continue;
    if (now.unknown) continue;
    Result<ValueId> value = read_memory(int32_t(i));
    TRY_VOID(build_.status());
    if (value.ok()) way.tensors.emplace(int32_t(i), *value);
  }
  way.branch.nodes.assign(graph_.order.begin() + int64_t(first), graph_.order.end());
  graph_.order.resize(first);
  return way;
}

Result<void> MethodImporter::join_ways(ValueId predicate, Way& if_true, Way& if_false,
                                       const Moment& start, const std::string& source) {
  for (const MemoryPlace& place : kept_places())
    if (!if_true.end.memory.holds_same(start.memory, place) ||
        !if_false.end.memory.holds_same(start.memory, place))
      return error(Code::unsupported, "a branch that changes state");
  go_to(start);
  memory_.forget_differences(if_true.end.memory);
  memory_.forget_differences(if_false.end.memory);
  for (size_t i = 0; i < numbers_.size(); i++) {
    const auto &a = if_true.end.numbers[i], &b = if_false.end.numbers[i];
    bool same = if_true.end.forgotten[i] == if_false.end.forgotten[i] && a == b;
    if (same && !is_tensor(int32_t(i))) {
      numbers_[i] = a;
      forgotten_[i] = if_true.end.forgotten[i];
    } else if (!is_tensor(int32_t(i))) {
      forgotten_[i] = true;
    }
  }
  // Handles that both ways have changed are results; those of one way belong to it alone.
  std::vector<int32_t> handles;
  for (size_t i = 0; i < tensors_.size(); i++) {
    auto a = if_true.tensors.find(int32_t(i)), b = if_false.tensors.find(int32_t(i));
    bool in_true = a != if_true.tensors.end(), in_false = b != if_false.tensors.end();
    if (!is_tensor(int32_t(i))) continue;
    forgotten_[i] = forgotten_[i] || if_true.end.forgotten[i] || if_false.end.forgotten[i];
    if (!in_true && !in_false) continue;
    const Tensor &x = if_true.end.tensors[i], &y = if_false.end.tensors[i];
    if (!in_true || !in_false || x.dtype != y.dtype || x.sizes != y.sizes ||
        x.dim_order != y.dim_order) {
      forgotten_[i] = true;
      continue;
    }
    forgotten_[i] = false;
    handles.push_back(int32_t(i));
    if_true.branch.outputs.push_back(a->second);
    if_false.branch.outputs.push_back(b->second);
  }
  chosen_++;
  if (handles.empty()) {  // neither way leaves anything behind
    for (const Way* way : {&if_true, &if_false})
      for (NodeId id : way->branch.nodes) graph_.nodes[size_t(id)].removed = true;
    return {};
  }
  std::vector<ValueId> results =
      add_cond(graph_, predicate, if_true.branch, if_false.branch, source);
  for (size_t i = 0; i < handles.size(); i++) {
    Tensor& chosen = tensors_[size_t(handles[i])];
    chosen = if_true.end.tensors[size_t(handles[i])];
    chosen.constant = false;
    chosen.place = {kChosenSpace + chosen_places_++, 0, chosen.place.bytes};
    memory_.write(chosen.place, results[i]);
  }
  return {};
}

// A number that was read as the file has it: the next call has to find it so.
Result<void> MethodImporter::check_carried_numbers() {
  for (size_t i = 0; i < carried_.size(); i++) {
    if (!carried_[i] || !numbers_[i]) continue;
    auto is = [&](const auto& first) {
      using T = std::decay_t<decltype(first)>;
      auto* now = std::get_if<T>(&*numbers_[i]);
      return now && *now == first;
    };
    const PteValue& v = from_.values[i];
    bool same = (std::holds_alternative<int64_t>(v) && is(std::get<int64_t>(v))) ||
                (std::holds_alternative<bool>(v) && is(std::get<bool>(v))) ||
                (std::holds_alternative<double>(v) && is(std::get<double>(v)));
    if (!same || forgotten_[i])
      return error(Code::unsupported, "number {} goes from one call to the next", i);
  }
  return {};
}

Result<void> MethodImporter::run() {
  Method& method = program_.methods[0];
  method.name = from_.name;
  method.in_spec = from_.input_spec;
  method.out_spec = from_.output_spec;
  TRY_VOID(make_tensors());
  TRY_VOID(find_written_numbers());
  TRY_VOID(add_states());
  TRY_VOID(add_inputs());
  for (const PteChain& chain : from_.chains)
    TRY_VOID(import_steps(chain, 0, chain.instructions.size()));
  build_.source.clear();
  TRY_VOID(check_carried_numbers());
  TRY_VOID(add_outputs());
  TRY_VOID(add_write_backs());
  if (chosen_) graph_.compact();
  return build_.status();
}

}  // namespace

Result<std::unique_ptr<Program>> import_pte_method(const PteProgram& file, const PteMethod& method,
                                                   const PteImportOptions& options) {
  auto program = std::make_unique<Program>();
  program->methods.resize(1);
  MethodImporter importer(file, method, options, *program);
  TRY_VOID(importer.run());
  TRY_VOID(verify(*program));
  return program;
}

}  // namespace sconce
