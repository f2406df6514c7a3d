// Kernels over blocks, element by element and along rows: any function of math.h over any rows.
#pragma once

#include "tile/kernels/apply.h"
#include "tile/kernels/transpose.h"

namespace sconce::tile {
namespace {

// An input of a row: a vector at an index, the same element again and again when the step is 0.
struct RowInput {
  const float* p;
  bool spread;
  F same;
  SCONCE_INLINE RowInput(const float* row, int64_t step) : p(row), spread(step != 0) {
    if (!spread) same = Simd::set(*p);
  }
};
template <bool kSpread>
SCONCE_INLINE F at(const RowInput& in, int64_t i) {
  return kSpread ? Simd::load(in.p + i) : in.same;
}
template <bool kSpread>
SCONCE_INLINE F at_n(const RowInput& in, int64_t i, int n) {
  return kSpread ? Simd::load_n(in.p + i, n) : in.same;
}

// Calls body(index, lanes) for whole vectors and once for what is left.
template <class Body>
SCONCE_INLINE void for_vectors(int64_t n, const Body& body) {
  constexpr int W = Simd::kLanes;
  int64_t i = 0;
  for (; i + W <= n; i += W) body(i, W);
  if (W > 1 && i < n) body(i, int(n - i));
}

// Rows that follow one another are one long row.
template <class Block>
SCONCE_INLINE bool joins(const Block& b) {
  return b.rows > 1 && b.out_row == b.n;
}

template <UnaryKernel kKernel>
void unary(const UnaryBlock& block) {
  UnaryBlock b = block;
  if (joins(b) && b.x_step && b.x_row == b.n) {
    b.n *= b.rows;
    b.rows = 1;
  }
  for (int64_t r = 0; r < b.rows; r++) {
    const float* x = b.x + r * b.x_row;
    float* out = b.out + r * b.out_row;
    if (b.x_step) {
      for_vectors(b.n, [&](int64_t i, int n) SCONCE_LAMBDA {
        if (n == Simd::kLanes)
          Simd::store(out + i, apply<kKernel>(Simd::load(x + i)));
        else
          Simd::store_n(out + i, apply<kKernel>(Simd::load_n(x + i, n)), n);
      });
    } else if (b.n > 0) {
      F y = apply<kKernel>(Simd::set(*x));
      for_vectors(b.n, [&](int64_t i, int n) SCONCE_LAMBDA {
        if (n == Simd::kLanes)
          Simd::store(out + i, y);
        else
          Simd::store_n(out + i, y, n);
      });
    }
  }
}

template <CompareKernel kKernel>
SCONCE_INLINE M holds(F a, F b) {
  switch (kKernel) {
    case CompareKernel::eq: return Simd::eq(a, b);
    case CompareKernel::ne: return Simd::none_of(Simd::eq(a, b));
    case CompareKernel::lt: return Simd::lt(a, b);
    case CompareKernel::le: return Simd::le(a, b);
    case CompareKernel::gt: return Simd::lt(b, a);
    default: return Simd::le(b, a);
  }
}

// Narrow elements through a whole vector's worth of memory, since only f32 and i32 have tails.
template <class T>
SCONCE_INLINE I widen_n(const T* p, int n) {
  if (n == Simd::kLanes) return Simd::widen(p);
  if constexpr (sizeof(T) == 1 && T(-1) < T(0)) return Simd::widen_n(p, n);
  T all[Simd::kLanes] = {};
  for (int i = 0; i < n; i++) all[i] = p[i];
  return Simd::widen(all);
}
template <class T>
SCONCE_INLINE void narrow_n(T* p, I x, int n) {
  if (n == Simd::kLanes) return Simd::narrow(p, x);
  T all[Simd::kLanes];
  Simd::narrow(all, x);
  for (int i = 0; i < n; i++) p[i] = all[i];
}

SCONCE_INLINE void put(float* out, F y, int n) {
  if (n == Simd::kLanes)
    Simd::store(out, y);
  else
    Simd::store_n(out, y, n);
}
SCONCE_INLINE void put(uint8_t* out, M holds, int n) { narrow_n(out, Simd::ones(holds), n); }

// One row of two inputs; the four cases of steps are four loops.
template <bool kSpreadA, bool kSpreadB, class Out, class Apply>
SCONCE_INLINE void binary_row(const RowInput& a, const RowInput& b, Out* out, int64_t n,
                              const Apply& f) {
  for_vectors(n, [&](int64_t i, int lanes) SCONCE_LAMBDA {
    if (lanes == Simd::kLanes)
      put(out + i, f(at<kSpreadA>(a, i), at<kSpreadB>(b, i)), lanes);
    else
      put(out + i, f(at_n<kSpreadA>(a, i, lanes), at_n<kSpreadB>(b, i, lanes)), lanes);
  });
}
template <class Block, class Apply>
SCONCE_INLINE void binary_block(const Block& block, const Apply& f) {
  Block b = block;
  if (b.n <= 0) return;
  if (joins(b) && b.a_step && b.b_step && b.a_row == b.n && b.b_row == b.n) {
    b.n *= b.rows;
    b.rows = 1;
  }
  for (int64_t r = 0; r < b.rows; r++) {
    RowInput left(b.a + r * b.a_row, b.a_step), right(b.b + r * b.b_row, b.b_step);
    auto* out = b.out + r * b.out_row;
    if (left.spread && right.spread)
      binary_row<true, true>(left, right, out, b.n, f);
    else if (left.spread)
      binary_row<true, false>(left, right, out, b.n, f);
    else if (right.spread)
      binary_row<false, true>(left, right, out, b.n, f);
    else
      binary_row<false, false>(left, right, out, b.n, f);
  }
}

template <BinaryKernel kKernel>
void binary(const BinaryBlock& block) {
  binary_block(block, [](F a, F b) SCONCE_LAMBDA { return apply<kKernel>(a, b); });
}
template <CompareKernel kKernel>
void compare(const CompareBlock& block) {
  binary_block(block, [](F a, F b) SCONCE_LAMBDA { return holds<kKernel>(a, b); });
}

SCONCE_INLINE F any_step(const float* p, int64_t step, int64_t i, int n) {
  if (!step) return Simd::set(*p);
  return n == Simd::kLanes ? Simd::load(p + i) : Simd::load_n(p + i, n);
}

void fma_block(const FmaBlock& b) {
  for (int64_t r = 0; r < b.rows; r++) {
    const float *x = b.a + r * b.a_row, *y = b.b + r * b.b_row, *z = b.c + r * b.c_row;
    float* out = b.out + r * b.out_row;
    for_vectors(b.n, [&](int64_t i, int n) SCONCE_LAMBDA {
      put(out + i,
          Simd::fma(any_step(x, b.a_step, i, n), any_step(y, b.b_step, i, n),
                    any_step(z, b.c_step, i, n)),
          n);
    });
  }
}

void select_block(const SelectBlock& b) {
  for (int64_t r = 0; r < b.rows; r++) {
    const uint8_t* c = b.condition + r * b.condition_row;
    const float *x = b.a + r * b.a_row, *y = b.b + r * b.b_row;
    float* out = b.out + r * b.out_row;
    for_vectors(b.n, [&](int64_t i, int n) SCONCE_LAMBDA {
      I condition = b.condition_step ? widen_n(c + i, n) : Simd::seti(*c);
      M no = Simd::ieq(condition, Simd::seti(0));
      put(out + i, Simd::select(no, any_step(y, b.b_step, i, n), any_step(x, b.a_step, i, n)), n);
    });
  }
}

void clamp_block(const ClampBlock& b) {
  const F lo = Simd::set(b.lo), hi = Simd::set(b.hi);
  for (int64_t r = 0; r < b.rows; r++) {
    const float* x = b.x + r * b.x_row;
    float* out = b.out + r * b.out_row;
    for_vectors(b.n, [&](int64_t i, int n) SCONCE_LAMBDA {
      put(out + i, Simd::at_most(Simd::at_least(any_step(x, b.x_step, i, n), lo), hi), n);
    });
  }
}

// ---- reductions ----

template <ReduceKernel kKernel>
SCONCE_INLINE F gather_in(F lane, F x, F center) {
  switch (kKernel) {
    case ReduceKernel::sum: return Simd::add(lane, x);
    case ReduceKernel::sum_squares: {
      F d = Simd::sub(x, center);
      return Simd::fma(d, d, lane);
    }
    case ReduceKernel::prod: return Simd::mul(lane, x);
    case ReduceKernel::min: return minimum(lane, x);
    case ReduceKernel::max: return maximum(lane, x);
    default: return Simd::add(lane, x);  // exp_sum: x is the power
  }
}

template <ReduceKernel kKernel>
void reduce(const ReduceBlock& b) {
  constexpr int W = Simd::kLanes, V = kPanel / W;
  constexpr bool kExpSum = kKernel == ReduceKernel::exp_sum;
  for (int64_t r = 0; r < b.rows; r++) {
    const float* x = b.x + r * b.x_row;
    float *lanes = b.lanes + r * kPanel, *out = kExpSum ? b.out + r * b.out_row : nullptr;
    const F center = Simd::set(b.center ? b.center[r * b.center_row] : 0.f);
    F acc[V];
#pragma GCC unroll 16
    for (int v = 0; v < V; v++) acc[v] = Simd::load(lanes + v * W);
    int64_t k = 0;
    for (; k + kPanel <= b.n; k += kPanel) {
#pragma GCC unroll 16
      for (int v = 0; v < V; v++) {
        F value = Simd::load(x + k + v * W);
        if (kExpSum) {
          value = exp(Simd::sub(value, center));
          Simd::store(out + k + v * W, value);
        }
        acc[v] = gather_in<kKernel>(acc[v], value, center);
      }
    }
#pragma GCC unroll 16
    for (int v = 0; v < V; v++) Simd::store(lanes + v * W, acc[v]);
    for (int v = 0; k + v * W < b.n; v++) {  // lanes past the end stay what they are
      int64_t left = b.n - k - v * W;
      int n = left < W ? int(left) : W;
      F value = Simd::load_n(x + k + v * W, n);
      if (kExpSum) {
        value = exp(Simd::sub(value, center));
        Simd::store_n(out + k + v * W, value, n);
      }
      F lane = Simd::load_n(lanes + v * W, n);
      Simd::store_n(lanes + v * W, gather_in<kKernel>(lane, value, center), n);
    }
  }
}

template <ReduceKernel kKernel>
SCONCE_INLINE F combine_two(F a, F b) {
  switch (kKernel) {
    case ReduceKernel::prod: return Simd::mul(a, b);
    case ReduceKernel::min: return minimum(a, b);
    case ReduceKernel::max: return maximum(a, b);
    default: return Simd::add(a, b);
  }
}
template <ReduceKernel kKernel>
void combine(int64_t rows, const float* lanes, float* out, int64_t out_row) {
  constexpr int W = Simd::kLanes;
  // As many rows as a vector has lanes: turned round, vector j has lane j of all of them.
  for (int64_t r = 0; r < rows; r += W) {
    const int n = rows - r < W ? int(rows - r) : W;
    F t[kPanel];
#pragma GCC unroll 16
    for (int v = 0; v < kPanel / W; v++) {
      F* part = t + v * W;
#pragma GCC unroll 16
      for (int i = 0; i < W; i++)
        part[i] = Simd::load(lanes + (r + (i < n ? i : 0)) * kPanel + v * W);
      transpose_vectors(part);
    }
#pragma GCC unroll 4
    for (int half = kPanel / 2; half > 0; half /= 2)
#pragma GCC unroll 8
      for (int j = 0; j < half; j++) t[j] = combine_two<kKernel>(t[j], t[j + half]);
    if (out_row == 1) {
      put(out + r, t[0], n);
      continue;
    }
    float results[W];
    Simd::store(results, t[0]);
    for (int i = 0; i < n; i++) out[(r + i) * out_row] = results[i];
  }
}

}  // namespace
}  // namespace sconce::tile
