// choose_qparams*: scale and zero point from the smallest and largest value, for a tensor, for each
// token (row along the last dimension) or for each block.
//
// Each step is rounded to the type that torch does it in.
#include <cstring>

#include "ops/promote.h"
#include "ops/quantized/affine.h"
#include "ops/reduce/rows.h"
#include "tensor/half.h"

namespace sconce {
namespace {

struct Range {
  double min, max;  // NaN when there is one
};

Range range_of(const Rows& rows) {
  Range range{INFINITY, -INFINITY};
  for_each_block<double>(rows, [&](double* x, int n, int64_t) {
    for (int i = 0; i < n; i++) {
      if (!(x[i] >= range.min))
        range.min = x[i] != x[i] || range.min == range.min ? x[i] : range.min;
      if (!(x[i] <= range.max))
        range.max = x[i] != x[i] || range.max == range.max ? x[i] : range.max;
    }
  });
  return range;
}

double lesser(double a, double b) { return a != a || a < b ? a : b; }
double larger(double a, double b) { return a != a || a > b ? a : b; }
double limit(double x, double min, double max) {
  x = x < min ? min : x;  // NaN stays
  return x > max ? max : x;
}

Status want_number(const char* what, const Tensor& x, Diagnostic* diagnostic) {
  (void)what;
  if (x.dtype == DType::f32 || is_half(x.dtype)) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s of %s: f32, f16 or bf16 is wanted",
                     what, dtype_name(x.dtype));
}

// --- one for the whole tensor --------------------------------------------------------------------
// input, quant_min, quant_max, eps, dtype

Status tensor_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(want_number("choose_qparams", args.tensor(0), diagnostic));
  DType dtype;
  SCONCE_TRY_STATUS(dtype_argument(args, 4, DType::i8, &dtype, diagnostic));
  int64_t lowest, highest;
  if (!quantized_limits(dtype, &lowest, &highest))
    return SCONCE_FAIL(Code::unsupported, diagnostic, "choose_qparams for %s", dtype_name(dtype));
  if (args.integer(1) > 0 || args.integer(2) < 0 || args.integer(1) >= args.integer(2))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "choose_qparams: limits %lld and %lld; 0 lies between what is wanted",
                       (long long)args.integer(1), (long long)args.integer(2));
  outs[0].dtype = DType::f64, outs[1].dtype = DType::i64;
  for (OutMeta& out : outs) out.rank = 1, out.sizes[0] = 1;
  return want_elements(args.tensor(0), all_dims(args.tensor(0).rank), "choose_qparams", diagnostic);
}

void put(Tensor& out, double value) { store_elements<double>(out.data, 1, &value, 1, out.dtype); }

template <bool symmetric>
Status choose_tensor(const Args& args, KernelContext&) {
  const Tensor& x = args.tensor(0);
  double low = double(args.integer(1)), high = double(args.integer(2));
  double eps = rounded(DType::f32, args.floating(3));
  Range range = range_of(Rows(x, all_dims(x.rank)));
  double min = lesser(range.min, 0), max = larger(range.max, 0), scale, zero = 0;
  if (symmetric) {
    max = larger(-min, max);
    scale = rounded(x.dtype, max / ((high - low) / 2));
    if (args.integer(4) == int64_t(DType::u8)) zero = 128;
    scale = larger(scale, eps);
  } else {
    scale = larger(rounded(x.dtype, rounded(x.dtype, max - min) / (high - low)), eps);
    // Quotients that are no number become the smallest integer, and the difference wraps.
    double steps = std::rint(rounded(DType::f32, min / scale));
    int32_t rounded_steps =
        steps >= -2147483648.0 && steps < 2147483648.0 ? int32_t(steps) : INT32_MIN;
    int32_t difference = int32_t(uint32_t(args.integer(1)) - uint32_t(rounded_steps));
    zero = limit(difference, low, high);
  }
  put(args.out(0), scale);
  put(args.out(1), zero);
  return kOk;
}

// --- one for each token --------------------------------------------------------------------------
// input, dtype

