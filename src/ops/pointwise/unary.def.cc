// Definitions of the unary rows: ATen's schema follows from the name.
#include "ops/def.h"

namespace sconce {

#define ROW_UNARY(name, rule, expression) \
  OP(name) = {.schema = "aten::" #name "(Tensor self) -> Tensor", .out = "aten::" #name ".out"};
#include "ops/pointwise/unary.rows.h"
#undef ROW_UNARY

}  // namespace sconce
