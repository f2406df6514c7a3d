// sconce quantize: a float model and samples of its inputs to a program of integers, and a report.
#include "sconce/quantize.h"

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "cli.h"
#include "named_tensors.h"
#include "targets/target.h"

namespace sconce::cli {
namespace {

// A file of tensors, or all of them in a folder, by name.
Result<std::vector<std::string>> sample_paths(const std::string& path) {
  std::error_code code;
  if (!std::filesystem::is_directory(path, code)) return std::vector<std::string>{path};
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(path, code)) {
    std::string name = entry.path().string();
    if (name.ends_with(".safetensors") || name.ends_with(".npy")) paths.push_back(name);
  }
  if (code) return error(Code::io, "{}: {}", path, code.message());
  if (paths.empty())
    return error(Code::not_found, "{}: there is no .safetensors or .npy in this folder", path);
  std::sort(paths.begin(), paths.end());
  return paths;
}

void print_json(const std::string& output, const QuantizeReport& report) {
  fmt::print(
      "{{\"output\": {}, \"scheme\": {}, \"target\": {}, \"observer\": {}, \"samples\": {}, "
      "\"seconds\": {:.3f}, \"file_bytes_before\": {}, \"file_bytes_after\": {}, "
      "\"weight_bytes_before\": {}, \"weight_bytes_after\": {}, \"outputs\": [",
      json_string(output), json_string(report.scheme), json_string(report.target),
      json_string(report.observer), report.samples, report.seconds, report.file_bytes_before,
      report.file_bytes_after, report.weight_bytes_before, report.weight_bytes_after);
  const char* comma = "";
  for (const auto& o : report.outputs) {
    fmt::print("{}{{\"sqnr_db\": {:.3f}, \"error\": {:.6g}, \"cosine\": {:.8f}}}", comma, o.sqnr_db,
               o.error, o.cosine);
    comma = ", ";
  }
  fmt::print("], \"layers\": [");
  comma = "";
  for (const auto& l : report.layers) {
    fmt::print(
        "{}{{\"name\": {}, \"op\": {}, \"bits\": {}, \"group\": {}, \"activations\": {}, "
        "\"why_float\": {}, \"weight_bytes_before\": {}, \"weight_bytes_after\": {}, "
        "\"sqnr_alone_db\": {:.3f}, \"sqnr_db\": {:.3f}}}",
        comma, json_string(l.name), json_string(l.op), l.bits, l.group, json_string(l.activations),
        json_string(l.why_float), l.weight_bytes_before, l.weight_bytes_after, l.sqnr_alone_db,
        l.sqnr_db);
    comma = ", ";
  }
  fmt::print("], \"caches\": [");
  comma = "";
  for (const auto& c : report.caches) {
    fmt::print("{}{{\"name\": {}, \"why_float\": {}, \"bytes_before\": {}, \"bytes_after\": {}}}",
               comma, json_string(c.name), json_string(c.why_float), c.bytes_before, c.bytes_after);
    comma = ", ";
  }
  fmt::print("], \"notes\": [");
  comma = "";
  for (const std::string& note : report.notes) {
    fmt::print("{}{}", comma, json_string(note));
    comma = ", ";
  }
  fmt::print("]}}\n");
}

}  // namespace

