// Compiled for the CPU, for tests of what runs it: the two halves of the project give some names to
// different things, so that each stands in a file of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "formats/pte/pte.h"

namespace sconce {

struct TestTensor {
  DType dtype = DType::f32;
  std::vector<int32_t> sizes;
  std::vector<uint8_t> bytes;
  std::vector<double> elements;
};

struct CompiledForTest {
  PteProgram program;  // of the file; may be changed and written again
  std::vector<uint8_t> file;
  size_t calls = 0;  // of a backend, in the first method
  std::shared_ptr<const void> keep_alive;
};

// IR text through the pipeline and the partition of the target "cpu".
CompiledForTest compile_for_cpu(const std::string& text);
// Inputs by lot, and what the evaluator makes of them.
void evaluate_for_test(const std::string& text, std::vector<TestTensor>* inputs,
                       std::vector<TestTensor>* outputs);

}  // namespace sconce
