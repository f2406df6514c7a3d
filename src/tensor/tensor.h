// Tensor: a view of dense elements that someone else owns.
//
// Every tensor is dense; the order of its dimensions in memory may differ from their logical order
// (dim order: the logical dimensions listed from outermost to innermost in memory, as in
// ExecuTorch; 0,2,3,1 is channels-last). No other strides exist here. Freestanding.
#pragma once

#include <cstdint>

#include "base/checked.h"
#include "base/status.h"
#include "tensor/dtype.h"

namespace sconce {

// Limit of ExecuTorch's runtime, and ours.
inline constexpr int kRankMax = 16;

struct Tensor {
  void* data = nullptr;
  int32_t* sizes = nullptr;  // `rank` entries, each >= 0
  const uint8_t* dim_order =
      nullptr;                  // `rank` entries, or null for contiguous (0, 1, ..., rank - 1)
  uint64_t capacity_bytes = 0;  // what `data` may hold; sizes may change while they fit
  DType dtype = DType::f32;
  uint8_t rank = 0;
  bool fixed_sizes = false;  // `sizes` may lie in read-only memory: resize() accepts only the same
  bool read_only = false;    // `data` is a constant: never an out

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  int64_t size(int dim) const { return sizes[dim]; }
};

// Product of the sizes; 1 for rank 0. The sizes of a Tensor never overflow: checked when it is
// made.
inline int64_t element_count(const Tensor& tensor) {
  int64_t count = 1;
  for (int i = 0; i < tensor.rank; i++) count *= tensor.sizes[i];
  return count;
}

// False when the product exceeds int64 or a size is negative.
[[nodiscard]] inline bool checked_element_count(const int32_t* sizes, int rank, int64_t* count) {
  *count = 1;
  bool empty = false;
  for (int i = 0; i < rank; i++) {
    if (sizes[i] < 0) return false;
    if (sizes[i] == 0) empty = true;
  }
  if (empty) {
    *count = 0;
    return true;
  }
  for (int i = 0; i < rank; i++)
    if (!checked_multiply<int64_t>(*count, sizes[i], count)) return false;
  return true;
}

inline uint64_t tensor_bytes(const Tensor& tensor) {
  return uint64_t(element_count(tensor)) * dtype_bytes(tensor.dtype);
}

// C++ may not load a bool that is neither 0 nor 1.
inline bool all_bools(const void* data, uint64_t bytes) {
  auto at = static_cast<const uint8_t*>(data);
  for (uint64_t i = 0; i < bytes; i++)
    if (at[i] > 1) return false;
  return true;
}

// Strides in elements, by logical dimension. strides[i] is meaningless when a size is 0.
struct Strides {
  int64_t of[kRankMax];
  int64_t operator[](int dim) const { return of[dim]; }
};

inline Strides strides_of(const Tensor& tensor) {
  Strides strides;
  int64_t stride = 1;
  for (int i = tensor.rank - 1; i >= 0; i--) {
    int dim = tensor.dim_order ? tensor.dim_order[i] : i;
    strides.of[dim] = stride;
    stride *= tensor.sizes[dim];
  }
  return strides;
}

// True when memory order equals logical order (dims of size 1 may stand anywhere).
inline bool is_contiguous(const Tensor& tensor) {
  if (!tensor.dim_order) return true;
  int last = -1;
  for (int i = 0; i < tensor.rank; i++) {
    int dim = tensor.dim_order[i];
    if (tensor.sizes[dim] == 1) continue;
    if (dim < last) return false;
    last = dim;
  }
  return true;
}

// True when each of 0..rank-1 appears once.
inline bool is_valid_dim_order(const uint8_t* dim_order, int rank) {
  uint32_t seen = 0;
  for (int i = 0; i < rank; i++) {
    if (dim_order[i] >= rank || (seen >> dim_order[i] & 1)) return false;
    seen |= 1u << dim_order[i];
  }
  return true;
}

// Sets new sizes of the same rank. Fails when they do not fit the capacity.
inline Status resize(Tensor& tensor, const int32_t* sizes, Diagnostic* diagnostic) {
  if (tensor.fixed_sizes) {
    for (int i = 0; i < tensor.rank; i++)
      if (sizes[i] != tensor.sizes[i])
        return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                           "dimension %d of the result is %d, its tensor has %d", i, int(sizes[i]),
                           int(tensor.sizes[i]));
    return kOk;
  }
  int64_t count;
  if (!checked_element_count(sizes, tensor.rank, &count) ||
      uint64_t(count) > tensor.capacity_bytes / dtype_bytes(tensor.dtype))
    return SCONCE_FAIL(Code::too_large, diagnostic,
                       "result of %lld elements of %u bytes does not fit the %llu bytes planned "
                       "for it",
                       (long long)count, unsigned(dtype_bytes(tensor.dtype)),
                       (unsigned long long)tensor.capacity_bytes);
  for (int i = 0; i < tensor.rank; i++) tensor.sizes[i] = sizes[i];
  return kOk;
}

}  // namespace sconce
