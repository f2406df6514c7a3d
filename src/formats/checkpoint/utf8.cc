#include "formats/checkpoint/utf8.h"

namespace sconce {

size_t find_invalid_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    uint8_t first = uint8_t(text[i]);
    if (first < 0x80) {
      i++;
      continue;
    }
    size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    if (first < 0xc2 || first > 0xf4 || text.size() - i <= more) return i;
    uint32_t point = first & (0x3fu >> more);
    for (size_t j = 1; j <= more; j++) {
      uint8_t byte = uint8_t(text[i + j]);
      if ((byte & 0xc0) != 0x80) return i;
      point = point << 6 | (byte & 0x3f);
    }
    constexpr uint32_t kFirst[] = {0, 0x80, 0x800, 0x10000};  // smaller ones are overlong
    if (point < kFirst[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return i;
    i += 1 + more;
  }
  return text.size();
}

bool append_utf8(uint32_t point, std::string* out) {
  if (point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return false;
  if (point < 0x80) {
    *out += char(point);
    return true;
  }
  int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  constexpr uint8_t kLead[] = {0, 0xc0, 0xe0, 0xf0};
  *out += char(kLead[more] | point >> (6 * more));
  for (int i = more - 1; i >= 0; i--) *out += char(0x80 | (point >> (6 * i) & 0x3f));
  return true;
}

}  // namespace sconce
