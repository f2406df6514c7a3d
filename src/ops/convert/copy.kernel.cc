// Conversions and copies: _to_copy, clone, copy, fill and their like.
#include "ops/convert/copy.h"

#include <cstring>

#include "ops/elementwise.h"

namespace sconce {
namespace {

struct Same { template <class T> T operator()(T x) const { return x; } };
constexpr BlockFunctions kSame = {block_of<float, Same, 1>, block_of<double, Same, 1>,
                                  block_of<int64_t, Same, 1>, false, nullptr, true};

bool same_layout(const Tensor& a, const Tensor& b) {
  if (a.rank != b.rank) return false;
  for (int i = 0; i < a.rank; i++)
    if (a.sizes[i] != b.sizes[i]) return false;
  if (is_contiguous(a) && is_contiguous(b)) return true;
  Strides sa = strides_of(a), sb = strides_of(b);
  for (int i = 0; i < a.rank; i++)
    if (a.sizes[i] > 1 && sa[i] != sb[i]) return false;
  return true;
}

template <size_t n>
void move_row(char* to, int64_t to_stride, const char* from, int64_t from_stride, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    memcpy(to + i * to_stride * int64_t(n), from + i * from_stride * int64_t(n), n);
}

// Elements of equal type as bytes, in the logical order of the out.
void move_elements(const Tensor& from, Tensor& out) {
  Strides from_strides = strides_of(from), out_strides = strides_of(out);
  int64_t steps[kRankMax] = {}, index[kRankMax] = {};
  for (int i = 0; i < out.rank; i++) {
    int at = i - (out.rank - from.rank);
    steps[i] = at < 0 || from.sizes[at] == 1 ? 0 : from_strides[at];
  }
  int last = out.rank - 1;
  int64_t row = out.rank == 0 ? 1 : out.sizes[last];
  int64_t rows = row == 0 ? 0 : element_count(out) / row;
  size_t bytes = dtype_bytes(out.dtype);
  for (int64_t r = 0; r < rows; r++) {
    int64_t from_offset = 0, out_offset = 0;
    for (int i = 0; i < last; i++) {
      from_offset += index[i] * steps[i];
      out_offset += index[i] * out_strides[i];
    }
    char* to = out.as<char>() + out_offset * int64_t(bytes);
    const char* source = from.as<char>() + from_offset * int64_t(bytes);
    int64_t to_stride = out.rank ? out_strides[last] : 1, from_stride = out.rank ? steps[last] : 1;
    switch (bytes) {
      case 1: move_row<1>(to, to_stride, source, from_stride, row); break;
      case 2: move_row<2>(to, to_stride, source, from_stride, row); break;
      case 4: move_row<4>(to, to_stride, source, from_stride, row); break;
      case 8: move_row<8>(to, to_stride, source, from_stride, row); break;
      default: move_row<16>(to, to_stride, source, from_stride, row); break;
    }
    for (int i = last - 1; i >= 0; i--) {
      if (++index[i] < out.sizes[i]) break;
      index[i] = 0;
    }
  }
}

}  // namespace

Status copy_tensor(const Tensor& from, Tensor& out, Diagnostic* diagnostic) {
  if (from.dtype == out.dtype) {
    if (from.data == out.data && same_layout(from, out)) return kOk;
    // A damaged plan may let the two overlap in part: the answer is of no use then, yet defined.
    if (!same_layout(from, out)) move_elements(from, out);
    else if (uint64_t bytes = tensor_bytes(out)) memmove(out.data, from.data, size_t(bytes));
    return kOk;
  }
  auto is_complex = [](DType dtype) { return dtype_category(dtype) == DTypeCategory::complex; };
  if (is_complex(from.dtype) || is_complex(out.dtype))
    return SCONCE_FAIL(Code::unsupported, diagnostic, "conversion from %s to %s is not supported",
                       dtype_name(from.dtype), dtype_name(out.dtype));
  // Computing in the type of the source keeps every element exact until it is stored.
  Value operand = Value::of(const_cast<Tensor*>(&from));
  const Value* operands[] = {&operand};
  return run_elementwise(operands, from.dtype, out, kSame, nullptr, diagnostic);
}

Status check_plain_type(DType dtype, Diagnostic* diagnostic) {
  if (dtype_category(dtype) != DTypeCategory::complex && dtype != DType::f8e5m2 &&
      dtype != DType::f8e4m3fn)
    return kOk;
  return SCONCE_FAIL(Code::unsupported, diagnostic, "type %s is not supported here", dtype_name(dtype));
}

static bool integer_range(DType dtype, double* min, double* max) {
  int bits = int(dtype_bytes(dtype)) * 8;
  bool is_unsigned = dtype == DType::u8 || dtype == DType::u16 || dtype == DType::u32 || dtype == DType::u64;
  if (dtype_category(dtype) != DTypeCategory::integer) return false;
  *max = std::ldexp(1.0, is_unsigned ? bits : bits - 1);  // exclusive
  *min = is_unsigned ? -*max + 1 : -*max;  // torch lets negative numbers wrap
  return true;
}

Status fill_tensor(const Value& number, Tensor& out, Diagnostic* diagnostic) {
  double min, max;
  if (integer_range(out.dtype, &min, &max)) {
    double wanted = number.kind == Value::Kind::floating  ? number.floating
                    : number.kind == Value::Kind::boolean ? double(number.boolean)
                                                          : double(number.integer);
    bool exact_i64 = out.dtype == DType::i64 && number.kind == Value::Kind::integer;
    if (!exact_i64 && !(wanted >= min && wanted < max))
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%lld does not fit type %s",
                         (long long)(wanted > -9e18 && wanted < 9e18 ? wanted : 0),
                         dtype_name(out.dtype));
  }
  if (dtype_category(out.dtype) == DTypeCategory::complex) {
    // Real part, then a zero.
    double real = number.kind == Value::Kind::floating  ? number.floating
                  : number.kind == Value::Kind::boolean ? double(number.boolean)
                                                        : double(number.integer);
    int64_t count = element_count(out);
    for (int64_t i = 0; i < count; i++) {
      if (out.dtype == DType::c128) out.as<double>()[2 * i] = real, out.as<double>()[2 * i + 1] = 0;
      else out.as<float>()[2 * i] = float(real), out.as<float>()[2 * i + 1] = 0;
    }
    return kOk;
  }
  Value value = number;
  if (out.dtype == DType::b8 && number.kind == Value::Kind::floating)
    value = Value::of(number.floating != 0);
  const Value* operands[] = {&value};
  return run_elementwise(operands, out.dtype, out, kSame, nullptr, diagnostic);
}

