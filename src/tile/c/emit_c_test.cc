// Kernels as C: compiled by the C compiler, they give the interpreter's bits.
#include "tile/c/c_library.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <set>

#include "tensor/half.h"
#include "tile/build.h"
#include "tile/interpret.h"

namespace sconce::tile {
namespace {

struct Data {
  std::vector<std::vector<uint8_t>> bytes;
  std::vector<BufferView> views;

  // `order`: which dim is outermost and so on, to have strides of all kinds.
  Data(const Kernel& kernel, const std::vector<std::vector<int64_t>>& sizes, uint32_t seed,
       bool reversed = false) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-2, 2);
    for (size_t b = 0; b < sizes.size(); b++) {
      const Buffer& buffer = kernel.buffers[b];
      std::vector<int64_t> strides(sizes[b].size(), 1);
      int64_t count = 1;
      for (size_t n = 0; n < sizes[b].size(); n++) {
        size_t d = reversed ? n : sizes[b].size() - 1 - n;
        strides[d] = count;
        count *= sizes[b][d];
      }
      size_t element = dtype_bytes(buffer.dtype);
      if (buffer.is_packed())
        count = panel_shape(buffer, {sizes[b].data(), sizes[b].size()})->bytes / int64_t(element);
      bytes.emplace_back(size_t(count) * element);
      uint8_t* data = bytes.back().data();
      for (int64_t i = 0; i < count && !buffer.output; i++) {
        float x = uniform(random);
        if (random() % 16 == 0) x = random() % 2 ? 0.f : -0.f;
        uint64_t integer = random();
        if (buffer.dtype == DType::i64) integer %= 7;
        if (buffer.dtype == DType::b8) integer %= 2;
        uint16_t half = buffer.dtype == DType::bf16 ? to_bf16(x).bits : to_f16(x).bits;
        if (buffer.dtype == DType::f32)
          memcpy(data + size_t(i) * 4, &x, 4);
        else if (is_floating(buffer.dtype))
          memcpy(data + size_t(i) * 2, &half, 2);
        else
          memcpy(data + size_t(i) * element, &integer, element);
      }
      if (buffer.is_packed()) complete_panels(buffer, {sizes[b].data(), sizes[b].size()}, data);
      views.push_back({nullptr, sizes[b], strides, count * int64_t(element)});
    }
    for (size_t b = 0; b < views.size(); b++) views[b].data = bytes[b].data();
  }
};

// Equal but for which NaN it is.
bool same_bits(const Buffer& buffer, const std::vector<uint8_t>& a, const std::vector<uint8_t>& b,
               size_t* where) {
  size_t element = dtype_bytes(buffer.dtype);
  for (size_t i = 0; i + element <= a.size(); i += element) {
    if (memcmp(&a[i], &b[i], element) == 0) continue;
    float x = 0, y = 0;
    if (buffer.dtype == DType::f32) {
      memcpy(&x, &a[i], 4);
      memcpy(&y, &b[i], 4);
    } else if (is_floating(buffer.dtype)) {
      uint16_t p, q;
      memcpy(&p, &a[i], 2);
      memcpy(&q, &b[i], 2);
      x = buffer.dtype == DType::f16 ? to_float(f16_t{p}) : to_float(bf16_t{p});
      y = buffer.dtype == DType::f16 ? to_float(f16_t{q}) : to_float(bf16_t{q});
    }
    if (x != x && y != y) continue;
    *where = i / element;
    return false;
  }
  return true;
}

struct Case {
  Kernel kernel;
  std::vector<std::vector<std::vector<int64_t>>> sizes;  // of buffers, several calls
};

Case parsed(const char* text, std::vector<std::vector<std::vector<int64_t>>> sizes) {
  Result<Kernel> kernel = parse_kernel(text);
  EXPECT_TRUE(kernel.ok()) << kernel.error().text << text;
  return {kernel.ok() ? std::move(*kernel) : Kernel{}, std::move(sizes)};
}

