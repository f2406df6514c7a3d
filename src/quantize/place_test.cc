#include "quantize/place.h"

#include "passes/pass_test.h"
#include "quantize/migrate.h"

namespace sconce {
namespace {

// A picture: convolutions, a sum, a pool, and a linear at the end.
constexpr const char* kPicture = R"(
constant @a.weight: f32[4, 2, 3, 3] = omitted 0000000000000001
constant @a.bias: f32[4] = omitted 0000000000000002
constant @b.weight: f32[4, 1, 3, 3] = omitted 0000000000000003
constant @c.weight: f32[3, 4] = omitted 0000000000000004
method forward(%x: f32[1, 2, 8, 8]) {
  %aw = constant @a.weight
  %ab = constant @a.bias
  %bw = constant @b.weight
  %cw = constant @c.weight
  %a: f32[1, 4, 8, 8] = aten::convolution(%x, %aw, %ab, [1, 1], [1, 1], [1, 1], false, [0, 0], 1)
  %ar: f32[1, 4, 8, 8] = aten::relu(%a)
  %b: f32[1, 4, 8, 8] = aten::convolution(%ar, %bw, none, [1, 1], [1, 1], [1, 1], false, [0, 0], 4)
  %s: f32[1, 4, 8, 8] = aten::add.Tensor(%b, %ar, 1)
  %m: f32[1, 4] = aten::mean.dim(%s, [2, 3], false, none)
  %y: f32[1, 3] = aten::linear(%m, %cw, none)
  %z: f32[1, 3] = aten::sigmoid(%y)
  return %z
})";

// A transformer's piece: a norm that only linears read, float operators around them.
constexpr const char* kText = R"(
constant @n.weight: f32[64] = omitted 0000000000000001
constant @n.bias: f32[64] = omitted 0000000000000002
constant @q.weight: f32[8, 64] = omitted 0000000000000003
constant @k.weight: f32[8, 64] = omitted 0000000000000004
method forward(%x: f32[5, 64]) {
  %nw = constant @n.weight
  %nb = constant @n.bias
  %qw = constant @q.weight
  %kw = constant @k.weight
  %n: f32[5, 64] = aten::layer_norm(%x, [64], %nw, %nb, 1e-5, false)
  %q: f32[5, 8] = aten::linear(%n, %qw, none)
  %k: f32[5, 8] = aten::linear(%n, %kw, none)
  %a: f32[5, 8] = aten::sigmoid(%q)
  %y: f32[5, 8] = aten::mul.Tensor(%a, %k)
  return %y
})";

std::unique_ptr<Program> parsed(const char* text) {
  auto program = parse_completed(text);
  draw_omitted_constants(*program);
  return program;
}

std::vector<Layer> layers_of(const Program& program, const Scheme& scheme,
                             const std::vector<std::string>& keep = {}) {
  auto found = find_layers(program, program.methods[0].graph, scheme, keep);
  EXPECT_TRUE(found.ok()) << (found.ok() ? "" : found.error().text);
  return found.ok() ? *found : std::vector<Layer>();
}

std::vector<LayerIntegers> rounded(const Program& program, const std::vector<Layer>& layers) {
  std::vector<LayerIntegers> integers(layers.size());
  for (size_t i = 0; i < layers.size(); i++)
    if (layers[i].why_float.empty())
      integers[i].weight =
          round_rows(weight_rows(program, program.methods[0].graph, layers[i]), layers[i].outputs,
                     layers[i].columns, layers[i].scheme.bits, layers[i].scheme.group);
  return integers;
}

std::map<ValueId, Range> ranges_for(const IntegerRegion& region) {
  std::map<ValueId, Range> ranges;
  for (size_t v = 0; v < region.value.size(); v++)
    if (region.value[v]) ranges[ValueId(v)] = range_of(-12, 12);
  return ranges;
}

// The program with its layers as integers.
std::unique_ptr<Program> placed(const Program& program, const std::vector<Layer>& layers) {
  auto made = copy(program);
  Graph& graph = made->methods[0].graph;
  IntegerRegion region = find_integer_region(*made, graph, layers);
  auto done =
      place_integers(*made, graph, layers, rounded(program, layers), region, ranges_for(region));
  EXPECT_TRUE(done.ok()) << done.error().text;
  EXPECT_TRUE(verify(*made).ok());
  return made;
}

