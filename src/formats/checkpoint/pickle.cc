// The stack machine. Opcodes are those of CPython's pickletools; each case says what it does to the
// stack. Values never change but for containers, which grow, and for what BUILD completes.
#include "formats/checkpoint/pickle.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <set>
#include <unordered_map>

#include "base/checked.h"
#include "formats/checkpoint/globals.h"
#include "formats/checkpoint/utf8.h"
#include "formats/checkpoint/view.h"
#include "tensor/half.h"

namespace sconce {

Span<const ValueId> PickleTree::items(ValueId id) const {
  const PickleValue& value = values[id];
  switch (value.kind) {
    case PickleKind::tuple:
    case PickleKind::complex: return {pool.data() + value.index, value.count};
    case PickleKind::list:
    case PickleKind::set:
    case PickleKind::dict: return containers[value.index];
    default: return {};
  }
}

std::string_view PickleTree::text(ValueId id) const {
  const PickleValue& value = values[id];
  switch (value.kind) {
    case PickleKind::text:
    case PickleKind::text_like:
    case PickleKind::big_integer:
    case PickleKind::bytes: return {value.data, value.count};
    default: return {};
  }
}

namespace {

using Kind = PickleKind;

constexpr uint8_t kProtocolMax = 5;
constexpr ValueId kNone = 0, kTrue = 1, kFalse = 2;

const char* opcode_name(uint8_t opcode) {
  switch (opcode) {
    case '(': return "MARK";
    case '.': return "STOP";
    case '0': return "POP";
    case '1': return "POP_MARK";
    case '2': return "DUP";
    case 'F': return "FLOAT";
    case 'I': return "INT";
    case 'J': return "BININT";
    case 'K': return "BININT1";
    case 'L': return "LONG";
    case 'M': return "BININT2";
    case 'N': return "NONE";
    case 'P': return "PERSID";
    case 'Q': return "BINPERSID";
    case 'R': return "REDUCE";
    case 'S': return "STRING";
    case 'T': return "BINSTRING";
    case 'U': return "SHORT_BINSTRING";
    case 'V': return "UNICODE";
    case 'X': return "BINUNICODE";
    case 'a': return "APPEND";
    case 'b': return "BUILD";
    case 'c': return "GLOBAL";
    case 'd': return "DICT";
    case '}': return "EMPTY_DICT";
    case 'e': return "APPENDS";
    case 'g': return "GET";
    case 'h': return "BINGET";
    case 'i': return "INST";
    case 'j': return "LONG_BINGET";
    case 'l': return "LIST";
    case ']': return "EMPTY_LIST";
    case 'o': return "OBJ";
    case 'p': return "PUT";
    case 'q': return "BINPUT";
    case 'r': return "LONG_BINPUT";
    case 's': return "SETITEM";
    case 't': return "TUPLE";
    case ')': return "EMPTY_TUPLE";
    case 'u': return "SETITEMS";
    case 'G': return "BINFLOAT";
    case 'B': return "BINBYTES";
    case 'C': return "SHORT_BINBYTES";
    case 0x80: return "PROTO";
    case 0x81: return "NEWOBJ";
    case 0x82: return "EXT1";
    case 0x83: return "EXT2";
    case 0x84: return "EXT4";
    case 0x85: return "TUPLE1";
    case 0x86: return "TUPLE2";
    case 0x87: return "TUPLE3";
    case 0x88: return "NEWTRUE";
    case 0x89: return "NEWFALSE";
    case 0x8a: return "LONG1";
    case 0x8b: return "LONG4";
    case 0x8c: return "SHORT_BINUNICODE";
    case 0x8d: return "BINUNICODE8";
    case 0x8e: return "BINBYTES8";
    case 0x8f: return "EMPTY_SET";
    case 0x90: return "ADDITEMS";
    case 0x91: return "FROZENSET";
    case 0x92: return "NEWOBJ_EX";
    case 0x93: return "STACK_GLOBAL";
    case 0x94: return "MEMOIZE";
    case 0x95: return "FRAME";
    case 0x96: return "BYTEARRAY8";
    case 0x97: return "NEXT_BUFFER";
    case 0x98: return "READONLY_BUFFER";
    default: return nullptr;
  }
}

const char* kind_name(Kind kind) {
  switch (kind) {
    case Kind::none: return "None";
    case Kind::boolean: return "a bool";
    case Kind::integer: return "an int";
    case Kind::big_integer: return "an int of more than 64 bits";
    case Kind::floating: return "a float";
    case Kind::complex: return "a complex";
    case Kind::text: return "a text";
    case Kind::bytes: return "bytes";
    case Kind::list: return "a list";
    case Kind::tuple: return "a tuple";
    case Kind::dict: return "a dict";
    case Kind::set: return "a set";
    case Kind::storage: return "a storage";
    case Kind::tensor: return "a tensor";
    case Kind::array: return "a numpy array";
    case Kind::dtype: return "a dtype";
    case Kind::array_dtype: return "a numpy dtype";
    case Kind::text_like: return "a name";
    case Kind::global: return "a global";
    case Kind::placeholder: return "a placeholder";
  }
  return "?";
}

// Bytes that hold text, for a message: cut, and what is not printable as \x..
std::string printable(std::string_view text) {
  std::string out;
  for (char c : text.substr(0, 120)) {
    if (uint8_t(c) < 0x20 || uint8_t(c) >= 0x7f)
      out += fmt::format("\\x{:02x}", uint8_t(c));
    else
      out += c;
  }
  if (text.size() > 120) out += "...";
  return out;
}

// A numpy type string without its byte order, "f8".
const TorchType* array_type_of(std::string_view name) {
  constexpr struct {
    std::string_view array, torch;
  } kTypes[] = {
      {"b1", "bool"},    {"?", "bool"},       {"i1", "int8"},        {"u1", "uint8"},
      {"i2", "int16"},   {"u2", "uint16"},    {"i4", "int32"},       {"u4", "uint32"},
      {"i8", "int64"},   {"u8", "uint64"},    {"f2", "float16"},     {"f4", "float32"},
      {"f8", "float64"}, {"c8", "complex64"}, {"c16", "complex128"},
  };
  for (const auto& type : kTypes)
    if (type.array == name) return find_torch_type(type.torch);
  return nullptr;
}

class Interpreter {
 public:
  Interpreter(Bytes bytes, const PickleOptions& options)
      : in_(bytes), options_(options), limits_(options.limits) {}

  Result<PickleTree> run();

 private:
  template <class... Arguments>
  Error fail(Code code, fmt::format_string<Arguments...> format, Arguments&&... arguments) const {
    return error(code, "offset {}: {}: {}", op_at_, opcode_name(opcode_),
                 fmt::format(format, std::forward<Arguments>(arguments)...));
  }
  template <class... Arguments>
  Error broken(fmt::format_string<Arguments...> format, Arguments&&... arguments) const {
    return fail(Code::invalid_file, format, std::forward<Arguments>(arguments)...);
  }

  // What the pickle holds next.
  Result<Bytes> take(uint64_t count);
  Result<uint64_t> take_number(uint64_t bytes);  // little endian
  Result<std::string_view> take_line();
  Result<std::string_view> take_text(uint64_t count_bytes);

