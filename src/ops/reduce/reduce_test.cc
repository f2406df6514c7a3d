#include <cmath>

#include "ops/reduce/kernel_call.h"

namespace sconce {
namespace {

using Floats = std::vector<float>;
using Integers = std::vector<int64_t>;
using Sizes = std::vector<int32_t>;

TEST(sum, adds_over_the_given_dimensions_only) {
  KernelCall call("aten::sum.IntList_out");
  call.floats({2, 3}, {1, 2, 3, 4, 5, 6}).integers({-1}).boolean(false).none();
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  EXPECT_EQ(call.result(), (Floats{6, 15}));
}

TEST(sum, keeps_dimensions_when_asked) {
  KernelCall call("aten::sum.IntList_out");
  call.floats({2, 3}, {1, 2, 3, 4, 5, 6}).integers({0}).boolean(true).none();
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.sizes(), (Sizes{1, 3}));
  EXPECT_EQ(call.result(), (Floats{5, 7, 9}));
}

TEST(sum, of_no_listed_dimension_is_over_all) {
  KernelCall call("aten::sum.IntList_out");
  call.floats({2, 2}, {1, 2, 3, 4}).integers({}).boolean(false).none();
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.sizes(), Sizes{});
  EXPECT_EQ(call.result(), Floats{10});
}

TEST(sum, follows_logical_order_of_a_channels_last_tensor) {
  KernelCall call("aten::sum.IntList_out");
  // Logical [1, 2, 1, 2] with channels innermost in memory.
  call.floats({1, 2, 1, 2}, {1, 10, 2, 20}, {0, 2, 3, 1}).integers({3}).boolean(false).none();
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result(), (Floats{3, 30}));
}

TEST(sum, of_small_integers_is_formed_in_64_bits) {
  KernelCall call("aten::sum.IntList_out");
  call.tensor<uint8_t>(DType::u8, {3}, {200, 200, 200}).none().boolean(false).none();
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.out().dtype, DType::i64);
  EXPECT_EQ(call.result<int64_t>(), Integers{600});
}

TEST(sum, of_nothing_is_zero) {
  KernelCall call("aten::sum.IntList_out");
  call.floats({0, 2}, {}).integers({0}).boolean(false).none();
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result(), (Floats{0, 0}));
}

TEST(sum, stays_exact_over_a_million_tenths) {
  KernelCall call("aten::sum.IntList_out");
  call.floats({1000000}, Floats(1000000, 0.1f)).none().boolean(false).none();
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_NEAR(call.result()[0], 100000.0015, 0.02);
}

TEST(sum, rejects_a_dimension_given_twice) {
  KernelCall call("aten::sum.IntList_out");
  call.floats({2, 2}, {1, 2, 3, 4}).integers({1, -1}).boolean(false).none();
  EXPECT_EQ(call.run(), Code::invalid_argument);
  EXPECT_NE(call.text().find("more than once"), std::string::npos) << call.text();
}

TEST(mean, of_integers_needs_a_floating_type) {
  KernelCall call("aten::mean.out");
  call.tensor<int64_t>(DType::i64, {2}, {1, 2}).none().boolean(false).none();
  EXPECT_EQ(call.run(), Code::invalid_argument);
  KernelCall typed("aten::mean.out");
  typed.tensor<int64_t>(DType::i64, {2}, {1, 2}).none().boolean(false).integer(int(DType::f32));
  ASSERT_EQ(typed.run(), Code::ok);
  EXPECT_EQ(typed.result(), Floats{1.5f});
}

TEST(amax, gives_nan_when_there_is_one) {
  KernelCall call("aten::amax.out");
  call.floats({2, 2}, {1, NAN, 3, 2}).integers({1}).boolean(false);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_TRUE(std::isnan(call.result()[0]));
  EXPECT_EQ(call.result()[1], 3);
}

TEST(amax, of_an_empty_row_is_refused) {
  KernelCall call("aten::amax.out");
  call.floats({0, 2}, {}).integers({0}).boolean(false);
  EXPECT_EQ(call.run(), Code::invalid_argument);
}

TEST(argmax, takes_the_first_of_equals_and_the_first_nan) {
  KernelCall call("aten::argmax.out");
  call.floats({3, 3}, {1, 5, 5, NAN, 9, NAN, -INFINITY, -INFINITY, -INFINITY}).integer(1).boolean(false);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result<int64_t>(), (Integers{1, 0, 0}));
}

TEST(any, with_an_empty_list_only_converts) {
  KernelCall call("aten::any.dims_out");
  call.floats({3}, {0, 2, NAN}).integers({}).boolean(false);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result<uint8_t>(), (std::vector<uint8_t>{0, 1, 1}));
}

TEST(variance, divides_by_the_corrected_count) {
  KernelCall call("aten::var.correction_out");
  call.floats({4}, {1, 2, 3, 4}).none().integer(1).boolean(false);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_FLOAT_EQ(call.result()[0], 5.0f / 3);
}

TEST(variance, survives_a_large_mean) {
  KernelCall call("aten::var.correction_out");
  call.floats({4}, {1e6f + 1, 1e6f + 2, 1e6f + 3, 1e6f + 4}).none().integer(0).boolean(false);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_FLOAT_EQ(call.result()[0], 1.25f);
}

TEST(linalg_vector_norm, of_negative_order_sees_negative_zero_as_zero) {
  KernelCall call("aten::linalg_vector_norm.out");
  call.floats({2}, {-0.0f, 4}).floating(-1).none().boolean(false).none();
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result(), Floats{0});
}

TEST(logsumexp, of_all_minus_infinity_is_minus_infinity) {
  KernelCall call("aten::logsumexp.out");
  call.floats({2, 2}, {-INFINITY, -INFINITY, 1000, 1000}).integers({1}).boolean(false);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result()[0], -INFINITY);
  EXPECT_FLOAT_EQ(call.result()[1], 1000 + std::log(2.0f));
}

TEST(cumsum, runs_across_block_borders) {
  KernelCall call("aten::cumsum.out");
  call.floats({300}, Floats(300, 1)).integer(0).none();
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result()[127], 128);
  EXPECT_EQ(call.result()[128], 129);
  EXPECT_EQ(call.result()[299], 300);
}

TEST(cummax, takes_the_last_of_equals_and_keeps_nan) {
  KernelCall call("aten::cummax.out");
  call.floats({5}, {1, 1, 0, NAN, 7}).integer(0);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result<int64_t>(1), (Integers{0, 1, 1, 3, 3}));
  EXPECT_TRUE(std::isnan(call.result()[4]));
}

TEST(cumsum, rejects_a_dimension_out_of_range) {
  KernelCall call("aten::cumsum.out");
  call.floats({2}, {1, 2}).integer(1).none();
  EXPECT_EQ(call.run(), Code::invalid_argument);
}

}  // namespace
}  // namespace sconce
