// The VM gives what the interpreter gives, bit for bit, for any tiles and number of threads.
#include "tile/vm.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "platform/cpu.h"
#include "tensor/half.h"
#include "tile/build.h"
#include "tile/interpret.h"
#include "tile/vm/plan.h"

namespace sconce::tile {
namespace {

// Buffers of a kernel with random contents, their strides in a given order of dims.
struct Data {
  std::vector<std::vector<uint8_t>> bytes;
  std::vector<BufferView> views;

  Data(const Kernel& kernel, const std::vector<std::vector<int64_t>>& sizes, uint32_t seed,
       const std::vector<std::vector<int>>& orders = {}) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (size_t b = 0; b < sizes.size(); b++) {
      const Buffer& buffer = kernel.buffers[b];
      std::vector<int64_t> strides(sizes[b].size(), 1);
      std::vector<int> order;
      for (size_t d = 0; d < sizes[b].size(); d++) order.push_back(int(d));
      if (b < orders.size() && !orders[b].empty()) order = orders[b];
      int64_t count = 1;
      for (size_t d = order.size(); d-- > 0;) {
        strides[size_t(order[d])] = count;
        count *= sizes[b][size_t(order[d])];
      }
      if (buffer.is_packed())
        count = panel_shape(buffer, {sizes[b].data(), sizes[b].size()})->bytes /
                int64_t(dtype_bytes(buffer.dtype));
      bytes.emplace_back(size_t(count) * dtype_bytes(buffer.dtype) + 64);
      if (buffer.dtype == DType::f32 && !buffer.output)
        for (int64_t i = 0; i < count; i++) {
          float x = uniform(random);
          memcpy(&bytes.back()[size_t(i) * 4], &x, 4);
        }
      if ((buffer.dtype == DType::f16 || buffer.dtype == DType::bf16) && !buffer.output)
        for (int64_t i = 0; i < count; i++) {
          float x = uniform(random);
          uint16_t bits = buffer.dtype == DType::f16 ? to_f16(x).bits : to_bf16(x).bits;
          memcpy(&bytes.back()[size_t(i) * 2], &bits, 2);
        }
      if (buffer.dtype == DType::i64)
        for (int64_t i = 0; i < count; i++) {
          int64_t x = int64_t(random() % 4);
          memcpy(&bytes.back()[size_t(i) * 8], &x, 8);
        }
      if (buffer.dtype == DType::b8)
        for (int64_t i = 0; i < count; i++) bytes.back()[size_t(i)] = random() % 2;
      if (buffer.dtype == DType::i32 && !buffer.output)
        for (int64_t i = 0; i < count; i++) {
          int32_t x = int32_t(random() % 2000) - 1000;
          memcpy(&bytes.back()[size_t(i) * 4], &x, 4);
        }
      if (buffer.dtype == DType::i8 && !buffer.output) {
        for (int64_t i = 0; i < count; i++) bytes.back()[size_t(i)] = uint8_t(random());
        if (buffer.is_packed())
          complete_panels(buffer, {sizes[b].data(), sizes[b].size()}, bytes.back().data());
      }
      views.push_back(
          {bytes.back().data(), sizes[b], strides, count * int64_t(dtype_bytes(buffer.dtype))});
    }
    for (size_t b = 0; b < views.size(); b++) views[b].data = bytes[b].data();
  }
};

void expect_same(const char* text, const std::vector<std::vector<int64_t>>& sizes,
                 const std::vector<std::vector<int>>& orders = {}) {
  Result<Kernel> kernel = parse_kernel(text);
  ASSERT_TRUE(kernel.ok()) << kernel.error().text;
  Data wanted(*kernel, sizes, 5, orders);
  Result<void> done = interpret(*kernel, wanted.views);
  ASSERT_TRUE(done.ok()) << done.error().text;
  for (Isa isa : runnable_isas()) {
    bool integers = std::any_of(kernel->values.begin(), kernel->values.end(),
                                [](const ValueType& v) { return v.dtype == DType::i32; });
    if (isa == Isa::sse2 && !integers) continue;  // its dot rounds twice
    for (int threads : {1, 3})
      for (int64_t tile : {0, 1, 5, 16}) {
        Schedule schedule;
        if (tile) schedule.tile.assign(kernel->axes.size(), tile);
        if (tile == 5) schedule.depth = 3;
        Data data(*kernel, sizes, 5, orders);
        Result<Plan> plan = Plan::make(*kernel, data.views, kernels_for(isa), threads, schedule);
        ASSERT_TRUE(plan.ok()) << plan.error().text;
        ThreadPool pool(threads);
        std::vector<uint8_t> scratch(plan->scratch_bytes() * uint64_t(threads) + 64);
        auto* aligned = reinterpret_cast<uint8_t*>((uintptr_t(scratch.data()) + 63) / 64 * 64);
        std::vector<uint8_t*> pointers;
        for (BufferView& view : data.views) pointers.push_back(static_cast<uint8_t*>(view.data));
        Result<void> ran = plan->run(pointers, aligned, pool);
        ASSERT_TRUE(ran.ok()) << ran.error().text;
        for (size_t b = 0; b < sizes.size(); b++) {
          if (!kernel->buffers[b].output) continue;
          size_t size = size_t(data.views[b].bytes);
          for (size_t i = 0; kernel->buffers[b].dtype == DType::f32 && i < size; i += 4) {
            float x, y;
            memcpy(&x, &wanted.bytes[b][i], 4);
            memcpy(&y, &data.bytes[b][i], 4);
            ASSERT_EQ(x, y) << isa_name(isa) << ", " << threads << " threads, tile " << tile
                            << ", element " << i / 4;
          }
          ASSERT_EQ(memcmp(wanted.bytes[b].data(), data.bytes[b].data(), size), 0)
              << isa_name(isa) << ", " << threads << " threads, tile " << tile;
        }
      }
  }
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

TEST(TileVm, floats_of_16_bits_are_widened_and_rounded) {
  for (std::string half : {"f16", "bf16"}) {
    auto with = [&](std::string text) {
      for (size_t at; (at = text.find("HALF")) != std::string::npos;) text.replace(at, 4, half);
      return text;
    };
    std::string linear = with(R"(kernel linear(M, K, N) {
        in x HALF[M, K]
        in w HALF[K, N] panels 0
        in b HALF[N]
        in r HALF[M, N]
        out y HALF[M, N]
        out t HALF[N, M]
        parallel m : M
        parallel n : N
        span k : K
        %0 = load b[n]
        %1 = load x[m, k]
        %2 = load w[k, n]
        %3 = dot %0, %1, %2 over k
        %4 = load r[m, n]
        %5 = add %3, %4
        store y[m, n], %5
        store t[n, m], %5
      })");
    for (auto [m, k, n] : {std::array<int64_t, 3>{1, 7, 5}, {13, 520, 33}, {30, 3, 100}}) {
      expect_same(linear.c_str(), {{m, k}, {k, n}, {n}, {m, n}, {m, n}, {n, m}});
      expect_same(linear.c_str(), {{m, k}, {k, n}, {n}, {m, n}, {m, n}, {n, m}},
                  {{1, 0}, {}, {}, {1, 0}, {1, 0}, {}});
    }
    // A window of the file's own panels, a table's rows, and rows that are partly outside.
    expect_same(with(R"(kernel window(H, W, C, N) {
        in x HALF[H, W, C]
        in w HALF[3, 3, C, N] panels 0
        out y f32[H, W, N]
        parallel i : H
        parallel j : W
        parallel n : N
        span p : 3
        span q : 3
        span c : C
        %0 = constant f32 0
        %1 = load x[i + p - 1, j + q - 1, c]
        %2 = load w[p, q, c, n]
        %3 = dot %0, %1, %2 over p, q, c
        store y[i, j, n], %3
      })")
                    .c_str(),
                {{5, 6, 18}, {3, 3, 18, 20}, {5, 6, 20}});
    expect_same(with(R"(kernel rows(V, M, K) {
        in i i64[M]
        in table HALF[V, K]
        in packed HALF[K, V] panels 0
        out y f32[M, K]
        parallel m : M
        parallel k : K
        %0 = load i[m]
        %1 = load table[%0, k + 2] else -1.5
        %2 = load packed[k, %0] strict
        %3 = sub %1, %2
        store y[m, k], %3
      })")
                    .c_str(),
                {{6}, {4, 21}, {21, 4}, {6, 21}});
  }
}

