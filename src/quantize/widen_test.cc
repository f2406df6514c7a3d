#include "quantize/widen.h"

#include "passes/pass_test.h"

namespace sconce {
namespace {

TEST(WidenFloats, computes_in_f32_between_inputs_and_outputs_of_16_bits) {
  auto program = parse_completed(R"(
constant @w: bf16[2, 2] = {1, -0.5, 3, 0.25}
buffer @sum: bf16[2]
method forward(%x: bf16[2], %n: i64[2]) {
  %s = buffer @sum
  %wv = constant @w
  %y: bf16[2] = aten::linear(%x, %wv, none)
  %f: bf16[2] = aten::_to_copy(%n, 15, none, none, none, false, none)
  %z: bf16[2] = aten::add.Tensor(%y, %f, 1)
  %t: bf16[2] = aten::add.Tensor(%s, %z, 1)
  write buffer @sum = %t
  return %z, %x
})");
  auto done = widen_floats(*program);
  ASSERT_TRUE(done.ok()) << done.error().text;
  EXPECT_EQ(*done, "bf16");
  ASSERT_TRUE(verify(*program).ok());
  const Graph& graph = program->methods[0].graph;
  EXPECT_EQ(graph.type(graph.inputs[0]).tensor.dtype, DType::bf16);
  EXPECT_EQ(graph.type(graph.outputs[0]).tensor.dtype, DType::bf16);
  EXPECT_EQ(graph.outputs[1], graph.inputs[0]);
  EXPECT_EQ(program->buffers[0].type.dtype, DType::f32);
  for (NodeId id : graph.order) {
    const Node& node = graph.nodes[size_t(id)];
    bool last = node.results[0] == graph.outputs[0];
    EXPECT_EQ(graph.type(node.results[0]).tensor.dtype, last ? DType::bf16 : DType::f32) << node.op;
  }
  const ValueInfo& weight = *std::find_if(graph.values.begin(), graph.values.end(),
                                          [](auto& v) { return v.origin == Origin::constant; });
  const ConstantData& data = program->constants[size_t(weight.index)];
  ASSERT_EQ(data.type.dtype, DType::f32);
  float numbers[4];
  memcpy(numbers, data.bytes.data(), sizeof(numbers));
  EXPECT_EQ(std::vector<float>(numbers, numbers + 4), (std::vector<float>{1, -0.5f, 3, 0.25f}));
}

TEST(WidenFloats, leaves_other_programs_as_they_are) {
  constexpr const char* kText = R"(
method forward(%x: f32[2], %d: f64[2]) {
  %y: f32[2] = aten::relu(%x)
  return %y, %d
})";
  auto program = parse_completed(kText), before = parse_completed(kText);
  auto done = widen_floats(*program);
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(*done, "");
  EXPECT_EQ(print(*program), print(*before));
}

TEST(WidenFloats, refuses_programs_that_look_at_bits) {
  auto program = parse_completed(R"(
method forward(%x: f16[2]) {
  %y: i16[2] = aten::view.dtype(%x, 2)
  return %y
})");
  auto done = widen_floats(*program);
  ASSERT_FALSE(done.ok());
  EXPECT_NE(done.error().text.find("%y"), std::string::npos) << done.error().text;
}

}  // namespace
}  // namespace sconce
