// Rows of attention scores become weights: what every kernel of attention does between its two
// matrix products.
#pragma once

#include <cmath>

#include "ops/elementwise.h"

namespace sconce {

// Rows of scores that exist at once.
inline constexpr int64_t kAttentionRowsMax = 16;

// `rows` rows of `keys` scores become weights in place. `mask`, when there is one, holds bools
// (false: not seen) or numbers that are added; its first row and column are `mask_offset` elements
// from its start. With causal_first >= 0, row r sees the keys up to causal_first + r. A row that
// sees none gives zeros, as in torch.
template <class T>
void softmax_rows(T* scores, int64_t rows, int64_t keys, const Tensor* mask, int64_t mask_offset,
                  int64_t mask_row, int64_t mask_column, int64_t causal_first) {
  for (int64_t r = 0; r < rows; r++) {
    T* row = scores + r * keys;
    if (mask) {
      const char* from =
          mask->as<char>() + (mask_offset + r * mask_row) * int64_t(dtype_bytes(mask->dtype));
      for (int64_t c = 0; c < keys; c += kBlockCount) {
        T block[kBlockCount];
        int n = int(keys - c < kBlockCount ? keys - c : kBlockCount);
        load_elements<T>(block, from + c * mask_column * int64_t(dtype_bytes(mask->dtype)),
                         mask_column, n, mask->dtype);
        if (mask->dtype == DType::b8) {
          for (int i = 0; i < n; i++)
            if (block[i] == T(0)) row[c + i] = -T(INFINITY);
        } else {
          for (int i = 0; i < n; i++) row[c + i] += block[i];
        }
      }
    }
    if (causal_first >= 0)
      for (int64_t c = causal_first + r + 1; c < keys; c++) row[c] = -T(INFINITY);
    T max = -T(INFINITY), sum = 0;
    for (int64_t c = 0; c < keys; c++) max = row[c] > max || row[c] != row[c] ? row[c] : max;
    if (max == -T(INFINITY)) {
      for (int64_t c = 0; c < keys; c++) row[c] = 0;
      continue;
    }
    for (int64_t c = 0; c < keys; c++) {
      row[c] = std::exp(row[c] - max);
      sum += row[c];
    }
    T scale = T(1) / sum;
    for (int64_t c = 0; c < keys; c++) row[c] *= scale;
  }
}

}  // namespace sconce
