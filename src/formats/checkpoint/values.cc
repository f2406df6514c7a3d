// How the interpreter makes values: from bytes, and from the texts of protocol 0.
#include "formats/checkpoint/interpreter.h"

#include <algorithm>
#include <charconv>

#include "formats/checkpoint/utf8.h"

namespace sconce::pickle {

using Kind = PickleKind;

// ---- New values ----

Result<ValueId> Interpreter::add(PickleValue value) {
  if (tree_.values.size() >= limits_.value_count_max)
    return fail(Code::too_large, "more than {} values", limits_.value_count_max);
  value.offset = uint32_t(op_at_);
  tree_.values.push_back(value);
  return ValueId(tree_.values.size() - 1);
}

Result<void> Interpreter::push(PickleValue value) {
  TRY(ValueId id, add(value));
  return push(id);
}

Result<void> Interpreter::push(ValueId id) {
  if (stack_.size() >= limits_.stack_depth_max)
    return fail(Code::too_large, "more than {} values on the stack", limits_.stack_depth_max);
  stack_.push_back(id);
  return {};
}

Result<ValueId> Interpreter::add_text(std::string_view text, Kind kind, bool flag) {
  PickleValue value;
  value.kind = kind;
  value.flag = flag;
  value.count = uint32_t(text.size());
  value.data = text.data();
  return add(value);
}

Result<ValueId> Interpreter::add_owned(std::string text, Kind kind) {
  if (text.size() > limits_.decoded_bytes_max - decoded_bytes_)
    return fail(Code::too_large, "more than {} bytes of decoded text", limits_.decoded_bytes_max);
  decoded_bytes_ += text.size();
  tree_.owned.push_back(std::move(text));
  return add_text(tree_.owned.back(), kind);
}

Result<ValueId> Interpreter::add_container(Kind kind, Span<const ValueId> items) {
  PickleValue value;
  value.kind = kind;
  value.index = uint32_t(tree_.containers.size());
  tree_.containers.emplace_back(items.begin(), items.end());
  return add(value);
}

Result<ValueId> Interpreter::add_tuple(Span<const ValueId> items, Kind kind) {
  // The pool may move while it grows, and `items` may lie in it.
  size_t begin = tree_.pool.size();
  if (begin + items.size() > 0xffffffff) return fail(Code::too_large, "more than 2^32 items");
  const ValueId* pool = tree_.pool.data();
  if (!items.empty() && items.data() >= pool && items.data() < pool + begin) {
    size_t from = size_t(items.data() - pool);
    tree_.pool.resize(begin + items.size());
    std::copy_n(tree_.pool.data() + from, items.size(), tree_.pool.data() + begin);
  } else {
    tree_.pool.insert(tree_.pool.end(), items.begin(), items.end());
  }
  PickleValue value;
  value.kind = kind;
  value.index = uint32_t(begin);
  value.count = uint32_t(items.size());
  return add(value);
}

Result<ValueId> Interpreter::add_floating(double number) {
  PickleValue value;
  value.kind = Kind::floating;
  value.floating = number;
  return add(value);
}

// Little endian, two's complement, any length.
Result<ValueId> Interpreter::add_integer(Bytes bytes) {
  if (bytes.size() > limits_.integer_bytes_max)
    return fail(Code::too_large, "integer of {} bytes exceeds the limit of {}", bytes.size(),
                limits_.integer_bytes_max);
  while (bytes.size() > 1) {  // bytes that only repeat the sign
    uint8_t last = bytes.back(), before = bytes[bytes.size() - 2];
    if (!(last == 0 && !(before & 0x80)) && !(last == 0xff && (before & 0x80))) break;
    bytes = bytes.first(bytes.size() - 1);
  }
  if (bytes.size() > 8)
    return add_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, Kind::big_integer);
  uint64_t number = !bytes.empty() && bytes.back() & 0x80 ? ~0ull : 0;
  for (size_t i = 0; i < bytes.size(); i++) {
    number &= ~(0xffull << (8 * i));
    number |= uint64_t(bytes[i]) << (8 * i);
  }
  PickleValue value;
  value.kind = Kind::integer;
  value.integer = int64_t(number);
  return add(value);
}

Result<ValueId> Interpreter::add_tensor(PickleTensor tensor, Kind kind) {
  if (tree_.tensors.size() >= limits_.tensor_count_max)
    return fail(Code::too_large, "more than {} tensors", limits_.tensor_count_max);
  TRY_VOID(count_copies(tensor.sizes.size()));
  tensor.offset = uint32_t(op_at_);
  PickleValue value;
  value.kind = kind;
  value.index = uint32_t(tree_.tensors.size());
  tree_.tensors.push_back(std::move(tensor));
  return add(value);
}

