#include "formats/sealed/envelope.h"

#include <algorithm>
#include <cstring>

#include <openssl/evp.h>

#include "base/little_endian.h"

namespace sconce {

namespace {

constexpr char kMagic[] = "SCONCEEN";
constexpr uint32_t kVersion = 1;
// Labels of derived keys; each use has its own.
constexpr std::string_view kLabel = "sconce.sealed.1 ";
constexpr std::string_view kCommitmentLabel = "commitment", kMacLabel = "envelope",
                           kX25519Label = "x25519", kScryptLabel = "scrypt";

constexpr size_t kFixedBytes = 8 + 4 + 4 + sizeof(FileId) + sizeof(Digest) + 4 + 4;
constexpr size_t kMacBytes = sizeof(Digest);
constexpr size_t kKeyIdBytes = 8;
constexpr size_t kSaltBytes = 16;
constexpr size_t kWrappedBytes = kKeyBytes + kTagBytes;
constexpr size_t kX25519Bytes = kKeyBytes + kKeyIdBytes + kWrappedBytes;
constexpr size_t kScryptBytes = kSaltBytes + 4 + kWrappedBytes;

template <class Range>
void put(std::vector<uint8_t>* out, const Range& bytes) {
  out->insert(out->end(), std::begin(bytes), std::end(bytes));
}

std::vector<uint8_t> encode_without_mac(const Envelope& envelope) {
  std::vector<uint8_t> out(kMagic, kMagic + 8);
  append_little(&out, kVersion);
  append_little(&out, uint32_t(envelope.cipher));
  put(&out, envelope.file_id);
  put(&out, envelope.commitment);
  append_little(&out, uint32_t(envelope.stanzas.size()));
  append_little(&out, uint32_t(0));
  for (const Stanza& stanza : envelope.stanzas) {
    append_little(&out, uint32_t(stanza.type));
    append_little(&out, uint32_t(stanza.body.size()));
    put(&out, stanza.body);
  }
  return out;
}

// The file key goes into a stanza bound to the file, its cipher and the commitment. Every wrapping
// key is used once, hence the nonce of zeros.
std::vector<uint8_t> wrap_context(const Envelope& envelope) {
  std::vector<uint8_t> out;
  append_little(&out, kVersion);
  append_little(&out, uint32_t(envelope.cipher));
  put(&out, envelope.file_id);
  put(&out, envelope.commitment);
  return out;
}

Result<void> append_wrapped(const Envelope& envelope, const SecretKey& wrapping,
                            const SecretKey& file_key, std::vector<uint8_t>* body) {
  TRY(Aead aead, Aead::make(Cipher::chacha20_poly1305, wrapping));
  uint8_t wrapped[kWrappedBytes];
  TRY_VOID(aead.seal(Nonce{}, wrap_context(envelope), file_key.bytes, wrapped));
  put(body, wrapped);
  return {};
}

Result<std::optional<SecretKey>> unwrap(const Envelope& envelope, const SecretKey& wrapping,
                                        Bytes wrapped) {
  TRY(Aead aead, Aead::make(Cipher::chacha20_poly1305, wrapping));
  SecretKey key;
  TRY(bool right, aead.open(Nonce{}, wrap_context(envelope), wrapped, key.bytes));
  if (!right) return std::optional<SecretKey>();
  return std::optional<SecretKey>(key);
}

std::string label(std::string_view use) { return std::string(kLabel) + std::string(use); }

Result<SecretKey> x25519_wrapping_key(const SecretKey& mine, Bytes theirs, Bytes ephemeral,
                                      const PublicKey& recipient) {
  TRY(SecretKey shared, x25519_agree(mine, theirs));
  std::vector<uint8_t> salt(ephemeral.begin(), ephemeral.end());
  put(&salt, recipient);
  return derive_key(shared, salt, label(kX25519Label));
}

Result<Digest> key_id(const Envelope& envelope, const PublicKey& key) {
  std::vector<uint8_t> text(envelope.file_id.begin(), envelope.file_id.end());
  put(&text, key);
  return sha256(text);
}

Result<SecretKey> scrypt_wrapping_key(std::string_view passphrase, Bytes salt, int cost) {
  TRY(SecretKey stretched, derive_key_from_passphrase(passphrase, salt, cost));
  return derive_key(stretched, salt, label(kScryptLabel));
}

Result<std::optional<SecretKey>> open_stanza(const Envelope& envelope, const Stanza& stanza,
                                             const Identities& identities) {
  Bytes body(stanza.body);
  if (stanza.type == StanzaType::x25519) {
    for (const SecretKey& mine : identities.keys) {
      TRY(PublicKey recipient, x25519_public_key(mine));
      TRY(bool meant, is_stanza_for(envelope, stanza, recipient));
      if (!meant) continue;
      Bytes ephemeral = body.first(kKeyBytes);
      TRY(SecretKey wrapping, x25519_wrapping_key(mine, ephemeral, ephemeral, recipient));
      TRY(auto key, unwrap(envelope, wrapping, body.last(kWrappedBytes)));
      if (key) return key;
    }
    return std::optional<SecretKey>();
  }
  for (const SecretText& passphrase : identities.passphrases) {
    TRY(SecretKey wrapping,
        scrypt_wrapping_key(passphrase.view(), body.first(kSaltBytes),
                            int(load_little<uint32_t>(body.data() + kSaltBytes))));
    TRY(auto key, unwrap(envelope, wrapping, body.last(kWrappedBytes)));
    if (key) return key;
  }
  return std::optional<SecretKey>();
}

size_t count_of(const Envelope& envelope, StanzaType type) {
  return size_t(std::count_if(envelope.stanzas.begin(), envelope.stanzas.end(),
                              [&](const Stanza& s) { return s.type == type; }));
}

}  // namespace

Result<SecretKey> derive_part_key(const SecretKey& file_key, const FileId& file_id,
                                  std::string_view use, Bytes context) {
  return derive_key(file_key, file_id, label(use), context);
}

Result<Envelope> decode_envelope(Bytes bytes) {
  if (bytes.size() < kFixedBytes + kMacBytes || bytes.size() > kEnvelopeBytesMax)
    return error(Code::invalid_file, "envelope has {} bytes, {} to {} wanted", bytes.size(),
                 kFixedBytes + kMacBytes, kEnvelopeBytesMax);
  if (memcmp(bytes.data(), kMagic, 8) != 0)
    return error(Code::invalid_file, "envelope does not begin with {}", kMagic);
  uint32_t version = load_little<uint32_t>(&bytes[8]), cipher = load_little<uint32_t>(&bytes[12]);
  if (version != kVersion)
    return error(Code::unsupported, "envelope of version {}, {} is known", version, kVersion);
  if (cipher != uint32_t(Cipher::aes256_gcm) && cipher != uint32_t(Cipher::chacha20_poly1305))
    return error(Code::unsupported, "envelope: cipher {} is neither 1 nor 2", cipher);
  Envelope envelope;
  envelope.cipher = Cipher(cipher);
  memcpy(envelope.file_id.data(), &bytes[16], sizeof(FileId));
  memcpy(envelope.commitment.data(), &bytes[48], sizeof(Digest));
  uint32_t count = load_little<uint32_t>(&bytes[80]), reserved = load_little<uint32_t>(&bytes[84]);
  if (count == 0 || count > kRecipientsMax)
    return error(Code::invalid_file, "envelope has {} recipients, 1 to {} wanted", count,
                 kRecipientsMax);
  if (reserved != 0)
    return error(Code::invalid_file, "envelope: reserved number is {}, 0 wanted", reserved);
  Bytes rest = bytes.subspan(kFixedBytes, bytes.size() - kFixedBytes - kMacBytes);
  for (uint32_t i = 0; i < count; ++i) {
    if (rest.size() < 8)
      return error(Code::invalid_file, "envelope ends before recipient {} of {}", i, count);
    uint32_t type = load_little<uint32_t>(&rest[0]), size = load_little<uint32_t>(&rest[4]);
    if (type != uint32_t(StanzaType::x25519) && type != uint32_t(StanzaType::scrypt))
      return error(Code::unsupported, "recipient {}: type {} is neither 1 nor 2", i, type);
    size_t wanted = StanzaType(type) == StanzaType::x25519 ? kX25519Bytes : kScryptBytes;
    if (size != wanted || rest.size() - 8 < wanted)
      return error(Code::invalid_file, "recipient {}: {} bytes, {} wanted, {} left", i, size,
                   wanted, rest.size() - 8);
    Stanza stanza{StanzaType(type), {rest.begin() + 8, rest.begin() + 8 + ptrdiff_t(wanted)}};
    if (stanza.type == StanzaType::scrypt) {
      uint32_t cost = load_little<uint32_t>(&stanza.body[kSaltBytes]);
      if (cost < kPassphraseCostMin || cost > kPassphraseCostMax)
        return error(Code::too_large, "recipient {}: scrypt cost 2^{}, 2^{} to 2^{} allowed", i,
                     cost, kPassphraseCostMin, kPassphraseCostMax);
    }
    envelope.stanzas.push_back(std::move(stanza));
    rest = rest.subspan(8 + wanted);
  }
  if (!rest.empty())
    return error(Code::invalid_file, "envelope: {} bytes follow its last recipient", rest.size());
  if (size_t passphrases = count_of(envelope, StanzaType::scrypt); passphrases > kPassphrasesMax)
    return error(Code::too_large, "envelope has {} passphrases, at most {} allowed", passphrases,
                 kPassphrasesMax);
  memcpy(envelope.mac.data(), bytes.last(kMacBytes).data(), kMacBytes);
  return envelope;
}

Result<SecretKey> open_envelope(const Envelope& envelope, const Identities& identities) {
  std::optional<SecretKey> found;
  // Keys first: a passphrase costs a tenth of a second and more.
  for (StanzaType type : {StanzaType::x25519, StanzaType::scrypt})
    for (size_t i = 0; i < envelope.stanzas.size() && !found; ++i) {
      if (envelope.stanzas[i].type != type) continue;
      auto opened = open_stanza(envelope, envelope.stanzas[i], identities);
      if (!opened.ok())
        return std::move(opened.error()).with_context(fmt::format("recipient {}", i));
      found = *opened;
    }
  if (!found)
    return error(Code::invalid_argument,
                 "none of the {} keys and {} passphrases given opens the file, which has {} keys "
                 "and {} passphrases as recipients (a wrong key or passphrase, or a recipient "
                 "that was changed)",
                 identities.keys.size(), identities.passphrases.size(),
                 count_of(envelope, StanzaType::x25519), count_of(envelope, StanzaType::scrypt));
  TRY(SecretKey commitment, derive_part_key(*found, envelope.file_id, kCommitmentLabel));
  if (!equal_in_constant_time(commitment.bytes, envelope.commitment))
    return error(Code::invalid_file, "envelope: the file key is not the one committed to");
  TRY(SecretKey mac_key, derive_part_key(*found, envelope.file_id, kMacLabel));
  TRY(Digest mac, hmac_sha256(mac_key, encode_without_mac(envelope)));
  if (!equal_in_constant_time(mac, envelope.mac))
    return error(Code::invalid_file, "envelope was changed: its authentication does not fit");
  return *found;
}

Result<NewEnvelope> make_envelope(Cipher cipher, const Recipients& recipients) {
  NewEnvelope made;
  made.envelope.cipher = cipher;
  TRY_VOID(random_bytes(made.envelope.file_id));
  TRY(made.file_key, random_key());
  TRY(SecretKey commitment,
      derive_part_key(made.file_key, made.envelope.file_id, kCommitmentLabel));
  made.envelope.commitment = commitment.bytes;
  TRY_VOID(add_recipients(&made.envelope, made.file_key, recipients));
  return made;
}

Result<void> add_recipients(Envelope* envelope, const SecretKey& file_key,
                            const Recipients& recipients) {
  for (const PublicKey& recipient : recipients.keys) {
    bool there = false;
    for (const Stanza& stanza : envelope->stanzas) {
      TRY(bool same, is_stanza_for(*envelope, stanza, recipient));
      there |= same;
    }
    if (there) continue;
    TRY(SecretKey secret, random_key());
    TRY(PublicKey ephemeral, x25519_public_key(secret));
    auto wrapping = x25519_wrapping_key(secret, recipient, ephemeral, recipient);
    if (!wrapping.ok())
      return error(Code::invalid_argument, "recipient {}: {}", print_public_key(recipient),
                   wrapping.error().text);
    Stanza stanza{StanzaType::x25519, {ephemeral.begin(), ephemeral.end()}};
    TRY(Digest id, key_id(*envelope, recipient));
    put(&stanza.body, Bytes(id).first(kKeyIdBytes));
    TRY_VOID(append_wrapped(*envelope, *wrapping, file_key, &stanza.body));
    envelope->stanzas.push_back(std::move(stanza));
  }
  if (recipients.passphrase_cost < kPassphraseCostMin ||
      recipients.passphrase_cost > kPassphraseCostMax)
    return error(Code::invalid_argument, "scrypt cost 2^{}, 2^{} to 2^{} wanted",
                 recipients.passphrase_cost, kPassphraseCostMin, kPassphraseCostMax);
  for (const SecretText& passphrase : recipients.passphrases) {
    if (passphrase.view().empty()) return error(Code::invalid_argument, "passphrase is empty");
    std::array<uint8_t, kSaltBytes> salt;
    TRY_VOID(random_bytes(salt));
    TRY(SecretKey wrapping,
        scrypt_wrapping_key(passphrase.view(), salt, recipients.passphrase_cost));
    Stanza stanza{StanzaType::scrypt, {salt.begin(), salt.end()}};
    append_little(&stanza.body, uint32_t(recipients.passphrase_cost));
    TRY_VOID(append_wrapped(*envelope, wrapping, file_key, &stanza.body));
    envelope->stanzas.push_back(std::move(stanza));
  }
  if (envelope->stanzas.size() > kRecipientsMax)
    return error(Code::too_large, "{} recipients, at most {} fit", envelope->stanzas.size(),
                 kRecipientsMax);
  if (size_t passphrases = count_of(*envelope, StanzaType::scrypt); passphrases > kPassphrasesMax)
    return error(Code::too_large, "{} passphrases, at most {} fit", passphrases, kPassphrasesMax);
  return {};
}

Result<void> remove_recipients(Envelope* envelope, Span<const PublicKey> keys,
                               bool all_passphrases) {
  std::vector<bool> named(keys.size());
  std::vector<Stanza> kept;
  for (Stanza& stanza : envelope->stanzas) {
    bool removed = stanza.type == StanzaType::scrypt && all_passphrases;
    for (size_t k = 0; k < keys.size(); ++k) {
      TRY(bool same, is_stanza_for(*envelope, stanza, keys[k]));
      if (same) removed = named[k] = true;
    }
    if (!removed) kept.push_back(stanza);
  }
  for (size_t k = 0; k < keys.size(); ++k)
    if (!named[k])
      return error(Code::not_found, "{} is none of the recipients", print_public_key(keys[k]));
  envelope->stanzas = std::move(kept);
  return {};
}

Result<std::vector<uint8_t>> finish_envelope(Envelope* envelope, const SecretKey& file_key) {
  if (envelope->stanzas.empty())
    return error(Code::invalid_argument, "no recipient: nobody could open the file");
  TRY(SecretKey mac_key, derive_part_key(file_key, envelope->file_id, kMacLabel));
  std::vector<uint8_t> bytes = encode_without_mac(*envelope);
  TRY(envelope->mac, hmac_sha256(mac_key, bytes));
  put(&bytes, envelope->mac);
  return bytes;
}

Result<bool> is_stanza_for(const Envelope& envelope, const Stanza& stanza, const PublicKey& key) {
  if (stanza.type != StanzaType::x25519) return false;
  TRY(Digest id, key_id(envelope, key));
  return memcmp(id.data(), &stanza.body[kKeyBytes], kKeyIdBytes) == 0;
}

// Text of keys: 32 bytes of key and the first 4 of SHA-256(prefix, key), in base64. 36 bytes are 48
// characters without padding.

static constexpr std::string_view kPublicPrefix = "sconce-pub-", kSecretPrefix = "sconce-key-";
constexpr size_t kKeyTextBytes = kKeyBytes + 4, kKeyTextLetters = kKeyTextBytes / 3 * 4;

static std::string print_key(std::string_view prefix, Bytes key) {
  std::vector<uint8_t> text(prefix.begin(), prefix.end());
  text.insert(text.end(), key.begin(), key.end());
  auto digest = sha256(text);
  CHECK(digest.ok());
  std::array<uint8_t, kKeyTextBytes> bytes;
  std::copy(key.begin(), key.end(), bytes.begin());
  std::copy_n(digest->begin(), kKeyTextBytes - kKeyBytes, bytes.begin() + kKeyBytes);
  unsigned char letters[kKeyTextLetters + 1];
  EVP_EncodeBlock(letters, bytes.data(), int(bytes.size()));
  std::string printed(prefix);
  printed.append(letters, letters + kKeyTextLetters);
  wipe(text);
  wipe(bytes);
  wipe(letters);
  return printed;
}

// The text itself is never quoted back: it may be a secret.
static Result<std::array<uint8_t, kKeyBytes>> parse_key(std::string_view prefix,
                                                        std::string_view text) {
  if (!text.starts_with(prefix) || text.size() != prefix.size() + kKeyTextLetters)
    return error(Code::invalid_argument, "not a key: {} and {} characters wanted", prefix,
                 kKeyTextLetters);
  std::array<uint8_t, kKeyTextBytes> bytes{};
  std::array<uint8_t, kKeyBytes> key;
  bool right = EVP_DecodeBlock(bytes.data(),
                               reinterpret_cast<const unsigned char*>(text.data() + prefix.size()),
                               int(kKeyTextLetters)) == int(bytes.size());
  std::copy_n(bytes.begin(), kKeyBytes, key.begin());
  // Printing it again checks the checksum, and that there is one text for each key.
  SecretText again(print_key(prefix, key));
  wipe(bytes);
  if (right && again.view() == text) return key;
  wipe(key);
  return error(Code::invalid_argument, "not a key: its checksum does not fit (mistyped?)");
}

std::string print_public_key(const PublicKey& key) { return print_key(kPublicPrefix, key); }
std::string print_secret_key(const SecretKey& key) { return print_key(kSecretPrefix, key.bytes); }

static std::string_view trim(std::string_view text) {
  while (!text.empty() && strchr(" \t\r\n", text.back())) text.remove_suffix(1);
  while (!text.empty() && strchr(" \t\r\n", text.front())) text.remove_prefix(1);
  return text;
}

Result<PublicKey> parse_public_key(std::string_view text) {
  text = trim(text);
  if (text.starts_with(kSecretPrefix))
    return error(Code::invalid_argument, "this is a secret key: its public half is wanted");
  return parse_key(kPublicPrefix, text);
}

Result<SecretKey> parse_secret_key(std::string_view file_text) {
  for (std::string_view rest = file_text; !rest.empty();) {
    size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = trim(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.empty() || line[0] == '#') continue;
    TRY(auto bytes, parse_key(kSecretPrefix, line));
    SecretKey key;
    key.bytes = bytes;
    wipe(bytes);
    return key;
  }
  return error(Code::invalid_argument, "no key: a line with {} and 48 characters wanted",
               kSecretPrefix);
}

}  // namespace sconce
