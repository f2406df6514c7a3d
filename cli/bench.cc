// sconce bench: how long a method takes, and which operators take it.
#include <algorithm>
#include <map>

#include "cli.h"
#include "model_tensors.h"
#include "profiler.h"
#include "tuning_options.h"

namespace sconce::cli {
namespace {

// Runs that are recorded for the tables.
constexpr int kProfiledRunsMax = 10;

struct OpTime {
  int64_t calls = 0;
  double seconds = 0;
};

// Of the quickest run, by name.
std::map<std::string, OpTime> operator_times(const std::vector<ProfileRun>& runs) {
  std::map<std::string, OpTime> ops;
  const ProfileRun* quickest = nullptr;
  for (const ProfileRun& run : runs)
    if (!run.is_load && (!quickest || run.seconds() < quickest->seconds())) quickest = &run;
  if (!quickest) return ops;
  for (const ProfileEvent& event : quickest->events) {
    if (event.is_step) continue;
    std::string name = *event.name ? event.name : "control flow";
    if (*event.overload) name += std::string(".") + event.overload;
    OpTime& op = ops[name];
    op.calls++;
    op.seconds += event.seconds();
  }
  return ops;
}

struct StepTime {
  std::string name, source;
  double seconds = 0;
};

// Steps of backends in the order in which they ran, each with the least of its times.
std::vector<StepTime> step_times(const std::vector<ProfileRun>& runs) {
  std::vector<StepTime> steps;
  for (const ProfileRun& run : runs) {
    size_t next = 0;
    for (const ProfileEvent& event : run.events) {
      if (!event.is_step) continue;
      if (next == steps.size()) steps.push_back({event.name, event.source, event.seconds()});
      StepTime& known = steps[next++];
      known.seconds = std::min(known.seconds, event.seconds());
    }
  }
  return steps;
}

double quantile(const std::vector<double>& sorted, double q) {
  return sorted[std::min(sorted.size() - 1, size_t(q * double(sorted.size())))];
}

}  // namespace

void add_bench(CLI::App& app) {
  struct Options {
    std::string model, inputs, method = "forward";
    int runs = 10, warmup = 2, rows = 20;
    LoadOptions load;
    ProfileFiles profile;
    TuningFlags tuning;
    bool json = false, verbose = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "bench", "Time a program: median and spread, and a table of its operators");
  command->add_option("model", options->model, "A .pte or .bpte")->required();
  command->add_option("--inputs", options->inputs,
                      "Input tensors as for run; made up at the largest sizes when left out");
  command->add_option("--method", options->method, "Which method")->capture_default_str();
  command->add_option("--threads", options->load.module.threads, kThreadsHelp)
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  command->add_option("--runs", options->runs, "Timed runs")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--warmup", options->warmup, "Runs before them that do not count")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command->add_option("--rows", options->rows, "Rows of the table of a backend's slowest steps")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  add_tuning_options(command, options->tuning);
  add_profile_options(command, options->profile);
  command->add_flag("--as-is", options->load.as_is,
                    "Run the file as it stands, instead of compiling it anew in memory first");
  command->add_flag("-v,--verbose", options->verbose,
                    "Tell what was compiled anew, and why not where it was not");
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "Example:\n  sconce bench model.pte --runs 20 --trace trace.json\nThe profile is of further "
      "runs, after those that are timed.");
  command->callback([options] {
    bool json = options->json;
    Progress progress;
    begin_tuning(options->tuning, progress, options->load.module.tuning);
    LoadReport report;
    Module module = value_or_exit(
        open_model(options->model, options->load, options->verbose && !json, &report), json);
    MethodMeta meta =
        value_or_exit(module.method_meta(options->method).with_context(options->model), json);
    std::vector<std::vector<uint8_t>> storage;
    TensorFile file;
    std::vector<Argument> inputs;
    if (options->inputs.empty()) {
      inputs = made_up_inputs(meta, &storage);
    } else {
      file = value_or_exit(load_tensors(options->inputs), json);
      inputs = value_or_exit(method_inputs(meta, file).with_context(options->inputs), json);
    }
    std::vector<ProfileRun> profiled;
    {
      Profiler profiler(module);
      done_or_exit(profiler.load_method(options->method).with_context(options->model), json);
      profiled = profiler.runs();
    }
    double load_seconds = profiled[0].seconds();
    std::vector<double> times;
    int total = options->warmup + options->runs;
    for (int run = 0; run < total; run++) {
      double start = seconds_now();
      value_or_exit(module.execute(options->method, inputs).with_context(options->model), json);
      if (run >= options->warmup) times.push_back(seconds_now() - start);
      progress.show("timing", double(run + 1) / double(total + 1));
    }
    {
      Profiler profiler(module);
      for (int run = 0; run < std::min(options->runs, kProfiledRunsMax); run++)
        value_or_exit(profiler.execute(options->method, inputs).with_context(options->model), json);
      profiled.insert(profiled.end(), profiler.runs().begin(), profiler.runs().end());
    }
    std::map<std::string, OpTime> ops = operator_times(profiled);
    std::vector<StepTime> steps = step_times(profiled);
    done_or_exit(options->profile.save(profiled), json);
    progress.clear();
    std::sort(times.begin(), times.end());
    std::vector<std::pair<std::string, OpTime>> rows(ops.begin(), ops.end());
    std::sort(rows.begin(), rows.end(),
              [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
    double sum = 0;
    for (const auto& row : rows) sum += row.second.seconds;
    if (json) {
      fmt::print(
          "{{\"method\": {}, \"threads\": {}, \"compiled_anew_ms\": {:.4f}, \"load_ms\": {:.4f}, "
          "\"scheduled_steps\": {}, \"runs\": {}, \"min_ms\": "
          "{:.4f}, \"median_ms\": {:.4f}, \"p10_ms\": {:.4f}, \"p90_ms\": {:.4f}, \"operators\": [",
          json_string(options->method), options->load.module.threads, report.milliseconds,
          load_seconds * 1e3, options->load.module.tuning.report->scheduled, times.size(),
          times[0] * 1e3, quantile(times, 0.5) * 1e3, quantile(times, 0.1) * 1e3,
          quantile(times, 0.9) * 1e3);
      const char* comma = "";
      for (const auto& [name, op] : rows) {
        fmt::print("{}{{\"name\": {}, \"calls\": {}, \"ms\": {:.4f}}}", comma, json_string(name),
                   op.calls, op.seconds * 1e3);
        comma = ", ";
      }
      fmt::print("], \"steps\": [");
      comma = "";
      for (const StepTime& step : steps) {
        fmt::print("{}{{\"name\": {}, \"source\": {}, \"ms\": {:.4f}}}", comma,
                   json_string(step.name), json_string(step.source), step.seconds * 1e3);
        comma = ", ";
      }
      fmt::print("]}}\n");
      return;
    }
    fmt::print(
        "{}: median {:.3f} ms, from {:.3f} to {:.3f} (10 % to 90 %), least {:.3f}; {} runs, {} "
        "thread(s), loaded in {:.3f} ms\n",
        options->method, quantile(times, 0.5) * 1e3, quantile(times, 0.1) * 1e3,
        quantile(times, 0.9) * 1e3, times[0] * 1e3, times.size(), options->load.module.threads,
        load_seconds * 1e3);
    for (const auto& [name, op] : rows)
      fmt::print("  {:5.1f} %  {:10.3f} ms  {:6} x  {}\n", op.seconds / sum * 100, op.seconds * 1e3,
                 op.calls, name);
    fmt::print("{}", tuning_text(*options->load.module.tuning.report));
    if (steps.empty() || options->rows == 0) return;
    double total_seconds = 0;
    for (const StepTime& step : steps) total_seconds += step.seconds;
    std::vector<StepTime> slowest = steps;
    std::stable_sort(slowest.begin(), slowest.end(),
                     [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
    slowest.resize(std::min(slowest.size(), size_t(options->rows)));
    fmt::print("{} steps, least times {:.3f} ms together; the slowest:\n", steps.size(),
               total_seconds * 1e3);
    for (const StepTime& step : slowest)
      fmt::print("  {:5.1f} %  {:10.3f} ms  {:6}  {}\n", step.seconds / total_seconds * 100,
                 step.seconds * 1e3, step.name, step.source);
  });
}

}  // namespace sconce::cli
