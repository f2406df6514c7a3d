#include "formats/signing/keys.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "formats/signing/digest.h"
#include "formats/signing/text.h"

namespace sconce::signing {
namespace {

struct Row {
  Curve curve;
  std::string_view name, group;
  const EVP_MD* (*hash)();
};
constexpr Row kRows[] = {{Curve::p256, "P-256", "prime256v1", EVP_sha256},
                         {Curve::p384, "P-384", "secp384r1", EVP_sha384},
                         {Curve::p521, "P-521", "secp521r1", EVP_sha512}};

const Row& row(Curve curve) { return kRows[size_t(curve)]; }

struct Free {
  void operator()(BIO* bio) const { BIO_free_all(bio); }
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Bio = std::unique_ptr<BIO, Free>;
using Context = std::unique_ptr<EVP_MD_CTX, Free>;

Result<Bio> read_bio(std::string_view text) {
  if (text.size() > 1 << 20) return error(Code::too_large, "more than 1 MiB for a PEM file");
  Bio bio(BIO_new_mem_buf(text.empty() ? "" : text.data(), int(text.size())));
  CHECK(bio);
  return bio;
}

std::string taken(BIO* bio) {
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  return std::string(data, size_t(size));
}

Result<Curve> curve_of(EVP_PKEY* key) {
  char group[80] = {0};
  size_t size = 0;
  const char* type = EVP_PKEY_get0_type_name(key);
  if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC)
    return error(Code::unsupported, "the key is of type {}, wanted an EC key on {}",
                 type ? type : "unknown", "P-256, P-384 or P-521");
  if (EVP_PKEY_get_group_name(key, group, sizeof group, &size) == 1)
    for (const Row& r : kRows)
      if (r.group == group) return r.curve;
  return error(Code::unsupported, "the key is on curve {}, wanted P-256, P-384 or P-521",
               group[0] ? group : "without a name");
}

// State of one reading: whether a passphrase was asked for, and what came of it.
struct Passphrase {
  const AskPassphrase* ask;
  std::optional<Error> problem;
  bool asked = false;
};

int give_passphrase(char* buffer, int size, int, void* state) {
  auto* passphrase = static_cast<Passphrase*>(state);
  passphrase->asked = true;
  if (!*passphrase->ask) {
    passphrase->problem =
        error(Code::invalid_argument, "the key is encrypted: give its passphrase");
    return -1;
  }
  auto answer = (*passphrase->ask)();
  if (!answer.ok()) {
    passphrase->problem = std::move(answer.error());
    return -1;
  }
  int length = int(answer->size());
  if (length > size) {
    wipe(*answer);
    passphrase->problem =
        error(Code::invalid_argument, "the passphrase is longer than {} bytes", size);
    return -1;
  }
  std::copy(answer->begin(), answer->end(), buffer);
  wipe(*answer);
  return length;
}

int refuse_passphrase(char*, int, int, void*) { return -1; }

}  // namespace

void FreeKey::operator()(evp_pkey_st* key) const { EVP_PKEY_free(key); }

std::string_view curve_name(Curve curve) { return row(curve).name; }

std::optional<Curve> find_curve(std::string_view name) {
  for (const Row& r : kRows)
    if (r.name == name) return r.curve;
  return std::nullopt;
}

void wipe(std::string& secret) { OPENSSL_cleanse(secret.data(), secret.size()); }

std::string openssl_error() {
  unsigned long code = ERR_get_error();
  const char* reason = code ? ERR_reason_error_string(code) : nullptr;
  ERR_clear_error();
  return reason ? reason : "no reason given";
}

std::string PublicKey::pem() const {
  Bio bio(BIO_new(BIO_s_mem()));
  CHECK(bio && PEM_write_bio_PUBKEY(bio.get(), key_.get()) == 1);
  return taken(bio.get());
}

std::string PublicKey::hint() const { return hash(as_bytes(pem())).hex(); }

bool PublicKey::verifies(Bytes message, Bytes signature, bool always_sha256) const {
  Context context(EVP_MD_CTX_new());
  const EVP_MD* digest = always_sha256 ? EVP_sha256() : row(curve_).hash();
  CHECK(context && EVP_DigestVerifyInit(context.get(), nullptr, digest, nullptr, key_.get()) == 1);
  int verdict = EVP_DigestVerify(context.get(), signature.data(), signature.size(), message.data(),
                                 message.size());
  ERR_clear_error();  // what a signature that is no DER leaves behind
  return verdict == 1;
}

bool PublicKey::operator==(const PublicKey& other) const {
  return EVP_PKEY_eq(key_.get(), other.key_.get()) == 1;
}

std::string PrivateKey::pem(std::optional<std::string_view> passphrase) const {
  Bio bio(BIO_new(BIO_s_secmem()));
  const EVP_CIPHER* cipher = passphrase ? EVP_aes_256_cbc() : nullptr;
  // No callback: OpenSSL would ask it even though the passphrase is given.
  int written = PEM_write_bio_PKCS8PrivateKey(
      bio.get(), key_.get(), cipher, passphrase ? passphrase->data() : nullptr,
      passphrase ? int(passphrase->size()) : 0, nullptr, nullptr);
  CHECK(written == 1);
  return taken(bio.get());
}

Result<std::vector<uint8_t>> PrivateKey::sign(Bytes message) const {
  Context context(EVP_MD_CTX_new());
  const EVP_MD* digest = row(public_key_.curve()).hash();
  size_t size = 0;
  if (!context || EVP_DigestSignInit(context.get(), nullptr, digest, nullptr, key_.get()) != 1 ||
      EVP_DigestSign(context.get(), nullptr, &size, message.data(), message.size()) != 1)
    return error(Code::internal, "signing: {}", openssl_error());
  std::vector<uint8_t> signature(size);
  if (EVP_DigestSign(context.get(), signature.data(), &size, message.data(), message.size()) != 1)
    return error(Code::internal, "signing: {}", openssl_error());
  signature.resize(size);
  return signature;
}

Result<PrivateKey> generate_key(Curve curve) {
  KeyPointer key(EVP_EC_gen(row(curve).group.data()));
  if (!key) return error(Code::internal, "making a key: {}", openssl_error());
  return make_private_key(std::move(key));
}

Result<PublicKey> make_public_key(KeyPointer key) {
  PublicKey result;
  TRY(result.curve_, curve_of(key.get()));
  result.key_ = std::move(key);
  return result;
}

Result<PrivateKey> make_private_key(KeyPointer key) {
  PrivateKey result;
  EVP_PKEY_up_ref(key.get());
  TRY(result.public_key_, make_public_key(KeyPointer(key.get())));
  result.key_ = std::move(key);
  return result;
}

Result<PrivateKey> parse_private_key(std::string_view pem, const AskPassphrase& ask) {
  TRY(auto bio, read_bio(pem));
  Passphrase passphrase{&ask, {}, false};
  ERR_clear_error();
  KeyPointer key(PEM_read_bio_PrivateKey(bio.get(), nullptr, give_passphrase, &passphrase));
  if (key) return make_private_key(std::move(key));
  std::string reason = openssl_error();
  if (passphrase.problem) return std::move(*passphrase.problem);
  if (passphrase.asked)
    return error(Code::invalid_argument, "the passphrase does not open the key ({})", reason);
  if (pem.find("PUBLIC KEY-----") != pem.npos)
    return error(Code::invalid_file, "holds a public key, wanted a private one");
  return error(Code::invalid_file, "holds no private key in PEM that can be read ({})", reason);
}

Result<PublicKey> parse_public_key(std::string_view pem) {
  TRY(auto bio, read_bio(pem));
  ERR_clear_error();
  KeyPointer key(PEM_read_bio_PUBKEY(bio.get(), nullptr, refuse_passphrase, nullptr));
  if (key) return make_public_key(std::move(key));
  std::string reason = openssl_error();
  if (pem.find("PRIVATE KEY-----") != pem.npos)
    return error(Code::invalid_file, "holds a private key, wanted the public one");
  if (pem.find("BEGIN CERTIFICATE-----") != pem.npos)
    return error(Code::invalid_file,
                 "holds a certificate, wanted a public key; certificates are trusted as roots");
  return error(Code::invalid_file, "holds no public key in PEM that can be read ({})", reason);
}

}  // namespace sconce::signing