int count(const Program& program, std::string_view op) {
  int n = 0;
  const Graph& graph = program.methods[0].graph;
  for (NodeId id : graph.order) n += graph.nodes[size_t(id)].op == op;
  return n;
}

// Largest difference of the first output, relative to its largest number.
double difference(const Program& a, const Program& b) {
  Evaluator run_a(a), run_b(b);
  auto inputs = random_inputs(a, a.methods[0].graph, 7);
  auto x = run_a.run(a.methods[0].graph, inputs), y = run_b.run(b.methods[0].graph, inputs);
  EXPECT_TRUE(x.ok() && y.ok()) << (y.ok() ? "" : y.error().text);
  if (!x.ok() || !y.ok()) return 1e9;
  auto p = elements(std::get<EvalTensor>((*x)[0])), q = elements(std::get<EvalTensor>((*y)[0]));
  double most = 0, scale = 0;
  for (size_t i = 0; i < p.size(); i++) {
    most = std::max(most, std::fabs(p[i] - q[i]));
    scale = std::max(scale, std::fabs(p[i]));
  }
  return most / scale;
}

TEST(FindLayers, names_them_after_their_weights_and_keeps_what_fits_a_pattern) {
  auto program = parsed(kPicture);
  auto layers = layers_of(*program, {}, {"a", "aten::lin*"});
  ASSERT_EQ(layers.size(), 3u);
  EXPECT_EQ(layers[0].name, "a");
  EXPECT_FALSE(layers[0].why_float.empty());
  EXPECT_TRUE(layers[1].why_float.empty());
  EXPECT_FALSE(layers[2].why_float.empty());
}

TEST(FindLayers, refuses_a_pattern_that_fits_nothing) {
  auto program = parsed(kPicture);
  auto found = find_layers(*program, program->methods[0].graph, {}, {"typo.*"});
  ASSERT_FALSE(found.ok());
  EXPECT_NE(found.error().text.find("typo"), std::string::npos);
  EXPECT_NE(found.error().text.find("\"a\""), std::string::npos);
}

TEST(MatchesPattern, knows_stars_and_question_marks) {
  EXPECT_TRUE(matches_pattern("*.query", "layer.0.query"));
  EXPECT_TRUE(matches_pattern("a?c*", "abcdef"));
  EXPECT_TRUE(matches_pattern("*a*b*", "xxaybz"));
  EXPECT_FALSE(matches_pattern("*.query", "layer.0.query2"));
  EXPECT_FALSE(matches_pattern("", "a"));
}

TEST(PlaceIntegers, lets_everything_between_layers_work_on_integers) {
  auto program = parsed(kPicture);
  auto made = placed(*program, layers_of(*program, {}));
  Graph& graph = made->methods[0].graph;
  PassContext context = target_without();
  context.quantized = QuantizedGraphs::integers;
  apply(fold_quantization, *made, graph, context);
  apply(remove_dead_code, *made, graph, context);
  EXPECT_EQ(count(*made, "int8::convolution"), 2);
  EXPECT_EQ(count(*made, "int8::add"), 1);
  EXPECT_EQ(count(*made, "int8::mean"), 1);
  EXPECT_EQ(count(*made, "int8::linear"), 1);
  EXPECT_EQ(count(*made, "aten::sigmoid"), 1);
  EXPECT_LT(difference(*program, *made), 0.3);  // the ranges are wide
}

TEST(PlaceIntegers, leaves_kept_layers_and_what_needs_them_float) {
  auto program = parsed(kPicture);
  auto made = placed(*program, layers_of(*program, {}, {"b"}));
  Graph& graph = made->methods[0].graph;
  PassContext context = target_without();
  context.quantized = QuantizedGraphs::integers;
  apply(fold_quantization, *made, graph, context);
  apply(remove_dead_code, *made, graph, context);
  EXPECT_EQ(count(*made, "int8::convolution"), 1);
  EXPECT_EQ(count(*made, "aten::convolution"), 1);
  EXPECT_EQ(count(*made, "int8::add"), 0);
}

