#include "tile/program.h"

#include "tensor/tensor.h"

namespace sconce::tile {

Result<void> verify(Program& program) {
  for (Kernel& kernel : program.kernels) TRY_VOID(verify(kernel));
  if (program.arena_bytes > uint64_t(1) << 46)
    return error(Code::too_large, "an arena of {} bytes", program.arena_bytes);
  for (const std::vector<Argument>* arguments : {&program.inputs, &program.outputs})
    for (const Argument& argument : *arguments) {
      const std::vector<uint8_t>& order = argument.dim_order;
      if (argument.sizes.size() > size_t(sconce::kRankMax) ||
          (!order.empty() && (order.size() != argument.sizes.size() ||
                              !is_valid_dim_order(order.data(), int(order.size())))))
        return error(Code::invalid_file, "argument of rank {} with a dim order of {}",
                     argument.sizes.size(), order.size());
    }
  for (size_t s = 0; s < program.storages.size(); s++) {
    const Storage& storage = program.storages[s];
    bool is_input = storage.kind == Storage::Kind::input,
         is_output = storage.kind == Storage::Kind::output;
    if (storage.kind > Storage::Kind::temporary)
      return error(Code::invalid_file, "storage {}: kind {}", s, int(storage.kind));
    if (is_input || is_output) {
      const std::vector<Argument>& arguments = is_input ? program.inputs : program.outputs;
      if (storage.index >= arguments.size())
        return error(Code::invalid_file, "storage {}: argument {} of {}", s, storage.index,
                     arguments.size());
      const Argument& argument = arguments[storage.index];
      uint64_t bytes = dtype_bytes(argument.dtype);
      for (int64_t size : argument.sizes)
        if (size < 0 || __builtin_mul_overflow(bytes, uint64_t(size), &bytes))
          return error(Code::invalid_file, "storage {}: argument {} has size {}", s, storage.index,
                       size);
      if (bytes != storage.bytes)
        return error(Code::invalid_file, "storage {}: {} bytes for an argument of {}", s,
                     storage.bytes, bytes);
    }
    if (storage.kind == Storage::Kind::constant && storage.name.empty())
      return error(Code::invalid_file, "storage {}: a constant without a name", s);
    if (storage.kind == Storage::Kind::temporary) {
      uint64_t end = 0;
      if (storage.offset % 64 || __builtin_add_overflow(storage.offset, storage.bytes, &end) ||
          (storage.bytes > 0 && end > program.arena_bytes))
        return error(Code::invalid_file, "storage {}: {} bytes at {} of an arena of {}", s,
                     storage.bytes, storage.offset, program.arena_bytes);
    }
  }
  for (size_t i = 0; i < program.steps.size(); i++) {
    const Step& step = program.steps[i];
    if (step.kernel >= program.kernels.size())
      return error(Code::invalid_file, "step {}: kernel {} of {}", i, step.kernel,
                   program.kernels.size());
    const Kernel& kernel = program.kernels[step.kernel];
    if (step.operands.size() != kernel.buffers.size())
      return error(Code::invalid_file, "step {}: {} operands for {} buffers", i,
                   step.operands.size(), kernel.buffers.size());
    std::vector<BufferView> views;
    for (size_t b = 0; b < step.operands.size(); b++) {
      const Operand& operand = step.operands[b];
      if (operand.storage >= program.storages.size())
        return error(Code::invalid_file, "step {}: storage {} of {}", i, operand.storage,
                     program.storages.size());
      const Storage& storage = program.storages[operand.storage];
      if (operand.offset > storage.bytes || operand.offset % dtype_bytes(kernel.buffers[b].dtype))
        return error(Code::invalid_file, "step {}: offset {} into a storage of {} bytes", i,
                     operand.offset, storage.bytes);
      if (kernel.buffers[b].output &&
          (storage.kind == Storage::Kind::input || storage.kind == Storage::Kind::constant))
        return error(Code::invalid_file, "step {}: writes to an input or a constant", i);
      views.push_back(
          {nullptr, operand.sizes, operand.strides, int64_t(storage.bytes - operand.offset)});
    }
    Result<std::vector<int64_t>> bound = bind(kernel, views);
    if (!bound.ok()) return std::move(bound.error()).with_context(fmt::format("step {}", i));
  }
  return {};
}

}  // namespace sconce::tile
