// Tile programs made of graphs give what the reference kernels give.
#include "targets/lower_test.h"

#include <fmt/ranges.h>

#include <random>

#include "passes/pass_test.h"
#include "platform/cpu.h"
#include "tile/interpret.h"

namespace sconce {
namespace {

std::vector<NodeId> all_nodes(const Graph& graph) { return graph.order; }

// Lowers every node and compares with the evaluator, and the bits of all sets of this machine with
// each other's; numbers not on the one that rounds twice.
LoweredRegion compare_with_eval(const std::string& text, double tolerance = 2e-6) {
  auto program = parse_completed(text);
  EXPECT_FALSE(program->methods.empty());
  draw_omitted_constants(*program);
  const Graph& graph = program->methods[0].graph;
  for (NodeId id : graph.order)
    EXPECT_TRUE(can_lower(*program, graph, graph.nodes[size_t(id)])) << graph.nodes[size_t(id)].op;
  std::vector<NodeId> nodes = all_nodes(graph);
  Result<LoweredRegion> lowered = lower(*program, graph, nodes);
  EXPECT_TRUE(lowered.ok()) << lowered.error().text;
  if (!lowered.ok()) return {};

  std::vector<EvalValue> inputs = random_inputs(*program, graph, 7);
  Evaluator evaluator(*program);
  auto wanted = evaluator.run(graph, inputs);
  EXPECT_TRUE(wanted.ok()) << wanted.error().text;
  if (!wanted.ok()) return {};

  std::vector<const void*> in;
  for (ValueId id : lowered->inputs)
    for (size_t i = 0; i < graph.inputs.size(); i++)
      if (graph.inputs[i] == id) in.push_back(std::get<EvalTensor>(inputs[i]).data);
  std::vector<std::vector<uint8_t>> results;
  std::vector<void*> out;
  for (ValueId id : lowered->outputs)
    results.emplace_back(size_t(*bytes_max(graph.type(id).tensor, program->symbols)));
  for (auto& result : results) out.push_back(result.data());
  Result<void> done = tile::interpret(lowered->program, in, out, [&](const std::string& name) {
    for (const TileConstant& constant : lowered->constants)
      if (constant.name == name) return constant.bytes;
    return Bytes();
  });
  EXPECT_TRUE(done.ok()) << done.error().text;
  bool numbers =
      std::any_of(lowered->program.outputs.begin(), lowered->program.outputs.end(),
                  [](const tile::Argument& a) { return tile::value_dtype(a.dtype) == DType::f32; });
  for (Isa isa : runnable_isas()) {
    if (numbers && isa == Isa::sse2) continue;
    std::vector<std::vector<uint8_t>> own = results;
    std::vector<void*> own_out;
    for (auto& result : own) {
      std::fill(result.begin(), result.end(), uint8_t(0x55));
      own_out.push_back(result.data());
    }
    Result<void> ran = run_region(isa, *lowered, in, own_out);
    EXPECT_TRUE(ran.ok()) << ran.error().text;
    EXPECT_EQ(own, results) << isa_name(isa);
  }
  for (size_t o = 0; o < graph.outputs.size(); o++) {
    const EvalTensor& right = std::get<EvalTensor>((*wanted)[o]);
    for (size_t r = 0; r < lowered->outputs.size(); r++) {
      if (lowered->outputs[r] != graph.outputs[o]) continue;
      if (right.dtype == DType::f16 || right.dtype == DType::bf16) {
        EvalTensor found = right;
        found.data = results[r].data();
        std::vector<double> x = elements(right), y = elements(found);
        double unit = right.dtype == DType::f16 ? 0x1p-10 : 0x1p-7;
        // The evaluator rounds between nodes, which is what the differences come from.
        for (size_t i = 0; i < x.size(); i++)
          EXPECT_NEAR(x[i], y[i], 4 * unit * std::max(1.0, std::fabs(x[i]))) << i;
        continue;
      }
      if (right.dtype != DType::f32) {
        EXPECT_EQ(memcmp(right.data, results[r].data(), right.bytes), 0);
        continue;
      }
      expect_near(right, results[r].data(), tolerance, o);
    }
  }
  return std::move(*lowered);
}

TEST(LowerForCpu, a_convolution_takes_what_follows_into_its_kernel) {
  LoweredRegion region = compare_with_eval(R"(
    constant @w: f32[4, 3, 3, 3] = omitted 0000000000000001
    constant @b: f32[4] = {1, 2, -3, 4}
    method forward(%x: f32[2, 3, 7, 6] as x, %r: f32[2, 4, 4, 3] as r) {
      %w = constant @w
      %b = constant @b
      %y: f32[2, 4, 4, 3] = aten::convolution(%x, %w, %b, [2, 2], [1, 1], [1, 1], false, [0, 0], 1)
      %z: f32[2, 4, 4, 3] = aten::add.Tensor(%y, %r)
      %a: f32[2, 4, 4, 3] = aten::relu(%z)
      return %a
    })");
  // The input's channels are made innermost first.
  EXPECT_EQ(region.program.steps.size(), 2u);
}

TEST(LowerForCpu, groups_and_depthwise_and_dilation) {
  compare_with_eval(R"(
    method forward(%x: f32[1, 6, 9, 9] as x, %w: f32[4, 3, 3, 3] as w) {
      %y: f32[1, 6, 9, 9] = aten::hardtanh(%x, -0.5, 0.5)
      return %y
    })");
  compare_with_eval(R"(
    constant @w: f32[4, 3, 3, 3] = omitted 0000000000000001
    constant @d: f32[4, 1, 3, 3] = omitted 0000000000000002
    method forward(%x: f32[1, 6, 9, 9] as x) {
      %w = constant @w
      %d = constant @d
      %y: f32[1, 4, 5, 5] = aten::convolution(%x, %w, none, [1, 1], [0, 0], [2, 2], false, [0, 0], 2)
      %z: f32[1, 4, 3, 3] = aten::convolution(%y, %d, none, [2, 2], [1, 1], [1, 1], false, [0, 0], 4)
      return %z
    })");
}

// Strides that cells are of, taps that miss some remainders, groups, and columns by depth.
TEST(LowerForCpu, transposed_convolutions_multiply_by_no_zeros) {
  struct Case {
    const char *in, *weight, *out, *list;
    int groups, columns;
  };
  for (const Case& c : {
           Case{"1, 4, 5, 7", "4, 3, 4, 4", "1, 3, 10, 14", "[2, 2], [1, 1], [1, 1], true, [0, 0]",
                1, 3},
           Case{"2, 4, 3, 4", "4, 3, 3, 2", "2, 3, 6, 14", "[2, 4], [1, 0], [1, 1], true, [1, 0]",
                1, 3},
           Case{"1, 6, 4, 3", "6, 2, 3, 3", "1, 4, 13, 10", "[3, 3], [1, 1], [2, 2], true, [1, 1]",
                2, 4},
           Case{"1, 20, 5, 4", "20, 1, 4, 4", "1, 20, 10, 8",
                "[2, 2], [1, 1], [1, 1], true, [0, 0]", 20, 20},
           Case{"1, 3, 4, 4", "3, 2, 6, 6", "1, 2, 21, 21", "[5, 5], [0, 0], [1, 1], true, [0, 0]",
                1, 2},
           Case{"1, 3, 2, 3", "3, 2, 1, 1", "1, 2, 4, 7", "[3, 3], [0, 0], [1, 1], true, [0, 0]", 1,
                2},
           Case{"1, 3, 9", "3, 5, 16", "1, 5, 72", "[8], [4], [1], true, [0]", 1, 5},
       }) {
    LoweredRegion region =
        compare_with_eval(fmt::format(R"(
      constant @w: f32[{1}] = omitted 0000000000000001
      constant @b: f32[{5}] = omitted 0000000000000002
      method forward(%x: f32[{0}] as x) {{
        %w = constant @w
        %b = constant @b
        %y: f32[{2}] = aten::convolution(%x, %w, %b, {3}, {4})
        %z: f32[{2}] = aten::relu(%y)
        return %z
      }})",
                                      c.in, c.weight, c.out, c.list, c.groups, c.columns));
    EXPECT_LE(region.program.steps.size(), 3u) << c.weight;  // one may turn the input
  }
}

TEST(LowerForCpu, resizing_of_any_kind) {
  for (const char* call : {
           "f32[2, 9, 12, 10] = aten::upsample_nearest2d(%x, [12, 10])",
           "f32[2, 9, 7, 11] = aten::upsample_nearest2d(%x, [7, 11])",
           "f32[2, 9, 7, 11] = aten::_upsample_nearest_exact2d(%x, [7, 11])",
           "f32[2, 9, 12, 5] = aten::upsample_bilinear2d(%x, [12, 5], false)",
           "f32[2, 9, 18, 20] = aten::upsample_bilinear2d(%x, [18, 20], false)",
           "f32[2, 9, 12, 10] = aten::upsample_bilinear2d(%x, [12, 10], true)",
           "f32[2, 9, 4, 3] = aten::upsample_bilinear2d(%x, [4, 3], false)",
           "f32[2, 9, 12, 10] = aten::upsample_bicubic2d(%x, [12, 10], false)",
           "f32[2, 9, 5, 8] = aten::upsample_bicubic2d(%x, [5, 8], true)",
       }) {
    compare_with_eval(fmt::format(R"(
      method forward(%x: f32[2, 9, 6, 5] as x) {{
        %y: {}
        return %y
      }})",
                                  call),
                      1e-5);
    // The same between convolutions, where channels lie innermost.
    std::string text = fmt::format(R"(
      constant @w: f32[9, 9, 1, 1] = omitted 0000000000000001
      method forward(%i: f32[2, 9, 6, 5] as i) {{
        %w = constant @w
        %x: f32[2, 9, 6, 5] = aten::convolution(%i, %w, none, [1, 1], [0, 0], [1, 1], false, [0, 0], 1)
        %y: {0}
        %z: {1} = aten::convolution(%y, %w, none, [1, 1], [0, 0], [1, 1], false, [0, 0], 1)
        return %z
      }})",
                                   call, std::string(call).substr(0, std::string(call).find(" =")));
    compare_with_eval(text, 2e-5);
  }
}

