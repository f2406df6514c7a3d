// Prim operators: arithmetic on sizes and numbers between kernels, as instructions of a .pte have
// it (executorch_prim::*, aten::sym_size.int, ...). They read and write numbers, not tensors.
//
// The names are ExecuTorch's (kernels/prim_ops); integers follow Python: floor division and modulo
// round towards minus infinity. Freestanding.
#pragma once

#include "base/span.h"
#include "tensor/value.h"

namespace sconce {

struct Prim {
  const char* name;  // "executorch_prim::add.Scalar"
  uint8_t input_count;
  // `in` are the inputs, `out` gets the result. Fails on kinds it does not take, division by zero,
  // overflow.
  Status (*run)(Span<const Value* const> in, Value* out, Diagnostic* diagnostic);
};

// Null when there is no such prim.
const Prim* find_prim(const char* name, size_t name_bytes);

}  // namespace sconce
