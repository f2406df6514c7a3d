// Times the first opening of a tensor file in this process, and the listing of all its tensors:
// load.py starts it beside the peer. Usage: sconce_header_bench FILE; answers seconds, wall and
// processor time, and the number of tensors.
#include <chrono>
#include <cstdio>
#include <ctime>

#include "sconce/tensor_file.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  std::clock_t cpu = std::clock();
  auto start = std::chrono::steady_clock::now();
  auto file = sconce::TensorFile::open(argv[1]);
  if (!file.ok()) {
    fmt::print(stderr, "sconce_header_bench: {}\n", file.error().text);
    return int(file.error().code);
  }
  size_t count = file->tensors().size();
  std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  fmt::print("{:.6f} {:.6f} {}\n", took.count(), double(std::clock() - cpu) / CLOCKS_PER_SEC,
             count);
  return 0;
}