TEST(LowerForCpu, gathers_whatever_lies_innermost) {
  compare_with_eval(R"(
    constant @i: i64[3] = {2, 0, 2}
    constant @j: i64[2, 1] = {-1, 1}
    constant @k: i32[3] = {0, -2, 1}
    constant @g: i64[4, 5] = {0, 1, 2, 3, 3, 2, 1, 0, 0, 1, 2, 3, 3, 2, 1, 0, 1, 1, 0, 2}
    method forward(%x: f32[4, 5, 20] as x, %y: f32[4, 5] as y, %n: i64[4, 5] as n) {
      %i = constant @i
      %j = constant @j
      %k = constant @k
      %g = constant @g
      %a: f32[3, 5, 20] = aten::index_select(%x, 0, %i)
      %b: f32[4, 5, 3] = aten::index_select(%x, -1, %i)
      %c: f32[4, 5] = aten::gather(%y, 1, %g)
      %d: i64[4, 5] = aten::gather(%n, 0, %g)
      %e: f32[2, 3, 20] = aten::index.Tensor(%x, {%j, %k})
      %f: f32[2, 3, 5] = aten::index.Tensor(%x, {%j, none, %k})
      %h: f32[4, 5, 3] = aten::index.Tensor(%x, {none, none, %k})
      return %a, %b, %c, %d, %e, %f, %h
    })");
  // What is gathered from is computed first, though it has the sizes of the result.
  compare_with_eval(R"(
    constant @i: i64[3] = {2, 0, 1}
    constant @g: i64[3, 4] = {0, 1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0}
    method forward(%x: f32[3, 4] as x) {
      %i = constant @i
      %g = constant @g
      %a: f32[3, 4] = aten::exp(%x)
      %b: f32[3, 4] = aten::index.Tensor(%a, {%i})
      %c: f32[3, 4] = aten::neg(%b)
      %d: f32[3, 4] = aten::index_select(%c, 0, %i)
      %e: f32[3, 4] = aten::relu(%d)
      %f: f32[3, 4] = aten::gather(%e, 0, %g)
      %h: f32[3, 4] = aten::abs(%f)
      %k: f32[3, 4] = aten::embedding(%h, %i)
      %l: f32[3, 4] = aten::neg(%k)
      return %l
    })");
}

// Of each cell, forward and backward, with steps or batches first, states used or not, alone or as
// part of a concatenation.
TEST(LowerForCpu, the_steps_of_a_recurrent_layer_are_one_kernel) {
  struct Layer {
    const char *op, *gates, *extra;
    int count;
  };
  for (const Layer& layer : {Layer{"lstm", "64", "none, ", 4}, Layer{"lstm", "80", "%r, ", 4},
                             Layer{"gru", "48", "%b, ", 3}, Layer{"gru", "48", "none, ", 3},
                             Layer{"tanh", "16", "", 1}, Layer{"relu", "16", "", 1}})
    for (const char* order : {"false, false", "true, false", "false, true", "true, true"})
      for (const char* batch : {"1", "3"}) {
        const bool is_lstm = layer.count == 4, projects = std::string(layer.extra) == "%r, ";
        const bool batch_first = std::string(order).ends_with("true");
        std::string first = batch_first ? batch : "3", second = batch_first ? "3" : batch;
        std::string text = fmt::format(
            R"(
    constant @w: f32[{0}, 16] = omitted 0000000000000001
    constant @b: f32[48] = omitted 0000000000000002
    constant @r: f32[16, 20] = omitted 0000000000000003
    method forward(%x: f32[{1}, {2}, {0}] as x, %h: f32[1, {3}, 16] as h, %c: f32[1, {3}, {4}] as c) {{
      %w = constant @w
      %b = constant @b
      %r = constant @r
      %y: f32[{1}, {2}, 16], %n: f32[1, {3}, 16]{5} = rnn::{6}(%x, %h, {7}%w, {8}{9})
      %z: f32[{1}, {2}, 16] = aten::neg(%y)
      %a: f32[{1}, {2}, 32] = aten::cat({{%y, %z}}, 2)
      return %a, %n{10}
    }})",
            layer.gates, first, second, batch, projects ? 20 : 16,
            is_lstm ? fmt::format(", %d: f32[1, {}, {}]", batch, projects ? 20 : 16) : "", layer.op,
            is_lstm ? "%c, " : "", layer.extra, order, is_lstm ? ", %d" : "");
        SCOPED_TRACE(text);
        // Each step multiplies what the one before it rounded.
        LoweredRegion region = compare_with_eval(text, 4e-6);
        int loops = 0;
        for (const tile::Step& step : region.program.steps)
          for (const tile::Instruction& i : region.program.kernels[step.kernel].body)
            loops += i.op == tile::Op::serial;
        EXPECT_EQ(loops, 1);
      }
  // What follows joins the loop when only that is wanted.
  LoweredRegion joined = compare_with_eval(R"(
    constant @w: f32[24, 8] = omitted 0000000000000001
    method forward(%x: f32[7, 2, 24] as x, %h: f32[1, 2, 8] as h) {
      %w = constant @w
      %y: f32[7, 2, 8], %n: f32[1, 2, 8] = rnn::gru(%x, %h, %w, none, true, false)
      %z: f32[7, 2, 8] = aten::relu(%y)
      return %z
    })");
  EXPECT_EQ(joined.program.steps.size(), 1u);
}