  // New values.
  Result<ValueId> add(PickleValue value);
  Result<void> push(PickleValue value);
  Result<void> push(ValueId id);
  Result<ValueId> add_text(std::string_view text, Kind kind = Kind::text, bool flag = false);
  Result<ValueId> add_owned(std::string text, Kind kind);
  Result<ValueId> add_container(Kind kind, Span<const ValueId> items);
  Result<ValueId> add_tuple(Span<const ValueId> items, Kind kind = Kind::tuple);
  Result<ValueId> add_floating(double number);
  Result<ValueId> add_integer(Bytes bytes);
  Result<ValueId> add_tensor(PickleTensor tensor, Kind kind = Kind::tensor);

  // The stack. Nothing below the last open mark can be reached, as in CPython.
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Result<ValueId> pop();
  Result<ValueId> top() const;
  Result<std::vector<ValueId>> pop_mark();

  Result<void> step();
  Result<void> frame(uint64_t bytes);
  Result<void> put(uint64_t index);
  Result<void> get(uint64_t index);
  Result<void> text_integer(std::string_view line, bool is_long);
  Result<void> long_integer(std::string_view digits);
  Result<void> quoted_text(std::string_view line);
  Result<void> escaped_text(std::string_view line);
  Result<void> byte_text(Bytes bytes);
  Result<void> check_keys(Span<const ValueId> pairs);
  Result<void> check_key(ValueId key, int depth);
  Result<void> append(ValueId target, Span<const ValueId> items);
  Result<void> set_items(ValueId target, Span<const ValueId> pairs);
  Result<ValueId> global(std::string_view module, std::string_view name);
  Result<ValueId> call(ValueId callable, ValueId arguments, bool is_new = false);
  Result<ValueId> call_placeholder(ValueId callable, ValueId arguments);
  Result<ValueId> call_listed(const GlobalRow& row, ValueId arguments, bool is_new);
  Result<void> build(ValueId target, ValueId state);
  Result<void> build_tensor(ValueId target, ValueId state);
  Result<void> build_array(ValueId target, ValueId state);
  Result<ValueId> persistent(ValueId id);
  Result<ValueId> persistent_storage(Span<const ValueId> fields);

  // Arguments of what is called.
  Error wrong(std::string_view what, ValueId found, std::string_view wanted) const {
    return broken("{}: {} is {}, wanted {}", callee_, what, kind_name(kind(found)), wanted);
  }
  Result<Span<const ValueId>> arguments_of(ValueId id, size_t min, size_t max) const;
  Result<int64_t> integer(ValueId id, std::string_view what) const;
  Result<std::vector<int64_t>> integers(ValueId id, std::string_view what) const;
  Result<Bytes> raw_bytes(ValueId id, std::string_view what) const;
  Result<std::string_view> string(ValueId id, std::string_view what) const;
  Result<PickleTensor> view_tensor(Span<const ValueId> arguments, const TorchType* type);
  Result<void> finish_array(PickleTensor& tensor, const PickleValue& dtype, Bytes data,
                            bool fortran);
  Result<ValueId> array_scalar(Span<const ValueId> arguments);
  Result<ValueId> encode(Span<const ValueId> arguments);
  void set_metadata(PickleTensor& tensor, ValueId metadata);
  Result<void> count_copies(uint64_t items);

  Kind kind(ValueId id) const { return tree_.values[id].kind; }
  PickleValue& value(ValueId id) { return tree_.values[id]; }
  const PickleValue& value(ValueId id) const { return tree_.values[id]; }

