#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

#include <fmt/ranges.h>

#include "base/file.h"
#include "formats/bpte/bpte.h"
#include "formats/ptd/ptd.h"
#include "platform/threads.h"
#include "sconce/runtime.h"

namespace sconce {
namespace {

// Zeroed pages, aligned to 64 and more. Large plans cost nothing until they are touched.
class Memory {
 public:
  Memory() = default;
  Memory(Memory&& other) noexcept { *this = std::move(other); }
  Memory& operator=(Memory&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Memory() {
    if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
  }
  static Result<Memory> make(uint64_t bytes, const char* what) {
    Memory memory;
    if (bytes == 0) return memory;
    void* at = MAP_FAILED;
    if (bytes <= SIZE_MAX / 2)
      at = mmap(nullptr, size_t(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
      return error(Code::too_large, "{} of {} bytes: the system has no memory for it", what, bytes);
    memory.bytes_ = {static_cast<uint8_t*>(at), size_t(bytes)};
    return memory;
  }
  Span<uint8_t> bytes() const { return bytes_; }

 private:
  Span<uint8_t> bytes_;
};

struct LoadedMethod {
  Memory arena, scratch;
  std::vector<Memory> planned;
  std::vector<PlannedMemory> planned_views;
  std::vector<Memory> outputs;                             // of outputs that the file does not plan
  std::vector<std::pair<uint32_t, size_t>> output_places;  // output, index in `outputs`
  const std::map<std::string, PtdEntry>* external = nullptr;
  Method method;  // last: it ends before its memory does

  static Bytes find_external(void* self, const char* name) {
    const auto& entries = *static_cast<LoadedMethod*>(self)->external;
    auto found = entries.find(name);
    return found == entries.end() ? Bytes() : found->second.bytes;
  }
  static Span<uint8_t> grow(void* self, uint64_t bytes) {
    auto made = Memory::make(bytes, "scratch");
    if (made.ok()) static_cast<LoadedMethod*>(self)->scratch = std::move(*made);
    return static_cast<LoadedMethod*>(self)->scratch.bytes();
  }
};

}  // namespace

struct Module::State {
  MappedFile file;
  std::shared_ptr<const void> keep;
  std::vector<uint8_t> copy;
  ModuleOptions options;
  Program program;
  std::unique_ptr<ThreadPool> threads;  // made when a method with delegates is loaded
  DelegateProfile profile;
  std::map<std::string, std::unique_ptr<LoadedMethod>> methods;
  std::map<uint32_t, Memory> shared;  // by index of the planned memory
  ExecuteOptions execute;
  FindFaster find_faster;
  std::vector<MappedFile> data_files;
  std::map<std::string, PtdEntry> external;  // of all data files, by name

  Result<void> open_data_files() {
    for (const std::string& path : options.data_files) {
      TRY(MappedFile mapped, map_file(path));
      TRY(std::vector<PtdEntry> entries, read_ptd(mapped.bytes()).with_context(path));
      data_files.push_back(std::move(mapped));
      for (PtdEntry& entry : entries) {
        Bytes held;
        std::string name = entry.key;
        if (program.find_named_data(name.c_str(), &held) || external.contains(name))
          return error(Code::invalid_argument, "{}: \"{}\" is in the program or another file too",
                       path, name);
        external.emplace(std::move(name), std::move(entry));
      }
    }
    return {};
  }

  // Tensors whose bytes come from a data file are what that file says they are.
  Result<void> check_external(const MethodMeta& meta) const {
    pte::Vector values = meta.plan().vector(pte::field::plan::values);
    for (uint32_t i = 0; i < values.count; i++) {
      pte::Table tensor = values.table(i).table(pte::field::value::value);
      if (pte::kind_of(values.table(i)) != pte::ValueKind::tensor || !pte::is_external(tensor))
        continue;
      auto found =
          external.find(tensor.table(pte::field::tensor::extra).string(pte::field::extra::name));
      if (found == external.end() || !found->second.is_tensor) continue;
      const PtdEntry& entry = found->second;
      pte::Vector sizes = tensor.vector(pte::field::tensor::sizes);
      pte::Vector order = tensor.vector(pte::field::tensor::dim_order);
      DType dtype = DType(tensor.i8(pte::field::tensor::dtype));
      std::vector<int32_t> wanted(sizes.i32s(), sizes.i32s() + sizes.count);
      if (entry.dtype != dtype || entry.sizes != wanted)
        return error(Code::invalid_argument,
                     "external data \"{}\" is {}[{}], method {} wants {}[{}]", entry.key,
                     dtype_name(entry.dtype), fmt::join(entry.sizes, ", "), meta.name(),
                     dtype_name(dtype), fmt::join(wanted, ", "));
      // Without one in the program, rows come first.
      if (order.count && !std::equal(entry.dim_order.begin(), entry.dim_order.end(), order.items,
                                     order.items + order.count))
        return error(Code::invalid_argument,
                     "external data \"{}\": dim order [{}], method {} wants another", entry.key,
                     fmt::join(entry.dim_order, ", "), meta.name());
    }
    return {};
  }

  Result<void> open(Bytes bytes) {
    if (reinterpret_cast<uintptr_t>(bytes.data()) % 16) {
      copy.resize(bytes.size() + 16);
      uint8_t* to = copy.data() + (16 - reinterpret_cast<uintptr_t>(copy.data()) % 16);
      memcpy(to, bytes.data(), bytes.size());
      bytes = {to, bytes.size()};
    }
    Diagnostic diagnostic;
    if (Status status = Program::load(bytes, &program, &diagnostic); !status.ok())
      return to_error(status, diagnostic);
    if (options.kernels.empty()) options.kernels = all_kernels();
    if (options.delegates.empty())
      options.delegates.assign(all_delegates().begin(), all_delegates().end());
    execute.instruction_budget = options.instruction_budget;
    return open_data_files();
  }

  Result<LoadedMethod*> find_or_load(const std::string& name) {
    if (auto found = methods.find(name); found != methods.end()) return found->second.get();
    Diagnostic diagnostic;
    MethodMeta meta;
    uint64_t arena_bytes = 0;
    Span<const DelegateType* const> delegates(options.delegates);
    Status status = program.find_method(name.c_str(), &meta, &diagnostic);
    if (status.ok())
      status = Method::arena_bytes(program, name.c_str(), delegates, &arena_bytes, &diagnostic);
    if (!status.ok()) return to_error(status, diagnostic);

    TRY_VOID(check_external(meta));
    auto loaded = std::make_unique<LoadedMethod>();
    loaded->external = &external;
    TRY(loaded->arena, Memory::make(arena_bytes, "method arena"));
    std::vector<PlannedMemory>& planned = loaded->planned_views;
    for (uint32_t i = 0; i < meta.memory_count(); i++) {
      if (options.share_memories && i > 0) {
        uint64_t bytes = 0;  // the largest of all methods
        for (uint32_t m = 0; m < program.method_count(); m++) {
          MethodMeta other;
          (void)program.find_method(program.method_name(m), &other, nullptr);
          if (i < other.memory_count()) bytes = std::max(bytes, other.memory_bytes(i));
        }
        bool first = !shared.contains(i);
        if (first) {
          TRY(shared[i], Memory::make(bytes, "shared planned memory"));
        }
        planned.push_back({shared[i].bytes(), !first});
      } else {
        TRY(Memory memory, Memory::make(meta.memory_bytes(i), "planned memory"));
        planned.push_back({memory.bytes(), false});
        loaded->planned.push_back(std::move(memory));
      }
    }
    if (!threads && meta.plan().vector(pte::field::plan::delegates).count > 0)
      threads = std::make_unique<ThreadPool>(options.threads);
    MethodOptions method_options{.arena = loaded->arena.bytes(),
                                 .planned = planned,
                                 .planned_is_zero = true,
                                 .kernels = options.kernels,
                                 .delegates = delegates,
                                 .threads = threads.get(),
                                 .tuning = &options.tuning,
                                 .profile = &profile,
                                 .grow_scratch = LoadedMethod::grow,
                                 .find_external = LoadedMethod::find_external,
                                 .context = loaded.get()};
    status = loaded->method.load(program, name.c_str(), method_options, &diagnostic);
    if (!status.ok()) return to_error(status, diagnostic);
    TRY(loaded->scratch, Memory::make(loaded->method.scratch_bytes(), "scratch"));
    loaded->method.set_scratch(loaded->scratch.bytes());
    for (uint32_t i = 0; i < meta.output_count(); i++) {
      SlotMeta slot = meta.output(i);
      if (slot.kind != Value::Kind::tensor || slot.planned || slot.constant) continue;
      TRY(Memory memory, Memory::make(slot.bytes, "output"));
      loaded->output_places.push_back({i, loaded->outputs.size()});
      loaded->outputs.push_back(std::move(memory));
    }
    return methods.emplace(name, std::move(loaded)).first->second.get();
  }
};

Module::Module(std::unique_ptr<State> state) : state_(std::move(state)) {}
Module::Module(Module&&) noexcept = default;
Module& Module::operator=(Module&&) noexcept = default;
Module::~Module() = default;

Result<Module> Module::load(const std::string& path, const ModuleOptions& options) {
  auto state = std::make_unique<State>();
  state->options = options;
  TRY(state->file, map_file(path));
  TRY(Bytes program, program_in(state->file.bytes()).with_context(path));
  TRY_VOID(state->open(program).with_context(path));
  return Module(std::move(state));
}

Result<Module> Module::load(Bytes file, const ModuleOptions& options,
                            std::shared_ptr<const void> keep) {
  auto state = std::make_unique<State>();
  state->options = options;
  state->keep = std::move(keep);
  TRY_VOID(state->open(file));
  return Module(std::move(state));
}

const Program& Module::program() const { return state_->program; }

std::vector<std::string> Module::method_names() const {
  std::vector<std::string> names;
  for (uint32_t i = 0; i < state_->program.method_count(); i++)
    names.push_back(state_->program.method_name(i));
  return names;
}

Result<MethodMeta> Module::method_meta(const std::string& method) const {
  MethodMeta meta;
  Diagnostic diagnostic;
  if (Status status = state_->program.find_method(method.c_str(), &meta, &diagnostic); !status.ok())
    return to_error(status, diagnostic);
  return meta;
}

Result<void> Module::load_method(const std::string& method) {
  TRY(LoadedMethod * loaded, state_->find_or_load(method));
  (void)loaded;
  return {};
}

Result<std::vector<Argument>> Module::execute(const std::string& name,
                                              Span<const Argument> inputs) {
  if (state_->find_faster) {
    if (Module* faster = state_->find_faster(name, inputs, state_->options)) {
      faster->state_->execute = state_->execute;
      faster->state_->profile = state_->profile;
      return faster->execute(name, inputs);
    }
  }
  TRY(LoadedMethod * loaded, state_->find_or_load(name));
  Method& method = loaded->method;
  Diagnostic diagnostic;
  if (inputs.size() > method.meta().input_count())
    return error(Code::invalid_argument, "method {}: {} inputs given, it has {}", name,
                 inputs.size(), method.meta().input_count());
  for (size_t i = 0; i < inputs.size(); i++) {
    const Argument& given = inputs[i];
    if (given.value.is_none() && method.meta().input(uint32_t(i)).kind != Value::Kind::tensor)
      continue;
    Value value = given.value;
    Tensor tensor = given.tensor;
    if (given.is_tensor()) {
      // Argument may have been copied: its vectors, not its tensor's pointers, are the truth.
      tensor.sizes = const_cast<int32_t*>(given.sizes.data());
      tensor.rank = uint8_t(given.sizes.size());
      tensor.dim_order = given.dim_order.empty() ? nullptr : given.dim_order.data();
      value.tensor = &tensor;
      if (given.sizes.size() > size_t(kRankMax))
        return error(Code::invalid_argument, "method {}: input {}: rank {} exceeds {}", name, i,
                     given.sizes.size(), kRankMax);
      if (tensor.dim_order && (given.dim_order.size() != given.sizes.size() ||
                               !is_valid_dim_order(tensor.dim_order, tensor.rank)))
        return error(Code::invalid_argument,
                     "method {}: input {}: dim order is no order of {} dimensions", name, i,
                     given.sizes.size());
    }
    if (Status status = method.set_input(uint32_t(i), value, &diagnostic); !status.ok())
      return to_error(status, diagnostic).with_context("method " + name);
  }
  for (auto [output, place] : loaded->output_places)
    if (Status status = method.set_output(output, loaded->outputs[place].bytes(), &diagnostic);
        !status.ok())
      return to_error(status, diagnostic);
  if (Status status = method.execute(state_->execute, &diagnostic); !status.ok())
    return to_error(status, diagnostic);

  std::vector<Argument> outputs;
  for (uint32_t i = 0; i < method.meta().output_count(); i++) {
    const Value& value = method.output(i);
    Argument& made = outputs.emplace_back();
    made.value = value;
    if (!value.is_tensor()) continue;
    made.tensor = *value.tensor;
    made.sizes.assign(value.tensor->sizes, value.tensor->sizes + value.tensor->rank);
    if (!is_contiguous(*value.tensor))
      made.dim_order.assign(value.tensor->dim_order, value.tensor->dim_order + value.tensor->rank);
  }
  return outputs;
}

void Module::set_observer(void (*before)(void*, const Step&), void (*after)(void*, const Step&),
                          void* context) {
  state_->execute.before = before;
  state_->execute.after = after;
  state_->execute.context = context;
}

void Module::set_find_faster(FindFaster find) { state_->find_faster = std::move(find); }

Result<void> Module::set_threads(int threads) {
  if (!state_->methods.empty())
    return error(Code::invalid_argument, "threads are chosen before a method is loaded");
  state_->options.threads = threads;
  state_->threads.reset();
  return {};
}

void Module::set_step_observer(void (*on_step)(void*, const DelegateStep&), void* context) {
  state_->profile = {on_step, context};
}

Result<void> Module::reset(const std::string& method) {
  TRY(LoadedMethod * loaded, state_->find_or_load(method));
  Diagnostic diagnostic;
  if (Status status = loaded->method.reset(&diagnostic); !status.ok())
    return to_error(status, diagnostic);
  return {};
}

Tensor* Module::find_buffer(const std::string& method, const std::string& name) {
  auto loaded = state_->find_or_load(method);
  return loaded.ok() ? (*loaded)->method.find_buffer(name.c_str()) : nullptr;
}

Result<Module::MemoryUse> Module::memory_use(const std::string& method) {
  TRY(LoadedMethod * loaded, state_->find_or_load(method));
  MemoryUse use;
  const MethodMeta& meta = loaded->method.meta();
  for (uint32_t i = 0; i < meta.memory_count(); i++) use.planned += meta.memory_bytes(i);
  use.tables = loaded->arena.bytes().size();
  use.scratch = loaded->scratch.bytes().size();
  for (const Memory& output : loaded->outputs) use.outputs += output.bytes().size();
  return use;
}

// --- arguments ----------------------------------------------------------------------------------

Argument Argument::of(const void* data, DType dtype, std::vector<int32_t> sizes,
                      std::vector<uint8_t> dim_order) {
  Argument made;
  made.value.kind = Value::Kind::tensor;
  made.sizes = std::move(sizes);
  made.dim_order = std::move(dim_order);
  made.tensor.data = const_cast<void*>(data);
  made.tensor.dtype = dtype;
  int64_t count = 0;
  if (checked_element_count(made.sizes.data(), int(made.sizes.size()), &count))
    made.tensor.capacity_bytes = uint64_t(count) * dtype_bytes(dtype);
  return made;
}

Bytes Argument::bytes() const {
  int64_t count = 0;
  if (!checked_element_count(sizes.data(), int(sizes.size()), &count)) return {};
  return {tensor.as<const uint8_t>(), size_t(count) * dtype_bytes(tensor.dtype)};
}

}  // namespace sconce
