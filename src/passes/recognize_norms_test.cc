#include "passes/pass_test.h"

namespace sconce {
namespace {

const char kLayerNorm[] = R"(
method forward(%x: f32[2, 4, 8], %w: f32[8], %b: f32[8]) {
  %m: f32[2, 4, 1] = aten::mean.dim(%x, [-1], true)
  %c: f32[2, 4, 8] = aten::sub.Tensor(%x, %m)
  %q: f32[2, 4, 8] = aten::pow.Tensor_Scalar(%c, 2)
  %v: f32[2, 4, 1] = aten::mean.dim(%q, [-1], true)
  %e: f32[2, 4, 1] = aten::add.Tensor(%v, 1e-05)
  %s: f32[2, 4, 1] = aten::sqrt(%e)
  %n: f32[2, 4, 8] = aten::div.Tensor(%c, %s)
  %k: f32[2, 4, 8] = aten::mul.Tensor(%n, %w)
  %y: f32[2, 4, 8] = aten::add.Tensor(%k, %b)
  return %y
})";

TEST(RecognizeNorms, makes_layer_norm_with_its_weight_and_bias) {
  EXPECT_EQ(after(recognize_norms, kLayerNorm),
            "%y: f32[2, 4, 8] = aten::layer_norm(%x, [8], %w, %b, 1e-05, true)\nreturn %y\n");
}

TEST(RecognizeNorms, makes_layer_norm_when_the_target_has_only_the_native_one) {
  EXPECT_EQ(ops_after(recognize_norms, kLayerNorm, target_without({"aten::layer_norm"})),
            "layer_norm");
  EXPECT_EQ(
      ops_after(recognize_norms, kLayerNorm,
                target_without({"aten::layer_norm", "aten::native_layer_norm", "aten::rms_norm"})),
      "mean.dim sub.Tensor pow.Tensor_Scalar mean.dim add.Tensor sqrt div.Tensor mul.Tensor "
      "add.Tensor");
}

TEST(RecognizeNorms, makes_layer_norm_of_var_and_rsqrt) {
  EXPECT_EQ(ops_after(recognize_norms, R"(
method forward(%x: f32[2, 8]) {
  %m: f32[2, 1] = aten::mean.dim(%x, [1], true)
  %c: f32[2, 8] = aten::sub.Tensor(%x, %m)
  %v: f32[2, 1] = aten::var.correction(%x, [1], 0, true)
  %e: f32[2, 1] = aten::add.Tensor(%v, 1e-05)
  %s: f32[2, 1] = aten::rsqrt(%e)
  %y: f32[2, 8] = aten::mul.Tensor(%c, %s)
  return %y
})"),
            "layer_norm");
}

TEST(RecognizeNorms, leaves_unbiased_variance_and_other_dimensions) {
  EXPECT_EQ(ops_after(recognize_norms, R"(
method forward(%x: f32[2, 8]) {
  %m: f32[2, 1] = aten::mean.dim(%x, [1], true)
  %c: f32[2, 8] = aten::sub.Tensor(%x, %m)
  %v: f32[2, 1] = aten::var.correction(%x, [1], 1, true)
  %e: f32[2, 1] = aten::add.Tensor(%v, 1e-05)
  %s: f32[2, 1] = aten::rsqrt(%e)
  %y: f32[2, 8] = aten::mul.Tensor(%c, %s)
  return %y
})"),
            "mean.dim sub.Tensor var.correction add.Tensor rsqrt mul.Tensor");
  EXPECT_EQ(ops_after(recognize_norms, R"(
method forward(%x: f32[2, 8]) {
  %q: f32[2, 8] = aten::mul.Tensor(%x, %x)
  %v: f32[1, 8] = aten::mean.dim(%q, [0], true)
  %e: f32[1, 8] = aten::add.Tensor(%v, 1e-05)
  %s: f32[1, 8] = aten::rsqrt(%e)
  %y: f32[2, 8] = aten::mul.Tensor(%x, %s)
  return %y
})"),
            "mul.Tensor mean.dim add.Tensor rsqrt mul.Tensor");
}

TEST(RecognizeNorms, makes_rms_norm_with_the_casts_around_it) {
  EXPECT_EQ(after(recognize_norms, R"(
method forward(%x: f16[2, 8], %w: f16[8]) {
  %u: f32[2, 8] = aten::_to_copy(%x, 6)
  %q: f32[2, 8] = aten::pow.Tensor_Scalar(%u, 2)
  %v: f32[2, 1] = aten::mean.dim(%q, [-1], true)
  %e: f32[2, 1] = aten::add.Tensor(%v, 1e-06)
  %s: f32[2, 1] = aten::rsqrt(%e)
  %n: f32[2, 8] = aten::mul.Tensor(%u, %s)
  %d: f16[2, 8] = aten::_to_copy(%n, 5)
  %y: f16[2, 8] = aten::mul.Tensor(%w, %d)
  return %y
})"),
            "%y: f16[2, 8] = aten::rms_norm(%x, [8], %w, 1e-06)\nreturn %y\n");
}

TEST(RecognizeNorms, leaves_a_scale_of_another_shape_outside) {
  EXPECT_EQ(ops_after(recognize_norms, R"(
method forward(%x: f32[2, 8], %w: f32[2, 8]) {
  %n: f32[2, 8] = aten::layer_norm(%x, [8])
  %y: f32[2, 8] = aten::mul.Tensor(%n, %w)
  return %y
})"),
            "layer_norm mul.Tensor");
}

TEST(RecognizeNorms, makes_softmax) {
  EXPECT_EQ(after(recognize_norms, R"(
method forward(%x: f32[2, 8]) {
  %m: f32[2, 1] = aten::amax(%x, [-1], true)
  %d: f32[2, 8] = aten::sub.Tensor(%x, %m)
  %e: f32[2, 8] = aten::exp(%d)
  %s: f32[2, 1] = aten::sum.dim_IntList(%e, [1], true)
  %y: f32[2, 8] = aten::div.Tensor(%e, %s)
  return %y
})"),
            "%y: f32[2, 8] = aten::_softmax(%x, 1, false)\nreturn %y\n");
}

TEST(RecognizeNorms, leaves_a_sum_along_another_dimension) {
  EXPECT_EQ(ops_after(recognize_norms, R"(
method forward(%x: f32[2, 8]) {
  %m: f32[2, 1] = aten::amax(%x, [-1], true)
  %d: f32[2, 8] = aten::sub.Tensor(%x, %m)
  %e: f32[2, 8] = aten::exp(%d)
  %s: f32[1, 8] = aten::sum.dim_IntList(%e, [0], true)
  %y: f32[2, 8] = aten::div.Tensor(%e, %s)
  return %y
})"),
            "amax sub.Tensor exp sum.dim_IntList div.Tensor");
}

TEST(RecognizeNorms, makes_log_softmax) {
  EXPECT_EQ(ops_after(recognize_norms, R"(
method forward(%x: f32[2, 8]) {
  %m: f32[2, 1] = aten::amax(%x, [-1], true)
  %d: f32[2, 8] = aten::sub.Tensor(%x, %m)
  %e: f32[2, 8] = aten::exp(%d)
  %s: f32[2, 1] = aten::sum.dim_IntList(%e, [1], true)
  %l: f32[2, 1] = aten::log(%s)
  %y: f32[2, 8] = aten::sub.Tensor(%d, %l)
  return %y
})"),
            "_log_softmax");
}

TEST(RecognizeNorms, makes_softmax_of_its_cast_input) {
  EXPECT_EQ(after(recognize_norms, R"(
method forward(%x: bf16[2, 8]) {
  %u: f32[2, 8] = aten::_to_copy(%x, 6)
  %s: f32[2, 8] = aten::_softmax(%u, -1, false)
  %y: bf16[2, 8] = aten::_to_copy(%s, 15)
  return %y
})"),
            "%y: bf16[2, 8] = aten::_softmax(%x, -1, false)\nreturn %y\n");
}

}  // namespace
}  // namespace sconce
