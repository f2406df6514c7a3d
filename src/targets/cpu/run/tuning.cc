#include "targets/cpu/run/tuning.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <optional>

#include <fmt/ranges.h>

#include "base/file.h"
#include "tensor/half.h"
#include "tile/program_bytes.h"

namespace sconce {

using tile::BufferView;
using tile::MachineSchedules;
using tile::Plan;
using tile::Schedules;

namespace {

// The folder of this machine's schedules; "" when the environment names none.
std::string folder_of(const TuningOptions& options) {
  if (!options.folder.empty()) return options.folder;
  auto named = [](const char* name) -> std::string {
    const char* value = getenv(name);
    return value ? value : "";
  };
  if (std::string folder = named("SCONCE_CACHE"); !folder.empty()) return folder;
  if (std::string folder = named("XDG_CACHE_HOME"); !folder.empty()) return folder + "/sconce";
  if (std::string folder = named("HOME"); !folder.empty()) return folder + "/.cache/sconce";
  return "";
}

// The file for a payload, which names its constants by what they hold.
std::string file_for(const std::string& folder, Bytes payload, const tile::Machine& machine) {
  return fmt::format("{}/{:016x}-{}-{}-{}.v{}.schedules", folder, tile::hash_of(payload),
                     machine.micro_architecture, machine.isa, machine.threads,
                     tile::kSchedulesVersion);
}

// A regular file of a bounded size; read, not mapped: it may change under us.
std::optional<std::string> read_small(const std::string& path) {
  std::error_code code;
  if (!std::filesystem::is_regular_file(path, code)) return std::nullopt;
  std::unique_ptr<FILE, int (*)(FILE*)> file(fopen(path.c_str(), "rb"), fclose);
  if (!file) return std::nullopt;
  std::string text(tile::kSchedulesBytesMax + 1, 0);
  text.resize(fread(text.data(), 1, text.size(), file.get()));
  return text;
}

// Those of a text that are for this machine; null when there are none, or it is not sound.
std::optional<Schedules> parse_for(std::string_view text, const tile::Machine& machine) {
  auto all = tile::parse_schedules(text);
  if (!all.ok()) return std::nullopt;
  for (MachineSchedules& one : *all)
    if (one.machine == machine) return std::move(one.steps);
  return std::nullopt;
}

// A payload with memory of its own for arguments and what lies between, to try schedules on.
class Trial {
 public:
  Trial(const tile::Program& program, Span<uint8_t* const> constants, Isa isa, ThreadPool& threads)
      : program_(program), isa_(isa), threads_(threads) {
    storages_.assign(constants.begin(), constants.end());
  }

  Result<void> prepare() {
    TRY_VOID(allocate());
    for (const tile::Step& step : program_.steps) {
      std::vector<BufferView> views = shapes_of(program_, step);
      uint64_t key = tile::schedule_key(program_.kernels[step.kernel], views);
      for (size_t b = 0; b < views.size(); b++)
        views[b].data = storages_[step.operands[b].storage] + step.operands[b].offset;
      auto known =
          std::find_if(cases_.begin(), cases_.end(), [&](const Case& c) { return c.key == key; });
      if (known == cases_.end()) {
        Case made{key, step.kernel, step.source, views, {}, {}, {}};
        TRY(made.standard, make_plan(program_.kernels[step.kernel], views, isa_, threads_.size(),
                                     nullptr, nullptr));
        known = cases_.insert(cases_.end(), std::move(made));
      }
      known->count++;
      steps_.push_back({size_t(known - cases_.begin()), std::move(views)});
    }
    return {};
  }

