// quantize_* and dequantize_*: numbers to integers and back, with the parameters of a tensor, of
// channels, of tokens (rows along the last dimension), of groups in rows or of any blocks.
#include "ops/promote.h"
#include "ops/quantized/affine.h"
#include "tensor/half.h"

namespace sconce {
namespace {

// What torch does beyond it: 16-bit numbers are quantised as f32.
Status want_number(const char* what, const Tensor& x, Diagnostic* diagnostic) {
  (void)what;
  if (x.dtype == DType::f32 || is_half(x.dtype)) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s of %s: f32, f16 or bf16 is wanted",
                     what, dtype_name(x.dtype));
}

Status read_dtype(const char* what, const Args& args, int i, DType* dtype, Diagnostic* diagnostic) {
  (void)what;
  SCONCE_TRY_STATUS(dtype_argument(args, i, DType::i8, dtype, diagnostic));
  int64_t min, max;
  if (quantized_limits(*dtype, &min, &max)) return kOk;
  return SCONCE_FAIL(Code::unsupported, diagnostic,
                     "%s: quantised as %s; u8, i8, u16, i16 or i32 is wanted", what,
                     dtype_name(*dtype));
}

// quant_min, quant_max at `i`, inside what the type holds.
Status check_limits(const char* what, DType dtype, double min, double max, Diagnostic* diagnostic) {
  (void)what;
  int64_t lowest = 0, highest = 0;
  quantized_limits(dtype, &lowest, &highest);
  if (min >= double(lowest) && max <= double(highest)) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                     "%s: limits %.0f and %.0f lie outside those of %s, %lld and %lld", what, min,
                     max, dtype_name(dtype), (long long)lowest, (long long)highest);
}

Status want_type(const char* what, const Tensor& q, const Args& args, int i,
                 Diagnostic* diagnostic) {
  DType dtype;
  SCONCE_TRY_STATUS(read_dtype(what, args, i, &dtype, diagnostic));
  if (q.dtype == dtype) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s of %s: its dtype argument says %s",
                     what, dtype_name(q.dtype), dtype_name(dtype));
}

Status want_one(const char* what, const Tensor& tensor, Diagnostic* diagnostic) {
  (void)what;
  if (element_count(tensor) == 1 && dtype_category(tensor.dtype) != DTypeCategory::complex)
    return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                     "%s: %lld elements of %s where one number is wanted", what,
                     (long long)element_count(tensor), dtype_name(tensor.dtype));
}

double number_of(const Tensor& tensor) {
  double value;
  load_elements<double>(&value, tensor.data, 1, 1, tensor.dtype);
  return value;
}

// Scale, zero point and limits may be numbers or tensors of one element.
double number(const Args& args, int i) {
  return args[i].is_tensor() ? number_of(args.tensor(i)) : args.floating(i);
}

// --- one scale for all ---------------------------------------------------------------------------

Status check_numbers(const char* what, const Args& args, int first, int end,
                     Diagnostic* diagnostic) {
  for (int i = first; i < end; i++)
    if (args[i].is_tensor()) SCONCE_TRY_STATUS(want_one(what, args.tensor(i), diagnostic));
  return kOk;
}

Status quantize_tensor_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(want_number("quantize_per_tensor", args.tensor(0), diagnostic));
  SCONCE_TRY_STATUS(check_numbers("quantize_per_tensor", args, 1, 5, diagnostic));
  DType dtype;
  SCONCE_TRY_STATUS(read_dtype("quantize_per_tensor", args, 5, &dtype, diagnostic));
  set_like(outs[0], args.tensor(0), dtype);
  return kOk;
}