TEST(LowerForCpu, heads_are_views_and_attention_is_one_kernel) {
  LoweredRegion region = compare_with_eval(R"(
    constant @w: f32[8, 8] = omitted 0000000000000001
    method forward(%x: f32[2, 5, 8] as x, %k: f32[2, 5, 8] as k, %m: f32[2, 1, 5, 5] as m) {
      %w = constant @w
      %q0: f32[2, 5, 8] = aten::linear(%x, %w, none)
      %q1: f32[2, 5, 2, 4] = aten::view(%q0, [2, 5, 2, 4])
      %q: f32[2, 2, 5, 4] = aten::transpose.int(%q1, 1, 2)
      %k1: f32[2, 5, 2, 4] = aten::view(%k, [2, 5, 2, 4])
      %k2: f32[2, 2, 5, 4] = aten::transpose.int(%k1, 1, 2)
      %a: f32[2, 2, 5, 4] = aten::scaled_dot_product_attention(%q, %k2, %k2, %m)
      %t: f32[2, 5, 2, 4] = aten::transpose.int(%a, 1, 2)
      %v: f32[2, 5, 8] = aten::view(%t, [2, 5, 8])
      %y: f32[2, 5, 8] = aten::linear(%v, %w, none)
      %z: f32[2, 5, 8] = aten::add.Tensor(%y, %x)
      %n: f32[2, 5, 8] = aten::layer_norm(%z, [8], none, none)
      %g: f32[2, 5, 8] = aten::gelu(%n)
      return %z, %g
    })");
  // Two linears, attention, which writes heads where rows want them, and the norm.
  EXPECT_EQ(region.program.steps.size(), 4u);
}

TEST(LowerForCpu, constant_masks_that_hide_nothing_are_left_out) {
  auto text = [](const char* type, const char* mask) {
    return std::string("constant @m: ") + type + "[1, 1, 2, 4] = " + mask + R"(
    method forward(%x: f32[1, 2, 2, 8] as x, %k: f32[1, 2, 4, 8] as k) {
      %m = constant @m
      %a: f32[1, 2, 2, 8] = aten::scaled_dot_product_attention(%x, %k, %k, %m)
      return %a
    })";
  };
  EXPECT_TRUE(compare_with_eval(text("b8", "0x0101010101010101").c_str()).constants.empty());
  EXPECT_TRUE(compare_with_eval(text("f32", "zeros").c_str()).constants.empty());
  EXPECT_EQ(compare_with_eval(text("b8", "0x0101010101010100").c_str()).constants.size(), 1u);
  EXPECT_EQ(compare_with_eval(text("f32", "{0, 0, 0, 0, 0, 0, 0, 1}").c_str()).constants.size(),
            1u);
}

TEST(LowerForCpu, what_lies_as_permuted_is_read_rightly_by_others_too) {
  // Twice used, permuted in its rows, and an output: these lie as they are.
  compare_with_eval(R"(
    method forward(%x: f32[2, 3, 4, 5] as x) {
      %a: f32[2, 3, 4, 5] = aten::exp(%x)
      %b: f32[4, 2, 3, 5] = aten::permute(%a, [2, 0, 1, 3])
      %c: f32[4, 30] = aten::view(%b, [4, 30])
      %d: f32[2, 3, 4, 5] = aten::neg(%x)
      %e: f32[2, 4, 3, 5] = aten::transpose.int(%d, 1, 2)
      %f: f32[8, 15] = aten::view(%e, [8, 15])
      %g: f32[2, 3, 4, 5] = aten::abs(%d)
      %h: f32[2, 3, 4, 5] = aten::sin(%x)
      %i: f32[2, 3, 5, 4] = aten::transpose.int(%h, 2, 3)
      %j: f32[6, 20] = aten::view(%i, [6, 20])
      %k: f32[2, 3, 4, 5] = aten::cos(%x)
      %l: f32[3, 2, 4, 5] = aten::transpose.int(%k, 0, 1)
      return %c, %f, %g, %j, %k, %l
    })");
}

TEST(LowerForCpu, pools_reductions_and_softmax) {
  compare_with_eval(R"(
    method forward(%x: f32[2, 3, 6, 6] as x) {
      %p: f32[2, 3, 3, 3], %i: i64[2, 3, 3, 3] = aten::max_pool2d_with_indices(%x, [3, 3], [2, 2], [1, 1])
      %a: f32[2, 3, 1, 1] = aten::_adaptive_avg_pool2d(%p, [1, 1])
      %m: f32[2, 3] = aten::mean.dim(%p, [2, 3])
      %s: f32[2, 3, 3, 3] = aten::_softmax(%p, -1, false)
      %t: f32[2, 3, 3, 3] = aten::_softmax(%p, 1, false)
      %g: f32[2, 3, 3, 3] = aten::group_norm(%p, 1)
      %h: f32[2, 3, 3, 3] = aten::group_norm(%p, 3)
      return %a, %m, %s, %t, %g, %h
    })");
}

TEST(LowerForCpu, the_first_of_equal_extremes_counts_and_nan_is_one) {
  compare_with_eval(R"(
    method forward(%x: f32[3, 20, 5] as x) {
      %r: f32[3, 20, 5] = aten::round(%x)
      %n: f32[3, 20, 5] = aten::sqrt(%x)
      %i: i64[3, 20, 5] = aten::_to_copy(%r, 4)
      %a: i64[3, 5] = aten::argmax(%r, 1, false)
      %b: i64[3, 20, 1] = aten::argmin(%r, -1, true)
      %c: i64[] = aten::argmax(%r, none, false)
      %d: i64[20, 5] = aten::argmax(%n, 0, false)
      %e: i64[] = aten::argmin(%n, none, false)
      %f: i64[3, 20] = aten::argmin(%i, 2, false)
      return %a, %b, %c, %d, %e, %f
    })");
}

TEST(LowerForCpu, reductions_of_integers_and_booleans) {
  compare_with_eval(R"(
    method forward(%x: f32[3, 20, 5] as x, %e: f32[4, 0] as e) {
      %r: f32[3, 20, 5] = aten::round(%x)
      %i: i64[3, 20, 5] = aten::_to_copy(%r, 4)
      %b: b8[3, 20, 5] = aten::eq.Scalar(%i, 1)
      %s: i64[3, 5] = aten::sum.dim_IntList(%i, [1])
      %t: i64[3, 1, 1] = aten::sum.dim_IntList(%b, [1, 2], true)
      %p: i64[3, 20] = aten::prod.dim_int(%i, 2)
      %m: i64[20, 5] = aten::amax(%i, [0])
      %n: b8[20, 5] = aten::amin(%b, [0])
      %q: b8[3, 20] = aten::any.dim(%b, 2)
      %o: b8[4] = aten::any.dim(%e, 1)
      %u: b8[] = aten::any(%x)
      %v: f32[] = aten::mean(%x)
      %w: f32[3, 5] = aten::var.correction(%x, [1], 0)
      return %s, %t, %p, %m, %n, %q, %o, %u, %v, %w
    })");
}

