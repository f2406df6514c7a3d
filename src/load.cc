#include "sconce/load.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>

namespace sconce {
namespace {

using Sizes = std::vector<std::vector<int32_t>>;

// Modules of one file's methods of dynamic shape, each for the sizes of some calls.
class BySizes {
 public:
  BySizes(std::string path, const std::vector<std::string>& methods) : path_(std::move(path)) {
    for (const std::string& name : methods) methods_[name];
  }

  Module* find(const std::string& name, Span<const Argument> inputs, const ModuleOptions& options) {
    auto found = methods_.find(name);
    if (found == methods_.end()) return nullptr;
    MethodModules& method = found->second;
    Sizes sizes;
    for (const Argument& input : inputs) sizes.push_back(input.sizes);
    if (auto made = method.made.find(sizes); made != method.made.end()) return made->second.get();
    if (method.made.size() == kKept) return nullptr;
    // Sizes that never come again are not worth it, once there were many.
    bool again = !method.seen.insert(sizes).second;
    if (method.seen.size() > kSeenMax) method.seen.clear();
    if (method.gives_up || (!again && method.made.size() >= kAtOnce)) return nullptr;
    auto& module = method.made[sizes] = compile(name, sizes, options);
    method.failed += !module;
    method.gives_up = method.failed == method.made.size() && method.failed >= kFailuresMax;
    return module.get();
  }

 private:
  static constexpr size_t kAtOnce = 4, kKept = 8, kFailuresMax = 2, kSeenMax = 1024;
  struct MethodModules {
    std::map<Sizes, std::unique_ptr<Module>> made;  // null: these sizes run as the file has it
    std::set<Sizes> seen;
    size_t failed = 0;
    bool gives_up = false;
  };

  std::unique_ptr<Module> compile(const std::string& name, const Sizes& sizes,
                                  const ModuleOptions& options) const {
    CompileOptions compile_options;
    compile_options.data_files = options.data_files;
    compile_options.input_sizes = sizes;
    auto file = std::make_shared<std::vector<uint8_t>>();
    CompileReport report;
    bool made = compile_in_memory({{path_, name}}, compile_options, file.get(), &report, nullptr);
    // State would be one for each of the sizes.
    if (!made || file->empty() || report.methods.empty() || report.methods[0].has_state)
      return nullptr;
    ModuleOptions module_options = options;
    module_options.data_files.clear();
    auto module = Module::load(Bytes(*file), module_options, file);
    if (!module.ok() || !module->load_method(name).ok()) return nullptr;
    return std::make_unique<Module>(std::move(*module));
  }

  std::string path_;
  std::map<std::string, MethodModules> methods_;
};

bool has_dynamic_input(const Module& module, const std::string& method) {
  auto meta = module.method_meta(method);
  for (uint32_t i = 0; meta.ok() && i < meta->input_count(); i++)
    if (meta->input(i).kind == Value::Kind::tensor && meta->input(i).dynamic) return true;
  return false;
}

}  // namespace

Result<Module> load_module(const std::string& path, const LoadOptions& options,
                           LoadReport* report) {
  if (options.as_is) return Module::load(path, options.module);
  auto start = std::chrono::steady_clock::now();
  LoadReport unused;
  LoadReport& told = report ? *report : unused;
  told = {};
  auto file = std::make_shared<std::vector<uint8_t>>();
  if (options.module.share_memories) {
    told.as_is.push_back({"*", "methods share the memory of their state"});
  } else {
    CompileOptions compile_options;
    compile_options.data_files = options.module.data_files;
    CompileReport compiled;
    CompileError problem;
    // What is wrong with the file is told below, where it is loaded as it stands.
    if (compile_in_memory({{path, ""}}, compile_options, file.get(), &compiled, &problem))
      told.as_is = std::move(compiled.as_is);
    else
      told.as_is.push_back({"*", problem.text});
  }
  std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  told.milliseconds = time.count();
  std::optional<Module> module;
  if (!file->empty()) {
    ModuleOptions module_options = options.module;
    // Methods as they stand find their weights in the data files, all others in memory.
    if (told.as_is.empty()) module_options.data_files.clear();
    auto loaded = Module::load(Bytes(*file), module_options, file);
    if (loaded.ok())
      module = std::move(*loaded);
    else
      told.as_is.push_back({"*", loaded.error().text});
  }
  told.improved = module.has_value();
  if (!module) {
    TRY(module, Module::load(path, options.module));
  }
  std::erase_if(told.as_is, [&](const MethodAsIs& m) {
    if (!has_dynamic_input(*module, m.method)) return false;
    told.by_sizes.push_back(m.method);
    return true;
  });
  if (!told.by_sizes.empty()) {
    auto by_sizes = std::make_shared<BySizes>(path, told.by_sizes);
    module->set_find_faster([by_sizes](const std::string& method, Span<const Argument> inputs,
                                       const ModuleOptions& module_options) {
      return by_sizes->find(method, inputs, module_options);
    });
  }
  return std::move(*module);
}

}  // namespace sconce
