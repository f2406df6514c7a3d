#include "platform/threads.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>

namespace sconce {
namespace {

std::vector<int> visits(ThreadPool& pool, int64_t count, int64_t grain) {
  std::vector<int> seen(static_cast<size_t>(count), 0);
  pool.parallel_for(
      count, [&](int64_t i, int) { seen[size_t(i)]++; }, grain);
  return seen;
}

TEST(ThreadPool, visits_every_index_once_whatever_the_grain) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (int64_t count : {0, 1, 2, 7, 64, 1000})
      for (int64_t grain : {1, 3, 64, 5000}) {
        auto seen = visits(pool, count, grain);
        EXPECT_EQ(seen, std::vector<int>(size_t(count), 1)) << threads << " " << count;
      }
  }
}

TEST(ThreadPool, negative_counts_and_grains_do_nothing_wrong) {
  ThreadPool pool(2);
  pool.parallel_for(-5, [](int64_t, int) { FAIL(); });
  EXPECT_EQ(visits(pool, 10, -1), std::vector<int>(10, 1));
  EXPECT_EQ(visits(pool, 10, INT64_MAX), std::vector<int>(10, 1));
}

TEST(ThreadPool, a_size_below_one_means_all_processors) {
  ThreadPool pool(0);
  EXPECT_GE(pool.size(), 1);
}

TEST(ThreadPool, results_are_visible_after_the_loop_in_many_short_loops) {
  ThreadPool pool(3);
  int64_t values[7] = {};
  for (int64_t round = 1; round <= 2000; round++) {
    pool.parallel_for(7, [&](int64_t i, int) { values[i] += i; });
    for (int64_t i = 0; i < 7; i++) ASSERT_EQ(values[i], i * round);
  }
}

TEST(ThreadPool, wakes_workers_that_sleep) {
  ThreadPool pool(3);
  for (int round = 0; round < 20; round++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    EXPECT_EQ(visits(pool, 100, 1), std::vector<int>(100, 1));
  }
}

TEST(ThreadPool, a_thread_number_is_never_in_use_twice) {
  ThreadPool pool(4);
  std::atomic<int> inside[4] = {};
  std::atomic<bool> clash{false};
  pool.parallel_for(5000, [&](int64_t, int thread) {
    if (inside[thread].fetch_add(1) != 0) clash = true;
    inside[thread].fetch_sub(1);
  });
  EXPECT_FALSE(clash);
}

TEST(ThreadPool, a_loop_inside_a_task_runs_inline) {
  ThreadPool pool(3);
  std::atomic<int64_t> sum{0};
  pool.parallel_for(20, [&](int64_t, int) {
    auto here = std::this_thread::get_id();
    pool.parallel_for(10, [&](int64_t j, int thread) {
      EXPECT_EQ(std::this_thread::get_id(), here);
      EXPECT_EQ(thread, 0);
      sum += j;
    });
  });
  EXPECT_EQ(sum, 20 * 45);
}

TEST(ThreadPool, callers_of_one_pool_and_pools_of_one_process_do_not_wait_for_each_other) {
  ThreadPool shared(3), own(2);
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; c++)
    callers.emplace_back([&, c] {
      for (int round = 0; round < 500; round++)
        (c == 3 ? own : shared).parallel_for(16, [&](int64_t i, int) { sum += i; });
    });
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(sum, 4 * 500 * 120);
}

TEST(ThreadPool, pools_come_and_go) {
  for (int round = 0; round < 50; round++) {
    ThreadPool pool(1 + round % 4);
    if (round % 2 == 0) continue;  // used not at all
    EXPECT_EQ(visits(pool, 9, 1), std::vector<int>(9, 1));
  }
}

}  // namespace
}  // namespace sconce
