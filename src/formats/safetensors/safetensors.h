// Small tensor files in one call: read in place as tensors that kernels know, written canonically.
//
// For element types without a DType, files larger than memory, slices and sets in shards see
// header.h, writer.h, slice.h and shards.h beside this file.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "formats/safetensors/header.h"
#include "tensor/dtype.h"

namespace sconce {

struct TensorEntry {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> sizes;
  Bytes bytes;  // row-major, little endian; files of other writers may be unaligned
};

struct SafetensorsFile {
  std::vector<TensorEntry> tensors;  // sorted by name
  Metadata metadata;                 // sorted by key
};

// The tensors' bytes point into `file`, which must outlive them. Element types without a DType and
// sizes past 2^63 - 1 are refused.
Result<SafetensorsFile> read_safetensors(Bytes file, AcceptMode mode = AcceptMode::standard);

// Null when there is none of that name.
const TensorEntry* find_tensor(const SafetensorsFile& file, std::string_view name);

// Equal tensors and metadata give equal files, whatever their order: tensors stand by falling
// alignment and then by name, metadata by key. Names and metadata must be UTF-8.
Result<void> write_safetensors(const std::string& path, Span<const TensorEntry> tensors,
                               Span<const std::pair<std::string, std::string>> metadata = {});

// The same, to memory.
Result<std::vector<uint8_t>> encode_safetensors(
    Span<const TensorEntry> tensors, Span<const std::pair<std::string, std::string>> metadata = {});

}  // namespace sconce
