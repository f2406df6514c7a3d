#include "formats/signing/bundle.h"

#include <algorithm>

#include <simdjson.h>

#include "formats/json/json_reader.h"
#include "formats/signing/text.h"

namespace sconce::signing {
namespace {

using json::Element;
using json::Field;
using json::optional_field;

constexpr std::string_view kMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json";
constexpr std::string_view kPayloadType = "application/vnd.in-toto+json";

class BundleReader : json::JsonReader {
 public:
  using JsonReader::JsonReader;

  Result<Bundle> read(Element root) {
    if (!bundle(root)) return std::move(error_);
    return std::move(bundle_);
  }

 private:
  // As members(), and no others: what is outside the signed payload has a fixed form.
  bool only_members(Element element, Span<Field> fields) {
    if (!members(element, fields)) return false;
    simdjson::dom::object all = element.get_object().value_unsafe();
    for (auto [name, value] : all) {
      bool known = std::any_of(fields.begin(), fields.end(),
                               [name = name](const Field& field) { return field.name == name; });
      if (!known)
        return fail(Code::invalid_file, "member {} is unknown", in_quotes(name.substr(0, 80)));
    }
    return true;
  }

  bool base64(Element element, std::vector<uint8_t>* out) {
    std::string_view encoded;
    if (!text(element, &encoded)) return false;
    auto bytes = decode_base64(encoded);
    if (!bytes)
      return fail(Code::invalid_file, "found {} characters that are not base64", encoded.size());
    if (bytes->empty()) return fail(Code::invalid_file, "is empty");
    *out = std::move(*bytes);
    return true;
  }

  bool bundle(Element root) {
    Field fields[] = {{"mediaType"}, {"verificationMaterial"}, {"dsseEnvelope"}};
    if (!only_members(root, fields)) return false;
    std::string_view type;
    if (!text(fields[0].value, &type)) return in("mediaType");
    if (type != kMediaType)
      return fail(Code::invalid_file, "mediaType: found {}, wanted \"{}\"",
                  in_quotes(type.substr(0, 80)), kMediaType);
    if (!material(fields[1].value)) return in("verificationMaterial");
    if (!envelope(fields[2].value)) return in("dsseEnvelope");
    return true;
  }

  bool material(Element element) {
    Field fields[] = {optional_field("publicKey"), optional_field("x509CertificateChain"),
                      optional_field("certificate"), optional_field("tlogEntries"),
                      optional_field("timestampVerificationData")};
    if (!only_members(element, fields)) return false;
    if (int(fields[0].found) + int(fields[1].found) + int(fields[2].found) != 1)
      return fail(Code::invalid_file,
                  "wanted exactly one of \"publicKey\", \"x509CertificateChain\" and "
                  "\"certificate\"");
    if (fields[2].found)
      return fail(Code::unsupported,
                  "\"certificate\" is a keyless signature of Sigstore, whose log cannot be checked "
                  "here; wanted a signature by key or by certificate chain");
    if (fields[3].found) {
      simdjson::dom::array entries;
      if (!array(fields[3].value, &entries)) return in("tlogEntries");
    }
    if (fields[0].found) return public_key(fields[0].value) || in("publicKey");
    return chain(fields[1].value) || in("x509CertificateChain");
  }

  // "rawBytes" and "keyDetails" are of versions before 1.1; nothing in the file is trusted as a
  // key.
  bool public_key(Element element) {
    Field fields[] = {optional_field("hint"), optional_field("rawBytes"),
                      optional_field("keyDetails")};
    if (!only_members(element, fields)) return false;
    std::string_view hint;
    if (fields[0].found && !text(fields[0].value, &hint)) return in("hint");
    bundle_.key_hint = hint;
    return true;
  }

  bool chain(Element element) {
    Field fields[] = {{"certificates"}};
    simdjson::dom::array items;
    if (!only_members(element, fields)) return false;
    if (!array(fields[0].value, &items)) return in("certificates");
    if (items.size() == 0 || items.size() > kBundleCertificatesMax)
      return fail(Code::invalid_file, "certificates: found {}, wanted 1 to {}", items.size(),
                  kBundleCertificatesMax);
    size_t i = 0;
    for (Element item : items) {
      Field raw[] = {{"rawBytes"}};
      if (!only_members(item, raw)) return in("certificates[{}]", i);
      bundle_.certificates.emplace_back();
      if (!base64(raw[0].value, &bundle_.certificates.back()))
        return in("certificates[{}].rawBytes", i);
      i++;
    }
    return true;
  }

