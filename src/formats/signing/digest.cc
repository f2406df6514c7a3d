#include "formats/signing/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include "base/status.h"

namespace sconce::signing {
namespace {

struct Row {
  HashAlgorithm algorithm;
  std::string_view name;
  size_t bytes;
  const EVP_MD* (*evp)();
};
constexpr Row kRows[] = {{HashAlgorithm::sha256, "sha256", 32, EVP_sha256},
                         {HashAlgorithm::blake2b, "blake2b", 64, EVP_blake2b512}};

const Row& row(HashAlgorithm algorithm) { return kRows[size_t(algorithm)]; }

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string_view hash_name(HashAlgorithm algorithm) { return row(algorithm).name; }
size_t hash_bytes(HashAlgorithm algorithm) { return row(algorithm).bytes; }

std::optional<HashAlgorithm> find_hash(std::string_view name) {
  for (const Row& r : kRows)
    if (r.name == name) return r.algorithm;
  return std::nullopt;
}

std::string Digest::hex() const {
  std::string text;
  for (uint8_t byte : bytes()) text += fmt::format("{:02x}", byte);
  return text;
}

std::optional<Digest> find_digest(HashAlgorithm algorithm, std::string_view hex) {
  Digest digest{algorithm};
  if (hex.size() != 2 * hash_bytes(algorithm)) return std::nullopt;
  for (size_t i = 0; i < hex.size() / 2; i++) {
    int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    digest.value[i] = uint8_t(high << 4 | low);
  }
  return digest;
}

void Hasher::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Hasher::Hasher(HashAlgorithm algorithm) : algorithm_(algorithm), context_(EVP_MD_CTX_new()) {
  start();
}

// OpenSSL fails here only when memory is out or its build lacks the algorithm.
void Hasher::start() {
  CHECK(context_ && EVP_DigestInit_ex(context_.get(), row(algorithm_).evp(), nullptr) == 1);
}

void Hasher::update(Bytes bytes) {
  CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

Digest Hasher::finish() {
  Digest digest{algorithm_};
  CHECK(EVP_DigestFinal_ex(context_.get(), digest.value.data(), nullptr) == 1);
  start();
  return digest;
}

Digest hash(Bytes bytes, HashAlgorithm algorithm) {
  Hasher hasher(algorithm);
  hasher.update(bytes);
  return hasher.finish();
}

TensorHasher::TensorHasher(std::string_view dtype, Span<const uint64_t> sizes) {
  std::string head = fmt::format("sconce tensor 1\n{}\n{}\n", dtype, fmt::join(sizes, ","));
  hasher_.update({reinterpret_cast<const uint8_t*>(head.data()), head.size()});
}

}  // namespace sconce::signing
