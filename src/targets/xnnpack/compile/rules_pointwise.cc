// Rules for operators on one element, on two, and on rows.
#include <algorithm>
#include <cmath>

#include "targets/xnnpack/compile/lowering.h"

namespace sconce::xnn_compile {
namespace {

template <Kind kind>
bool unary_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  if (!x || l.dims(*x).empty()) return false;
  bool as_image = l.prefers_image(*x);
  l.set(node.results[0], l.unary(kind, as_image ? l.image(*x) : l.plain(*x)), as_image);
  return true;
}

bool gelu_rule(Lowering& l, const Node& node) {
  auto* how = std::get_if<std::string>(&node.arguments[1]);
  return how && *how == "none" && unary_rule<Kind::gelu>(l, node);
}

template <Kind kind>
bool sloped_rule(Lowering& l, const Node& node) {
  auto slope = number_argument(node, 1);
  if (!slope || !unary_rule<kind>(l, node)) return false;
  l.region.graph.nodes.back().number = float(*slope);
  return true;
}

bool pow_rule(Lowering& l, const Node& node) {
  return number_argument(node, 1) == 2.0 && unary_rule<Kind::square>(l, node);
}

bool limits_rule(Lowering& l, const Node& node, std::optional<double> min,
                 std::optional<double> max) {
  auto x = value_argument(node, 0);
  if (!x || l.dims(*x).empty() || (min && std::isnan(*min)) || (max && std::isnan(*max)))
    return false;
  float low = min ? float(*min) : -INFINITY, high = max ? float(*max) : INFINITY;
  if (!(low <= high)) return false;
  bool as_image = l.prefers_image(*x);
  uint32_t v = as_image ? l.image(*x) : l.plain(*x);
  l.set(node.results[0], l.limited(*x, v, low, high), as_image);
  return true;
}
bool relu_rule(Lowering& l, const Node& node) { return limits_rule(l, node, 0, std::nullopt); }
bool clamp_rule(Lowering& l, const Node& node) {
  for (size_t i : {1, 2})
    if (!is_none(node, i) && !number_argument(node, i)) return false;
  return limits_rule(l, node, number_argument(node, 1), number_argument(node, 2));
}

template <Kind kind>
bool binary_rule(Lowering& l, const Node& node) {
  bool scaled = kind == Kind::add || kind == Kind::subtract;
  if (scaled && node.arguments.size() > 2 && number_argument(node, 2) != 1.0) return false;
  auto a = value_argument(node, 0), b = value_argument(node, 1);
  if (!a || l.dims(node.results[0]).empty()) return false;
  if (!b) {
    auto x = number_argument(node, 1);
    if (!x) return false;
    bool as_image = l.prefers_image(*a);
    l.set(node.results[0], l.binary(kind, as_image ? l.image(*a) : l.plain(*a), l.number(*x)),
          as_image);
    return true;
  }
  // As images when one is, and the other can be: it is one, or a number for all.
  size_t rank = l.dims(node.results[0]).size();
  auto fits = [&](ValueId v) {
    return (l.dims(v).size() == rank && !l.is_constant(v)) || product(l.dims(v)) == 1;
  };
  bool as_image = (l.prefers_image(*a) || l.prefers_image(*b)) && fits(*a) && fits(*b);
  auto form = [&](ValueId v) {
    if (!as_image) return l.plain(v);
    if (l.dims(v).size() == rank && !l.is_constant(v)) return l.image(v);
    return l.is_constant(v) ? l.constant_of(v, {1}) : l.plain(v);
  };
  uint32_t x = form(*a), y = form(*b);
  l.set(node.results[0], l.binary(kind, x, y), as_image);
  return true;
}

bool softmax_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  auto dim = int_argument(node, 1);
  if (!x || !dim || bool_argument(node, 2)) return false;
  int64_t rank = int64_t(l.dims(*x).size());
  if (rank < 1 || (*dim != -1 && *dim != rank - 1)) return false;
  l.set(node.results[0], l.unary(Kind::softmax, l.plain(*x)));
  return true;
}

