#include "quantize/measure.h"

#include <algorithm>
#include <cmath>

namespace sconce {

void Difference::add(Span<const float> wanted, Span<const float> found) {
  for (size_t i = 0; i < wanted.size() && i < found.size(); i++) {
    double a = wanted[i], b = found[i];
    // Masks say "never" with the infinite: equal numbers do not differ.
    if (wanted[i] == found[i] && std::isinf(a)) continue;
    finite &= std::isfinite(b) || !std::isfinite(a);
    if (!std::isfinite(a) || !std::isfinite(b)) continue;
    signal += a * a;
    other += b * b;
    product += a * b;
    noise += (a - b) * (a - b);
  }
}

double Difference::sqnr_db() const {
  if (noise == 0) return 200;
  if (signal == 0) return -200;
  return std::clamp(10 * std::log10(signal / noise), -200.0, 200.0);
}

double Difference::error() const {
  return noise == 0 ? 0 : signal == 0 ? INFINITY : std::sqrt(noise / signal);
}

double Difference::cosine() const {
  return signal == 0 || other == 0 ? double(signal == other) : product / std::sqrt(signal * other);
}

}  // namespace sconce
