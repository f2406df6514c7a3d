#include "formats/checkpoint/view.h"

#include <cstring>
#include <random>

#include <gtest/gtest.h>

namespace sconce {
namespace {

// Element by element, from the definition.
std::vector<uint8_t> gathered(const std::vector<uint8_t>& data, const std::vector<int64_t>& sizes,
                              const std::vector<int64_t>& strides, uint32_t width) {
  std::vector<uint8_t> out;
  std::vector<int64_t> index(sizes.size());
  for (int64_t size : sizes)
    if (size == 0) return out;
  while (true) {
    int64_t offset = 0;
    for (size_t i = 0; i < sizes.size(); i++) offset += index[i] * strides[i];
    out.insert(out.end(), data.begin() + offset * width, data.begin() + (offset + 1) * width);
    size_t dim = sizes.size();
    while (dim > 0 && ++index[dim - 1] == sizes[dim - 1]) index[--dim] = 0;
    if (dim == 0) return out;
  }
}

TEST(View, copies_any_strides_in_pieces_of_any_size) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; round++) {
    uint32_t width = 1u << random() % 5;
    std::vector<int64_t> sizes, strides;
    uint64_t last = 0, count = 1;
    for (size_t i = random() % 5; i > 0; i--) {
      sizes.push_back(random() % 8 == 0 ? 40 : random() % 4 + (random() % 16 != 0));
      strides.push_back(random() % 3 == 0 ? 1 : random() % 50);
      last += uint64_t(std::max<int64_t>(sizes.back() - 1, 0) * strides.back());
      count *= uint64_t(sizes.back());
    }
    if (count > 20000) continue;
    std::vector<uint8_t> data((last + 1) * width);
    for (uint8_t& byte : data) byte = uint8_t(random());
    ASSERT_EQ(find_view_problem(0, sizes, strides, last + 1), "");
    if (count > 0) {
      ASSERT_NE(find_view_problem(0, sizes, strides, last), "");
    }
    ViewReader reader(data.data(), sizes, strides, width);
    ASSERT_EQ(reader.elements_left(), count);
    std::vector<uint8_t> out(count * width);
    uint64_t piece = 1 + random() % 500;
    for (uint64_t at = 0; at < count; at += piece)
      reader.read(out.data() + at * width, std::min(piece, count - at));
    auto wanted = gathered(data, sizes, strides, width);
    ASSERT_EQ(out, wanted) << round;
    if (reader.is_contiguous() && count > 0) {
      EXPECT_EQ(0, std::memcmp(data.data(), wanted.data(), wanted.size()));
    }
  }
}

TEST(View, sees_that_elements_stand_in_order) {
  auto contiguous = [](std::vector<int64_t> sizes, std::vector<int64_t> strides) {
    return ViewReader(nullptr, sizes, strides, 4).is_contiguous();
  };
  EXPECT_TRUE(contiguous({}, {}));
  EXPECT_TRUE(contiguous({2, 3}, {3, 1}));
  EXPECT_TRUE(contiguous({2, 1, 3}, {3, 77, 1}));
  EXPECT_TRUE(contiguous({2, 0}, {5, 5}));
  EXPECT_FALSE(contiguous({2, 3}, {1, 2}));
  EXPECT_FALSE(contiguous({2, 3}, {4, 1}));
  EXPECT_FALSE(contiguous({2}, {0}));
}

TEST(View, never_overflows) {
  constexpr int64_t kMax = INT64_MAX;
  auto problem = [](int64_t begin, std::vector<int64_t> sizes, std::vector<int64_t> strides) {
    return find_view_problem(begin, sizes, strides, 100);
  };
  EXPECT_NE(problem(kMax, {2}, {kMax}), "");
  EXPECT_NE(problem(0, {kMax, kMax}, {0, 0}), "");
  EXPECT_NE(problem(0, {kMax, kMax}, {kMax, kMax}), "");
  EXPECT_NE(problem(100, {}, {}), "");
  EXPECT_EQ(problem(99, {}, {}), "");
  EXPECT_EQ(problem(kMax, {kMax, 0}, {kMax, kMax}), "");
}

}  // namespace
}  // namespace sconce
