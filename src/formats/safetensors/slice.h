// Parts of a tensor: which bytes of its data hold them.
#pragma once

#include <vector>

#include "formats/safetensors/header.h"

namespace sconce {

// Of one dimension: the indices start, start + 1, ... stop - 1.
struct SliceRange {
  uint64_t start = 0, stop = 0;
  bool select = false;  // a single index (stop == start + 1) whose dimension goes
};

// Runs of bytes that lie together, counted as nested loops: the run of loops at (i, j, ...) begins
// at first + i * loops[0].step + j * loops[1].step + ...
struct Slice {
  struct Loop {
    uint64_t count = 0, step = 0;  // steps in bytes
  };
  std::vector<uint64_t> shape;  // of the part
  uint64_t bytes = 0;           // of the part
  uint64_t first = 0, run_bytes = 0;
  std::vector<Loop> loops;  // outermost first
};

// `ranges` stand for the leading dimensions; the others are taken whole. Errors, by the names of
// the reference: TooManySlices; SliceOutOfRange (start outside of the dimension, also for an empty
// part, or stop past it or before start); MisalignedSlice (elements of less than a byte: a run does
// not begin and end at whole bytes).
Result<Slice> plan_slice(ElementType type, Span<const uint64_t> shape,
                         Span<const SliceRange> ranges);

// Copies the part out of the tensor's bytes; `out` has room for slice.bytes.
void copy_slice(const Slice& slice, Bytes tensor, uint8_t* out);

}  // namespace sconce