TEST(TileVm, reduces_rows_whichever_way_they_lie) {
  const char* text = R"(kernel rows(M, N) {
  in x f32[M, N]
  in w f32[M]
  out y f32[M]
  out z f32[M]
  parallel m : M
  span n : N
  %0 = load x[m, n]
  %1 = load w[m]
  %2 = mul %0, %0
  %3 = reduce sum %2 over n lanes
  %4 = mul %3, %1
  store y[m], %4
  %5 = reduce max %0 over n
  store z[m], %5
})";
  for (int64_t n : {1, 3, 16, 37}) {
    expect_same(text, {{19, n}, {19}, {19}, {19}});
    expect_same(text, {{19, n}, {19}, {19}, {19}}, {{1, 0}});
  }
}

TEST(TileVm, linear_with_bias_and_clamp) {
  expect_same(R"(kernel linear(M, K, N) {
    in x f32[M, K]
    in w f32[K, N] panels 0
    in b f32[N]
    out y f32[M, N]
    parallel m : M
    parallel n : N
    span k : K
    %0 = load b[n]
    %1 = load x[m, k]
    %2 = load w[k, n]
    %3 = dot %0, %1, %2 over k
    %4 = relu %3
    store y[m, n], %4
  })",
              {{37, 29}, {29, 83}, {83}, {37, 83}});
}

TEST(TileVm, functions_of_sums_are_those_of_all_parts_of_them) {
  for (const char* function : {"gelu", "exp", "neg", "relu"}) {
    std::string text = R"(kernel linear(M, K, N) {
      in x f32[M, K]
      in w f32[K, N] panels 0
      in r f32[M, N]
      out y f32[M, N]
      out z f32[M, N]
      parallel m : M
      parallel n : N
      span k : K
      %0 = constant f32 0.5
      %1 = load x[m, k]
      %2 = load w[k, n]
      %3 = dot %0, %1, %2 over k
      %4 = load r[m, n]
      %5 = add %3, %4
      %6 = FUNCTION %5
      store y[m, n], %6
      %7 = load w[k, n]
      %8 = dot %4, %1, %7 over k
      %9 = constant f32 0.25
      %10 = max %8, %9
      %11 = FUNCTION %10
      %12 = FUNCTION %11
      store z[m, n], %12
    })";
    for (size_t at; (at = text.find("FUNCTION")) != std::string::npos;)
      text.replace(at, 8, function);
    expect_same(text.c_str(), {{21, 35}, {35, 50}, {21, 50}, {21, 50}, {21, 50}});
    expect_same(text.c_str(), {{3, 0}, {0, 5}, {3, 5}, {3, 5}, {3, 5}});
  }
}

constexpr const char* kConvolution = R"(kernel convolution(B, H, W, C, OH, OW, N) {
  in x f32[B, C, H, W]
  in w f32[3, 3, C, N] panels 0
  in r f32[B, N, OH, OW]
  out y f32[B, N, OH, OW]
  parallel i : B each
  parallel n : N
  parallel oy : OH
  parallel ox : OW
  span ky : 3
  span kx : 3
  span c : C
  %0 = constant f32 0
  %1 = load x[i, c, 2*oy + ky - 1, 2*ox + kx - 1]
  %2 = load w[ky, kx, c, n]
  %3 = load r[i, n, oy, ox]
  %4 = dot %0, %1, %2 over ky, kx, c
  %5 = add %4, %3
  %6 = constant f32 0
  %7 = constant f32 1
  %8 = max %5, %6
  %9 = min %8, %7
  store y[i, n, oy, ox], %9
})";

// The operand over m alone gives a dot's columns, and m is not innermost in what is stored.
TEST(TileVm, columns_that_are_not_innermost) {
  const char* text = R"(kernel f(M, K, N) {
  in x f32[M, K]
  in w f32[K, N]
  in b f32[N]
  out y f32[M, N]
  parallel m : M
  parallel n : N
  span k : K
  %0 = load b[n]
  %1 = load x[m, k]
  %2 = load w[4, n]
  %3 = dot %0, %1, %2 over k
  %4 = relu %3
  store y[m, n], %4
})";
  expect_same(text, {{3, 5}, {5, 2}, {2}, {3, 2}});
  expect_same(text, {{21, 7}, {7, 19}, {19}, {21, 19}});
}

TEST(TileVm, convolution_with_channels_innermost_or_not) {
  std::vector<std::vector<int64_t>> sizes{
      {2, 5, 9, 8}, {3, 3, 5, 40}, {2, 40, 5, 4}, {2, 40, 5, 4}};
  std::vector<int> last{0, 2, 3, 1};
  expect_same(kConvolution, sizes, {last, {}, last, last});
  expect_same(kConvolution, sizes);
  expect_same(kConvolution, sizes, {last, {}, {}, last});
}

TEST(TileVm, depthwise_window) {
  const char* text = R"(kernel depthwise(H, W, C, OH, OW) {
    in x f32[C, H, W]
    in w f32[3, 3, C]
    in b f32[C]
    out y f32[C, OH, OW]
    parallel c : C
    parallel oy : OH
    parallel ox : OW
    span ky : 3
    span kx : 3
    %0 = load b[c]
    %1 = load x[c, 2*oy + ky - 1, 2*ox + kx - 1]
    %2 = load w[ky, kx, c]
    %3 = dot %0, %1, %2 over ky, kx
    %4 = relu %3
    store y[c, oy, ox], %4
  })";
  std::vector<std::vector<int64_t>> sizes{{37, 9, 10}, {3, 3, 37}, {37}, {37, 5, 5}};
  std::vector<int> last{1, 2, 0};
  expect_same(text, sizes, {last, {}, {}, last});
  expect_same(text, sizes);
  // Of the innermost axis one element is left inside for some taps.
  expect_same(replaced(text, "2*ox + kx - 1", "ox + kx - 2").c_str(),
              {{9, 3, 4}, {3, 3, 9}, {9}, {9, 1, 3}});
}

// Windows over edges whose results lie in another order than what they read.
TEST(TileVm, windows_of_numbers_however_they_lie) {
  for (std::string reduce : {"max", "min", "sum", "prod"})
    for (std::string edge : {"0", "-inf"}) {
      const std::string text = R"(kernel pool(B, C, H, W, OH, OW) {
        in x f32[B, C, H, W]
        out y f32[B, C, OH, OW]
        parallel i : B each
        parallel c : C
        parallel oy : OH
        parallel ox : OW
        span ky : 3
        span kx : 2
        %0 = load x[i, c, 2*oy + ky - 1, 3*ox - 2*kx + 1] else )" +
                               edge + R"(
        %1 = reduce )" + reduce +
                               R"( %0 over ky, kx
        store y[i, c, oy, ox], %1
      })";
      const std::string upward = replaced(text, "3*ox - 2*kx + 1", "3*ox + 2*kx - 1");
      const std::vector<int> last{0, 2, 3, 1};
      for (const std::string& kernel : {text, upward})
        for (const std::vector<std::vector<int>>& orders :
             {std::vector<std::vector<int>>{}, {last, last}, {last, {}}, {{}, last}})
          expect_same(kernel.c_str(), {{2, 11, 9, 14}, {2, 11, 5, 5}}, orders);
    }
}

