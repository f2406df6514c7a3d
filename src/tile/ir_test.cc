#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tile/interpret.h"
#include "tile/ir.h"

namespace sconce::tile {
namespace {

Kernel parsed(std::string_view text) {
  Result<Kernel> kernel = parse_kernel(text);
  EXPECT_TRUE(kernel.ok()) << kernel.error().text;
  return kernel.ok() ? std::move(*kernel) : Kernel{};
}

std::string refusal(std::string_view text) {
  Result<Kernel> kernel = parse_kernel(text);
  return kernel.ok() ? "accepted" : kernel.error().text;
}

BufferView view(std::vector<float>& data, std::vector<int64_t> sizes) {
  std::vector<int64_t> strides(sizes.size(), 1);
  for (size_t d = sizes.size(); d-- > 1;) strides[d - 1] = strides[d] * sizes[d];
  return {data.data(), std::move(sizes), std::move(strides), int64_t(data.size() * sizeof(float))};
}

std::vector<float> random(size_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> data(count);
  for (float& x : data) x = uniform(generator);
  return data;
}

constexpr std::string_view kConvolution = R"(kernel convolution(B, H, W, C, OH, OW, N) {
  in x f32[B, H, W, C]
  in w f32[3, 3, C, N] panels 0
  in b f32[N]
  out y f32[B, OH, OW, N]
  parallel i : B each
  parallel oy : OH
  parallel ox : OW
  parallel n : N
  span ky : 3
  span kx : 3
  span c : C
  %0 = load b[n]
  %1 = load x[i, 2*oy + ky - 1, 2*ox + kx - 1, c]
  %2 = load w[ky, kx, c, n]
  %3 = dot %0, %1, %2 over ky, kx, c
  %4 = relu %3
  store y[i, oy, ox, n], %4
}
)";

TEST(TileIr, print_gives_what_was_parsed) { EXPECT_EQ(print(parsed(kConvolution)), kConvolution); }

TEST(TileIr, a_kernel_can_stand_for_an_operator) {
  auto text = [](const std::string& line) {
    return "kernel f(M) {\n" + line +
           "  in x f32[M]\n  in w f32[M]\n  out y f32[M]\n  parallel m : M\n}\n";
  };
  Kernel kernel = parsed(text("  operator mylib::op.default(w, x)\n").c_str());
  EXPECT_EQ(kernel.stands_for.name, "mylib::op");
  EXPECT_EQ(print(kernel), text("  operator mylib::op(w, x)\n"));
  EXPECT_EQ(parsed(text("  operator aten::add.Tensor(x, w)\n").c_str()).stands_for.name,
            "aten::add.Tensor");
  for (const char* line : {"  operator mylib::op(x)\n", "  operator mylib::op(x, w, w)\n",
                           "  operator mylib::op(x, y)\n", "  operator mylib(x, w)\n",
                           "  operator mylib::op(x, w)\n  operator mylib::op(x, w)\n"})
    EXPECT_FALSE(parse_kernel(text(line)).ok()) << line;
}

TEST(TileIr, a_dot_over_a_window_is_a_convolution) {
  Kernel kernel = parsed(kConvolution);
  const int64_t b = 2, h = 5, w = 6, c = 3, oh = 3, ow = 3, n = 18;
  auto x = random(b * h * w * c, 1), bias = random(n, 2), weight = random(9 * c * n, 3);
  std::vector<float> packed(size_t(9 * c * 32)), y(size_t(b * oh * ow * n));
  for (int64_t k = 0; k < 9 * c; k++)
    for (int64_t j = 0; j < n; j++)
      packed[size_t((j / 16 * 9 * c + k) * 16 + j % 16)] = weight[size_t(k * n + j)];
  BufferView views[] = {view(x, {b, h, w, c}), view(packed, {3, 3, c, n}), view(bias, {n}),
                        view(y, {b, oh, ow, n})};
  Result<void> done = interpret(kernel, views);
  ASSERT_TRUE(done.ok()) << done.error().text;
  for (int64_t i = 0; i < b; i++)
    for (int64_t oy = 0; oy < oh; oy++)
      for (int64_t ox = 0; ox < ow; ox++)
        for (int64_t j = 0; j < n; j++) {
          float sum = bias[size_t(j)];
          for (int64_t ky = 0; ky < 3; ky++)
            for (int64_t kx = 0; kx < 3; kx++)
              for (int64_t k = 0; k < c; k++) {
                int64_t iy = 2 * oy + ky - 1, ix = 2 * ox + kx - 1;
                float in = iy < 0 || iy >= h || ix < 0 || ix >= w
                               ? 0
                               : x[size_t(((i * h + iy) * w + ix) * c + k)];
                sum = std::fma(in, weight[size_t(((ky * 3 + kx) * c + k) * n + j)], sum);
              }
          EXPECT_EQ(y[size_t(((i * oh + oy) * ow + ox) * n + j)], sum > 0 ? sum : 0);
        }
}

