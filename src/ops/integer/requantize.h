// Requantise: an exact sum of integers becomes an 8-bit one of another scale.
//
// One rule for every int8:: operator, that of XNNPACK's reference kernels: the sum as f32 times
// the ratio of scales, rounded once to nearest even, limited. Freestanding.
#pragma once

#include <cmath>
#include <cstdint>

namespace sconce {

struct Requantize {
  int32_t zero = 0, min = -128, max = 127;  // of the result; min and max count the zero point
  int8_t operator()(float x) const {
    float low = float(min - zero), high = float(max - zero);
    if (!(x > low)) x = low;  // what is no number becomes the least
    if (x > high) x = high;
    return int8_t(int32_t(std::rint(x)) + zero);
  }
};

}  // namespace sconce
