// Samples: what a model is called with, and what comes of it. Knows no graphs.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "tensor/dtype.h"

namespace sconce {

struct SampleTensor {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> sizes;
  Bytes bytes;  // someone else's; row-major
};

// The tensor inputs of one call, in order.
struct Sample {
  std::string name;  // "digits.safetensors, sample 3"
  std::vector<SampleTensor> inputs;
  bool starts = true;  // the model's state is as at the beginning
};

// A value of one call: f32, row-major, valid until the next call.
struct Numbers {
  std::vector<int64_t> sizes;
  Span<const float> data;
};
// Runs a program on one sample; the values that were wanted, in order.
using RunSample = std::function<Result<Span<const Numbers>>(const Sample& sample)>;

}  // namespace sconce