template <bool symmetric>
Status token_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(want_floating(x, "choose_qparams_per_token", diagnostic));
  DType dtype;
  SCONCE_TRY_STATUS(dtype_argument(args, 1, DType::i8, &dtype, diagnostic));
  if (x.rank == 0 || (symmetric && dtype != DType::i8))
    return SCONCE_FAIL(
        Code::invalid_argument, diagnostic,
        "choose_qparams_per_token for %s of rank %d: i8 and rank 1 or more are wanted",
        dtype_name(dtype), x.rank);
  uint32_t last = 1u << (x.rank - 1);
  DType scale = x.dtype == DType::f16 ? DType::f32 : x.dtype;
  set_reduced(outs[0], x, last, true, symmetric ? scale : DType::f64);
  set_reduced(outs[1], x, last, true, symmetric ? scale : DType::i64);
  return want_elements(x, last, "choose_qparams_per_token", diagnostic);
}

Status choose_token(const Args& args, KernelContext&) {
  const Tensor& x = args.tensor(0);
  uint32_t last = 1u << (x.rank - 1);
  DType type = x.dtype == DType::f16 ? DType::f32 : x.dtype;
  Rows rows(x, last), scales(args.out(0), last), zeros(args.out(1), last);
  for (int64_t i = 0; i < rows.count(); i++, rows.next(), scales.next(), zeros.next()) {
    Range range = range_of(rows);
    double most = larger(std::fabs(range.min), std::fabs(range.max));
    double scale = rounded(type, limit(most, rounded(type, 1e-5), INFINITY) / 127);
    scales.put(scale);
    zeros.put(0.0);
  }
  return kOk;
}

Status choose_token_asymmetric(const Args& args, KernelContext&) {
  const Tensor& x = args.tensor(0);
  uint32_t last = 1u << (x.rank - 1);
  auto r = [&](double value) { return rounded(x.dtype, value); };
  double eps = r(0x1p-23);
  Rows rows(x, last), scales(args.out(0), last), zeros(args.out(1), last);
  for (int64_t i = 0; i < rows.count(); i++, rows.next(), scales.next(), zeros.next()) {
    Range range = range_of(rows);
    double min = lesser(range.min, 0), max = larger(range.max, 0);
    double scale = limit(r(r(max - min) / 255), eps, INFINITY);
    double below = r(min / scale), above = r(max / scale);
    bool from_min = r(r(-128 + below) + r(127 + above)) > 0;
    double zero = from_min ? r(-128 - below) : r(127 - above);
    scales.put(scale);
    zeros.put(std::rint(limit(zero, -128, 127)));
  }
  return kOk;
}

// --- one for each block --------------------------------------------------------------------------
// input, mapping_type, block_size, target_dtype, quant_min, quant_max, eps, scale_dtype,
// zero_point_dtype, keepdim

enum class Mapping { symmetric, symmetric_no_clipping, asymmetric };

bool read_mapping(const Value& name, Mapping* mapping) {
  auto is = [&](const char* text) {
    return name.count == strlen(text) && memcmp(name.string, text, name.count) == 0;
  };
  if (is("SYMMETRIC"))
    *mapping = Mapping::symmetric;
  else if (is("SYMMETRIC_NO_CLIPPING_ERR"))
    *mapping = Mapping::symmetric_no_clipping;
  else if (is("ASYMMETRIC"))
    *mapping = Mapping::asymmetric;
  else
    return false;
  return true;
}

struct BlockCall {
  Mapping mapping;
  int64_t blocks[kRankMax];
  double min, max, eps;
};

Status read_call(const Args& args, BlockCall* call, Diagnostic* diagnostic) {
  const Tensor* x = args.find_tensor(0);
  if (!x)
    return SCONCE_FAIL(Code::unsupported, diagnostic, "choose_qparams_affine without an input");
  SCONCE_TRY_STATUS(want_number("choose_qparams_affine", *x, diagnostic));
  if (!read_mapping(args[1], &call->mapping))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "choose_qparams_affine: mapping_type is none of SYMMETRIC, "
                       "SYMMETRIC_NO_CLIPPING_ERR, ASYMMETRIC");
  SCONCE_TRY_STATUS(read_blocks("choose_qparams_affine", args, 2, *x, call->blocks, diagnostic));
  bool one = true;
  for (int d = 0; d < x->rank; d++) one &= call->blocks[d] == 1;
  if (one || element_count(*x) == 0)
    return SCONCE_FAIL(Code::unsupported, diagnostic,
                       "choose_qparams_affine: blocks of one element, or of none");
  DType dtype;
  SCONCE_TRY_STATUS(dtype_argument(args, 3, DType::i8, &dtype, diagnostic));
  int64_t lowest = 0, highest = 0;
  if (!quantized_limits(dtype, &lowest, &highest))
    return SCONCE_FAIL(Code::unsupported, diagnostic, "choose_qparams_affine for %s",
                       dtype_name(dtype));
  call->min = args.floating_or(4, double(lowest)), call->max = args.floating_or(5, double(highest));
  if (!(call->min >= double(lowest) && call->max <= double(highest)))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "choose_qparams_affine: limits %.0f and %.0f lie outside those of %s",
                       call->min, call->max, dtype_name(dtype));
  double smallest = x->dtype == DType::f16 ? 0x1p-14 : 0x1p-126;
  call->eps = args.floating_or(6, smallest);
  return kOk;
}

