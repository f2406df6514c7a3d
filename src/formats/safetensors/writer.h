// Writing safetensors files: the layout of the canonical form, and a writer for data of any size.
//
// Canonical means: equal tensors and metadata give equal bytes, whatever their order, and the bytes
// that the reference writes where it is deterministic itself (up to one metadata key). Tensors
// stand by falling element type, then by name; the header is padded with spaces to a multiple of 8
// bytes.
#pragma once

#include <string>
#include <vector>

#include "base/output_file.h"
#include "formats/safetensors/header.h"

namespace sconce {

// A tensor to be written.
struct TensorSpec {
  std::string name;  // UTF-8, any but "__metadata__", no two alike
  ElementType type = ElementType::f32;
  std::vector<uint64_t> shape;
};

struct LayoutOptions {
  // The data starts at a multiple of this in the file: a power of two from 8 to 2 MiB. More than 8
  // is still the plain format (the header is padded with spaces); 4096 suits O_DIRECT and devices.
  uint64_t data_alignment = 8;
  // Spaces after the metadata, so that it can grow in place later (edit_metadata).
  uint64_t metadata_room = 0;
  // Writes "__metadata__" even when it is empty.
  bool empty_metadata = false;
};

struct PlacedSpec {
  size_t spec = 0;              // its place among the specs given
  uint64_t begin = 0, end = 0;  // bytes from the start of the data
};

struct Layout {
  std::string head;                 // the file up to its data
  std::vector<PlacedSpec> tensors;  // in the order of the data
  uint64_t data_bytes = 0;
};

// Fails for names and metadata that are not UTF-8, repeated names or keys, shapes that overflow or
// are no whole number of bytes, and headers past the format's limit. `metadata` in any order.
Result<Layout> plan_layout(Span<const TensorSpec> specs,
                           Span<const std::pair<std::string, std::string>> metadata = {},
                           const LayoutOptions& options = {});

struct WriteOptions {
  LayoutOptions layout;
  bool durable = false;  // fsync before the file takes its place, and its folder after
};

// Writes a file that may be larger than memory: all tensors are declared first, then their bytes
// are appended in the order of the layout. The file at `path` changes in finish(), at once; a
// writer that is dropped before, or a process that is killed, leaves the old one as it was.
// Movable; one thread at a time.
class TensorWriter {
 public:
  static Result<TensorWriter> create(const std::string& path, std::vector<TensorSpec> specs,
                                     Span<const std::pair<std::string, std::string>> metadata = {},
                                     const WriteOptions& options = {});

  // The order in which bytes are wanted.
  Span<const PlacedSpec> order() const { return layout_.tensors; }
  const TensorSpec& spec(const PlacedSpec& placed) const { return specs_[placed.spec]; }
  uint64_t data_bytes() const { return layout_.data_bytes; }
  uint64_t data_offset() const { return layout_.head.size(); }
  uint64_t appended_bytes() const { return appended_; }

  // The next bytes of the data, row-major, little endian, in pieces of any size: the borders of
  // tensors need not be kept.
  Result<void> append(Bytes bytes);
  // The next bytes, from an open file (shared with it where the file system can).
  Result<void> append_from(int descriptor, uint64_t offset, uint64_t bytes);
  // Hands small pieces that were gathered to the system. finish() does it too.
  Result<void> flush();
  // Fails when bytes are missing. Nothing may be called afterwards.
  Result<void> finish();

 private:
  Result<void> check_room(uint64_t bytes) const;
  OutputFile file_;
  std::vector<TensorSpec> specs_;
  Layout layout_;
  WriteOptions options_;
  uint64_t appended_ = 0;
  std::vector<uint8_t> pending_;  // small pieces, gathered
};

}  // namespace sconce
