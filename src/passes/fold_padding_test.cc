#include "passes/pass_test.h"

namespace sconce {
namespace {

std::string padded(const std::string& pads, const std::string& value, const std::string& sizes) {
  return after(fold_padding, R"(
method forward(%x: f32[1, 2, 4, 4], %w: f32[3, 2, 1, 1]) {
  %p: f32[)" + sizes + R"(] = aten::constant_pad_nd(%x, )" +
                                 pads + ", " + value + R"()
  %y: f32[1, 3, 6, 8] = aten::convolution(%p, %w, none, [1, 1], [0, 0], [1, 1], false, [0, 0], 1)
  return %y
})");
}

TEST(FoldPadding, makes_even_zeros_the_convolutions_padding) {
  EXPECT_EQ(padded("[2, 2, 1, 1]", "0", "1, 2, 6, 8"),
            "%y: f32[1, 3, 6, 8] = aten::convolution(%x, %w, none, [1, 1], [1, 2], [1, 1], false, "
            "[0, 0], 1)\nreturn %y\n");
}

TEST(FoldPadding, leaves_other_values_and_uneven_padding) {
  EXPECT_NE(padded("[2, 2, 1, 1]", "1.0", "1, 2, 6, 8").find("constant_pad_nd"), std::string::npos);
  EXPECT_NE(padded("[0, 4, 1, 1]", "0", "1, 2, 6, 8").find("constant_pad_nd"), std::string::npos);
  EXPECT_NE(padded("[2, 2, 1, 1, 0, 0, 1, 1]", "0", "3, 2, 6, 8").find("constant_pad_nd"),
            std::string::npos);
}

}  // namespace
}  // namespace sconce