namespace {

Status same_shape(const Args& args, Span<OutMeta> outs, Diagnostic*) {
  set_like(outs[0], args.tensor(0));
  return kOk;
}
Status run_copy(const Args& args, KernelContext& context) {
  return copy_tensor(args.tensor(0), args.out(), context.diagnostic);
}

// copy(self, src, non_blocking): src broadcast to self and converted to its type.
Status copy_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& self = args.tensor(0);
  set_like(outs[0], self);
  SCONCE_TRY_STATUS(broadcast_into(args.tensor(1), outs[0], diagnostic));
  bool fits = outs[0].rank == self.rank;
  for (int i = 0; fits && i < self.rank; i++) fits = outs[0].sizes[i] == self.sizes[i];
  if (!fits)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "source does not broadcast to the sizes of self");
  return kOk;
}
Status run_copy_from(const Args& args, KernelContext& context) {
  return copy_tensor(args.tensor(1), args.out(), context.diagnostic);
}

Status run_fill(const Args& args, KernelContext& context) {
  return fill_tensor(args[1], args.out(), context.diagnostic);
}
Status fill_tensor_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  if (args.tensor(1).rank != 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "value has rank %d: a tensor without dimensions wanted", args.tensor(1).rank);
  return same_shape(args, outs, diagnostic);
}
Status run_zero(const Args& args, KernelContext&) {
  if (uint64_t bytes = tensor_bytes(args.out())) memset(args.out().data, 0, size_t(bytes));
  return kOk;
}

}  // namespace

KERNEL(to_copy) = {"aten::_to_copy.out", "tbI>t", same_shape, run_copy};
KERNEL(clone) = {"aten::clone.out", "tI>t", same_shape, run_copy};
KERNEL(alias_copy) = {"aten::alias_copy.out", "t>t", same_shape, run_copy};
KERNEL(detach_copy) = {"aten::detach_copy.out", "t>t", same_shape, run_copy};
KERNEL(lift_fresh_copy) = {"aten::lift_fresh_copy.out", "t>t", same_shape, run_copy};
KERNEL(to_dim_order_copy) = {"dim_order_ops::_to_dim_order_copy.out", "tbL>t", same_shape, run_copy};
KERNEL(clone_dim_order) = {"dim_order_ops::_clone_dim_order.out", "tbL>t", same_shape, run_copy};
KERNEL(copy) = {"aten::copy.out", "ttb>t", copy_shape, run_copy_from};
KERNEL(fill_Scalar) = {"aten::fill.Scalar_out", "tn>t", same_shape, run_fill};
KERNEL(fill_Tensor) = {"aten::fill.Tensor_out", "tt>t", fill_tensor_shape, run_copy_from};
KERNEL(zero) = {"aten::zero.out", "t>t", same_shape, run_zero};

}  // namespace sconce