// Windows along what is innermost, which leave the buffer there.
TEST(TileVm, windows_over_the_ends_of_rows) {
  for (std::string kind : {"f32", "i8"})
    for (std::string reduce : {"max", "sum"}) {
      if (kind == "i8" && reduce == "sum") continue;
      const std::string edge = kind == "i8" ? "-128" : reduce == "max" ? "-inf" : "0";
      const std::string text = "kernel pool(H, W) {\n in x " + kind + "[H, W]\n out y " + kind +
                               "[H, W]\n parallel h : H\n parallel v : W\n span ky : 5\n" +
                               " span kx : 9\n %0 = load x[h + ky - 2, v + kx - 4] else " + edge +
                               "\n %1 = reduce " + reduce +
                               " %0 over ky, kx\n store y[h, v], %1\n}";
      for (int64_t w : {1, 3, 40}) expect_same(text.c_str(), {{7, w}, {7, w}});
    }
  expect_same(R"(kernel windows(M, C) {
    in x f32[M, C]
    in w f32[3, C]
    out y f32[M, C]
    parallel m : M
    parallel c : C
    span k : 3
    %0 = constant f32 0
    %1 = load x[m, c + k - 1]
    %2 = load w[k, c]
    %3 = dot %0, %1, %2 over k
    store y[m, c], %3
  })",
              {{5, 37}, {3, 37}, {5, 37}});
}

TEST(TileVm, a_padded_maximum_is_taken_where_its_window_lies) {
  Result<Kernel> kernel = parse_kernel(R"(kernel pool(C, H, W, OH, OW) {
    in x f32[H, W, C]
    out y f32[OH, OW, C]
    parallel oy : OH
    parallel ox : OW
    parallel c : C
    span ky : 3
    span kx : 3
    %0 = load x[2*oy + ky - 1, 2*ox + kx - 1, c] else -inf
    %1 = reduce max %0 over ky, kx
    store y[oy, ox, c], %1
  })");
  ASSERT_TRUE(kernel.ok()) << kernel.error().text;
  Data data(*kernel, {{56, 56, 64}, {28, 28, 64}}, 5);
  Result<Plan> plan = Plan::make(*kernel, data.views, kernels_for(best_isa()), 1);
  ASSERT_TRUE(plan.ok()) << plan.error().text;
  EXPECT_LT(plan->scratch_bytes(), 8192u);  // windows of a tile alone would be twice as much
}

TEST(TileVm, products_along_rows_are_taken_in_order) {
  expect_same(R"(kernel products(M, K) {
    in x f32[M, K]
    out y f32[M]
    parallel m : M
    span k : K
    %0 = load x[m, k]
    %1 = reduce prod %0 over k
    store y[m], %1
  })",
              {{9, 37}, {9}});
}

// Means by group: rows that are no whole lanes, and neighbours that lie apart.
TEST(TileVm, sums_by_lanes_however_groups_lie) {
  const char* text = R"(kernel groups(G, H, W) {
    in x f32[G, 3, H, W]
    in s f32[G, 3]
    out y f32[G, 3, H, W]
    parallel g : G each
    span c : 3
    span h : H
    span w : W
    %0 = load x[g, c, h, w]
    %1 = reduce sum %0 over h, w, c lanes
    %2 = reduce max %0 over c, h, w
    %3 = sub %0, %1
    %4 = mul %3, %3
    %5 = reduce sum %4 over h, w, c lanes
    %6 = rsqrt %5
    %7 = mul %3, %6
    %8 = load s[g, c]
    %9 = fma %7, %8, %2
    store y[g, c, h, w], %9
  })";
  const std::vector<int> last{2, 3, 0, 1};
  for (const std::vector<std::vector<int>>& orders :
       {std::vector<std::vector<int>>{}, {last, {}, last}, {last, {}, {}}, {{}, {}, last}})
    for (int64_t w : {1, 7, 40}) expect_same(text, {{5, 3, 23, w}, {5, 3}, {5, 3, 23, w}}, orders);
}

// Pointwise instructions in strips: loads and stores over edges, values that are used again, in
// between a dot and what others take.
TEST(TileVm, pointwise_instructions_strip_by_strip) {
  const std::string text = R"(kernel strips(H, W, C, K) {
    in x f32[H, W, C]
    in z f32[H, W, C]
    in w f32[K, C] panels 0
    in u f32[H, W, K]
    out y f32[H, W, C]
    out s f32[H, W, C]
    out e f32[H, W, C]
    out r f32[H, W]
    parallel h : H
    parallel v : W
    span c : C
    span k : K
    %0 = load x[h - 1, v + 2, c] else 3
    %1 = load x[h + 1, v - 1, c]
    %2 = load z[h, v, c]
    %3 = add %0, %1
    %4 = constant f32 -2.5
    %5 = fma %2, %4, %3
    %6 = sub %5, %0
    %7 = mul %6, %6
    %8 = fma %7, %1, %2
    %9 = load u[h, v, k]
    %10 = load w[k, c]
    %11 = constant f32 0.75 over c
    %12 = dot %11, %9, %10 over k
    %13 = constant f32 0.5
    %14 = fma %4, %8, %7
    %15 = neg %14
    %16 = min %15, %13
    %17 = max %12, %16
    %18 = fma %17, %12, %4
    %19 = abs %18
    %20 = sub %4, %19
    store y[h, v, c], %20
    %21 = mul %20, %13
    %22 = add %21, %16
    %23 = relu %22
    store s[h + 1, v - 1, c], %23
    %24 = exp %16
    store e[h, v, c], %24
    %25 = reduce max %23 over c
    store r[h, v], %25
  })";
  for (int64_t c : {16, 40, 64, 150})
    expect_same(text.c_str(),
                {{5, 7, c}, {5, 7, c}, {9, c}, {5, 7, 9}, {5, 7, c}, {5, 7, c}, {5, 7, c}, {5, 7}});
  // The same in a loop, and without other axes.
  expect_same(R"(kernel carried(T, C) {
    in x f32[T, C]
    out y f32[T, C]
    out last f32[C]
    serial t : T each
    span c : C
    %0 = constant f32 0.25 over c
    %1 = constant f32 -3
    %2 = serial t (%0) {
      %3 = load x[t, c]
      %4 = add %2, %3
      %5 = mul %4, %1
      %6 = sub %5, %2
      %7 = abs %6
      %8 = min %7, %3
      %9 = fma %8, %1, %2
      %10 = max %9, %1
      %11 = sub %3, %10
      %12 = mul %11, %11
      store y[t, c], %12
    %13 = yield t (%11) }
    store last[c], %13
  })",
              {{6, 70}, {6, 70}, {70}});
}

