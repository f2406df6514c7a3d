// Loads and runs every method of an untrusted .pte with exact memory, so that a sanitizer sees
// every step outside. Shared by the hostile test and the fuzz target.
#pragma once

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "runtime/method.h"

namespace sconce {

struct FreeDeleter {
  void operator()(uint8_t* at) const { free(at); }
};
using AlignedMemory = std::unique_ptr<uint8_t, FreeDeleter>;

// Aligned to 16. The block ends at most 15 bytes behind `size`, filled with 0xcd.
inline AlignedMemory make_aligned(size_t size, uint8_t fill) {
  size_t rounded = (size + 15) / 16 * 16 + (size == 0 ? 16 : 0);
  AlignedMemory memory(static_cast<uint8_t*>(aligned_alloc(16, rounded)));
  if (memory) memset(memory.get(), fill, rounded);
  return memory;
}

struct UntrustedResult {
  bool loaded = false;      // the program was accepted
  int methods_loaded = 0;   // methods that were accepted
  int methods_run = 0;      // methods that ran to their end
  std::string first_error;  // text of the first refusal
};

inline UntrustedResult run_untrusted(Bytes file, Span<const KernelRow> kernels,
                                     uint64_t memory_limit = 4 << 20) {
  UntrustedResult result;
  AlignedMemory copy = make_aligned(file.size(), 0xcd);
  if (!file.empty()) memcpy(copy.get(), file.data(), file.size());
  Diagnostic diagnostic;
  auto refused = [&](Status status) {
    if (status.ok()) return false;
    if (diagnostic.text[0] == 0) abort();  // an error without a word
    if (result.first_error.empty()) result.first_error = diagnostic.text;
    return true;
  };
  Program program;
  if (refused(Program::load({copy.get(), file.size()}, &program, &diagnostic))) return result;
  result.loaded = true;
  for (uint32_t m = 0; m < program.method_count(); m++) {
    const char* name = program.method_name(m);
    MethodMeta meta;
    uint64_t arena_bytes = 0;
    if (refused(program.find_method(name, &meta, &diagnostic))) continue;
    if (refused(Method::arena_bytes(program, name, {}, &arena_bytes, &diagnostic))) continue;
    if (arena_bytes > memory_limit) continue;
    std::vector<AlignedMemory> memories;
    std::vector<PlannedMemory> planned;
    bool small = true;
    for (uint32_t i = 0; i < meta.memory_count() && small; i++) {
      uint64_t bytes = meta.memory_bytes(i);
      small = bytes <= memory_limit;
      if (!small) break;
      memories.push_back(make_aligned(size_t(bytes), 0));
      planned.push_back({{memories.back().get(), size_t(bytes)}});
    }
    if (!small) continue;
    AlignedMemory arena = make_aligned(size_t(arena_bytes), 0);
    struct Scratch {
      AlignedMemory memory;
      uint64_t limit;
    } scratch{nullptr, memory_limit};
    MethodOptions options;
    options.arena = {arena.get(), size_t(arena_bytes)};
    options.planned = planned;
    options.kernels = kernels;
    options.context = &scratch;
    options.grow_scratch = [](void* context, uint64_t bytes) -> Span<uint8_t> {
      auto* scratch = static_cast<Scratch*>(context);
      if (bytes > scratch->limit) return {};
      scratch->memory = make_aligned(size_t(bytes), 0);
      return {scratch->memory.get(), size_t(bytes)};
    };
    Method method;
    if (refused(method.load(program, name, options, &diagnostic))) continue;
    result.methods_loaded++;
    bool all_ran = true;
    for (int call = 0; call < 2 && all_ran; call++) {
      std::vector<AlignedMemory> data;
      std::vector<std::unique_ptr<Tensor>> tensors;
      for (uint32_t i = 0; i < meta.input_count(); i++) {
        SlotMeta slot = meta.input(i);
        if (slot.kind != Value::Kind::tensor || slot.bytes > memory_limit) continue;
        data.push_back(make_aligned(size_t(slot.bytes), slot.dtype == DType::b8 ? 1 : 0x3f));
        tensors.push_back(std::make_unique<Tensor>());
        *tensors.back() = {.data = data.back().get(),
                           .sizes = const_cast<int32_t*>(slot.sizes),
                           .dim_order = slot.dim_order,
                           .capacity_bytes = slot.bytes,
                           .dtype = slot.dtype,
                           .rank = slot.rank};
        (void)refused(method.set_input(i, Value::of(tensors.back().get()), &diagnostic));
      }
      for (uint32_t i = 0; i < meta.output_count(); i++) {
        SlotMeta slot = meta.output(i);
        if (slot.kind != Value::Kind::tensor || slot.planned || slot.constant ||
            slot.bytes > memory_limit)
          continue;
        data.push_back(make_aligned(size_t(slot.bytes), 0));
        (void)refused(method.set_output(i, {data.back().get(), size_t(slot.bytes)}, &diagnostic));
      }
      ExecuteOptions execute;
      execute.instruction_budget = 300;
      all_ran = !refused(method.execute(execute, &diagnostic));
    }
    result.methods_run += all_ran;
  }
  return result;
}

}  // namespace sconce
