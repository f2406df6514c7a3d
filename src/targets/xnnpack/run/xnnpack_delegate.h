// The delegate that runs XNNPACK payloads of stock's exporter on plain kernels. Host code: it
// allocates, at load and when a call is larger than those before it.
#pragma once

#include "runtime/delegate.h"

namespace sconce {

extern const DelegateType kXnnpackDelegate;

}  // namespace sconce
