// Cheap greedy strategies first; most nets end there, at the lower bound. Else a local search over
// the order of placement, which moves what stands at the top before what is in its way, within a
// budget counted in steps of work, not in time, so that plans do not depend on the machine.
#include "plan/plan.h"

#include <algorithm>
#include <numeric>

#include "base/checked.h"
#include "base/status.h"

namespace sconce {

namespace {

// In steps of about 7 ns. When the first strategies took more than the one, the others are left out;
// the search ends at the other.
constexpr uint64_t kStrategyWorkMax = 2 * 1000 * 1000;
constexpr uint64_t kSearchWorkMax = 2 * 1000 * 1000;
// With more neighbours per block than this their lists cost more than looking at every block.
constexpr uint64_t kNeighboursMax = 96;
constexpr uint64_t kUnlimited = UINT64_MAX;

struct Placed {
  uint64_t start, end;  // offsets
  uint32_t first_step, last_step;
};

class Planner {
 public:
  Planner(Span<const Block> blocks, uint64_t alignment) : blocks_(blocks) {
    bytes_max_ = ~(alignment - 1);
    for (const Block& block : blocks) {
      CHECK(block.first_step <= block.last_step);
      bytes_.push_back(block.bytes > bytes_max_ ? bytes_max_ : align_up(block.bytes, alignment));
    }
    for (uint32_t i = 0; i < blocks.size(); i++)
      if (bytes_[i] > 0) all_.push_back(i);
    offsets_.resize(blocks.size());
    positions_.resize(blocks.size());
    best_.offsets.resize(blocks.size());
    best_.arena_bytes = kUnlimited;
    find_neighbours();
  }

  ArenaPlan plan(uint64_t bound) {
    bound_ = bound;
    if (all_.empty())
      best_.arena_bytes = 0;
    else if (!strategies())
      search();
    return std::move(best_);
  }

 private:
  uint64_t add(uint64_t a, uint64_t b) const {
    uint64_t sum;
    return checked_add(a, b, &sum) && sum <= bytes_max_ ? sum : bytes_max_;
  }
  bool done() const { return best_.arena_bytes <= bound_; }
  uint64_t steps(uint32_t i) const {
    return uint64_t(blocks_[i].last_step) - blocks_[i].first_step + 1;
  }

  bool overlap(uint32_t a, uint32_t b) const {
    return blocks_[a].first_step <= blocks_[b].last_step &&
           blocks_[b].first_step <= blocks_[a].last_step;
  }

  // Blocks that are alive together with each, as lists behind one another.
  void find_neighbours() {
    std::vector<uint32_t> starts, ends;
    for (uint32_t i : all_) {
      starts.push_back(blocks_[i].first_step);
      ends.push_back(blocks_[i].last_step);
    }
    std::sort(starts.begin(), starts.end());
    std::sort(ends.begin(), ends.end());
    uint64_t pair_count = 0;
    for (size_t s = 0, e = 0; s < starts.size(); s++) {
      while (ends[e] < starts[s]) e++;
      pair_count += s - e;
    }
    dense_ = pair_count > all_.size() * (kNeighboursMax / 2);
    if (dense_) return;

    std::vector<uint32_t> by_start = order_by([&](uint32_t i) { return ~blocks_[i].first_step; });
    std::vector<std::pair<uint32_t, uint32_t>> pairs;
    std::vector<uint32_t> alive;
    for (uint32_t i : by_start) {
      std::erase_if(alive,
                    [&](uint32_t j) { return blocks_[j].last_step < blocks_[i].first_step; });
      for (uint32_t j : alive) pairs.push_back({i, j});
      alive.push_back(i);
    }
    begins_.assign(blocks_.size() + 1, 0);
    for (auto [i, j] : pairs) begins_[i + 1]++, begins_[j + 1]++;
    std::partial_sum(begins_.begin(), begins_.end(), begins_.begin());
    neighbours_.resize(pairs.size() * 2);
    std::vector<size_t> next(begins_.begin(), begins_.end() - 1);
    for (auto [i, j] : pairs) {
      neighbours_[next[i]++] = j;
      neighbours_[next[j]++] = i;
    }
  }
  Span<const uint32_t> neighbours(uint32_t i) const {
    return {neighbours_.data() + begins_[i], begins_[i + 1] - begins_[i]};
  }
  // A block that is alive with `i`; `i` itself when none is found.
  uint32_t random_neighbour(uint32_t i) {
    if (!dense_) {
      Span<const uint32_t> beside = neighbours(i);
      return beside.empty() ? i : beside[random(beside.size())];
    }
    for (int attempt = 0; attempt < 8; attempt++)
      if (uint32_t other = all_[random(all_.size())]; overlap(i, other)) return other;
    return i;
  }

