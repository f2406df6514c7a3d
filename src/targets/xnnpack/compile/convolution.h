// What every convolution says to XNNPACK: its node, its window, and how its filter lies.
#pragma once

#include "targets/xnnpack/compile/lowering.h"

namespace sconce::xnn_compile {

struct XnnConvolution {
  Kind kind = Kind::conv2d;
  XnnWindow window;
  Dims filter;                // of rank 4: those of rows have height 1
  std::vector<size_t> order;  // XNNPACK's order of the filter's dimensions
  int32_t channel_dim = 0;    // which of them, in that order, are the outputs
  bool is_transposed() const { return kind == Kind::conv_transpose2d; }
  bool is_depthwise() const { return kind == Kind::depthwise_conv2d; }
  Dims ordered_filter() const {
    Dims dims;
    for (size_t d : order) dims.push_back(filter[d]);
    return dims;
  }
};

// Of the convolution of `x`, an image or rows, whose stride is argument `at`; padding, dilation,
// transposed, output padding and groups follow it. Nothing where XNNPACK has no node for it.
std::optional<XnnConvolution> read_convolution(const Lowering& l, const Node& node, ValueId x,
                                               ValueId weight, size_t at);

}  // namespace sconce::xnn_compile
