#include "passes/pass_test.h"

namespace sconce {
namespace {

// q, k, v of transformers' eager attention: heads beside each other, permuted in front.
const char kEager[] = R"(
method forward(%q: f32[2, 5, 3, 4], %k: f32[2, 5, 3, 4], %v: f32[2, 5, 3, 4]) {
  %q1: f32[2, 3, 5, 4] = aten::permute(%q, [0, 2, 1, 3])
  %kt: f32[2, 3, 4, 5] = aten::permute(%k, [0, 2, 3, 1])
  %v1: f32[2, 3, 5, 4] = aten::transpose.int(%v, 1, 2)
  %q2: f32[6, 5, 4] = aten::view(%q1, [6, 5, 4])
  %k2: f32[6, 4, 5] = aten::view(%kt, [6, 4, 5])
  %s0: f32[6, 5, 5] = aten::bmm(%q2, %k2)
  %s1: f32[2, 3, 5, 5] = aten::view(%s0, [2, 3, 5, 5])
  %s2: f32[2, 3, 5, 5] = aten::mul.Tensor(%s1, 0.5)
  MASK
  %p: f32[2, 3, 5, 5] = aten::_softmax(%s3, -1, false)
  %p2: f32[6, 5, 5] = aten::view(%p, [6, 5, 5])
  %v2: f32[6, 5, 4] = aten::view(%v1, [6, 5, 4])
  %o: f32[6, 5, 4] = aten::bmm(%p2, %v2)
  %y: f32[2, 3, 5, 4] = aten::view(%o, [2, 3, 5, 4])
  return %y
})";

std::string eager(const std::string& mask, std::string constants = "",
                  const std::string& input = "") {
  std::string text = kEager;
  text.replace(text.find("MASK"), 4, mask);
  if (!input.empty()) text.insert(text.find(") {"), ", " + input);
  return constants + text;
}

TEST(RecognizeAttention, makes_one_operator_of_eager_attention) {
  EXPECT_EQ(after(recognize_attention, eager("%s3: f32[2, 3, 5, 5] = aten::add.Tensor(%s2, %m)", "",
                                             "%m: f32[2, 1, 5, 5]")),
            R"(%q1: f32[2, 3, 5, 4] = aten::permute(%q, [0, 2, 1, 3])
%v1: f32[2, 3, 5, 4] = aten::transpose.int(%v, 1, 2)
%18: f32[2, 3, 5, 4] = aten::permute(%k, [0, 2, 1, 3])
%19: f32[2, 3, 5, 4] = aten::scaled_dot_product_attention(%q1, %18, %v1, %m, 0.0, false, 0.5, false)
%o: f32[6, 5, 4] = aten::view(%19, [6, 5, 4])
%y: f32[2, 3, 5, 4] = aten::view(%o, [2, 3, 5, 4])
return %y
)");
}

// As torch decomposes the operator: both operands scaled, rows that the mask hides made 0.
std::string decomposed(const std::string& weights) {
  return R"(
method forward(%q: f32[2, 5, 3, 4], %k: f32[2, 5, 3, 4], %v: f32[2, 3, 5, 4], %m: f32[5, 5]) {
  %q1: f32[2, 3, 5, 4] = aten::permute(%q, [0, 2, 1, 3])
  %q2: f32[2, 3, 5, 4] = aten::mul.Scalar(%q1, 0.5)
  %k1: f32[2, 3, 4, 5] = aten::permute(%k, [0, 2, 3, 1])
  %k2: f32[2, 3, 4, 5] = aten::mul.Scalar(%k1, 0.5)
  %q3: f32[6, 5, 4] = aten::view(%q2, [6, 5, 4])
  %k3: f32[6, 4, 5] = aten::view(%k2, [6, 4, 5])
  %s0: f32[6, 5, 5] = aten::bmm(%q3, %k3)
  %s1: f32[2, 3, 5, 5] = aten::view(%s0, [2, 3, 5, 5])
  %s2: f32[2, 3, 5, 5] = aten::add.Tensor(%s1, %m)
  %p: f32[2, 3, 5, 5] = aten::_softmax(%s2, -1, false)
  %e: b8[2, 3, 5, 5] = aten::eq.Scalar(%s2, -inf)
  %n: b8[2, 3, 5, 5] = aten::logical_not(%e)
  %a: b8[2, 3, 5, 1] = aten::any.dim(%n, -1, true)
  %h: b8[2, 3, 5, 1] = aten::logical_not(%a)
  %z: f32[2, 3, 5, 5] = aten::full_like(%p, 0, 6)
  %w: f32[2, 3, 5, 5] = aten::where.self()" +
         weights + R"()
  %p2: f32[6, 5, 5] = aten::view(%w, [6, 5, 5])
  %v2: f32[6, 5, 4] = aten::view(%v, [6, 5, 4])
  %o: f32[6, 5, 4] = aten::bmm(%p2, %v2)
  %y: f32[2, 3, 5, 4] = aten::view(%o, [2, 3, 5, 4])
  return %y
})";
}

