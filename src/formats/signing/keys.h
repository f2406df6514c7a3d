// Keys: elliptic curve key pairs that sign models, and their PEM files. All arithmetic is
// OpenSSL's.
//
// The curves of the format are P-256, P-384 and P-521, each with one hash (SHA-256, SHA-384,
// SHA-512); other keys are refused by name. Keys may be shared between threads.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/span.h"

struct evp_pkey_st;

namespace sconce::signing {

enum class Curve : uint8_t { p256, p384, p521 };

std::string_view curve_name(Curve curve);  // "P-256"
std::optional<Curve> find_curve(std::string_view name);

struct FreeKey {
  void operator()(evp_pkey_st* key) const;
};
using KeyPointer = std::unique_ptr<evp_pkey_st, FreeKey>;

class PublicKey {
 public:
  Curve curve() const { return curve_; }
  std::string pem() const;   // SubjectPublicKeyInfo, as openssl writes it
  std::string hint() const;  // hexadecimal SHA-256 of pem(), by which a signature names its key

  // True when `signature`, an ECDSA signature in DER, is one of `message` under this key.
  // Signatures of the deprecated version 0.2 use SHA-256 with every curve.
  bool verifies(Bytes message, Bytes signature, bool always_sha256 = false) const;
  bool operator==(const PublicKey& other) const;

 private:
  friend Result<PublicKey> make_public_key(KeyPointer key);
  std::shared_ptr<evp_pkey_st> key_;
  Curve curve_ = Curve::p256;
};

class PrivateKey {
 public:
  const PublicKey& public_key() const { return public_key_; }
  // Of the PEM file (PKCS #8), encrypted with AES-256 when a passphrase is given. Wipe after use.
  std::string pem(std::optional<std::string_view> passphrase) const;
  // An ECDSA signature in DER.
  Result<std::vector<uint8_t>> sign(Bytes message) const;

 private:
  friend Result<PrivateKey> make_private_key(KeyPointer key);
  std::shared_ptr<evp_pkey_st> key_;
  PublicKey public_key_;
};

Result<PrivateKey> generate_key(Curve curve);

// Asked for a passphrase only when the key is encrypted; an error stops the reading.
using AskPassphrase = std::function<Result<std::string>()>;

// `pem` holds a private key in PKCS #8 or in the older SEC 1 form, as openssl writes them.
Result<PrivateKey> parse_private_key(std::string_view pem, const AskPassphrase& ask = {});
Result<PublicKey> parse_public_key(std::string_view pem);

// Takes a key of OpenSSL when its curve is one of the format's.
Result<PublicKey> make_public_key(KeyPointer key);
Result<PrivateKey> make_private_key(KeyPointer key);

// Overwrites the text, so that no secret stays behind in freed memory.
void wipe(std::string& secret);

// The first error that OpenSSL noted, in its words; forgets them all.
std::string openssl_error();

}  // namespace sconce::signing
