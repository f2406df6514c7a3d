#include "passes/pass_test.h"

namespace sconce {
namespace {

const char kStatistics[] =
    "constant @gamma: f32[4] = {1.5, -0.5, 2, 0.25}\nconstant @beta: f32[4] = {0.1, 0.2, -0.3, 0}\n"
    "constant @mean: f32[4] = {0.5, -1, 0, 2}\nconstant @var: f32[4] = {1, 0.25, 4, 0.5}\n";
const char kTaken[] =
    "  %g = constant @gamma\n  %be = constant @beta\n  %m = constant @mean\n  %va = constant "
    "@var\n";

TEST(FoldBatchNorm, into_a_convolution_in_groups) {
  EXPECT_EQ(ops_after(fold_batch_norm, kStatistics + std::string(R"(
constant @w: f32[4, 1, 2, 1] = {1, 2, 3, 4, -5, 6, 7, 8}
constant @b: f32[4] = {1, 2, 3, 4}
method forward(%x: f32[2, 2, 5, 5]) {
  %w = constant @w
  %b = constant @b
)") + kTaken + R"(
  %c: f32[2, 4, 4, 5] = aten::convolution(%x, %w, %b, [1, 1], [0, 0], [1, 1], false, [0, 0], 2)
  %n: f32[2, 4, 4, 5], %s1: f32[0], %s2: f32[0] = aten::_native_batch_norm_legit_no_training(%c, %g, %be, %m, %va, 0.1, 1e-05)
  %y: f32[2, 4, 4, 5] = aten::relu(%n)
  return %y
})"),
            "convolution relu");
}

TEST(FoldBatchNorm, into_a_transposed_convolution_in_groups) {
  EXPECT_EQ(ops_after(fold_batch_norm, kStatistics + std::string(R"(
constant @w: f32[4, 2, 2] = {1, 2, 3, 4, -5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7}
method forward(%x: f32[2, 4, 5]) {
  %w = constant @w
)") + kTaken + R"(
  %c: f32[2, 4, 6] = aten::convolution(%x, %w, none, [1], [0], [1], true, [0], 2)
  %n: f32[2, 4, 6] = aten::batch_norm(%c, %g, %be, %m, %va, false, 0.1, 1e-05, false)
  return %n
})"),
            "convolution");
}

TEST(FoldBatchNorm, into_a_linear_and_through_what_is_written_by_hand) {
  EXPECT_EQ(ops_after(fold_batch_norm, kStatistics + std::string(R"(
constant @w: f32[4, 3] = {1, 2, 3, 4, -5, 6, 7, 8, 9, 1, 2, 3}
constant @s: f32[3] = {2, 3, 4}
method forward(%x: f32[2, 3]) {
  %w = constant @w
  %s = constant @s
)") + kTaken + R"(
  %x2: f32[2, 3] = aten::mul.Tensor(%x, %s)
  %c: f32[2, 4] = aten::linear(%x2, %w)
  %d: f32[2, 4] = aten::sub.Tensor(%c, %m)
  %e: f32[2, 4] = aten::mul.Tensor(%d, %g)
  %f: f32[2, 4] = aten::div.Tensor(%e, 3.0)
  %y: f32[2, 4] = aten::add.Tensor(%f, %be)
  return %y
})"),
            "linear");
}

TEST(FoldBatchNorm, takes_scales_of_both_sides_of_a_convolution) {
  EXPECT_EQ(ops_after(fold_batch_norm, R"(
constant @w: f32[2, 2, 1] = {1, 2, 3, 4}
constant @s: f32[1, 2, 1] = {2, 3}
constant @t: f32[2, 1] = {5, 7}
method forward(%x: f32[2, 2, 5]) {
  %w = constant @w
  %s = constant @s
  %t = constant @t
  %x2: f32[2, 2, 5] = aten::div.Tensor(%x, %s)
  %c: f32[2, 2, 7] = aten::convolution(%x2, %w, none, [1], [1], [1], false, [0], 1)
  %y: f32[2, 2, 7] = aten::sub.Tensor(%t, %c, 2)
  return %y
})"),
            "convolution");
}

TEST(FoldBatchNorm, leaves_additions_before_and_activations_between) {
  EXPECT_EQ(ops_after(fold_batch_norm, R"(
constant @w: f32[2, 2, 1] = {1, 2, 3, 4}
method forward(%x: f32[2, 2, 5]) {
  %w = constant @w
  %x2: f32[2, 2, 5] = aten::add.Tensor(%x, 1.0)
  %c: f32[2, 2, 7] = aten::convolution(%x2, %w, none, [1], [1], [1], false, [0], 1)
  %r: f32[2, 2, 7] = aten::relu(%c)
  %y: f32[2, 2, 7] = aten::mul.Tensor(%r, 2.0)
  return %y
})"),
            "add.Tensor convolution relu mul.Tensor");
}

TEST(FoldBatchNorm, leaves_results_that_others_use_and_weights_that_are_shared) {
  EXPECT_EQ(ops_after(fold_batch_norm, R"(
constant @w: f32[2, 2] = {1, 2, 3, 4}
method forward(%x: f32[2, 2]) {
  %w = constant @w
  %c: f32[2, 2] = aten::linear(%x, %w)
  %y: f32[2, 2] = aten::mul.Tensor(%c, 2.0)
  return %y, %c
})"),
            "linear mul.Tensor");
  EXPECT_EQ(ops_after(fold_batch_norm, R"(
constant @w: f32[2, 2] = {1, 2, 3, 4}
method forward(%x: f32[2, 2]) {
  %w = constant @w
  %c: f32[2, 2] = aten::linear(%x, %w)
  %y: f32[2, 2] = aten::mul.Tensor(%c, 2.0)
  %d: f32[2, 2] = aten::linear(%y, %w)
  return %d
})"),
            "linear mul.Tensor linear");
}

TEST(FoldBatchNorm, leaves_factors_along_another_dimension) {
  EXPECT_EQ(ops_after(fold_batch_norm, R"(
constant @w: f32[2, 2, 1] = {1, 2, 3, 4}
constant @s: f32[2] = {2, 3}
method forward(%x: f32[2, 2, 2]) {
  %w = constant @w
  %s = constant @s
  %c: f32[2, 2, 2] = aten::convolution(%x, %w, none, [1], [0], [1], false, [0], 1)
  %y: f32[2, 2, 2] = aten::mul.Tensor(%c, %s)
  return %y
})"),
            "convolution mul.Tensor");
}

TEST(FoldBatchNorm, leaves_what_would_not_be_finite) {
  EXPECT_EQ(ops_after(fold_batch_norm, R"(
constant @w: f32[2, 2] = {1, 2, 3, 4}
method forward(%x: f32[2, 2]) {
  %w = constant @w
  %c: f32[2, 2] = aten::linear(%x, %w)
  %y: f32[2, 2] = aten::div.Tensor(%c, 0.0)
  return %y
})"),
            "linear div.Tensor");
}

}  // namespace
}  // namespace sconce
