// sconce tensors sealkey: a key pair that files are sealed for.
#include <unistd.h>

#include <filesystem>

#include "formats/sealed/envelope.h"
#include "tensors/new_file.h"
#include "tensors/tensors.h"

namespace sconce::cli {

void add_tensors_sealkey(CLI::App& group) {
  struct Options {
    std::string output;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("sealkey", "Make a key pair that files are sealed for");
  command->add_option("-o,--output", options->output, "The secret key's file")->required();
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "Writes the secret key, readable by you alone, and beside it the public key (.pub), which\n"
      "goes to everybody who seals files for you. Neither is ever overwritten.\n"
      "Example:\n"
      "  sconce tensors sealkey -o me.key");
  command->callback([options] {
    bool json = options->json;
    std::string secret_path = options->output;
    std::string public_path = std::filesystem::path(secret_path).replace_extension(".pub");
    if (public_path == secret_path)
      exit_with(
          error(Code::invalid_argument, "{}: .pub is for the public key; wanted .key", secret_path),
          json);
    SecretKey secret = value_or_exit(random_key(), json);
    std::string public_text = print_public_key(value_or_exit(x25519_public_key(secret), json));
    std::string text = fmt::format("# public key: {}\n{}\n", public_text, print_secret_key(secret));
    auto written = write_new_file(secret_path, text, 0600);
    wipe({reinterpret_cast<uint8_t*>(text.data()), text.size()});
    done_or_exit(std::move(written), json);
    auto public_written = write_new_file(public_path, public_text + "\n", 0644);
    if (!public_written.ok()) unlink(secret_path.c_str());
    done_or_exit(std::move(public_written), json);
    if (json)
      fmt::print("{{\"secret_key\": {}, \"public_key\": {}, \"key\": \"{}\"}}\n",
                 json_string(secret_path), json_string(public_path), public_text);
    else
      fmt::print("{}  secret: keep it safe\n{}  public\n{}\n", secret_path, public_path,
                 public_text);
  });
}

}  // namespace sconce::cli
