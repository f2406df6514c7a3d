#include "ops/reduce/kernel_call.h"

namespace sconce {
namespace {

using I8 = std::vector<int8_t>;

TEST(int8_linear, rounds_the_exact_sum_once) {
  KernelCall call("int8::linear.out");
  call.tensor(DType::i8, {1, 2}, I8{10, -3}).floating(0.5).integer(1);
  call.tensor(DType::i8, {2, 2}, I8{1, 2, -128, 127}).floats({2}, {0.25, 1});
  call.tensor(DType::i32, {2}, std::vector<int32_t>{4, 0});
  call.floating(0.125).integer(-1).integer(-128).integer(127);
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  // (9 - 8 + 4) * 0.5 * 0.25 / 0.125 - 1; the other one is far below the limit.
  EXPECT_EQ(call.result<int8_t>(), (I8{4, -128}));
}

TEST(int8_linear, names_a_zero_point_that_no_integer_of_8_bits_is) {
  KernelCall call("int8::linear.out");
  call.tensor(DType::i8, {1, 1}, I8{1}).floating(0.5).integer(128);
  call.tensor(DType::i8, {1, 1}, I8{1}).floats({1}, {1}).none();
  call.floating(1).integer(0).integer(-128).integer(127);
  EXPECT_EQ(call.run(), Code::invalid_argument);
  EXPECT_NE(call.text().find("128"), std::string::npos) << call.text();
}

TEST(int8_matmul, multiplies_what_the_integers_stand_for_batch_by_batch) {
  for (bool to_numbers : {false, true}) {
    KernelCall call("int8::matmul.out");
    call.tensor(DType::i8, {2, 1, 2}, I8{3, -5, 127, 1}).floating(0.5).integer(1);
    call.tensor(DType::i8, {2, 2, 2}, I8{4, 0, -2, 1, 1, -128, 2, 3}).floating(0.25).integer(-1);
    to_numbers ? call.none() : call.floating(0.5);
    call.integer(10).integer(-100).integer(127);
    ASSERT_EQ(call.run(), Code::ok) << call.text();
    // (2 * 5 - 6 * -1, 2 * 1 - 6 * 2), (126 * 2, 126 * -127), each times 0.125; or 0.25, plus 10.
    if (to_numbers)
      EXPECT_EQ(call.result<float>(), (std::vector<float>{2, -1.25, 31.5, -2000.25}));
    else
      EXPECT_EQ(call.result<int8_t>(), (I8{14, 8, 73, -100}));
  }
}

void refuses_factor(std::initializer_list<int32_t> sizes, size_t count) {
  KernelCall call("int8::matmul.out");
  call.tensor(DType::i8, {1, 1, 2}, I8{1, 2}).floating(1).integer(0);
  call.tensor(DType::i8, sizes, I8(count, 1)).floating(1).integer(0);
  call.floating(1).integer(0).integer(-128).integer(127);
  EXPECT_EQ(call.run(), Code::invalid_argument);
}
TEST(int8_matmul, refuses_batches_depths_and_ranks_that_differ) {
  refuses_factor({2, 2, 1}, 4);
  refuses_factor({1, 3, 1}, 3);
  refuses_factor({2, 1}, 2);
}

TEST(int8_convolution, has_the_zero_point_around_the_image) {
  KernelCall call("int8::convolution.out");
  call.tensor(DType::i8, {1, 1, 1, 2}, I8{5, 7}).floating(1).integer(5);
  call.tensor(DType::i8, {1, 1, 1, 3}, I8{1, 2, 3}).floats({1}, {1}).none();
  call.integers({1, 1}).integers({0, 1}).integers({1, 1}).boolean(false).integers({0, 0});
  call.integer(1).floating(1).integer(0).integer(-128).integer(127);
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  EXPECT_EQ(call.result<int8_t>(), (I8{6, 4}));
}

TEST(int8_convolution, refuses_a_bias_of_other_length) {
  KernelCall call("int8::convolution.out");
  call.tensor(DType::i8, {1, 1, 1, 2}, I8{5, 7}).floating(1).integer(5);
  call.tensor(DType::i8, {1, 1, 1, 1}, I8{1}).floats({1}, {1});
  call.tensor(DType::i32, {2}, std::vector<int32_t>{1, 2});
  call.integers({1, 1}).integers({0, 0}).integers({1, 1}).boolean(false).integers({0, 0});
  call.integer(1).floating(1).integer(0).integer(-128).integer(127);
  EXPECT_EQ(call.run(), Code::invalid_argument);
}

TEST(int8_mul, multiplies_what_the_integers_stand_for) {
  KernelCall call("int8::mul.out");
  call.tensor(DType::i8, {3}, I8{3, -5, 127}).floating(0.5).integer(1);
  call.tensor(DType::i8, {1}, I8{4}).floating(2).integer(0);
  call.floating(1).integer(10).integer(-128).integer(100);
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  EXPECT_EQ(call.result<int8_t>(), (I8{18, -14, 100}));
}

TEST(int8_mean, rounds_halves_to_even) {
  KernelCall call("int8::mean.out");
  call.tensor(DType::i8, {2, 2}, I8{1, 2, 3, 4})
      .floating(1)
      .integer(0)
      .integers({1})
      .boolean(false);
  call.floating(1).integer(0).integer(-128).integer(127);
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  EXPECT_EQ(call.result<int8_t>(), (I8{2, 4}));
}

TEST(int8_clamp, limits_numbers_and_changes_the_scale) {
  KernelCall call("int8::clamp.out");
  call.tensor(DType::i8, {3}, I8{-4, 3, 20}).floating(0.5).integer(0).floating(0).floating(6);
  call.floating(0.25).integer(-10);
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  EXPECT_EQ(call.result<int8_t>(), (I8{-10, -4, 14}));
}

TEST(int8_dynamic_linear, gives_rows_scales_of_their_own) {
  KernelCall call("int8::dynamic_linear.out");
  call.floats({2, 2}, {255, 0, -2.55f, 0}).tensor(DType::i8, {1, 2}, I8{2, 3});
  call.floats({1}, {0.5}).floats({1}, {1}).integer(8);
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  EXPECT_FLOAT_EQ(call.result()[0], 256);
  EXPECT_FLOAT_EQ(call.result()[1], -1.55f);
}

TEST(int8_dynamic_convolution, gives_images_scales_of_their_own) {
  KernelCall call("int8::dynamic_convolution.out");
  // Two images of two channels and two columns; steps of 1 and of 0.01.
  call.floats({2, 2, 1, 2}, {255, 1, 2, 3, -2.55f, 0, -0.01f, -0.02f});
  call.tensor(DType::i8, {1, 2, 1, 2}, I8{1, 2, 3, 4}).floats({1}, {0.5}).floats({1}, {1});
  call.integers({1, 1}).integers({0, 1}).integers({1, 1}).boolean(false).integers({0, 0});
  call.integer(1);
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  // Columns: x0 * 2 + y0 * 4, x0 + 2 * x1 + 3 * y0 + 4 * y1, x1 + 3 * y1.
  std::vector<float> got = call.result(), wanted = {260, 138.5f, 6, -1.57f, -0.33f, 0.97f};
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); i++) EXPECT_NEAR(got[i], wanted[i], 1e-5f) << i;
}