Status quantize_tensor(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  AffineParameters parameters;
  parameters.scale = number(args, 1);
  parameters.zero = rounded(DType::f32, number(args, 2));
  for (int d = 0; d < x.rank; d++) parameters.blocks[d] = x.sizes[d] ? x.sizes[d] : 1;
  QuantizeSteps steps;
  steps.min = number(args, 3), steps.max = number(args, 4);
  DType dtype;
  SCONCE_TRY_STATUS(read_dtype("quantize_per_tensor", args, 5, &dtype, context.diagnostic));
  SCONCE_TRY_STATUS(
      check_limits("quantize_per_tensor", dtype, steps.min, steps.max, context.diagnostic));
  if (parameters.scale == 0)
    return SCONCE_FAIL(Code::invalid_argument, context.diagnostic,
                       "quantize_per_tensor: scale 0; any other number is wanted");
  quantize_affine(x, parameters, steps, args.out());
  return kOk;
}

Status dequantize_tensor_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(want_type("dequantize_per_tensor", args.tensor(0), args, 5, diagnostic));
  SCONCE_TRY_STATUS(check_numbers("dequantize_per_tensor", args, 1, 5, diagnostic));
  DType dtype;
  SCONCE_TRY_STATUS(dtype_argument(args, 6, DType::f32, &dtype, diagnostic));
  if (!is_floating(dtype))
    return SCONCE_FAIL(Code::unsupported, diagnostic,
                       "dequantize_per_tensor to %s: a floating type is wanted", dtype_name(dtype));
  set_like(outs[0], args.tensor(0), dtype);
  return kOk;
}

Status dequantize_tensor(const Args& args, KernelContext& context) {
  const Tensor& q = args.tensor(0);
  DType dtype;
  SCONCE_TRY_STATUS(dtype_argument(args, 6, DType::f32, &dtype, context.diagnostic));
  AffineParameters parameters;
  // Numbers count in the precision that 16-bit types are computed in.
  DType compute = dtype == DType::f64 ? DType::f64 : DType::f32;
  parameters.scale = rounded(compute, number(args, 1));
  parameters.zero = number(args, 2);
  for (int d = 0; d < q.rank; d++) parameters.blocks[d] = q.sizes[d] ? q.sizes[d] : 1;
  DequantizeSteps steps{dtype, dtype, dtype};
  dequantize_affine(q, parameters, steps, args.out());
  return kOk;
}

// --- a scale for each channel, token or group ---------------------------------------------------

// input, scales, zero_points, axis
Status channel_parameters(const char* what, const Args& args, AffineParameters* parameters,
                          Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  int64_t axis = args.integer(3);
  if (x.rank == 0 || axis < -x.rank || axis >= x.rank)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: axis %lld of a tensor of rank %d",
                       what, (long long)axis, x.rank);
  parameters->scales = args.find_tensor(1);
  parameters->zeros = args.find_tensor(2);
  for (int d = 0; d < x.rank; d++)
    parameters->blocks[d] = d != (axis < 0 ? axis + x.rank : axis) && x.sizes[d] ? x.sizes[d] : 1;
  return check_parameters(what, x, *parameters, diagnostic);
}

// input, scales, zero_points: along the last dimension
Status token_parameters(const char* what, const Args& args, AffineParameters* parameters,
                        Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  parameters->scales = args.find_tensor(1);
  parameters->zeros = args.find_tensor(2);
  for (int d = 0; d < x.rank; d++)
    parameters->blocks[d] = d == x.rank - 1 && x.sizes[d] ? x.sizes[d] : 1;
  // Otherwise torch would spread them along the last dimension.
  for (const Tensor* tensor : {parameters->scales, parameters->zeros})
    if (tensor && x.rank > 0 && tensor->rank > 0 && tensor->sizes[tensor->rank - 1] != 1)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s: parameters whose last dimension is %d; 1 is wanted", what,
                         int(tensor->sizes[tensor->rank - 1]));
  return check_parameters(what, x, *parameters, diagnostic);
}

