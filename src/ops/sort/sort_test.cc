#include <cmath>

#include "ops/reduce/kernel_call.h"

namespace sconce {
namespace {

using Floats = std::vector<float>;
using Integers = std::vector<int64_t>;
using Sizes = std::vector<int32_t>;

TEST(sort, is_stable_and_puts_nan_last) {
  KernelCall call("aten::sort.values");
  call.floats({5}, {2, NAN, 1, 2, 1}).integer(-1).boolean(false);
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  EXPECT_EQ(call.result<int64_t>(1), (Integers{2, 4, 0, 3, 1}));
}

TEST(sort, keeps_the_order_of_equals_when_descending) {
  KernelCall call("aten::sort.values");
  call.floats({5}, {2, NAN, 1, 2, 1}).integer(0).boolean(true);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result<int64_t>(1), (Integers{1, 0, 3, 2, 4}));
}

TEST(sort, orders_rows_longer_than_a_block) {
  Floats x(1000);
  for (size_t i = 0; i < x.size(); i++) x[i] = float((i * 7919) % 1000);
  KernelCall call("aten::sort.values");
  call.floats({1000}, x).integer(0).boolean(false);
  ASSERT_EQ(call.run(), Code::ok);
  for (int i = 0; i < 1000; i++) ASSERT_EQ(call.result()[size_t(i)], float(i));
}

TEST(topk, takes_the_largest_along_an_outer_dimension) {
  KernelCall call("aten::topk.values");
  call.floats({3, 2}, {1, 6, 3, 4, 5, 2}).integer(2).integer(0).boolean(true).boolean(true);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result(), (Floats{5, 6, 3, 4}));
  EXPECT_EQ(call.result<int64_t>(1), (Integers{2, 0, 1, 1}));
}

TEST(topk, rejects_more_than_there_are) {
  KernelCall call("aten::topk.values");
  call.floats({3}, {1, 2, 3}).integer(4).integer(0).boolean(true).boolean(true);
  EXPECT_EQ(call.run(), Code::invalid_argument);
}

TEST(median, is_the_lower_middle_or_the_first_nan) {
  KernelCall call("aten::median.dim_values");
  call.floats({2, 4}, {4, 1, 3, 2, 1, NAN, 2, NAN}).integer(1).boolean(false);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result()[0], 2);
  EXPECT_EQ(call.result<int64_t>(1), (Integers{3, 1}));
}

TEST(mode, takes_the_smallest_of_the_most_frequent) {
  KernelCall call("aten::mode.values");
  call.tensor<int64_t>(DType::i64, {5}, {3, 2, 2, 3, 1}).integer(0).boolean(false);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result<int64_t>(0), Integers{2});
}

TEST(unique, gives_values_numbers_and_counts) {
  KernelCall call("aten::_unique2.out");
  call.tensor<int64_t>(DType::i64, {2, 3}, {3, 1, 3, 2, 1, 1}).boolean(true).boolean(true).boolean(true);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result<int64_t>(0), (Integers{1, 2, 3}));
  EXPECT_EQ(call.result<int64_t>(1), (Integers{2, 0, 2, 1, 0, 0}));
  EXPECT_EQ(call.result<int64_t>(2), (Integers{3, 1, 2}));
}

TEST(unique, compares_whole_slices) {
  KernelCall call("aten::unique_dim.out");
  call.floats({3, 2}, {2, 1, 1, 5, 2, 1}).integer(0).boolean(true).boolean(true).boolean(true);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.sizes(0), (Sizes{2, 2}));
  EXPECT_EQ(call.result(), (Floats{1, 5, 2, 1}));
  EXPECT_EQ(call.result<int64_t>(1), (Integers{1, 0, 1}));
}

TEST(histc, counts_the_upper_end_in_the_last_bin) {
  KernelCall call("aten::histc.out");
  call.floats({5}, {1, 2, 3, 3, 9}).integer(4).floating(0).floating(0);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result(), (Floats{2, 2, 0, 1}));
}

TEST(bucketize, tells_the_sides_of_a_boundary_apart) {
  for (bool right : {false, true}) {
    KernelCall call("aten::bucketize.Tensor_out");
    call.floats({3}, {0, 2, 5}).floats({2}, {2, 4}).boolean(false).boolean(right);
    ASSERT_EQ(call.run(), Code::ok);
    EXPECT_EQ(call.result<int64_t>(), (Integers{0, right ? 1 : 0, 2}));
  }
}

TEST(searchsorted, rejects_a_sorter_that_points_outside) {
  KernelCall call("aten::searchsorted.Tensor_out");
  call.floats({2}, {1, 2}).floats({1}, {1.5f}).boolean(false).boolean(false).none();
  call.tensor<int64_t>(DType::i64, {2}, {7, 7});
  EXPECT_EQ(call.run(), Code::invalid_argument);
}

}  // namespace
}  // namespace sconce
