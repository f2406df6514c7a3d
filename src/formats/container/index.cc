#include "formats/container/index.h"

#include <cstring>

#if defined(SCONCE_XXHASH_DISPATCH)
#include <xxh_x86dispatch.h>  // XXH3 by the widest vectors that the processor has
#else
#include <xxhash.h>
#endif
#include <zstd.h>

#include "base/checked.h"
#include "base/little_endian.h"

namespace sconce {

namespace {

constexpr char kMagic[] = "SCONCEIX";
constexpr uint32_t kVersion = 1;
constexpr uint32_t kPacked = 1, kSealed = 2, kHidden = 4;
constexpr size_t kBodyFixedBytes = 32;
constexpr uint64_t kHiddenPadding = 4096;
constexpr int kHeadZstdLevel = 3;

// Bytes of the tables of the body for one chunk.
size_t chunk_entry_bytes(ContainerKind kind) { return kind.sealed ? 4 : 12; }

// What the head says about the kind: readable by people who meet the file in another tool.
struct KindText {
  const char* format;
  const char* note;
};
KindText kind_text(ContainerKind kind) {
  if (kind.packed && kind.sealed)
    return {"sconce packed+sealed",
            "Compressed and encrypted tensors. To read them: sconce tensors open FILE -o OUT"};
  if (kind.sealed)
    return {"sconce sealed", "Encrypted tensors. To read them: sconce tensors open FILE -o OUT"};
  return {"sconce packed",
          "Losslessly compressed tensors. To read them: sconce tensors unpack FILE -o OUT"};
}

}  // namespace

std::string container_head(ContainerKind kind, const ContainerParts& parts) {
  KindText text = kind_text(kind);
  std::string json = fmt::format(R"({{"__metadata__":{{"format":"{}","note":"{}","version":"{}"}})",
                                 text.format, text.note, kVersion);
  uint64_t at = 0;
  auto add = [&](std::string_view name, uint64_t bytes) {
    json += fmt::format(R"(,"{}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}})", name,
                        bytes, at, at + bytes);
    at += bytes;
  };
  add(kDataName, parts.data_bytes);
  if (kind.sealed) add(kEnvelopeName, parts.envelope_bytes);
  add(kIndexName, parts.index_bytes);
  json += '}';
  CHECK(json.size() <= kContainerHeadBytes - 8);
  json.resize(kContainerHeadBytes - 8, ' ');
  std::vector<uint8_t> length;
  append_little(&length, uint64_t(json.size()));
  return std::string(length.begin(), length.end()) + json;
}

bool is_container(const Header& header) { return header.find(kIndexName) != nullptr; }

Result<ContainerHead> read_container_head(Bytes file) {
  TRY(Header header, parse_header(file, file.size()));
  const TensorInfo *data = header.find(kDataName), *envelope = header.find(kEnvelopeName),
                   *index = header.find(kIndexName);
  if (!index || !data)
    return error(Code::invalid_file, "not a packed or sealed file: no tensor {}",
                 quoted_name(index ? kDataName : kIndexName));
  ContainerHead head;
  head.parts = {header.data_offset(), data->bytes(), envelope ? envelope->bytes() : 0,
                index->bytes()};
  if (header.data_offset() != kContainerHeadBytes ||
      head.parts.index_begin() != header.data_offset() + index->begin ||
      head.parts.file_bytes() != file.size())
    return error(Code::invalid_file, "head of {} bytes and parts in another order than {} and {}",
                 header.data_offset(), kContainerHeadBytes, "data, envelope, index");
  TRY(IndexPrefix prefix, decode_index_prefix(file.subspan(head.parts.index_begin())));
  head.kind = prefix.kind;
  if (head.kind.sealed != (envelope != nullptr))
    return error(Code::invalid_file, "index: the file is said to be {}, but it has {} envelope",
                 head.kind.sealed ? "sealed" : "not sealed", envelope ? "an" : "no");
  uint64_t tail = head.kind.sealed ? 16 : kIndexChecksumBytes, wanted = 0;
  if (!checked_add(prefix.body_bytes, kIndexPrefixBytes + tail, &wanted) ||
      wanted != head.parts.index_bytes)
    return error(Code::invalid_file, "index: body of {} bytes in {} bytes", prefix.body_bytes,
                 head.parts.index_bytes);
  std::string only = container_head(head.kind, head.parts);
  for (size_t i = 0; i < only.size(); ++i)
    if (file[i] != uint8_t(only[i]))
      return error(Code::invalid_file, "head: byte {} is {:#04x}, {:#04x} wanted", i, file[i],
                   uint8_t(only[i]));
  return head;
}