// Transforms, found as such or not: as they are; with another number or function in one step; with
// a value in between that is stored as well.
TEST(TileVm, transforms_among_pointwise_instructions) {
  enum class Change { none, step, value };
  for (int kind = 0; kind < int(TransformKind::count); kind++)
    for (Change change : {Change::none, Change::step, Change::value}) {
      const Transform& t = kTransforms[kind];
      Builder build("transform");
      const Extent rows = build.dim("H"), width = build.dim("W");
      const int32_t x = build.input(DType::f32, {known(t.inputs), rows, width});
      const int32_t y = build.output(DType::f32, {known(t.outputs + 5), rows, width});
      const AxisId h = build.parallel(rows), w = build.parallel(width);
      std::vector<ValueId> values;
      for (int k = 0; k < t.inputs; k++)
        values.push_back(build.load(x, {at(k), along(h), along(w)}));
      // What is in registers before a transform is stored for it.
      values[0] = build.unary(Unary::neg, build.unary(Unary::abs, values[0]));
      const int changed = t.step_count / 2;
      for (int s = 0; s < t.step_count; s++) {
        TransformStep step = t.steps[s];
        if (change == Change::step && s == changed) {
          step.number += 1;
          step.op = step.op == TransformOp::add   ? TransformOp::sub
                    : step.op == TransformOp::sub ? TransformOp::add
                                                  : step.op;
        }
        const ValueId a = values[size_t(step.x)], b = values[size_t(step.y)];
        switch (step.op) {
          case TransformOp::add: values.push_back(build.add(a, b)); break;
          case TransformOp::sub: values.push_back(build.sub(a, b)); break;
          case TransformOp::mul: values.push_back(build.mul(a, build.constant(step.number))); break;
          case TransformOp::fma:
            values.push_back(build.fma(a, build.constant(step.number), b));
            break;
        }
      }
      // More instructions, so that strips are worth it; two outputs go to three places, which may
      // lie outside.
      for (int k = 0; k < t.outputs; k++) {
        const ValueId made = values[size_t(t.output[k])];
        const ValueId last = build.sub(build.mul(build.add(made, made), values[0]), made);
        build.store(y, {at(k), along(h), along(w)}, last);
        const int64_t place = t.outputs + 2 * k;
        if (k < 2) build.store(y, {at(place), along(h, 1, 1), along(w)}, made);
        if (k < 2) build.store(y, {at(place + 1), along(h, 1, -1), along(w)}, made);
      }
      if (change == Change::value)
        build.store(y, {at(t.outputs + 4), along(h), along(w)}, values[size_t(t.inputs)]);
      Result<Kernel> kernel = build.finish();
      ASSERT_TRUE(kernel.ok()) << kernel.error().text;
      for (int64_t n : {40, 64})
        expect_same(print(*kernel).c_str(), {{t.inputs, 3, n}, {t.outputs + 5, 3, n}});

      Data data(*kernel, {{t.inputs, 3, 64}, {t.outputs + 5, 3, 64}}, 5);
      auto plan = Plan::State::of(*kernel, data.views, kernels_for(runnable_isas()[0]), 1, {});
      ASSERT_TRUE(plan.ok()) << plan.error().text;
      ASSERT_EQ((*plan)->strips.size(), 1u);
      const auto found = std::count_if(
          (*plan)->strips[0].steps.begin(), (*plan)->strips[0].steps.end(),
          [&](const StripStep& s) { return s.op == StripOp::transform && s.other == kind; });
      const int8_t* last = t.output + t.outputs;
      const bool is_output = std::find(t.output, last, t.inputs) != last;
      EXPECT_EQ(found, change == Change::none || (change == Change::value && is_output))
          << "transform " << kind << ", change " << int(change);
    }
}

TEST(TileVm, attention_carries_its_softmax) {
  std::string text = R"(kernel attention(H, Q, T, D) {
    in q f32[H, Q, D]
    in k f32[H, T, D]
    in v f32[H, T, D]
    in m b8[Q, T]
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
      %10 = load m[i, t]
      %11 = constant f32 -100
      %12 = select %10, %9, %11
      %13 = reduce max %12 over t
      %14 = max %4, %13
      %15 = sub %12, %14
      %16 = exp %15
      %17 = sub %4, %14
      %18 = exp %17
      %19 = reduce sum %16 over t lanes
      %20 = fma %5, %18, %19
      %21 = mul %6, %18
      %22 = load v[h, t, e]
      %23 = dot %21, %16, %22 over t
    %24, %25, %26 = yield t (%14, %20, %23) }
    %27 = div %26, %25
    store y[h, i, e], %27
  })";
  std::string steps = "block 4";
  size_t place = text.find(steps);
  // By steps; all 21 keys at once, since up to so many are; by steps, since they are more.
  for (const char* other : {"block 4", "block 4 whole 21", "block 4 whole 20"}) {
    std::string changed = text;
    changed.replace(place, steps.size(), other);
    expect_same(changed.c_str(), {{2, 13, 7}, {2, 21, 7}, {2, 21, 7}, {13, 21}, {2, 13, 7}});
  }
}

// A layer of gated units: what a step gives over n is contracted over k in the next.
TEST(TileVm, what_a_step_gives_is_contracted_in_the_next) {
  std::string text = R"(kernel units(T, B, N) {
    in x f32[T, B, 2, N]
    in u HALF[2, N, N] panels 1
    in b f32[2, N]
    in h f32[B, N]
    out y f32[T, B, N]
    out last f32[B, N]
    serial t : T each FORTH
    parallel i : B
    span n : N
    span k : N
    %0 = load b[0, n]
    %1 = load b[1, n]
    %2 = load h[i, n]
    %3 = serial t (%2) {
      %4 = rename %3 n to k
      %5 = load u[0, k, n]
      %6 = load u[1, k, n]
      %7 = dot %0, %4, %5 over k
      %8 = load x[t, i, 0, n]
      %9 = add %7, %8
      %10 = sigmoid %9
      %11 = dot %1, %4, %6 over k
      %12 = load x[t, i, 1, n]
      %13 = fma %10, %11, %12
      %14 = tanh %13
      %15 = sub %3, %14
      %16 = fma %15, %10, %14
      store y[t, i, n], %16
    %17 = yield t (%16) }
    store last[i, n], %17
  })";
  auto put = [&](const char* from, const char* to) {
    std::string changed = text;
    changed.replace(changed.find(from), strlen(from), to);
    return changed;
  };
  for (const char* half : {"f32", "bf16"})
    for (const char* forth : {"", "backward"}) {
      std::string whole = text;
      text = put("HALF", half);
      text = put("FORTH", forth);
      for (int64_t batch : {1, 7, 40})
        for (int64_t units : {1, 16, 21})
          for (int64_t steps : {0, 1, 5})
            expect_same(text.c_str(), {{steps, batch, 2, units},
                                       {2, units, units},
                                       {2, units},
                                       {batch, units},
                                       {steps, batch, units},
                                       {batch, units}});
      text = whole;
    }
}

// Another name of loads, of numbers, of what is carried, of other names.
TEST(TileVm, another_name_is_the_same_memory) {
  const char* text = R"(kernel names(M, N) {
    in x f32[M, N, N]
    in w f32[N, N]
    out y f32[M, N, N]
    out s f32[M, N]
    out d f32[M, N, N]
    parallel m : M
    span i : N
    span j : N
    span k : N
    span n : N
    serial t : N each
    %0 = load x[m, i, j]
    %1 = rename %0 i to k
    %2 = rename %1 j to i
    %3 = rename %2 k to j
    %4 = exp %0
    %5 = rename %4 i to k
    %6 = rename %5 j to i
    %7 = rename %6 k to j
    %8 = mul %4, %7
    %9 = constant f32 0.5 over j
    %10 = rename %9 j to i
    %11 = iota j
    %12 = cast f32 %11
    %13 = rename %12 j to i
    %14 = fma %8, %10, %13
    %15, %16 = serial t (%14, %3) {
      %17 = rename %15 i to k
      %18 = rename %17 j to i
      %19 = rename %18 k to j
      %20 = rename %16 i to k
      %21 = rename %20 j to i
      %22 = rename %21 k to j
      %23 = load w[t, j]
      %24 = add %22, %23
    %25, %26 = yield t (%24, %19) }
    store y[m, i, j], %25
    %27 = rename %26 j to k
    %28 = reduce sum %27 over k lanes
    store s[m, i], %28
    %29 = load w[k, n]
    %30 = constant f32 0
    %31 = rename %0 j to k
    %32 = dot %30, %31, %29 over k
    store d[m, i, n], %32
  })";
  for (int64_t n : {1, 5, 18}) expect_same(text, {{3, n, n}, {n, n}, {3, n, n}, {3, n}, {3, n, n}});
  // What is carried alone, turned onto itself.
  const char* turned = R"(kernel turned(M, N, T) {
    in x f32[M, N, N]
    in g f32[T]
    out y f32[M, N, N]
    parallel m : M
    span i : N
    span j : N
    span k : N
    serial t : T each
    %0 = load x[m, i, j]
    %1 = serial t (%0) {
      %2 = rename %1 i to k
      %3 = rename %2 j to i
      %4 = rename %3 k to j
    %5 = yield t (%4) }
    store y[m, i, j], %5
  })";
  for (int64_t steps : {0, 1, 2}) expect_same(turned, {{2, 7, 7}, {steps}, {2, 7, 7}});
}