// input, scales, zero_points, and group_size at `at`
Status group_parameters(const char* what, const Args& args, int at, AffineParameters* parameters,
                        Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  int64_t group = args.integer(at);
  parameters->scales = args.find_tensor(1);
  parameters->zeros = args.find_tensor(2);
  if (x.rank != 2 || group <= 1)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: rank %d, group_size %lld; 2 and more than 1 are wanted", what, x.rank,
                       (long long)group);
  const Tensor& scales = *parameters->scales;
  if (group > x.sizes[1] && scales.rank > 0 && scales.sizes[scales.rank - 1] == 1)
    group = x.sizes[1];
  if (group == 0 || x.sizes[1] % group != 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: group_size %lld does not divide %d columns", what, (long long)group,
                       int(x.sizes[1]));
  parameters->blocks[0] = 1, parameters->blocks[1] = group;
  return check_parameters(what, x, *parameters, diagnostic);
}

DType type_of(const Tensor* tensor, DType fallback) { return tensor ? tensor->dtype : fallback; }

using ReadParameters = Status (*)(const Args& args, AffineParameters* parameters,
                                  Diagnostic* diagnostic);

Status quantize_channel_parameters(const Args& args, AffineParameters* p, Diagnostic* d) {
  return channel_parameters("quantize_per_channel", args, p, d);
}
Status dequantize_channel_parameters(const Args& args, AffineParameters* p, Diagnostic* d) {
  return channel_parameters("dequantize_per_channel", args, p, d);
}
Status quantize_token_parameters(const Args& args, AffineParameters* p, Diagnostic* d) {
  return token_parameters("quantize_per_token", args, p, d);
}
Status dequantize_token_parameters(const Args& args, AffineParameters* p, Diagnostic* d) {
  return token_parameters("dequantize_per_token", args, p, d);
}
Status quantize_group_parameters(const Args& args, AffineParameters* p, Diagnostic* d) {
  return group_parameters("quantize_per_channel_group", args, 6, p, d);
}
Status dequantize_group_parameters(const Args& args, AffineParameters* p, Diagnostic* d) {
  return group_parameters("dequantize_per_channel_group", args, 6, p, d);
}

// The first of quant_min, quant_max, dtype at `limits`.
template <ReadParameters read, int limits>
Status quantize_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  AffineParameters parameters;
  SCONCE_TRY_STATUS(want_number("quantize", args.tensor(0), diagnostic));
  SCONCE_TRY_STATUS(read(args, &parameters, diagnostic));
  DType dtype;
  SCONCE_TRY_STATUS(read_dtype("quantize", args, limits + 2, &dtype, diagnostic));
  SCONCE_TRY_STATUS(check_limits("quantize", dtype, args.floating(limits),
                                 args.floating(limits + 1), diagnostic));
  set_like(outs[0], args.tensor(0), dtype);
  return kOk;
}

// Channels: 16-bit numbers become f32, and zero is added after rounding. Tokens and groups: types
// are promoted, and zero is added before.
template <ReadParameters read, int limits, bool of_channels>
Status quantize(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  AffineParameters parameters;
  SCONCE_TRY_STATUS(read(args, &parameters, context.diagnostic));
  QuantizeSteps steps;
  steps.inverse = to_floating(parameters.scales->dtype);
  steps.scaled = promote_types(of_channels ? DType::f32 : x.dtype, steps.inverse);
  steps.shifted = promote_types(steps.scaled, type_of(parameters.zeros, steps.scaled));
  steps.zero_first = !of_channels;
  steps.min = args.floating(limits), steps.max = args.floating(limits + 1);
  quantize_affine(x, parameters, steps, args.out());
  return kOk;
}

// quant_min, quant_max, dtype at `limits`; the type of the result at `type`.
template <ReadParameters read, int limits, int type>
Status dequantize_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  AffineParameters parameters;
  SCONCE_TRY_STATUS(want_type("dequantize", args.tensor(0), args, limits + 2, diagnostic));
  SCONCE_TRY_STATUS(read(args, &parameters, diagnostic));
  DType dtype;
  SCONCE_TRY_STATUS(dtype_argument(args, type, DType::f32, &dtype, diagnostic));
  if (!is_floating(dtype))
    return SCONCE_FAIL(Code::unsupported, diagnostic, "dequantize to %s: a floating type is wanted",
                       dtype_name(dtype));
  set_like(outs[0], args.tensor(0), dtype);
  return kOk;
}

