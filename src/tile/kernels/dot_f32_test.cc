// The f32 dot kernels of every set that runs here, against a plain loop over std::fma.
#include "tensor/half.h"
#include "tile/kernels/blocking.h"
#include "tile/kernels/kernels_test.h"

namespace sconce::tile {
namespace {

struct Case {
  int rows, panels;
  int64_t segments, length;
  int columns;
  DotInit init;
  bool residual;
  float lo, hi;
};

// Values of one case, with everything the kernel must not touch marked.
struct Data {
  static constexpr float kMark = 12345;
  std::vector<float> a, b, bias, c, residual;
  std::vector<const float*> rows;
  int64_t c_stride, panel_stride;

  Data(const Case& x, uint32_t seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-2, 2);
    auto fill = [&](std::vector<float>& v, size_t count) {
      v.resize(count);
      for (float& f : v) f = uniform(random);
    };
    fill(a, size_t(x.rows * x.segments * x.length));
    panel_stride = x.segments * x.length * 16 + 16;
    fill(b, size_t(panel_stride * x.panels));
    for (float& f : b) f = to_float(to_f16(f));
    for (float& f : b) f = to_float(to_bf16(f));
    fill(bias, size_t(x.columns));
    c_stride = x.panels * 16 + 3;
    fill(c, size_t(c_stride * x.rows));
    fill(residual, size_t(c_stride * x.rows));
    for (int r = 0; r < x.rows; r++)
      for (int64_t n = x.columns; n < c_stride; n++) c[size_t(r * c_stride + n)] = kMark;
    // Rows in no order of memory.
    for (int64_t i = 0; i < x.segments * x.rows; i++)
      rows.push_back(a.data() + (x.segments * x.rows - 1 - i) * x.length);
  }

  DotF32 call(const Case& x, float* to, const void* weights) const {
    DotF32 d = {};
    d.rows = rows.data();
    d.b = weights;
    d.panel_stride = panel_stride;
    d.segments = x.segments;
    d.length = x.length;
    d.c = to;
    d.c_stride = c_stride;
    d.columns = x.columns;
    d.init = x.init;
    d.bias = bias.data();
    d.residual = x.residual ? residual.data() : nullptr;
    d.residual_stride = c_stride;
    d.lo = x.lo;
    d.hi = x.hi;
    return d;
  }

