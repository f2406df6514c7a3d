// sconce tensors ls: names, element types, shapes and sizes.
#include "base/file.h"
#include "formats/safetensors/safetensors.h"
#include "tensors/tensors.h"

namespace sconce::cli {

void add_tensors_ls(CLI::App& group) {
  struct Options {
    std::string path;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("ls", "List names, element types, shapes and sizes");
  command->add_option("file", options->path, "A tensor file")->required();
  command->add_flag("--json", options->json, "As JSON");
  command->footer("Example:\n  sconce tensors ls model.safetensors");
  command->callback([options] {
    MappedFile mapped = value_or_exit(map_file(options->path), options->json);
    SafetensorsFile file =
        value_or_exit(read_safetensors(mapped.bytes()).with_context(options->path), options->json);
    for (const TensorEntry& tensor : file.tensors)
      fmt::print("{}  {} [{}]  {}\n", tensor.name, dtype_name(tensor.dtype),
                 fmt::join(tensor.sizes, ", "), human_bytes(tensor.bytes.size()));
  });
}

}  // namespace sconce::cli
