#include "formats/container/sign_container.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "base/file.h"
#include "base/output_file.h"
#include "formats/container/index.h"
#include "formats/signing/text.h"

namespace sconce {
namespace {

// Digests of the tensors of a file whose bytes come in order.
class TensorDigester {
 public:
  explicit TensorDigester(const Header& header) : header_(header) {}
  void take(size_t tensor, Bytes part) {
    go_on_to(tensor);
    hasher_->update(part);
  }
  signing::TensorDigests finish() {
    go_on_to(header_.tensors().size());
    return std::move(digests_);
  }
  signing::TensorDigests& digests() { return digests_; }

 private:
  void go_on_to(size_t tensor) {
    for (;;) {
      if (hasher_ && at_ == tensor) return;
      if (hasher_) digests_.tensors[std::string(header_.tensors()[at_++].name)] = hasher_->finish();
      hasher_.reset();
      if (at_ == header_.tensors().size()) return;
      const TensorInfo& info = header_.tensors()[at_];
      hasher_.emplace(element_name(info.type), info.shape);
    }
  }
  const Header& header_;
  size_t at_ = 0;
  std::optional<signing::TensorHasher> hasher_;  // of the tensor at_
  signing::TensorDigests digests_;
};

}  // namespace

Result<ContainerSummary> write_signed_container(Bytes source, const std::string& path,
                                                WriteContainerOptions options,
                                                const signing::Signer& signer,
                                                const std::string& signature_path, bool name_dot) {
  std::error_code problem;
  auto absolute = [&](const std::string& name) {
    return std::filesystem::weakly_canonical(std::filesystem::absolute(name, problem), problem);
  };
  if (absolute(path) == absolute(signature_path))
    return error(Code::invalid_argument, "{}: the signature would take the place of the file",
                 signature_path);
  // Made first, so that a place that cannot be written is known before the work is done.
  TRY(OutputFile signature, OutputFile::create(signature_path));
  TRY(std::string name, signing::model_name(path));
  signing::FileRecorder recorder;
  options.tee = [&recorder, also = std::move(options.tee)](Bytes bytes) {
    recorder.write(bytes);
    if (also) also(bytes);
  };
  TRY(Header header, parse_header(source, source.size()));
  TensorDigester digester(header);
  bool sealed = !options.recipients.keys.empty() || !options.recipients.passphrases.empty();
  if (!sealed) {
    options.source_tee = [&digester, also = std::move(options.source_tee)](size_t tensor,
                                                                           Bytes part) {
      digester.take(tensor, part);
      if (also) also(tensor, part);
    };
    options.index_tee = [&digester, also = std::move(options.index_tee)](uint64_t begin,
                                                                         Bytes index) {
      digester.digests().index_begin = begin;
      digester.digests().index_end = begin + index.size();
      digester.digests().index = signing::hash(index);
      if (also) also(begin, index);
    };
  }
  TRY(ContainerSummary summary, write_container(source, path, options));
  TRY(signing::RecordedFile file, recorder.finish());
  if (!sealed) file.tensors = digester.finish();
  signing::StatementBuilder builder(name);
  TRY_VOID(builder.add_file(name_dot ? "." : name, std::move(file)));
  TRY(signing::Statement statement, builder.finish());
  TRY(std::string json, signing::sign_statement(statement, signer));
  TRY_VOID(signature.write(signing::as_bytes(json)));
  TRY_VOID(signature.commit(options.durable));
  return summary;
}

Result<signing::VerifiedTensor> verify_signed_tensor(const std::string& model,
                                                     const signing::SignedTensors& signed_tensors,
                                                     std::string_view name, std::string_view path) {
  struct stat info;
  const signing::TensorDigests* digests = nullptr;
  std::string found_path;
  if (stat(model.c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
    TRY(found_path, signing::model_name(model));
    digests = signed_tensors.find_file(found_path);
    if (!digests) digests = signed_tensors.find_file(found_path = ".");
  }
  // The index of a safetensors file begins with it.
  if (!digests || digests->index_begin == 0)
    return signing::verify_tensor(model, signed_tensors, name, path);
  std::string place = signing::in_quotes(found_path);
  if (!path.empty() && path != found_path)
    return error(Code::not_found, "{} is not signed: the model is the file {}",
                 signing::in_quotes(path), place);
  if (!digests->tensors.count(std::string(name)))
    return error(Code::not_found, "{}: no tensor {} is signed", place, signing::in_quotes(name));
  TRY(MappedFile file, map_file(model));
  if (digests->index_end != file.bytes().size() || digests->index_begin > digests->index_end)
    return error(Code::invalid_file, "{}: has {} bytes, {} are signed", place, file.bytes().size(),
                 digests->index_end);
  uint64_t index_bytes = digests->index_end - digests->index_begin;
  TRY_VOID(signed_tensors.check_index(found_path, file.bytes().last(index_bytes)));
  TRY(Container container, Container::open(file.bytes()).with_context(place));
  const TensorInfo* tensor = container.header().find(name);
  if (!tensor)
    return error(Code::invalid_file, "{}: tensor {} is signed but not in the index", place,
                 signing::in_quotes(name));
  size_t number = size_t(tensor - container.header().tensors().data());
  signing::TensorHasher hasher(element_name(tensor->type), tensor->shape);
  std::vector<uint8_t> block(size_t(std::min<uint64_t>(tensor->bytes(), 4 << 20)));
  for (uint64_t at = 0; at < tensor->bytes(); at += block.size()) {
    auto part =
        Span<uint8_t>(block).first(size_t(std::min<uint64_t>(block.size(), tensor->bytes() - at)));
    TRY_VOID(container.read(number, at, part).with_context(place));
    hasher.update(part);
  }
  TRY_VOID(signed_tensors.check_tensor(found_path, name, hasher.finish()));
  return signing::VerifiedTensor{
      found_path,
      std::string(name),
      std::string(element_name(tensor->type)),
      {tensor->shape.begin(), tensor->shape.end()},
      tensor->bytes(),
      index_bytes + kContainerHeadBytes + container.stored_bytes(number)};
}

}  // namespace sconce