// Every case with sizes as arguments; with more `ways`, with strides too, and its first sizes as
// constants.
void expect_same(const std::vector<Case>& cases, const EmitCOptions& options = {},
                 const std::string& flags = "-O2", int ways = 3) {
  std::vector<CKernel> kernels;
  for (const Case& one : cases) {
    kernels.push_back({&one.kernel, "", {}, {}, false});
    if (ways == 1) continue;
    kernels.push_back({&one.kernel, one.kernel.name + "_strided", {}, {}, true});
    CKernel fixed{&one.kernel, one.kernel.name + "_fixed", {}, {}, false};
    for (const Data data(one.kernel, one.sizes[0], 1, true); const BufferView& view : data.views)
      fixed.strides.push_back(view.strides);
    std::vector<bool> known(one.kernel.dims.size(), false);
    for (size_t b = 0; b < one.kernel.buffers.size(); b++)
      for (size_t d = 0; d < one.kernel.buffers[b].dims.size(); d++) {
        int32_t dim = one.kernel.buffers[b].dims[d].dim;
        if (dim == kNone || known[size_t(dim)]) continue;
        known[size_t(dim)] = true;
        fixed.dims.emplace_back(one.kernel.dims[size_t(dim)], one.sizes[0][b][d]);
      }
    kernels.push_back(fixed);
  }
  auto library = CLibrary::make(kernels, options, flags);
  ASSERT_TRUE(library);
  for (size_t c = 0; c < cases.size(); c++)
    for (size_t s = 0; s < cases[c].sizes.size(); s++)
      for (int way = 0; way < ways; way++) {
        if (way == 2 && s > 0) continue;
        const Kernel& kernel = cases[c].kernel;
        Data wanted(kernel, cases[c].sizes[s], 7, way > 0),
            got(kernel, cases[c].sizes[s], 7, way > 0);
        auto dims = tile::bind(kernel, wanted.views);
        ASSERT_TRUE(dims.ok()) << dims.error().text;
        auto done = interpret(kernel, wanted.views);
        ASSERT_TRUE(done.ok()) << done.error().text;
        std::vector<void*> arrays;
        std::vector<const int64_t*> strides;
        for (size_t b = 0; b < got.views.size(); b++) {
          arrays.push_back(got.views[b].data);
          strides.push_back(got.views[b].strides.data());
        }
        ASSERT_EQ(library->call(size_t(ways) * c + size_t(way), arrays, strides, *dims), 0)
            << kernel.name;
        for (size_t b = 0; b < got.bytes.size(); b++) {
          size_t where = 0;
          ASSERT_TRUE(same_bits(kernel.buffers[b], wanted.bytes[b], got.bytes[b], &where))
              << kernel.name << ", way " << way << ", sizes " << s << ": element " << where
              << " of " << kernel.buffers[b].name << "\n"
              << print(kernel);
        }
      }
}

// One element wide kernels of each function, over everything that a function treats apart.
TEST(EmitC, every_function_gives_the_bits_of_the_interpreter) {
  std::vector<Kernel> kernels;
  auto of = [&](const std::string& name, int operands, auto function) {
    Builder b("f_" + name);
    Extent n = b.dim("N");
    int32_t x = b.input(DType::f32, {n}), y = operands > 1 ? b.input(DType::f32, {n}) : 0;
    int32_t out = b.output(DType::f32, {n});
    AxisId i = b.parallel(n);
    ValueId a = b.load(x, {along(i)}), c = operands > 1 ? b.load(y, {along(i)}) : 0;
    b.store(out, {along(i)}, function(b, a, c));
    Result<Kernel> kernel = b.finish();
    ASSERT_TRUE(kernel.ok()) << kernel.error().text;
    kernels.push_back(std::move(*kernel));
  };
  for (int f = 0; f < int(Unary::bit_not); f++)
    of(name_of(Unary(f)), 1, [&](Builder& b, ValueId x, ValueId) { return b.unary(Unary(f), x); });
  for (int f = 0; f <= int(Binary::pow); f++)
    of(name_of(Binary(f)), 2,
       [&](Builder& b, ValueId x, ValueId y) { return b.binary(Binary(f), x, y); });
  of("fused", 2, [](Builder& b, ValueId x, ValueId y) { return b.fma(x, y, y); });
  std::vector<float> special = {
      0.f,   -0.f,     1.f,       -1.f,    0.5f,    -0.5f,   1.5f,      2.5f,    -2.5f,
      3.f,   INFINITY, -INFINITY, NAN,     1e-45f,  -1e-40f, 0x1p-126f, 3.4e38f, -3.4e38f,
      88.7f, 89.f,     -103.9f,   -104.5f, 0x1p23f, 0x1p24f, 32768.f,   32769.f, 1e6f,
      -1e9f, 1e30f,    0.625f,    0.9375f, 4.f,     100.f,   0x1p31f,   -0x1p31f};
  std::mt19937 random(3);
  std::vector<float> xs, ys;
  for (float x : special)
    for (float y : special) {
      xs.push_back(x);
      ys.push_back(y);
    }
  while (xs.size() < 40000) {
    uint32_t bits[2] = {uint32_t(random()), uint32_t(random())};
    float x[2];
    memcpy(x, bits, 8);
    bool small = random() % 2;
    xs.push_back(small ? float(int32_t(bits[0])) * 0x1p-27f : x[0]);
    ys.push_back(small ? float(int32_t(bits[1])) * 0x1p-28f : x[1]);
  }
  std::vector<CKernel> all;
  for (const Kernel& kernel : kernels) all.push_back({&kernel, "", {}, {}, false});
  // With the processor's fused multiply-add where it has one, and with that of doubles.
  for (const char* flags : {"-O2", "-O3 -march=native -fno-math-errno -fno-trapping-math"}) {
    auto library = CLibrary::make(all, {}, flags);
    ASSERT_TRUE(library);
    for (size_t k = 0; k < kernels.size(); k++) {
      int64_t n = int64_t(xs.size());
      std::vector<uint8_t> wanted(xs.size() * 4), got(xs.size() * 4);
      std::vector<BufferView> views = {{xs.data(), {n}, {1}, n * 4}};
      if (kernels[k].buffers.size() == 3) views.push_back({ys.data(), {n}, {1}, n * 4});
      views.push_back({wanted.data(), {n}, {1}, n * 4});
      auto done = interpret(kernels[k], views);
      ASSERT_TRUE(done.ok()) << done.error().text;
      std::vector<void*> arrays = {xs.data()};
      if (views.size() == 3) arrays.push_back(ys.data());
      arrays.push_back(got.data());
      ASSERT_EQ(library->call(k, arrays, {}, {n}), 0);
      size_t where = 0;
      ASSERT_TRUE(same_bits(kernels[k].buffers.back(), wanted, got, &where))
          << kernels[k].name << " of " << fmt::format("{:a}, {:a}", xs[where], ys[where]) << ", "
          << flags;
    }
  }
}

