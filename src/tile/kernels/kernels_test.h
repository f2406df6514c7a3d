// What the tests of the kernels share: the tables that run here, and comparing bits.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "platform/cpu.h"
#include "tile/kernels/table.h"

namespace sconce::tile {

// The tables of all sets that run on this processor, `plain` first.
inline std::vector<const KernelTable*> tables() {
  std::vector<const KernelTable*> list;
  for (Isa isa : runnable_isas())
    if (kernels_for(isa).isa == isa) list.push_back(&kernels_for(isa));
  return list;
}

// NaN equals NaN, whatever its bits; -0 is not 0.
inline bool same(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || memcmp(&a, &b, 4) == 0;
}
inline bool same(uint8_t a, uint8_t b) { return a == b; }
inline bool same(int32_t a, int32_t b) { return a == b; }

template <class T>
void expect_same_bits(const std::vector<T>& got, const std::vector<T>& want,
                      const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); i++)
    ASSERT_TRUE(same(got[i], want[i]))
        << what << ": element " << i << " is " << got[i] << ", not " << want[i];
}

// Every `step`-th bit pattern, all values where functions are special, and their neighbours.
inline std::vector<float> floats(uint32_t step) {
  std::vector<float> list;
  auto add = [&](uint32_t bits) {
    float f;
    memcpy(&f, &bits, 4);
    list.push_back(f);
  };
  for (uint64_t bits = 0; bits <= UINT32_MAX; bits += step) add(uint32_t(bits));
  for (float f : {0.f,        0x1p-149f,  0x1p-126f, 1.f,           0.5f,       0.625f,
                  0.9375f,    2.f,        3.f,       4.f,           88.72284f,  103.97208f,
                  87.33655f,  104.f,      89.f,      32768.f,       0x1p22f,    0x1p23f,
                  0x1p24f,    0x1p31f,    0x1p63f,   3.4028235e38f, INFINITY,   0.70710678f,
                  1.5707964f, 3.1415927f, 2.5f,      65504.f,       65519.996f, 65520.f})
    for (int delta = -3; delta <= 3; delta++) {
      uint32_t bits;
      memcpy(&bits, &f, 4);
      add(bits + uint32_t(delta));
      add((bits + uint32_t(delta)) ^ 0x80000000u);
    }
  return list;
}

}  // namespace sconce::tile