  // Lowest gap, or tightest one, between the placed blocks that are alive with `i`.
  uint64_t find_gap(uint32_t i, bool tightest) {
    if (!dense_) {
      placed_.clear();
      for (uint32_t j : neighbours(i))
        if (positions_[j] < positions_[i])
          placed_.push_back({offsets_[j], add(offsets_[j], bytes_[j]), 0, UINT32_MAX});
      work_ += neighbours(i).size() / 4 + placed_.size() + 4;
      std::sort(placed_.begin(), placed_.end(),
                [](const Placed& a, const Placed& b) { return a.start < b.start; });
    } else {
      work_ += placed_.size() / 2 + 4;
    }
    uint64_t top = 0, found = 0, smallest = kUnlimited;
    for (const Placed& placed : placed_) {
      if (placed.last_step < blocks_[i].first_step || blocks_[i].last_step < placed.first_step)
        continue;
      if (placed.start > top && placed.start - top >= bytes_[i] && placed.start - top < smallest) {
        found = top;
        smallest = placed.start - top;
        if (!tightest) return found;
      }
      top = std::max(top, placed.end);
    }
    return smallest == kUnlimited ? top : found;
  }

  void number(const std::vector<uint32_t>& order, size_t first, size_t end) {
    for (size_t p = first; p < end; p++) positions_[order[p]] = uint32_t(p);
  }

  // Places blocks in this order. Arena bytes.
  uint64_t place(const std::vector<uint32_t>& order, bool tightest) {
    number(order, 0, order.size());
    placed_.clear();
    uint64_t arena = 0;
    for (uint32_t i : order) {
      uint64_t start = find_gap(i, tightest), end = add(start, bytes_[i]);
      offsets_[i] = start;
      if (dense_) {  // all of them, kept in the order of offsets
        auto at = std::upper_bound(placed_.begin(), placed_.end(), start,
                                   [](uint64_t s, const Placed& other) { return s < other.start; });
        placed_.insert(at, {start, end, blocks_[i].first_step, blocks_[i].last_step});
      }
      arena = std::max(arena, end);
    }
    return arena;
  }

  // Places again what a changed position of `moved` changes, from position `first` on; the rest
  // stands. Gives up above `limit`. What changed is in changes_, with the offset before.
  bool replace(const std::vector<uint32_t>& order, uint32_t moved, size_t first, uint64_t limit) {
    changes_.clear();
    trial_++;
    auto touch = [&](uint32_t i) {
      for (uint32_t j : neighbours(i)) touched_[j] = trial_;
    };
    touched_[moved] = trial_;
    touch(moved);
    work_ += (order.size() - first) / 16 + neighbours(moved).size() / 2;
    for (size_t p = first; p < order.size(); p++) {
      uint32_t i = order[p];
      if (touched_[i] != trial_) continue;
      uint64_t start = find_gap(i, tightest_);
      if (start == offsets_[i]) continue;
      changes_.push_back({i, offsets_[i]});
      offsets_[i] = start;
      if (add(start, bytes_[i]) > limit) return false;
      touch(i);
      work_ += neighbours(i).size() / 2;
    }
    return true;
  }

  void keep(uint64_t arena) {
    if (arena >= best_.arena_bytes) return;
    best_.arena_bytes = arena;
    best_.offsets = offsets_;
  }

  template <class Key>
  std::vector<uint32_t> order_by(Key key) const {
    std::vector<uint32_t> order = all_;
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return key(a) > key(b); });
    return order;
  }