  Bytes in_;
  const PickleOptions& options_;
  const PickleLimits& limits_;
  PickleTree tree_;
  uint64_t at_ = 0, op_at_ = 0, frame_end_ = 0;
  uint8_t opcode_ = 0;
  bool stopped_ = false;
  std::vector<ValueId> stack_;
  std::vector<size_t> marks_;
  std::vector<ValueId> memo_;
  std::vector<bool> memo_set_;
  uint64_t memo_count_ = 0, decoded_bytes_ = 0, copied_items_ = 0;
  std::map<std::string, uint32_t, std::less<>> storage_index_;
  std::map<std::string, uint32_t, std::less<>> unknown_index_;
  std::set<const GlobalRow*> seen_;
  std::string callee_;  // what is being called, for messages
};

// ---- What the pickle holds next ----

Result<Bytes> Interpreter::take(uint64_t count) {
  if (!range_inside(at_, count, in_.size()))
    return broken("wants {} bytes, {} are left: the pickle is cut short", count, in_.size() - at_);
  Bytes bytes = in_.subspan(at_, count);
  at_ += count;
  return bytes;
}

Result<uint64_t> Interpreter::take_number(uint64_t bytes) {
  TRY(Bytes digits, take(bytes));
  uint64_t number = 0;
  for (uint64_t i = 0; i < bytes; i++) number |= uint64_t(digits[i]) << (8 * i);
  return number;
}

Result<std::string_view> Interpreter::take_line() {
  const char* begin = reinterpret_cast<const char*>(in_.data()) + at_;
  const void* end = at_ < in_.size() ? std::memchr(begin, '\n', in_.size() - at_) : nullptr;
  if (!end) return broken("no end of line: the pickle is cut short");
  std::string_view line(begin, size_t(static_cast<const char*>(end) - begin));
  at_ += line.size() + 1;
  return line;
}

Result<std::string_view> Interpreter::take_text(uint64_t count_bytes) {
  TRY(uint64_t count, take_number(count_bytes));
  TRY(Bytes bytes, take(count));
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (size_t bad = find_invalid_utf8(text); bad != text.size())
    return broken("byte {} of the text is {:#04x}: not UTF-8", bad, uint8_t(text[bad]));
  return text;
}

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

// ---- The stack ----

Result<ValueId> Interpreter::pop() {
  TRY(ValueId id, top());
  stack_.pop_back();
  return id;
}

Result<ValueId> Interpreter::top() const {
  if (stack_.size() <= floor()) return broken("the stack is empty");
  return stack_.back();
}

Result<std::vector<ValueId>> Interpreter::pop_mark() {
  if (marks_.empty()) return broken("no MARK on the stack");
  std::vector<ValueId> items(stack_.begin() + long(marks_.back()), stack_.end());
  stack_.resize(marks_.back());
  marks_.pop_back();
  return items;
}

// ---- Instructions ----

Result<PickleTree> Interpreter::run() {
  if (in_.size() > limits_.pickle_bytes_max)
    return error(Code::too_large, "pickle of {} bytes exceeds the limit of {}", in_.size(),
                 limits_.pickle_bytes_max);
  tree_.values.resize(3);  // None, True, False
  for (ValueId id : {kTrue, kFalse}) value(id).kind = Kind::boolean;
  value(kTrue).integer = 1;
  for (const PickleStorage& storage : options_.storages) tree_.storages.push_back(storage);
  while (!stopped_) {
    op_at_ = at_;
    if (at_ >= in_.size())
      return error(Code::invalid_file, "offset {}: the pickle ends without STOP", at_);
    opcode_ = in_[at_++];
    if (!opcode_name(opcode_))
      return error(Code::invalid_file, "offset {}: {:#04x} is no opcode of a pickle", op_at_,
                   opcode_);
    if (++tree_.opcode_count > limits_.opcode_count_max)
      return fail(Code::too_large, "more than {} opcodes", limits_.opcode_count_max);
    bool framed = op_at_ < frame_end_;
    TRY_VOID(step());
    if (framed && at_ > frame_end_)
      return broken("ends at {}, past the end of its frame at {}", at_, frame_end_);
  }
  tree_.end = at_;
  return std::move(tree_);
}

Result<void> Interpreter::step() {
  if (op_at_ == 0 && opcode_ != 0x80) tree_.protocol = 1;
  switch (opcode_) {
    case 0x80: {  // PROTO
      TRY(uint64_t protocol, take_number(1));
      if (op_at_ != 0) return broken("stands in the middle of the pickle");
      if (protocol > kProtocolMax)
        return fail(Code::unsupported, "protocol {}, wanted 0 to {}", protocol, kProtocolMax);
      tree_.protocol = int(protocol);
      return {};
    }
    case 0x95: {  // FRAME
      TRY(uint64_t bytes, take_number(8));
      return frame(bytes);
    }
    case '.': {  // STOP
      TRY(tree_.root, pop());
      if (!stack_.empty() || !marks_.empty())
        return broken("{} values and {} marks are left on the stack", stack_.size(), marks_.size());
      stopped_ = true;
      return {};
    }

    // Stack
    case '(':
      if (marks_.size() >= limits_.mark_depth_max)
        return fail(Code::too_large, "more than {} open marks", limits_.mark_depth_max);
      marks_.push_back(stack_.size());
      return {};
    case '0': {  // POP; on a mark, removes the mark
      if (stack_.size() == floor() && !marks_.empty()) {
        marks_.pop_back();
        return {};
      }
      auto popped = pop();
      return popped.ok() ? Result<void>() : Result<void>(std::move(popped.error()));
    }
    case '1': {  // POP_MARK
      TRY(auto items, pop_mark());
      return {};
    }
    case '2': {  // DUP
      TRY(ValueId id, top());
      return push(id);
    }

    // Memo
    case 'p':
    case 'g': {  // PUT, GET: decimal
      TRY(std::string_view line, take_line());
      uint64_t index = 0;
      auto [end, problem] = std::from_chars(line.data(), line.data() + line.size(), index);
      if (problem != std::errc() || end != line.data() + line.size())
        return broken("\"{}\" is not an index", printable(line));
      return opcode_ == 'p' ? put(index) : get(index);
    }
    case 'q':
    case 'h':
    case 'r':
    case 'j': {  // BINPUT, BINGET, LONG_BINPUT, LONG_BINGET
      TRY(uint64_t index, take_number(opcode_ == 'q' || opcode_ == 'h' ? 1 : 4));
      return opcode_ == 'q' || opcode_ == 'r' ? put(index) : get(index);
    }
    case 0x94:
      return put(memo_count_);  // MEMOIZE

    // Plain values
    case 'N': return push(kNone);
    case 0x88: return push(kTrue);
    case 0x89: return push(kFalse);
    case 'K':
    case 'M':
    case 'J': {  // BININT1, BININT2, BININT: only the last is signed
      TRY(uint64_t number, take_number(opcode_ == 'K' ? 1 : opcode_ == 'M' ? 2 : 4));
      PickleValue value;
      value.kind = Kind::integer;
      value.integer = opcode_ == 'J' ? int32_t(uint32_t(number)) : int64_t(number);
      return push(value);
    }
    case 0x8a:
    case 0x8b: {  // LONG1, LONG4
      TRY(uint64_t count, take_number(opcode_ == 0x8a ? 1 : 4));
      if (count > limits_.integer_bytes_max)
        return fail(Code::too_large, "integer of {} bytes exceeds the limit of {}", count,
                    limits_.integer_bytes_max);
      TRY(Bytes bytes, take(count));
      TRY(ValueId id, add_integer(bytes));
      return push(id);
    }
    case 'I':
    case 'L': {  // INT, LONG
      TRY(std::string_view line, take_line());
      return text_integer(line, opcode_ == 'L');
    }
    case 'F': {  // FLOAT
      TRY(std::string_view line, take_line());
      double number = 0;
      auto [end, problem] = std::from_chars(line.data(), line.data() + line.size(), number);
      if (problem != std::errc() || end != line.data() + line.size())
        return broken("\"{}\" is not a number", printable(line));
      TRY(ValueId id, add_floating(number));
      return push(id);
    }
    case 'G': {  // BINFLOAT: big endian
      TRY(uint64_t bits, take_number(8));
      TRY(ValueId id, add_floating(std::bit_cast<double>(__builtin_bswap64(bits))));
      return push(id);
    }
    case 'X':
    case 0x8c:
    case 0x8d: {  // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
      TRY(std::string_view text, take_text(opcode_ == 'X' ? 4 : opcode_ == 0x8c ? 1 : 8));
      TRY(ValueId id, add_text(text));
      return push(id);
    }
    case 'V': {  // UNICODE: raw-unicode-escape
      TRY(std::string_view line, take_line());
      return escaped_text(line);
    }
    case 'S': {  // STRING: a quoted Python 2 literal
      TRY(std::string_view line, take_line());
      return quoted_text(line);
    }
    case 'U':
    case 'T': {  // SHORT_BINSTRING, BINSTRING
      TRY(uint64_t count, take_number(opcode_ == 'U' ? 1 : 4));
      TRY(Bytes bytes, take(count));
      return byte_text(bytes);
    }
    case 'C':
    case 'B':
    case 0x8e:
    case 0x96: {  // SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8
      TRY(uint64_t count, take_number(opcode_ == 'C' ? 1 : opcode_ == 'B' ? 4 : 8));
      TRY(Bytes bytes, take(count));
      TRY(ValueId id,
          add_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, Kind::bytes));
      return push(id);
    }

    // Containers
    case ']':
    case '}':
    case 0x8f: {  // EMPTY_LIST, EMPTY_DICT, EMPTY_SET
      TRY(ValueId id, add_container(opcode_ == ']'   ? Kind::list
                                    : opcode_ == '}' ? Kind::dict
                                                     : Kind::set,
                                    {}));
      return push(id);
    }
    case ')': {  // EMPTY_TUPLE
      TRY(ValueId id, add_tuple({}));
      return push(id);
    }
    case 'l':
    case 'd':
    case 't':
    case 0x91: {  // LIST, DICT, TUPLE, FROZENSET
      TRY(auto items, pop_mark());
      if (opcode_ == 'd') TRY_VOID(check_keys(items));
      ValueId id = 0;
      if (opcode_ == 't') {
        TRY(id, add_tuple(items));
      } else {
        TRY(id, add_container(opcode_ == 'l'   ? Kind::list
                              : opcode_ == 'd' ? Kind::dict
                                               : Kind::set,
                              items));
      }
      return push(id);
    }
    case 0x85:
    case 0x86:
    case 0x87: {  // TUPLE1, TUPLE2, TUPLE3
      size_t count = size_t(opcode_ - 0x84);
      if (stack_.size() - floor() < count)
        return broken("wants {} values, {} are on the stack", count, stack_.size() - floor());
      std::vector<ValueId> items(stack_.end() - long(count), stack_.end());
      stack_.resize(stack_.size() - count);
      TRY(ValueId id, add_tuple(items));
      return push(id);
    }
    case 'a': {  // APPEND
      TRY(ValueId item, pop());
      TRY(ValueId target, top());
      return append(target, Span<const ValueId>(&item, 1));
    }
    case 'e':
    case 0x90: {  // APPENDS, ADDITEMS
      TRY(auto items, pop_mark());
      TRY(ValueId target, top());
      return append(target, items);
    }
    case 's': {  // SETITEM
      TRY(ValueId item, pop());
      TRY(ValueId key, pop());
      TRY(ValueId target, top());
      ValueId pair[] = {key, item};
      return set_items(target, pair);
    }
    case 'u': {  // SETITEMS
      TRY(auto pairs, pop_mark());
      TRY(ValueId target, top());
      return set_items(target, pairs);
    }

    // Names, and what would be called
    case 'c': {  // GLOBAL
      TRY(std::string_view module, take_line());
      TRY(std::string_view name, take_line());
      TRY(ValueId id, global(module, name));
      return push(id);
    }
    case 0x93: {  // STACK_GLOBAL
      TRY(ValueId name, pop());
      TRY(ValueId module, pop());
      if (kind(name) != Kind::text || kind(module) != Kind::text)
        return broken("the name is {} and {}, wanted two texts", kind_name(kind(module)),
                      kind_name(kind(name)));
      TRY(ValueId id, global(tree_.text(module), tree_.text(name)));
      return push(id);
    }
    case 'R':
    case 0x81: {  // REDUCE, NEWOBJ
      TRY(ValueId arguments, pop());
      TRY(ValueId callable, pop());
      TRY(ValueId id, call(callable, arguments, opcode_ == 0x81));
      return push(id);
    }
    case 0x92: {  // NEWOBJ_EX
      TRY(ValueId keywords, pop());
      TRY(ValueId arguments, pop());
      TRY(ValueId callable, pop());
      if (kind(keywords) != Kind::dict) return broken("keywords are not a dict");
      if (kind(callable) != Kind::placeholder && !tree_.items(keywords).empty())
        return fail(Code::unsupported, "keyword arguments are not supported");
      TRY(ValueId id, call(callable, arguments, true));
      if (kind(id) == Kind::placeholder && !tree_.items(keywords).empty())
        tree_.placeholders[value(id).index].state = keywords;
      return push(id);
    }
    case 'i':
    case 'o': {  // INST, OBJ: old-style classes
      ValueId callable = 0;
      std::vector<ValueId> items;
      if (opcode_ == 'i') {
        TRY(std::string_view module, take_line());
        TRY(std::string_view name, take_line());
        TRY(callable, global(module, name));
        TRY(items, pop_mark());
      } else {
        TRY(items, pop_mark());
        if (items.empty()) return broken("no class");
        callable = items[0];
        items.erase(items.begin());
      }
      TRY(ValueId arguments, add_tuple(items));
      TRY(ValueId id, call(callable, arguments));
      return push(id);
    }
    case 'b': {  // BUILD
      TRY(ValueId state, pop());
      TRY(ValueId target, top());
      return build(target, state);
    }
    case 'Q': {  // BINPERSID
      TRY(ValueId name, pop());
      TRY(ValueId id, persistent(name));
      return push(id);
    }
    case 'P':
      return fail(Code::unsupported,
                  "persistent ids as text are not what torch writes (protocol 0)");
    case 0x82:
    case 0x83:
    case 0x84:
      return fail(Code::unsupported,
                  "extension codes name globals outside the file; torch does not write them");
    case 0x97:
    case 0x98:
      return fail(Code::unsupported, "buffers outside the pickle; torch does not write them");
  }
  return error(Code::internal, "offset {}: opcode {:#04x}", op_at_, opcode_);
}

Result<void> Interpreter::frame(uint64_t bytes) {
  if (op_at_ < frame_end_) return broken("stands inside the frame that ends at {}", frame_end_);
  if (!range_inside(at_, bytes, in_.size()))
    return broken("frame of {} bytes where {} are left", bytes, in_.size() - at_);
  frame_end_ = at_ + bytes;
  return {};
}

Result<void> Interpreter::put(uint64_t index) {
  TRY(ValueId id, top());
  // Picklers number the memo from 0 or 1 on, so no index passes the opcodes so far.
  if (index > tree_.opcode_count)
    return broken("memo index {} after {} opcodes", index, tree_.opcode_count);
  if (index >= limits_.memo_count_max)
    return fail(Code::too_large, "more than {} memo entries", limits_.memo_count_max);
  if (index >= memo_.size()) {
    memo_.resize(index + 1);
    memo_set_.resize(index + 1);
  }
  if (!memo_set_[index]) memo_count_++;
  memo_set_[index] = true;
  memo_[index] = id;
  return {};
}

Result<void> Interpreter::get(uint64_t index) {
  if (index >= memo_.size() || !memo_set_[index])
    return broken("memo entry {} has not been set", index);
  return push(memo_[index]);
}

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
    return broken("\"{}\" is not an integer", printable(line));
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
    return broken("\"{}\" is not in quotes", printable(line));
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
      default: return broken("escape \\{} is not supported", printable(line.substr(i, 1)));
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

// ---- Containers ----

// What Python can hash.
Result<void> Interpreter::check_key(ValueId key, int depth) {
  switch (kind(key)) {
    case Kind::list:
    case Kind::dict:
    case Kind::set: return broken("a key is {}, which cannot be one", kind_name(kind(key)));
    case Kind::tuple:
      if (depth > 8) return fail(Code::too_large, "a key nests deeper than 8 tuples");
      // Tuples may hold one another often: all that is looked at counts.
      TRY_VOID(count_copies(tree_.items(key).size()));
      for (ValueId item : tree_.items(key)) TRY_VOID(check_key(item, depth + 1));
      return {};
    default: return {};
  }
}

Result<void> Interpreter::check_keys(Span<const ValueId> pairs) {
  if (pairs.size() % 2 != 0) return broken("{} keys and values: one has no partner", pairs.size());
  for (size_t i = 0; i < pairs.size(); i += 2) TRY_VOID(check_key(pairs[i], 0));
  return {};
}

Result<void> Interpreter::append(ValueId target, Span<const ValueId> items) {
  bool to_set = opcode_ == 0x90;
  if (kind(target) == Kind::placeholder) {
    auto& list = tree_.placeholders[value(target).index].items;
    list.insert(list.end(), items.begin(), items.end());
    return {};
  }
  if (kind(target) != (to_set ? Kind::set : Kind::list))
    return broken("target is {}, wanted a {}", kind_name(kind(target)), to_set ? "set" : "list");
  auto& list = tree_.containers[value(target).index];
  list.insert(list.end(), items.begin(), items.end());
  return {};
}

Result<void> Interpreter::set_items(ValueId target, Span<const ValueId> pairs) {
  TRY_VOID(check_keys(pairs));
  if (kind(target) != Kind::dict && kind(target) != Kind::placeholder)
    return broken("target is {}, wanted a dict", kind_name(kind(target)));
  auto& list = kind(target) == Kind::dict ? tree_.containers[value(target).index]
                                          : tree_.placeholders[value(target).index].pairs;
  list.insert(list.end(), pairs.begin(), pairs.end());
  return {};
}

// ---- Names ----

Result<ValueId> Interpreter::global(std::string_view module, std::string_view name) {
  if (module.size() + name.size() > limits_.global_bytes_max)
    return fail(Code::too_large, "global of {} bytes exceeds the limit of {}",
                module.size() + name.size(), limits_.global_bytes_max);
  const GlobalRow* row = find_global(module, name);
  std::string full = printable(module) + "." + printable(name);
  PickleValue result;
  if (row) {
    if (seen_.insert(row).second) tree_.globals.emplace_back(full, uint32_t(op_at_));
    result.kind = row->kind == GlobalKind::dtype       ? Kind::dtype
                  : row->kind == GlobalKind::text_like ? Kind::text_like
                                                       : Kind::global;
    if (row->kind == GlobalKind::dtype) {
      result.type = row->type;
    } else if (row->kind == GlobalKind::text_like) {
      result.data = row->name.data();
      result.count = uint32_t(row->name.size());
    } else {
      result.global = row;
    }
    return add(result);
  }
  bool is_script =
      options_.script_classes && (module == "__torch__" || module.starts_with("__torch__."));
  if (!options_.ignore_unknown && !is_script)
    return fail(Code::unsupported,
                "global {} is not on the list of what a checkpoint may name. Nothing was run. Look "
                "at the file with --scan; its tensors alone can be had with --ignore-unknown",
                full);
  auto [at, added] = unknown_index_.try_emplace(full, uint32_t(tree_.unknown.size()));
  if (added) tree_.unknown.push_back({full, uint32_t(op_at_), opcode_name(opcode_), 0, 0});
  tree_.unknown[at->second].named_count++;
  result.kind = Kind::placeholder;
  result.index = uint32_t(tree_.placeholders.size());
  tree_.placeholders.push_back({.unknown = at->second});
  return add(result);
}

// ---- Calls ----

Result<ValueId> Interpreter::call_placeholder(ValueId callable, ValueId arguments) {
  uint32_t unknown = tree_.placeholders[value(callable).index].unknown;
  tree_.unknown[unknown].called_count++;
  PickleValue result;
  result.kind = Kind::placeholder;
  result.index = uint32_t(tree_.placeholders.size());
  tree_.placeholders.push_back({.unknown = unknown, .called = true, .arguments = arguments});
  return add(result);
}

Result<ValueId> Interpreter::call(ValueId callable, ValueId arguments, bool is_new) {
  if (kind(arguments) != Kind::tuple)
    return broken("arguments are {}, wanted a tuple", kind_name(kind(arguments)));
  if (kind(callable) == Kind::placeholder) return call_placeholder(callable, arguments);
  if (kind(callable) != Kind::global)
    return broken("{} cannot be called", kind_name(kind(callable)));
  const GlobalRow& row = *value(callable).global;
  callee_ = fmt::format("{}.{}", row.module, row.name);
  return call_listed(row, arguments, is_new);
}

Result<Span<const ValueId>> Interpreter::arguments_of(ValueId id, size_t min, size_t max) const {
  Span<const ValueId> items = tree_.items(id);
  if (items.size() < min || items.size() > max)
    return broken("{}: {} arguments, wanted {}", callee_, items.size(),
                  min == max ? fmt::format("{}", min) : fmt::format("{} to {}", min, max));
  return items;
}

Result<int64_t> Interpreter::integer(ValueId id, std::string_view what) const {
  if (kind(id) != Kind::integer) return wrong(what, id, "an int of 64 bits");
  return value(id).integer;
}

Result<std::vector<int64_t>> Interpreter::integers(ValueId id, std::string_view what) const {
  if (kind(id) != Kind::tuple && kind(id) != Kind::list) return wrong(what, id, "a tuple of ints");
  Span<const ValueId> items = tree_.items(id);
  if (items.size() > limits_.rank_max)
    return fail(Code::too_large, "{}: {} has {} dimensions, at most {} are possible", callee_, what,
                items.size(), limits_.rank_max);
  std::vector<int64_t> numbers;
  for (ValueId item : items) {
    TRY(int64_t number, integer(item, what));
    numbers.push_back(number);
  }
  return numbers;
}

Result<std::string_view> Interpreter::string(ValueId id, std::string_view what) const {
  if (kind(id) != Kind::text) return wrong(what, id, "a text");
  return tree_.text(id);
}

Result<Bytes> Interpreter::raw_bytes(ValueId id, std::string_view what) const {
  if (kind(id) != Kind::bytes && !(kind(id) == Kind::text && value(id).flag))
    return wrong(what, id, "bytes");
  std::string_view text = tree_.text(id);
  return Bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

// Bytes of all elements, or an error; `strides` empty: dense, filled in C order.
static bool fill_strides(const std::vector<int64_t>& sizes, bool fortran,
                         std::vector<int64_t>* strides, uint64_t* count) {
  strides->assign(sizes.size(), 0);
  uint64_t product = 1;
  for (size_t i = 0; i < sizes.size(); i++) {
    size_t dim = fortran ? i : sizes.size() - 1 - i;
    if (sizes[dim] < 0 || product > uint64_t(INT64_MAX)) return false;
    (*strides)[dim] = int64_t(product);
    if (!checked_multiply(product, uint64_t(sizes[dim]), &product)) return false;
  }
  *count = product;
  return true;
}

// storage, offset, size, stride, ...: checked to lie in the storage.
Result<PickleTensor> Interpreter::view_tensor(Span<const ValueId> arguments,
                                              const TorchType* type) {
  if (kind(arguments[0]) != Kind::storage) return wrong("storage", arguments[0], "a storage");
  const PickleStorageView view = tree_.views[value(arguments[0]).index];
  const PickleStorage& storage = tree_.storages[view.storage];
  TRY(int64_t begin, integer(arguments[1], "offset"));
  PickleTensor tensor;
  TRY(tensor.sizes, integers(arguments[2], "size"));
  TRY(tensor.strides, integers(arguments[3], "stride"));
  tensor.type = type ? type : storage.type;
  tensor.storage = view.storage;
  // The storage in elements of the tensor.
  uint64_t view_begin = view.begin, limit = 0;
  if (tensor.type != storage.type) {
    if (!storage.untyped)
      return broken("{}: tensor of {} over a storage of {}", callee_, tensor.type->name,
                    storage.type->name);
    limit = view.count / tensor.type->bytes;
    if (view_begin % tensor.type->bytes != 0)
      return broken("{}: view at byte {} of a storage is not aligned to {}", callee_, view_begin,
                    tensor.type->name);
    view_begin /= tensor.type->bytes;
  } else {
    limit = view.count;
  }
  std::string problem = find_view_problem(begin, tensor.sizes, tensor.strides, limit);
  if (!problem.empty())
    return broken("{}: storage \"{}\": {}", callee_, printable(storage.key), problem);
  bool empty = std::find(tensor.sizes.begin(), tensor.sizes.end(), 0) != tensor.sizes.end();
  tensor.begin = empty ? 0 : view_begin + uint64_t(begin);
  return tensor;
}

void Interpreter::set_metadata(PickleTensor& tensor, ValueId metadata) {
  if (kind(metadata) != Kind::dict) return;
  Span<const ValueId> pairs = tree_.items(metadata);
  for (size_t i = 0; i < pairs.size(); i += 2) {
    bool on = kind(pairs[i + 1]) == Kind::boolean && value(pairs[i + 1]).integer;
    if (tree_.text(pairs[i]) == "conj") tensor.conjugate = on;
    if (tree_.text(pairs[i]) == "neg") tensor.negative = on;
  }
}

// A small pickle may copy a long list again and again.
Result<void> Interpreter::count_copies(uint64_t items) {
  copied_items_ += items;
  if (copied_items_ > limits_.value_count_max)
    return fail(Code::too_large, "more than {} items are copied or compared",
                limits_.value_count_max);
  return {};
}

Result<ValueId> Interpreter::call_listed(const GlobalRow& row, ValueId arguments, bool is_new) {
  switch (row.kind) {
    case GlobalKind::dict_type: {
      // (), (pairs) or (factory): only pairs have items of their own.
      TRY(auto items, arguments_of(arguments, 0, row.name == "defaultdict" ? 2 : 1));
      std::vector<ValueId> pairs;
      for (ValueId item : items) {
        if (kind(item) == Kind::dict) {
          Span<const ValueId> all = tree_.items(item);
          pairs.insert(pairs.end(), all.begin(), all.end());
        } else if (kind(item) == Kind::list) {
          for (ValueId pair : tree_.items(item)) {
            if (kind(pair) != Kind::list && kind(pair) != Kind::tuple)
              return wrong("item", pair, "a pair");
            Span<const ValueId> both = tree_.items(pair);
            if (both.size() != 2)
              return broken("{}: an item has {} values, wanted a pair", callee_, both.size());
            pairs.insert(pairs.end(), both.begin(), both.end());
          }
        } else if (kind(item) != Kind::global && kind(item) != Kind::none &&
                   kind(item) != Kind::placeholder) {
          return wrong("argument", item, "a dict or a list of pairs");
        }
      }
      TRY_VOID(count_copies(pairs.size()));
      TRY_VOID(check_keys(pairs));
      return add_container(Kind::dict, pairs);
    }
    case GlobalKind::list_type:
    case GlobalKind::set_type:
    case GlobalKind::tuple_type: {
      TRY(auto given, arguments_of(arguments, 0, row.name == "deque" ? 2 : 1));
      std::vector<ValueId> items;
      if (!given.empty()) {
        if (kind(given[0]) != Kind::list && kind(given[0]) != Kind::tuple &&
            kind(given[0]) != Kind::set)
          return wrong("argument", given[0], "a list or a tuple");
        Span<const ValueId> all = tree_.items(given[0]);
        items.assign(all.begin(), all.end());
      }
      TRY_VOID(count_copies(items.size()));
      if (row.kind == GlobalKind::tuple_type) return add_tuple(items);
      return add_container(row.kind == GlobalKind::list_type ? Kind::list : Kind::set, items);
    }
    case GlobalKind::bytes_type: {
      TRY(auto items, arguments_of(arguments, 0, 2));
      if (items.empty()) return add_text({}, Kind::bytes);
      // bytearray(text, 'latin-1') of Python 2's protocol; a number would be a size to allocate.
      if (items.size() == 2) return encode(items);
      TRY(Bytes bytes, raw_bytes(items[0], "argument"));
      return add_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, Kind::bytes);
    }
    case GlobalKind::complex_type: {
      TRY(auto items, arguments_of(arguments, 2, 2));
      for (ValueId item : items)
        if (kind(item) != Kind::floating) return wrong("part", item, "a float");
      return add_tuple(items, Kind::complex);
    }
    case GlobalKind::encode: {
      TRY(auto items, arguments_of(arguments, 1, 2));
      return encode(items);
    }
    case GlobalKind::device: {
      TRY(auto items, arguments_of(arguments, 1, 2));
      TRY(std::string_view type, string(items[0], "type"));
      if (items.size() == 1 || kind(items[1]) == Kind::none) return add_text(type, Kind::text_like);
      TRY(int64_t index, integer(items[1], "index"));
      return add_owned(fmt::format("{}:{}", type, index), Kind::text_like);
    }
    case GlobalKind::layout: {
      TRY(auto items, arguments_of(arguments, 1, 1));
      TRY(std::string_view name, string(items[0], "name"));
      return add_text(name, Kind::text_like);
    }
    case GlobalKind::reconstructor: {
      TRY(auto items, arguments_of(arguments, 3, 3));
      if (kind(items[2]) != Kind::none && kind(items[0]) != Kind::placeholder)
        return fail(Code::unsupported, "{}: a base with a value", callee_);
      TRY(ValueId none, add_tuple({}));
      return call(tree_.items(arguments)[0], none, true);
    }
    case GlobalKind::rebuild_tensor: {  // storage, offset, size, stride[, grad, hooks[, metadata]]
      bool v2 = row.name == "_rebuild_tensor_v2";
      TRY(auto items, arguments_of(arguments, v2 ? 6 : 4, v2 ? 7 : 4));
      TRY(PickleTensor tensor, view_tensor(items, nullptr));
      if (items.size() == 7) set_metadata(tensor, items[6]);
      return add_tensor(std::move(tensor));
    }
    case GlobalKind::rebuild_tensor_v3: {  // ..., grad, hooks, dtype[, metadata]
      TRY(auto items, arguments_of(arguments, 7, 8));
      if (kind(items[6]) != Kind::dtype) return wrong("dtype", items[6], "a dtype");
      TRY(PickleTensor tensor, view_tensor(items, value(items[6]).type));
      if (items.size() == 8) set_metadata(tensor, items[7]);
      return add_tensor(std::move(tensor));
    }
    case GlobalKind::rebuild_parameter: {  // data, grad, hooks[, state]
      bool has_state = row.name == "_rebuild_parameter_with_state";
      TRY(auto items, arguments_of(arguments, has_state ? 4 : 3, has_state ? 4 : 3));
      if (kind(items[0]) == Kind::placeholder) return items[0];
      if (kind(items[0]) != Kind::tensor) return wrong("data", items[0], "a tensor");
      return items[0];
    }
    case GlobalKind::rebuild_from_type: {  // function, type, arguments, state
      TRY(auto items, arguments_of(arguments, 4, 4));
      ValueId function = items[0], type = items[1], inner = items[2];
      if (kind(type) == Kind::placeholder)
        tree_.unknown[tree_.placeholders[value(type).index].unknown].called_count++;
      else if (kind(type) != Kind::global || value(type).global->kind != GlobalKind::tensor_type)
        return wrong("type", type, "a class of tensors");
      if (kind(function) == Kind::global && value(function).global->kind == row.kind)
        return broken("{}: calls itself", callee_);
      return call(function, inner);
    }
    case GlobalKind::rebuild_from_cpu_tensor:
    case GlobalKind::rebuild_from_array: {  // data, dtype, device, grad
      TRY(auto items, arguments_of(arguments, 4, 4));
      Kind wanted = row.kind == GlobalKind::rebuild_from_array ? Kind::array : Kind::tensor;
      if (kind(items[0]) != wanted) return wrong("data", items[0], kind_name(wanted));
      if (kind(items[1]) != Kind::dtype) return wrong("dtype", items[1], "a dtype");
      PickleTensor tensor = tree_.tensors[value(items[0]).index];
      const TorchType* type = value(items[1]).type;
      if (tensor.unbuilt) return broken("{}: the array has no elements yet", callee_);
      if (tensor.unsupported.empty() && tensor.type != type)
        tensor.unsupported = fmt::format("is kept as {} and would have to be cast to {}",
                                         tensor.type->name, type->name);
      return add_tensor(std::move(tensor));
    }
    case GlobalKind::rebuild_unsupported: {
      PickleTensor tensor;
      tensor.unsupported = fmt::format("is {}", row.note);
      return add_tensor(std::move(tensor));
    }
    case GlobalKind::build_list: {
      TRY(auto items, arguments_of(arguments, 1, 1));
      if (kind(items[0]) != Kind::list) return wrong("argument", items[0], "a list");
      return items[0];
    }
    case GlobalKind::restore_type_tag: {
      TRY(auto items, arguments_of(arguments, 2, 2));
      return items[0];
    }
    case GlobalKind::tensor_type: {  // torch < 0.4, BUILD fills it
      TRY(auto items, arguments_of(arguments, 0, 2));
      if (!items.empty() && kind(items[0]) == Kind::tensor) return items[0];
      if (!items.empty() || !is_new)
        return fail(Code::unsupported,
                    "{}: a tensor made by calling its class, wanted one of the functions that "
                    "torch.save writes (torch._utils._rebuild_tensor_v2)",
                    callee_);
      PickleTensor tensor;
      tensor.unbuilt = true;
      tensor.type = row.type;
      tensor.unsupported = "was never given its elements";
      return add_tensor(std::move(tensor));
    }
    case GlobalKind::array_dtype: {  // name, align, copy
      TRY(auto items, arguments_of(arguments, 1, 3));
      TRY(std::string_view name, string(items[0], "name"));
      PickleValue result;
      result.kind = Kind::array_dtype;
      if (name.size() > 1 &&
          (name[0] == '<' || name[0] == '>' || name[0] == '|' || name[0] == '=')) {
        result.flag = name[0] == '>';
        name.remove_prefix(1);
      }
      result.type = array_type_of(name);
      return add(result);
    }
    case GlobalKind::array_reconstruct: {  // ndarray, (0,), b'b'
      TRY(auto items, arguments_of(arguments, 3, 3));
      if (kind(items[0]) != Kind::global || value(items[0]).global->kind != GlobalKind::array_type)
        return wrong("type", items[0], "numpy.ndarray");
      PickleTensor tensor;
      tensor.unbuilt = true;
      tensor.unsupported = "was never given its elements";
      return add_tensor(std::move(tensor), Kind::array);
    }
    case GlobalKind::array_from_buffer: {  // bytes, dtype, shape, order
      TRY(auto items, arguments_of(arguments, 4, 4));
      TRY(Bytes data, raw_bytes(items[0], "buffer"));
      if (kind(items[1]) != Kind::array_dtype) return wrong("dtype", items[1], "a numpy dtype");
      PickleTensor tensor;
      TRY(tensor.sizes, integers(items[2], "shape"));
      TRY(std::string_view order, string(items[3], "order"));
      if (order != "C" && order != "F")
        return broken("{}: order is \"{}\", wanted C or F", callee_, printable(order));
      TRY_VOID(finish_array(tensor, value(items[1]), data, order == "F"));
      return add_tensor(std::move(tensor), Kind::array);
    }
    case GlobalKind::array_scalar: {  // dtype, bytes
      TRY(auto items, arguments_of(arguments, 2, 2));
      return array_scalar(items);
    }
    case GlobalKind::dtype:
    case GlobalKind::text_like:
    case GlobalKind::storage_type:
    case GlobalKind::plain_type:
    case GlobalKind::array_type: break;
  }
  return fail(Code::unsupported, "{} is a name here, it may not be called", callee_);
}

// encode(text, "latin1"): each character is a byte.
Result<ValueId> Interpreter::encode(Span<const ValueId> arguments) {
  TRY(std::string_view text, string(arguments[0], "text"));
  std::string_view encoding = "utf-8";
  if (arguments.size() == 2) {
    TRY(encoding, string(arguments[1], "encoding"));
  }
  if (encoding == "utf-8" || encoding == "utf8" || encoding == "ascii")
    return add_text(text, Kind::bytes);
  if (encoding != "latin1" && encoding != "latin-1" && encoding != "iso-8859-1")
    return fail(Code::unsupported, "{}: encoding \"{}\", wanted latin1", callee_,
                printable(encoding));
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size(); i++) {
    uint8_t first = uint8_t(text[i]);
    if (first >= 0x80) {  // the text is UTF-8: two bytes up to U+07FF
      if (first > 0xc3)
        return broken("{}: a character past U+00FF cannot be encoded as latin1", callee_);
      first = uint8_t(first << 6 | (uint8_t(text[++i]) & 0x3f));
    }
    bytes += char(first);
  }
  return add_owned(std::move(bytes), Kind::bytes);
}