// Blocks that end within and with a dimension, along memory and across it.
TEST(LowerForCpu, running_sums_and_products_carry_what_stands_before_a_block) {
  compare_with_eval(R"(
    method forward(%x: f32[3, 37, 5] as x, %y: f32[2, 16] as y) {
      %r: f32[3, 37, 5] = aten::round(%x)
      %i: i64[3, 37, 5] = aten::_to_copy(%r, 4)
      %b: b8[3, 37, 5] = aten::gt.Scalar(%x, 0.25)
      %a: f32[3, 37, 5] = aten::cumsum(%x, 1)
      %c: i64[3, 37, 5] = aten::cumsum(%i, -2)
      %d: i64[3, 37, 5] = aten::cumsum(%b, 1)
      %e: i64[3, 37, 5] = aten::mul.Tensor(%d, %i)
      %f: f32[2, 16] = aten::cumprod(%y, 1)
      %g: f32[3, 37, 5] = aten::cumsum(%x, 2)
      %h: f32[3, 37, 5] = aten::add.Tensor(%x, %g)
      return %a, %c, %e, %f, %h
    })");
}

TEST(LowerForCpu, tensors_of_numbers) {
  compare_with_eval(R"(
    method forward(%x: f32[6, 5] as x) {
      %a: i64[6] = aten::arange(6)
      %b: f32[4] = aten::arange.start_step(-3, 9, 3, 6)
      %c: i32[6, 5] = aten::full([6, 5], -2.75, 3)
      %d: b8[5] = aten::full([5], 3, 11)
      %e: f32[6, 5] = aten::full_like(%x, 0.1)
      %f: f32[2, 3] = aten::zeros([2, 3])
      %g: f32[6, 5] = aten::tril(%x, -1)
      %h: f32[6, 5] = aten::triu(%x, 2)
      return %a, %b, %c, %d, %e, %f, %g, %h
    })");
}

TEST(LowerForCpu, pads_that_continue_the_content_and_flips) {
  compare_with_eval(R"(
    method forward(%x: f32[2, 3, 5, 7] as x, %y: f32[3, 5, 7] as y) {
      %a: f32[2, 3, 9, 12] = aten::reflection_pad2d(%x, [3, 2, 4, 0])
      %b: f32[2, 3, 8, 13] = aten::replication_pad2d(%x, [7, -1, 1, 2])
      %c: f32[3, 5, 10] = aten::reflection_pad1d(%y, [1, 2])
      %d: f32[2, 3, 5, 7] = aten::flip(%x, [1, -1])
      %e: f32[2, 3, 5, 7] = aten::add.Tensor(%d, %x)
      return %a, %b, %c, %e
    })");
}

TEST(LowerForCpu, windows_and_diagonals_are_views) {
  LoweredRegion region = compare_with_eval(R"(
    method forward(%x: f32[3, 9, 5] as x, %y: f32[9, 5, 3] as y) {
      %t: f32[9, 5, 3] = aten::permute(%x, [1, 2, 0])
      %u: f32[3, 5, 3, 4] = aten::unfold(%t, 0, 4, 2)
      %v: f32[3, 5, 3, 4] = aten::relu(%u)
      %d: f32[3, 5] = aten::diagonal(%t, 1, -2, 0)
      %e: f32[3, 5] = aten::neg(%d)
      %f: f32[9, 3] = aten::diagonal(%y, -1, 1, 2)
      return %v, %e, %f
    })");
  // The last one is an output, and copied there.
  EXPECT_EQ(region.program.steps.size(), 3u);
}

TEST(LowerForCpu, means_over_windows_of_sizes_that_differ) {
  compare_with_eval(R"(
    method forward(%x: f32[2, 3, 7, 8] as x) {
      %a: f32[2, 3, 4, 5] = aten::avg_pool2d(%x, [3, 2], [2, 2], [1, 1], false, false)
      %b: f32[2, 3, 3, 3] = aten::avg_pool2d(%x, [2, 2], [3, 3], [0, 0], true, true)
      %c: f32[2, 3, 3, 5] = aten::_adaptive_avg_pool2d(%x, [3, 5])
      %d: f32[2, 3, 9, 4] = aten::_adaptive_avg_pool2d(%x, [9, 4])
      return %a, %b, %c, %d
    })");
}

// Inputs, outputs, weights and what the model rounds itself are of 16 bits; what lies between is
// f32.
TEST(LowerForCpu, floats_of_16_bits_are_computed_in_f32) {
  for (std::string half : {"f16", "bf16"}) {
    std::string text = R"(
      constant @w: HALF[20, 6] = {WEIGHTS}
      constant @b: HALF[20] = {BIAS}
      constant @c: HALF[4, 3, 3, 3] = {WINDOWS}
      constant @d: HALF[4, 1, 3, 3] = {DEPTHWISE}
      method forward(%x: HALF[2, 5, 6] as x, %i: HALF[2, 3, 7, 6] as i, %f: f32[2, 5, 20] as f) {
        %w = constant @w
        %b = constant @b
        %c = constant @c
        %d = constant @d
        %y: HALF[2, 5, 20] = aten::linear(%x, %w, %b)
        %g: HALF[2, 5, 20] = aten::gelu(%y)
        %n: HALF[2, 5, 20] = aten::layer_norm(%g, [20], %b, none)
        %r: HALF[2, 5, 20] = aten::_to_copy(%f, CODE)
        %s: f32[2, 5, 20] = aten::_to_copy(%r, 6)
        %t: f32[2, 5, 20] = aten::sub.Tensor(%f, %s)
        %k: HALF[2, 5, 40] = aten::cat({%n, %r}, 2)
        %p: HALF[2, 4, 4, 3] = aten::convolution(%i, %c, none, [2, 2], [1, 1], [1, 1], false, [0, 0], 1)
        %q: HALF[2, 4, 4, 3] = aten::convolution(%p, %d, none, [1, 1], [1, 1], [1, 1], false, [0, 0], 4)
        %m: HALF[2, 4] = aten::mean.dim(%q, [2, 3])
        %v: HALF[2, 6, 5] = aten::transpose.int(%x, 1, 2)
        %u: HALF[2, 6, 6] = aten::bmm(%v, %x)
        return %y, %n, %t, %k, %q, %m, %u
      })";
    auto put = [&](const std::string& what, const std::string& by) {
      for (size_t at; (at = text.find(what)) != std::string::npos;)
        text.replace(at, what.size(), by);
    };
    auto numbers = [](int count) {
      std::string all;
      for (int i = 0; i < count; i++)
        all += fmt::format("{}{}", i ? ", " : "", double((i * 7 + i * i % 11) % 32 - 16) / 16);
      return all;
    };
    put("HALF", half);
    put("CODE", half == "f16" ? "5" : "15");
    put("WEIGHTS", numbers(120));
    put("BIAS", numbers(20));
    put("WINDOWS", numbers(108));
    put("DEPTHWISE", numbers(36));
    LoweredRegion region = compare_with_eval(text);
    // Weights of products take two bytes each, and panels are whole.
    size_t bytes = 0;
    for (const TileConstant& constant : region.constants) bytes += constant.bytes.size();
    EXPECT_EQ(bytes, 2 * (32 * 6 + 20 + 16 * 27) + 4 * 36u);
  }
}

