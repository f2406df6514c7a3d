// Kernels written in C++: what is traced, run, checked and tuned.
#include <gtest/gtest.h>

#include <cmath>

#include "sconce/tile.h"

namespace sconce::kernels {
namespace {

Result<Kernel> linear_silu() {
  return define("linear_silu", [](Trace& t) {
    Extent M = t.dim("M"), K = t.dim("K"), N = t.dim("N");
    In x = t.input("x", DType::f32, {M, K});
    In w = t.weights("w", DType::f32, {K, N});
    In b = t.input("b", DType::f32, {N});
    Out y = t.output("y", DType::f32, {M, N});
    Axis m = t.parallel("m", M), n = t.parallel("n", N), k = t.span("k", K);
    y(m, n) = silu(dot(x(m, k), w(k, n), {k}, b(n)));
  });
}

TEST(DefineKernel, is_the_text_that_somebody_would_write) {
  auto kernel = define("softmax", [](Trace& t) {
    Extent M = t.dim("M"), N = t.dim("N");
    In x = t.input("x", DType::f32, {M, N});
    Out y = t.output("y", DType::f32, {M, N});
    Axis m = t.parallel("m", M), n = t.span("n", N);
    Tile row = x(m, n);
    Tile e = exp(row - reduce_max(row, {n}));
    y(m, n) = e / sum(e, {n});
  });
  ASSERT_TRUE(kernel.ok()) << kernel.error().text;
  auto written = parse_kernel(R"(kernel softmax(M, N) {
  in x f32[M, N]
  out y f32[M, N]
  parallel m : M
  span n : N
  %0 = load x[m, n]
  %1 = reduce max %0 over n
  %2 = sub %0, %1
  %3 = exp %2
  %4 = reduce sum %3 over n lanes
  %5 = div %3, %4
  store y[m, n], %5
})");
  ASSERT_TRUE(written.ok()) << written.error().text;
  EXPECT_EQ(print(*kernel), print(*written));
}

TEST(DefineKernel, says_what_is_wrong_and_where) {
  auto kernel = define("sums", [](Trace& t) {
    Extent M = t.dim("M");
    In x = t.input("x", DType::f32, {M});
    Out y = t.output("y", DType::f32, {M});
    Axis m = t.parallel("m", M);
    y(0) = x(m);  // every iteration writes to one place
  });
  ASSERT_FALSE(kernel.ok());
  EXPECT_NE(kernel.error().text.find("sums"), std::string::npos) << kernel.error().text;
  EXPECT_NE(kernel.error().text.find("m"), std::string::npos) << kernel.error().text;
}

TEST(RunKernel, computes_for_any_sizes) {
  auto kernel = linear_silu();
  ASSERT_TRUE(kernel.ok()) << kernel.error().text;
  auto runner = Runner::make(*kernel, 2);
  ASSERT_TRUE(runner.ok()) << runner.error().text;
  for (int64_t M : {1, 5, 3}) {
    int64_t K = 7, N = 18 + M;
    auto zeros = [](int64_t count) { return std::vector<float>(uint64_t(count), 0.0f); };
    std::vector<float> x = zeros(M * K), w = zeros(K * N), b = zeros(N), y = zeros(M * N);
    for (size_t i = 0; i < x.size(); i++) x[i] = float(int(i % 5) - 2);
    for (size_t i = 0; i < w.size(); i++) w[i] = float(int(i % 7) - 3) / 4;
    for (size_t i = 0; i < b.size(); i++) b[i] = float(i) / 8;
    std::vector<float> weights = pack_weights(w, {K, N});
    auto ran = runner->run({dense(x.data(), {M, K}), packed(weights, {K, N}), dense(b.data(), {N}),
                            dense(y.data(), {M, N})});
    ASSERT_TRUE(ran.ok()) << ran.error().text;
    for (int64_t m = 0; m < M; m++)
      for (int64_t n = 0; n < N; n++) {
        double sum = b[size_t(n)];
        for (int64_t k = 0; k < K; k++) sum += x[size_t(m * K + k)] * w[size_t(k * N + n)];
        EXPECT_NEAR(y[size_t(m * N + n)], sum / (1 + std::exp(-sum)), 1e-5) << m << ", " << n;
      }
  }
}

TEST(RunKernel, refuses_arrays_whose_sizes_do_not_fit) {
  auto kernel = linear_silu();
  ASSERT_TRUE(kernel.ok());
  auto runner = Runner::make(*kernel);
  ASSERT_TRUE(runner.ok());
  std::vector<float> x(6), y(32), w(32), b(16);
  auto ran = runner->run({dense(x.data(), {2, 3}), packed(w, {2, 16}), dense(b.data(), {16}),
                          dense(y.data(), {2, 16})});
  ASSERT_FALSE(ran.ok());
  EXPECT_NE(ran.error().text.find("buffer w"), std::string::npos) << ran.error().text;
  EXPECT_FALSE(runner->run({dense(x.data(), {2, 3})}).ok());
}

TEST(CheckKernel, compares_every_set_with_the_interpreter) {
  auto kernel = define("attention", [](Trace& t) {
    Extent H = t.dim("H"), Q = t.dim("Q"), T = t.dim("T"), D = t.dim("D");
    In q = t.input("q", DType::f32, {H, Q, D}), k = t.input("k", DType::f32, {H, T, D}),
       v = t.input("v", DType::f32, {H, T, D});
    Out y = t.output("y", DType::f32, {H, Q, D});
    Axis h = t.each("h", H), i = t.parallel("i", Q), d = t.span("d", D), e = t.span("e", D);
    Axis j = t.serial("j", T, 16);
    Tile query = q(h, i, d);
    auto [top, total, mixed] =
        t.loop(j, std::array{t.filled(-INFINITY, {i}), t.filled(0, {i}), t.filled(0, {i, e})},
               [&](Tile most, Tile weight, Tile values) {
                 Tile scores = dot(query, k(h, j, d), {d});
                 scores = select(j.index() <= i.index(), scores, -1e30);
                 Tile now = max(most, reduce_max(scores, {j}));
                 Tile w = exp(scores - now), old = exp(most - now);
                 return std::array{now, fma(weight, old, sum(w, {j})),
                                   dot(w, v(h, j, e), {j}, values * old)};
               });
    y(h, i, e) = mixed / total;
  });
  ASSERT_TRUE(kernel.ok()) << kernel.error().text;
  auto check = check_kernel(*kernel, {{"H", 2}, {"Q", 9}, {"T", 21}, {"D", 8}});
  ASSERT_TRUE(check.ok()) << check.error().text;
  EXPECT_GE(check->ran.size(), 6u);
  EXPECT_FALSE(check_kernel(*kernel, {{"H", 2}}).ok());
  EXPECT_FALSE(check_kernel(*kernel, {{"H", 2}, {"Q", 9}, {"T", 21}, {"D", 8}, {"Z", 1}}).ok());
}

TEST(CheckKernel, packs_bytes_with_the_sums_of_their_columns) {
  auto kernel = define("linear_of_bytes", [](Trace& t) {
    Extent M = t.dim("M"), K = t.dim("K"), N = t.dim("N");
    In x = t.input("x", DType::i8, {M, K}), w = t.weights("w", DType::i8, {K, N});
    Out y = t.output("y", DType::i32, {M, N});
    Axis m = t.parallel("m", M), n = t.parallel("n", N), k = t.span("k", K);
    y(m, n) = dot(x(m, k), w(k, n), {k});
  });
  ASSERT_TRUE(kernel.ok()) << kernel.error().text;
  auto check = check_kernel(*kernel, {{"M", 5}, {"K", 29}, {"N", 20}});
  ASSERT_TRUE(check.ok()) << check.error().text;
}

TEST(TuneKernel, is_never_slower_than_the_default_by_what_it_measured) {
  auto kernel = linear_silu();
  ASSERT_TRUE(kernel.ok());
  auto tuned = tune_kernel(*kernel, {{"M", 40}, {"K", 64}, {"N", 96}}, 1, 0.1);
  ASSERT_TRUE(tuned.ok()) << tuned.error().text;
  EXPECT_LE(tuned->best_us, tuned->default_us);
  EXPECT_GT(tuned->tried, 1);
}

TEST(KernelFiles, hold_several_and_name_the_line_of_a_mistake) {
  auto kernel = linear_silu();
  ASSERT_TRUE(kernel.ok());
  Kernel other = *kernel;
  other.name = "second";
  std::vector<Kernel> both{*kernel, other};
  std::string text = print(both);
  auto read = parse_kernels(text);
  ASSERT_TRUE(read.ok()) << read.error().text;
  EXPECT_EQ(print(*read), text);
  both[1].name = both[0].name;
  EXPECT_FALSE(parse_kernels(print(both)).ok());
  EXPECT_FALSE(parse_kernels("").ok());
  auto bad = parse_kernels(text + "kernel broken() {\n  nonsense\n}\n");
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.error().text.find("line "), std::string::npos) << bad.error().text;
}

}  // namespace
}  // namespace sconce::kernels