template <ReadParameters read>
Status dequantize(const Args& args, KernelContext& context) {
  const Tensor& q = args.tensor(0);
  AffineParameters parameters;
  SCONCE_TRY_STATUS(read(args, &parameters, context.diagnostic));
  DequantizeSteps steps;
  steps.start = steps.shifted = promote_types(q.dtype, type_of(parameters.zeros, q.dtype));
  steps.scaled = promote_types(steps.shifted, to_floating(parameters.scales->dtype));
  dequantize_affine(q, parameters, steps, args.out());
  return kOk;
}

// --- blocks of any sizes -----------------------------------------------------------------------

// input, block_size, scale, zero_point
Status affine_parameters(const char* what, const Args& args, AffineParameters* parameters,
                         Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(read_blocks(what, args, 1, x, parameters->blocks, diagnostic));
  parameters->scales = args.find_tensor(2);
  parameters->zeros = args.find_tensor(3);
  return check_parameters(what, x, *parameters, diagnostic);
}

// dtype, quant_min, quant_max from `first`.
Status affine_limits(const char* what, const Args& args, int first, double* min, double* max,
                     Diagnostic* diagnostic) {
  DType dtype;
  SCONCE_TRY_STATUS(read_dtype(what, args, first, &dtype, diagnostic));
  int64_t lowest = 0, highest = 0;
  quantized_limits(dtype, &lowest, &highest);
  *min = args.floating_or(first + 1, double(lowest));
  *max = args.floating_or(first + 2, double(highest));
  return check_limits(what, dtype, *min, *max, diagnostic);
}

Status quantize_affine_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const char* what = "quantize_affine";
  AffineParameters parameters;
  SCONCE_TRY_STATUS(want_number(what, args.tensor(0), diagnostic));
  SCONCE_TRY_STATUS(affine_parameters(what, args, &parameters, diagnostic));
  if (!parameters.zeros || element_count(*parameters.zeros) == 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "quantize_affine without zero_point; torch wants one");
  double min, max;
  SCONCE_TRY_STATUS(affine_limits(what, args, 4, &min, &max, diagnostic));
  DType dtype;
  SCONCE_TRY_STATUS(read_dtype(what, args, 4, &dtype, diagnostic));
  set_like(outs[0], args.tensor(0), dtype);
  return kOk;
}

Status run_quantize_affine(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  AffineParameters parameters;
  QuantizeSteps steps;
  SCONCE_TRY_STATUS(affine_parameters("quantize_affine", args, &parameters, context.diagnostic));
  SCONCE_TRY_STATUS(
      affine_limits("quantize_affine", args, 4, &steps.min, &steps.max, context.diagnostic));
  steps.inverse = to_floating(parameters.scales->dtype);
  steps.scaled = promote_types(x.dtype, steps.inverse);
  steps.shifted = promote_types(steps.scaled, parameters.zeros->dtype);
  quantize_affine(x, parameters, steps, args.out());
  return kOk;
}

Status dequantize_affine_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const char* what = "dequantize_affine";
  AffineParameters parameters;
  SCONCE_TRY_STATUS(want_type(what, args.tensor(0), args, 4, diagnostic));
  SCONCE_TRY_STATUS(affine_parameters(what, args, &parameters, diagnostic));
  double min, max;
  SCONCE_TRY_STATUS(affine_limits(what, args, 4, &min, &max, diagnostic));
  DType dtype;
  SCONCE_TRY_STATUS(dtype_argument(args, 7, DType::f32, &dtype, diagnostic));
  if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "dequantize_affine to %s: f32, f16 or bf16 is wanted", dtype_name(dtype));
  set_like(outs[0], args.tensor(0), dtype);
  return kOk;
}

