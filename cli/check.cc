// sconce check: will this file run here, on stock ExecuTorch, on a small target?
#include <algorithm>
#include <map>

#include "base/file.h"
#include "check_bundle.h"
#include "cli.h"
#include "formats/bpte/bpte.h"
#include "formats/pte/pte.h"
#include "formats/xnnpack/xnnpack.h"
#include "ops/kernel.h"
#include "ops/prim/prim.h"
#include "pte_text.h"
#include "sconce/runtime.h"
#include "targets/portable/stock_kernels.h"

namespace sconce::cli {
namespace {

struct Finding {
  std::string where, what;
};

bool stock_has(std::string_view name) {
  return name.starts_with("executorch_prim::") || name == "aten::sym_size.int" ||
         name == "aten::sym_numel" || name == "aten::_local_scalar_dense" || stock_has_kernel(name);
}

bool we_have(const std::string& name) {
  for (const KernelRow& row : all_kernels())
    if (name == row.kernel->name) return true;
  return find_prim(name.data(), name.size()) || name == "executorch_prim::et_view.default" ||
         name == "executorch_prim::et_copy_index.tensor";
}

bool we_have_delegate(const std::string& id) {
  for (const DelegateType* type : all_delegates())
    if (id == type->id) return true;
  return false;
}

// Operators that `has` lacks, each with the first source line that uses it.
template <class Has>
std::vector<Finding> missing_operators(const PteMethod& method, Has has) {
  std::map<std::string, std::string> found;
  for (const PteChain& chain : method.chains)
    for (size_t k = 0; k < chain.instructions.size(); k++) {
      auto* call = std::get_if<PteKernelCall>(&chain.instructions[k]);
      if (!call) continue;
      const PteOperator& op = method.operators[size_t(call->operator_index)];
      std::string name = operator_text(op);
      if (has(name) || found.count(name)) continue;
      std::string where = fmt::format("instruction {}", k);
      if (k < chain.stacks.size() && !chain.stacks[k].empty()) {
        const PteFrame& frame = chain.stacks[k].back();
        where = fmt::format("{}:{}{}", frame.file, frame.line,
                            frame.code.empty() ? "" : ": " + frame.code);
      }
      found[name] = where;
    }
  std::vector<Finding> findings;
  for (auto& [name, where] : found)
    findings.push_back({method.name + ": " + where, "operator " + name + " is missing"});
  return findings;
}

}  // namespace

void add_check(CLI::App& app) {
  struct Options {
    std::string model;
    uint64_t ram = 0;
    BundleCheck bundle;
    bool cases = false, json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "check",
      "Will a .pte run here, on stock ExecuTorch, on a small target? Exit code 1 when not here");
  command->add_option("model", options->model, "A .pte or .bpte")->required();
  command->add_option("--ram", options->ram,
                      "Bytes of memory that the small target has; 0 = only say what is needed");
  command->add_flag("--bundle", options->cases,
                    "Of a .bpte: run its test cases here and compare; exit code 1 when one fails");
  command
      ->add_option("--rtol", options->bundle.rtol,
                   "Tolerance of a case, relative to the largest value of each expected tensor; "
                   "integers and bools have to be equal")
      ->capture_default_str();
  command->add_option("--atol", options->bundle.atol, "Absolute tolerance, added to it")
      ->capture_default_str();
  command->add_option(
      "--data", options->bundle.module.data_files,
      "With --bundle: a .ptd with weights that the program does not hold; repeatable");
  command->add_option("--threads", options->bundle.module.threads, kThreadsHelp)
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "Examples:\n"
      "  sconce check model.pte --ram 262144\n"
      "  sconce check model.bpte --bundle --rtol 1e-4");
  command->callback([options] {
    bool json = options->json;
    MappedFile file = value_or_exit(map_file(options->model), json);
    if (options->cases) {
      if (!check_bundle(options->model, file.bytes(), options->bundle, json)) exit(1);
      return;
    }
    Bytes inside = value_or_exit(program_in(file.bytes()).with_context(options->model), json);
    PteProgram program = value_or_exit(read_pte(inside).with_context(options->model), json);
    std::vector<Finding> here, stock, small;
    auto append = [](std::vector<Finding>& to, std::vector<Finding> from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    uint64_t planned_max = 0;
    for (const PteMethod& method : program.methods) {
      append(here, missing_operators(method, we_have));
      append(stock, missing_operators(method, stock_has));
      append(small, missing_operators(method, we_have));
      for (const PteDelegate& delegate : method.delegates) {
        bool ours = we_have_delegate(delegate.id);
        if (!ours) here.push_back({method.name, "delegate " + delegate.id + " is not built in"});
        if (delegate.id != kXnnBackendId)  // the one that stock's wheel has
          stock.push_back(
              {method.name, "delegate " + delegate.id +
                                (ours ? " needs our library linked in" : " is not part of it")});
        small.push_back(
            {method.name, "delegate " + delegate.id + " has no build for small targets"});
      }
      uint64_t planned = 0;
      for (uint64_t bytes : method.memories) planned += bytes;
      planned_max = std::max(planned_max, planned);
      for (const PteValue& value : method.values)
        if (auto* tensor = std::get_if<PteTensor>(&value))
          if (tensor->dynamism == PteDynamism::unbounded) {
            stock.push_back({method.name, "a tensor without an upper bound"});
            break;
          }
    }
    uint64_t tables = 0;
    if (here.empty()) {
      // The loader has the last word: it checks every instruction.
      auto module = Module::load(options->model);
      if (!module.ok())
        here.push_back({"file", module.error().text});
      else
        for (const std::string& method : module->method_names()) {
          Result<void> loaded = module->load_method(method);
          if (!loaded.ok())
            here.push_back({method, loaded.error().text});
          else if (auto use = module->memory_use(method); use.ok())
            tables = std::max(tables, use->tables + use->scratch);
        }
    }
    if (options->ram && planned_max + tables > options->ram)
      small.push_back(
          {"memory", fmt::format("{} bytes are needed ({} planned, {} for tables), {} are there",
                                 planned_max + tables, planned_max, tables, options->ram)});
    struct Runtime {
      const char* name;
      const char* title;
      const std::vector<Finding>& findings;
    };
    const Runtime runtimes[] = {{"sconce", "this runtime", here},
                                {"executorch", "stock ExecuTorch 1.5", stock},
                                {"mcu", "a small target", small}};
    if (json) {
      fmt::print("{{\"planned_bytes\": {}, \"tables_bytes\": {}", planned_max, tables);
      for (const Runtime& r : runtimes) {
        fmt::print(", \"{}\": {{\"runs\": {}, \"findings\": [", r.name, r.findings.empty());
        const char* comma = "";
        for (const Finding& f : r.findings) {
          fmt::print("{}{{\"where\": {}, \"what\": {}}}", comma, json_string(f.where),
                     json_string(f.what));
          comma = ", ";
        }
        fmt::print("]}}");
      }
      fmt::print("}}\n");
    } else {
      for (const Runtime& r : runtimes) {
        fmt::print("{:24} {}\n", r.title, r.findings.empty() ? "yes" : "NO");
        for (const Finding& f : r.findings) fmt::print("    {}: {}\n", f.where, f.what);
      }
      fmt::print("memory: {} planned, {} for tables and scratch\n", human_bytes(planned_max),
                 human_bytes(tables));
    }
    if (!here.empty()) exit(1);
  });
}

}  // namespace sconce::cli
