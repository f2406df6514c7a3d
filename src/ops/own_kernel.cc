#include "ops/own_kernel.h"

#include <algorithm>

#include <fmt/ranges.h>

namespace sconce {
namespace {

std::string type_text(const TensorType& type) {
  std::vector<std::string> sizes;
  for (const SymInt& size : type.sizes)
    sizes.push_back(size.is_known() ? std::to_string(size.value) : "?");
  return fmt::format("{}[{}]", dtype_name(type.dtype), fmt::join(sizes, ", "));
}
std::string type_text(const tile::Kernel& kernel, const tile::Buffer& buffer) {
  std::vector<std::string> sizes;
  for (const tile::Extent& extent : buffer.dims)
    sizes.push_back(extent.dim == tile::kNone ? std::to_string(extent.known)
                                              : kernel.dims[size_t(extent.dim)]);
  return fmt::format("{}[{}]", dtype_name(buffer.dtype), fmt::join(sizes, ", "));
}

}  // namespace

std::shared_ptr<const tile::Kernel> find_own_kernel(const OwnKernels& kernels,
                                                    std::string_view op) {
  for (const auto& kernel : kernels)
    if (kernel->stands_for.name == op) return kernel;
  return nullptr;
}

const tile::Kernel* own_kernel_of(const Program& program, const Node& node) {
  if (node.op != kOwnKernel) return nullptr;
  return program.own_kernels[size_t(std::get<int64_t>(node.arguments[0]))].get();
}

size_t buffer_of_argument(const tile::Kernel& kernel, size_t argument) {
  const std::string& name = kernel.stands_for.arguments[argument];
  size_t b = 0;
  while (kernel.buffers[b].name != name) b++;  // verified
  return b;
}
size_t buffer_of_result(const tile::Kernel& kernel, size_t result) {
  size_t b = 0;
  while (!kernel.buffers[b].output || result-- > 0) b++;
  return b;
}

Result<void> check_own_kernel(const tile::Kernel& kernel, const std::vector<TensorType>& operands,
                              const std::vector<TensorType>& results) {
  size_t inputs = kernel.stands_for.arguments.size(), outputs = kernel.buffers.size() - inputs;
  if (operands.size() != inputs || results.size() != outputs)
    return error(
        Code::unsupported,
        "kernel {} stands for an operator of {} arguments and {} results; here are {} and {}",
        kernel.name, inputs, outputs, operands.size(), results.size());
  std::vector<int64_t> dims(kernel.dims.size(), -1);
  auto check = [&](size_t b, const TensorType& type) -> Result<void> {
    const tile::Buffer& buffer = kernel.buffers[b];
    bool fits = buffer.dtype == type.dtype && buffer.dims.size() == type.sizes.size();
    std::string told;
    for (size_t d = 0; fits && d < type.sizes.size(); d++) {
      if (!type.sizes[d].is_known()) continue;
      const tile::Extent& extent = buffer.dims[d];
      int64_t size = type.sizes[d].value;
      int64_t wanted = extent.dim == tile::kNone ? extent.known : dims[size_t(extent.dim)];
      if (wanted < 0) dims[size_t(extent.dim)] = size;
      fits = wanted < 0 || wanted == size;
      if (!fits && extent.dim != tile::kNone)
        told = fmt::format(", where {} is {}", kernel.dims[size_t(extent.dim)], wanted);
    }
    if (fits) return {};
    return error(Code::unsupported, "kernel {}: {} {} is {}{}; the model has {}", kernel.name,
                 buffer.output ? "output" : "input", buffer.name, type_text(kernel, buffer), told,
                 type_text(type));
  };
  for (size_t i = 0; i < operands.size(); i++)
    TRY_VOID(check(buffer_of_argument(kernel, i), operands[i]));
  for (size_t r = 0; r < results.size(); r++)
    TRY_VOID(check(buffer_of_result(kernel, r), results[r]));
  return {};
}

}  // namespace sconce
