// Digests of bytes, computed by OpenSSL: of whole files, of parts, of tensors as they are written.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/span.h"

struct evp_md_ctx_st;

namespace sconce::signing {

// The algorithms of the format that OpenSSL has; BLAKE3, the third one, it has not.
enum class HashAlgorithm : uint8_t { sha256, blake2b };

std::string_view hash_name(HashAlgorithm algorithm);  // as signatures spell it: "sha256"
std::optional<HashAlgorithm> find_hash(std::string_view name);
size_t hash_bytes(HashAlgorithm algorithm);  // 32, 64

struct Digest {
  HashAlgorithm algorithm = HashAlgorithm::sha256;
  std::array<uint8_t, 64> value{};  // hash_bytes(algorithm) count, the rest is zero

  Bytes bytes() const { return Bytes(value).first(hash_bytes(algorithm)); }
  std::string hex() const;  // lower case
  bool operator==(const Digest&) const = default;
};

// Upper and lower case; nothing when the length or a character is wrong.
std::optional<Digest> find_digest(HashAlgorithm algorithm, std::string_view hex);

// Takes bytes in any pieces. Not to be shared between threads; movable.
class Hasher {
 public:
  explicit Hasher(HashAlgorithm algorithm = HashAlgorithm::sha256);
  Hasher(Hasher&&) noexcept = default;
  Hasher& operator=(Hasher&&) noexcept = default;

  void update(Bytes bytes);
  Digest finish();  // the digest of all bytes; the hasher starts anew

 private:
  void start();
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  HashAlgorithm algorithm_;
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

Digest hash(Bytes bytes, HashAlgorithm algorithm = HashAlgorithm::sha256);

// Digest of a tensor: SHA-256 over "sconce tensor 1\n", the dtype as safetensors names it, "\n",
// the sizes in decimal divided by ",", "\n", and then the bytes. So dtype, shape and contents are
// bound; the name is bound by the place of the digest in a signed statement.
class TensorHasher {
 public:
  TensorHasher(std::string_view dtype, Span<const uint64_t> sizes);
  void update(Bytes bytes) { hasher_.update(bytes); }
  Digest finish() { return hasher_.finish(); }

 private:
  Hasher hasher_;
};

}  // namespace sconce::signing
