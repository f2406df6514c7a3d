// Kernels and definitions of the unary rows. Row macros make, per row, a functor and its kernel.
#include <cmath>

#include "ops/elementwise.h"
#include "ops/promote.h"

namespace sconce {
namespace {

enum class Rule { same, floating };

template <Rule rule>
Status unary_shape(const Args& args, Span<OutMeta> outs, Diagnostic*) {
  const Tensor& x = args.tensor(0);
  set_like(outs[0], x, rule == Rule::floating ? to_floating(x.dtype) : x.dtype);
  return kOk;
}

template <Rule rule, class F>
Status unary_run(const Args& args, KernelContext& context) {
  static constexpr BlockFunctions functions = {
      block_of<float, F, 1>, block_of<double, F, 1>,
      rule == Rule::same ? block_of<int64_t, F, 1> : nullptr};
  const Tensor& x = args.tensor(0);
  DType dtype = rule == Rule::floating ? to_floating(x.dtype) : x.dtype;
  return run_elementwise(args.values.first(1), dtype, args.out(), functions, nullptr,
                         context.diagnostic);
}

}  // namespace

#define ROW_UNARY(name, rule, expression)                                          \
  namespace {                                                                      \
  struct Unary_##name { template <class T> T operator()(T x) const { return expression; } }; \
  }                                                                                \
  KERNEL(name) = {"aten::" #name ".out", "t>t", unary_shape<Rule::rule>,           \
                  unary_run<Rule::rule, Unary_##name>};
#include "ops/pointwise/unary.rows.h"
#undef ROW_UNARY

}  // namespace sconce
