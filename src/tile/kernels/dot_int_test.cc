// Integer dots against plain sums in 64 bits, extremes included, and packed 4-bit weights.
#include "tile/kernels/kernels_test.h"

namespace sconce::tile {
namespace {

int8_t byte(std::mt19937& random, int extreme) {
  int value = int(random() % 256) - 128;
  if (extreme) value = random() % 2 ? 127 : -128;
  return int8_t(value);
}

struct I8Case {
  int rows, panels;
  int64_t segments, length;
  int columns;
  bool a_signed;
  DotI8Finish finish;
  bool extreme;  // only the largest and smallest values
};

void check(const KernelTable& table, const I8Case& x, uint32_t seed) {
  DotI8Kernel kernel = table.dot_i8.kernel[x.rows - 1][x.panels - 1];
  if (!kernel) return;
  std::mt19937 random(seed);
  const int64_t k = x.segments * x.length, groups = (x.length + 3) / 4;
  std::vector<int8_t> a(size_t(x.rows * k)), weights(size_t(k * x.columns));
  for (auto& v : a) v = byte(random, x.extreme);
  for (auto& v : weights) v = byte(random, x.extreme);
  const int64_t panel_stride = (x.segments * groups + 1) * 64;
  std::vector<int8_t> b(size_t(x.panels * panel_stride), 55);
  table.pack_i8(
      {x.segments, x.length, x.columns, weights.data(), x.columns, 1, b.data(), panel_stride});
  std::vector<const int8_t*> rows;
  for (int64_t s = 0; s < x.segments; s++)
    for (int r = 0; r < x.rows; r++) rows.push_back(a.data() + r * k + s * x.length);
  std::vector<int32_t> zero, bias;
  std::vector<float> scale, row_scale, bias_f32;
  for (int r = 0; r < x.rows; r++) {
    zero.push_back(int32_t(random() % 40) - 20);
    row_scale.push_back(0.5f + float(r));
  }
  for (int n = 0; n < x.columns; n++) {
    bias.push_back(int32_t(random() % 2000) - 1000);
    scale.push_back(float(random() % 100 + 1) * 1e-5f);
    bias_f32.push_back(float(n));
  }
  const int64_t stride = x.panels * 16 + 5;
  std::vector<int32_t> c(size_t(stride * x.rows), 99);
  DotI8 d = {};
  d.rows = rows.data();
  d.segment_rows = x.rows;
  d.a_signed = x.a_signed;
  d.b = b.data();
  d.panel_stride = panel_stride;
  d.segments = x.segments;
  d.length = x.length;
  d.columns = x.columns;
  d.zero = zero.data();
  d.zero_step = 1;
  d.bias = bias.data();
  d.finish = x.finish;
  d.scale = scale.data();
  d.scale_step = 1;
  d.row_scale = row_scale.data();
  d.bias_f32 = bias_f32.data();
  d.lo = -5000;
  d.hi = 5000;
  d.to = {3, x.finish == DotI8Finish::u8 ? 0 : -100, 120};
  std::vector<int8_t> other(size_t(x.rows * (x.columns + 2)));
  for (auto& v : other) v = byte(random, x.extreme);
  const AgainI8 again = {other.data(), x.columns + 2, -7, 0.75f, 0.4f, 1, {-5, -90, 127}};
  if (x.finish == DotI8Finish::i8 && seed % 2) d.again = &again;
  d.c = c.data();
  d.c_stride = stride;
  kernel(d);
  for (int r = 0; r < x.rows; r++)
    for (int n = 0; n < stride; n++) {
      std::string what = std::string(isa_name(table.isa)) + " " + std::to_string(x.rows) + "x" +
                         std::to_string(x.panels) + " length " + std::to_string(x.length);
      const size_t at = size_t(r * stride + n);
      if (n >= x.columns) {
        if (x.finish == DotI8Finish::i32) {
          ASSERT_EQ(c[at], 99) << what;
        }
        continue;
      }
      int64_t sum = bias[size_t(n)];
      for (int64_t i = 0; i < k; i++) {
        int8_t raw = a[size_t(r * k + i)];
        int64_t value = x.a_signed ? raw : uint8_t(raw);
        sum += (value - zero[size_t(r)]) * weights[size_t(i * x.columns + n)];
      }
      float f = float(int32_t(sum));
      if (x.finish == DotI8Finish::i32) {
        ASSERT_EQ(c[at], int32_t(sum)) << what << " column " << n;
      } else if (x.finish == DotI8Finish::f32) {
        float want = f * row_scale[size_t(r)] * scale[size_t(n)] + bias_f32[size_t(n)];
        want = std::fmin(std::fmax(want, d.lo), d.hi);
        float got;
        memcpy(&got, &c[at], 4);
        ASSERT_TRUE(same(got, want)) << what << " " << got << " " << want;
      } else {
        float q = std::nearbyint(f * scale[size_t(n)]) + 3.f;
        q = std::fmin(std::fmax(q, float(d.to.low)), float(d.to.high));
        if (d.again) {
          float y = (q - 3.f) * again.own_ratio;
          y += float(other[size_t(r * again.x_row + n)] - again.x_zero) * again.x_ratio;
          q = std::fmin(std::fmax(std::nearbyint(y) - 5.f, -90.f), 127.f);
        }
        const uint8_t got = reinterpret_cast<const uint8_t*>(c.data())[at];
        ASSERT_EQ(x.finish == DotI8Finish::u8 ? float(got) : float(int8_t(got)), q) << what;
      }
    }
}

TEST(DotI8, every_tile_is_exact) {
  uint32_t seed = 1;
  for (const KernelTable* table : tables())
    for (int rows = 1; rows <= kDotRowsMax; rows++)
      for (int panels = 1; panels <= kDotPanelsMax; panels++)
        for (bool a_signed : {false, true}) {
          int full = panels * 16;
          check(*table, {rows, panels, 1, 64, full, a_signed, DotI8Finish::i32, false}, seed++);
          check(*table, {rows, panels, 2, 7, full - 3, a_signed, DotI8Finish::i32, false}, seed++);
          check(*table, {rows, panels, 1, 33, full, a_signed, DotI8Finish::f32, false}, seed++);
          check(*table, {rows, panels, 1, 21, full - 9, a_signed, DotI8Finish::u8, false}, seed++);
          check(*table, {rows, panels, 3, 2, full, a_signed, DotI8Finish::i8, false}, seed++);
        }
}

TEST(DotI8, nothing_saturates_at_the_extremes) {
  for (const KernelTable* table : tables())
    for (bool a_signed : {false, true})
      for (uint32_t seed = 0; seed < 8; seed++)
        check(*table, {1, 1, 1, 256, 16, a_signed, DotI8Finish::i32, true}, seed);
}

TEST(DotI8, without_steps_the_bias_is_left) {
  for (const KernelTable* table : tables())
    check(*table, {1, 1, 1, 0, 16, true, DotI8Finish::i32, false}, 1);
}

TEST(DotI8, numbers_that_are_none_become_the_least) {
  for (const KernelTable* table : tables()) {
    int8_t a[4] = {}, c[16] = {};
    std::vector<int8_t> b(2 * 64, 0);
    const int8_t* row = a;
    float scale = INFINITY;  // 0 * infinity
    DotI8 d = {};
    d.rows = &row;
    d.a_signed = true;
    d.b = b.data();
    d.panel_stride = 128;
    d.segments = 1;
    d.length = 4;
    d.columns = 16;
    d.finish = DotI8Finish::i8;
    d.scale = &scale;
    d.to = {5, -77, 100};
    d.c = c;
    table->dot_i8.kernel[0][0](d);
    for (int8_t q : c) EXPECT_EQ(q, -77) << isa_name(table->isa);
  }
}

// Rows of pixels of 8 bits, against plain loops.
TEST(PixelsI8, depthwise_and_pooling_are_exact) {
  for (const KernelTable* table : tables())
    for (int64_t taps : {1, 9, 25})
      for (int64_t channels : {1, 15, 16, 33, 70, 128})
        for (int64_t width : {1, 4, 7})
          for (bool extreme : {false, true}) {
            std::mt19937 random(uint32_t(taps * 1000 + channels * 10 + width));
            std::vector<int8_t> x(size_t(width * taps * channels)), w(size_t(taps * channels));
            for (auto& v : x) v = byte(random, extreme);
            for (auto& v : w) v = byte(random, extreme);
            std::vector<const int8_t*> pointers;
            for (int64_t i = 0; i < width * taps; i++) pointers.push_back(&x[size_t(i * channels)]);
            std::vector<int32_t> bias;
            std::vector<float> scale;
            for (int64_t c = 0; c < channels; c++) {
              bias.push_back(int32_t(random() % 2000) - 1000);
              scale.push_back(float(random() % 100 + 1) * 1e-4f);
            }
            const int64_t pixel = channels + 3;
            std::vector<int8_t> pooled(size_t(width * pixel), 99), out = pooled;
            const TapsI8Block block = {pointers.data(), taps, width, channels, out.data(), pixel};
            const AgainI8 again = {nullptr, 0, 0, 0.07f, 0, 9.f, {20, -90, 127}};
            table->depthwise_i8({block,
                                 w.data(),
                                 channels,
                                 bias.data(),
                                 scale.data(),
                                 1,
                                 {-4, -100, 110},
                                 extreme ? &again : nullptr});
            TapsI8Block pool = block;
            pool.out = pooled.data();
            table->max_pool_i8(pool);
            for (int64_t p = 0; p < width; p++)
              for (int64_t c = 0; c < pixel; c++) {
                int8_t want = 99, most = 99;
                if (c < channels) {
                  int32_t sum = bias[size_t(c)];
                  most = -128;
                  for (int64_t t = 0; t < taps; t++) {
                    int8_t value = pointers[size_t(p * taps + t)][c];
                    sum += value * w[size_t(t * channels + c)];
                    most = std::max(most, value);
                  }
                  float q = std::nearbyint(float(sum) * scale[size_t(c)]) - 4;
                  q = std::fmin(std::fmax(q, -100.f), 110.f);
                  if (extreme)
                    q = std::fmin(
                        std::fmax(std::nearbyint((q + 4) * again.own_ratio * again.factor) + 20,
                                  -90.f),
                        127.f);
                  want = int8_t(q);
                }
                std::string what = std::string(isa_name(table->isa)) + " taps " +
                                   std::to_string(taps) + " channel " + std::to_string(c) + " of " +
                                   std::to_string(channels);
                ASSERT_EQ(out[size_t(p * pixel + c)], want) << what;
                ASSERT_EQ(pooled[size_t(p * pixel + c)], most) << what;
              }
          }
}

TEST(DotI4, groups_are_summed_in_order_on_every_set) {
  for (int64_t group : {32, 64, 128})
    for (const KernelTable* table : tables()) {
      const int64_t k = 256, groups = k / group;
      for (int rows = 1; rows <= kDotRowsMax; rows++)
        for (int panels = 1; panels <= kDotPanelsMax; panels++) {
          DotI4Kernel kernel = table->dot_i4.kernel[rows - 1][panels - 1];
          if (!kernel) continue;
          std::mt19937 random(uint32_t(rows * 10 + panels));
          const int columns = panels * 16 - 2;
          std::vector<int8_t> a(size_t(rows * k)), q(size_t(k * panels * 16));
          for (auto& v : a) v = byte(random, 0);
          for (auto& v : q) v = int8_t(int(random() % 16) - 8);
          std::vector<uint8_t> b(size_t(panels * k * 8));
          for (int64_t n = 0; n < panels * 16; n++)
            for (int64_t i = 0; i < k; i++) {
              uint8_t nibble = uint8_t(q[size_t(i * panels * 16 + n)] + 8);
              b[size_t(n / 16 * k * 8 + i / 8 * 64 + n % 16 * 4 + i % 4)] |=
                  uint8_t(i % 8 < 4 ? nibble : nibble << 4);
            }
          std::vector<float> scales(size_t(panels * groups * 16)), weight_sums(size_t(panels * 16)),
              bias(size_t(panels * 16)), row_scale(static_cast<size_t>(rows));
          for (auto* list : {&scales, &weight_sums, &bias, &row_scale})
            for (float& f : *list) f = float(random() % 1000) * 1e-3f;
          std::vector<int32_t> sums(size_t(rows * groups)), zero(static_cast<size_t>(rows), 5);
          for (int r = 0; r < rows; r++)
            for (int64_t i = 0; i < k; i++)
              sums[size_t(r * groups + i / group)] += a[size_t(r * k + i)];
          std::vector<const int8_t*> pointers;
          for (int r = 0; r < rows; r++) pointers.push_back(&a[size_t(r * k)]);
          std::vector<float> c(size_t(rows * columns)), want(c.size());
          DotI4 d = {};
          d.rows = pointers.data();
          d.k = k;
          d.group = group;
          d.b = b.data();
          d.panel_stride = k * 8;
          d.scales = scales.data();
          d.scales_panel = groups * 16;
          d.group_sums = sums.data();
          d.group_sums_row = groups;
          d.row_scale = row_scale.data();
          d.zero = zero.data();
          d.weight_sums = weight_sums.data();
          d.bias = bias.data();
          d.lo = -1e6f;
          d.hi = 1e6f;
          d.c = c.data();
          d.c_stride = columns;
          d.columns = columns;
          kernel(d);
          if (table->isa == Isa::sse2) continue;  // its fma is one in all but rare ties
          for (int r = 0; r < rows; r++)
            for (int n = 0; n < columns; n++) {
              float acc = 0;
              for (int64_t g = 0; g < groups; g++) {
                int32_t part = 0;
                for (int64_t i = g * group; i < (g + 1) * group; i++)
                  part += a[size_t(r * k + i)] * q[size_t(i * panels * 16 + n)];
                acc =
                    std::fma(float(part), scales[size_t((n / 16 * groups + g) * 16 + n % 16)], acc);
              }
              acc = std::fma(-5.f, weight_sums[size_t(n)], acc);
              want[size_t(r * columns + n)] = row_scale[size_t(r)] * acc + bias[size_t(n)];
            }
          expect_same_bits(c, want,
                           std::string(isa_name(table->isa)) + " " + std::to_string(rows) + "x" +
                               std::to_string(panels));
        }
    }
}

TEST(DotWeights, numbers_by_weights_are_summed_in_order_on_every_set) {
  struct Case {
    int64_t k, group;
  };
  for (bool halves : {false, true})
    for (const Case& shape : {Case{1, 1}, Case{13, 13}, Case{64, 32}, Case{72, 24}})
      for (const KernelTable* table : tables())
        for (int rows = 1; rows <= kDotRowsMax; rows++)
          for (int panels = 1; panels <= kDotPanelsMax; panels++) {
            const DotWeightsKernels& kernels =
                halves ? table->dot_weights_i4 : table->dot_weights_i8;
            if (!kernels.kernel[rows - 1][panels - 1]) continue;
            std::mt19937 random(uint32_t(rows * 10 + panels));
            const int64_t steps = halves ? 8 : 4, groups = shape.k / shape.group;
            const int64_t panel = (shape.k + steps - 1) / steps * 64;
            const int columns = panels * 16 - 3;
            auto numbers = [&](int64_t count) {
              std::vector<float> list;
              for (int64_t i = 0; i < count; i++)
                list.push_back(float(random() % 2001) * 1e-3f - 1);
              return list;
            };
            std::vector<int8_t> q(size_t(shape.k * panels * 16));
            std::vector<uint8_t> b(size_t(panels * panel));
            for (int64_t n = 0; n < panels * 16; n++)
              for (int64_t i = 0; i < shape.k; i++) {
                int8_t x = int8_t(halves ? int(random() % 16) - 8 : int(random()));
                q[size_t(i * panels * 16 + n)] = x;
                uint8_t& place = b[size_t(n / 16 * panel + i / steps * 64 + n % 16 * 4 + i % 4)];
                place |= !halves ? uint8_t(x) : uint8_t(uint8_t(x + 8) << (i % 8 < 4 ? 0 : 4));
              }
            std::vector<float> a = numbers(rows * shape.k), scales = numbers(panels * groups * 16),
                               bias = numbers(columns);
            std::vector<const float*> pointers;
            for (int r = 0; r < rows; r++) pointers.push_back(&a[size_t(r * shape.k)]);
            std::vector<float> c(size_t(rows * columns)), want;
            DotWeights d = {pointers.data(), shape.k,     shape.group, b.data(), panel,
                            scales.data(),   groups * 16, bias.data(), -2,       3,
                            c.data(),        columns,     columns};
            kernels.kernel[rows - 1][panels - 1](d);
            if (table->isa == Isa::sse2) continue;  // its fma is one in all but rare ties
            for (int r = 0; r < rows; r++)
              for (int n = 0; n < columns; n++) {
                float acc = 0;
                for (int64_t g = 0; g < groups; g++) {
                  float part = 0;
                  for (int64_t i = g * shape.group; i < (g + 1) * shape.group; i++)
                    part = std::fma(a[size_t(r * shape.k + i)],
                                    float(q[size_t(i * panels * 16 + n)]), part);
                  acc = std::fma(part, scales[size_t((n / 16 * groups + g) * 16 + n % 16)], acc);
                }
                want.push_back(std::min(std::max(acc + bias[size_t(n)], -2.f), 3.f));
              }
            expect_same_bits(c, want,
                             std::string(isa_name(table->isa)) + " " + std::to_string(rows) + "x" +
                                 std::to_string(panels));
          }
}

}  // namespace
}  // namespace sconce::tile
