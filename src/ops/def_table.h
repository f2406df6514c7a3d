// The table of operator definitions that the build makes; def.cc parses it into Ops.
#pragma once

#include "ops/def.h"

namespace sconce {

Span<const OpDef* const> all_defs();

}  // namespace sconce