void add_quantize(CLI::App& app) {
  struct Options {
    std::string input, output, page;
    std::vector<std::string> samples;
    QuantizeOptions quantize;
    bool json = false, no_gptq = false, no_bias = false, no_sensitivity = false, no_source = false;
  };
  auto options = std::make_shared<Options>();
  QuantizeOptions& quantize = options->quantize;
  CLI::App* command = app.add_subcommand(
      "quantize", "Make a float model (.pt2) a program (.pte), or a .pt2, of int8 or int4");
  command->add_option("input", options->input, "IN.pt2, or METHOD=IN.pt2")->required();
  command
      ->add_option("-o,--output", options->output,
                   "The .pte to write, or a .pt2 for torch; replaced whole or not at all")
      ->required();
  command->add_option("--calibrate", options->samples,
                      "Samples of the model's inputs: a .safetensors with input.0, input.1, ... "
                      "(each of the input's sizes, or many along the first dimension or one in "
                      "front), a .npy for one input, or a folder of these; repeatable")
      ->allow_extra_args(false);
  std::string schemes;
  for (const QuantizationScheme& s : quantization_schemes())
    schemes += fmt::format("\n    {:18} {}", s.name, s.about);
  command->add_option("--scheme", quantize.scheme, "What becomes integers:" + schemes)
      ->capture_default_str();
  command
      ->add_option("--kv-cache", quantize.kv_cache,
                   "Caches of keys and values: float, or int8 with a scale for each row")
      ->capture_default_str();
  std::string targets;
  for (const Target& target : all_targets())
    targets += fmt::format("\n    {:9} {}", target.name, target.description);
  command->add_option("--target", quantize.target, "What the file is for:" + targets)
      ->capture_default_str();
  command
      ->add_option("--observer", quantize.observer,
                   "How ranges are chosen: min-max, moving-average, percentile, kl, mse")
      ->capture_default_str();
  command
      ->add_option("--percentile", quantize.percentile,
                   "Share of the numbers in percentile's range, in %")
      ->capture_default_str();
  command->add_option("--keep", quantize.keep,
                      "Layers that stay float: a name or an operator, * and ? stand for text; "
                      "repeatable")
      ->allow_extra_args(false);
  command->add_option("--max-error", quantize.max_error,
                      "Keep layers float until the outputs' relative error (RMS, on the samples) "
                      "is this at most");
  command->add_option("--max-size", quantize.max_size,
                      "Give layers 4 bits until the file has this many bytes at most");
  command->add_flag("--equalize", quantize.equalize,
                    "Even out channel ranges between convolutions first");
  command
      ->add_option("--smooth", quantize.smooth,
                   "Share of outliers that moves from norms into the linears after them; 0: none")
      ->capture_default_str();
  command->add_flag("--no-gptq", options->no_gptq,
                    "Round 4-bit weights to the nearest, whatever the samples are");
  command->add_flag("--no-bias-correction", options->no_bias, "Leave biases as they are");
  command->add_flag("--no-sensitivity", options->no_sensitivity, "Do not measure each layer");
  command->add_option("--report", options->page, "Write the report as a page (.html) with plots");
  command->add_option("--threads", quantize.threads, kThreadsHelp)->capture_default_str();
  command->add_flag("--no-source-lines", options->no_source,
                    "Leave the model's source lines out of the file");
  command->add_flag("--json", options->json, "Report as JSON on standard output");
  command->footer(
      "Example:\n"
      "  sconce quantize resnet.pt2 -o resnet.pte --calibrate pictures.safetensors\n"
      "  sconce quantize bert.pt2 -o bert.pte --scheme int8-dynamic\n"
      "  sconce quantize bert.pt2 -o bert.pte --scheme int4-dynamic-g32 --calibrate texts/ \\\n"
      "      --max-error 0.1 --report bert.html\n"
      "  sconce quantize bert.pt2 -o bert.int8.pt2 --scheme int8-dynamic\n"
      "  sconce quantize llama.pt2 -o llama.pte --target cpu --scheme float --kv-cache int8");
  command->callback([options] {
    bool json = options->json;
    QuantizeOptions& quantize = options->quantize;
    quantize.gptq = !options->no_gptq;
    quantize.bias_correction = !options->no_bias;
    quantize.sensitivity = !options->no_sensitivity;
    quantize.source_lines = !options->no_source;
    std::vector<TensorFile> files;
    std::vector<CalibrationFile> samples;
    Progress progress;
    for (const std::string& from : options->samples)
      for (const std::string& path : value_or_exit(sample_paths(from), json)) {
        files.push_back(value_or_exit(load_tensors(path), json));
        CalibrationFile file{path, {}};
        for (const NamedTensor& t : files.back().tensors)
          file.tensors.push_back({t.name, t.dtype, t.sizes, t.bytes});
        samples.push_back(std::move(file));
      }
    size_t equals = options->input.find('=');
    bool named = equals != std::string::npos && options->input.find('/') > equals;
    CompileInput input =
        named ? CompileInput{options->input.substr(equals + 1), options->input.substr(0, equals)}
              : CompileInput{options->input, ""};
    quantize.progress = [&](const char* stage, double share) { progress.show(stage, share); };
    QuantizeReport report;
    CompileError failure;
    bool done = quantize_file(input, samples, options->output, quantize, &report, &failure);
    progress.clear();
    if (!done) exit_with(Error{Code(failure.code), failure.text}, json);
    if (!options->page.empty()) {
      std::string page = report_html(report, options->input);
      done_or_exit(save_file(options->page,
                             Bytes(reinterpret_cast<const uint8_t*>(page.data()), page.size())),
                   json);
    }
    if (json)
      print_json(options->output, report);
    else
      fmt::print("{}", report_text(report));
  });
}

}  // namespace sconce::cli
