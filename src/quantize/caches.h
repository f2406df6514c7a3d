// Caches: state that attention reads as keys and values becomes int8, with a scale for each row.
#pragma once

#include <vector>

#include "base/result.h"
#include "ir/graph.h"
#include "sconce/quantize.h"

namespace sconce {

// The caches of a graph: buffers that a call writes by position and attention reads, directly or
// through views, casts and repeats. Those of f32 that nothing else reads are stored as i8 with an
// f32 scale for each position and head: rows are quantised where they are written
// (quantized_decomposed::quantize_per_token), numbers are made of them where they are read
// (dequantize_per_token). Code::unsupported when there is none that can be.
Result<std::vector<QuantizeReport::Cache>> quantize_caches(Program& program, Graph& graph);

}  // namespace sconce
