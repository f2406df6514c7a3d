#include "quantize/observe.h"

#include <algorithm>
#include <cmath>

namespace sconce {

Result<Observer> find_observer(const std::string& name) {
  if (name == "min-max") return Observer::min_max;
  if (name == "moving-average") return Observer::moving_average;
  if (name == "percentile") return Observer::percentile;
  if (name == "kl") return Observer::kl;
  if (name == "mse") return Observer::mse;
  return error(Code::invalid_argument,
               "observer \"{}\" is not known; there are min-max, moving-average, percentile, kl, "
               "mse",
               name);
}

void Histogram::start(double from, double to) {
  low = from;
  high = to;
  counts.assign(kBins, 0);
}

void Histogram::add(Span<const float> numbers) {
  double width = (high - low) / kBins;
  if (!(width > 0)) return;
  double per = 1 / width;
  for (float x : numbers) {
    if (x == 0) continue;
    double at = (double(x) - low) * per;
    counts[at <= 0 ? 0 : std::min(size_t(at), kBins - 1)] += 1;
  }
}

bool Observed::add(Span<const float> numbers) {
  if (numbers.empty()) return true;
  float low = numbers[0], high = numbers[0];
  bool finite = true;
  for (float x : numbers) {
    low = std::min(low, x);
    high = std::max(high, x);
    finite &= std::isfinite(x);
  }
  if (!finite) {
    for (size_t i = 0; i < numbers.size(); i++)
      if (!std::isfinite(numbers[i])) {
        bad_index = i;
        bad_number = numbers[i];
        return false;
      }
  }
  constexpr double kShare = 0.01;
  if (samples == 0) {
    min = average_min = low;
    max = average_max = high;
  } else {
    min = std::min(min, double(low));
    max = std::max(max, double(high));
    average_min += kShare * (low - average_min);
    average_max += kShare * (high - average_max);
  }
  count += numbers.size();
  samples++;
  return true;
}

void Observed::add_channels(Span<const float> numbers, size_t channels, size_t inner) {
  if (channels == 0 || inner == 0 || numbers.empty()) return;
  channel_mean.resize(channels);
  channel_max.resize(channels);
  size_t outer = numbers.size() / (channels * inner);
  uint64_t before = channel_count_, after = before + outer * inner;
  std::vector<double> sums(channels, 0);
  for (size_t o = 0, at = 0; o < outer; o++)
    for (size_t c = 0; c < channels; c++) {
      double sum = 0;
      float largest = float(channel_max[c]);
      for (size_t i = 0; i < inner; i++, at++) {
        sum += numbers[at];
        largest = std::max(largest, std::fabs(numbers[at]));
      }
      sums[c] += sum;
      channel_max[c] = largest;
    }
  for (size_t c = 0; c < channels; c++)
    channel_mean[c] = (channel_mean[c] * double(before) + sums[c]) / double(after);
  channel_count_ = after;
}

Range range_of(double low, double high) {
  low = std::min(low, 0.0);
  high = std::max(high, 0.0);
  Range range;
  double scale = (high - low) / 255;
  // A value that is always 0, or as good as that, takes any scale; infinite ones are for f32's end.
  if (!(scale > 1e-20)) return range;
  range.scale = double(float(std::min(scale, 1e30)));
  range.zero = int64_t(std::clamp(std::rint(-128 - low / range.scale), -128.0, 127.0));
  return range;
}

bool wants_histogram(Observer observer) {
  return observer != Observer::min_max && observer != Observer::moving_average;
}

namespace {

struct Ends {
  double low, high;
};

// Cuts the same share off both ends.
Ends percentile_ends(const Histogram& h, double percentile) {
  double total = 0;
  for (double count : h.counts) total += count;
  double cut = total * (1 - percentile / 100) / 2, sum = 0;
  size_t first = 0, last = Histogram::kBins - 1;
  while (first < last && sum + h.counts[first] <= cut) sum += h.counts[first++];
  sum = 0;
  while (last > first && sum + h.counts[last] <= cut) sum += h.counts[last--];
  double width = (h.high - h.low) / Histogram::kBins;
  return {h.low + double(first) * width, h.low + double(last + 1) * width};
}

// Mean square of what rounding to the range changes.
double square_error(const Histogram& h, Ends ends) {
  Range range = range_of(ends.low, ends.high);
  double width = (h.high - h.low) / Histogram::kBins, sum = 0;
  double low = (-128 - double(range.zero)) * range.scale,
         high = (127 - double(range.zero)) * range.scale;
  // Inside the range numbers of a bin spread evenly over steps when the bin is wider than a step.
  double inside = range.scale * range.scale / 12;
  for (size_t b = 0; b < Histogram::kBins; b++) {
    if (h.counts[b] == 0) continue;
    double x = h.middle(b);
    double e = x < low ? low - x : x > high ? x - high : 0;
    double square = e * e;
    if (e == 0) {
      double q = std::rint(x / range.scale) * range.scale;
      square = width > range.scale ? inside : (x - q) * (x - q) + width * width / 12;
    }
    sum += h.counts[b] * square;
  }
  return sum;
}

// Kullback-Leibler divergence of the numbers from what 256 steps of the range tell of them; what
// lies outside counts at its ends.
double divergence(const Histogram& h, Ends ends) {
  double width = (h.high - h.low) / Histogram::kBins;
  size_t first = size_t(std::clamp((ends.low - h.low) / width, 0.0, double(Histogram::kBins - 1)));
  size_t last = size_t(
      std::clamp((ends.high - h.low) / width - 1, double(first), double(Histogram::kBins - 1)));
  std::vector<double> p(h.counts.begin() + int64_t(first), h.counts.begin() + int64_t(last) + 1);
  std::vector<double> inside = p;
  for (size_t b = 0; b < first; b++) p.front() += h.counts[b];
  for (size_t b = last + 1; b < Histogram::kBins; b++) p.back() += h.counts[b];
  std::vector<double> q(p.size(), 0);
  constexpr size_t kSteps = 256;
  for (size_t s = 0; s < kSteps; s++) {
    size_t from = s * p.size() / kSteps, to = (s + 1) * p.size() / kSteps;
    double sum = 0;
    size_t some = 0;
    for (size_t b = from; b < to; b++) sum += inside[b], some += p[b] > 0;
    for (size_t b = from; b < to; b++)
      if (p[b] > 0) q[b] = sum / double(some);
  }
  double p_sum = 0, result = 0;
  for (double count : p) p_sum += count;
  if (!(p_sum > 0)) return 0;
  for (size_t b = 0; b < p.size(); b++)
    if (p[b] > 0) {
      // Not by q's own sum: what was cut off would look as if it had never been there.
      double a = p[b] / p_sum, c = std::max(q[b] / p_sum, 1e-9);
      result += a * std::log(a / c);
    }
  return result;
}

// Shrinks both ends together, then each alone, as long as `cost` gets smaller.
template <class Cost>
Ends best_ends(Ends all, Cost cost) {
  Ends best = all;
  double least = cost(all);
  auto look = [&](Ends ends) {
    double now = cost(ends);
    if (now < least) {
      least = now;
      best = ends;
    }
  };
  constexpr int kSteps = 48;
  for (int i = 1; i < kSteps; i++) {
    double share = 1 - double(i) / kSteps;
    look({all.low * share, all.high * share});
  }
  for (int round = 0; round < 2; round++)
    for (int side = 0; side < 2; side++) {
      Ends from = best;
      for (int i = -8; i <= 8; i++) {
        double share = 1 + double(i) / 32;
        Ends ends = from;
        if (side == 0)
          ends.low = std::max(all.low, from.low * share);
        else
          ends.high = std::min(all.high, from.high * share);
        look(ends);
      }
    }
  return best;
}

}  // namespace

Range choose_range(const Observed& observed, Observer observer, double percentile) {
  Ends all{std::min(observed.min, 0.0), std::max(observed.max, 0.0)};
  const Histogram& h = observed.histogram;
  if (observer == Observer::moving_average)
    return range_of(observed.average_min, observed.average_max);
  if (observer == Observer::min_max || h.counts.empty() || !(h.high > h.low))
    return range_of(all.low, all.high);
  Ends ends = all;
  if (observer == Observer::percentile) {
    ends = percentile_ends(h, percentile);
  } else if (observer == Observer::mse) {
    ends = best_ends(all, [&](Ends e) { return square_error(h, e); });
  } else {
    ends = best_ends(all, [&](Ends e) { return divergence(h, e); });
  }
  return range_of(ends.low, ends.high);
}

}  // namespace sconce
