// Convolution by depth, pooling, blending, transposition, packing and gathering.
#include "tile/kernels/kernels_test.h"

namespace sconce::tile {
namespace {

std::vector<float> noise(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-4, 4);
  std::vector<float> v(count);
  for (float& f : v) f = uniform(random);
  return v;
}

// Pixels that read `tap_count` of the rows of `x`, each at another place.
std::vector<const float*> make_taps(const std::vector<float>& x, int64_t channels, int64_t width,
                                    int64_t tap_count) {
  std::vector<const float*> taps;
  const int64_t places = int64_t(x.size()) / channels;
  for (int64_t i = 0; i < width * tap_count; i++)
    taps.push_back(&x[size_t(i * 7 % places * channels)]);
  return taps;
}

struct Window {
  int64_t down, across, step, spread;
};

// Against plain loops, with edges on all sides.
void check_depthwise(const KernelTable& table, const Window& w, int64_t channels, int64_t width) {
  const int64_t height = 3, pixel = channels + 2,
                columns = (width - 1) * w.step + (w.across - 1) * w.spread + 1;
  auto x = noise(size_t(height * w.down * columns * channels), 1);
  auto weights = noise(size_t(w.down * w.across * channels), 2);
  auto bias = noise(size_t(channels), 3), outside = noise(size_t(channels), 4);
  std::vector<WindowRow<float>> rows;
  for (int64_t r = 0; r < height * w.down; r++) {
    // A row of which nothing is inside, one of which all is, others of which ends are missing.
    const float* at = &x[size_t(r * columns * channels)];
    const int64_t cut = r * 5 % 3;
    rows.push_back(r == 1   ? WindowRow<float>{at, 0, 0}
                   : r == 2 ? WindowRow<float>{at, 0, INT64_MAX}
                            : WindowRow<float>{at, cut / 2, columns - cut});
  }
  std::vector<float> got(size_t(height * width * pixel), 99.f), want = got;
  std::vector<float*> out;
  for (int64_t y = 0; y < height; y++) out.push_back(&got[size_t(y * width * pixel)]);
  table.depthwise({{rows.data(), out.data(), pixel, outside.data(), channels, w.down, w.across,
                    w.step, w.spread, height, width, channels, weights.data(), channels},
                   channels % 2 ? bias.data() : nullptr,
                   -6,
                   6});
  for (int64_t y = 0; y < height; y++)
    for (int64_t p = 0; p < width; p++)
      for (int64_t c = 0; c < channels; c++) {
        float sum = channels % 2 ? bias[size_t(c)] : 0;
        for (int64_t r = 0; r < w.down; r++)
          for (int64_t k = 0; k < w.across; k++) {
            const WindowRow<float>& row = rows[size_t(y * w.down + r)];
            const int64_t column = p * w.step + k * w.spread;
            const float value = column >= row.begin && column < row.end
                                    ? row.at[column * channels + c]
                                    : outside[size_t(c)];
            const float weight = weights[size_t((r * w.across + k) * channels + c)];
            if (table.isa == Isa::sse2) {
              volatile float product = value * weight;
              sum = product + sum;
            } else {
              sum = std::fma(value, weight, sum);
            }
          }
        want[size_t((y * width + p) * pixel + c)] = std::fmin(std::fmax(sum, -6.f), 6.f);
      }
  expect_same_bits(got, want, isa_name(table.isa));
}

TEST(Depthwise, windows_have_the_bits_of_the_plain_loop_wherever_they_end) {
  for (const KernelTable* table : tables())
    for (const Window& w : {Window{1, 1, 1, 1},
                            {9, 1, 1, 1},
                            {3, 3, 1, 1},
                            {3, 3, 2, 1},
                            {5, 5, 1, 1},
                            {5, 5, 2, 1},
                            {3, 3, 1, 2},
                            {3, 3, 3, 1},
                            {2, 4, 3, 2},
                            {7, 7, 1, 1},
                            {2, 5, 1, 1},
                            {3, 2, 1, 1}})
      for (int64_t channels : {1, 3, 16, 33, 70, 144})
        for (int64_t width : {1, 3, 4, 7, 9, 14, 23, 24})
          check_depthwise(*table, w, channels, width);
}

TEST(Pool, largest_and_mean_of_the_taps) {
  for (const KernelTable* table : tables())
    for (int64_t channels : {1, 5, 16, 35}) {
      const int64_t width = 3, tap_count = 4;
      auto x = noise(size_t(50 * channels), 4);
      x[size_t(7 * channels)] = NAN;
      auto taps = make_taps(x, channels, width, tap_count);
      const float divisor[] = {4, 3, 2};
      std::vector<float> high(size_t(width * channels)), mean = high, want_high = high,
                                                         want_mean = high;
      table->max_pool({{taps.data(), tap_count, width, channels, high.data(), channels}, nullptr});
      table->average_pool(
          {{taps.data(), tap_count, width, channels, mean.data(), channels}, divisor});
      for (int64_t i = 0; i < width; i++)
        for (int64_t c = 0; c < channels; c++) {
          float best = taps[size_t(i * tap_count)][c], sum = 0;
          for (int64_t t = 0; t < tap_count; t++) {
            float value = taps[size_t(i * tap_count + t)][c];
            best = std::isnan(best) || std::isnan(value) ? NAN : std::fmax(best, value);
            sum += value;
          }
          want_high[size_t(i * channels + c)] = best;
          want_mean[size_t(i * channels + c)] = sum / divisor[i];
        }
      expect_same_bits(high, want_high, isa_name(table->isa));
      expect_same_bits(mean, want_mean, isa_name(table->isa));
    }
}

TEST(Blend, weighs_its_taps) {
  for (const KernelTable* table : tables()) {
    if (table->isa == Isa::sse2) continue;  // its fma is one in all but rare ties
    const int64_t width = 5, channels = 21;
    auto x = noise(size_t(30 * channels), 5), weights = noise(size_t(width * 4), 6);
    auto taps = make_taps(x, channels, width, 4);
    std::vector<float> got(size_t(width * channels)), want = got;
    table->blend({{taps.data(), 4, width, channels, got.data(), channels}, weights.data()});
    for (int64_t i = 0; i < width; i++)
      for (int64_t c = 0; c < channels; c++) {
        float sum = taps[size_t(i * 4)][c] * weights[size_t(i * 4)];
        for (int64_t t = 1; t < 4; t++)
          sum = std::fma(taps[size_t(i * 4 + t)][c], weights[size_t(i * 4 + t)], sum);
        want[size_t(i * channels + c)] = sum;
      }
    expect_same_bits(got, want, isa_name(table->isa));
  }
}

template <class T>
void check_transpose(void (*kernel)(const TransposeBlock&), const char* name) {
  for (int64_t rows : {1, 3, 16, 17, 40})
    for (int64_t columns : {1, 4, 15, 16, 33}) {
      const int64_t x_row = columns + 1, out_row = rows + 2;
      std::vector<T> x(size_t(rows * x_row)), out(size_t(columns * out_row), T(77)), want = out;
      for (size_t i = 0; i < x.size(); i++) x[i] = T(i * 3);
      kernel({rows, columns, x.data(), x_row, out.data(), out_row});
      for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
          want[size_t(c * out_row + r)] = x[size_t(r * x_row + c)];
      ASSERT_EQ(out, want) << name << " " << rows << "x" << columns;
    }
}

TEST(Transpose, any_shape_of_any_width) {
  for (const KernelTable* table : tables()) {
    check_transpose<float>(table->transpose_32, isa_name(table->isa));
    check_transpose<uint16_t>(table->transpose_16, isa_name(table->isa));
    check_transpose<uint8_t>(table->transpose_8, isa_name(table->isa));
  }
}

TEST(Pack, panels_of_rows_columns_and_any_strides) {
  for (const KernelTable* table : tables())
    for (int64_t k : {1, 5, 16, 35})
      for (int64_t n : {1, 15, 16, 17, 50})
        for (int kind = 0; kind < 3; kind++) {
          const int64_t k_stride = kind == 0 ? n + 1 : kind == 1 ? 1 : 2;
          const int64_t n_stride = kind == 0 ? 1 : kind == 1 ? k + 3 : 2 * k + 1;
          auto b = noise(size_t(k * k_stride + n * n_stride), 8);
          const int64_t panels = (n + 15) / 16, panel_stride = k * 16 + 4;
          std::vector<float> got(size_t(panels * panel_stride), 99.f), want = got;
          table->pack_f32({k, n, b.data(), k_stride, n_stride, got.data(), panel_stride});
          for (int64_t p = 0; p < panels; p++)
            for (int64_t i = 0; i < k; i++)
              for (int64_t j = 0; j < 16; j++)
                want[size_t(p * panel_stride + i * 16 + j)] =
                    p * 16 + j < n ? b[size_t(i * k_stride + (p * 16 + j) * n_stride)] : 0;
          expect_same_bits(got, want, isa_name(table->isa));
        }
}

TEST(Pack, panels_of_bytes_with_the_sums_of_columns) {
  std::mt19937 random(9);
  for (const KernelTable* table : tables())
    for (int64_t segments : {1, 2})
      for (int64_t length : {1, 4, 18, 35})
        for (int64_t n : {1, 15, 16, 17, 50})
          for (int kind = 0; kind < 4; kind++) {
            // Rows of columns, rows of steps that are whole quads apart or are not, anything.
            const int64_t k = segments * length;
            const int64_t k_stride = kind == 0 ? n + 1 : kind == 3 ? 2 : 1;
            const int64_t n_stride = kind == 0   ? 1
                                     : kind == 1 ? (k + 3) / 4 * 4
                                     : kind == 2 ? k + 3
                                                 : 2 * k + 1;
            std::vector<int8_t> b(size_t(k * k_stride + n * n_stride));
            for (int8_t& x : b) x = int8_t(random());
            const int64_t quads = (length + 3) / 4, panel = (segments * quads + 1) * 64 + 8;
            std::vector<int8_t> got(size_t((n + 15) / 16 * panel), 99), want = got;
            table->pack_i8({segments, length, n, b.data(), k_stride, n_stride, got.data(), panel});
            for (int64_t j = 0; j < (n + 15) / 16 * 16; j++) {
              int8_t* column = want.data() + j / 16 * panel;
              int32_t sum = 0;
              for (int64_t s = 0; s < segments; s++)
                for (int64_t i = 0; i < quads * 4; i++) {
                  const bool is_there = j < n && i < length;
                  const int8_t value =
                      is_there ? b[size_t((s * length + i) * k_stride + j * n_stride)] : int8_t(0);
                  column[(s * quads + i / 4) * 64 + j % 16 * 4 + i % 4] = value;
                  sum += value;
                }
              memcpy(column + segments * quads * 64 + j % 16 * 4, &sum, 4);
            }
            ASSERT_EQ(got, want) << isa_name(table->isa) << " " << segments << " x " << length
                                 << " steps, " << n << " columns, kind " << kind;
          }
}

TEST(Gather, copies_rows_by_index) {
  for (const KernelTable* table : tables()) {
    const uint8_t rows[] = "aaabbbcccddd";
    const int64_t index[] = {3, 0, 0, 2};
    uint8_t out[4 * 4 + 1] = "................";
    table->gather({4, 3, index, rows, 3, out, 4});
    EXPECT_STREQ(reinterpret_cast<const char*>(out), "ddd.aaa.aaa.ccc.");
  }
}

}  // namespace
}  // namespace sconce::tile
