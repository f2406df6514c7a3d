// Quantisation as a library: a float model (.pt2) and samples of its inputs in, a program (.pte)
// with int8 or int4 weights out, and a report of what that cost. Host only.
//
// Safe to call from several threads at once. Errors name the sample, layer or option, the value
// found and the value wanted; the output is written whole or not at all. docs/quantization.md tells
// which scheme is for what.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/span.h"
#include "sconce/compile.h"
#include "tensor/dtype.h"

namespace sconce {

// A tensor of a calibration file: "input.0", "input.1", ... are the model's tensor inputs in order.
// Sizes are the input's own, or those with more along the first dimension (several batches), or
// with a dimension in front (a sample each); all tensors of a file hold the same number of samples.
struct CalibrationTensor {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> sizes;
  Bytes bytes;  // borrowed until the call returns; aligned for their type
};

// Samples of one file run in order, and keep the model's state from one to the next.
struct CalibrationFile {
  std::string path;  // for messages
  std::vector<CalibrationTensor> tensors;
};

struct QuantizeOptions {
  std::string scheme = "int8";  // one of quantization_schemes()
  std::string target = "xnnpack";
  std::string kv_cache = "float";  // caches of keys and values: float, int8
  std::string observer = "mse";    // min-max, moving-average, percentile, kl, mse
  double percentile = 99.99;       // share of the numbers that percentile's range holds, in %
  bool equalize = false;           // even out channel ranges between convolutions
  double smooth = 0.5;  // share of outliers moved from layer norms into linears, 0 to 1; 0: none
  bool gptq = true;     // choose 4-bit weights so that errors cancel on the samples
  bool bias_correction = true;
  std::vector<std::string> keep;  // layers that stay float: names, * and ? stand for text
  double max_error = 0;  // of the outputs, relative (RMS); layers stay float until it holds; 0: any
  uint64_t max_size = 0;     // of the file; layers get 4-bit weights until it holds; 0: any
  bool sensitivity = true;   // measure each layer
  int threads = 0;           // 0: one for each processor
  bool source_lines = true;  // keep the model's source lines in the file, for messages
  std::function<void(const char* stage, double done)> progress;
};

struct QuantizeReport {
  struct Layer {
    std::string name, op;
    int bits = 32;            // of the weights: 8, 4, or 32 when the layer stays float
    int64_t group = 0;        // columns that share a scale; 0: a scale for each output
    std::string activations;  // "int8", "dynamic int8", "float"
    std::string why_float;    // empty when it is quantised
    uint64_t weight_bytes_before = 0, weight_bytes_after = 0;
    // Ratio of signal to what quantising changed, of the layer's output, in dB; 0 when not
    // measured, 200 when nothing changed.
    double sqnr_alone_db = 0;  // the layer on the float model's numbers
    double sqnr_db = 0;        // the layer where it is, all others quantised too
  };
  std::vector<Layer> layers;
  // Buffers that attention reads as keys and values; none unless asked for.
  struct Cache {
    std::string name;
    std::string why_float;  // empty: it is int8
    uint64_t bytes_before = 0, bytes_after = 0;
  };
  std::vector<Cache> caches;
  std::string scheme, target, observer;
  uint64_t samples = 0;
  struct Output {
    double sqnr_db = 0;
    double error = 0;   // RMS of the difference, relative to the RMS of the output
    double cosine = 0;  // of all numbers of all samples
  };
  std::vector<Output> outputs;  // those of floating numbers
  uint64_t file_bytes_before = 0, file_bytes_after = 0;
  uint64_t weight_bytes_before = 0, weight_bytes_after = 0;  // of layers; float as f32
  std::vector<std::string> notes;                            // what one should know
  double seconds = 0;
};

// Names of schemes, each with a line about it.
struct QuantizationScheme {
  std::string name, about;
};
std::vector<QuantizationScheme> quantization_schemes();

// Writes a program for options.target, or, where `output` ends with ".pt2", an archive that
// torch.export.load opens: quantised weights and `quantized_decomposed` operators around those of the
// float model, as PT2E has them, of one method with fixed sizes. compile() takes it like any other.
// False with `error` filled when nothing was written. `report` may be null. Schemes with fixed
// ranges of activations need samples; so do the measurements, which are left out without any.
bool quantize_file(const CompileInput& input, const std::vector<CalibrationFile>& samples,
                   const std::string& output, const QuantizeOptions& options,
                   QuantizeReport* report, CompileError* error);

// The report as text for people, and as a page of its own with plots.
std::string report_text(const QuantizeReport& report);
std::string report_html(const QuantizeReport& report, const std::string& title);

}  // namespace sconce
