// What tests of lowering share: runs a lowered region without a file.
#pragma once

#include <cstring>
#include <vector>

#include "targets/cpu/lower.h"
#include "tile/vm.h"

namespace sconce {

// Runs the steps of a region's program on the block kernels of a set. in, out: by argument.
inline Result<void> run_region(Isa isa, const LoweredRegion& region,
                               const std::vector<const void*>& in, const std::vector<void*>& out) {
  const tile::Program& program = region.program;
  std::vector<uint8_t> memory(program.arena_bytes + 64);
  auto* arena = reinterpret_cast<uint8_t*>((uintptr_t(memory.data()) + 63) / 64 * 64);
  std::vector<uint8_t*> storages;
  for (const tile::Storage& storage : program.storages) {
    const void* at = nullptr;
    switch (storage.kind) {
      case tile::Storage::Kind::input: at = in[storage.index]; break;
      case tile::Storage::Kind::output: at = out[storage.index]; break;
      case tile::Storage::Kind::temporary: at = arena + storage.offset; break;
      case tile::Storage::Kind::constant:
        for (const TileConstant& constant : region.constants)
          if (constant.name == storage.name) at = constant.bytes.data();
    }
    storages.push_back(static_cast<uint8_t*>(const_cast<void*>(at)));
  }
  for (size_t o = 0; o < program.outputs.size(); o++)
    if (int32_t from = program.outputs[o].updates; from != tile::kNone)
      for (const tile::Storage& storage : program.storages)
        if (storage.kind == tile::Storage::Kind::output && storage.index == o)
          memcpy(out[o], in[size_t(from)], storage.bytes);
  ThreadPool pool(2);
  for (const tile::Step& step : program.steps) {
    std::vector<tile::BufferView> shapes;
    std::vector<uint8_t*> data;
    for (const tile::Operand& x : step.operands) {
      shapes.push_back(
          {nullptr, x.sizes, x.strides, int64_t(program.storages[x.storage].bytes - x.offset)});
      data.push_back(storages[x.storage] + x.offset);
    }
    TRY(tile::Plan plan,
        tile::Plan::make(program.kernels[step.kernel], shapes, tile::kernels_for(isa), 2));
    std::vector<uint8_t> scratch(plan.scratch_bytes() * 2 + 64);
    auto* aligned = reinterpret_cast<uint8_t*>((uintptr_t(scratch.data()) + 63) / 64 * 64);
    TRY_VOID(plan.run(data, aligned, pool));
  }
  return {};
}

}  // namespace sconce
