// Tile VM: runs kernels on block kernels for the processor at hand. No code is generated.
//
// plan() fixes everything that does not depend on where the data lies: how the parallel axes are
// cut into tiles, which values have memory, which block kernels run. run() then does the tiles, on
// as many threads as the pool has. The results are those of the interpreter, bit for bit.
#pragma once

#include <memory>

#include "platform/threads.h"
#include "tile/kernels/table.h"
#include "tile/program.h"

namespace sconce::tile {

// How a kernel is cut. 0: as the planner thinks best; larger than what there is: whole. Any numbers
// are safe, and give the same results.
struct Schedule {
  std::vector<int64_t> tile;  // by axis, parallel ones; missing ones are 0
  int64_t depth = 0;          // steps of a dot that are done before the next block of rows
  bool operator==(const Schedule&) const = default;
};

class Plan {
 public:
  // `shapes`: sizes, strides and bytes of the buffers, which bind() must take; data is not used.
  static Result<Plan> make(const Kernel& kernel, Span<const BufferView> shapes,
                           const KernelTable& table, int threads, const Schedule& schedule = {});
  Plan(Plan&&) noexcept;
  Plan& operator=(Plan&&) noexcept;
  ~Plan();

  // Memory that each thread needs in run(), a multiple of 64.
  uint64_t scratch_bytes() const;
  // data[b]: where buffer b begins. scratch: scratch_bytes() for each thread of the pool, aligned
  // to 64. Allocates nothing, but for the text of an error. Safe to call from several threads at once
  // with scratch of their own.
  Result<void> run(Span<uint8_t* const> data, uint8_t* scratch, ThreadPool& pool) const;

  struct State;  // of vm/plan.h

 private:
  explicit Plan(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sconce::tile
