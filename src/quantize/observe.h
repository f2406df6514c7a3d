// Observers: what is known of a value's numbers after samples ran, and which range of them is worth
// 256 steps.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"

namespace sconce {

enum class Observer : uint8_t { min_max, moving_average, percentile, kl, mse };
Result<Observer> find_observer(const std::string& name);

// Numbers counted in bins of the same width between `low` and `high`. Zeros are left out: every
// range has them exactly, and a relu's many would hide the rest.
struct Histogram {
  static constexpr size_t kBins = 2048;
  double low = 0, high = 0;
  std::vector<double> counts;  // kBins, or empty before the range is known
  void start(double low, double high);
  void add(Span<const float> numbers);
  double middle(size_t bin) const { return low + (double(bin) + 0.5) * (high - low) / kBins; }
};

struct Observed {
  uint64_t count = 0;
  double min = 0, max = 0;                  // of all numbers
  double average_min = 0, average_max = 0;  // moving over samples, as torch's observer
  Histogram histogram;
  // By channel of `channel_dim`: mean and largest magnitude.
  std::vector<double> channel_mean, channel_max;
  uint64_t samples = 0;

  // Numbers of one sample. False at the first one that is NaN or infinite, whose place is kept.
  bool add(Span<const float> numbers);
  // The same numbers by channel: `outer` times [channels][inner].
  void add_channels(Span<const float> numbers, size_t channels, size_t inner);
  uint64_t bad_index = 0;
  float bad_number = 0;

 private:
  uint64_t channel_count_ = 0;
};

// q = round(x / scale) + zero, in -128 .. 127; the range holds 0.
struct Range {
  double scale = 1;
  int64_t zero = 0;
};
Range range_of(double low, double high);
// Histograms are asked for by all but the first two observers.
bool wants_histogram(Observer observer);
Range choose_range(const Observed& observed, Observer observer, double percentile);

}  // namespace sconce
