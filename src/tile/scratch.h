// Scratch: memory that a plan's threads work in, grown as plans want it.
#pragma once

#include <cstdint>
#include <vector>

namespace sconce::tile {

class Scratch {
 public:
  // `bytes` bytes aligned to 64, good until the next call.
  uint8_t* reserve(uint64_t bytes) {
    if (memory_.size() < bytes + kAlignment) memory_.resize(bytes + kAlignment);
    auto at = reinterpret_cast<uintptr_t>(memory_.data());
    return reinterpret_cast<uint8_t*>((at + kAlignment - 1) / kAlignment * kAlignment);
  }

 private:
  static constexpr uintptr_t kAlignment = 64;
  std::vector<uint8_t> memory_;
};

}  // namespace sconce::tile