  bool envelope(Element element) {
    Field fields[] = {{"payload"}, {"payloadType"}, {"signatures"}};
    if (!only_members(element, fields)) return false;
    std::string_view type;
    if (!text(fields[1].value, &type)) return in("payloadType");
    if (type != kPayloadType)
      return fail(Code::invalid_file, "payloadType: found {}, wanted \"{}\"",
                  in_quotes(type.substr(0, 80)), kPayloadType);
    if (!base64(fields[0].value, &bundle_.payload)) return in("payload");
    simdjson::dom::array items;
    if (!array(fields[2].value, &items)) return in("signatures");
    // The reference looks at the first and lets others pass; who reads the others would see a
    // signature that nobody has checked.
    if (items.size() != 1)
      return fail(Code::invalid_file, "signatures: found {} entries, wanted one", items.size());
    Field signature[] = {{"sig"}, optional_field("keyid")};
    std::string_view keyid;
    if (!only_members(items.at(0).value_unsafe(), signature)) return in("signatures[0]");
    if (!base64(signature[0].value, &bundle_.signature)) return in("signatures[0].sig");
    if (signature[1].found && !text(signature[1].value, &keyid)) return in("signatures[0].keyid");
    return true;
  }

  Bundle bundle_;
};

void append(std::vector<uint8_t>& bytes, std::string_view text) {
  bytes.insert(bytes.end(), text.begin(), text.end());
}

}  // namespace

std::string encode_bundle(const Bundle& bundle) {
  std::string material;
  if (bundle.certificates.empty()) {
    material = fmt::format(R"("publicKey":{{"hint":{}}})", in_quotes(bundle.key_hint.value_or("")));
  } else {
    for (const auto& der : bundle.certificates)
      material +=
          fmt::format(R"({}{{"rawBytes":"{}"}})", material.empty() ? "" : ",", encode_base64(der));
    material = fmt::format(R"("x509CertificateChain":{{"certificates":[{}]}})", material);
  }
  return fmt::format(
      R"({{"mediaType":"{}","verificationMaterial":{{{},"tlogEntries":[]}},"dsseEnvelope":)"
      R"({{"payload":"{}","payloadType":"{}","signatures":[{{"sig":"{}","keyid":""}}]}}}})",
      kMediaType, material, encode_base64(bundle.payload), kPayloadType,
      encode_base64(bundle.signature));
}

Result<Bundle> decode_bundle(Bytes file) {
  if (file.size() > kBundleBytesMax)
    return error(Code::too_large, "{} bytes, a signature has at most {}", file.size(),
                 kBundleBytesMax);
  if (file.empty())
    return error(Code::invalid_file, "not the JSON of a signature: the file is empty");
  simdjson::dom::parser parser;
  Element root;
  if (auto problem = parser.parse(file.data(), file.size()).get(root))
    return error(Code::invalid_file, "not the JSON of a signature: {}",
                 simdjson::error_message(problem));
  json::Arena arena;
  return BundleReader(arena).read(root);
}

std::vector<uint8_t> signed_bytes(Bytes payload) {
  std::vector<uint8_t> bytes;
  append(bytes, fmt::format("DSSEv1 {} {} {} ", kPayloadType.size(), kPayloadType, payload.size()));
  append(bytes, as_text(payload));
  return bytes;
}

std::vector<uint8_t> deprecated_signed_bytes(Bytes payload) {
  std::string_view text = as_text(payload);
  // Python's repr() prefers single quotes, unless only those would need an escape.
  char quote = text.find('\'') != text.npos && text.find('"') == text.npos ? '"' : '\'';
  std::string printed = fmt::format("b{}", quote);
  for (char c : text) {
    switch (c) {
      case '\\': printed += "\\\\"; break;
      case '\n': printed += "\\n"; break;
      case '\r': printed += "\\r"; break;
      case '\t': printed += "\\t"; break;
      default:
        if (c == quote)
          printed += fmt::format("\\{}", c);
        else if (uint8_t(c) < 0x20 || uint8_t(c) >= 0x7f)
          printed += fmt::format("\\x{:02x}", uint8_t(c));
        else
          printed += c;
    }
  }
  std::vector<uint8_t> bytes;
  append(bytes, fmt::format("DSSEV1 {} {} {} {}{}", kPayloadType.size(), kPayloadType,
                            payload.size(), printed, quote));
  return bytes;
}

}  // namespace sconce::signing
