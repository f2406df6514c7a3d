// The envelope of a sealed file: its random file key, wrapped once for each recipient.
//
// Recipients are X25519 public keys and passphrases, any number of either. Taking in or leaving out
// a recipient rewrites the envelope alone; data sealed under the file key stays as it is. The key
// is committed to, and the envelope authenticated with it, so that everybody who can open the file
// sees the same key and the same list. Layout and reasons: docs/sealed.md.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "formats/sealed/crypto.h"

namespace sconce {

using FileId = std::array<uint8_t, 32>;  // random, the salt of every key of the file
inline constexpr size_t kRecipientsMax = 64;
inline constexpr size_t kEnvelopeBytesMax = 16384;
// log2 of scrypt's cost: what is written, and what a file may ask of its reader (1 GiB of memory).
inline constexpr int kPassphraseCost = 17;
inline constexpr int kPassphraseCostMin = 10, kPassphraseCostMax = 20;
// Passphrase recipients in one file: each costs its reader a run of scrypt.
inline constexpr size_t kPassphrasesMax = 8;

using PublicKey = std::array<uint8_t, kKeyBytes>;

// Text that is wiped when destroyed.
class SecretText {
 public:
  SecretText() = default;
  explicit SecretText(std::string text) : text_(std::move(text)) {}
  SecretText(const SecretText&) = default;
  SecretText& operator=(const SecretText&) = default;
  ~SecretText() { wipe({reinterpret_cast<uint8_t*>(text_.data()), text_.size()}); }
  std::string_view view() const { return text_; }

 private:
  std::string text_;
};

// Who a file is sealed for.
struct Recipients {
  std::vector<PublicKey> keys;
  std::vector<SecretText> passphrases;
  int passphrase_cost = kPassphraseCost;
};

// What somebody opens a file with: any of these may fit.
struct Identities {
  std::vector<SecretKey> keys;
  std::vector<SecretText> passphrases;
  bool empty() const { return keys.empty() && passphrases.empty(); }
};

enum class StanzaType : uint32_t { x25519 = 1, scrypt = 2 };  // numbers are those of the file

struct Stanza {
  StanzaType type = StanzaType::x25519;
  std::vector<uint8_t> body;
};

struct Envelope {
  Cipher cipher = Cipher::aes256_gcm;
  FileId file_id{};
  Digest commitment{};
  std::vector<Stanza> stanzas;
  Digest mac{};
};

// What is in the bytes, as they claim it: nothing is authentic before open_envelope().
Result<Envelope> decode_envelope(Bytes bytes);

// The file key, once an identity has opened a stanza, the key has been found to be the one
// committed to, and the envelope to be whole. A wrong key is Code::invalid_argument, a forged or
// damaged envelope Code::invalid_file.
Result<SecretKey> open_envelope(const Envelope& envelope, const Identities& identities);

// A fresh envelope with a random file key and file id.
struct NewEnvelope {
  Envelope envelope;
  SecretKey file_key;
};
Result<NewEnvelope> make_envelope(Cipher cipher, const Recipients& recipients);

// Recipients taken in; one that is there already is not doubled. Call finish_envelope() afterwards.
Result<void> add_recipients(Envelope* envelope, const SecretKey& file_key,
                            const Recipients& recipients);
// Recipients left out: keys that are named, or all passphrases. Fails (Code::not_found) for a key
// that is none of the recipients. Whoever has been a recipient may have kept the file key: to keep
// later data from them, seal again.
Result<void> remove_recipients(Envelope* envelope, Span<const PublicKey> keys,
                               bool all_passphrases);

// Authenticates the envelope and gives its bytes.
Result<std::vector<uint8_t>> finish_envelope(Envelope* envelope, const SecretKey& file_key);

// Whether a stanza is for this public key. Who does not know the key cannot tell.
Result<bool> is_stanza_for(const Envelope& envelope, const Stanza& stanza, const PublicKey& key);

// Key of one part of the file: `label` names the use, `context` what else it depends on.
Result<SecretKey> derive_part_key(const SecretKey& file_key, const FileId& file_id,
                                  std::string_view label, Bytes context = {});

// Keys as text: "sconce-pub-" or "sconce-key-" and 48 characters of base64 that end in a checksum,
// so that a mistyped key is told from a foreign one.
std::string print_public_key(const PublicKey& key);
std::string print_secret_key(const SecretKey& key);
Result<PublicKey> parse_public_key(std::string_view text);
// From the contents of a key file: the line that holds the key; lines that start with # are left
// out.
Result<SecretKey> parse_secret_key(std::string_view file_text);

}  // namespace sconce
