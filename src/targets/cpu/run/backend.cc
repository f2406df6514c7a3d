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
  size_t plan;                     // in State::plans
  std::vector<uint32_t> storages;  // by buffer of the kernel
  std::vector<uint64_t> offsets;
  std::vector<uint8_t*> data;  // filled for each call
};

struct State {
  tile::Program program;
  std::vector<ShapedPlan> plans;
  std::vector<Step> steps;
  std::vector<uint8_t*> storages;  // where each begins in this call
  std::unique_ptr<uint8_t, FreeDeleter> scratch;
  std::unique_ptr<ThreadPool> alone;
  ThreadPool* threads = nullptr;
  const DelegateProfile* profile = nullptr;
};

uint8_t* align(void* at) {
  return reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(at) + kAlignment - 1) /
                                    kAlignment * kAlignment);
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
  const tile::Schedules schedules =
      find_schedules(source, program, state->storages, isa, *state->threads);
  TuningReport* report = source.tuning ? source.tuning->report.get() : nullptr;
  if (report) {
    report->payloads++;
    report->steps += program.steps.size();
  }
  uint64_t scratch = 0;
  for (size_t i = 0; i < program.steps.size(); i++) {
    const tile::Step& from = program.steps[i];
    std::vector<tile::BufferView> shapes = shapes_of(program, from);
    std::vector<uint32_t> storages;
    std::vector<uint64_t> offsets;
    for (const tile::Operand& operand : from.operands) {
      storages.push_back(operand.storage);
      offsets.push_back(operand.offset);
    }
    auto shaped = std::find_if(state->plans.begin(), state->plans.end(), [&](const ShapedPlan& p) {
      return p.kernel == from.kernel && p.shapes == shapes;
    });
    size_t index = size_t(shaped - state->plans.begin());
    if (shaped == state->plans.end()) {
      const tile::Kernel& kernel = program.kernels[from.kernel];
      const tile::Schedule* schedule = nullptr;
      if (!schedules.empty())
        if (auto found = schedules.find(tile::schedule_key(kernel, shapes));
            found != schedules.end())
          schedule = &found->second;
      bool scheduled = false;
      Result<tile::Plan> plan =
          make_plan(kernel, shapes, isa, state->threads->size(), schedule, &scheduled);
      if (!plan.ok()) return std::move(plan.error()).with_context(fmt::format("step {}", i));
      scratch = std::max(scratch, plan->scratch_bytes());
      state->plans.push_back({from.kernel, scheduled, std::move(shapes), std::move(*plan)});
    }
    if (report) report->scheduled += state->plans[index].scheduled;
    std::vector<uint8_t*> data(storages.size());
    state->steps.push_back({index, std::move(storages), std::move(offsets), std::move(data)});
  }
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(scratch, uint64_t(state->threads->size()), &bytes) ||
      bytes > SIZE_MAX / 2)
    return error(Code::too_large, "{} threads want {} bytes each", state->threads->size(), scratch);
  state->scratch.reset(
      static_cast<uint8_t*>(aligned_alloc(kAlignment, std::max<size_t>(bytes, kAlignment))));
  if (!state->scratch) return error(Code::too_large, "no memory for {} bytes of scratch", bytes);
  return state;
}

Status load(const DelegateSource& source, Span<uint8_t>, void** state, Diagnostic* diagnostic) {
  Result<std::unique_ptr<State>> made = make_state(source);
  if (!made.ok())
    return SCONCE_FAIL(made.error().code, diagnostic, "%s", made.error().text.c_str());
  *state = made->release();
  return kOk;
}

// The argument is what the payload was made for; its bytes follow.
Status check(const char* what, size_t index, const Value& value, const tile::Argument& wanted,
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
    if (tensor.sizes[d] != wanted.sizes[d])
      return SCONCE_FAIL(Code::invalid_file, diagnostic,
                         "%s %zu: dimension %zu has size %d; %lld is wanted", what, index, d,
                         int(tensor.sizes[d]), (long long)wanted.sizes[d]);
    unsigned order = tensor.dim_order ? tensor.dim_order[d] : unsigned(d);
    unsigned wanted_order = wanted.dim_order.empty() ? unsigned(d) : wanted.dim_order[d];
    if (order != wanted_order)
      return SCONCE_FAIL(Code::invalid_file, diagnostic,
                         "%s %zu: dimension %u stands at %zu of its dim order; %u is wanted", what,
                         index, order, d, wanted_order);
  }
  return kOk;
}

Status execute(void* opaque, Span<const Value* const> args, KernelContext& context) {
  State& state = *static_cast<State*>(opaque);
  const tile::Program& program = state.program;
  Diagnostic* diagnostic = context.diagnostic;
  size_t inputs = program.inputs.size(), outputs = program.outputs.size();
  bool between = program.arena_bytes > 0;
  if (args.size() != inputs + outputs + between)
    return SCONCE_FAIL(Code::invalid_file, diagnostic, "%zu arguments; %zu are wanted", args.size(),
                       inputs + outputs + between);
  for (size_t i = 0; i < inputs; i++)
    SCONCE_TRY_STATUS(check("input", i, *args[i], program.inputs[i], diagnostic));
  for (size_t o = 0; o < outputs; o++) {
    SCONCE_TRY_STATUS(check("output", o, *args[inputs + o], program.outputs[o], diagnostic));
    if (args[inputs + o]->tensor->read_only)
      return SCONCE_FAIL(Code::invalid_file, diagnostic, "output %zu is a constant", o);
  }
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
  const DelegateProfile* profile =
      state.profile && state.profile->on_step ? state.profile : nullptr;
  for (size_t i = 0; i < state.steps.size(); i++) {
    Step& step = state.steps[i];
    for (size_t b = 0; b < step.data.size(); b++)
      step.data[b] = state.storages[step.storages[b]] + step.offsets[b];
    std::chrono::steady_clock::time_point start;
    if (profile) start = std::chrono::steady_clock::now();
    Result<void> done =
        state.plans[step.plan].plan.run(step.data, state.scratch.get(), *state.threads);
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

const DelegateType kCpuBackend = {
    .id = tile::kBackendId,
    .arena_bytes = nullptr,
    .load = load,
    .execute = execute,
    .unload = unload,
    .set_profile = set_profile,
};

}  // namespace sconce