std::vector<uint8_t> encode_index_prefix(const IndexPrefix& prefix) {
  std::vector<uint8_t> out(kMagic, kMagic + 8);
  append_little(&out, kVersion);
  append_little(&out, (prefix.kind.packed ? kPacked : 0) | (prefix.kind.sealed ? kSealed : 0) |
                          (prefix.kind.names_hidden ? kHidden : 0));
  append_little(&out, uint32_t(kChunkBytes));
  append_little(&out, uint32_t(0));
  append_little(&out, prefix.body_bytes);
  return out;
}

Result<IndexPrefix> decode_index_prefix(Bytes bytes) {
  if (bytes.size() < kIndexPrefixBytes)
    return error(Code::invalid_file, "index of {} bytes, at least {} wanted", bytes.size(),
                 kIndexPrefixBytes);
  if (memcmp(bytes.data(), kMagic, 8) != 0)
    return error(Code::invalid_file, "index does not begin with {}", kMagic);
  uint32_t version = load_little<uint32_t>(&bytes[8]), flags = load_little<uint32_t>(&bytes[12]),
           chunk = load_little<uint32_t>(&bytes[16]), reserved = load_little<uint32_t>(&bytes[20]);
  if (version != kVersion)
    return error(Code::unsupported, "index of version {}, {} is known", version, kVersion);
  IndexPrefix prefix;
  prefix.kind = {(flags & kPacked) != 0, (flags & kSealed) != 0, (flags & kHidden) != 0};
  if (flags > (kPacked | kSealed | kHidden) || !(flags & (kPacked | kSealed)) ||
      (prefix.kind.names_hidden && !prefix.kind.sealed))
    return error(Code::unsupported, "index: flags {:#x} are unknown or contradict each other",
                 flags);
  if (chunk != kChunkBytes || reserved != 0)
    return error(Code::unsupported, "index: chunks of {} bytes and reserved {}, {} and 0 wanted",
                 chunk, reserved, kChunkBytes);
  prefix.body_bytes = load_little<uint64_t>(&bytes[24]);
  return prefix;
}

std::vector<uint8_t> encode_index_body(ContainerKind kind, const ContainerIndex& index) {
  std::vector<uint8_t> packed(ZSTD_compressBound(index.source_head.size()));
  size_t size = ZSTD_compress(packed.data(), packed.size(), index.source_head.data(),
                              index.source_head.size(), kHeadZstdLevel);
  bool smaller = !ZSTD_isError(size) && size < index.source_head.size();
  if (smaller) packed.resize(size);
  const std::vector<uint8_t>& head = smaller ? packed : index.source_head;
  std::vector<uint8_t> out;
  out.reserve(kBodyFixedBytes + head.size() + index.chunks.size() * chunk_entry_bytes(kind) +
              kHiddenPadding);
  append_little(&out, uint64_t(index.source_head.size()));
  append_little(&out, uint64_t(head.size()));
  append_little(&out, index.source_data_bytes);
  append_little(&out, uint64_t(index.chunks.size()));
  out.insert(out.end(), head.begin(), head.end());
  for (const ChunkEntry& chunk : index.chunks)
    append_little(&out, chunk.stored_bytes | uint32_t(chunk.method) << 24);
  if (!kind.sealed)
    for (const ChunkEntry& chunk : index.chunks) append_little(&out, chunk.checksum);
  if (kind.names_hidden) out.resize(align_up(out.size(), kHiddenPadding));
  return out;
}

