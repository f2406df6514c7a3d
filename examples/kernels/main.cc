// Checks the kernels of docs/write_kernels.md on this machine, times each beside the same work
// operator by operator, and prints them as a file of kernels.
//
//   kernels_example            checks and times
//   kernels_example --check    checks only
//   kernels_example --print > kernels.tile
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>

#include "kernels.h"

namespace {

using namespace sconce;
using namespace sconce::kernels;
using sconce::examples::Example;

int fail(const Error& problem) {
  fprintf(stderr, "kernels_example: %s\n", problem.text.c_str());
  return 1;
}

double now_us() {
  return std::chrono::duration<double, std::micro>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// The arrays of the fused kernel, the temporaries of its steps, and a runner for each kernel.
struct Setup {
  RandomArrays arrays;
  std::map<std::string, std::vector<float>> made;
  std::vector<Runner> fused, steps;
  std::vector<std::vector<BufferView>> step_arrays;
};

Result<Setup> set_up(const Example& example, const DimSizes& dims) {
  Setup s;
  TRY(s.arrays, random_arrays(example.fused, dims));
  std::map<std::string, BufferView> known;
  for (size_t b = 0; b < s.arrays.views.size(); b++)
    known[example.fused.buffers[b].name] = s.arrays.views[b];
  TRY(Runner runner, Runner::make(example.fused));
  s.fused.push_back(std::move(runner));
  for (const examples::Step& step : example.steps) {
    std::vector<int64_t> sizes;
    for (const std::string& dim : step.kernel.dims)
      for (const auto& [name, size] : dims)
        if (name == dim) sizes.push_back(size);
    std::vector<BufferView> arrays;
    for (size_t b = 0; b < step.arrays.size(); b++) {
      const std::string& name = step.arrays[b];
      if (!known.contains(name)) {
        std::vector<int64_t> own;
        int64_t count = 1;
        for (const Extent& extent : step.kernel.buffers[b].dims) {
          own.push_back(tile::size_of(extent, sizes));
          count *= own.back();
        }
        s.made[name].assign(size_t(count), 0);
        known[name] = dense(s.made[name].data(), own);
      }
      arrays.push_back(known[name]);
    }
    s.step_arrays.push_back(std::move(arrays));
    TRY(Runner step_runner, Runner::make(step.kernel));
    s.steps.push_back(std::move(step_runner));
  }
  return s;
}

Result<void> run_fused(Setup& s) { return s.fused[0].run(s.arrays.views); }
Result<void> run_steps(Setup& s) {
  for (size_t i = 0; i < s.steps.size(); i++) TRY_VOID(s.steps[i].run(s.step_arrays[i]));
  return {};
}

// The largest difference between the two ways, of the largest result.
Result<double> difference(const Example& example) {
  TRY(Setup s, set_up(example, example.check));
  TRY_VOID(run_fused(s));
  size_t out = 0;
  while (!example.fused.buffers[out].output) out++;
  std::vector<float> fused(s.arrays.bytes[out].size() / 4);
  memcpy(fused.data(), s.arrays.bytes[out].data(), fused.size() * 4);
  memset(s.arrays.bytes[out].data(), 0, s.arrays.bytes[out].size());
  TRY_VOID(run_steps(s));
  auto* steps = reinterpret_cast<const float*>(s.arrays.bytes[out].data());
  double most = 0, scale = 0;
  for (size_t i = 0; i < fused.size(); i++) {
    most = std::max(most, double(std::fabs(fused[i] - steps[i])));
    scale = std::max(scale, double(std::fabs(steps[i])));
  }
  return most / scale;
}

Result<void> time_example(const Example& example) {
  TRY(Setup s, set_up(example, example.bench));
  double fused_us = INFINITY, steps_us = INFINITY;
  double end = now_us() + 1.5e6;
  for (int round = 0; round < 3 || (round < 200 && now_us() < end); round++) {
    double start = now_us();
    TRY_VOID(run_fused(s));
    double middle = now_us();
    TRY_VOID(run_steps(s));
    fused_us = std::min(fused_us, middle - start);
    steps_us = std::min(steps_us, now_us() - middle);
  }
  printf("%-22s %10.0f us %10.0f us in %zu steps %8.2f times as fast\n", example.fused.name.c_str(),
         fused_us, steps_us, s.steps.size(), steps_us / fused_us);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  bool check_only = argc > 1 && strcmp(argv[1], "--check") == 0;
  bool print_only = argc > 1 && strcmp(argv[1], "--print") == 0;
  if (argc > 1 && !check_only && !print_only) {
    fprintf(stderr, "usage: kernels_example [--check | --print]\n");
    return 2;
  }
  auto all = examples::all_examples();
  if (!all.ok()) return fail(all.error());
  if (print_only) {
    std::vector<Kernel> kernels;
    for (const Example& example : *all) kernels.push_back(example.fused);
    printf("%s", print(Span<const Kernel>(kernels)).c_str());
    return 0;
  }
  for (const Example& example : *all) {
    auto check = check_kernel(example.fused, example.check);
    if (!check.ok()) return fail(check.error());
    auto apart = difference(example);
    if (!apart.ok()) return fail(apart.error());
    if (!(*apart < 1e-5)) {
      fprintf(stderr, "kernels_example: %s differs from its operators by %g of the result\n",
              example.fused.name.c_str(), *apart);
      return 1;
    }
    if (check_only)
      printf("%-22s the interpreter's bits in %zu ways, %.0e from its operators\n",
             example.fused.name.c_str(), check->ran.size(), *apart);
    else if (auto timed = time_example(example); !timed.ok())
      return fail(timed.error());
  }
  return 0;
}
