// Tensor files in the safetensors format: read in place, written in its canonical form.
//
// Layout: 8 bytes of header length, a JSON header (name -> dtype, shape, data_offsets), the data
// without gaps. What the reference reader refuses is refused; so are repeated names, of which it
// would silently take the last, and dtypes without a DType (4- and 6-bit floats, ...).
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "tensor/dtype.h"

namespace sconce {

struct TensorEntry {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> sizes;
  Bytes bytes;  // row-major, little endian; files of other writers may be unaligned
};

struct SafetensorsFile {
  std::vector<TensorEntry> tensors;                           // sorted by name
  std::vector<std::pair<std::string, std::string>> metadata;  // sorted by key
};

// Limit of the format, for reading and writing.
inline constexpr uint64_t kSafetensorsHeaderBytesMax = 100'000'000;

// The tensors' bytes point into `file`, which must outlive them.
Result<SafetensorsFile> read_safetensors(Bytes file);

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
