// The pipeline as a whole: random graphs give the same results before and after, for a target that
// has everything and for one with a plain set of operators.
#include <chrono>

#include "ops/build.h"
#include "passes/pass_test.h"

namespace sconce {
namespace {

// Builds a graph of operators at random, by the shape rules.
class RandomGraph {
 public:
  explicit RandomGraph(uint32_t seed) : random_(seed), program_(std::make_unique<Program>()) {
    Method& method = program_->methods.emplace_back();
    method.name = method.graph.name = "forward";
  }

  std::unique_ptr<Program> make(int nodes) {
    Graph& graph = program_->methods[0].graph;
    DType dtype = pick<DType>({DType::f32, DType::f32, DType::f64});
    for (int i = 0; i < 3; i++)
      values_.push_back(graph.add_input(Type::of(TensorType{dtype, {2, 3, 4, 4}, {}}), "x"));
    for (int i = 0; i < 2; i++) values_.push_back(constant(dtype, {3, 4, 4}));
    Build build(*program_, graph);
    for (int i = 0; i < nodes; i++) add(build);
    EXPECT_TRUE(build.status().ok()) << build.status().error().text;
    for (int i = 0; i < 3; i++) graph.outputs.push_back(values_[values_.size() - 1 - size_t(i)]);
    return std::move(program_);
  }

 private:
  template <class T>
  T pick(std::initializer_list<T> from) {
    return from.begin()[random_() % from.size()];
  }
  ValueId any() { return values_[random_() % values_.size()]; }
  ValueId recent() {
    return values_[values_.size() - 1 - random_() % std::min<size_t>(values_.size(), 3)];
  }

  ValueId constant(DType dtype, std::vector<int64_t> sizes) {
    TensorType type{dtype, {}, {}};
    size_t count = 1;
    for (int64_t size : sizes) {
      type.sizes.push_back(size);
      count *= size_t(size);
    }
    auto bytes = std::make_shared<std::vector<uint8_t>>(count * dtype_bytes(dtype));
    for (size_t i = 0; i < count; i++) {
      double value = (int(random_() % 2001) - 1000) / 500.0;
      store_elements<double>(bytes->data() + i * dtype_bytes(dtype), 1, &value, 1, dtype);
    }
    int32_t index = program_->add_constant(type, bytes, "c");
    return program_->methods[0].graph.add_value(Type::of(type), "c", Origin::constant, index);
  }

