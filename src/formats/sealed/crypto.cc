#include "formats/sealed/crypto.h"

#include <climits>
#include <cstring>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

namespace sconce {

namespace {

Error openssl_error(const char* what) {
  char text[256] = "no reason given";
  if (unsigned long code = ERR_get_error()) ERR_error_string_n(code, text, sizeof text);
  ERR_clear_error();
  return error(Code::internal, "OpenSSL: {}: {}", what, text);
}

template <auto release>
struct Release {
  template <class T>
  void operator()(T* object) const {
    release(object);
  }
};
using PkeyPtr = std::unique_ptr<EVP_PKEY, Release<EVP_PKEY_free>>;
using PkeyContextPtr = std::unique_ptr<EVP_PKEY_CTX, Release<EVP_PKEY_CTX_free>>;
using KdfContextPtr = std::unique_ptr<EVP_KDF_CTX, Release<EVP_KDF_CTX_free>>;
using CipherContextPtr = std::unique_ptr<EVP_CIPHER_CTX, Release<EVP_CIPHER_CTX_free>>;

}  // namespace

void wipe(Span<uint8_t> bytes) {
  if (!bytes.empty()) OPENSSL_cleanse(bytes.data(), bytes.size());
}

Result<void> random_bytes(Span<uint8_t> out) {
  if (RAND_bytes(out.data(), int(out.size())) != 1) return openssl_error("random bytes");
  return {};
}

Result<SecretKey> random_key() {
  SecretKey key;
  if (RAND_priv_bytes(key.bytes.data(), int(key.bytes.size())) != 1)
    return openssl_error("random key");
  return key;
}

Result<Digest> sha256(Bytes bytes) {
  Digest digest;
  size_t size = digest.size();
  if (EVP_Q_digest(nullptr, "SHA256", nullptr, bytes.data(), bytes.size(), digest.data(), &size) !=
      1)
    return openssl_error("SHA-256");
  return digest;
}

Result<Digest> hmac_sha256(const SecretKey& key, Bytes bytes) {
  Digest digest;
  size_t size = 0;
  if (!EVP_Q_mac(nullptr, "HMAC", nullptr, "SHA256", nullptr, key.bytes.data(), key.bytes.size(),
                 bytes.data(), bytes.size(), digest.data(), digest.size(), &size) ||
      size != digest.size())
    return openssl_error("HMAC");
  return digest;
}

bool equal_in_constant_time(Bytes a, Bytes b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Result<SecretKey> derive_key(const SecretKey& key, Bytes salt, std::string_view label,
                             Bytes context) {
  static EVP_KDF* const hkdf = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  KdfContextPtr kdf(hkdf ? EVP_KDF_CTX_new(hkdf) : nullptr);
  if (!kdf) return openssl_error("HKDF");
  std::vector<uint8_t> info(label.begin(), label.end());
  info.insert(info.end(), context.begin(), context.end());
  // OSSL_PARAM has no const; HKDF only reads.
  OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, const_cast<char*>("SHA256"), 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, const_cast<uint8_t*>(key.bytes.data()),
                                        key.bytes.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, const_cast<uint8_t*>(salt.data()),
                                        salt.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data(), info.size()),
      OSSL_PARAM_construct_end(),
  };
  SecretKey derived;
  if (EVP_KDF_derive(kdf.get(), derived.bytes.data(), derived.bytes.size(), parameters) != 1)
    return openssl_error("HKDF");
  return derived;
}

Result<SecretKey> derive_key_from_passphrase(std::string_view passphrase, Bytes salt,
                                             int log2_cost) {
  CHECK(log2_cost >= 1 && log2_cost < 32);
  uint64_t cost = uint64_t(1) << log2_cost;
  constexpr uint64_t kBlock = 8, kLanes = 1;
  uint64_t memory = 128 * kBlock * (cost + 32);
  SecretKey derived;
  if (EVP_PBE_scrypt(passphrase.data(), passphrase.size(), salt.data(), salt.size(), cost, kBlock,
                     kLanes, memory, derived.bytes.data(), derived.bytes.size()) != 1)
    return openssl_error("scrypt");
  return derived;
}

Result<std::array<uint8_t, kKeyBytes>> x25519_public_key(const SecretKey& secret) {
  PkeyPtr key(EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, secret.bytes.data(),
                                           secret.bytes.size()));
  std::array<uint8_t, kKeyBytes> out;
  size_t size = out.size();
  if (!key || EVP_PKEY_get_raw_public_key(key.get(), out.data(), &size) != 1 || size != out.size())
    return openssl_error("X25519");
  return out;
}

