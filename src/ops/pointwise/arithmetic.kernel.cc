// add and sub with alpha, rsub, pow by a number, division with a rounding mode.
#include "ops/pointwise/run.h"

namespace sconce {
namespace {

using namespace pointwise;

// Arguments of all: self, other, alpha.
struct Add {
  const Numbers* parameters;
  template <class T> T operator()(T a, T b) const {
    return pointwise::add(a, pointwise::mul(parameters->get<T>(0), b));
  }
};
struct Subtract {
  const Numbers* parameters;
  template <class T> T operator()(T a, T b) const {
    return pointwise::sub(a, pointwise::mul(parameters->get<T>(0), b));
  }
};
struct SubtractFrom {
  const Numbers* parameters;
  template <class T> T operator()(T a, T b) const {
    return pointwise::sub(b, pointwise::mul(parameters->get<T>(0), a));
  }
};

template <bool subtracts>
Status alpha_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(pointwise_shape(args, 2, Rule::same, outs, diagnostic));
  DType dtype = outs[0].dtype;
  auto is_boolean = [&](int i) {
    return args[i].is_tensor() ? args.tensor(i).dtype == DType::b8
                               : args[i].kind == Value::Kind::boolean;
  };
  if (subtracts && (is_boolean(0) || is_boolean(1)))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "subtraction with a b8 operand: use logical_xor or logical_not");
  if (is_integral(dtype) && args[2].kind == Value::Kind::floating)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "alpha is a floating number, the operands are %s", dtype_name(dtype));
  return kOk;
}
template <class F>
Status run_alpha(const Args& args, KernelContext& context) {
  return run_with_numbers<2, 1, Rule::same, F>(args, context);
}

struct Power { template <class T> T operator()(T a, T b) const { return power(a, b); } };
struct SquareRoot { template <class T> T operator()(T a, T) const { return T(std::sqrt(a)); } };
Status pow_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(pointwise_shape(args, 2, Rule::same, outs, diagnostic));
  if (is_integral(outs[0].dtype) && args.integer(1) < 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "an integer to the negative power %lld", (long long)args.integer(1));
  return kOk;
}
Status run_pow(const Args& args, KernelContext& context) {
  // sqrt and pow differ at -infinity; torch takes sqrt.
  if (args[1].kind == Value::Kind::floating && args[1].floating == 0.5)
    return run_of<2, Rule::same, SquareRoot>(args, context);
  return run_of<2, Rule::same, Power>(args, context);
}

// self, other, rounding_mode: none, "trunc" or "floor".
struct Divide {
  using ExactNumbers = void;
  template <class T> T operator()(T a, T b) const { return a / b; }
};
struct DivideTrunc {
  using Divides = void;
  template <class T> T operator()(T a, T b) const { return divide_trunc(a, b); }
};
struct DivideFloor {
  using Divides = void;
  template <class T> T operator()(T a, T b) const { return divide_floor(a, b); }
};
enum class Rounding { none, trunc, floor, bad };
Rounding rounding_of(const Value& value) {
  if (value.is_none()) return Rounding::none;
  if (value.count != 5) return Rounding::bad;
  if (memcmp(value.string, "trunc", 5) == 0) return Rounding::trunc;
  return memcmp(value.string, "floor", 5) == 0 ? Rounding::floor : Rounding::bad;
}
Status divide_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Rounding rounding = rounding_of(args[2]);
  if (rounding == Rounding::bad)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "rounding mode is neither none, \"trunc\" nor \"floor\"");
  return pointwise_shape(args, 2, rounding == Rounding::none ? Rule::floating : Rule::number, outs,
                         diagnostic);
}
Status run_divide(const Args& args, KernelContext& context) {
  switch (rounding_of(args[2])) {
    case Rounding::trunc: return run_of<2, Rule::number, DivideTrunc>(args, context);
    case Rounding::floor: return run_of<2, Rule::number, DivideFloor>(args, context);
    default: return run_of<2, Rule::floating, Divide>(args, context);
  }
}

}  // namespace

KERNEL(add_Tensor) = {"aten::add.out", "ten>t", alpha_shape<false>, run_alpha<Add>};
KERNEL(add_Scalar) = {"aten::add.Scalar_out", "tnn>t", alpha_shape<false>, run_alpha<Add>};
KERNEL(sub_Tensor) = {"aten::sub.out", "ten>t", alpha_shape<true>, run_alpha<Subtract>};
KERNEL(sub_Scalar) = {"aten::sub.Scalar_out", "tnn>t", alpha_shape<true>, run_alpha<Subtract>};
KERNEL(rsub_Tensor) = {"aten::rsub.Tensor_out", "ten>t", alpha_shape<true>, run_alpha<SubtractFrom>};
KERNEL(rsub_Scalar) = {"aten::rsub.Scalar_out", "tnn>t", alpha_shape<true>, run_alpha<SubtractFrom>};
KERNEL(pow_Tensor_Scalar) = {"aten::pow.Tensor_Scalar_out", "tn>t", pow_shape, run_pow};
KERNEL(div_Tensor_mode) = {"aten::div.out_mode", "teS>t", divide_shape, run_divide};
KERNEL(div_Scalar_mode) = {"aten::div.Scalar_mode_out", "tnS>t", divide_shape, run_divide};

}  // namespace sconce