Status block_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  BlockCall call;
  SCONCE_TRY_STATUS(read_call(args, &call, diagnostic));
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(dtype_argument(args, 7, x.dtype, &outs[0].dtype, diagnostic));
  DType zero = call.mapping == Mapping::asymmetric ? DType::i32 : x.dtype;
  SCONCE_TRY_STATUS(dtype_argument(args, 8, zero, &outs[1].dtype, diagnostic));
  for (OutMeta& out : outs) {
    out.rank = 0;
    for (int d = 0; d < x.rank; d++) {
      int64_t size = x.sizes[d] / call.blocks[d];
      // Dimensions of which a block takes the whole go.
      if (args.boolean(9) || call.blocks[d] == 1 || size > 1) out.sizes[out.rank++] = size;
    }
  }
  return kOk;
}

Status choose_block(const Args& args, KernelContext& context) {
  BlockCall call;
  SCONCE_TRY_STATUS(read_call(args, &call, context.diagnostic));
  const Tensor& x = args.tensor(0);
  Tensor &scales = args.out(0), &zeros = args.out(1);
  if (!is_contiguous(scales) || !is_contiguous(zeros))
    return SCONCE_FAIL(Code::unsupported, context.diagnostic,
                       "choose_qparams_affine: results that are not in order in memory");
  auto r = [&](double value) { return rounded(x.dtype, value); };
  Strides strides = strides_of(x);
  RowAxis kept[kRankMax], row[kRankMax];
  for (int d = 0; d < x.rank; d++) {
    kept[d] = {x.sizes[d] / call.blocks[d], strides[d] * call.blocks[d]};
    row[d] = {call.blocks[d], strides[d]};
  }
  Rows rows(x, Span<const RowAxis>(kept, x.rank), Span<const RowAxis>(row, x.rank));
  double eps = r(call.eps), half = (call.max - call.min) / 2;
  for (int64_t i = 0; i < rows.count(); i++, rows.next()) {
    Range range = range_of(rows);
    double min = lesser(range.min, 0), max = larger(range.max, 0), scale, zero;
    if (call.mapping == Mapping::asymmetric) {
      scale = limit(r(r(max - min) / (call.max - call.min)), eps, INFINITY);
      zero = limit(r(call.min - std::rint(r(min / scale))), r(call.min), r(call.max));
    } else {
      if (call.mapping == Mapping::symmetric) {
        scale = r(larger(-min, max) / half);
      } else {
        double below = r(min / call.min), above = r(max / call.max);
        scale = below > above ? below : above;
      }
      scale = limit(scale, eps, INFINITY);
      zero = double(int64_t((call.max + call.min + 1) / 2));
    }
    store_elements<double>(scales.as<char>() + i * int64_t(dtype_bytes(scales.dtype)), 1, &scale, 1,
                           scales.dtype);
    store_elements<double>(zeros.as<char>() + i * int64_t(dtype_bytes(zeros.dtype)), 1, &zero, 1,
                           zeros.dtype);
  }
  return kOk;
}

}  // namespace

KERNEL(choose_qparams) = {"quantized_decomposed::choose_qparams.Tensor_out", "tiifi>tt",
                          tensor_shape, choose_tensor<false>};
KERNEL(choose_qparams_symmetric) = {"quantized_decomposed::choose_qparams_symmetric.Tensor_out",
                                    "tiifi>tt", tensor_shape, choose_tensor<true>};
KERNEL(choose_qparams_per_token) = {"quantized_decomposed::choose_qparams_per_token.out", "ti>tt",
                                    token_shape<true>, choose_token};
KERNEL(choose_qparams_per_token_asymmetric) = {
    "quantized_decomposed::choose_qparams_per_token_asymmetric.out", "ti>tt", token_shape<false>,
    choose_token_asymmetric};
KERNEL(choose_qparams_affine) = {"torchao::choose_qparams_affine.out", "TsliNNFIIb>tt", block_shape,
                                 choose_block};

}  // namespace sconce
