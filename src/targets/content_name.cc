#include "targets/content_name.h"

#include <fmt/format.h>
#include <xxhash.h>

namespace sconce {

std::string content_name(Bytes bytes) {
  XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return fmt::format("sconce.{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace sconce
