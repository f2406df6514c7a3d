// Signature files, statements, keys and certificates from outside: read or refused with a text, and
// what a statement's reader lets pass is written and read again to the same text.
#include <cstdint>

#include "formats/signing/bundle.h"
#include "formats/signing/certificates.h"
#include "formats/signing/statement.h"
#include "formats/signing/text.h"
#include "formats/signing/verify.h"

using namespace sconce;
using namespace sconce::signing;

namespace {

template <class T>
bool good(const Result<T>& result) {
  if (!result.ok() && result.error().text.empty()) __builtin_trap();
  return result.ok();
}

void statement(Bytes payload) {
  for (bool allow_deprecated : {false, true}) {
    auto first = decode_statement(payload, allow_deprecated);
    if (!good(first) || first->deprecated) continue;
    for (const Resource& resource : first->resources)
      if (resource.path != "." && !plain_path(resource.path).ok()) __builtin_trap();
    auto json = encode_statement(*first);
    if (!json.ok()) __builtin_trap();
    auto second = decode_statement(as_bytes(*json));
    if (!second.ok() || *encode_statement(*second) != *json) __builtin_trap();
  }
}

const PublicKey& some_key() {
  static const PublicKey key = generate_key(Curve::p256)->public_key();
  return key;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes input(data, size);
  statement(input);
  (void)good(parse_public_key(as_text(input)));
  auto roots = parse_certificates(as_text(input));
  if (good(roots)) {
    (void)good(check_may_sign((*roots)[0]));
    (void)good((*roots)[0].public_key());
    (void)good(check_chain((*roots)[0], *roots, *roots, 1'800'000'000));
  }
  auto bundle = decode_bundle(input);
  if (!good(bundle)) return 0;
  statement(bundle->payload);
  (void)deprecated_signed_bytes(bundle->payload);
  if (some_key().verifies(signed_bytes(bundle->payload), bundle->signature)) __builtin_trap();
  std::vector<Certificate> chain;
  for (const auto& der : bundle->certificates) {
    auto certificate = parse_der_certificate(der);
    if (good(certificate)) chain.push_back(*certificate);
  }
  if (!chain.empty()) (void)good(check_chain(chain[0], chain, chain, 1'800'000'000));
  // What was read is what is written, up to members that mean nothing.
  auto again = decode_bundle(as_bytes(encode_bundle(*bundle)));
  if (!again.ok() || again->payload != bundle->payload || again->signature != bundle->signature ||
      again->certificates != bundle->certificates)
    __builtin_trap();
  return 0;
}
