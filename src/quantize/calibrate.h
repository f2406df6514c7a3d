// Calibration: samples run through the float graph, and what its values were is kept.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "quantize/layers.h"
#include "quantize/observe.h"
#include "quantize/round.h"
#include "quantize/sample.h"

namespace sconce {

// Tensors of a file as calls of a graph. Each has the sizes of its input, or several times those
// along the first dimension, or one more dimension in front. Numbers that are NaN or infinite are
// an error.
Result<std::vector<Sample>> split_samples(const Program& program, const Graph& graph,
                                          const std::string& path,
                                          const std::vector<SampleTensor>& tensors);

// Makes a program run that gives these f32 values, which no subgraph owns. The program is only
// read.
using MakeRun =
    std::function<Result<RunSample>(const Program& program, const std::vector<ValueId>& wanted)>;
using Tell = std::function<void(const char* stage, double done)>;

struct Statistics {
  std::map<ValueId, Observed> values;  // inputs of layers by channel
  std::map<ValueId, InputProducts> products;
};

struct Watch {
  std::vector<ValueId> values;    // f32
  bool histograms = false;        // takes a second run of all samples
  std::vector<ValueId> products;  // inputs of linears
};

// Numbers that are NaN or infinite are an error that names sample, value and place.
Result<Statistics> calibrate(const Program& program, const Graph& graph,
                             const std::vector<Layer>& layers, const std::vector<Sample>& samples,
                             const Watch& watch, const MakeRun& make_run, const Tell& tell);

}  // namespace sconce
