// Payloads made of graphs give what the reference kernels give.
#include "targets/xnnpack/compile/lower.h"

#include "passes/pass_test.h"
#include "targets/xnnpack/compile/partition.h"
#include "targets/xnnpack/run/runner.h"

namespace sconce {
namespace {

// Tensors of a call, by external id.
struct CallArgument {
  std::vector<uint8_t> data;
  std::vector<int32_t> sizes;
  Tensor tensor;
  Value value;

  CallArgument(const TensorType& type, const void* bytes) {
    int64_t count = 1;
    for (const SymInt& size : type.sizes) {
      sizes.push_back(int32_t(size.value));
      count *= size.value;
    }
    data.resize(size_t(count) * dtype_bytes(type.dtype));
    if (bytes) memcpy(data.data(), bytes, data.size());
    tensor.data = data.data();
    tensor.sizes = sizes.data();
    tensor.rank = uint8_t(sizes.size());
    tensor.dtype = type.dtype;
    tensor.capacity_bytes = data.size();
    value = Value::of(&tensor);
  }
  CallArgument(const CallArgument&) = delete;
};

// Lowers every node of the method to one payload, runs it, and compares with the evaluator.
XnnGraph compare_with_eval(const std::string& text, double tolerance = 2e-6) {
  auto program = parse_completed(text);
  EXPECT_FALSE(program->methods.empty());
  draw_omitted_constants(*program);
  const Graph& graph = program->methods[0].graph;
  for (NodeId id : graph.order)
    EXPECT_TRUE(xnn_can_lower(*program, graph, graph.nodes[size_t(id)]))
        << graph.nodes[size_t(id)].op;
  Result<XnnRegion> lowered = xnn_lower(*program, graph, graph.order);
  EXPECT_TRUE(lowered.ok()) << (lowered.ok() ? "" : lowered.error().text);
  if (!lowered.ok()) return {};

  std::vector<EvalValue> inputs = random_inputs(*program, graph, 7);
  Evaluator evaluator(*program);
  auto wanted = evaluator.run(graph, inputs);
  EXPECT_TRUE(wanted.ok()) << (wanted.ok() ? "" : wanted.error().text);
  if (!wanted.ok()) return {};

  std::vector<std::unique_ptr<CallArgument>> arguments;
  for (ValueId id : lowered->inputs)
    for (size_t i = 0; i < graph.inputs.size(); i++)
      if (graph.inputs[i] == id)
        arguments.push_back(std::make_unique<CallArgument>(graph.type(id).tensor,
                                                           std::get<EvalTensor>(inputs[i]).data));
  for (ValueId id : lowered->outputs)
    arguments.push_back(std::make_unique<CallArgument>(graph.type(id).tensor, nullptr));
  std::vector<const Value*> values;
  for (auto& argument : arguments) values.push_back(&argument->value);
  std::vector<uint8_t> payload = write_xnnpack(lowered->graph);
  auto runner = xnn::XnnRunner::make(payload, [&](const std::string& name) {
    for (const NamedData& data : lowered->constants)
      if (data.name == name) return data.bytes;
    return Bytes();
  });
  EXPECT_TRUE(runner.ok()) << (runner.ok() ? "" : runner.error().text);
  if (!runner.ok()) return {};
  auto ran = (*runner)->execute(values);
  EXPECT_TRUE(ran.ok()) << (ran.ok() ? "" : ran.error().text);
  for (size_t o = 0; o < graph.outputs.size(); o++) {
    const EvalTensor& right = std::get<EvalTensor>((*wanted)[o]);
    for (size_t r = 0; r < lowered->outputs.size(); r++) {
      if (lowered->outputs[r] != graph.outputs[o]) continue;
      expect_near(right, arguments[lowered->inputs.size() + r]->data.data(), tolerance, o);
    }
  }
  return std::move(lowered->graph);
}

size_t count(const XnnGraph& graph, XnnNodeKind kind) {
  size_t n = 0;
  for (const XnnNode& node : graph.nodes) n += node.kind == kind;
  return n;
}

TEST(LowerForXnnpack, images_stay_images_and_limits_go_into_nodes) {
  XnnGraph graph = compare_with_eval(R"(
    constant @w: f32[4, 3, 3, 3] = omitted 0000000000000001
    constant @b: f32[4] = {1, 2, -3, 4}
    constant @d: f32[4, 1, 3, 3] = omitted 0000000000000002
    constant @p: f32[2, 4, 1, 1] = omitted 0000000000000003
    method forward(%x: f32[2, 3, 7, 6] as x) {
      %w = constant @w
      %b = constant @b
      %d = constant @d
      %p = constant @p
      %y: f32[2, 4, 4, 3] = aten::convolution(%x, %w, %b, [2, 2], [1, 1], [1, 1], false, [0, 0], 1)
      %r: f32[2, 4, 4, 3] = aten::hardtanh(%y, 0, 6)
      %a: f32[2, 4, 5, 4] = aten::constant_pad_nd(%r, [0, 1, 0, 1], 0)
      %z: f32[2, 4, 2, 1] = aten::convolution(%a, %d, none, [2, 2], [0, 0], [1, 1], false, [0, 0], 4)
      %s: f32[2, 4, 2, 1] = aten::add.Tensor(%z, %z)
      %l: f32[2, 4, 2, 1] = aten::relu(%s)
      %o: f32[2, 2, 2, 1] = aten::convolution(%l, %p, none, [1, 1], [0, 0], [1, 1], false, [0, 0], 1)
      return %o
    })");
  EXPECT_EQ(count(graph, XnnNodeKind::transpose), 2u);  // in and out
  EXPECT_EQ(count(graph, XnnNodeKind::pad), 0u);
  EXPECT_EQ(count(graph, XnnNodeKind::clamp), 0u);
}

TEST(LowerForXnnpack, a_result_that_others_see_keeps_its_values) {
  XnnGraph graph = compare_with_eval(R"(
    constant @w: f32[3, 4] = omitted 0000000000000001
    method forward(%x: f32[2, 4] as x) {
      %w = constant @w
      %y: f32[2, 3] = aten::linear(%x, %w, none)
      %r: f32[2, 3] = aten::relu(%y)
      %v: f32[3, 2] = aten::view(%r, [3, 2])
      return %y, %r, %v
    })");
  EXPECT_EQ(count(graph, XnnNodeKind::clamp), 1u);
}

TEST(LowerForXnnpack, attention_and_norms) {
  compare_with_eval(R"(
    constant @w: f32[8, 8] = omitted 0000000000000001
    constant @b: f32[8] = omitted 0000000000000002
    method forward(%x: f32[2, 5, 8] as x, %m: f32[2, 1, 5, 5] as m) {
      %w = constant @w
      %b = constant @b
      %q0: f32[2, 5, 8] = aten::linear(%x, %w, %b)
      %q1: f32[2, 5, 2, 4] = aten::view(%q0, [2, 5, 2, 4])
      %q: f32[2, 2, 5, 4] = aten::transpose.int(%q1, 1, 2)
      %a: f32[2, 2, 5, 4] = aten::scaled_dot_product_attention(%q, %q, %q, %m)
      %c: f32[2, 2, 5, 4] = aten::scaled_dot_product_attention(%a, %q, %a, none, 0.0, true, 0.3)
      %t: f32[2, 5, 2, 4] = aten::transpose.int(%c, 1, 2)
      %v: f32[2, 5, 8] = aten::view(%t, [2, 5, 8])
      %z: f32[2, 5, 8] = aten::add.Tensor(%v, %x)
      %n: f32[2, 5, 8] = aten::layer_norm(%z, [8], %b, %b)
      %g: f32[2, 5, 8] = aten::gelu(%n)
      return %z, %g
    })",
                    1e-5);
}

TEST(LowerForXnnpack, what_is_packed_is_read_by_nobody_else) {
  XnnGraph graph = compare_with_eval(R"(
    constant @w: f32[4, 4] = omitted 0000000000000001
    constant @b: f32[4] = omitted 0000000000000002
    method forward(%x: f32[2, 4] as x) {
      %w = constant @w
      %b = constant @b
      %y: f32[2, 4] = aten::linear(%x, %w, %b)
      %z: f32[2, 4] = aten::mul.Tensor(%y, %b)
      return %z
    })");
  ASSERT_EQ(graph.nodes.size(), 2u);
  EXPECT_NE(graph.nodes[0].inputs[2], graph.nodes[1].inputs[1]);
}

TEST(LowerForXnnpack, pools_joins_and_parts) {
  compare_with_eval(R"(
    method forward(%x: f32[2, 3, 6, 6] as x) {
      %p: f32[2, 3, 3, 3], %i: i64[2, 3, 3, 3] = aten::max_pool2d_with_indices(%x, [3, 3], [2, 2], [1, 1])
      %a: f32[2, 3, 1, 1] = aten::_adaptive_avg_pool2d(%p, [1, 1])
      %m: f32[2, 3] = aten::mean.dim(%p, [2, 3])
      %v: f32[2, 3, 3, 3] = aten::avg_pool2d(%x, [2, 2], [2, 2])
      %c: f32[2, 6, 3, 3] = aten::cat({%p, %v}, 1)
      %s: f32[2, 6, 3, 3] = aten::_softmax(%c, -1, false)
      %l: f32[2, 6, 2, 3] = aten::slice.Tensor(%s, 2, 1, 3, 1)
      %e: f32[2, 6, 3] = aten::select.int(%l, 2, -1)
      %d: f32[2, 6, 5] = aten::constant_pad_nd(%e, [1, 1], -2)
      %t: f32[5, 2, 6] = aten::permute(%d, [2, 0, 1])
      return %a, %m, %t
    })");
}

TEST(LowerForXnnpack, many_parts_are_joined_in_steps) {
  XnnGraph graph = compare_with_eval(R"(
    method forward(%x: f32[1, 2] as x, %y: f32[1, 3] as y) {
      %c: f32[1, 15] = aten::cat({%x, %y, %x, %x, %x, %x, %x}, 1)
      return %c
    })");
  EXPECT_EQ(count(graph, XnnNodeKind::concatenate5), 1u);
  EXPECT_EQ(count(graph, XnnNodeKind::concatenate3), 1u);
}

TEST(LowerForXnnpack, masks_of_booleans_are_made_numbers_once) {
  auto program = parse_completed(R"(
    method forward(%q: f32[1, 2, 3, 4] as q, %m: b8[1, 1, 3, 3] as m) {
      %a: f32[1, 2, 3, 4] = aten::scaled_dot_product_attention(%q, %q, %q, %m)
      %b: f32[1, 2, 3, 4] = aten::scaled_dot_product_attention(%a, %q, %a, %m)
      return %b
    })");
  Graph& graph = program->methods[0].graph;
  ASSERT_TRUE(partition_for_xnnpack(*program, graph, Prefer::balance).ok());
  ASSERT_EQ(graph.order.size(), 2u);
  EXPECT_EQ(graph.nodes[size_t(graph.order[0])].op, "aten::where.self");
  EXPECT_EQ(graph.nodes[size_t(graph.order[1])].op, "delegate");
  EXPECT_EQ(program->delegates.size(), 1u);
}

TEST(LowerForXnnpack, a_node_may_be_asked_for_before_it_is_made) {
  auto program = parse_completed(R"(
    method forward(%q: f32[1, 2, 3, 4] as q, %d: f64[1, 2, 3, 4] as d) {
      %a: f32[1, 2, 3, 4] = aten::scaled_dot_product_attention(%q, %q, %q)
      %b: f64[1, 2, 3, 4] = aten::scaled_dot_product_attention(%d, %d, %d)
      return %a, %b
    })");
  const Graph& graph = program->methods[0].graph;
  for (size_t i = 0; i < 2; i++) {
    Node node = graph.nodes[size_t(graph.order[i])];
    node.results.clear();
    EXPECT_EQ(xnn_can_lower(*program, graph, node), i == 0);
  }
}

TEST(LowerForXnnpack, what_it_lacks_stays) {
  auto program = parse_completed(R"(
    method forward(%x: f32[2, 3] as x, %d: f64[2, 3] as d, %e: f32[0, 3] as e, %m: f32[1, 2, 4, 3] as m) {
      %a: f32[2, 3] = aten::erf(%x)
      %b: f64[2, 3] = aten::relu(%d)
      %c: f32[2, 3] = aten::add.Tensor(%x, %x, 2)
      %f: f32[2, 3] = aten::_softmax(%x, 0, false)
      %g: f32[0, 3] = aten::relu(%e)
      %p: f32[1, 2, 2, 1], %i: i64[1, 2, 2, 1] = aten::max_pool2d_with_indices(%m, [2, 2])
      return %a, %b, %c, %f, %g, %i
    })");
  const Graph& graph = program->methods[0].graph;
  for (NodeId id : graph.order)
    EXPECT_FALSE(xnn_can_lower(*program, graph, graph.nodes[size_t(id)]))
        << graph.nodes[size_t(id)].op;
}

TEST(LowerForXnnpack, integers_keep_their_scales_through_what_moves_them) {
  XnnGraph graph = compare_with_eval(R"(
constant @w: i8[4, 3, 1, 1] = {1, 2, 3, -4, 5, -6, 7, 8, 9, 10, 11, -12}
constant @s: f32[4] = {0.5, 0.25, 0.125, 1}
constant @b: i32[4] = {1, -2, 30, 4}
constant @l: i8[2, 4] = {1, -2, 3, 4, 50, -60, 7, 8}
constant @t: f32[1] = {0.02}
method forward(%x: f32[1, 3, 2, 2]) {
  %w = constant @w
  %s = constant @s
  %b = constant @b
  %l = constant @l
  %t = constant @t
  %q: i8[1, 3, 2, 2] = quantized_decomposed::quantize_per_tensor(%x, 0.02, 3, -128, 127, 1)
  %c: i8[1, 4, 2, 2] = int8::convolution(%q, 0.02, 3, %w, %s, %b, [1, 1], [0, 0], [1, 1], false, [0, 0], 1, 0.1, -5, -5, 127)
  %m: i8[1, 4, 1, 1] = int8::mean(%c, 0.1, -5, [2, 3], true, 0.1, -5, -128, 127)
  %v: i8[1, 4] = aten::view(%m, [1, 4])
  %y: i8[1, 2] = int8::linear(%v, 0.1, -5, %l, %t, none, 0.5, 1, -128, 127)
  %r: f32[1, 2] = quantized_decomposed::dequantize_per_tensor(%y, 0.5, 1, -128, 127, 1, none)
  return %r
})");
  std::string text = print_xnnpack(graph);
  EXPECT_NE(text.find("qcint8"), std::string::npos) << text;
  EXPECT_NE(text.find("qcint32"), std::string::npos) << text;
}

TEST(LowerForXnnpack, weights_of_4_bits_lie_two_in_a_byte) {
  XnnGraph graph = compare_with_eval(R"(
constant @w: i8[2, 3] = {1, -8, 3, -4, 7, -6}
constant @s: f32[2] = {0.5, 0.25}
constant @b: f32[2] = {1, -2}
method forward(%x: f32[4, 3]) {
  %w = constant @w
  %s = constant @s
  %b = constant @b
  %y: f32[4, 2] = int8::dynamic_linear(%x, %w, %s, %b, 4)
  return %y
})",
                                     1e-5);
  EXPECT_NE(print_xnnpack(graph).find("qcint4"), std::string::npos);
}

