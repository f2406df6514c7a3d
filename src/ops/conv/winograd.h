// Winograd's convolution of 3 x 3 windows with fewer multiplications: F(m x m, 3 x 3).
//
// A square of m x m results needs (m + 2)^2 inputs d. With the window g they are
//   Y = A^T [ (G g G^T) * (B^T d B) ] A,   * element by element,
// and summed over channels the product in the middle is (m + 2)^2 products of matrices: (m + 2)^2
// multiplications for 9 m^2. Matrices: A. Lavin and S. Gray, Fast Algorithms for Convolutional
// Neural Networks, 2015 (arXiv 1509.09308).
//
// Sums are of other sizes than those of the direct way: with m = 4 errors are about seven times as
// large, and one input that is infinite or NaN reaches the whole square.
#pragma once

#include <vector>

#include "base/span.h"
#include "tile/kernels/transforms.h"

namespace sconce {

struct Winograd {
  int tile;                       // m
  const tile::Transform& input;   // B^T
  const tile::Transform& output;  // A^T
  const tile::Transform& weight;  // G

  int points() const { return tile + 2; }
};

inline constexpr int kWinogradWindow = 3;
// For m = 2 and m = 4.
inline Winograd winograd(int tile) {
  using enum tile::TransformKind;
  auto of = [](tile::TransformKind kind) -> const tile::Transform& {
    return tile::kTransforms[int(kind)];
  };
  if (tile == 2) return {tile, of(winograd2_input), of(winograd2_output), of(winograd2_weight)};
  return {tile, of(winograd4_input), of(winograd4_output), of(winograd4_weight)};
}

// M X M^T of a square X, row-major, for the matrix M of a transform: `step` makes a step's value of
// the step and its operands x and y.
template <class T, class Step>
std::vector<T> sandwich(const tile::Transform& m, const std::vector<T>& x, Step step) {
  auto along = [&](const T* from, size_t apart, T* to, size_t to_apart) {
    T values[tile::kTransformValuesMax];
    for (size_t k = 0; k < size_t(m.inputs); k++) values[k] = from[k * apart];
    for (size_t s = 0; s < size_t(m.step_count); s++) {
      const tile::TransformStep& one = m.steps[s];
      values[size_t(m.inputs) + s] = step(one, values[size_t(one.x)], values[size_t(one.y)]);
    }
    for (size_t k = 0; k < size_t(m.outputs); k++) to[k * to_apart] = values[size_t(m.output[k])];
  };
  const size_t in = size_t(m.inputs), out = size_t(m.outputs);
  std::vector<T> half(out * in), result(out * out);
  for (size_t c = 0; c < in; c++) along(&x[c], in, &half[c], in);
  for (size_t r = 0; r < out; r++) along(&half[r * in], 1, &result[r * out], 1);
  return result;
}

// G g G^T of `count` windows g of f32, computed in f64 and rounded once: [points^2][count].
std::vector<float> winograd_weights(Bytes windows, size_t count, int tile);

}  // namespace sconce
