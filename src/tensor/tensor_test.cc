#include "tensor/tensor.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "tensor/half.h"

namespace sconce {
namespace {

TEST(half, round_trips_every_f16) {
  for (uint32_t bits = 0; bits < 0x10000; bits++) {
    float value = to_float(f16_t{uint16_t(bits)});
    if (std::isnan(value))
      EXPECT_TRUE(std::isnan(to_float(to_f16(value))));
    else
      EXPECT_EQ(to_f16(value).bits, bits);
  }
}

TEST(half, rounds_to_nearest_even) {
  EXPECT_EQ(to_f16(1.0f + 0x1p-11f).bits, 0x3c00);
  EXPECT_EQ(to_f16(1.0f + 0x3p-11f).bits, 0x3c02);
  EXPECT_EQ(to_f16(65519.0f).bits, 0x7bff);
  EXPECT_EQ(to_f16(65520.0f).bits, 0x7c00);
  EXPECT_EQ(to_f16(0x1p-25f).bits, 0);
  EXPECT_EQ(to_f16(0x1.8p-25f).bits, 1);
  EXPECT_EQ(to_bf16(1.0f + 0x1p-8f).bits, 0x3f80);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::infinity()).bits, 0x7f80);
}

TEST(half, round_trips_every_f8) {
  for (uint32_t bits = 0; bits < 0x100; bits++) {
    const float wide = to_float(f8e5m2_t{uint8_t(bits)}),
                fine = to_float(f8e4m3fn_t{uint8_t(bits)});
    EXPECT_EQ(std::isnan(wide), (bits & 0x7f) > 0x7c) << bits;
    EXPECT_EQ(std::isnan(fine), (bits & 0x7f) == 0x7f) << bits;
    if (!std::isnan(wide)) EXPECT_EQ(to_f8e5m2(wide).bits, bits);
    if (!std::isnan(fine)) EXPECT_EQ(to_f8e4m3fn(fine).bits, bits);
  }
  const float none = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(to_f8e5m2(none).bits & 0x7f, 0x7f);
  EXPECT_EQ(to_f8e4m3fn(none).bits & 0x7f, 0x7f);
}

// Halfway between neighbours, and beyond the largest.
TEST(half, rounds_f8_to_nearest_even) {
  for (uint32_t bits = 0; bits < 0x7b; bits++) {
    const float low = to_float(f8e5m2_t{uint8_t(bits)}),
                high = to_float(f8e5m2_t{uint8_t(bits + 1)});
    EXPECT_EQ(to_f8e5m2((low + high) / 2).bits, bits + bits % 2) << bits;
    EXPECT_EQ(to_f8e5m2(-(low + high) / 2).bits, 0x80 | (bits + bits % 2)) << bits;
    EXPECT_EQ(to_f8e5m2(low * 0.49f + high * 0.51f).bits, bits + 1) << bits;
  }
  EXPECT_EQ(to_f8e5m2(61439.f).bits, 0x7b);
  EXPECT_EQ(to_f8e5m2(61440.f).bits, 0x7c);
  for (uint32_t bits = 0; bits < 0x7e; bits++) {
    const float low = to_float(f8e4m3fn_t{uint8_t(bits)});
    const float high = to_float(f8e4m3fn_t{uint8_t(bits + 1)});
    EXPECT_EQ(to_f8e4m3fn((low + high) / 2).bits, bits + bits % 2) << bits;
    EXPECT_EQ(to_f8e4m3fn(low * 0.49f + high * 0.51f).bits, bits + 1) << bits;
  }
  EXPECT_EQ(to_f8e4m3fn(500.f).bits, 0x7e);
  EXPECT_EQ(to_f8e4m3fn(-std::numeric_limits<float>::infinity()).bits, 0xfe);
}

TEST(tensor, strides_follow_dim_order) {
  int32_t sizes[] = {2, 3, 4, 5};
  uint8_t channels_last[] = {0, 2, 3, 1};
  Tensor tensor{.sizes = sizes, .dim_order = channels_last, .rank = 4};
  Strides strides = strides_of(tensor);
  EXPECT_EQ(strides[0], 60);
  EXPECT_EQ(strides[1], 1);
  EXPECT_EQ(strides[2], 15);
  EXPECT_EQ(strides[3], 3);
  EXPECT_FALSE(is_contiguous(tensor));
}

TEST(tensor, refuses_sizes_past_capacity) {
  int32_t sizes[] = {2, 2}, larger[] = {2, 3}, overflow[] = {0x7fffffff, 0x7fffffff};
  float data[4];
  Tensor tensor{.data = data, .sizes = sizes, .capacity_bytes = sizeof(data), .rank = 2};
  EXPECT_EQ(resize(tensor, larger, nullptr).code, Code::too_large);
  EXPECT_EQ(resize(tensor, overflow, nullptr).code, Code::too_large);
  EXPECT_EQ(sizes[1], 2);
}

}  // namespace
}  // namespace sconce
