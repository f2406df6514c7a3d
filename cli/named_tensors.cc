#include "named_tensors.h"

#include "formats/npy/npy.h"
#include "formats/safetensors/safetensors.h"

namespace sconce::cli {

Result<std::vector<int32_t>> method_sizes(const NamedTensor& tensor) {
  std::vector<int32_t> sizes;
  for (int64_t size : tensor.sizes) {
    if (size > INT32_MAX)
      return error(Code::too_large, "\"{}\": size {} exceeds {}", tensor.name, size, INT32_MAX);
    sizes.push_back(int32_t(size));
  }
  return sizes;
}

Result<TensorFile> load_tensors(const std::string& path) {
  TensorFile result;
  TRY(result.file, map_file(path));
  if (path.ends_with(".npy")) {
    auto array = read_npy(result.file.bytes());
    if (!array.ok()) return std::move(array.error()).with_context(path);
    NamedTensor tensor{kNpyName, array->dtype, array->sizes, array->bytes,
                       std::move(array->converted)};
    if (!tensor.owned.empty()) tensor.bytes = tensor.owned;
    result.tensors.push_back(std::move(tensor));
    result.tensors.back().bytes = result.tensors.back().owned.empty()
                                      ? result.tensors.back().bytes
                                      : Bytes(result.tensors.back().owned);
    return result;
  }
  auto file = read_safetensors(result.file.bytes());
  if (!file.ok()) return std::move(file.error()).with_context(path);
  for (const TensorEntry& entry : file->tensors) {
    NamedTensor tensor{entry.name, entry.dtype, entry.sizes, entry.bytes, {}};
    // Kernels read whole elements: data of other writers may be unaligned.
    if (uintptr_t(entry.bytes.data()) % 16 != 0) {
      tensor.owned.assign(entry.bytes.begin(), entry.bytes.end());
    }
    result.tensors.push_back(std::move(tensor));
  }
  for (NamedTensor& tensor : result.tensors)
    if (!tensor.owned.empty()) tensor.bytes = tensor.owned;
  return result;
}

Result<void> save_tensors(const std::string& path, const std::vector<NamedTensor>& tensors) {
  if (path.ends_with(".npy")) {
    if (tensors.size() != 1)
      return error(Code::invalid_argument, "{}: .npy holds one tensor, there are {}", path,
                   tensors.size());
    return write_npy(path, tensors[0].dtype, tensors[0].sizes, tensors[0].bytes);
  }
  std::vector<TensorEntry> entries;
  for (const NamedTensor& t : tensors) entries.push_back({t.name, t.dtype, t.sizes, t.bytes});
  return write_safetensors(path, entries);
}

}  // namespace sconce::cli