TEST(EmitC, linear_with_bias_and_clamp) {
  expect_same({parsed(R"(kernel linear(M, K, N) {
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
                      {{{37, 29}, {29, 83}, {83}, {37, 83}},
                       {{1, 5}, {5, 16}, {16}, {1, 16}},
                       {{8, 0}, {0, 3}, {3}, {8, 3}},
                       {{0, 4}, {4, 3}, {3}, {0, 3}}})});
}

TEST(EmitC, whole_language) {
  std::vector<Case> cases;
  cases.push_back(
      parsed(R"(kernel softmax(M, N) {
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
  })",
             {{{5, 37}, {5, 37}}, {{1, 1}, {1, 1}}, {{3, 16}, {3, 16}}, {{3, 0}, {3, 0}}}));
  cases.push_back(parsed(R"(kernel convolution(B, H, W, C, OH, OW, N) {
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
    %1 = load x[i, c, 2*oy + ky - 1, 2*ox + kx - 1] else -1.5
    %2 = load w[ky, kx, c, n]
    %3 = load r[i, n, oy, ox]
    %4 = dot %0, %1, %2 over ky, kx, c
    %5 = add %4, %3
    %6 = constant f32 0
    %7 = constant f32 1
    %8 = max %5, %6
    %9 = min %8, %7
    store y[i, n, oy, ox], %9
  })",
                         {{{2, 3, 7, 9}, {3, 3, 3, 20}, {2, 20, 4, 5}, {2, 20, 4, 5}}}));
  cases.push_back(parsed(R"(kernel channels_last(H, W, C, N) {
    in x f32[H, W, C]
    in w f16[3, 3, C, N] panels 0
    in b f32[N]
    out y bf16[H, W, N]
    parallel oy : H
    parallel ox : W
    parallel n : N
    span ky : 3
    span kx : 3
    span c : C
    %0 = load b[n]
    %1 = load x[oy + ky - 1, ox + kx - 1, c]
    %2 = load w[ky, kx, c, n]
    %3 = dot %0, %1, %2 over ky, kx, c
    store y[oy, ox, n], %3
  })",
                         {{{5, 11}, {3, 3, 3, 20}, {20}, {5, 11, 20}}}));
  cases.back().sizes = {{{5, 11, 3}, {3, 3, 3, 20}, {20}, {5, 11, 20}}};
  cases.push_back(parsed(R"(kernel attention(H, Q, T, D) {
    in q f32[H, Q, D]
    in k f32[H, T, D]
    in v f32[H, T, D]
    out y f32[H, Q, D]
    parallel h : H each
    parallel i : Q
    span d : D
    span e : D
    serial j : T block 8 whole 16
    %0 = load q[h, i, d]
    %1 = extent d
    %2 = cast f32 %1
    %3 = rsqrt %2
    %4 = mul %0, %3
    %5 = constant f32 -inf over i
    %6 = constant f32 0 over i
    %7 = constant f32 0 over i, e
    %8, %9, %10 = serial j (%5, %6, %7) {
      %11 = load k[h, j, d]
      %12 = constant f32 0
      %13 = dot %12, %4, %11 over d
      %14 = reduce max %13 over j
      %15 = max %8, %14
      %16 = sub %13, %15
      %17 = exp %16
      %18 = sub %8, %15
      %19 = exp %18
      %20 = reduce sum %17 over j lanes
      %21 = fma %9, %19, %20
      %22 = load v[h, j, e]
      %23 = mul %10, %19
      %24 = dot %23, %17, %22 over j
    %25, %26, %27 = yield j (%15, %21, %24) }
    %28 = div %27, %26
    store y[h, i, e], %28
  })",
                         {{{2, 9, 8}, {2, 37, 8}, {2, 37, 8}, {2, 9, 8}},
                          {{1, 33, 5}, {1, 16, 5}, {1, 16, 5}, {1, 33, 5}}}));
  cases.push_back(parsed(R"(kernel embedding(M, V, N) {
    in rows i64[M]
    in table f16[V, N]
    out y f32[M, N]
    parallel m : M
    parallel n : N
    %0 = load rows[m]
    %1 = load table[%0, n] strict
    store y[m, n], %1
  })",
                         {{{7}, {7, 19}, {7, 19}}, {{3}, {7, 5}, {3, 5}}}));
  cases.push_back(parsed(R"(kernel gather(M, V, N) {
    in rows i64[M]
    in table u8[V, N]
    out y i16[M, N]
    out z b8[M, N]
    parallel m : M
    parallel n : N
    %0 = load rows[m]
    %1 = constant i64 2
    %2 = sub %0, %1
    %3 = load table[%2 + 1, -1*n + 17] else 77
    %4 = constant i32 -300
    %5 = mul %3, %4
    store y[m, n], %5
    %6 = gt %3, %4
    %7 = bit_not %6
    %8 = bit_or %7, %6
    store z[m, n], %8
  })",
                         {{{7}, {4, 18}, {7, 18}, {7, 18}}}));
  cases.push_back(parsed(R"(kernel scan(M, T) {
    in x f32[M, T]
    in w i32[T]
    out y f32[M, T]
    out last i32[M]
    parallel m : M
    serial t : T each
    %0 = constant f32 0 over m
    %1 = constant i32 -5 over m
    %2, %3 = serial t (%0, %1) {
      %4 = load x[m, t]
      %5 = constant f32 0.25
      %6 = fma %2, %5, %4
      store y[m, t], %6
      %7 = load w[t]
      %8 = mul %3, %7
      %9 = abs %8
    %10, %11 = yield t (%6, %9) }
    store last[m], %11
  })",
                         {{{5, 9}, {9}, {5, 9}, {5}}, {{40, 3}, {3}, {40, 3}, {40}}}));
  // What a step gives is contracted in the next; what is carried is turned.
  cases.push_back(parsed(R"(kernel recurrence(T, B, N) {
    in x f32[T, B, N]
    in u f32[N, N] panels 0
    in g f32[N, N]
    out y f32[T, B, N]
    out z f32[B, N, N]
    serial t : T each backward
    parallel i : B
    span n : N
    span k : N
    span j : N
    %0 = load x[0, i, n]
    %1 = load g[j, n]
    %2 = add %1, %0
    %3, %4 = serial t (%0, %2) {
      %5 = rename %3 n to k
      %6 = load u[k, n]
      %7 = load x[t, i, n]
      %8 = dot %7, %5, %6 over k
      %9 = tanh %8
      store y[t, i, n], %9
      %10 = rename %4 n to k
      %11 = rename %10 j to n
      %12 = rename %11 k to j
    %13, %14 = yield t (%9, %12) }
    %15 = iota j
    %16 = rename %15 j to n
    %17 = cast f32 %16
    %18 = add %14, %17
    store z[i, j, n], %18
  })",
                         {{{5, 9, 7}, {7, 7}, {7, 7}, {5, 9, 7}, {9, 7, 7}},
                          {{2, 1, 16}, {16, 16}, {16, 16}, {2, 1, 16}, {1, 16, 16}}}));
  cases.push_back(parsed(R"(kernel scan_backward(M, T) {
    in x f32[M, T]
    out y f32[M]
    parallel m : M
    serial t : T block 4 backward
    %0 = constant f32 0 over m
    %1 = serial t (%0) {
      %2 = load x[m, t]
      %3 = reduce sum %2 over t
      %4 = constant f32 0.25
      %5 = fma %1, %4, %3
    %6 = yield t (%5) }
    store y[m], %6
  })",
                         {{{5, 9}, {5}}, {{3, 8}, {3}}, {{3, 0}, {3}}}));
  cases.push_back(parsed(R"(kernel nibbles(M, K, N) {
    in x i8[M, K]
    in w i8[K, N] nibbles 0
    out y i32[M, N]
    parallel m : M
    parallel n : N
    span k : K
    %0 = constant i32 5
    %1 = load x[m, k]
    %2 = load w[k, n]
    %3 = dot %0, %1, %2 over k
    store y[m, n], %3
  })",
                         {{{9, 13}, {13, 21}, {9, 21}}}));
  // Values that swap places as they are carried.
  cases.push_back(parsed(R"(kernel fibonacci(M, T) {
    in x i64[M]
    in t i8[T]
    out y i64[M]
    out z i64[M]
    parallel m : M
    serial s : T block 2
    %0 = load x[m]
    %1 = constant i64 1 over m
    %2, %3 = serial s (%0, %1) {
      %4 = load t[s]
      %5 = reduce sum %4 over s
      %6 = cast i64 %5
      %7 = add %2, %3
      %8 = mul %7, %6
    %9, %10 = yield s (%3, %8) }
    store y[m], %9
    store z[m], %10
  })",
                         {{{21}, {5}, {21}, {21}}}));
  cases.push_back(
      parsed(R"(kernel bytes(M, K, N) {
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
    %7 = round %6
    %8 = cast i32 %7
    %9 = constant i32 3
    %10 = add %8, %9
    store y[m, n], %10
  })",
             {{{9, 13}, {13, 21}, {21}, {21}, {9, 21}}, {{2, 4}, {4, 16}, {16}, {16}, {2, 16}}}));
  cases.push_back(parsed(R"(kernel windows_of_bytes(B, H, W, N) {
    in x i8[B, H, W, 3]
    in w i8[3, 9, N] panels 0
    out y i32[B, H, W, N]
    parallel i : B
    parallel oy : H
    parallel ox : W
    parallel n : N
    span ky : 3
    span kx : 3
    span c : 3
    %0 = constant i32 0
    %1 = load x[i, oy + ky - 1, ox + kx - 1, c] else -7
    %2 = load w[ky, 3*kx + c, n]
    %3 = dot %0, %1, %2 over ky, kx, c
    store y[i, oy, ox, n], %3
  })",
                         {{{2, 4, 5, 3}, {3, 9, 20}, {2, 4, 5, 20}}}));
  cases.push_back(parsed(R"(kernel heads(G, M, K, N) {
    in x f32[G, M, K]
    in w bf16[G, K, N] panels 1
    out y f16[G, M, N]
    parallel g : G
    parallel m : M
    parallel n : N
    span k : K
    %0 = constant f32 -0.0
    %1 = load x[g, m, k]
    %2 = load w[g, k, n]
    %3 = silu %1
    %4 = dot %0, %3, %2 over k
    store y[g, m, n], %4
  })",
                         {{{3, 9, 5}, {3, 5, 18}, {3, 9, 18}}}));
  cases.push_back(parsed(R"(kernel transposed(M, N) {
    in x f32[M, N]
    in int i32[M]
    out y f32[N, M]
    parallel for : M
    parallel v1 : N
    %0 = load x[for, v1]
    %1 = load int[for]
    %2 = cast f32 %1
    %3 = gelu %0
    %4 = mul %3, %2
    %5 = iota v1
    %6 = cast f32 %5
    %7 = add %4, %6
    store y[v1, for], %7
  })",
                         {{{7, 19}, {7}, {19, 7}}, {{0, 3}, {0}, {3, 0}}}));
  cases.push_back(parsed(
      R"(kernel statistics(M, A, B) {
    in x f32[M, A, B]
    out sum f32[M]
    out least f32[M]
    out product f32[M]
    out in_order f32[M]
    out most f32[M, A]
    parallel m : M
    span a : A
    span b : B
    %0 = load x[m, a, b]
    %1 = reduce sum %0 over a, b lanes
    store sum[m], %1
    %2 = reduce min %0 over b, a
    store least[m], %2
    %3 = reduce prod %0 over a, b
    store product[m], %3
    %4 = mul %0, %0
    %5 = reduce sum %4 over b, a
    store in_order[m], %5
    %6 = reduce max %0 over b
    store most[m, a], %6
  })",
      {{{3, 5, 21}, {3}, {3}, {3}, {3}, {3, 5}}, {{20, 2, 0}, {20}, {20}, {20}, {20}, {20, 2}}}));
  cases.push_back(parsed(R"(kernel columns_reduced(M, K, N) {
    in x f32[M, K, N]
    in q i16[K, N]
    out y f32[M, N]
    out z i32[N]
    out u f32[M, N]
    parallel m : M each
    parallel n : N
    span k : K
    %0 = load x[m, k, n]
    %1 = reduce sum %0 over k lanes
    store y[m, n], %1
    %2 = reduce max %0 over k
    store u[m, n], %2
  })",
                         {{{2, 35, 19}, {35, 19}, {2, 19}, {19}, {2, 19}}}));
  cases.push_back(parsed(R"(kernel places(M) {
    in x f32[M]
    out y f32[M, 2]
    out b b8[M]
    parallel m : M
    %0 = load x[m]
    %1 = load x[-1*m + 4] else inf
    %2 = lt %0, %1
    %3 = select %2, %0, %1
    store y[m, 0], %3
    store y[m, 1], %1
    %4 = cast i64 %3
    %5 = cast i32 %4
    %6 = cast b8 %5
    %7 = bit_xor %6, %2
    store b[m], %7
  })",
                         {{{9}, {9, 2}, {9}}}));
  cases.push_back(parsed(R"(kernel nothing(M) {
    in x f32[M]
    out y f32[M]
    parallel m : M
  })",
                         {{{3}, {3}}}));
  cases.push_back(parsed(R"(kernel one() {
    in x f32[]
    in t f32[5]
    out y f32[]
    span k : 5
    %0 = load x[]
    %1 = load t[k]
    %2 = load t[4 - k]
    %3 = dot %0, %1, %2 over k
    store y[], %3
  })",
                         {{{}, {5}, {}}}));
  for (const Case& one : cases) ASSERT_FALSE(one.kernel.name.empty());
  expect_same(cases, {}, "-O2", 1);
  expect_same(cases, {.rows = 3, .columns = 4},
              "-O0 -fsanitize=undefined -fno-sanitize-recover=undefined");
}