// The mean over rows of `width` numbers of a value [rows, width, 1, 1].
uint32_t row_mean(Lowering& l, uint32_t x) {
  XnnNode& node = l.add(Kind::global_avg_pool, {x}, {l.dims_of(x)[0], 1, 1, 1});
  node.flags = kKeepDims;
  return node.outputs[0];
}

bool layer_norm_rule(Lowering& l, const Node& node) {
  bool native = node.op == "aten::native_layer_norm";
  auto x = value_argument(node, 0);
  auto over = ints_argument(node, 1, 1);
  auto w = value_argument(node, 2), b = value_argument(node, 3);
  auto eps = number_argument(node, 4);
  if (!x || !over || !eps || l.is_constant(*x)) return false;
  if (native && (l.is_used(node.results[1]) || l.is_used(node.results[2]))) return false;
  for (auto part : {w, b})
    if (part && !l.is_constant(*part)) return false;
  Dims d = l.dims(*x);
  int64_t width = product(*over), rows = product(d) / width;
  uint32_t flat = l.reshaped(l.plain(*x), {rows, width, 1, 1});
  uint32_t centred = l.binary(Kind::subtract, flat, row_mean(l, flat));
  uint32_t variance = row_mean(l, l.unary(Kind::square, centred));
  uint32_t factor = l.unary(Kind::rsqrt, l.binary(Kind::add, variance, l.number(*eps)));
  uint32_t y = l.reshaped(l.binary(Kind::multiply, centred, factor), {rows, width});
  if (w) y = l.binary(Kind::multiply, y, l.constant_of(*w, {width}));
  if (b) y = l.binary(Kind::add, y, l.constant_of(*b, {width}));
  l.set(node.results[0], l.reshaped(y, d));
  return true;
}

constexpr Row kRules[] = {
    {"aten::abs", unary_rule<Kind::abs>},
    {"aten::add.Scalar", binary_rule<Kind::add>},
    {"aten::add.Tensor", binary_rule<Kind::add>},
    {"aten::ceil", unary_rule<Kind::ceil>},
    {"aten::clamp", clamp_rule},
    {"aten::cos", unary_rule<Kind::cos>},
    {"aten::div.Scalar", binary_rule<Kind::divide>},
    {"aten::div.Tensor", binary_rule<Kind::divide>},
    {"aten::exp", unary_rule<Kind::exp>},
    {"aten::floor", unary_rule<Kind::floor>},
    {"aten::gelu", gelu_rule},
    {"aten::hardswish", unary_rule<Kind::hardswish>},
    {"aten::hardtanh", clamp_rule},
    {"aten::layer_norm", layer_norm_rule},
    {"aten::leaky_relu", sloped_rule<Kind::leaky_relu>},
    {"aten::log", unary_rule<Kind::log>},
    {"aten::maximum", binary_rule<Kind::maximum>},
    {"aten::minimum", binary_rule<Kind::minimum>},
    {"aten::mul.Scalar", binary_rule<Kind::multiply>},
    {"aten::mul.Tensor", binary_rule<Kind::multiply>},
    {"aten::native_layer_norm", layer_norm_rule},
    {"aten::neg", unary_rule<Kind::negate>},
    {"aten::pow.Tensor_Scalar", pow_rule},
    {"aten::relu", relu_rule},
    {"aten::rsqrt", unary_rule<Kind::rsqrt>},
    {"aten::sigmoid", unary_rule<Kind::sigmoid>},
    {"aten::sin", unary_rule<Kind::sin>},
    {"aten::_softmax", softmax_rule},
    {"aten::sqrt", unary_rule<Kind::sqrt>},
    {"aten::square", unary_rule<Kind::square>},
    {"aten::sub.Scalar", binary_rule<Kind::subtract>},
    {"aten::sub.Tensor", binary_rule<Kind::subtract>},
    {"aten::tanh", unary_rule<Kind::tanh>},
};

}  // namespace

Span<const Row> pointwise_rules() { return kRules; }

}  // namespace sconce::xnn_compile
