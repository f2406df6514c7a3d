#include "formats/ptd/ptd.h"

#include <cstring>
#include <unordered_set>

#include "base/checked.h"
#include "base/equal_bytes.h"
#include "ptd_generated.h"
#include "tensor/tensor.h"

namespace sconce {
namespace {

constexpr size_t kHeaderEnd = 48;
constexpr uint32_t kHeaderBytes = 40;  // counted from byte 8
constexpr uint32_t kVersion = 0;

uint64_t u64_at(Bytes file, size_t offset) {
  uint64_t value;
  memcpy(&value, file.data() + offset, sizeof(value));
  return value;
}

Error broken(const std::string& text) { return error(Code::invalid_file, "{}", text); }

// The tensor that an entry describes fills its bytes and is a tensor at all.
Result<void> check_layout(const PtdEntry& entry) {
  if (entry.sizes.size() > size_t(kRankMax))
    return error(Code::too_large, "rank {} exceeds {}", entry.sizes.size(), kRankMax);
  if (entry.dim_order.size() != entry.sizes.size() ||
      !is_valid_dim_order(entry.dim_order.data(), int(entry.dim_order.size())))
    return error(Code::invalid_file, "dim order is no order of {} dimensions", entry.sizes.size());
  int64_t count = 0;
  uint64_t bytes = 0;
  if (!checked_element_count(entry.sizes.data(), int(entry.sizes.size()), &count) ||
      !checked_multiply<uint64_t>(uint64_t(count), dtype_bytes(entry.dtype), &bytes) ||
      bytes != entry.bytes.size())
    return error(Code::invalid_file, "its segment has {} bytes, its sizes want {}",
                 entry.bytes.size(), bytes);
  return {};
}

Result<void> read_layout(const ptd::fb::Layout& layout, PtdEntry& entry) {
  entry.is_tensor = true;
  if (!is_dtype(layout.dtype()))
    return error(Code::invalid_file, "dtype {} is none", int(layout.dtype()));
  entry.dtype = DType(layout.dtype());
  if (layout.sizes()) entry.sizes.assign(layout.sizes()->begin(), layout.sizes()->end());
  if (layout.dim_order())
    entry.dim_order.assign(layout.dim_order()->begin(), layout.dim_order()->end());
  return check_layout(entry);
}

constexpr uint64_t kSegmentAlignment = 128;
const uint8_t kZeros[kSegmentAlignment] = {};

}  // namespace

Result<std::vector<PtdEntry>> read_ptd(Bytes file) {
  if (file.size() < kHeaderEnd)
    return error(Code::invalid_file, "{} bytes; a .ptd has {} and more", file.size(), kHeaderEnd);
  if (memcmp(file.data() + 4, "FT01", 4) != 0 || memcmp(file.data() + 8, "FH01", 4) != 0)
    return broken("no .ptd: FT01 and FH01 are wanted at bytes 4 and 8");
  uint32_t header_bytes;
  memcpy(&header_bytes, file.data() + 12, sizeof(header_bytes));
  if (header_bytes < kHeaderBytes)
    return error(Code::invalid_file, "header of {} bytes, want {} or more", header_bytes,
                 kHeaderBytes);
  uint64_t tables = 0, base = u64_at(file, 32), data_bytes = u64_at(file, 40);
  if (!checked_add(u64_at(file, 16), u64_at(file, 24), &tables) || tables > file.size() ||
      tables < kHeaderEnd)
    return error(Code::invalid_file, "tables of {} + {} bytes in a file of {}", u64_at(file, 16),
                 u64_at(file, 24), file.size());
  if (!range_inside(base, data_bytes, file.size()) || base < tables)
    return error(Code::invalid_file,
                 "segments at {} of {} bytes: want them after {} in a file of {} bytes", base,
                 data_bytes, tables, file.size());
  if (tables > FLATBUFFERS_MAX_BUFFER_SIZE)
    return error(Code::too_large, "tables of {} bytes", tables);
  // No more tables than bytes to hold them: vectors that share tables cannot make the walk long.
  flatbuffers::Verifier verifier(file.data(), size_t(tables), 8, uint32_t(tables / 4));
  if (!ptd::fb::VerifyFileBuffer(verifier)) return broken("its tables leave the file");
  const ptd::fb::File& root = *ptd::fb::GetFile(file.data());
  if (root.version() > kVersion)
    return error(Code::unsupported, "version {}, we read {}", root.version(), kVersion);

  std::vector<Bytes> segments;
  if (root.segments()) {
    for (const ptd::fb::Segment* segment : *root.segments()) {
      if (!range_inside(segment->offset(), segment->bytes(), data_bytes))
        return error(Code::invalid_file, "segment {}: {} bytes at {} of {}", segments.size(),
                     segment->bytes(), segment->offset(), data_bytes);
      segments.push_back(file.subspan(size_t(base + segment->offset()), size_t(segment->bytes())));
    }
  }
  std::vector<PtdEntry> entries;
  std::unordered_set<std::string> keys;
  if (!root.entries()) return entries;
  for (const ptd::fb::Entry* from : *root.entries()) {
    PtdEntry& entry = entries.emplace_back();
    if (!from->key() || from->key()->size() == 0)
      return error(Code::invalid_file, "entry {} has no key", entries.size() - 1);
    entry.key = from->key()->str();
    auto named = [&](Error found) {
      return std::move(found).with_context(fmt::format("entry \"{}\"", entry.key));
    };
    if (!keys.insert(entry.key).second) return named(broken("there are two of it"));
    if (from->segment() >= segments.size())
      return named(error(Code::invalid_file, "segment {} of {}", from->segment(), segments.size()));
    entry.bytes = segments[from->segment()];
    if (!from->layout()) continue;
    if (auto read = read_layout(*from->layout(), entry); !read.ok()) return named(read.error());
  }
  return entries;
}

Result<PtdFile> write_ptd(Span<const PtdEntry> entries) {
  using namespace ptd::fb;
  flatbuffers::FlatBufferBuilder builder(1024);
  EqualBytes equal;
  std::unordered_set<std::string> keys;
  std::vector<Bytes> contents;  // of the segments
  std::vector<flatbuffers::Offset<ptd::fb::Entry>> tables;
  std::vector<uint32_t> segment_of(entries.size());
  for (size_t i = 0; i < entries.size(); i++) {
    const PtdEntry& entry = entries[i];
    auto named = [&](Error found) {
      return std::move(found).with_context(fmt::format("entry \"{}\"", entry.key));
    };
    if (entry.key.empty()) return error(Code::invalid_argument, "entry {} has no key", i);
    if (!keys.insert(entry.key).second) return named(broken("there are two of it"));
    size_t first = entry.bytes.empty() ? i : equal.find_or_add(entry.bytes, i);
    if (first == i) {
      segment_of[i] = uint32_t(contents.size());
      contents.push_back(entry.bytes);
    } else {
      segment_of[i] = segment_of[first];
    }
    flatbuffers::Offset<Layout> layout = 0;
    if (entry.is_tensor) {
      if (auto sound = check_layout(entry); !sound.ok()) return named(sound.error());
      layout = CreateLayoutDirect(builder, int8_t(entry.dtype), &entry.sizes, &entry.dim_order);
    }
    auto key = builder.CreateString(entry.key);
    tables.push_back(CreateEntry(builder, key, segment_of[i], layout));
  }
  std::vector<flatbuffers::Offset<Segment>> segments;
  std::vector<uint64_t> offsets;
  uint64_t end = 0;
  for (Bytes content : contents) {
    offsets.push_back(align_up(end, kSegmentAlignment));
    end = offsets.back() + content.size();
    segments.push_back(CreateSegment(builder, offsets.back(), content.size()));
  }
  FinishFileBuffer(builder, CreateFileDirect(builder, kVersion, &segments, &tables));
  if (builder.GetSize() > uint32_t(INT32_MAX) - 4096)
    return error(Code::too_large, "tables of {} bytes exceed 2 GiB", builder.GetSize());

  // The header goes between the first 8 bytes of the tables and the rest, in room that keeps every
  // alignment up to 16.
  PtdFile file;
  constexpr uint32_t kRoom = kHeaderEnd;
  file.tables.resize(builder.GetSize() + kRoom);
  const uint8_t* from = builder.GetBufferPointer();
  auto put = [&](size_t at, auto value) { memcpy(file.tables.data() + at, &value, sizeof(value)); };
  uint32_t root;
  memcpy(&root, from, sizeof(root));
  uint64_t base = align_up(file.tables.size(), kSegmentAlignment);
  put(0, uint32_t(root + kRoom));
  memcpy(file.tables.data() + 4, "FT01FH01", 8);
  put(12, kHeaderBytes);
  put(16, uint64_t(kRoom));
  put(24, uint64_t(builder.GetSize()));
  put(32, base);
  put(40, end);
  memcpy(file.tables.data() + 8 + kRoom, from + 8, builder.GetSize() - 8);

  auto append = [&](Bytes piece) {
    file.pieces.push_back(piece);
    file.bytes += piece.size();
  };
  append(file.tables);
  append(Bytes(kZeros, size_t(base - file.bytes)));
  for (size_t i = 0; i < contents.size(); i++) {
    append(Bytes(kZeros, size_t(base + offsets[i] - file.bytes)));
    append(contents[i]);
  }
  return file;
}

std::vector<uint8_t> PtdFile::joined() const {
  std::vector<uint8_t> all;
  all.reserve(size_t(bytes));
  for (Bytes piece : pieces) all.insert(all.end(), piece.begin(), piece.end());
  return all;
}

}  // namespace sconce
