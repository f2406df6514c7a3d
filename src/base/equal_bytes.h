// EqualBytes: finds out which pieces of a file to be written hold the same bytes. Host only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <unordered_map>

#include "base/span.h"

namespace sconce {

// Pieces of equal content get one place. Ends of the content make the key, so weights that differ
// (almost all) are never read as a whole; only candidates for equality are compared.
class EqualBytes {
 public:
  // Index of an earlier equal piece, or `index` itself.
  size_t find_or_add(Bytes bytes, size_t index) {
    uint64_t key = bytes.size();
    size_t edge = std::min<size_t>(bytes.size(), 256);
    auto mix = [&](const uint8_t* at) {
      for (size_t i = 0; i < edge; i++) key = (key ^ at[i]) * 0x100000001b3u;
    };
    mix(bytes.data());
    mix(bytes.data() + bytes.size() - edge);
    auto [first, last] = seen_.equal_range(key);
    for (; first != last; ++first) {
      Bytes other = first->second.bytes;
      if (other.size() == bytes.size() &&
          (other.data() == bytes.data() || memcmp(other.data(), bytes.data(), bytes.size()) == 0))
        return first->second.index;
    }
    seen_.insert({key, {bytes, index}});
    return index;
  }

 private:
  struct Entry {
    Bytes bytes;
    size_t index;
  };
  std::unordered_multimap<uint64_t, Entry> seen_;
};

}  // namespace sconce
