// Times the first opening of a tensor file in this process, and the listing of all its tensors:
// load.py starts it beside the peer. Usage: sconce_header_bench FILE; answers seconds.
#include <chrono>
#include <cstdio>

#include "sconce/tensor_file.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  auto start = std::chrono::steady_clock::now();
  auto file = sconce::TensorFile::open(argv[1]);
  if (!file.ok()) {
    fmt::print(stderr, "sconce_header_bench: {}\n", file.error().text);
    return int(file.error().code);
  }
  size_t count = file->tensors().size();
  std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  fmt::print("{:.6f} {}\n", took.count(), count);
  return 0;
}
