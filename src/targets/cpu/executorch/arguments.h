// Arguments: what ExecuTorch passes to a delegate or a kernel, as our kernels want it.
#pragma once

#include <executorch/runtime/core/evalue.h>
#include <executorch/runtime/core/span.h>
#include <executorch/runtime/platform/log.h>

#include <vector>

#include "tensor/value.h"

namespace sconce {

namespace et = executorch::runtime;

// Logs "SconceBackend: <what>: <text>" and gives ExecuTorch's code for it.
et::Error failure(const char* what, Status status, const Diagnostic& diagnostic);

// Gives ExecuTorch's tensor the sizes of ours, and ours the memory that it then has.
et::Error resize_as(const executorch::aten::Tensor& to, Tensor& from);

// Keeps its memory from call to call, so that it allocates for the largest call alone.
class Arguments {
 public:
  // Views `args`, which outlive their use. Tensors share data; sizes are copies.
  et::Error view(et::Span<et::EValue*> args);
  // The one at `index`; null when it is none.
  Tensor* tensor(size_t index) {
    return slots_[index].value.is_tensor() ? &slots_[index].tensor : nullptr;
  }
  Span<const Value* const> values() const { return {values_.data(), values_.size()}; }

 private:
  struct Slot {
    int32_t sizes[kRankMax];
    Tensor tensor;
    Value value;
  };
  et::Error view_tensor(size_t index, const executorch::aten::Tensor& from, Slot& slot);

  std::vector<Slot> slots_;          // the arguments, then what is in their lists
  std::vector<const Value*> items_;  // of lists
  std::vector<const Value*> values_;
};

}  // namespace sconce
