// sconce bench: how long a method takes, and which operators take it.
#include <algorithm>
#include <map>

#include "cli.h"
#include "model_tensors.h"

namespace sconce::cli {
namespace {

struct OpTime {
  int64_t calls = 0;
  double seconds = 0;
};

// Collects the time of every instruction of one run.
struct Observer {
  double start = 0;
  std::map<std::string, OpTime>* ops = nullptr;
  static void before(void* context, const Step&) {
    static_cast<Observer*>(context)->start = seconds_now();
  }
  static void after(void* context, const Step& step) {
    auto* self = static_cast<Observer*>(context);
    double seconds = seconds_now() - self->start;
    std::string name = step.name && *step.name ? step.name : "control flow";
    if (step.overload && *step.overload) name += std::string(".") + step.overload;
    OpTime& op = (*self->ops)[name];
    op.calls++;
    op.seconds += seconds;
  }
};

// Steps of backends in the order in which they ran, each with the least of its times.
struct Steps {
  struct Step {
    std::string name, source;
    double seconds = 0;
  };
  std::vector<Step> steps;
  size_t next = 0;
  static void on_step(void* context, const DelegateStep& step) {
    auto* self = static_cast<Steps*>(context);
    if (self->next == self->steps.size())
      self->steps.push_back({step.name, step.source, step.seconds});
    Step& known = self->steps[self->next++];
    known.seconds = std::min(known.seconds, step.seconds);
  }
};

double quantile(const std::vector<double>& sorted, double q) {
  return sorted[std::min(sorted.size() - 1, size_t(q * double(sorted.size())))];
}

}  // namespace

void add_bench(CLI::App& app) {
  struct Options {
    std::string model, inputs, method = "forward";
    int runs = 10, warmup = 2, rows = 20;
    ModuleOptions module;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "bench", "Time a program: median and spread, and a table of its operators");
  command->add_option("model", options->model, "A .pte or .bpte")->required();
  command->add_option("--inputs", options->inputs,
                      "Input tensors as for run; made up at the largest sizes when left out");
  command->add_option("--method", options->method, "Which method")->capture_default_str();
  command->add_option("--threads", options->module.threads, kThreadsHelp)
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
  command->add_flag("--json", options->json, "As JSON");
  command->footer("Example:\n  sconce bench model.pte --runs 20");
  command->callback([options] {
    bool json = options->json;
    Progress progress;
    Module module = value_or_exit(Module::load(options->model, options->module), json);
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
    double load_start = seconds_now();
    done_or_exit(module.load_method(options->method).with_context(options->model), json);
    double load_seconds = seconds_now() - load_start;
    std::vector<double> times;
    int total = options->warmup + options->runs;
    for (int run = 0; run < total; run++) {
      double start = seconds_now();
      value_or_exit(module.execute(options->method, inputs).with_context(options->model), json);
      if (run >= options->warmup) times.push_back(seconds_now() - start);
      progress.show("timing", double(run + 1) / double(total + 1));
    }
    std::map<std::string, OpTime> ops;
    Observer observer;
    observer.ops = &ops;
    module.set_observer(Observer::before, Observer::after, &observer);
    value_or_exit(module.execute(options->method, inputs).with_context(options->model), json);
    module.set_observer(nullptr, nullptr, nullptr);
    Steps steps;
    module.set_step_observer(Steps::on_step, &steps);
    for (int run = 0; run < std::min(options->runs, 10); run++) {
      steps.next = 0;
      value_or_exit(module.execute(options->method, inputs).with_context(options->model), json);
      if (steps.steps.empty()) break;
    }
    module.set_step_observer(nullptr, nullptr);
    progress.clear();
    std::sort(times.begin(), times.end());
    std::vector<std::pair<std::string, OpTime>> rows(ops.begin(), ops.end());
    std::sort(rows.begin(), rows.end(),
              [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
    double sum = 0;
    for (const auto& row : rows) sum += row.second.seconds;
    if (json) {
      fmt::print(
          "{{\"method\": {}, \"threads\": {}, \"load_ms\": {:.4f}, \"runs\": {}, \"min_ms\": "
          "{:.4f}, \"median_ms\": {:.4f}, \"p10_ms\": {:.4f}, \"p90_ms\": {:.4f}, \"operators\": [",
          json_string(options->method), options->module.threads, load_seconds * 1e3, times.size(),
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
      for (const Steps::Step& step : steps.steps) {
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
        quantile(times, 0.9) * 1e3, times[0] * 1e3, times.size(), options->module.threads,
        load_seconds * 1e3);
    for (const auto& [name, op] : rows)
      fmt::print("  {:5.1f} %  {:10.3f} ms  {:6} x  {}\n", op.seconds / sum * 100, op.seconds * 1e3,
                 op.calls, name);
    if (steps.steps.empty() || options->rows == 0) return;
    double total_seconds = 0;
    for (const Steps::Step& step : steps.steps) total_seconds += step.seconds;
    std::vector<Steps::Step> slowest = steps.steps;
    std::stable_sort(slowest.begin(), slowest.end(),
                     [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
    slowest.resize(std::min(slowest.size(), size_t(options->rows)));
    fmt::print("{} steps, least times {:.3f} ms together; the slowest:\n", steps.steps.size(),
               total_seconds * 1e3);
    for (const Steps::Step& step : slowest)
      fmt::print("  {:5.1f} %  {:10.3f} ms  {:6}  {}\n", step.seconds / total_seconds * 100,
                 step.seconds * 1e3, step.name, step.source);
  });
}

}  // namespace sconce::cli
