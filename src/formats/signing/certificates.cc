#include "formats/signing/certificates.h"

#include <ctime>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "formats/signing/digest.h"
#include "formats/signing/text.h"

namespace sconce::signing {
namespace {

constexpr size_t kChainLengthMax = 16;

struct Free {
  void operator()(BIO* bio) const { BIO_free_all(bio); }
  void operator()(X509_STORE* store) const { X509_STORE_free(store); }
  void operator()(X509_STORE_CTX* context) const { X509_STORE_CTX_free(context); }
  // The stack only: certificates in it belong to others.
  void operator()(STACK_OF(X509) * stack) const { sk_X509_free(stack); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

std::string name_text(const X509_NAME* name) {
  Owned<BIO> bio(BIO_new(BIO_s_mem()));
  CHECK(bio);
  // RFC 2253 escapes control characters and what is not ASCII.
  X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253);
  char* data = nullptr;
  long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, size_t(size)).substr(0, 200);
}

std::string asn1_time_text(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return "an unreadable time";
  return time_text(int64_t(timegm(&parts)));
}

}  // namespace

std::string time_text(int64_t seconds) {
  std::time_t time = std::time_t(seconds);
  std::tm parts{};
  if (!gmtime_r(&time, &parts)) return fmt::format("{} s", seconds);
  char text[64];
  strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text;
}

std::string Certificate::subject() const { return name_text(X509_get_subject_name(get())); }
std::string Certificate::issuer() const { return name_text(X509_get_issuer_name(get())); }
std::string Certificate::fingerprint() const { return hash(der()).hex(); }
std::string Certificate::valid_from() const { return asn1_time_text(X509_get0_notBefore(get())); }
std::string Certificate::valid_until() const { return asn1_time_text(X509_get0_notAfter(get())); }

std::vector<uint8_t> Certificate::der() const {
  unsigned char* data = nullptr;
  int size = i2d_X509(get(), &data);
  CHECK(size > 0);
  std::vector<uint8_t> bytes(data, data + size);
  OPENSSL_free(data);
  return bytes;
}

Result<PublicKey> Certificate::public_key() const {
  KeyPointer key(X509_get_pubkey(get()));
  if (!key)
    return error(Code::invalid_file, "certificate \"{}\": its key cannot be read ({})", subject(),
                 openssl_error());
  return make_public_key(std::move(key)).with_context(fmt::format("certificate \"{}\"", subject()));
}

Result<Certificate> parse_der_certificate(Bytes der) {
  const unsigned char* at = der.data();
  Certificate result;
  ERR_clear_error();
  X509* found = der.empty() ? nullptr : d2i_X509(nullptr, &at, long(der.size()));
  if (!found)
    return error(Code::invalid_file, "no X.509 certificate in DER ({})",
                 der.empty() ? "it is empty" : openssl_error());
  result.certificate_.reset(found, X509_free);
  if (at != der.data() + der.size())
    return error(Code::invalid_file, "{} bytes follow the certificate",
                 der.size() - size_t(at - der.data()));
  return result;
}

Result<std::vector<Certificate>> parse_certificates(std::string_view pem) {
  if (pem.size() > 64 << 20) return error(Code::too_large, "more than 64 MiB of certificates");
  Owned<BIO> bio(BIO_new_mem_buf(pem.empty() ? "" : pem.data(), int(pem.size())));
  CHECK(bio);
  ERR_clear_error();
  std::vector<Certificate> result;
  while (X509* found = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    result.emplace_back();
    result.back().certificate_.reset(found, X509_free);
  }
  unsigned long code = ERR_peek_last_error();
  bool at_end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
  if (!at_end)
    return error(Code::invalid_file, "certificate {} cannot be read ({})", result.size() + 1,
                 openssl_error());
  ERR_clear_error();
  if (result.empty()) return error(Code::invalid_file, "holds no certificate in PEM");
  return result;
}

Result<void> check_may_sign(const Certificate& leaf) {
  uint32_t flags = X509_get_extension_flags(leaf.get());
  auto refuse = [&](const char* what) {
    return error(Code::invalid_file, "certificate \"{}\" may not sign models: {}", leaf.subject(),
                 what);
  };
  if (flags & EXFLAG_INVALID) return refuse("its extensions cannot be read");
  bool has_usage = flags & EXFLAG_KUSAGE, has_extended = flags & EXFLAG_XKUSAGE;
  if (has_usage && !(X509_get_key_usage(leaf.get()) & KU_DIGITAL_SIGNATURE))
    return refuse("its key usage lacks digitalSignature");
  if (has_extended && !(X509_get_extended_key_usage(leaf.get()) & (XKU_CODE_SIGN | XKU_ANYEKU)))
    return refuse("its extended key usage lacks codeSigning");
  if (!has_usage && !has_extended)
    return refuse(
        "it states neither key usage (digitalSignature) nor extended key usage "
        "(codeSigning)");
  return {};
}

Result<std::vector<Certificate>> check_chain(const Certificate& leaf,
                                             const std::vector<Certificate>& others,
                                             const std::vector<Certificate>& roots, int64_t at) {
  Owned<X509_STORE> store(X509_STORE_new());
  Owned<X509_STORE_CTX> context(X509_STORE_CTX_new());
  Owned<STACK_OF(X509)> untrusted(sk_X509_new_null());
  CHECK(store && context && untrusted);
  for (const Certificate& root : roots) X509_STORE_add_cert(store.get(), root.get());
  for (const Certificate& other : others) CHECK(sk_X509_push(untrusted.get(), other.get()) > 0);
  CHECK(X509_STORE_CTX_init(context.get(), store.get(), leaf.get(), untrusted.get()) == 1);
  X509_VERIFY_PARAM* rules = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_time(rules, std::time_t(at));
  X509_VERIFY_PARAM_set_depth(rules, int(kChainLengthMax));
  X509_VERIFY_PARAM_set_auth_level(rules, 2);  // at least 112 bits, no SHA-1
  int verdict = X509_verify_cert(context.get());
  if (verdict == 1) {
    std::vector<Certificate> chain;
    STACK_OF(X509)* found = X509_STORE_CTX_get0_chain(context.get());
    for (int i = 0; i < sk_X509_num(found); i++) {
      unsigned char* data = nullptr;
      int size = i2d_X509(sk_X509_value(found, i), &data);
      CHECK(size > 0);
      auto certificate = parse_der_certificate({data, size_t(size)});
      OPENSSL_free(data);
      TRY(auto link, std::move(certificate));
      chain.push_back(std::move(link));
    }
    return chain;
  }
  int problem = X509_STORE_CTX_get_error(context.get());
  int depth = X509_STORE_CTX_get_error_depth(context.get());
  X509* at_fault = X509_STORE_CTX_get_current_cert(context.get());
  std::string who = at_fault ? name_text(X509_get_subject_name(at_fault)) : leaf.subject();
  std::string where =
      fmt::format("certificate \"{}\" ({})", who,
                  depth == 0 ? "the signer's" : fmt::format("{} above the signer's", depth));
  ERR_clear_error();
  switch (problem) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return error(Code::invalid_file, "{} was valid until {}, wanted at {}", where,
                   asn1_time_text(X509_get0_notAfter(at_fault)), time_text(at));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return error(Code::invalid_file, "{} is valid from {}, wanted at {}", where,
                   asn1_time_text(X509_get0_notBefore(at_fault)), time_text(at));
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
      return error(Code::invalid_file,
                   "{} was issued by \"{}\", which is neither in the signature nor among the "
                   "roots",
                   where, at_fault ? name_text(X509_get_issuer_name(at_fault)) : "?");
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
      return error(Code::invalid_file, "{} vouches for itself and is not among the roots", where);
    default:
      return error(Code::invalid_file, "{}: {}", where, X509_verify_cert_error_string(problem));
  }
}

}  // namespace sconce::signing
