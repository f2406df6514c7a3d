// Activations written out in their parts: SiLU, GELU, hardsigmoid, hardswish, mish, softplus.
//
// Only forms whose result is that of the operator for every x, rounding aside. So log(1 + exp(x))
// is no softplus (it overflows to infinity), and x * sigmoid(1.702 x) no GELU.
#include <cmath>

#include "passes/match.h"

namespace sconce {
namespace {

using Arguments = std::vector<Argument>;

// Calls f(a, b) for both orders of two factors until one fits.
template <class F>
bool in_either_order(Matcher& m, const Product& product, F f) {
  for (size_t i = 0; i < 2; i++) {
    size_t before = m.mark();
    if (f(product.factors[i], product.factors[1 - i])) return true;
    m.rewind(before);
  }
  return false;
}

// min(max(x + 3, 0), 6)
bool clamped_to_six(Matcher& m, ValueId id, ValueId* x) {
  const Node* node = m.match(id, {"aten::hardtanh", "aten::clamp", "aten::relu6"});
  if (!node ||
      (node->op != "aten::relu6" && (m.number(*node, 1) != 0.0 || m.number(*node, 2) != 6.0)))
    return false;
  double c = 0;
  return m.plus(Matcher::value(*node, 0), x, &c) && c == 3;
}

// 1 + erf(x / sqrt 2)
bool one_plus_erf(Matcher& m, ValueId id, ValueId x) {
  double one = 0;
  ValueId inner;
  if (!m.plus(id, &inner, &one) || one != 1) return false;
  const Node* erf = m.match(inner, {"aten::erf"});
  Product scaled;
  return erf && m.product(Matcher::value(*erf, 0), &scaled) && scaled.is(std::sqrt(0.5), 1) &&
         scaled.factors[0] == x;
}

// 1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)); also x * (1 + 0.044715 x^2) inside.
bool one_plus_tanh(Matcher& m, ValueId id, ValueId x) {
  constexpr double kScale = 0.79788456080286536, kCubic = 0.044715;
  double one = 0;
  ValueId inner;
  if (!m.plus(id, &inner, &one) || one != 1) return false;
  const Node* tanh = m.match(inner, {"aten::tanh"});
  Product scaled;
  if (!tanh || !m.product(Matcher::value(*tanh, 0), &scaled)) return false;
  if (scaled.is(kScale, 1)) {
    ValueId a, b;
    if (!m.sum(scaled.factors[0], &a, &b)) return false;
    if (b == x) std::swap(a, b);
    Product cubic;
    return a == x && m.product(b, &cubic) && cubic.is(kCubic, 3) &&
           cubic.factors == std::vector<ValueId>{x, x, x};
  }
  if (!scaled.is(kScale, 2)) return false;
  return in_either_order(m, scaled, [&](ValueId a, ValueId b) {
    ValueId rest;
    double c = 0;
    Product quadratic;
    return a == x && m.plus(b, &rest, &c) && c == 1 && m.product(rest, &quadratic) &&
           quadratic.is(kCubic, 2) && quadratic.factors == std::vector<ValueId>{x, x};
  });
}

// tanh(softplus(x))
bool tanh_of_softplus(Matcher& m, ValueId id, ValueId x) {
  const Node* tanh = m.match(id, {"aten::tanh"});
  if (!tanh) return false;
  ValueId inner = Matcher::value(*tanh, 0);
  size_t before = m.mark();
  if (const Node* node = m.match(inner, {"aten::softplus"}))
    return Matcher::value(*node, 0) == x && m.number(*node, 1) == 1.0 && m.number(*node, 2) == 20.0;
  m.rewind(before);
  // tanh of infinity is 1, so the overflow of exp does no harm here.
  const Node* log1p = m.match(inner, {"aten::log1p"});
  const Node* exp = log1p ? m.match(Matcher::value(*log1p, 0), {"aten::exp"}) : nullptr;
  return exp && Matcher::value(*exp, 0) == x;
}

bool try_product(Matcher& m, NodeId root) {
  const Node& node = m.node(root);
  if (!node.op.starts_with("aten::mul.") && !node.op.starts_with("aten::div.")) return false;
  const TensorType type = m.type(node.results[0]);
  if (!is_floating(type.dtype)) return false;
  Product product;
  if (!m.product(node, &product)) return false;
  auto fits = [&](ValueId x) { return m.type(x) == type; };
  ValueId x = kNoValue;
  if (product.is(1.0 / 6, 1)) {
    return clamped_to_six(m, product.factors[0], &x) && fits(x) &&
           m.replace(root, "aten::hardsigmoid", {ValueRef{x}});
  }
  if (product.factors.size() != 2) return false;
  return in_either_order(m, product, [&](ValueId a, ValueId b) {
    if (!fits(a)) return false;
    Arguments operand = {ValueRef{a}};
    size_t before = m.mark();
    auto again = [&] {
      m.rewind(before);
      return true;
    };
    if (product.is(1.0 / 6, 2))
      return clamped_to_six(m, b, &x) && x == a && m.replace(root, "aten::hardswish", operand);
    if (product.is(1, 2)) {
      const Node* sigmoid = m.match(b, {"aten::sigmoid", "aten::hardsigmoid"});
      if (sigmoid && Matcher::value(*sigmoid, 0) == a)
        return m.replace(root, sigmoid->op == "aten::sigmoid" ? "aten::silu" : "aten::hardswish",
                         operand);
      return again() && tanh_of_softplus(m, b, a) && m.replace(root, "aten::mish", operand);
    }
    if (!product.is(0.5, 2)) return false;
    if (one_plus_erf(m, b, a)) return m.replace(root, "aten::gelu", operand);
    if (again() && one_plus_tanh(m, b, a)) {
      operand.push_back(std::string("tanh"));
      return m.replace(root, "aten::gelu", operand);
    }
    return false;
  });
}

// log1p(exp(-|x|)) + max(x, 0), and where(x > 20, x, log1p(exp(x))).
bool try_softplus(Matcher& m, NodeId root) {
  const Node& node = m.node(root);
  const TensorType type = m.type(node.results[0]);
  if (!is_floating(type.dtype)) return false;
  auto log1p_of_exp = [&](ValueId id) -> ValueId {
    const Node* log1p = m.match(id, {"aten::log1p"});
    const Node* exp = log1p ? m.match(Matcher::value(*log1p, 0), {"aten::exp"}) : nullptr;
    return exp ? Matcher::value(*exp, 0) : kNoValue;
  };
  auto replace = [&](ValueId x) {
    return m.type(x) == type &&
           m.replace(root, "aten::softplus", {ValueRef{x}, int64_t{1}, int64_t{20}});
  };
  if (node.op == "aten::where.self") {
    ValueId x = Matcher::value(node, 1);
    const Node* large = m.match(Matcher::value(node, 0), {"aten::gt.Scalar", "aten::gt.Tensor"});
    return large && x != kNoValue && Matcher::value(*large, 0) == x &&
           m.number(*large, 1) == 20.0 && log1p_of_exp(Matcher::value(node, 2)) == x && replace(x);
  }
  ValueId a, b;
  if (node.op != "aten::add.Tensor" || !m.sum(node.results[0], &a, &b)) return false;
  Product both{1, {a, b}};
  return in_either_order(m, both, [&](ValueId p, ValueId q) {
    const Node* positive = m.match(p, {"aten::relu", "aten::clamp", "aten::maximum"});
    if (!positive) return false;
    if (positive->op == "aten::maximum" && m.number(*positive, 1) != 0.0) return false;
    if (positive->op == "aten::clamp" &&
        (m.number(*positive, 1) != 0.0 || !std::holds_alternative<None>(positive->arguments[2])))
      return false;
    ValueId x = Matcher::value(*positive, 0);
    const Node* negated = m.match(log1p_of_exp(q), {"aten::neg"});
    const Node* absolute = negated ? m.match(Matcher::value(*negated, 0), {"aten::abs"}) : nullptr;
    return absolute && Matcher::value(*absolute, 0) == x && replace(x);
  });
}

}  // namespace

Result<void> recognize_activations(Program& program, Graph& graph, const PassContext& context) {
  Matcher matcher(program, graph, context);
  for_each_root(matcher, [](Matcher& m, NodeId root) {
    try_product(m, root) || (m.rewind(0), try_softplus(m, root));
  });
  return {};
}

}  // namespace sconce
