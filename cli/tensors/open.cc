// sconce tensors open: gives back the file that was sealed, to those it was sealed for.
#include "base/file.h"
#include "tensors/container_options.h"
#include "tensors/tensors.h"

namespace sconce::cli {

void add_tensors_open(CLI::App& group) {
  struct Options : ContainerOptions {
    IdentityOptions identities;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("open", "Give back the file that was sealed");
  options->add_to(command, "The sealed file", "The .safetensors; without it the file is checked");
  options->identities.add_to(command);
  command->footer(
      "Verifies, decrypts and unpacks in one pass. Nothing is written when anything is wrong.\n"
      "Examples:\n"
      "  sconce tensors open model.sealed.safetensors -o model.safetensors --key me.key\n"
      "  sconce tensors open model.sealed.safetensors --passphrase      # is it whole?");
  command->callback([options] {
    bool json = options->json;
    Identities identities = value_or_exit(options->identities.read(), json);
    double start = seconds_now();
    MappedFile file = value_or_exit(map_file(options->input), json);
    Container container = value_or_exit(
        Container::open(file.bytes(), &identities).with_context(options->input), json);
    print_restored(*options, container, "opened", start);
  });
}

}  // namespace sconce::cli
