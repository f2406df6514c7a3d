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
  std::vector<int32_t> zero, bias, row_bias;
  std::vector<float> scale, row_scale, bias_f32;
  for (int r = 0; r < x.rows; r++) {
    row_bias.push_back(seed % 3 == 0 ? 0 : int32_t(random() % 3000) - 1500);
    zero.push_back(int32_t(random() % 40) - 20);
    row_scale.push_back(0.5f + float(r));
  }
  for (int n = 0; n < x.columns; n++) {
    bias.push_back(int32_t(random() % 2000) - 1000);
    scale.push_back(float(random() % 100 + 1) * 1e-5f);
    bias_f32.push_back(float(n));
  }
  // Of each row, of all, or none.
  if (seed % 4 == 2) zero.assign(size_t(x.rows), zero[0]);
  if (seed % 8 == 7) zero.assign(size_t(x.rows), 0);
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
  if (seed % 8 != 7) d.zero = zero.data();
  d.zero_step = seed % 4 == 2 ? 0 : 1;
  d.bias = bias.data();
  if (seed % 2) d.next = b.data();
  d.next_step = 8;
  if (seed % 3 != 0) d.row_bias = row_bias.data();
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
  AgainI8 again = {other.data(), x.columns + 2, -7, 0.75f, 0.4f, 1, {-5, -90, 127}};
  if (seed % 5 == 0) again.x = nullptr;
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
        } else if (x.finish == DotI8Finish::i8 || x.finish == DotI8Finish::u8) {
          // Bytes as they were: 99 in the first of four.
          ASSERT_EQ(reinterpret_cast<const int8_t*>(c.data())[at], at % 4 ? 0 : 99) << what;
        }
        continue;
      }
      int64_t sum = bias[size_t(n)] + row_bias[size_t(r)];
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
          if (again.x)
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
          check(*table, {rows, panels, 1, 12, full - 8, a_signed, DotI8Finish::i8, false}, seed++);
          check(*table, {rows, panels, 1, 5, full - 15, a_signed, DotI8Finish::i8, false}, seed++);
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

TEST(PixelsI8, the_most_of_taps_is_exact) {
  for (const KernelTable* table : tables())
    for (int64_t taps : {1, 9})
      for (int64_t channels : {1, 15, 64, 70}) {
        const int64_t width = 5, pixel = channels + 3;
        std::mt19937 random(uint32_t(taps * 1000 + channels));
        std::vector<int8_t> x(size_t(width * taps * channels)), out(size_t(width * pixel), 99);
        for (auto& v : x) v = byte(random, 0);
        std::vector<const int8_t*> pointers;
        for (int64_t i = 0; i < width * taps; i++) pointers.push_back(&x[size_t(i * channels)]);
        table->max_pool_i8({pointers.data(), taps, width, channels, out.data(), pixel});
        for (int64_t p = 0; p < width; p++)
          for (int64_t c = 0; c < pixel; c++) {
            int8_t most = c < channels ? -128 : 99;
            for (int64_t t = 0; t < taps && c < channels; t++)
              most = std::max(most, pointers[size_t(p * taps + t)][c]);
            ASSERT_EQ(out[size_t(p * pixel + c)], most) << isa_name(table->isa);
          }
      }
}

struct WindowCase {
  int64_t down, across, step, spread;
};

