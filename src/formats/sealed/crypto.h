// What sealing needs from OpenSSL, and nothing of its own: digests, key derivation, agreement,
// AEAD.
//
// Every primitive is OpenSSL's; these are the few forms of them that the format uses, with sizes
// in the types. Errors are OpenSSL refusing to work (Code::internal), never a wrong input.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/span.h"

namespace sconce {

inline constexpr size_t kKeyBytes = 32;
inline constexpr size_t kTagBytes = 16;
inline constexpr size_t kNonceBytes = 12;

using Digest = std::array<uint8_t, 32>;
using Nonce = std::array<uint8_t, kNonceBytes>;

// Overwrites memory in a way that compilers keep.
void wipe(Span<uint8_t> bytes);

// 256 secret bits; wiped when destroyed. Copies are wiped each by itself.
struct SecretKey {
  std::array<uint8_t, kKeyBytes> bytes{};
  SecretKey() = default;
  SecretKey(const SecretKey&) = default;
  SecretKey& operator=(const SecretKey&) = default;
  ~SecretKey() { wipe(bytes); }
};

Result<void> random_bytes(Span<uint8_t> out);
Result<SecretKey> random_key();

Result<Digest> sha256(Bytes bytes);
Result<Digest> hmac_sha256(const SecretKey& key, Bytes bytes);
// In time that does not depend on the contents; sizes must be equal to be equal.
bool equal_in_constant_time(Bytes a, Bytes b);

// HKDF-SHA-256, extract and expand: `info` is the label followed by `context`.
Result<SecretKey> derive_key(const SecretKey& key, Bytes salt, std::string_view label,
                             Bytes context = {});

// scrypt with r = 8, p = 1: takes 2^(log2_cost + 10) bytes of memory.
Result<SecretKey> derive_key_from_passphrase(std::string_view passphrase, Bytes salt,
                                             int log2_cost);

// X25519. The public key of a secret one, and the secret that two sides share; an agreement that an
// adversary forces (all zero) is refused as invalid_file.
Result<std::array<uint8_t, kKeyBytes>> x25519_public_key(const SecretKey& secret);
Result<SecretKey> x25519_agree(const SecretKey& secret, Bytes public_key);

// Numbers are those of the file.
enum class Cipher : uint32_t { aes256_gcm = 1, chacha20_poly1305 = 2 };
const char* cipher_name(Cipher cipher);
// AES where the processor has instructions for it, else ChaCha20.
Cipher fastest_cipher();

// One key of an authenticated cipher. Not to be shared between threads.
class Aead {
 public:
  static Result<Aead> make(Cipher cipher, const SecretKey& key);
  ~Aead();
  Aead(Aead&&) noexcept;
  Aead& operator=(Aead&&) noexcept;

  // Writes `plain` encrypted and then the tag: `out` has plain.size() + kTagBytes bytes and may
  // begin where `plain` does. A nonce must never be used twice with one key.
  Result<void> seal(const Nonce& nonce, Bytes associated, Bytes plain, Span<uint8_t> out);

  // Fills `plain` (sealed.size() - kTagBytes bytes) when the tag is right; else wipes it and
  // answers false. `plain` may begin where `sealed` does.
  Result<bool> open(const Nonce& nonce, Bytes associated, Bytes sealed, Span<uint8_t> plain);

 private:
  struct State;
  explicit Aead(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sconce
