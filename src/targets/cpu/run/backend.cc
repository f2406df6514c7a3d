#include "targets/cpu/run/backend.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <vector>

#include "platform/cpu.h"
#include "platform/threads.h"
#include "targets/cpu/run/tuning.h"
#include "tensor/tensor.h"
#include "tile/program_bytes.h"
#include "tile/vm.h"

namespace sconce {
namespace {

constexpr uintptr_t kAlignment = tile::kArenaAlignment;

struct FreeDeleter {
  void operator()(uint8_t* at) const { free(at); }
};

// Steps of one kernel over buffers of one shape, such as those of equal layers, share a plan.
struct ShapedPlan {
  uint32_t kernel;
  bool scheduled;  // by a schedule that was tuned
  std::vector<tile::BufferView> shapes;
  tile::Plan plan;
};

struct Step {
  std::shared_ptr<const ShapedPlan> plan;
  std::vector<uint32_t> storages;  // by buffer of the kernel
  std::vector<uint64_t> offsets;
  std::vector<uint8_t*> data;  // filled for each call
};

// What calls with the same sizes share.
struct Sizes {
  std::vector<int64_t> symbols;
  std::vector<tile::Argument> inputs, outputs;
  std::vector<Step> steps;
  uint64_t last_used = 0;  // which call
};

struct State {
  tile::Program program;  // with the sizes that were planned last
  Isa isa = {};
  // Those of the last few calls. Programs of fixed shapes have one, from loading on.
  std::vector<std::unique_ptr<Sizes>> known;
  tile::Schedules schedules;  // none where sizes differ from call to call
  uint64_t calls = 0;
  std::vector<int64_t> symbols;    // of this call
  std::vector<uint8_t*> storages;  // where each begins in this call
  std::unique_ptr<uint8_t, FreeDeleter> scratch;
  uint64_t scratch_bytes = 0;  // of each thread
  std::unique_ptr<ThreadPool> alone;
  ThreadPool* threads = nullptr;
  const DelegateProfile* profile = nullptr;
};

// How many sizes are remembered. A plan takes some kilobytes, and below a millisecond to make.
constexpr size_t kSizesMax = 8;

uint8_t* align(void* at) {
  return reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(at) + kAlignment - 1) /
                                    kAlignment * kAlignment);
}

// Room for every thread; grows only.
Result<void> make_scratch(State& state, uint64_t wanted) {
  if (state.scratch && wanted <= state.scratch_bytes) return {};
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(wanted, uint64_t(state.threads->size()), &bytes) ||
      bytes > SIZE_MAX / 2)
    return error(Code::too_large, "{} threads want {} bytes each", state.threads->size(), wanted);
  std::unique_ptr<uint8_t, FreeDeleter> made(
      static_cast<uint8_t*>(aligned_alloc(kAlignment, std::max<size_t>(bytes, kAlignment))));
  if (!made) return error(Code::too_large, "no memory for {} bytes of scratch", bytes);
  state.scratch = std::move(made);
  state.scratch_bytes = wanted;
  return {};
}