  // The first round: each case on its own, those with the most time first and longest.
  Result<void> search(double seconds, const TuningOptions& options) {
    double end = tile::now_us() + seconds * 1e6;
    for (Case& c : cases_) {
      fill_inputs(c);
      for (int i = 0; i < 2; i++) {
        double start = tile::now_us();
        TRY_VOID(tile::run_plan(*c.standard, c.arrays, threads_, scratch_));
        c.alone_us = std::min(c.alone_us, tile::now_us() - start);
      }
    }
    std::vector<size_t> order(cases_.size());
    std::iota(order.begin(), order.end(), 0);
    auto weight = [&](size_t i) { return cases_[i].alone_us * cases_[i].count; };
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return weight(a) > weight(b); });
    double left = 0;  // time of those still to come
    for (size_t i : order) left += weight(i);
    for (size_t n = 0; n < order.size(); n++) {
      Case& c = cases_[order[n]];
      double now = tile::now_us();
      if (now >= end) break;
      const std::string& name = program_.kernels[c.kernel].name;
      if (options.progress) options.progress("tuning " + name, double(n) / double(order.size()));
      // What one leaves of its share is for the others.
      double share = left > 0 ? (end - now) / 1e6 * weight(order[n]) / left : 0;
      left -= weight(order[n]);
      fill_inputs(c);
      TRY(tile::TunedSchedule tuned, tile::tune_schedule(program_.kernels[c.kernel], c.arrays,
                                                         tile::kernels_for(isa_), threads_, share));
      if (tuned.schedule == tile::Schedule()) continue;
      c.schedule = tuned.schedule;
      bool scheduled = false;
      TRY(c.tuned, make_plan(program_.kernels[c.kernel], c.arrays, isa_, threads_.size(),
                             &c.schedule, &scheduled));
      if (!scheduled) c.tuned.reset();
    }
    return {};
  }

  // The second round: whole runs by turns, as a model does them. What is not faster there by
  // kGainMin is not taken.
  Result<void> confirm(double seconds, const TuningOptions& options) {
    for (const tile::Step& step : program_.steps)
      for (const tile::Operand& operand : step.operands)
        if (program_.storages[operand.storage].kind == tile::Storage::Kind::input) fill(step);
    constexpr int kRoundsMin = 5, kRoundsMax = 40;
    double end = tile::now_us() + seconds * 1e6;
    for (int round = 0; round < kRoundsMax && (round < kRoundsMin || tile::now_us() < end);
         round++) {
      if (options.progress) options.progress("comparing whole runs", double(round) / kRoundsMax);
      for (bool tuned : {round % 2 == 0, round % 2 != 0}) TRY_VOID(run_all(tuned));
    }
    for (Case& c : cases_)
      if (c.tuned && c.tuned_us > (1 - tile::kGainMin) * c.default_us) c.tuned.reset();
    return {};
  }

  Schedules found() const {
    Schedules all;
    for (const Case& c : cases_)
      if (c.tuned) all[c.key] = c.schedule;
    return all;
  }

  std::vector<TunedStep> table() const {
    std::vector<TunedStep> rows;
    for (const Case& c : cases_) {
      const tile::Kernel& kernel = program_.kernels[c.kernel];
      TunedStep row{kernel.name, c.source, c.count, c.default_us, c.default_us, ""};
      if (c.tuned) {
        row.best_us = c.tuned_us;
        std::vector<std::string> parts;
        for (size_t a = 0; a < c.schedule.tile.size(); a++)
          if (c.schedule.tile[a])
            parts.push_back(fmt::format("{} {}", kernel.axes[a].name, c.schedule.tile[a]));
        if (c.schedule.depth) parts.push_back(fmt::format("depth {}", c.schedule.depth));
        row.schedule = fmt::format("{}", fmt::join(parts, ", "));
      }
      rows.push_back(std::move(row));
    }
    std::stable_sort(rows.begin(), rows.end(), [](const TunedStep& a, const TunedStep& b) {
      return a.default_us * a.count > b.default_us * b.count;
    });
    return rows;
  }

 private:
  // Steps of one kernel over buffers of one shape.
  struct Case {
    uint64_t key;
    uint32_t kernel;
    std::string source;
    std::vector<BufferView> arrays;  // of the first of them
    std::optional<Plan> standard, tuned;
    tile::Schedule schedule;
    int count = 0;
    double alone_us = 1e18, default_us = 1e18, tuned_us = 1e18;
  };
  struct Step {
    size_t index;  // in cases_
    std::vector<BufferView> arrays;
  };

