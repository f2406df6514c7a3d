#include "quantize/round.h"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>

#include "base/status.h"

namespace sconce {
namespace {

constexpr float kLeast = 1e-25f;  // smaller weights count as 0: their scale would be no normal f32

int largest(int bits) { return bits == 8 ? 127 : 7; }
int smallest(int bits) { return bits == 8 ? -127 : -8; }

int8_t rounded(float x, float per_step, int bits) {
  float q = std::rint(x * per_step);
  return int8_t(std::clamp(q, float(smallest(bits)), float(largest(bits))));
}

// The scale of one group. At 8 bits clipping costs more than it saves.
float scale_of(const float* x, int64_t count, int bits) {
  float most = 0;
  for (int64_t i = 0; i < count; i++) most = std::max(most, std::fabs(x[i]));
  if (!(most > kLeast)) return 1;
  float widest = most / float(largest(bits));
  if (bits == 8) return widest;
  float best = widest;
  double least = INFINITY;
  // From 8 steps for the largest number down to clipping 45 % of it. A negative scale is not used:
  // -8 is there for whichever numbers need it.
  for (int i = 0; i < 48; i++) {
    float scale = widest * (1.0f - float(i) * 0.0125f), per = 1 / scale;
    double sum = 0;
    for (int64_t k = 0; k < count; k++) {
      float e = x[k] - float(rounded(x[k], per, bits)) * scale;
      sum += double(e * e);
    }
    if (sum < least) {
      least = sum;
      best = scale;
    }
  }
  return best;
}

template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using RowsView = Eigen::Map<const RowMajor<T>, 0, Eigen::OuterStride<>>;

}  // namespace

RoundedRows round_rows(Span<const float> weights, int64_t rows, int64_t columns, int bits,
                       int64_t group) {
  RoundedRows out;
  out.rows = rows, out.columns = columns, out.group = group, out.bits = bits;
  out.q.resize(size_t(rows * columns));
  int64_t size = group ? group : columns;
  out.scales.reserve(size_t(rows * (columns / size)));
  for (int64_t at = 0; at < rows * columns; at += size) {
    float scale = scale_of(&weights[size_t(at)], size, bits), per = 1 / scale;
    out.scales.push_back(scale);
    for (int64_t i = at; i < at + size; i++)
      out.q[size_t(i)] = rounded(weights[size_t(i)], per, bits);
  }
  return out;
}

void InputProducts::add(Span<const float> rows) {
  if (columns < 1 || columns > kColumnsMax) return;
  size_t k = size_t(columns);
  sums.resize(k * k);
  size_t many = rows.size() / k;
  many = size_t(std::min<uint64_t>(many, kRowsMax - std::min(count, kRowsMax)));
  // Some rows at a time in f32, which is exact enough for so few, then in f64. The upper half by
  // rows is the lower half by columns.
  constexpr size_t kBlock = 128;
  Eigen::MatrixXf part(k, k);
  Eigen::Map<Eigen::MatrixXd> all(sums.data(), columns, columns);
  for (size_t first = 0; first < many; first += kBlock) {
    RowsView<float> block(&rows[first * k], Eigen::Index(std::min(kBlock, many - first)), columns,
                          Eigen::OuterStride<>(columns));
    part.triangularView<Eigen::Lower>().setZero();
    part.selfadjointView<Eigen::Lower>().rankUpdate(block.transpose());
    all.triangularView<Eigen::Lower>() += part.cast<double>();
  }
  count += many;
}

std::optional<ColumnShares> column_shares(const InputProducts& products) {
  int64_t k = products.columns;
  if (products.count == 0 || k < 1 || products.sums.size() != size_t(k * k)) return std::nullopt;
  const double* sums = products.sums.data();
  double mean = 0;
  for (int64_t i = 0; i < k; i++) mean += sums[i * k + i] / double(k);
  if (!(mean > 0) || !std::isfinite(mean)) return std::nullopt;
  // The order of columns turned round, R is the usual lower triangle.
  Eigen::MatrixXd lower(k, k);
  for (int64_t j = 0; j < k; j++) {
    for (int64_t i = j; i < k; i++) lower(i, j) = sums[(k - 1 - i) * k + (k - 1 - j)];
    lower(j, j) += 0.01 * mean;
  }
  Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> factor(lower);
  if (factor.info() != Eigen::Success || !std::isfinite(lower(k - 1, k - 1))) return std::nullopt;
  ColumnShares out{k, std::vector<float>(size_t(k * k))};
  for (int64_t i = 0; i < k; i++) {
    double pivot = lower(k - 1 - i, k - 1 - i);
    for (int64_t j = 0; j < i; j++)
      out.shares[size_t(j * k + i)] = float(lower(k - 1 - j, k - 1 - i) / pivot);
  }
  return out;
}

namespace {

// One row within a block of columns [first, first + count).
struct RowBlock {
  const ColumnShares& shares;
  int64_t first, count, group;  // group: columns that share a scale within the block, 0 for none
  int bits;
  float* wanted;  // weights with what earlier blocks left to them
  const float* weights;
  float* errors;
  int8_t* q;
  float* scales;  // of the block's groups, or of the row

