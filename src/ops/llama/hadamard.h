// Which rows a Walsh-Hadamard transform takes, and the Hadamard matrix of order 28 that widens it:
// what kernel and decomposition share.
#pragma once

#include <cstdint>
#include <optional>

namespace sconce {

// A row of parts * power numbers, power = 2^n and parts 1 or 28.
struct HadamardForm {
  int64_t parts = 1, power = 1;
};

// Nullopt for other widths. Widths that 28 divides are taken in 28 parts, as ExecuTorch does.
inline std::optional<HadamardForm> hadamard_form(int64_t width) {
  HadamardForm form;
  form.parts = width > 0 && width % 28 == 0 ? 28 : 1;
  form.power = width / form.parts;
  if (width < 1 || (form.power & (form.power - 1)) != 0) return std::nullopt;
  return form;
}

// +1 or -1 at row i, column j of the Hadamard matrix of order 28 by Williamson's construction: four
// symmetric circulants A, B, C, D of order 7 in the array
//    A  B  C  D
//   -B  A -D  C
//   -C  D  A -B
//   -D -C  B  A
inline float hadamard_28_sign(int i, int j) {
  constexpr int kFirstRows[4] = {0b1000000, 0b1100001, 0b1010010, 0b1001100};
  constexpr int kWhich[4][4] = {{0, 1, 2, 3}, {1, 0, 3, 2}, {2, 3, 0, 1}, {3, 2, 1, 0}};
  constexpr int kSign[4][4] = {{1, 1, 1, 1}, {-1, 1, -1, 1}, {-1, 1, 1, -1}, {-1, -1, 1, 1}};
  int block_row = i / 7, block_column = j / 7, turn = (j % 7 - i % 7 + 7) % 7;
  bool plus = kFirstRows[kWhich[block_row][block_column]] >> (6 - turn) & 1;
  return float(plus ? kSign[block_row][block_column] : -kSign[block_row][block_column]);
}

}  // namespace sconce
