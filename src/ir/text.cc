#include "ir/text.h"

namespace sconce {

size_t name_length(std::string_view text) {
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  if (text.empty() || !letter(text[0])) return 0;
  size_t length = 1;
  while (length < text.size() && (letter(text[length]) || (text[length] >= '0' && text[length] <= '9')))
    length++;
  return length;
}

std::string print_name(std::string_view name) {
  return !name.empty() && name_length(name) == name.size() ? std::string(name) : print_quoted(name);
}

std::string print_quoted(std::string_view text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') (result += '\\') += c;
    else if (c == '\n') result += "\\n";
    else if (uint8_t(c) < 0x20 || c == 0x7f) result += fmt::format("\\x{:02x}", uint8_t(c));
    else result += c;
  }
  return result += '"';
}

Result<std::string> parse_quoted(std::string_view text, size_t* position) {
  auto fail = [&](std::string_view wanted) {
    return error(Code::invalid_file, "expected {} at character {}", wanted, *position + 1);
  };
  char quote = *position < text.size() ? text[*position] : '\0';
  if (quote != '"' && quote != '\'') return fail("a quoted string");
  std::string result;
  size_t& p = *position;
  for (p++; p < text.size() && text[p] != '\n'; p++) {
    char c = text[p];
    if (c == quote) {
      p++;
      return result;
    }
    if (c == '\\') {
      c = ++p < text.size() ? text[p] : '\0';
      if (c == 'n') {
        c = '\n';
      } else if (c == 'x') {
        int code = 0;
        for (int i = 0; i < 2; i++) {
          char d = ++p < text.size() ? text[p] : '\0';
          int value = d >= '0' && d <= '9' ? d - '0' : d >= 'a' && d <= 'f' ? d - 'a' + 10 : -1;
          if (value < 0) return fail("two hexadecimal digits");
          code = code * 16 + value;
        }
        c = char(code);
      } else if (c != '"' && c != '\'' && c != '\\') {
        return fail("one of \\\" \\' \\\\ \\n \\x after a backslash");
      }
    }
    result += c;
  }
  return fail("the closing quote");
}

std::string printable(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (uint8_t(c) < 0x20 || c == 0x7f) c = '?';
  return result;
}

}  // namespace sconce
