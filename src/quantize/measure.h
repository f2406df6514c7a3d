// Measuring: how far the numbers of one run are from those of another.
#pragma once

#include <vector>

#include "base/span.h"

namespace sconce {

// Sums over all that was added.
struct Difference {
  double signal = 0, noise = 0, product = 0, other = 0;
  bool finite = true;
  void add(Span<const float> wanted, Span<const float> found);
  double sqnr_db() const;  // 200 when nothing differs
  double error() const;    // RMS of the difference over RMS of what is wanted
  double cosine() const;
};

}  // namespace sconce
