// What the kernels of the pointwise rows share: dtype rules and the call of the elementwise engine.
#pragma once

#include <cstring>

#include "ops/pointwise/functions.h"
#include "ops/promote.h"

namespace sconce::pointwise {

// How the dtype of the result follows from the promoted type of the operands.
enum class Rule : uint8_t {
  same,      // it stays
  number,    // it stays; bool is refused
  floating,  // integers and bool become f32
  real,      // it stays; integers and bool are refused
  integral,  // it stays; floating types are refused
  boolean,   // bool; computed in the promoted type
};

// Type to compute in, by rule; fails when the rule refuses it.
Status compute_dtype(Rule rule, DType promoted, DType* dtype, Diagnostic* diagnostic);
inline DType result_dtype(Rule rule, DType compute) {
  return rule == Rule::boolean ? DType::b8 : compute;
}

// Shape of a pointwise call: the first `operand_count` arguments broadcast and promote; absent ones
// are skipped.
Status pointwise_shape(const Args& args, int operand_count, Rule rule, Span<OutMeta> outs,
                       Diagnostic* diagnostic);
// Runs it over the same operands, all present.
Status pointwise_run(const Args& args, int operand_count, Rule rule, const BlockFunctions& functions,
                     const void* parameters, KernelContext& context);
// Fails when results of type `from` may not be stored in a tensor of type `to` (torch.can_cast).
Status check_cast(DType from, DType to, Diagnostic* diagnostic);

template <int N, Rule rule>
Status shape_of(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  return pointwise_shape(args, N, rule, outs, diagnostic);
}

// Functors that divide integers declare `using Divides`: a zero in the second operand then fails. `using ExactNumbers`: see
// BlockFunctions. `using TakesComplex`: complex numbers too.
template <class T, class F, int N>
bool checked_block(const void* const* in, void* out, int count, const void* parameters) {
  if constexpr (std::is_same_v<T, int64_t> && requires { typename F::Divides; }) {
    const int64_t* b = static_cast<const int64_t*>(in[1]);
    for (int i = 0; i < count; i++)
      if (b[i] == 0) return false;
  }
  return block_of<T, F, N>(in, out, count, parameters);
}

template <class F, int N, Rule rule>
constexpr BlockFunctions functions_of() {
  BlockFunctions functions = {nullptr, nullptr, nullptr, requires { typename F::ExactNumbers; }};
  if constexpr (rule != Rule::integral) {
    functions.f32 = checked_block<float, F, N>;
    functions.f64 = checked_block<double, F, N>;
  }
  if constexpr (rule != Rule::floating && rule != Rule::real)
    functions.i64 = checked_block<int64_t, F, N>;
  if constexpr (requires { typename F::TakesComplex; }) functions.complex = block_of<Complex, F, N>;
  return functions;
}

template <int N, Rule rule, class F>
Status run_of(const Args& args, KernelContext& context) {
  static constexpr BlockFunctions functions = functions_of<F, N, rule>();
  return pointwise_run(args, N, rule, functions, nullptr, context);
}

// Number arguments of a call in every compute type, for functors with `const Numbers* parameters`.
struct Numbers {
  double f[4];
  int64_t i[4];
  template <class T> T get(int k) const {
    if constexpr (std::is_same_v<T, int64_t>) return i[k];
    else return T(f[k]);
  }
};
Numbers numbers_of(const Args& args, int first, int count);

// As run_of; the `count` arguments after the operands are numbers for the functor.
template <int N, int count, Rule rule, class F>
Status run_with_numbers(const Args& args, KernelContext& context) {
  static constexpr BlockFunctions functions = functions_of<F, N, rule>();
  Numbers numbers = numbers_of(args, N, count);
  return pointwise_run(args, N, rule, functions, &numbers, context);
}

}  // namespace sconce::pointwise
