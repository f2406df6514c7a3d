// Kernels from anyone: what the verifier takes runs inside its buffers and ends, and the VM gives
// what the interpreter gives, on every instruction set of the machine.
#include <cstdint>
#include <cstring>
#include <string_view>

#include "platform/cpu.h"
#include "tile/interpret.h"
#include "tile/vm.h"

using namespace sconce;
using namespace sconce::tile;

namespace {

struct Buffers {
  std::vector<std::vector<uint8_t>> bytes;
  std::vector<BufferView> views;
};

// Small tensors with some values; false when they would not be small.
bool make_buffers(const Kernel& kernel, size_t seed, Buffers* made) {
  std::vector<int64_t> dims;
  for (size_t d = 0; d < kernel.dims.size(); d++) dims.push_back(int64_t((seed >> d) % 6));
  for (const Buffer& buffer : kernel.buffers) {
    std::vector<int64_t> sizes, strides(buffer.dims.size(), 1);
    int64_t count = 1;
    for (const Extent& extent : buffer.dims) {
      sizes.push_back(size_of(extent, dims));
      if (sizes.back() > 64) return false;
    }
    for (size_t d = sizes.size(); d-- > 0;) {
      strides[d] = count;
      count *= std::max<int64_t>(sizes[d], 1);
      if (count > 4096) return false;
    }
    std::vector<uint8_t> bytes(size_t(count) * dtype_bytes(buffer.dtype));
    if (buffer.is_packed()) {
      auto shape = panel_shape(buffer, {sizes.data(), sizes.size()});
      if (!shape || shape->bytes > 1 << 20) return false;
      bytes.resize(size_t(shape->bytes));
    }
    for (size_t i = 0; i + dtype_bytes(buffer.dtype) <= bytes.size();
         i += dtype_bytes(buffer.dtype)) {
      if (buffer.dtype == DType::f32) {
        float x = float(int(i * 7 % 23) - 9) / 4;
        memcpy(&bytes[i], &x, 4);
      } else if (!is_floating(buffer.dtype)) {
        bytes[i] = uint8_t(i % 5);
      }
    }
    // Sums that do not fit their columns give other numbers on some sets, so they do here.
    if (buffer.is_packed()) complete_panels(buffer, {sizes.data(), sizes.size()}, bytes.data());
    made->bytes.push_back(std::move(bytes));
    made->views.push_back({nullptr, std::move(sizes), std::move(strides), 0});
  }
  for (size_t b = 0; b < made->views.size(); b++) {
    made->views[b].data = made->bytes[b].data();
    made->views[b].bytes = int64_t(made->bytes[b].size());
  }
  return true;
}

// The VM's results on an instruction set, beside the interpreter's: whether it ended well, and
// bits.
void compare(const Kernel& kernel, size_t seed, Isa isa, const Result<void>& done,
             const Buffers& wanted) {
  Buffers got;
  make_buffers(kernel, seed, &got);
  Result<Plan> plan = Plan::make(kernel, got.views, kernels_for(isa), 1);
  if (!plan.ok()) return;
  static ThreadPool pool(1);
  std::vector<uint8_t> scratch(plan->scratch_bytes() + 64);
  std::vector<uint8_t*> pointers;
  for (auto& bytes : got.bytes) pointers.push_back(bytes.data());
  auto* aligned = reinterpret_cast<uint8_t*>((uintptr_t(scratch.data()) + 63) / 64 * 64);
  Result<void> ran = plan->run(pointers, aligned, pool);
  if (ran.ok() != done.ok()) __builtin_trap();
  if (!ran.ok() || isa == Isa::sse2) return;
  for (size_t b = 0; b < got.bytes.size(); b++) {
    if (kernel.buffers[b].dtype != DType::f32) {
      if (got.bytes[b] != wanted.bytes[b]) __builtin_trap();
      continue;
    }
    for (size_t i = 0; i + 4 <= got.bytes[b].size(); i += 4) {
      float x, y;
      memcpy(&x, &got.bytes[b][i], 4);
      memcpy(&y, &wanted.bytes[b][i], 4);
      if (x != y && (x == x || y == y)) __builtin_trap();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Result<Kernel> kernel = parse_kernel(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!kernel.ok()) return 0;
  std::string text = print(*kernel);
  Result<Kernel> again = parse_kernel(text);
  if (!again.ok() || print(*again) != text) __builtin_trap();
  const size_t seed = size * 2654435761u;
  Buffers wanted;
  if (!make_buffers(*kernel, seed, &wanted)) return 0;
  InterpretLimits limits{.steps_max = 200000, .bytes_max = 1 << 20};
  Result<void> done = interpret(*kernel, wanted.views, limits);
  if (!done.ok() && done.error().code == Code::too_large) return 0;
  for (Isa isa : runnable_isas()) compare(*kernel, seed, isa, done, wanted);
  return 0;
}
