// Strided views of elements: do they lie in their storage, and how are they copied row by row?
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/span.h"

namespace sconce {

// Empty when all elements lie in [0, limit); else what is wrong. Offsets and strides in elements.
// Nothing overflows, whatever the numbers.
std::string find_view_problem(int64_t begin, Span<const int64_t> sizes, Span<const int64_t> strides,
                              uint64_t limit);

// Copies the elements of a view in row-major order, a part at a time. The view must have been
// checked against the bytes at `data`, which stands at its first element.
class ViewReader {
 public:
  ViewReader(const uint8_t* data, Span<const int64_t> sizes, Span<const int64_t> strides,
             uint32_t element_bytes);

  uint64_t elements_left() const { return left_; }
  // True when the elements stand one after the other in row-major order.
  bool is_contiguous() const { return contiguous_; }
  // Copies the next `count` elements, at most elements_left().
  void read(uint8_t* out, uint64_t count);

 private:
  void step(size_t dim);
  const uint8_t* data_;
  std::vector<int64_t> sizes_, strides_, index_;  // without dimensions of size 1, merged
  uint32_t element_bytes_;
  uint64_t left_ = 1, offset_ = 0;  // offset of the next element, in elements
  bool contiguous_ = true;
};

}  // namespace sconce
