#include "plan/plan.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <random>

#include <gtest/gtest.h>

#include "base/checked.h"

namespace sconce {
namespace {

bool overlap(const Block& a, const Block& b) {
  return a.first_step <= b.last_step && b.first_step <= a.last_step;
}

// Empty when the plan keeps its promises.
std::string fault(const std::vector<Block>& blocks, const ArenaPlan& plan, uint64_t alignment) {
  if (plan.offsets.size() != blocks.size()) return "wrong number of offsets";
  if (plan.arena_bytes % alignment) return "arena is not aligned";
  if (plan.arena_bytes < live_bytes_max(blocks, alignment)) return "arena is below the lower bound";
  for (size_t i = 0; i < blocks.size(); i++) {
    std::string name = "block " + std::to_string(i);
    if (plan.offsets[i] % alignment) return name + " is not aligned";
    if (plan.offsets[i] + blocks[i].bytes > plan.arena_bytes) return name + " ends past the arena";
    for (size_t j = 0; j < i; j++)
      if (overlap(blocks[i], blocks[j]) && blocks[i].bytes && blocks[j].bytes &&
          plan.offsets[i] < plan.offsets[j] + blocks[j].bytes &&
          plan.offsets[j] < plan.offsets[i] + blocks[i].bytes)
        return name + " overlaps block " + std::to_string(j);
  }
  return "";
}

// Arena of ExecuTorch's greedy planner: largest first into shared objects that never grow.
uint64_t bucket_arena(const std::vector<Block>& blocks, uint64_t alignment) {
  struct Object {
    uint64_t bytes;
    std::vector<std::pair<size_t, uint64_t>> blocks;
  };
  std::vector<size_t> order(blocks.size());
  for (size_t i = 0; i < order.size(); i++) order[i] = order.size() - 1 - i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return align_up(blocks[a].bytes, alignment) > align_up(blocks[b].bytes, alignment);
  });
  std::vector<Object> objects;
  for (size_t i : order) {
    uint64_t bytes = align_up(blocks[i].bytes, alignment);
    auto end_in = [&](const Object& object) {
      uint64_t end = 0;
      for (auto [j, offset] : object.blocks)
        if (overlap(blocks[i], blocks[j]))
          end = std::max(end, offset + align_up(blocks[j].bytes, alignment));
      return end;
    };
    auto found =
        std::find_if(objects.begin(), objects.end(), [&](Object& o) { return end_in(o) == 0; });
    if (found == objects.end())
      found = std::find_if(objects.begin(), objects.end(),
                           [&](Object& o) { return end_in(o) + bytes <= o.bytes; });
    if (found == objects.end()) found = objects.insert(found, Object{bytes, {}});
    found->blocks.push_back({i, end_in(*found)});
  }
  uint64_t arena = 0;
  for (const Object& object : objects) arena += object.bytes;
  return arena;
}

// A net as exporters give them: chains with skips, some long-lived values.
std::vector<Block> make_net(std::mt19937_64& random, size_t count) {
  std::vector<Block> blocks;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t length = random() % 4 == 0 ? 2 + random() % 12 : 1;
    if (random() % 40 == 0) length = uint32_t(count) / 2;
    uint64_t bytes = random() % 3 == 0 ? random() % 100000 : uint64_t(1) << (6 + random() % 14);
    blocks.push_back({bytes, i, std::min<uint32_t>(i + length, uint32_t(count))});
  }
  return blocks;
}

std::vector<Block> make_blocks(std::mt19937_64& random, size_t count, uint32_t steps) {
  std::vector<Block> blocks;
  for (size_t i = 0; i < count; i++) {
    uint32_t a = random() % steps, b = random() % steps;
    blocks.push_back({random() % 5000, std::min(a, b), std::max(a, b)});
  }
  return blocks;
}

TEST(Plan, gives_no_blocks_no_arena) {
  ArenaPlan plan = plan_arena({}, 16);
  EXPECT_EQ(plan.arena_bytes, 0u);
  EXPECT_TRUE(plan.offsets.empty());
}

TEST(Plan, reuses_memory_of_what_is_dead) {
  std::vector<Block> blocks{{100, 0, 1}, {100, 1, 2}, {100, 2, 3}};
  ArenaPlan plan = plan_arena(blocks, 16);
  EXPECT_EQ(fault(blocks, plan, 16), "");
  EXPECT_EQ(plan.arena_bytes, 224u);
}

TEST(Plan, takes_empty_blocks_and_one_step_lives) {
  std::vector<Block> blocks{{0, 0, 9}, {1, 3, 3}, {0, 3, 3}, {64, 3, 3}};
  ArenaPlan plan = plan_arena(blocks, 64);
  EXPECT_EQ(fault(blocks, plan, 64), "");
  EXPECT_EQ(plan.arena_bytes, 128u);
}

