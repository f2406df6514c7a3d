// SignedTensors: verifies single tensors of a signed model, for loaders that read only what they
// need.
//
// A signature made with digests of tensors binds, for each file, its index (for a safetensors file
// the header: names, dtypes, shapes, places, metadata, and with them the length of the file) and
// for each tensor its dtype, shape and bytes. What a verified tensor does not tell: whether other
// tensors or files are as signed. docs/signing.md goes through the lies and what catches them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "formats/signing/verify.h"

namespace sconce::signing {

// Safe to call from several threads once opened.
class SignedTensors {
 public:
  // The statement of a signature that verify_signature() or verify_model() let pass.
  explicit SignedTensors(VerifiedSignature signature) : signature_(std::move(signature)) {}
  static Result<SignedTensors> open(const std::string& signature_path, const Trust& trust);

  const VerifiedSignature& signature() const { return signature_; }

  // Null when the file is not signed or without digests of tensors. `path` is relative to the
  // model.
  const TensorDigests* find_file(std::string_view path) const;
  // Paths of the files in which a tensor of that name is signed.
  std::vector<std::string> files_with(std::string_view name) const;

  // Succeeds when `index` is the signed index of the file. Do this before the index is parsed.
  Result<void> check_index(std::string_view path, Bytes index) const;
  // Succeeds when the tensor is the one signed under this name in this file. `dtype` as safetensors
  // names it ("BF16").
  Result<void> check_tensor(std::string_view path, std::string_view name, std::string_view dtype,
                            Span<const uint64_t> sizes, Bytes bytes) const;
  // For bytes that come in pieces: `found` is what a TensorHasher made of them.
  Result<void> check_tensor(std::string_view path, std::string_view name,
                            const Digest& found) const;

 private:
  VerifiedSignature signature_;
};

struct VerifiedTensor {
  std::string path, name, dtype;
  std::vector<uint64_t> sizes;
  uint64_t bytes = 0;       // of the tensor
  uint64_t bytes_read = 0;  // of the file: its header and the tensor
};

// Verifies one tensor of a safetensors file, reading nothing but the header and the tensor. `path`
// may be empty when the name is signed in one file only.
Result<VerifiedTensor> verify_tensor(const std::string& model, const SignedTensors& signed_tensors,
                                     std::string_view name, std::string_view path = {});

}  // namespace sconce::signing
