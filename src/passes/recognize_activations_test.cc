#include "passes/pass_test.h"

namespace sconce {
namespace {

std::string method(const std::string& body) {
  return "method forward(%x: f32[2, 3]) {\n" + body + "  return %y\n}\n";
}
std::string recognized(const std::string& body) {
  return ops_after(recognize_activations, method(body));
}

TEST(RecognizeActivations, makes_silu_of_x_times_its_sigmoid) {
  EXPECT_EQ(after(recognize_activations, method(R"(
  %s: f32[2, 3] = aten::sigmoid(%x)
  %y: f32[2, 3] = aten::mul.Tensor(%s, %x)
)")),
            "%y: f32[2, 3] = aten::silu(%x)\nreturn %y\n");
}

TEST(RecognizeActivations, leaves_a_sigmoid_that_others_use) {
  EXPECT_EQ(ops_after(recognize_activations, R"(
method forward(%x: f32[2, 3]) {
  %s: f32[2, 3] = aten::sigmoid(%x)
  %y: f32[2, 3] = aten::mul.Tensor(%s, %x)
  return %y, %s
})"),
            "sigmoid mul.Tensor");
}

TEST(RecognizeActivations, leaves_the_sigmoid_of_something_else) {
  EXPECT_EQ(recognized(R"(
  %h: f32[2, 3] = aten::mul.Tensor(%x, 1.702)
  %s: f32[2, 3] = aten::sigmoid(%h)
  %y: f32[2, 3] = aten::mul.Tensor(%x, %s)
)"),
            "mul.Tensor sigmoid mul.Tensor");
}

TEST(RecognizeActivations, leaves_it_when_the_target_has_no_silu) {
  EXPECT_EQ(ops_after(recognize_activations, method(R"(
  %s: f32[2, 3] = aten::sigmoid(%x)
  %y: f32[2, 3] = aten::mul.Tensor(%s, %x)
)"),
                      target_without({"aten::silu"})),
            "sigmoid mul.Tensor");
}

TEST(RecognizeActivations, makes_gelu_of_erf_in_every_order_of_factors) {
  EXPECT_EQ(after(recognize_activations, method(R"(
  %a: f32[2, 3] = aten::div.Tensor(%x, 1.4142135623730951)
  %b: f32[2, 3] = aten::erf(%a)
  %c: f32[2, 3] = aten::add.Tensor(%b, 1.0)
  %d: f32[2, 3] = aten::mul.Tensor(%x, %c)
  %y: f32[2, 3] = aten::mul.Tensor(%d, 0.5)
)")),
            "%y: f32[2, 3] = aten::gelu(%x, \"none\")\nreturn %y\n");
  EXPECT_EQ(recognized(R"(
  %h: f32[2, 3] = aten::mul.Scalar(%x, 0.5)
  %a: f32[2, 3] = aten::mul.Tensor(%x, 0.7071067811865476)
  %b: f32[2, 3] = aten::erf(%a)
  %c: f32[2, 3] = aten::add.Scalar(%b, 1)
  %y: f32[2, 3] = aten::mul.Tensor(%h, %c)
)"),
            "gelu");
}

TEST(RecognizeActivations, makes_gelu_of_tanh) {
  EXPECT_EQ(after(recognize_activations, method(R"(
  %h: f32[2, 3] = aten::mul.Tensor(%x, 0.5)
  %p: f32[2, 3] = aten::pow.Tensor_Scalar(%x, 3.0)
  %q: f32[2, 3] = aten::mul.Tensor(%p, 0.044715)
  %r: f32[2, 3] = aten::add.Tensor(%x, %q)
  %s: f32[2, 3] = aten::mul.Tensor(%r, 0.7978845608028654)
  %t: f32[2, 3] = aten::tanh(%s)
  %u: f32[2, 3] = aten::add.Tensor(%t, 1.0)
  %y: f32[2, 3] = aten::mul.Tensor(%h, %u)
)")),
            "%y: f32[2, 3] = aten::gelu(%x, \"tanh\")\nreturn %y\n");
  // As "gelu_fast" is written.
  EXPECT_EQ(recognized(R"(
  %h: f32[2, 3] = aten::mul.Tensor(%x, 0.5)
  %k: f32[2, 3] = aten::mul.Tensor(%x, 0.7978845608)
  %p: f32[2, 3] = aten::mul.Tensor(%x, 0.044715)
  %q: f32[2, 3] = aten::mul.Tensor(%p, %x)
  %r: f32[2, 3] = aten::add.Tensor(%q, 1.0)
  %s: f32[2, 3] = aten::mul.Tensor(%k, %r)
  %t: f32[2, 3] = aten::tanh(%s)
  %u: f32[2, 3] = aten::add.Tensor(%t, 1.0)
  %y: f32[2, 3] = aten::mul.Tensor(%h, %u)
)"),
            "gelu");
}

TEST(RecognizeActivations, leaves_a_tanh_with_another_coefficient) {
  EXPECT_EQ(recognized(R"(
  %h: f32[2, 3] = aten::mul.Tensor(%x, 0.5)
  %p: f32[2, 3] = aten::pow.Tensor_Scalar(%x, 3.0)
  %q: f32[2, 3] = aten::mul.Tensor(%p, 0.0447)
  %r: f32[2, 3] = aten::add.Tensor(%x, %q)
  %s: f32[2, 3] = aten::mul.Tensor(%r, 0.7978845608028654)
  %t: f32[2, 3] = aten::tanh(%s)
  %u: f32[2, 3] = aten::add.Tensor(%t, 1.0)
  %y: f32[2, 3] = aten::mul.Tensor(%h, %u)
)")
                .find("gelu"),
            std::string::npos);
}

TEST(RecognizeActivations, makes_hardswish_and_hardsigmoid) {
  const std::string clamped = R"(
  %a: f32[2, 3] = aten::add.Tensor(%x, 3)
  %b: f32[2, 3] = aten::hardtanh(%a, 0.0, 6.0)
)";
  EXPECT_EQ(recognized(clamped + "  %y: f32[2, 3] = aten::div.Tensor(%b, 6)\n"), "hardsigmoid");
  EXPECT_EQ(recognized(clamped + R"(  %c: f32[2, 3] = aten::mul.Tensor(%x, %b)
  %y: f32[2, 3] = aten::div.Tensor(%c, 6)
)"),
            "hardswish");
  EXPECT_EQ(recognized(clamped + R"(  %c: f32[2, 3] = aten::mul.Tensor(%b, 0.16666666666666666)
  %y: f32[2, 3] = aten::mul.Tensor(%x, %c)
)"),
            "hardswish");
}

TEST(RecognizeActivations, makes_mish) {
  EXPECT_EQ(recognized(R"(
  %a: f32[2, 3] = aten::softplus(%x)
  %b: f32[2, 3] = aten::tanh(%a)
  %y: f32[2, 3] = aten::mul.Tensor(%x, %b)
)"),
            "mish");
}

TEST(RecognizeActivations, makes_softplus_of_forms_that_do_not_overflow) {
  EXPECT_EQ(recognized(R"(
  %r: f32[2, 3] = aten::relu(%x)
  %a: f32[2, 3] = aten::abs(%x)
  %n: f32[2, 3] = aten::neg(%a)
  %e: f32[2, 3] = aten::exp(%n)
  %l: f32[2, 3] = aten::log1p(%e)
  %y: f32[2, 3] = aten::add.Tensor(%r, %l)
)"),
            "softplus");
  EXPECT_EQ(recognized(R"(
  %e: f32[2, 3] = aten::exp(%x)
  %y: f32[2, 3] = aten::log1p(%e)
)"),
            "exp log1p");
}

TEST(RecognizeActivations, leaves_integers_and_mixed_types) {
  EXPECT_EQ(ops_after(recognize_activations, R"(
method forward(%x: i64[2], %z: f32[2]) {
  %s: f32[2] = aten::sigmoid(%x)
  %y: f32[2] = aten::mul.Tensor(%s, %x)
  return %y
})"),
            "sigmoid mul.Tensor");
}

}  // namespace
}  // namespace sconce
