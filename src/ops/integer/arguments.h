// Where the arguments of int8:: convolutions stand in their schemas.
#pragma once

#include "ops/conv/window.h"

namespace sconce {

inline constexpr ConvolutionPositions kIntegerConvolution{0, 3, 5, 6, 7, 8, 9, 10, 11};
// Of dynamic_convolution and weight_convolution.
inline constexpr ConvolutionPositions kConvolutionOfNumbers{0, 1, 3, 4, 5, 6, 7, 8, 9};

}  // namespace sconce
