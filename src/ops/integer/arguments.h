// Where the arguments of int8::convolution stand in its schema.
#pragma once

#include "ops/conv/window.h"

namespace sconce {

inline constexpr ConvolutionPositions kIntegerConvolution{0, 3, 5, 6, 7, 8, 9, 10, 11};

}  // namespace sconce
