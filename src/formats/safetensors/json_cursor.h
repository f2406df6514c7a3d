// JsonCursor: the JSON of a header read from front to back, as the reference's reader reads it
// (serde_json with a recursion limit of 128): what is accepted agrees with it bit for bit.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace sconce {

constexpr int kJsonDepthMax = 127;  // of objects and lists in each other

// True when one of 8 bytes is a quote, a backslash or a control character.
inline bool ends_plain_text(uint64_t word) {
  constexpr uint64_t kOnes = 0x0101010101010101, kHigh = 0x8080808080808080;
  auto zero = [](uint64_t x) { return (x - kOnes) & ~x & kHigh; };
  uint64_t control = (word - kOnes * 0x20) & ~word & kHigh;
  return (zero(word ^ kOnes * '"') | zero(word ^ kOnes * '\\') | control) != 0;
}

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The bytes of a header, read from front to back as the reference's JSON reader does. Functions
// return false after fail(), which keeps the first error.
class JsonCursor {
 public:
  JsonCursor(const char* begin, const char* end) : begin_(begin), at_(begin), end_(end) {}

  std::string take_error() { return std::move(error_); }
  bool at_end() const { return at_ == end_; }
  char peek() const { return at_ < end_ ? *at_ : '\0'; }
  size_t position() const { return size_t(at_ - begin_); }
  const char* at() const { return at_; }
  const char* end() const { return end_; }
  void go_back(const char* at) { at_ = at; }

  bool fail(std::string text) {
    if (error_.empty()) error_ = std::move(text);
    return false;
  }
  bool fail_wanted(const char* wanted) {
    std::string found = at_end() ? "the end of the header"
                        : uint8_t(*at_) < 0x20 || uint8_t(*at_) > 0x7e
                            ? fmt::format("byte 0x{:02x}", uint8_t(*at_))
                            : fmt::format("'{}'", *at_);
    return fail(fmt::format("byte {} of the header is {}, wanted {}", position(), found, wanted));
  }

  void skip_space() {
    while (at_ < end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) at_++;
  }
  bool take(char c) {
    if (at_ == end_ || *at_ != c) return false;
    at_++;
    return true;
  }
  bool expect(char c, const char* wanted) {
    skip_space();
    return take(c) || fail_wanted(wanted);
  }
  bool take_word(std::string_view word) {
    if (size_t(end_ - at_) < word.size() || memcmp(at_, word.data(), word.size()) != 0)
      return false;
    at_ += word.size();
    return true;
  }

  // A whole number of at most 19 digits, or nothing: not an error.
  bool take_natural(uint64_t* out) {
    const char* start = at_;
    uint64_t value = 0;
    for (; at_ < end_ && is_digit(*at_); at_++) value = value * 10 + uint64_t(*at_ - '0');
    *out = value;
    return at_ != start && at_ - start <= 19 && (*start != '0' || at_ - start == 1);
  }

  // A string; the view lies in the header, or in `*room` (advanced; as much room as the header has
  // bytes is always enough) when there were escapes in it.
  bool read_string(std::string_view* out, char** room) {
    if (!take('"')) return fail_wanted("a string");
    const char* start = at_;
    skip_plain();
    if (at_ < end_ && *at_ == '"') {
      *out = {start, size_t(at_ - start)};
      at_++;
      return true;
    }
    char* first = *room;
    char* to = first;
    for (;;) {
      size_t plain = size_t(at_ - start);
      memcpy(to, start, plain);
      to += plain;
      if (at_ == end_) return fail_wanted("the end of a string");
      if (*at_ == '"') break;
      if (*at_ != '\\') return fail_wanted("no control character in a string");
      at_++;
      if (!read_escape(&to)) return false;
      start = at_;
      skip_plain();
    }
    at_++;
    *out = {first, size_t(to - first)};
    *room = to;
    return true;
  }

