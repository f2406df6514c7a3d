// Signing of models: a folder or a file in, a signature file out that OpenSSF Model Signing's
// verifiers accept.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "formats/signing/certificates.h"
#include "formats/signing/keys.h"
#include "formats/signing/model_files.h"
#include "formats/signing/statement.h"

namespace sconce::signing {

// A key, alone or with certificates: the key's own first, then what leads to a root. The root
// itself may be left out: who verifies has it.
struct Signer {
  PrivateKey key;
  std::vector<Certificate> certificates;
};

// Fails when the first certificate is not that of the key or may not sign (check_may_sign).
Result<Signer> make_signer(PrivateKey key, std::vector<Certificate> certificates = {});

struct SignOptions {
  std::vector<std::string> ignore_paths;  // relative to the model, or absolute in it
  bool allow_symlinks = false;
  bool tensors = true;  // also sign each tensor of .safetensors files, for verifying one alone
  // Name the file of a model that is one file "." as model-signing 1.1.1 demands, not by its base
  // name as the format's text does.
  bool name_single_file_dot = false;
  unsigned threads = 0;
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;
};

struct SignReport {
  size_t file_count = 0, tensor_count = 0;
  uint64_t bytes = 0;
  std::vector<std::string> ignored;   // what is there and was left out
  std::vector<std::string> warnings;  // sentences
};

// Finds and hashes the files of `model`. `signature_path`, when it lies in the model, is left out
// and recorded as ignored. All files that cannot be signed are named in one error.
Result<Statement> make_statement(const std::string& model, const std::string& signature_path,
                                 const SignOptions& options, SignReport* report);

// The signature file of a statement, as JSON.
Result<std::string> sign_statement(const Statement& statement, const Signer& signer);

// Both, and writes the file: whole or not at all.
Result<SignReport> sign_model(const std::string& model, const std::string& signature_path,
                              const Signer& signer, const SignOptions& options = {});

}  // namespace sconce::signing
