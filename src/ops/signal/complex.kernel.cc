// Complex tensors as pairs of real numbers and back, and conjugates.
#include "ops/reduce/rows.h"

namespace sconce {
namespace {

bool is_complex(DType dtype) { return dtype_category(dtype) == DTypeCategory::complex; }

Status as_real_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  if (!is_complex(x.dtype) || x.rank == kRankMax)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "view_as_real of %s and rank %d: a complex type is wanted",
                       dtype_name(x.dtype), x.rank);
  set_like(outs[0], x, part_dtype(x.dtype));
  outs[0].sizes[outs[0].rank++] = 2;
  return kOk;
}

Status as_complex_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  bool typed = x.dtype == DType::f32 || x.dtype == DType::f64;
  if (!typed || x.rank == 0 || x.sizes[x.rank - 1] != 2)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "view_as_complex of %s and last size %d: f32 or f64 and 2 are wanted",
                       dtype_name(x.dtype), x.rank == 0 ? 1 : x.sizes[x.rank - 1]);
  set_like(outs[0], x, x.dtype == DType::f64 ? DType::c128 : DType::c64);
  outs[0].rank--;
  return kOk;
}

// Axes of one part of a tensor: of the pairs in the last dimension, or of a complex tensor.
Rows part_of(const Tensor& tensor, int part) {
  if (is_complex(tensor.dtype)) return complex_part(tensor, all_dims(tensor.rank), part);
  Strides strides = strides_of(tensor);
  int rank = tensor.rank - 1;
  RowAxis axes[kRankMax];
  for (int i = 0; i < rank; i++) axes[i] = {tensor.sizes[i], strides[i]};
  Tensor moved = tensor;
  moved.data = static_cast<char*>(tensor.data) +
               int64_t(part) * strides[rank] * int64_t(dtype_bytes(tensor.dtype));
  return Rows(moved, {}, {axes, size_t(rank)});
}

Status copy_parts(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  Tensor& out = args.out();
  if (is_complex(out.dtype) == is_complex(x.dtype) ||
      dtype_bytes(out.dtype) * (is_complex(x.dtype) ? 2 : 1) !=
          dtype_bytes(x.dtype) * (is_complex(out.dtype) ? 2 : 1))
    return SCONCE_FAIL(Code::invalid_argument, context.diagnostic, "result of type %s for %s",
                       dtype_name(out.dtype), dtype_name(x.dtype));
  for (int part = 0; part < 2; part++) {
    Rows to = part_of(out, part);
    for_each_block<double>(part_of(x, part),
                           [&](double* block, int n, int64_t first) { to.write(first, n, block); });
  }
  return kOk;
}

Status conjugate_shape(const Args& args, Span<OutMeta> outs, Diagnostic*) {
  set_like(outs[0], args.tensor(0));
  return kOk;
}

Status conjugate(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  Tensor& out = args.out();
  if (out.dtype != x.dtype)
    return SCONCE_FAIL(Code::invalid_argument, context.diagnostic, "result of type %s for %s",
                       dtype_name(out.dtype), dtype_name(x.dtype));
  uint32_t mask = all_dims(x.rank);
  if (!is_complex(x.dtype)) {
    with_compute(x.dtype, [&](auto tag) {
      Rows to(out, mask);
      for_each_block<decltype(tag)>(
          Rows(x, mask), [&](auto* block, int n, int64_t first) { to.write(first, n, block); });
    });
    return kOk;
  }
  for (int part = 0; part < 2; part++) {
    Rows to = complex_part(out, mask, part);
    for_each_block<double>(complex_part(x, mask, part), [&](double* block, int n, int64_t first) {
      for (int i = 0; part == 1 && i < n; i++) block[i] = -block[i];
      to.write(first, n, block);
    });
  }
  return kOk;
}

}  // namespace

KERNEL(view_as_real) = {"aten::view_as_real_copy.out", "t>t", as_real_shape, copy_parts};
KERNEL(view_as_complex) = {"aten::view_as_complex_copy.out", "t>t", as_complex_shape, copy_parts};
KERNEL(conj_physical) = {"aten::_conj_physical.out", "t>t", conjugate_shape, conjugate};

}  // namespace sconce
