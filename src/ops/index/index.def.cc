// Reads and writes through index tensors.
#include "ops/shape/decompose.h"

namespace sconce {

OP(embedding) = {.schema = "aten::embedding(Tensor weight, Tensor indices, SymInt padding_idx=-1, bool "
                           "scale_grad_by_freq=False, bool sparse=False) -> Tensor",
                 .out = "aten::embedding.out"};
OP(index_select) = {.schema = "aten::index_select(Tensor self, int dim, Tensor index) -> Tensor",
                    .out = "aten::index_select.out"};
OP(gather) = {.schema = "aten::gather(Tensor self, int dim, Tensor index, *, bool sparse_grad=False) -> "
                        "Tensor",
              .out = "aten::gather.out"};
OP(take) = {.schema = "aten::take(Tensor self, Tensor index) -> Tensor", .out = "aten::take.out"};
OP(index_Tensor) = {.schema = "aten::index.Tensor(Tensor self, Tensor?[] indices) -> Tensor",
                    .out = "aten::index.Tensor_out"};
OP_ALIAS(index_Tensor_hacked_twin,
         "aten::index.Tensor_hacked_twin(Tensor self, Tensor[] indices) -> Tensor",
         "aten::index.Tensor")
OP_ALIAS(unsafe_index, "aten::_unsafe_index.Tensor(Tensor self, Tensor?[] indices) -> Tensor",
         "aten::index.Tensor")
OP(index_put) = {.schema = "aten::index_put(Tensor self, Tensor?[] indices, Tensor values, bool "
                           "accumulate=False) -> Tensor",
                 .out = "aten::index_put.out"};
OP_ALIAS(index_put_hacked_twin,
         "aten::index_put.hacked_twin(Tensor self, Tensor[] indices, Tensor values, bool "
         "accumulate=False) -> Tensor",
         "aten::index_put")
OP_ALIAS(unsafe_index_put,
         "aten::_unsafe_index_put(Tensor self, Tensor?[] indices, Tensor values, bool "
         "accumulate=False) -> Tensor",
         "aten::index_put")

}  // namespace sconce
