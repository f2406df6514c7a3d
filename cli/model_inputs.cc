#include "model_inputs.h"

#include "ops/elementwise.h"

namespace sconce::cli {

std::string slot_text(const SlotMeta& slot) {
  if (slot.kind != Value::Kind::tensor) return "a number";
  std::string text = fmt::format("{}[", dtype_name(slot.dtype));
  for (int i = 0; i < slot.rank; i++)
    text += fmt::format("{}{}", i ? ", " : slot.dynamic ? "<= " : "", slot.sizes[i]);
  return text + "]";
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
    std::vector<int32_t> sizes;
    for (int64_t size : found->sizes) {
      if (size > INT32_MAX)
        return error(Code::too_large, "\"{}\": size {} exceeds {}", name, size, INT32_MAX);
      sizes.push_back(int32_t(size));
    }
    if (found->owned.empty()) found->owned.assign(found->bytes.begin(), found->bytes.end());
    found->bytes = found->owned;
    inputs.push_back(Argument::of(found->bytes.data(), found->dtype, std::move(sizes)));
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

}  // namespace sconce::cli
