#include "quantize/observe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace sconce {
namespace {

Observed observed(const std::vector<float>& numbers) {
  Observed made;
  EXPECT_TRUE(made.add(numbers));
  made.histogram.start(std::min(made.min, 0.0), std::max(made.max, 0.0));
  made.histogram.add(numbers);
  return made;
}

// Mean square of what rounding changes.
double square_error(const std::vector<float>& numbers, const Range& range) {
  double sum = 0;
  for (float x : numbers) {
    double q = std::clamp(std::rint(x / range.scale) + double(range.zero), -128.0, 127.0);
    double e = x - (q - double(range.zero)) * range.scale;
    sum += e * e;
  }
  return sum / double(numbers.size());
}

std::vector<float> normal(size_t count, float outlier) {
  std::mt19937 random(5);
  std::normal_distribution<float> draw(0, 1);
  std::vector<float> numbers(count);
  for (float& x : numbers) x = draw(random);
  numbers[count / 2] = outlier;
  return numbers;
}

TEST(Range, holds_its_ends_and_zero_exactly) {
  for (auto [low, high] : {std::pair{-1.0, 2.0}, {0.5, 2.0}, {-3.0, -1.0}, {0.0, 6.0}}) {
    Range range = range_of(low, high);
    double first = (-128 - double(range.zero)) * range.scale,
           last = (127 - double(range.zero)) * range.scale;
    EXPECT_LE(first, std::min(low, 0.0) + range.scale);
    EXPECT_GE(last, std::max(high, 0.0) - range.scale);
    EXPECT_GE(range.zero, -128);
    EXPECT_LE(range.zero, 127);
  }
}

TEST(Range, of_nothing_but_zeros_has_a_scale_above_zero) {
  for (double x : {0.0, 1e-30, -1e-45}) EXPECT_GT(range_of(x, x).scale, 0) << x;
  EXPECT_TRUE(std::isfinite(range_of(-3e38, 3e38).scale));
}

TEST(Observed, tells_where_a_number_is_not_finite) {
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    Observed made;
    std::vector<float> numbers = {1, 2, bad, 3};
    EXPECT_FALSE(made.add(numbers));
    EXPECT_EQ(made.bad_index, 2u);
  }
}

TEST(Observed, keeps_mean_and_magnitude_of_each_channel_over_samples) {
  Observed made;
  std::vector<float> first = {1, 3, -10, -20}, second = {5, 7, 0, 30};  // [1, 2 channels, 2]
  made.add_channels(first, 2, 2);
  made.add_channels(second, 2, 2);
  EXPECT_DOUBLE_EQ(made.channel_mean[0], 4);
  EXPECT_DOUBLE_EQ(made.channel_mean[1], 0);
  EXPECT_DOUBLE_EQ(made.channel_max[0], 7);
  EXPECT_DOUBLE_EQ(made.channel_max[1], 30);
}

TEST(ChooseRange, min_max_holds_everything) {
  std::vector<float> numbers = normal(10000, 100);
  Range range = choose_range(observed(numbers), Observer::min_max, 99.99);
  EXPECT_NEAR((127 - double(range.zero)) * range.scale, 100, 1);
}

TEST(ChooseRange, least_square_error_gives_less_than_the_whole_range_when_there_is_an_outlier) {
  std::vector<float> numbers = normal(100000, 40);
  Observed seen = observed(numbers);
  double whole = square_error(numbers, choose_range(seen, Observer::min_max, 99.99));
  double best = square_error(numbers, choose_range(seen, Observer::mse, 99.99));
  EXPECT_LT(best, 0.9 * whole);
}

TEST(ChooseRange, no_observer_is_far_worse_than_the_whole_range) {
  std::vector<float> numbers = normal(100000, 4);
  std::vector<float> relu = numbers;
  for (float& x : relu) x = std::max(x, 0.0f);
  for (const auto& some : {numbers, relu}) {
    Observed seen = observed(some);
    double whole = square_error(some, choose_range(seen, Observer::min_max, 99.99));
    for (Observer observer :
         {Observer::moving_average, Observer::percentile, Observer::kl, Observer::mse})
      EXPECT_LT(square_error(some, choose_range(seen, observer, 99.99)), 3 * whole)
          << int(observer);
  }
}

TEST(ChooseRange, percentile_leaves_the_share_out_that_it_says) {
  std::vector<float> numbers;
  for (int i = 1; i <= 10000; i++) numbers.push_back(float(i) / 10000);
  Range range = choose_range(observed(numbers), Observer::percentile, 90);
  EXPECT_NEAR((127 - double(range.zero)) * range.scale, 0.95, 0.01);
}

TEST(Observer, of_unknown_name_is_an_error_that_lists_the_known) {
  auto found = find_observer("magic");
  ASSERT_FALSE(found.ok());
  EXPECT_NE(found.error().text.find("percentile"), std::string::npos);
}

}  // namespace
}  // namespace sconce
