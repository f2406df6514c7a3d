// UTF-8: is it, and how is a character written?
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sconce {

// Offset of the first byte that is not part of a proper character; the size when there is none.
// Surrogates and overlong forms are not proper.
size_t find_invalid_utf8(std::string_view text);

// False for what is no character (surrogates, past U+10FFFF).
bool append_utf8(uint32_t point, std::string* out);

}  // namespace sconce
