// Definitions of the binary rows, and of binary operators that are others by another name.
#include "ops/pointwise/decompose.h"

namespace sconce {

#define ROW_BINARY(symbol, name, out_name, arguments, kinds, rule, expression) \
  OP(symbol) = {.schema = "aten::" name "(" arguments ") -> Tensor", .out = "aten::" out_name};
#define ROW_BINARY_OWN(symbol, name, out_name, arguments, kinds, rule, expression, how) \
  OP(symbol) = {.schema = "aten::" name "(" arguments ") -> Tensor",                    \
                .out = "aten::" out_name,                                               \
                .decompose = how};
#define ROW_DIVIDE ROW_BINARY
#define ROW_EXACT ROW_BINARY
#define ROW_DIVIDE_OWN ROW_BINARY_OWN
#include "ops/pointwise/binary.rows.h"

}  // namespace sconce
