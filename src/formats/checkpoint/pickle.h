// Pickles as data: a stack machine that builds plain values and calls nothing.
//
// It follows the instructions of pickle protocols 0 to 5 exactly, but a global is only ever a name:
// each must stand, letter by letter, on the list in globals.h, which says what value calling it
// would give. Everything else stops the reading, or becomes an inert placeholder when the caller
// asks for it (PickleOptions::ignore_unknown). Nothing is imported, looked up or run in either
// case.
//
// Every count that comes from the file meets a limit first (PickleLimits); memory grows with the
// bytes of the pickle, not with the numbers in it. Errors name the offset, the opcode and the
// global.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "formats/checkpoint/torch_type.h"

namespace sconce {

struct GlobalRow;  // globals.h

struct PickleLimits {
  uint64_t pickle_bytes_max = 0xffffffff;
  uint64_t opcode_count_max = 1ull << 28;
  uint64_t value_count_max = 1ull << 24;
  uint64_t stack_depth_max = 1ull << 22;  // values on the stack, all marks together
  uint64_t mark_depth_max = 4096;         // open marks: how deep literals nest
  uint64_t memo_count_max = 1ull << 24;
  uint64_t integer_bytes_max = 256;         // of one integer
  uint64_t decoded_bytes_max = 1ull << 30;  // text and bytes that had to be decoded, all together
  uint64_t global_bytes_max = 1024;         // of the name of one global
  uint64_t tensor_count_max = 1ull << 21;
  uint64_t key_bytes_max = 256;  // of the key of a storage
  uint64_t rank_max = 64;        // as torch
};

enum class PickleKind : uint8_t {
  none,
  boolean,      // integer
  integer,      // integer
  big_integer,  // bytes, little endian, two's complement; does not fit 64 bits
  floating,     // floating
  complex,      // items: two floatings
  text,         // UTF-8
  bytes,        // also of protocol 2's encode(text, "latin1")
  list,         // items
  tuple,        // items
  dict,         // items: key, value, key, value, ...
  set,          // items
  storage,      // views[index]
  tensor,       // tensors[index]
  array,        // tensors[index], a numpy array
  dtype,        // type
  array_dtype,  // numpy's: type (null: not a plain number), flag: big endian
  text_like,    // text that stands for a device, a layout or a quantisation scheme
  global,       // global: on the list, not called
  placeholder,  // placeholders[index]: not on the list, or made by calling such a thing
};

using ValueId = uint32_t;

struct PickleValue {
  PickleKind kind = PickleKind::none;
  bool flag = false;    // text: written as a byte string (Python 2), so perhaps meant as bytes
  uint32_t offset = 0;  // of the opcode that made it
  uint32_t index = 0;   // lists, sets, dicts: containers[index]; tuples: pool[index ...]
  uint32_t count = 0;   // items of a tuple, bytes of a text or of bytes
  union {
    int64_t integer = 0;
    double floating;
    const char* data;  // not terminated; points into the pickle or into the tree
    const TorchType* type;
    const GlobalRow* global;
  };
};

// One run of bytes that tensors view.
struct PickleStorage {
  std::string key;
  const TorchType* type = nullptr;
  uint64_t count = 0;    // elements of `type`
  bool untyped = false;  // bytes; the tensors say what they hold
  uint32_t offset = 0;   // of the opcode that named it first
};

// A storage, or a part of one as torch < 0.4 wrote it.
struct PickleStorageView {
  uint32_t storage = 0;
  uint64_t begin = 0, count = 0;  // elements
};

inline constexpr uint32_t kNoStorage = 0xffffffff;

// A strided view of a storage, checked to lie inside it; offset and strides in elements.
struct PickleTensor {
  const TorchType* type = nullptr;
  uint32_t storage = kNoStorage;  // kNoStorage: the elements are `bytes`
  uint64_t begin = 0;
  std::vector<int64_t> sizes, strides;
  Bytes bytes;              // of an array in the pickle itself
  bool big_endian = false;  // of `bytes`
  bool conjugate = false;   // the imaginary parts are to be negated
  bool negative = false;    // the values are to be negated
  bool unbuilt = false;     // made empty, to be filled by BUILD
  std::string unsupported;  // why it cannot be converted; empty when it can
  uint32_t offset = 0;      // of the opcode that made it
};

struct Placeholder {
  uint32_t unknown = 0;  // which name it goes back to
  bool called = false;
  ValueId arguments = 0, state = 0;   // 0: none
  std::vector<ValueId> items, pairs;  // APPENDS and SETITEMS on it
};

// A global that is not on the list.
struct UnknownGlobal {
  std::string name;     // "module.name"
  uint32_t offset = 0;  // of the opcode that named it first
  const char* opcode = "";
  uint32_t named_count = 0, called_count = 0;
};

struct PickleTree {
  std::vector<PickleValue> values;  // values[0] is None
  std::vector<std::vector<ValueId>> containers;
  std::vector<ValueId> pool;
  std::vector<PickleStorage> storages;
  std::vector<PickleStorageView> views;
  std::vector<PickleTensor> tensors;
  std::vector<Placeholder> placeholders;
  std::vector<UnknownGlobal> unknown;
  std::vector<std::pair<std::string, uint32_t>> globals;  // of the list, with the first offset
  std::deque<std::string> owned;
  uint64_t opcode_count = 0;
  int protocol = 0;
  std::vector<ValueId> attributes;  // state given to dicts, which have no place for it
  ValueId root = 0;
  uint64_t end = 0;  // first byte after STOP

  Span<const ValueId> items(ValueId id) const;
  std::string_view text(ValueId id) const;  // of text, bytes, text_like
};

// How persistent ids are to be read.
enum class PersistentIds : uint8_t {
  none,     // refused
  zip,      // ('storage', type, key, location, count)
  stream,   // the same and view metadata; ('module', class, file, source)
  archive,  // torch < 0.1.10: a number is a tensor; (class, file, source)
};

struct PickleOptions {
  PickleLimits limits;
  PersistentIds persistent_ids = PersistentIds::none;
  bool ignore_unknown = false;
  bool script_classes = false;  // names in __torch__ are those of a TorchScript archive's classes
  // PersistentIds::archive: tensors by number. The tree starts with `storages` then.
  const std::map<int64_t, PickleTensor>* tensors = nullptr;
  Span<const PickleStorage> storages;
};

// Reads one pickle from the start of `bytes`; what follows STOP is the caller's business. Texts of
// the tree point into `bytes`.
Result<PickleTree> read_pickle(Bytes bytes, const PickleOptions& options = {});

// A value as text, in the manner of JSON, cut after about `bytes_max` bytes.
std::string print_pickle_value(const PickleTree& tree, ValueId id, size_t bytes_max);

}  // namespace sconce