TEST(RecognizeAttention, as_torch_decomposes_it_with_hidden_rows_made_zero) {
  EXPECT_EQ(after(recognize_attention, decomposed("%h, %z, %p")),
            R"(%q1: f32[2, 3, 5, 4] = aten::permute(%q, [0, 2, 1, 3])
%24: f32[2, 3, 5, 4] = aten::permute(%k, [0, 2, 1, 3])
%25: f32[2, 3, 5, 4] = aten::scaled_dot_product_attention(%q1, %24, %v, %m, 0.0, false, 0.25, false)
%o: f32[6, 5, 4] = aten::view(%25, [6, 5, 4])
%y: f32[2, 3, 5, 4] = aten::view(%o, [2, 3, 5, 4])
return %y
)");
  // Zeros for the rows that are not hidden are something else.
  EXPECT_NE(ops_after(recognize_attention, decomposed("%a, %z, %p")).find("_softmax"),
            std::string::npos);
}

TEST(RecognizeAttention, keeps_what_a_filled_mask_does_not_drop) {
  EXPECT_EQ(
      ops_after(recognize_attention, eager("%n: b8[5, 5] = aten::bitwise_not(%m)\n  %s3: f32[2, 3, "
                                           "5, 5] = aten::masked_fill.Scalar(%s2, %n, -inf)",
                                           "", "%m: b8[5, 5]")),
      "permute transpose.int permute scaled_dot_product_attention view view");
  // A finite fill is added: a row where all is masked stays even.
  EXPECT_EQ(ops_after(recognize_attention,
                      eager("%s3: f32[2, 3, 5, 5] = aten::masked_fill.Scalar(%s2, %m, -1e9)", "",
                            "%m: b8[5, 5]")),
            "permute transpose.int permute where.self scaled_dot_product_attention view view");
}

TEST(RecognizeAttention, sees_that_a_constant_mask_is_causal) {
  std::string constants =
      "constant @c: b8[5, 5] = {true, false, false, false, false, true, true, false, false, false, "
      "true, true, true, "
      "false, false, true, true, true, true, false, true, true, true, true, true}\nconstant @low: "
      "f32[] = {-3e38}\n";
  std::string text =
      after(recognize_attention, eager("%c = constant @c\n  %low = constant @low\n"
                                       "  %s3: f32[2, 3, 5, 5] = aten::where.self(%c, %s2, %low)",
                                       constants));
  EXPECT_NE(text.find("scaled_dot_product_attention(%q1, %19, %v1, none, 0.0, true, 0.5, false)"),
            std::string::npos)
      << text;
}

TEST(RecognizeAttention, takes_scales_that_stand_before_the_product) {
  std::string text = after(recognize_attention, R"(
method forward(%q: f32[6, 5, 4], %k: f32[6, 5, 4], %v: f32[6, 5, 4]) {
  %q1: f32[6, 5, 4] = aten::mul.Tensor(%q, 0.25)
  %kt: f32[6, 4, 5] = aten::transpose.int(%k, 1, 2)
  %s: f32[6, 5, 5] = aten::bmm(%q1, %kt)
  %p: f32[6, 5, 5] = aten::_softmax(%s, 2, false)
  %y: f32[6, 5, 4] = aten::bmm(%p, %v)
  return %y
})");
  EXPECT_EQ(text,
            "%y: f32[6, 5, 4] = aten::scaled_dot_product_attention(%q, %k, %v, none, 0.0, false, "
            "0.25, false)\nreturn %y\n");
}

TEST(RecognizeAttention, takes_symbolic_sizes) {
  std::string text = after(recognize_attention, R"(
symbol s0 in [1, 64] hint 5
symbol s1 in [1, 8] hint 2
method forward(%q: f32[s1, 3, s0, 4], %k: f32[s1, 3, s0, 4], %v: f32[s1, 3, s0, 4], %n: int(3*s1), %l: int(s0)) {
  %kt: f32[s1, 3, 4, s0] = aten::transpose.int(%k, 2, 3)
  %q2: f32[3*s1, s0, 4] = aten::view(%q, [%n, %l, 4])
  %k2: f32[3*s1, 4, s0] = aten::view(%kt, [%n, 4, %l])
  %s: f32[3*s1, s0, s0] = aten::bmm(%q2, %k2)
  %p: f32[3*s1, s0, s0] = aten::_softmax(%s, 2, false)
  %v2: f32[3*s1, s0, 4] = aten::view(%v, [%n, %l, 4])
  %y: f32[3*s1, s0, 4] = aten::bmm(%p, %v2)
  return %y
})");
  EXPECT_NE(text.find("aten::scaled_dot_product_attention"), std::string::npos) << text;
  EXPECT_EQ(text.find("aten::bmm"), std::string::npos) << text;
}

