// Blocks of rows: strides, steps, tails and places, conversions, and the order of reductions.
#include "tensor/half.h"
#include "tile/kernels/kernels_test.h"

namespace sconce::tile {
namespace {

constexpr int64_t kSizes[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 70};

std::vector<float> noise(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-4, 4);
  std::vector<float> v(count);
  for (float& f : v) f = uniform(random);
  return v;
}

TEST(Vector, rows_and_steps_and_tails_touch_just_what_they_should) {
  for (const KernelTable* table : tables())
    for (int64_t n : kSizes)
      for (int step = 0; step < 2; step++)
        for (int64_t pad : {0, 3}) {
          const int64_t rows = 3, stride = n + pad;
          auto x = noise(size_t(rows * stride) + 1, uint32_t(n));
          std::vector<float> got(size_t(rows * stride) + 1, 99.f), want = got;
          for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < n; i++)
              want[size_t(r * stride + i)] = -x[size_t(r * stride + i * step)];
          table->unary[int(UnaryKernel::neg)](
              {rows, n, x.data(), stride, step, got.data(), stride});
          expect_same_bits(got, want, isa_name(table->isa));
        }
}

TEST(Vector, two_inputs_with_any_steps) {
  for (const KernelTable* table : tables())
    for (int64_t n : kSizes)
      for (int steps = 0; steps < 4; steps++) {
        const int64_t rows = 2, stride = n + 1, a_step = steps & 1, b_step = steps >> 1;
        auto a = noise(size_t(rows * stride), 1), b = noise(size_t(rows * stride), 2);
        std::vector<float> got(size_t(rows * stride), 99.f), want = got;
        std::vector<uint8_t> less(got.size(), 7), want_less = less;
        for (int64_t r = 0; r < rows; r++)
          for (int64_t i = 0; i < n; i++) {
            float x = a[size_t(r * stride + i * a_step)], y = b[size_t(r * stride + i * b_step)];
            want[size_t(r * stride + i)] = x - y;
            want_less[size_t(r * stride + i)] = x < y;
          }
        table->binary[int(BinaryKernel::sub)](
            {rows, n, a.data(), stride, a_step, b.data(), stride, b_step, got.data(), stride});
        table->compare[int(CompareKernel::lt)](
            {rows, n, a.data(), stride, a_step, b.data(), stride, b_step, less.data(), stride});
        expect_same_bits(got, want, isa_name(table->isa));
        expect_same_bits(less, want_less, isa_name(table->isa));
      }
}

TEST(Vector, a_row_against_all_rows_and_in_place) {
  for (const KernelTable* table : tables()) {
    auto a = noise(5 * 37, 3), b = noise(37, 4), want = a;
    for (size_t i = 0; i < a.size(); i++) want[i] = a[i] * b[i % 37];
    table->binary[int(BinaryKernel::mul)]({5, 37, a.data(), 37, 1, b.data(), 0, 1, a.data(), 37});
    expect_same_bits(a, want, isa_name(table->isa));
  }
}

TEST(Vector, binary_functions_on_special_values_agree_with_plain) {
  const auto list = floats(60000011);
  std::vector<float> a, b;
  for (float x : list)
    for (float y : list) {
      a.push_back(x);
      b.push_back(y);
    }
  const int64_t n = int64_t(a.size());
  for (int k = 0; k < int(BinaryKernel::count); k++) {
    std::vector<float> want(a.size()), got(a.size());
    kernels_for(Isa::plain).binary[k]({1, n, a.data(), 0, 1, b.data(), 0, 1, want.data(), 0});
    for (const KernelTable* table : tables()) {
      table->binary[k]({1, n, a.data(), 0, 1, b.data(), 0, 1, got.data(), 0});
      expect_same_bits(got, want, isa_name(table->isa));
    }
  }
  for (int k = 0; k < int(CompareKernel::count); k++) {
    std::vector<uint8_t> want(a.size()), got(a.size());
    kernels_for(Isa::plain).compare[k]({1, n, a.data(), 0, 1, b.data(), 0, 1, want.data(), 0});
    for (const KernelTable* table : tables()) {
      table->compare[k]({1, n, a.data(), 0, 1, b.data(), 0, 1, got.data(), 0});
      expect_same_bits(got, want, isa_name(table->isa));
    }
  }
}

