// Definitions of the unary rows: ATen's schema follows from the name.
#include <cmath>

#include "ops/pointwise/special.h"

namespace sconce {
namespace {

Results decompose_silu(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  return one(build.mul(x, build.call1("aten::sigmoid", {Build::v(x)})));
}

Results decompose_square(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  if (build.dtype(x) == DType::b8) x = build.cast(x, DType::i64);
  return one(build.mul(x, x));
}
Results decompose_frac(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  return one(build.sub(x, build.call1("aten::trunc", {Build::v(x)})));
}
Results decompose_exp2(Build& build, const Node& node) {
  return build.call("aten::pow.Scalar", {2.0, node.arguments[0]});
}
Results decompose_erfc(Build& build, const Node& node) {
  return build.call("aten::rsub.Scalar", {Build::v(build.call1("aten::erf", node.arguments)), 1.0});
}
ValueId floating(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  return is_floating(build.dtype(x)) ? x : build.cast(x, DType::f32);
}
ValueId where(Build& build, ValueId condition, ValueId yes, ValueId no) {
  return build.call1("aten::where.self", {Build::v(condition), Build::v(yes), Build::v(no)});
}
// -x log x; 0 at 0, -infinity below.
Results decompose_entr(Build& build, const Node& node) {
  ValueId x = floating(build, node);
  ValueId product = build.mul(x, build.call1("aten::log", {Build::v(x)}));
  ValueId inside = build.call1("aten::neg", {Build::v(product)});
  ValueId zero = build.call1("aten::eq.Scalar", {Build::v(x), 0.0});
  ValueId below = build.call1("aten::lt.Scalar", {Build::v(x), 0.0});
  ValueId positive = build.call1("aten::masked_fill.Scalar", {Build::v(inside), Build::v(zero), 0.0});
  return build.call("aten::masked_fill.Scalar", {Build::v(positive), Build::v(below), -INFINITY});
}
Results decompose_sinc(Build& build, const Node& node) {
  ValueId x = floating(build, node), scaled = build.mul(x, 3.14159265358979323846);
  ValueId quotient = build.div(build.call1("aten::sin", {Build::v(scaled)}), scaled);
  ValueId zero = build.call1("aten::eq.Scalar", {Build::v(x), 0.0});
  return build.call("aten::masked_fill.Scalar", {Build::v(quotient), Build::v(zero), 1.0});
}
Results decompose_deg2rad(Build& build, const Node& node) {
  return one(build.mul(value(node, 0), 0.017453292519943295769));
}
Results decompose_rad2deg(Build& build, const Node& node) {
  return one(build.mul(value(node, 0), 57.295779513082320877));
}
template <int sign>
Results is_infinity(Build& build, const Node& node) {
  return build.call("aten::eq.Scalar", {node.arguments[0], double(sign) * INFINITY});
}
constexpr Decompose decompose_isposinf = is_infinity<1>, decompose_isneginf = is_infinity<-1>;
ValueId relu6_of_shifted(Build& build, ValueId x) {
  return build.call1("aten::hardtanh", {Build::v(build.add(x, 3.0)), 0.0, 6.0});
}
Results decompose_hardsigmoid(Build& build, const Node& node) {
  return build.call("aten::div.Scalar", {Build::v(relu6_of_shifted(build, value(node, 0))), 6.0});
}
Results decompose_hardswish(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  ValueId gate = build.call1("aten::div.Scalar", {Build::v(relu6_of_shifted(build, x)), 6.0});
  return one(build.mul(x, gate));
}
// log(1 + exp(x)) where x <= 20, else x.
ValueId softplus(Build& build, ValueId x) {
  ValueId curve = build.call1("aten::log1p", {Build::v(build.call1("aten::exp", {Build::v(x)}))});
  return where(build, build.call1("aten::gt.Scalar", {Build::v(x), 20.0}), x, curve);
}
Results decompose_mish(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  return one(build.mul(x, build.call1("aten::tanh", {Build::v(softplus(build, x))})));
}
// min(x, 0) - log(1 + exp(-|x|))
Results decompose_log_sigmoid(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  ValueId minus = build.call1("aten::neg", {Build::v(build.call1("aten::abs", {Build::v(x)}))});
  ValueId curve = build.call1("aten::log1p", {Build::v(build.call1("aten::exp", {Build::v(minus)}))});
  ValueId low = build.call1("aten::clamp", {Build::v(x), None{}, 0.0});
  return one(build.sub(low, curve));
}
Results decompose_isfinite(Build& build, const Node& node) {
  ValueId nan = build.call1("aten::isnan", node.arguments), inf = build.call1("aten::isinf", node.arguments);
  ValueId either = build.call1("aten::logical_or", {Build::v(nan), Build::v(inf)});
  return build.call("aten::logical_not", {Build::v(either)});
}
Results decompose_isreal(Build& build, const Node& node) {
  return build.call("aten::full_like", {node.arguments[0], true, int64_t(DType::b8)});
}
// 0.5 * erfc(-x / sqrt(2))
Results decompose_ndtr(Build& build, const Node& node) {
  ValueId scaled = build.mul(floating(build, node), -0.70710678118654752440);
  return one(build.mul(build.call1("aten::erfc", {Build::v(scaled)}), 0.5));
}

// angle: 0 or pi of real numbers, NaN of NaN.
Results decompose_angle(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  if (dtype_category(build.dtype(x)) == DTypeCategory::complex)
    return build.call("aten::atan2", {Build::v(build.call1("aten::imag", {Build::v(x)})),
                                      Build::v(build.call1("aten::real", {Build::v(x)}))});
  x = floating(build, node);
  ValueId negative = build.call1("aten::lt.Scalar", {Build::v(x), 0.0});
  ValueId zero = build.mul(build.call1("aten::isnan", {Build::v(x)}), 0.0);
  ValueId zeros = where(build, build.call1("aten::isnan", {Build::v(x)}), x, build.cast(zero, build.dtype(x)));
  return build.call("aten::masked_fill.Scalar", {Build::v(zeros), Build::v(negative), 3.14159265358979323846});
}
// Sum of lgamma(x - i / 2) for i < p, and p (p - 1) / 4 log(pi).
Results decompose_mvlgamma(Build& build, const Node& node) {
  auto p = number(node, 1);
  if (!p || *p < 1 || *p > 1000) return std::nullopt;
  ValueId x = floating(build, node), sum = build.call1("aten::lgamma", {Build::v(x)});
  for (int i = 1; i < int(*p); i++)
    sum = build.add(sum, build.call1("aten::lgamma", {Build::v(build.add(x, -0.5 * i))}));
  return one(build.add(sum, *p * (*p - 1) / 4 * 1.1447298858494001741));
}

}  // namespace

#define ROW_UNARY(name, rule, expression) \
  OP(name) = {.schema = "aten::" #name "(Tensor self) -> Tensor", .out = "aten::" #name ".out"};
#define ROW_UNARY_OWN(name, rule, expression, how)                \
  OP(name) = {.schema = "aten::" #name "(Tensor self) -> Tensor", \
              .out = "aten::" #name ".out",                       \
              .decompose = how};
#include "ops/pointwise/unary.rows.h"

OP(isfinite) = {.schema = "aten::isfinite(Tensor self) -> Tensor", .decompose = decompose_isfinite};
OP(isreal) = {.schema = "aten::isreal(Tensor self) -> Tensor", .decompose = decompose_isreal};
OP(special_ndtr) = {.schema = "aten::special_ndtr(Tensor self) -> Tensor",
                    .decompose = decompose_ndtr};
OP_ALIAS(absolute, "aten::absolute(Tensor self) -> Tensor", "aten::abs")
OP_ALIAS(negative, "aten::negative(Tensor self) -> Tensor", "aten::neg")
OP_ALIAS(fix, "aten::fix(Tensor self) -> Tensor", "aten::trunc")
OP_ALIAS(arccos, "aten::arccos(Tensor self) -> Tensor", "aten::acos")
OP_ALIAS(arcsin, "aten::arcsin(Tensor self) -> Tensor", "aten::asin")
OP_ALIAS(arctan, "aten::arctan(Tensor self) -> Tensor", "aten::atan")
OP_ALIAS(arccosh, "aten::arccosh(Tensor self) -> Tensor", "aten::acosh")
OP_ALIAS(arcsinh, "aten::arcsinh(Tensor self) -> Tensor", "aten::asinh")
OP_ALIAS(arctanh, "aten::arctanh(Tensor self) -> Tensor", "aten::atanh")
OP_ALIAS(special_exp2, "aten::special_exp2(Tensor self) -> Tensor", "aten::exp2")
OP_ALIAS(special_expm1, "aten::special_expm1(Tensor self) -> Tensor", "aten::expm1")
OP_ALIAS(special_expit, "aten::special_expit(Tensor self) -> Tensor", "aten::sigmoid")
OP_ALIAS(special_log1p, "aten::special_log1p(Tensor self) -> Tensor", "aten::log1p")
OP_ALIAS(special_erf, "aten::special_erf(Tensor self) -> Tensor", "aten::erf")
OP_ALIAS(special_erfc, "aten::special_erfc(Tensor self) -> Tensor", "aten::erfc")
OP_ALIAS(special_erfinv, "aten::special_erfinv(Tensor self) -> Tensor", "aten::erfinv")
OP_ALIAS(special_gammaln, "aten::special_gammaln(Tensor self) -> Tensor", "aten::lgamma")
OP_ALIAS(special_digamma, "aten::special_digamma(Tensor self) -> Tensor", "aten::digamma")
OP_ALIAS(special_psi, "aten::special_psi(Tensor self) -> Tensor", "aten::digamma")
OP_ALIAS(special_i0, "aten::special_i0(Tensor self) -> Tensor", "aten::i0")
OP_ALIAS(special_sinc, "aten::special_sinc(Tensor self) -> Tensor", "aten::sinc")

OP(angle) = {.schema = "aten::angle(Tensor self) -> Tensor", .decompose = decompose_angle};
OP(mvlgamma) = {.schema = "aten::mvlgamma(Tensor self, int p) -> Tensor",
                .decompose = decompose_mvlgamma};
OP_ALIAS(special_multigammaln, "aten::special_multigammaln(Tensor self, int p) -> Tensor",
         "aten::mvlgamma")
OP_ALIAS(special_polygamma, "aten::special_polygamma(int n, Tensor self) -> Tensor", "aten::polygamma")
OP_ALIAS(special_modified_bessel_i0, "aten::special_modified_bessel_i0(Tensor self) -> Tensor",
         "aten::i0")
OP_ALIAS(special_modified_bessel_i1, "aten::special_modified_bessel_i1(Tensor self) -> Tensor",
         "aten::special_i1")
OP(square) = {.schema = "aten::square(Tensor self) -> Tensor",
              .out = "aten::square.out",
              .decompose = decompose_square};
OP(bitwise_not) = {.schema = "aten::bitwise_not(Tensor self) -> Tensor",
                   .out = "aten::bitwise_not.out"};
OP(gelu) = {.schema = "aten::gelu(Tensor self, *, str approximate=\"none\") -> Tensor",
            .out = "aten::gelu.out"};

}  // namespace sconce
