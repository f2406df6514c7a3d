// add and sub with alpha, rsub, pow by a number, division with a rounding mode.
#include "ops/pointwise/run.h"

namespace sconce {
namespace {

using namespace pointwise;

// Arguments of all: self, other, alpha.
struct Add {
  using TakesComplex = void;
  const Numbers* parameters;
  template <class T> T operator()(T a, T b) const {
    return pointwise::add(a, pointwise::mul(parameters->get<T>(0), b));
  }
};
struct Subtract {
  using TakesComplex = void;
  const Numbers* parameters;
  template <class T> T operator()(T a, T b) const {
    return pointwise::sub(a, pointwise::mul(parameters->get<T>(0), b));
  }
};
struct SubtractFrom {
  using TakesComplex = void;
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
  const DType* parameters;
  template <class T> T operator()(T a, T b) const {
    if constexpr (std::is_same_v<T, float>) {  // the quotient is rounded to its type first
      if (*parameters == DType::f16) return std::trunc(to_float(to_f16(a / b)));
      if (*parameters == DType::bf16) return std::trunc(to_float(to_bf16(a / b)));
    }
    return divide_trunc(a, b);
  }
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
    case Rounding::trunc: {
      ResultType type;
      type.add(args[0]);
      type.add(args[1]);
      DType dtype = type.get();
      static constexpr BlockFunctions functions = functions_of<DivideTrunc, 2, Rule::number>();
      return pointwise_run(args, 2, Rule::number, functions, &dtype, context);
    }
    case Rounding::floor: return run_of<2, Rule::number, DivideFloor>(args, context);
    default: return run_of<2, Rule::floating, Divide>(args, context);
  }
}

// Shifts by fewer than 0 or by at least as many bits as the type has: 0, or the sign to the right.
struct ShiftLeft {
  const int64_t* parameters;  // bits of the type
  int64_t operator()(int64_t a, int64_t b) const {
    return b < 0 || b >= *parameters ? 0 : int64_t(uint64_t(a) << b);
  }
};
struct ShiftRight {
  const int64_t* parameters;
  int64_t operator()(int64_t a, int64_t b) const {
    return a >> (b < 0 || b >= *parameters ? *parameters - 1 : b) >> (b < 0 || b >= *parameters);
  }
};
template <class F>
Status run_shift(const Args& args, KernelContext& context) {
  ResultType type;
  type.add(args[0]);
  type.add(args[1]);
  int64_t bits = int64_t(dtype_bytes(type.get())) * 8;
  return pointwise_run(args, 2, Rule::integral, {nullptr, nullptr, block_of<int64_t, F, 2>}, &bits,
                       context);
}

// isclose and lerp of three operands, addcmul and addcdiv with a factor.
struct Lerp {
  template <class T> T operator()(T a, T b, T w) const {
    return std::fabs(w) < T(0.5) ? a + w * (b - a) : b - (b - a) * (T(1) - w);
  }
};
Status lerp_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  for (int i = 1; i < 3; i++)
    if (const Tensor* tensor = args.find_tensor(i); tensor && tensor->dtype != args.tensor(0).dtype)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "operand %d of type %s: %s wanted", i,
                         dtype_name(tensor->dtype), dtype_name(args.tensor(0).dtype));
  return pointwise_shape(args, 3, Rule::real, outs, diagnostic);
}
struct AddProduct {
  const Numbers* parameters;
  template <class T> T operator()(T x, T a, T b) const {
    return pointwise::add(x, pointwise::mul(pointwise::mul(parameters->get<T>(0), a), b));
  }
};
struct AddQuotient {
  const Numbers* parameters;
  template <class T> T operator()(T x, T a, T b) const { return x + parameters->get<T>(0) * a / b; }
};
Status addcmul_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  return pointwise_shape(args, 3, Rule::number, outs, diagnostic);
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

KERNEL(bitwise_left_shift_Tensor) = {"aten::bitwise_left_shift.Tensor_out", "te>t",
                                     shape_of<2, Rule::integral>, run_shift<ShiftLeft>};
KERNEL(bitwise_left_shift_Tensor_Scalar) = {"aten::bitwise_left_shift.Tensor_Scalar_out", "tn>t",
                                            shape_of<2, Rule::integral>, run_shift<ShiftLeft>};
KERNEL(bitwise_left_shift_Scalar_Tensor) = {"aten::bitwise_left_shift.Scalar_Tensor_out", "nt>t",
                                            shape_of<2, Rule::integral>, run_shift<ShiftLeft>};
KERNEL(bitwise_right_shift_Tensor) = {"aten::bitwise_right_shift.Tensor_out", "te>t",
                                      shape_of<2, Rule::integral>, run_shift<ShiftRight>};
KERNEL(bitwise_right_shift_Tensor_Scalar) = {"aten::bitwise_right_shift.Tensor_Scalar_out", "tn>t",
                                             shape_of<2, Rule::integral>, run_shift<ShiftRight>};
KERNEL(bitwise_right_shift_Scalar_Tensor) = {"aten::bitwise_right_shift.Scalar_Tensor_out", "nt>t",
                                             shape_of<2, Rule::integral>, run_shift<ShiftRight>};
KERNEL(lerp_Tensor) = {"aten::lerp.Tensor_out", "ttt>t", lerp_shape, run_of<3, Rule::real, Lerp>};
KERNEL(lerp_Scalar) = {"aten::lerp.Scalar_out", "ttn>t", lerp_shape, run_of<3, Rule::real, Lerp>};
KERNEL(addcmul) = {"aten::addcmul.out", "tttn>t", addcmul_shape,
                   run_with_numbers<3, 1, Rule::number, AddProduct>};
KERNEL(addcdiv) = {"aten::addcdiv.out", "tttn>t", shape_of<3, Rule::real>,
                   run_with_numbers<3, 1, Rule::real, AddQuotient>};

}  // namespace sconce