TEST(Vector, min_and_max_pass_nan_and_keep_the_first_zero) {
  for (const KernelTable* table : tables()) {
    const float a[] = {NAN, 1, 0.f, -0.f, 2, 1}, b[] = {1, NAN, -0.f, 0.f, 1, 2};
    std::vector<float> low(6), high(6);
    table->binary[int(BinaryKernel::min)]({1, 6, a, 0, 1, b, 0, 1, low.data(), 0});
    table->binary[int(BinaryKernel::max)]({1, 6, a, 0, 1, b, 0, 1, high.data(), 0});
    expect_same_bits(low, {NAN, NAN, 0.f, -0.f, 1, 1}, isa_name(table->isa));
    expect_same_bits(high, {NAN, NAN, 0.f, -0.f, 2, 2}, isa_name(table->isa));
  }
}

TEST(Vector, fma_select_and_clamp) {
  for (const KernelTable* table : tables())
    for (int64_t n : kSizes) {
      auto a = noise(size_t(n) + 1, 5), b = noise(size_t(n) + 1, 6), c = noise(size_t(n) + 1, 7);
      std::vector<uint8_t> condition(size_t(n) + 1);
      for (size_t i = 0; i < condition.size(); i++) condition[i] = uint8_t(i % 3 ? 0 : i + 1);
      std::vector<float> fused(static_cast<size_t>(n)), chosen = fused, clamped = fused;
      std::vector<float> want_fused = fused, want_chosen = fused, want_clamped = fused;
      for (size_t i = 0; i < size_t(n); i++) {
        want_fused[i] = std::fma(a[i], b[0], c[i]);
        want_chosen[i] = condition[i] ? a[i] : b[i];
        want_clamped[i] = std::fmin(std::fmax(a[i], -1.f), 2.f);
      }
      table->fma({1, n, a.data(), 0, 1, b.data(), 0, 0, c.data(), 0, 1, fused.data(), 0});
      table->select(
          {1, n, condition.data(), 0, 1, a.data(), 0, 1, b.data(), 0, 1, chosen.data(), 0});
      table->clamp({1, n, a.data(), 0, 1, -1, 2, clamped.data(), 0});
      expect_same_bits(fused, want_fused, isa_name(table->isa));
      expect_same_bits(chosen, want_chosen, isa_name(table->isa));
      expect_same_bits(clamped, want_clamped, isa_name(table->isa));
    }
}

// Every step once, on strips of any length; slots 0 to 2 are read, 3 and 4 written.
TEST(Strip, steps_are_those_of_single_kernels) {
  constexpr StripStep kSteps[] = {
      {StripOp::load, 0, 0, 0},   {StripOp::add, 1, 0, 0},
      {StripOp::sub, 2, 0, 0},    {StripOp::store, 3, 0, 0},
      {StripOp::mul, 3, 0, 0},    {StripOp::fma_number, 1, 0, -1.25f},
      {StripOp::fma, 0, 2, 0},    {StripOp::mul_number, 0, 0, 0.75f},
      {StripOp::min, 1, 0, 0},    {StripOp::neg, 0, 0, 0},
      {StripOp::max, 3, 0, 0},    {StripOp::fma_of, 2, 3, 0},
      {StripOp::min_to, 0, 0, 0}, {StripOp::sub_from, 1, 0, 0},
      {StripOp::max_to, 2, 0, 0}, {StripOp::store, 4, 0, 0},
      {StripOp::abs, 0, 0, 0},    {StripOp::sub, 1, 0, 0},
      {StripOp::relu, 0, 0, 0},   {StripOp::store, 3, 0, 0},
  };
  for (const KernelTable* table : tables())
    for (int64_t n : {1, 2, 5, 16, 17, 31, 32, 33, 48, 63, 64}) {
      std::vector<float> slots[5];
      float* at[5];
      for (uint32_t k = 0; k < 5; k++) {
        slots[k] = noise(size_t(n) + 1, 40 + k);
        at[k] = slots[k].data();
      }
      slots[0][0] = NAN;
      slots[1][size_t(n) / 2] = INFINITY;
      std::vector<float> want[5];
      std::copy(std::begin(slots), std::end(slots), want);
      for (size_t i = 0; i < size_t(n); i++) {
        const float x = want[0][i], y = want[1][i], z = want[2][i], kept = x + y - z;
        auto low = [](float p, float q) {
          return std::isnan(p) || std::isnan(q) ? NAN : q < p ? q : p;
        };
        auto high = [](float p, float q) {
          return std::isnan(p) || std::isnan(q) ? NAN : p < q ? q : p;
        };
        float a = std::fma(x, z, std::fma(y, -1.25f, kept * kept)) * 0.75f;
        a = std::fma(high(-low(a, y), kept), z, kept);
        a = high(z, y - low(x, a));
        want[4][i] = a;
        a = std::fabs(a) - y;
        want[3][i] = 0 > a ? 0 : a;
      }
      table->strip({kSteps, std::size(kSteps), at, n});
      for (size_t k = 0; k < 5; k++) expect_same_bits(slots[k], want[k], isa_name(table->isa));
    }
}

