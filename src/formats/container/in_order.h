// Work done side by side, its results taken in order: threads fill slots, the caller empties them.
#pragma once

#include <cstddef>
#include <functional>

#include "base/result.h"

namespace sconce {

// Number of threads that a request means: 0 and less is one per processor.
int threads_wanted(int requested);

struct OrderedWork {
  size_t count = 0;
  int threads = 1;
  // Slots that exist: item i is in slot i % slots while it is worked on. At least `threads`.
  size_t slots = 1;
  // Called on any thread, `worker` is its number in [0, threads).
  std::function<Result<void>(int worker, size_t item, size_t slot)> produce;
  // Called on the caller's thread, item after item.
  std::function<Result<void>(size_t item, size_t slot)> consume;
};

// Ends at the first item that fails, in order, with its error. With one thread no other is started.
Result<void> run_in_order(const OrderedWork& work);

}  // namespace sconce
