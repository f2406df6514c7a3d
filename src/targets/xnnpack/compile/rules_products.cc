// Rules for products of matrices, and attention.
#include <algorithm>
#include <cmath>

#include "targets/xnnpack/compile/lowering.h"

namespace sconce::xnn_compile {
namespace {

bool linear_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0), w = value_argument(node, 1), b = value_argument(node, 2);
  if (!x || !w || !l.is_constant(*w) || l.dims(*x).empty() || l.dims(*w).size() != 2) return false;
  if (b && (!l.is_constant(*b) || l.dims(*b).size() != 1)) return false;
  if (l.is_constant(*x)) return false;
  uint32_t bias = b ? l.constant_of(*b, l.dims(*b), Lowering::Use::packed) : kXnnNoValue;
  l.set(node.results[0], l.linear(l.plain(*x), l.constant_of(*w, l.dims(*w), Lowering::Use::packed),
                                  bias, l.dims(*w)[0], 0));
  return true;
}

bool matmul(Lowering& l, ValueId result, ValueId a, ValueId b) {
  Dims x = l.dims(a), y = l.dims(b);
  if (x.size() < 2 || y.size() < 2) return false;
  if (l.is_constant(a)) return false;
  if (y.size() == 2 && l.is_constant(b)) {
    l.set(result, l.linear(l.plain(a), l.constant_of(b, y, Lowering::Use::packed), kXnnNoValue,
                           y[1], kTransposeB));
    return true;
  }
  if (x.size() != y.size()) return false;
  uint32_t left = l.plain(a), right = l.plain(b);
  l.set(result, l.add(Kind::batch_matmul, {left, right}, l.dims(result)).outputs[0]);
  return true;
}
bool matmul_rule(Lowering& l, const Node& node) {
  auto a = value_argument(node, 0), b = value_argument(node, 1);
  return a && b && matmul(l, node.results[0], *a, *b);
}

bool addmm_rule(Lowering& l, const Node& node) {
  auto bias = value_argument(node, 0), a = value_argument(node, 1), b = value_argument(node, 2);
  if (!bias || !a || !b || number_argument(node, 3) != 1.0 || number_argument(node, 4) != 1.0)
    return false;
  Dims y = l.dims(*b);
  if (!l.is_constant(*b) || !l.is_constant(*bias) || l.is_constant(*a) ||
      l.dims(*bias) != Dims{y[1]})
    return false;
  uint32_t x = l.plain(*a);
  l.set(node.results[0],
        l.linear(x, l.constant_of(*b, y, Lowering::Use::packed),
                 l.constant_of(*bias, l.dims(*bias), Lowering::Use::packed), y[1], kTransposeB));
  return true;
}

bool attention_rule(Lowering& l, const Node& node) {
  auto q = value_argument(node, 0), k = value_argument(node, 1), v = value_argument(node, 2);
  auto mask = value_argument(node, 3);
  if (!q || !k || !v || number_argument(node, 4) != 0.0 || bool_argument(node, 7)) return false;
  Dims qd = l.dims(*q), kd = l.dims(*k), vd = l.dims(*v);
  size_t rank = qd.size();
  if (rank < 3 || kd.size() != rank || vd.size() != rank) return false;
  if (!is_none(node, 6) && !number_argument(node, 6)) return false;
  double scale = number_argument(node, 6).value_or(1 / std::sqrt(double(qd.back())));
  bool causal = bool_argument(node, 5);
  if (causal && mask) return false;
  Dims scores_dims = l.dims(node.results[0]);
  int64_t queries = qd[rank - 2], keys = kd[rank - 2];
  scores_dims[rank - 1] = keys;
  uint32_t scaled = l.binary(Kind::multiply, l.plain(*q), l.number(scale));
  uint32_t key = l.plain(*k);
  XnnNode& product = l.add(Kind::batch_matmul, {scaled, key}, scores_dims);
  product.flags = kTransposeB;
  uint32_t scores = product.outputs[0];
  if (mask) scores = l.binary(Kind::add, scores, l.plain(*mask));
  if (causal) {
    // Far below any score, and still finite.
    std::vector<float> lower(l.trial ? 0 : size_t(queries * keys), 0);
    for (int64_t i = 0; i < queries && !l.trial; i++)
      for (int64_t j = i + 1; j < keys; j++) lower[size_t(i * keys + j)] = -1e30f;
    scores = l.binary(Kind::add, scores, l.constant(lower, {queries, keys}));
  }
  uint32_t weights = l.unary(Kind::softmax, scores);
  uint32_t value = l.plain(*v);
  l.set(node.results[0],
        l.add(Kind::batch_matmul, {weights, value}, l.dims(node.results[0])).outputs[0]);
  return true;
}

constexpr Row kRules[] = {
    {"aten::addmm", addmm_rule},   {"aten::bmm", matmul_rule},
    {"aten::linear", linear_rule}, {"aten::matmul", matmul_rule},
    {"aten::mm", matmul_rule},     {"aten::scaled_dot_product_attention", attention_rule},
};

}  // namespace

Span<const Row> product_rules() { return kRules; }

}  // namespace sconce::xnn_compile
