#include "formats/safetensors/slice.h"

#include <gtest/gtest.h>

namespace sconce {
namespace {

// By the definition: every element of the part, index by index.
std::vector<uint8_t> expected(Span<const uint64_t> shape, Span<const SliceRange> ranges) {
  std::vector<uint8_t> bytes;
  uint64_t count = 1;
  for (uint64_t size : shape) count *= size;
  for (uint64_t i = 0; i < count; i++) {
    uint64_t rest = i;
    bool inside = true;
    for (size_t d = shape.size(); d-- > 0; rest /= shape[d])
      if (d < ranges.size())
        inside &= rest % shape[d] >= ranges[d].start && rest % shape[d] < ranges[d].stop;
    if (inside) bytes.push_back(uint8_t(i));
  }
  return bytes;
}

TEST(Slice, copies_every_part_of_a_small_tensor) {
  const std::vector<uint64_t> shape = {3, 4, 5};
  std::vector<uint8_t> data(60);
  for (size_t i = 0; i < data.size(); i++) data[i] = uint8_t(i);
  size_t tried = 0;
  for (uint64_t a = 0; a < 3; a++)
    for (uint64_t b = a; b <= 3; b++)
      for (uint64_t c = 0; c < 4; c++)
        for (uint64_t d = c; d <= 4; d++)
          for (uint64_t e = 0; e < 5; e++)
            for (uint64_t f = e; f <= 5; f++) {
              std::vector<SliceRange> ranges = {{a, b}, {c, d}, {e, f}};
              auto slice = plan_slice(ElementType::u8, shape, ranges);
              ASSERT_TRUE(slice.ok()) << slice.error().text;
              EXPECT_EQ(slice->shape, (std::vector<uint64_t>{b - a, d - c, f - e}));
              std::vector<uint8_t> out(slice->bytes);
              copy_slice(*slice, data, out.data());
              ASSERT_EQ(out, expected(shape, ranges));
              tried++;
            }
  EXPECT_GT(tried, 1000u);
}

TEST(Slice, takes_whole_what_has_no_range_and_drops_what_is_selected) {
  std::vector<uint64_t> shape = {3, 4, 5};
  std::vector<SliceRange> ranges = {{1, 2, true}, {0, 4}};
  auto slice = plan_slice(ElementType::f32, shape, ranges);
  ASSERT_TRUE(slice.ok());
  EXPECT_EQ(slice->shape, (std::vector<uint64_t>{4, 5}));
  EXPECT_EQ(slice->first, 80u);
  EXPECT_EQ(slice->run_bytes, 80u);
  EXPECT_TRUE(slice->loops.empty());
  auto all = plan_slice(ElementType::f32, {}, {});
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(all->bytes, 4u);
}

TEST(Slice, names_what_is_wrong) {
  auto text_of = [](ElementType type, std::vector<uint64_t> shape, std::vector<SliceRange> ranges) {
    auto slice = plan_slice(type, shape, ranges);
    return slice.ok() ? "accepted" : slice.error().text;
  };
  EXPECT_NE(text_of(ElementType::u8, {2}, {{0, 1}, {0, 1}}).find("TooManySlices"),
            std::string::npos);
  EXPECT_NE(text_of(ElementType::u8, {2}, {{2, 2}}).find("SliceOutOfRange"), std::string::npos);
  EXPECT_NE(text_of(ElementType::u8, {2}, {{0, 3}}).find("SliceOutOfRange"), std::string::npos);
  EXPECT_NE(text_of(ElementType::u8, {2}, {{1, 0}}).find("SliceOutOfRange"), std::string::npos);
  EXPECT_EQ(text_of(ElementType::u8, {2}, {{1, 1}}), "accepted");
  EXPECT_EQ(text_of(ElementType::f4, {2, 2}, {{1, 2}}), "accepted");
  EXPECT_NE(text_of(ElementType::f4, {2, 2}, {{0, 2}, {1, 2}}).find("MisalignedSlice"),
            std::string::npos);
  EXPECT_NE(text_of(ElementType::f4, {3, 2}, {{0, 3}, {0, 1}}).find("MisalignedSlice"),
            std::string::npos);
  EXPECT_EQ(text_of(ElementType::f6e2m3, {8}, {{4, 8}}), "accepted");
  EXPECT_NE(text_of(ElementType::f6e2m3, {8}, {{1, 5}}).find("MisalignedSlice"), std::string::npos);
}

}  // namespace
}  // namespace sconce
