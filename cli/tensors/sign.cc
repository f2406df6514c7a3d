// sconce tensors sign: signs a model's folder or file in the OpenSSF Model Signing format.
#include <filesystem>

#include "base/file.h"
#include "formats/signing/sign.h"
#include "formats/signing/text.h"
#include "tensors/passphrase.h"
#include "tensors/signing_files.h"
#include "tensors/tensors.h"

namespace sconce::cli {

std::string default_signature_path(const std::string& model) {
  std::error_code problem;
  if (std::filesystem::is_directory(model, problem))
    return (std::filesystem::path(model) / "model.sig").string();
  return model + ".sig";
}

Result<std::vector<signing::Certificate>> load_certificates(const std::vector<std::string>& paths) {
  std::vector<signing::Certificate> all;
  for (const std::string& path : paths) {
    TRY(auto file, map_file(path));
    TRY(auto found, signing::parse_certificates(signing::as_text(file.bytes())).with_context(path));
    all.insert(all.end(), found.begin(), found.end());
  }
  return all;
}

void SignerOptions::add_to(CLI::App* command, const std::string& key_option,
                           const std::string& prefix) {
  command->add_option(key_option, key, "The private key to sign with (PEM; P-256, P-384, P-521)");
  command->add_option("--" + prefix + "passphrase-file", passphrase_file,
                      "Holds that key's passphrase (- is standard input); else it is asked for");
  command->add_option("--" + prefix + "certificate", certificate, "That key's certificate (PEM)");
  command->add_option("--" + prefix + "chain", chain, "Certificates between it and a root (PEM)")
      ->allow_extra_args(false);
}

Result<signing::Signer> SignerOptions::read() const {
  TRY(auto file, map_file(key));
  TRY(auto private_key, signing::parse_private_key(signing::as_text(file.bytes()), [&] {
                          return read_passphrase(passphrase_file, "Passphrase for " + key + ": ");
                        }).with_context(key));
  std::vector<signing::Certificate> certificates;
  if (!certificate.empty()) {
    TRY(certificates, load_certificates({certificate}));
    TRY(auto more, load_certificates(chain));
    certificates.insert(certificates.end(), more.begin(), more.end());
  } else if (!chain.empty()) {
    return error(Code::invalid_argument, "certificates of a chain need the one that they continue");
  }
  return signing::make_signer(std::move(private_key), std::move(certificates));
}

std::string signer_text(const signing::Signer& signer) {
  return signer.certificates.empty() ? "key " + signer.key.public_key().hint()
                                     : signer.certificates[0].subject();
}

namespace {

struct Options {
  std::string model, output;
  SignerOptions signer;
  signing::SignOptions sign;
  bool no_tensors = false, json = false;
};

void sign(Options& options) {
  bool json = options.json;
  if (options.output.empty()) options.output = default_signature_path(options.model);
  signing::Signer signer = value_or_exit(options.signer.read(), json);
  Progress progress;
  options.sign.tensors = !options.no_tensors;
  options.sign.progress = [&](uint64_t done, uint64_t total) {
    progress.show(fmt::format("signing {}", human_bytes(total)),
                  total ? double(done) / double(total) : 1);
  };
  double start = seconds_now();
  auto result = signing::sign_model(options.model, options.output, signer, options.sign);
  progress.clear();
  signing::SignReport report = value_or_exit(std::move(result), json);
  double seconds = seconds_now() - start;
  std::string who = signer_text(signer);
  if (json) {
    fmt::print(
        "{{\"signature\": {}, \"signer\": {}, \"files\": {}, \"tensors\": {}, \"bytes\": {}, "
        "\"seconds\": {:.6f}, \"ignored\": [{}], \"warnings\": [{}]}}\n",
        json_string(options.output), json_string(who), report.file_count, report.tensor_count,
        report.bytes, seconds, json_list(report.ignored), json_list(report.warnings));
    return;
  }
  for (const std::string& warning : report.warnings) fmt::print(stderr, "warning: {}\n", warning);
  if (!report.ignored.empty()) fmt::print(stderr, "left out: {}\n", json_list(report.ignored));
  fmt::print("{}  {}, {}, {} in {:.2f} s, by {}\n", options.output,
             counted(report.file_count, "file"), counted(report.tensor_count, "tensor"),
             human_bytes(report.bytes), seconds, who);
}

}  // namespace

std::string json_list(const std::vector<std::string>& texts) {
  std::string list;
  for (const std::string& text : texts) list += (list.empty() ? "" : ", ") + json_string(text);
  return list;
}

std::string counted(size_t count, const std::string& what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

void add_tensors_sign(CLI::App& group) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      group.add_subcommand("sign", "Sign a model's folder or file (OpenSSF Model Signing)");
  command->add_option("model", options->model, "A folder, with all in it, or a file")->required();
  options->signer.add_to(command, "--key", "");
  command->get_option("--key")->required();
  command->add_option("-o,--output", options->output,
                      "The signature's file; without: model.sig in the folder, or FILE.sig");
  command
      ->add_option("--ignore", options->sign.ignore_paths,
                   "Leave out this file or folder (relative to the model)")
      ->allow_extra_args(false);
  command->add_flag("--allow-symlinks", options->sign.allow_symlinks,
                    "Sign what symbolic links point at; else they are refused");
  command->add_flag("--no-tensors", options->no_tensors,
                    "Sign only whole files, not each tensor of .safetensors files too");
  command->add_flag("--dot-name", options->sign.name_single_file_dot,
                    "Name a model of one file \".\", as model-signing 1.1.1 wants it");
  command->add_option("--threads", options->sign.threads, "Threads; without: all processors");
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "Examples:\n"
      "  sconce tensors sign model/ --key release.pem\n"
      "  sconce tensors sign model/ --key k.pem --certificate leaf.pem --chain int.pem -o "
      "model.sig\n"
      "Verifiers of the format accept it: model_signing verify key model/ --signature "
      "model/model.sig\n"
      "  --public_key release.pub");
  command->callback([options] { sign(*options); });
}

}  // namespace sconce::cli