  void add(Build& build) {
    ValueId x = recent();
    auto v = [](ValueId id) { return Argument(ValueRef{id}); };
    auto keep = [&](ValueId id) { values_.push_back(id); };
    int rank = build.rank(x);
    std::vector<int64_t> dims;
    for (int i = 0; i < rank; i++) dims.push_back(i);
    DType dtype = build.dtype(x);
    switch (random_() % 18) {
      case 0:
        return keep(build.call1(pick<const char*>({"aten::relu", "aten::neg", "aten::tanh",
                                                   "aten::sigmoid", "aten::abs"}),
                                {v(x)}));
      case 1:
        return keep(build.call1(
            pick<const char*>({"aten::mul.Tensor", "aten::add.Tensor", "aten::sub.Tensor"}),
            {v(x), pick<Argument>({int64_t{1}, 0.5, 2.0, int64_t{0}})}));
      case 2:
      case 3: {  // two operands that broadcast
        ValueId y = any();
        const auto &a = build.tensor(x).sizes, &b = build.tensor(y).sizes;
        for (size_t i = 1; i <= std::min(a.size(), b.size()); i++) {
          SymInt p = a[a.size() - i], q = b[b.size() - i];
          if (p != q && p != SymInt(1) && q != SymInt(1)) return;
        }
        return keep(build.call1(
            pick<const char*>({"aten::mul.Tensor", "aten::add.Tensor", "aten::maximum"}),
            {v(x), v(y)}));
      }
      case 4:
      case 5: {
        std::shuffle(dims.begin(), dims.end(), random_);
        return keep(build.permute(x, dims));
      }
      case 6: {
        std::vector<SymInt> sizes = build.tensor(x).sizes;
        if (sizes.size() < 2) return;
        SymInt last = sizes.back();
        sizes.pop_back();
        sizes.back() = SymInt(sizes.back().value * last.value);
        return keep(build.view(x, sizes));
      }
      case 7: {
        std::vector<SymInt> sizes = build.tensor(x).sizes;
        if (sizes.size() > 4) return;
        sizes.insert(sizes.begin() + int64_t(random_() % (sizes.size() + 1)), SymInt(1));
        return keep(build.view(x, sizes));
      }
      case 8: {
        if (rank == 0 || rank > 4) return;
        std::vector<SymInt> sizes = build.tensor(x).sizes;
        sizes.insert(sizes.begin(), SymInt(int64_t(random_() % 2 + 1)));
        return keep(build.call1("aten::expand", {v(x), build.ints(sizes), false}));
      }
      case 9: {
        if (rank == 0) return;
        int64_t dim = int64_t(random_()) % rank;
        return keep(build.call1(
            "aten::slice.Tensor",
            {v(x), dim, int64_t(random_() % 2),
             pick<Argument>({int64_t{3}, int64_t{100}, int64_t{-1}}), int64_t(1 + random_() % 2)}));
      }
      case 10: return keep(build.cast(build.cast(x, DType::f64), dtype));
      case 11: return keep(build.call1("aten::clone", {v(x)}));
      case 12: {
        if (rank == 0) return;
        return keep(build.call1("aten::_softmax", {v(x), int64_t(random_()) % rank, false}));
      }
      case 13: {  // a convolution with its batch norm
        if (rank != 4 || !build.size(x, 1).is_known() || build.size(x, 1).value < 1 ||
            build.size(x, 2).value < 1 || build.size(x, 3).value < 1)
          return;
        int64_t channels = build.size(x, 1).value;
        ValueId w = constant(dtype, {4, channels, 1, 1}), b = constant(dtype, {4});
        ValueId c = build.call1(
            "aten::convolution",
            {v(x), v(w), v(b), Build::ints(std::vector<int64_t>{1, 1}),
             Build::ints(std::vector<int64_t>{1, 0}), Build::ints(std::vector<int64_t>{1, 1}),
             false, Build::ints(std::vector<int64_t>{0, 0}), int64_t{1}});
        ValueId s = constant(dtype, {4, 1, 1}), t = constant(dtype, {1, 4, 1, 1});
        return keep(build.add(build.mul(c, s), t));
      }
      case 14: {
        if (rank < 1 || !build.tensor(x).sizes.back().is_known() ||
            build.tensor(x).sizes.back().value < 1)
          return;
        int64_t inputs = build.tensor(x).sizes.back().value;
        ValueId w = constant(dtype, {inputs, 5});
        std::vector<SymInt> flat = {1, inputs}, sizes = build.tensor(x).sizes;
        for (size_t i = 0; i + 1 < sizes.size(); i++)
          flat[0] = SymInt(flat[0].value * sizes[i].value);
        sizes.back() = 5;
        ValueId product = build.call1("aten::mm", {v(build.view(x, flat)), v(w)});
        return keep(build.add(build.view(product, sizes), constant(dtype, {5})));
      }
      case 15: {  // attention of x with itself
        if (rank < 2) return;
        int64_t n = 1;
        for (int i = 0; i + 2 < rank; i++) n *= build.size(x, i).value;
        std::vector<SymInt> sizes = {n, build.size(x, rank - 2), build.size(x, rank - 1)};
        if (sizes[0] == SymInt(0) || sizes[1] == SymInt(0) || sizes[2] == SymInt(0)) return;
        ValueId q = build.view(x, sizes);
        ValueId scores =
            build.call1("aten::bmm", {v(build.mul(q, 0.5)), v(build.permute(q, {0, 2, 1}))});
        ValueId weights =
            build.call1("aten::_softmax",
                        {v(build.add(scores, constant(dtype, {sizes[1].value, sizes[1].value}))),
                         int64_t{-1}, false});
        return keep(build.call1("aten::bmm", {v(weights), v(q)}));
      }
      case 16: return keep(build.mul(x, build.call1("aten::sigmoid", {v(x)})));
      default: {
        if (rank == 0 || build.tensor(x).sizes.back() == SymInt(0)) return;
        auto mean = [&](ValueId y) {
          return build.call1("aten::mean.dim", {v(y), Build::ints(std::vector<int64_t>{-1}), true});
        };
        ValueId c = build.sub(x, mean(x));
        ValueId s = build.call1("aten::rsqrt", {v(build.add(mean(build.mul(c, c)), 0.01))});
        return keep(build.mul(c, s));
      }
    }
  }