// Few keys need no loop. Tiles of a head read the same packed keys and values; those of the next
// head read others, though they lie where a tile of the last one may end.
TEST(TileVm, attention_of_few_keys_packs_them_once_for_each_head) {
  const char* text = R"(kernel attention(H, G, Q, T, D) {
    in q f32[H, G, Q, D]
    in k f32[H, T, D]
    in v f32[H, T, D]
    out y f32[H, G, Q, D]
    parallel h : H each
    parallel g : G each
    parallel i : Q
    span d : D
    span e : D
    span t : T
    %0 = load q[h, g, i, d]
    %1 = load k[h, t, d]
    %2 = constant f32 0
    %3 = dot %2, %0, %1 over d
    %4 = iota t
    %5 = iota i
    %6 = le %4, %5
    %7 = constant f32 -inf
    %8 = select %6, %3, %7
    %9 = reduce max %8 over t
    %10 = sub %8, %9
    %11 = exp %10
    %12 = reduce sum %11 over t lanes
    %13 = load v[h, t, e]
    %14 = dot %2, %11, %13 over t
    %15 = recip %12
    %16 = mul %14, %15
    store y[h, g, i, e], %16
  })";
  for (int64_t keys : {1, 16, 70, 200})
    expect_same(text, {{3, 2, 45, 20}, {3, keys, 20}, {3, keys, 20}, {3, 2, 45, 20}});
  // Keys and values whose rows lie apart.
  expect_same(text, {{2, 2, 30, 8}, {2, 37, 8}, {2, 37, 8}, {2, 2, 30, 8}},
              {{0, 2, 1, 3}, {1, 0, 2}, {0, 2, 1}, {2, 0, 1, 3}});
}

// 2^31 keys that lie in one place: what a tile keeps of them has a limit, and so have the panels
// that stay packed.
TEST(TileVm, a_plan_for_more_keys_than_memory_is_refused_unless_they_come_in_steps) {
  for (bool at_once : {true, false}) {
    std::string text = R"(kernel attention(T) {
      in q f32[4, 16]
      in k f32[T, 16]
      out y f32[4]
      parallel i : 4
      span d : 16
      AXIS
      %0 = constant f32 0
      %1 = constant f32 0 over i
      BEGIN
      %3 = load q[i, d]
      %4 = load k[t, d]
      %5 = dot %0, %3, %4 over d
      %6 = reduce max %5 over t
      %7 = max %2, %6
      END
      store y[i], %8
    })";
    auto replace = [&](std::string from, std::string to) {
      text.replace(text.find(from), from.size(), to);
    };
    replace("AXIS", at_once ? "span t : T" : "serial t : T block 64");
    replace("BEGIN", at_once ? "%2 = neg %1" : "%2 = serial t (%1) {");
    replace("END", at_once ? "%8 = neg %7" : "%8 = yield t (%7) }");
    Result<Kernel> kernel = parse_kernel(text);
    ASSERT_TRUE(kernel.ok()) << kernel.error().text;
    std::vector<float> q(64), k(16), y(4);
    std::vector<BufferView> views = {{q.data(), {4, 16}, {16, 1}, 256},
                                     {k.data(), {INT32_MAX, 16}, {0, 1}, 64},
                                     {y.data(), {4}, {1}, 16}};
    Result<Plan> plan = Plan::make(*kernel, views, kernels_for(Isa::plain), 2);
    if (at_once) {
      ASSERT_FALSE(plan.ok());
      EXPECT_EQ(plan.error().code, Code::too_large) << plan.error().text;
    } else {
      ASSERT_TRUE(plan.ok()) << plan.error().text;
      EXPECT_LT(plan->scratch_bytes(), uint64_t(1) << 20);
    }
  }
}

// Sums of e^(x - center), with what else is made of the powers, the difference, or neither.
TEST(TileVm, powers_and_their_sums_are_one_pass_where_nothing_else_wants_the_difference) {
  const char* text = R"(kernel powers(M, K) {
    in x f32[M, K]
    in c f32[M]
    out y f32[M, K]
    out s f32[M]
    out u f32[M]
    out z f32[M, K]
    parallel m : M
    span k : K
    %0 = load x[m, k]
    %1 = load c[m]
    %2 = sub %0, %1
    %3 = exp %2
    %4 = reduce sum %3 over k lanes
    %5 = recip %4
    %6 = mul %3, %5
    store y[m, k], %6
    store s[m], %4
    %7 = neg %0
    %8 = constant f32 0.5
    %9 = sub %7, %8
    %10 = exp %9
    %11 = reduce sum %10 over k lanes
    store u[m], %11
    %12 = mul %0, %0
    %13 = sub %12, %1
    %14 = exp %13
    %15 = reduce sum %14 over k lanes
    %16 = mul %13, %15
    store z[m, k], %16
  })";
  for (int64_t k : {1, 15, 16, 83})
    expect_same(text, {{35, k}, {35}, {35, k}, {35}, {35}, {35, k}});
}

TEST(TileVm, comparisons_of_indices) {
  for (const char* function : {"eq", "ne", "lt", "le", "gt", "ge"}) {
    std::string text = R"(kernel compare(M, N) {
      out y b8[M, N]
      parallel m : M
      parallel n : N
      %0 = iota m
      %1 = iota n
      %2 = )" + std::string(function) +
                       R"( %0, %1
      store y[m, n], %2
    })";
    expect_same(text.c_str(), {{9, 20}});
    expect_same(text.c_str(), {{9, 20}}, {{1, 0}});
  }
}

TEST(TileVm, norms_reductions_and_pools) {
  expect_same(R"(kernel norm(M, K) {
    in x f32[M, K]
    in g f32[K]
    out y f32[M, K]
    out s f32[M]
    parallel m : M
    span k : K
    %0 = load x[m, k]
    %1 = reduce sum %0 over k lanes
    %2 = constant f32 0.01
    %3 = mul %1, %2
    %4 = sub %0, %3
    %5 = mul %4, %4
    %6 = reduce max %5 over k
    %7 = rsqrt %6
    %8 = load g[k]
    %9 = mul %4, %7
    %10 = mul %9, %8
    %11 = gelu %10
    store y[m, k], %11
    store s[m], %1
  })",
              {{11, 53}, {53}, {11, 53}, {11}});
  const char* pool = R"(kernel pool(C, H, W, OH, OW) {
    in x f32[C, H, W]
    out y f32[C, OH, OW]
    parallel c : C
    parallel oy : OH
    parallel ox : OW
    span ky : 3
    span kx : 3
    %0 = load x[c, 2*oy + ky - 1, 2*ox + kx - 1] else -inf
    %1 = reduce max %0 over ky, kx
    store y[c, oy, ox], %1
  })";
  std::vector<int> last{1, 2, 0};
  expect_same(pool, {{19, 8, 9}, {19, 4, 5}}, {last, last});
  expect_same(pool, {{19, 8, 9}, {19, 4, 5}});
}

TEST(TileVm, gathers_transposes_and_integers) {
  expect_same(R"(kernel embedding(M, V, E) {
    in index i64[M]
    in table f32[V, E]
    out y f32[M, E]
    parallel m : M
    parallel e : E
    %0 = load index[m]
    %1 = load table[%0, e] strict
    store y[m, e], %1
  })",
              {{9}, {4, 21}, {9, 21}});
  expect_same(R"(kernel transpose(M, N) {
    in x f32[M, N]
    out y f32[N, M]
    parallel m : M
    parallel n : N
    %0 = load x[m, n]
    store y[n, m], %0
  })",
              {{9, 21}, {21, 9}});
  expect_same(R"(kernel integers(M, N) {
    in x i64[M, N]
    in c b8[N]
    out y i64[M, N]
    parallel m : M
    parallel n : N
    %0 = load x[m, n]
    %1 = iota n
    %2 = add %0, %1
    %3 = mul %2, %0
    %4 = load c[n]
    %5 = select %4, %3, %1
    store y[m, n], %5
  })",
              {{5, 21}, {21}, {5, 21}});
}

