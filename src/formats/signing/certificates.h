// Certificates: who a key belongs to, as X.509 chains say it. All checking of chains is OpenSSL's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/signing/keys.h"

struct x509_st;

namespace sconce::signing {

class Certificate {
 public:
  std::string subject() const;  // "CN=release key,O=Example", control characters escaped
  std::string issuer() const;
  std::string fingerprint() const;  // hexadecimal SHA-256 of der()
  std::string valid_from() const;   // "2026-01-31 12:00:00 UTC"
  std::string valid_until() const;
  std::vector<uint8_t> der() const;
  // Fails for keys that the format does not know.
  Result<PublicKey> public_key() const;
  x509_st* get() const { return certificate_.get(); }

 private:
  friend Result<Certificate> parse_der_certificate(Bytes der);
  friend Result<std::vector<Certificate>> parse_certificates(std::string_view pem);
  std::shared_ptr<x509_st> certificate_;
};

// One certificate and nothing after it.
Result<Certificate> parse_der_certificate(Bytes der);
// All certificates of a PEM file, at least one.
Result<std::vector<Certificate>> parse_certificates(std::string_view pem);

// Fails unless the certificate may sign models: where it states a key usage that must include
// digitalSignature, where it states an extended one that must include codeSigning, and it must
// state one of the two. (The reference is content when either fits.)
Result<void> check_may_sign(const Certificate& leaf);

// Fails unless `leaf` leads through `others` to one of `roots` with every certificate valid at
// `at`, seconds since 1970 (the reference looks at the moment from which the leaf is valid, so that
// it takes expired ones). Keys and hashes weaker than 112 bits are refused. Revocation is not
// looked up. Returns the chain from leaf to root.
Result<std::vector<Certificate>> check_chain(const Certificate& leaf,
                                             const std::vector<Certificate>& others,
                                             const std::vector<Certificate>& roots, int64_t at);

// "2026-01-31 12:00:00 UTC"
std::string time_text(int64_t seconds);

}  // namespace sconce::signing