// Each transform: inputs in slots 0 on, what it makes in those after them, between two steps.
TEST(Strip, transforms_are_their_steps) {
  for (const KernelTable* table : tables())
    for (int kind = 0; kind < int(TransformKind::count); kind++)
      for (int64_t n : {1, 7, 16, 31, 32, 48, 63, 64}) {
        const Transform& t = kTransforms[kind];
        const size_t inputs = size_t(t.inputs), made = size_t(t.made());
        std::vector<std::vector<float>> slots;
        std::vector<float*> at;
        for (uint32_t k = 0; k <= inputs + made; k++) slots.push_back(noise(size_t(n) + 1, 60 + k));
        slots[1][0] = INFINITY;
        for (auto& slot : slots) at.push_back(slot.data());
        auto want = slots;
        for (size_t i = 0; i < size_t(n); i++) {
          std::vector<float> values;
          for (size_t k = 0; k < inputs; k++) values.push_back(slots[k][i]);
          for (int s = 0; s < t.step_count; s++) {
            const TransformStep& step = t.steps[s];
            const float x = values[size_t(step.x)], y = values[size_t(step.y)];
            const float number = float(step.number);
            values.push_back(step.op == TransformOp::add   ? x + y
                             : step.op == TransformOp::sub ? x - y
                             : step.op == TransformOp::mul ? x * number
                                                           : std::fma(x, number, y));
          }
          size_t next = inputs;
          for (int k = 0; k < t.outputs; k++)
            if (t.output[k] >= t.inputs) want[next++][i] = values[size_t(t.output[k])];
          want[next][i] = want[0][i] + want[inputs][i];
        }
        std::vector<uint16_t> operands;
        for (size_t k = 0; k < inputs + made; k++) operands.push_back(uint16_t(k));
        const uint16_t first = uint16_t(inputs), last = uint16_t(inputs + made);
        const StripStep steps[] = {{StripOp::load, 0, 0, 0},
                                   {StripOp::store, last, 0, 0},
                                   {StripOp::transform, 0, uint16_t(kind), 0},
                                   {StripOp::load, 0, 0, 0},
                                   {StripOp::add, first, 0, 0},
                                   {StripOp::store, last, 0, 0}};
        table->strip({steps, std::size(steps), at.data(), n, operands.data()});
        for (size_t k = 0; k < slots.size(); k++)
          expect_same_bits(slots[k], want[k], isa_name(table->isa));
      }
}

template <class Half>
void check_half(const KernelTable& table, Element half) {
  std::vector<uint16_t> bits(65536);
  for (size_t i = 0; i < bits.size(); i++) bits[i] = uint16_t(i);
  std::vector<float> wide(bits.size()), want;
  for (uint16_t b : bits) want.push_back(to_float(Half{b}));
  table.convert[int(half)][int(Element::f32)]({1, 65536, bits.data(), 0, wide.data(), 0});
  expect_same_bits(wide, want, isa_name(table.isa));

  auto x = floats(30011);
  std::vector<uint16_t> narrow(x.size() + 1, 0xabcd);
  table.convert[int(Element::f32)][int(half)](
      {1, int64_t(x.size()), x.data(), 0, narrow.data(), 0});
  for (size_t i = 0; i < x.size(); i++) {
    uint16_t exact;
    if constexpr (std::is_same_v<Half, f16_t>)
      exact = to_f16(x[i]).bits;
    else
      exact = to_bf16(x[i]).bits;
    if (std::isnan(x[i]))
      ASSERT_TRUE(std::isnan(to_float(Half{narrow[i]})));
    else
      ASSERT_EQ(narrow[i], exact) << isa_name(table.isa) << " " << x[i];
  }
  EXPECT_EQ(narrow.back(), 0xabcd);
}

TEST(Convert, sixteen_bit_floats_are_those_of_half_h) {
  for (const KernelTable* table : tables()) {
    check_half<f16_t>(*table, Element::f16);
    check_half<bf16_t>(*table, Element::bf16);
  }
}