  std::mt19937 random_;
  std::unique_ptr<Program> program_;
  std::vector<ValueId> values_;
};

PassContext plain_target() {
  return target_without({"aten::linear", "aten::layer_norm", "aten::rms_norm",
                         "aten::scaled_dot_product_attention", "aten::silu", "aten::hardswish",
                         "aten::hardsigmoid", "aten::softplus", "aten::mish"});
}

void check(uint32_t seed, const PassContext& context) {
  SCOPED_TRACE(fmt::format("seed {}", seed));
  auto before = RandomGraph(seed).make(25), after = RandomGraph(seed).make(25);
  Result<void> done = run_pipeline(*after, context, {});
  ASSERT_TRUE(done.ok()) << done.error().text;
  expect_same_results(*before, before->methods[0].graph, *after, after->methods[0].graph, seed);
  if (::testing::Test::HasFailure()) fmt::print("{}\n{}\n", print(*before), print(*after));
}

TEST(Pipeline, keeps_the_results_of_random_graphs) {
  for (uint32_t seed = 1; seed <= 300 && !HasFailure(); seed++) check(seed, target_without());
}

TEST(Pipeline, keeps_the_results_of_random_graphs_on_a_plain_target) {
  for (uint32_t seed = 1001; seed <= 1300 && !HasFailure(); seed++) check(seed, plain_target());
}

TEST(Pipeline, takes_milliseconds_for_ten_thousand_nodes) {
  auto program = RandomGraph(7).make(10000);
  size_t nodes = program->methods[0].graph.order.size();
  std::vector<PassRun> runs;
  PipelineOptions options;
  options.runs = &runs;
  auto start = std::chrono::steady_clock::now();
  Result<void> done = run_pipeline(*program, plain_target(), options);
  ASSERT_TRUE(done.ok()) << done.error().text;
  std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  for (const PassRun& run : runs)
    fmt::print("  {:34} {:8.2f} ms {:6} nodes\n", run.name, run.milliseconds, run.nodes_after);
  fmt::print("  {} nodes, {:.1f} ms\n", nodes, time.count());
  EXPECT_LT(time.count(), 10000);  // sanitizers and busy machines take longer
}

TEST(Pipeline, stops_after_the_pass_that_is_named) {
  auto program = RandomGraph(7).make(10);
  std::vector<PassRun> runs;
  PipelineOptions options;
  options.runs = &runs;
  options.stop_after = "fold_constants";
  ASSERT_TRUE(run_pipeline(*program, target_without(), options).ok());
  EXPECT_EQ(runs.back().name, "fold_constants");
}

TEST(Pipeline, lists_all_that_the_target_lacks) {
  auto program = parse_completed(R"(
method forward(%x: f32[2]) {
  %a: f32[2] = aten::erf(%x)  # model.py:3
  %b: f32[2] = aten::tan(%a)
  return %b
})");
  PassContext nothing;
  nothing.has_node = [](const Op&, Program&, const Graph&, const Node&) { return false; };
  Result<void> done = run_pipeline(*program, nothing, {});
  ASSERT_FALSE(done.ok());
  EXPECT_NE(done.error().text.find("aten::erf  at model.py:3"), std::string::npos)
      << done.error().text;
  EXPECT_NE(done.error().text.find("aten::tan"), std::string::npos);
}

}  // namespace
}  // namespace sconce
