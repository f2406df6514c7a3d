// Expression: a value under construction, so that rewritings of formulas read like the formula.
//
// Arithmetic adds nodes through the Build it came from. Operands are of one element type; doubles
// are numbers. Comparisons give b8. Host only.
#pragma once

#include "ops/pointwise/decompose.h"

namespace sconce {

struct Expression {
  Build* build;
  ValueId id;

  Expression call(const char* op, std::vector<Argument> more = {}) const {
    more.insert(more.begin(), Build::v(id));
    return {build, build->call1(op, std::move(more))};
  }
  Expression cast(DType dtype) const { return {build, build->cast(id, dtype)}; }
  DType dtype() const { return build->dtype(id); }
};

inline Argument argument(Expression e) { return Build::v(e.id); }

inline Expression operator+(Expression a, Expression b) {
  return {a.build, a.build->add(a.id, b.id)};
}
inline Expression operator-(Expression a, Expression b) {
  return {a.build, a.build->sub(a.id, b.id)};
}
inline Expression operator*(Expression a, Expression b) {
  return {a.build, a.build->mul(a.id, b.id)};
}
inline Expression operator/(Expression a, Expression b) {
  return {a.build, a.build->div(a.id, b.id)};
}
inline Expression operator+(Expression a, double b) { return {a.build, a.build->add(a.id, b)}; }
inline Expression operator-(Expression a, double b) { return a + -b; }
inline Expression operator*(Expression a, double b) { return {a.build, a.build->mul(a.id, b)}; }
inline Expression operator/(Expression a, double b) { return a.call("aten::div.Scalar", {b}); }
inline Expression operator-(Expression a) { return a.call("aten::neg"); }
inline Expression operator-(double a, Expression b) { return b.call("aten::rsub.Scalar", {a}); }
inline Expression operator/(double a, Expression b) {
  Expression inverse = b.call("aten::reciprocal");
  return a == 1 ? inverse : inverse * a;
}
inline Expression operator<(Expression a, double b) { return a.call("aten::lt.Scalar", {b}); }
inline Expression operator>(Expression a, double b) { return a.call("aten::gt.Scalar", {b}); }
inline Expression operator<=(Expression a, double b) { return a.call("aten::le.Scalar", {b}); }
inline Expression operator>=(Expression a, double b) { return a.call("aten::ge.Scalar", {b}); }
inline Expression operator==(Expression a, double b) { return a.call("aten::eq.Scalar", {b}); }
inline Expression operator==(Expression a, Expression b) {
  return a.call("aten::eq.Tensor", {argument(b)});
}
inline Expression operator<(Expression a, Expression b) {
  return a.call("aten::lt.Tensor", {argument(b)});
}
inline Expression operator&&(Expression a, Expression b) {
  return a.call("aten::logical_and", {argument(b)});
}
inline Expression operator||(Expression a, Expression b) {
  return a.call("aten::logical_or", {argument(b)});
}
inline Expression operator!(Expression a) { return a.call("aten::logical_not"); }

inline Expression where(Expression condition, Expression yes, Expression no) {
  return condition.call("aten::where.self", {argument(yes), argument(no)});
}
inline Expression where(Expression condition, double yes, Expression no) {
  return no.call("aten::masked_fill.Scalar", {argument(condition), yes});
}
inline Expression where(Expression condition, Expression yes, double no) {
  return where(!condition, no, yes);
}
inline Expression abs(Expression x) { return x.call("aten::abs"); }
inline Expression exp(Expression x) { return x.call("aten::exp"); }
inline Expression log(Expression x) { return x.call("aten::log"); }
inline Expression log1p(Expression x) { return x.call("aten::log1p"); }
inline Expression sqrt(Expression x) { return x.call("aten::sqrt"); }
inline Expression sin(Expression x) { return x.call("aten::sin"); }
inline Expression tan(Expression x) { return x.call("aten::tan"); }
inline Expression erf(Expression x) { return x.call("aten::erf"); }
inline Expression sign(Expression x) { return x.call("aten::sign"); }
inline Expression round(Expression x) { return x.call("aten::round"); }
inline Expression floor(Expression x) { return x.call("aten::floor"); }
inline Expression trunc(Expression x) { return x.call("aten::trunc"); }
inline Expression isinf(Expression x) { return x.call("aten::isinf"); }
inline Expression isnan(Expression x) { return x.call("aten::isnan"); }
inline Expression clamp(Expression x, double low, double high) {
  return x.call("aten::clamp", {low, high});
}
inline Expression maximum(Expression a, Expression b) {
  return a.call("aten::maximum", {argument(b)});
}
inline Expression minimum(Expression a, Expression b) {
  return a.call("aten::minimum", {argument(b)});
}

}  // namespace sconce
