#include "runtime/delegate.h"
#include "targets/cpu/run/backend.h"
#include "targets/xnnpack/run/xnnpack_delegate.h"

namespace sconce {

Span<const DelegateType* const> all_delegates() {
  static constexpr const DelegateType* kAll[] = {&kCpuBackend, &kXnnpackDelegate};
  return kAll;
}

}  // namespace sconce
