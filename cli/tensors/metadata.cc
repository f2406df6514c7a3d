// sconce tensors metadata: show and change the free text of a file.
#include <algorithm>

#include "tensors/tensor_files.h"
#include "tensors/tensors.h"

namespace sconce::cli {

void add_tensors_metadata(CLI::App& group) {
  struct Options : TensorFileOptions {
    std::vector<std::string> set, remove;
    bool clear = false;
    uint64_t room = 0;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("metadata", "Show or change the free text of a file");
  add_file_options(command, *options);
  command->add_option("--set", options->set, "KEY=VALUE, may be given again");
  command->add_option("--remove", options->remove, "KEY, may be given again");
  command->add_flag("--clear", options->clear, "Remove all that is there first");
  command->add_option("--room", options->room,
                      "Bytes kept free, so that later changes need not write the file anew");
  command->footer(
      "Example:\n  sconce tensors metadata model.safetensors --set license=apache-2.0\nTensors "
      "stay byte for byte. Fits the new text into the header's padding, one small write\nchanges "
      "the file; else a new file takes its place at once.");
  command->callback([options] {
    TensorFile file = open_or_exit(*options);
    Metadata metadata = file.metadata();
    bool edits =
        !options->set.empty() || !options->remove.empty() || options->clear || options->room > 0;
    if (!edits) {
      if (options->json) {
        fmt::print("{{");
        const char* comma = "";
        for (const auto& [key, value] : metadata) {
          fmt::print("{}{}: {}", comma, json_string(key), json_string(value));
          comma = ", ";
        }
        fmt::print("}}\n");
        return;
      }
      if (metadata.empty()) fmt::print("no metadata\n");
      size_t width = 0;
      for (const auto& [key, value] : metadata)
        width = std::max(width, std::min<size_t>(shown_name(key).size(), 32));
      for (const auto& [key, value] : metadata) {
        std::string text;
        for (char c : value)
          if (uint8_t(c) >= 0x20 && c != 0x7f)
            text += c;
          else
            text += c == '\n' ? "\n" + std::string(width + 2, ' ')
                              : fmt::format("\\x{:02x}", uint8_t(c));
        fmt::print("{:<{}}  {}\n", shown_name(key), width, text);
      }
      return;
    }
    if (file.has_index())
      exit_with(error(Code::invalid_argument,
                      "{}: is a set: change the metadata of its files one by one", options->path),
                options->json);
    if (options->clear) metadata.clear();
    auto remove = [&](const std::string& key) {
      return std::erase_if(metadata, [&](const auto& entry) { return entry.first == key; });
    };
    for (const std::string& key : options->remove)
      if (remove(key) == 0)
        exit_with(
            error(Code::not_found, "{}: no metadata is named {}", options->path, quoted_name(key)),
            options->json);
    for (const std::string& item : options->set) {
      size_t equals = item.find('=');
      if (equals == std::string::npos)
        exit_with(error(Code::invalid_argument, "--set {}: wanted KEY=VALUE", item), options->json);
      remove(item.substr(0, equals));
      metadata.emplace_back(item.substr(0, equals), item.substr(equals + 1));
    }
    WriteOptions write;
    write.layout.metadata_room = options->room;
    EditMethod method =
        value_or_exit(edit_metadata(file.shards()[0].path, metadata, write), options->json);
    const char* text = method == EditMethod::unchanged  ? "unchanged"
                       : method == EditMethod::in_place ? "changed in place"
                                                        : "rewritten";
    if (options->json)
      fmt::print("{{\"result\": \"{}\"}}\n", text);
    else
      fmt::print("{}: {}\n", file.shards()[0].path, text);
  });
}

}  // namespace sconce::cli
