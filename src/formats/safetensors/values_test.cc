#include "formats/safetensors/values.h"

#include <cmath>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

namespace sconce {
namespace {

std::vector<double> values_of(ElementType type, std::vector<uint8_t> bytes) {
  std::vector<double> out(value_count(type, bytes.size()));
  read_values(type, bytes, 0, out.size(), out.data());
  return out;
}

template <class T>
std::vector<uint8_t> bytes_of(std::vector<T> values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(T));
  memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

TEST(Values, reads_every_type) {
  using V = std::vector<double>;
  EXPECT_EQ(values_of(ElementType::f4, {0x10, 0xf7, 0x2a}), (V{0, 0.5, 6, -6, -1, 1}));
  // 1, 7.5, 0.125, -7.5 from the lowest bit up.
  EXPECT_EQ(values_of(ElementType::f6e2m3, {0xc8, 0x17, 0xfc}), (V{1, 7.5, 0.125, -7.5}));
  EXPECT_EQ(values_of(ElementType::f6e3m2, {0xcc, 0x17, 0xfc}), (V{1, 28, 0.0625, -28}));
  EXPECT_EQ(values_of(ElementType::f8e5m2, {0x3c, 0x7c, 0xfc, 0x01}),
            (V{1, INFINITY, -INFINITY, std::ldexp(1, -16)}));
  EXPECT_EQ(values_of(ElementType::f8e4m3, {0x38, 0x7e, 0x01}), (V{1, 448, std::ldexp(1, -9)}));
  EXPECT_TRUE(std::isnan(values_of(ElementType::f8e4m3, {0xff})[0]));
  EXPECT_EQ(values_of(ElementType::f8e4m3fnuz, {0x40, 0x7f}), (V{1, 240}));
  EXPECT_TRUE(std::isnan(values_of(ElementType::f8e4m3fnuz, {0x80})[0]));
  EXPECT_EQ(values_of(ElementType::f8e5m2fnuz, {0x40, 0x7f}), (V{1, 57344}));
  EXPECT_EQ(values_of(ElementType::f8e8m0, {127, 0, 128}), (V{1, std::ldexp(1, -127), 2}));
  EXPECT_EQ(values_of(ElementType::bf16, {0x80, 0x3f}), (V{1}));
  EXPECT_EQ(values_of(ElementType::f16, {0x00, 0xc0}), (V{-2}));
  EXPECT_EQ(values_of(ElementType::c64, bytes_of<float>({1, -2})), (V{1, -2}));
  EXPECT_EQ(values_of(ElementType::i64, bytes_of<int64_t>({-3})), (V{-3}));
  EXPECT_EQ(values_of(ElementType::b8, {1, 7}), (V{1, 7}));
}

TEST(Values, counts_what_is_not_finite_apart) {
  std::vector<float> values(10000, 2);
  values[0] = 1e6, values[5000] = NAN, values[6000] = INFINITY, values[9999] = 0, values[1] = -4;
  auto stats = compute_stats(ElementType::f32, bytes_of(values));
  EXPECT_EQ(stats.count, 10000u);
  EXPECT_EQ(stats.nans, 1u);
  EXPECT_EQ(stats.infinities, 1u);
  EXPECT_EQ(stats.zeros, 1u);
  EXPECT_EQ(stats.min, -4);
  EXPECT_EQ(stats.max, 1e6);
  EXPECT_NEAR(stats.mean, (1e6 - 4 + 2 * 9995) / 9998.0, 1e-9);
  EXPECT_NEAR(stats.deviation, 1e6 / std::sqrt(9998.0), 20);
  EXPECT_EQ(compute_stats(ElementType::f32, {}).count, 0u);
}

TEST(Values, finds_the_largest_difference) {
  std::vector<float> a(5000, 1), b = a;
  b[4321] = 1.5, b[17] = 1.25, a[99] = b[99] = NAN;
  auto d = compare_values(ElementType::f32, bytes_of(a), ElementType::f32, bytes_of(b));
  EXPECT_EQ(d.different, 2u);
  EXPECT_EQ(d.absolute_max, 0.5);
  EXPECT_EQ(d.worst, 4321u);
  EXPECT_EQ(d.scale, 1.5);
  a[3] = NAN;
  d = compare_values(ElementType::f32, bytes_of(a), ElementType::f32, bytes_of(b));
  EXPECT_EQ(d.absolute_max, INFINITY);
  d = compare_values(ElementType::u64, bytes_of<uint64_t>({~0ull}), ElementType::u64,
                     bytes_of<uint64_t>({~0ull - 1}));
  EXPECT_EQ(d.different, 1u);
  EXPECT_EQ(d.absolute_max, 1);
  d = compare_values(ElementType::bf16, std::vector<uint8_t>{0x80, 0x3f}, ElementType::u8,
                     std::vector<uint8_t>{1});
  EXPECT_EQ(d.different, 0u);
}

}  // namespace
}  // namespace sconce
