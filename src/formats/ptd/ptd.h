// .ptd files: weights of a .pte that live in a file of their own. Layout and source: format.md.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "tensor/dtype.h"

namespace sconce {

struct PtdEntry {
  std::string key;
  Bytes bytes;             // views the file
  bool is_tensor = false;  // else opaque bytes, and nothing below counts
  DType dtype = DType::f32;
  std::vector<int32_t> sizes;
  std::vector<uint8_t> dim_order;
};

// Every entry of a whole file, which outlives them. Errors name the entry and what is wrong with
// it.
Result<std::vector<PtdEntry>> read_ptd(Bytes file);

}  // namespace sconce
