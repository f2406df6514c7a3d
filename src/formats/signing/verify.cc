#include "formats/signing/verify.h"

#include <algorithm>
#include <ctime>
#include <set>

#include "base/file.h"
#include "formats/signing/bundle.h"
#include "formats/signing/text.h"

namespace sconce::signing {
namespace {

Result<PublicKey> trusted_key(const Bundle& bundle, const Trust& trust, VerifiedSignature* out) {
  if (trust.key) {
    if (!bundle.key_hint)
      return error(Code::invalid_argument,
                   "it was signed by certificate, a key was given: give the roots to trust");
    std::string hint = trust.key->hint();
    if (bundle.key_hint->empty())
      out->warnings.push_back("the signature does not say which key made it (an older form)");
    else if (*bundle.key_hint != hint)
      return error(Code::invalid_file, "it was signed by key {}, the given one is {}",
                   in_quotes(bundle.key_hint->substr(0, 128)), hint);
    out->signer = "key " + hint;
    return *trust.key;
  }
  if (bundle.key_hint)
    return error(Code::invalid_argument,
                 "it was signed by key, roots were given: give the public key to trust");
  std::vector<Certificate> certificates;
  for (size_t i = 0; i < bundle.certificates.size(); i++) {
    TRY(auto certificate,
        parse_der_certificate(bundle.certificates[i])
            .with_context(fmt::format(
                "verificationMaterial.x509CertificateChain.certificates[{}].rawBytes", i)));
    certificates.push_back(std::move(certificate));
  }
  Certificate leaf = certificates[0];
  certificates.erase(certificates.begin());
  int64_t at = trust.at.value_or(int64_t(std::time(nullptr)));
  TRY(out->chain, check_chain(leaf, certificates, trust.roots, at));
  TRY_VOID(check_may_sign(leaf));
  out->signer = leaf.subject();
  return leaf.public_key();
}

Result<void> check_signature(const Bundle& bundle, const PublicKey& key, bool allow_deprecated,
                             VerifiedSignature* out) {
  if (key.verifies(signed_bytes(bundle.payload), bundle.signature)) return {};
  // What version 0.2 signed, with SHA-256 for every certificate.
  auto old = deprecated_signed_bytes(bundle.payload);
  bool is_old = key.verifies(old, bundle.signature) ||
                (!bundle.key_hint && key.verifies(old, bundle.signature, true));
  if (is_old && allow_deprecated) {
    out->warnings.push_back("the signature is one of version 0.2, which should be made anew");
    return {};
  }
  if (is_old)
    return error(Code::unsupported,
                 "the signature is one of version 0.2, which signed a misprinted form of its "
                 "payload; allow deprecated signatures, or sign again");
  return error(Code::invalid_file,
               "the signature does not hold: {} did not sign this payload with {}", out->signer,
               curve_name(key.curve()));
}

// What is in the model against what was signed.
class ModelComparison {
 public:
  ModelComparison(const std::string& model, const std::string& signature_path,
                  const Statement& statement, const VerifyOptions& options, VerifyReport* report)
      : model_(model),
        signature_path_(signature_path),
        statement_(statement),
        options_(options),
        report_(report) {}

  Result<void> run() {
    TRY(auto listing, list());
    TRY_VOID(rename_single_file(listing));
    note_ignored(listing);
    hash_signed_files();
    for (const ModelFile& file : listing.files)
      if (!signed_.count(file.path)) note_unsigned(file.path, file.bytes);
    for (const auto& [path, why] : listing.refused)
      if (!signed_.count(path)) note_refused(path, why);
    std::sort(report_->differences.begin(), report_->differences.end(),
              [](const Difference& a, const Difference& b) { return a.path < b.path; });
    return {};
  }

 private:
  Result<ModelListing> list() {
    ListOptions list{statement_.serialization.ignore_paths,
                     statement_.serialization.allow_symlinks};
    for (const std::string& path : options_.ignore_paths) {
      TRY(auto plain, ignored_path(model_, path));
      list.ignore_paths.push_back(plain);
    }
    if (auto own = path_in_model(model_, signature_path_)) list.ignore_paths.push_back(*own);
    return list_model(model_, list);
  }

