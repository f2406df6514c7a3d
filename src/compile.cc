// The story of the compiler, in order. Read from top to bottom it is the table of contents.
#include "sconce/compile.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "base/file.h"
#include "base/output_file.h"
#include "compile_normalized.h"
#include "emit/emit.h"
#include "emit/external_weights.h"
#include "formats/ptd/ptd.h"
#include "import/import.h"
#include "import/pte/import_pte.h"
#include "ops/own_kernel.h"
#include "passes/pipeline.h"
#include "sconce/tile.h"
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

// One method on its way: IR, and then the tables of the file. A method of a .pte that cannot be
// taken further than it is stays as it stands.
struct Part {
  std::string path;
  std::string method;
  std::unique_ptr<Program> program;  // null: as it stands
  Emitted emitted;
  bool from_pte = false;
  Emitted as_is;  // of a .pte: the method as the file has it
};

// Errors end the compilation, but for methods that can stay as they stand.
Result<void> give_up(Part& part, Error problem, CompileReport* report) {
  if (!part.from_pte) return std::move(problem).with_context(part.path);
  if (report) report->as_is.push_back({part.method, problem.text});
  part.program.reset();
  return {};
}

// The kernels of files that stand for operators; of one operator one.
Result<OwnKernels> read_own_kernels(const std::vector<std::string>& paths) {
  OwnKernels all;
  for (const std::string& path : paths) {
    TRY(MappedFile file, map_file(path));
    std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
    TRY(std::vector<tile::Kernel> kernels, kernels::parse_kernels(text).with_context(path));
    bool any = false;
    for (tile::Kernel& kernel : kernels) {
      const std::string& op = kernel.stands_for.name;
      if (op.empty()) continue;
      any = true;
      if (auto other = find_own_kernel(all, op))
        return error(Code::invalid_argument, "{}: kernels {} and {} stand for {}; one is wanted",
                     path, other->name, kernel.name, op);
      all.push_back(std::make_shared<const tile::Kernel>(std::move(kernel)));
    }
    if (!any)
      return error(Code::invalid_argument,
                   "{}: no kernel says which operator it stands for: a line \"operator "
                   "mylib::op(x, y)\" is wanted in one",
                   path);
  }
  return all;
}

// A .pte holds its identifier behind the offset of its root, an archive starts with PK.
bool is_pte(Bytes file) {
  return file.size() >= 8 && file[4] == 'E' && file[5] == 'T' && file[6] >= '0' && file[6] <= '9';
}

// True when the rules of a method's inputs are about sizes, and these sizes keep them.
bool sizes_keep(const PteMethodConstraints& constraints,
                const std::vector<std::vector<int32_t>>& sizes) {
  auto find = [&](uint32_t input, uint32_t dim) -> std::optional<int64_t> {
    if (input >= sizes.size() || dim >= sizes[input].size()) return std::nullopt;
    return sizes[input][dim];
  };
  for (const PteDimRule& rule : constraints.rules) {
    auto size = find(rule.input, rule.dim);
    if (!size || *size < rule.min || *size > rule.max ||
        (rule.divisor > 1 && *size % rule.divisor != rule.remainder))
      return false;
    if (!rule.related) continue;
    auto other = find(rule.other_input, rule.other_dim);
    if (!other || *size * rule.own_scale != *other * rule.other_scale + rule.offset) return false;
  }
  return true;
}

