// Tensor files of the command line: .safetensors and .npy, by extension.
#pragma once

#include <string>
#include <vector>

#include "base/file.h"
#include "tensor/dtype.h"

namespace sconce::cli {

// A .npy has one tensor and no names: this one stands for it.
inline constexpr char kNpyName[] = "input.0";

struct NamedTensor {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> sizes;
  Bytes bytes;
  std::vector<uint8_t> owned;  // when `bytes` had to be converted
};

// Sizes as a method takes them; an error when one does not fit.
Result<std::vector<int32_t>> method_sizes(const NamedTensor& tensor);

struct TensorFile {
  MappedFile file;
  std::vector<NamedTensor> tensors;
};

Result<TensorFile> load_tensors(const std::string& path);
// .npy takes exactly one tensor.
Result<void> save_tensors(const std::string& path, const std::vector<NamedTensor>& tensors);

}  // namespace sconce::cli
