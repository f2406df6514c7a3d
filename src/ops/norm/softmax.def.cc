#include "ops/build.h"

namespace sconce {
namespace {

// softmax.int(self, dim, dtype): converts first when dtype is given.
template <const char* const* target>
std::optional<std::vector<ValueId>> with_dtype(Build& build, const Node& node) {
  ValueId x = std::get<ValueRef>(node.arguments[0]).id;
  if (auto* code = std::get_if<int64_t>(&node.arguments[2])) x = build.cast(x, DType(*code));
  return build.call(*target, {Build::v(x), node.arguments[1], false});
}
constexpr const char* kSoftmax = "aten::_softmax";
constexpr const char* kLogSoftmax = "aten::_log_softmax";

}  // namespace

OP(softmax) = {.schema = "aten::_softmax(Tensor self, int dim, bool half_to_float) -> Tensor",
               .out = "aten::_softmax.out"};
OP(log_softmax) = {.schema = "aten::_log_softmax(Tensor self, int dim, bool half_to_float) -> Tensor",
                   .out = "aten::_log_softmax.out"};
OP(softmax_int) = {.schema = "aten::softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
                   .decompose = with_dtype<&kSoftmax>};
OP(log_softmax_int) = {
    .schema = "aten::log_softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
    .decompose = with_dtype<&kLogSoftmax>};

}  // namespace sconce