Result<void> Interpreter::finish_array(PickleTensor& tensor, const PickleValue& dtype, Bytes data,
                                       bool fortran) {
  tensor.unbuilt = false;
  tensor.unsupported.clear();
  if (!dtype.type) {
    tensor.unsupported = "is an array of something else than plain numbers";
    return {};
  }
  tensor.type = dtype.type;
  tensor.big_endian = dtype.flag;
  tensor.bytes = data;
  uint64_t count = 0, bytes = 0;
  if (!fill_strides(tensor.sizes, fortran, &tensor.strides, &count) ||
      !checked_multiply<uint64_t>(count, dtype.type->bytes, &bytes))
    return broken("{}: shape [{}] is not possible", callee_, fmt::join(tensor.sizes, ", "));
  if (bytes != data.size())
    return broken("{}: {} [{}] takes {} bytes, {} are given", callee_, dtype.type->name,
                  fmt::join(tensor.sizes, ", "), bytes, data.size());
  return {};
}

Result<ValueId> Interpreter::array_scalar(Span<const ValueId> arguments) {
  if (kind(arguments[0]) != Kind::array_dtype) return wrong("dtype", arguments[0], "a numpy dtype");
  const PickleValue dtype = value(arguments[0]);
  if (!dtype.type) {  // a date, a text: kept as what it says
    if (kind(arguments[1]) == Kind::text || kind(arguments[1]) == Kind::bytes) return arguments[1];
    return add_text("numpy scalar", Kind::text_like);
  }
  TRY(Bytes data, raw_bytes(arguments[1], "value"));
  if (data.size() != dtype.type->bytes)
    return broken("{}: {} takes {} bytes, {} are given", callee_, dtype.type->name,
                  dtype.type->bytes, data.size());
  PickleTensor tensor;
  TRY_VOID(finish_array(tensor, dtype, data, false));
  if (data.size() > 8 || dtype.type->name.starts_with("complex"))
    return add_tensor(std::move(tensor), Kind::array);
  uint64_t bits = 0;
  for (size_t i = 0; i < data.size(); i++)
    bits |= uint64_t(data[i]) << (8 * (dtype.flag ? data.size() - 1 - i : i));
  std::string_view name = dtype.type->name;
  if (name == "float64") return add_floating(std::bit_cast<double>(bits));
  if (name == "float32") return add_floating(std::bit_cast<float>(uint32_t(bits)));
  if (name == "float16") return add_floating(to_float(f16_t{uint16_t(bits)}));
  if (name == "bool") return bits ? kTrue : kFalse;
  if (name == "uint64" && bits >> 63) return add_tensor(std::move(tensor), Kind::array);
  PickleValue result;
  result.kind = Kind::integer;
  int unused = 64 - int(data.size()) * 8;
  result.integer = name[0] == 'u' ? int64_t(bits) : int64_t(bits << unused) >> unused;
  return add(result);
}