TEST(EmitC, index_outside_a_strict_load_is_an_error) {
  Case one = parsed(R"(kernel pick(M, V) {
    in rows i64[M]
    in table f32[V]
    out y f32[M]
    parallel m : M
    %0 = load rows[m]
    %1 = load table[%0] strict
    store y[m], %1
  })",
                    {});
  auto library = CLibrary::make(std::vector<CKernel>{{&one.kernel, "", {}, {}, false}});
  ASSERT_TRUE(library);
  for (int64_t row : {0, 4, 5, -1, 1 << 30}) {
    std::vector<int64_t> rows = {1, row, 2};
    std::vector<float> table(5, 1.5f), y(3);
    int wanted = row >= 0 && row < 5 ? 0 : 2;
    EXPECT_EQ(library->call(0, {rows.data(), table.data(), y.data()}, {}, {3, 5}), wanted) << row;
  }
}

TEST(EmitC, options_that_do_not_fit_are_errors) {
  Case one = parsed("kernel f(M) {\n in x f32[M]\n out y f32[M]\n parallel m : M\n}", {});
  auto text = [&](CKernel kernel, const EmitCOptions& options = {}) {
    kernel.kernel = &one.kernel;
    Result<CText> made = emit_c(std::vector<CKernel>{kernel}, options);
    return made.ok() ? "" : made.error().text;
  };
  EXPECT_EQ(text({}), "");
  EXPECT_EQ(text({.dims = {{"N", 3}}}), "kernel f: there is no dim N");
  EXPECT_EQ(text({.dims = {{"M", -1}}}), "kernel f: dim M: size -1; 0 to 2147483647");
  EXPECT_EQ(text({.strides = {{1, 2}}}), "kernel f: buffer x: 2 strides for rank 1");
  EXPECT_NE(text({}, {.rows = 0}), "");
  EXPECT_NE(text({}, {.columns = 5}), "");
}

