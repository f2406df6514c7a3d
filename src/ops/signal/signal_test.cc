#include <cmath>
#include <complex>

#include "ops/reduce/kernel_call.h"

namespace sconce {
namespace {

using Floats = std::vector<float>;
using Complexes = std::vector<std::complex<float>>;

// Lengths with small factors, a prime, and one.
class Fourier : public testing::TestWithParam<int> {};

TEST_P(Fourier, agrees_with_the_sum_that_defines_it) {
  int n = GetParam();
  Complexes x;
  for (int t = 0; t < n; t++) x.emplace_back(float(t * 37 % 11) - 5, float(t * 17 % 7));
  KernelCall call("aten::_fft_c2c.out");
  call.tensor(DType::c64, {n}, x).integers({0}).integer(0).boolean(true);
  ASSERT_EQ(call.run(), Code::ok) << call.text();
  Complexes y = call.result<std::complex<float>>();
  for (int k = 0; k < n; k++) {
    std::complex<double> sum = 0;
    for (int t = 0; t < n; t++)
      sum += std::complex<double>(x[size_t(t)]) * std::polar(1.0, -2 * M_PI * k * t / n);
    EXPECT_NEAR(y[size_t(k)].real(), sum.real(), 1e-4);
    EXPECT_NEAR(y[size_t(k)].imag(), sum.imag(), 1e-4);
  }
}
INSTANTIATE_TEST_SUITE_P(lengths, Fourier, testing::Values(1, 2, 3, 8, 12, 30, 31, 100));

TEST(fourier, of_a_real_signal_and_back_gives_the_signal) {
  for (int n : {5, 6}) {
    Floats x;
    for (int t = 0; t < n; t++) x.push_back(float(t * t - 3));
    KernelCall there("aten::_fft_r2c.out");
    there.floats({n}, x).integers({0}).integer(0).boolean(true);
    ASSERT_EQ(there.run(), Code::ok);
    KernelCall back("aten::_fft_c2r.out");
    back.tensor(DType::c64, {n / 2 + 1}, there.result<std::complex<float>>());
    back.integers({0}).integer(2).integer(n);
    ASSERT_EQ(back.run(), Code::ok);
    for (int t = 0; t < n; t++) EXPECT_NEAR(back.result()[size_t(t)], x[size_t(t)], 1e-5);
  }
}

TEST(fourier, rejects_a_signal_longer_than_its_frequencies) {
  KernelCall call("aten::_fft_c2r.out");
  call.tensor(DType::c64, {3}, Complexes(3)).integers({0}).integer(0).integer(6);
  EXPECT_EQ(call.run(), Code::invalid_argument);
}

TEST(cdist, repeats_batches_that_one_side_lacks) {
  KernelCall call("aten::_cdist_forward.out");
  call.floats({2, 1, 2}, {0, 0, 3, 4}).floats({1, 2}, {0, 0}).floating(2).none();
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result(), (Floats{0, 5}));
}

TEST(pdist, lists_pairs_in_order) {
  KernelCall call("aten::_pdist_forward.out");
  call.floats({3, 1}, {0, 1, 5}).floating(1);
  ASSERT_EQ(call.run(), Code::ok);
  EXPECT_EQ(call.result(), (Floats{1, 5, 4}));
}

}  // namespace
}  // namespace sconce
