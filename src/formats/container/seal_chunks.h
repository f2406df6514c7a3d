// Sealing of chunks and of the index under the file key: which key, which nonce, what is bound.
#pragma once

#include <optional>
#include <string_view>

#include "base/result.h"
#include "formats/packed/chunk.h"
#include "formats/safetensors/header.h"
#include "formats/sealed/envelope.h"

namespace sconce {

// A chunk's place, all of which its tag binds.
struct ChunkPlace {
  uint64_t chunk = 0, chunks = 0;  // its number among those of its tensor
  uint32_t raw_bytes = 0;
  ChunkMethod method = ChunkMethod::raw;
};

// Seals and opens the chunks of one tensor after the other; each tensor has a key of its own, bound
// to its place, name, element type and shape. One per thread.
class ChunkSealer {
 public:
  ChunkSealer(const SecretKey& file_key, const FileId& file_id, Cipher cipher)
      : file_key_(file_key), file_id_(file_id), cipher_(cipher) {}

  Result<void> select(size_t tensor, const TensorInfo& info);
  // As Aead::seal and Aead::open do.
  Result<void> seal(const ChunkPlace& place, Bytes plain, Span<uint8_t> out);
  Result<bool> open(const ChunkPlace& place, Bytes sealed, Span<uint8_t> plain);

 private:
  SecretKey file_key_;
  FileId file_id_;
  Cipher cipher_;
  size_t tensor_ = size_t(-1);
  std::optional<Aead> aead_;
};

// The index is authenticated whole; with `hidden` its body is encrypted, else it stays in clear.
// Answers body and tag as they stand in the file.
Result<std::vector<uint8_t>> seal_index(const SecretKey& file_key, const FileId& file_id,
                                        Cipher cipher, bool hidden, Bytes prefix, Bytes body);
// The body, or an error when prefix, body or tag were changed.
Result<std::vector<uint8_t>> open_index(const SecretKey& file_key, const FileId& file_id,
                                        Cipher cipher, bool hidden, Bytes prefix,
                                        Bytes body_and_tag);

}  // namespace sconce