  Result<void> allocate() {
    uint64_t bytes = program_.arena_bytes + tile::kArenaAlignment;
    for (const tile::Storage& storage : program_.storages)
      if (storage.kind == tile::Storage::Kind::input || storage.kind == tile::Storage::Kind::output)
        if (__builtin_add_overflow(bytes, storage.bytes + 2 * tile::kArenaAlignment, &bytes))
          return error(Code::too_large, "no memory to tune in");
    if (bytes > SIZE_MAX / 2) return error(Code::too_large, "no memory to tune in");
    auto round_up = [](uint64_t x) {
      return (x + tile::kArenaAlignment - 1) / tile::kArenaAlignment * tile::kArenaAlignment;
    };
    memory_.reset(static_cast<uint8_t*>(aligned_alloc(tile::kArenaAlignment, round_up(bytes))));
    if (!memory_) return error(Code::too_large, "no memory for {} bytes to tune in", bytes);
    memset(memory_.get(), 0, round_up(bytes));
    uint8_t* next = memory_.get() + round_up(program_.arena_bytes);
    for (size_t s = 0; s < program_.storages.size(); s++) {
      const tile::Storage& storage = program_.storages[s];
      if (storage.kind == tile::Storage::Kind::temporary)
        storages_[s] = memory_.get() + storage.offset;
      if (storage.kind != tile::Storage::Kind::input && storage.kind != tile::Storage::Kind::output)
        continue;
      storages_[s] = next;
      next += round_up(storage.bytes);
    }
    return {};
  }

  // Numbers that are neither special nor all the same; integers 0, which every table has.
  void fill(const tile::Step& step) {
    const tile::Kernel& kernel = program_.kernels[step.kernel];
    for (size_t b = 0; b < step.operands.size(); b++) {
      const tile::Operand& operand = step.operands[b];
      const tile::Storage& storage = program_.storages[operand.storage];
      if (kernel.buffers[b].output || storage.kind == tile::Storage::Kind::constant) continue;
      uint8_t* at = storages_[operand.storage] + operand.offset;
      uint64_t bytes = storage.bytes - operand.offset;
      // By the byte that decides sign and exponent: 0.5 to 1, of either sign.
      uint64_t size = dtype_bytes(kernel.buffers[b].dtype);
      DType dtype = kernel.buffers[b].dtype;
      bool is_float = dtype == DType::f32 || is_half(dtype);
      for (uint64_t i = 0; i < bytes; i++)
        at[i] = !is_float              ? 0
                : i % size == size - 1 ? (i / size * 7 % 3 ? 0x3f : 0xbf)
                                       : uint8_t(i / size * 37 & 0x7f);
    }
  }
  void fill_inputs(const Case& c) {
    for (size_t i = 0; i < steps_.size(); i++)
      if (&cases_[steps_[i].index] == &c) return fill(program_.steps[i]);
  }

  Result<void> run_all(bool tuned) {
    for (Step& step : steps_) {
      Case& c = cases_[step.index];
      const Plan& plan = tuned && c.tuned ? *c.tuned : *c.standard;
      double start = tile::now_us();
      TRY_VOID(tile::run_plan(plan, step.arrays, threads_, scratch_));
      double& least = tuned ? c.tuned_us : c.default_us;
      least = std::min(least, tile::now_us() - start);
    }
    return {};
  }

  struct Free {
    void operator()(uint8_t* at) const { free(at); }
  };
  const tile::Program& program_;
  const Isa isa_;
  ThreadPool& threads_;
  std::unique_ptr<uint8_t, Free> memory_;
  std::vector<uint8_t*> storages_;
  std::vector<Case> cases_;
  std::vector<Step> steps_;
  tile::Scratch scratch_;
};