TEST(LowerForXnnpack, images_are_quantised_by_their_own_range) {
  XnnGraph graph = compare_with_eval(R"(
constant @w: i8[2, 2, 1, 2] = {1, -8, 3, -4, 5, 6, -7, 2}
constant @s: f32[1] = {0.5}
constant @b: f32[2] = {1, -2}
method forward(%x: f32[2, 2, 3, 4]) {
  %w = constant @w
  %s = constant @s
  %b = constant @b
  %y: f32[2, 2, 3, 3] = int8::dynamic_convolution(%x, %w, %s, %b, [1, 1], [0, 0], [1, 1], false, [0, 0], 1)
  return %y
})",
                                     1e-5);
  EXPECT_NE(print_xnnpack(graph).find("qdint8"), std::string::npos);
}

TEST(LowerForXnnpack, rows_are_images_of_height_1) {
  XnnGraph graph = compare_with_eval(R"(
constant @w: f32[2, 3, 2] = {1, -2, 3, -4, 5, -6, 0.5, 0.25, 1, 2, 3, 4}
constant @b: f32[2] = {1, -2}
constant @t: f32[2, 1, 3] = {1, 2, 3, 4, 5, 6}
method forward(%x: f32[2, 3, 6]) {
  %w = constant @w
  %b = constant @b
  %t = constant @t
  %c: f32[2, 2, 4] = aten::convolution(%x, %w, %b, [2], [1], [1], false, [0], 1)
  %r: f32[2, 2, 4] = aten::relu(%c)
  %d: f32[2, 2, 4] = aten::convolution(%r, %t, none, [1], [2], [2], false, [0], 2)
  %e: f32[2, 2, 4] = aten::add.Tensor(%d, %r, 1)
  %j: f32[2, 2, 8] = aten::cat({%e, %r}, 2)
  %m: f32[2, 2, 1] = aten::mean.dim(%j, [2], true, none)
  %y: f32[2, 2, 4] = aten::mul.Tensor(%e, %m)
  return %y
})",
                                     1e-5);
  std::string text = print_xnnpack(graph);
  EXPECT_NE(text.find("conv2d"), std::string::npos) << text;
  EXPECT_NE(text.find("depthwise"), std::string::npos) << text;
}

TEST(LowerForXnnpack, integers_are_not_read_by_two_scales) {
  auto program = parse_completed(R"(
method forward(%q: i8[2, 3]) {
  %a: f32[2, 3] = quantized_decomposed::dequantize_per_tensor(%q, 0.5, 1, -128, 127, 1, none)
  %b: f32[2, 3] = quantized_decomposed::dequantize_per_tensor(%q, 0.25, 1, -128, 127, 1, none)
  %c: f32[2, 3] = quantized_decomposed::dequantize_per_tensor(%q, 0.5, 300, -128, 127, 1, none)
  return %a, %b, %c
})");
  const Graph& graph = program->methods[0].graph;
  std::vector<bool> taken;
  for (NodeId id : graph.order)
    taken.push_back(xnn_can_lower(*program, graph, graph.nodes[size_t(id)]));
  EXPECT_EQ(taken, (std::vector<bool>{true, false, false}));
}

}  // namespace
}  // namespace sconce