// ---- BUILD ----

Result<void> Interpreter::build(ValueId target, ValueId state) {
  switch (kind(target)) {
    case Kind::placeholder: {
      Placeholder& placeholder = tree_.placeholders[value(target).index];
      placeholder.state = state;
      return {};
    }
    case Kind::dict:  // attributes, as _metadata of a state_dict
      tree_.attributes.push_back(state);
      return {};
    case Kind::tensor: return build_tensor(target, state);
    case Kind::array: return build_array(target, state);
    case Kind::array_dtype: {  // (version, byte order, ...)
      callee_ = "numpy.dtype";
      if (kind(state) != Kind::tuple || tree_.items(state).size() < 2)
        return wrong("state", state, "a tuple that holds the byte order");
      ValueId order = tree_.items(state)[1];
      if (kind(order) != Kind::text && kind(order) != Kind::bytes)
        return wrong("byte order", order, "a text");
      std::string_view text = tree_.text(order);
      if (text != "<" && text != ">" && text != "|" && text != "=")
        return broken("{}: byte order is \"{}\"", callee_, printable(text));
      value(target).flag = text == ">";
      return {};
    }
    default:
      return broken("target is {}, wanted a dict, a tensor or an array", kind_name(kind(target)));
  }
}

// torch < 0.4: (storage, offset, size, stride) of a tensor; (data, ...) of a Variable or Parameter.
// Later: (requires_grad, ..., hooks), which has nothing for us.
Result<void> Interpreter::build_tensor(ValueId target, ValueId state) {
  callee_ = "torch.Tensor";
  uint32_t index = value(target).index;
  if (kind(state) == Kind::dict) {
    tree_.attributes.push_back(state);
    return {};
  }
  if (kind(state) != Kind::tuple) return wrong("state", state, "a tuple");
  Span<const ValueId> items = tree_.items(state);
  if (!tree_.tensors[index].unbuilt) {
    if (items.size() == 3) return {};
    return broken("{}: a state of {} values for a tensor that is complete", callee_, items.size());
  }
  if (items.size() == 4) {
    TRY(PickleTensor tensor, view_tensor(items, nullptr));
    tensor.offset = tree_.tensors[index].offset;
    tree_.tensors[index] = std::move(tensor);
    return {};
  }
  if (items.size() == 5 && kind(items[0]) == Kind::tensor) {
    uint32_t from = value(items[0]).index;
    if (tree_.tensors[from].unbuilt) return broken("{}: data without elements", callee_);
    PickleTensor copy = tree_.tensors[from];
    tree_.tensors[index] = std::move(copy);
    return {};
  }
  return broken("{}: a state of {} values, wanted (storage, offset, size, stride)", callee_,
                items.size());
}

