// sconce tensors verify: is a model, or one tensor of it, what someone trusted has signed?
#include <ctime>

#include "base/file.h"
#include "formats/container/sign_container.h"
#include "formats/signing/signed_tensors.h"
#include "formats/signing/text.h"
#include "formats/signing/verify.h"
#include "tensors/signing_files.h"
#include "tensors/tensors.h"

namespace sconce::cli {
namespace {

constexpr int kExitRefused = 1;

struct Options {
  std::string model, signature, key, at, file;
  std::vector<std::string> roots, tensors;
  signing::Trust trust;
  signing::VerifyOptions verify;
  bool json = false;
};

// "2026-01-31" (its first second), "2026-01-31T12:00:00Z", in UTC.
Result<int64_t> parse_time(const std::string& text) {
  for (const char* format : {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"}) {
    std::tm parts{};
    const char* end = strptime(text.c_str(), format, &parts);
    if (end && *end == 0) return int64_t(timegm(&parts));
  }
  return error(Code::invalid_argument,
               "--at: found {}, wanted 2026-01-31 or 2026-01-31T12:00:00Z (UTC)",
               json_string(text));
}

Result<void> load_trust(Options& options) {
  if (options.key.empty() == options.roots.empty())
    return error(Code::invalid_argument, "wanted either --key PUBLIC.pem or --roots ROOT.pem");
  if (!options.key.empty()) {
    TRY(auto file, map_file(options.key));
    TRY(options.trust.key,
        signing::parse_public_key(signing::as_text(file.bytes())).with_context(options.key));
    if (!options.at.empty())
      return error(Code::invalid_argument, "--at is about certificates; a key has no dates");
  } else {
    TRY(options.trust.roots, load_certificates(options.roots));
  }
  if (!options.at.empty()) {
    TRY(options.trust.at, parse_time(options.at));
  }
  return {};
}

void print_signer(const signing::VerifiedSignature& signature) {
  fmt::print("  signed by {}\n", signature.signer);
  for (size_t i = 1; i < signature.chain.size(); i++)
    fmt::print("  vouched for by {}\n", signature.chain[i].subject());
}

std::string signer_json(const signing::VerifiedSignature& signature) {
  std::string chain;
  for (const signing::Certificate& certificate : signature.chain)
    chain += fmt::format(
        "{}{{\"subject\": {}, \"sha256\": \"{}\", \"valid_from\": \"{}\", \"valid_until\": "
        "\"{}\"}}",
        chain.empty() ? "" : ", ", json_string(certificate.subject()), certificate.fingerprint(),
        certificate.valid_from(), certificate.valid_until());
  return fmt::format("\"signer\": {}, \"chain\": [{}]", json_string(signature.signer), chain);
}

// Says what was wrong and ends: 1 when the model is not what was signed by someone trusted.
[[noreturn]] void end_with(const Error& problem, signing::Verdict verdict,
                           const signing::VerifyReport& report, bool json) {
  int code = verdict == signing::Verdict::refused ? kExitRefused : int(problem.code);
  if (!json) {
    for (const std::string& warning : report.warnings) fmt::print(stderr, "warning: {}\n", warning);
    if (report.differences.empty()) {
      fmt::print(stderr, "sconce: {}\n", problem.text);
    } else {
      fmt::print(stderr, "sconce: NOT VERIFIED: {} in the model {} not as signed\n",
                 counted(report.differences.size(), "thing"),
                 report.differences.size() == 1 ? "is" : "are");
      for (const signing::Difference& difference : report.differences)
        fmt::print(stderr, "  {}\n", signing::difference_text(difference));
    }
    exit(code);
  }
  std::string differences;
  for (const signing::Difference& difference : report.differences) {
    differences +=
        fmt::format("{}{{\"kind\": \"{}\", \"path\": {}", differences.empty() ? "" : ", ",
                    signing::kind_name(difference.kind), json_string(difference.path));
    if (difference.kind == signing::Difference::Kind::changed)
      differences += fmt::format(", \"wanted\": \"{}\", \"found\": \"{}\"", difference.wanted,
                                 difference.found);
    else if (!difference.found.empty())
      differences += fmt::format(", \"what\": {}", json_string(difference.found));
    differences += "}";
  }
  fmt::print(
      "{{\"verified\": false, \"error\": {{\"code\": {}, \"text\": {}}}, \"differences\": "
      "[{}], \"warnings\": [{}]}}\n",
      code, json_string(problem.text), differences, json_list(report.warnings));
  exit(code);
}

void verify_tensors(Options& options) {
  signing::VerifyReport report;
  auto signature =
      signing::verify_signature_file(options.signature, options.trust, &report.verdict);
  if (!signature.ok()) end_with(signature.error(), report.verdict, report, options.json);
  report.warnings = signature->warnings;
  signing::SignedTensors tensors(std::move(*signature));
  std::string rows;
  uint64_t bytes = 0;
  for (const std::string& name : options.tensors) {
    auto tensor = verify_signed_tensor(options.model, tensors, name, options.file);
    if (!tensor.ok()) {
      bool refused = tensor.error().code == Code::invalid_file;
      end_with(tensor.error(), refused ? signing::Verdict::refused : signing::Verdict::unreadable,
               report, options.json);
    }
    bytes += tensor->bytes_read;
    if (options.json)
      rows += fmt::format(
          "{}{{\"name\": {}, \"file\": {}, \"dtype\": \"{}\", \"shape\": [{}], \"bytes\": {}}}",
          rows.empty() ? "" : ", ", json_string(tensor->name), json_string(tensor->path),
          tensor->dtype, fmt::join(tensor->sizes, ", "), tensor->bytes);
    else
      rows += fmt::format("  {}  {} [{}]  {}  in {}\n", json_string(tensor->name), tensor->dtype,
                          fmt::join(tensor->sizes, ", "), human_bytes(tensor->bytes),
                          json_string(tensor->path));
  }
  if (options.json) {
    fmt::print(
        "{{\"verified\": true, {}, \"tensors\": [{}], \"bytes_read\": {}, \"warnings\": "
        "[{}]}}\n",
        signer_json(tensors.signature()), rows, bytes, json_list(report.warnings));
    return;
  }
  for (const std::string& warning : report.warnings) fmt::print(stderr, "warning: {}\n", warning);
  fmt::print("verified: {} of the model, nothing else of it was looked at ({} read)\n{}",
             counted(options.tensors.size(), "tensor"), human_bytes(bytes), rows);
  print_signer(tensors.signature());
}

void verify_all(Options& options) {
  Progress progress;
  options.verify.progress = [&](uint64_t done, uint64_t total) {
    progress.show(fmt::format("verifying {}", human_bytes(total)),
                  total ? double(done) / double(total) : 1);
  };
  signing::VerifyReport report;
  double start = seconds_now();
  auto result = signing::verify_model(options.model, options.signature, options.trust,
                                      options.verify, &report);
  progress.clear();
  if (!result.ok()) end_with(result.error(), report.verdict, report, options.json);
  double seconds = seconds_now() - start;
  if (options.json) {
    fmt::print(
        "{{\"verified\": true, {}, \"files\": {}, \"bytes\": {}, \"seconds\": {:.6f}, "
        "\"ignored\": [{}], \"warnings\": [{}]}}\n",
        signer_json(*report.signature), report.file_count, report.bytes, seconds,
        json_list(report.ignored), json_list(report.warnings));
    return;
  }
  for (const std::string& warning : report.warnings) fmt::print(stderr, "warning: {}\n", warning);
  if (!report.ignored.empty()) fmt::print(stderr, "not looked at: {}\n", json_list(report.ignored));
  fmt::print("verified: {}, {} in {:.2f} s, all as signed\n", counted(report.file_count, "file"),
             human_bytes(report.bytes), seconds);
  print_signer(*report.signature);
}

}  // namespace

void add_tensors_verify(CLI::App& group) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      group.add_subcommand("verify", "Check a model, or one tensor of it, against its signature");
  command->add_option("model", options->model, "The signed folder or file")->required();
  command->add_option("--signature", options->signature,
                      "The signature's file; without: model.sig in the folder, or FILE.sig");
  command->add_option("--key", options->key,
                      "The signer's public key (PEM), for signatures by key");
  command
      ->add_option("--roots", options->roots,
                   "Root certificates to trust (PEM), for signatures by certificate")
      ->allow_extra_args(false);
  command->add_option("--at", options->at,
                      "Certificates must be valid at this time (UTC), not now: 2026-01-31");
  command->add_flag("--ignore-unsigned", options->verify.ignore_unsigned,
                    "Warn about files that nobody signed, and go on");
  command
      ->add_option("--ignore", options->verify.ignore_paths,
                   "Do not look at this file or folder (relative to the model)")
      ->allow_extra_args(false);
  command
      ->add_option("--tensor", options->tensors,
                   "Verify only this tensor: reads its file's header and it, nothing else")
      ->allow_extra_args(false);
  command->add_option("--file", options->file,
                      "The file of --tensor (relative to the model), if several hold the name");
  command->add_flag("--allow-deprecated", options->trust.allow_deprecated,
                    "Accept signatures of version 0.2 of the format");
  command->add_option("--threads", options->verify.threads, "Threads; without: all processors");
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "Exit code 0: verified; 1: read, but not what someone trusted has signed; others: could not "
      "be\nread or checked.\n"
      "Examples:\n"
      "  sconce tensors verify model/ --key release.pub\n"
      "  sconce tensors verify model/ --signature model.sig --roots root.pem --at 2026-01-31\n"
      "  sconce tensors verify model/ --key release.pub --tensor lm_head.weight");
  command->callback([options] {
    if (options->signature.empty()) options->signature = default_signature_path(options->model);
    done_or_exit(load_trust(*options), options->json);
    if (options->tensors.empty())
      verify_all(*options);
    else
      verify_tensors(*options);
  });
}

}  // namespace sconce::cli