TEST(TileVm, integers_and_booleans_by_pieces_of_rows) {
  const char* text = R"(kernel integers(M, N) {
    in x T[M, N]
    in c b8[N]
    in f f32[M, N]
    out y T[M, N]
    out z b8[M, N]
    out u f32[M, N]
    parallel m : M
    parallel n : N
    %0 = load x[m, n]
    %1 = constant T 2
    %2 = sub %0, %1
    %3 = min %2, %0
    %4 = abs %3
    %5 = max %4, %1
    %6 = neg %5
    %7 = bit_xor %6, %0
    %8 = bit_or %7, %1
    %9 = bit_not %8
    %10 = load c[n]
    %11 = select %10, %9, %0
    store y[m, n], %11
    %12 = lt %0, %1
    %13 = bit_and %12, %10
    %14 = load f[m, n]
    %15 = constant f32 0.25
    %16 = ge %14, %15
    %17 = bit_xor %16, %13
    store z[m, n], %17
    %18 = cast f32 %17
    %19 = cast f32 %0
    %20 = select %17, %14, %19
    %21 = add %20, %18
    store u[m, n], %21
  })";
  for (const char* type : {"i64", "i32"})
    for (int64_t n : {int64_t(1), int64_t(21), int64_t(300)}) {
      const std::vector<int64_t> rows{5, n};
      std::vector<std::vector<int64_t>> sizes{rows, {n}, rows, rows, rows, rows};
      std::string typed = replaced(text, " T", fmt::format(" {}", type));
      expect_same(typed.c_str(), sizes);
      expect_same(typed.c_str(), sizes, {{1, 0}, {}, {}, {}, {1, 0}, {}});
    }
}

TEST(TileVm, integers_are_reduced_whichever_way_they_lie) {
  const char* over_rows_and_columns = R"(kernel integers(L, M, N) {
    in x T[L, M, N]
    out y T[M]
    parallel m : M
    span l : L
    span n : N
    %0 = load x[l, m, n]
    %1 = reduce sum %0 over l, n
    store y[m], %1
  })";
  const char* over_rows = R"(kernel integers(L, M, N) {
    in x T[L, M, N]
    out y T[L, N]
    parallel l : L
    parallel n : N
    span m : M
    %0 = load x[l, m, n]
    %1 = reduce max %0 over m
    store y[l, n], %1
  })";
  const char* of_comparisons = R"(kernel integers(L, M, N) {
    in x T[L, M, N]
    out y i64[L, M]
    parallel l : L
    parallel m : M
    span n : N
    %0 = load x[l, m, n]
    %1 = constant T 1
    %2 = gt %0, %1
    %3 = cast i64 %2
    %4 = reduce min %3 over n
    store y[l, m], %4
  })";
  for (const char* type : {"i64", "i32"})
    for (int64_t n : {int64_t(1), int64_t(9), int64_t(530)})
      for (const std::vector<std::vector<int>>& order :
           {std::vector<std::vector<int>>{}, {{2, 0, 1}, {}}}) {
        auto expect = [&](const char* text, const std::vector<int64_t>& y) {
          expect_same(replaced(text, " T", fmt::format(" {}", type)).c_str(), {{3, 5, n}, y},
                      order);
        };
        expect(over_rows_and_columns, {5});
        expect(over_rows, {3, n});
        expect(of_comparisons, {3, 5});
      }
}

TEST(TileVm, sums_along_rows_are_taken_in_order) {
  const char* text = R"(kernel rows(M, K, N) {
    in x f32[M, K, N]
    out y f32[M]
    parallel m : M
    span k : K
    span n : N
    %0 = load x[m, k, n]
    %1 = mul %0, %0
    %2 = reduce sum %1 over k, n
    store y[m], %2
  })";
  for (int64_t m : {1, 7, 8, 19, 40})
    for (int64_t n : {1, 5, 33}) {
      expect_same(text, {{m, 3, n}, {m}});
      expect_same(text, {{m, 3, n}, {m}}, {{2, 0, 1}, {}});
    }
}

// The last pair of an odd number of rows is half outside.
TEST(TileVm, stores_at_the_ends_of_axes) {
  const char* text = R"(kernel pairs(P, M, N) {
    in x f32[P, N]
    out y T[M, N]
    parallel p : P
    parallel n : N
    %0 = load x[p, n]
    %1 = abs %0
    store y[2*p + 1, n], %1
  })";
  for (const char* type : {"f32", "f16", "i8"})
    for (int64_t rows : {1, 2, 8, 9}) {
      std::string typed = replaced(text, " T", fmt::format(" {}", type));
      if (std::string_view(type) == "i8")
        typed = replaced(typed, "store y[2*p + 1, n], %1",
                         "%2 = cast i32 %1\n store y[2*p + 1, n], %2");
      expect_same(typed.c_str(), {{(rows + 1) / 2, 35}, {rows, 35}});
      expect_same(typed.c_str(), {{(rows + 1) / 2, 35}, {rows, 35}}, {{}, {1, 0}});
      for (const char* place : {"2*p + 1, n + 3", "2*p - 1, n - 2", "p - 3, n"})
        expect_same(replaced(typed, "2*p + 1, n", place).c_str(),
                    {{(rows + 1) / 2, 35}, {rows, 35}});
    }
}

TEST(TileVm, reductions_over_more_rows_than_a_tile_keeps) {
  const char* text = R"(kernel variance(C, H, W) {
    in x f32[C, H, W]
    out y f32[C]
    parallel c : C
    span h : H
    span w : W
    %0 = load x[c, h, w]
    %1 = reduce sum %0 over h, w
    %2 = constant f32 0.0002
    %3 = mul %1, %2
    %4 = sub %0, %3
    %5 = mul %4, %4
    %6 = reduce sum %5 over h, w
    store y[c], %6
  })";
  expect_same(text, {{70, 61, 81}, {70}}, {{1, 2, 0}, {}});
  expect_same(text, {{3, 61, 81}, {3}});
}

TEST(TileVm, windows_of_no_taps) {
  expect_same(R"(kernel depthwise(C, H, W, K) {
    in x f32[C, H, W]
    in taps f32[K, 3, C]
    out y f32[C, H, W]
    parallel c : C
    parallel h : H
    parallel w : W
    span ky : K
    span kx : 3
    %0 = constant f32 2
    %1 = load x[c, h + ky, w + kx]
    %2 = load taps[ky, kx, c]
    %3 = dot %0, %1, %2 over ky, kx
    store y[c, h, w], %3
  })",
              {{20, 4, 5}, {0, 3, 20}, {20, 4, 5}}, {{1, 2, 0}, {}, {1, 2, 0}});
}

constexpr const char* kLinearOfBytes = R"(kernel linear(M, K, N) {
    in x i8[M, K]
    in w i8[K, N] panels 0
    in b i32[N]
    in s f32[N]
    out y i8[M, N]
    parallel m : M
    parallel n : N
    span k : K
    %0 = load b[n]
    %1 = load x[m, k]
    %2 = load w[k, n]
    %3 = dot %0, %1, %2 over k
    %4 = cast f32 %3
    %5 = load s[n]
    %6 = mul %4, %5
    %7 = constant f32 -120
    %8 = gt %6, %7
    %9 = select %8, %6, %7
    %10 = constant f32 90
    %11 = min %9, %10
    %12 = round %11
    %13 = constant f32 -3
    %14 = add %12, %13
    %15 = cast i32 %14
    store y[m, n], %15
  })";

