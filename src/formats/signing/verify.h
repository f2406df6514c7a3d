// Verifying of models: is this what someone trusted has signed?
//
// Order: the signature over the raw payload first, by a key or a chain to trusted roots; only then
// is the payload parsed, and only then are files opened. Nothing here can succeed in part: a
// Result without an error means that everything asked for was signed and is unchanged.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/signing/certificates.h"
#include "formats/signing/keys.h"
#include "formats/signing/model_files.h"
#include "formats/signing/statement.h"

namespace sconce::signing {

// Whom to trust: a key, or roots; exactly one of the two.
struct Trust {
  std::optional<PublicKey> key;
  std::vector<Certificate> roots;
  std::optional<int64_t> at;  // certificates must be valid then (seconds since 1970); absent: now
  // Also signatures of version 0.2, which sign something slightly else and bind less.
  bool allow_deprecated = false;
};

// Why something is not as signed, in a class that programs can tell apart.
enum class Verdict : uint8_t {
  unreadable,  // the signature file, or what it needs, could not be read at all
  refused,     // it was read: wrong signature, unknown signer, or the model is not what was signed
  verified,
};

struct VerifiedSignature {
  Statement statement;
  std::string signer;              // "key 1234..." or the subject of a certificate
  std::vector<Certificate> chain;  // from the signer to the root; empty for a key
  std::vector<std::string> warnings;
};

// `verdict` (may be null) tells the classes of failure apart.
Result<VerifiedSignature> verify_signature(Bytes signature_file, const Trust& trust,
                                           Verdict* verdict = nullptr);
// The same for a file; errors begin with its path.
Result<VerifiedSignature> verify_signature_file(const std::string& path, const Trust& trust,
                                                Verdict* verdict = nullptr);

struct VerifyOptions {
  std::vector<std::string> ignore_paths;  // as when signing; besides those of the signature
  bool ignore_unsigned = false;           // files that nobody signed are only warned about
  unsigned threads = 0;
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;
};

struct Difference {
  enum class Kind : uint8_t { missing, changed, unsigned_file, unreadable };
  Kind kind;
  std::string path;           // of the file; of a shard with ":begin:end"
  std::string wanted, found;  // digests where kind is changed; what is wrong where unreadable
};
std::string_view kind_name(Difference::Kind kind);          // "missing", "changed", "unsigned", ...
std::string difference_text(const Difference& difference);  // one line

struct VerifyReport {
  Verdict verdict = Verdict::unreadable;
  std::optional<VerifiedSignature> signature;  // when the signature itself holds
  std::vector<Difference> differences;         // by path
  std::vector<std::string> ignored;            // what is there and was not looked at
  std::vector<std::string> warnings;           // sentences
  size_t file_count = 0;                       // signed and unchanged
  uint64_t bytes = 0;
};

// Succeeds when every signed file is there unchanged and, unless ignored, no other is. `report`
// (may be null) is filled in both cases; the error names the first differences.
Result<void> verify_model(const std::string& model, const std::string& signature_path,
                          const Trust& trust, const VerifyOptions& options = {},
                          VerifyReport* report = nullptr);

}  // namespace sconce::signing
