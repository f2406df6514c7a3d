// Rounding: rows of f32 weights become integers with scales, and the errors that this makes.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/span.h"
#include "platform/threads.h"

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

// By how much an error in one column is best made up for in each later one, for given inputs: the
// error of column j (weight less rounded weight) times of(j, i) is added to column i, j < i, before
// that is rounded. With sums + damping = R R', R upper triangular, that is R(j, i) / R(i, i):
// column i of (w - q) R is then what is left of rounding column i itself. It gives what GPTQ gives
// (arXiv 2210.17323), without an inverse.
struct ColumnShares {
  int64_t columns = 0;
  std::vector<float> shares;  // [columns][columns], above the diagonal
  float of(int64_t j, int64_t i) const { return shares[size_t(j * columns + i)]; }
};

// Nothing when the products do not allow it: no rows, or not positive definite even when damped.
// Takes columns^3 / 3 multiplications: layers that read the same value share one.
std::optional<ColumnShares> column_shares(const InputProducts& products);

// Rounded one column after the other, each error taken up by the columns after it, so that the
// layer's results on those inputs change least. Rows are divided among the threads; results do not
// depend on them.
RoundedRows round_rows_for_inputs(Span<const float> weights, int64_t rows, int64_t columns,
                                  int bits, int64_t group, const ColumnShares& shares,
                                  ThreadPool& threads);

}  // namespace sconce