// Plans every step for the sizes that the program has now, in place of those whose last call is
// longest ago when there are many. Kernels whose buffers did not change keep their plans.
Result<Sizes*> plan_sizes(State& state) {
  const tile::Program& program = state.program;
  auto made = std::make_unique<Sizes>();
  made->symbols = state.symbols;
  made->inputs = program.inputs;
  made->outputs = program.outputs;
  uint64_t scratch = 0;
  for (size_t i = 0; i < program.steps.size(); i++) {
    const tile::Step& from = program.steps[i];
    Step step;
    std::vector<tile::BufferView> shapes = shapes_of(program, from);
    for (const tile::Operand& operand : from.operands) {
      step.storages.push_back(operand.storage);
      step.offsets.push_back(operand.offset);
    }
    step.data.resize(step.storages.size());
    auto find_plan = [&](const Sizes& sizes) {
      for (const Step& other : sizes.steps)
        if (!step.plan && other.plan->kernel == from.kernel && other.plan->shapes == shapes)
          step.plan = other.plan;
    };
    find_plan(*made);
    for (const auto& sizes : state.known) find_plan(*sizes);
    if (!step.plan) {
      const tile::Kernel& kernel = program.kernels[from.kernel];
      const tile::Schedule* schedule = nullptr;
      if (!state.schedules.empty())
        if (auto found = state.schedules.find(tile::schedule_key(kernel, shapes));
            found != state.schedules.end())
          schedule = &found->second;
      bool scheduled = false;
      Result<tile::Plan> plan =
          make_plan(kernel, shapes, state.isa, state.threads->size(), schedule, &scheduled);
      if (!plan.ok()) return std::move(plan.error()).with_context(fmt::format("step {}", i));
      step.plan = std::make_shared<ShapedPlan>(
          ShapedPlan{from.kernel, scheduled, std::move(shapes), std::move(*plan)});
    }
    scratch = std::max(scratch, step.plan->plan.scratch_bytes());
    made->steps.push_back(std::move(step));
  }
  TRY_VOID(make_scratch(state, scratch));
  if (state.known.size() >= kSizesMax)
    state.known.erase(
        std::min_element(state.known.begin(), state.known.end(),
                         [](const auto& a, const auto& b) { return a->last_used < b->last_used; }));
  state.known.push_back(std::move(made));
  return state.known.back().get();
}

Result<std::unique_ptr<State>> make_state(const DelegateSource& source) {
  auto state = std::make_unique<State>();
  TRY(state->program, tile::read_program(source.data));
  TRY(Isa isa, chosen_isa());
  state->threads = source.threads;
  if (!state->threads) {
    state->alone = std::make_unique<ThreadPool>(1);
    state->threads = state->alone.get();
  }
  const tile::Program& program = state->program;
  state->storages.assign(program.storages.size(), nullptr);
  for (size_t s = 0; s < program.storages.size(); s++) {
    const tile::Storage& storage = program.storages[s];
    if (storage.kind != tile::Storage::Kind::constant) continue;
    Bytes found;
    if (!source.find_data(storage.name.c_str(), &found))
      return error(Code::not_found, "constant \"{}\" is neither in the file nor beside it",
                   storage.name);
    if (found.size() < storage.bytes)
      return error(Code::invalid_file, "constant \"{}\" has {} bytes; {} are wanted", storage.name,
                   found.size(), storage.bytes);
    if (reinterpret_cast<uintptr_t>(found.data()) % 16)
      return error(Code::unsupported, "constant \"{}\" is not aligned to 16 bytes", storage.name);
    state->storages[s] = const_cast<uint8_t*>(found.data());  // verify(): never written
  }
  state->isa = isa;
  state->symbols.resize(program.symbols.size());
  if (!program.symbols.empty()) return state;
  state->schedules = find_schedules(source, program, state->storages, isa, *state->threads);
  TRY(const Sizes* sizes, plan_sizes(*state));
  if (TuningReport* report = source.tuning ? source.tuning->report.get() : nullptr) {
    report->payloads++;
    report->steps += sizes->steps.size();
    for (const Step& step : sizes->steps) report->scheduled += step.plan->scheduled;
  }
  return state;
}

Status fail(const Error& error, Diagnostic* diagnostic) {
  return SCONCE_FAIL(error.code, diagnostic, "%s", error.text.c_str());
}

Status load(const DelegateSource& source, Span<uint8_t>, void** state, Diagnostic* diagnostic) {
  Result<std::unique_ptr<State>> made = make_state(source);
  if (!made.ok()) return fail(made.error(), diagnostic);
  *state = made->release();
  return kOk;
}

// The argument is of the type that the payload was made for.
Status check_type(const char* what, size_t index, const Value& value, const tile::Argument& wanted,
                  Diagnostic* diagnostic) {
  if (!value.is_tensor())
    return SCONCE_FAIL(Code::invalid_file, diagnostic, "%s %zu is no tensor", what, index);
  const Tensor& tensor = *value.tensor;
  if (tensor.dtype != wanted.dtype)
    return SCONCE_FAIL(Code::invalid_file, diagnostic, "%s %zu is %s; %s is wanted", what, index,
                       dtype_name(tensor.dtype), dtype_name(wanted.dtype));
  if (tensor.rank != wanted.sizes.size())
    return SCONCE_FAIL(Code::invalid_file, diagnostic, "%s %zu has rank %d; %zu is wanted", what,
                       index, int(tensor.rank), wanted.sizes.size());
  for (size_t d = 0; d < wanted.sizes.size(); d++) {
    unsigned order = tensor.dim_order ? tensor.dim_order[d] : unsigned(d);
    unsigned wanted_order = wanted.dim_order.empty() ? unsigned(d) : wanted.dim_order[d];
    if (order != wanted_order)
      return SCONCE_FAIL(Code::invalid_file, diagnostic,
                         "%s %zu: dimension %u stands at %zu of its dim order; %u is wanted", what,
                         index, order, d, wanted_order);
  }
  return kOk;
}