  // A number without sign, fraction or exponent, below 2^64.
  bool read_natural(uint64_t* out, const char* what) {
    const char* start = at_;
    uint64_t value = 0;
    while (at_ < end_ && is_digit(*at_)) {
      uint64_t digit = uint64_t(*at_ - '0');
      if (value > (UINT64_MAX - digit) / 10) return fail_natural(start, what);
      value = value * 10 + digit;
      at_++;
    }
    if (at_ == start || (*start == '0' && at_ - start > 1) ||
        (at_ < end_ && (*at_ == '.' || *at_ == 'e' || *at_ == 'E')))
      return fail_natural(start, what);
    *out = value;
    return true;
  }

  // Any value. `depth` counts the lists and objects around it.
  bool skip_value(int depth, char* room) {
    skip_space();
    switch (peek()) {
      case '"': {
        std::string_view text;
        return read_string(&text, &room);
      }
      case '{':
      case '[': return skip_nested(depth + 1, room);
      case 't': return take_word("true") || fail_wanted("a value");
      case 'f': return take_word("false") || fail_wanted("a value");
      case 'n': return take_word("null") || fail_wanted("a value");
      default: return skip_number();
    }
  }

 private:
  void skip_plain() {
    while (end_ - at_ >= 8) {
      uint64_t word;
      memcpy(&word, at_, 8);
      if (ends_plain_text(word)) break;
      at_ += 8;
    }
    while (at_ < end_ && *at_ != '"' && *at_ != '\\' && uint8_t(*at_) >= 0x20) at_++;
  }

  bool read_hex(uint32_t* out) {
    *out = 0;
    for (int i = 0; i < 4; i++, at_++) {
      char c = peek();
      uint32_t digit = c >= '0' && c <= '9'   ? uint32_t(c - '0')
                       : c >= 'a' && c <= 'f' ? uint32_t(c - 'a' + 10)
                       : c >= 'A' && c <= 'F' ? uint32_t(c - 'A' + 10)
                                              : 16;
      if (at_ == end_ || digit == 16) return fail_wanted("four hexadecimal digits after \\u");
      *out = *out << 4 | digit;
    }
    return true;
  }

  bool read_escape(char** to) {
    char c = peek();
    if (at_ == end_) return fail_wanted("an escaped character");
    switch (c) {
      case '"':
      case '\\':
      case '/': break;
      case 'b': c = '\b'; break;
      case 'f': c = '\f'; break;
      case 'n': c = '\n'; break;
      case 'r': c = '\r'; break;
      case 't': c = '\t'; break;
      case 'u': {
        at_++;
        uint32_t code;
        if (!read_hex(&code)) return false;
        if (code >= 0xdc00 && code < 0xe000)
          return fail(fmt::format("\\u{:04x} before byte {} is the second half of a pair", code,
                                  position()));
        if (code >= 0xd800 && code < 0xdc00) {
          uint32_t second;
          if (!take('\\') || !take('u')) return fail_wanted("the second half of a \\u pair");
          if (!read_hex(&second)) return false;
          if (second < 0xdc00 || second >= 0xe000)
            return fail(fmt::format("\\u{:04x} before byte {} is not the second half of a pair",
                                    second, position()));
          code = 0x10000 + ((code - 0xd800) << 10) + (second - 0xdc00);
        }
        char* o = *to;
        if (code < 0x80) {
          *o++ = char(code);
        } else if (code < 0x800) {
          *o++ = char(0xc0 | code >> 6);
          *o++ = char(0x80 | (code & 63));
        } else if (code < 0x10000) {
          *o++ = char(0xe0 | code >> 12);
          *o++ = char(0x80 | (code >> 6 & 63));
          *o++ = char(0x80 | (code & 63));
        } else {
          *o++ = char(0xf0 | code >> 18);
          *o++ = char(0x80 | (code >> 12 & 63));
          *o++ = char(0x80 | (code >> 6 & 63));
          *o++ = char(0x80 | (code & 63));
        }
        *to = o;
        return true;
      }
      default: return fail_wanted("a character that can be escaped");
    }
    at_++;
    *(*to)++ = c;
    return true;
  }