// A kernel by lot: what the verifier takes of random instructions. Few are refused, since operands
// are chosen to fit.
class RandomKernel {
 public:
  explicit RandomKernel(uint32_t seed) : random_(seed), build_(fmt::format("lot_{}", seed)) {}

  std::optional<Case> make() {
    for (int d = 0; d < 3; d++) dims_.push_back(build_.dim(std::string(1, char('P' + d))));
    sizes_ = {below(20) + 1, below(9) + 1, below(40) + 1};
    int parallels = 1 + below(2);
    for (int a = 0; a < parallels; a++) {
      Extent e = extent();
      axes_.push_back({below(4) == 0 ? build_.each(e) : build_.parallel(e), e, true});
    }
    for (int a = 0; a <= below(3); a++) {
      Extent e = extent();
      axes_.push_back({build_.span(e), e, false});
    }
    for (int i = 0; i < 3 + below(4); i++) load();
    for (int i = 0; i < 4 + below(12); i++) step();
    if (below(3) == 0) loop();
    int stores = 0;
    for (int tries = 0; tries < 8 && stores < 2; tries++) stores += store();
    Result<Kernel> kernel = build_.finish();
    if (!kernel.ok()) return std::nullopt;
    std::vector<std::vector<int64_t>> buffers;
    for (const Buffer& buffer : kernel->buffers) {
      buffers.emplace_back();
      for (const Extent& e : buffer.dims) buffers.back().push_back(size_of(e, sizes_));
    }
    // Each dim has to be told by a buffer.
    return Case{std::move(*kernel), {buffers}};
  }

