// Copies of dense tensors whose dimensions stand in memory in another order. Host only.
#pragma once

#include <cstring>
#include <vector>

#include "base/span.h"
#include "tensor/tensor.h"

namespace sconce {

// The bytes of a dense tensor whose dimensions stand in memory in the order `from`, outermost
// first, in the order `to`; an empty order is the logical one. As many bytes as the sizes want.
inline std::vector<uint8_t> reordered(Bytes bytes, DType dtype, Span<const int32_t> sizes,
                                      Span<const uint8_t> from, Span<const uint8_t> to) {
  Tensor tensor;
  tensor.sizes = const_cast<int32_t*>(sizes.data());
  tensor.rank = uint8_t(sizes.size());
  tensor.dim_order = from.empty() ? nullptr : from.data();
  Strides strides = strides_of(tensor);
  size_t element = dtype_bytes(dtype), count = size_t(element_count(tensor));
  std::vector<uint8_t> made(count * element);
  // Walks the new order; `index` counts along it, innermost last.
  std::vector<int64_t> index(sizes.size(), 0);
  int64_t offset = 0;
  for (size_t k = 0; k < count; k++) {
    memcpy(made.data() + k * element, bytes.data() + size_t(offset) * element, element);
    for (size_t d = index.size(); d-- > 0;) {
      size_t dim = to.empty() ? d : to[d];
      offset += strides[int(dim)];
      if (++index[d] < sizes[dim]) break;
      offset -= strides[int(dim)] * sizes[dim];
      index[d] = 0;
    }
  }
  return made;
}

}  // namespace sconce
