// aten::copy_, the one in-place operator that instructions use: it writes new state back into a
// mutable buffer. Its "out" is self, as the file has it: [self, src, non_blocking, self].
#include "ops/convert/copy.h"

namespace sconce {
namespace {

Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor &self = args.tensor(0), &source = args.tensor(1);
  OutMeta both;
  set_like(both, self);
  SCONCE_TRY_STATUS(broadcast_into(source, both, diagnostic));
  set_like(outs[0], self);
  bool grows = both.rank != self.rank;
  for (int i = 0; !grows && i < self.rank; i++) grows = both.sizes[i] != self.sizes[i];
  if (!grows) return kOk;
  // State with dynamic sizes takes those of its new value.
  if (source.rank != self.rank)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "copy_: rank %d into rank %d", source.rank,
                       self.rank);
  set_like(outs[0], source, self.dtype);
  return kOk;
}

Status run(const Args& args, KernelContext& context) {
  return copy_tensor(args.tensor(1), args.out(), context.diagnostic);
}

}  // namespace

KERNEL(copy_in_place) = {"aten::copy_", "ttb>t", shape, run};

}  // namespace sconce
