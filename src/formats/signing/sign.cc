#include "formats/signing/sign.h"

#include "base/file.h"
#include "formats/signing/bundle.h"
#include "formats/signing/text.h"

namespace sconce::signing {

Result<Signer> make_signer(PrivateKey key, std::vector<Certificate> certificates) {
  if (!certificates.empty()) {
    TRY(auto certified, certificates[0].public_key());
    if (!(certified == key.public_key()))
      return error(Code::invalid_argument,
                   "certificate \"{}\" is not that of the private key: their public keys differ",
                   certificates[0].subject());
    TRY_VOID(check_may_sign(certificates[0]));
    if (certificates.size() > kBundleCertificatesMax)
      return error(Code::too_large, "{} certificates, a signature holds at most {}",
                   certificates.size(), kBundleCertificatesMax);
  }
  return Signer{std::move(key), std::move(certificates)};
}

Result<Statement> make_statement(const std::string& model, const std::string& signature_path,
                                 const SignOptions& options, SignReport* report) {
  TRY(auto name, model_name(model));
  StatementBuilder builder(name);
  builder.set_allow_symlinks(options.allow_symlinks);
  ListOptions list{{}, options.allow_symlinks};
  for (const std::string& path : options.ignore_paths) {
    TRY(auto plain, ignored_path(model, path));
    list.ignore_paths.push_back(plain);
  }
  if (auto own = path_in_model(model, signature_path)) list.ignore_paths.push_back(*own);
  TRY(auto listing, list_model(model, list));
  if (!listing.refused.empty()) {
    std::string all;
    for (const auto& [path, why] : listing.refused)
      all += fmt::format("{}{} {}", all.empty() ? "" : "; ", in_quotes(path), why);
    return error(Code::invalid_argument,
                 "{}: cannot sign everything in it: {}. Ignore such paths, or allow symbolic links",
                 in_quotes(model), all);
  }
  if (listing.files.empty())
    return error(Code::invalid_argument, "{}: holds no file to sign", in_quotes(model));
  if (listing.is_folder) {
    for (std::string_view path : kDefaultIgnoredPaths) TRY_VOID(builder.ignore_path(path));
    for (const std::string& path : list.ignore_paths) TRY_VOID(builder.ignore_path(path));
  }

  std::vector<HashRequest> requests;
  for (const ModelFile& file : listing.files) {
    std::string_view file_name = file.path == "." ? std::string_view(name) : file.path;
    requests.push_back({file.path, 0, 0, options.tensors && file_name.ends_with(".safetensors")});
  }
  auto answers = hash_files(
      model, requests,
      {HashAlgorithm::sha256, options.allow_symlinks, options.threads, options.progress});
  report->ignored = std::move(listing.ignored);
  report->warnings = std::move(listing.warnings);
  for (size_t i = 0; i < answers.size(); i++) {
    TRY(RecordedFile file, std::move(answers[i].file));
    std::string path = requests[i].path;
    if (!answers[i].without_tensors.empty())
      report->warnings.push_back(fmt::format("{} is signed as a whole, its tensors are not: {}",
                                             in_quotes(path == "." ? name : path),
                                             answers[i].without_tensors));
    report->file_count++;
    report->bytes += file.bytes;
    report->tensor_count += file.tensors ? file.tensors->tensors.size() : 0;
    if (path == "." && !options.name_single_file_dot) path = name;
    TRY_VOID(builder.add_file(path, std::move(file)));
  }
  return builder.finish();
}

Result<std::string> sign_statement(const Statement& statement, const Signer& signer) {
  Bundle bundle;
  TRY(auto payload, encode_statement(statement));
  bundle.payload.assign(payload.begin(), payload.end());
  if (signer.certificates.empty()) bundle.key_hint = signer.key.public_key().hint();
  for (const Certificate& certificate : signer.certificates)
    bundle.certificates.push_back(certificate.der());
  TRY(bundle.signature, signer.key.sign(signed_bytes(bundle.payload)));
  std::string json = encode_bundle(bundle);
  if (json.size() > kBundleBytesMax)
    return error(Code::too_large, "the signature would have {} bytes, the limit is {}", json.size(),
                 kBundleBytesMax);
  return json;
}

Result<SignReport> sign_model(const std::string& model, const std::string& signature_path,
                              const Signer& signer, const SignOptions& options) {
  SignReport report;
  TRY(auto statement, make_statement(model, signature_path, options, &report));
  TRY(auto json, sign_statement(statement, signer));
  TRY_VOID(save_file(signature_path, as_bytes(json)));
  return report;
}

}  // namespace sconce::signing
