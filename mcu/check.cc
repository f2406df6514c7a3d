// check MODEL.pte OUTPUT.txt CALLS: runs the model on the host with the inputs of the image,
// compares what the image printed. Equal bytes, or (math functions of another C library) 1e-5 of
// the scale.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include "pattern.h"
#include "sconce/runtime.h"

using namespace sconce;

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  auto module = Module::load(argv[1]);
  if (!module.ok()) {
    std::cerr << module.error().text << "\n";
    return 1;
  }
  std::ifstream file(argv[2]);
  std::string line;
  std::getline(file, line);
  std::cout << "image: " << line << "\n";
  auto meta = module->method_meta("forward");
  if (!meta.ok()) return 1;
  bool exact = true;
  for (int call = 0; call < std::atoi(argv[3]); call++) {
    std::vector<Argument> inputs;
    std::vector<std::vector<uint8_t>> storage(meta->input_count());
    for (uint32_t i = 0; i < meta->input_count(); i++) {
      SlotMeta slot = meta->input(i);
      if (slot.kind != Value::Kind::tensor) {
        inputs.emplace_back();
        continue;
      }
      storage[i].resize(slot.bytes);
      fill_pattern(slot.dtype, i + 100 * uint32_t(call),
                   int64_t(slot.bytes / dtype_bytes(slot.dtype)), storage[i].data());
      std::vector<uint8_t> order;
      if (slot.dim_order) order.assign(slot.dim_order, slot.dim_order + slot.rank);
      inputs.push_back(
          Argument::of(storage[i].data(), slot.dtype, {slot.sizes, slot.sizes + slot.rank}, order));
    }
    auto outputs = module->execute("forward", inputs);
    if (!outputs.ok()) {
      std::cerr << outputs.error().text << "\n";
      return 1;
    }
    for (size_t i = 0; i < outputs->size(); i++) {
      const Argument& want = (*outputs)[i];
      std::string word, hex;
      size_t index = 0;
      std::getline(file, line);
      std::istringstream in(line);
      in >> word >> index >> hex;
      if (word != "output" || index != i) {
        std::cerr << "call " << call << ": want output " << i << ", the image printed: " << line
                  << "\n";
        return 1;
      }
      std::vector<uint8_t> found;
      for (size_t k = 0; k + 1 < hex.size(); k += 2)
        found.push_back(uint8_t(std::stoi(hex.substr(k, 2), nullptr, 16)));
      Bytes bytes = want.is_tensor()
                        ? want.bytes()
                        : Bytes(reinterpret_cast<const uint8_t*>(&want.value.integer), 8);
      if (found.size() != bytes.size()) {
        std::cerr << "output " << i << ": " << found.size() << " bytes, want " << bytes.size()
                  << "\n";
        return 1;
      }
      if (memcmp(found.data(), bytes.data(), bytes.size()) == 0) continue;
      exact = false;
      bool floats = want.is_tensor() && want.tensor.dtype == DType::f32;
      double scale = 0, worst = 0;
      for (size_t k = 0; floats && k + 3 < bytes.size(); k += 4) {
        float a, b;
        memcpy(&a, bytes.data() + k, 4);
        memcpy(&b, found.data() + k, 4);
        scale = std::fmax(scale, std::fabs(a));
        worst = std::fmax(worst, std::isfinite(a - b) ? std::fabs(a - b) : INFINITY);
      }
      if (!floats || worst > 1e-5 * scale) {
        std::cerr << "output " << i << " differs by " << worst << ", its scale is " << scale
                  << "\n";
        return 1;
      }
    }
  }
  std::getline(file, line);
  if (line != "done") {
    std::cerr << "the image did not end: " << line << "\n";
    return 1;
  }
  std::cout << (exact ? "equal to the host, bit for bit\n" : "equal to the host within 1e-5\n");
  return 0;
}
