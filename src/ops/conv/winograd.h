// Winograd's convolution of 3 x 3 windows with fewer multiplications: F(m x m, 3 x 3).
//
// A square of m x m results needs (m + 2)^2 inputs d. With the window g they are
//   Y = A^T [ (G g G^T) * (B^T d B) ] A,   * element by element,
// and summed over channels the product in the middle is (m + 2)^2 products of matrices: (m + 2)^2
// multiplications for 9 m^2. Matrices: A. Lavin and S. Gray, Fast Algorithms for Convolutional
// Neural Networks, 2015 (arXiv 1509.09308), from the points 0, 1, -1 (and 2, -2), infinity.
//
// Sums are of other sizes than those of the direct way: with m = 4 errors are about seven times as
// large, and one input that is infinite or NaN reaches the whole square.
#pragma once

#include "base/span.h"

namespace sconce {

struct Winograd {
  int tile;  // m
  // Row-major. Columns: m + 2, m + 2, 3.
  Span<const double> input;   // B^T: m + 2 rows
  Span<const double> output;  // A^T: m rows
  Span<const double> weight;  // G: m + 2 rows

  int points() const { return tile + 2; }
};

inline constexpr int kWinogradWindow = 3;
// For m = 2 and m = 4.
inline const Winograd& winograd(int tile) {
  static constexpr double kInput2[] = {1, 0, -1, 0, 0, 1, 1, 0, 0, -1, 1, 0, 0, 1, 0, -1};
  static constexpr double kOutput2[] = {1, 1, 1, 0, 0, 1, -1, -1};
  static constexpr double kWeight2[] = {1, 0, 0, 0.5, 0.5, 0.5, 0.5, -0.5, 0.5, 0, 0, 1};
  static constexpr double kInput4[] = {4, 0, -5, 0,  1, 0, 0, -4, -4, 1,  1, 0,  //
                                       0, 4, -4, -1, 1, 0, 0, -2, -1, 2,  1, 0,  //
                                       0, 2, -1, -2, 1, 0, 0, 4,  0,  -5, 0, 1};
  static constexpr double kOutput4[] = {1, 1, 1, 1, 1, 0, 0, 1, -1, 2, -2, 0,
                                        0, 1, 1, 4, 4, 0, 0, 1, -1, 8, -8, 1};
  static constexpr double kWeight4[] = {1.0 / 4,  0,         0,        -1.0 / 6, -1.0 / 6, -1.0 / 6,
                                        -1.0 / 6, 1.0 / 6,   -1.0 / 6, 1.0 / 24, 1.0 / 12, 1.0 / 6,
                                        1.0 / 24, -1.0 / 12, 1.0 / 6,  0,        0,        1};
  static constexpr Winograd kTwo = {2, kInput2, kOutput2, kWeight2},
                            kFour = {4, kInput4, kOutput4, kWeight4};
  return tile == 2 ? kTwo : kFour;
}

}  // namespace sconce
