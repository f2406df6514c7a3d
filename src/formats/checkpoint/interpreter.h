// Interpreter: the stack machine of pickle.h. pickle.cc has the instructions, values.cc how values
// are made, calls.cc what names and calls mean, build.cc what completes objects and what storages
// are.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/checked.h"
#include "formats/checkpoint/globals.h"
#include "formats/checkpoint/pickle.h"

namespace sconce::pickle {

inline constexpr ValueId kNone = 0, kTrue = 1, kFalse = 2;

const char* opcode_name(uint8_t opcode);
const char* kind_name(PickleKind kind);
// Bytes that hold text, for a message: cut, and what is not printable as \x..
std::string readable(std::string_view text);
// A numpy type string without its byte order, "f8".
const TorchType* array_type_of(std::string_view name);

class Interpreter {
 public:
  Interpreter(Bytes bytes, const PickleOptions& options)
      : in_(bytes), options_(options), limits_(options.limits) {}

  Result<PickleTree> run();

 private:
  using Kind = PickleKind;
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

}  // namespace sconce::pickle
