// sconce tensors ls: names, element types, shapes and sizes.
#include <algorithm>
#include <map>

#include "base/file.h"
#include "tensors/container_options.h"
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

// What a packed or sealed file holds, and what each tensor takes there.
void list_container(const Container& container, const TensorFileOptions& options) {
  const Header& header = container.header();
  std::vector<const TensorInfo*> chosen;
  for (const TensorInfo* info : header.by_name())
    if (options.names.empty() || std::any_of(options.names.begin(), options.names.end(),
                                             [&](auto& name) { return matches(name, info->name); }))
      chosen.push_back(info);
  if (chosen.empty() && !options.names.empty())
    exit_with(error(Code::not_found, "{}: no tensor matches {}", options.path,
                    quoted_name(options.names[0])),
              options.json);
  auto stored = [&](const TensorInfo* info) {
    return container.stored_bytes(size_t(info - header.tensors().data()));
  };
  ContainerKind kind = container.kind();
  const char* what = !kind.sealed ? "packed" : kind.packed ? "packed and sealed" : "sealed";
  if (options.json) {
    fmt::print("{{\"container\": \"{}\", \"metadata\": {{", what);
    const char* comma = "";
    for (const auto& [key, value] : header.metadata()) {
      fmt::print("{}{}: {}", comma, json_string(key), json_string(value));
      comma = ", ";
    }
    fmt::print("}}, \"tensors\": [");
    comma = "\n";
    for (const TensorInfo* info : chosen) {
      fmt::print(
          "{}  {{\"name\": {}, \"dtype\": \"{}\", \"shape\": {}, \"bytes\": {}, "
          "\"stored_bytes\": {}}}",
          comma, json_string(info->name), element_name(info->type), json_shape(info->shape),
          info->bytes(), stored(info));
      comma = ",\n";
    }
    fmt::print("\n]}}\n");
    return;
  }
  TextTable table({"name", "type", "shape", "size", "stored"}, {false, false, false, true, true});
  uint64_t bytes = 0, stored_bytes = 0;
  for (const TensorInfo* info : chosen) {
    table.add({shown_name(info->name), std::string(element_name(info->type)),
               shape_text(info->shape), human_bytes(info->bytes()), human_bytes(stored(info))});
    bytes += info->bytes();
    stored_bytes += stored(info);
  }
  table.print();
  fmt::print("\n{} tensor{}, {}; {} in {}\n", count_text(chosen.size()),
             chosen.size() == 1 ? "" : "s", human_bytes(bytes), what, human_bytes(stored_bytes));
}

}  // namespace

void add_tensors_ls(CLI::App& group) {
  struct Options : TensorFileOptions {
    IdentityOptions identity;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("ls", "List names, element types, shapes and sizes");
  add_file_options(command, *options);
  add_name_option(command, *options);
  options->identity.add_to(command);
  command->footer(
      "Of packed files it lists what they hold; of sealed ones with a key, else their parts.\n"
      "Example:\n  sconce tensors ls model.safetensors\n  sconce tensors ls model/ -n "
      "'*.self_attn.*'");
  command->callback([options] {
    bool with_key = options->identity.given();
    TensorFile file = open_or_exit(*options, true);
    if (with_key && file.has_index())
      exit_with(error(Code::invalid_argument, "{}: is a set in shards, a key opens one sealed file",
                      options->path),
                options->json);
    if (with_key || is_container(file)) {
      Identities identities;
      if (with_key) identities = value_or_exit(options->identity.read(), options->json);
      MappedFile mapped = value_or_exit(map_file(file.shards()[0].path), options->json);
      auto container = Container::open(mapped.bytes(), with_key ? &identities : nullptr);
      if (container.ok()) return list_container(*container, *options);
      if (with_key)
        exit_with(std::move(container.error()).with_context(options->path), options->json);
      // Its parts are all that can be seen: it is sealed, or damaged.
      fmt::print(stderr, "note: {}: {}\n", options->path, container.error().text);
    }
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
