#include "passes/pass_test.h"

namespace sconce {
namespace {

PassContext with_integers() {
  PassContext context = target_without();
  context.quantized = QuantizedGraphs::integers;
  return context;
}

// What is left of the method after the pass and the removal of dead code.
std::string folded(const std::string& text) {
  auto program = parse_completed(text);
  if (program->methods.empty()) return "";
  Graph& graph = program->methods[0].graph;
  apply(fold_quantization, *program, graph, with_integers());
  apply(remove_dead_code, *program, graph, with_integers());
  EXPECT_TRUE(verify(*program).ok());
  std::string ops;
  for (NodeId id : graph.order)
    ops += (ops.empty() ? "" : " ") +
           graph.nodes[size_t(id)].op.substr(graph.nodes[size_t(id)].op.find("::") + 2);
  return ops;
}

// The only node that is left.
Node folded_node(const std::string& text) {
  auto program = parse_completed(text);
  Graph& graph = program->methods[0].graph;
  apply(fold_quantization, *program, graph, with_integers());
  apply(remove_dead_code, *program, graph, with_integers());
  EXPECT_EQ(graph.order.size(), 1u);
  return graph.order.size() == 1 ? graph.nodes[size_t(graph.order[0])] : Node();
}

constexpr const char* kLinear = R"(
constant @w: i8[2, 3] = {1, 2, 3, -4, 5, -6}
constant @s: f32[2] = {0.5, 0.25}
constant @b: f32[2] = {1, -1}
method forward(%q: i8[4, 3]) {
  %w = constant @w
  %s = constant @s
  %b = constant @b
  %x: f32[4, 3] = quantized_decomposed::dequantize_per_tensor(%q, 0.1, 3, -128, 127, 1, none)
  %v: f32[2, 3] = quantized_decomposed::dequantize_per_channel(%w, %s, none, 0, -127, 127, 1, none)
  %y: f32[4, 2] = aten::linear(%x, %v, %b)
  %z: f32[4, 2] = aten::relu(%y)
  %r: i8[4, 2] = quantized_decomposed::quantize_per_tensor(%z, 0.2, -5, -128, 127, 1)
  return %r
})";

// kLinear with other text in places.
std::string linear_with(std::initializer_list<std::pair<const char*, const char*>> changes) {
  std::string text = kLinear;
  for (auto [from, to] : changes) {
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text = fmt::format("{}{}{}", text.substr(0, at), to, text.substr(at + strlen(from)));
  }
  return text;
}

TEST(FoldQuantization, makes_a_linear_of_integers_with_its_limits) {
  const Node node = folded_node(kLinear);
  ASSERT_EQ(node.op, "int8::linear");
  EXPECT_EQ(std::get<int64_t>(node.arguments[8]), -5);  // relu: nothing below the zero point
  EXPECT_EQ(std::get<int64_t>(node.arguments[9]), 127);
}

TEST(FoldQuantization, gives_what_numbers_give_within_a_step) {
  auto run = [&](bool fold) {
    auto program = parse_completed(kLinear);
    Graph& graph = program->methods[0].graph;
    if (fold) apply(fold_quantization, *program, graph, with_integers());
    Evaluator evaluator(*program);
    EvalTensor x;
    x.dtype = DType::i8;
    x.sizes = {4, 3};
    x.owner = std::make_shared<std::vector<uint8_t>>(
        std::vector<uint8_t>{0, 255, 128, 127, 3, 7, 90, 200, 33, 250, 61, 18});
    x.data = x.owner->data();
    x.bytes = 12;
    auto out = evaluator.run(graph, {x});
    EXPECT_TRUE(out.ok());
    const EvalTensor& y = std::get<EvalTensor>((*out)[0]);
    return std::vector<int8_t>(y.data, y.data + y.bytes);
  };
  std::vector<int8_t> integers = run(true), numbers = run(false);
  ASSERT_EQ(integers.size(), numbers.size());
  for (size_t i = 0; i < integers.size(); i++) EXPECT_NEAR(integers[i], numbers[i], 1) << i;
}

TEST(FoldQuantization, gives_numbers_of_a_linear_that_something_else_reads) {
  EXPECT_EQ(folded(linear_with({{"return %r", "return %r, %y"}})),
            "linear relu quantize_per_tensor");
}

TEST(FoldQuantization, takes_only_the_weights_of_a_linear_of_numbers) {
  std::string text =
      linear_with({{"linear(%x", "linear(%n"}, {"%q: i8[4, 3]", "%q: i8[4, 3], %n: f32[4, 3]"}});
  EXPECT_EQ(folded(text), "weight_linear relu quantize_per_tensor");
}

TEST(FoldQuantization, convolutions_by_depth_that_give_numbers_stay_numbers) {
  auto text = [](const char* channels, const char* groups) {
    return fmt::format(R"(
constant @w: i8[2, {0}, 1, 1] = {{1, 2{2}}}
method forward(%q: i8[1, 2, 4, 4]) {{
  %w = constant @w
  %x: f32[1, 2, 4, 4] = quantized_decomposed::dequantize_per_tensor(%q, 0.1, 3, -128, 127, 1, none)
  %f: f32[2, {0}, 1, 1] = quantized_decomposed::dequantize_per_tensor(%w, 0.5, 0, -127, 127, 1, none)
  %y: f32[1, 2, 4, 4] = aten::convolution(%x, %f, none, [1, 1], [0, 0], [1, 1], false, [0, 0], {1})
  return %y
}})",
                       channels, groups, channels[0] == '2' ? ", 3, 4" : "");
  };
  EXPECT_EQ(folded(text("2", "1")), "convolution");
  EXPECT_EQ(folded(text("1", "2")), "dequantize_per_tensor weight_convolution");
}

