#include "formats/safetensors/slice.h"

#include <cstring>

namespace sconce {

Result<Slice> plan_slice(ElementType type, Span<const uint64_t> shape,
                         Span<const SliceRange> ranges) {
  TRY(uint64_t all_bytes, tensor_bytes(type, shape));
  if (ranges.size() > shape.size())
    return error(Code::invalid_argument, "TooManySlices: {} ranges for a tensor of {} dimensions",
                 ranges.size(), shape.size());
  for (size_t i = 0; i < ranges.size(); i++) {
    const SliceRange& range = ranges[i];
    if (range.start >= shape[i] || range.stop > shape[i] || range.stop < range.start)
      return error(Code::invalid_argument,
                   "SliceOutOfRange: [{}, {}) of dimension {}, which has size {}", range.start,
                   range.stop, i, shape[i]);
    if (range.select && range.stop != range.start + 1)
      return error(Code::invalid_argument, "SliceOutOfRange: [{}, {}) selects no single index",
                   range.start, range.stop);
  }
  Slice slice;
  for (size_t i = 0; i < shape.size(); i++) {
    if (i >= ranges.size())
      slice.shape.push_back(shape[i]);
    else if (!ranges[i].select)
      slice.shape.push_back(ranges[i].stop - ranges[i].start);
  }
  TRY(slice.bytes, tensor_bytes(type, slice.shape));
  if (all_bytes == 0 || slice.bytes == 0) return slice;
  // From the innermost dimension out: while whole dimensions are taken, the run grows. No product
  // overflows, as that of all sizes does not.
  uint64_t span = element_bits(type), first = 0, run = span;  // bits
  std::vector<Slice::Loop> loops;                             // innermost first
  bool whole = true;
  for (size_t i = shape.size(); i-- > 0;) {
    SliceRange range = i < ranges.size() ? ranges[i] : SliceRange{0, shape[i]};
    uint64_t count = range.stop - range.start;
    first += range.start * span;
    if (whole)
      run *= count;
    else if (count > 1)
      loops.push_back({count, span});
    whole = whole && count == shape[i];
    span *= shape[i];
  }
  bool aligned = first % 8 == 0 && run % 8 == 0;
  for (const Slice::Loop& loop : loops) aligned = aligned && loop.step % 8 == 0;
  if (!aligned)
    return error(Code::invalid_argument,
                 "MisalignedSlice: a part of {} {} does not lie in whole bytes", element_name(type),
                 shape_text(shape));
  slice.first = first / 8;
  slice.run_bytes = run / 8;
  slice.loops.assign(loops.rbegin(), loops.rend());
  for (Slice::Loop& loop : slice.loops) loop.step /= 8;
  return slice;
}

void copy_slice(const Slice& slice, Bytes tensor, uint8_t* out) {
  if (slice.bytes == 0) return;
  std::vector<uint64_t> at(slice.loops.size());
  uint64_t from = slice.first;
  for (;;) {
    CHECK(from + slice.run_bytes <= tensor.size());
    memcpy(out, tensor.data() + from, slice.run_bytes);
    out += slice.run_bytes;
    size_t i = at.size();
    for (; i > 0; i--) {
      const Slice::Loop& loop = slice.loops[i - 1];
      from += loop.step;
      if (++at[i - 1] < loop.count) break;
      from -= loop.step * loop.count;
      at[i - 1] = 0;
    }
    if (i == 0) return;
  }
}

}  // namespace sconce
