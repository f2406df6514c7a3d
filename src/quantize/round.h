// Rounding: rows of f32 weights become integers with scales, and the errors that this makes.
#pragma once

#include <cstdint>
#include <vector>

#include "base/span.h"

namespace sconce {

// Symmetric integers of `rows` rows: x = q * scale. Scales are [rows][groups].
struct RoundedRows {
  std::vector<int8_t> q;
  std::vector<float> scales;
  int64_t rows = 0, columns = 0, group = 0;  // columns that share a scale; 0: the whole row
  int bits = 8;
  float number(int64_t row, int64_t column) const {
    int64_t size = group ? group : columns;
    return float(q[size_t(row * columns + column)]) *
           scales[size_t(row * (columns / size) + column / size)];
  }
};

// To the nearest. 8 bits: the scale holds the largest number. 4 bits: the scale of least square
// error, -8 .. 7. Rows of zeros get the scale 1. `group` divides `columns`.
RoundedRows round_rows(Span<const float> weights, int64_t rows, int64_t columns, int bits,
                       int64_t group);

// Sums of products of a layer's inputs, [columns][columns], the upper half.
struct InputProducts {
  int64_t columns = 0;
  uint64_t count = 0;  // of rows that were added
  std::vector<double> sums;
  // Rows of inputs; as many are used as tell enough (kRowsMax in all).
  void add(Span<const float> rows);
  static constexpr int64_t kColumnsMax = 8192;
  static constexpr uint64_t kRowsMax = 8192;
};

// Rounded one column after the other, each error taken up by the columns after it, so that the
// layer's results on those inputs change least (GPTQ, arXiv 2210.17323). False when the products do
// not allow that (no rows, or not positive definite even when damped); `out` is as round_rows()
// then.
bool round_rows_for_inputs(Span<const float> weights, int64_t rows, int64_t columns, int bits,
                           int64_t group, const InputProducts& products, RoundedRows* out);

}  // namespace sconce
