// Running samples: a .pte in memory is called with them, and gives f32 values. What quantize.cc
// asks of the runtime.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quantize/sample.h"

namespace sconce {

struct SampleCall {
  std::string method;
  std::vector<bool> is_tensor;  // inputs of the method; the others keep the value seen at export
  // Values of each call: an input of the sample, or an output of the method.
  struct Value {
    bool is_input = false;
    size_t index = 0;
  };
  std::vector<Value> wanted;
  int threads = 0;  // 0: one for each processor
};

// One thread at a time.
Result<RunSample> run_samples(std::vector<uint8_t> file, SampleCall call);

}  // namespace sconce
