// Migration: scales move between float layers, so that what is hard to quantise becomes easier;
// what the model computes stays but for rounding.
#pragma once

#include <functional>
#include <vector>

#include "quantize/layers.h"

namespace sconce {

// Between two convolutions with nothing but a relu between them, each channel is scaled so that the
// weights before it and after it reach as far (arXiv 1906.04721). The number of pairs.
int equalize_layers(Program& program, Graph& graph, const std::vector<Layer>& layers);

// Layer and RMS norms that only linears read: columns of large inputs get smaller inputs and larger
// weights, s = x^share / w^(1 - share) (arXiv 2211.10438). `input_max` has the largest magnitude of
// each input channel of a layer, or nothing. The number of norms.
using InputMax = std::function<const std::vector<double>*(const Layer&)>;
int smooth_layers(Program& program, Graph& graph, const std::vector<Layer>& layers, double share,
                  const InputMax& input_max);
// True when smooth_layers() would find a norm.
bool can_smooth(const Program& program, const Graph& graph, const std::vector<Layer>& layers);

}  // namespace sconce
