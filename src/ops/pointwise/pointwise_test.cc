#include <cmath>

#include "ops/reduce/kernel_call.h"

namespace sconce {
namespace {

using Floats = std::vector<float>;
using Bytes8 = std::vector<int8_t>;

TEST(add, broadcasts_and_scales_the_other) {
  KernelCall call("aten::add.out");
  call.floats({2, 1}, {1, 2}).floats({3}, {10, 20, 30}).floating(0.5);
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  EXPECT_EQ(call.result(), (Floats{6, 11, 16, 7, 12, 17}));
}

TEST(add, reads_operands_in_different_dim_orders) {
  KernelCall call("aten::add.out");
  call.floats({1, 2, 1, 2}, {1, 3, 2, 4}, {0, 2, 3, 1}).floats({1, 2, 1, 2}, {10, 20, 30, 40}).integer(1);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result(), (Floats{11, 22, 33, 44}));
}

TEST(add, wraps_integers) {
  KernelCall call("aten::add.out");
  call.tensor<int8_t>(DType::i8, {2}, {127, -128}).tensor<int8_t>(DType::i8, {1}, {1}).integer(1);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result<int8_t>(), (Bytes8{-128, -127}));
}

TEST(add, rejects_a_floating_alpha_of_integers) {
  KernelCall call("aten::add.out");
  call.tensor<int8_t>(DType::i8, {1}, {1}).tensor<int8_t>(DType::i8, {1}, {1}).floating(1.5);
  EXPECT_EQ(call.run(), Code::invalid_argument);
  EXPECT_NE(call.text().find("alpha is a floating number, the operands are i8"), std::string::npos);
}

TEST(add, rejects_sizes_that_do_not_broadcast) {
  KernelCall call("aten::add.out");
  call.floats({2}, {1, 2}).floats({3}, {1, 2, 3}).integer(1);
  EXPECT_EQ(call.run(), Code::invalid_argument);
}

TEST(mul, number_keeps_its_precision_beside_16_bit_floats) {
  KernelCall call("aten::mul.Scalar_out");
  call.tensor<uint16_t>(DType::f16, {1}, {0}).floating(1e10);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result<uint16_t>()[0], 0);  // not 0 * infinity
}

TEST(floor_divide, fails_for_an_integer_zero) {
  KernelCall call("aten::floor_divide.out");
  call.tensor<int8_t>(DType::i8, {1}, {1}).tensor<int8_t>(DType::i8, {1}, {0});
  EXPECT_EQ(call.run(), Code::invalid_argument);
  EXPECT_NE(call.text().find("division by zero"), std::string::npos);
}

TEST(floor_divide, of_the_smallest_integer_by_minus_one_wraps) {
  KernelCall call("aten::floor_divide.out");
  call.tensor<int64_t>(DType::i64, {1}, {INT64_MIN}).tensor<int64_t>(DType::i64, {1}, {-1});
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result<int64_t>()[0], INT64_MIN);
}

TEST(remainder, takes_the_sign_of_the_divisor) {
  KernelCall call("aten::remainder.Scalar_out");
  call.floats({2}, {-7, 7}).floating(3);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result(), (Floats{2, 1}));
}

TEST(round, goes_to_the_even_neighbour) {
  KernelCall call("aten::round.out");
  call.floats({3}, {0.5, 1.5, -2.5});
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result(), (Floats{0, 2, -2}));
}

TEST(clamp, passes_nan_and_needs_a_bound) {
  KernelCall call("aten::clamp.out");
  call.floats({2}, {NAN, 9}).none().floating(3);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_TRUE(std::isnan(call.result()[0]));
  EXPECT_EQ(call.result()[1], 3);
  KernelCall unbound("aten::clamp.out");
  unbound.floats({1}, {1}).none().none();
  EXPECT_EQ(unbound.run(), Code::invalid_argument);
}

TEST(shift, by_more_bits_than_there_are_clears_or_keeps_the_sign) {
  KernelCall left("aten::bitwise_left_shift.Tensor_Scalar_out");
  left.tensor<int8_t>(DType::i8, {1}, {-1}).integer(8);
  ASSERT_EQ(left.run(), Code::ok);
  EXPECT_EQ(left.result<int8_t>()[0], 0);
  KernelCall right("aten::bitwise_right_shift.Tensor_Scalar_out");
  right.tensor<int8_t>(DType::i8, {1}, {-100}).integer(100);
  ASSERT_EQ(right.run(), Code::ok);
  EXPECT_EQ(right.result<int8_t>()[0], -1);
}

TEST(glu, rejects_an_odd_dimension) {
  KernelCall call("aten::glu.out");
  call.floats({3}, {1, 2, 3}).integer(-1);
  EXPECT_EQ(call.run(), Code::invalid_argument);
  EXPECT_NE(call.text().find("size 3 of dimension 0 cannot be halved"), std::string::npos);
}

TEST(arange, rejects_ranges_that_overflow) {
  KernelCall call("aten::arange.start_out");
  call.integer(0).integer(INT64_MIN).integer(-1);
  EXPECT_EQ(call.run(), Code::too_large);
}

TEST(full, rejects_a_number_that_the_type_does_not_hold) {
  Tensor tensor;
  uint8_t byte = 0;
  tensor.data = &byte;
  tensor.capacity_bytes = 1;
  tensor.dtype = DType::u8;
  Value size, number = Value::of(int64_t(300)), out = Value::of(&tensor);
  size.kind = Value::Kind::integers;
  const Value* values[] = {&size, &number, &out};
  Diagnostic diagnostic;
  KernelContext context{&diagnostic, {}, nullptr};
  EXPECT_EQ(call_kernel(*find_kernel("aten::full.out"), {values, 2}, context).code, Code::invalid_argument);
  EXPECT_STREQ(diagnostic.text, "300 does not fit type u8");
}

}  // namespace
}  // namespace sconce