TEST(TileVm, products_of_bytes_become_bytes) {
  for (int64_t k : {1, 4, 29, 64})
    for (int64_t n : {1, 16, 83}) expect_same(kLinearOfBytes, {{37, k}, {k, n}, {n}, {n}, {37, n}});
  // Rows that do not lie behind each other are put in order.
  expect_same(kLinearOfBytes, {{37, 29}, {29, 83}, {83}, {83}, {37, 83}}, {{1, 0}});
}

TEST(TileVm, sums_of_products_of_bytes_stay_whole) {
  expect_same(R"(kernel linear(M, K, N) {
    in x i8[M, K]
    in w i8[K, N] panels 0
    in b i32[N]
    out y i32[M, N]
    out z i8[M, N]
    parallel m : M
    parallel n : N
    span k : K
    %0 = load b[n]
    %1 = load x[m, k]
    %2 = load w[k, n]
    %3 = dot %0, %1, %2 over k
    store y[m, n], %3
    store z[m, n], %3
  })",
              {{37, 29}, {29, 83}, {83}, {37, 83}, {37, 83}});
}

TEST(TileVm, convolution_of_bytes_has_any_number_around_it) {
  for (int64_t c : {1, 3, 6, 8})
    expect_same(R"(kernel convolution(B, H, W, C, OH, OW, N) {
  in x i8[B, C, H, W]
  in w i8[1, 3, 3, C, N] panels 1
  in b i32[N]
  in r i8[B, N, OH, OW]
  out y i8[B, N, OH, OW]
  parallel i : B each
  parallel n : N
  parallel oy : OH
  parallel ox : OW
  span ky : 3
  span kx : 3
  span c : C
  %0 = load b[n]
  %1 = load x[i, c, 2*oy + ky - 1, 2*ox + kx - 1] else -5
  %2 = load w[0, ky, kx, c, n]
  %3 = dot %0, %1, %2 over ky, kx, c
  %4 = cast f32 %3
  %5 = constant f32 0.002
  %6 = mul %4, %5
  %7 = constant f32 -120
  %8 = gt %6, %7
  %9 = select %8, %6, %7
  %10 = constant f32 90
  %11 = min %9, %10
  %12 = round %11
  %13 = constant f32 7
  %14 = add %12, %13
  %15 = cast i32 %14
  %16 = cast f32 %15
  %17 = sub %16, %13
  %18 = constant f32 0.75
  %19 = mul %17, %18
  %20 = load r[i, n, oy, ox]
  %21 = cast f32 %20
  %22 = constant f32 -11
  %23 = sub %21, %22
  %24 = constant f32 0.3
  %25 = mul %23, %24
  %26 = add %19, %25
  %27 = constant f32 -100
  %28 = gt %26, %27
  %29 = select %28, %26, %27
  %30 = constant f32 100
  %31 = min %29, %30
  %32 = round %31
  %33 = cast i32 %32
  store y[i, n, oy, ox], %33
})",
                {{2, c, 15, 12}, {1, 3, 3, c, 21}, {21}, {2, 21, 8, 6}, {2, 21, 8, 6}},
                {{0, 2, 3, 1}, {}, {}, {0, 2, 3, 1}, {0, 2, 3, 1}});
}

TEST(TileVm, few_channels_of_bytes_lie_behind_each_other_in_a_row_of_a_window) {
  expect_same(R"(kernel convolution(B, H, W, OH, OW, N) {
  in x i8[B, 3, H, W]
  in w i8[7, 21, N] panels 0
  in b i32[N]
  in s f32[N]
  out y i8[B, N, OH, OW]
  parallel i : B each
  parallel n : N
  parallel oy : OH
  parallel ox : OW
  span ky : 7
  span kx : 7
  span c : 3
  %0 = load b[n]
  %1 = load x[i, c, 2*oy + ky - 3, 2*ox + kx - 3] else 17
  %2 = load w[ky, 3*kx + c, n]
  %3 = dot %0, %1, %2 over ky, kx, c
  %4 = cast f32 %3
  %5 = load s[n]
  %6 = mul %4, %5
  %7 = constant f32 -128
  %8 = gt %6, %7
  %9 = select %8, %6, %7
  %10 = constant f32 127
  %11 = min %9, %10
  %12 = round %11
  %13 = cast i32 %12
  store y[i, n, oy, ox], %13
})",
              {{2, 3, 15, 12}, {7, 21, 21}, {21}, {21}, {2, 21, 8, 6}},
              {{0, 2, 3, 1}, {}, {}, {}, {0, 2, 3, 1}});
}

constexpr const char* kDepthwiseOfBytes = R"(kernel depthwise(B, C, H, W, OH, OW) {
  in x i8[B, C, H, W]
  in w i8[3, 3, C]
  in b i32[C]
  in s f32[C]
  out y i8[B, C, OH, OW]
  parallel i : B each
  parallel c : C
  parallel oy : OH
  parallel ox : OW
  span ky : 3
  span kx : 3
  %0 = load b[c]
  %1 = load x[i, c, 2*oy + ky - 1, 2*ox + kx - 1] else -9
  %2 = load w[ky, kx, c]
  %3 = dot %0, %1, %2 over ky, kx
  %4 = cast f32 %3
  %5 = load s[c]
  %6 = mul %4, %5
  %7 = constant f32 -128
  %8 = gt %6, %7
  %9 = select %8, %6, %7
  %10 = constant f32 127
  %11 = min %9, %10
  %12 = round %11
  %13 = cast i32 %12
  store y[i, c, oy, ox], %13
})";

TEST(TileVm, depthwise_of_bytes) {
  for (int64_t c : {1, 16, 37}) {
    std::vector<std::vector<int64_t>> sizes{{2, c, 15, 12}, {3, 3, c}, {c}, {c}, {2, c, 8, 6}};
    expect_same(kDepthwiseOfBytes, sizes, {{0, 2, 3, 1}, {}, {}, {}, {0, 2, 3, 1}});
    expect_same(kDepthwiseOfBytes, sizes);  // the plain loops
  }
}

// Numbers, some of which are none, that become bytes; what is innermost differs.
TEST(TileVm, numbers_are_rounded_to_bytes_where_they_are_stored) {
  for (const std::vector<int>& order : {std::vector<int>{0, 1, 2}, {1, 2, 0}})
    for (const char* sum : {"add %4, %5", "max %4, %6"}) {
      std::string text = std::string(R"(kernel bytes(C, H, W) {
  in x f32[C, H, W]
  out y i8[C, H, W]
  parallel c : C
  parallel h : H
  parallel w : W
  %0 = load x[c, h, w + 1]
  %1 = sqrt %0
  %2 = constant f32 37.5
  %3 = mul %2, %1
  %4 = round %3
  %5 = constant f32 -70
  %6 = constant f32 -90
  %7 = )") + sum + R"(
  %8 = max %7, %6
  %9 = constant f32 20
  %10 = min %8, %9
  %11 = constant f32 5
  %12 = eq %10, %10
  %13 = select %12, %10, %11
  %14 = cast i32 %13
  store y[c, h, w], %14
})";
      expect_same(text.c_str(), {{3, 9, 21}, {3, 9, 21}}, {{0, 1, 2}, order});
    }
}

