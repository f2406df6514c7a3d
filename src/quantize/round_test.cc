#include "quantize/round.h"

#include <gtest/gtest.h>

#include <Eigen/Dense>

#include <cmath>
#include <random>

namespace sconce {
namespace {

std::vector<float> drawn(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw(0, 1);
  std::vector<float> numbers(count);
  for (float& x : numbers) x = draw(random);
  return numbers;
}

// What the layer's results on `inputs` change by, squared and summed.
double output_error(const std::vector<float>& weights, const RoundedRows& rounded,
                    const std::vector<float>& inputs) {
  int64_t columns = rounded.columns;
  double sum = 0;
  for (size_t x = 0; x < inputs.size() / size_t(columns); x++)
    for (int64_t r = 0; r < rounded.rows; r++) {
      double y = 0;
      for (int64_t c = 0; c < columns; c++)
        y += double(inputs[x * size_t(columns) + size_t(c)]) *
             (double(weights[size_t(r * columns + c)]) - double(rounded.number(r, c)));
      sum += y * y;
    }
  return sum;
}

TEST(RoundRows, is_within_half_a_step_at_8_bits) {
  std::vector<float> weights = drawn(5 * 33, 1);
  RoundedRows rounded = round_rows(weights, 5, 33, 8, 0);
  ASSERT_EQ(rounded.scales.size(), 5u);
  for (int64_t r = 0; r < 5; r++)
    for (int64_t c = 0; c < 33; c++)
      EXPECT_LE(std::fabs(weights[size_t(r * 33 + c)] - rounded.number(r, c)),
                0.5001f * rounded.scales[size_t(r)]);
}

TEST(RoundRows, keeps_rows_of_zeros_and_of_what_is_almost_zero) {
  std::vector<float> weights = {0, 0, 0, 0, 1e-30f, -1e-38f, 0, 0, 3e38f, -3e38f, 1, 0};
  for (int bits : {8, 4}) {
    RoundedRows rounded = round_rows(weights, 3, 4, bits, 0);
    for (float scale : rounded.scales) {
      EXPECT_GT(scale, 1e-30f);
      EXPECT_TRUE(std::isfinite(scale));
    }
    for (int64_t c = 0; c < 4; c++) EXPECT_EQ(rounded.number(0, c), 0);
  }
}

TEST(RoundRows, uses_4_bits_and_a_scale_for_each_group) {
  std::vector<float> weights = drawn(4 * 64, 2);
  for (size_t i = 0; i < 32; i++) weights[i] *= 100;
  RoundedRows rounded = round_rows(weights, 4, 64, 4, 32);
  ASSERT_EQ(rounded.scales.size(), 8u);
  EXPECT_GT(rounded.scales[0], 20 * rounded.scales[1]);
  for (int8_t q : rounded.q) {
    EXPECT_GE(q, -8);
    EXPECT_LE(q, 7);
  }
}

TEST(RoundRowsForInputs, changes_results_on_correlated_inputs_less_than_the_nearest_does) {
  constexpr int64_t kRows = 24, kColumns = 64, kGroup = 32;
  std::vector<float> weights = drawn(kRows * kColumns, 3), noise = drawn(500 * kColumns, 4);
  std::vector<float> inputs(noise.size());
  for (size_t x = 0; x < 500; x++) {  // neighbours are alike
    float sum = 0;
    for (size_t c = 0; c < kColumns; c++)
      inputs[x * kColumns + c] = sum = 0.9f * sum + noise[x * kColumns + c];
  }
  InputProducts products;
  products.columns = kColumns;
  products.add(inputs);
  std::optional<ColumnShares> shares = column_shares(products);
  ASSERT_TRUE(shares);
  ThreadPool threads(2);
  RoundedRows best = round_rows_for_inputs(weights, kRows, kColumns, 4, kGroup, *shares, threads);
  RoundedRows nearest = round_rows(weights, kRows, kColumns, 4, kGroup);
  EXPECT_LT(output_error(weights, best, inputs), 0.5 * output_error(weights, nearest, inputs));
}

// GPTQ as it is written down: the inverse of the sums, its Cholesky factor's rows, each error
// spread over all columns that are left.
RoundedRows by_the_book(const std::vector<float>& weights, int64_t rows, int64_t k, int64_t group,
                        const InputProducts& products) {
  Eigen::MatrixXd h(k, k);
  for (int64_t i = 0; i < k; i++)
    for (int64_t j = i; j < k; j++) h(i, j) = h(j, i) = products.sums[size_t(i * k + j)];
  h.diagonal().array() += 0.01 * h.diagonal().mean();
  Eigen::MatrixXd u = h.inverse().llt().matrixU();
  RoundedRows out = round_rows(weights, rows, k, 4, group);
  for (int64_t r = 0; r < rows; r++) {
    std::vector<float> w(weights.begin() + r * k, weights.begin() + (r + 1) * k);
    for (int64_t i = 0; i < k; i++) {
      int64_t at = r * (k / group) + i / group;
      if (i % group == 0)
        out.scales[size_t(at)] =
            round_rows(Span<const float>(w).subspan(size_t(i), size_t(group)), 1, group, 4, group)
                .scales[0];
      float scale = out.scales[size_t(at)],
            q = std::clamp(std::rint(w[size_t(i)] / scale), -8.f, 7.f);
      out.q[size_t(r * k + i)] = int8_t(q);
      double error = (double(w[size_t(i)]) - double(q * scale)) / u(i, i);
      for (int64_t j = i + 1; j < k; j++) w[size_t(j)] -= float(error * u(i, j));
    }
  }
  return out;
}

TEST(RoundRowsForInputs, gives_what_the_book_gives_across_blocks_and_threads) {
  constexpr int64_t kRows = 150, kColumns = 384;
  std::vector<float> weights = drawn(kRows * kColumns, 6), inputs = drawn(1000 * kColumns, 7);
  for (size_t i = 1; i < inputs.size(); i++) inputs[i] += 0.7f * inputs[i - 1];
  InputProducts products;
  products.columns = kColumns;
  products.add(inputs);
  std::optional<ColumnShares> shares = column_shares(products);
  ASSERT_TRUE(shares);
  for (int64_t group : {32, 192}) {
    RoundedRows book = by_the_book(weights, kRows, kColumns, group, products);
    ThreadPool one(1), three(3);
    RoundedRows ours = round_rows_for_inputs(weights, kRows, kColumns, 4, group, *shares, one);
    RoundedRows threaded =
        round_rows_for_inputs(weights, kRows, kColumns, 4, group, *shares, three);
    EXPECT_EQ(ours.q, threaded.q);
    EXPECT_EQ(ours.scales, threaded.scales);
    // Ties and the last bits of sums are rounded otherwise here and there, and what follows in a
    // row with them.
    int64_t other = 0;
    for (size_t i = 0; i < book.q.size(); i++) other += book.q[i] != ours.q[i];
    EXPECT_LT(other, kRows * kColumns / 50) << "group " << group;
    EXPECT_NEAR(output_error(weights, ours, inputs) / output_error(weights, book, inputs), 1, 0.01);
  }
}

TEST(RoundRowsForInputs, needs_inputs_that_tell_something) {
  InputProducts none, zeros, broken;
  none.columns = zeros.columns = broken.columns = 8;
  zeros.add(std::vector<float>(16, 0.0f));
  broken.add(std::vector<float>(16, NAN));
  for (const InputProducts* products : {&none, &zeros, &broken})
    EXPECT_FALSE(column_shares(*products));
}

}  // namespace
}  // namespace sconce
