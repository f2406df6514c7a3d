#include "plan/plan.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/checked.h"

namespace sconce {

ArenaPlan plan_arena(Span<const Block> blocks, uint64_t alignment) {
  ArenaPlan plan;
  plan.offsets.assign(blocks.size(), 0);
  plan.arena_bytes = 0;
  std::vector<size_t> order(blocks.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return blocks[a].bytes > blocks[b].bytes; });
  std::vector<size_t> placed;
  for (size_t i : order) {
    uint64_t offset = 0, bytes = align_up(blocks[i].bytes, alignment);
    for (size_t j : placed) {
      if (blocks[j].last_step < blocks[i].first_step || blocks[i].last_step < blocks[j].first_step) continue;
      uint64_t start = plan.offsets[j], end = start + align_up(blocks[j].bytes, alignment);
      if (start >= offset + bytes) break;
      offset = std::max(offset, end);
    }
    plan.offsets[i] = offset;
    plan.arena_bytes = std::max(plan.arena_bytes, offset + bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i, [&](size_t a, size_t b) { return plan.offsets[a] < plan.offsets[b]; }), i);
  }
  return plan;
}

uint64_t live_bytes_max(Span<const Block> blocks, uint64_t alignment) {
  std::map<uint64_t, int64_t> changes;
  for (const Block& block : blocks) {
    changes[block.first_step] += int64_t(align_up(block.bytes, alignment));
    changes[uint64_t(block.last_step) + 1] -= int64_t(align_up(block.bytes, alignment));
  }
  int64_t live = 0, most = 0;
  for (auto [step, change] : changes) most = std::max(most, live += change);
  return uint64_t(most);
}

}  // namespace sconce
