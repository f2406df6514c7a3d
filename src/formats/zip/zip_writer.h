// Zip archives of stored entries, as torch writes them: each entry's bytes begin at a multiple of
// 64, so that they can be used in place.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/span.h"

namespace sconce {

class ZipWriter {
 public:
  void add(const std::string& name, Bytes data);
  void add(const std::string& name, std::string_view text) {
    add(name, Bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
  }
  // The whole archive; nothing may be added then. Error: 4 GiB or more, 65535 entries or more.
  Result<std::vector<uint8_t>> finish();

 private:
  struct Entry {
    std::string name;
    uint32_t crc;
    size_t bytes, at;
  };
  void append_common(const Entry& entry);
  void append(uint32_t value, int bytes);

  std::vector<uint8_t> file_;
  std::vector<Entry> entries_;
};

}  // namespace sconce
