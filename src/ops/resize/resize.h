// Interpolation along one axis: which inputs make an output, with which weights.
//
// Follows torch in the type of the weights (float for f16, bf16 and f32), so that positions that fall
// between two inputs are decided alike. Used by kernels and, to make weight matrices, by definitions.
#pragma once

#include <cmath>

#include "ops/kernel.h"

namespace sconce {

enum class Filter : uint8_t { nearest, nearest_exact, linear, cubic };

// Inputs per output step. `scale` is what the caller asked for (outputs per input); 0 or less: none.
template <class T>
T resize_step(int64_t in, int64_t out, bool align_corners, double scale) {
  if (align_corners) return out > 1 ? T(in - 1) / T(out - 1) : T(0);
  return scale > 0 ? T(1.0 / scale) : T(in) / T(out);
}

template <class T>
struct ResizeAxis {
  int64_t in = 1, out = 1;
  T step = 1;
  bool align_corners = false;
  bool antialias = false;
  Filter filter = Filter::linear;

  // Most inputs that one output can have.
  int64_t taps_max() const { return antialias ? in : filter == Filter::cubic ? 4 : 2; }
  // Inputs first .. first + count - 1 make output `o`; returns count and writes weights.
  int64_t weights(int64_t o, int64_t* first, T* to) const {
    if (antialias) return antialias_weights(o, first, to);
    if (filter == Filter::linear && in == out) {
      *first = o;
      to[0] = 1;
      return 1;
    }
    T at = align_corners ? step * T(o) : step * (T(o) + T(0.5)) - T(0.5);
    if (filter == Filter::linear) {
      if (!(at > T(0))) at = 0;
      int64_t index = floor_below(at);
      T fraction = clamp_fraction(at - T(index));
      *first = index;
      to[0] = T(1) - fraction;
      to[1] = fraction;
      if (index < in - 1) return 2;
      to[0] = 1;  // both weights fall on the last input
      return 1;
    }
    int64_t index = floor_below(at);
    T t = clamp_fraction(at - T(index)), a = T(-0.75);
    T coefficients[4] = {outer(t + T(1), a), inner(t, a), inner(T(1) - t, a), outer(T(2) - t, a)};
    int64_t begin = index - 1 < 0 ? 0 : index - 1, end = index + 2 > in - 1 ? in - 1 : index + 2;
    if (begin > end) begin = end;
    *first = begin;
    for (int64_t i = begin; i <= end; i++) to[i - begin] = 0;
    for (int64_t j = 0; j < 4; j++) {
      int64_t i = index - 1 + j;
      i = i < begin ? begin : i > end ? end : i;
      to[i - begin] += coefficients[j];
    }
    return end - begin + 1;
  }

  // Input that makes output `o` (filters nearest and nearest_exact).
  int64_t nearest(int64_t o) const {
    T at = filter == Filter::nearest ? T(o) * step : (T(o) + T(0.5)) * step;
    int64_t index = floor_below(at);
    return index < 0 ? 0 : index;
  }

 private:
  // floor(at), at most in - 1; safe for every value of `at`.
  int64_t floor_below(T at) const {
    if (!(at < T(in))) return in - 1;
    if (at < T(-1e9)) return -1000000000;
    int64_t index = int64_t(std::floor(at));
    return index < in - 1 ? index : in - 1;
  }
  static T clamp_fraction(T x) { return x < T(0) ? T(0) : x > T(1) ? T(1) : x; }
  static T inner(T x, T a) { return ((a + T(2)) * x - (a + T(3))) * x * x + T(1); }
  static T outer(T x, T a) { return ((a * x - T(5) * a) * x + T(8) * a) * x - T(4) * a; }

  int64_t antialias_weights(int64_t o, int64_t* first, T* to) const {
    T half = filter == Filter::cubic ? T(2) : T(1);
    T support = step >= T(1) ? half * step : half, invert = step >= T(1) ? T(1) / step : T(1);
    T center = step * (T(o) + T(0.5));
    // Truncated towards zero, as torch does.
    int64_t begin = clamp_index(center - support + T(0.5)), end = clamp_index(center + support + T(0.5));
    if (begin >= end) {  // beyond the input: nothing contributes
      *first = 0;
      to[0] = 0;
      return 1;
    }
    T total = 0;
    for (int64_t i = begin; i < end; i++) {
      T x = (T(i) - center + T(0.5)) * invert;
      if (x < T(0)) x = -x;
      T w = 0;
      if (filter == Filter::linear) w = x < T(1) ? T(1) - x : T(0);
      else if (x < T(1)) w = inner(x, T(-0.5));
      else if (x < T(2)) w = outer(x, T(-0.5));
      to[i - begin] = w;
      total += w;
    }
    if (total != T(0))
      for (int64_t i = begin; i < end; i++) to[i - begin] /= total;
    *first = begin;
    return end - begin;
  }
  int64_t clamp_index(T x) const {
    if (!(x > T(0))) return 0;
    return x < T(in) ? int64_t(x) : in;
  }
};

}  // namespace sconce
