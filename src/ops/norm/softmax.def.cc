// Softmax, its logarithm, and the forms that are made of them.
#include <cmath>

#include "ops/reduce/decompose.h"

namespace sconce {
namespace {

// self, dim, dtype: converts first when dtype is given.
template <Text target>
Results with_dtype(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  if (auto code = integer_at(node, 2)) x = build.cast(x, DType(*code));
  return build.call(target.text, {Build::v(x), node.arguments[1], false});
}

// Rows that are all minus infinity (everything masked) give zeros.
Results safe_softmax(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  if (auto code = integer_at(node, 2)) x = build.cast(x, DType(*code));
  ValueId y = build.call1("aten::_softmax", {Build::v(x), node.arguments[1], false});
  ValueId masked = build.call1("aten::eq.Scalar", {Build::v(x), -INFINITY});
  ValueId rows = build.call1("aten::all.dim", {Build::v(masked), node.arguments[1], true});
  return one(build.call1("aten::masked_fill.Scalar", {Build::v(y), Build::v(rows), 0.0}));
}

}  // namespace

OP(softmax) = {.schema = "aten::_softmax(Tensor self, int dim, bool half_to_float) -> Tensor",
               .out = "aten::_softmax.out"};
OP(log_softmax) = {.schema = "aten::_log_softmax(Tensor self, int dim, bool half_to_float) -> Tensor",
                   .out = "aten::_log_softmax.out"};
OP(softmax_int) = {.schema = "aten::softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
                   .decompose = with_dtype<"aten::_softmax">};
OP(log_softmax_int) = {
    .schema = "aten::log_softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
    .decompose = with_dtype<"aten::_log_softmax">};
OP(special_softmax) = {
    .schema = "aten::special_softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
    .decompose = with_dtype<"aten::_softmax">};
OP(special_log_softmax) = {
    .schema = "aten::special_log_softmax(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor",
    .decompose = with_dtype<"aten::_log_softmax">};
OP(safe_softmax) = {
    .schema = "aten::_safe_softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
    .decompose = safe_softmax};

}  // namespace sconce
