// Softmax, log softmax, layer norm and RMS norm written out in their parts.
//
// Each finds the bare operator first; weights, biases and casts around it are taken in when the
// sweep comes to them.
#include <cmath>

#include "passes/match.h"

namespace sconce {
namespace {

// The trailing dimensions that a reduction with keepdim goes over: how many; 0 when it does not.
size_t trailing(Matcher& m, const Node& node, size_t dims_at, size_t keep_at) {
  auto* dims = std::get_if<std::vector<IntItem>>(&node.arguments[dims_at]);
  auto* keep = std::get_if<bool>(&node.arguments[keep_at]);
  ValueId x = Matcher::value(node, 0);
  if (!dims || !keep || !*keep || x == kNoValue || dims->empty()) return 0;
  size_t rank = m.type(x).sizes.size(), count = dims->size();
  if (count > rank) return 0;
  std::vector<bool> seen(rank, false);
  for (const IntItem& dim : *dims) {
    if (!dim.is_known()) return 0;
    int64_t at = dim.known < 0 ? dim.known + int64_t(rank) : dim.known;
    if (at < int64_t(rank - count) || at >= int64_t(rank) || seen[size_t(at)]) return 0;
    seen[size_t(at)] = true;
  }
  return count;
}

// Mean over `*count` trailing dimensions of what *x becomes.
bool mean(Matcher& m, ValueId id, ValueId* x, size_t* count) {
  const Node* node = m.match(id, {"aten::mean.dim"});
  if (!node) return false;
  *x = Matcher::value(*node, 0);
  *count = trailing(m, *node, 1, 2);
  return *count > 0 && m.type(*x).dtype == m.type(id).dtype;
}

bool is_bool(const Node& node, size_t i, bool wanted) {
  auto* value = i < node.arguments.size() ? std::get_if<bool>(&node.arguments[i]) : nullptr;
  return value && *value == wanted;
}

// Biased variance of x over trailing dimensions; `centred` is x without its mean.
bool variance(Matcher& m, ValueId id, ValueId x, ValueId centred, size_t* count) {
  size_t before = m.mark();
  ValueId squared;
  if (mean(m, id, &squared, count)) {
    ValueId base;
    if (m.square(squared, &base) && base == centred) return true;
    m.rewind(before);
    return false;
  }
  m.rewind(before);
  if (const Node* node = m.match(id, {"aten::var.correction", "aten::var_mean.correction"})) {
    *count = trailing(m, *node, 1, 3);
    return *count > 0 && Matcher::value(*node, 0) == x && m.number(*node, 2) == 0.0;
  }
  if (const Node* node = m.match(id, {"aten::var.dim"})) {
    *count = trailing(m, *node, 1, 3);
    return *count > 0 && Matcher::value(*node, 0) == x && is_bool(*node, 2, false);
  }
  return false;
}

// What `root` divides and by the square root of what: a / sqrt(b), a * rsqrt(b), a * b^-0.5.
// Both orders of a product are tried by `f`, which says whether it fits.
template <class F>
bool over_square_root(Matcher& m, const Node& root, F f) {
  auto inverse_root = [&](ValueId id) -> ValueId {
    if (const Node* node = m.match(id, {"aten::rsqrt"})) return Matcher::value(*node, 0);
    if (const Node* node = m.match(id, {"aten::pow.Tensor_Scalar"}))
      return m.number(*node, 1) == -0.5 ? Matcher::value(*node, 0) : kNoValue;
    if (const Node* node = m.match(id, {"aten::reciprocal"})) {
      const Node* sqrt = m.match(Matcher::value(*node, 0), {"aten::sqrt"});
      return sqrt ? Matcher::value(*sqrt, 0) : kNoValue;
    }
    return kNoValue;
  };
  if (root.op == "aten::div.Tensor") {
    ValueId a = Matcher::value(root, 0), divisor = Matcher::value(root, 1);
    ValueId b = kNoValue;
    if (const Node* sqrt = m.match(divisor, {"aten::sqrt"}))
      b = Matcher::value(*sqrt, 0);
    else if (const Node* power = m.match(divisor, {"aten::pow.Tensor_Scalar"});
             power && m.number(*power, 1) == 0.5)
      b = Matcher::value(*power, 0);
    return a != kNoValue && b != kNoValue && f(a, b);
  }
  if (root.op != "aten::mul.Tensor") return false;
  for (size_t i = 0; i < 2; i++) {
    size_t before = m.mark();
    ValueId a = Matcher::value(root, i), b = inverse_root(Matcher::value(root, 1 - i));
    if (a != kNoValue && b != kNoValue && f(a, b)) return true;
    m.rewind(before);
  }
  return false;
}

// The last `count` sizes as an argument; nullopt when one is not known.
std::optional<Argument> normalized_shape(const TensorType& type, size_t count) {
  std::vector<IntItem> items;
  for (size_t i = type.sizes.size() - count; i < type.sizes.size(); i++) {
    if (!type.sizes[i].is_known()) return std::nullopt;
    items.push_back({type.sizes[i].value});
  }
  return Argument(std::move(items));
}

// (x - mean) * rsqrt(variance + eps), where `centred` is x - mean.
bool centred_norm(Matcher& m, NodeId root, ValueId centred, ValueId spread, double eps,
                  const TensorType& type) {
  const Node* difference = m.match(centred, {"aten::sub.Tensor"});
  if (!difference || m.number(*difference, 2) != 1.0) return false;
  ValueId input = Matcher::value(*difference, 0), mu = Matcher::value(*difference, 1),
          averaged = kNoValue;
  if (input == kNoValue || mu == kNoValue || m.type(input) != type) return false;
  size_t count = 0, mean_count = 0, before = m.mark();
  if (!mean(m, mu, &averaged, &mean_count)) {
    m.rewind(before);
    const Node* both = m.match(mu, {"aten::var_mean.correction"}, 1);
    if (!both) return false;
    averaged = Matcher::value(*both, 0);
    mean_count = trailing(m, *both, 1, 3);
  }
  if (averaged != input || !variance(m, spread, input, centred, &count) || count != mean_count)
    return false;
  auto shape = normalized_shape(type, count);
  return shape &&
         m.replace(root, "aten::layer_norm", {ValueRef{input}, *shape, None{}, None{}, eps});
}

bool try_norm(Matcher& m, NodeId root) {
  const Node node = m.node(root);
  const TensorType type = m.type(node.results[0]);
  if (!is_floating(type.dtype)) return false;
  return over_square_root(m, node, [&](ValueId x, ValueId denominator) {
    double eps = 0;
    ValueId spread;
    if (!m.plus(denominator, &spread, &eps) || !(eps >= 0)) return false;
    size_t count = 0, before = m.mark();
    if (centred_norm(m, root, x, spread, eps, type)) return true;
    m.rewind(before);
    // x * rsqrt(mean(x^2) + eps)
    ValueId squared, base;
    if (!mean(m, spread, &squared, &count) || !m.square(squared, &base) || base != x ||
        m.type(x) != type)
      return false;
    auto shape = normalized_shape(type, count);
    return shape && m.replace(root, "aten::rms_norm", {ValueRef{x}, *shape, None{}, eps});
  });
}

// norm(x) * weight and norm(x) + bias, of the normalized shape.
bool try_affine(Matcher& m, NodeId root) {
  const Node node = m.node(root);
  bool multiplies = node.op == "aten::mul.Tensor";
  if (!multiplies && (node.op != "aten::add.Tensor" || m.number(node, 2) != 1.0)) return false;
  for (size_t i = 0; i < 2; i++) {
    m.rewind(0);
    ValueId normed = Matcher::value(node, i), operand = Matcher::value(node, 1 - i);
    if (normed == kNoValue || operand == kNoValue || !m.graph().type(operand).is_tensor()) continue;
    const Node* norm = m.match(normed, {"aten::rms_norm", "aten::layer_norm"});
    if (!norm || m.type(normed) != m.type(node.results[0])) continue;
    bool rms = norm->op == "aten::rms_norm";
    // Only for bare norms: a model's own weight is not to be multiplied by another.
    size_t at = multiplies ? 2 : 3;
    if (!multiplies && rms) continue;
    if (!std::holds_alternative<None>(norm->arguments[at])) continue;
    if (multiplies && !rms && !std::holds_alternative<None>(norm->arguments[3])) continue;
    auto* shape = std::get_if<std::vector<IntItem>>(&norm->arguments[1]);
    const TensorType& wanted = m.type(operand);
    if (!shape || wanted.dtype != m.type(normed).dtype || wanted.sizes.size() != shape->size())
      continue;
    bool same = true;
    for (size_t d = 0; d < shape->size(); d++)
      same &= (*shape)[d].is_known() && wanted.sizes[d] == SymInt((*shape)[d].known);
    if (!same) continue;
    std::string op = norm->op;
    std::vector<Argument> arguments = norm->arguments;
    arguments[at] = ValueRef{operand};
    if (m.replace(root, op, arguments)) return true;
  }
  return false;
}

// f16 -> f32 -> bare norm or softmax -> f16: our kernels compute in f32 anyway.
bool try_casts(Matcher& m, NodeId root) {
  const Node node = m.node(root);
  if (node.op != "aten::_to_copy") return false;
  DType narrow = m.type(node.results[0]).dtype;
  if (narrow != DType::f16 && narrow != DType::bf16) return false;
  ValueId wide = Matcher::value(node, 0);
  const Node* inner = wide == kNoValue
                          ? nullptr
                          : m.match(wide, {"aten::rms_norm", "aten::layer_norm", "aten::_softmax"});
  if (!inner || m.type(wide).dtype != DType::f32) return false;
  for (size_t i = 1; i < inner->arguments.size(); i++)
    if (Matcher::value(*inner, i) != kNoValue) return false;  // weights are f32
  ValueId converted = Matcher::value(*inner, 0);
  if (converted == kNoValue) return false;
  std::string op = inner->op;
  std::vector<Argument> arguments = inner->arguments;
  const Node* cast = m.graph().is_node(converted) ? &m.graph().producer(converted) : nullptr;
  if (!cast || cast->op != "aten::_to_copy") return false;
  ValueId x = Matcher::value(*cast, 0);
  if (x == kNoValue || m.type(x).dtype != narrow ||
      m.type(x).sizes != m.type(node.results[0]).sizes)
    return false;
  arguments[0] = ValueRef{x};
  return m.replace(root, op, arguments);
}

int64_t last_dim(const TensorType& type, int64_t dim) {
  return dim < 0 ? dim + int64_t(type.sizes.size()) : dim;
}

// The one dimension of a reduction with keepdim.
std::optional<int64_t> one_dim(Matcher& m, const Node& node, size_t keep_at) {
  ValueId x = Matcher::value(node, 0);
  if (x == kNoValue || !is_bool(node, keep_at, true)) return std::nullopt;
  if (auto* dim = std::get_if<int64_t>(&node.arguments[1])) return last_dim(m.type(x), *dim);
  auto* dims = std::get_if<std::vector<IntItem>>(&node.arguments[1]);
  if (!dims || dims->size() != 1 || !(*dims)[0].is_known()) return std::nullopt;
  return last_dim(m.type(x), (*dims)[0].known);
}

// exp(x - amax(x))
bool shifted_exp(Matcher& m, ValueId id, ValueId* shifted, ValueId* x, int64_t* dim) {
  const Node* exp = m.match(id, {"aten::exp"});
  if (!exp) return false;
  *shifted = Matcher::value(*exp, 0);
  const Node* difference = m.match(*shifted, {"aten::sub.Tensor"});
  if (!difference || m.number(*difference, 2) != 1.0) return false;
  *x = Matcher::value(*difference, 0);
  ValueId peak = Matcher::value(*difference, 1);
  const Node* max = m.match(peak, {"aten::amax", "aten::max.dim"});
  if (!max || *x == kNoValue || Matcher::value(*max, 0) != *x) return false;
  auto at = one_dim(m, *max, 2);
  *dim = at.value_or(-1);
  return at.has_value() && m.type(*x) == m.type(id);
}

bool sum_of(Matcher& m, ValueId id, ValueId terms, int64_t dim) {
  const Node* sum = m.match(id, {"aten::sum.dim_IntList"});
  return sum && Matcher::value(*sum, 0) == terms && one_dim(m, *sum, 2) == dim &&
         m.type(id).dtype == m.type(terms).dtype;
}

bool try_softmax(Matcher& m, NodeId root) {
  const Node node = m.node(root);
  if (!is_floating(m.type(node.results[0]).dtype)) return false;
  ValueId shifted, x;
  int64_t dim = 0;
  if (node.op == "aten::div.Tensor") {
    ValueId terms = Matcher::value(node, 0), total = Matcher::value(node, 1);
    return shifted_exp(m, terms, &shifted, &x, &dim) && sum_of(m, total, terms, dim) &&
           m.replace(root, "aten::_softmax", {ValueRef{x}, dim, false});
  }
  if (node.op == "aten::mul.Tensor") {
    for (size_t i = 0; i < 2; i++) {
      m.rewind(0);
      ValueId terms = Matcher::value(node, i);
      const Node* inverse = m.match(Matcher::value(node, 1 - i), {"aten::reciprocal"});
      if (inverse && shifted_exp(m, terms, &shifted, &x, &dim) &&
          sum_of(m, Matcher::value(*inverse, 0), terms, dim))
        return m.replace(root, "aten::_softmax", {ValueRef{x}, dim, false});
    }
    return false;
  }
  if (node.op != "aten::sub.Tensor" || m.number(node, 2) != 1.0) return false;
  ValueId left = Matcher::value(node, 0), right = Matcher::value(node, 1);
  if (left == kNoValue || right == kNoValue) return false;
  // x - logsumexp(x)
  if (const Node* reduced = m.match(right, {"aten::logsumexp"})) {
    auto at = one_dim(m, *reduced, 2);
    return at && Matcher::value(*reduced, 0) == left && m.type(left) == m.type(node.results[0]) &&
           m.replace(root, "aten::_log_softmax", {ValueRef{left}, *at, false});
  }
  // (x - amax) - log(sum(exp(x - amax)))
  const Node* log = m.match(right, {"aten::log"});
  const Node* sum = log ? m.match(Matcher::value(*log, 0), {"aten::sum.dim_IntList"}) : nullptr;
  if (!sum) return false;
  ValueId total = Matcher::value(*log, 0), terms = Matcher::value(*sum, 0);
  return shifted_exp(m, terms, &shifted, &x, &dim) && shifted == left &&
         sum_of(m, total, terms, dim) &&
         m.replace(root, "aten::_log_softmax", {ValueRef{x}, dim, false});
}

}  // namespace

Result<void> recognize_norms(Program& program, Graph& graph, const PassContext& context) {
  Matcher matcher(program, graph, context);
  for_each_root(matcher, [](Matcher& m, NodeId root) {
    for (auto* attempt : {try_norm, try_softmax, try_affine, try_casts}) {
      m.rewind(0);
      if (attempt(m, root)) return;
    }
  });
  return {};
}

}  // namespace sconce
