// Zip archives, in place: the name and the bytes of each entry, nothing copied.
//
// Weights are gigabytes and must be used straight from a mapped file, so entries are views; the zip
// libraries at hand hand out copies or streams. Deflated entries are refused unless asked for, and
// are then views of the deflated bytes; other methods and encryption are refused.
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
  bool deflated = false;
  uint64_t inflated_bytes = 0;  // as stated; bytes.size() when stored
};

struct ZipArchive {
  std::vector<ZipEntry> entries;  // sorted by name, names are unique
  std::string_view first_name;    // of the entry that the central directory lists first
};

struct ZipLimits {
  uint64_t entry_count_max = 1 << 20;
  bool allow_deflate = false;
};

// Names and bytes point into `file`.
Result<ZipArchive> read_zip(Bytes file, const ZipLimits& limits = {});

// Null when there is none of that name.
const ZipEntry* find_entry(const ZipArchive& archive, std::string_view name);

// Compares the entry's bytes with its checksum.
Result<void> verify_crc(const ZipEntry& entry);

// What a deflated entry holds, checked against its stated size and checksum. `bytes_max` bounds the
// result; deflate itself cannot make more than 1032 bytes from one, and what says so is refused
// before anything is allocated.
Result<std::vector<uint8_t>> inflate_entry(const ZipEntry& entry, uint64_t bytes_max);

// CRC-32 as in zip, gzip and PNG; `crc` continues that of the bytes before.
uint32_t crc32(Bytes bytes, uint32_t crc = 0);

}  // namespace sconce