// (version, shape, dtype, is Fortran, data)
Result<void> Interpreter::build_array(ValueId target, ValueId state) {
  callee_ = "numpy.ndarray";
  uint32_t index = value(target).index;
  if (kind(state) != Kind::tuple) return wrong("state", state, "a tuple");
  Span<const ValueId> items = tree_.items(state);
  if (items.size() < 4 || items.size() > 5)
    return broken("{}: a state of {} values, wanted (version, shape, dtype, order, data)", callee_,
                  items.size());
  Span<const ValueId> fields = items.last(4);  // old files have no version
  if (!tree_.tensors[index].unbuilt) return broken("{}: built twice", callee_);
  PickleTensor tensor;
  tensor.offset = tree_.tensors[index].offset;
  TRY(tensor.sizes, integers(fields[0], "shape"));
  if (kind(fields[1]) != Kind::array_dtype) return wrong("dtype", fields[1], "a numpy dtype");
  bool fortran = (kind(fields[2]) == Kind::boolean || kind(fields[2]) == Kind::integer) &&
                 value(fields[2]).integer;
  Bytes data;
  if (value(fields[1]).type) {
    TRY(data, raw_bytes(fields[3], "data"));
  }
  TRY_VOID(finish_array(tensor, value(fields[1]), data, fortran));
  tree_.tensors[index] = std::move(tensor);
  return {};
}