TEST(LowerForCpu, parts_of_a_concatenation_are_written_in_place) {
  LoweredRegion region = compare_with_eval(R"(
    method forward(%x: f32[2, 3] as x, %y: f32[2, 2] as y) {
      %a: f32[2, 3] = aten::relu(%x)
      %b: f32[2, 2] = aten::neg(%y)
      %c: f32[2, 5] = aten::cat({%a, %b}, 1)
      %d: f32[2, 5] = aten::exp(%c)
      %e: f32[2, 3] = aten::slice.Tensor(%c, 1, 1, 4, 1)
      return %d, %e
    })");
  EXPECT_EQ(region.program.steps.size(), 4u);
}

TEST(LowerForCpu, an_embedding_reads_the_rows_it_is_told) {
  compare_with_eval(R"(
    constant @w: f32[3, 2] = {0, 1, 2, 3, 4, 5}
    constant @i: i64[1, 4] = {2, 0, 1, 2}
    method forward(%x: f32[1, 4, 2] as x) {
      %w = constant @w
      %i = constant @i
      %e: f32[1, 4, 2] = aten::embedding(%w, %i)
      %y: f32[1, 4, 2] = aten::add.Tensor(%e, %x)
      return %y
    })");
}

TEST(LowerForCpu, softmax_over_one_element_takes_what_it_reads) {
  LoweredRegion region = compare_with_eval(R"(
    method forward(%x: f32[4, 3, 1, 1] as x) {
      %y: f32[4, 3, 1, 1] = aten::div.Tensor(%x, 2.5)
      %z: f32[4, 3, 1, 1] = aten::_softmax(%y, -1, false)
      return %z
    })");
  EXPECT_EQ(region.program.steps.size(), 1u);
}

// Sizes that are no multiples of the squares, with all that may run in the kernel.
TEST(LowerForCpu, large_convolutions_of_3_by_3_multiply_less) {
  LoweredRegion fours = compare_with_eval(R"(
    constant @w: f32[64, 64, 3, 3] = omitted 0000000000000001
    constant @b: f32[64] = omitted 0000000000000002
    method forward(%x: f32[1, 64, 23, 24] as x, %r: f32[1, 64, 23, 24] as r) {
      %w = constant @w
      %b = constant @b
      %y: f32[1, 64, 23, 24] = aten::convolution(%x, %w, %b, [1, 1], [1, 1], [1, 1], false, [0, 0], 1)
      %z: f32[1, 64, 23, 24] = aten::add.Tensor(%y, %r)
      %a: f32[1, 64, 23, 24] = aten::relu(%z)
      return %a
    })",
                                          3e-4);  // of results of up to 40
  EXPECT_EQ(fours.program.steps.size(), 2u);      // one makes the input's channels innermost
  EXPECT_EQ(fours.program.steps[1].operands.size(), 4u + 16u);
  LoweredRegion twos = compare_with_eval(R"(
    constant @w: f32[128, 128, 3, 3] = omitted 0000000000000001
    method forward(%x: f32[1, 128, 11, 14] as x) {
      %w = constant @w
      %p: f32[1, 128, 12, 14] = aten::constant_pad_nd(%x, [0, 0, 1, 0], 0)
      %y: f32[1, 128, 12, 12] = aten::convolution(%p, %w, none, [1, 1], [1, 0], [1, 1], false, [0, 0], 1)
      return %y
    })",
                                         1e-4);
  EXPECT_EQ(twos.program.steps[1].operands.size(), 2u + 4u);
}

TEST(LowerForCpu, zeros_around_a_convolution_are_not_made) {
  LoweredRegion region = compare_with_eval(R"(
    constant @w: f32[4, 3, 3, 3] = omitted 0000000000000001
    constant @d: f32[4, 1, 3, 3] = omitted 0000000000000002
    method forward(%x: f32[2, 3, 7, 6] as x) {
      %w = constant @w
      %d = constant @d
      %p: f32[2, 3, 8, 8] = aten::constant_pad_nd(%x, [0, 2, 1, 0], 0)
      %y: f32[2, 4, 8, 8] = aten::convolution(%p, %w, none, [1, 1], [1, 1], [1, 1], false, [0, 0], 1)
      %q: f32[2, 4, 9, 9] = aten::constant_pad_nd(%y, [0, 1, 0, 1], 0)
      %z: f32[2, 4, 4, 4] = aten::convolution(%q, %d, none, [2, 2], [0, 0], [1, 1], false, [0, 0], 4)
      return %z
    })");
  EXPECT_EQ(region.program.steps.size(), 3u);  // and the input's channels made innermost
  // Not zeros, or read by others too: made.
  region = compare_with_eval(R"(
    constant @w: f32[4, 3, 3, 3] = omitted 0000000000000001
    method forward(%x: f32[2, 3, 7, 6] as x) {
      %w = constant @w
      %p: f32[2, 3, 8, 7] = aten::constant_pad_nd(%x, [0, 1, 1, 0], 1)
      %y: f32[2, 4, 6, 5] = aten::convolution(%p, %w, none, [1, 1], [0, 0], [1, 1], false, [0, 0], 1)
      %q: f32[2, 3, 8, 7] = aten::constant_pad_nd(%x, [0, 1, 1, 0], 0)
      %z: f32[2, 4, 6, 5] = aten::convolution(%q, %w, none, [1, 1], [0, 0], [1, 1], false, [0, 0], 1)
      return %y, %z, %q
    })");
}

// Bytes in, bytes out; the results are those of the integer kernels, bit for bit.
TEST(LowerForCpu, linears_of_integers) {
  for (const char* bias : {"%b", "none"}) {
    LoweredRegion region = compare_with_eval(fmt::format(R"(
    constant @w: i8[21, 13] = omitted 0000000000000001
    constant @s: f32[21] = omitted 0000000000000002
    constant @b: i32[21] = omitted 0000000000000003
    method forward(%x: i8[2, 5, 13] as x) {{
      %w = constant @w
      %s = constant @s
      %b = constant @b
      %y: i8[2, 5, 21] = int8::linear(%x, 0.02, 7, %w, %s, {}, 0.3, -3, -90, 127)
      return %y
    }})",
                                                         bias));
    ASSERT_EQ(region.program.steps.size(), 1u);
  }
}

TEST(LowerForCpu, integers_that_become_numbers_where_they_are_made) {
  for (int64_t outputs : {5, 21}) {
    LoweredRegion region = compare_with_eval(fmt::format(R"(
    constant @w: i8[{0}, 13, 3, 3] = omitted 0000000000000001
    constant @s: f32[{0}] = omitted 0000000000000002
    constant @b: i32[{0}] = omitted 0000000000000003
    method forward(%x: i8[2, 13, 9, 9] as x, %r: f32[2, {0}, 9, 9] as r) {{
      %w = constant @w
      %s = constant @s
      %b = constant @b
      %y: i8[2, {0}, 9, 9] = int8::convolution(%x, 0.02, 7, %w, %s, %b, [1, 1], [1, 1], [1, 1], false, [0, 0], 1, 0.3, -3, -90, 127)
      %f: f32[2, {0}, 9, 9] = quantized_decomposed::dequantize_per_tensor(%y, 0.3, -3, -128, 127, 1, none)
      %a: f32[2, {0}, 9, 9] = aten::add.Tensor(%f, %r)
      %z: f32[2, {0}, 9, 9] = aten::relu(%a)
      return %z
    }})",
                                                         outputs));
    // The input's channels are made innermost first.
    EXPECT_EQ(region.program.steps.size(), 2u);
  }
}