  bool fail_natural(const char* start, const char* what) {
    const char* stop = start;
    while (stop < end_ && stop - start < 40 && *stop != ',' && *stop != ']' && *stop != '}' &&
           uint8_t(*stop) > 0x20 && uint8_t(*stop) < 0x7f)
      stop++;
    return fail(fmt::format("{} is {}, wanted a whole number from 0 to 2^64 - 1", what,
                            stop == start ? "nothing" : std::string(start, stop)));
  }

  bool skip_nested(int depth, char* room) {
    if (depth > kJsonDepthMax)
      return fail(fmt::format("more than {} objects and lists in each other at byte {}",
                              kJsonDepthMax, position()));
    char close = *at_ == '{' ? '}' : ']';
    at_++;
    skip_space();
    if (take(close)) return true;
    for (;;) {
      skip_space();
      if (close == '}') {
        char* scratch = room;
        std::string_view key;
        if (!read_string(&key, &scratch) || !expect(':', "':'")) return false;
      }
      if (!skip_value(depth, room)) return false;
      skip_space();
      if (take(close)) return true;
      if (!take(',')) return fail_wanted("',' or the end of the list or object");
    }
  }

  // Numbers that overflow a double are refused; the order of the steps is the reference's, so that
  // it is the same numbers.
  bool skip_number() {
    take('-');
    if (!is_digit(peek())) return fail_wanted("a value");
    uint64_t digits = 0;
    int64_t exponent = 0;
    if (take('0')) {
      if (is_digit(peek())) return fail_wanted("no digit after a leading 0");
    } else {
      for (bool fits = true; is_digit(peek()); at_++) {
        fits = fits && add_digit(&digits, *at_);
        if (!fits) exponent++;
      }
    }
    bool whole = exponent == 0;
    if (take('.')) {
      whole = false;
      if (!is_digit(peek())) return fail_wanted("a digit after the point");
      for (bool fits = true; is_digit(peek()); at_++) {
        fits = fits && add_digit(&digits, *at_);
        if (fits) exponent--;
      }
    }
    if (peek() == 'e' || peek() == 'E') {
      whole = false;
      at_++;
      bool negative = peek() == '-';
      if (negative || peek() == '+') at_++;
      if (!is_digit(peek())) return fail_wanted("a digit of the exponent");
      int64_t written = 0;
      for (; is_digit(peek()); at_++)
        written = std::min<int64_t>(written * 10 + (*at_ - '0'), 1ll << 40);
      if (written > INT32_MAX) {
        if (digits != 0 && !negative) return fail_number();
        return true;
      }
      exponent =
          std::clamp<int64_t>(exponent + (negative ? -written : written), INT32_MIN, INT32_MAX);
    }
    if (whole) return true;
    double value = double(digits);
    while (value != 0 && exponent != 0) {
      int64_t step = std::min<int64_t>(exponent < 0 ? -exponent : exponent, 308);
      double power = power_of_ten(int(step));
      if (exponent > 308) return fail_number();
      if (exponent > 0) {
        value *= power;
        if (value > 1.7976931348623157e308) return fail_number();
        exponent = 0;
      } else {
        value /= power;
        exponent += step;
      }
    }
    return true;
  }
  static bool add_digit(uint64_t* value, char c) {
    uint64_t digit = uint64_t(c - '0');
    if (*value > (UINT64_MAX - digit) / 10) return false;
    *value = *value * 10 + digit;
    return true;
  }
  static double power_of_ten(int exponent) {
    static const auto table = [] {
      std::vector<double> powers;
      for (int i = 0; i <= 308; i++)
        powers.push_back(strtod(fmt::format("1e{}", i).c_str(), nullptr));
      return powers;
    }();
    return table[size_t(exponent)];
  }
  bool fail_number() {
    return fail(fmt::format("the number before byte {} exceeds the range of a double", position()));
  }

  const char *begin_, *at_, *end_;
  std::string error_;
};

}  // namespace sconce