  std::vector<float> expected(const Case& x, bool fused) const {
    std::vector<float> result = c;
    for (int r = 0; r < x.rows; r++)
      for (int n = 0; n < x.columns; n++) {
        float& to = result[size_t(r * c_stride + n)];
        float sum = x.init == DotInit::zero ? 0 : x.init == DotInit::bias ? bias[size_t(n)] : to;
        for (int64_t s = 0; s < x.segments; s++)
          for (int64_t k = 0; k < x.length; k++) {
            float left = rows[size_t(s * x.rows + r)][k];
            float right = b[size_t(n / 16 * panel_stride + (s * x.length + k) * 16 + n % 16)];
            if (fused) {
              sum = std::fma(left, right, sum);
            } else {
              volatile float product = left * right;
              sum = product + sum;
            }
          }
        if (x.residual) sum += residual[size_t(r * c_stride + n)];
        sum = x.lo > sum ? x.lo : sum;
        to = x.hi < sum ? x.hi : sum;
      }
    return result;
  }
};

enum class Weights { f32, f16, bf16 };

void check(const KernelTable& table, Weights weights, const Case& x, uint32_t seed) {
  const DotF32Kernels& kernels = weights == Weights::f32   ? table.dot_f32
                                 : weights == Weights::f16 ? table.dot_f16
                                                           : table.dot_bf16;
  DotF32Kernel kernel = kernels.kernel[x.rows - 1][x.panels - 1];
  if (!kernel) return;
  Data data(x, seed);
  std::vector<uint16_t> half;
  for (float f : data.b) half.push_back(weights == Weights::f16 ? to_f16(f).bits : to_bf16(f).bits);
  const void* b = weights == Weights::f32 ? static_cast<const void*>(data.b.data()) : half.data();
  std::vector<float> got = data.c;
  kernel(data.call(x, got.data(), b));
  expect_same_bits(got, data.expected(x, table.isa != Isa::sse2),
                   std::string(isa_name(table.isa)) + " " + std::to_string(x.rows) + "x" +
                       std::to_string(x.panels) + " columns " + std::to_string(x.columns) +
                       " length " + std::to_string(x.length));
}

TEST(DotF32, every_tile_gives_the_bits_of_the_plain_loop) {
  const float kInfinity = INFINITY;
  for (const KernelTable* table : tables())
    for (Weights weights : {Weights::f32, Weights::f16, Weights::bf16})
      for (int rows = 1; rows <= kDotRowsMax; rows++)
        for (int panels = 1; panels <= kDotPanelsMax; panels++) {
          int full = panels * 16;
          uint32_t seed = uint32_t(rows * 100 + panels);
          for (int columns : {full, full - 1, full - 9, full - 15})
            for (DotInit init : {DotInit::zero, DotInit::bias, DotInit::c})
              check(*table, weights,
                    {rows, panels, 2, 5, columns, init, columns % 2 == 1, -1.5f, 3.f}, seed++);
          check(*table, weights,
                {rows, panels, 1, 131, full, DotInit::bias, true, -kInfinity, kInfinity}, seed++);
          check(*table, weights, {rows, panels, 1, 1, full, DotInit::zero, false, 0, kInfinity},
                seed++);
        }
}

TEST(DotF32, without_steps_the_initial_value_is_the_result) {
  for (const KernelTable* table : tables()) {
    check(*table, Weights::f32, {1, 1, 0, 7, 16, DotInit::bias, false, -9, 9}, 1);
    check(*table, Weights::f32, {1, 1, 3, 0, 16, DotInit::c, true, -9, 9}, 2);
  }
}

TEST(DotF32, nan_and_infinity_reach_the_result_through_the_clamp) {
  for (const KernelTable* table : tables()) {
    float a[2] = {1, 1}, b[32] = {}, c[16];
    b[0] = NAN;
    b[1] = INFINITY;
    b[2] = INFINITY;
    b[18] = -INFINITY;
    b[3] = -0.f;
    const float* row = a;
    DotF32 d = {};
    d.rows = &row;
    d.b = b;
    d.segments = 1;
    d.length = 2;
    d.c = c;
    d.c_stride = d.columns = 16;
    d.lo = 0;
    d.hi = 6;
    table->dot_f32.kernel[0][0](d);
    EXPECT_TRUE(std::isnan(c[0])) << isa_name(table->isa);
    EXPECT_EQ(c[1], 6.f);
    EXPECT_TRUE(std::isnan(c[2]));
    EXPECT_EQ(c[3], 0.f);
  }
}

TEST(DotF32, every_number_of_rows_up_to_the_tile_has_a_kernel) {
  for (const KernelTable* table : tables())
    for (const DotF32Kernels* kernels : {&table->dot_f32, &table->dot_f16, &table->dot_bf16}) {
      ASSERT_GT(kernels->tile_count, 0);
      for (int i = 0; i < kernels->tile_count; i++)
        for (int r = 1; r <= kernels->tiles[i].rows; r++)
          for (int p = 1; p <= kernels->tiles[i].panels; p++)
            EXPECT_NE(kernels->kernel[r - 1][p - 1], nullptr) << isa_name(table->isa) << r << p;
    }
}

TEST(DotF32, any_blocking_gives_the_same_bits) {
  const int64_t m = 23, n = 70, k = 150, panels = pieces(n, kPanel);
  std::mt19937 random(7);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> a(size_t(m * k)), b(size_t(panels * k * 16));
  for (float& f : a) f = uniform(random);
  for (float& f : b) f = uniform(random);
  std::vector<float> first;
  for (const KernelTable* table : tables()) {
    if (table->isa == Isa::sse2) continue;  // rounds twice
    for (int t = 0; t < table->dot_f32.tile_count; t++)
      for (int64_t k_block : {150, 64, 7}) {
        DotTile tile = table->dot_f32.tiles[t];
        std::vector<float> c(size_t(m * n));
        std::vector<const float*> rows(kDotRowsMax);
        DotF32 d = {};
        d.rows = rows.data();
        d.panel_stride = k * 16;
        d.segments = 1;
        d.c_stride = n;
        d.lo = -INFINITY;
        d.hi = INFINITY;
        for (int64_t k0 = 0; k0 < k; k0 += k_block)
          for (int64_t m0 = 0; m0 < m; m0 += tile.rows)
            for (int64_t p0 = 0; p0 < panels; p0 += tile.panels) {
              int64_t r_count = std::min<int64_t>(tile.rows, m - m0);
              int64_t p_count = std::min<int64_t>(tile.panels, panels - p0);
              for (int64_t r = 0; r < r_count; r++) rows[size_t(r)] = &a[size_t((m0 + r) * k + k0)];
              d.length = std::min(k_block, k - k0);
              d.init = k0 ? DotInit::c : DotInit::zero;
              d.b = &b[size_t(p0 * d.panel_stride + k0 * 16)];
              d.c = &c[size_t(m0 * n + p0 * 16)];
              d.columns = int32_t(std::min(n - p0 * 16, p_count * 16));
              table->dot_f32.kernel[r_count - 1][p_count - 1](d);
            }
        if (first.empty()) first = c;
        expect_same_bits(c, first, isa_name(table->isa));
      }
  }
}

TEST(DotBlocking, covers_any_shape_with_tiles_that_exist) {
  for (const KernelTable* table : tables())
    for (int64_t m : {1, 2, 7, 8, 9, 49, 197, 3136})
      for (int64_t n : {1, 16, 24, 144, 1000})
        for (int64_t k : {0, 1, 24, 2304}) {
          DotBlocking b = choose_blocking(table->dot_f32, m, n, k);
          ASSERT_NE(table->dot_f32.kernel[b.tile.rows - 1][b.tile.panels - 1], nullptr);
          EXPECT_GT(b.k, 0);
          EXPECT_GT(b.panels, 0);
        }
}

}  // namespace
}  // namespace sconce::tile
