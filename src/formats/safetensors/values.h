// What the elements of a tensor are worth: reading them as numbers, counting and comparing them.
//
// For people and tools that look at files; kernels read elements in their own types.
#pragma once

#include <cstdint>

#include "base/span.h"
#include "formats/safetensors/element_type.h"

namespace sconce {

// Elements [first, first + count) of the data, as doubles; complex numbers are two elements each.
// 64-bit integers past 2^53 are rounded. Elements of 4 and 6 bits lie from the lowest bit up (two
// in a byte, four in three bytes), as torch and the OCP formats have them.
void read_values(ElementType type, Bytes data, uint64_t first, uint64_t count, double* out);
// How many there are in `bytes` bytes.
uint64_t value_count(ElementType type, uint64_t bytes);

struct ValueStats {
  uint64_t count = 0, nans = 0, infinities = 0, zeros = 0;
  double min = 0, max = 0, mean = 0, deviation = 0;  // of the finite ones; 0 when there are none
  double absolute_max = 0;
};
ValueStats compute_stats(ElementType type, Bytes data);

struct ValueDifference {
  uint64_t count = 0;
  uint64_t different = 0;   // values that are not the same; NaN is the same as NaN
  double absolute_max = 0;  // max |a - b|; infinite where one of the two is NaN or infinite
  double scale = 0;         // max |b| of the finite ones
  uint64_t worst = 0;       // position of the largest difference
  double worst_a = 0, worst_b = 0;
};
// Of two tensors with equally many values, of any types.
ValueDifference compare_values(ElementType type_a, Bytes a, ElementType type_b, Bytes b);

}  // namespace sconce
