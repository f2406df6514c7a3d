#include "tensors/container_options.h"

#include "base/file.h"
#include "formats/container/sign_container.h"
#include "tensors/passphrase.h"

namespace sconce::cli {

void ContainerOptions::add_to(CLI::App* command, const char* input_help, const char* output_help) {
  command->add_option("file", input, input_help)->required();
  command->add_option("-o,--output", output, output_help);
  command->add_option("--threads", threads, "Threads; 0 takes one per processor")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_flag("--durable", durable, "Return when the output is on the disk (fsync)");
  command->add_flag("--json", json, "As JSON");
}

void RecipientOptions::add_to(CLI::App* command, const std::string& key_option,
                              const std::string& prefix) {
  command
      ->add_option(key_option, keys,
                   "A recipient's public key (sconce-pub-...), or the file it is in; repeatable")
      ->allow_extra_args(false);
  command->add_flag("--" + prefix + "passphrase", ask_passphrase,
                    "Seal for a passphrase too; asks for it");
  command
      ->add_option("--" + prefix + "passphrase-file", passphrase_files,
                   "Seal for the first line of this file (- is standard input, /dev/fd/N a "
                   "descriptor); repeatable")
      ->allow_extra_args(false);
  command
      ->add_option("--" + prefix + "passphrase-cost", cost,
                   "log2 of scrypt's cost: opening takes 2^(N + 10) bytes of memory")
      ->check(CLI::Range(kPassphraseCostMin, kPassphraseCostMax))
      ->capture_default_str();
}

namespace {

Result<SecretText> read_secret(const std::string& file, const char* prompt, bool confirm) {
  TRY(std::string text, read_passphrase(file, prompt, confirm));
  SecretText secret(text);
  wipe({reinterpret_cast<uint8_t*>(text.data()), text.size()});
  return secret;
}

std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

Result<PublicKey> read_public_key(const std::string& text_or_path) {
  if (text_or_path.starts_with("sconce-")) return parse_public_key(text_or_path);
  TRY(MappedFile file, map_file(text_or_path));
  return parse_public_key(as_text(file.bytes())).with_context(text_or_path);
}

Result<Recipients> RecipientOptions::read() const {
  Recipients recipients;
  recipients.passphrase_cost = cost;
  for (const std::string& key : keys) {
    TRY(PublicKey public_key, read_public_key(key));
    recipients.keys.push_back(public_key);
  }
  for (const std::string& file : passphrase_files) {
    TRY(SecretText secret, read_secret(file, "", false));
    recipients.passphrases.push_back(secret);
  }
  if (ask_passphrase) {
    TRY(SecretText secret, read_secret("", "New passphrase: ", true));
    recipients.passphrases.push_back(secret);
  }
  return recipients;
}

void SignOnTheWay::add_to(CLI::App* command) {
  signer.add_to(command, "--sign", "sign-");
  command->add_option("--signature", signature,
                      "The signature's file, with --sign; without: OUTPUT.sig");
  command->add_flag("--sign-dot-name", name_dot,
                    "Call the file \".\" in the signature, as model-signing 1.1.1 wants it");
}

void SignOnTheWay::write(const ContainerOptions& options, const WriteContainerOptions& wanted,
                         const char* verb, double start) const {
  bool json = options.json;
  bool signs = !signer.key.empty();
  if (!signs && (name_dot || !(signature + signer.certificate + signer.passphrase_file).empty()))
    exit_with(error(Code::invalid_argument, "signed by whom? give --sign KEY"), json);
  std::optional<signing::Signer> who;
  if (signs) who = value_or_exit(signer.read(), json);
  MappedFile source = value_or_exit(map_file(options.input), json);
  Progress progress;
  WriteContainerOptions write = wanted;
  write.threads = options.threads;
  write.durable = options.durable;
  write.progress =
      show_progress(&progress, verb == std::string_view("packed") ? "packing" : "sealing");
  std::string place = signature.empty() ? options.output + ".sig" : signature;
  auto summary =
      signs ? write_signed_container(source.bytes(), options.output, write, *who, place, name_dot)
            : write_container(source.bytes(), options.output, write);
  progress.clear();
  ContainerSummary done = value_or_exit(std::move(summary).with_context(options.input), json);
  print_summary(options, verb, done, seconds_now() - start, signs ? place : "",
                signs ? signer_text(*who) : "");
}

void IdentityOptions::add_to(CLI::App* command) {
  command
      ->add_option("--key", key_files,
                   "File with a recipient's secret key (sconce tensors sealkey); repeatable")
      ->allow_extra_args(false);
  command->add_flag("--passphrase", ask_passphrase, "Open with a passphrase; asks for it");
  command
      ->add_option("--passphrase-file", passphrase_files,
                   "Open with the first line of this file (- is standard input, /dev/fd/N a "
                   "descriptor); repeatable")
      ->allow_extra_args(false);
}

Result<Identities> IdentityOptions::read() const {
  Identities identities;
  for (const std::string& path : key_files) {
    TRY(MappedFile file, map_file(path));
    TRY(SecretKey key, parse_secret_key(as_text(file.bytes())).with_context(path));
    identities.keys.push_back(key);
  }
  for (const std::string& file : passphrase_files) {
    TRY(SecretText secret, read_secret(file, "", false));
    identities.passphrases.push_back(secret);
  }
  if (ask_passphrase) {
    TRY(SecretText secret, read_secret("", "Passphrase: ", false));
    identities.passphrases.push_back(secret);
  }
  if (identities.empty())
    return error(Code::invalid_argument,
                 "nothing to open the file with: give --key, --passphrase or --passphrase-file");
  return identities;
}

void print_summary(const ContainerOptions& options, const char* verb,
                   const ContainerSummary& summary, double seconds, const std::string& signature,
                   const std::string& signer) {
  uint64_t written = verb == std::string_view("packed") || verb == std::string_view("sealed")
                         ? summary.file_bytes
                         : summary.source_bytes;
  double rate = double(summary.source_bytes) / 1e9 / std::max(seconds, 1e-9);
  if (options.json) {
    fmt::print(
        "{{\"done\": \"{}\", \"output\": {}, \"container_bytes\": {}, \"tensors_bytes\": {}, "
        "\"tensors\": {}, \"chunks\": {}, \"seconds\": {:.6f}, \"signature\": {}, \"signer\": "
        "{}}}\n",
        verb, options.output.empty() ? "null" : json_string(options.output), summary.file_bytes,
        summary.source_bytes, summary.tensors, summary.chunks, seconds,
        signature.empty() ? "null" : json_string(signature),
        signer.empty() ? "null" : json_string(signer));
    return;
  }
  fmt::print(
      "{}  {}: {} ({:.1f} % of {}), {} tensors, {:.2f} s, {:.2f} GB/s\n",
      options.output.empty() ? options.input : options.output, verb, human_bytes(written),
      100.0 * double(summary.file_bytes) / double(std::max<uint64_t>(1, summary.source_bytes)),
      human_bytes(summary.source_bytes), summary.tensors, seconds, rate);
  if (!signature.empty()) fmt::print("{}  signed by {}\n", signature, signer);
}

void print_restored(const ContainerOptions& options, const Container& container, const char* verb,
                    double start) {
  Progress progress;
  Container::RestoreOptions restore;
  restore.threads = options.threads;
  restore.durable = options.durable;
  bool check = options.output.empty();
  restore.progress = show_progress(&progress, check ? "checking" : verb);
  auto summary = check ? container.check(restore) : container.restore(options.output, restore);
  progress.clear();
  print_summary(options, check ? "whole" : verb,
                value_or_exit(std::move(summary).with_context(options.input), options.json),
                seconds_now() - start);
}

ProgressCallback show_progress(Progress* progress, std::string what) {
  return [progress, what = std::move(what)](uint64_t done, uint64_t total) {
    progress->show(what, total ? double(done) / double(total) : 1);
  };
}

}  // namespace sconce::cli
