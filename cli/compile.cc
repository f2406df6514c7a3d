// sconce compile: .pt2 archives, or programs of stock ExecuTorch, to one .pte.
#include "sconce/compile.h"
#include "cli.h"
#include "targets/target.h"

namespace sconce::cli {

void add_compile(CLI::App& app) {
  struct Options {
    std::vector<std::string> inputs;
    std::string output;
    std::vector<std::string> constants;
    CompileOptions compile;
    bool json = false, verbose = false, no_source_lines = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "compile", "Compile torch.export archives (.pt2), or a .pte anew, to a program (.pte)");
  command
      ->add_option("inputs", options->inputs,
                   "IN.pt2, or METHOD=IN.pt2 for several methods in one file; or IN.pte, of stock "
                   "ExecuTorch or ours: its methods are compiled anew, or kept as they stand where "
                   "that cannot be")
      ->required();
  command->add_option("--data", options->compile.data_files,
                      "A .ptd with weights that an IN.pte does not hold; repeatable");
  command->add_option("--kernels", options->compile.kernel_files,
                      "A file of tile kernels that say which operators of an IN.pt2 they stand for, "
                      "of your own or known ones; repeatable. With --target cpu");
  command->add_option("-o,--output", options->output,
                      "The .pte to write; replaced whole or not at all");
  command->add_option("--weights-file", options->compile.weights_file,
                      "A .ptd to write the weights to instead of the program, which names them: "
                      "give it to --data of sconce run, or to stock's loader");
  std::string targets;
  for (const Target& target : all_targets())
    targets += fmt::format("\n    {:9} {}", target.name, target.description);
  command->add_option("--target", options->compile.target, "What the file is for:" + targets)
      ->capture_default_str();
  std::string preferences;
  for (const PreferName& known : kPreferNames)
    preferences += fmt::format("\n    {:9} {}", known.name, known.description);
  command
      ->add_option("--prefer", options->compile.prefer,
                   "Where speed costs bytes of the file:" + preferences)
      ->capture_default_str();
  command->add_option("--constant-method", options->constants,
                      "NAME=INTEGER: a method that returns a number (get_max_seq_len=128)");
  command->add_option("--print-after", options->compile.print_after,
                      "Print the IR after a pass, after \"import\", or after \"all\"");
  command->add_option("--stop-after", options->compile.stop_after,
                      "Stop after a pass; no file is written");
  command->add_flag("--no-source-lines", options->no_source_lines,
                    "Leave the model's source lines out of the file");
  command->add_flag("-v,--verbose", options->verbose, "Show the time of every stage");
  command->add_flag("--json", options->json, "Report as JSON on standard output");
  command->footer(
      "Example:\n  sconce compile mobilenet_v2.pt2 -o mobilenet_v2.pte --target portable\n"
      "  sconce compile model.pt2 --kernels swiglu.tile -o model.pte\n"
      "  sconce compile prefill=a.pt2 decode=b.pt2 --constant-method get_max_seq_len=128 -o "
      "llm.pte");
  command->callback([options] {
    bool json = options->json;
    std::vector<CompileInput> inputs;
    for (const std::string& text : options->inputs) {
      size_t equals = text.find('=');
      bool named = equals != std::string::npos && text.find('/') > equals;
      inputs.push_back(named ? CompileInput{text.substr(equals + 1), text.substr(0, equals)}
                             : CompileInput{text, ""});
    }
    std::vector<ConstantMethod> constants;
    for (const std::string& text : options->constants) {
      size_t equals = text.find('=');
      char* end = nullptr;
      int64_t value =
          equals == std::string::npos ? 0 : strtoll(text.c_str() + equals + 1, &end, 10);
      if (equals == std::string::npos || equals == 0 || end == text.c_str() + equals + 1 || *end)
        exit_with(
            error(Code::invalid_argument, "--constant-method \"{}\": NAME=INTEGER is wanted", text),
            json);
      constants.push_back({text.substr(0, equals), value});
    }
    if (options->output.empty() && options->compile.stop_after.empty())
      exit_with(error(Code::invalid_argument, "where to write? give -o OUT.pte"), json);
    Progress progress;
    options->compile.source_lines = !options->no_source_lines;
    options->compile.print = [](const std::string& text) { fmt::print("{}\n", text); };
    options->compile.progress = [&](const char* stage, double share) {
      progress.show(stage, share);
    };
    CompileReport report;
    CompileError failure;
    double start = seconds_now();
    bool done =
        compile_file(inputs, constants, options->output, options->compile, &report, &failure);
    progress.clear();
    if (!done) exit_with(Error{Code(failure.code), failure.text}, json);
    double seconds = seconds_now() - start;
    if (json) {
      fmt::print(
          "{{\"output\": {}, \"target\": {}, \"bytes\": {}, \"constant_bytes\": {}, "
          "\"weights_file_bytes\": {}, \"seconds\": {:.4f}, \"methods\": [",
          json_string(options->output), json_string(options->compile.target), report.file_bytes,
          report.constant_bytes, report.weights_file_bytes, seconds);
      const char* comma = "";
      for (const auto& m : report.methods) {
        fmt::print(
            "{}{{\"name\": {}, \"instructions\": {}, \"arena_bytes\": {}, "
            "\"arena_lower_bound_bytes\": {}}}",
            comma, json_string(m.name), m.instructions, m.arena_bytes, m.arena_lower_bound_bytes);
        comma = ", ";
      }
      fmt::print("], \"stages\": [");
      comma = "";
      for (const auto& s : report.stages) {
        fmt::print("{}{{\"stage\": {}, \"milliseconds\": {:.3f}}}", comma, json_string(s.stage),
                   s.milliseconds);
        comma = ", ";
      }
      fmt::print("], \"as_is\": [");
      comma = "";
      for (const auto& m : report.as_is) {
        fmt::print("{}{{\"method\": {}, \"reason\": {}}}", comma, json_string(m.method),
                   json_string(m.reason));
        comma = ", ";
      }
      fmt::print("]}}\n");
      return;
    }
    for (const auto& m : report.as_is)
      fmt::print("method {} stays as it stands: {}\n", m.method, m.reason);
    if (options->output.empty() || !options->compile.stop_after.empty()) return;
    fmt::print("{}: {}, {} of it constants, in {:.2f} s\n", options->output,
               human_bytes(report.file_bytes), human_bytes(report.constant_bytes), seconds);
    if (report.weights_file_bytes)
      fmt::print("{}: {}\n", options->compile.weights_file, human_bytes(report.weights_file_bytes));
    for (const auto& m : report.methods)
      fmt::print("  {}: {} instructions, {} of working memory (no plan needs less than {})\n",
                 m.name, m.instructions, human_bytes(m.arena_bytes),
                 human_bytes(m.arena_lower_bound_bytes));
    if (options->verbose)
      for (const auto& s : report.stages)
        fmt::print("  {:32} {:9.2f} ms\n", s.stage, s.milliseconds);
  });
}

}  // namespace sconce::cli