Status run_dequantize_affine(const Args& args, KernelContext& context) {
  AffineParameters parameters;
  SCONCE_TRY_STATUS(affine_parameters("dequantize_affine", args, &parameters, context.diagnostic));
  DequantizeSteps steps;
  SCONCE_TRY_STATUS(dtype_argument(args, 7, DType::f32, &steps.start, context.diagnostic));
  steps.shifted = steps.start;
  steps.scaled = promote_types(steps.start, to_floating(parameters.scales->dtype));
  dequantize_affine(args.tensor(0), parameters, steps, args.out());
  return kOk;
}

}  // namespace

KERNEL(quantize_per_tensor) = {"quantized_decomposed::quantize_per_tensor.out", "tfiiii>t",
                               quantize_tensor_shape, quantize_tensor};
KERNEL(quantize_per_tensor_tensor) = {"quantized_decomposed::quantize_per_tensor.Tensor_out",
                                      "tttiii>t", quantize_tensor_shape, quantize_tensor};
KERNEL(quantize_per_tensor_tensor2) = {"quantized_decomposed::quantize_per_tensor.tensor2_out",
                                       "ttttti>t", quantize_tensor_shape, quantize_tensor};
KERNEL(dequantize_per_tensor) = {"quantized_decomposed::dequantize_per_tensor.out", "tfiiiiI>t",
                                 dequantize_tensor_shape, dequantize_tensor};
KERNEL(dequantize_per_tensor_tensor) = {"quantized_decomposed::dequantize_per_tensor.Tensor_out",
                                        "tttiiiI>t", dequantize_tensor_shape, dequantize_tensor};
KERNEL(dequantize_per_tensor_tensor2) = {"quantized_decomposed::dequantize_per_tensor.tensor2_out",
                                         "tttttiI>t", dequantize_tensor_shape, dequantize_tensor};
KERNEL(quantize_per_channel) = {"quantized_decomposed::quantize_per_channel.out", "tttiiii>t",
                                quantize_shape<quantize_channel_parameters, 4>,
                                quantize<quantize_channel_parameters, 4, true>};
KERNEL(dequantize_per_channel) = {"quantized_decomposed::dequantize_per_channel.out", "ttTiiiiI>t",
                                  dequantize_shape<dequantize_channel_parameters, 4, 7>,
                                  dequantize<dequantize_channel_parameters>};
KERNEL(quantize_per_token) = {"quantized_decomposed::quantize_per_token.out", "tttiii>t",
                              quantize_shape<quantize_token_parameters, 3>,
                              quantize<quantize_token_parameters, 3, false>};
KERNEL(dequantize_per_token) = {"quantized_decomposed::dequantize_per_token.out", "tttiiii>t",
                                dequantize_shape<dequantize_token_parameters, 3, 6>,
                                dequantize<dequantize_token_parameters>};
KERNEL(quantize_per_channel_group) = {"quantized_decomposed::quantize_per_channel_group.out",
                                      "tttiiii>t", quantize_shape<quantize_group_parameters, 3>,
                                      quantize<quantize_group_parameters, 3, false>};
KERNEL(dequantize_per_channel_group) = {
    "quantized_decomposed::dequantize_per_channel_group.out", "ttTiiiii>t",
    dequantize_shape<dequantize_group_parameters, 3, 7>, dequantize<dequantize_group_parameters>};
KERNEL(quantize_affine) = {"torchao::quantize_affine.out", "tltTiNN>t", quantize_affine_shape,
                           run_quantize_affine};
KERNEL(dequantize_affine) = {"torchao::dequantize_affine.out", "tltTiNNi>t",
                             dequantize_affine_shape, run_dequantize_affine};

}  // namespace sconce