 private:
  struct OfAxis {
    AxisId id;
    Extent extent;
    bool parallel;
  };
  struct Made {
    ValueId id;
    DType dtype;
    std::set<AxisId> axes;
  };
  int below(int n) { return int(random_() % uint32_t(n)); }
  Extent extent() { return below(4) == 0 ? known(1 + below(20)) : dims_[size_t(below(3))]; }
  const Made* any(DType dtype) {
    std::vector<const Made*> fit;
    for (const Made& made : values_)
      if (made.dtype == dtype) fit.push_back(&made);
    return fit.empty() ? nullptr : fit[size_t(below(int(fit.size())))];
  }
  void add(ValueId id, DType dtype, std::set<AxisId> axes) {
    values_.push_back({id, dtype, std::move(axes)});
  }

  void load() {
    static constexpr DType kTypes[] = {DType::f32,  DType::f32, DType::f32, DType::f16,
                                       DType::bf16, DType::i8,  DType::u8,  DType::i16,
                                       DType::i32,  DType::i64, DType::b8};
    DType dtype = kTypes[below(11)];
    std::vector<Extent> dims;
    std::vector<Index> index;
    std::set<AxisId> axes;
    int rank = 1 + below(3);
    for (int d = 0; d < rank; d++) {
      const OfAxis& axis = axes_[size_t(below(int(axes_.size())))];
      if (below(5) == 0) {
        dims.push_back(extent());
        index.push_back(along(axis.id, below(5) - 2 ? 1 + below(2) : -1, below(5) - 2));
      } else {
        dims.push_back(axis.extent);
        index.push_back(along(axis.id));
      }
      axes.insert(axis.id);
    }
    bool packed = rank >= 2 && below(3) == 0 && (dtype == DType::f32 || dtype == DType::i8);
    int32_t buffer =
        packed ? build_.panels(dtype, dims, below(rank - 1)) : build_.input(dtype, dims);
    if (const Made* at = any(DType::i64); at && below(3) == 0) {
      index[0] = Index{{}, 0, at->id};
      axes.insert(at->axes.begin(), at->axes.end());
    }
    double fill = below(2) ? 0 : below(2) ? -1 : 3;
    add(build_.load(buffer, index, fill), value_dtype(dtype), whole(axes));
  }
  // Without axes that are taken one at a time: what the builder's values have.
  std::set<AxisId> whole(const std::set<AxisId>& axes) {
    std::set<AxisId> all;
    for (AxisId a : axes)
      if (!build_.kernel().axes[size_t(a)].each) all.insert(a);
    return all;
  }

