// Index tensors: reading and checking their elements. Freestanding.
#pragma once

#include "ops/kernel.h"

namespace sconce {

inline bool is_index_type(DType dtype) { return dtype == DType::i64 || dtype == DType::i32; }

inline Status check_index_type(const char* what, const Tensor& index, Diagnostic* diagnostic) {
  (void)what;
  if (is_index_type(index.dtype)) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: index of type %s, i64 or i32 is wanted",
                     what, dtype_name(index.dtype));
}

inline int64_t read_index(const Tensor& index, int64_t offset) {
  return index.dtype == DType::i64 ? index.as<int64_t>()[offset] : index.as<int32_t>()[offset];
}

[[gnu::noinline]] inline Status index_out_of_range(int64_t index, int64_t size, int dim,
                                                   Diagnostic* diagnostic) {
  return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                     "index %lld is out of bounds for dimension %d of size %lld", (long long)index,
                     dim, (long long)size);
}

}  // namespace sconce