// ---- Persistent ids ----

Result<ValueId> Interpreter::persistent(ValueId id) {
  callee_ = "persistent id";
  if (options_.persistent_ids == PersistentIds::none)
    return broken("there are no storages here that a persistent id could name");
  if (options_.persistent_ids == PersistentIds::archive && kind(id) == Kind::integer) {
    auto found = options_.tensors->find(value(id).integer);
    if (found == options_.tensors->end())
      return broken("the archive has no tensor {}", value(id).integer);
    return add_tensor(found->second);
  }
  if (kind(id) != Kind::tuple) return wrong("it", id, "a tuple");
  Span<const ValueId> fields = tree_.items(id);
  if (options_.persistent_ids == PersistentIds::archive) {  // (class, file, source)
    if (fields.size() != 3) return broken("{}: {} values, wanted 3", callee_, fields.size());
    return fields[0];
  }
  if (fields.empty()) return broken("{}: an empty tuple", callee_);
  TRY(std::string_view tag, string(fields[0], "tag"));
  if (tag == "storage") return persistent_storage(fields);
  if (tag == "module" && options_.persistent_ids == PersistentIds::stream && fields.size() == 4)
    return fields[1];
  return broken("{}: the tag is \"{}\", wanted \"storage\"", callee_, printable(tag));
}

