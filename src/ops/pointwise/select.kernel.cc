// Kernels that choose between values: clamp, hardtanh, where, masked_fill.
#include "ops/pointwise/run.h"

namespace sconce {
namespace {

using namespace pointwise;

// clamp(self, min, max): a missing bound does not bound. Bounds take part in promotion.
struct ClampBoth { template <class T> T operator()(T x, T low, T high) const { return clamp(x, low, high); } };
struct ClampLow { template <class T> T operator()(T x, T low) const { return maximum(x, low); } };
struct ClampHigh { template <class T> T operator()(T x, T high) const { return minimum(x, high); } };

template <Rule rule>
Status clamp_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  if (!args.has(1) && !args.has(2))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "clamp without a bound");
  return pointwise_shape(args, 3, rule, outs, diagnostic);
}
Status run_clamp(const Args& args, KernelContext& context) {
  if (args.has(1) && args.has(2)) return run_of<3, Rule::same, ClampBoth>(args, context);
  const Value* operands[] = {&args[0], &args[args.has(1) ? 1 : 2], args.values[3]};
  Args two{operands, 2};
  return args.has(1) ? run_of<2, Rule::same, ClampLow>(two, context)
                     : run_of<2, Rule::same, ClampHigh>(two, context);
}

// Bounds as numbers in the type of self: hardtanh(self, min_val, max_val).
struct Hardtanh {
  const Numbers* parameters;
  template <class T> T operator()(T x) const {
    return clamp(x, parameters->get<T>(0), parameters->get<T>(1));
  }
};

// where(condition, self, other)
struct Where { template <class T> T operator()(T c, T a, T b) const { return c != T(0) ? a : b; } };

Status condition_type(const Tensor& condition, Diagnostic* diagnostic) {
  if (condition.dtype == DType::b8 || condition.dtype == DType::u8) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "condition of type %s: b8 wanted",
                     dtype_name(condition.dtype));
}
DType where_type(const Args& args) {
  ResultType type;
  type.add(args[1]);
  type.add(args[2]);
  return type.get();
}
Status where_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(condition_type(args.tensor(0), diagnostic));
  outs[0] = OutMeta{};
  outs[0].dtype = where_type(args);
  for (int i = 0; i < 3; i++)
    if (const Tensor* tensor = args.find_tensor(i))
      SCONCE_TRY_STATUS(broadcast_into(*tensor, outs[0], diagnostic));
  return kOk;
}
constexpr BlockFunctions kWhere = functions_of<Where, 3, Rule::same>();
Status run_where(const Args& args, KernelContext& context) {
  DType dtype = where_type(args);
  SCONCE_TRY_STATUS(check_cast(dtype, args.out().dtype, context.diagnostic));
  return run_elementwise(args.values.first(3), dtype, args.out(), kWhere, nullptr, context.diagnostic);
}

// masked_fill(self, mask, value): the value takes the type of self.
Status masked_fill_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(condition_type(args.tensor(1), diagnostic));
  if (const Tensor* value = args.find_tensor(2); value && value->rank != 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "value has rank %d: a tensor without dimensions wanted", value->rank);
  set_like(outs[0], args.tensor(0));
  return broadcast_into(args.tensor(1), outs[0], diagnostic);
}
Status run_masked_fill(const Args& args, KernelContext& context) {
  const Value* operands[] = {&args[1], &args[2], &args[0]};
  DType dtype = args.tensor(0).dtype;
  SCONCE_TRY_STATUS(check_cast(dtype, args.out().dtype, context.diagnostic));
  return run_elementwise(operands, dtype, args.out(), kWhere, nullptr, context.diagnostic);
}

}  // namespace

KERNEL(clamp) = {"aten::clamp.out", "tNN>t", clamp_shape<Rule::number>, run_clamp};
KERNEL(clamp_Tensor) = {"aten::clamp.Tensor_out", "tTT>t", clamp_shape<Rule::same>, run_clamp};
KERNEL(hardtanh) = {"aten::hardtanh.out", "tnn>t", shape_of<1, Rule::number>,
                    run_with_numbers<1, 2, Rule::number, Hardtanh>};
KERNEL(where_self) = {"aten::where.self_out", "tee>t", where_shape, run_where};
KERNEL(masked_fill_Scalar) = {"aten::masked_fill.Scalar_out", "ttn>t", masked_fill_shape,
                              run_masked_fill};
KERNEL(masked_fill_Tensor) = {"aten::masked_fill.Tensor_out", "tte>t", masked_fill_shape,
                              run_masked_fill};

}  // namespace sconce
