#include "formats/ptd/ptd.h"

#include <cstring>
#include <unordered_set>

#include "base/checked.h"
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

// The tensor that a layout describes fills its segment and is a tensor at all.
Result<void> read_layout(const ptd::fb::Layout& layout, PtdEntry& entry) {
  entry.is_tensor = true;
  if (!is_dtype(layout.dtype()))
    return error(Code::invalid_file, "dtype {} is none", int(layout.dtype()));
  entry.dtype = DType(layout.dtype());
  if (layout.sizes()) entry.sizes.assign(layout.sizes()->begin(), layout.sizes()->end());
  if (layout.dim_order())
    entry.dim_order.assign(layout.dim_order()->begin(), layout.dim_order()->end());
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

}  // namespace sconce
