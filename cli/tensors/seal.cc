// sconce tensors seal: encrypts a tensor file for those who may read it.
#include "tensors/container_options.h"
#include "tensors/tensors.h"

namespace sconce::cli {

void add_tensors_seal(CLI::App& group) {
  struct Options : ContainerOptions {
    RecipientOptions recipients;
    SignOnTheWay sign;
    bool pack = false, hide_names = false;
    std::string cipher;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      group.add_subcommand("seal", "Encrypt a tensor file for keys and passphrases");
  options->add_to(command, "The .safetensors to seal", "The sealed file");
  command->get_option("--output")->required();
  options->recipients.add_to(command, "--to", "");
  options->sign.add_to(command);
  command->add_flag("--pack", options->pack, "Make it smaller on the way (sconce tensors pack)");
  command->add_flag("--hide-names", options->hide_names,
                    "Encrypt names, shapes and metadata too; else they stay readable");
  command
      ->add_option("--cipher", options->cipher,
                   "aes or chacha; without it the one that is faster here")
      ->check(CLI::IsMember({"aes", "chacha"}));
  command->footer(
      "AES-256-GCM or ChaCha20-Poly1305; no bit of the file can be changed unnoticed. Sizes of\n"
      "tensors can be guessed from the file's, all else is hidden with --hide-names.\n"
      "Examples:\n"
      "  sconce tensors seal model.safetensors -o model.sealed.safetensors --to alice.pub --pack\n"
      "  sconce tensors seal model.safetensors -o model.sealed.safetensors --passphrase --sign "
      "key.pem");
  command->callback([options] {
    bool json = options->json;
    WriteContainerOptions write;
    write.recipients = value_or_exit(options->recipients.read(), json);
    if (write.recipients.keys.empty() && write.recipients.passphrases.empty())
      exit_with(
          error(Code::invalid_argument, "for whom? give --to, --passphrase or --passphrase-file"),
          json);
    write.pack = options->pack;
    write.hide_names = options->hide_names;
    if (!options->cipher.empty())
      write.cipher = options->cipher == "aes" ? Cipher::aes256_gcm : Cipher::chacha20_poly1305;
    options->sign.write(*options, write, "sealed", seconds_now());
  });
}

}  // namespace sconce::cli