TEST(LowerForCpu, linears_of_integers_that_give_numbers) {
  for (const char* scales : {"f32[1]", "f32[21]"})
    for (const char* bias : {"%b", "none"}) {
      LoweredRegion region = compare_with_eval(fmt::format(R"(
    constant @w: i8[21, 13] = omitted 0000000000000001
    constant @s: {} = omitted 0000000000000002
    constant @b: f32[21] = omitted 0000000000000003
    method forward(%x: i8[2, 5, 13] as x) {{
      %w = constant @w
      %s = constant @s
      %b = constant @b
      %y: f32[2, 5, 21] = int8::linear(%x, 0.02, 7, %w, %s, {}, none, 0, -128, 127)
      %r: f32[2, 5, 21] = aten::relu(%y)
      %z: f32[2, 5, 21] = aten::sigmoid(%r)
      return %z
    }})",
                                                           scales, bias));
      ASSERT_EQ(region.program.steps.size(), 1u);
    }
}

TEST(LowerForCpu, products_of_integers) {
  for (int64_t depth : {1, 13, 64})
    for (int64_t columns : {1, 16, 53})
      for (const char* zeros : {"0 0", "7 0", "0 -5", "-128 127"}) {
        std::string a_zero(zeros), b_zero = a_zero.substr(a_zero.find(' ') + 1);
        a_zero.resize(a_zero.find(' '));
        // Columns that lie one after another, as keys of attention do, and rows of them.
        LoweredRegion region = compare_with_eval(fmt::format(
            R"(
    method forward(%a: i8[3, 37, {0}] as a, %b: i8[3, {1}, {0}] as b, %c: i8[3, {1}, {0}] as c) {{
      %t: i8[3, {0}, {1}] = aten::permute(%b, [0, 2, 1])
      %p: i8[3, 37, {1}] = int8::matmul(%a, 0.02, {2}, %t, 0.04, {3}, 0.1, -3, -90, 127)
      %q: i8[3, 37, {0}] = int8::matmul(%p, 0.1, {3}, %c, 0.04, {2}, 0.5, 0, -128, 127)
      %n: f32[3, 37, {1}] = int8::matmul(%a, 0.02, {3}, %t, 0.04, {2}, none, 0, -128, 127)
      %r: f32[3, 37, {1}] = aten::relu(%n)
      return %p, %q, %r
    }})",
            depth, columns, a_zero, b_zero));
        ASSERT_EQ(region.program.steps.size(), 3u);
      }
}

TEST(LowerForCpu, linears_of_numbers_whose_rows_become_bytes) {
  for (int64_t inputs : {1, 19, 96})
    for (const char* scales : {"f32[1]", "f32[21]"})
      for (const char* bias : {"none", "%b"}) {
        LoweredRegion region = compare_with_eval(fmt::format(R"(
    constant @w: i8[21, {0}] = omitted 0000000000000001
    constant @s: {1} = omitted 0000000000000002
    constant @b: f32[21] = omitted 0000000000000003
    method forward(%x: f32[2, 5, {0}] as x) {{
      %w = constant @w
      %s = constant @s
      %b = constant @b
      %y: f32[2, 5, 21] = int8::dynamic_linear(%x, %w, %s, {2}, 8)
      %z: f32[2, 5, 21] = aten::relu(%y)
      return %z
    }})",
                                                             inputs, scales, bias));
        ASSERT_EQ(region.program.steps.size(), 1u);
      }
}

TEST(LowerForCpu, linears_of_numbers_by_weights_of_8_bits) {
  for (int64_t inputs : {1, 19, 96})
    for (const char* scales : {"f32[21]", "f32[21, 1]"})
      compare_with_eval(fmt::format(R"(
    constant @w: i8[21, {0}] = omitted 0000000000000001
    constant @s: {1} = omitted 0000000000000002
    constant @b: f32[21] = omitted 0000000000000003
    method forward(%x: f32[2, 5, {0}] as x) {{
      %w = constant @w
      %s = constant @s
      %b = constant @b
      %y: f32[2, 5, 21] = int8::weight_linear(%x, %w, %s, %b, 8)
      %z: f32[2, 5, 21] = aten::gelu(%y, "none")
      return %z
    }})",
                                    inputs, scales),
                        1e-5);
}

TEST(LowerForCpu, linears_of_numbers_by_weights_of_4_bits_in_groups) {
  std::mt19937 random(3);
  for (const char* op : {"dynamic_linear", "weight_linear"})
    for (int64_t groups : {1, 3}) {
      std::vector<int> weights;
      for (int64_t i = 0; i < 21 * groups * 24; i++) weights.push_back(int(random() % 16) - 8);
      LoweredRegion region =
          compare_with_eval(fmt::format(R"(
    constant @w: i8[21, {0}] = {{{2}}}
    constant @s: f32[21, {1}] = omitted 0000000000000002
    constant @b: f32[21] = omitted 0000000000000003
    method forward(%x: f32[5, {0}] as x) {{
      %w = constant @w
      %s = constant @s
      %b = constant @b
      %y: f32[5, 21] = int8::{3}(%x, %w, %s, %b, 4)
      return %y
    }})",
                                        24 * groups, groups, fmt::join(weights, ", "), op),
                            1e-5);
      ASSERT_EQ(region.program.steps.size(), 1u);
      uint64_t packed = 0;  // two in a byte, 21 columns filled up to 32
      for (const TileConstant& constant : region.constants)
        if (constant.name.ends_with("nibbles")) packed = constant.bytes.size();
      EXPECT_EQ(packed, uint64_t(32 * groups * 24 / 2));
    }
}

TEST(LowerForCpu, convolutions_of_numbers_by_weights_of_8_bits) {
  struct Case {
    int64_t in, out, window, groups, stride, padding, dilation;
    const char *scales, *bias;
  };
  for (const Case& c :
       {Case{3, 21, 7, 1, 2, 3, 1, "f32[21]", "%b"}, Case{20, 6, 1, 1, 1, 0, 1, "f32[1]", "none"},
        Case{6, 8, 3, 1, 1, 2, 2, "f32[8]", "%b"}, Case{8, 12, 3, 2, 1, 1, 1, "f32[12]", "%b"}}) {
    int64_t size = (9 + 2 * c.padding - c.dilation * (c.window - 1) - 1) / c.stride + 1;
    LoweredRegion region =
        compare_with_eval(fmt::format(R"(
    constant @w: i8[{0}, {1}, {2}, {2}] = omitted 0000000000000001
    constant @s: {9} = omitted 0000000000000002
    constant @b: f32[{0}] = omitted 0000000000000003
    method forward(%x: f32[2, {3}, 9, 9] as x) {{
      %w = constant @w
      %s = constant @s
      %b = constant @b
      %y: f32[2, {0}, {4}, {4}] = int8::weight_convolution(%x, %w, %s, {10}, [{5}, {5}], [{6}, {6}], [{7}, {7}], false, [0, 0], {8})
      %z: f32[2, {0}, {4}, {4}] = aten::relu(%y)
      return %z
    }})",
                                      c.out, c.in / c.groups, c.window, c.in, size, c.stride,
                                      c.padding, c.dilation, c.groups, c.scales, c.bias),
                          1e-4);  // sums of thousands come out as ones
    // Weights stay bytes.
    uint64_t bytes = 0;
    for (const TileConstant& constant : region.constants)
      bytes = std::max<uint64_t>(bytes, constant.bytes.size());
    EXPECT_EQ(bytes, uint64_t(c.out * c.in / c.groups * c.window * c.window));
  }
}

