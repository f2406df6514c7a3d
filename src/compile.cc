// The story of the compiler, in order. Read from top to bottom it is the table of contents.
#include "sconce/compile.h"

#include <chrono>

#include "base/file.h"
#include "emit/emit.h"
#include "import/import.h"
#include "passes/pipeline.h"
#include "targets/target.h"

namespace sconce {
namespace {

class Stages {
 public:
  Stages(const CompileOptions& options, CompileReport* report)
      : options_(options), report_(report) {}

  void begin(const char* stage, double done) {
    end();
    stage_ = stage;
    start_ = std::chrono::steady_clock::now();
    if (options_.progress) options_.progress(stage, done);
  }
  void end() {
    if (stage_.empty()) return;
    std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start_;
    if (report_) report_->stages.push_back({stage_, time.count(), 0});
    stage_.clear();
  }

 private:
  const CompileOptions& options_;
  CompileReport* report_;
  std::string stage_;
  std::chrono::steady_clock::time_point start_;
};

Result<void> compile(const std::vector<CompileInput>& inputs,
                     const std::vector<ConstantMethod>& constants, const std::string& output,
                     const CompileOptions& options, CompileReport* report) {
  Stages stages(options, report);
  const Target* target = find_target(options.target);
  if (!target) {
    std::string known;
    for (const Target& t : all_targets()) known += std::string(known.empty() ? "" : ", ") + t.name;
    return error(Code::invalid_argument, "target \"{}\" is not known; there are {}", options.target,
                 known);
  }
  if (inputs.empty()) return error(Code::invalid_argument, "no input");

  // Read every archive, and make its exported graph functional IR.
  stages.begin("import", 0);
  std::vector<std::unique_ptr<Program>> programs;
  for (const CompileInput& input : inputs) {
    TRY(auto program, import_pt2(input.path, input.method));
    if (options.print && (options.print_after == "import" || options.print_after == "all"))
      options.print(print(*program));
    programs.push_back(std::move(program));
  }

  // Improve it, and rewrite what the target lacks.
  stages.begin("passes", 0.2);
  PassContext context{target->has_node, target->quantized};
  PipelineOptions pipeline_options;
  std::vector<PassRun> runs;
  pipeline_options.runs = &runs;
  pipeline_options.stop_after = options.stop_after;
  pipeline_options.after_pass = [&](const Pass& pass, const Program& program) {
    if (options.print && (options.print_after == pass.name || options.print_after == "all"))
      options.print(fmt::format("# after {}\n{}", pass.name, print(program)));
  };
  for (size_t i = 0; i < programs.size(); i++) {
    Result<void> done = run_pipeline(*programs[i], context, pipeline_options);
    if (!done.ok()) return std::move(done.error()).with_context(inputs[i].path);
  }
  stages.end();
  if (report)
    for (const PassRun& run : runs)
      report->stages.push_back({"  " + run.name, run.milliseconds, run.nodes_after});
  if (!options.stop_after.empty()) return {};

  // Let the target take what it runs as a whole.
  if (target->partition) {
    stages.begin("partition", 0.4);
    for (size_t i = 0; i < programs.size(); i++)
      for (Method& method : programs[i]->methods) {
        Result<void> done = target->partition(*programs[i], method.graph);
        if (!done.ok()) return std::move(done.error()).with_context(inputs[i].path);
      }
  }

  // Plan the memory and lay out the tables.
  stages.begin("emit", 0.6);
  EmitOptions emit_options{options.source_lines};
  std::vector<Emitted> parts;
  for (auto& program : programs) {
    Result<Emitted> part = emit(*program, emit_options);
    if (!part.ok()) return std::move(part.error()).with_context(inputs[parts.size()].path);
    parts.push_back(std::move(*part));
  }
  TRY(Emitted emitted, join(std::move(parts)));
  for (const ConstantMethod& constant : constants)
    emitted.program.methods.push_back(constant_method(constant.name, constant.value));

  // Write the file, whole or not at all.
  stages.begin("write", 0.8);
  TRY(PteFile file, write_pte(emitted.program));
  TRY_VOID(save_file(output, file.pieces));
  stages.end();
  if (report) {
    report->file_bytes = file.bytes;
    for (Bytes bytes : emitted.program.constants) report->constant_bytes += bytes.size();
    for (size_t m = 0; m < emitted.program.methods.size(); m++) {
      const PteMethod& method = emitted.program.methods[m];
      CompileReport::Method entry{method.name, 0, 0,
                                  method.chains.empty() ? 0 : method.chains[0].instructions.size()};
      if (m < emitted.plans.size()) {
        entry.arena_bytes = emitted.plans[m].arena_bytes;
        entry.arena_lower_bound_bytes = emitted.plans[m].lower_bound_bytes;
      }
      report->methods.push_back(entry);
    }
  }
  if (options.progress) options.progress("done", 1);
  return {};
}

}  // namespace

bool compile_file(const std::vector<CompileInput>& inputs,
                  const std::vector<ConstantMethod>& constants, const std::string& output,
                  const CompileOptions& options, CompileReport* report, CompileError* error) {
  Result<void> done = compile(inputs, constants, output, options, report);
  if (done.ok()) return true;
  if (error) *error = {int(done.error().code), done.error().text};
  return false;
}

}  // namespace sconce
