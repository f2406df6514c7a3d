// What sign and verify share on the command line.
#pragma once

#include <string>
#include <vector>

#include "cli.h"
#include "formats/signing/sign.h"

namespace sconce::cli {

// model.sig in a folder, FILE.sig beside a file.
std::string default_signature_path(const std::string& model);

Result<std::vector<signing::Certificate>> load_certificates(const std::vector<std::string>& paths);

// Who signs: a private key, and certificates that say whose it is.
struct SignerOptions {
  std::string key, passphrase_file, certificate;
  std::vector<std::string> chain;

  // `key_option` names the key; `prefix` goes before the names of the others: "" or "sign-".
  void add_to(CLI::App* command, const std::string& key_option, const std::string& prefix);
  Result<signing::Signer> read() const;
};

// As JSON and messages name them: the key's hint, or the subject of its certificate.
std::string signer_text(const signing::Signer& signer);

// Quoted and divided by commas, without brackets.
std::string json_list(const std::vector<std::string>& texts);

// "1 file", "2 files"
std::string counted(size_t count, const std::string& what);

}  // namespace sconce::cli