Result<ContainerIndex> decode_index_body(ContainerKind kind, Bytes body) {
  if (body.size() < kBodyFixedBytes)
    return error(Code::invalid_file, "body of {} bytes, at least {} wanted", body.size(),
                 kBodyFixedBytes);
  uint64_t head_bytes = load_little<uint64_t>(&body[0]),
           stored_bytes = load_little<uint64_t>(&body[8]), count = load_little<uint64_t>(&body[24]);
  ContainerIndex index;
  index.source_data_bytes = load_little<uint64_t>(&body[16]);
  if (head_bytes > kSafetensorsHeaderBytesMax + 8)
    return error(Code::too_large, "original header of {} bytes, at most {} allowed", head_bytes,
                 kSafetensorsHeaderBytesMax + 8);
  Bytes rest = body.subspan(kBodyFixedBytes);
  if (stored_bytes > rest.size() || stored_bytes > head_bytes)
    return error(Code::invalid_file, "original header is stored in {} bytes, {} at most",
                 stored_bytes, std::min<uint64_t>(head_bytes, rest.size()));
  Bytes stored = rest.first(stored_bytes);
  rest = rest.subspan(stored_bytes);
  if (stored_bytes == head_bytes) {
    index.source_head.assign(stored.begin(), stored.end());
  } else {
    if (ZSTD_getFrameContentSize(stored.data(), stored.size()) != head_bytes ||
        ZSTD_findFrameCompressedSize(stored.data(), stored.size()) != stored.size())
      return error(Code::invalid_file, "original header: {} bytes are not one zstd frame of {}",
                   stored.size(), head_bytes);
    index.source_head.resize(head_bytes);
    size_t size =
        ZSTD_decompress(index.source_head.data(), head_bytes, stored.data(), stored.size());
    if (ZSTD_isError(size) || size != head_bytes)
      return error(Code::invalid_file, "original header: zstd: {}",
                   ZSTD_isError(size) ? ZSTD_getErrorName(size) : "too short");
  }
  uint64_t entry = chunk_entry_bytes(kind);
  if (count > rest.size() / entry)
    return error(Code::invalid_file, "{} chunks do not fit in {} bytes", count, rest.size());
  Bytes padding = rest.subspan(count * entry);
  if (padding.size() >= (kind.names_hidden ? kHiddenPadding : 1))
    return error(Code::invalid_file, "{} bytes follow the chunks", padding.size());
  for (uint8_t byte : padding)
    if (byte != 0) return error(Code::invalid_file, "padding is not zero");
  index.chunks.resize(count);
  for (uint64_t i = 0; i < count; ++i) {
    uint32_t word = load_little<uint32_t>(&rest[4 * i]);
    if (word >> 24 >= kChunkMethods)
      return error(Code::unsupported, "chunk {}: method {} is none of 0 to {}", i, word >> 24,
                   kChunkMethods - 1);
    index.chunks[i] = {word & 0xFF'FFFF, ChunkMethod(word >> 24),
                       kind.sealed ? 0 : load_little<uint64_t>(&rest[4 * count + 8 * i])};
  }
  return index;
}

ElementLayout element_layout(ElementType type) {
  switch (type) {
    case ElementType::f16:
    case ElementType::bf16: return {2, true};
    case ElementType::f32:
    case ElementType::c64: return {4, true};  // of a complex number each part
    case ElementType::f64: return {8, true};
    default: break;
  }
  uint32_t bits = element_bits(type);
  return {uint8_t(bits < 8 || bits % 8 ? 1 : bits / 8), false};
}

uint64_t checksum(Bytes bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

}  // namespace sconce