Result<void> add_pte(std::shared_ptr<MappedFile> file, const CompileInput& input,
                     const CompileOptions& options, std::vector<Part>* parts,
                     CompileReport* report) {
  TRY(PteProgram program, read_pte(file->bytes()));
  auto data_files = std::make_shared<std::vector<MappedFile>>();
  std::map<std::string, Bytes> external;
  for (const std::string& path : options.data_files) {
    TRY(MappedFile mapped, map_file(path));
    TRY(std::vector<PtdEntry> entries, read_ptd(mapped.bytes()).with_context(path));
    data_files->push_back(std::move(mapped));
    for (PtdEntry& entry : entries) external.emplace(std::move(entry.key), entry.bytes);
  }
  std::vector<PteMethodConstraints> constraints;
  std::erase_if(program.named_data, [&](const PteNamedData& data) {
    if (data.key != kConstraintsKey) return false;
    if (auto read = read_constraints(data.data); read.ok()) constraints = std::move(*read);
    return true;
  });
  bool found = false;
  for (const PteMethod& method : program.methods) {
    if (!input.method.empty() && input.method != method.name) continue;
    found = true;
    Part part;
    part.path = input.path;
    part.method = method.name;
    part.from_pte = true;
    part.as_is.program = program;
    part.as_is.program.methods = {method};
    PteImportOptions import_options;
    import_options.input_sizes = options.input_sizes;
    import_options.find_external = [&](const std::string& name) {
      auto entry = external.find(name);
      return entry == external.end() ? Bytes() : entry->second;
    };
    const PteMethodConstraints* rules = nullptr;
    for (const PteMethodConstraints& c : constraints)
      if (c.method == method.name) rules = &c;
    if (rules && !options.input_sizes.empty() && !sizes_keep(*rules, options.input_sizes)) {
      TRY_VOID(give_up(part, error(Code::invalid_argument, "sizes that its rules refuse"), report));
      parts->push_back(std::move(part));
      continue;
    }
    if (rules) {
      part.as_is.constraints.push_back(*rules);
      import_options.input_names = rules->input_names;
    }
    auto imported = import_pte_method(program, method, import_options);
    if (imported.ok()) {
      part.program = std::move(*imported);
      part.program->keep_alive.push_back(file);
      part.program->keep_alive.push_back(data_files);
    } else {
      TRY_VOID(give_up(part, std::move(imported.error()), report));
    }
    parts->push_back(std::move(part));
  }
  if (!found) return error(Code::not_found, "there is no method \"{}\"", input.method);
  return {};
}

struct Compiled {
  PteFile file;
  std::optional<PtdFile> weights;
  std::vector<Part> parts;  // own what `file` views
  Emitted emitted;
  std::vector<std::shared_ptr<const void>> keep_alive;
  bool changed = true;  // some method is not as it was
};

// The way from IR to the file. `start_after` names a pass that the programs have behind them.
Result<void> finish(Compiled& compiled, const Target* target,
                    const std::vector<ConstantMethod>& constants, const CompileOptions& options,
                    const std::string& start_after, CompileReport* report);

Result<Prefer> known_prefer(const std::string& name) {
  if (std::optional<Prefer> prefer = find_prefer(name)) return *prefer;
  std::string known;
  for (const PreferName& p : kPreferNames) known += std::string(known.empty() ? "" : ", ") + p.name;
  return error(Code::invalid_argument, "prefer \"{}\" is not known; there are {}", name, known);
}

Result<Compiled> compile(const std::vector<CompileInput>& inputs,
                         const std::vector<ConstantMethod>& constants,
                         const CompileOptions& options, CompileReport* report) {
  Stages stages(options, report);
  TRY(const Target* target, known_target(options.target));
  TRY_VOID(known_prefer(options.prefer));
  if (inputs.empty()) return error(Code::invalid_argument, "no input");

  TRY(OwnKernels kernels, read_own_kernels(options.kernel_files));

  // Read every file, and make its graphs functional IR.
  stages.begin("import", 0);
  Compiled compiled;
  std::vector<Part>& parts = compiled.parts;
  for (const CompileInput& input : inputs) {
    TRY(MappedFile mapped, map_file(input.path));
    auto file = std::make_shared<MappedFile>(std::move(mapped));
    if (is_pte(file->bytes())) {
      compiled.keep_alive.push_back(file);
      TRY_VOID(add_pte(file, input, options, &parts, report).with_context(input.path));
    } else {
      Part part;
      part.path = input.path;
      part.method = input.method.empty() ? "forward" : input.method;
      TRY(part.program, import_pt2(input.path, part.method, kernels));
      parts.push_back(std::move(part));
    }
  }
  if (options.print && (options.print_after == "import" || options.print_after == "all"))
    for (const Part& part : parts)
      if (part.program) options.print(print(*part.program));

  bool is_any_exported =
      std::any_of(parts.begin(), parts.end(), [](const Part& part) { return !part.from_pte; });
  if (!kernels.empty() && !is_any_exported)
    return error(Code::invalid_argument,
                 "{}: kernels stand for operators of exported models; no input is a .pt2",
                 options.kernel_files[0]);
  stages.end();
  TRY_VOID(finish(compiled, target, constants, options, "", report));
  return compiled;
}