TEST(int8_dynamic_convolution, refuses_integers_and_scales_that_do_not_fit) {
  for (bool numbers : {false, true}) {
    KernelCall call("int8::dynamic_convolution.out");
    if (numbers)
      call.floats({1, 1, 1, 1}, {1});
    else
      call.tensor(DType::i8, {1, 1, 1, 1}, I8{1});
    call.tensor(DType::i8, {1, 1, 1, 1}, I8{1}).floats({2}, {0.5, 1}).none();
    call.integers({1, 1}).integers({0, 0}).integers({1, 1}).boolean(false).integers({0, 0});
    call.integer(1);
    EXPECT_EQ(call.run(), Code::invalid_argument);
    EXPECT_NE(std::string(call.text()).find(numbers ? "2 scales" : "f32 is wanted"),
              std::string::npos)
        << call.text();
  }
}

TEST(int8_weight_convolution, scales_sums_by_output) {
  KernelCall call("int8::weight_convolution.out");
  // One image of two channels and two columns; two outputs of a window of two columns.
  call.floats({1, 2, 1, 2}, {1, 2, 3, -0.5f});
  call.tensor(DType::i8, {2, 2, 1, 2}, I8{1, 2, 3, 4, -1, 0, 0, 2}).floats({2}, {0.5, 10});
  call.floats({2}, {1, 0});
  call.integers({1, 1}).integers({0, 1}).integers({1, 1}).boolean(false).integers({0, 0});
  call.integer(1);
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  // x0 * w1 + y0 * w3, x0 * w0 + x1 * w1 + y0 * w2 + y1 * w3, x1 * w0 + y1 * w2.
  EXPECT_EQ(call.result(), (std::vector<float>{8, 7, 1.25f, 60, -20, -20}));
}

TEST(int8_weight_linear, scales_each_group_of_a_row) {
  KernelCall call("int8::weight_linear.out");
  call.floats({1, 4}, {1, 2, 3, 4}).tensor(DType::i8, {2, 4}, I8{1, 1, 1, 1, 1, 0, 0, -1});
  call.floats({2, 2}, {1, 10, 2, 0.5}).floats({2}, {0, 1}).integer(4);
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  EXPECT_EQ(call.result(), (std::vector<float>{73, 1}));
}

}  // namespace
}  // namespace sconce
