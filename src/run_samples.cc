#include "run_samples.h"

#include <algorithm>
#include <optional>

#include "sconce/runtime.h"
#include "tensor/reordered.h"

namespace sconce {
namespace {

class Runner {
 public:
  Runner(Module module, SampleCall call) : module_(std::move(module)), call_(std::move(call)) {}

  Result<Span<const Numbers>> run(const Sample& sample) {
    if (sample.starts) TRY_VOID(module_.reset(call_.method));
    TRY(MethodMeta meta, module_.method_meta(call_.method));
    inputs_.clear();
    std::vector<Argument> inputs;
    size_t tensor = 0;
    for (size_t i = 0; i < call_.is_tensor.size(); i++) {
      if (!call_.is_tensor[i]) {
        inputs.emplace_back();
        continue;
      }
      const SampleTensor& given = sample.inputs[tensor++];
      std::vector<int32_t> sizes(given.sizes.begin(), given.sizes.end());
      SlotMeta slot = meta.input(uint32_t(i));
      std::vector<uint8_t> order;
      if (slot.dim_order && slot.rank == sizes.size())
        order.assign(slot.dim_order, slot.dim_order + slot.rank);
      // The method may write to its inputs.
      inputs_.push_back(reordered(given.bytes, given.dtype, sizes, {}, order));
      inputs.push_back(
          Argument::of(inputs_.back().data(), given.dtype, std::move(sizes), std::move(order)));
    }
    TRY(std::vector<Argument> results, module_.execute(call_.method, inputs));
    numbers_.clear();
    held_.clear();
    for (const SampleCall::Value& value : call_.wanted) {
      Numbers numbers;
      Bytes bytes;
      if (value.is_input) {
        const SampleTensor& given = sample.inputs[value.index];
        numbers.sizes = given.sizes;
        bytes = given.bytes;
      } else {
        const Argument& result = results[value.index];
        numbers.sizes.assign(result.sizes.begin(), result.sizes.end());
        bytes = result.bytes();
        if (!std::is_sorted(result.dim_order.begin(), result.dim_order.end())) {
          held_.push_back(reordered(bytes, DType::f32, result.sizes, result.dim_order, {}));
          bytes = held_.back();
        }
      }
      if (uintptr_t(bytes.data()) % alignof(float) != 0) {
        held_.emplace_back(bytes.begin(), bytes.end());
        bytes = held_.back();
      }
      numbers.data = {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)};
      numbers_.push_back(std::move(numbers));
    }
    return Span<const Numbers>(numbers_);
  }

 private:
  Module module_;
  SampleCall call_;
  std::vector<Numbers> numbers_;
  std::vector<std::vector<uint8_t>> held_, inputs_;
};

}  // namespace

Result<RunSample> run_samples(std::vector<uint8_t> file, SampleCall call) {
  auto bytes = std::make_shared<std::vector<uint8_t>>(std::move(file));
  ModuleOptions options;
  options.threads = call.threads;
  TRY(Module module, Module::load(Bytes(*bytes), options, bytes));
  TRY_VOID(module.load_method(call.method));
  auto runner = std::make_shared<Runner>(std::move(module), std::move(call));
  return RunSample([runner](const Sample& sample) { return runner->run(sample); });
}

}  // namespace sconce
