// sconce tensors pack: makes a tensor file smaller without losing a bit.
#include "tensors/container_options.h"
#include "tensors/tensors.h"

namespace sconce::cli {

void add_tensors_pack(CLI::App& group) {
  struct Options : ContainerOptions {
    SignOnTheWay sign;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      group.add_subcommand("pack", "Make a tensor file smaller, without losing a bit");
  options->add_to(command, "The .safetensors to pack", "The packed file");
  command->get_option("--output")->required();
  options->sign.add_to(command);
  command->footer(
      "Trained weights shrink to about 82 % (F32), 67 % (BF16), 85 % (F16); noise stays as it is.\n"
      "The result is a .safetensors of bytes whose tensors can each be read by themselves;\n"
      "`sconce tensors unpack` gives the first file back, byte for byte.\n"
      "Examples:\n"
      "  sconce tensors pack model.safetensors -o model.packed.safetensors\n"
      "  sconce tensors pack model.safetensors -o model.packed.safetensors --sign release.pem");
  command->callback([options] { options->sign.write(*options, {}, "packed", seconds_now()); });
}

}  // namespace sconce::cli
