// Arrays in NumPy's .npy format, versions 1 to 3: one dense tensor with its type and sizes.
//
// Plain numbers and booleans in either byte order and either memory order are read. Python objects,
// strings, dates and records are refused: no pickle is ever opened. NumPy has no name for bfloat16
// and 8-bit floats, so neither has this format.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "tensor/dtype.h"

namespace sconce {

struct NpyArray {
  DType dtype = DType::f32;
  std::vector<int64_t> sizes;
  Bytes bytes;  // row-major, little endian; not always aligned to the element type

  // Holds the bytes when they had to be converted; else they point into the file.
  std::vector<uint8_t> converted;

  NpyArray() = default;
  NpyArray(NpyArray&&) = default;
  NpyArray& operator=(NpyArray&&) = default;
};

// `file` must outlive the result, and nothing may follow the array in it.
Result<NpyArray> read_npy(Bytes file);

Result<void> write_npy(const std::string& path, DType dtype, Span<const int64_t> sizes,
                       Bytes bytes);
// The same, to memory.
Result<std::vector<uint8_t>> encode_npy(DType dtype, Span<const int64_t> sizes, Bytes bytes);

}  // namespace sconce
