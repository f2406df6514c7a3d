#include "passes/pass_test.h"

namespace sconce {
namespace {

TEST(MakePromotionExplicit, uses_the_scalar_overload_where_there_is_one) {
  EXPECT_EQ(after(make_promotion_explicit, R"(
method forward(%x: f16[2]) {
  %y: f16[2] = aten::mul.Tensor(%x, 0.1)
  return %y
})"),
            "%y: f16[2] = aten::mul.Scalar(%x, 0.1)\nreturn %y\n");
}

TEST(MakePromotionExplicit, makes_a_tensor_of_a_number_in_the_common_type) {
  EXPECT_EQ(
      after(make_promotion_explicit, R"(
method forward(%x: f64[2]) {
  %y: f64[2] = aten::add.Tensor(%x, 3)
  return %y
})",
            target_without({"aten::add.Scalar"})),
      "%scalar = constant @scalar\n%y: f64[2] = aten::add.Tensor(%x, %scalar, 1)\nreturn %y\n");
}

TEST(MakePromotionExplicit, converts_every_operand_to_the_common_type) {
  EXPECT_EQ(after(make_promotion_explicit, R"(
method forward(%x: i64[2], %z: f32[2]) {
  %y: f32[2] = aten::add.Tensor(%x, %z)
  return %y
})"),
            "%3: f32[2] = aten::_to_copy(%x, 6, none, none, none, false, none)\n%y: f32[2] = "
            "aten::add.Tensor(%3, %z, 1)\nreturn %y\n");
}

TEST(MakePromotionExplicit, ranks_tensors_without_dimensions_below) {
  EXPECT_EQ(ops_after(make_promotion_explicit, R"(
method forward(%x: f32[2], %z: f64[]) {
  %y: f32[2] = aten::add.Tensor(%x, %z)
  return %y
})"),
            "_to_copy add.Tensor");
}

TEST(MakePromotionExplicit, leaves_conditions_and_masks) {
  EXPECT_EQ(ops_after(make_promotion_explicit, R"(
method forward(%c: b8[2], %x: f32[2], %z: f32[2]) {
  %y: f32[2] = aten::where.self(%c, %x, %z)
  %u: f32[2] = aten::masked_fill.Scalar(%y, %c, 1)
  return %u
})"),
            "where.self masked_fill.Scalar");
  EXPECT_EQ(ops_after(make_promotion_explicit, R"(
method forward(%c: b8[2], %x: f32[2], %z: i64[]) {
  %y: f32[2] = aten::where.self(%c, %x, %z)
  return %y
})"),
            "_to_copy where.self");
}

}  // namespace
}  // namespace sconce
