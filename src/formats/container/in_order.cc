#include "formats/container/in_order.h"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace sconce {

int threads_wanted(int requested) {
  if (requested > 0) return requested;
  return std::max(1, int(std::thread::hardware_concurrency()));
}

Result<void> run_in_order(const OrderedWork& work) {
  if (work.threads <= 1 || work.count <= 1) {
    for (size_t i = 0; i < work.count; ++i) {
      TRY_VOID(work.produce(0, i, i % work.slots));
      TRY_VOID(work.consume(i, i % work.slots));
    }
    return {};
  }
  std::mutex mutex;
  std::condition_variable emptied, filled;
  size_t next = 0, consumed = 0;
  bool stop = false;
  std::vector<std::optional<Result<void>>> results(work.slots);
  auto run_worker = [&](int worker) {
    std::unique_lock lock(mutex);
    for (;;) {
      emptied.wait(lock,
                   [&] { return stop || next == work.count || next < consumed + work.slots; });
      if (stop || next == work.count) return;
      size_t item = next++;
      lock.unlock();
      Result<void> result = work.produce(worker, item, item % work.slots);
      lock.lock();
      results[item % work.slots] = std::move(result);
      if (item == consumed) filled.notify_one();
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < work.threads; ++t) threads.emplace_back(run_worker, t);
  Result<void> outcome;
  for (size_t i = 0; i < work.count && outcome.ok(); ++i) {
    size_t slot = i % work.slots;
    {
      std::unique_lock lock(mutex);
      filled.wait(lock, [&] { return results[slot].has_value(); });
      outcome = std::move(*results[slot]);
      results[slot].reset();
    }
    if (outcome.ok()) outcome = work.consume(i, slot);
    std::lock_guard lock(mutex);
    consumed = i + 1;
    emptied.notify_one();
  }
  {
    std::lock_guard lock(mutex);
    stop = true;
  }
  emptied.notify_all();
  for (std::thread& thread : threads) thread.join();
  return outcome;
}

}  // namespace sconce