  void step() {
    static constexpr DType kNumbers[] = {DType::f32, DType::f32, DType::i32, DType::i64};
    DType dtype = kNumbers[below(4)];
    const Made *x = any(dtype), *y = any(dtype);
    if (!x || !y) return;
    Made a = *x, b = *y;
    std::set<AxisId> both = a.axes;
    both.insert(b.axes.begin(), b.axes.end());
    std::vector<AxisId> spans;
    for (const OfAxis& axis : axes_)
      if (!axis.parallel && both.contains(axis.id)) spans.push_back(axis.id);
    switch (below(10)) {
      case 9: {
        for (const OfAxis& from : axes_)
          for (const OfAxis& to : axes_) {
            if (from.parallel || to.parallel || from.extent != to.extent ||
                !a.axes.contains(from.id) || a.axes.contains(to.id))
              continue;
            a.axes.erase(from.id);
            a.axes.insert(to.id);
            a.id = build_.rename(a.id, from.id, to.id);
            add(a.id, dtype, a.axes);
          }
        break;
      }
      case 0: {
        int f = dtype == DType::f32 ? below(int(Unary::bit_not)) : below(2);
        add(build_.unary(Unary(f), a.id), dtype, a.axes);
        break;
      }
      case 1: {
        static constexpr Binary kReal[] = {Binary::add, Binary::sub, Binary::mul, Binary::div,
                                           Binary::min, Binary::max, Binary::pow};
        static constexpr Binary kWhole[] = {Binary::add, Binary::sub,     Binary::mul,
                                            Binary::min, Binary::bit_and, Binary::bit_or,
                                            Binary::max};
        add(build_.binary(dtype == DType::f32 ? kReal[below(7)] : kWhole[below(7)], a.id, b.id),
            dtype, both);
        break;
      }
      case 2: {
        ValueId c = build_.binary(Binary(int(Binary::eq) + below(6)), a.id, b.id);
        add(build_.select(c, b.id, a.id), dtype, both);
        add(c, DType::b8, both);
        break;
      }
      case 3: {
        static constexpr DType kTo[] = {DType::f32, DType::i32, DType::i64, DType::b8};
        DType to = kTo[below(4)];
        add(build_.cast(a.id, to), to, a.axes);
        break;
      }
      case 4: {
        AxisId axis = axes_[size_t(below(int(axes_.size())))].id;
        add(build_.iota(axis), DType::i64, whole({axis}));
        break;
      }
      case 5:
      case 6: {
        std::vector<AxisId> over;
        for (AxisId axis : spans)
          if (a.axes.contains(axis) && (over.empty() || below(2))) over.push_back(axis);
        if (over.empty()) break;
        auto f = Reduce(below(4));
        for (AxisId axis : over) a.axes.erase(axis);
        add(build_.reduce(f, a.id, over, f == Reduce::sum && dtype == DType::f32 && below(2)),
            dtype, a.axes);
        break;
      }
      default: {
        if (dtype == DType::i64 || spans.empty()) break;
        std::vector<AxisId> over = {spans[size_t(below(int(spans.size())))]};
        for (AxisId axis : over) both.erase(axis);
        const Made* c = any(dtype);
        ValueId initial = build_.constant(0.5, dtype);
        if (c && !c->axes.contains(over[0]) && below(2)) {
          initial = c->id;
          both.insert(c->axes.begin(), c->axes.end());
        }
        add(build_.dot(initial, a.id, b.id, over), dtype, both);
      }
    }
  }