// And it has its sizes; its bytes follow.
Status check_sizes(const char* what, size_t index, const Tensor& tensor,
                   const tile::Argument& wanted, Diagnostic* diagnostic) {
  for (size_t d = 0; d < wanted.sizes.size(); d++)
    if (tensor.sizes[d] != wanted.sizes[d])
      return SCONCE_FAIL(Code::invalid_file, diagnostic,
                         "%s %zu: dimension %zu has size %d; %lld is wanted", what, index, d,
                         int(tensor.sizes[d]), (long long)wanted.sizes[d]);
  return kOk;
}

// What is planned for the sizes that the inputs have; plans it when they are new.
Status find_sizes(State& state, Span<const Value* const> args, Diagnostic* diagnostic,
                  Sizes** found) {
  const tile::Program& program = state.program;
  for (size_t s = 0; s < program.symbols.size(); s++) {
    const tile::Symbol& symbol = program.symbols[s];
    Result<int64_t> value = tile::value_of(symbol, args[symbol.input]->tensor->sizes[symbol.dim]);
    if (!value.ok()) return fail(value.error(), diagnostic);
    state.symbols[s] = *value;
  }
  *found = nullptr;
  for (const auto& sizes : state.known)
    if (sizes->symbols == state.symbols) *found = sizes.get();
  if (!*found) {
    Result<void> done = tile::set_sizes(state.program, state.symbols);
    if (!done.ok()) return fail(done.error(), diagnostic);
    Result<Sizes*> planned = plan_sizes(state);
    if (!planned.ok()) return fail(planned.error(), diagnostic);
    *found = *planned;
  }
  (*found)->last_used = ++state.calls;
  return kOk;
}

// Compares all arguments with the payload, and gives the outputs the sizes that follow.
Status prepare(State& state, Span<const Value* const> args, Diagnostic* diagnostic, Sizes** sizes) {
  const tile::Program& program = state.program;
  size_t inputs = program.inputs.size(), outputs = program.outputs.size();
  bool between = program.arena_bytes > 0;
  if (args.size() != inputs + outputs + between)
    return SCONCE_FAIL(Code::invalid_file, diagnostic, "%zu arguments; %zu are wanted", args.size(),
                       inputs + outputs + between);
  for (size_t i = 0; i < inputs; i++)
    SCONCE_TRY_STATUS(check_type("input", i, *args[i], program.inputs[i], diagnostic));
  SCONCE_TRY_STATUS(find_sizes(state, args, diagnostic, sizes));
  for (size_t i = 0; i < inputs; i++)
    SCONCE_TRY_STATUS(check_sizes("input", i, *args[i]->tensor, (*sizes)->inputs[i], diagnostic));
  for (size_t o = 0; o < outputs; o++) {
    const tile::Argument& wanted = (*sizes)->outputs[o];
    SCONCE_TRY_STATUS(check_type("output", o, *args[inputs + o], wanted, diagnostic));
    Tensor& tensor = *args[inputs + o]->tensor;
    if (tensor.read_only)
      return SCONCE_FAIL(Code::invalid_file, diagnostic, "output %zu is a constant", o);
    if (!program.symbols.empty() && !tensor.fixed_sizes) {
      int32_t to[kRankMax];
      std::copy(wanted.sizes.begin(), wanted.sizes.end(), to);
      SCONCE_TRY_STATUS(resize(tensor, to, diagnostic));
    }
    SCONCE_TRY_STATUS(check_sizes("output", o, tensor, wanted, diagnostic));
  }
  return kOk;
}