TEST(PlaceIntegers, is_close_for_weights_alone_and_for_rows) {
  for (const char* text : {kPicture, kText})
    for (Scheme scheme :
         {Scheme{Activations::numbers, 8, 0}, Scheme{Activations::dynamic, 8, 0},
          Scheme{Activations::numbers, 4, 32}, Scheme{Activations::dynamic, 4, 32}}) {
      auto program = parsed(text);
      auto made = placed(*program, layers_of(*program, scheme));
      EXPECT_LT(difference(*program, *made), scheme.bits == 8 ? 0.03 : 0.4) << scheme.bits;
    }
}

TEST(PlaceIntegers, quantises_rows_once_for_all_linears_that_read_them) {
  auto program = parsed(kText);
  auto made = placed(*program, layers_of(*program, {Activations::dynamic, 8, 0}));
  EXPECT_EQ(count(*made, "quantized_decomposed::quantize_per_token"), 1);
}

TEST(PlaceShadows, leaves_the_model_as_it_is) {
  auto program = parsed(kPicture);
  auto layers = layers_of(*program, {});
  auto made = copy(*program);
  Graph& graph = made->methods[0].graph;
  IntegerRegion region = find_integer_region(*made, graph, layers);
  auto shadows =
      place_shadows(*made, graph, layers, rounded(*program, layers), ranges_for(region), region);
  ASSERT_TRUE(shadows.ok()) << shadows.error().text;
  EXPECT_TRUE(verify(*made).ok());
  EXPECT_EQ(difference(*program, *made), 0);
  for (size_t i = 0; i < layers.size(); i++)
    EXPECT_EQ(graph.type((*shadows)[i]).tensor, graph.type(layers[i].y).tensor);
}

TEST(FreeLoneLinears, gives_rows_their_own_ranges_where_numbers_surround_a_linear) {
  auto text = parsed(kText), picture = parsed(kPicture);
  for (bool everywhere : {false, true}) {
    Scheme scheme{Activations::fixed, 8, 0, everywhere};
    auto layers = layers_of(*text, scheme);
    free_lone_linears(*text, text->methods[0].graph, layers);
    for (const Layer& layer : layers)
      EXPECT_EQ(layer.scheme.activations, everywhere ? Activations::fixed : Activations::dynamic);
  }
  auto layers = layers_of(*picture, {});
  free_lone_linears(*picture, picture->methods[0].graph, layers);
  for (const Layer& layer : layers) EXPECT_EQ(layer.scheme.activations, Activations::fixed);
}

TEST(Migrate, equalising_changes_ranges_and_not_results) {
  auto program = parsed(kPicture);
  auto made = copy(*program);
  auto layers = layers_of(*made, {});
  EXPECT_EQ(equalize_layers(*made, made->methods[0].graph, layers), 0);  // a sum reads it too
  Graph& graph = made->methods[0].graph;
  for (NodeId id : graph.order)
    if (graph.nodes[size_t(id)].op == "aten::add.Tensor")
      graph.nodes[size_t(id)].arguments[1] = graph.nodes[size_t(id)].arguments[0];
  auto changed = copy(*made);
  EXPECT_EQ(equalize_layers(*changed, changed->methods[0].graph, layers_of(*changed, {})), 1);
  EXPECT_TRUE(verify(*changed).ok());
  EXPECT_LT(difference(*made, *changed), 1e-5);
}

TEST(Migrate, smoothing_moves_outliers_and_changes_no_results) {
  auto program = parsed(kText);
  auto changed = copy(*program);
  auto layers = layers_of(*changed, {Activations::dynamic, 8, 0});
  ASSERT_TRUE(can_smooth(*changed, changed->methods[0].graph, layers));
  std::vector<double> most(64, 1);
  most[3] = 100;
  EXPECT_EQ(smooth_layers(*changed, changed->methods[0].graph, layers, 0.5,
                          [&](const Layer&) { return &most; }),
            1);
  EXPECT_LT(difference(*program, *changed), 1e-5);
  auto after = layers_of(*changed, {Activations::dynamic, 8, 0});
  std::vector<float> before = floats_of(*program, program->methods[0].graph, layers[0].weight),
                     now = floats_of(*changed, changed->methods[0].graph, after[0].weight);
  EXPECT_GT(std::fabs(now[3] / before[3]), 3 * std::fabs(now[4] / before[4]));
}

}  // namespace
}  // namespace sconce
