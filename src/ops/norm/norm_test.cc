#include <cmath>

#include "ops/reduce/kernel_call.h"

namespace sconce {
namespace {

using Floats = std::vector<float>;
using Sizes = std::vector<int32_t>;

TEST(layer_norm, gives_mean_zero_and_variance_one) {
  KernelCall call("aten::native_layer_norm.out");
  call.floats({1, 2}, {1, 3}).integers({2}).none().none().floating(0);
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  EXPECT_EQ(call.result(0), (Floats{-1, 1}));
  EXPECT_EQ(call.result(1), Floats{2});
  EXPECT_EQ(call.result(2), Floats{1});
  EXPECT_EQ(call.sizes(1), (Sizes{1, 1}));
}

TEST(layer_norm, rejects_a_shape_that_is_not_the_inputs_end) {
  KernelCall call("sconce::layer_norm.out");
  call.floats({2, 3}, Floats(6)).integers({2}).none().none().floating(1e-5).boolean(false);
  EXPECT_EQ(call.run(), Code::invalid_argument);
  EXPECT_NE(call.text().find("2 where the input has size 3"), std::string::npos) << call.text();
}

TEST(rms_norm, without_eps_uses_the_step_at_one) {
  KernelCall call("sconce::rms_norm.out");
  call.floats({1, 2}, {0, 0}).integers({2}).none().none();
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result(), (Floats{0, 0}));
}

TEST(group_norm, normalizes_each_group_of_channels) {
  KernelCall call("sconce::group_norm.out");
  call.floats({1, 4}, {1, 3, 10, 30}).integer(2).none().none().floating(0).boolean(false);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result(), (Floats{-1, 1, -1, 1}));
}

TEST(group_norm, reads_channels_last_memory) {
  KernelCall call("sconce::group_norm.out");
  call.floats({1, 2, 1, 2}, {1, 10, 3, 30}, {0, 2, 3, 1});
  call.integer(2).none().none().floating(0).boolean(false);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result(), (Floats{-1, 1, -1, 1}));
}

TEST(group_norm, rejects_channels_that_do_not_divide) {
  KernelCall call("sconce::group_norm.out");
  call.floats({1, 3}, {1, 2, 3}).integer(2).none().none().floating(0).boolean(false);
  EXPECT_EQ(call.run(), Code::invalid_argument);
}

TEST(native_group_norm, rejects_sizes_that_overflow) {
  KernelCall call("aten::native_group_norm.out");
  call.floats({1, 2}, {1, 2}).none().none();
  call.integer(int64_t(1) << 62).integer(4).integer(4).integer(1).floating(0);
  EXPECT_EQ(call.run(), Code::invalid_argument);
}

TEST(batch_norm, uses_running_statistics_outside_of_training) {
  KernelCall call("aten::_native_batch_norm_legit_no_training.out");
  call.floats({1, 2}, {3, 8}).floats({2}, {2, 1}).floats({2}, {0, 1});
  call.floats({2}, {1, 2}).floats({2}, {4, 9}).floating(0.1).floating(0);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result(), (Floats{2, 3}));
  EXPECT_EQ(call.sizes(1), Sizes{0});
}

TEST(batch_norm, refuses_to_change_running_statistics_unseen) {
  KernelCall call("sconce::batch_norm.out");
  call.floats({2, 1}, {1, 3}).none().none().floats({1}, {0}).floats({1}, {1});
  call.boolean(true).floating(0.1).floating(0).boolean(false);
  EXPECT_EQ(call.run(), Code::unsupported);
}

TEST(batch_norm, in_its_functional_form_gives_the_new_statistics) {
  KernelCall call("sconce::_native_batch_norm_legit_functional.out");
  call.floats({2, 1}, {1, 3}).none().none().floats({1}, {0}).floats({1}, {1});
  call.boolean(true).floating(0.5).floating(0);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result(0), (Floats{-1, 1}));
  EXPECT_EQ(call.result(3), Floats{1});     // (0 + 2) / 2
  EXPECT_EQ(call.result(4), Floats{1.5f});  // (1 + unbiased 2) / 2
}

TEST(softmax, of_a_row_of_minus_infinity_is_nan) {
  KernelCall call("aten::_softmax.out");
  call.floats({2, 2}, {-INFINITY, -INFINITY, 0, -INFINITY}).integer(1).boolean(false);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_TRUE(std::isnan(call.result()[0]));
  EXPECT_EQ(call.result()[2], 1);
  EXPECT_EQ(call.result()[3], 0);
}

}  // namespace
}  // namespace sconce
