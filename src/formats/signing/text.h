// Text forms that signing shares: quoted names, base64.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/span.h"

namespace sconce::signing {

// As a JSON string, quotes included. Control characters are escaped, so names from a file cannot
// steer a terminal; other bytes stay as they are.
std::string in_quotes(std::string_view text);

std::string encode_base64(Bytes bytes);  // RFC 4648 section 4, padded, one line
// Both alphabets (sections 4 and 5), with or without padding, no blanks, unused bits zero. Nothing
// when the text is not that.
std::optional<std::vector<uint8_t>> decode_base64(std::string_view text);

inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace sconce::signing
