#include "ir/text.h"

#include <cmath>
#include <cstring>

namespace sconce {

namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

size_t length_of(std::string_view text, std::string_view more) {
  if (text.empty() || !is_letter(text[0])) return 0;
  size_t length = 1;
  while (length < text.size() && (is_letter(text[length]) || is_digit(text[length]) ||
                                  more.find(text[length]) != more.npos))
    length++;
  return length;
}

std::string bare_or_quoted(std::string_view name, size_t bare_length) {
  return !name.empty() && bare_length == name.size() ? std::string(name) : print_quoted(name);
}

// One character after a backslash.
Result<char> parse_escape(std::string_view text, size_t* position) {
  size_t& p = *position;
  char c = p < text.size() ? text[p] : '\0';
  if (c == 'n') {
    c = '\n';
  } else if (c == 'x') {
    int code = 0;
    for (int i = 0; i < 2; i++) {
      char d = ++p < text.size() ? text[p] : '\0';
      int value = is_digit(d) ? d - '0' : d >= 'a' && d <= 'f' ? d - 'a' + 10 : -1;
      if (value < 0) return error(Code::invalid_file, "expected two digits 0-9 or a-f after \\x");
      code = code * 16 + value;
    }
    c = char(code);
  } else if (c != '"' && c != '\'' && c != '\\') {
    return error(Code::invalid_file, "expected one of \\\" \\' \\\\ \\n \\x after a backslash");
  }
  p++;
  return c;
}

}  // namespace

uint64_t hash_bytes(Bytes bytes) {
  // Eight bytes a step, each step a bijection of the state.
  uint64_t hash = 0x9e3779b97f4a7c15 ^ bytes.size();
  auto mix = [&](uint64_t word) {
    hash = (hash ^ word) * 0xd6e8feb86659fd93;
    hash ^= hash >> 32;
  };
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    mix(word);
  }
  uint64_t rest = 0;
  if (i < bytes.size()) std::memcpy(&rest, bytes.data() + i, bytes.size() - i);
  mix(rest);
  return hash ? hash : 1;
}

size_t name_length(std::string_view text) { return length_of(text, ""); }
size_t dotted_length(std::string_view text) { return length_of(text, "."); }
size_t op_name_length(std::string_view text) { return length_of(text, ".:"); }

size_t value_name_length(std::string_view text) {
  size_t length = 0;
  while (length < text.size() &&
         (is_letter(text[length]) || is_digit(text[length]) || text[length] == '.'))
    length++;
  return length;
}

std::string print_name(std::string_view name) { return bare_or_quoted(name, name_length(name)); }
std::string print_dotted(std::string_view name) {
  return bare_or_quoted(name, dotted_length(name));
}

std::string print_op_name(std::string_view name) {
  for (const char* keyword : {"graph", "write", "return", "in_spec", "out_spec"})
    if (name == keyword) return print_quoted(name);
  return bare_or_quoted(name, op_name_length(name));
}

std::string print_value_name(std::string_view name) {
  return bare_or_quoted(name, value_name_length(name));
}

std::string print_quoted(std::string_view text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"')
      result += "\\\"";
    else if (c == '\\')
      result += "\\\\";
    else if (c == '\n')
      result += "\\n";
    else if (uint8_t(c) < 0x20 || c == 0x7f)
      result += fmt::format("\\x{:02x}", uint8_t(c));
    else
      result += c;
  }
  return result += '"';
}

std::string print_comment(std::string_view text) {
  std::string result;
  for (char c : text) {
    if (c == '\\')
      result += "\\\\";
    else if (c == '\n')
      result += "\\n";
    else if (uint8_t(c) < 0x20 || c == 0x7f)
      result += fmt::format("\\x{:02x}", uint8_t(c));
    else
      result += c;
  }
  return result;
}

std::string print_floating(double value) {
  if (std::isnan(value)) return "nan";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".en") == text.npos) text += ".0";  // "n": inf
  return text;
}

Result<std::string> parse_quoted(std::string_view text, size_t* position) {
  size_t& p = *position;
  char quote = p < text.size() ? text[p] : '\0';
  if (quote != '"' && quote != '\'') return error(Code::invalid_file, "expected a quoted string");
  p++;
  std::string result;
  while (p < text.size() && text[p] != '\n') {
    char c = text[p++];
    if (c == quote) return result;
    if (c == '\\') {
      TRY(c, parse_escape(text, position));
    }
    result += c;
  }
  return error(Code::invalid_file, "expected the closing quote");
}

Result<std::string> parse_comment(std::string_view text, size_t* position) {
  size_t& p = *position;
  std::string result;
  while (p < text.size() && text[p] != '\n') {
    char c = text[p++];
    if (c == '\\') {
      TRY(c, parse_escape(text, position));
    }
    result += c;
  }
  return result;
}

std::string printable(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (uint8_t(c) < 0x20 || c == 0x7f) c = '?';
  return result;
}

}  // namespace sconce
