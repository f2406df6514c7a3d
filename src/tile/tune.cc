#include "tile/tune.h"

#include <algorithm>
#include <chrono>
#include <optional>

namespace sconce::tile {
namespace {

struct Candidate {
  Schedule schedule;
  std::optional<Plan> plan;
  double least_us = 0;
};

// The axes that the columns of packed weights run along: cut at panels.
AxisSet panel_columns(const Kernel& kernel) {
  AxisSet columns = 0;
  for (const Instruction& i : kernel.body)
    if (i.op == Op::load && kernel.buffers[size_t(i.buffer)].is_packed())
      for (const Term& term : i.index.back().terms) columns |= AxisSet(1) << term.axis;
  return columns;
}

class Search {
 public:
  Search(const Kernel& kernel, Span<const BufferView> arrays, const KernelTable& table,
         ThreadPool& pool, double seconds)
      : kernel_(kernel),
        arrays_(arrays),
        table_(table),
        pool_(pool),
        end_us_(now_us() + seconds * 1e6) {}

  Result<TunedSchedule> run() {
    TRY(std::vector<int64_t> dims, bind(kernel_, arrays_));
    TRY(standard_, make({}));
    TRY_VOID(measure(standard_, 3));
    TRY(best_, make({}));
    best_.least_us = standard_.least_us;
    bool better = true;
    while (better && now_us() < end_us_) {
      better = false;
      for (size_t a = 0; a < kernel_.axes.size(); a++) {
        const Axis& axis = kernel_.axes[a];
        if (axis.kind != AxisKind::parallel || axis.each) continue;
        TRY(bool found, try_sizes(a, size_of(axis.extent, dims)));
        better |= found;
      }
      TRY(bool found, try_depths());
      better |= found;
    }
    return confirmed();
  }

 private:
  Result<Candidate> make(Schedule schedule) {
    Candidate c{std::move(schedule), std::nullopt, 0};
    TRY(c.plan, Plan::make(kernel_, arrays_, table_, pool_.size(), c.schedule));
    return c;
  }
  Result<void> measure(Candidate& c, int calls) {
    for (int i = 0; i < calls; i++) {
      double start = now_us();
      TRY_VOID(run_plan(*c.plan, arrays_, pool_, scratch_));
      double took = now_us() - start;
      c.least_us = c.least_us == 0 ? took : std::min(c.least_us, took);
    }
    return {};
  }

  Result<bool> try_sizes(size_t axis, int64_t extent) {
    static constexpr int64_t kSizes[] = {1,  2,  4,  7,   8,   14,  16,  28,  32, 48,
                                         56, 64, 96, 112, 128, 192, 256, 384, 512};
    bool found = false, in_panels = panel_columns(kernel_) >> axis & 1;
    auto attempt = [&](int64_t size) -> Result<void> {
      if (in_panels && size % kPanelColumns && size != extent) return {};
      Schedule schedule = best_.schedule;
      schedule.tile.resize(kernel_.axes.size(), 0);
      schedule.tile[axis] = size;
      TRY(bool better, try_schedule(std::move(schedule)));
      found |= better;
      return {};
    };
    for (int64_t size : kSizes)
      if (size < extent) TRY_VOID(attempt(size));
    if (extent > 1 && extent <= 4096) TRY_VOID(attempt(extent));
    return found;
  }

  Result<bool> try_depths() {
    bool found = false, has_dot = false;
    for (const Instruction& i : kernel_.body) has_dot |= i.op == Op::dot;
    for (int64_t depth : {128, 256, 384, 768, 1152, 2304}) {
      if (!has_dot) break;
      Schedule schedule = best_.schedule;
      schedule.depth = depth;
      TRY(bool better, try_schedule(std::move(schedule)));
      found |= better;
    }
    return found;
  }

  // True when it is the best now.
  Result<bool> try_schedule(Schedule schedule) {
    if (now_us() >= end_us_ || schedule == best_.schedule) return false;
    Result<Candidate> made = make(std::move(schedule));
    if (!made.ok() || made->plan->scratch_bytes() >
                          std::max(standard_.plan->scratch_bytes(), kScheduleScratchMax))
      return false;  // tiles that do not fit
    Candidate& candidate = *made;
    tried_++;
    TRY_VOID(measure(candidate, 2));
    if (candidate.least_us > 1.1 * best_.least_us) return false;
    for (int round = 0; round < 4; round++) {
      TRY_VOID(measure(best_, 1));
      TRY_VOID(measure(candidate, 1));
    }
    if (candidate.least_us > 0.985 * best_.least_us) return false;
    best_ = std::move(candidate);
    return true;
  }

  // The default and the best anew, by turns.
  Result<TunedSchedule> confirmed() {
    standard_.least_us = best_.least_us = 0;
    for (int round = 0; round < 8; round++) {
      TRY_VOID(measure(standard_, 1));
      TRY_VOID(measure(best_, 1));
    }
    const bool faster = best_.schedule != standard_.schedule &&
                        best_.least_us < (1 - kGainMin) * standard_.least_us;
    return TunedSchedule{faster ? best_.schedule : Schedule(), standard_.least_us,
                         faster ? best_.least_us : standard_.least_us, tried_ + 1};
  }

  const Kernel& kernel_;
  Span<const BufferView> arrays_;
  const KernelTable& table_;
  ThreadPool& pool_;
  const double end_us_;
  Scratch scratch_;
  Candidate standard_, best_;
  int tried_ = 0;
};

}  // namespace

double now_us() {
  return std::chrono::duration<double, std::micro>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Result<void> run_plan(const Plan& plan, Span<const BufferView> arrays, ThreadPool& pool,
                      Scratch& scratch) {
  std::vector<uint8_t*> data;
  for (const BufferView& array : arrays) data.push_back(static_cast<uint8_t*>(array.data));
  return plan.run(data, scratch.reserve(plan.scratch_bytes() * uint64_t(pool.size())), pool);
}

Result<TunedSchedule> tune_schedule(const Kernel& kernel, Span<const BufferView> arrays,
                                    const KernelTable& table, ThreadPool& pool, double seconds) {
  return Search(kernel, arrays, table, pool, seconds).run();
}

}  // namespace sconce::tile
