// sconce tensors ls: names, element types, shapes and sizes.
#include <map>

#include "tensors/tensor_files.h"
#include "tensors/tensors.h"

namespace sconce::cli {
namespace {

uint64_t element_count(const TensorRecord& tensor) {
  return tensor.bytes * 8 / element_bits(tensor.type);
}

void print_json(const TensorFile& file, const std::vector<const TensorRecord*>& tensors) {
  fmt::print("{{\"shards\": [");
  const char* comma = "";
  for (const TensorShard& shard : file.shards()) {
    fmt::print("{}{}", comma, json_string(shard.path));
    comma = ", ";
  }
  fmt::print("], \"metadata\": {{");
  comma = "";
  for (const auto& [key, value] : file.metadata()) {
    fmt::print("{}{}: {}", comma, json_string(key), json_string(value));
    comma = ", ";
  }
  fmt::print("}}, \"tensors\": [");
  comma = "\n";
  for (const TensorRecord* tensor : tensors) {
    fmt::print(
        "{}  {{\"name\": {}, \"dtype\": \"{}\", \"shape\": {}, \"bytes\": {}, \"shard\": {}, "
        "\"offset\": {}}}",
        comma, json_string(tensor->name), element_name(tensor->type), json_shape(tensor->shape),
        tensor->bytes, tensor->shard, tensor->offset);
    comma = ",\n";
  }
  fmt::print("\n]}}\n");
}

}  // namespace

void add_tensors_ls(CLI::App& group) {
  auto options = std::make_shared<TensorFileOptions>();
  CLI::App* command = group.add_subcommand("ls", "List names, element types, shapes and sizes");
  add_file_options(command, *options);
  add_name_option(command, *options);
  command->footer(
      "Example:\n  sconce tensors ls model.safetensors\n  sconce tensors ls model/ -n "
      "'*.self_attn.*'");
  command->callback([options] {
    TensorFile file = open_or_exit(*options);
    auto tensors = chosen_tensors(file, *options);
    if (options->json) return print_json(file, tensors);
    TextTable table({"name", "type", "shape", "size"}, {false, false, false, true});
    std::map<ElementType, uint64_t> by_type;
    uint64_t bytes = 0, elements = 0;
    for (const TensorRecord* tensor : tensors) {
      table.add({shown_name(tensor->name), std::string(element_name(tensor->type)),
                 shape_text(tensor->shape), human_bytes(tensor->bytes)});
      by_type[tensor->type] += element_count(*tensor);
      bytes += tensor->bytes;
      elements += element_count(*tensor);
    }
    table.print();
    std::string types;
    for (auto [type, count] : by_type)
      types +=
          fmt::format("{}{} {}", types.empty() ? "" : ", ", count_text(count), element_name(type));
    fmt::print("\n{} tensor{}, {} elements{}, {}", count_text(tensors.size()),
               tensors.size() == 1 ? "" : "s", count_text(elements),
               types.empty() ? "" : " (" + types + ")", human_bytes(bytes));
    if (file.has_index()) fmt::print(", in {} shards", file.shards().size());
    if (!file.metadata().empty())
      fmt::print("; metadata: {} (sconce tensors metadata)", file.metadata().size());
    fmt::print("\n");
    for (const std::string& warning : file.warnings()) fmt::print(stderr, "warning: {}\n", warning);
  });
}

}  // namespace sconce::cli