// ---- Texts of protocol 0 ----

Result<void> Interpreter::text_integer(std::string_view line, bool is_long) {
  if (!is_long && (line == "00" || line == "01")) return push(line == "01" ? kTrue : kFalse);
  std::string_view digits = line;
  if (is_long && digits.ends_with('L')) digits.remove_suffix(1);
  PickleValue value;
  value.kind = Kind::integer;
  auto [end, problem] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value.integer);
  if (problem == std::errc::result_out_of_range && end == digits.data() + digits.size())
    return long_integer(digits);
  if (problem != std::errc() || end != digits.data() + digits.size())
    return broken("\"{}\" is not an integer", readable(line));
  return push(value);
}

// Decimal digits that do not fit 64 bits.
Result<void> Interpreter::long_integer(std::string_view digits) {
  bool negative = digits[0] == '-';
  if (negative) digits.remove_prefix(1);
  if (digits.size() > limits_.integer_bytes_max * 2)
    return fail(Code::too_large, "integer of {} digits exceeds the limit of {}", digits.size(),
                limits_.integer_bytes_max * 2);
  std::string bytes;  // little endian
  for (char digit : digits) {
    uint32_t carry = uint32_t(digit - '0');
    for (char& byte : bytes) {
      carry += uint8_t(byte) * 10u;
      byte = char(carry);
      carry >>= 8;
    }
    if (carry) bytes += char(carry);
  }
  bytes += '\0';
  if (negative) {
    uint32_t carry = 1;
    for (char& byte : bytes) {
      carry += uint8_t(~uint8_t(byte));
      byte = char(carry);
      carry >>= 8;
    }
  }
  tree_.owned.push_back(std::move(bytes));
  const std::string& kept = tree_.owned.back();
  TRY(ValueId id, add_integer({reinterpret_cast<const uint8_t*>(kept.data()), kept.size()}));
  return push(id);
}

Result<void> Interpreter::byte_text(Bytes bytes) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  bool is_text = find_invalid_utf8(text) == text.size();
  TRY(ValueId id, add_text(text, is_text ? Kind::text : Kind::bytes, true));
  return push(id);
}

Result<void> Interpreter::quoted_text(std::string_view line) {
  if (line.size() < 2 || line.front() != line.back() ||
      (line.front() != '\'' && line.front() != '"'))
    return broken("\"{}\" is not in quotes", readable(line));
  line = line.substr(1, line.size() - 2);
  std::string text;
  text.reserve(line.size());
  for (size_t i = 0; i < line.size(); i++) {
    if (line[i] != '\\') {
      text += line[i];
      continue;
    }
    if (++i == line.size()) return broken("the text ends inside an escape");
    switch (line[i]) {
      case '\\':
      case '\'':
      case '"': text += line[i]; break;
      case 'n': text += '\n'; break;
      case 't': text += '\t'; break;
      case 'r': text += '\r'; break;
      case 'x': {
        unsigned number = 0;
        const char* begin = line.data() + i + 1;
        if (line.size() - i <= 2 || std::from_chars(begin, begin + 2, number, 16).ptr != begin + 2)
          return broken("\\x without two digits");
        text += char(number);
        i += 2;
        break;
      }
      default: return broken("escape \\{} is not supported", readable(line.substr(i, 1)));
    }
  }
  bool is_text = find_invalid_utf8(text) == text.size();
  TRY(ValueId id, add_owned(std::move(text), is_text ? Kind::text : Kind::bytes));
  value(id).flag = true;
  return push(id);
}

Result<void> Interpreter::escaped_text(std::string_view line) {
  std::string text;
  text.reserve(line.size());
  for (size_t i = 0; i < line.size(); i++) {
    uint32_t point = uint8_t(line[i]);  // Latin-1
    if (line[i] == '\\' && i + 1 < line.size() && (line[i + 1] == 'u' || line[i + 1] == 'U')) {
      size_t digits = line[i + 1] == 'u' ? 4 : 8;
      const char* begin = line.data() + i + 2;
      if (line.size() - i - 2 < digits ||
          std::from_chars(begin, begin + digits, point, 16).ptr != begin + digits)
        return broken("\\{} without {} digits", line[i + 1], digits);
      i += 1 + digits;
    }
    if (!append_utf8(point, &text)) return broken("{:#x} is not a character", point);
  }
  TRY(ValueId id, add_owned(std::move(text), Kind::text));
  return push(id);
}

}  // namespace sconce::pickle
