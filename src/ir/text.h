// Names and quoted strings in the text form of the IR.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace sconce {

// Characters of the identifier that `text` begins with: a letter or "_", then digits as well.
size_t name_length(std::string_view text);
// As it is when it is an identifier, else in double quotes.
std::string print_name(std::string_view name);
// In double quotes; quotes, backslashes, newlines and control characters escaped. Bytes above 127
// pass as they are.
std::string print_quoted(std::string_view text);
// Reads a string in single or double quotes at `*position` and moves past it; one line only.
Result<std::string> parse_quoted(std::string_view text, size_t* position);
// For messages: control characters shown as '?'.
std::string printable(std::string_view text);

}  // namespace sconce
