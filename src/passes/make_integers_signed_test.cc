#include "passes/pass_test.h"

namespace sconce {
namespace {

// The method after the pass, as text.
std::string signed_text(const std::string& text, QuantizedGraphs what = QuantizedGraphs::integers) {
  auto program = parse_completed(text);
  if (program->methods.empty()) return "";
  PassContext context = target_without();
  context.quantized = what;
  apply(make_integers_signed, *program, program->methods[0].graph, context);
  EXPECT_TRUE(verify(*program).ok());
  return print(*program);
}
bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

constexpr const char* kKnown = R"(
method forward(%x: f32[4]) {
  %q: u8[4] = quantized_decomposed::quantize_per_tensor(%x, 0.1, 129, 0, 255, 0)
  %a: f32[4] = quantized_decomposed::dequantize_per_tensor(%q, 0.1, 129, 0, 255, 0, none)
  %b: f32[4] = quantized_decomposed::dequantize_per_tensor(%q, 0.1, 129, 0, 255, 0, none)
  return %a, %b
})";

TEST(MakeIntegersSigned, moves_the_zero_point_and_the_limits) {
  std::string text = signed_text(kKnown);
  EXPECT_TRUE(has(text, "quantize_per_tensor(%x, 0.1, 1, -128, 127, 1)")) << text;
  EXPECT_FALSE(has(text, "129")) << text;
  EXPECT_TRUE(has(text, "i8[4]")) << text;
  EXPECT_FALSE(has(text, "u8[4]")) << text;
}

TEST(MakeIntegersSigned, gives_the_same_numbers) {
  auto run = [](bool change) {
    auto program = parse_completed(kKnown);
    Graph& graph = program->methods[0].graph;
    PassContext context = target_without();
    context.quantized = QuantizedGraphs::integers;
    if (change) apply(make_integers_signed, *program, graph, context);
    Evaluator evaluator(*program);
    auto results = evaluator.run(graph, random_inputs(*program, graph, 3));
    EXPECT_TRUE(results.ok()) << results.error().text;
    return elements(std::get<EvalTensor>((*results)[0]));
  };
  EXPECT_EQ(run(true), run(false));
}

TEST(MakeIntegersSigned, takes_zero_points_that_are_chosen_along) {
  std::string text = signed_text(R"(
method forward(%x: f32[4]) {
  %s: f64[1], %z: i64[1] = quantized_decomposed::choose_qparams.tensor(%x, 0, 255, 1e-5, 0)
  %q: u8[4] = quantized_decomposed::quantize_per_tensor.tensor(%x, %s, %z, 0, 255, 0)
  %y: f32[4] = quantized_decomposed::dequantize_per_tensor.tensor(%q, %s, %z, 0, 255, 0, none)
  return %y
})");
  EXPECT_TRUE(has(text, "choose_qparams.tensor(%x, -128, 127, 1e-05, 1)")) << text;
  EXPECT_TRUE(has(text, "quantize_per_tensor.tensor(%x, %s, %z, -128, 127, 1)")) << text;
  EXPECT_TRUE(has(text, "(%q, %s, %z, -128, 127, 1, none)")) << text;
}

TEST(MakeIntegersSigned, leaves_integers_and_zero_points_that_others_read) {
  EXPECT_TRUE(has(signed_text(R"(
method forward(%x: f32[4]) {
  %q: u8[4] = quantized_decomposed::quantize_per_tensor(%x, 0.1, 129, 0, 255, 0)
  %a: f32[4] = quantized_decomposed::dequantize_per_tensor(%q, 0.1, 129, 0, 255, 0, none)
  return %a, %q
})"),
                  "quantize_per_tensor(%x, 0.1, 129, 0, 255, 0)"));
  EXPECT_TRUE(has(signed_text(R"(
method forward(%x: f32[4]) {
  %s: f64[1], %z: i64[1] = quantized_decomposed::choose_qparams.tensor(%x, 0, 255, 1e-5, 0)
  %q: u8[4] = quantized_decomposed::quantize_per_tensor.tensor(%x, %s, %z, 0, 255, 0)
  %y: f32[4] = quantized_decomposed::dequantize_per_tensor.tensor(%q, %s, %z, 0, 255, 0, none)
  return %y, %z
})"),
                  "choose_qparams.tensor(%x, 0, 255, 1e-05, 0)"));
}

// Bytes by a weight as torchao has it for processors that multiply bytes without a sign.
std::string moved_product(const char* sums) {
  return fmt::format(R"(
constant @w: i8[3, 2] = {{1, -2, 3, 4, -5, 6}}
constant @s: i32[1, 2] = {{{}}}
method forward(%q: i8[4, 3]) {{
  %w = constant @w
  %s = constant @s
  %i: i32[4, 3] = aten::_to_copy(%q, 3)
  %m: i32[4, 3] = aten::add.Tensor(%i, 128, 1)
  %u: u8[4, 3] = aten::_to_copy(%m, 0)
  %p: i32[4, 2] = aten::_int_mm(%u, %w)
  %y: i32[4, 2] = aten::sub.Tensor(%p, %s, 1)
  return %y
}})",
                     sums);
}

TEST(MakeIntegersSigned, multiplies_bytes_as_they_were) {
  EXPECT_TRUE(
      has(signed_text(moved_product("-128, 1024")), "%y: i32[4, 2] = aten::_int_mm(%q, %w)"));
  // Other numbers are taken from the products here.
  EXPECT_TRUE(has(signed_text(moved_product("-128, 1025")), "aten::sub.Tensor(%p, %s, 1)"));
}

TEST(MakeIntegersSigned, does_nothing_where_the_target_keeps_the_graph) {
  EXPECT_TRUE(has(signed_text(kKnown, QuantizedGraphs::as_they_are), "129"));
}

}  // namespace
}  // namespace sconce
