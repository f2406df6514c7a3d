#include "passes/pass_test.h"

namespace sconce {
namespace {

TEST(CancelPermutes, across_a_chain_of_pointwise_operators) {
  EXPECT_EQ(after(cancel_permutes, R"(
method forward(%x: f32[2, 3, 4, 5]) {
  %a: f32[2, 4, 5, 3] = aten::permute(%x, [0, 2, 3, 1])
  %b: f32[2, 4, 5, 3] = aten::relu(%a)
  %c: f32[2, 4, 5, 3] = aten::mul.Tensor(%b, 2.0)
  %d: f32[2, 3, 4, 5] = aten::permute(%c, [0, 3, 1, 2])
  return %d
})"),
            "%b: f32[2, 3, 4, 5] = aten::relu(%x)\n%c: f32[2, 3, 4, 5] = aten::mul.Tensor(%b, "
            "2.0)\nreturn %c\n");
}

TEST(CancelPermutes, of_two_operands_become_one) {
  EXPECT_EQ(after(cancel_permutes, R"(
method forward(%x: f32[2, 3], %z: f32[2, 3]) {
  %a: f32[3, 2] = aten::permute(%x, [1, 0])
  %b: f32[3, 2] = aten::permute(%z, [1, 0])
  %c: f32[3, 2] = aten::add.Tensor(%a, %b)
  return %c
})"),
            "%c: f32[2, 3] = aten::add.Tensor(%x, %z, 1)\n%5: f32[3, 2] = aten::permute(%c, [1, "
            "0])\nreturn %5\n");
}

TEST(CancelPermutes, across_padding_slices_and_joins_whose_dimensions_are_renamed) {
  EXPECT_EQ(after(cancel_permutes, R"(
method forward(%x: f32[2, 3, 4, 5], %z: f32[2, 1, 6, 5]) {
  %a: f32[2, 4, 5, 3] = aten::permute(%x, [0, 2, 3, 1])
  %b: f32[2, 6, 5, 3] = aten::constant_pad_nd(%a, [0, 0, 0, 0, 1, 1], 0.0)
  %c: f32[2, 6, 5, 1] = aten::permute(%z, [0, 2, 3, 1])
  %d: f32[2, 6, 5, 4] = aten::cat({%b, %c}, -1)
  %e: f32[2, 6, 4, 4] = aten::slice.Tensor(%d, 2, 1, 5, 1)
  %f: f32[2, 4, 6, 4] = aten::permute(%e, [0, 3, 1, 2])
  return %f
})"),
            "%b: f32[2, 3, 6, 5] = aten::constant_pad_nd(%x, [0, 0, 1, 1], 0.0)\n"
            "%d: f32[2, 4, 6, 5] = aten::cat({%b, %z}, 1)\n"
            "%e: f32[2, 4, 6, 4] = aten::slice.Tensor(%d, 3, 1, 5, 1)\nreturn %e\n");
}

TEST(CancelPermutes, turns_constants) {
  EXPECT_EQ(ops_after(cancel_permutes, R"(
constant @b: f32[1, 3] = {1, 2, 3}
method forward(%x: f32[3, 2]) {
  %b = constant @b
  %a: f32[2, 3] = aten::permute(%x, [1, 0])
  %c: f32[2, 3] = aten::add.Tensor(%a, %b)
  %d: f32[3, 2] = aten::transpose.int(%c, 0, 1)
  return %d
})"),
            "permute add.Tensor");
}

TEST(CancelPermutes, leaves_what_would_gain_nothing) {
  EXPECT_EQ(ops_after(cancel_permutes, R"(
method forward(%x: f32[2, 3]) {
  %a: f32[3, 2] = aten::permute(%x, [1, 0])
  %c: f32[3, 2] = aten::relu(%a)
  return %c
})"),
            "permute relu");
}

TEST(CancelPermutes, leaves_what_depends_on_the_order_of_dimensions) {
  EXPECT_EQ(ops_after(cancel_permutes, R"(
method forward(%x: f32[2, 3]) {
  %a: f32[3, 2] = aten::permute(%x, [1, 0])
  %c: f32[3, 2] = aten::_softmax(%a, 1, false)
  %d: f32[2, 3] = aten::permute(%c, [1, 0])
  return %d
})"),
            "permute _softmax permute");
  // A vector lies along the last dimension, which is another one afterwards.
  EXPECT_EQ(ops_after(cancel_permutes, R"(
method forward(%x: f32[2, 3], %v: f32[2]) {
  %a: f32[3, 2] = aten::permute(%x, [1, 0])
  %c: f32[3, 2] = aten::add.Tensor(%a, %v)
  %d: f32[2, 3] = aten::permute(%c, [1, 0])
  return %d
})"),
            "permute add.Tensor permute");
}

}  // namespace
}  // namespace sconce