  // The file of a model that is one file is called "." or by its base name, which may have changed
  // since: nothing else depends on it.
  Result<void> rename_single_file(const ModelListing& listing) {
    is_folder_ = listing.is_folder;
    if (is_folder_) return {};
    for (const Resource& resource : statement_.resources)
      if (resource.path != statement_.resources[0].path)
        return error(Code::invalid_argument,
                     "{} is one file, but the signature is of a folder with several; verify the "
                     "folder",
                     in_quotes(model_));
    std::string_view signed_name = statement_.resources[0].path;
    TRY(auto name, model_name(model_));
    if (signed_name != "." && signed_name != name)
      return error(Code::invalid_file, "the signed file is named {}, this one {}",
                   in_quotes(signed_name), in_quotes(name));
    return {};
  }

  void note_ignored(const ModelListing& listing) {
    std::optional<std::string> own = path_in_model(model_, signature_path_);
    for (const std::string& path : listing.ignored)
      if (path != own) report_->ignored.push_back(path);
    std::vector<std::string> unusual;
    for (const std::string& path : statement_.serialization.ignore_paths) {
      bool usual =
          path == own || std::find(std::begin(kDefaultIgnoredPaths), std::end(kDefaultIgnoredPaths),
                                   path) != std::end(kDefaultIgnoredPaths);
      if (!usual) unusual.push_back(in_quotes(path));
    }
    if (!unusual.empty())
      report_->warnings.push_back(fmt::format(
          "the signature says nothing about {}: its signer left it out", fmt::join(unusual, ", ")));
    for (const ModelListing::Refused& link : listing.refused)
      if (options_.ignore_unsigned && !is_signed(link.path))
        report_->warnings.push_back(fmt::format("{} {}", in_quotes(link.path), link.why));
    for (const std::string& warning : listing.warnings) report_->warnings.push_back(warning);
  }

  bool is_signed(const std::string& path) const {
    return std::any_of(statement_.resources.begin(), statement_.resources.end(),
                       [&](const Resource& resource) { return resource.path == path; });
  }

  std::string path_of(const Resource& resource) const {
    return is_folder_ ? resource.path : std::string(".");
  }

  void hash_signed_files() {
    std::vector<HashRequest> requests;
    for (const Resource& resource : statement_.resources) {
      signed_.insert(path_of(resource));
      if (resource.shard)
        requests.push_back(
            {path_of(resource), resource.shard->first, resource.shard->second, false});
      else
        requests.push_back({path_of(resource)});
    }
    auto answers =
        hash_files(model_, requests,
                   {statement_.serialization.hash, statement_.serialization.allow_symlinks,
                    options_.threads, options_.progress});
    for (size_t i = 0; i < answers.size(); i++) {
      const Resource& resource = statement_.resources[i];
      std::string path = resource.path;
      if (resource.shard)
        path += fmt::format(":{}:{}", resource.shard->first, resource.shard->second);
      if (!answers[i].file.ok()) {
        const Error& problem = answers[i].file.error();
        if (problem.code == Code::not_found)
          report_->differences.push_back({Difference::Kind::missing, path, {}, {}});
        else
          report_->differences.push_back({Difference::Kind::unreadable, path, {}, problem.text});
        continue;
      }
      const Digest& found = answers[i].file->digest;
      if (found != resource.digest) {
        report_->differences.push_back(
            {Difference::Kind::changed, path, resource.digest.hex(), found.hex()});
        continue;
      }
      report_->bytes += answers[i].file->bytes;
      bool is_last = i + 1 == answers.size() || statement_.resources[i + 1].path != resource.path;
      if (resource.shard && is_last) check_end(resource);
      if (is_last) report_->file_count++;
    }
  }

  // Shards say where the file ends: nothing may follow.
  void check_end(const Resource& resource) {
    auto file =
        ModelFileReader::open(model_, path_of(resource), statement_.serialization.allow_symlinks);
    if (file.ok() && file->bytes() != resource.shard->second)
      report_->differences.push_back(
          {Difference::Kind::unreadable,
           resource.path,
           {},
           fmt::format("has {} bytes, {} are signed", file->bytes(), resource.shard->second)});
  }