TEST(Plan, fits_where_largest_first_does_not) {
  // Largest first puts the two long ones at the bottom and leaves a hole.
  std::vector<Block> blocks{{4, 0, 1}, {3, 0, 3}, {3, 2, 5}, {4, 4, 5}, {1, 0, 5}};
  ArenaPlan plan = plan_arena(blocks, 1);
  EXPECT_EQ(fault(blocks, plan, 1), "");
  EXPECT_EQ(plan.arena_bytes, live_bytes_max(blocks, 1));
}

TEST(Plan, sizes_near_the_end_of_the_address_space_saturate) {
  std::vector<Block> blocks{
      {UINT64_MAX, 0, 2}, {UINT64_MAX - 100, 1, 3}, {uint64_t(1) << 63, 0, 3}};
  ArenaPlan plan = plan_arena(blocks, 16);
  EXPECT_EQ(plan.arena_bytes, ~uint64_t(15));
  EXPECT_EQ(live_bytes_max(blocks, 16), ~uint64_t(15));
}

TEST(Plan, steps_reach_the_end_of_their_type) {
  std::vector<Block> blocks{{8, 0, UINT32_MAX}, {8, UINT32_MAX, UINT32_MAX}, {8, 0, 0}};
  ArenaPlan plan = plan_arena(blocks, 8);
  EXPECT_EQ(fault(blocks, plan, 8), "");
  EXPECT_EQ(plan.arena_bytes, 16u);
}

TEST(Plan, random_blocks_never_overlap_and_plans_are_equal_each_time) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 150; round++) {
    uint64_t alignment = uint64_t(1) << random() % 8;
    std::vector<Block> blocks = make_blocks(random, 1 + random() % 60, 1 + random() % 50);
    ArenaPlan plan = plan_arena(blocks, alignment);
    ASSERT_EQ(fault(blocks, plan, alignment), "") << "round " << round;
    ArenaPlan again = plan_arena(blocks, alignment);
    ASSERT_EQ(again.offsets, plan.offsets) << "round " << round;
    ASSERT_LE(plan.arena_bytes, bucket_arena(blocks, alignment)) << "round " << round;
  }
}

TEST(Plan, nets_are_within_five_percent_of_the_lower_bound_and_never_above_buckets) {
  std::mt19937_64 random(12);
  double worst = 1, sum = 0, buckets = 0;
  int count = 60;
  for (int round = 0; round < count; round++) {
    std::vector<Block> blocks = make_net(random, 20 + random() % 400);
    ArenaPlan plan = plan_arena(blocks, 16);
    ASSERT_EQ(fault(blocks, plan, 16), "") << "round " << round;
    uint64_t greedy = bucket_arena(blocks, 16);
    ASSERT_LE(plan.arena_bytes, greedy) << "round " << round;
    double bound = double(live_bytes_max(blocks, 16));
    worst = std::max(worst, double(plan.arena_bytes) / bound);
    sum += double(plan.arena_bytes) / bound;
    buckets += double(greedy) / bound;
  }
  printf("arena over lower bound: mean %.4f, worst %.4f; buckets mean %.4f\n", sum / count, worst,
         buckets / count);
  EXPECT_LT(worst, 1.05);
}

// Lifetimes of real nets; testdata/make_blocks.py wrote them.
TEST(Plan, real_nets_reach_the_lower_bound) {
  for (const char* name :
       {"deit_tiny", "minilm", "mobilenet_v2", "opt_125m", "resnet50", "silero_vad_static"}) {
    std::ifstream file(SCONCE_SOURCE_DIR "/src/plan/testdata/" + std::string(name) + ".blocks");
    std::vector<Block> blocks;
    for (Block b; file >> b.bytes >> b.first_step >> b.last_step;) blocks.push_back(b);
    ASSERT_FALSE(blocks.empty()) << name;
    ArenaPlan plan = plan_arena(blocks, 16);
    EXPECT_EQ(fault(blocks, plan, 16), "") << name;
    uint64_t bound = live_bytes_max(blocks, 16), greedy = bucket_arena(blocks, 16);
    printf("%-18s %4zu blocks: lower bound %9llu, arena %9llu, buckets %9llu\n", name,
           blocks.size(), (unsigned long long)bound, (unsigned long long)plan.arena_bytes,
           (unsigned long long)greedy);
    EXPECT_EQ(plan.arena_bytes, bound) << name;
    EXPECT_LE(plan.arena_bytes, greedy) << name;
  }
}

// Many alive at once: the planner keeps no lists of neighbours then.
TEST(Plan, dense_blocks_keep_the_promises) {
  std::mt19937_64 random(13);
  std::vector<Block> blocks = make_blocks(random, 1000, 1000);
  auto start = std::chrono::steady_clock::now();
  ArenaPlan plan = plan_arena(blocks, 16);
  double ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  printf("1000 dense blocks: %.1f ms, %.4f of the lower bound\n", ms,
         double(plan.arena_bytes) / double(live_bytes_max(blocks, 16)));
  EXPECT_EQ(fault(blocks, plan, 16), "");
  EXPECT_LE(plan.arena_bytes, bucket_arena(blocks, 16));
  EXPECT_LT(ms, 1000);  // 12 ms here; sanitizers and busy machines take longer
}

}  // namespace
}  // namespace sconce
