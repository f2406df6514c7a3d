// Bundle: the signature file (.sig): a Sigstore bundle 0.3 with one signed payload in DSSE.
//
// Says nothing about what is in the payload (statement.h) and trusts nothing: whether the signature
// holds is asked of a key (verify.h). format.md draws the layers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"

namespace sconce::signing {

// Limits on what is read: a model of a million tensors signs to about 100 MB.
inline constexpr uint64_t kBundleBytesMax = 512ull << 20;
inline constexpr size_t kBundleCertificatesMax = 16;

struct Bundle {
  // Who signed: the hint of a key (empty when the file holds none), or certificates in DER, the
  // signer's first; exactly one of the two.
  std::optional<std::string> key_hint;
  std::vector<std::vector<uint8_t>> certificates;

  std::vector<uint8_t> payload;
  std::vector<uint8_t> signature;  // DER
};

// Compact JSON on one line, without a line end, as the reference writes it.
std::string encode_bundle(const Bundle& bundle);

// Errors name the place ("dsseEnvelope.signatures[0].sig: ..."). Unknown members are refused, as
// the reference does; absent, null and empty "keyid" and absent "tlogEntries" are accepted. Keyless
// bundles of Sigstore are refused as unsupported.
Result<Bundle> decode_bundle(Bytes file);

// What the signature is over (DSSE v1): "DSSEv1", the payload's type and the payload, with lengths.
std::vector<uint8_t> signed_bytes(Bytes payload);

// What version 0.2 of the reference signed instead, by mistake: the payload as Python prints bytes.
std::vector<uint8_t> deprecated_signed_bytes(Bytes payload);

}  // namespace sconce::signing
