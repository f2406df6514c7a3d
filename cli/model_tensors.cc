#include "model_tensors.h"

#include <algorithm>
#include <cstring>

#include "ops/elementwise.h"

namespace sconce::cli {

Result<Module> open_model(const std::string& path, const LoadOptions& options, bool verbose,
                          LoadReport* told) {
  LoadReport unused, &report = told ? *told : unused;
  auto module = load_module(path, options, &report);
  if (!module.ok() || !verbose || options.as_is) return module;
  fmt::print("{} in {:.1f} ms\n",
             report.improved || !report.by_sizes.empty() ? "compiled anew in memory"
                                                         : "looked at, runs as it stands",
             report.milliseconds);
  for (const MethodAsIs& m : report.as_is)
    fmt::print("  {} as it stands: {}\n", m.method == "*" ? "every method" : "method " + m.method,
               m.reason);
  for (const std::string& method : report.by_sizes)
    fmt::print("  method {}: anew for the sizes of its calls\n", method);
  return module;
}

std::string slot_text(const SlotMeta& slot) {
  if (slot.kind != Value::Kind::tensor) return "a number";
  std::string text = fmt::format("{}[", dtype_name(slot.dtype));
  for (int i = 0; i < slot.rank; i++)
    text += fmt::format("{}{}", i ? ", " : slot.dynamic ? "<= " : "", slot.sizes[i]);
  return text + "]";
}

std::vector<uint8_t> order_wanted(const SlotMeta& slot) {
  std::vector<uint8_t> order;
  if (slot.dim_order) order.assign(slot.dim_order, slot.dim_order + slot.rank);
  return std::is_sorted(order.begin(), order.end()) ? std::vector<uint8_t>() : order;
}

Result<std::vector<Argument>> method_inputs(const MethodMeta& meta, TensorFile& file) {
  std::vector<Argument> inputs;
  size_t tensor_index = 0;
  for (uint32_t i = 0; i < meta.input_count(); i++) {
    SlotMeta slot = meta.input(i);
    if (slot.kind != Value::Kind::tensor) {
      inputs.emplace_back();
      continue;
    }
    std::string name = fmt::format("input.{}", tensor_index++);
    NamedTensor* found = nullptr;
    for (NamedTensor& t : file.tensors)
      if (t.name == name) found = &t;
    if (!found) {
      const char* known = meta.input_name(i);
      return error(Code::invalid_argument, "tensor \"{}\" is missing{}: {} is wanted", name,
                   *known ? fmt::format(" (input \"{}\" of the model)", known) : "",
                   slot_text(slot));
    }
    TRY(std::vector<int32_t> sizes, method_sizes(*found));
    std::vector<uint8_t> order = order_wanted(slot);
    if (sizes.size() != order.size()) order.clear();  // of another rank: the runtime says so
    if (!order.empty())
      found->owned = reordered(found->bytes, found->dtype, sizes, {}, order);
    else if (found->owned.empty())
      found->owned.assign(found->bytes.begin(), found->bytes.end());
    found->bytes = found->owned;
    inputs.push_back(
        Argument::of(found->bytes.data(), found->dtype, std::move(sizes), std::move(order)));
  }
  for (const NamedTensor& t : file.tensors) {
    size_t index =
        t.name.starts_with("input.") ? strtoul(t.name.c_str() + 6, nullptr, 10) : SIZE_MAX;
    if (index >= tensor_index)
      return error(Code::invalid_argument,
                   "tensor \"{}\" is no input: the method takes input.0 to input.{}", t.name,
                   int64_t(tensor_index) - 1);
  }
  return inputs;
}

std::vector<Argument> made_up_inputs(const MethodMeta& meta,
                                     std::vector<std::vector<uint8_t>>* storage) {
  std::vector<Argument> inputs;
  storage->reserve(meta.input_count());
  uint64_t state = 1;
  for (uint32_t i = 0; i < meta.input_count(); i++) {
    SlotMeta slot = meta.input(i);
    if (slot.kind != Value::Kind::tensor) {
      inputs.emplace_back();
      continue;
    }
    storage->emplace_back(slot.bytes + 16);
    std::vector<uint8_t>& bytes = storage->back();
    if (is_floating(slot.dtype)) {
      size_t element = dtype_bytes(slot.dtype);
      for (size_t k = 0; (k + 1) * element <= slot.bytes; k++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        float value = float(int32_t(state >> 32)) * 0x1p-31f;
        store_elements<float>(bytes.data() + k * element, 1, &value, 1, slot.dtype);
      }
    }
    inputs.push_back(Argument::of(bytes.data(), slot.dtype,
                                  std::vector<int32_t>(slot.sizes, slot.sizes + slot.rank)));
  }
  return inputs;
}

std::vector<NamedTensor> named_results(const std::vector<Argument>& results) {
  std::vector<NamedTensor> outputs;
  size_t tensor_index = 0;
  for (size_t position = 0; position < results.size(); position++) {
    const Argument& result = results[position];
    NamedTensor tensor;
    tensor.name = result.is_tensor() ? fmt::format("output.{}", tensor_index++)
                                     : fmt::format("number.{}", position);
    auto take = [&](DType dtype, const void* bytes) {
      tensor.dtype = dtype;
      tensor.owned.assign(static_cast<const uint8_t*>(bytes),
                          static_cast<const uint8_t*>(bytes) + dtype_bytes(dtype));
    };
    if (result.is_tensor()) {
      tensor.dtype = result.tensor.dtype;
      tensor.sizes.assign(result.sizes.begin(), result.sizes.end());
      tensor.bytes = result.bytes();
      if (!is_contiguous(result.tensor))
        tensor.owned = reordered(tensor.bytes, tensor.dtype, result.sizes, result.dim_order, {});
    } else if (result.value.kind == Value::Kind::integer) {
      take(DType::i64, &result.value.integer);
    } else if (result.value.kind == Value::Kind::floating) {
      take(DType::f64, &result.value.floating);
    } else if (result.value.kind == Value::Kind::boolean) {
      take(DType::b8, &result.value.boolean);
    } else {
      continue;
    }
    outputs.push_back(std::move(tensor));
  }
  for (NamedTensor& tensor : outputs)
    if (!tensor.owned.empty()) tensor.bytes = tensor.owned;
  return outputs;
}

}  // namespace sconce::cli