constexpr std::string_view kAttention = R"(kernel attention(H, Q, T, D) {
  in q f32[H, Q, D]
  in k f32[H, T, D]
  in v f32[H, T, D]
  out y f32[H, Q, D]
  parallel h : H each
  parallel i : Q
  span d : D
  span e : D
  serial t : T block 4
  %0 = load q[h, i, d]
  %1 = constant f32 -inf over i
  %2 = constant f32 0 over i
  %3 = constant f32 0 over i, e
  %4, %5, %6 = serial t (%1, %2, %3) {
    %7 = load k[h, t, d]
    %8 = constant f32 0
    %9 = dot %8, %0, %7 over d
    %10 = reduce max %9 over t
    %11 = max %4, %10
    %12 = sub %9, %11
    %13 = exp %12
    %14 = sub %4, %11
    %15 = exp %14
    %16 = reduce sum %13 over t lanes
    %17 = fma %5, %15, %16
    %18 = mul %6, %15
    %19 = load v[h, t, e]
    %20 = dot %18, %13, %19 over t
  %21, %22, %23 = yield t (%11, %17, %20) }
  %24 = div %23, %22
  store y[h, i, e], %24
}
)";

TEST(TileIr, a_serial_loop_carries_an_online_softmax) {
  Kernel kernel = parsed(kAttention);
  EXPECT_EQ(print(kernel), kAttention);
  const int64_t h = 2, q = 3, t = 7, d = 5;
  auto qs = random(h * q * d, 1), ks = random(h * t * d, 2), vs = random(h * t * d, 3);
  std::vector<float> y(size_t(h * q * d));
  BufferView views[] = {view(qs, {h, q, d}), view(ks, {h, t, d}), view(vs, {h, t, d}),
                        view(y, {h, q, d})};
  Result<void> done = interpret(kernel, views);
  ASSERT_TRUE(done.ok()) << done.error().text;
  for (int64_t i = 0; i < h; i++)
    for (int64_t j = 0; j < q; j++) {
      std::vector<double> p;
      double sum = 0;
      for (int64_t s = 0; s < t; s++) {
        double score = 0;
        for (int64_t k = 0; k < d; k++)
          score += double(qs[size_t((i * q + j) * d + k)]) * ks[size_t((i * t + s) * d + k)];
        p.push_back(std::exp(score));
        sum += p.back();
      }
      for (int64_t k = 0; k < d; k++) {
        double wanted = 0;
        for (int64_t s = 0; s < t; s++) wanted += p[size_t(s)] * vs[size_t((i * t + s) * d + k)];
        EXPECT_NEAR(y[size_t((i * q + j) * d + k)], wanted / sum, 1e-6);
      }
    }
}

TEST(TileIr, up_to_some_indices_a_serial_loop_is_one_step) {
  const int64_t h = 1, q = 3, d = 5;
  auto bits = [&](const char* steps, int64_t t) {
    std::string text(kAttention), block = "block 4";
    text.replace(text.find(block), block.size(), steps);
    Kernel kernel = parsed(text);
    EXPECT_EQ(print(kernel), text);
    auto qs = random(h * q * d, 1), ks = random(h * t * d, 2), vs = random(h * t * d, 3);
    std::vector<float> y(size_t(h * q * d));
    BufferView views[] = {view(qs, {h, q, d}), view(ks, {h, t, d}), view(vs, {h, t, d}),
                          view(y, {h, q, d})};
    EXPECT_TRUE(interpret(kernel, views).ok());
    return y;
  };
  EXPECT_EQ(bits("block 4 whole 7", 7), bits("block 7", 7));
  EXPECT_EQ(bits("block 4 whole 7", 8), bits("block 4", 8));
  EXPECT_NE(bits("block 7", 7), bits("block 4", 7));
  EXPECT_NE(refusal("kernel k(M) {\n in x f32[M]\n parallel m : M whole 4\n}"), "");
  EXPECT_NE(refusal("kernel k(M) {\n in x f32[M]\n serial m : M block 4 whole 65537\n}")
                .find("whole 65537"),
            std::string::npos);
}

