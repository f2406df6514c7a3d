#include "passes/pass_test.h"

namespace sconce {
namespace {

const char kConstants[] =
    "constant @w: f32[3, 4] = zeros\nconstant @t: f32[4, 3] = zeros\nconstant @b: f32[3] = zeros\n";

TEST(RecognizeLinear, takes_the_weight_as_it_is_stored_and_the_bias) {
  EXPECT_EQ(after(recognize_linear, kConstants + std::string(R"(
method forward(%x: f32[2, 5, 4]) {
  %w = constant @w
  %b = constant @b
  %t: f32[4, 3] = aten::transpose.int(%w, 0, 1)
  %m: f32[10, 4] = aten::view(%x, [10, 4])
  %p: f32[10, 3] = aten::mm(%m, %t)
  %v: f32[2, 5, 3] = aten::view(%p, [2, 5, 3])
  %y: f32[2, 5, 3] = aten::add.Tensor(%v, %b)
  return %y
})")),
            "%w = constant @w\n%b = constant @b\n%y: f32[2, 5, 3] = aten::linear(%x, %w, "
            "%b)\nreturn %y\n");
}

TEST(RecognizeLinear, transposes_a_weight_that_is_stored_the_other_way) {
  EXPECT_EQ(ops_after(recognize_linear, kConstants + std::string(R"(
method forward(%x: f32[2, 4]) {
  %t = constant @t
  %b = constant @b
  %y: f32[2, 3] = aten::addmm(%b, %x, %t)
  return %y
})")),
            "permute linear");
}

TEST(RecognizeLinear, leaves_products_of_two_results) {
  EXPECT_EQ(ops_after(recognize_linear, R"(
method forward(%x: f32[2, 4], %z: f32[4, 3]) {
  %y: f32[2, 3] = aten::mm(%x, %z)
  return %y
})"),
            "mm");
}

TEST(RecognizeLinear, leaves_scaled_products) {
  EXPECT_EQ(ops_after(recognize_linear, kConstants + std::string(R"(
method forward(%x: f32[2, 4]) {
  %t = constant @t
  %b = constant @b
  %y: f32[2, 3] = aten::addmm(%b, %x, %t, 1, 2)
  return %y
})")),
            "addmm");
}

}  // namespace
}  // namespace sconce