TEST(FoldQuantization, leaves_weights_with_zero_points) {
  std::string text = linear_with({{"(%w, %s, none", "(%w, %s, %n"},
                                  {"method", "constant @n: i64[2] = {0, 1}\nmethod"},
                                  {"  %w = ", "  %n = constant @n\n  %w = "}});
  EXPECT_EQ(folded(text),
            "dequantize_per_tensor dequantize_per_channel linear relu quantize_per_tensor");
}

TEST(FoldQuantization, moves_integers_when_the_scale_stays) {
  auto text = [](const char* scale) {
    return std::string(R"(
method forward(%q: i8[4, 6]) {
  %x: f32[4, 6] = quantized_decomposed::dequantize_per_tensor(%q, 0.1, 3, -128, 127, 1, none)
  %y: f32[6, 4] = aten::permute(%x, [1, 0])
  %r: i8[6, 4] = quantized_decomposed::quantize_per_tensor(%y, )") +
           scale + R"(, 3, -128, 127, 1)
  return %r
})";
  };
  EXPECT_EQ(folded(text("0.1")), "permute");
  EXPECT_EQ(folded(text("0.2")), "dequantize_per_tensor permute quantize_per_tensor");
}

// A convolution of %x by windows %f, told by the rest of the text.
std::string windows_and(const char* rest) {
  std::string text = R"(
constant @w: i8[2, 1, 3, 3] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 8, 7, 6, 5, 4, 3, 2, 1}
constant @s: f32[2] = {0.5, 0.25}
method forward(%x: f32[2, 1, 4, 4]) {
  %w = constant @w
  %s = constant @s
  %f: f32[2, 1, 3, 3] = quantized_decomposed::dequantize_per_channel(%w, %s, none, 0, -127, 127, 1, none))";
  text += rest;
  return text;
}

TEST(FoldQuantization, quantises_a_convolutions_images_by_their_own_range) {
  std::string text = windows_and(R"(
  %a: f64[1], %z: i64[1] = quantized_decomposed::choose_qparams.tensor(%x, -128, 127, 1e-5, 1)
  %q: i8[2, 1, 4, 4] = quantized_decomposed::quantize_per_tensor.tensor(%x, %a, %z, -128, 127, 1)
  %d: f32[2, 1, 4, 4] = quantized_decomposed::dequantize_per_tensor.tensor(%q, %a, %z, -128, 127, 1, none)
  %y: f32[2, 2, 4, 4] = aten::convolution(%d, %f, none, [1, 1], [1, 1], [1, 1], false, [0, 0], 1)
  return %y
})");
  EXPECT_EQ(folded(text), "dynamic_convolution");
}

TEST(FoldQuantization, takes_the_weights_of_a_convolution_of_numbers) {
  std::string text = windows_and(R"(
  %y: f32[2, 2, 4, 4] = aten::convolution(%x, %f, none, [1, 1], [1, 1], [1, 1], false, [0, 0], 1)
  return %y
})");
  EXPECT_EQ(folded(text), "weight_convolution");
}

// Two quantised matrices by each other, and what becomes of the product.
std::string product(const char* sizes, const char* end) {
  return fmt::format(R"(
method forward(%a: i8[2, 3, 4], %b: i8[{0}]) {{
  %x: f32[2, 3, 4] = quantized_decomposed::dequantize_per_tensor(%a, 0.1, 3, -128, 127, 1, none)
  %y: f32[{0}] = quantized_decomposed::dequantize_per_tensor(%b, 0.2, 0, -128, 127, 1, none)
  %z: f32[2, 3, 5] = aten::matmul(%x, %y){1})",
                     sizes, end);
}
constexpr const char* kRounded = R"(
  %r: f32[2, 3, 5] = aten::relu(%z)
  %q: i8[2, 3, 5] = quantized_decomposed::quantize_per_tensor(%r, 0.5, -7, -128, 127, 1)
  return %q
})";
constexpr const char* kNotRounded = R"(
  %r: f32[2, 3, 5] = aten::relu(%z)
  return %r
})";

TEST(FoldQuantization, multiplies_two_activations) {
  EXPECT_EQ(folded(product("2, 4, 5", kRounded)), "matmul");
  const Node node = folded_node(product("2, 4, 5", kRounded));
  ASSERT_EQ(node.op, "int8::matmul");
  EXPECT_EQ(std::get<int64_t>(node.arguments[8]), -7);  // relu
}

TEST(FoldQuantization, products_that_nothing_rounds_are_numbers_of_integers) {
  EXPECT_EQ(folded(product("2, 4, 5", kNotRounded)), "matmul relu");
  auto program = parse_completed(product("2, 4, 5", kNotRounded));
  Graph& graph = program->methods[0].graph;
  apply(fold_quantization, *program, graph, with_integers());
  std::string ops;
  for (NodeId id : graph.order) ops += graph.nodes[size_t(id)].op + " ";
  EXPECT_NE(ops.find("int8::matmul"), std::string::npos) << ops;
}

TEST(FoldQuantization, products_with_batches_of_other_sizes_stay_numbers) {
  EXPECT_EQ(folded(product("4, 5", kNotRounded)),
            "dequantize_per_tensor dequantize_per_tensor matmul relu");
}

TEST(FoldQuantization, does_nothing_where_the_target_keeps_the_graph) {
  auto program = parse_completed(kLinear);
  Graph& graph = program->methods[0].graph;
  apply(fold_quantization, *program, graph, target_without());
  EXPECT_EQ(graph.order.size(), 5u);
}

}  // namespace
}  // namespace sconce
