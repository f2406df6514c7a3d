#include "passes/pass_test.h"

namespace sconce {
namespace {

std::string merged(const std::string& body) {
  return ops_after(merge_common_subexpressions,
                   "method forward(%x: f32[2], %z: f32[2]) {\n" + body + "}\n");
}

TEST(MergeCommonSubexpressions, computes_the_same_once) {
  EXPECT_EQ(merged(R"(
  %a: f32[2] = aten::relu(%x)
  %b: f32[2] = aten::relu(%x)
  %c: f32[2] = aten::neg(%a)
  %d: f32[2] = aten::neg(%b)
  %y: f32[2] = aten::add.Tensor(%c, %d)
  return %y
)"),
            "relu neg add.Tensor");
}

TEST(MergeCommonSubexpressions, tells_numbers_apart_by_their_bits) {
  EXPECT_EQ(merged(R"(
  %a: f32[2] = aten::mul.Tensor(%x, 0.0)
  %b: f32[2] = aten::mul.Tensor(%x, -0.0)
  %c: f32[2] = aten::mul.Tensor(%x, 0)
  return %a, %b, %c
)"),
            "mul.Tensor mul.Tensor mul.Tensor");
  EXPECT_EQ(merged(R"(
  %a: f32[2] = aten::mul.Tensor(%x, nan)
  %b: f32[2] = aten::mul.Tensor(%x, nan)
  return %a, %b
)"),
            "mul.Tensor");
}

TEST(MergeCommonSubexpressions, keeps_random_numbers_apart) {
  auto program = parse_completed(R"(
method forward() {
  %a: f32[2] = aten::rand([2], none, none, none, none)
  %b: f32[2] = aten::rand([2], none, none, none, none)
  return %a, %b
})");
  apply(merge_common_subexpressions, *program, program->methods[0].graph, target_without());
  EXPECT_EQ(program->methods[0].graph.order.size(), 2u);
}

TEST(MergeCommonSubexpressions, sees_one_constant_under_two_names) {
  EXPECT_EQ(ops_after(merge_common_subexpressions, R"(
constant @w: f32[2] = {1, 2}
method forward(%x: f32[2]) {
  %w = constant @w
  %v = constant @w
  %a: f32[2] = aten::mul.Tensor(%x, %w)
  %b: f32[2] = aten::mul.Tensor(%x, %v)
  return %a, %b
})"),
            "mul.Tensor");
}

TEST(MergeCommonSubexpressions, leaves_control_flow) {
  EXPECT_EQ(ops_after(merge_common_subexpressions, R"(
method forward(%p: b8[], %x: f32[3]) {
  graph 0 yes(%z: f32[3]) {
    return %z
  }
  graph 1 no(%z: f32[3]) {
    return %z
  }
  %y: f32[3] = cond(%p, graph 0, graph 1, {%x})
  %u: f32[3] = cond(%p, graph 0, graph 1, {%x})
  return %y, %u
})"),
            "cond cond");
}

}  // namespace
}  // namespace sconce
