// OpenedFile: one safetensors file that is open: its descriptor, header and, when asked for, its
// mapping. What TensorFile is made of.
#pragma once

#include <string>

#include "base/file.h"
#include "formats/safetensors/header.h"

namespace sconce {

// Movable; closes the descriptor at its end.
class OpenedFile {
 public:
  // Reads the header with plain reads, which fail where a mapping would end the process.
  static Result<OpenedFile> open(const std::string& path, AcceptMode mode);
  OpenedFile() = default;
  OpenedFile(OpenedFile&& other) noexcept { *this = std::move(other); }
  OpenedFile& operator=(OpenedFile&& other) noexcept;
  ~OpenedFile();

  int descriptor() const { return descriptor_; }
  const Header& header() const { return header_; }
  Header take_header() { return std::move(header_); }
  Result<MappedFile> map(const std::string& path) const { return map_file(descriptor_, path); }

 private:
  int descriptor_ = -1;
  Header header_;
};

// All of `bytes` bytes from `offset`; an error when the file ends before.
Result<void> read_exactly(int descriptor, uint64_t offset, uint8_t* out, uint64_t bytes);

}  // namespace sconce
