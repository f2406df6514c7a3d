// Place: layers become integers in a graph, in the form that PT2E graphs have: quantize and
// dequantize (quantized_decomposed::*) around operators on numbers, weights as integers behind a
// dequantize. What a target makes of these is passes/fold_quantization's business.
#pragma once

#include <map>
#include <vector>

#include "base/result.h"
#include "quantize/layers.h"
#include "quantize/observe.h"
#include "quantize/round.h"

namespace sconce {

// What a layer becomes.
struct LayerIntegers {
  RoundedRows weight;
  std::vector<float> bias;  // empty: as it is
};

// Layers whose why_float is empty become integers. `integers` has an entry for each layer (those of
// float layers are not looked at), `ranges` one for each value that `region` quantises, under the
// value whose range that is. Values keep their ids, layers their results.
Result<void> place_integers(Program& program, Graph& graph, const std::vector<Layer>& layers,
                            const std::vector<LayerIntegers>& integers, const IntegerRegion& region,
                            const std::map<ValueId, Range>& ranges);

// The float graph, and beside each layer a second one on the same numbers that computes with
// integers; the results of these, kNoValue for layers that stay float.
Result<std::vector<ValueId>> place_shadows(Program& program, Graph& graph,
                                           const std::vector<Layer>& layers,
                                           const std::vector<LayerIntegers>& integers,
                                           const std::map<ValueId, Range>& ranges,
                                           const IntegerRegion& region);

}  // namespace sconce