// Windows that share columns, and those that do not.
TEST(TileVm, depthwise_of_bytes_however_it_slides) {
  struct Case {
    const char *x, *y, *load;
  };
  for (const Case& t : {Case{"3", "3", "oy + ky - 1, ox + kx - 1"},
                        {"3", "3", "oy + 2*ky - 2, ox + 2*kx - 2"},
                        {"5", "5", "2*oy + ky - 2, 3*ox + kx - 2"},
                        {"3", "3", "oy + 2*ky, 2*ox + 3*kx - 4"},
                        {"7", "2", "oy + ky - 3, ox + kx"},
                        {"1", "5", "oy + ky, ox + kx - 2"},
                        {"5", "1", "oy + ky - 2, ox + kx"},
                        {"3", "3", "oy + ky - 1, ox + 50*kx - 50"},
                        {"3", "3", "oy + ky - 1, ox + 2147483647*kx - 2147483647"},
                        {"3", "3", "ox + ky - 1, oy + kx - 1"}}) {
    std::string text = replaced(kDepthwiseOfBytes, "2*oy + ky - 1, 2*ox + kx - 1", t.load);
    text = replaced(text, "w i8[3, 3, C]", std::string("w i8[") + t.x + ", " + t.y + ", C]");
    text = replaced(text, "span ky : 3", std::string("span ky : ") + t.x);
    text = replaced(text, "span kx : 3", std::string("span kx : ") + t.y);
    for (int64_t c : {20, 70})
      expect_same(text.c_str(),
                  {{2, c, 9, 11}, {std::stoi(t.x), std::stoi(t.y), c}, {c}, {c}, {2, c, 8, 7}},
                  {{0, 2, 3, 1}, {}, {}, {}, {0, 2, 3, 1}});
  }
  // Along channels too, over their ends.
  expect_same(replaced(kDepthwiseOfBytes, "i, c, 2*oy + ky - 1, 2*ox + kx - 1",
                       "i, c + kx - 1, 2*oy + ky - 1, ox")
                  .c_str(),
              {{2, 37, 15, 6}, {3, 3, 37}, {37}, {37}, {2, 37, 8, 6}},
              {{0, 2, 3, 1}, {}, {}, {}, {0, 2, 3, 1}});
}

TEST(TileVm, the_largest_of_bytes_in_a_window) {
  std::vector<std::vector<int64_t>> sizes{{2, 37, 15, 12}, {2, 37, 8, 6}};
  for (const std::vector<std::vector<int>>& orders :
       {std::vector<std::vector<int>>{{0, 2, 3, 1}, {0, 2, 3, 1}}, {}})
    expect_same(R"(kernel pool(B, C, H, W, OH, OW) {
  in x i8[B, C, H, W]
  out y i8[B, C, OH, OW]
  parallel i : B each
  parallel c : C
  parallel oy : OH
  parallel ox : OW
  span ky : 3
  span kx : 3
  %0 = load x[i, c, 2*oy + ky - 1, 2*ox + kx - 1] else -128
  %1 = reduce max %0 over ky, kx
  store y[i, c, oy, ox], %1
})",
                sizes, orders);
}

TEST(TileVm, bytes_are_moved_and_become_numbers_where_they_lie) {
  for (const std::vector<int>& order : {std::vector<int>{0, 1}, {1, 0}}) {
    expect_same(R"(kernel move(M, N) {
    in x i8[M, N]
    out y i8[M, N]
    parallel m : M
    parallel n : N
    %0 = load x[m, n]
    store y[m, n], %0
  })",
                {{9, 21}, {9, 21}}, {order});
    expect_same(R"(kernel numbers(M, N) {
    in x i8[M, N]
    in c i8[N]
    out y i8[M, N]
    out z f32[M, N]
    out k i32[M, N]
    parallel m : M
    parallel n : N
    %0 = load x[m, n]
    %1 = cast f32 %0
    %2 = load c[n]
    %3 = cast f32 %2
    %4 = mul %1, %3
    store z[m, n], %4
    %5 = cast i32 %4
    store y[m, n], %5
    %6 = add %0, %2
    store k[m, n], %6
  })",
                {{9, 21}, {21}, {9, 21}, {9, 21}, {9, 21}}, {order});
  }
}

// Columns of bytes become numbers as they are packed, whichever way they lie. Sums are exact, so
// that they are the same where each step is rounded twice.
TEST(TileVm, columns_of_bytes_are_packed_as_numbers) {
  const char* text = R"(kernel f(M, K, N, H) {
    in x i8[M, K]
    in w i8[H, K, N]
    in s f32[N]
    out y f32[H, M, N]
    parallel h : H each
    parallel m : M
    parallel n : N
    span k : K
    %0 = constant f32 0
    %1 = load x[m, k]
    %2 = cast f32 %1
    %3 = load w[h, k, n]
    %4 = cast f32 %3
    %5 = dot %0, %2, %4 over k
    %6 = load s[n]
    %7 = mul %5, %6
    store y[h, m, n], %7
  })";
  for (std::vector<int64_t> mkn : {std::vector<int64_t>{1, 64, 48}, {3, 150, 37}, {20, 7, 5}})
    for (std::vector<int> order : {std::vector<int>{0, 1, 2}, {0, 2, 1}, {1, 2, 0}})
      expect_same(text, {{mkn[0], mkn[1]}, {2, mkn[1], mkn[2]}, {mkn[2]}, {2, mkn[0], mkn[2]}},
                  {{}, order});
}

// Rows for places that values tell; of two for one place the last is kept. Places outside, and such
// as only some elements have, are left out.
TEST(TileVm, stores_go_where_values_tell) {
  for (std::string type : {"f32", "f16", "i8"}) {
    std::string from = type == "i8" ? "i8" : "f32";
    std::string rows = "in x " + from + "[T, H, C]\n out y " + type + "[H, P, C]\n";
    expect_same(("kernel rows(T, H, C, P) {\n in at i64[T]\n" + rows +
                 R"(parallel h : H
                    parallel c : C
                    serial t : T each
                    serial t () {
                      %0 = load at[t]
                      %1 = load x[t, h, c]
                      store y[h, %0, c], %1 strict
                    yield t () }
                  })")
                    .c_str(),
                {{6}, {6, 3, 37}, {3, 4, 37}}, {{}, {}, {1, 0, 2}});
    // An index of its own for each head, some of them outside.
    expect_same(("kernel heads(T, H, C, P) {\n in at i64[H]\n" + rows +
                 R"(parallel h : H
                    parallel c : C
                    %0 = load at[h]
                    %1 = load x[1, h, c]
                    store y[h, %0 - 1, c], %1
                  })")
                    .c_str(),
                {{5}, {2, 5, 37}, {5, 2, 37}});
  }
}

TEST(TileVm, a_strict_store_outside_its_buffer_names_the_index) {
  Result<Kernel> kernel = parse_kernel(R"(kernel put(C) {
    in at i64[]
    in x f32[C]
    out y f32[4, C]
    parallel c : C
    %0 = load at[]
    %1 = load x[c]
    store y[%0, c], %1 strict
  })");
  ASSERT_TRUE(kernel.ok()) << kernel.error().text;
  for (int64_t at : {0, 3, 4, -1}) {
    Data data(*kernel, {{}, {5}, {4, 5}}, 5);
    memcpy(data.views[0].data, &at, 8);
    Result<void> interpreted = interpret(*kernel, data.views);
    Result<Plan> plan = Plan::make(*kernel, data.views, kernels_for(Isa::plain), 1);
    ASSERT_TRUE(plan.ok()) << plan.error().text;
    ThreadPool pool(1);
    std::vector<uint8_t> scratch(plan->scratch_bytes() + 64);
    auto* aligned = reinterpret_cast<uint8_t*>((uintptr_t(scratch.data()) + 63) / 64 * 64);
    std::vector<uint8_t*> pointers;
    for (BufferView& view : data.views) pointers.push_back(static_cast<uint8_t*>(view.data));
    Result<void> ran = plan->run(pointers, aligned, pool);
    ASSERT_EQ(ran.ok(), at >= 0 && at < 4) << at;
    ASSERT_EQ(interpreted.ok(), ran.ok()) << at;
    if (ran.ok()) continue;
    EXPECT_EQ(ran.error().text, interpreted.error().text);
    EXPECT_NE(ran.error().text.find(fmt::format("index {} into dimension 0 of y", at)),
              std::string::npos)
        << ran.error().text;
  }
}

}  // namespace
}  // namespace sconce::tile
