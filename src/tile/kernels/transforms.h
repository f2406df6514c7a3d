// Linear maps of a few values to a few others, each a straight line of steps. They are written once
// for both ends: kernels are made with them (ops/conv/winograd.h), and where the VM finds their
// steps in a kernel, it does them as one, in registers (strip.h).
#pragma once

#include <stdint.h>

namespace sconce::tile {

// X(name): Winograd's F(m x m, 3 x 3), m = 2 and 4, along one dimension.
#define SCONCE_TRANSFORMS(X)                        \
  X(winograd2_input)  /* 4 inputs to 4 */           \
  X(winograd2_output) /* 4 products to 2 results */ \
  X(winograd2_weight) /* 3 weights to 4 */          \
  X(winograd4_input)  /* 6 to 6 */                  \
  X(winograd4_output) /* 6 to 4 */                  \
  X(winograd4_weight) /* 3 to 6 */

#define SCONCE_ROW(name) name,
enum class TransformKind : uint8_t { SCONCE_TRANSFORMS(SCONCE_ROW) count };
#undef SCONCE_ROW

// Values are counted: the inputs, then what each step makes. Each operation is rounded once.
enum class TransformOp : uint8_t {
  add,  // x + y
  sub,  // x - y
  mul,  // x * number
  fma,  // x * number + y
};
struct TransformStep {
  TransformOp op;
  int8_t x, y;
  double number;
};
struct Transform {
  int8_t inputs, outputs, step_count;
  int8_t output[6];  // which values; an input may be one
  TransformStep steps[12];

  constexpr int values() const { return inputs + step_count; }
  // How many of the outputs are no inputs.
  constexpr int made() const {
    int count = 0;
    for (int k = 0; k < outputs; k++) count += output[k] >= inputs;
    return count;
  }
};

inline constexpr int kTransformValuesMax = 18;

// With the numbers of A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks, 2015
// (arXiv 1509.09308), from the points 0, 1, -1 (and 2, -2), infinity.
constexpr Transform transform_of(TransformKind kind) {
  constexpr auto add = TransformOp::add, sub = TransformOp::sub, mul = TransformOp::mul,
                 fma = TransformOp::fma;
  switch (kind) {
    case TransformKind::winograd2_input:
      return {4,
              4,
              4,
              {4, 5, 6, 7},
              {{sub, 0, 2, 0},    // 4: d0 - d2
               {add, 1, 2, 0},    // 5: d1 + d2
               {sub, 2, 1, 0},    // 6: d2 - d1
               {sub, 1, 3, 0}}};  // 7: d1 - d3
    case TransformKind::winograd2_output:
      return {4,
              2,
              4,
              {5, 7},
              {{add, 0, 1, 0},    // 4
               {add, 4, 2, 0},    // 5: m0 + m1 + m2
               {sub, 1, 2, 0},    // 6
               {sub, 6, 3, 0}}};  // 7: m1 - m2 - m3
    case TransformKind::winograd2_weight:
      return {3,
              4,
              5,
              {0, 5, 7, 2},
              {{add, 0, 2, 0},      // 3: g0 + g2
               {add, 3, 1, 0},      // 4
               {mul, 4, 0, 0.5},    // 5: (g0 + g1 + g2) / 2
               {sub, 3, 1, 0},      // 6
               {mul, 6, 0, 0.5}}};  // 7: (g0 - g1 + g2) / 2
    case TransformKind::winograd4_input:
      return {6,
              6,
              12,
              {15, 8, 9, 12, 13, 17},
              {{fma, 2, 4, -4},    // 6: d4 - 4 d2
               {fma, 1, 3, -4},    // 7: d3 - 4 d1
               {add, 6, 7, 0},     // 8: -4 d1 - 4 d2 + d3 + d4
               {sub, 6, 7, 0},     // 9: 4 d1 - 4 d2 - d3 + d4
               {sub, 4, 2, 0},     // 10: d4 - d2
               {sub, 3, 1, 0},     // 11: d3 - d1
               {fma, 11, 10, 2},   // 12: -2 d1 - d2 + 2 d3 + d4
               {fma, 11, 10, -2},  // 13: 2 d1 - d2 - 2 d3 + d4
               {fma, 2, 4, -5},    // 14: d4 - 5 d2
               {fma, 0, 14, 4},    // 15: 4 d0 - 5 d2 + d4
               {fma, 3, 5, -5},    // 16: d5 - 5 d3
               {fma, 1, 16, 4}}};  // 17: 4 d1 - 5 d3 + d5
    case TransformKind::winograd4_output:
      return {6,
              4,
              10,
              {11, 12, 13, 15},
              {{add, 1, 2, 0},     // 6: m1 + m2
               {sub, 1, 2, 0},     // 7: m1 - m2
               {add, 3, 4, 0},     // 8: m3 + m4
               {sub, 3, 4, 0},     // 9: m3 - m4
               {add, 0, 6, 0},     // 10
               {add, 10, 8, 0},    // 11: m0 + m1 + m2 + m3 + m4
               {fma, 9, 7, 2},     // 12: m1 - m2 + 2 m3 - 2 m4
               {fma, 8, 6, 4},     // 13: m1 + m2 + 4 m3 + 4 m4
               {fma, 9, 7, 8},     // 14
               {add, 14, 5, 0}}};  // 15: m1 - m2 + 8 m3 - 8 m4 + m5
    case TransformKind::winograd4_weight:
      return {3,
              6,
              10,
              {3, 6, 8, 11, 12, 2},
              {{mul, 0, 0, 1.0 / 4},       // 3: g0 / 4
               {add, 0, 2, 0},             // 4: g0 + g2
               {add, 4, 1, 0},             // 5
               {mul, 5, 0, -1.0 / 6},      // 6: -(g0 + g1 + g2) / 6
               {sub, 4, 1, 0},             // 7
               {mul, 7, 0, -1.0 / 6},      // 8: -(g0 - g1 + g2) / 6
               {mul, 0, 0, 1.0 / 24},      // 9
               {fma, 2, 9, 1.0 / 6},       // 10: g0 / 24 + g2 / 6
               {fma, 1, 10, 1.0 / 12},     // 11: g0 / 24 + g1 / 12 + g2 / 6
               {fma, 1, 10, -1.0 / 12}}};  // 12: g0 / 24 - g1 / 12 + g2 / 6
    case TransformKind::count: break;
  }
  return {};
}

inline constexpr Transform kTransforms[] = {
#define SCONCE_ROW(name) transform_of(TransformKind::name),
    SCONCE_TRANSFORMS(SCONCE_ROW)
#undef SCONCE_ROW
};

}  // namespace sconce::tile