Result<void> finish(Compiled& compiled, const Target* target,
                    const std::vector<ConstantMethod>& constants, const CompileOptions& options,
                    const std::string& start_after, CompileReport* report) {
  Stages stages(options, report);
  TRY(const Prefer prefer, known_prefer(options.prefer));
  std::vector<Part>& parts = compiled.parts;
  for (const Part& part : parts)
    if (part.program && !part.program->own_kernels.empty() && !target->own_kernels) {
      const tile::Kernel& kernel = *part.program->own_kernels[0];
      return error(Code::unsupported,
                   "{}: operator {}: kernel {} stands for it, and target {} runs no tile kernels; "
                   "target cpu does",
                   part.path, kernel.stands_for.name, kernel.name, target->name);
    }

  // Improve it, and rewrite what the target lacks.
  stages.begin("passes", 0.2);
  PassContext context{target->has_node, target->quantized};
  PipelineOptions pipeline_options;
  std::vector<PassRun> runs;
  pipeline_options.runs = &runs;
  pipeline_options.start_after = start_after;
  pipeline_options.stop_after = options.stop_after;
  pipeline_options.after_pass = [&](const Pass& pass, const Program& program) {
    if (options.print && (options.print_after == pass.name || options.print_after == "all"))
      options.print(fmt::format("# after {}\n{}", pass.name, print(program)));
  };
  for (Part& part : parts) {
    if (!part.program) continue;
    Result<void> done = run_pipeline(*part.program, context, pipeline_options);
    if (!done.ok()) TRY_VOID(give_up(part, std::move(done.error()), report));
  }
  stages.end();
  if (report)
    for (const PassRun& run : runs)
      report->stages.push_back({"  " + run.name, run.milliseconds, run.nodes_after});
  if (!options.stop_after.empty()) return {};

  // Let the target take what it runs as a whole.
  if (target->partition) {
    stages.begin("partition", 0.4);
    for (Part& part : parts) {
      if (!part.program) continue;
      Result<void> done = target->partition(*part.program, part.program->methods[0].graph, prefer);
      if (!done.ok()) TRY_VOID(give_up(part, std::move(done.error()), report));
    }
  }

  // Plan the memory and lay out the tables.
  stages.begin("emit", 0.6);
  EmitOptions emit_options{options.source_lines};
  std::vector<Emitted> pieces;
  for (Part& part : parts) {
    if (part.program) {
      Result<Emitted> emitted = emit(*part.program, emit_options);
      if (emitted.ok()) {
        pieces.push_back(std::move(*emitted));
        continue;
      }
      TRY_VOID(give_up(part, std::move(emitted.error()), report));
    }
    pieces.push_back(std::move(part.as_is));
    pieces.back().plans.resize(1);
  }
  compiled.changed = std::any_of(parts.begin(), parts.end(),
                                 [](const Part& part) { return part.program != nullptr; });
  TRY(compiled.emitted, join(std::move(pieces)));
  for (const ConstantMethod& constant : constants)
    compiled.emitted.program.methods.push_back(constant_method(constant.name, constant.value));

  stages.begin("write", 0.8);
  if (report)
    for (Bytes bytes : compiled.emitted.program.constants) report->constant_bytes += bytes.size();
  if (!options.weights_file.empty()) {
    std::vector<PtdEntry> entries = take_weights_out(compiled.emitted.program);
    TRY(compiled.weights, write_ptd(entries).with_context(options.weights_file));
  }
  TRY(compiled.file, write_pte(compiled.emitted.program));
  stages.end();
  if (report) {
    const Emitted& emitted = compiled.emitted;
    report->file_bytes = compiled.file.bytes;
    if (compiled.weights) report->weights_file_bytes = compiled.weights->bytes;
    for (size_t m = 0; m < emitted.program.methods.size(); m++) {
      const PteMethod& method = emitted.program.methods[m];
      CompileReport::Method entry{method.name, 0, 0,
                                  method.chains.empty() ? 0 : method.chains[0].instructions.size()};
      if (m < emitted.plans.size()) {
        entry.arena_bytes = emitted.plans[m].arena_bytes;
        entry.arena_lower_bound_bytes = emitted.plans[m].lower_bound_bytes;
      }
      if (m < parts.size() && parts[m].program)
        entry.has_state = !parts[m].program->buffers.empty();
      report->methods.push_back(entry);
    }
  }
  return {};
}