  void note_unsigned(const std::string& path, uint64_t bytes) {
    // Shards cannot speak of files without bytes: their signers leave them out.
    if (statement_.serialization.shard_bytes && bytes == 0) {
      report_->warnings.push_back(
          fmt::format("{} is empty; signatures by shard do not cover such files", in_quotes(path)));
      return;
    }
    if (options_.ignore_unsigned)
      report_->warnings.push_back(fmt::format("{} is not signed", in_quotes(path)));
    else
      report_->differences.push_back({Difference::Kind::unsigned_file, path, {}, {}});
  }

  void note_refused(const std::string& path, const std::string& why) {
    if (!options_.ignore_unsigned)
      report_->differences.push_back({Difference::Kind::unreadable, path, {}, why});
  }

  const std::string &model_, &signature_path_;
  const Statement& statement_;
  const VerifyOptions& options_;
  VerifyReport* report_;
  bool is_folder_ = true;
  std::set<std::string> signed_;
};

}  // namespace

std::string_view kind_name(Difference::Kind kind) {
  switch (kind) {
    case Difference::Kind::missing: return "missing";
    case Difference::Kind::changed: return "changed";
    case Difference::Kind::unsigned_file: return "unsigned";
    case Difference::Kind::unreadable: return "unreadable";
  }
  return "?";
}

std::string difference_text(const Difference& difference) {
  std::string path = in_quotes(difference.path);
  switch (difference.kind) {
    case Difference::Kind::missing: return fmt::format("{} is missing", path);
    case Difference::Kind::changed:
      return fmt::format("{} was changed: signed {}, found {}", path, difference.wanted,
                         difference.found);
    case Difference::Kind::unsigned_file: return fmt::format("{} is not signed", path);
    case Difference::Kind::unreadable:
      return fmt::format("{} cannot be as signed: {}", path, difference.found);
  }
  return path;
}

Result<VerifiedSignature> verify_signature(Bytes signature_file, const Trust& trust,
                                           Verdict* verdict) {
  Verdict ignored;
  if (!verdict) verdict = &ignored;
  *verdict = Verdict::unreadable;
  if (trust.key.has_value() == !trust.roots.empty())
    return error(Code::invalid_argument,
                 "wanted either a public key or root certificates to trust");
  TRY(auto bundle, decode_bundle(signature_file));
  VerifiedSignature result;
  *verdict = Verdict::refused;
  TRY(auto key, trusted_key(bundle, trust, &result));
  TRY_VOID(check_signature(bundle, key, trust.allow_deprecated, &result));
  TRY(result.statement, decode_statement(bundle.payload, trust.allow_deprecated)
                            .with_context("dsseEnvelope.payload"));
  *verdict = Verdict::verified;
  return result;
}

Result<VerifiedSignature> verify_signature_file(const std::string& path, const Trust& trust,
                                                Verdict* verdict) {
  if (verdict) *verdict = Verdict::unreadable;
  TRY(auto file, map_file(path));
  return verify_signature(file.bytes(), trust, verdict).with_context(path);
}

Result<void> verify_model(const std::string& model, const std::string& signature_path,
                          const Trust& trust, const VerifyOptions& options, VerifyReport* report) {
  VerifyReport own;
  if (!report) report = &own;
  *report = {};
  TRY(report->signature, verify_signature_file(signature_path, trust, &report->verdict));
  report->verdict = Verdict::unreadable;
  report->warnings = report->signature->warnings;
  TRY_VOID(
      ModelComparison(model, signature_path, report->signature->statement, options, report).run());
  if (report->differences.empty()) {
    report->verdict = Verdict::verified;
    return {};
  }
  report->verdict = Verdict::refused;
  constexpr size_t kShown = 3;
  std::string text;
  for (size_t i = 0; i < std::min(kShown, report->differences.size()); i++)
    text += (i ? "; " : "") + difference_text(report->differences[i]);
  if (report->differences.size() > kShown)
    text += fmt::format("; and {} more", report->differences.size() - kShown);
  return error(Code::invalid_file, "{} is not what was signed: {}", in_quotes(model), text);
}

}  // namespace sconce::signing
