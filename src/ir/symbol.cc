// Expressions are polynomials with integer coefficients over atoms (symbols, divisions, remainders,
// extremes). Arithmetic works on lists of terms in one canonical order, so equal polynomials are
// the same list and, once interned, the same id. The order looks at structure and symbol indices,
// never at ids, so that a program read back from its text has its sums in the order they were
// printed.
#include "ir/symbol.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "base/checked.h"

namespace sconce {

namespace {

// Beyond these an expression becomes a symbol of its own.
constexpr int32_t kDepthMax = 64;
constexpr int64_t kSizeMax = 4096;  // as a tree: parts that are shared count each time
constexpr size_t kTermsMax = 256;
constexpr size_t kFactorsMax = 64;
constexpr size_t kOperandsMax = 64;  // of minimum and maximum

constexpr Bounds kUnbounded{};

int64_t saturate(__int128 value) {
  if (value > INT64_MAX) return INT64_MAX;
  if (value < INT64_MIN) return INT64_MIN;
  return int64_t(value);
}

bool is_infinite(int64_t value) { return value == INT64_MIN || value == INT64_MAX; }

int64_t floor_quotient(int64_t a, int64_t b) {
  __int128 quotient = __int128(a) / b;
  if (__int128(a) % b != 0 && (a < 0) != (b < 0)) quotient--;
  return saturate(quotient);
}

int64_t floor_remainder(int64_t a, int64_t b) {
  __int128 remainder = __int128(a) % b;
  if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
  return int64_t(remainder);
}

// Infinite plus anything stays infinite.
int64_t add_ends(int64_t a, int64_t b) {
  if (is_infinite(a)) return a;
  if (is_infinite(b)) return b;
  return saturate(__int128(a) + b);
}

int64_t multiply_ends(int64_t a, int64_t b) {
  if (a == 0 || b == 0) return 0;
  if (is_infinite(a) || is_infinite(b)) return (a < 0) == (b < 0) ? INT64_MAX : INT64_MIN;
  return saturate(__int128(a) * b);
}

int64_t divide_ends(int64_t a, int64_t b) {
  if (is_infinite(a)) return (a < 0) == (b < 0) ? INT64_MAX : INT64_MIN;
  if (is_infinite(b)) return a == 0 || (a < 0) == (b < 0) ? 0 : -1;
  return floor_quotient(a, b);
}

template <class F>
Bounds corners(Bounds a, Bounds b, F f) {
  int64_t of[] = {f(a.min, b.min), f(a.min, b.max), f(a.max, b.min), f(a.max, b.max)};
  return {*std::min_element(of, of + 4), *std::max_element(of, of + 4)};
}

Bounds add_bounds(Bounds a, Bounds b) { return {add_ends(a.min, b.min), add_ends(a.max, b.max)}; }
Bounds multiply_bounds(Bounds a, Bounds b) { return corners(a, b, multiply_ends); }

Bounds divide_bounds(Bounds a, Bounds b) {
  // The divisor is not 0.
  if (b.min == 0) b.min = 1;
  if (b.max == 0) b.max = -1;
  if (b.min > b.max) return kUnbounded;
  if (b.min > 0 || b.max < 0) return corners(a, b, divide_ends);
  Bounds below = corners(a, Bounds{b.min, -1}, divide_ends);
  Bounds above = corners(a, Bounds{1, b.max}, divide_ends);
  return {std::min(below.min, above.min), std::max(below.max, above.max)};
}

Bounds modulo_bounds(Bounds a, Bounds b) {
  if (b.min >= 0) {
    int64_t max = b.max == INT64_MAX ? INT64_MAX : std::max<int64_t>(b.max - 1, 0);
    if (a.min >= 0) max = std::min(max, a.max);
    return {0, max};
  }
  if (b.max <= 0) return {b.min == INT64_MIN ? INT64_MIN : std::min<int64_t>(b.min + 1, 0), 0};
  return {b.min, b.max};
}

std::optional<int64_t> checked_power(int64_t base, int64_t exponent) {
  if (exponent < 0) return std::nullopt;
  if (base == 0 || base == 1) return exponent == 0 ? 1 : base;
  if (base == -1) return exponent % 2 == 0 ? 1 : -1;
  int64_t result = 1;
  for (int64_t i = 0; i < exponent; i++)  // at most 63 rounds before it overflows
    if (!checked_multiply(result, base, &result)) return std::nullopt;
  return result;
}

Bounds power_bounds(Bounds base, Bounds exponent) {
  if (base.min < 0 || exponent.min < 0) return kUnbounded;
  auto ends = [](int64_t b, int64_t e) {
    if (is_infinite(b) || is_infinite(e))
      return b == 1 || e == 0 ? int64_t(1) : b == 0 ? int64_t(0) : INT64_MAX;
    return checked_power(b, e).value_or(INT64_MAX);
  };
  int64_t min = ends(base.min, exponent.min), max = ends(base.max, exponent.max);
  if (base.min == 0) min = 0;
  if (exponent.min == 0) max = std::max<int64_t>(max, 1);
  return {min, max};
}

}  // namespace

struct SymbolTable::Term {
  std::vector<ExprId> factors;  // in canonical order; none: the constant term
  int64_t coefficient = 1;
};

SymInt SymbolTable::symbol(const std::string& name) {
  auto found = symbol_index_.find(name);
  int32_t index;
  if (found != symbol_index_.end()) {
    index = found->second;
  } else {
    index = int32_t(symbols_.size());
    symbols_.push_back(Symbol{name, {}, 0, 1});
    symbol_index_.emplace(name, index);
  }
  return intern(Expr{ExprKind::symbol, index, {}});
}

Symbol* SymbolTable::find_symbol(const std::string& name) {
  auto found = symbol_index_.find(name);
  return found == symbol_index_.end() ? nullptr : &symbols_[size_t(found->second)];
}

// Not "u" and "s": the exporter's own names are yet to be read.
SymInt SymbolTable::fresh(Bounds bounds, int64_t hint) {
  std::string name;
  do name = "n" + std::to_string(fresh_count_++);
  while (symbol_index_.count(name));
  SymInt result = symbol(name);
  symbols_.back().bounds = bounds;
  symbols_.back().hint = hint;
  return result;
}

SymInt SymbolTable::bounded(Bounds bounds, std::optional<int64_t> hint) {
  if (bounds.min == bounds.max && !is_infinite(bounds.min)) return bounds.min;
  return fresh(bounds, hint.value_or(0));
}

ExprId SymbolTable::constant(int64_t value) {
  return intern(Expr{ExprKind::constant, value, {}}).expr;
}

SymInt SymbolTable::intern(Expr expr) {
  auto found = expr_index_.find(expr);
  if (found != expr_index_.end()) return SymInt::symbolic(found->second);
  Extent extent{0, 1};
  for (ExprId operand : expr.operands) {
    extent.depth = std::max(extent.depth, extents_[size_t(operand)].depth + 1);
    extent.size += extents_[size_t(operand)].size;
  }
  ExprId id = ExprId(exprs_.size());
  exprs_.push_back(expr);
  extents_.push_back(extent);
  if (extent.depth > kDepthMax || extent.size > kSizeMax) {
    SymInt whole = SymInt::symbolic(id);
    Bounds limits = bounds(whole);
    int64_t seen = hint(whole);
    exprs_.pop_back();
    extents_.pop_back();
    return fresh(limits, seen);
  }
  expr_index_.emplace(std::move(expr), id);
  return SymInt::symbolic(id);
}

// Total order by structure. Shared parts have equal ids, so only the first difference is followed.
int SymbolTable::compare(ExprId a, ExprId b) const {
  if (a == b) return 0;
  const Expr& x = expr(a);
  const Expr& y = expr(b);
  if (x.kind != y.kind) return x.kind < y.kind ? -1 : 1;
  if (x.value != y.value) return x.value < y.value ? -1 : 1;
  size_t count = std::min(x.operands.size(), y.operands.size());
  for (size_t i = 0; i < count; i++)
    if (int order = compare(x.operands[i], y.operands[i])) return order;
  return x.operands.size() < y.operands.size() ? -1 : x.operands.size() > y.operands.size();
}

bool SymbolTable::before(const Term& a, const Term& b) const {
  if (a.factors.size() != b.factors.size()) return a.factors.size() > b.factors.size();
  for (size_t i = 0; i < a.factors.size(); i++)
    if (int order = compare(a.factors[i], b.factors[i])) return order < 0;
  return false;
}

SymbolTable::Polynomial SymbolTable::constant_terms(int64_t value) {
  Polynomial terms;
  if (value != 0) terms.push_back({{}, value});
  return terms;
}

SymbolTable::Polynomial SymbolTable::terms_of(SymInt value) const {
  if (value.is_known()) return constant_terms(value.value);
  auto term_of = [&](ExprId id) {
    const Expr& e = expr(id);
    if (e.kind == ExprKind::constant) return Term{{}, e.value};
    if (e.kind != ExprKind::multiply) return Term{{id}, 1};
    Term term;
    size_t first = 0;
    if (expr(e.operands[0]).kind == ExprKind::constant) {
      term.coefficient = expr(e.operands[0]).value;
      first = 1;
    }
    term.factors.assign(e.operands.begin() + int(first), e.operands.end());
    return term;
  };
  Polynomial terms;
  const Expr& e = expr(value.expr);
  if (e.kind == ExprKind::add) {
    for (ExprId operand : e.operands) terms.push_back(term_of(operand));
  } else {
    terms.push_back(term_of(value.expr));
  }
  return terms;
}

// Sorts, collects like terms, drops zeros. False when a coefficient overflows.
bool SymbolTable::normalize(Polynomial& terms) const {
  std::sort(terms.begin(), terms.end(), [&](const Term& a, const Term& b) { return before(a, b); });
  Polynomial result;
  for (Term& term : terms) {
    if (!result.empty() && result.back().factors == term.factors) {
      int64_t& sum = result.back().coefficient;
      if (!checked_add(sum, term.coefficient, &sum)) return false;
    } else {
      result.push_back(std::move(term));
    }
    if (result.back().coefficient == 0) result.pop_back();
  }
  terms = std::move(result);
  return true;
}

SymInt SymbolTable::from_terms(Polynomial terms) {
  if (terms.empty()) return 0;
  if (terms.size() == 1 && terms[0].factors.empty()) return terms[0].coefficient;
  std::vector<ExprId> ids;
  bool replaced = false;  // by a symbol, since it is too large
  for (Term& term : terms) {
    if (term.factors.empty()) {
      ids.push_back(constant(term.coefficient));
    } else if (term.coefficient == 1 && term.factors.size() == 1) {
      ids.push_back(term.factors[0]);
    } else {
      std::vector<ExprId> operands;
      if (term.coefficient != 1) operands.push_back(constant(term.coefficient));
      operands.insert(operands.end(), term.factors.begin(), term.factors.end());
      ids.push_back(intern(Expr{ExprKind::multiply, 0, std::move(operands)}).expr);
      replaced |= expr(ids.back()).kind != ExprKind::multiply;
    }
  }
  if (replaced) {
    SymInt sum = 0;
    for (ExprId id : ids) sum = add(sum, SymInt::symbolic(id));
    return sum;
  }
  if (ids.size() == 1) return SymInt::symbolic(ids[0]);
  return intern(Expr{ExprKind::add, 0, std::move(ids)});
}

// False when a limit is met.
bool SymbolTable::multiply_terms(const Polynomial& a, const Polynomial& b,
                                 Polynomial* product) const {
  product->clear();
  if (a.size() * b.size() > kTermsMax) return false;
  for (const Term& x : a) {
    for (const Term& y : b) {
      if (x.factors.size() + y.factors.size() > kFactorsMax) return false;
      Term term;
      if (!checked_multiply(x.coefficient, y.coefficient, &term.coefficient)) return false;
      std::merge(x.factors.begin(), x.factors.end(), y.factors.begin(), y.factors.end(),
                 std::back_inserter(term.factors),
                 [&](ExprId p, ExprId q) { return compare(p, q) < 0; });
      product->push_back(std::move(term));
    }
  }
  return normalize(*product);
}

// a / b when that is a polynomial: leading terms are divided as long as they divide.
std::optional<SymbolTable::Polynomial> SymbolTable::divide_terms(Polynomial a,
                                                                 const Polynomial& b) const {
  Polynomial quotient;
  while (!a.empty()) {
    const Term& lead = b[0];
    Term term;
    if (quotient.size() >= kTermsMax || a[0].coefficient == INT64_MIN ||
        a[0].coefficient % lead.coefficient != 0)
      return std::nullopt;
    term.coefficient = a[0].coefficient / lead.coefficient;
    auto less = [&](ExprId p, ExprId q) { return compare(p, q) < 0; };
    if (!std::includes(a[0].factors.begin(), a[0].factors.end(), lead.factors.begin(),
                       lead.factors.end(), less))
      return std::nullopt;
    std::set_difference(a[0].factors.begin(), a[0].factors.end(), lead.factors.begin(),
                        lead.factors.end(), std::back_inserter(term.factors), less);
    Polynomial product;
    if (!multiply_terms(b, {Term{term.factors, -term.coefficient}}, &product)) return std::nullopt;
    size_t count = a.size();
    a.insert(a.end(), product.begin(), product.end());
    if (!normalize(a)) return std::nullopt;
    if (a.size() > count + b.size()) return std::nullopt;
    quotient.push_back(std::move(term));
  }
  if (!normalize(quotient)) return std::nullopt;
  return quotient;
}

SymInt SymbolTable::add(SymInt a, SymInt b) {
  if (a.is_known() && b.is_known()) return saturate(__int128(a.value) + b.value);
  if (a.is_known() && a.value == 0) return b;
  if (b.is_known() && b.value == 0) return a;
  Polynomial terms = terms_of(a), more = terms_of(b);
  terms.insert(terms.end(), more.begin(), more.end());
  if (terms.size() > kTermsMax || !normalize(terms))
    return bounded(add_bounds(bounds(a), bounds(b)), saturate(__int128(hint(a)) + hint(b)));
  return from_terms(std::move(terms));
}

SymInt SymbolTable::multiply(SymInt a, SymInt b) {
  if (a.is_known() && b.is_known()) return saturate(__int128(a.value) * b.value);
  if (a.is_known() && a.value == 1) return b;
  if (b.is_known() && b.value == 1) return a;
  Polynomial terms;
  if (!multiply_terms(terms_of(a), terms_of(b), &terms))
    return bounded(multiply_bounds(bounds(a), bounds(b)), saturate(__int128(hint(a)) * hint(b)));
  return from_terms(std::move(terms));
}

// floor(a / divisor) for a divisor > 1.
SymInt SymbolTable::floor_divide_known(SymInt a, int64_t divisor) {
  Polynomial terms = terms_of(a);
  // What divides comes out; the constant leaves its remainder.
  Polynomial outside, inside;
  for (const Term& term : terms) {
    if (term.factors.empty()) {
      int64_t quotient = floor_quotient(term.coefficient, divisor);
      int64_t remainder = floor_remainder(term.coefficient, divisor);
      if (quotient) outside.push_back({{}, quotient});
      if (remainder) inside.push_back({{}, remainder});
    } else if (term.coefficient % divisor == 0) {
      outside.push_back({term.factors, term.coefficient / divisor});
    } else {
      inside.push_back(term);
    }
  }
  SymInt out = from_terms(std::move(outside));
  if (inside.empty() || inside[0].factors.empty()) return out;  // 0 <= constant < divisor

  if (inside[0].coefficient < 0) {  // -ceil: one form for both ways to round
    SymInt flipped = add(multiply(from_terms(std::move(inside)), -1), divisor - 1);
    return add(out, multiply(floor_divide(flipped, divisor), -1));
  }
  // A common factor g: floor((g*x + c) / (g*d)) = floor((x + floor(c/g)) / d).
  int64_t common = divisor;
  for (const Term& term : inside)
    if (!term.factors.empty() && term.coefficient != INT64_MIN)
      common = std::gcd(common, term.coefficient);
    else if (!term.factors.empty())
      common = 1;
  if (common > 1) {
    for (Term& term : inside) term.coefficient = floor_quotient(term.coefficient, common);
    if (inside.back().coefficient == 0) inside.pop_back();
    return add(out, floor_divide(from_terms(std::move(inside)), divisor / common));
  }
  // floor((floor(x/d) + c) / e) = floor((x + c*d) / (d*e)).
  if (inside[0].factors.size() == 1 && inside[0].coefficient == 1 && inside.size() <= 2 &&
      (inside.size() == 1 || inside[1].factors.empty())) {
    Expr nested = expr(inside[0].factors[0]);
    if (nested.kind == ExprKind::floor_divide &&
        expr(nested.operands[1]).kind == ExprKind::constant) {
      int64_t by = expr(nested.operands[1]).value, both, shift = 0;
      if (by > 0 && checked_multiply(by, divisor, &both) &&
          (inside.size() == 1 || checked_multiply(inside[1].coefficient, by, &shift))) {
        const Expr& numerator = expr(nested.operands[0]);
        SymInt x = numerator.kind == ExprKind::constant ? SymInt(numerator.value)
                                                        : SymInt::symbolic(nested.operands[0]);
        return add(out, floor_divide(add(x, shift), both));
      }
    }
  }
  SymInt rest = from_terms(std::move(inside));
  if (use_bounds_) {
    Bounds limits = bounds(rest);
    if (!is_infinite(limits.min) && !is_infinite(limits.max) &&
        floor_quotient(limits.min, divisor) == floor_quotient(limits.max, divisor))
      return add(out, floor_quotient(limits.min, divisor));
  }
  ExprId by = constant(divisor);
  return add(out, intern(Expr{ExprKind::floor_divide, 0, {rest.expr, by}}));
}

SymInt SymbolTable::floor_divide(SymInt a, SymInt b) {
  if (b.is_known()) {
    if (b.value == 0) return fresh(kUnbounded, 0);
    if (a.is_known()) return floor_quotient(a.value, b.value);
    if (b.value == 1) return a;
    if (b.value == INT64_MIN) return bounded(divide_bounds(bounds(a), {b.value, b.value}), 0);
    if (b.value < 0) return floor_divide(multiply(a, -1), -b.value);
    return floor_divide_known(a, b.value);
  }
  if (a.is_known() && a.value == 0) return 0;
  if (use_bounds_) {
    Bounds x = bounds(a), y = bounds(b);
    if (x.min >= 0 && x.max < y.min) return 0;
  }
  Polynomial numerator = terms_of(a), denominator = terms_of(b);
  if (auto quotient = divide_terms(numerator, denominator)) return from_terms(std::move(*quotient));
  // What stands in every term of both cancels, since it is not 0.
  auto less = [&](ExprId p, ExprId q) { return compare(p, q) < 0; };
  std::vector<ExprId> shared = denominator[0].factors;
  int64_t common = 0;
  bool minimal = false;
  for (const Polynomial* side : {&numerator, &denominator}) {
    for (const Term& term : *side) {
      std::vector<ExprId> both;
      std::set_intersection(shared.begin(), shared.end(), term.factors.begin(), term.factors.end(),
                            std::back_inserter(both), less);
      shared = std::move(both);
      if (term.coefficient == INT64_MIN)
        minimal = true;
      else
        common = std::gcd(common, term.coefficient);
    }
  }
  if (minimal) common = 1;
  bool negative = denominator[0].coefficient < 0 && !minimal;
  if (!shared.empty() || common > 1 || negative) {
    Polynomial divisor{Term{shared, negative ? -common : common}};
    auto x = divide_terms(numerator, divisor), y = divide_terms(denominator, divisor);
    if (x && y) return floor_divide(from_terms(std::move(*x)), from_terms(std::move(*y)));
  }
  // Terms that divide come out.
  Polynomial outside, inside;
  for (const Term& term : numerator) {
    if (auto quotient = divide_terms({term}, denominator))
      outside.insert(outside.end(), quotient->begin(), quotient->end());
    else
      inside.push_back(term);
  }
  if (!outside.empty() && normalize(outside)) {
    SymInt rest = floor_divide(from_terms(std::move(inside)), b);
    return add(from_terms(std::move(outside)), rest);
  }
  ExprId left = a.is_known() ? constant(a.value) : a.expr;
  return intern(Expr{ExprKind::floor_divide, 0, {left, b.expr}});
}

bool SymbolTable::is_multiple(SymInt value, int64_t divisor) const {
  if (divisor == 1) return true;
  if (divisor < 1) return false;
  for (const Term& term : terms_of(value)) {
    // Takes out of the divisor what coefficient and factors hold, each factor alone.
    int64_t rest = divisor;
    auto divide = [&](int64_t by) {
      if (by == INT64_MIN) by = int64_t(1) << 62;
      rest /= std::gcd(rest, by);
    };
    divide(term.coefficient);
    for (ExprId factor : term.factors)
      if (expr(factor).kind == ExprKind::symbol)
        divide(std::max<int64_t>(1, symbols_[size_t(expr(factor).value)].divisor));
    if (rest != 1) return false;
  }
  return true;
}

SymInt SymbolTable::modulo(SymInt a, SymInt b) {
  if (b.is_known()) {
    int64_t divisor = b.value;
    if (divisor == 0) return fresh(kUnbounded, 0);
    if (a.is_known()) return floor_remainder(a.value, divisor);
    if (divisor == 1 || divisor == -1) return 0;
    if (divisor == INT64_MIN) return bounded({INT64_MIN, 0}, 0);
    if (divisor < 0) return multiply(modulo(multiply(a, -1), -divisor), -1);
    Polynomial terms = terms_of(a), rest;
    for (Term& term : terms) {
      int64_t remainder = floor_remainder(term.coefficient, divisor);
      if (remainder == 0) continue;
      if (use_bounds_ && is_multiple(from_terms({term}), divisor)) continue;
      rest.push_back({term.factors, remainder});
    }
    SymInt inside = from_terms(std::move(rest));
    if (inside.is_known()) return floor_remainder(inside.value, divisor);
    if (use_bounds_) {
      // Either form may have the better bounds.
      for (SymInt form : {inside, a}) {
        Bounds limits = bounds(form);
        if (limits.min >= 0 && limits.max < divisor) return form;
      }
    }
    ExprId by = constant(divisor);
    return intern(Expr{ExprKind::modulo, 0, {inside.expr, by}});
  }
  if (a.is_known() && a.value == 0) return 0;
  if (divide_terms(terms_of(a), terms_of(b))) return 0;
  if (use_bounds_) {
    Bounds x = bounds(a), y = bounds(b);
    if (x.min >= 0 && x.max < y.min) return a;
  }
  ExprId left = a.is_known() ? constant(a.value) : a.expr;
  return intern(Expr{ExprKind::modulo, 0, {left, b.expr}});
}

SymInt SymbolTable::extreme(ExprKind kind, SymInt a, SymInt b) {
  bool smallest = kind == ExprKind::minimum;
  if (a.is_known() && b.is_known())
    return smallest ? std::min(a.value, b.value) : std::max(a.value, b.value);
  std::vector<SymInt> operands;
  auto flatten = [&](SymInt value) {
    if (!value.is_known() && expr(value.expr).kind == kind) {
      for (ExprId id : expr(value.expr).operands)
        operands.push_back(expr(id).kind == ExprKind::constant ? SymInt(expr(id).value)
                                                               : SymInt::symbolic(id));
    } else {
      operands.push_back(value);
    }
  };
  flatten(a);
  flatten(b);
  // Keeps an operand unless another one always beats it.
  std::vector<SymInt> kept;
  for (SymInt candidate : operands) {
    bool beaten = false;
    for (size_t i = 0; i < kept.size() && !beaten;) {
      SymInt difference = subtract(candidate, kept[i]);
      Bounds limits = difference.is_known() || use_bounds_ ? bounds(difference) : kUnbounded;
      bool above = limits.min >= 0, below = limits.max <= 0;
      if (smallest ? above : below)
        beaten = true;
      else if (smallest ? below : above)
        kept.erase(kept.begin() + int(i));
      else
        i++;
    }
    if (!beaten) kept.push_back(candidate);
  }
  if (kept.size() == 1) return kept[0];
  if (kept.size() > kOperandsMax) {
    Bounds x = bounds(a), y = bounds(b);
    if (smallest)
      return bounded({std::min(x.min, y.min), std::min(x.max, y.max)}, std::min(hint(a), hint(b)));
    return bounded({std::max(x.min, y.min), std::max(x.max, y.max)}, std::max(hint(a), hint(b)));
  }
  std::vector<ExprId> ids;
  for (SymInt value : kept) ids.push_back(value.is_known() ? constant(value.value) : value.expr);
  // A constant stands first, as in "Max(1, s0)".
  std::sort(ids.begin(), ids.end(), [&](ExprId p, ExprId q) {
    bool p_known = expr(p).kind == ExprKind::constant, q_known = expr(q).kind == ExprKind::constant;
    return p_known != q_known ? p_known : compare(p, q) < 0;
  });
  return intern(Expr{kind, 0, std::move(ids)});
}

SymInt SymbolTable::minimum(SymInt a, SymInt b) { return extreme(ExprKind::minimum, a, b); }
SymInt SymbolTable::maximum(SymInt a, SymInt b) { return extreme(ExprKind::maximum, a, b); }

SymInt SymbolTable::power(SymInt base, SymInt exponent) {
  if (exponent.is_known() && exponent.value >= 0 && exponent.value <= int64_t(kFactorsMax)) {
    SymInt result = 1;
    for (int64_t i = 0; i < exponent.value; i++) result = multiply(result, base);
    return result;
  }
  if (base.is_known() && (base.value == 0 || base.value == 1) && exponent.is_known())
    return exponent.value == 0 ? 1 : base.value;
  if (base.is_known() && base.value == 1) return 1;
  if (exponent.is_known())
    return bounded(power_bounds(bounds(base), bounds(exponent)),
                   checked_power(hint(base), exponent.value));
  ExprId left = base.is_known() ? constant(base.value) : base.expr;
  return intern(Expr{ExprKind::power, 0, {left, exponent.expr}});
}

Bounds SymbolTable::bounds(SymInt value) const {
  if (value.is_known()) return {value.value, value.value};
  std::unordered_map<ExprId, Bounds> known;
  auto visit = [&](auto&& self, ExprId id) -> Bounds {
    const Expr& e = expr(id);
    if (e.kind == ExprKind::constant) return {e.value, e.value};
    if (e.kind == ExprKind::symbol) return symbols_[size_t(e.value)].bounds;
    if (auto found = known.find(id); found != known.end()) return found->second;
    Bounds result = self(self, e.operands[0]);
    for (size_t i = 1; i < e.operands.size(); i++) {
      Bounds next = self(self, e.operands[i]);
      switch (e.kind) {
        case ExprKind::add: result = add_bounds(result, next); break;
        case ExprKind::multiply: result = multiply_bounds(result, next); break;
        case ExprKind::floor_divide: result = divide_bounds(result, next); break;
        case ExprKind::ceil_divide:
          result = divide_bounds(multiply_bounds(result, {-1, -1}), next);
          result = multiply_bounds(result, {-1, -1});
          break;
        case ExprKind::modulo: result = modulo_bounds(result, next); break;
        case ExprKind::minimum:
          result = {std::min(result.min, next.min), std::min(result.max, next.max)};
          break;
        case ExprKind::maximum:
          result = {std::max(result.min, next.min), std::max(result.max, next.max)};
          break;
        case ExprKind::power: result = power_bounds(result, next); break;
        case ExprKind::symbol:
        case ExprKind::constant: break;
      }
    }
    known.emplace(id, result);
    return result;
  };
  return visit(visit, value.expr);
}

std::optional<int64_t> SymbolTable::evaluate(SymInt value,
                                             const std::vector<int64_t>& values) const {
  if (value.is_known()) return value.value;
  std::unordered_map<ExprId, std::optional<int64_t>> known;
  auto visit = [&](auto&& self, ExprId id) -> std::optional<int64_t> {
    const Expr& e = expr(id);
    if (e.kind == ExprKind::constant) return e.value;
    if (e.kind == ExprKind::symbol) {
      if (size_t(e.value) >= values.size()) return std::nullopt;
      return values[size_t(e.value)];
    }
    if (auto found = known.find(id); found != known.end()) return found->second;
    std::optional<int64_t> result = self(self, e.operands[0]);
    for (size_t i = 1; i < e.operands.size() && result; i++) {
      std::optional<int64_t> next = self(self, e.operands[i]);
      if (!next) {
        result = std::nullopt;
        break;
      }
      int64_t a = *result, b = *next, r = 0;
      switch (e.kind) {
        case ExprKind::add:
          if (!checked_add(a, b, &r))
            result = std::nullopt;
          else
            result = r;
          break;
        case ExprKind::multiply:
          if (!checked_multiply(a, b, &r))
            result = std::nullopt;
          else
            result = r;
          break;
        case ExprKind::floor_divide:
          if (b == 0)
            result = std::nullopt;
          else
            result = floor_quotient(a, b);
          break;
        case ExprKind::ceil_divide:
          if (b == 0)
            result = std::nullopt;
          else
            result = saturate(__int128(floor_quotient(a, b)) + (floor_remainder(a, b) != 0));
          break;
        case ExprKind::modulo:
          if (b == 0)
            result = std::nullopt;
          else
            result = floor_remainder(a, b);
          break;
        case ExprKind::minimum: result = std::min(a, b); break;
        case ExprKind::maximum: result = std::max(a, b); break;
        case ExprKind::power: result = checked_power(a, b); break;
        case ExprKind::symbol:
        case ExprKind::constant: break;
      }
    }
    known.emplace(id, result);
    return result;
  };
  return visit(visit, value.expr);
}

int64_t SymbolTable::hint(SymInt value) const {
  if (value.is_known()) return value.value;
  const Expr& e = expr(value.expr);
  if (e.kind == ExprKind::symbol) return symbols_[size_t(e.value)].hint;
  std::vector<int64_t> values;
  for (const Symbol& symbol : symbols_) values.push_back(symbol.hint);
  return evaluate(value, values).value_or(0);
}

}  // namespace sconce
