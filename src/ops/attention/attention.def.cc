// Scaled dot product attention in all its names. Whole in the IR; portable targets get matrix
// products around a softmax.
#include <cmath>

#include "ops/elementwise.h"
#include "ops/linear/decompose.h"

namespace sconce {
namespace {

struct Attention {
  ValueId query, key, value, mask;
  bool causal, grouped;
  Argument scale;
};

ValueId as_sizes(Build& build, ValueId id, const std::vector<SymInt>& sizes) {
  if (build.tensor(id).sizes == sizes) return id;
  return build.call1("aten::expand", {Build::v(id), build.ints(sizes)});
}

// Heads of key or value repeated for the queries that share them: [.., h, s, e] -> [.., H, s, e].
ValueId repeat_heads(Build& build, ValueId id, SymInt heads) {
  std::vector<SymInt> sizes = sizes_of(build, id);
  size_t at = sizes.size() - 3;
  if (sizes[at] == heads) return id;
  SymInt each = build.program().symbols.floor_divide(heads, sizes[at]);
  std::vector<SymInt> wide = sizes;
  wide.insert(wide.begin() + int64_t(at) + 1, each);
  ValueId spread = as_sizes(build, unsqueeze(build, id, int64_t(at) + 1), wide);
  sizes[at] = heads;
  return build.call1("aten::reshape", {Build::v(spread), build.ints(sizes)});
}

// True where query position i may see key position j: j <= i. [L, S].
ValueId causal_mask(Build& build, SymInt queries, SymInt keys) {
  ValueId ones = build.full({queries, keys}, 1, DType::f32);
  ValueId lower = build.call1("aten::tril", {Build::v(ones)});
  return build.call1("aten::ne.Scalar", {Build::v(lower), int64_t{0}});
}

// True when every row of a constant mask lets some key be seen.
bool keeps_some(Build& build, ValueId mask) {
  const ValueInfo& info = build.graph().values[size_t(mask)];
  if (info.origin != Origin::constant || !is_static(info.type.tensor)) return false;
  const TensorType& type = info.type.tensor;
  const Bytes bytes = build.program().constants[size_t(info.index)].bytes;
  int64_t columns = type.sizes.empty() ? 1 : type.sizes.back().value;
  uint64_t each = dtype_bytes(type.dtype);
  if (columns < 1 || dtype_category(type.dtype) == DTypeCategory::complex) return false;
  for (uint64_t row = 0; row < bytes.size(); row += uint64_t(columns) * each) {
    bool some = false;
    for (int64_t c = 0; c < columns && !some; c++) {
      double value = 0;
      load_elements<double>(&value, bytes.data() + row + uint64_t(c) * each, 1, 1, type.dtype);
      some = type.dtype == DType::b8 ? value != 0 : value > -INFINITY;
    }
    if (!some) return false;
  }
  return true;
}

std::optional<ValueId> attend(Build& build, Attention a) {
  DType dtype = build.dtype(a.query);
  ValueId q = a.query, k = a.key, v = a.value;
  int rank = build.rank(q);
  if (a.grouped) {
    if (rank < 3) return std::nullopt;
    SymInt heads = build.size(q, rank - 3);
    for (ValueId id : {k, v})
      if (!build.size(id, build.rank(id) - 3).is_known() && !(build.size(id, build.rank(id) - 3) == heads))
        return std::nullopt;
    k = repeat_heads(build, k, heads);
    v = repeat_heads(build, v, heads);
  }
  SymInt features = build.size(q, rank - 1), queries = build.size(q, rank - 2);
  SymInt keys = build.size(k, build.rank(k) - 2);
  double scale;
  if (auto* given = std::get_if<double>(&a.scale)) scale = *given;
  else if (auto* integer = std::get_if<int64_t>(&a.scale)) scale = double(*integer);
  else if (features.is_known()) scale = 1.0 / std::sqrt(double(features.value));
  else return std::nullopt;
  // Half precision is scored in f32, as the fused kernels of torch do.
  bool half = dtype_bytes(dtype) == 2;
  DType compute = half ? DType::f32 : dtype;
  q = build.mul(build.cast(q, compute), scale);
  k = transposed(build, build.cast(k, compute));
  ValueId scores = build.call1("aten::matmul", {Build::v(q), Build::v(k)});
  ValueId mask = a.mask;
  if (a.causal) mask = causal_mask(build, queries, keys);
  bool may_be_empty = false;  // a row may have no key at all
  if (mask != kNoValue && build.dtype(mask) == DType::b8) {
    ValueId out = build.call1("aten::logical_not", {Build::v(mask)});
    scores = build.call1("aten::masked_fill.Scalar", {Build::v(scores), Build::v(out), -INFINITY});
    may_be_empty = !a.causal && !keeps_some(build, mask);
  } else if (mask != kNoValue) {
    scores = build.add(scores, build.cast(mask, compute));
    may_be_empty = !keeps_some(build, mask);
  }
  ValueId weights = build.call1("aten::_softmax", {Build::v(scores), int64_t{-1}, false});
  if (may_be_empty) {  // torch gives zeros for such rows, softmax NaN
    ValueId none = build.call1("aten::eq.Scalar", {Build::v(scores), -INFINITY});
    // all(none) = not any(not none)
    ValueId some = build.call1("aten::logical_not", {Build::v(none)});
    some = build.call1("aten::any.dim", {Build::v(some), int64_t{-1}, true});
    weights = build.call1("aten::where.self",
                          {Build::v(some), Build::v(weights), Build::v(build.scalar(0, compute))});
  }
  ValueId y = build.call1("aten::matmul", {Build::v(weights), Build::v(build.cast(v, compute))});
  return build.cast(y, dtype);
}

// scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa).
Results attention(Build& build, const Node& node) {
  if (number(node, 4).value_or(1) != 0) return std::nullopt;
  auto y = attend(build, {value(node, 0), value(node, 1), value(node, 2), optional_value(node, 3),
                          number(node, 5).value_or(0) != 0, number(node, 7).value_or(0) != 0,
                          node.arguments[6]});
  if (!y) return std::nullopt;
  return one(*y);
}

// Also gives logsumexp of the scores, which training needs; unused, it is removed as dead code.
Results flash_for_cpu(Build& build, const Node& node) {
  // query, key, value, dropout_p, is_causal, attn_mask, scale -> output, logsumexp
  ValueId q = value(node, 0), k = value(node, 1);
  int rank = build.rank(q);
  SymInt features = build.size(q, rank - 1);
  Argument scale = node.arguments[6];
  if (is_none(node, 6)) {
    if (!features.is_known()) return std::nullopt;
    scale = 1.0 / std::sqrt(double(features.value));
  }
  ValueId y = build.call1("aten::scaled_dot_product_attention",
                          {node.arguments[0], node.arguments[1], node.arguments[2],
                           node.arguments[5], node.arguments[3], node.arguments[4], scale, false});
  DType sum_type = build.dtype(q) == DType::f64 ? DType::f64 : DType::f32;
  ValueId scores = build.call1("aten::matmul", {Build::v(build.cast(q, sum_type)),
                                                Build::v(transposed(build, build.cast(k, sum_type)))});
  scores = build.call1("aten::mul.Scalar", {Build::v(scores), scale});
  if (number(node, 4).value_or(0) != 0) {
    ValueId mask = causal_mask(build, build.size(q, rank - 2), build.size(k, rank - 2));
    ValueId out = build.call1("aten::logical_not", {Build::v(mask)});
    scores = build.call1("aten::masked_fill.Scalar", {Build::v(scores), Build::v(out), -INFINITY});
  } else if (!is_none(node, 5)) {
    ValueId mask = value(node, 5);
    if (build.dtype(mask) == DType::b8) {
      ValueId out = build.call1("aten::logical_not", {Build::v(mask)});
      scores = build.call1("aten::masked_fill.Scalar", {Build::v(scores), Build::v(out), -INFINITY});
    } else {
      scores = build.add(scores, build.cast(mask, sum_type));
    }
  }
  ValueId sums = build.call1("aten::logsumexp", {Build::v(scores), Build::ints(std::vector<int64_t>{-1}), false});
  return std::vector<ValueId>{y, sums};
}

}  // namespace

OP(scaled_dot_product_attention) = {.schema = "aten::scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, float dropout_p=0., bool is_causal=False, *, float? scale=None, bool enable_gqa=False) -> Tensor",
                                    .out = "sconce::scaled_dot_product_attention.out", .decompose = attention};
OP(flash_attention_for_cpu) = {.schema = "aten::_scaled_dot_product_flash_attention_for_cpu(Tensor query, Tensor key, Tensor value, float dropout_p=0., bool is_causal=False, *, Tensor? attn_mask=None, float? scale=None) -> (Tensor output, Tensor logsumexp)",
                               .decompose = flash_for_cpu};

}  // namespace sconce
