// What the subcommands about packed and sealed files share: options for recipients and keys, the
// line that says what was done.
#pragma once

#include <string>
#include <vector>

#include "cli.h"
#include "formats/container/container.h"
#include "tensors/signing_files.h"

namespace sconce::cli {

// Threads, output, JSON.
struct ContainerOptions {
  std::string input, output;
  int threads = 0;
  bool durable = false, json = false;

  void add_to(CLI::App* command, const char* input_help, const char* output_help);
};

// For whom a file is sealed: public keys and passphrases.
struct RecipientOptions {
  std::vector<std::string> keys, passphrase_files;
  bool ask_passphrase = false;
  int cost = kPassphraseCost;

  // `prefix` goes before the names of the options: "" or "add-".
  void add_to(CLI::App* command, const std::string& key_option, const std::string& prefix);
  Result<Recipients> read() const;
};

// A public key as text, or the file that holds it.
Result<PublicKey> read_public_key(const std::string& text_or_path);

// Whether what is written is signed on the way, and by whom.
struct SignOnTheWay {
  SignerOptions signer;
  std::string signature;  // where it goes; empty: beside the output
  bool name_dot = false;  // as `sconce tensors sign --dot-name`

  void add_to(CLI::App* command);
  // Writes the container, and its signature when a key was named. Prints what was done, or ends the
  // program with what went wrong.
  void write(const ContainerOptions& options, const WriteContainerOptions& write, const char* verb,
             double start) const;
};

// With what a sealed file is opened.
struct IdentityOptions {
  std::vector<std::string> key_files, passphrase_files;
  bool ask_passphrase = false;

  void add_to(CLI::App* command);
  bool given() const { return !key_files.empty() || !passphrase_files.empty() || ask_passphrase; }
  Result<Identities> read() const;
};

// One line, or an object: output, sizes, time; and what was signed by whom, when it was.
void print_summary(const ContainerOptions& options, const char* verb,
                   const ContainerSummary& summary, double seconds,
                   const std::string& signature = "", const std::string& signer = "");

// Restores the container to the output, or checks it when there is none, and prints the summary.
void print_restored(const ContainerOptions& options, const Container& container, const char* verb,
                    double start);

// A callback that shows `what` on a bar.
ProgressCallback show_progress(Progress* progress, std::string what);

}  // namespace sconce::cli
