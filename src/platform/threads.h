// ThreadPool: runs the iterations of a loop on several threads, the caller's among them.
//
// For loops of microseconds: starting one allocates nothing and takes about a microsecond while the
// workers are awake; they spin for 30 us after a loop before they sleep. Code run by the pool must
// not throw. Pools know nothing of each other: two in one process do not wait for one another.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace sconce {

class ThreadPool {
 public:
  // Called as task(context, index, thread); thread is 0 .. size() - 1, 0 for the caller. Within one
  // loop no two running calls have the same thread: scratch memory may be indexed by it.
  using Task = void (*)(void* context, int64_t index, int thread);

  // `threads` counts the caller: 1 starts none; < 1 means as many as there are processors.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Threads that take part, the caller included.
  int size() const { return int(workers_.size()) + 1; }

  // Runs task for index 0 .. count - 1, each once, in no order, and returns when all are done; what
  // they wrote is visible then. `grain` indices are handed out at once (>= 1). A call from inside a
  // task runs on its thread alone (it is thread 0 of that inner loop). Several threads may call the
  // same pool: the first gets the workers, another that comes meanwhile works alone.
  void parallel_for(int64_t count, int64_t grain, Task task, void* context);

  // parallel_for(n, [&](int64_t index, int thread) { ... }); the function is not copied.
  template <class Function>
  void parallel_for(int64_t count, const Function& function, int64_t grain = 1) {
    parallel_for(
        count, grain,
        [](void* context, int64_t index, int thread) {
          (*static_cast<const Function*>(context))(index, thread);
        },
        const_cast<void*>(static_cast<const void*>(&function)));
  }

 private:
  struct Loop {
    Task task = nullptr;
    void* context = nullptr;
    int64_t count = 0, grain = 1;
  };
  void work(int thread);
  void take_part(const Loop& loop, int thread);

  std::vector<std::thread> workers_;
  Loop loop_;                                 // written by the caller while the loop is closed
  alignas(64) std::atomic<int64_t> next_{0};  // first index nobody has taken
  // Bit 0: the loop is open to workers; bits 1-15: workers inside; above: which loop it is.
  alignas(64) std::atomic<uint64_t> state_{0};
  alignas(64) std::atomic<bool> busy_{false};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;  // of the two below
  std::condition_variable wake_;
  std::atomic<int> sleepers_{0};
};

}  // namespace sconce
