// Text as JSON writes it.
#pragma once

#include <string>
#include <string_view>

namespace sconce::json {

// What JSON cannot hold in a string as it is, escaped in the shortest way, as serde_json and Python
// do: quotes, backslashes, control characters. Other bytes stay as they are.
void append_escaped(std::string_view text, std::string* out);

// The same in quotes.
void append_string(std::string_view text, std::string* out);

}  // namespace sconce::json
