// sconce tensors rotate: changes who can open a sealed file, without sealing its data again.
#include "tensors/container_options.h"
#include "tensors/tensors.h"

namespace sconce::cli {

void add_tensors_rotate(CLI::App& group) {
  struct Options {
    std::string input, output;
    IdentityOptions identities;
    RecipientOptions add;
    std::vector<std::string> remove;
    bool remove_passphrases = false, durable = false, json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("rotate", "Change who can open a sealed file");
  command->add_option("file", options->input, "The sealed file")->required();
  command->add_option("-o,--output", options->output, "The changed file; without it in place");
  options->identities.add_to(command);
  options->add.add_to(command, "--add", "add-");
  command
      ->add_option("--remove", options->remove,
                   "Public key of a recipient to leave out, or the file it is in; repeatable")
      ->allow_extra_args(false);
  command->add_flag("--remove-passphrases", options->remove_passphrases,
                    "Leave out all passphrases");
  command->add_flag("--durable", options->durable, "Return when the output is on the disk (fsync)");
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "Only the wrapped keys are rewritten. Who could open the file before may have kept its key\n"
      "or a copy: to keep new data from them, seal it again.\n"
      "Example:\n"
      "  sconce tensors rotate model.sealed.safetensors --key me.key --add bob.pub --remove "
      "alice.pub");
  command->callback([options] {
    bool json = options->json;
    Identities identities = value_or_exit(options->identities.read(), json);
    RotateOptions rotate;
    rotate.add = value_or_exit(options->add.read(), json);
    for (const std::string& key : options->remove)
      rotate.remove_keys.push_back(value_or_exit(read_public_key(key), json));
    rotate.remove_passphrases = options->remove_passphrases;
    rotate.durable = options->durable;
    const std::string& output = options->output.empty() ? options->input : options->output;
    RotateSummary summary =
        value_or_exit(rotate_container(options->input, output, identities, rotate), json);
    if (json)
      fmt::print("{{\"output\": {}, \"keys\": {}, \"passphrases\": {}}}\n", json_string(output),
                 summary.keys, summary.passphrases);
    else
      fmt::print("{}  opens for {} keys and {} passphrases\n", output, summary.keys,
                 summary.passphrases);
  });
}

}  // namespace sconce::cli
