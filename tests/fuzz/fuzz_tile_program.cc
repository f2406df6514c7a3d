// Tile programs from anyone: what the reader takes is written again as it was, and runs on the VM
// inside its buffers, on every instruction set of the machine.
#include <cstdint>
#include <cstring>
#include <memory>

#include "platform/cpu.h"
#include "tile/interpret.h"
#include "tile/program_bytes.h"
#include "tile/vm.h"

using namespace sconce;
using namespace sconce::tile;

namespace {

// With the sizes that it has now.
void run(const Program& program) {
  constexpr uint64_t kBytesMax = 1 << 20;
  uint64_t bytes = program.arena_bytes;
  if (bytes > kBytesMax) return;
  for (const Storage& storage : program.storages) {
    if (storage.bytes > kBytesMax || (bytes += storage.bytes) > kBytesMax) return;
  }
  // Exact sizes, so that a sanitizer sees every step outside.
  auto make = [](uint64_t count) {
    auto made = std::make_unique<uint8_t[]>(size_t(count));
    memset(made.get(), 1, size_t(count));
    return made;
  };
  std::vector<std::unique_ptr<uint8_t[]>> memory;
  std::vector<uint8_t*> storages;
  memory.push_back(make(program.arena_bytes));
  uint8_t* arena = memory[0].get();
  for (const Storage& storage : program.storages) {
    if (storage.kind == Storage::Kind::temporary) {
      storages.push_back(arena + storage.offset);
      continue;
    }
    memory.push_back(make(storage.bytes));
    storages.push_back(memory.back().get());
  }
  static ThreadPool pool(1);
  for (const Step& step : program.steps) {
    const Kernel& kernel = program.kernels[step.kernel];
    std::vector<BufferView> views;
    std::vector<uint8_t*> pointers;
    for (const Operand& operand : step.operands) {
      uint64_t left = program.storages[operand.storage].bytes - operand.offset;
      pointers.push_back(storages[operand.storage] + operand.offset);
      views.push_back({pointers.back(), operand.sizes, operand.strides, int64_t(left)});
    }
    // Loops may be long; the interpreter knows when they are.
    Result<void> done = interpret(kernel, views, {.steps_max = 100000, .bytes_max = 1 << 20});
    if (!done.ok() && done.error().code == Code::too_large) return;
    for (Isa isa : runnable_isas()) {
      Result<Plan> plan = Plan::make(kernel, views, kernels_for(isa), 1);
      if (!plan.ok()) continue;
      if (plan->scratch_bytes() > kBytesMax) return;
      std::vector<uint8_t> scratch(plan->scratch_bytes() + 64);
      auto* aligned = reinterpret_cast<uint8_t*>((uintptr_t(scratch.data()) + 63) / 64 * 64);
      (void)plan->run(pointers, aligned, pool);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Result<Program> program = read_program({data, size});
  if (!program.ok()) {
    if (program.error().text.empty()) __builtin_trap();
    return 0;
  }
  Result<Program> again = read_program(write_program(*program));
  // A fill value that is NaN differs from itself.
  if (!again.ok() || write_program(*again) != write_program(*program)) __builtin_trap();

  run(*program);
  // Sizes of calls, some within their bounds and one that need not be.
  for (uint32_t call = 0; call < 3 && !program->symbols.empty(); call++) {
    std::vector<int64_t> symbols;
    for (const Symbol& symbol : program->symbols) {
      int64_t room = symbol.max - symbol.min;
      int64_t value = symbol.min + (room > 0 ? int64_t(size * 7 + call * 5) % (room + 1) : 0);
      symbols.push_back(value % 64);
    }
    Result<void> done = set_sizes(*program, symbols);
    if (done.ok())
      run(*program);
    else if (done.error().text.empty())
      __builtin_trap();
  }
  return 0;
}
