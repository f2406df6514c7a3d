// sconce ops: which operators exist, which a file needs, which of these are missing.
#include <cstring>
#include <map>

#include "base/file.h"
#include "cli.h"
#include "formats/pt2/pt2.h"
#include "formats/pte/pte.h"
#include "import/names.h"
#include "ops/def.h"
#include "ops/prim/prim.h"
#include "targets/target.h"

namespace sconce::cli {
namespace {

struct Row {
  std::string name;
  int64_t uses = 0;
  bool known = false;
  std::string kernel_symbol;
};

void count_nodes(const pt2::Graph& graph, std::map<std::string, int64_t>* counts) {
  for (const pt2::Node& node : graph.nodes) {
    (*counts)[std::string(node.target)]++;
    for (const pt2::NamedArgument& input : node.inputs)
      if (input.value.kind == pt2::Argument::Kind::graph) count_nodes(*input.value.graph, counts);
  }
}

Result<std::vector<Row>> needed_by(const std::string& path) {
  TRY(MappedFile file, map_file(path));
  std::map<std::string, int64_t> counts;
  std::vector<Row> rows;
  Bytes bytes = file.bytes();
  if (bytes.size() > 8 && memcmp(bytes.data() + 4, "ET12", 4) == 0) {
    auto program = read_pte(bytes);
    if (!program.ok()) return std::move(program.error()).with_context(path);
    for (const PteMethod& method : program->methods)
      for (const PteChain& chain : method.chains)
        for (const PteInstruction& instruction : chain.instructions)
          if (auto* call = std::get_if<PteKernelCall>(&instruction)) {
            const PteOperator& op = method.operators[size_t(call->operator_index)];
            counts[op.overload.empty() ? op.name : op.name + "." + op.overload]++;
          }
    for (auto& [name, uses] : counts) {
      Row row{name,
              uses,
              find_kernel(name) || find_prim(name.data(), name.size()) ||
                  name.starts_with("executorch_prim::et_"),
              {}};
      for (const KernelRow& kernel : all_kernels())
        if (name == kernel.kernel->name) row.kernel_symbol = kernel.symbol;
      rows.push_back(std::move(row));
    }
    return rows;
  }
  auto archive = pt2::read_archive(bytes);
  if (!archive.ok()) return std::move(archive.error()).with_context(path);
  for (const pt2::Program& program : archive->programs) count_nodes(program.graph, &counts);
  for (auto& [target, uses] : counts)
    rows.push_back({operator_name(target), uses, is_known_target(target), {}});
  return rows;
}

}  // namespace

void add_ops(CLI::App& app) {
  struct Options {
    std::string file;
    bool table = false, json = false, kernels = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("ops", "List operators: all there are, or those a file needs");
  command->add_option("file", options->file,
                      "A .pt2 or .pte; without one, every operator is listed");
  command->add_flag("--table", options->table,
                    "Operators and which target has them, as a Markdown table");
  command->add_flag(
      "--kernels", options->kernels,
      "Kernels a .pte needs, one a line, as sconce_mcu_image() in mcu/CMakeLists.txt takes them");
  command->add_flag("--json", options->json, "As JSON");
  command->footer("Example:\n  sconce ops model.pte\n  sconce ops --table > docs/operators.md");
  command->callback([options] {
    if (!options->file.empty()) {
      std::vector<Row> rows = value_or_exit(needed_by(options->file), options->json);
      int64_t missing = 0;
      for (const Row& row : rows) missing += !row.known;
      if (options->kernels) {
        for (const Row& row : rows)
          if (!row.kernel_symbol.empty())
            fmt::print("{}\n", row.kernel_symbol.substr(strlen("kernel_")));
      } else if (options->json) {
        fmt::print("{{\"operators\": [");
        const char* comma = "";
        for (const Row& row : rows) {
          fmt::print("{}{{\"name\": {}, \"uses\": {}, \"known\": {}}}", comma,
                     json_string(row.name), row.uses, row.known);
          comma = ", ";
        }
        fmt::print("], \"missing\": {}}}\n", missing);
      } else {
        for (const Row& row : rows)
          fmt::print("{:6}  {}{}\n", row.uses, row.name, row.known ? "" : "   MISSING");
        fmt::print("{} operators, {} missing\n", rows.size(), missing);
      }
      if (missing) exit(1);
      return;
    }
    Program nothing;
    Graph empty;
    if (options->table) {
      fmt::print("| operator | kernel | stock ExecuTorch 1.5 |\n|---|---|---|\n");
      for (const Op& op : all_ops()) {
        Node node;
        node.arguments.resize(op.arguments.size());
        bool stock = op.kernel && find_target("portable")->has_node(op, nothing, empty, node);
        fmt::print("| `{}` | {} | {} |\n", op.name,
                   op.kernel ? fmt::format("`{}`", op.kernel->name) : "by its parts",
                   stock               ? "as it is"
                   : op.def->decompose ? "by its parts"
                                       : "no");
      }
      return;
    }
    if (options->json) fmt::print("[");
    const char* comma = "";
    for (const Op& op : all_ops()) {
      if (options->json)
        fmt::print("{}{}", comma, json_string(op.name));
      else
        fmt::print("{}\n", op.def->schema);
      comma = ", ";
    }
    if (options->json) fmt::print("]\n");
  });
}

}  // namespace sconce::cli