TEST(LowerForCpu, convolutions_of_integers_of_every_kind) {
  struct Case {
    int64_t in, out, window, groups, stride, padding, dilation;
  };
  for (const Case& c :
       {Case{3, 21, 7, 1, 2, 3, 1}, Case{8, 6, 3, 1, 1, 1, 1}, Case{6, 8, 3, 1, 1, 2, 2},
        Case{20, 6, 1, 1, 1, 0, 1}, Case{8, 12, 3, 2, 1, 1, 1}, Case{6, 6, 3, 6, 2, 1, 1},
        Case{6, 12, 3, 6, 1, 1, 1}}) {
    int64_t size = (9 + 2 * c.padding - c.dilation * (c.window - 1) - 1) / c.stride + 1;
    LoweredRegion region = compare_with_eval(fmt::format(
        R"(
    constant @w: i8[{0}, {1}, {2}, {2}] = omitted 0000000000000001
    constant @s: f32[{0}] = omitted 0000000000000002
    constant @b: i32[{0}] = omitted 0000000000000003
    method forward(%x: i8[2, {3}, 9, 9] as x, %r: i8[2, {0}, {4}, {4}] as r) {{
      %w = constant @w
      %s = constant @s
      %b = constant @b
      %y: i8[2, {0}, {4}, {4}] = int8::convolution(%x, 0.02, 7, %w, %s, %b, [{5}, {5}], [{6}, {6}], [{7}, {7}], false, [0, 0], {8}, 0.3, -3, -90, 127)
      %z: i8[2, {0}, {4}, {4}] = int8::add(%r, 0.1, 2, %y, 0.3, -3, 0.2, 5, 5, 127)
      return %z
    }})",
        c.out, c.in / c.groups, c.window, c.in, size, c.stride, c.padding, c.dilation, c.groups));
    // Channels of the input are made innermost; the sum is taken along.
    EXPECT_EQ(region.program.steps.size(), 2u);
    compare_with_eval(fmt::format(
        R"(
    constant @w: i8[{0}, {1}, {2}, {2}] = omitted 0000000000000001
    constant @s: f32[{0}] = omitted 0000000000000002
    constant @b: f32[{0}] = omitted 0000000000000003
    method forward(%x: i8[2, {3}, 9, 9] as x) {{
      %w = constant @w
      %s = constant @s
      %b = constant @b
      %y: f32[2, {0}, {4}, {4}] = int8::convolution(%x, 0.02, 7, %w, %s, %b, [{5}, {5}], [{6}, {6}], [{7}, {7}], false, [0, 0], {8}, none, 0, -128, 127)
      return %y
    }})",
        c.out, c.in / c.groups, c.window, c.in, size, c.stride, c.padding, c.dilation, c.groups));
  }
}

TEST(LowerForCpu, sums_products_means_limits_and_moves_of_integers) {
  compare_with_eval(R"(
    method forward(%x: i8[2, 5, 6, 4] as x, %y: i8[5, 1, 1] as y) {
      %a: i8[2, 5, 6, 4] = int8::add(%x, 0.1, 2, %y, 0.3, -3, 0.2, 5, -128, 127)
      %s: i8[2, 5, 6, 4] = int8::sub(%a, 0.2, 5, %y, 0.3, -3, 0.2, 0, -100, 127)
      %m: i8[2, 5, 6, 4] = int8::mul(%s, 0.2, 0, %x, 0.1, 2, 0.05, -9, -128, 100)
      %c: i8[2, 5, 6, 4] = int8::clamp(%m, 0.05, -9, -1.0, 2.5, 0.02, 3)
      %d: i8[2, 5, 6, 4] = int8::clamp(%c, 0.02, 3, none, none, 0.03, 0)
      %p: i8[2, 5, 3, 2], %i: i64[2, 5, 3, 2] = aten::max_pool2d_with_indices(%d, [2, 2], [2, 2], [0, 0], [1, 1], false)
      %t: i8[2, 5, 2, 3] = aten::transpose.int(%p, 2, 3)
      %u: i8[2, 5, 6] = aten::view(%t, [2, 5, 6])
      %n: i8[2, 5, 1, 1] = int8::mean(%d, 0.03, 0, [2, 3], true, 0.01, -4, -128, 127)
      %v: i8[2, 5, 1] = aten::view(%n, [2, 5, 1])
      %z: i8[2, 5, 7] = aten::cat({%u, %v}, 2)
      return %z
    })");
}

// What is written by position: rows where tensors tell, slices. An input that nothing else reads is
// updated by the output, without a step that copies it.
TEST(LowerForCpu, writes_by_position_are_steps_of_their_own) {
  auto steps_of = [](const char* node, const char* more = "") {
    LoweredRegion region = compare_with_eval(fmt::format(R"(
      constant @two: i64[2] = {{3, 1}}
      constant @one: i64[1] = {{-2}}
      constant @place: i64[] = {{4}}
      constant @grid: i64[2, 1] = {{0, 1}}
      method forward(%x: f32[2, 5, 6] as x, %r: f32[2, 2, 6] as r, %q: f32[2, 1, 6] as q,
                     %s: f32[2, 6] as s) {{
        %two = constant @two
        %one = constant @one
        %place = constant @place
        %grid = constant @grid
        {}
        {}
        return %y
      }})",
                                                         node, more));
    EXPECT_TRUE(region.program.outputs.empty() || region.program.outputs[0].updates >= -1);
    return std::make_pair(region.program.steps.size(),
                          region.program.outputs.empty() ? -1 : region.program.outputs[0].updates);
  };
  using Steps = std::pair<size_t, int32_t>;
  const Steps in_place(1, 0);
  EXPECT_EQ(steps_of("%y: f32[2, 5, 6] = aten::index_copy(%x, 1, %two, %r)"), in_place);
  EXPECT_EQ(steps_of("%y: f32[2, 5, 6] = aten::index_copy(%x, -2, %place, %q)"), in_place);
  EXPECT_EQ(steps_of("%y: f32[2, 5, 6] = aten::index_put(%x, {none, %two}, %r, false)"), in_place);
  EXPECT_EQ(steps_of("%y: f32[2, 5, 6] = aten::index_put(%x, {none, %one}, %q, false)"), in_place);
  EXPECT_EQ(steps_of("%y: f32[2, 5, 6] = aten::index_put(%x, {%grid, %two}, %r, false)"), in_place);
  EXPECT_EQ(steps_of("%y: f32[2, 5, 6] = aten::slice_scatter(%x, %r, 1, -4, 4, 2)"), in_place);
  EXPECT_EQ(steps_of("%y: f32[2, 5, 6] = aten::select_scatter(%x, %s, 1, -1)"), in_place);
  // One after the other, in one place.
  EXPECT_EQ(steps_of("%a: f32[2, 5, 6] = aten::index_copy(%x, 1, %two, %r)",
                     "%y: f32[2, 5, 6] = aten::select_scatter(%a, %s, 1, 3)"),
            Steps(2, 0));
  // Read as it was: it is copied.
  EXPECT_EQ(steps_of("%a: f32[2, 5, 6] = aten::index_copy(%x, 1, %two, %r)",
                     "%y: f32[2, 5, 6] = aten::add.Tensor(%a, %x)"),
            Steps(3, -1));
}