Result<OutputFile> written(const std::string& path, Span<const Bytes> pieces) {
  TRY(OutputFile file, OutputFile::create(path));
  for (Bytes piece : pieces) TRY_VOID(file.write(piece));
  return file;
}

// Both files are written before the first takes its place.
Result<void> save(const Compiled& compiled, const std::string& output,
                  const std::string& weights_file) {
  if (!compiled.weights) return save_file(output, compiled.file.pieces);
  TRY(OutputFile weights, written(weights_file, compiled.weights->pieces));
  TRY(OutputFile program, written(output, compiled.file.pieces));
  TRY_VOID(weights.commit());
  return program.commit();
}

bool fail(const Error& problem, CompileError* error) {
  if (error) *error = {int(problem.code), problem.text};
  return false;
}

}  // namespace

Result<const Target*> known_target(const std::string& name) {
  if (const Target* target = find_target(name)) return target;
  std::string known;
  for (const Target& t : all_targets()) known += std::string(known.empty() ? "" : ", ") + t.name;
  return error(Code::invalid_argument, "target \"{}\" is not known; there are {}", name, known);
}

Result<std::vector<uint8_t>> compile_normalized(std::unique_ptr<Program> program,
                                                const CompileOptions& options,
                                                CompileReport* report) {
  TRY(const Target* target, known_target(options.target));
  Compiled compiled;
  Part part;
  part.method = program->methods[0].name;
  part.program = std::move(program);
  compiled.parts.push_back(std::move(part));
  CompileOptions whole = options;
  whole.weights_file.clear();
  TRY_VOID(finish(compiled, target, {}, whole, kNormalized, report));
  return compiled.file.joined();
}

bool compile_file(const std::vector<CompileInput>& inputs,
                  const std::vector<ConstantMethod>& constants, const std::string& output,
                  const CompileOptions& options, CompileReport* report, CompileError* error) {
  if (!output.empty() && output == options.weights_file)
    return fail({Code::invalid_argument, output + ": program and weights in one file"}, error);
  auto compiled = compile(inputs, constants, options, report);
  if (!compiled.ok()) return fail(compiled.error(), error);
  if (!options.stop_after.empty()) return true;
  Result<void> saved = save(*compiled, output, options.weights_file);
  if (!saved.ok()) return fail(saved.error(), error);
  if (options.progress) options.progress("done", 1);
  return true;
}

bool compile_in_memory(const std::vector<CompileInput>& inputs, const CompileOptions& options,
                       std::vector<uint8_t>* file, CompileReport* report, CompileError* error) {
  if (!options.weights_file.empty())
    return fail({Code::invalid_argument, "a weights file beside a program in memory"}, error);
  auto compiled = compile(inputs, {}, options, report);
  if (!compiled.ok()) return fail(compiled.error(), error);
  file->clear();
  if (compiled->changed) *file = compiled->file.joined();
  return true;
}

}  // namespace sconce