  // Blocks of the most loaded step first.
  std::vector<uint32_t> order_by_breadth() const {
    // Load changes only where a block begins.
    std::vector<uint32_t> by_start = order_by([&](uint32_t i) { return ~blocks_[i].first_step; });
    std::vector<uint32_t> by_end = order_by([&](uint32_t i) { return ~blocks_[i].last_step; });
    struct Load {
      uint64_t bytes;
      uint32_t step;
    };
    std::vector<Load> loads;
    uint64_t live = 0;
    for (size_t s = 0, e = 0; s < by_start.size();) {
      uint32_t step = blocks_[by_start[s]].first_step;
      for (; e < by_end.size() && blocks_[by_end[e]].last_step < step; e++)
        live -= bytes_[by_end[e]];
      for (; s < by_start.size() && blocks_[by_start[s]].first_step == step; s++)
        live += bytes_[by_start[s]];  // wraps and unwraps when sums saturate: order only
      loads.push_back({live, step});
    }
    std::stable_sort(loads.begin(), loads.end(),
                     [](const Load& a, const Load& b) { return a.bytes > b.bytes; });
    std::vector<uint32_t> ranks(blocks_.size());
    std::vector<uint32_t> rank_of_step(loads.size());
    // Rank of a block: that of the most loaded step it lives in.
    std::vector<std::pair<uint32_t, uint32_t>> steps;  // step, rank
    for (uint32_t r = 0; r < loads.size(); r++) steps.push_back({loads[r].step, r});
    std::sort(steps.begin(), steps.end());
    for (uint32_t i : all_) {
      auto from =
          std::lower_bound(steps.begin(), steps.end(), std::pair(blocks_[i].first_step, 0u));
      uint32_t rank = UINT32_MAX;
      for (; from != steps.end() && from->first <= blocks_[i].last_step; ++from)
        rank = std::min(rank, from->second);
      ranks[i] = rank;
    }
    return order_by([&](uint32_t i) { return std::pair(~ranks[i], bytes_[i]); });
  }

