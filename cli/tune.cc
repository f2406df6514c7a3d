// sconce tune: the tile sizes with which a program is fastest on this machine.
#include <algorithm>

#include <fmt/ranges.h>

#include "base/file.h"
#include "formats/pte/pte.h"
#include "model_tensors.h"
#include "platform/cpu.h"
#include "targets/cpu/run/tuning.h"
#include "tile/program_bytes.h"
#include "tuning_options.h"

namespace sconce::cli {
namespace {

struct Options {
  std::string model, output;
  double seconds = 5;
  int rows = 20;
  LoadOptions load;
  bool json = false;
};

// Payloads that can be tuned, over all methods.
size_t count_payloads(const Module& module) {
  size_t count = 0;
  for (const std::string& name : module.method_names()) {
    auto meta = module.method_meta(name);
    if (!meta.ok()) continue;
    pte::Vector delegates = meta->plan().vector(pte::field::plan::delegates);
    for (uint32_t i = 0; i < delegates.count; i++)
      count +=
          std::string_view(delegates.table(i).string(pte::field::delegate::id)) == tile::kBackendId;
  }
  return count;
}

// The program with what was found beside what it has for other machines.
Result<void> write_with_schedules(const std::string& from, const std::string& to,
                                  const std::string& schedules) {
  TRY(MappedFile file, map_file(from));
  TRY(PteProgram program, read_pte(file.bytes()).with_context(from));
  TRY(std::vector<tile::MachineSchedules> found, tile::parse_schedules(schedules));
  std::vector<tile::MachineSchedules> all;
  std::erase_if(program.named_data, [&](const PteNamedData& d) {
    if (d.key != kSchedulesName) return false;
    auto kept =
        tile::parse_schedules({reinterpret_cast<const char*>(d.data.data()), d.data.size()});
    if (kept.ok()) all = std::move(*kept);  // what no reader takes is replaced
    return true;
  });
  for (tile::MachineSchedules& one : found) {
    std::erase_if(all, [&](const tile::MachineSchedules& m) { return m.machine == one.machine; });
    all.push_back(std::move(one));
  }
  std::string text = print(Span<const tile::MachineSchedules>(all));
  TRY_VOID(tile::parse_schedules(text).with_context("too many machines"));
  PteNamedData data;
  data.key = kSchedulesName;
  data.data = {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
  program.named_data.push_back(data);
  TRY(PteFile made, write_pte(program));
  return save_file(to, made.pieces).with_context(to);
}

void print_table(const Options& options, const TuningReport& report) {
  double before = 0, after = 0;
  size_t taken = 0;
  for (const TunedStep& step : report.tuned) {
    before += step.default_us * step.count;
    after += step.best_us * step.count;
    taken += step.schedule.empty() ? 0 : size_t(step.count);
  }
  double gain = before > 0 ? 1 - after / before : 0;
  Isa isa = value_or_exit(chosen_isa(), options.json);
  if (options.json) {
    fmt::print(
        "{{\"machine\": {}, \"isa\": \"{}\", \"seconds\": {:.3f}, \"before_ms\": {:.4f}, "
        "\"after_ms\": {:.4f}, \"kept\": [",
        json_string(micro_architecture()), isa_name(isa), report.seconds, before / 1e3,
        after / 1e3);
    const char* comma = "";
    for (const std::string& from : report.from) {
      fmt::print("{}{}", comma, json_string(from));
      comma = ", ";
    }
    fmt::print("], \"steps\": [");
    comma = "";
    for (const TunedStep& step : report.tuned) {
      fmt::print(
          "{}{{\"name\": {}, \"source\": {}, \"count\": {}, \"before_us\": {:.3f}, \"after_us\": "
          "{:.3f}, \"schedule\": {}}}",
          comma, json_string(step.kernel), json_string(step.source), step.count, step.default_us,
          step.best_us, json_string(step.schedule));
      comma = ", ";
    }
    fmt::print("]}}\n");
    return;
  }
  fmt::print(
      "{}: {:.3f} ms before, {:.3f} ms after ({:.1f} % less): schedules for {} of {} steps, in "
      "{:.1f} s, for {} {}\n",
      options.model, before / 1e3, after / 1e3, gain * 100, taken, report.steps, report.seconds,
      micro_architecture(), isa_name(isa));
  int rows = 0;
  for (const TunedStep& step : report.tuned) {
    if (rows++ == options.rows) break;
    if (rows == 1) fmt::print("      before       after    gain\n");
    fmt::print("  {:7.3f} ms  {:7.3f} ms  {:4.1f} %  {} x {:6}  {:24}  {}\n",
               step.default_us * step.count / 1e3, step.best_us * step.count / 1e3,
               (1 - step.best_us / step.default_us) * 100, step.count, step.kernel,
               step.schedule.empty() ? "-" : step.schedule, step.source);
  }
  for (const std::string& from : report.from) fmt::print("kept in {}\n", from);
}

void run(const Options& options) {
  bool json = options.json;
  LoadOptions load = options.load;
  load.module.tuning.use_kept = false;
  // What is shipped belongs to the payloads as the file has them.
  load.as_is |= !options.output.empty();
  size_t payloads = count_payloads(value_or_exit(open_model(options.model, load, false), json));
  if (payloads == 0)
    exit_with(error(Code::unsupported,
                    "{}: it has no tile programs to tune; sconce compile --target cpu makes them",
                    options.model),
              json);
  Progress progress;
  TuningOptions& tuning = load.module.tuning;
  tuning.report = std::make_shared<TuningReport>();
  tuning.seconds = options.seconds / double(payloads);
  tuning.again = true;
  tuning.progress = [&](const std::string& what, double share) { progress.show(what, share); };
  Module module = value_or_exit(open_model(options.model, load, false), json);
  for (const std::string& method : module.method_names())
    done_or_exit(module.load_method(method).with_context(options.model), json);
  progress.clear();
  const TuningReport& report = *tuning.report;
  if (report.tuned.empty())
    exit_with(error(Code::unsupported, "{}: not tuned: {}", options.model, report.problem), json);
  if (!options.output.empty())
    done_or_exit(write_with_schedules(options.model, options.output, report.schedules), json);
  print_table(options, report);
  if (json) return;
  if (!report.problem.empty()) fmt::print("not kept on this machine: {}\n", report.problem);
  if (!options.output.empty()) fmt::print("{}: the program with them\n", options.output);
}

}  // namespace

void add_tuning_options(CLI::App* command, TuningFlags& flags) {
  command->add_flag(
      "--tune", flags.tune,
      "Look for the fastest tile sizes when the program is loaded for the first time");
  command->add_option("--tune-seconds", flags.seconds, "How long, for each payload")
      ->check(CLI::Range(0.05, 600.0))
      ->capture_default_str();
  command->add_flag("--no-tuned", flags.none,
                    "Tiles as planned, not as tuned (sconce tune) for this machine");
}

void begin_tuning(const TuningFlags& flags, Progress& progress, TuningOptions& tuning) {
  tuning.use_kept = !flags.none;
  tuning.seconds = flags.tune ? flags.seconds : 0;
  tuning.report = std::make_shared<TuningReport>();
  tuning.progress = [&progress](const std::string& what, double share) {
    progress.show(what, share);
  };
}

std::string tuning_text(const TuningReport& report) {
  std::string text;
  if (report.scheduled > 0)
    text = fmt::format("{} of {} steps run by schedules of {}\n", report.scheduled, report.steps,
                       fmt::join(report.from, ", "));
  if (!report.problem.empty()) text += fmt::format("tuning: {}\n", report.problem);
  return text;
}

void add_tune(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "tune", "Find the tile sizes with which a program is fastest on this machine");
  command->add_option("model", options->model, "A .pte")->required();
  command->add_option("--threads", options->load.module.threads, kThreadsHelp)
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  command->add_option("--seconds", options->seconds, "About how long to look")
      ->check(CLI::Range(0.05, 3600.0))
      ->capture_default_str();
  command->add_option("--data", options->load.module.data_files,
                      "A .ptd with weights that the program does not hold; repeatable");
  command->add_option("--rows", options->rows, "Rows of the table")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  command->add_option("-o,--output", options->output,
                      "Write the program with what was found, for machines like this one");
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "Example:\n  sconce tune model.pte --threads 2\n  sconce tune model.pte -o "
      "tuned.pte\nResults "
      "stay the same, bit for bit. What is found is kept in a folder that run and bench look "
      "into:\n"
      "SCONCE_CACHE, or sconce in XDG_CACHE_HOME, or ~/.cache/sconce.");
  command->callback([options] { run(*options); });
}

}  // namespace sconce::cli
