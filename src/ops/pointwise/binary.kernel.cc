// Kernels of the binary rows: per row a functor and its kernel. Overloads with equal expressions share
// their machine code when the linker folds it.
#include "ops/pointwise/run.h"

namespace sconce {
namespace pointwise {

#define ROW_BINARY(symbol, name, out, arguments, kinds, rule, expression)  \
  struct Binary_##symbol {                                                 \
    template <class T> T operator()(T a, T b) const { return expression; } \
  };
#define ROW_BINARY_OWN(symbol, name, out, arguments, kinds, rule, expression, how) \
  ROW_BINARY(symbol, name, out, arguments, kinds, rule, expression)
#define ROW_EXACT(symbol, name, out, arguments, kinds, rule, expression)   \
  struct Binary_##symbol {                                                 \
    using ExactNumbers = void;                                             \
    using TakesComplex = void;                                             \
    template <class T> T operator()(T a, T b) const { return expression; } \
  };
#define ROW_DIVIDE(symbol, name, out, arguments, kinds, rule, expression)  \
  struct Binary_##symbol {                                                 \
    using Divides = void;                                                  \
    template <class T> T operator()(T a, T b) const { return expression; } \
  };
#define ROW_DIVIDE_OWN(symbol, name, out, arguments, kinds, rule, expression, how) \
  ROW_DIVIDE(symbol, name, out, arguments, kinds, rule, expression)
#include "ops/pointwise/binary.rows.h"
#undef ROW_BINARY
#undef ROW_DIVIDE
#undef ROW_EXACT
#undef ROW_BINARY_OWN
#undef ROW_DIVIDE_OWN

}  // namespace pointwise

using pointwise::Rule;

#define ROW_BINARY(symbol, name, out, arguments, kinds, rule, expression)                  \
  KERNEL(symbol) = {"aten::" out, kinds ">t", pointwise::shape_of<2, Rule::rule>, \
                    pointwise::run_of<2, Rule::rule, pointwise::Binary_##symbol>};
#define ROW_DIVIDE(symbol, name, out, arguments, kinds, rule, expression) \
  ROW_BINARY(symbol, name, out, arguments, kinds, rule, expression)
#define ROW_EXACT ROW_DIVIDE
#define ROW_BINARY_OWN(symbol, name, out, arguments, kinds, rule, expression, how) \
  ROW_BINARY(symbol, name, out, arguments, kinds, rule, expression)
#define ROW_DIVIDE_OWN ROW_BINARY_OWN
#include "ops/pointwise/binary.rows.h"

}  // namespace sconce
