// The elementary functions: how far from the exact value, and that every set has the same bits.
#include <cfloat>
#include <cmath>

#include "tile/kernels/kernels_test.h"

namespace sconce::tile {
namespace {

std::vector<float> run(const KernelTable& table, UnaryKernel kernel, const std::vector<float>& x) {
  std::vector<float> y(x.size());
  UnaryBlock b = {1, int64_t(x.size()), x.data(), 0, 1, y.data(), 0};
  table.unary[int(kernel)](b);
  return y;
}

// Distance in units of the last place of f32 at `exact`, 0 when both overflow alike or are NaN.
double ulps(float got, double exact) {
  if (std::isnan(exact)) return std::isnan(got) ? 0 : INFINITY;
  if (std::isnan(got)) return INFINITY;
  float nearest = float(exact);
  if (got == nearest) return std::signbit(got) == std::signbit(nearest) ? 0 : INFINITY;
  if (std::isinf(got)) return std::fabs(exact) > FLT_MAX * 0.9999999 ? 1 : INFINITY;
  int exponent;
  std::frexp(exact == 0 ? 0x1p-149 : exact, &exponent);
  double unit = std::ldexp(1., exponent - 24 < -149 ? -149 : exponent - 24);
  return std::fabs(double(got) - exact) / unit;
}

struct Function {
  const char* name;
  UnaryKernel kernel;
  double (*exact)(double);
  double bound;  // ulp
};

const Function kFunctions[] = {
    {"neg", UnaryKernel::neg, [](double x) { return -x; }, 0},
    {"abs", UnaryKernel::abs, [](double x) { return std::fabs(x); }, 0},
    {"sqrt", UnaryKernel::sqrt, [](double x) { return std::sqrt(x); }, 0.5},
    {"rsqrt", UnaryKernel::rsqrt, [](double x) { return 1 / std::sqrt(x); }, 2},
    {"recip", UnaryKernel::recip, [](double x) { return 1 / x; }, 0.5},
    {"exp", UnaryKernel::exp, [](double x) { return std::exp(x); }, 2},
    {"expm1", UnaryKernel::expm1, [](double x) { return std::expm1(x); }, 2},
    {"log", UnaryKernel::log, [](double x) { return std::log(x); }, 2},
    {"log1p", UnaryKernel::log1p, [](double x) { return std::log1p(x); }, 2},
    {"tanh", UnaryKernel::tanh, [](double x) { return std::tanh(x); }, 2},
    {"erf", UnaryKernel::erf, [](double x) { return std::erf(x); }, 2},
    {"sin", UnaryKernel::sin, [](double x) { return std::sin(x); }, 2},
    {"cos", UnaryKernel::cos, [](double x) { return std::cos(x); }, 2},
    {"floor", UnaryKernel::floor, [](double x) { return std::floor(x); }, 0},
    {"ceil", UnaryKernel::ceil, [](double x) { return std::ceil(x); }, 0},
    {"round", UnaryKernel::round, [](double x) { return std::nearbyint(x); }, 0},
    {"trunc", UnaryKernel::trunc, [](double x) { return std::trunc(x); }, 0},
    {"sigmoid", UnaryKernel::sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, 2.5},
    {"relu", UnaryKernel::relu, [](double x) { return 0 > x ? 0 : x; }, 0},
};

TEST(Math, functions_are_within_their_bound_of_the_exact_value) {
  const auto x = floats(1999);
  for (const Function& f : kFunctions)
    for (Isa isa : {Isa::sse2, best_isa()}) {
      if (!can_run(isa)) continue;
      auto y = run(kernels_for(isa), f.kernel, x);
      double worst = 0;
      float at = 0;
      for (size_t i = 0; i < x.size(); i++) {
        double distance = ulps(y[i], f.exact(x[i]));
        if (distance > worst) {
          worst = distance;
          at = x[i];
        }
      }
      EXPECT_LE(worst, f.bound) << f.name << " " << isa_name(isa) << "(" << at << ")";
      printf("%-8s %-12s %.3f ulp at %.9g\n", f.name, isa_name(isa), worst, double(at));
    }
}

TEST(Math, powers_are_within_2_ulp_and_special_as_in_c) {
  const auto list = floats(40000003);  // 108 and the special ones
  std::vector<float> x, y;
  for (float a : list)
    for (float b : list) {
      x.push_back(a);
      y.push_back(b);
    }
  std::mt19937 random(3);
  std::uniform_real_distribution<float> exponent(-10, 10), base(0, 20);
  for (int i = 0; i < 300000; i++) {
    x.push_back(base(random));
    y.push_back(exponent(random));
  }
  std::vector<float> first;
  for (const KernelTable* table : tables()) {
    std::vector<float> z(x.size());
    BinaryBlock b = {1, int64_t(x.size()), x.data(), 0, 1, y.data(), 0, 1, z.data(), 0};
    table->binary[int(BinaryKernel::pow)](b);
    if (first.empty()) {
      for (size_t i = 0; i < x.size(); i++)
        ASSERT_LE(ulps(z[i], std::pow(double(x[i]), double(y[i]))), 2.)
            << x[i] << " ^ " << y[i] << " = " << z[i];
      first = z;
    }
    expect_same_bits(z, first, isa_name(table->isa));
  }
}

TEST(Math, every_set_gives_the_bits_of_plain) {
  const auto x = floats(20011);
  for (int k = 0; k < int(UnaryKernel::count); k++) {
    auto want = run(kernels_for(Isa::plain), UnaryKernel(k), x);
    for (const KernelTable* table : tables()) {
      if (table->isa == Isa::sse2) continue;  // its fma is one in all but rare ties
      auto got = run(*table, UnaryKernel(k), x);
      for (size_t i = 0; i < x.size(); i++)
        ASSERT_TRUE(same(got[i], want[i]))
            << isa_name(table->isa) << " function " << k << "(" << x[i] << ") is " << got[i]
            << ", plain has " << want[i];
    }
  }
}

TEST(Math, gelu_is_within_its_bound_and_exact_far_out) {
  auto x = floats(1009);
  for (float v = -6; v < 6; v += 1e-4f) x.push_back(v);
  auto y = run(kernels_for(best_isa()), UnaryKernel::gelu, x);
  for (size_t i = 0; i < x.size(); i++) {
    if (std::isnan(x[i]) || x[i] == -INFINITY) {
      ASSERT_TRUE(std::isnan(y[i])) << x[i];
    } else if (x[i] >= 5.5f) {
      ASSERT_EQ(y[i], x[i]);
    } else if (x[i] <= -5.5f) {
      ASSERT_EQ(y[i], 0) << x[i];
    } else {
      double exact = 0.5 * double(x[i]) * std::erfc(-double(x[i]) * M_SQRT1_2);
      ASSERT_LE(std::fabs(y[i] - exact), 0x1p-22 * std::fabs(double(x[i])) + 0x1p-149) << x[i];
    }
  }
}

TEST(Math, composite_activations_are_close_where_torch_is) {
  const auto x = floats(19997);
  const struct {
    UnaryKernel kernel;
    double (*exact)(double);
  } functions[] = {
      {UnaryKernel::silu, [](double v) { return v / (1 + std::exp(-v)); }},
      {UnaryKernel::gelu, [](double v) { return 0.5 * v * (1 + std::erf(v * M_SQRT1_2)); }},
      {UnaryKernel::gelu_tanh,
       [](double v) {
         return 0.5 * v * (1 + std::tanh(0.7978845608028654 * (v + 0.044715 * v * v * v)));
       }},
  };
  for (auto& f : functions) {
    auto y = run(kernels_for(best_isa()), f.kernel, x);
    for (size_t i = 0; i < x.size(); i++) {
      double exact = f.exact(x[i]);
      if (!(std::fabs(x[i]) < 1e12)) continue;  // cubes overflow
      ASSERT_NEAR(y[i], exact, 4e-7 * std::fmax(1., std::fabs(exact))) << x[i];
    }
  }
}

}  // namespace
}  // namespace sconce::tile
