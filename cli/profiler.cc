#include "profiler.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "base/file.h"
#include "cli.h"
#include "formats/etdump/etdump.h"

namespace sconce::cli {

using pte::InstructionKind;

uint64_t nanoseconds_now() {
  return uint64_t(
      std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
}

Profiler::Profiler(Module& module) : module_(module) {
  module_.set_observer(before, after, this);
  module_.set_step_observer(on_step, this);
}

Profiler::~Profiler() {
  module_.set_observer(nullptr, nullptr, nullptr);
  module_.set_step_observer(nullptr, nullptr);
}

void Profiler::before(void* context, const Step& step) {
  auto* self = static_cast<Profiler*>(context);
  self->instruction_ = {.name = step.name,
                        .overload = step.overload,
                        .chain = step.chain,
                        .instruction = step.instruction,
                        .kind = step.kind};
  self->instruction_.start_ns = nanoseconds_now();
}

void Profiler::after(void* context, const Step&) {
  uint64_t now = nanoseconds_now();
  auto* self = static_cast<Profiler*>(context);
  self->instruction_.end_ns = now;
  self->current_.events.push_back(self->instruction_);
}

void Profiler::on_step(void* context, const DelegateStep& step) {
  uint64_t now = nanoseconds_now(), took = uint64_t(step.seconds * 1e9);
  auto* self = static_cast<Profiler*>(context);
  ProfileEvent event = self->instruction_;
  event.name = step.name, event.overload = "", event.source = step.source;
  event.is_step = true;
  event.start_ns = std::max(now - std::min(took, now), self->instruction_.start_ns);
  event.end_ns = now;
  self->current_.events.push_back(event);
}

Result<void> Profiler::load_method(const std::string& method) {
  ProfileRun run{method, true};
  run.start_ns = nanoseconds_now();
  TRY_VOID(module_.load_method(method));
  run.end_ns = nanoseconds_now();
  runs_.push_back(std::move(run));
  return {};
}

Result<std::vector<Argument>> Profiler::execute(const std::string& method,
                                                Span<const Argument> inputs) {
  current_ = {method};
  current_.start_ns = nanoseconds_now();
  auto results = module_.execute(method, inputs);
  current_.end_ns = nanoseconds_now();
  if (results.ok()) runs_.push_back(std::move(current_));
  return results;
}

// --- files --------------------------------------------------------------------------------------

namespace {

// "aten::add", "out" as stock's kernels call themselves: "add.out".
std::string short_name(const ProfileEvent& event) {
  std::string name = event.name;
  if (size_t colons = name.find("::"); colons != std::string::npos) name.erase(0, colons + 2);
  if (*event.overload) name += std::string(".") + event.overload;
  return name;
}

const char* instruction_name(InstructionKind kind) {
  switch (kind) {
    case InstructionKind::kernel: return "OPERATOR_CALL";
    case InstructionKind::delegate: return "DELEGATE_CALL";
    case InstructionKind::move: return "MOVE_CALL";
    case InstructionKind::jump_false: return "JF_CALL";
    default: return "FREE_CALL";
  }
}

EtdumpRun etdump_run(const ProfileRun& run) {
  if (run.is_load)
    return {"Default",
            {{"Method::init", "", "", -1, 0, run.start_ns, run.end_ns},
             {"Program::load_method", "", "", -1, 0, run.start_ns, run.end_ns}}};
  EtdumpRun made{"Execute", {}};
  std::map<std::string, int> seen;  // steps of the call in progress
  for (const ProfileEvent& event : run.events) {
    auto add = [&](std::string name, std::string delegate_name) {
      made.events.push_back({std::move(name), std::move(delegate_name), event.source,
                             int32_t(event.chain), int32_t(event.instruction), event.start_ns,
                             event.end_ns});
    };
    if (event.is_step) {
      // The Inspector tells steps apart by their names.
      add("", fmt::format("{} #{}", event.name, ++seen[event.name]));
      continue;
    }
    if (event.kind == InstructionKind::kernel) add("native_call_" + short_name(event), "");
    add(instruction_name(event.kind), "");
    seen.clear();
  }
  made.events.push_back({"Method::execute", "", "", -1, 0, run.start_ns, run.end_ns});
  return made;
}

}  // namespace

Result<void> save_etdump(const std::string& path, const std::vector<ProfileRun>& runs) {
  std::vector<EtdumpRun> made;
  for (const ProfileRun& run : runs) made.push_back(etdump_run(run));
  TRY(std::vector<uint8_t> bytes, write_etdump(made).with_context(path));
  return save_file(path, bytes);
}

// The format is that of "Trace Event Format" of Chrome's tracing: complete events, microseconds.
Result<void> save_trace(const std::string& path, const std::vector<ProfileRun>& runs) {
  uint64_t start = runs.empty() ? 0 : runs[0].start_ns;
  std::string text = "{\"displayTimeUnit\": \"ns\", \"traceEvents\": [";
  const char* comma = "";
  auto add = [&](const std::string& name, const char* category, uint64_t from, uint64_t to,
                 const std::string& facts) {
    text += fmt::format(
        "{}\n{{\"name\": {}, \"cat\": \"{}\", \"ph\": \"X\", \"pid\": 1, \"tid\": 1, \"ts\": "
        "{:.3f}, \"dur\": {:.3f}, \"args\": {{{}}}}}",
        comma, json_string(name), category, double(from - start) * 1e-3, double(to - from) * 1e-3,
        facts);
    comma = ",";
  };
  for (size_t r = 0; r < runs.size(); r++) {
    const ProfileRun& run = runs[r];
    add((run.is_load ? "load " : "run ") + run.method, "method", run.start_ns, run.end_ns,
        fmt::format("\"run\": {}", r));
    for (const ProfileEvent& event : run.events) {
      bool named = event.is_step || event.kind == InstructionKind::kernel ||
                   event.kind == InstructionKind::delegate;
      std::string facts =
          fmt::format("\"chain\": {}, \"instruction\": {}", event.chain, event.instruction);
      if (*event.source) facts += ", \"source\": " + json_string(event.source);
      add(named ? short_name(event) : instruction_name(event.kind),
          event.is_step ? "step" : "instruction", event.start_ns, event.end_ns, facts);
    }
  }
  text += "\n]}\n";
  return save_file(path, Bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

Result<void> ProfileFiles::save(const std::vector<ProfileRun>& runs) const {
  if (!etdump.empty()) TRY_VOID(save_etdump(etdump, runs));
  if (!trace.empty()) TRY_VOID(save_trace(trace, runs));
  return {};
}

void add_profile_options(CLI::App* command, ProfileFiles& files) {
  command->add_option(
      "--etdump", files.etdump,
      "Write what ran and how long it took as an .etdp, for ExecuTorch's Inspector");
  command->add_option("--trace", files.trace,
                      "The same as a .json for Perfetto or chrome://tracing");
}

}  // namespace sconce::cli
