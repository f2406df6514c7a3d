// Conjugates of complex tensors.
#include "ops/reduce/rows.h"

namespace sconce {
namespace {

bool is_complex(DType dtype) { return dtype_category(dtype) == DTypeCategory::complex; }

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

KERNEL(conj_physical) = {"aten::_conj_physical.out", "t>t", conjugate_shape, conjugate};

}  // namespace sconce