TEST(TileIr, what_races_or_reaches_out_of_its_loop_is_refused) {
  auto with = [](const char* body) {
    return refusal(std::string("kernel k(M, K) {\n in x f32[M, K]\n in j i64[M]\n out y f32[M]\n"
                               " out z f32[M, K]\n parallel m : M\n span k : K\n"
                               " serial t : K block 4\n") +
                   body + "\n}");
  };
  EXPECT_NE(with("%0 = constant f32 0\n store y[0], %0").find("same place"), std::string::npos);
  EXPECT_NE(with("%0 = load x[m, k]\n store y[m], %0").find("more axes"), std::string::npos);
  EXPECT_NE(with("%0 = load x[m, t]").find("outside its loop"), std::string::npos);
  EXPECT_NE(with("%0 = load x[m, k]\n %1 = reduce sum %0 over m").find("not whole"),
            std::string::npos);
  EXPECT_NE(with("%0 = exp %0").find("not defined"), std::string::npos);
  EXPECT_NE(with("%1 = load x[m, k]").find("numbered in order"), std::string::npos);
  EXPECT_NE(with("%0 = load x[m]").find("rank 2"), std::string::npos);
  EXPECT_NE(with("%0 = load y[m]").find("output"), std::string::npos);
  EXPECT_NE(with("%0 = load x[m, k]\n store x[m, k], %0").find("read only"), std::string::npos);
  EXPECT_NE(with("%0 = load j[m]\n %1 = exp %0").find("exp of i64"), std::string::npos);
  EXPECT_NE(with("%0 = load j[m]\n %1 = load x[m, k]\n store z[%0, k], %1").find("more axes"),
            std::string::npos);
  EXPECT_NE(with("%0 = constant i64 1\n %1 = load x[m, k]\n store z[%0 + m, k], %1")
                .find("computed index and axes"),
            std::string::npos);
  EXPECT_NE(with("%0 = load x[m, k]\n store z[m, k], %0\n store z[m, k], %0").find("two stores"),
            std::string::npos);
  EXPECT_NE(with("serial t () {\n %0 = load x[m, t]").find("not closed"), std::string::npos);
  EXPECT_NE(
      with("serial t () {\n %0 = load x[m, t]\n yield t () }\n %1 = exp %0").find("not defined"),
      std::string::npos);
}

TEST(TileIr, only_loads_and_stores_have_indices) {
  Kernel kernel = parsed(kConvolution);
  Instruction& relu = kernel.body[4];
  ASSERT_EQ(relu.op, Op::unary);
  relu.index = {{.terms = {{.axis = 196609}}}};
  Result<void> done = verify(kernel);
  ASSERT_FALSE(done.ok());
  EXPECT_NE(done.error().text.find("1 indices"), std::string::npos) << done.error().text;
}

TEST(TileIr, loops_in_which_nothing_is_done_cost_steps) {
  Kernel kernel = parsed(R"(kernel idle(N) {
    in x f32[N]
    serial t : N each
    serial t () {
    yield t () }
  })");
  float x = 0;  // one element everywhere
  BufferView views[] = {{&x, {1 << 30}, {0}, 4}};
  Result<void> done = interpret(kernel, views, {.steps_max = 1000, .bytes_max = 1000});
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, Code::too_large) << done.error().text;
}

// h = tanh(x + U h) from the last step to the first: what a step gives over n is contracted over k
// in the next one.
constexpr std::string_view kRecurrence = R"(kernel recurrence(T, N) {
  in x f32[T, N]
  in u f32[N, N] panels 0
  out y f32[T, N]
  out last f32[N]
  serial t : T each backward
  span n : N
  span k : N
  %0 = constant f32 0 over n
  %1 = load u[k, n]
  %2 = serial t (%0) {
    %3 = rename %2 n to k
    %4 = load x[t, n]
    %5 = dot %4, %3, %1 over k
    %6 = tanh %5
    store y[t, n], %6
  %7 = yield t (%6) }
  store last[n], %7
}
)";

TEST(TileIr, what_a_step_gives_is_contracted_in_the_next) {
  Kernel kernel = parsed(kRecurrence);
  EXPECT_EQ(print(kernel), kRecurrence);
  const int64_t t = 6, n = 5;
  auto x = random(t * n, 1), u = random(n * n, 2);
  std::vector<float> packed(size_t(n * 16)), y(size_t(t * n)), last(size_t{n});
  for (int64_t k = 0; k < n; k++)
    for (int64_t j = 0; j < n; j++) packed[size_t(k * 16 + j)] = u[size_t(k * n + j)];
  BufferView views[] = {view(x, {t, n}), view(packed, {n, n}), view(y, {t, n}), view(last, {n})};
  Result<void> done = interpret(kernel, views);
  ASSERT_TRUE(done.ok()) << done.error().text;
  std::vector<double> h(size_t{n});
  for (int64_t s = t; s-- > 0;) {
    std::vector<double> next;
    for (int64_t j = 0; j < n; j++) {
      double sum = x[size_t(s * n + j)];
      for (int64_t k = 0; k < n; k++) sum += h[size_t(k)] * u[size_t(k * n + j)];
      next.push_back(std::tanh(sum));
      EXPECT_NEAR(y[size_t(s * n + j)], next.back(), 1e-5);
    }
    h = next;
  }
  for (int64_t j = 0; j < n; j++) EXPECT_EQ(last[size_t(j)], y[size_t(j)]);
}

