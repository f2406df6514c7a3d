#include "quantize/round.h"

#include <gtest/gtest.h>

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
  RoundedRows best;
  ASSERT_TRUE(round_rows_for_inputs(weights, kRows, kColumns, 4, kGroup, products, &best));
  RoundedRows nearest = round_rows(weights, kRows, kColumns, 4, kGroup);
  EXPECT_LT(output_error(weights, best, inputs), 0.5 * output_error(weights, nearest, inputs));
}

TEST(RoundRowsForInputs, falls_back_to_the_nearest_without_inputs_that_tell_anything) {
  std::vector<float> weights = drawn(2 * 8, 5);
  InputProducts none, zeros;
  none.columns = zeros.columns = 8;
  zeros.add(std::vector<float>(16, 0.0f));
  RoundedRows nearest = round_rows(weights, 2, 8, 4, 0);
  for (const InputProducts* products : {&none, &zeros}) {
    RoundedRows out;
    EXPECT_FALSE(round_rows_for_inputs(weights, 2, 8, 4, 0, *products, &out));
    EXPECT_EQ(out.q, nearest.q);
  }
}

}  // namespace
}  // namespace sconce
