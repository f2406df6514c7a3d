#include "formats/signing/signed_tensors.h"

#include <sys/stat.h>
#include <algorithm>

#include "formats/safetensors/header.h"
#include "formats/signing/text.h"

namespace sconce::signing {

Result<SignedTensors> SignedTensors::open(const std::string& signature_path, const Trust& trust) {
  TRY(auto signature, verify_signature_file(signature_path, trust));
  return SignedTensors(std::move(signature));
}

// Resources are sorted by path.
const TensorDigests* SignedTensors::find_file(std::string_view path) const {
  const auto& all = signature_.statement.resources;
  auto found = std::lower_bound(
      all.begin(), all.end(), path,
      [](const Resource& resource, std::string_view wanted) { return resource.path < wanted; });
  return found != all.end() && found->path == path && found->tensors ? &*found->tensors : nullptr;
}

std::vector<std::string> SignedTensors::files_with(std::string_view name) const {
  std::vector<std::string> paths;
  for (const Resource& resource : signature_.statement.resources)
    if (resource.tensors && resource.tensors->tensors.count(std::string(name)))
      paths.push_back(resource.path);
  return paths;
}

Result<void> SignedTensors::check_index(std::string_view path, Bytes index) const {
  const TensorDigests* file = find_file(path);
  if (!file)
    return error(Code::not_found, "the signature holds no digests of tensors for {}",
                 in_quotes(path));
  if (index.size() != file->index_end - file->index_begin)
    return error(Code::invalid_file, "{}: the index has {} bytes, {} are signed", in_quotes(path),
                 index.size(), file->index_end - file->index_begin);
  Digest found = hash(index);
  if (found != file->index)
    return error(Code::invalid_file, "{}: the index was changed: signed {}, found {}",
                 in_quotes(path), file->index.hex(), found.hex());
  return {};
}

Result<void> SignedTensors::check_tensor(std::string_view path, std::string_view name,
                                         std::string_view dtype, Span<const uint64_t> sizes,
                                         Bytes bytes) const {
  TensorHasher hasher(dtype, sizes);
  hasher.update(bytes);
  return check_tensor(path, name, hasher.finish());
}

Result<void> SignedTensors::check_tensor(std::string_view path, std::string_view name,
                                         const Digest& found) const {
  const TensorDigests* file = find_file(path);
  auto wanted = file ? file->tensors.find(std::string(name)) : decltype(file->tensors.end()){};
  if (!file || wanted == file->tensors.end())
    return error(Code::not_found, "{}: no tensor {} is signed", in_quotes(path), in_quotes(name));
  if (found != wanted->second)
    return error(Code::invalid_file, "{}: tensor {} was changed: signed {}, found {}",
                 in_quotes(path), in_quotes(name), wanted->second.hex(), found.hex());
  return {};
}

Result<VerifiedTensor> verify_tensor(const std::string& model, const SignedTensors& signed_tensors,
                                     std::string_view name, std::string_view path) {
  const Statement& statement = signed_tensors.signature().statement;
  std::string found_path;
  if (path.empty()) {
    auto paths = signed_tensors.files_with(name);
    if (paths.empty()) {
      bool any = std::any_of(statement.resources.begin(), statement.resources.end(),
                             [](const Resource& r) { return r.tensors.has_value(); });
      if (!any)
        return error(Code::unsupported,
                     "the signature holds no digests of tensors: only the whole model can be "
                     "verified");
      return error(Code::not_found, "no tensor {} is signed", in_quotes(name));
    }
    if (paths.size() > 1)
      return error(Code::invalid_argument, "tensor {} is signed in {} files ({}, {}): say which",
                   in_quotes(name), paths.size(), in_quotes(paths[0]), in_quotes(paths[1]));
    found_path = paths[0];
  } else {
    TRY(found_path, plain_path(path));
  }
  const TensorDigests* file = signed_tensors.find_file(found_path);
  if (!file || !file->tensors.count(std::string(name)))
    return error(Code::not_found, "{}: no tensor {} is signed", in_quotes(found_path),
                 in_quotes(name));

  // A model of one file is signed under "." or its base name.
  struct stat info;
  bool is_file = stat(model.c_str(), &info) == 0 && S_ISREG(info.st_mode);
  if (is_file && found_path != ".") {
    TRY(auto name_found, model_name(model));
    if (found_path != name_found && !found_path.ends_with("/" + name_found))
      return error(Code::invalid_file, "tensor {} is signed in {}, this file is {}",
                   in_quotes(name), in_quotes(found_path), in_quotes(name_found));
  }
  TRY(auto reader, ModelFileReader::open(model, is_file ? "." : found_path,
                                         statement.serialization.allow_symlinks));
  if (file->index_begin != 0 || file->index_end > kSafetensorsHeaderBytesMax + 8)
    return error(Code::unsupported, "{}: its index is not the header of a safetensors file",
                 in_quotes(found_path));
  if (file->index_end > reader.bytes())
    return error(Code::invalid_file, "{}: has {} bytes, its signed header alone {}",
                 in_quotes(found_path), reader.bytes(), file->index_end);
  std::vector<uint8_t> index(file->index_end);
  TRY_VOID(reader.read(0, index));
  TRY_VOID(signed_tensors.check_index(found_path, index));
  TRY(auto header, parse_header(index, reader.bytes()).with_context(in_quotes(found_path)));
  if (header.data_offset() != index.size())
    return error(Code::invalid_file, "{}: the signed index has {} bytes, the header {}",
                 in_quotes(found_path), index.size(), header.data_offset());
  const TensorInfo* tensor = header.find(name);
  if (!tensor)
    return error(Code::invalid_file, "{}: tensor {} is signed but not in the header",
                 in_quotes(found_path), in_quotes(name));

  TensorHasher hasher(element_name(tensor->type), tensor->shape);
  std::vector<uint8_t> block(size_t(std::min<uint64_t>(tensor->bytes(), 1 << 20)));
  for (uint64_t at = tensor->begin; at < tensor->end; at += block.size()) {
    Span<uint8_t> part =
        Span<uint8_t>(block).first(size_t(std::min<uint64_t>(block.size(), tensor->end - at)));
    TRY_VOID(reader.read(header.data_offset() + at, part));
    hasher.update(part);
  }
  TRY_VOID(signed_tensors.check_tensor(found_path, name, hasher.finish()));
  return VerifiedTensor{found_path,
                        std::string(name),
                        std::string(element_name(tensor->type)),
                        {tensor->shape.begin(), tensor->shape.end()},
                        tensor->bytes(),
                        index.size() + tensor->bytes()};
}

}  // namespace sconce::signing
