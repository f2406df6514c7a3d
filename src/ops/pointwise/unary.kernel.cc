// Kernels of the unary rows: per row a functor and its kernel.
#include "ops/pointwise/run.h"

namespace sconce {
namespace pointwise {

#define ROW_UNARY(name, rule, expression)            \
  struct Unary_##name {                              \
    template <class T> T operator()(T x) const { return expression; } \
  };
#define ROW_UNARY_OWN(name, rule, expression, decompose) ROW_UNARY(name, rule, expression)
#include "ops/pointwise/unary.rows.h"
#undef ROW_UNARY
#undef ROW_UNARY_OWN

}  // namespace pointwise

using pointwise::Rule;

#define ROW_UNARY(name, rule, expression)                                           \
  KERNEL(name) = {"aten::" #name ".out", "t>t", pointwise::shape_of<1, Rule::rule>, \
                  pointwise::run_of<1, Rule::rule, pointwise::Unary_##name>};
#define ROW_UNARY_OWN(name, rule, expression, decompose) ROW_UNARY(name, rule, expression)
#include "ops/pointwise/unary.rows.h"

}  // namespace sconce
