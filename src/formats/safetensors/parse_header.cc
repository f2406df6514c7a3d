// The header's parser. Its own, because what is accepted must agree bit for bit with the reference
// reader (which is serde_json with a recursion limit of 128 and buffered values), and because it
// knows what it expects: the keys of a tensor are compared, not looked up.
#include <algorithm>
#include <bit>
#include <cstring>
#include <random>

#include <simdjson.h>

#include "base/checked.h"
#include "formats/safetensors/header.h"

namespace sconce {
namespace {

constexpr uint32_t kNone = ~0u;
constexpr int kDepthMax = 127;  // of objects and lists in each other

// Keyed, so that nobody can craft names that fall on the same place.
uint64_t hash_name(std::string_view name) {
  static const auto key = [] {
    std::random_device random;
    auto next = [&] { return (uint64_t(random()) << 32 | random()) | 1; };
    struct Key {
      uint64_t a, b;
    };
    return Key{next(), next()};
  }();
  auto fold = [](uint64_t x, uint64_t y) {
    auto product = static_cast<unsigned __int128>(x) * y;
    return uint64_t(product) ^ uint64_t(product >> 64);
  };
  uint64_t hash = key.a ^ name.size();
  const char* at = name.data();
  size_t left = name.size();
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word;
    memcpy(&word, at, 8);
    hash = fold(hash ^ word, key.b) + key.a;
  }
  uint64_t word = 0;
  if (left) memcpy(&word, at, left);
  return fold(hash ^ word, key.b);
}

// True when one of 8 bytes is a quote, a backslash or a control character.
bool ends_plain_text(uint64_t word) {
  constexpr uint64_t kOnes = 0x0101010101010101, kHigh = 0x8080808080808080;
  auto zero = [](uint64_t x) { return (x - kOnes) & ~x & kHigh; };
  uint64_t control = (word - kOnes * 0x20) & ~word & kHigh;
  return (zero(word ^ kOnes * '"') | zero(word ^ kOnes * '\\') | control) != 0;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The bytes of a header, read from front to back as the reference's JSON reader does. Functions
// return false after fail(), which keeps the first error.
class JsonCursor {
 public:
  JsonCursor(const char* begin, const char* end) : begin_(begin), at_(begin), end_(end) {}

  std::string take_error() { return std::move(error_); }
  bool at_end() const { return at_ == end_; }
  char peek() const { return at_ < end_ ? *at_ : '\0'; }
  size_t position() const { return size_t(at_ - begin_); }

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
    if (depth > kDepthMax)
      return fail(fmt::format("more than {} objects and lists in each other at byte {}", kDepthMax,
                              position()));
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

}  // namespace

// Fills the hash table. Calls repeated(earlier, later) for each tensor whose name was there before;
// the later one takes the place. Ends with false when the call gives false.
template <class Repeated>
bool Header::build_index(Repeated repeated) {
  size_t count = tensors_.size();
  uint64_t mask = std::bit_ceil(std::max<uint64_t>(count * 2, 8)) - 1;
  index_.assign(mask + 1, {0, kNone});
  // The table is larger than the caches: places are asked for some tensors ahead.
  constexpr size_t kAhead = 16;
  uint64_t hashes[kAhead];
  for (size_t i = 0; i < count + kAhead; i++) {
    uint64_t hash = hashes[i % kAhead];
    if (i < count) {
      hashes[i % kAhead] = hash_name(tensors_[i].name);
      __builtin_prefetch(&index_[hashes[i % kAhead] & mask], 1);
    }
    if (i < kAhead) continue;
    size_t place = i - kAhead;
    uint32_t tag = uint32_t(hash >> 32);
    uint64_t at = hash & mask;
    for (; index_[at].place != kNone; at = (at + 1) & mask)
      if (index_[at].tag == tag && tensors_[index_[at].place].name == tensors_[place].name) {
        if (!repeated(index_[at].place, place)) return false;
        break;
      }
    index_[at] = {tag, uint32_t(place)};
  }
  return true;
}

class HeaderParser {
 public:
  // `head` holds `json` when the header is to keep it.
  HeaderParser(Bytes json, AcceptMode mode, std::unique_ptr<uint8_t[]> head = nullptr)
      : json_(json),
        cursor_(reinterpret_cast<const char*>(json.data()),
                reinterpret_cast<const char*>(json.data()) + json.size()),
        mode_(mode) {
    header_.head_ = std::move(head);
  }

  Result<Header> parse(uint64_t file_bytes) {
    if (!simdjson::validate_utf8(reinterpret_cast<const char*>(json_.data()), json_.size()))
      return error(Code::invalid_file, "InvalidHeader: the header is not UTF-8");
    header_.data_offset_ = 8 + json_.size();
    header_.data_bytes_ = file_bytes - header_.data_offset_;
    // Text is never longer than the JSON that it comes from. What is not written takes no memory.
    header_.names_.reset(new char[json_.size() + 1]);
    names_ = header_.names_.get();
    header_.tensors_.reserve(json_.size() / 64 + 1);
    if (!read_root() || !remove_duplicates()) return error(Code::invalid_file, "{}", error_text());
    TRY_VOID(place());
    return std::move(header_);
  }

 private:
  std::string error_text() {
    std::string text = cursor_.take_error();
    std::string prefix = error_name_;
    if (!current_.data()) return prefix + ": " + text;
    return prefix + ": tensor " + quoted_name(current_) + ": " + text;
  }
  bool fail(std::string text, const char* name = "InvalidHeaderDeserialization") {
    error_name_ = name;
    return cursor_.fail(std::move(text));
  }
  bool strict() const { return mode_ == AcceptMode::strict; }

  bool read_root() {
    if (strict() && cursor_.peek() != '{') return cursor_.fail_wanted("'{'");
    if (!cursor_.expect('{', "'{'")) return false;
    cursor_.skip_space();
    if (!cursor_.take('}')) {
      do {
        cursor_.skip_space();
        char* before = names_;
        std::string_view name;
        if (!cursor_.read_string(&name, &names_) || !cursor_.expect(':', "':'")) return false;
        cursor_.skip_space();
        if (name == "__metadata__") {
          names_ = before;
          if (!read_metadata()) return false;
        } else if (!read_entry(name, before)) {
          return false;
        }
        cursor_.skip_space();
      } while (cursor_.take(','));
      if (!cursor_.take('}')) return cursor_.fail_wanted("',' or '}'");
    }
    if (strict()) {
      while (cursor_.take(' ')) {
      }
      return cursor_.at_end() || cursor_.fail_wanted("only spaces after the '}' (strict)");
    }
    cursor_.skip_space();
    return cursor_.at_end() || cursor_.fail_wanted("nothing but white space after the '}'");
  }

  bool read_metadata() {
    if (has_metadata_) return fail("__metadata__ stands there twice");
    has_metadata_ = true;
    if (!strict() && cursor_.take_word("null")) return true;
    if (!cursor_.take('{')) return cursor_.fail_wanted("'{' of __metadata__");
    Metadata& metadata = header_.metadata_;
    header_.has_metadata_ = true;
    cursor_.skip_space();
    if (!cursor_.take('}')) {
      do {
        cursor_.skip_space();
        char* room = names_;
        std::string_view key, value;
        if (!cursor_.read_string(&key, &room) || !cursor_.expect(':', "':'")) return false;
        cursor_.skip_space();
        if (cursor_.peek() != '"')
          return fail(fmt::format("__metadata__: the value of {} at byte {} is not a string",
                                  quoted_name(key), cursor_.position()));
        if (!cursor_.read_string(&value, &room)) return false;
        metadata.emplace_back(key, value);
        cursor_.skip_space();
      } while (cursor_.take(','));
      if (!cursor_.take('}')) return cursor_.fail_wanted("',' or '}' in __metadata__");
    }
    std::stable_sort(metadata.begin(), metadata.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (size_t i = 1; i < metadata.size(); i++)
      if (metadata[i].first == metadata[i - 1].first && mode_ != AcceptMode::reference)
        return fail(
            fmt::format("__metadata__: {} stands there twice", quoted_name(metadata[i].first)),
            "DuplicateName");
    // Of equal keys the last: walking backwards, the first that is seen.
    auto last = std::unique(metadata.rbegin(), metadata.rend(),
                            [](const auto& a, const auto& b) { return a.first == b.first; });
    metadata.erase(metadata.begin(), last.base());
    return true;
  }

  // The value of a tensor. `name` lies in the JSON, or at `room` when it had escapes.
  bool read_entry(std::string_view name, char* room) {
    if (name.data() != room && !header_.head_) {
      memcpy(room, name.data(), name.size());
      names_ = room + name.size();
      name = {room, name.size()};
    }
    current_ = name;
    TensorInfo tensor;
    tensor.name = name;
    if (cursor_.take('{')) {
      if (!read_fields(&tensor)) return false;
    } else if (mode_ == AcceptMode::reference && cursor_.take('[')) {
      if (!read_list(&tensor)) return false;
    } else {
      return cursor_.fail_wanted("'{' of a tensor");
    }
    current_ = {};
    header_.tensors_.push_back(tensor);
    return true;
  }

  bool read_fields(TensorInfo* tensor) {
    bool has_dtype = false, has_shape = false, has_offsets = false;
    auto once = [&](bool* has, const char* what) {
      if (*has) return fail(fmt::format("\"{}\" stands there twice", what));
      return *has = true;
    };
    cursor_.skip_space();
    if (!cursor_.take('}')) {
      do {
        cursor_.skip_space();
        char* room = names_;
        std::string_view key;
        if (!cursor_.read_string(&key, &room) || !cursor_.expect(':', "':'")) return false;
        cursor_.skip_space();
        if (key == "dtype") {
          if (!once(&has_dtype, "dtype") || !read_type(tensor)) return false;
        } else if (key == "shape") {
          if (!once(&has_shape, "shape") || !read_shape(tensor)) return false;
        } else if (key == "data_offsets") {
          if (!once(&has_offsets, "data_offsets") || !read_offsets(tensor)) return false;
        } else {
          if (strict())
            return fail(fmt::format("unknown field {} (strict)", quoted_name(key)), "UnknownField");
          if (!cursor_.skip_value(2, room)) return false;
        }
        cursor_.skip_space();
      } while (cursor_.take(','));
      if (!cursor_.take('}')) return cursor_.fail_wanted("',' or '}'");
    }
    if (!has_dtype || !has_shape || !has_offsets)
      return fail(fmt::format("\"{}\" is missing", !has_dtype   ? "dtype"
                                                   : !has_shape ? "shape"
                                                                : "data_offsets"));
    return true;
  }

  // Reference only: ["F32", [1], [0, 4]].
  bool read_list(TensorInfo* tensor) {
    cursor_.skip_space();
    if (!read_type(tensor) || !cursor_.expect(',', "','")) return false;
    cursor_.skip_space();
    if (!read_shape(tensor) || !cursor_.expect(',', "','")) return false;
    cursor_.skip_space();
    return read_offsets(tensor) && cursor_.expect(']', "']'");
  }

  bool read_type(TensorInfo* tensor) {
    char* room = names_;
    std::string_view text;
    if (cursor_.peek() == '"') {
      if (!cursor_.read_string(&text, &room)) return false;
    } else if (mode_ == AcceptMode::reference && cursor_.take('{')) {  // {"F32": null}
      cursor_.skip_space();
      if (!cursor_.read_string(&text, &room) || !cursor_.expect(':', "':'")) return false;
      cursor_.skip_space();
      if (!cursor_.take_word("null")) return cursor_.fail_wanted("null");
      if (!cursor_.expect('}', "'}'")) return false;
    } else {
      return cursor_.fail_wanted("dtype as a string");
    }
    if (text == element_name(type_)) {  // as the tensor before
      tensor->type = type_;
      return true;
    }
    auto found = find_element_type(text);
    if (!found)
      return fail(fmt::format("dtype {} is none of the format's", quoted_name(text.substr(0, 40))));
    tensor->type = type_ = *found;
    return true;
  }

  bool read_shape(TensorInfo* tensor) {
    if (!cursor_.take('[')) return cursor_.fail_wanted("'[' of shape");
    sizes_.clear();
    cursor_.skip_space();
    if (!cursor_.take(']')) {
      do {
        cursor_.skip_space();
        uint64_t size = 0;
        if (!cursor_.read_natural(&size, "a number in shape")) return false;
        sizes_.push_back(size);
        cursor_.skip_space();
      } while (cursor_.take(','));
      if (!cursor_.take(']')) return cursor_.fail_wanted("',' or ']' in shape");
    }
    if (sizes_.size() > shape_room_) {
      shape_room_ = std::max<size_t>(sizes_.size(), 4096);
      header_.shapes_.emplace_back(new uint64_t[shape_room_]);
      shape_at_ = header_.shapes_.back().get();
    }
    std::copy(sizes_.begin(), sizes_.end(), shape_at_);
    tensor->shape = {shape_at_, sizes_.size()};
    shape_at_ += sizes_.size();
    shape_room_ -= sizes_.size();
    return true;
  }

  bool read_offsets(TensorInfo* tensor) {
    constexpr const char* kWanted = "data_offsets as [begin, end]";
    if (!cursor_.take('[')) return cursor_.fail_wanted(kWanted);
    cursor_.skip_space();
    if (!cursor_.read_natural(&tensor->begin, "begin of data_offsets")) return false;
    if (!cursor_.expect(',', kWanted)) return false;
    cursor_.skip_space();
    return cursor_.read_natural(&tensor->end, "end of data_offsets") &&
           cursor_.expect(']', kWanted);
  }

  // Finds equal names: an error, or in reference mode the earlier one goes.
  bool remove_duplicates() {
    auto& tensors = header_.tensors_;
    std::vector<bool> replaced;
    bool unique = header_.build_index([&](size_t earlier, size_t) {
      if (mode_ != AcceptMode::reference)
        return fail(fmt::format("two tensors are named {}", quoted_name(tensors[earlier].name)),
                    "DuplicateName");
      replaced.resize(tensors.size());
      return bool(replaced[earlier] = true);
    });
    if (!unique) return false;
    if (!replaced.empty()) {
      size_t kept = 0;
      for (size_t i = 0; i < tensors.size(); i++)
        if (!replaced[i]) tensors[kept++] = tensors[i];
      tensors.resize(kept);
      header_.build_index([](size_t, size_t) { return true; });
    }
    return true;
  }

  // The data follows the header without gap, overlap or tail.
  Result<void> place() {
    auto& tensors = header_.tensors_;
    auto earlier = [](const TensorInfo& a, const TensorInfo& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    };
    if (!std::is_sorted(tensors.begin(), tensors.end(), earlier)) {
      std::stable_sort(tensors.begin(), tensors.end(), earlier);
      header_.build_index([](size_t, size_t) { return true; });
    }
    uint64_t at = 0;
    for (const TensorInfo& tensor : tensors) {
      if (tensor.begin != at || tensor.end < tensor.begin)
        return error(Code::invalid_file,
                     "InvalidOffset: tensor {} has data_offsets [{}, {}], the data before it ends "
                     "at {}",
                     quoted_name(tensor.name), tensor.begin, tensor.end, at);
      at = tensor.end;
      auto bytes = tensor_bytes(tensor.type, tensor.shape);
      if (!bytes.ok())
        return error(Code::invalid_file, "{}",
                     bytes.error().text.insert(bytes.error().text.find(':') + 2,
                                               "tensor " + quoted_name(tensor.name) + ": "));
      if (*bytes != tensor.bytes())
        return error(Code::invalid_file,
                     "TensorInvalidInfo: tensor {}: {} {} takes {} bytes, data_offsets hold {}",
                     quoted_name(tensor.name), element_name(tensor.type), shape_text(tensor.shape),
                     *bytes, tensor.bytes());
      uint64_t alignment = element_bits(tensor.type) / 8;
      if (strict() && alignment > 1 && (header_.data_offset_ + tensor.begin) % alignment != 0)
        return error(Code::invalid_file,
                     "Unaligned: tensor {}: {} at byte {} of the file is not at a multiple of {} "
                     "(strict)",
                     quoted_name(tensor.name), element_name(tensor.type),
                     header_.data_offset_ + tensor.begin, alignment);
    }
    if (at != header_.data_bytes_)
      return error(Code::invalid_file,
                   "MetadataIncompleteBuffer: the tensors end at byte {} of the data, the file has "
                   "{} bytes of data",
                   at, header_.data_bytes_);
    return {};
  }

  Bytes json_;
  JsonCursor cursor_;
  AcceptMode mode_;
  Header header_;
  char* names_ = nullptr;
  uint64_t* shape_at_ = nullptr;
  size_t shape_room_ = 0;
  std::vector<uint64_t> sizes_;
  ElementType type_ = ElementType::f32;
  std::string_view current_;  // tensor that is being read, for messages
  const char* error_name_ = "InvalidHeaderDeserialization";
  bool has_metadata_ = false;
};

const TensorInfo* Header::find(std::string_view name) const {
  if (index_.empty()) return nullptr;
  uint64_t hash = hash_name(name), mask = index_.size() - 1;
  for (uint64_t at = hash & mask; index_[at].place != kNone; at = (at + 1) & mask) {
    const Slot& slot = index_[at];
    if (slot.tag == uint32_t(hash >> 32) && tensors_[slot.place].name == name)
      return &tensors_[slot.place];
  }
  return nullptr;
}

// Sorts what most often comes in a few sorted runs: files hold their tensors by name, or by the
// number of their layer. Finds the runs and merges neighbours; sorts what has too many.
template <class T, class Less>
static void sort_runs(std::vector<T>* values, Less less) {
  constexpr size_t kRunsMax = 32;
  std::vector<typename std::vector<T>::iterator> ends{values->begin()};
  while (ends.back() != values->end() && ends.size() <= kRunsMax)
    ends.push_back(std::is_sorted_until(ends.back(), values->end(), less));
  if (ends.back() != values->end()) return std::sort(values->begin(), values->end(), less);
  while (ends.size() > 2) {
    size_t kept = 0;
    for (size_t i = 0; i + 1 < ends.size(); i += 2) {
      if (i + 2 < ends.size()) std::inplace_merge(ends[i], ends[i + 1], ends[i + 2], less);
      ends[kept++] = ends[i];
    }
    ends[kept++] = values->end();
    ends.resize(kept);
  }
}

std::vector<const TensorInfo*> Header::by_name() const {
  std::vector<const TensorInfo*> sorted(tensors_.size());
  if (sorted.empty()) return sorted;
  // Names begin alike ("model.layers."): the 8 bytes after that decide nearly always.
  std::string_view common = tensors_[0].name;
  for (const TensorInfo& tensor : tensors_) {
    size_t same = 0, limit = std::min(common.size(), tensor.name.size());
    while (same < limit && common[same] == tensor.name[same]) same++;
    common = common.substr(0, same);
  }
  struct Key {
    uint64_t text;
    const TensorInfo* tensor;
  };
  std::vector<Key> keys(tensors_.size());
  for (size_t i = 0; i < keys.size(); i++) {
    std::string_view rest = tensors_[i].name.substr(common.size());
    uint64_t text = 0;
    for (size_t k = 0; k < 8; k++) text = text << 8 | (k < rest.size() ? uint8_t(rest[k]) : 0);
    keys[i] = {text, &tensors_[i]};
  }
  sort_runs(&keys, [](const Key& a, const Key& b) {
    return a.text != b.text ? a.text < b.text : a.tensor->name < b.tensor->name;
  });
  for (size_t i = 0; i < keys.size(); i++) sorted[i] = keys[i].tensor;
  return sorted;
}

Result<uint64_t> header_bytes(Bytes first_eight, uint64_t file_bytes) {
  if (file_bytes < 8 || first_eight.size() < 8)
    return error(Code::invalid_file,
                 "HeaderTooSmall: {} bytes are too few for a safetensors file, which begins with 8 "
                 "bytes of length",
                 file_bytes);
  uint64_t bytes = 0;
  for (int i = 0; i < 8; i++) bytes |= uint64_t(first_eight[size_t(i)]) << (8 * i);
  if (bytes > kSafetensorsHeaderBytesMax)
    return error(Code::invalid_file, "HeaderTooLarge: header of {} bytes, at most {} are allowed",
                 bytes, kSafetensorsHeaderBytesMax);
  if (bytes > file_bytes - 8)
    return error(Code::invalid_file,
                 "InvalidHeaderLength: header of {} bytes, the file has {} bytes after the length",
                 bytes, file_bytes - 8);
  return 8 + bytes;
}

// The JSON of a head.
static Result<Bytes> find_json(Bytes head, uint64_t file_bytes) {
  TRY(uint64_t bytes, header_bytes(head, file_bytes));
  if (bytes > head.size())
    return error(Code::invalid_file,
                 "InvalidHeaderLength: header of {} bytes, {} are there after the length",
                 bytes - 8, head.size() - 8);
  return head.subspan(8, bytes - 8);
}

Result<Header> parse_header(Bytes head, uint64_t file_bytes, AcceptMode mode) {
  TRY(Bytes json, find_json(head, file_bytes));
  return HeaderParser(json, mode).parse(file_bytes);
}

Result<Header> parse_header(std::unique_ptr<uint8_t[]> head, uint64_t head_bytes,
                            uint64_t file_bytes, AcceptMode mode) {
  TRY(Bytes json, find_json({head.get(), head_bytes}, file_bytes));
  return HeaderParser(json, mode, std::move(head)).parse(file_bytes);
}

std::string shape_text(Span<const uint64_t> shape) {
  constexpr size_t kShown = 16;
  if (shape.size() <= kShown) return fmt::format("[{}]", fmt::join(shape, ", "));
  return fmt::format("[{}, ... {} sizes]", fmt::join(shape.first(kShown), ", "), shape.size());
}

Result<uint64_t> tensor_bytes(ElementType type, Span<const uint64_t> shape) {
  uint64_t bits = 1;
  bool fits = true;
  for (uint64_t size : shape) fits = fits && checked_multiply(bits, size, &bits);
  if (!fits || !checked_multiply<uint64_t>(bits, element_bits(type), &bits))
    return error(Code::too_large, "ValidationOverflow: {} {} has 2^64 bits or more",
                 element_name(type), shape_text(shape));
  if (bits % 8 != 0)
    return error(Code::invalid_argument,
                 "MisalignedSlice: {} {} has {} bits, which is no whole number of bytes",
                 element_name(type), shape_text(shape), bits);
  return bits / 8;
}

std::string quoted_name(std::string_view name) {
  constexpr size_t kShown = 200;
  bool cut = name.size() > kShown;
  if (cut) {
    size_t end = kShown;  // not inside a character
    while (end > 0 && (uint8_t(name[end]) & 0xc0) == 0x80) end--;
    name = name.substr(0, end);
  }
  std::string text = "\"";
  for (char c : name) {
    if (c == '"' || c == '\\')
      (text += '\\') += c;
    else if (uint8_t(c) < 0x20 || c == 0x7f)
      text += fmt::format("\\x{:02x}", uint8_t(c));
    else
      text += c;
  }
  return text + (cut ? "\"..." : "\"");
}

}  // namespace sconce