Result<ValueId> Interpreter::persistent_storage(Span<const ValueId> fields) {
  bool stream = options_.persistent_ids == PersistentIds::stream;
  size_t wanted = stream ? 6 : 5;
  if (fields.size() != wanted)
    return broken("{}: a storage of {} values, wanted {}", callee_, fields.size(), wanted);
  if (kind(fields[1]) != Kind::global || value(fields[1]).global->kind != GlobalKind::storage_type)
    return wrong("type", fields[1], "a class of storages");
  const GlobalRow& type = *value(fields[1]).global;
  TRY(std::string_view key, string(fields[2], "key"));
  if (key.size() > limits_.key_bytes_max)
    return fail(Code::too_large, "{}: the key of a storage has {} bytes, at most {} are possible",
                callee_, key.size(), limits_.key_bytes_max);
  TRY(int64_t count, integer(fields[4], "count"));
  uint64_t bytes = 0;
  if (count < 0 || !checked_multiply<uint64_t>(uint64_t(count), type.type->bytes, &bytes) ||
      bytes > uint64_t(INT64_MAX))
    return broken("{}: storage \"{}\" of {} elements", callee_, printable(key), count);
  auto [at, added] = storage_index_.try_emplace(std::string(key), uint32_t(tree_.storages.size()));
  if (added) {
    tree_.storages.push_back(
        {std::string(key), type.type, uint64_t(count), !type.note.empty(), uint32_t(op_at_)});
  }
  const PickleStorage& storage = tree_.storages[at->second];
  if (storage.type != type.type || storage.count != uint64_t(count) ||
      storage.untyped != !type.note.empty())
    return broken("{}: storage \"{}\" is {} of {} here, {} of {} at offset {}", callee_,
                  printable(key), count, type.type->name, storage.count, storage.type->name,
                  storage.offset);
  PickleStorageView view{at->second, 0, uint64_t(count)};
  if (stream && kind(fields[5]) != Kind::none) {  // (key, offset, count)
    if (kind(fields[5]) != Kind::tuple || tree_.items(fields[5]).size() != 3)
      return wrong("view", fields[5], "(key, offset, count)");
    Span<const ValueId> part = tree_.items(fields[5]);
    TRY(int64_t begin, integer(part[1], "offset of the view"));
    TRY(int64_t part_count, integer(part[2], "count of the view"));
    if (begin < 0 || part_count < 0 ||
        !range_inside(uint64_t(begin), uint64_t(part_count), uint64_t(count)))
      return broken("{}: a view of {} elements at {} passes the {} of storage \"{}\"", callee_,
                    part_count, begin, count, printable(key));
    view.begin = uint64_t(begin);
    view.count = uint64_t(part_count);
  }
  PickleValue result;
  result.kind = Kind::storage;
  result.index = uint32_t(tree_.views.size());
  tree_.views.push_back(view);
  return add(result);
}

}  // namespace

Result<PickleTree> read_pickle(Bytes bytes, const PickleOptions& options) {
  return Interpreter(bytes, options).run();
}

}  // namespace sconce