  void loop() {
    const Made* x = any(DType::f32);
    if (!x) return;
    Made a = *x;
    Extent e = extent();
    AxisId axis = below(2) ? build_.serial(e, 1 + below(7), below(2) * below(9), below(2))
                           : build_.serial_each(e, below(2));
    int32_t buffer = build_.input(DType::f32, {e});
    std::vector<AxisId> over(a.axes.begin(), a.axes.end());
    ValueId first = build_.constant(0.25, DType::f32, over);
    std::vector<ValueId> carried = build_.begin_loop(axis, {first, a.id});
    ValueId t = build_.load(buffer, {along(axis)});
    if (!build_.kernel().axes[size_t(axis)].each)
      t = build_.reduce(Reduce::sum, t, {axis}, below(2));
    ValueId next = build_.fma(carried[0], t, carried[1]);
    std::vector<ValueId> after =
        build_.end_loop(axis, below(2) ? std::vector<ValueId>{carried[1], next}
                                       : std::vector<ValueId>{next, build_.mul(carried[1], t)});
    add(after[0], DType::f32, a.axes);
    add(after[1], DType::f32, a.axes);
  }

  bool store() {
    if (values_.empty()) return false;
    const Made& x = values_[values_.size() - 1 - size_t(below(std::min(4, int(values_.size()))))];
    std::vector<Extent> dims;
    std::vector<Index> index;
    for (const OfAxis& axis : axes_) {
      if (!axis.parallel && !x.axes.contains(axis.id)) continue;
      size_t at = dims.empty() ? 0 : size_t(below(int(dims.size()) + 1));
      int shift = below(6) == 0 ? below(3) - 1 : 0;
      dims.insert(dims.begin() + long(at), axis.extent);
      index.insert(index.begin() + long(at), along(axis.id, 1, shift));
    }
    static constexpr DType kReal[] = {DType::f32, DType::f32, DType::f16, DType::bf16};
    static constexpr DType kWhole[] = {DType::i32, DType::i8, DType::u8, DType::i16};
    DType dtype = x.dtype == DType::f32   ? kReal[below(4)]
                  : x.dtype == DType::i32 ? kWhole[below(4)]
                                          : x.dtype;
    build_.store(build_.output(dtype, dims), index, x.id);
    return true;
  }

  std::mt19937 random_;
  Builder build_;
  std::vector<Extent> dims_;
  std::vector<int64_t> sizes_;
  std::vector<OfAxis> axes_;
  std::vector<Made> values_;
};

// SCONCE_SEED gives others, SCONCE_LOTS more of them.
TEST(EmitC, kernels_by_lot) {
  const char* given = getenv("SCONCE_SEED");
  uint32_t seed = given ? uint32_t(atoi(given)) : 1;
  const char* lots = getenv("SCONCE_LOTS");
  size_t count = lots ? size_t(atoi(lots)) : 16;
  std::vector<Case> cases;
  int refused = 0;
  for (uint32_t n = 0; cases.size() < count && n < 20 * count; n++) {
    auto made = RandomKernel(seed * 1000 + n).make();
    if (made)
      cases.push_back(std::move(*made));
    else
      refused++;
  }
  ASSERT_EQ(cases.size(), count) << refused << " were refused";
  SCOPED_TRACE(fmt::format("SCONCE_SEED={}", seed));
  expect_same(cases, {}, "-O0");
}

TEST(EmitC, stores_go_where_values_tell) {
  Case one = parsed(R"(kernel put(T, C, P) {
    in rows i64[T]
    in x f32[T, C]
    out y f32[P, C]
    parallel c : C
    serial t : T each
    serial t () {
      %0 = load rows[t]
      %1 = load x[t, c]
      store y[%0, c], %1 strict
    yield t () }
  })",
                    {});
  auto library = CLibrary::make(std::vector<CKernel>{{&one.kernel, "", {}, {}, false}});
  ASSERT_TRUE(library);
  for (int64_t row : {0, 2, 3, -1}) {
    std::vector<int64_t> rows = {1, row, 1};
    std::vector<float> x = {1, 2, 3, 4, 5, 6}, y(6, 9);
    int wanted = row >= 0 && row < 3 ? 0 : 3;
    EXPECT_EQ(library->call(0, {rows.data(), x.data(), y.data()}, {}, {3, 2, 3}), wanted) << row;
    if (wanted) continue;
    std::vector<float> after(6, 9);
    after[2] = 5, after[3] = 6;
    after[size_t(row) * 2] = 3, after[size_t(row) * 2 + 1] = 4;
    EXPECT_EQ(y, after) << row;
  }
}

}  // namespace
}  // namespace sconce::tile
