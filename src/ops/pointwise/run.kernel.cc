// Dtype rules of pointwise kernels, and kernels that fit no row: bitwise_not, round.decimals, gelu.
#include "ops/pointwise/run.h"

namespace sconce {
namespace pointwise {

Status compute_dtype(Rule rule, DType promoted, DType* dtype, Diagnostic* diagnostic) {
  *dtype = promoted;
  switch (rule) {
    case Rule::same: case Rule::boolean: return kOk;
    case Rule::floating: *dtype = to_floating(promoted); return kOk;
    case Rule::number:
      if (promoted != DType::b8) return kOk;
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "not defined for b8: a number wanted");
    case Rule::real:
      if (!is_integral(promoted)) return kOk;
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "not defined for %s: a floating type wanted", dtype_name(promoted));
    case Rule::integral:
      if (is_integral(promoted)) return kOk;
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "not defined for %s: an integer type or bool wanted",
                         dtype_name(promoted));
  }
  return kOk;
}

static DType promoted_type(const Args& args, int operand_count) {
  ResultType type;
  for (int i = 0; i < operand_count; i++) type.add(args[i]);
  return type.get();
}

Status pointwise_shape(const Args& args, int operand_count, Rule rule, Span<OutMeta> outs,
                       Diagnostic* diagnostic) {
  DType dtype;
  SCONCE_TRY_STATUS(compute_dtype(rule, promoted_type(args, operand_count), &dtype, diagnostic));
  outs[0] = OutMeta{};
  outs[0].dtype = result_dtype(rule, dtype);
  for (int i = 0; i < operand_count; i++)
    if (const Tensor* tensor = args.find_tensor(i))
      SCONCE_TRY_STATUS(broadcast_into(*tensor, outs[0], diagnostic));
  return kOk;
}

Status check_cast(DType from, DType to, Diagnostic* diagnostic) {
  bool loses = dtype_category(from) > dtype_category(to) &&
               (dtype_category(to) == DTypeCategory::boolean || !is_integral(from));
  // Floating to integer, anything but bool to bool, complex to real.
  if (!loses) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "result of type %s cannot be stored as %s",
                     dtype_name(from), dtype_name(to));
}

Status pointwise_run(const Args& args, int operand_count, Rule rule, const BlockFunctions& functions,
                     const void* parameters, KernelContext& context) {
  DType dtype;
  SCONCE_TRY_STATUS(
      compute_dtype(rule, promoted_type(args, operand_count), &dtype, context.diagnostic));
  Tensor& out = args.out();
  if (rule != Rule::boolean)  // comparisons may be stored in any type
    SCONCE_TRY_STATUS(check_cast(dtype, out.dtype, context.diagnostic));
  return run_elementwise(args.values.first(size_t(operand_count)), dtype, out, functions, parameters,
                         context.diagnostic);
}

Numbers numbers_of(const Args& args, int first, int count) {
  Numbers numbers = {};
  for (int k = 0; k < count; k++) {
    if (!args.has(first + k)) continue;
    numbers.f[k] = args.floating(first + k);
    numbers.i[k] = args.integer(first + k);
  }
  return numbers;
}

}  // namespace pointwise

namespace {

using namespace pointwise;

// bitwise_not: of a bool it is the logical not.
struct BitwiseNot { template <class T> T operator()(T x) const { return T(~x); } };
struct LogicalNot { template <class T> T operator()(T x) const { return T(x == T(0)); } };
Status run_bitwise_not(const Args& args, KernelContext& context) {
  bool logical = args.tensor(0).dtype == DType::b8;
  BlockFunctions functions = {nullptr, nullptr,
                              logical ? checked_block<int64_t, LogicalNot, 1> : checked_block<int64_t, BitwiseNot, 1>};
  return pointwise_run(args, 1, Rule::integral, functions, nullptr, context);
}

// gelu(self, *, approximate)
struct GeluErf { template <class T> T operator()(T x) const { return gelu(x); } };
struct GeluTanh { template <class T> T operator()(T x) const { return gelu_tanh(x); } };
bool text_is(const Value& value, const char* text) {
  return value.kind == Value::Kind::string && value.count == strlen(text) &&
         memcmp(value.string, text, value.count) == 0;
}
Status gelu_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  if (!text_is(args[1], "none") && !text_is(args[1], "tanh"))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "approximate is neither \"none\" nor \"tanh\"");
  return pointwise_shape(args, 1, Rule::real, outs, diagnostic);
}
Status run_gelu(const Args& args, KernelContext& context) {
  return text_is(args[1], "tanh") ? run_of<1, Rule::real, GeluTanh>(args, context)
                                  : run_of<1, Rule::real, GeluErf>(args, context);
}

// square: as pow(x, 2), so the square of a bool is an i64.
struct Square { template <class T> T operator()(T x) const { return mul(x, x); } };
Status square_shape(const Args& args, Span<OutMeta> outs, Diagnostic*) {
  DType dtype = args.tensor(0).dtype;
  set_like(outs[0], args.tensor(0), dtype == DType::b8 ? DType::i64 : dtype);
  return kOk;
}

// nextafter: neighbours in the operands' own type.
struct NextAfter {
  const DType* parameters;
  template <class T> T operator()(T a, T b) const {
    if (*parameters != DType::f16 && *parameters != DType::bf16) return std::nextafter(a, b);
    if (a != a || b != b) return a + b;
    if (a == b) return b;
    bool half = *parameters == DType::f16;
    uint16_t bits = half ? to_f16(float(a)).bits : to_bf16(float(a)).bits;
    if (a == T(0)) bits = b > a ? 1 : 0x8001;
    else bits = uint16_t((a < b) == (a > T(0)) ? bits + 1 : bits - 1);
    return T(half ? to_float(f16_t{bits}) : to_float(bf16_t{bits}));
  }
};
Status run_nextafter(const Args& args, KernelContext& context) {
  ResultType type;
  type.add(args[0]);
  type.add(args[1]);
  DType dtype = type.get();
  static constexpr BlockFunctions functions = functions_of<NextAfter, 2, Rule::real>();
  return pointwise_run(args, 2, Rule::real, functions, &dtype, context);
}

}  // namespace

KERNEL(square) = {"aten::square.out", "t>t", square_shape, run_of<1, Rule::same, Square>};
KERNEL(nextafter) = {"aten::nextafter.out", "te>t", shape_of<2, Rule::real>, run_nextafter};
KERNEL(bitwise_not) = {"aten::bitwise_not.out", "t>t", shape_of<1, Rule::integral>, run_bitwise_not};
KERNEL(gelu) = {"aten::gelu.out", "ts>t", gelu_shape, run_gelu};

}  // namespace sconce