TEST(TileIr, a_loop_backward_takes_the_last_block_first) {
  for (bool backward : {false, true}) {
    Kernel kernel = parsed(std::string("kernel first(T) {\n in x f32[T]\n out y f32[1]\n"
                                       " serial t : T block 4") +
                           (backward ? " backward" : "") +
                           "\n %0 = constant f32 -1\n %1 = serial t (%0) {\n %2 = load x[t]\n"
                           " %3 = reduce sum %2 over t\n %4 = constant f32 0\n"
                           " %5 = lt %1, %4\n %6 = select %5, %3, %1\n"
                           " %7 = yield t (%6) }\n store y[0], %7\n}");
    std::vector<float> x{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, y(1);
    BufferView views[] = {view(x, {10}), view(y, {1})};
    ASSERT_TRUE(interpret(kernel, views).ok());
    EXPECT_EQ(y[0], backward ? 19 : 10);
  }
}

TEST(TileIr, an_axis_becomes_a_span_as_long_that_the_value_lacks) {
  auto with = [](const char* body) {
    return refusal(std::string("kernel k(M, K, N) {\n in x f32[M, K]\n in z f32[N]\n"
                               " out y f32[M, K]\n parallel m : M\n span k : K\n span j : K\n"
                               " span n : N\n serial t : K each\n %0 = load x[m, k]\n") +
                   body + "\n}");
  };
  EXPECT_EQ(with("%1 = rename %0 k to j\n store y[m, j], %1"), "accepted");
  EXPECT_NE(with("%1 = rename %0 k to n").find("differ in their extents"), std::string::npos);
  EXPECT_NE(with("%1 = rename %0 m to j").find("no span"), std::string::npos);
  EXPECT_NE(with("%1 = rename %0 k to t").find("outside its loop"), std::string::npos);
  EXPECT_NE(with("%1 = rename %0 j to k").find("j becomes k"), std::string::npos);
  EXPECT_NE(with("%1 = rename %0 k to k").find("k becomes k"), std::string::npos);
  EXPECT_NE(with("%1 = rename %0, %0 k to j").find("2 operands"), std::string::npos);
  EXPECT_NE(with("%1 = rename %0 k j").find("'to' is wanted"), std::string::npos);
  EXPECT_NE(refusal("kernel k(M) {\n in x f32[M]\n span m : M backward\n}").find("backward"),
            std::string::npos);
}

TEST(TileIr, a_strict_load_outside_its_buffer_names_the_index) {
  Kernel kernel = parsed(R"(kernel embedding(M, V, E) {
    in index i64[M]
    in table f32[V, E]
    out y f32[M, E]
    parallel m : M
    parallel e : E
    %0 = load index[m]
    %1 = load table[%0, e] strict
    store y[m, e], %1
  })");
  std::vector<int64_t> index{1, 0, 2};
  std::vector<float> table{0, 1, 10, 11, 20, 21}, y(6);
  BufferView views[] = {{index.data(), {3}, {1}, 24}, view(table, {3, 2}), view(y, {3, 2})};
  ASSERT_TRUE(interpret(kernel, views).ok());
  EXPECT_EQ(y, (std::vector<float>{10, 11, 0, 1, 20, 21}));
  index[1] = 3;
  Result<void> done = interpret(kernel, views);
  ASSERT_FALSE(done.ok());
  EXPECT_NE(done.error().text.find("index 3 into dimension 0 of table, of size 3"),
            std::string::npos)
      << done.error().text;
}

TEST(TileIr, bind_refuses_buffers_that_are_too_small_or_disagree) {
  Kernel kernel = parsed(R"(kernel copy(M) {
    in x f32[M]
    out y f32[M]
    parallel m : M
    %0 = load x[m]
    store y[m], %0
  })");
  std::vector<float> x(4), y(4);
  BufferView good[] = {view(x, {4}), view(y, {4})};
  EXPECT_TRUE(bind(kernel, good).ok());
  BufferView differ[] = {view(x, {4}), view(y, {3})};
  EXPECT_FALSE(bind(kernel, differ).ok());
  BufferView small[] = {view(x, {4}), view(y, {4})};
  small[0].strides[0] = 2;
  EXPECT_FALSE(bind(kernel, small).ok());
  small[0].strides[0] = -1;
  EXPECT_FALSE(bind(kernel, small).ok());
  small[0].strides[0] = INT64_MAX;
  EXPECT_FALSE(bind(kernel, small).ok());
}

}  // namespace
}  // namespace sconce::tile
