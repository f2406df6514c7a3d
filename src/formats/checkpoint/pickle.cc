// The stack machine. Opcodes are those of CPython's pickletools; each case says what it does to the
// stack. Values never change but for containers, which grow, and for what BUILD completes.
#include "formats/checkpoint/pickle.h"

#include <bit>
#include <charconv>
#include <cstring>

#include "formats/checkpoint/interpreter.h"
#include "formats/checkpoint/utf8.h"

namespace sconce {

using Kind = PickleKind;

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

namespace pickle {

static constexpr uint8_t kProtocolMax = 5;

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
        return broken("\"{}\" is not an index", readable(line));
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
        return broken("\"{}\" is not a number", readable(line));
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

}  // namespace pickle

Result<PickleTree> read_pickle(Bytes bytes, const PickleOptions& options) {
  return pickle::Interpreter(bytes, options).run();
}

}  // namespace sconce
