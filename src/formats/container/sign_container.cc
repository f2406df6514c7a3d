#include "formats/container/sign_container.h"

#include <filesystem>

#include "base/output_file.h"
#include "formats/signing/text.h"

namespace sconce {

Result<ContainerSummary> write_signed_container(Bytes source, const std::string& path,
                                                WriteContainerOptions options,
                                                const signing::Signer& signer,
                                                const std::string& signature_path) {
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
  TRY(ContainerSummary summary, write_container(source, path, options));
  TRY(signing::RecordedFile file, recorder.finish());
  signing::StatementBuilder builder(name);
  TRY_VOID(builder.add_file(name, std::move(file)));
  TRY(signing::Statement statement, builder.finish());
  TRY(std::string json, signing::sign_statement(statement, signer));
  TRY_VOID(signature.write(signing::as_bytes(json)));
  TRY_VOID(signature.commit(options.durable));
  return summary;
}

}  // namespace sconce
