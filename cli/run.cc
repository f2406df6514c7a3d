// sconce run: a .pte and tensors in, tensors out.
#include <optional>
#include <set>

#include "cli.h"
#include "model_tensors.h"
#include "profiler.h"
#include "tuning_options.h"

namespace sconce::cli {
void add_run(CLI::App& app) {
  struct Options {
    std::string model;
    std::vector<std::string> methods = {"forward"};
    std::vector<std::string> inputs, outputs;
    LoadOptions load;
    ProfileFiles profile;
    TuningFlags tuning;
    bool json = false, verbose = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("run", "Run a program on input tensors");
  command->add_option("model", options->model, "A .pte or .bpte")->required();
  command->add_option(
      "--inputs", options->inputs,
      "A .safetensors with input.0, input.1, ... (the tensor inputs in order), or a .npy for one; "
      "repeat it to call the method several times, keeping its state");
  command
      ->add_option("--outputs", options->outputs,
                   "Where output.0, output.1, ... go (results that are numbers: number.POSITION); "
                   ".safetensors, or .npy for one; as often as --inputs")
      ->required();
  command
      ->add_option("--method", options->methods,
                   "Which method to run; repeat it to name one for each call")
      ->capture_default_str();
  command->add_option("--data", options->load.module.data_files,
                      "A .ptd with weights that the program does not hold; repeatable");
  command->add_flag("--share-memories", options->load.module.share_memories,
                    "All methods share the memory of their state");
  command->add_option("--threads", options->load.module.threads, kThreadsHelp)
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  add_tuning_options(command, options->tuning);
  add_profile_options(command, options->profile);
  command->add_flag("--as-is", options->load.as_is,
                    "Run the file as it stands, instead of compiling it anew in memory first");
  command->add_flag("-v,--verbose", options->verbose,
                    "Tell what was compiled anew, and why not where it was not");
  command->add_flag("--json", options->json, "Report as JSON");
  command->footer(
      "Example:\n  sconce run model.pte --inputs in.safetensors --outputs out.safetensors\n"
      "  sconce run model.pte --inputs in.safetensors --outputs out.safetensors --trace t.json");
  command->callback([options] {
    bool json = options->json;
    size_t calls = options->outputs.size();
    if (options->inputs.size() != calls && !(options->inputs.empty() && calls == 1))
      exit_with(error(Code::invalid_argument,
                      "{} times --inputs and {} times --outputs: one of each per call",
                      options->inputs.size(), calls),
                json);
    std::vector<std::string>& methods = options->methods;
    if (methods.size() == 1) methods.resize(calls, methods[0]);
    if (methods.size() != calls)
      exit_with(error(Code::invalid_argument,
                      "{} times --method and {} calls: one for all, or one for each",
                      methods.size(), calls),
                json);
    Progress progress;
    begin_tuning(options->tuning, progress, options->load.module.tuning);
    Module module =
        value_or_exit(open_model(options->model, options->load, options->verbose && !json), json);
    std::optional<Profiler> profiler;
    if (options->profile.wanted()) profiler.emplace(module);
    auto load = [&](const std::string& method) {
      return profiler ? profiler->load_method(method) : module.load_method(method);
    };
    std::set<std::string> loaded;
    for (const std::string& method : methods)
      if (loaded.insert(method).second)
        done_or_exit(load(method).with_context(options->model), json);
    progress.clear();
    if (options->verbose && !json)
      fmt::print("{}", tuning_text(*options->load.module.tuning.report));
    if (json) fmt::print("[");
    for (size_t call = 0; call < calls; call++) {
      const std::string& method = methods[call];
      MethodMeta meta =
          value_or_exit(module.method_meta(method).with_context(options->model), json);
      TensorFile file;
      std::string from = options->inputs.empty() ? "--inputs" : options->inputs[call];
      if (!options->inputs.empty()) file = value_or_exit(load_tensors(from), json);
      std::vector<Argument> inputs =
          value_or_exit(method_inputs(meta, file).with_context(from), json);
      progress.show("running", double(call) / double(calls));
      double start = seconds_now();
      std::vector<Argument> results = value_or_exit(
          (profiler ? profiler->execute(method, inputs) : module.execute(method, inputs))
              .with_context(options->model),
          json);
      double seconds = seconds_now() - start;
      progress.clear();
      std::vector<NamedTensor> outputs = named_results(results);
      done_or_exit(save_tensors(options->outputs[call], outputs), json);
      if (json) {
        fmt::print("{}{{\"method\": {}, \"seconds\": {:.6f}, \"outputs\": [", call ? ", " : "",
                   json_string(method), seconds);
        const char* comma = "";
        for (const NamedTensor& t : outputs) {
          fmt::print("{}{{\"name\": {}, \"dtype\": \"{}\", \"sizes\": [{}]}}", comma,
                     json_string(t.name), dtype_name(t.dtype), fmt::join(t.sizes, ", "));
          comma = ", ";
        }
        fmt::print("]}}");
        continue;
      }
      fmt::print("{} in {:.1f} ms\n", method, seconds * 1e3);
      for (const NamedTensor& t : outputs)
        fmt::print("  {} {}[{}]\n", t.name, dtype_name(t.dtype), fmt::join(t.sizes, ", "));
    }
    if (profiler) done_or_exit(options->profile.save(profiler->runs()), json);
    if (json) fmt::print("]\n");
  });
}

}  // namespace sconce::cli
