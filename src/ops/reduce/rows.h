// Rows: the groups of elements that a reduction, a scan, a norm or a sort works on, one at a time.
//
// A tensor is cut in rows: a row runs over some of its dimensions (in logical order, whatever the
// order in memory), and there is one row per combination of the others. Two tensors cut alike are
// walked in step. Elements pass in blocks of a compute type, as in ops/elementwise.h. Freestanding.
#pragma once

#include "ops/elementwise.h"

namespace sconce {

struct RowAxis { int64_t count, stride; };  // stride in elements

class Rows {
 public:
  // A row runs over the dimensions whose bits are set in `mask`.
  Rows(const Tensor& tensor, uint32_t mask);
  // Free form: one row per combination of `kept`, each over `row`; outermost axis first.
  Rows(const Tensor& tensor, Span<const RowAxis> kept, Span<const RowAxis> row);

  int64_t count() const { return count_; }
  int64_t length() const { return length_; }
  void next();
  // Goes to a row by its number.
  void seek(int64_t row);
  // Elements [first, first + n) of the current row.
  void read(int64_t first, int n, float* to) const;
  void read(int64_t first, int n, double* to) const;
  void read(int64_t first, int n, int64_t* to) const;
  void write(int64_t first, int n, const float* from) const;
  void write(int64_t first, int n, const double* from) const;
  void write(int64_t first, int n, const int64_t* from) const;
  template <class T> void put(T value) const { write(0, 1, &value); }
  template <class T> T get() const {
    T value;
    read(0, 1, &value);
    return value;
  }

 private:
  void set_axes(Span<const RowAxis> kept, Span<const RowAxis> row);
  template <class F> void for_each_run(int64_t first, int n, F body) const;

  char* data_;
  DType dtype_;
  RowAxis kept_[kRankMax], row_[kRankMax];
  int kept_count_ = 0, row_count_ = 0;
  int64_t index_[kRankMax] = {};
  int64_t offset_ = 0, count_ = 1, length_ = 1;
};

// The real (part 0) or imaginary (1) parts of a complex tensor, cut like Rows(tensor, mask).
Rows complex_part(const Tensor& tensor, uint32_t mask, int part);
inline DType part_dtype(DType complex) { return complex == DType::c128 ? DType::f64 : DType::f32; }

// Calls body(block, n, first) for the current row, block by block; the block may be changed.
template <class T, class F>
void for_each_block(const Rows& rows, F body) {
  T block[kBlockCount];
  for (int64_t first = 0; first < rows.length(); first += kBlockCount) {
    int n = int(rows.length() - first < kBlockCount ? rows.length() - first : kBlockCount);
    rows.read(first, n, block);
    body(block, n, first);
  }
}

// Sums block by block, and the sums of blocks in pairs: the error grows with log(count).
template <class T>
class PairwiseSum {
 public:
  void add_block(const T* block, int n) {
    T lanes[8] = {};
    int i = 0;
    for (; i + 8 <= n; i += 8)
      for (int k = 0; k < 8; k++) lanes[k] = plus(lanes[k], block[i + k]);
    for (int k = 0; i < n; i++, k++) lanes[k] = plus(lanes[k], block[i]);
    T sum = plus(plus(plus(lanes[0], lanes[1]), plus(lanes[2], lanes[3])),
                 plus(plus(lanes[4], lanes[5]), plus(lanes[6], lanes[7])));
    int level = 0;
    for (uint64_t c = blocks_; c & 1; c >>= 1) sum = plus(levels_[level++], sum);
    levels_[level] = sum;
    blocks_++;
  }
  T total() const {
    T sum = 0;
    int level = 0;
    for (uint64_t c = blocks_; c; c >>= 1, level++)
      if (c & 1) sum = plus(levels_[level], sum);
    return sum;
  }

 private:
  static T plus(T a, T b) {
    if constexpr (T(1) / T(2) == T(0)) return T(uint64_t(a) + uint64_t(b));  // integers wrap
    else return a + b;
  }
  T levels_[57];  // 2^57 blocks exceed any tensor
  uint64_t blocks_ = 0;
};

template <class T>
T sum_of(const Rows& rows) {
  PairwiseSum<T> sum;
  for_each_block<T>(rows, [&](T* block, int n, int64_t) { sum.add_block(block, n); });
  return sum.total();
}

// Mean and sum of squared deviations of the current row.
template <class T>
struct Moments { T mean, square_sum; };
template <class T>
Moments<T> moments_of(const Rows& rows) {
  T mean = sum_of<T>(rows) / T(rows.length());
  PairwiseSum<T> squares, rest;  // `rest` corrects for the rounding of the mean
  for_each_block<T>(rows, [&](T* block, int n, int64_t) {
    for (int i = 0; i < n; i++) block[i] -= mean;
    rest.add_block(block, n);
    for (int i = 0; i < n; i++) block[i] *= block[i];
    squares.add_block(block, n);
  });
  T shift = rest.total();
  T square_sum = squares.total() - shift * shift / T(rows.length());
  return {mean, square_sum < T(0) ? T(0) : square_sum};
}

// Rounds values of a compute type to `to`, when values of type `from` may not fit it.
template <class T>
void round_block(T* block, int n, DType from, DType to);

// The dimensions in list (or integer) argument i as a mask. None means all; so does an empty list
// when `empty_is_all`.
Status dims_mask(const Args& args, int i, int rank, bool empty_is_all, uint32_t* mask,
                 Diagnostic* diagnostic);
inline uint32_t all_dims(int rank) { return (1u << rank) - 1; }
// Sizes of `x` without the dimensions in `mask`, or with 1 in their place.
void set_reduced(OutMeta& out, const Tensor& x, uint32_t mask, bool keepdim, DType dtype);
// Fails when a row over `mask` is empty, for operators that have no value then.
Status want_elements(const Tensor& x, uint32_t mask, const char* what, Diagnostic* diagnostic);
Status want_floating(const Tensor& x, const char* what, Diagnostic* diagnostic);
Status want_real(const Tensor& x, const char* what, Diagnostic* diagnostic);

// Calls f(float{}), f(double{}) or f(int64_t{}): the compute type of `dtype`.
template <class F>
auto with_compute(DType dtype, F f) {
  switch (compute_of(dtype)) {
    case Compute::f32: return f(float{});
    case Compute::f64: return f(double{});
    default: return f(int64_t{});
  }
}
// The same for what is defined for floating types only.
template <class F>
auto with_floating(DType dtype, F f) {
  return dtype == DType::f64 ? f(double{}) : f(float{});
}

}  // namespace sconce