TEST(Convert, floats_to_integers_saturate_toward_zero) {
  const float x[] = {0,    -0.f,  1.9f,  -1.9f,  127.9f,   128,       -129, 255.5f,       256,
                     3e9f, -3e9f, 1e30f, -1e30f, INFINITY, -INFINITY, NAN,  2147483520.f, 0x1p63f};
  constexpr int64_t n = std::size(x);
  const std::vector<int32_t> want32 = {0,         0,          1,         -1,        127,
                                       128,       -129,       255,       256,       INT32_MAX,
                                       INT32_MIN, INT32_MAX,  INT32_MIN, INT32_MAX, INT32_MIN,
                                       0,         2147483520, INT32_MAX};
  for (const KernelTable* table : tables()) {
    auto to = [&](Element type, void* out) {
      table->convert[int(Element::f32)][int(type)]({1, n, x, 0, out, 0});
    };
    std::vector<int32_t> i32(n);
    to(Element::i32, i32.data());
    expect_same_bits(i32, want32, isa_name(table->isa));
    int8_t i8[n];
    uint8_t u8[n], b8[n];
    int64_t i64[n];
    to(Element::i8, i8);
    to(Element::u8, u8);
    to(Element::b8, b8);
    to(Element::i64, i64);
    for (int64_t i = 0; i < n; i++) {
      EXPECT_EQ(i8[i], std::min(127, std::max(-128, want32[size_t(i)]))) << x[i];
      EXPECT_EQ(u8[i], std::min(255, std::max(0, want32[size_t(i)]))) << x[i];
      EXPECT_EQ(b8[i], x[i] != 0);
    }
    EXPECT_EQ(i64[9], 3000000000);
    EXPECT_EQ(i64[11], INT64_MAX);
    EXPECT_EQ(i64[12], INT64_MIN);
    EXPECT_EQ(i64[15], 0);
    EXPECT_EQ(i64[17], INT64_MAX);
  }
}

TEST(Convert, integers_among_each_other_and_to_floats) {
  for (const KernelTable* table : tables()) {
    const int64_t x[] = {0,   1,   -1,    127,       128,       -128,    -129,
                         255, 256, 70000, INT64_MAX, INT64_MIN, 16777217};
    constexpr int64_t n = std::size(x);
    int8_t i8[n];
    int32_t i32[n];
    uint8_t b8[n];
    float f[n];
    auto& row = table->convert[int(Element::i64)];
    row[int(Element::i8)]({1, n, x, 0, i8, 0});
    row[int(Element::i32)]({1, n, x, 0, i32, 0});
    row[int(Element::b8)]({1, n, x, 0, b8, 0});
    row[int(Element::f32)]({1, n, x, 0, f, 0});
    for (int64_t i = 0; i < n; i++) {
      EXPECT_EQ(i8[i], std::min<int64_t>(127, std::max<int64_t>(-128, x[i])));
      EXPECT_EQ(i32[i], std::min<int64_t>(INT32_MAX, std::max<int64_t>(INT32_MIN, x[i])));
      EXPECT_EQ(b8[i], x[i] != 0);
      EXPECT_EQ(f[i], float(x[i]));
    }
  }
}

TEST(Convert, quantised_values_and_back) {
  for (const KernelTable* table : tables())
    for (int64_t n : kSizes) {
      auto x = noise(size_t(n) + 1, 11);
      x[0] = n % 2 ? NAN : 1e30f;
      std::vector<float> scale(size_t(n) + 1);
      for (size_t i = 0; i < scale.size(); i++) scale[i] = 20.f + float(i);
      std::vector<int8_t> q(size_t(n) + 1, 77);
      table->quantize_i8({1, n, x.data(), 0, scale.data(), 1, -3, -100, 100, 7, q.data(), 0});
      std::vector<float> back(static_cast<size_t>(n)), want_back = back;
      for (size_t i = 0; i < size_t(n); i++) {
        float value = std::nearbyint(x[i] * scale[i]) + -3.f;
        float want = std::isnan(value) ? 7 : std::fmin(std::fmax(value, -100.f), 100.f);
        EXPECT_EQ(float(q[i]), want) << isa_name(table->isa);
        want_back[i] = float(q[i] + 3) * 0.25f;
      }
      EXPECT_EQ(q.back(), 77);
      float quarter = 0.25f;
      table->dequantize_i8({1, n, q.data(), 0, &quarter, 0, -3, back.data(), 0});
      expect_same_bits(back, want_back, isa_name(table->isa));
    }
}

