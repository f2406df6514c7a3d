#include "tile/program.h"

#include <algorithm>

#include "tensor/tensor.h"

namespace sconce::tile {
namespace {

// Shapes are fixed, so the work of a step is known: a file may not ask for more than its buffers
// are worth. Stores stay inside, or leave by one index (squares of results at an edge), which
// bounds parallel axes, and the others are not longer than what there is to read.
Result<void> check_work(const Kernel& kernel, Span<const int64_t> dims,
                        Span<const BufferView> views) {
  constexpr int64_t kWindowMax = 4096, kIterationsMax = int64_t(1) << 46;
  int64_t longest = kWindowMax;
  for (const BufferView& view : views)
    for (int64_t size : view.sizes) longest = std::max(longest, size);
  int64_t iterations = 1;
  for (const Axis& axis : kernel.axes) {
    int64_t extent = size_of(axis.extent, dims);
    if (axis.kind != AxisKind::parallel && extent > longest)
      return error(Code::invalid_file, "axis {} has {} indices; no buffer is longer than {}",
                   axis.name, extent, longest);
    if (__builtin_mul_overflow(iterations, std::max<int64_t>(extent, 1), &iterations) ||
        iterations > kIterationsMax)
      return error(Code::too_large, "more than {} iterations", kIterationsMax);
  }
  for (const Instruction& i : kernel.body) {
    if (i.op != Op::store) continue;
    for (size_t d = 0; d < i.index.size(); d++) {
      int64_t low = i.index[d].offset, high = low;
      bool empty = false, overflow = false;
      for (const Term& term : i.index[d].terms) {
        int64_t extent = size_of(kernel.axes[size_t(term.axis)].extent, dims);
        empty |= extent == 0;
        int64_t reach = 0;
        overflow |= __builtin_mul_overflow(term.factor, extent - 1, &reach);
        int64_t& side = reach < 0 ? low : high;
        overflow |= __builtin_add_overflow(side, reach, &side);
      }
      if (!empty && (overflow || low < 0 || high > views[size_t(i.buffer)].sizes[d]))
        return error(Code::invalid_file, "stores to {} to {} of a dimension of size {}", low, high,
                     views[size_t(i.buffer)].sizes[d]);
    }
  }
  return {};
}

}  // namespace

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
    TRY_VOID(check_work(kernel, *bound, views).with_context(fmt::format("step {}", i)));
  }
  return {};
}

}  // namespace sconce::tile