  // The scale for columns from `at`: of the numbers that would suit best were they not to be
  // rounded.
  float group_scale(int64_t at, std::vector<float>& best) const {
    best.assign(wanted + at, wanted + at + group);
    for (int64_t i = 0; i + 1 < group; i++) {
      float error = weights[at + i] - best[size_t(i)];
      const float* share = &shares.shares[size_t((first + at + i) * shares.columns + first + at)];
      for (int64_t j = i + 1; j < group; j++) best[size_t(j)] += error * share[j];
    }
    return scale_of(best.data(), group, bits);
  }

  void round(std::vector<float>& scratch) const {
    for (int64_t i = 0; i < count; i++) {
      float& scale = scales[group ? i / group : 0];
      if (group && i % group == 0) scale = group_scale(i, scratch);
      q[i] = rounded(wanted[i], 1 / scale, bits);
      float error = errors[i] = weights[i] - float(q[i]) * scale;
      const float* share = &shares.shares[size_t((first + i) * shares.columns + first)];
      for (int64_t j = i + 1; j < count; j++) wanted[j] += error * share[j];
    }
  }
};

}  // namespace

RoundedRows round_rows_for_inputs(Span<const float> weights, int64_t rows, int64_t columns,
                                  int bits, int64_t group, const ColumnShares& shares,
                                  ThreadPool& threads) {
  CHECK(shares.columns == columns);
  constexpr int64_t kColumns = 128, kRows = 64;  // of a block, about; of a task
  RoundedRows out = round_rows(weights, rows, columns, bits, group);
  int64_t width = group ? group * std::max<int64_t>(1, kColumns / group) : kColumns;
  int64_t groups = group ? columns / group : 1;
  threads.parallel_for((rows + kRows - 1) / kRows, [&](int64_t task, int) {
    int64_t top = task * kRows, height = std::min(kRows, rows - top);
    RowMajor<float> errors(height, columns), wanted;
    std::vector<float> scratch;
    for (int64_t first = 0; first < columns; first += width) {
      int64_t count = std::min(width, columns - first);
      const float* from = &weights[size_t(top * columns + first)];
      wanted = RowsView<float>(from, height, count, Eigen::OuterStride<>(columns));
      wanted.noalias() +=
          errors.leftCols(first) * RowsView<float>(&shares.shares[size_t(first)], first, count,
                                                   Eigen::OuterStride<>(columns));
      for (int64_t r = 0; r < height; r++) {
        int64_t at = (top + r) * columns + first;
        RowBlock{shares,
                 first,
                 count,
                 group,
                 bits,
                 &wanted(r, 0),
                 from + r * columns,
                 &errors(r, first),
                 &out.q[size_t(at)],
                 &out.scales[size_t((top + r) * groups + (group ? first / group : 0))]}
            .round(scratch);
      }
    }
  });
  return out;
}

}  // namespace sconce
