// Writes small zip archives for tests, truthful or not. Nothing is compressed: `data` is what
// stands in the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/span.h"
#include "formats/zip/zip.h"

namespace sconce {

struct BuiltEntry {
  std::string name, data;
  // What the headers say instead of the truth.
  std::optional<uint32_t> crc;
  std::optional<uint32_t> central_bytes, local_bytes, offset;
  std::optional<uint32_t> inflated_bytes;  // when `data` is deflated (method 8)
  std::optional<std::string> local_name;
  std::string extra;  // of the central header
  uint16_t method = 0, flags = 0;
};

struct BuiltEnd {
  std::optional<uint16_t> count;
  std::optional<uint32_t> bytes, offset;
  bool has_end64 = false;
  std::optional<uint64_t> count64, bytes64, offset64, end64_at;
};

namespace zip_builder_detail {
template <class T>
void append(std::vector<uint8_t>& out, T value) {
  for (size_t i = 0; i < sizeof(T); i++) out.push_back(uint8_t(uint64_t(value) >> (8 * i)));
}
}  // namespace zip_builder_detail

inline std::vector<uint8_t> build_zip(const std::vector<BuiltEntry>& entries,
                                      const BuiltEnd& end = {}) {
  using zip_builder_detail::append;
  std::vector<uint8_t> file, central;
  for (const BuiltEntry& entry : entries) {
    uint32_t at = uint32_t(file.size()), bytes = uint32_t(entry.data.size());
    const std::string& local_name = entry.local_name.value_or(entry.name);
    uint32_t crc = entry.crc.value_or(
        crc32({reinterpret_cast<const uint8_t*>(entry.data.data()), entry.data.size()}));
    append<uint32_t>(file, 0x04034b50);
    append<uint16_t>(file, 20);
    append<uint16_t>(file, entry.flags);
    append<uint16_t>(file, entry.method);
    append<uint32_t>(file, 0);
    append<uint32_t>(file, crc);
    append<uint32_t>(file, entry.local_bytes.value_or(bytes));
    append<uint32_t>(file, entry.local_bytes.value_or(entry.inflated_bytes.value_or(bytes)));
    append<uint16_t>(file, uint16_t(local_name.size()));
    append<uint16_t>(file, 0);
    file.insert(file.end(), local_name.begin(), local_name.end());
    file.insert(file.end(), entry.data.begin(), entry.data.end());

    append<uint32_t>(central, 0x02014b50);
    append<uint32_t>(central, 20 << 16 | 20);
    append<uint16_t>(central, entry.flags);
    append<uint16_t>(central, entry.method);
    append<uint32_t>(central, 0);
    append<uint32_t>(central, crc);
    append<uint32_t>(central, entry.central_bytes.value_or(bytes));
    append<uint32_t>(central, entry.central_bytes.value_or(entry.inflated_bytes.value_or(bytes)));
    append<uint16_t>(central, uint16_t(entry.name.size()));
    append<uint16_t>(central, uint16_t(entry.extra.size()));
    append<uint16_t>(central, 0);
    append<uint64_t>(central, 0);
    append<uint32_t>(central, entry.offset.value_or(at));
    central.insert(central.end(), entry.name.begin(), entry.name.end());
    central.insert(central.end(), entry.extra.begin(), entry.extra.end());
  }
  uint64_t offset = file.size(), end64_at = offset + central.size();
  file.insert(file.end(), central.begin(), central.end());
  if (end.has_end64) {
    append<uint32_t>(file, 0x06064b50);
    append<uint64_t>(file, 44);
    append<uint32_t>(file, 45 << 16 | 45);
    append<uint64_t>(file, 0);
    append<uint64_t>(file, end.count64.value_or(entries.size()));
    append<uint64_t>(file, end.count64.value_or(entries.size()));
    append<uint64_t>(file, end.bytes64.value_or(central.size()));
    append<uint64_t>(file, end.offset64.value_or(offset));
    append<uint32_t>(file, 0x07064b50);
    append<uint32_t>(file, 0);
    append<uint64_t>(file, end.end64_at.value_or(end64_at));
    append<uint32_t>(file, 1);
  }
  append<uint32_t>(file, 0x06054b50);
  append<uint32_t>(file, 0);
  append<uint16_t>(file, end.count.value_or(uint16_t(entries.size())));
  append<uint16_t>(file, end.count.value_or(uint16_t(entries.size())));
  append<uint32_t>(file, end.bytes.value_or(uint32_t(central.size())));
  append<uint32_t>(file, end.offset.value_or(uint32_t(offset)));
  append<uint16_t>(file, 0);
  return file;
}

}  // namespace sconce