Status execute(void* opaque, Span<const Value* const> args, KernelContext& context) {
  State& state = *static_cast<State*>(opaque);
  const tile::Program& program = state.program;
  Diagnostic* diagnostic = context.diagnostic;
  Sizes* sizes = nullptr;
  SCONCE_TRY_STATUS(prepare(state, args, diagnostic, &sizes));
  size_t inputs = program.inputs.size(), outputs = program.outputs.size();
  bool between = program.arena_bytes > 0;
  uint8_t* arena = nullptr;
  if (between) {
    const Value& last = *args[inputs + outputs];
    uint64_t room = last.is_tensor() && !last.tensor->read_only ? last.tensor->capacity_bytes : 0;
    if (room > 0) arena = align(last.tensor->data);
    uint64_t lost = room > 0 ? uint64_t(arena - static_cast<uint8_t*>(last.tensor->data)) : 0;
    if (room < lost || room - lost < program.arena_bytes)
      return SCONCE_FAIL(Code::invalid_file, diagnostic,
                         "memory between the steps: %llu bytes from a multiple of 64 on; %llu are "
                         "wanted",
                         (unsigned long long)(room < lost ? 0 : room - lost),
                         (unsigned long long)program.arena_bytes);
  }
  for (size_t s = 0; s < program.storages.size(); s++) {
    const tile::Storage& storage = program.storages[s];
    switch (storage.kind) {
      case tile::Storage::Kind::input:
        state.storages[s] = static_cast<uint8_t*>(args[storage.index]->tensor->data);
        break;
      case tile::Storage::Kind::output:
        state.storages[s] = static_cast<uint8_t*>(args[inputs + storage.index]->tensor->data);
        break;
      case tile::Storage::Kind::temporary: state.storages[s] = arena + storage.offset; break;
      case tile::Storage::Kind::constant: break;
    }
  }
  for (size_t o = 0; o < outputs; o++) {
    int32_t updated = program.outputs[o].updates;
    if (updated == tile::kNone) continue;
    const Tensor& from = *args[size_t(updated)]->tensor;
    const Tensor& to = *args[inputs + o]->tensor;
    uint64_t bytes = tensor_bytes(from);
    if (from.data != to.data && bytes > 0) memmove(to.data, from.data, bytes);
  }
  const DelegateProfile* profile =
      state.profile && state.profile->on_step ? state.profile : nullptr;
  for (size_t i = 0; i < sizes->steps.size(); i++) {
    Step& step = sizes->steps[i];
    for (size_t b = 0; b < step.data.size(); b++)
      step.data[b] = state.storages[step.storages[b]] + step.offsets[b];
    std::chrono::steady_clock::time_point start;
    if (profile) start = std::chrono::steady_clock::now();
    Result<void> done = step.plan->plan.run(step.data, state.scratch.get(), *state.threads);
    if (!done.ok()) {
      const std::string& where = program.steps[i].source;
      return SCONCE_FAIL(done.error().code, diagnostic, "%s%s%s", where.c_str(),
                         where.empty() ? "" : ": ", done.error().text.c_str());
    }
    if (profile) {
      std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
      profile->on_step(profile->context, {program.kernels[program.steps[i].kernel].name.c_str(),
                                          program.steps[i].source.c_str(), time.count()});
    }
  }
  return kOk;
}

void unload(void* state) { delete static_cast<State*>(state); }

void set_profile(void* state, const DelegateProfile* profile) {
  static_cast<State*>(state)->profile = profile;
}

}  // namespace

CpuOutputs cpu_outputs(const void* state) {
  const tile::Program& program = static_cast<const State*>(state)->program;
  return {program.inputs.size(), program.outputs.size(), !program.symbols.empty()};
}

Status prepare_cpu_call(void* state, Span<const Value* const> args, Diagnostic* diagnostic) {
  Sizes* sizes = nullptr;
  return prepare(*static_cast<State*>(state), args, diagnostic, &sizes);
}

const DelegateType kCpuBackend = {
    .id = tile::kBackendId,
    .arena_bytes = nullptr,
    .load = load,
    .execute = execute,
    .unload = unload,
    .set_profile = set_profile,
};

}  // namespace sconce
