// One loop at a time. The caller writes loop_ and opens it in state_; a worker that finds it open
// enters by a compare-exchange and takes indices until none are left. The caller does the same,
// then closes the loop and waits for those inside. A worker that wakes late finds it closed and is
// not waited for, so a sleeping worker never delays a short loop.
#include "platform/threads.h"

#include <chrono>

#include "platform/cpu.h"

namespace sconce {
namespace {

constexpr auto kSpin = std::chrono::microseconds(30);

// Fields of state_.
constexpr uint64_t kOpen = 1, kOneInside = 2, kInsideMask = 0xfffe;
constexpr int kNumberShift = 16, kThreadsMax = 0x7fff;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// The thread runs a task: loops started now run inline.
thread_local bool inside_task = false;

// Returns true as soon as done() holds, false when it did not within `kSpin`.
template <class Done>
bool spin_until(const Done& done) {
  auto end = std::chrono::steady_clock::now() + kSpin;
  for (;;) {
    for (int i = 0; i < 64; i++) {
      if (done()) return true;
      pause();
    }
    if (std::chrono::steady_clock::now() >= end) return false;
  }
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  if (threads < 1) threads = processor_count();
  if (threads > kThreadsMax) threads = kThreadsMax;
  workers_.reserve(size_t(threads - 1));
  for (int i = 1; i < threads; i++) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::take_part(const Loop& loop, int thread) {
  bool outer = inside_task;
  inside_task = true;
  for (;;) {
    // Bounded: each thread adds at most once past the end, so next_ cannot overflow.
    int64_t first = next_.fetch_add(loop.grain, std::memory_order_relaxed);
    if (first >= loop.count) break;
    int64_t last = loop.count - first < loop.grain ? loop.count : first + loop.grain;
    for (int64_t i = first; i < last; i++) loop.task(loop.context, i, thread);
  }
  inside_task = outer;
}

void ThreadPool::work(int thread) {
  uint64_t seen = 0;  // number of the last loop entered
  for (;;) {
    auto called = [&] {
      uint64_t state = state_.load();
      return ((state & kOpen) && state >> kNumberShift != seen) || stop_.load();
    };
    if (!spin_until(called)) {
      std::unique_lock lock(mutex_);
      sleepers_.fetch_add(1);
      wake_.wait(lock, called);
      sleepers_.fetch_sub(1);
    }
    if (stop_.load()) return;
    uint64_t state = state_.load(std::memory_order_acquire);
    while ((state & kOpen) && state >> kNumberShift != seen) {
      if (!state_.compare_exchange_weak(state, state + kOneInside, std::memory_order_acquire))
        continue;
      seen = state >> kNumberShift;
      take_part(loop_, thread);
      state_.fetch_sub(kOneInside, std::memory_order_release);
      break;
    }
  }
}

void ThreadPool::parallel_for(int64_t count, int64_t grain, Task task, void* context) {
  if (count <= 0) return;
  if (grain < 1) grain = 1;
  if (grain > count) grain = count;
  bool alone = workers_.empty() || count <= grain || inside_task;
  if (alone || busy_.exchange(true, std::memory_order_acquire)) {
    bool outer = inside_task;
    inside_task = true;
    for (int64_t i = 0; i < count; i++) task(context, i, 0);
    inside_task = outer;
    return;
  }
  loop_ = {task, context, count, grain};
  next_.store(0, std::memory_order_relaxed);
  // Sequentially consistent with sleepers_: either we see a sleeper and wake it under the mutex, or
  // it sees the open loop before it sleeps.
  uint64_t number = (state_.load(std::memory_order_relaxed) >> kNumberShift) + 1;
  state_.store(number << kNumberShift | kOpen);
  if (sleepers_.load() > 0) {
    { std::lock_guard lock(mutex_); }
    wake_.notify_all();
  }
  take_part(loop_, 0);
  uint64_t state = state_.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen;
  for (int spins = 0; state & kInsideMask; spins++) {
    pause();
    // A worker may have been put aside by the system; do not take the processor it waits for.
    if (spins > 4096) std::this_thread::yield();
    state = state_.load(std::memory_order_acquire);
  }
  busy_.store(false, std::memory_order_release);
}

}  // namespace sconce
