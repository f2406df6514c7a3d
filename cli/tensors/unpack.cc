// sconce tensors unpack: gives back the file that was packed.
#include "base/file.h"
#include "tensors/container_options.h"
#include "tensors/tensors.h"

namespace sconce::cli {

void add_tensors_unpack(CLI::App& group) {
  auto options = std::make_shared<ContainerOptions>();
  CLI::App* command = group.add_subcommand("unpack", "Give back the file that was packed");
  options->add_to(command, "The packed file", "The .safetensors; without it the file is checked");
  command->footer(
      "Every chunk is checked first. Nothing is written when anything is wrong.\n"
      "Examples:\n"
      "  sconce tensors unpack model.packed.safetensors -o model.safetensors\n"
      "  sconce tensors unpack model.packed.safetensors        # is it whole?");
  command->callback([options] {
    bool json = options->json;
    double start = seconds_now();
    MappedFile file = value_or_exit(map_file(options->input), json);
    Container container =
        value_or_exit(Container::open(file.bytes()).with_context(options->input), json);
    print_restored(*options, container, "unpacked", start);
  });
}

}  // namespace sconce::cli