float reference_lane(ReduceKernel kernel, float lane, float x, float center) {
  switch (kernel) {
    case ReduceKernel::sum_squares: return std::fma(x - center, x - center, lane);
    case ReduceKernel::prod: return lane * x;
    case ReduceKernel::min: return x < lane ? x : lane;
    case ReduceKernel::max: return x > lane ? x : lane;
    default: return lane + x;
  }
}

TEST(Reduce, lanes_and_tree_are_as_stated_however_rows_are_cut) {
  for (const KernelTable* table : tables())
    for (int k = 0; k < int(ReduceKernel::count); k++)
      for (int64_t n : {1, 5, 16, 17, 100, 256, 333}) {
        const ReduceKernel kernel = ReduceKernel(k);
        const int64_t rows = 3;
        auto x = noise(size_t(rows * n), 21);
        const std::vector<float> center = {0.5f, -1.f, 2.f};
        std::vector<float> want(rows), want_out(x.size());
        for (int64_t r = 0; r < rows; r++) {
          float lane[16];
          for (float& f : lane) f = identity_of(kernel);
          for (int64_t i = 0; i < n; i++) {
            float value = x[size_t(r * n + i)];
            if (kernel == ReduceKernel::exp_sum) {
              float difference = value - center[size_t(r)];
              kernels_for(Isa::plain)
                  .unary[int(UnaryKernel::exp)]({1, 1, &difference, 0, 1, &value, 0});
              want_out[size_t(r * n + i)] = value;
            }
            lane[i % 16] = reference_lane(kernel, lane[i % 16], value, center[size_t(r)]);
          }
          for (int half = 8; half; half /= 2)
            for (int j = 0; j < half; j++) {
              float other = lane[j + half];
              lane[j] = kernel == ReduceKernel::sum_squares
                            ? lane[j] + other
                            : reference_lane(kernel, lane[j], other, 0);
            }
          want[size_t(r)] = lane[0];
        }
        if (table->isa == Isa::sse2 && kernel == ReduceKernel::exp_sum) continue;
        for (int64_t piece : {n, int64_t(16), int64_t(48)}) {
          std::vector<float> lanes(size_t(rows * 16), identity_of(kernel)), got(rows);
          std::vector<float> out(x.size());
          for (int64_t k0 = 0; k0 < n; k0 += piece)
            table->reduce[k]({rows, std::min(piece, n - k0), x.data() + k0, n, center.data(), 1,
                              out.data() + k0, n, lanes.data()});
          table->combine[k](rows, lanes.data(), got.data(), 1);
          expect_same_bits(got, want,
                           std::string(isa_name(table->isa)) + " " + std::to_string(k) + " n " +
                               std::to_string(n));
          if (kernel == ReduceKernel::exp_sum) expect_same_bits(out, want_out, "exp_sum");
        }
      }
}

TEST(Reduce, lanes_of_any_number_of_rows_are_combined_to_any_place) {
  for (const KernelTable* table : tables())
    for (int k = 0; k < int(ReduceKernel::count); k++)
      for (int64_t rows : kSizes)
        for (int64_t step : {1, 3}) {
          auto lanes = noise(size_t(rows * 16) + 1, 31);
          std::vector<float> got(size_t(rows * step) + 1, 99.f), want = got;
          for (int64_t r = 0; r < rows; r++) {
            std::vector<float> t(lanes.begin() + r * 16, lanes.begin() + (r + 1) * 16);
            for (size_t half = 8; half; half /= 2)
              for (size_t j = 0; j < half; j++)
                t[j] = ReduceKernel(k) == ReduceKernel::sum_squares
                           ? t[j] + t[j + half]
                           : reference_lane(ReduceKernel(k), t[j], t[j + half], 0);
            want[size_t(r * step)] = t[0];
          }
          table->combine[k](rows, lanes.data(), got.data(), step);
          expect_same_bits(got, want, isa_name(table->isa));
        }
}

TEST(Reduce, min_and_max_of_a_row_with_nan_are_nan) {
  for (const KernelTable* table : tables())
    for (ReduceKernel kernel : {ReduceKernel::min, ReduceKernel::max})
      for (size_t place : {0, 13, 39}) {
        auto x = noise(40, 9);
        x[place] = NAN;
        std::vector<float> lanes(16, identity_of(kernel));
        float got = 0;
        table->reduce[int(kernel)]({1, 40, x.data(), 0, nullptr, 0, nullptr, 0, lanes.data()});
        table->combine[int(kernel)](1, lanes.data(), &got, 1);
        EXPECT_TRUE(std::isnan(got)) << isa_name(table->isa);
      }
}

}  // namespace
}  // namespace sconce::tile
