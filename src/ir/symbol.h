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

struct Bounds { int64_t min = INT64_MIN, max = INT64_MAX; };  // inclusive

struct Symbol {
  std::string name;     // "s77", "u0"
  Bounds bounds;        // from the range constraints of the exported program
  int64_t hint = 0;     // value seen at export; 0 when there was none
  int64_t divisor = 1;  // the value is a multiple of this
};

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

// Owns symbols and expressions of one program; graphs refer to them by id.
class SymbolTable {
 public:
  // The symbol of that name, made with unknown bounds when new.
  SymInt symbol(const std::string& name);
  Symbol* find_symbol(const std::string& name);
  std::vector<Symbol>& symbols() { return symbols_; }
  const std::vector<Symbol>& symbols() const { return symbols_; }
  // A new symbol that no expression mentions yet ("u7"), for sizes that only data decides.
  SymInt fresh(Bounds bounds, int64_t hint);

  // Arithmetic, simplified: sums and products are flattened, sorted, like terms collected.
  SymInt add(SymInt a, SymInt b);
  SymInt subtract(SymInt a, SymInt b) { return add(a, multiply(b, -1)); }
  SymInt multiply(SymInt a, SymInt b);
  SymInt floor_divide(SymInt a, SymInt b);  // rounds down; b is not 0
  SymInt modulo(SymInt a, SymInt b);        // sign of b, as in Python
  SymInt minimum(SymInt a, SymInt b);
  SymInt maximum(SymInt a, SymInt b);

  const Expr& expr(ExprId id) const { return exprs_[size_t(id)]; }
  // Bounds by interval arithmetic, saturating at the ends of int64.
  Bounds bounds(SymInt value) const;
  // Value when the symbols have `values` (by symbol index); nullopt on division by zero or overflow.
  std::optional<int64_t> evaluate(SymInt value, const std::vector<int64_t>& values) const;
  int64_t hint(SymInt value) const;

  // Text: "s77", "2*s0 + 1", "s0//2", "Mod(s0, 3)", "Max(1, s0)"; parse reads both this form and
  // sympy's srepr ("Add(Mul(Integer(2), Symbol('s0', ...)), Integer(1))").
  std::string print(SymInt value) const;
  Result<SymInt> parse(const std::string& text);

 private:
  SymInt intern(Expr expr);
  std::vector<Symbol> symbols_;
  std::map<std::string, int32_t> symbol_index_;
  std::vector<Expr> exprs_;
  std::map<Expr, ExprId> expr_index_;
};

}  // namespace sconce
