// The parts of a container and its index: what is where, and how each chunk is stored.
//
// A container is a safetensors file of two or three U8 tensors: "sconce.data", the chunks one
// behind the other; "sconce.envelope", when it is sealed; "sconce.index". Layout: docs/packed.md,
// docs/sealed.md.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "formats/packed/chunk.h"
#include "formats/safetensors/header.h"

namespace sconce {

inline constexpr std::string_view kDataName = "sconce.data", kEnvelopeName = "sconce.envelope",
                                  kIndexName = "sconce.index";

struct ContainerKind {
  bool packed = false;
  bool sealed = false;
  bool names_hidden = false;  // sealed only: the index is encrypted, not just authenticated
};

// Where the parts stand in the file, all in bytes from its start.
struct ContainerParts {
  uint64_t data_begin = 0, data_bytes = 0;
  uint64_t envelope_bytes = 0;  // 0 when not sealed
  uint64_t index_bytes = 0;

  uint64_t envelope_begin() const { return data_begin + data_bytes; }
  uint64_t index_begin() const { return envelope_begin() + envelope_bytes; }
  uint64_t file_bytes() const { return index_begin() + index_bytes; }
};

// Every container's head has this size, so that it can be written last.
inline constexpr uint64_t kContainerHeadBytes = 4096;

// The one head that a container of these parts has; readers refuse any other.
std::string container_head(ContainerKind kind, const ContainerParts& parts);

// Whether a safetensors file is a container: it has an index under the name above.
bool is_container(const Header& header);

// Checks the head of a file, to the byte, and gives kind and parts. The kind is what the file
// claims. `file` may be its first kContainerHeadBytes bytes and those from the index's begin.
struct ContainerHead {
  ContainerKind kind;
  ContainerParts parts;
};
Result<ContainerHead> read_container_head(Bytes file);

// One chunk as stored.
struct ChunkEntry {
  uint32_t stored_bytes = 0;  // in the file, the tag of a sealed one included
  ChunkMethod method = ChunkMethod::raw;
  uint64_t checksum = 0;  // XXH3-64 of the stored bytes; 0 in sealed files, which have tags
};

struct ContainerIndex {
  std::vector<uint8_t> source_head;  // first bytes of the original file, up to its data
  uint64_t source_data_bytes = 0;
  std::vector<ChunkEntry> chunks;
};

// The index starts with a prefix in clear, then the body, and ends with a tag (16 bytes) when
// sealed, else with a checksum (8 bytes).
inline constexpr size_t kIndexPrefixBytes = 32;
inline constexpr size_t kIndexChecksumBytes = 8;
// Enough for a file of 16 TB.
inline constexpr uint64_t kIndexBytesMax = uint64_t(1) << 30;

struct IndexPrefix {
  ContainerKind kind;
  uint64_t body_bytes = 0;
};
std::vector<uint8_t> encode_index_prefix(const IndexPrefix& prefix);
Result<IndexPrefix> decode_index_prefix(Bytes bytes);

// The body has a size that depends on kind, source head and number of chunks only, and is padded
// when names are hidden.
std::vector<uint8_t> encode_index_body(ContainerKind kind, const ContainerIndex& index);
Result<ContainerIndex> decode_index_body(ContainerKind kind, Bytes body);

// How the packer cuts elements of this type.
ElementLayout element_layout(ElementType type);

inline uint64_t chunk_count(uint64_t tensor_bytes) {
  return tensor_bytes / kChunkBytes + (tensor_bytes % kChunkBytes != 0);
}

// XXH3, 64 bits: finds damage, not malice.
uint64_t checksum(Bytes bytes);

}  // namespace sconce
