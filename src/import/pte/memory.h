// PlannedMemory: what each byte of a program's memory holds while its instructions are read, so
// that writes become values.
//
// A program names places, not values: two tensors at one place are views of each other, a tensor
// inside another is a slice, and what was written last is what is read. Reading a place gives the
// value that stands there, made of parts of others where needed. Values lie here as they lie in
// memory: contiguous, dimensions from the outermost to the innermost.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "ops/build.h"

namespace sconce {

// `space` tells apart memories that never overlap.
struct MemoryPlace {
  uint64_t space = 0, offset = 0, bytes = 0;
  uint64_t end() const { return offset + bytes; }
  bool operator==(const MemoryPlace&) const = default;
};

class PlannedMemory {
 public:
  explicit PlannedMemory(Build& build) : build_(&build) {}

  // True when no byte of the place was written.
  bool is_untouched(const MemoryPlace& place) const;
  // The whole value that was written to exactly this place and still stands there.
  std::optional<ValueId> find_whole(const MemoryPlace& place) const;
  // What a tensor of this type reads; its sizes are known. Adds views, slices and joins as needed.
  // Fails when bytes were never written, or were written as another element type.
  Result<ValueId> read(const MemoryPlace& place, const TensorType& type);
  // The value at the start of a place whose sizes symbols decide: only the whole will do.
  Result<ValueId> read_symbolic(const MemoryPlace& place, const std::vector<SymInt>& sizes);
  // From now on the place holds `value`, which fills it, or a part of it that symbols decide.
  void write(const MemoryPlace& place, ValueId value);

  // True when every byte of the place is what it is in `other`.
  bool holds_same(const PlannedMemory& other, const MemoryPlace& place) const;
  // Bytes that differ from those of `other` are what nobody knows: reading them fails, until they
  // are written again.
  void forget_differences(const PlannedMemory& other);

 private:
  struct Extent {
    uint64_t end = 0;
    ValueId value = kNoValue;  // kNoValue: unknown
    uint64_t at = 0;           // bytes of `value` before this extent
    bool symbolic = false;
    bool operator==(const Extent&) const = default;
  };
  using Extents = std::map<uint64_t, Extent>;  // by offset; they do not overlap

  void put(const MemoryPlace& place, Extent extent);

  Build* build_;
  std::map<uint64_t, Extents> spaces_;
};

}  // namespace sconce
