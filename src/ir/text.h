// Tokens of the text form of the IR that its printer and its parser share.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/span.h"

namespace sconce {

// Data up to this size stands in the text; of more there is a hash.
inline constexpr size_t kInlineBytesMax = 64;
// Never 0.
uint64_t hash_bytes(Bytes bytes);

// Characters of the identifier that `text` begins with: a letter or "_", then digits as well.
size_t name_length(std::string_view text);
// The same with dots inside ("layers.0.weight"), and with colons ("aten::add.Tensor").
size_t dotted_length(std::string_view text);
size_t op_name_length(std::string_view text);
// After "%": letters, digits, "_" and ".", in any order.
size_t value_name_length(std::string_view text);

// As they are when they read back so, else in double quotes.
std::string print_name(std::string_view name);
std::string print_dotted(std::string_view name);
std::string print_op_name(std::string_view name);
std::string print_value_name(std::string_view name);
// In double quotes; quotes, backslashes, newlines and control characters escaped. Bytes above 127
// pass as they are.
std::string print_quoted(std::string_view text);
// The same without quotes: what follows "# ".
std::string print_comment(std::string_view text);
// Shortest text that reads back as the same double, with a point or an exponent.
std::string print_floating(double value);

// Reads a string in single or double quotes at `*position` and moves past it, or to what is wrong;
// one line only. The caller says where.
Result<std::string> parse_quoted(std::string_view text, size_t* position);
// Reads to the end of the line.
Result<std::string> parse_comment(std::string_view text, size_t* position);
// For messages: control characters shown as '?'.
std::string printable(std::string_view text);

}  // namespace sconce
