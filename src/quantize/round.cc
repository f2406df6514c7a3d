#include "quantize/round.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

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

double dot(const double* a, const double* b, int64_t count) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (int k = 0; k < 8; k++) sums[k] += a[i + k] * b[i + k];
  double sum = 0;
  for (; i < count; i++) sum += a[i] * b[i];
  for (double s : sums) sum += s;
  return sum;
}

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
  // A few rows at a time in f32, which is exact enough for so few, then in f64.
  constexpr size_t kBlock = 16;
  std::vector<float> part(k);
  for (size_t first = 0; first < many; first += kBlock) {
    size_t last = std::min(many, first + kBlock);
    for (size_t i = 0; i < k; i++) {
      std::fill(part.begin() + ptrdiff_t(i), part.end(), 0.0f);
      for (size_t r = first; r < last; r++) {
        const float* row = &rows[r * k];
        float x = row[i];
        if (x == 0) continue;
        for (size_t j = i; j < k; j++) part[j] += x * row[j];
      }
      double* sum = &sums[i * k];
      for (size_t j = i; j < k; j++) sum[j] += double(part[j]);
    }
  }
  count += many;
}

bool round_rows_for_inputs(Span<const float> weights, int64_t rows, int64_t columns, int bits,
                           int64_t group, const InputProducts& products, RoundedRows* out) {
  *out = round_rows(weights, rows, columns, bits, group);
  size_t k = size_t(columns);
  if (products.count == 0 || products.columns != columns || products.sums.size() != k * k)
    return false;
  // H = R R' with R upper triangular; then the upper triangle U with H^-1 = U' U is R^-1.
  std::vector<double> h = products.sums;
  double mean = 0;
  for (size_t i = 0; i < k; i++) mean += h[i * k + i] / double(k);
  if (!(mean > 0) || !std::isfinite(mean)) return false;
  for (size_t i = 0; i < k; i++) h[i * k + i] += 0.01 * mean;
  for (size_t j = k; j-- > 0;) {
    double* row_j = &h[j * k];
    double pivot = row_j[j] - dot(row_j + j + 1, row_j + j + 1, int64_t(k - j - 1));
    if (!(pivot > 0)) return false;
    row_j[j] = std::sqrt(pivot);
    for (size_t i = 0; i < j; i++) {
      double* row_i = &h[i * k];
      row_i[j] = (row_i[j] - dot(row_i + j + 1, row_j + j + 1, int64_t(k - j - 1))) / row_j[j];
    }
  }
  std::vector<double> inverse(k * k, 0);
  for (size_t i = k; i-- > 0;) {
    double* row = &inverse[i * k];
    double per = 1 / h[i * k + i];
    for (size_t m = i + 1; m < k; m++) {
      double factor = h[i * k + m];
      if (factor == 0) continue;
      const double* from = &inverse[m * k];
      for (size_t j = m; j < k; j++) row[j] += factor * from[j];
    }
    for (size_t j = i + 1; j < k; j++) row[j] *= -per;
    row[i] = per;
  }
  std::vector<float> shares(k * k);  // of an error at column i that goes to column j
  for (size_t i = 0; i < k; i++)
    for (size_t j = i + 1; j < k; j++)
      shares[i * k + j] = float(inverse[i * k + j] / inverse[i * k + i]);
  size_t size = size_t(group ? group : columns), groups = k / size;
  std::vector<float> w(k);
  for (size_t r = 0; r < size_t(rows); r++) {
    std::copy_n(&weights[r * k], k, w.begin());
    for (size_t i = 0; i < k; i++) {
      float& scale = out->scales[r * groups + i / size];
      if (group && i % size == 0) scale = scale_of(&w[i], int64_t(size), bits);
      int8_t q = rounded(w[i], 1 / scale, bits);
      out->q[r * k + i] = q;
      float error = w[i] - float(q) * scale;
      if (error == 0) continue;
      const float* share = &shares[i * k];
      for (size_t j = i + 1; j < k; j++) w[j] -= error * share[j];
    }
  }
  return true;
}

}  // namespace sconce