  // Buckets that never grow, as ExecuTorch's planner fills them: a floor under our results. Returns
  // the order of offsets in it, since closing its gaps can only help.
  uint64_t place_in_buckets() {
    struct Bucket {
      uint64_t bytes;
      std::vector<uint32_t> blocks;
    };
    std::vector<uint32_t> order = all_;
    std::reverse(order.begin(), order.end());
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return blocks_[a].bytes > blocks_[b].bytes; });
    std::vector<Bucket> buckets;
    // End of what is alive with `i` in a bucket.
    auto end_in = [&](const Bucket& bucket, uint32_t i) {
      uint64_t end = 0;
      for (uint32_t j : bucket.blocks)
        if (overlap(i, j)) end = std::max(end, add(offsets_[j], bytes_[j]));
      return end;
    };
    std::vector<uint32_t> bucket_of(blocks_.size());
    for (uint32_t i : order) {
      size_t chosen = buckets.size();
      uint64_t offset = 0;
      for (size_t b = 0; b < buckets.size() && chosen == buckets.size(); b++)
        if (end_in(buckets[b], i) == 0) chosen = b;
      for (size_t b = 0; b < buckets.size() && chosen == buckets.size(); b++) {
        uint64_t end = end_in(buckets[b], i);
        if (add(end, bytes_[i]) <= buckets[b].bytes) chosen = b, offset = end;
      }
      if (chosen == buckets.size()) buckets.push_back({bytes_[i], {}});
      offsets_[i] = offset;
      bucket_of[i] = uint32_t(chosen);
      buckets[chosen].blocks.push_back(i);
    }
    uint64_t arena = 0;
    std::vector<uint64_t> starts;
    for (const Bucket& bucket : buckets) {
      starts.push_back(arena);
      arena = add(arena, bucket.bytes);
    }
    for (uint32_t i : all_) offsets_[i] = add(offsets_[i], starts[bucket_of[i]]);
    return arena;
  }

  // True when the bound was reached.
  bool strategies() {
    using Order = std::vector<uint32_t>;
    auto try_order = [&](const Order& order) {
      if (work_ > kStrategyWorkMax) return false;
      for (bool tightest : {false, true}) {
        uint64_t arena = place(order, tightest);
        if (arena < best_.arena_bytes) {
          order_ = order;
          tightest_ = tightest;
        }
        keep(arena);
        if (done()) return true;
      }
      return false;
    };
    if (try_order(order_by([&](uint32_t i) { return std::pair(bytes_[i], steps(i)); })) ||
        try_order(order_by_breadth()) ||
        try_order(order_by([&](uint32_t i) { return std::pair(steps(i), bytes_[i]); })) ||
        try_order(order_by([&](uint32_t i) { return double(bytes_[i]) * double(steps(i)); })) ||
        try_order(
            order_by([&](uint32_t i) { return std::pair(~blocks_[i].first_step, bytes_[i]); })) ||
        try_order(order_by([&](uint32_t i) { return std::pair(blocks_[i].last_step, bytes_[i]); })))
      return true;
    uint64_t arena = place_in_buckets();
    if (arena < best_.arena_bytes) {
      // Placed again in the order of offsets, blocks sink, so this is no worse.
      keep(arena);
      Order order = order_by([&](uint32_t i) { return ~best_.offsets[i]; });
      keep(place(order, false));
      order_ = std::move(order);
      tightest_ = false;
    }
    return done();
  }

  uint64_t random(uint64_t count) {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return random_ % count;
  }

  // Takes a block that ends highest and puts it before a block that lies under it; keeps an order
  // that is no worse.
  void search() {
    if (dense_ || work_ > kStrategyWorkMax) return;
    work_ = 0;
    touched_.assign(blocks_.size(), 0);
    std::vector<uint32_t> order = order_, highest;
    uint64_t current = place(order, tightest_);
    auto shift = [&](size_t from, size_t to) {
      auto begin = order.begin();
      if (from < to)
        std::rotate(begin + int64_t(from), begin + int64_t(from) + 1, begin + int64_t(to) + 1);
      else
        std::rotate(begin + int64_t(to), begin + int64_t(from), begin + int64_t(from) + 1);
      number(order, std::min(from, to), std::max(from, to) + 1);
      work_ += (std::max(from, to) - std::min(from, to)) / 8 + 1;
    };
    for (bool changed = true; work_ < kSearchWorkMax && !done();) {
      if (changed) {
        highest.clear();
        current = 0;
        for (uint32_t i : all_) {
          uint64_t end = add(offsets_[i], bytes_[i]);
          if (end > current) highest.clear();
          current = std::max(current, end);
          if (end == current) highest.push_back(i);
        }
        keep(current);
        work_ += all_.size() / 8;
        changed = false;
        continue;
      }
      uint32_t moved = highest[random(highest.size())];
      // Now and then one of its neighbours instead, which may make room.
      if (random(3) == 0) moved = random_neighbour(moved);
      size_t from = positions_[moved], to = from;
      if (from == 0) {
        to = size_t(random(order.size()));
      } else {  // before a neighbour that was placed earlier, or anywhere earlier
        if (random(4) != 0) to = positions_[random_neighbour(moved)];
        if (to >= from) to = size_t(random(from));
      }
      shift(from, to);
      if (replace(order, moved, std::min(from, to), current)) {
        changed = !changes_.empty();
      } else {
        for (auto [i, offset] : changes_) offsets_[i] = offset;
        shift(to, from);
      }
    }
  }

  Span<const Block> blocks_;
  uint64_t bytes_max_;           // sums saturate here
  std::vector<uint64_t> bytes_;  // aligned
  std::vector<uint32_t> all_;    // blocks that take room
  std::vector<size_t> begins_;
  std::vector<uint32_t> neighbours_;
  std::vector<uint64_t> offsets_;    // of the last placement
  std::vector<uint32_t> positions_;  // in the order of placement
  std::vector<uint32_t> touched_;    // in trial `trial_` of the search
  uint32_t trial_ = 0;
  std::vector<std::pair<uint32_t, uint64_t>> changes_;
  std::vector<Placed> placed_;   // in the order of offsets
  bool dense_ = false;           // no lists of neighbours
  std::vector<uint32_t> order_;  // of the best strategy
  bool tightest_ = false;
  ArenaPlan best_;
  uint64_t bound_ = 0, work_ = 0, random_ = 0x9e3779b97f4a7c15;
};

}  // namespace

ArenaPlan plan_arena(Span<const Block> blocks, uint64_t alignment) {
  return Planner(blocks, alignment).plan(live_bytes_max(blocks, alignment));
}

uint64_t live_bytes_max(Span<const Block> blocks, uint64_t alignment) {
  uint64_t bytes_max = ~(alignment - 1);
  struct Change {
    uint64_t step;
    bool begins;
    uint64_t bytes;
  };
  std::vector<Change> changes;
  for (const Block& block : blocks) {
    uint64_t bytes = block.bytes > bytes_max ? bytes_max : align_up(block.bytes, alignment);
    changes.push_back({block.first_step, true, bytes});
    changes.push_back({uint64_t(block.last_step) + 1, false, bytes});
  }
  std::sort(changes.begin(), changes.end(), [](const Change& a, const Change& b) {
    return a.step != b.step ? a.step < b.step : a.begins < b.begins;
  });
  unsigned __int128 live = 0, most = 0;
  for (const Change& change : changes) {
    if (change.begins)
      most = std::max(most, live += change.bytes);
    else
      live -= change.bytes;
  }
  return most > bytes_max ? bytes_max : uint64_t(most);
}

}  // namespace sconce
