// Order: which element of a row comes first, second, ... Stable; memory comes from the caller.
#pragma once

#include "ops/reduce/rows.h"

namespace sconce {

// Arrays for ordering one row, in a kernel's scratch memory.
template <class T>
struct OrderScratch {
  T* keys;
  uint32_t *order, *spare;
};
// Bytes that a row of `count` elements needs.
inline uint64_t order_scratch_bytes(int64_t count) { return uint64_t(count) * 16; }

template <class T>
Status take_order_scratch(const KernelContext& context, int64_t count, OrderScratch<T>* scratch) {
  if (count > UINT32_MAX || context.scratch.size() < order_scratch_bytes(count))
    return SCONCE_FAIL(Code::too_large, context.diagnostic,
                       "ordering %lld elements needs %llu bytes of scratch memory, %llu are there",
                       (long long)count, (unsigned long long)order_scratch_bytes(count),
                       (unsigned long long)context.scratch.size());
  scratch->keys = reinterpret_cast<T*>(context.scratch.data());
  scratch->order = reinterpret_cast<uint32_t*>(context.scratch.data() + 8 * size_t(count));
  scratch->spare = scratch->order + count;
  return kOk;
}

// Merge sort of 0 .. count - 1; `before(a, b)` says that element a must stand before b. The result
// is in `order`; `spare` is as long.
template <class Before>
void sort_order(uint32_t* order, uint32_t* spare, int64_t count, Before before) {
  constexpr int64_t kRun = 8;
  for (int64_t i = 0; i < count; i++) order[i] = uint32_t(i);
  for (int64_t start = 0; start < count; start += kRun) {
    int64_t end = start + kRun < count ? start + kRun : count;
    for (int64_t i = start + 1; i < end; i++) {
      uint32_t moving = order[i];
      int64_t at = i;
      for (; at > start && before(moving, order[at - 1]); at--) order[at] = order[at - 1];
      order[at] = moving;
    }
  }
  for (int64_t width = kRun; width < count; width *= 2) {
    for (int64_t start = 0; start < count; start += 2 * width) {
      int64_t middle = start + width < count ? start + width : count;
      int64_t end = start + 2 * width < count ? start + 2 * width : count;
      int64_t left = start, right = middle;
      for (int64_t to = start; to < end; to++) {
        bool take_right = right < end && (left >= middle || before(order[right], order[left]));
        spare[to] = take_right ? order[right++] : order[left++];
      }
    }
    for (int64_t i = 0; i < count; i++) order[i] = spare[i];
  }
}

// NaN is greater than every number.
template <class T>
bool key_less(T a, T b) {
  return a < b || (b != b && a == a);
}

template <class T>
void sort_keys(const OrderScratch<T>& scratch, int64_t count, bool descending) {
  const T* keys = scratch.keys;
  if (descending)
    sort_order(scratch.order, scratch.spare, count,
               [keys](uint32_t a, uint32_t b) { return key_less(keys[b], keys[a]); });
  else
    sort_order(scratch.order, scratch.spare, count,
               [keys](uint32_t a, uint32_t b) { return key_less(keys[a], keys[b]); });
}

// Reads the current row into the keys and orders it.
template <class T>
void order_row(const Rows& rows, const OrderScratch<T>& scratch, bool descending) {
  for_each_block<T>(rows, [&](T* block, int n, int64_t first) {
    for (int i = 0; i < n; i++) scratch.keys[first + i] = block[i];
  });
  sort_keys(scratch, rows.length(), descending);
}

}  // namespace sconce
