#include "ops/reduce/kernel_call.h"

namespace sconce {
namespace {

using Floats = std::vector<float>;
using Bytes8 = std::vector<int8_t>;

constexpr int64_t kInt8 = int64_t(DType::i8);

TEST(quantize_per_tensor, rounds_halves_to_even_and_keeps_to_the_limits) {
  KernelCall call("quantized_decomposed::quantize_per_tensor.out");
  call.floats({6}, {0.5, 1.5, -2.5, 300, -300, 3}).floating(1).integer(0).integer(-8).integer(7);
  call.integer(kInt8);
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  EXPECT_EQ(call.result<int8_t>(), (Bytes8{0, 2, -2, 7, -8, 3}));
}

TEST(quantize_per_tensor, names_limits_that_the_type_cannot_hold) {
  KernelCall call("quantized_decomposed::quantize_per_tensor.out");
  call.floats({1}, {0}).floating(1).integer(0).integer(-129).integer(127).integer(kInt8);
  EXPECT_EQ(call.run(), Code::invalid_argument);
  EXPECT_NE(call.text().find("-129"), std::string::npos) << call.text();
}

TEST(quantize_per_tensor, rejects_a_scale_of_zero) {
  KernelCall call("quantized_decomposed::quantize_per_tensor.out");
  call.floats({1}, {0}).floating(0).integer(0).integer(-128).integer(127).integer(kInt8);
  EXPECT_EQ(call.run(), Code::invalid_argument);
}

TEST(quantize_per_channel, rejects_fewer_scales_than_channels) {
  KernelCall call("quantized_decomposed::quantize_per_channel.out");
  call.floats({3, 1}, {1, 2, 3}).floats({2}, {1, 1}).floats({2}, {0, 0});
  call.integer(0).integer(-128).integer(127).integer(kInt8);
  EXPECT_EQ(call.run(), Code::invalid_argument);
  EXPECT_NE(call.text().find("2 scales for 3 blocks"), std::string::npos) << call.text();
}

TEST(mixed_linear, scales_each_group_of_a_row) {
  KernelCall call("quantized_decomposed::mixed_linear.out");
  call.floats({1, 4}, {1, 2, 3, 4}).tensor(DType::i8, {2, 4}, Bytes8{1, 1, 1, 1, 1, 0, 0, -1});
  call.floats({2, 2}, {1, 10, 2, 0.5}).none().none();
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  EXPECT_EQ(call.result(), (Floats{73, 0}));
}

TEST(mixed_mm, scales_the_rows_of_the_weight) {
  KernelCall call("quantized_decomposed::mixed_mm.out");
  call.floats({1, 2}, {1, 2}).tensor(DType::i8, {2, 2}, Bytes8{1, 2, 3, 4});
  call.floats({2}, {1, 0.5}).none();
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  EXPECT_EQ(call.result(), (Floats{4, 6}));
}

TEST(mixed_mm, says_that_zero_points_are_not_supported) {
  KernelCall call("quantized_decomposed::mixed_mm.out");
  call.floats({1, 1}, {1}).tensor(DType::i8, {1, 1}, Bytes8{1}).floats({1}, {1}).floats({1}, {0});
  EXPECT_EQ(call.run(), Code::unsupported);
}

TEST(quantized_add, adds_what_the_integers_stand_for) {
  KernelCall call("quantized_decomposed::add.out");
  auto operand = [&](std::vector<uint8_t> bytes, double scale, int64_t zero) {
    call.tensor(DType::u8, {3}, std::move(bytes)).floating(scale).integer(zero);
    call.integer(0).integer(255);
  };
  operand({10, 20, 255}, 0.5, 10);
  operand({0, 4, 255}, 1, 0);
  call.floating(0.5).integer(3).integer(0).integer(255);
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  EXPECT_EQ(call.result<uint8_t>(), (std::vector<uint8_t>{3, 21, 255}));
}

TEST(embedding_4bit, has_the_first_column_in_the_upper_nibble) {
  KernelCall call("quantized_decomposed::embedding_4bit.out");
  call.tensor(DType::u8, {1, 1}, std::vector<uint8_t>{0xf0}).floats({1}, {2}).none();
  call.integer(-8).integer(7).tensor(DType::i64, {1}, std::vector<int64_t>{0});
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  EXPECT_EQ(call.result(), (Floats{14, -16}));
}

}  // namespace
}  // namespace sconce
