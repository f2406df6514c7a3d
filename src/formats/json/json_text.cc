#include "formats/json/json_text.h"

#include <cstdint>

namespace sconce::json {

void append_escaped(std::string_view text, std::string* out) {
  for (char c : text) {
    switch (c) {
      case '"': *out += "\\\""; break;
      case '\\': *out += "\\\\"; break;
      case '\b': *out += "\\b"; break;
      case '\f': *out += "\\f"; break;
      case '\n': *out += "\\n"; break;
      case '\r': *out += "\\r"; break;
      case '\t': *out += "\\t"; break;
      default:
        if (uint8_t(c) < 0x20) {
          constexpr const char* kDigits = "0123456789abcdef";
          *out += "\\u00";
          *out += kDigits[c >> 4];
          *out += kDigits[c & 15];
        } else {
          *out += c;
        }
    }
  }
}

void append_string(std::string_view text, std::string* out) {
  *out += '"';
  append_escaped(text, out);
  *out += '"';
}

}  // namespace sconce::json