// Writes a file of the cache; its folder is made.
Result<void> keep(const std::string& path, const std::string& text) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  if (code) return error(Code::io, "{}: {}", folder.string(), code.message());
  return save_file(path, Bytes{reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

Result<Schedules> tune(const TuningOptions& options, const tile::Program& program,
                       Span<uint8_t* const> constants, Isa isa, ThreadPool& threads) {
  double start = tile::now_us();
  Trial trial(program, constants, isa, threads);
  TRY_VOID(trial.prepare());
  TRY_VOID(trial.search(0.8 * options.seconds, options));
  TRY_VOID(trial.confirm(0.15 * options.seconds, options));
  if (options.report) {
    options.report->seconds += (tile::now_us() - start) / 1e6;
    std::vector<TunedStep> rows = trial.table();
    options.report->tuned.insert(options.report->tuned.end(), rows.begin(), rows.end());
  }
  return trial.found();
}

// Schedules of one more payload, beside those of the ones before.
void add_to_report(TuningReport& report, const MachineSchedules& made) {
  std::vector<MachineSchedules> all;
  if (auto before = tile::parse_schedules(report.schedules); before.ok()) all = std::move(*before);
  if (all.empty()) all.push_back({made.machine, {}});
  all[0].steps.insert(made.steps.begin(), made.steps.end());
  report.schedules = print(Span<const MachineSchedules>(all));
}

}  // namespace

std::vector<BufferView> shapes_of(const tile::Program& program, const tile::Step& step) {
  std::vector<BufferView> shapes;
  for (const tile::Operand& operand : step.operands) {
    uint64_t bytes = program.storages[operand.storage].bytes - operand.offset;
    shapes.push_back({nullptr, operand.sizes, operand.strides, int64_t(bytes)});
  }
  return shapes;
}

Result<Plan> make_plan(const tile::Kernel& kernel, Span<const BufferView> shapes, Isa isa,
                       int threads, const tile::Schedule* schedule, bool* scheduled) {
  if (schedule) {
    auto plan = Plan::make(kernel, shapes, tile::kernels_for(isa), threads, *schedule);
    if (plan.ok() && plan->scratch_bytes() <= tile::kScheduleScratchMax) {
      *scheduled = true;
      return plan;
    }
  }
  return Plan::make(kernel, shapes, tile::kernels_for(isa), threads);
}

Schedules find_schedules(const DelegateSource& source, const tile::Program& program,
                         Span<uint8_t* const> constants, Isa isa, ThreadPool& threads) {
  static const TuningOptions kDefault;
  const TuningOptions& options = source.tuning ? *source.tuning : kDefault;
  if (!options.use_kept && options.seconds <= 0) return {};
  const tile::Machine machine = tile::this_machine(isa, threads.size());
  auto told = [&](Schedules schedules, std::string from) {
    if (options.report && !schedules.empty()) options.report->from.push_back(std::move(from));
    return schedules;
  };
  // Without options the caller knows of no folder, and nothing outside the program is read.
  std::string folder = source.tuning ? folder_of(options) : "", path;
  std::error_code code;
  if (!folder.empty() && (options.seconds > 0 || std::filesystem::is_directory(folder, code)))
    path = file_for(folder, source.data, machine);
  if (!path.empty() && !options.again)
    if (std::optional<std::string> text = read_small(path))
      if (auto found = parse_for(*text, machine)) return told(std::move(*found), path);
  if (options.seconds > 0) {
    auto found = tune(options, program, constants, isa, threads);
    if (found.ok()) {
      MachineSchedules made{machine, std::move(*found)};
      if (options.report) add_to_report(*options.report, made);
      Result<void> kept = keep(path, print(Span<const MachineSchedules>(&made, 1)));
      if (!kept.ok() && options.report) options.report->problem = kept.error().text;
      return told(std::move(made.steps), kept.ok() ? path : "this run");
    }
    if (options.report) options.report->problem = found.error().text;
  }
  Bytes held;
  if (source.find_data(kSchedulesName, &held))
    if (auto found = parse_for({reinterpret_cast<const char*>(held.data()), held.size()}, machine))
      return told(std::move(*found), "the program");
  return {};
}

}  // namespace sconce
