// Tables of a .pte program, read in place: views over verified bytes, without heap. Freestanding.
//
// A .pte program is a flatbuffer. verify_pte() proves once that every table, vector and string lies
// inside the program and that every index means something; the views below then read without
// checks. Fields are named by their position in program.fbs (schema_test.cc compares the two).
#pragma once

#include <cstdint>
#include <cstring>

#include "base/span.h"
#include "base/status.h"

namespace sconce::pte {

template <class T>
inline T load(const uint8_t* from) {
  T value;
  memcpy(&value, from, sizeof(T));
  return value;
}

class Table;

// A vector of scalars or of tables. An absent vector is empty.
struct Vector {
  const uint8_t* items = nullptr;
  uint32_t count = 0;

  uint8_t u8(uint32_t i) const { return items[i]; }
  int32_t i32(uint32_t i) const { return load<int32_t>(items + 4 * size_t(i)); }
  int64_t i64(uint32_t i) const { return load<int64_t>(items + 8 * size_t(i)); }
  uint64_t u64(uint32_t i) const { return load<uint64_t>(items + 8 * size_t(i)); }
  double f64(uint32_t i) const { return load<double>(items + 8 * size_t(i)); }
  Table table(uint32_t i) const;
  // In place: verified to be aligned to 4.
  const int32_t* i32s() const { return reinterpret_cast<const int32_t*>(items); }
  Bytes bytes() const { return {items, count}; }
};

class Table {
 public:
  Table() = default;
  explicit Table(const uint8_t* at) : at_(at) {}
  explicit operator bool() const { return at_ != nullptr; }

  // Null when the field is absent, which means its default (0, empty, none).
  const uint8_t* field(unsigned id) const;
  // Out of line on purpose: the core reads fields in hundreds of places.
  int32_t i32(unsigned id) const;
  int64_t i64(unsigned id) const;
  uint8_t u8(unsigned id) const;
  double f64(unsigned id) const;
  int8_t i8(unsigned id) const { return int8_t(u8(id)); }
  uint32_t u32(unsigned id) const { return uint32_t(i32(id)); }
  uint64_t u64(unsigned id) const { return uint64_t(i64(id)); }
  Table table(unsigned id) const;
  Vector vector(unsigned id) const;
  // Ends with a zero byte; "" when absent.
  const char* string(unsigned id) const;

 private:
  const uint8_t* at_ = nullptr;
};

// Positions of fields. A union takes two: its tag, then its table.
namespace field {
namespace program {
enum {
  version,
  plans,
  constant_buffers,
  delegate_data,
  segments,
  constants,
  initial_values,
  named_data
};
}
namespace plan {
enum { name, container, values, inputs, outputs, chains, operators, delegates, memories, devices };
}
namespace container {
enum { inputs, outputs };
}
namespace value {
enum { kind, value };
}
namespace scalar {
enum { value };
}  // namespace scalar
namespace list {
enum { items };
}  // namespace list
namespace tensor {
enum {
  dtype,
  storage_offset,
  sizes,
  dim_order,
  requires_grad,
  data_index,
  placement,
  layout,
  dynamism,
  extra
};
}
namespace placement {
enum { memory_id, offset_low, offset_high };
}
namespace extra {
enum { mutable_segments, name, location, device_type, device_index };
}
namespace chain {
enum { inputs, outputs, instructions, stacks };
}
namespace instruction {
enum { kind, arguments };
}
namespace call {
enum { callee, args };
}  // namespace call
namespace move {
enum { from, to };
}
namespace jump {
enum { condition, destination };
}
namespace free {
enum { value };
}
namespace oper {
enum { name, overload };
}
namespace delegate {
enum { id, processed, specs };
}
namespace processed {
enum { location, index };
}
namespace spec {
enum { key, value };
}
namespace segment {
enum { offset, bytes };
}
namespace subsegments {
enum { segment, offsets };
}
namespace named {
enum { key, segment };
}
namespace device {
enum { memory_id, type, index };
}
namespace frame {
enum { file, line, function, code };
}
}  // namespace field

// Tags of the two unions.
enum class ValueKind : uint8_t {
  absent,
  none,
  integer,
  boolean,
  floating,
  tensor,
  string,
  integers,
  floats,
  booleans,
  tensors,
  optional_tensors,
};
enum class InstructionKind : uint8_t { absent, kernel, delegate, move, jump_false, release };

ValueKind kind_of(Table value);

// A verified file. Cheap to copy; views the bytes it was made from.
struct View {
  Bytes file;
  Table root;
  uint64_t program_bytes = 0;
  uint64_t segment_base = 0;
  uint64_t segment_limit = 0;  // bytes that segments may use, from segment_base
  bool extended_header = false;

  Vector plans() const { return root.vector(field::program::plans); }
  Bytes segment(uint32_t index) const;
  // Data of a constant or initial value of `bytes` bytes; verify_pte() has checked both.
  const uint8_t* constant(uint32_t data_index) const;
  const uint8_t* initial_value(uint32_t data_index) const;
  Bytes delegate_data(Table delegate) const;
  bool find_named_data(const char* key, Bytes* data) const;
};

// Sizes of a tensor in bytes; false on overflow, a negative size or an unknown element type.
bool tensor_bytes_of(Table tensor, uint64_t* bytes);
uint64_t placement_offset(Table placement);
// A tensor whose bytes are found by name, in named data or outside the file.
bool is_external(Table tensor);

// Checks the whole file but the contents of delegates: header, structure of every table, then every
// index, offset, size and kind. The bytes must be aligned to 16. Time grows with the tables only.
Status verify_pte(Bytes file, View* view, Diagnostic* diagnostic);

}  // namespace sconce::pte
