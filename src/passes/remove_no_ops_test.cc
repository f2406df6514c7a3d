#include "passes/pass_test.h"

namespace sconce {
namespace {

std::string simplified(const std::string& text) { return ops_after(remove_no_ops, text); }

TEST(RemoveNoOps, removes_copies_dropout_and_neutral_arithmetic) {
  EXPECT_EQ(after(remove_no_ops, R"(
constant @one: f32[] = {1}
method forward(%x: f32[2, 3]) {
  %one = constant @one
  %a: f32[2, 3] = aten::clone(%x)
  %c: f32[2, 3] = aten::mul.Tensor(%a, 1)
  %d: f32[2, 3] = aten::div.Tensor(%c, %one)
  %e: f32[2, 3] = aten::expand(%d, [2, 3])
  %f: f32[2, 3] = aten::_to_copy(%e, 6)
  %g: f32[2, 3] = aten::slice.Tensor(%f, 0, 0, 9223372036854775807, 1)
  %h: f32[2, 3] = aten::constant_pad_nd(%g, [0, 0], 0)
  %y: f32[2, 3] = aten::relu(%h)
  return %y
})"),
            "%y: f32[2, 3] = aten::relu(%x)\nreturn %y\n");
}

TEST(RemoveNoOps, a_copy_over_a_tensor_of_the_same_type_is_what_was_copied) {
  EXPECT_EQ(after(remove_no_ops, R"(
method forward(%x: f32[2, 3], %y: f32[2, 3], %z: f32[3], %i: i64[2, 3]) {
  %a: f32[2, 3] = aten::copy(%x, %y, false)
  %b: f32[2, 3] = aten::copy(%a, %z, false)
  %c: f32[2, 3] = aten::copy(%x, %i, false)
  return %a, %b, %c
})"),
            "%b: f32[2, 3] = aten::copy(%y, %z, false)\n"
            "%c: f32[2, 3] = aten::copy(%x, %i, false)\nreturn %y, %b, %c\n");
}

TEST(RemoveNoOps, keeps_the_addition_of_zero_to_floats) {
  EXPECT_EQ(
      simplified("method f(%x: f32[2]) {\n %y: f32[2] = aten::add.Tensor(%x, 0)\n return %y\n}"),
      "add.Tensor");
  EXPECT_EQ(
      simplified("method f(%x: i64[2]) {\n %y: i64[2] = aten::add.Tensor(%x, 0)\n return %y\n}"),
      "");
}

TEST(RemoveNoOps, joins_permutes_and_makes_views_of_those_that_move_nothing) {
  EXPECT_EQ(after(remove_no_ops, R"(
method forward(%x: f32[2, 3, 4]) {
  %a: f32[3, 2, 4] = aten::transpose.int(%x, 0, 1)
  %b: f32[4, 2, 3] = aten::permute(%a, [2, 1, 0])
  return %b
})"),
            "%b: f32[4, 2, 3] = aten::permute(%x, [2, 0, 1])\nreturn %b\n");
  EXPECT_EQ(simplified(R"(
method forward(%x: f32[2, 3, 4]) {
  %a: f32[3, 2, 4] = aten::transpose.int(%x, 0, 1)
  %b: f32[2, 3, 4] = aten::transpose.int(%a, -2, 0)
  return %b
})"),
            "");
  EXPECT_EQ(after(remove_no_ops, R"(
method forward(%x: f32[2, 1, 4]) {
  %a: f32[1, 2, 4] = aten::transpose.int(%x, 0, 1)
  return %a
})"),
            "%a: f32[1, 2, 4] = aten::view(%x, [1, 2, 4])\nreturn %a\n");
}

TEST(RemoveNoOps, joins_views) {
  EXPECT_EQ(after(remove_no_ops, R"(
method forward(%x: f32[2, 3]) {
  %a: f32[6] = aten::view(%x, [6])
  %b: f32[1, 6] = aten::unsqueeze(%a, 0)
  return %b
})"),
            "%b: f32[1, 6] = aten::view(%x, [1, 6])\nreturn %b\n");
  EXPECT_EQ(simplified(R"(
method forward(%x: f32[2, 3]) {
  %a: f32[6] = aten::view(%x, [6])
  %b: f32[2, 3] = aten::view(%a, [2, 3])
  return %b
})"),
            "");
}

TEST(RemoveNoOps, joins_exact_casts_only) {
  EXPECT_EQ(simplified(R"(
method forward(%x: f16[2]) {
  %a: f32[2] = aten::_to_copy(%x, 6)
  %b: f16[2] = aten::_to_copy(%a, 5)
  return %b
})"),
            "");
  EXPECT_EQ(simplified(R"(
method forward(%x: f32[2]) {
  %a: f16[2] = aten::_to_copy(%x, 5)
  %b: f32[2] = aten::_to_copy(%a, 6)
  return %b
})"),
            "_to_copy _to_copy");
  EXPECT_EQ(simplified(R"(
method forward(%x: i32[2]) {
  %a: f32[2] = aten::_to_copy(%x, 6)
  %b: i64[2] = aten::_to_copy(%a, 4)
  return %b
})"),
            "_to_copy _to_copy");
}

TEST(RemoveNoOps, joins_slices) {
  EXPECT_EQ(after(remove_no_ops, R"(
method forward(%x: f32[20]) {
  %a: f32[8] = aten::slice.Tensor(%x, 0, 2, -2, 2)
  %b: f32[3] = aten::slice.Tensor(%a, -1, -5, 9223372036854775807, 2)
  return %b
})"),
            "%b: f32[3] = aten::slice.Tensor(%x, 0, 8, 17, 4)\nreturn %b\n");
}

TEST(RemoveNoOps, joins_cat_of_one) {
  EXPECT_EQ(simplified(R"(
method forward(%x: f32[2, 3], %e: f32[0, 3]) {
  %b: f32[2, 3] = aten::cat({%e, %x}, 0)
  return %b
})"),
            "");
  EXPECT_EQ(simplified(R"(
method forward(%x: f32[2, 3]) {
  %b: f32[4, 3] = aten::cat({%x, %x}, 0)
  return %b
})"),
            "cat");
}

TEST(RemoveNoOps, drops_expands_that_broadcasting_does) {
  EXPECT_EQ(simplified(R"(
method forward(%x: f32[2, 3], %b: f32[3]) {
  %a: f32[2, 3] = aten::expand(%b, [2, 3])
  %y: f32[2, 3] = aten::add.Tensor(%x, %a)
  return %y
})"),
            "add.Tensor");
  EXPECT_EQ(simplified(R"(
method forward(%x: f32[3], %b: f32[3]) {
  %a: f32[2, 3] = aten::expand(%b, [2, 3])
  %y: f32[2, 3] = aten::add.Tensor(%x, %a)
  return %y
})"),
            "expand add.Tensor");
}

TEST(RemoveNoOps, keeps_an_expand_that_decides_the_result_type) {
  EXPECT_EQ(simplified(R"(
method forward(%x: f32[2], %b: f64[]) {
  %a: f64[2] = aten::expand(%b, [2])
  %y: f64[2] = aten::add.Tensor(%x, %a)
  return %y
})"),
            "expand add.Tensor");
}

}  // namespace
}  // namespace sconce
