#include "passes/pass_test.h"

namespace sconce {
namespace {

TEST(FoldConstants, runs_what_depends_on_constants_only) {
  EXPECT_EQ(after(fold_constants, R"(
constant @a: f32[3] = {1, 2, nan}
method forward(%x: f32[3]) {
  %a = constant @a
  %b: f32[3] = aten::mul.Tensor(%a, 2)
  %c: f32[3] = aten::neg(%b)
  %y: f32[3] = aten::add.Tensor(%x, %c)
  return %y
})"),
            "%c_1 = constant @c\n%y: f32[3] = aten::add.Tensor(%x, %c_1, 1)\nreturn %y\n");
}

TEST(FoldConstants, keeps_one_constant_and_no_intermediate) {
  auto program = parse_completed(R"(
constant @a: f32[3] = {1, 2, 3}
method forward() {
  %a = constant @a
  %b: f32[3] = aten::mul.Tensor(%a, 2)
  %c: f32[3] = aten::neg(%b)
  return %c
})");
  apply(fold_constants, *program, program->methods[0].graph, target_without());
  EXPECT_EQ(program->constants.size(), 2u);
  EXPECT_TRUE(program->methods[0].graph.order.empty());
}

TEST(FoldConstants, keeps_quantised_weights_as_integers) {
  EXPECT_EQ(ops_after(fold_constants, R"(
constant @w: i8[3] = {1, 2, -3}
method forward(%x: f32[3]) {
  %w = constant @w
  %n: f32[3] = quantized_decomposed::dequantize_per_tensor(%w, 0.5, 0, -127, 127, 1, none)
  %y: f32[3] = aten::mul.Tensor(%x, %n)
  return %y
})"),
            "quantized_decomposed::dequantize_per_tensor mul.Tensor");
}

TEST(FoldConstants, leaves_random_numbers_and_buffers) {
  auto program = parse_completed(R"(
buffer @state: f32[2] = {1, 2}
method forward() {
  %s = buffer @state
  %r: f32[2] = aten::rand([2], none, none, none, none)
  %t: f32[2] = aten::neg(%s)
  %y: f32[2] = aten::add.Tensor(%r, %t)
  write buffer @state = %t
  return %y
})");
  apply(fold_constants, *program, program->methods[0].graph, target_without());
  EXPECT_EQ(program->methods[0].graph.order.size(), 3u);
}

TEST(FoldConstants, stores_no_large_result_of_little) {
  EXPECT_EQ(ops_after(fold_constants,
                      "method forward(%x: f32[1000, 1000]) {\n"
                      "  %z: f32[1000, 1000] = aten::full([1000, 1000], 0)\n"
                      "  %y: f32[1000, 1000] = aten::add.Tensor(%x, %z)\n  return %y\n}"),
            "full add.Tensor");
  // A table of positions is worth its place.
  EXPECT_EQ(ops_after(fold_constants,
                      "method forward(%x: i64[2000]) {\n  %z: i64[2000] = aten::arange(2000, 4)\n"
                      "  %y: i64[2000] = aten::add.Tensor(%x, %z)\n  return %y\n}"),
            "add.Tensor");
}

TEST(FoldConstants, stores_no_large_constant_in_two_forms) {
  const char text[] = R"(
constant @w: f32[100, 50] = zeros
method forward(%x: f32[2, 100], %z: f32[2, 50]) {
  %w = constant @w
  %t: f32[50, 100] = aten::permute(%w, [1, 0])
  %y: f32[2, 50] = aten::mm(%x, %w)
  %v: f32[2, 100] = aten::mm(%z, %t)
  return %y, %v
})";
  EXPECT_EQ(ops_after(fold_constants, text), "permute mm mm");
  // Nor when only another method uses it.
  auto program = parse_completed(R"(
constant @w: f32[100, 50] = zeros
method one(%x: f32[2, 100]) {
  %w = constant @w
  %y: f32[2, 50] = aten::mm(%x, %w)
  return %y
}
method two(%z: f32[2, 50]) {
  %w = constant @w
  %t: f32[50, 100] = aten::permute(%w, [1, 0])
  %v: f32[2, 100] = aten::mm(%z, %t)
  return %v
})");
  apply(fold_constants, *program, program->methods[1].graph, target_without());
  EXPECT_EQ(program->methods[1].graph.order.size(), 2u);
}

TEST(FoldConstants, puts_known_sizes_into_arguments) {
  EXPECT_EQ(after(fold_constants, R"(
method forward(%x: f32[4, 3]) {
  %n: int(3) = aten::sym_size.int(%x, 1)
  %m: int(12) = executorch_prim::mul.Scalar(%n, 4)
  %y: f32[12] = aten::view(%x, [%m])
  return %y
})"),
            "%y: f32[12] = aten::view(%x, [12])\nreturn %y\n");
}

TEST(FoldConstants, keeps_the_node_of_a_number_that_is_an_output) {
  EXPECT_EQ(ops_after(fold_constants, R"(
method forward(%x: f32[4, 3]) {
  %n: int(3) = aten::sym_size.int(%x, 1)
  return %n
})"),
            "sym_size.int");
}

TEST(FoldConstants, folds_inside_of_branches) {
  auto program = parse_completed(R"(
constant @a: f32[3] = {1, 2, 3}
method forward(%p: b8[], %x: f32[3]) {
  graph 0 yes(%z: f32[3]) {
    %a = constant @a
    %b: f32[3] = aten::neg(%a)
    %y: f32[3] = aten::add.Tensor(%z, %b)
    return %y
  }
  graph 1 no(%z: f32[3]) {
    return %z
  }
  %y: f32[3] = cond(%p, graph 0, graph 1, {%x})
  return %y
})");
  apply(fold_constants, *program, program->methods[0].graph, target_without());
  EXPECT_EQ(program->methods[0].graph.subgraphs[0]->order.size(), 1u);
}

TEST(FoldConstants, leaves_what_fails_for_when_the_model_runs) {
  auto program = parse_completed(R"(
constant @a: i64[1] = {1}
constant @z: i64[1] = {0}
method forward() {
  %a = constant @a
  %z = constant @z
  %y: i64[1] = aten::floor_divide(%a, %z)
  return %y
})");
  apply(fold_constants, *program, program->methods[0].graph, target_without());
  EXPECT_EQ(program->methods[0].graph.order.size(), 1u);
}

}  // namespace
}  // namespace sconce