TEST(RecognizeAttention, leaves_the_repetition_of_heads_to_the_operator) {
  const std::string text = R"(
method forward(%q: f32[2, 4, 5, 8], %k: f32[2, 2, 5, 8], %v: f32[2, 2, 5, 8]) {
  %k1: f32[2, 2, 1, 5, 8] = aten::unsqueeze(%k, 2)
  %k2: f32[2, 2, 2, 5, 8] = aten::expand(%k1, [2, 2, 2, 5, 8])
  %k3: f32[2, 4, 5, 8] = aten::view(%k2, [2, 4, 5, 8])
  %v1: f32[2, 2, 1, 5, 8] = aten::unsqueeze(%v, DIM)
  %v2: f32[2, 2, 2, 5, 8] = aten::expand(%v1, [2, 2, 2, 5, 8])
  %v3: f32[2, 4, 5, 8] = aten::view(%v2, [2, 4, 5, 8])
  %y: f32[2, 4, 5, 8] = aten::scaled_dot_product_attention(%q, %k3, %v3)
  return %y
})";
  std::string right = text, wrong = text;
  right.replace(right.find("DIM"), 3, "2");
  EXPECT_EQ(after(recognize_attention, right),
            "%y: f32[2, 4, 5, 8] = aten::scaled_dot_product_attention(%q, %k, %v, none, 0.0, "
            "false, none, true)\nreturn %y\n");
  // Heads in turns (0, 1, 0, 1) are another thing.
  wrong.replace(wrong.find("DIM"), 3, "1");
  wrong.replace(wrong.find("%v1: f32[2, 2, 1, 5, 8]"), 23, "%v1: f32[2, 1, 2, 5, 8]");
  EXPECT_EQ(ops_after(recognize_attention, wrong).find("expand"), 10u);
}

TEST(RecognizeAttention, leaves_weights_that_are_an_output_too) {
  EXPECT_EQ(ops_after(recognize_attention, R"(
method forward(%q: f32[6, 5, 4], %k: f32[6, 5, 4], %v: f32[6, 5, 4]) {
  %kt: f32[6, 4, 5] = aten::transpose.int(%k, 1, 2)
  %s: f32[6, 5, 5] = aten::bmm(%q, %kt)
  %p: f32[6, 5, 5] = aten::_softmax(%s, 2, false)
  %y: f32[6, 5, 4] = aten::bmm(%p, %v)
  return %y, %p
})"),
            "transpose.int bmm _softmax bmm");
}

TEST(RecognizeAttention, leaves_a_scale_of_the_masked_scores_and_a_softmax_of_columns) {
  EXPECT_EQ(ops_after(recognize_attention, R"(
method forward(%q: f32[6, 5, 4], %k: f32[6, 5, 4], %v: f32[6, 5, 4], %m: f32[5, 5]) {
  %kt: f32[6, 4, 5] = aten::transpose.int(%k, 1, 2)
  %s: f32[6, 5, 5] = aten::bmm(%q, %kt)
  %a: f32[6, 5, 5] = aten::add.Tensor(%s, %m)
  %b: f32[6, 5, 5] = aten::mul.Tensor(%a, 0.5)
  %p: f32[6, 5, 5] = aten::_softmax(%b, 2, false)
  %y: f32[6, 5, 4] = aten::bmm(%p, %v)
  return %y
})"),
            "transpose.int bmm add.Tensor mul.Tensor _softmax bmm");
  EXPECT_EQ(ops_after(recognize_attention, R"(
method forward(%q: f32[6, 5, 4], %k: f32[6, 5, 4], %v: f32[6, 5, 4]) {
  %kt: f32[6, 4, 5] = aten::transpose.int(%k, 1, 2)
  %s: f32[6, 5, 5] = aten::bmm(%q, %kt)
  %p: f32[6, 5, 5] = aten::_softmax(%s, 1, false)
  %y: f32[6, 5, 4] = aten::bmm(%p, %v)
  return %y
})"),
            "transpose.int bmm _softmax bmm");
}

}  // namespace
}  // namespace sconce
