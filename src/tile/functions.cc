#include "tile/functions.h"

#include "tile/kernels/table.h"

namespace sconce::tile {

// The lists of functions agree: what TileIR has beyond the block kernels comes last.
#define SCONCE_ROW(name, meaning) \
  static_assert(int(Unary::name) == int(UnaryKernel::name) && Unary::name != Unary::bit_not);
SCONCE_UNARY_KERNELS(SCONCE_ROW)
#undef SCONCE_ROW
#define SCONCE_ROW(name, meaning) static_assert(int(Binary::name) == int(BinaryKernel::name));
SCONCE_BINARY_KERNELS(SCONCE_ROW)
#undef SCONCE_ROW
#define SCONCE_ROW(name, meaning) \
  static_assert(int(Binary::name) == int(Binary::eq) + int(CompareKernel::name));
SCONCE_COMPARE_KERNELS(SCONCE_ROW)
#undef SCONCE_ROW

// The plain block kernels are what the others are tested against.
float apply(Unary function, float x) {
  float y = 0;
  kernels_for(Isa::plain).unary[int(function)]({1, 1, &x, 0, 0, &y, 0});
  return y;
}

float apply(Binary function, float x, float y) {
  float z = 0;
  kernels_for(Isa::plain).binary[int(function)]({1, 1, &x, 0, 0, &y, 0, 0, &z, 0});
  return z;
}

namespace {

int64_t in(DType dtype, uint64_t x) {
  if (dtype == DType::i32) return int32_t(uint32_t(x));
  return dtype == DType::b8 ? int64_t(x & 1) : int64_t(x);
}

}  // namespace

int64_t apply_integer(Unary function, int64_t x, DType dtype) {
  switch (function) {
    case Unary::neg: return in(dtype, 0 - uint64_t(x));
    case Unary::abs: return in(dtype, x < 0 ? 0 - uint64_t(x) : uint64_t(x));
    case Unary::relu: return x > 0 ? x : 0;
    case Unary::bit_not: return in(dtype, ~uint64_t(x));
    default: return x;
  }
}

int64_t apply_integer(Binary function, int64_t x, int64_t y, DType dtype) {
  switch (function) {
    case Binary::add: return in(dtype, uint64_t(x) + uint64_t(y));
    case Binary::sub: return in(dtype, uint64_t(x) - uint64_t(y));
    case Binary::mul: return in(dtype, uint64_t(x) * uint64_t(y));
    case Binary::min: return y < x ? y : x;
    case Binary::max: return y > x ? y : x;
    case Binary::bit_and: return x & y;
    case Binary::bit_or: return x | y;
    case Binary::bit_xor: return x ^ y;
    default: return 0;
  }
}

// Each function has a loop of its own, so that the choice is made once.
void apply_integers(Unary function, int64_t n, int64_t* x, DType dtype) {
  auto each = [&](auto f) {
    for (int64_t k = 0; k < n; k++) x[k] = f(x[k]);
  };
  switch (function) {
    case Unary::neg: return each([&](int64_t a) { return apply_integer(Unary::neg, a, dtype); });
    case Unary::abs: return each([&](int64_t a) { return apply_integer(Unary::abs, a, dtype); });
    case Unary::relu: return each([&](int64_t a) { return apply_integer(Unary::relu, a, dtype); });
    case Unary::bit_not:
      return each([&](int64_t a) { return apply_integer(Unary::bit_not, a, dtype); });
    default: return;
  }
}

void apply_integers(Binary function, int64_t n, int64_t* x, const int64_t* y, DType dtype) {
  auto each = [&](auto f) {
    for (int64_t k = 0; k < n; k++) x[k] = f(x[k], y[k]);
  };
#define SCONCE_CASE(name) \
  case Binary::name:      \
    return each([&](int64_t a, int64_t b) { return apply_integer(Binary::name, a, b, dtype); })
  switch (function) {
    SCONCE_CASE(add);
    SCONCE_CASE(sub);
    SCONCE_CASE(mul);
    SCONCE_CASE(min);
    SCONCE_CASE(max);
    SCONCE_CASE(bit_and);
    SCONCE_CASE(bit_or);
    SCONCE_CASE(bit_xor);
#undef SCONCE_CASE
    case Binary::eq: return each([](int64_t a, int64_t b) { return a == b; });
    case Binary::ne: return each([](int64_t a, int64_t b) { return a != b; });
    case Binary::lt: return each([](int64_t a, int64_t b) { return a < b; });
    case Binary::le: return each([](int64_t a, int64_t b) { return a <= b; });
    case Binary::gt: return each([](int64_t a, int64_t b) { return a > b; });
    case Binary::ge: return each([](int64_t a, int64_t b) { return a >= b; });
    default: return each([](int64_t, int64_t) { return 0; });
  }
}

int64_t float_to_integer(float x, DType dtype) {
  if (dtype == DType::b8) return x != 0;
  if (x != x) return 0;
  if (dtype == DType::i32) return x >= 0x1p31f ? INT32_MAX : x < -0x1p31f ? INT32_MIN : int32_t(x);
  return x >= 0x1p63f ? INT64_MAX : x < -0x1p63f ? INT64_MIN : int64_t(x);
}

}  // namespace sconce::tile
