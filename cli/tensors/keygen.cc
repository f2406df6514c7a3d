// sconce tensors keygen: a key pair that signs models.
#include <unistd.h>

#include <filesystem>

#include "formats/signing/keys.h"
#include "tensors/new_file.h"
#include "tensors/passphrase.h"
#include "tensors/tensors.h"

namespace sconce::cli {
void add_tensors_keygen(CLI::App& group) {
  struct Options {
    std::string output, curve = "P-256", passphrase_file;
    bool passphrase = false, json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("keygen", "Make a key pair that signs models");
  command->add_option("-o,--output", options->output, "The private key's file (PEM)")->required();
  command->add_option("--curve", options->curve, "P-256, P-384 or P-521")->capture_default_str();
  command->add_flag("--passphrase", options->passphrase, "Encrypt the private key; asks for it");
  command->add_option("--passphrase-file", options->passphrase_file,
                      "Encrypt with the first line of this file (- is standard input)");
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "Writes the private key, readable by you alone, and beside it the public key (.pub).\n"
      "Examples:\n"
      "  sconce tensors keygen -o release.pem --passphrase\n"
      "  sconce tensors keygen -o ci.pem --curve P-384 --passphrase-file secret.txt");
  command->callback([options] {
    bool json = options->json;
    auto curve = signing::find_curve(options->curve);
    if (!curve)
      exit_with(error(Code::invalid_argument, "--curve: found {}, wanted P-256, P-384 or P-521",
                      json_string(options->curve)),
                json);
    std::string private_path = options->output;
    std::string public_path = std::filesystem::path(private_path).replace_extension(".pub");
    if (public_path == private_path)
      exit_with(error(Code::invalid_argument, "{}: .pub is for the public key; wanted .pem",
                      private_path),
                json);
    if (std::filesystem::exists(public_path))
      exit_with(error(Code::invalid_argument, "{}: exists already; keys are never overwritten",
                      public_path),
                json);
    std::optional<std::string> passphrase;
    if (options->passphrase || !options->passphrase_file.empty())
      passphrase = value_or_exit(
          read_passphrase(options->passphrase_file, "Passphrase for " + private_path + ": ", true),
          json);
    signing::PrivateKey key = value_or_exit(signing::generate_key(*curve), json);
    std::string pem = key.pem(passphrase);
    auto written = write_new_file(private_path, pem, 0600);
    signing::wipe(pem);
    if (passphrase) signing::wipe(*passphrase);
    done_or_exit(std::move(written), json);
    auto public_written = write_new_file(public_path, key.public_key().pem(), 0644);
    if (!public_written.ok()) unlink(private_path.c_str());
    done_or_exit(std::move(public_written), json);
    if (json)
      fmt::print(
          "{{\"private_key\": {}, \"public_key\": {}, \"curve\": \"{}\", \"hint\": \"{}\"}}\n",
          json_string(private_path), json_string(public_path), options->curve,
          key.public_key().hint());
    else
      fmt::print("{}  private, {}, {}\n{}  public, {}\n", private_path, options->curve,
                 passphrase ? "encrypted" : "not encrypted: keep it safe", public_path,
                 key.public_key().hint());
  });
}

}  // namespace sconce::cli
