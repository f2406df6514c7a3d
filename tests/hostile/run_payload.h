// Reads, prints and runs an untrusted XNNPACK payload with small memory. Shared by the hostile test
// and the fuzz target.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>

#include "targets/xnnpack/run/runner.h"

namespace sconce {

enum class PayloadEnd { refused, loaded, ran };

// Every named constant is `named_size` bytes
// of one pattern. Dies on an error without a text.
inline PayloadEnd run_payload(Bytes payload, size_t named_size, uint64_t bytes_max,
                              std::string* said) {
  std::vector<uint8_t> pattern(named_size + 1);
  // 0x3f3f3f3f is a scale, a number near 1, and a plain int8.
  for (uint8_t& byte : pattern) byte = 0x3f;
  auto failed = [&](const Error& error) {
    if (error.text.empty()) abort();
    if (said) *said = error.text;
  };
  auto graph = read_xnnpack(payload);
  if (!graph.ok()) {
    failed(graph.error());
    return PayloadEnd::refused;
  }
  if (print_xnnpack(*graph).empty()) abort();
  auto runner = xnn::XnnRunner::make(
      payload, [&](const std::string&) { return Bytes(pattern.data(), named_size); }, bytes_max);
  if (!runner.ok()) {
    failed(runner.error());
    return PayloadEnd::refused;
  }
  struct Argument {
    std::vector<uint8_t> data;
    int32_t sizes[kRankMax] = {};
    Tensor tensor;
    Value value;
  };
  std::vector<std::unique_ptr<Argument>> arguments(graph->external_count);
  std::vector<const Value*> values;
  for (auto& argument : arguments) {
    argument = std::make_unique<Argument>();
    values.push_back(&argument->value);
  }
  for (const XnnValue& declared : graph->values) {
    if (!declared.flags) continue;
    Argument& a = *arguments[declared.external_id];
    uint64_t count = 1;
    for (size_t i = 0; i < declared.dims.size(); i++) {
      a.sizes[i] = int32_t(declared.dims[i]);
      if (!checked_multiply<uint64_t>(count, declared.dims[i], &count)) count = UINT64_MAX;
    }
    if (count > bytes_max / 8) return PayloadEnd::loaded;
    a.tensor.dtype = xnn::plain_dtype(declared.dtype);
    a.data.assign(size_t(count) * dtype_bytes(a.tensor.dtype), 0x3c);
    a.tensor.data = a.data.data();
    a.tensor.sizes = a.sizes;
    a.tensor.rank = uint8_t(declared.dims.size());
    a.tensor.capacity_bytes = a.data.size();
    a.value = Value::of(&a.tensor);
  }
  for (int call = 0; call < 2; call++) {
    if (auto ran = (*runner)->execute(values); !ran.ok()) {
      failed(ran.error());
      return PayloadEnd::loaded;
    }
  }
  return PayloadEnd::ran;
}

}  // namespace sconce
