// Packing: constants in the order in which kernels read them.
#pragma once

#include <string>
#include <vector>

#include "base/span.h"
#include "tensor/dtype.h"

namespace sconce {

// Elements of a constant, the one at index i at offset + sum of i[d] * strides[d]; all of them, or
// every so many-th one, also backwards.
struct ConstantPart {
  int64_t offset = 0;
  std::vector<int64_t> sizes, strides;
};
// A constant seen as `sizes`, its dimensions then in the order of `permutation`.
ConstantPart in_order(const std::vector<int64_t>& sizes, const std::vector<int>& permutation);

// The elements, of so many bytes each, row-major.
std::vector<uint8_t> gathered(Bytes data, size_t element_bytes, const ConstantPart& part);
// The elements, of 2 or 4 bytes, packed for dot (tile::Layout::panels):
// [lead...][ceil(N / 16)][k...][16].
std::vector<uint8_t> packed_panels(Bytes data, size_t element_bytes, const ConstantPart& part,
                                   int32_t lead);
// 16-bit floats as f32.
std::vector<uint8_t> widened(Bytes data, DType dtype);
// i8 seen as `sizes`, in the order of `permutation`, packed by quads and with the sums of columns;
// the `run` dimensions before the columns are one of the buffer.
std::vector<uint8_t> packed_panels_i8(Bytes data, const std::vector<int64_t>& sizes,
                                      const std::vector<int>& permutation, int32_t lead, int run);
// i8 [columns, steps] of -8 to 7 as nibbles (tile::Layout::nibbles).
std::vector<uint8_t> packed_nibbles(Bytes data, int64_t columns, int64_t steps);
// A name that is equal when constant, sizes, order and packing are.
std::string prepared_name(int32_t constant, const std::vector<int64_t>& sizes,
                          const std::vector<int>& permutation, int32_t lead, int run = 1);
std::string prepared_name(int32_t constant, const ConstantPart& part, int32_t lead);

}  // namespace sconce
