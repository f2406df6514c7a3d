// Products of matrices with an eighth fewer multiplications: one step of Strassen's method.
//
// With A, B and C = A B in four quarters each, seven products of quarters do for eight. In S.
// Winograd's form with 15 sums (N. Higham, Accuracy and Stability of Numerical Algorithms, 2002,
// section 23.1), those of B made beforehand, since it is constant:
//   S1 = A21 + A22   T1 = B12 - B11   P1 = A11 B11   P5 = S1 T1   U2 = P1 + P6
//   S2 = S1 - A11    T2 = B22 - T1    P2 = A12 B21   P6 = S2 T2   U3 = U2 + P7
//   S3 = A11 - A21   T3 = B22 - B12   P3 = S4 B22    P7 = S3 T3   U4 = U2 + P5
//   S4 = A12 - S2    T4 = T2 - B21    P4 = A22 T4
//   C11 = P1 + P2    C12 = U4 + P3    C21 = U3 - P4    C22 = U3 + P5
// Rows are taken in pairs: of neighbours, or where their number is known and odd, of halves that
// share a row. Steps and columns are taken in halves.
//
// Sums are of other sizes than those of the direct way: errors are some times as large, by the
// largest elements of both matrices, and what is infinite or NaN in a row reaches the other one.
#pragma once

#include <functional>
#include <vector>

#include "ops/tile.h"

namespace sconce {

// A constant matrix of f32 as it lies in memory, where the element of a step and a column is.
struct StrassenColumns {
  ValueId constant;
  int64_t steps, columns;
  int64_t step_stride, column_stride;  // elements
};

// True where it is faster, and that is worth weights of 7/4 of the bytes.
bool is_worth_strassen(const TileLowering& l, int64_t batches, SymInt rows,
                       const StrassenColumns& columns);

// The loops over a result of `sizes` whose last two dimensions are rows and columns, and its cell.
TileIndex strassen_axes(TileLowering& l, std::vector<SymInt> sizes);
std::vector<TileCell> strassen_cell(Span<const SymInt> sizes);

// The element at an index of these loops, an element of a cell, of a result of so many rows. `x`:
// of the rows, at so many after the first one of a pair and a step; `bias`: what is added to a
// column.
std::optional<tile::ValueId> strassen(
    TileLowering& l, const StrassenColumns& columns, SymInt rows, const TileIndex& at,
    const std::function<std::optional<tile::ValueId>(int64_t row, const tile::Index& k)>& x,
    const std::function<std::optional<tile::ValueId>(const tile::Index& column)>& bias);

}  // namespace sconce