// Two heads of keys and values of bytes for four of queries, read through views.
TEST(LowerForCpu, attention_reads_keys_and_values_of_bytes_where_they_lie) {
  for (int positions : {40, 300})
    for (int queries : {1, 9})
      for (const char* zero : {"zeros", "told"}) {
        LoweredRegion region = compare_with_eval(fmt::format(R"(
      constant @zeros: i64[1, {0}, 2, 1] = zeros
      method forward(%q: f32[1, 4, {1}, 8] as q, %k: i8[1, {0}, 2, 8] as k,
                     %s: f32[1, {0}, 2, 1] as s, %told: i32[1, {0}, 2, 1] as told) {{
        %zeros = constant @zeros
        %f: f32[1, {0}, 2, 8] = quantized_decomposed::dequantize_per_token(%k, %s, %{2}, -127, 127, 1, 6)
        %t: f32[1, 2, {0}, 8] = aten::permute(%f, [0, 2, 1, 3])
        %y: f32[1, 4, {1}, 8] = aten::scaled_dot_product_attention(%q, %t, %t, none, 0.0, false, none, true)
        return %y
      }})",
                                                             positions, queries, zero),
                                                 1e-5);
        EXPECT_EQ(region.program.steps.size(), 1u) << positions << ", " << queries;
        EXPECT_EQ(region.program.arena_bytes, 0u);
      }
}

// As ExecuTorch's attention over caches of bytes is written out.
TEST(LowerForCpu, attention_reads_bytes_whose_numbers_are_written_out) {
  LoweredRegion region = compare_with_eval(R"(
    method forward(%q: f32[1, 2, 3, 8] as q, %k: i8[1, 2, 9, 8] as k, %s: f32[1, 2, 9, 1] as s,
                   %z: i8[1, 2, 9, 1] as z) {
      %a: f32[1, 2, 9, 8] = aten::_to_copy(%k, 6)
      %b: f32[1, 2, 9, 1] = aten::_to_copy(%z, 6)
      %c: f32[1, 2, 9, 8] = aten::sub.Tensor(%a, %b)
      %f: f32[1, 2, 9, 8] = aten::mul.Tensor(%c, %s)
      %y: f32[1, 2, 3, 8] = aten::scaled_dot_product_attention(%q, %f, %f)
      return %y
    })");
  EXPECT_EQ(region.program.steps.size(), 2u);  // the zero points, and attention
}

// Where something else reads the numbers, they are made.
TEST(LowerForCpu, numbers_of_bytes_that_more_than_attention_reads_are_in_memory) {
  LoweredRegion region = compare_with_eval(R"(
    constant @zeros: i64[1, 2, 9, 1] = zeros
    method forward(%q: f32[1, 2, 3, 8] as q, %k: i8[1, 2, 9, 8] as k, %s: f32[1, 2, 9, 1] as s) {
      %z = constant @zeros
      %f: f32[1, 2, 9, 8] = quantized_decomposed::dequantize_per_token(%k, %s, %z, -127, 127, 1, 6)
      %y: f32[1, 2, 3, 8] = aten::scaled_dot_product_attention(%q, %f, %f)
      %m: f32[1, 2, 9] = aten::amax(%f, [-1], false)
      return %y, %m
    })");
  EXPECT_EQ(region.program.steps.size(), 3u);
}

TEST(LowerForCpu, integers_without_a_sign_and_of_16_bits_come_from_numbers_and_go_to_them) {
  LoweredRegion region = compare_with_eval(R"(
    method forward(%x: f32[3, 5, 37] as x, %u: u8[3, 37, 5] as u, %v: i16[3, 5, 37] as v) {
      %p: u8[3, 5, 37] = quantized_decomposed::quantize_per_tensor(%x, 0.02, 100, 3, 255, 0)
      %q: i16[3, 5, 37] = quantized_decomposed::quantize_per_tensor(%x, 0.0001, -7, -32767, 32767, 2)
      %a: f32[3, 5, 37] = quantized_decomposed::dequantize_per_tensor(%q, 0.0001, -7, -32767, 32767, 2, none)
      %b: f32[3, 5, 37] = quantized_decomposed::dequantize_per_tensor(%v, 0.5, 3, -32768, 32767, 2, none)
      %t: u8[3, 5, 37] = aten::permute(%u, [0, 2, 1])
      %f: f32[3, 5, 37] = aten::_to_copy(%t, 6)
      %c: u8[3, 10, 37] = aten::cat({%t, %p}, 1)
      %y: f32[3, 5, 37] = aten::add.Tensor(%a, %b)
      %z: f32[3, 5, 37] = aten::mul.Tensor(%y, %f)
      return %z, %q, %c
    })");
  EXPECT_EQ(region.outputs.size(), 3u);
}

TEST(LowerForCpu, integers_and_numbers_become_narrow_integers) {
  for (const char* to : {"u8, 0", "i8, 1", "i16, 2"}) {
    std::string type(to), code = type.substr(type.find(' ') + 1);
    type.resize(type.find(','));
    compare_with_eval(fmt::format(
        R"(
    method forward(%x: i32[3, 37] as x, %f: f32[3, 37] as f, %b: i8[3, 37] as b) {{
      %k: i32[3, 37] = aten::mul.Tensor(%x, 12345)
      %p: {0}[3, 37] = aten::_to_copy(%k, {1})
      %g: f32[3, 37] = aten::mul.Tensor(%f, 20.0)
      %q: {0}[3, 37] = aten::_to_copy(%g, {1})
      %r: {0}[3, 37] = aten::_to_copy(%b, {1})
      %s: f32[3, 37] = aten::_to_copy(%r, 6)
      return %p, %q, %r, %s
    }})",
        type, code));
  }
}

TEST(LowerForCpu, products_of_bytes_are_sums_of_32_bits) {
  for (const char* type : {"i8", "u8"})
    compare_with_eval(fmt::format(R"(
    constant @w: i8[45, 21] = omitted 0000000000000001
    constant @s: f32[21] = omitted 0000000000000002
    constant @b: f32[21] = omitted 0000000000000003
    method forward(%x: {}[37, 45] as x, %y: i8[45, 19] as y, %r: f32[37, 1] as r) {{
      %w = constant @w
      %s = constant @s
      %b = constant @b
      %p: i32[37, 21] = aten::_int_mm(%x, %w)
      %f: f32[37, 21] = aten::_to_copy(%p, 6)
      %a: f32[37, 21] = aten::mul.Tensor(%f, %r)
      %c: f32[37, 21] = aten::mul.Tensor(%a, %s)
      %d: f32[37, 21] = aten::add.Tensor(%c, %b)
      %q: i32[37, 19] = aten::_int_mm(%x, %y)
      return %d, %q
    }})",
                                  type));
}

TEST(LowerForCpu, rows_become_bytes_by_their_own_scale) {
  compare_with_eval(R"(
    constant @zeros: i64[3, 5, 1] = zeros
    method forward(%x: f32[3, 5, 37] as x) {
      %z = constant @zeros
      %a: f32[3, 5, 37] = aten::abs(%x)
      %m: f32[3, 5, 1] = aten::amax(%a, [-1], true)
      %c: f32[3, 5, 1] = aten::clamp(%m, 1e-5, none)
      %s: f32[3, 5, 1] = aten::div.Scalar(%c, 127.0)
      %q: i8[3, 5, 37] = quantized_decomposed::quantize_per_token(%x, %s, %z, -127, 127, 1)
      return %q, %s
    })");
}

}  // namespace
}  // namespace sconce
