// An ordinary ExecuTorch app: loads a model, feeds it files of raw tensors, writes what comes out.
// Nothing in it knows of Sconce; the library is linked in, and that is all.
//
//   executorch_app MODEL.pte OUT THREADS COPIES INPUT...
//
// THREADS < 0: not said. COPIES modules run at once, a thread each, twice; their results must be
// the same bits. OUT gets the outputs one after another. Prints the least time of a call.
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

using namespace executorch;
using extension::Module;

namespace {

std::vector<char> read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Copy {
  std::string out;
  double least_ms = 1e300;
  int error = 0;
};

void run(const char* model, int threads, const std::vector<std::vector<char>>& inputs, Copy& copy) {
  auto failed = [&](const char* where, runtime::Error error) {
    fprintf(stderr, "%s: error 0x%x\n", where, unsigned(error));
    copy.error = int(error);
  };
  Module module(model, Module::LoadMode::Mmap);
  runtime::BackendOptions<1> options;
  runtime::LoadBackendOptionsMap map;
  if (threads >= 0) {
    (void)options.set_option("num_threads", threads);
    (void)map.set_options("SconceBackend", options.view());
  }
  if (auto error = module.load(map); error != runtime::Error::Ok) return failed("load", error);
  if (auto error = module.load_method("forward", nullptr, nullptr, &map);
      error != runtime::Error::Ok)
    return failed("load_method", error);
  auto meta = module.method_meta("forward");
  std::vector<std::vector<char>> data = inputs;
  std::vector<extension::TensorPtr> tensors;
  std::vector<runtime::EValue> values;
  for (size_t i = 0; i < meta->num_inputs(); i++) {
    auto info = *meta->input_tensor_meta(i);
    if (data[i].size() != info.nbytes()) {
      fprintf(stderr, "input %zu: %zu bytes, want %zu\n", i, data[i].size(), info.nbytes());
      copy.error = 1;
      return;
    }
    tensors.push_back(extension::from_blob(
        data[i].data(), {info.sizes().begin(), info.sizes().end()}, info.scalar_type()));
    values.push_back(tensors.back());
  }
  for (int call = 0; call < 20; call++) {
    auto start = std::chrono::steady_clock::now();
    auto outputs = module.forward(values);
    std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    if (!outputs.ok()) return failed("forward", outputs.error());
    copy.least_ms = std::min(copy.least_ms, took.count());
    std::string bytes;
    for (const runtime::EValue& output : *outputs) {
      if (!output.isTensor()) continue;
      auto tensor = output.toTensor();
      bytes.append(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
    }
    if (call > 0 && bytes != copy.out) {
      fprintf(stderr, "call %d gave other bits than the first\n", call);
      copy.error = 1;
    }
    copy.out = bytes;
  }
}

}  // namespace

int main(int count, char** words) {
  if (count < 5) {
    fprintf(stderr, "usage: %s MODEL.pte OUT THREADS COPIES INPUT...\n", words[0]);
    return 2;
  }
  std::vector<std::vector<char>> inputs;
  for (int i = 5; i < count; i++) inputs.push_back(read_file(words[i]));
  std::vector<Copy> copies(size_t(std::stoi(words[4])));
  std::vector<std::thread> threads;
  for (Copy& copy : copies)
    threads.emplace_back([&] { run(words[1], std::stoi(words[3]), inputs, copy); });
  for (std::thread& thread : threads) thread.join();
  for (const Copy& copy : copies) {
    if (copy.error) return 1;
    if (copy.out != copies[0].out) {
      fprintf(stderr, "copies of the model gave different bits\n");
      return 1;
    }
  }
  std::ofstream(words[2], std::ios::binary) << copies[0].out;
  printf("%.3f ms\n", copies[0].least_ms);
  return 0;
}
