#include "ops/pointwise/decompose.h"

namespace sconce {
namespace {

// triu(x, k): x where the triangle below, tril(ones, k - 1), has no one.
Results decompose_triu(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto diagonal = number(node, 1);
  int rank = build.rank(x);
  if (!diagonal || rank < 2) return std::nullopt;
  ValueId ones = build.full({build.size(x, rank - 2), build.size(x, rank - 1)}, 1, DType::b8);
  ValueId below = build.call1("aten::tril", {Build::v(ones), int64_t(*diagonal) - 1});
  return build.call("aten::masked_fill.Scalar", {Build::v(x), Build::v(below), int64_t(0)});
}

#define OPTIONS "Layout? layout=None, Device? device=None, bool? pin_memory=None"

}  // namespace

OP(tril) = {.schema = "aten::tril(Tensor self, SymInt diagonal=0) -> Tensor", .out = "aten::tril.out"};
OP(triu) = {.schema = "aten::triu(Tensor self, SymInt diagonal=0) -> Tensor",
            .out = "aten::triu.out",
            .decompose = decompose_triu};
OP(tril_indices) = {.schema = "aten::tril_indices(int row, int col, int offset=0, *, ScalarType? dtype=4, "
                              OPTIONS ") -> Tensor",
                    .out = "aten::tril_indices.out"};
OP(triu_indices) = {.schema = "aten::triu_indices(int row, int col, int offset=0, *, ScalarType? dtype=4, "
                              OPTIONS ") -> Tensor",
                    .out = "aten::triu_indices.out"};

}  // namespace sconce
