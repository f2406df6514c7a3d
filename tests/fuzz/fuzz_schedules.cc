// Schedules from anyone: what the reader takes is printed and read again as it was, and any plan
// takes it without a change to its results.
#include <cstdint>
#include <cstring>

#include "platform/cpu.h"
#include "sconce/tile.h"
#include "tile/schedules.h"

using namespace sconce;
using namespace sconce::tile;

namespace {

struct Product {
  Kernel kernel = *kernels::define("product", [](kernels::Trace& t) {
    Extent m_size = t.dim("M"), n_size = t.dim("N"), k_size = t.dim("K");
    kernels::In x = t.input("x", DType::f32, {m_size, k_size});
    kernels::In w = t.weights("w", DType::f32, {k_size, n_size});
    kernels::Out y = t.output("y", DType::f32, {m_size, n_size});
    kernels::Axis m = t.parallel("m", m_size), n = t.parallel("n", n_size);
    kernels::Axis k = t.span("k", k_size);
    y(m, n) = relu(dot(x(m, k), w(k, n), {k}));
  });
  kernels::RandomArrays arrays = *kernels::random_arrays(kernel, {{"M", 5}, {"N", 33}, {"K", 7}});
  ThreadPool pool{1};
  Scratch scratch;
  std::vector<uint8_t> wanted = run({});

  std::vector<uint8_t> run(const Schedule& schedule) {
    auto plan = Plan::make(kernel, arrays.views, kernels_for(best_isa()), 1, schedule);
    if (!plan.ok() || !run_plan(*plan, arrays.views, pool, scratch).ok()) __builtin_trap();
    return arrays.bytes.back();
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto all = parse_schedules({reinterpret_cast<const char*>(data), size});
  if (!all.ok()) {
    if (all.error().text.empty()) __builtin_trap();
    return 0;
  }
  auto again = parse_schedules(print(*all));
  if (!again.ok() || *again != *all) __builtin_trap();
  static Product product;
  for (const MachineSchedules& one : *all)
    for (const auto& [key, schedule] : one.steps)
      if (product.run(schedule) != product.wanted) __builtin_trap();
  return 0;
}
