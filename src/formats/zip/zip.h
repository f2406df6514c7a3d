// Zip archives with stored entries, in place: the name and the bytes of each entry, nothing copied.
//
// Weights are gigabytes and must be used straight from a mapped file, so entries are views; the zip
// libraries at hand hand out copies or streams. Compressed and encrypted archives are refused.
// Every offset, size and count is checked, and the two descriptions of an entry (local and central)
// must agree, so that no other reader sees different contents. 64-bit sizes are supported.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/span.h"

namespace sconce {

struct ZipEntry {
  std::string_view name;
  Bytes bytes;
  uint32_t crc = 0;  // as stated; see verify_crc
};

struct ZipArchive {
  std::vector<ZipEntry> entries;  // sorted by name, names are unique
  std::string_view first_name;    // of the entry that the central directory lists first
};

struct ZipLimits {
  uint64_t entry_count_max = 1 << 20;
};

// Names and bytes point into `file`.
Result<ZipArchive> read_zip(Bytes file, const ZipLimits& limits = {});

// Null when there is none of that name.
const ZipEntry* find_entry(const ZipArchive& archive, std::string_view name);

// Compares the entry's bytes with its checksum.
Result<void> verify_crc(const ZipEntry& entry);

// CRC-32 as in zip, gzip and PNG.
uint32_t crc32(Bytes bytes);

}  // namespace sconce
