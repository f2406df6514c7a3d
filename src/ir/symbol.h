// Symbolic integers: sizes and numbers that are known only when a model runs.
//
// Expressions are interned: equal expressions have equal ids, so comparing sizes is comparing ids.
// Every symbol has a range; `bounds` follows it through an expression. Source of the vocabulary:
// the sympy expressions that torch.export writes (Symbol, Add, Mul, FloorDiv, Mod, Max, Min, ...).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sconce {

using ExprId = int32_t;

// An integer: known (expr < 0, `value` is it) or symbolic.
struct SymInt {
  int64_t value = 0;
  ExprId expr = -1;

  SymInt() = default;
  SymInt(int64_t known) : value(known) {}
  static SymInt symbolic(ExprId id) { SymInt s; s.expr = id; return s; }
  bool is_known() const { return expr < 0; }
  bool operator==(const SymInt& other) const {
    return expr == other.expr && (expr >= 0 || value == other.value);
  }
};

struct Bounds {  // inclusive; the ends of int64 mean unbounded
  int64_t min = INT64_MIN, max = INT64_MAX;
  bool operator==(const Bounds&) const = default;
};

struct Symbol {
  std::string name;     // "s77", "u0"
  Bounds bounds;        // from the range constraints of the exported program
  int64_t hint = 0;     // value seen at export; 0 when there was none
  int64_t divisor = 1;  // the value is a multiple of this
};

// Sums hold their terms, highest degree first and the constant last; products hold the coefficient
// first (when it is not 1) and then their factors, none of which is a sum or a product. Powers with
// a known exponent are products, and divisions that round up are written with floor_divide.
enum class ExprKind : uint8_t {
  symbol, constant, add, multiply, floor_divide, modulo, minimum, maximum, power, ceil_divide
};

struct Expr {
  ExprKind kind;
  int64_t value = 0;            // constant: the value; symbol: index in symbols()
  std::vector<ExprId> operands;
  bool operator<(const Expr& other) const {
    if (kind != other.kind) return kind < other.kind;
    if (value != other.value) return value < other.value;
    return operands < other.operands;
  }
};

// Owns symbols and expressions of one program; graphs refer to them by id. Set the bounds of symbols
// before making expressions from them: what is simplified by bounds is simplified when it is made.
class SymbolTable {
 public:
  // The symbol of that name, made with unknown bounds when new.
  SymInt symbol(const std::string& name);
  Symbol* find_symbol(const std::string& name);
  std::vector<Symbol>& symbols() { return symbols_; }
  const std::vector<Symbol>& symbols() const { return symbols_; }
  // A new symbol that no expression mentions yet ("n7"), for sizes that only data decides.
  SymInt fresh(Bounds bounds, int64_t hint);

  // Arithmetic, simplified: sums and products are flattened, sorted, like terms collected. Known
  // numbers saturate. What cannot be written down (a coefficient above int64, a division by the
  // known number 0, an expression of absurd size) becomes a fresh symbol with the bounds it has.
  SymInt add(SymInt a, SymInt b);
  SymInt subtract(SymInt a, SymInt b) { return add(a, multiply(b, -1)); }
  SymInt multiply(SymInt a, SymInt b);
  SymInt floor_divide(SymInt a, SymInt b);  // rounds down
  SymInt ceil_divide(SymInt a, SymInt b) {  // rounds up
    return multiply(floor_divide(multiply(a, -1), b), -1);
  }
  SymInt modulo(SymInt a, SymInt b);        // sign of b, as in Python
  SymInt minimum(SymInt a, SymInt b);
  SymInt maximum(SymInt a, SymInt b);
  SymInt power(SymInt base, SymInt exponent);  // exponent >= 0

  const Expr& expr(ExprId id) const { return exprs_[size_t(id)]; }
  size_t expr_count() const { return exprs_.size(); }
  // Bounds by interval arithmetic, saturating at the ends of int64.
  Bounds bounds(SymInt value) const;
  // True when the value is a multiple of `divisor` (> 0) whatever its symbols are.
  bool is_multiple(SymInt value, int64_t divisor) const;
  // Value when the symbols have `values` (by symbol index); nullopt on division by zero or overflow.
  std::optional<int64_t> evaluate(SymInt value, const std::vector<int64_t>& values) const;
  int64_t hint(SymInt value) const;  // 0 when it cannot be evaluated

  // Text: "s77", "2*s0 + 1", "s0//2", "Mod(s0, 3)", "Max(1, s0)"; parse reads both this form and
  // sympy's srepr ("Add(Mul(Integer(2), Symbol('s0', ...)), Integer(1))"). Integers made through
  // fractions are exact where their floats are; others (rounding, roots, conditions) become a symbol
  // with the bounds that follow, the same symbol for the same text.
  std::string print(SymInt value) const;
  Result<SymInt> parse(const std::string& text);
  // Parses our form at `*position`, moves past it. Symbols must exist; bounds simplify nothing, so
  // that text reads back as what was printed.
  Result<SymInt> parse_at(std::string_view text, size_t* position);

 private:
  friend class SymbolParser;
  struct Term;
  using Polynomial = std::vector<Term>;

  SymInt intern(Expr expr);
  ExprId constant(int64_t value);
  SymInt bounded(Bounds bounds, std::optional<int64_t> hint);
  int compare(ExprId a, ExprId b) const;
  bool before(const Term& a, const Term& b) const;
  Polynomial terms_of(SymInt value) const;
  SymInt from_terms(Polynomial terms);
  static Polynomial constant_terms(int64_t value);
  bool normalize(Polynomial& terms) const;
  bool multiply_terms(const Polynomial& a, const Polynomial& b, Polynomial* product) const;
  std::optional<Polynomial> divide_terms(Polynomial a, const Polynomial& b) const;
  SymInt floor_divide_known(SymInt a, int64_t divisor);
  SymInt extreme(ExprKind kind, SymInt a, SymInt b);
  std::string print(ExprId id, int precedence) const;

  std::vector<Symbol> symbols_;
  std::map<std::string, int32_t> symbol_index_;
  std::vector<Expr> exprs_;
  struct Extent { int32_t depth; int64_t size; };
  std::vector<Extent> extents_;  // by ExprId
  std::map<Expr, ExprId> expr_index_;
  std::map<std::string, SymInt> opaque_;  // source text of what became a symbol
  int32_t fresh_count_ = 0;
  bool use_bounds_ = true;
};

}  // namespace sconce