// Against plain loops, with edges on all sides.
void check_depthwise(const KernelTable& table, const WindowCase& w, int64_t channels, int64_t width,
                     bool extreme) {
  std::mt19937 random(uint32_t(w.down * 100000 + w.across * 1000 + channels * 10 + width));
  const int64_t height = 2, taps = w.down * w.across, pixel = channels + 3;
  const int64_t columns = (width - 1) * w.step + (w.across - 1) * w.spread + 1;
  std::vector<int8_t> x(size_t(height * w.down * columns * channels)),
      weights(size_t(taps * channels)), outside(static_cast<size_t>(channels));
  for (auto* list : {&x, &weights, &outside})
    for (auto& v : *list) v = byte(random, extreme);
  std::vector<WindowRow<int8_t>> rows;
  for (int64_t r = 0; r < height * w.down; r++) {
    const int64_t begin = int64_t(random() % 2), end = columns - int64_t(random() % 3);
    // A row of which nothing is inside, and one of which all is.
    rows.push_back({&x[size_t(r * columns * channels)], r == 1 ? 0 : begin,
                    r == 1   ? 0
                    : r == 0 ? INT64_MAX
                             : end});
  }
  std::vector<int32_t> bias;
  std::vector<float> scale;
  for (int64_t c = 0; c < channels; c++) {
    bias.push_back(int32_t(random() % 2000) - 1000);
    scale.push_back(float(random() % 100 + 1) * 1e-4f);
  }
  std::vector<int8_t> out(size_t(height * width * pixel), 99);
  int8_t* const lines[] = {&out[0], &out[size_t(width * pixel)]};
  const AgainI8 again = {nullptr, 0, 0, 0.07f, 0, 9.f, {20, -90, 127}};
  const bool some_scale = width % 2;
  table.depthwise_i8({rows.data(),
                      lines,
                      pixel,
                      outside.data(),
                      channels,
                      w.down,
                      w.across,
                      w.step,
                      w.spread,
                      height,
                      width,
                      channels,
                      weights.data(),
                      channels,
                      extreme ? nullptr : bias.data(),
                      scale.data(),
                      some_scale,
                      {-4, -100, 110},
                      extreme ? &again : nullptr});
  for (int64_t y = 0; y < height; y++)
    for (int64_t p = 0; p < width; p++)
      for (int64_t c = 0; c < pixel; c++) {
        int8_t want = 99;
        if (c < channels) {
          int32_t sum = extreme ? 0 : bias[size_t(c)];
          for (int64_t r = 0; r < w.down; r++)
            for (int64_t k = 0; k < w.across; k++) {
              const WindowRow<int8_t>& row = rows[size_t(y * w.down + r)];
              const int64_t column = p * w.step + k * w.spread;
              int8_t tap = column >= row.begin && column < row.end ? row.at[column * channels + c]
                                                                   : outside[size_t(c)];
              sum += tap * weights[size_t((r * w.across + k) * channels + c)];
            }
          float q = std::nearbyint(float(sum) * scale[some_scale ? size_t(c) : 0]) - 4;
          q = std::fmin(std::fmax(q, -100.f), 110.f);
          if (extreme)
            q = std::fmin(
                std::fmax(std::nearbyint((q + 4) * again.own_ratio * again.factor) + 20, -90.f),
                127.f);
          want = int8_t(q);
        }
        ASSERT_EQ(out[size_t((y * width + p) * pixel + c)], want)
            << isa_name(table.isa) << " window " << w.down << "x" << w.across << " step " << w.step
            << " row " << y << " pixel " << p << " channel " << c << " of " << channels;
      }
}

TEST(DepthwiseI8, windows_are_exact_wherever_they_end) {
  const WindowCase cases[] = {{1, 1, 1, 1}, {9, 1, 1, 1}, {3, 3, 1, 1}, {3, 3, 2, 1}, {3, 3, 1, 2},
                              {5, 5, 1, 1}, {5, 5, 2, 1}, {2, 4, 3, 2}, {4, 2, 1, 1}, {7, 7, 1, 1}};
  for (const KernelTable* table : tables())
    for (const WindowCase& w : cases)
      for (int64_t channels : {1, 15, 16, 33, 64, 70, 144})
        for (int64_t width : {1, 4, 7})
          for (bool extreme : {false, true}) check_depthwise(*table, w, channels, width, extreme);
}

TEST(DepthwiseI8, wide_rows_and_large_windows_are_exact) {
  for (const KernelTable* table : tables()) {
    check_depthwise(*table, {3, 3, 1, 1}, 20, 150, false);
    check_depthwise(*table, {3, 3, 2, 1}, 20, 150, false);
    check_depthwise(*table, {9, 5, 1, 1}, 20, 40, false);
    check_depthwise(*table, {3, 65, 1, 1}, 20, 9, false);
    check_depthwise(*table, {300, 1, 1, 1}, 20, 3, false);
    check_depthwise(*table, {2, 3, 1, 50}, 20, 9, false);
  }
}

// A zero point beyond a byte, scales that leave 32 bits on either side.
TEST(DotI8, results_are_limited_wherever_they_are) {
  for (const KernelTable* table : tables())
    for (DotI8Finish finish : {DotI8Finish::i8, DotI8Finish::u8})
      for (float scale : {1e-3f, 1.f, 1e9f, -1e9f})
        for (LimitI8 to : {LimitI8{-300, -120, 90}, LimitI8{900, 3, 100}}) {
          if (finish == DotI8Finish::u8) to.low = std::max(to.low, 0);
          int8_t a[4] = {1, 0, 0, 0};
          std::vector<int8_t> b(2 * 64, 0), c(16);
          std::vector<int32_t> bias;
          for (int n = 0; n < 16; n++) bias.push_back((n - 8) * 40000);
          const int8_t* row = a;
          DotI8 d = {};
          d.rows = &row;
          d.a_signed = true;
          d.b = b.data();
          d.panel_stride = 128;
          d.segments = 1;
          d.length = 4;
          d.columns = 16;
          d.bias = bias.data();
          d.finish = finish;
          d.scale = &scale;
          d.to = to;
          d.c = c.data();
          table->dot_i8.kernel[0][0](d);
          for (int n = 0; n < 16; n++) {
            double want = std::nearbyint(double(float(bias[size_t(n)]) * scale)) + to.zero;
            want = std::min(std::max(want, double(to.low)), double(to.high));
            int got = finish == DotI8Finish::u8 ? uint8_t(c[size_t(n)]) : c[size_t(n)];
            EXPECT_EQ(got, int(want)) << isa_name(table->isa) << " column " << n << " of " << scale;
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
