// Making a plan, step by step, and running it: a worker in the scratch memory of each thread.
#include "tile/vm/plan.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <type_traits>

#include "tile/vm/worker.h"

namespace sconce::tile {

namespace {

constexpr int kThreadsMax = 1024;
constexpr int64_t kDotDepthMax = int64_t(1) << 40;  // of a schedule; more than any dot has

}  // namespace

static_assert(std::is_trivially_destructible_v<Worker>);  // left where they lie in scratch

Result<void> Plan::State::make(int threads, const Schedule& schedule) {
  move_dots();
  choose_order();
  describe_values();
  dots.assign(kernel.body.size(), {});
  for (size_t n = 0; n < kernel.body.size(); n++)
    if (kernel.body[n].op == Op::dot && !skipped[n]) {
      plan_dot(n);
      if (schedule.depth > 0) dots[n].depth_block = std::min(schedule.depth, kDotDepthMax);
    }
  for (size_t n = 0; n < kernel.body.size(); n++)
    if (kernel.body[n].op == Op::dot && !skipped[n]) fold_epilogue(n);
  fold_windows();
  fold_powers();
  read_in_place();
  compute_in_place();
  fold_roundings();
  find_strips();
  find_stored_axes();
  for (DotPlan& dot : dots) {
    dot.rows_and_depth = dot.rows;
    dot.rows_and_depth.insert(dot.rows_and_depth.end(), dot.depth.begin(), dot.depth.end());
  }
  TRY_VOID(choose_tiles(threads, schedule));
  return place_values();
}

Plan::Plan(std::unique_ptr<State> state) : state_(std::move(state)) {}
Plan::Plan(Plan&&) noexcept = default;
Plan& Plan::operator=(Plan&&) noexcept = default;
Plan::~Plan() = default;

Result<std::unique_ptr<Plan::State>> Plan::State::of(const Kernel& kernel,
                                                     Span<const BufferView> shapes,
                                                     const KernelTable& table, int threads,
                                                     const Schedule& schedule) {
  auto state = std::make_unique<State>();
  state->kernel = kernel;
  TRY_VOID(verify(state->kernel));
  TRY(std::vector<int64_t> dims, bind(kernel, shapes));
  state->shapes.assign(shapes.begin(), shapes.end());
  // Strides of packed buffers are not used; zeros keep arithmetic on them defined.
  state->panels.resize(shapes.size());
  for (size_t b = 0; b < shapes.size(); b++)
    if (kernel.buffers[b].is_packed()) {
      const std::vector<int64_t>& sizes = shapes[b].sizes;
      state->shapes[b].strides.assign(sizes.size(), 0);
      // Those of an empty buffer may be beyond 64 bits, and are not used.
      state->panels[b] =
          panel_shape(kernel.buffers[b], {sizes.data(), sizes.size()}).value_or(PanelShape{});
    }
  state->table = &table;
  for (Axis& axis : state->kernel.axes) {
    int64_t extent = size_of(axis.extent, dims);
    if (axis.kind == AxisKind::serial) axis.block = axis.step(extent);
    state->extent.push_back(extent);
  }
  TRY_VOID(state->make(threads, schedule));
  return state;
}

Result<Plan> Plan::make(const Kernel& kernel, Span<const BufferView> shapes,
                        const KernelTable& table, int threads, const Schedule& schedule) {
  TRY(std::unique_ptr<State> state, State::of(kernel, shapes, table, threads, schedule));
  return Plan(std::move(state));
}

uint64_t Plan::scratch_bytes() const { return state_->scratch; }

Result<void> Plan::run(Span<uint8_t* const> data, uint8_t* scratch, ThreadPool& pool) const {
  const State& plan = *state_;
  if (plan.tasks == 0) return {};
  // Nothing here may allocate: workers lie in the scratch memory of their threads.
  struct Run {
    bool begun[kThreadsMax] = {};
    std::atomic<bool> failed{false};
    Result<void> failure;
  } run;
  if (pool.size() > kThreadsMax)
    return error(Code::too_large, "{} threads; at most {}", pool.size(), kThreadsMax);
  auto run_task = [&](int64_t task, int thread) {
    uint8_t* own = scratch + uint64_t(thread) * plan.scratch;
    auto* worker = reinterpret_cast<Worker*>(own + plan.worker_offset);
    if (!run.begun[thread]) {
      run.begun[thread] = true;
      new (worker) Worker(plan, data, own);
    }
    if (run.failed.load(std::memory_order_relaxed)) return;
    Result<void> done = worker->run_tile(task);
    if (!done.ok() && !run.failed.exchange(true)) run.failure = std::move(done);
  };
  pool.parallel_for(plan.tasks, run_task, plan.grain);
  return std::move(run.failure);
}

}  // namespace sconce::tile