Result<SecretKey> x25519_agree(const SecretKey& secret, Bytes public_key) {
  PkeyPtr mine(EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, secret.bytes.data(),
                                            secret.bytes.size()));
  PkeyPtr theirs(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, public_key.data(), public_key.size()));
  PkeyContextPtr context(mine ? EVP_PKEY_CTX_new(mine.get(), nullptr) : nullptr);
  if (!mine || !theirs || !context || EVP_PKEY_derive_init(context.get()) != 1)
    return openssl_error("X25519");
  SecretKey shared;
  size_t size = shared.bytes.size();
  // OpenSSL refuses a shared secret of zeros, which a public key of small order forces.
  if (EVP_PKEY_derive_set_peer(context.get(), theirs.get()) != 1 ||
      EVP_PKEY_derive(context.get(), shared.bytes.data(), &size) != 1 ||
      size != shared.bytes.size()) {
    ERR_clear_error();
    return error(Code::invalid_file, "X25519 public key of small order");
  }
  return shared;
}

const char* cipher_name(Cipher cipher) {
  return cipher == Cipher::aes256_gcm ? "AES-256-GCM" : "ChaCha20-Poly1305";
}

Cipher fastest_cipher() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul")
             ? Cipher::aes256_gcm
             : Cipher::chacha20_poly1305;
#else
  return Cipher::chacha20_poly1305;
#endif
}

struct Aead::State {
  CipherContextPtr encrypt, decrypt;
};

Aead::Aead(std::unique_ptr<State> state) : state_(std::move(state)) {}
Aead::~Aead() = default;
Aead::Aead(Aead&&) noexcept = default;
Aead& Aead::operator=(Aead&&) noexcept = default;

Result<Aead> Aead::make(Cipher cipher, const SecretKey& key) {
  // Fetched once: a fetch costs as much as sealing a few kilobytes.
  static EVP_CIPHER* const gcm = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  static EVP_CIPHER* const chacha = EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr);
  const EVP_CIPHER* algorithm = cipher == Cipher::aes256_gcm ? gcm : chacha;
  auto state = std::make_unique<State>();
  state->encrypt.reset(EVP_CIPHER_CTX_new());
  state->decrypt.reset(EVP_CIPHER_CTX_new());
  if (!algorithm || !state->encrypt || !state->decrypt ||
      EVP_EncryptInit_ex2(state->encrypt.get(), algorithm, key.bytes.data(), nullptr, nullptr) !=
          1 ||
      EVP_DecryptInit_ex2(state->decrypt.get(), algorithm, key.bytes.data(), nullptr, nullptr) != 1)
    return openssl_error(cipher_name(cipher));
  return Aead(std::move(state));
}

Result<void> Aead::seal(const Nonce& nonce, Bytes associated, Bytes plain, Span<uint8_t> out) {
  CHECK(out.size() == plain.size() + kTagBytes && plain.size() <= INT_MAX &&
        associated.size() <= INT_MAX);
  EVP_CIPHER_CTX* context = state_->encrypt.get();
  int size = 0, last = 0;
  if (EVP_EncryptInit_ex2(context, nullptr, nullptr, nonce.data(), nullptr) != 1 ||
      (!associated.empty() && EVP_EncryptUpdate(context, nullptr, &size, associated.data(),
                                                int(associated.size())) != 1) ||
      (!plain.empty() &&
       EVP_EncryptUpdate(context, out.data(), &size, plain.data(), int(plain.size())) != 1) ||
      EVP_EncryptFinal_ex(context, out.data() + plain.size(), &last) != 1 ||
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, int(kTagBytes),
                          out.data() + plain.size()) != 1)
    return openssl_error("sealing");
  return {};
}

Result<bool> Aead::open(const Nonce& nonce, Bytes associated, Bytes sealed, Span<uint8_t> plain) {
  CHECK(sealed.size() >= kTagBytes && plain.size() == sealed.size() - kTagBytes &&
        plain.size() <= INT_MAX && associated.size() <= INT_MAX);
  EVP_CIPHER_CTX* context = state_->decrypt.get();
  uint8_t tag[kTagBytes], rest[kTagBytes];
  memcpy(tag, sealed.data() + plain.size(), kTagBytes);
  int size = 0, last = 0;
  if (EVP_DecryptInit_ex2(context, nullptr, nullptr, nonce.data(), nullptr) != 1 ||
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, int(kTagBytes), tag) != 1 ||
      (!associated.empty() &&
       EVP_DecryptUpdate(context, nullptr, &size, associated.data(), int(associated.size())) != 1))
    return openssl_error("opening");
  if ((!plain.empty() &&
       EVP_DecryptUpdate(context, plain.data(), &size, sealed.data(), int(plain.size())) != 1) ||
      EVP_DecryptFinal_ex(context, rest, &last) != 1) {
    ERR_clear_error();
    wipe(plain);
    return false;
  }
  return true;
}

}  // namespace sconce
