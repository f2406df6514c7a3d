// Text of symbolic integers: printed infix, parsed from infix and from sympy's srepr.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>

#include "base/checked.h"
#include "ir/symbol.h"
#include "ir/text.h"

namespace sconce {

namespace {
enum Precedence { kSum = 0, kProduct = 1, kAtom = 2 };
}

std::string SymbolTable::print(SymInt value) const {
  if (value.is_known()) return std::to_string(value.value);
  return print(value.expr, kSum);
}

std::string SymbolTable::print(ExprId id, int precedence) const {
  const Expr& e = expr(id);
  std::string text;
  int own = kAtom;
  switch (e.kind) {
    case ExprKind::constant:
      text = std::to_string(e.value);
      if (e.value < 0) own = kSum;
      break;
    case ExprKind::symbol: text = print_name(symbols_[size_t(e.value)].name); break;
    case ExprKind::add:
      own = kSum;
      for (ExprId operand : e.operands) {
        std::string term = print(operand, kSum);
        // The most negative number cannot lose its sign.
        bool minimal = term.starts_with("-9223372036854775808");
        if (text.empty())
          text = term;
        else if (term[0] == '-' && !minimal)
          text += " - " + term.substr(1);
        else
          text += " + " + term;
      }
      break;
    case ExprKind::multiply: {
      own = kProduct;
      size_t first = 0;
      if (const Expr& front = expr(e.operands[0]); front.kind == ExprKind::constant) {
        if (front.value == -1)
          text = "-";
        else
          text = std::to_string(front.value) + "*";
        if (front.value < 0) own = kSum;
        first = 1;
      }
      for (size_t i = first; i < e.operands.size(); i++) {
        if (i > first) text += "*";
        text += print(e.operands[i], kAtom);
      }
      break;
    }
    case ExprKind::floor_divide:
      own = kProduct;
      text = print(e.operands[0], kAtom) + "//" + print(e.operands[1], kAtom);
      break;
    default: {
      text = e.kind == ExprKind::modulo    ? "Mod"
             : e.kind == ExprKind::minimum ? "Min"
             : e.kind == ExprKind::maximum ? "Max"
             : e.kind == ExprKind::power   ? "Pow"
                                           : "CeilDiv";
      text += "(";
      for (size_t i = 0; i < e.operands.size(); i++)
        text += (i ? ", " : "") + print(e.operands[i], kSum);
      text += ")";
    }
  }
  return own < precedence ? "(" + text + ")" : text;
}

// Infix and call notation alike. A number on the way is an integer, a fraction of an integer by a
// known one, or something real of which only an interval is known.
class SymbolParser {
 public:
  SymbolParser(SymbolTable& table, std::string_view text, size_t position, bool own_form)
      : table_(table), text_(text), position_(position), own_form_(own_form) {}

  Result<SymInt> parse() {
    skip_space();
    size_t start = position_;
    TRY(Number number, sum());
    return integer(number, start);
  }
  size_t position() const { return position_; }
  bool at_end() {
    skip_space();
    return position_ >= text_.size();
  }
  Error wanted(std::string_view what) {
    skip_space();
    std::string found =
        at_end() ? "the end" : fmt::format("\"{}\"", printable(text_.substr(position_, 12)));
    return error(Code::invalid_file, "expected {}, found {}{}", what, found, at(position_));
  }

 private:
  enum class Kind : uint8_t { integer, ratio, real };
  struct Number {
    Kind kind = Kind::integer;
    SymInt over;           // integer, ratio: numerator
    int64_t under = 1;     // ratio: denominator > 0
    bool rounded = false;  // ratio: what torch computes is the nearest double, so only a final
                           // rounding to an integer is exact
    double min = 0, max = 0, hint = 0;  // real
  };
  // Our form stands in a text whose reader knows line and column.
  std::string at(size_t position) {
    return own_form_ ? std::string() : fmt::format(" at character {}", position + 1);
  }
  Result<std::string> quoted() {
    Result<std::string> text = parse_quoted(text_, &position_);
    if (!text.ok()) text.error().text += at(position_);
    return text;
  }
  enum class Rounding : uint8_t { down, up, to_zero, nearest };
  static constexpr int kNestingMax = 128;
  static constexpr size_t kArgumentsMax = 1024;

  static Number whole(SymInt value) { return {Kind::integer, value}; }
  static Number real(double min, double max, double hint) {
    if (std::isnan(min) || std::isnan(max)) min = -INFINITY, max = INFINITY;
    return {Kind::real, {}, 1, false, min, max, hint};
  }
  static Number anything() { return real(-INFINITY, INFINITY, 0); }
  Number ratio(SymInt over, int64_t under, bool rounded = false) {
    if (over.is_known() && over.value != INT64_MIN) {
      int64_t common = std::gcd(over.value, under);
      over = over.value / common;
      under /= common;
    }
    if (under == 1) return whole(over);
    if (!over.is_known()) {
      SymInt quotient = table_.floor_divide(over, under);
      if (table_.multiply(quotient, under) == over) return whole(quotient);
    }
    return {Kind::ratio, over, under, rounded && (under & (under - 1)) != 0};
  }
  static double end(int64_t value) {
    return value == INT64_MAX ? INFINITY : value == INT64_MIN ? -INFINITY : double(value);
  }
  Number as_real(const Number& n) {
    if (n.kind == Kind::real) return n;
    Bounds limits = table_.bounds(n.over);
    return real(end(limits.min) / double(n.under), end(limits.max) / double(n.under),
                double(table_.hint(n.over)) / double(n.under));
  }
  static bool is_exact(const Number& n) { return n.kind != Kind::real && !n.rounded; }

  // --- arithmetic ---

  // Denominators stay below this, so that products with sizes are exact in a double.
  static constexpr int64_t kUnderMax = int64_t(1) << 31;
  static bool multiply_under(int64_t a, int64_t b, int64_t* product) {
    return checked_multiply(a, b, product) && *product <= kUnderMax;
  }

  Number add(const Number& a, const Number& b) {
    if (a.kind == Kind::integer && b.kind == Kind::integer)
      return whole(table_.add(a.over, b.over));
    int64_t under = 0, common = std::gcd(a.under, b.under);
    if (is_exact(a) && is_exact(b) && multiply_under(a.under / common, b.under, &under))
      return ratio(table_.add(table_.multiply(a.over, b.under / common),
                              table_.multiply(b.over, a.under / common)),
                   under);
    Number x = as_real(a), y = as_real(b);
    return real(x.min + y.min, x.max + y.max, x.hint + y.hint);
  }

  Number multiply(const Number& a, const Number& b) {
    if (a.kind == Kind::integer && b.kind == Kind::integer)
      return whole(table_.multiply(a.over, b.over));
    int64_t under = 0;
    if (is_exact(a) && is_exact(b) && multiply_under(a.under, b.under, &under))
      return ratio(table_.multiply(a.over, b.over), under);
    Number x = as_real(a), y = as_real(b);
    return corners(x, y, x.hint * y.hint,
                   [](double p, double q) { return p == 0 || q == 0 ? 0 : p * q; });
  }

  template <class F>
  static Number corners(const Number& x, const Number& y, double hint, F f) {
    double of[] = {f(x.min, y.min), f(x.min, y.max), f(x.max, y.min), f(x.max, y.max)};
    for (double v : of)
      if (std::isnan(v)) return real(-INFINITY, INFINITY, hint);
    return real(*std::min_element(of, of + 4), *std::max_element(of, of + 4), hint);
  }

  // `rounded`: the quotient is torch's, a double.
  Result<Number> divide(const Number& a, const Number& b, size_t start, bool rounded) {
    if (is_exact(b) && b.over.is_known()) {
      if (b.over.value == 0) return zero_division(start);
      if (b.over.value != INT64_MIN && is_exact(a)) {
        int64_t sign = b.over.value < 0 ? -1 : 1, under = 0;
        if (multiply_under(a.under, b.over.value * sign, &under))
          return ratio(table_.multiply(a.over, b.under * sign), under, rounded);
      }
    }
    Number x = as_real(a), y = as_real(b);
    double hint = y.hint == 0 ? 0 : x.hint / y.hint;
    // A divisor is never 0; sizes start at 1 then.
    if (b.kind == Kind::integer && y.min == 0) y.min = 1;
    if (y.min <= 0 && y.max >= 0) return real(-INFINITY, INFINITY, hint);
    return corners(x, y, hint, [](double p, double q) { return p / q; });
  }

  Error zero_division(size_t start) {
    return error(Code::invalid_file, "division by 0{}", at(start));
  }

  Result<Number> floor_divide(const Number& a, const Number& b, size_t start) {
    if (b.kind == Kind::integer && b.over.is_known() && b.over.value == 0)
      return zero_division(start);
    if (a.kind == Kind::integer && b.kind == Kind::integer)
      return whole(table_.floor_divide(a.over, b.over));
    TRY(Number quotient, divide(a, b, start, false));
    return round(quotient, Rounding::down, start);
  }

  Result<Number> modulo(const Number& a, const Number& b, size_t start) {
    TRY(SymInt x, integer(a, start));
    TRY(SymInt y, integer(b, start));
    if (y.is_known() && y.value == 0) return zero_division(start);
    return whole(table_.modulo(x, y));
  }

  Result<Number> power(const Number& base, const Number& exponent, size_t start) {
    if (base.kind == Kind::integer && exponent.kind == Kind::integer) {
      if (!exponent.over.is_known() || exponent.over.value >= 0)
        return whole(table_.power(base.over, exponent.over));
      if (exponent.over.value < -64) return anything();
      return divide(whole(1), whole(table_.power(base.over, -exponent.over.value)), start, false);
    }
    Number x = as_real(base), y = as_real(exponent);
    double hint = std::pow(x.hint, y.hint);
    if (!(x.min >= 0)) return real(-INFINITY, INFINITY, hint);
    return corners(x, y, hint, [](double p, double q) { return std::pow(p, q); });
  }

  Number extreme(const Number& a, const Number& b, bool smallest) {
    if (a.kind == Kind::integer && b.kind == Kind::integer)
      return whole(smallest ? table_.minimum(a.over, b.over) : table_.maximum(a.over, b.over));
    Number x = as_real(a), y = as_real(b);
    if (smallest)
      return real(std::min(x.min, y.min), std::min(x.max, y.max), std::min(x.hint, y.hint));
    return real(std::max(x.min, y.min), std::max(x.max, y.max), std::max(x.hint, y.hint));
  }

  Result<Number> round(const Number& n, Rounding rounding, size_t start) {
    if (n.kind == Kind::integer) return n;
    if (n.kind == Kind::ratio) {
      Bounds limits = table_.bounds(n.over);
      if (rounding == Rounding::to_zero && limits.min >= 0) rounding = Rounding::down;
      if (rounding == Rounding::to_zero && limits.max <= 0) rounding = Rounding::up;
      if (rounding == Rounding::down) return whole(table_.floor_divide(n.over, n.under));
      if (rounding == Rounding::up) return whole(table_.ceil_divide(n.over, n.under));
    }
    Number x = as_real(n);
    x.hint = rounding == Rounding::down      ? std::floor(x.hint)
             : rounding == Rounding::up      ? std::ceil(x.hint)
             : rounding == Rounding::to_zero ? std::trunc(x.hint)
                                             : std::nearbyint(x.hint);
    return whole(opaque(x, start));
  }

  // The symbol that stands for the text since `start`.
  SymInt opaque(const Number& number, size_t start) {
    std::string text(text_.substr(start, position_ - start));
    auto found = table_.opaque_.find(text);
    if (found != table_.opaque_.end()) return found->second;
    auto to_integer = [](double v) {
      return !(v > -9.2e18) ? INT64_MIN : !(v < 9.2e18) ? INT64_MAX : int64_t(v);
    };
    Bounds limits{to_integer(std::floor(number.min)), to_integer(std::ceil(number.max))};
    SymInt symbol = table_.fresh(limits, std::isfinite(number.hint) ? to_integer(number.hint) : 0);
    table_.opaque_.emplace(std::move(text), symbol);
    return symbol;
  }

  // A fraction that stands where an integer is wanted is one: sympy writes s0*(s0 - 1)/2.
  Result<SymInt> integer(const Number& number, size_t start) {
    if (number.kind == Kind::real) return opaque(number, start);
    if (number.kind == Kind::integer) return number.over;
    if (number.over.is_known())
      return error(Code::invalid_file, "{}/{}{} is not an integer", number.over.value, number.under,
                   at(start));
    return table_.floor_divide(number.over, number.under);
  }

  // --- grammar ---

  void skip_space() {
    while (position_ < text_.size() && (text_[position_] == ' ' || text_[position_] == '\t'))
      position_++;
  }
  char peek() {
    skip_space();
    return position_ < text_.size() ? text_[position_] : '\0';
  }
  bool next_is(std::string_view token) {
    skip_space();
    return text_.substr(position_, token.size()) == token;
  }
  bool accept(std::string_view token) {
    if (!next_is(token)) return false;
    position_ += token.size();
    return true;
  }

  Result<Number> sum() {
    if (++nesting_ > kNestingMax)
      return error(Code::invalid_file, "expression nests deeper than {}{}", kNestingMax,
                   at(position_));
    TRY(Number result, product());
    for (;;) {
      if (accept("+")) {
        TRY(Number next, product());
        result = add(result, next);
      } else if (accept("-")) {
        TRY(Number next, product());
        result = add(result, multiply(next, whole(-1)));
      } else {
        break;
      }
    }
    nesting_--;
    return result;
  }

  Result<Number> product() {
    skip_space();
    size_t start = position_;
    TRY(Number result, factor());
    for (;;) {
      if (accept("//")) {
        TRY(Number next, factor());
        TRY(result, floor_divide(result, next, start));
      } else if (accept("*")) {
        TRY(Number next, factor());
        result = multiply(result, next);
      } else if (!own_form_ && accept("/")) {
        TRY(Number next, factor());
        TRY(result, divide(result, next, start, false));
      } else if (!own_form_ && accept("%")) {
        TRY(Number next, factor());
        TRY(result, modulo(result, next, start));
      } else {
        return result;
      }
    }
  }

  Result<Number> factor() {
    bool negative = false;
    while (accept("-")) negative = !negative;
    skip_space();
    size_t start = position_;
    char c = peek();
    if (c >= '0' && c <= '9') {
      TRY(Number value, literal(negative));
      if (!accept("**")) return value;
      TRY(Number exponent, atom());
      if (negative) value = multiply(value, whole(-1));
      TRY(Number result, power(value, exponent, start));
      return negative ? multiply(result, whole(-1)) : result;
    }
    TRY(Number result, atom());
    if (accept("**")) {
      TRY(Number exponent, atom());
      TRY(result, power(result, exponent, start));
    }
    return negative ? multiply(result, whole(-1)) : result;
  }

  Result<Number> literal(bool negative) {
    size_t start = position_;
    uint64_t magnitude = 0;
    bool overflow = false;
    auto digit = [&] {
      return position_ < text_.size() && text_[position_] >= '0' && text_[position_] <= '9';
    };
    for (; digit(); position_++)
      overflow |= !checked_multiply<uint64_t>(magnitude, 10, &magnitude) ||
                  !checked_add<uint64_t>(magnitude, uint64_t(text_[position_] - '0'), &magnitude);
    if (!own_form_ && position_ < text_.size() &&
        (text_[position_] == '.' || text_[position_] == 'e')) {
      if (text_[position_] == '.')
        for (position_++; digit();) position_++;
      if (position_ < text_.size() && text_[position_] == 'e') {
        position_++;
        if (position_ < text_.size() && (text_[position_] == '-' || text_[position_] == '+'))
          position_++;
        while (digit()) position_++;
      }
      TRY(Number value, floating(text_.substr(start, position_ - start), start));
      return negative ? multiply(value, whole(-1)) : value;
    }
    uint64_t limit = uint64_t(INT64_MAX) + (negative ? 1 : 0);
    if (overflow || magnitude > limit)
      return error(Code::too_large, "number{} does not fit in 64 bits", at(start));
    return whole(negative ? int64_t(0 - magnitude) : int64_t(magnitude));
  }

  // Exact as a fraction when it has few bits.
  Result<Number> floating(std::string_view text, size_t start) {
    std::string copy(text);
    char* stop = nullptr;
    double value = std::strtod(copy.c_str(), &stop);
    if (copy.empty() || *stop)
      return error(Code::invalid_file, "\"{}\"{} is not a number", printable(copy), at(start));
    double scaled = value;
    int64_t under = 1;
    while (std::abs(scaled) < 0x1p31 && scaled != std::floor(scaled) && under < (1 << 20)) {
      scaled *= 2;
      under *= 2;
    }
    if (std::abs(scaled) < 0x1p31 && scaled == std::floor(scaled))
      return ratio(int64_t(scaled), under);
    return real(value, value, value);
  }

  Result<Number> atom() {
    size_t start = (skip_space(), position_);
    if (accept("(")) {
      TRY(Number result, sum());
      if (!accept(")")) return wanted("\")\"");
      return result;
    }
    char c = peek();
    if (c == '"' || c == '\'') {
      TRY(std::string name, quoted());
      return named(name, start);
    }
    // Exponents and such may be negative.
    if (c == '-' || (c >= '0' && c <= '9')) {
      if (accept("-")) {
        c = peek();
        if (c < '0' || c > '9') return wanted("a number after \"-\"");
        return literal(true);
      }
      return literal(false);
    }
    size_t length = name_length(text_.substr(position_));
    if (length == 0) return wanted("a number, a symbol or \"(\"");
    std::string name(text_.substr(position_, length));
    position_ += length;
    if (accept("(")) return call(name, start);
    if (!own_form_) {
      if (name == "true" || name == "True") return whole(1);
      if (name == "false" || name == "False") return whole(0);
      if (name == "oo" || name == "int_oo") return real(INFINITY, INFINITY, 0);
      if (name == "pi") return real(M_PI, M_PI, M_PI);
      if (name == "E") return real(M_E, M_E, M_E);
    }
    return named(name, start);
  }

  Result<Number> named(const std::string& name, size_t start) {
    if (own_form_ && !table_.find_symbol(name))
      return error(Code::not_found, "symbol {}{} is not declared", print_name(name), at(start));
    return whole(table_.symbol(name));
  }

  // After "Symbol(": the name, then assumptions.
  Result<Number> symbol(size_t start) {
    char c = peek();
    if (c != '"' && c != '\'') return wanted("the symbol's name in quotes");
    TRY(std::string name, quoted());
    bool nonnegative = false;
    while (accept(",")) {
      skip_space();
      size_t length = name_length(text_.substr(position_));
      std::string key(text_.substr(position_, length));
      position_ += length;
      if (length == 0 || !accept("=")) return wanted("an assumption such as positive=True");
      bool holds = accept("True");
      if (!holds && !accept("False")) return wanted("True or False");
      if (holds && (key == "positive" || key == "nonnegative")) nonnegative = true;
    }
    if (!accept(")")) return wanted("\")\"");
    TRY(Number result, named(name, start));
    // torch says "positive" of sizes that its own ranges let be 0.
    Symbol* found = table_.find_symbol(name);
    if (nonnegative && found->bounds.min == INT64_MIN && found->bounds.max >= 0)
      found->bounds.min = 0;
    return result;
  }

  Result<std::vector<Number>> arguments() {
    std::vector<Number> result;
    if (accept(")")) return result;
    do {
      if (result.size() >= kArgumentsMax)
        return wanted(fmt::format("at most {} arguments", kArgumentsMax));
      TRY(Number next, sum());
      result.push_back(next);
    } while (accept(","));
    if (!accept(")")) return wanted("\",\" or \")\"");
    return result;
  }

  Result<Number> call(const std::string& name, size_t start) {
    auto is = [&](auto... names) { return ((name == names) || ...); };
    if (!own_form_ && is("Symbol")) return symbol(start);
    if (!own_form_ && is("Float", "RealNumber")) {
      if (char c = peek(); c == '"' || c == '\'') {
        TRY(std::string text, quoted());
        if (accept(",") && !(accept("precision") && accept("=") && peek() >= '0' && peek() <= '9' &&
                             literal(false).ok()))
          return wanted("precision=53");
        if (!accept(")")) return wanted("\")\"");
        return floating(text, start);
      }
    }
    TRY(std::vector<Number> a, arguments());
    size_t count = a.size();
    auto counts = [&](size_t wanted_count) -> Result<void> {
      if (count == wanted_count) return {};
      return error(Code::invalid_file, "{}{} has {} arguments, {} are wanted", name, at(start),
                   count, wanted_count);
    };

    if (is("Mod", "PythonMod")) {
      TRY_VOID(counts(2));
      return modulo(a[0], a[1], start);
    }
    if (is("Max", "Min")) {
      if (count == 0) return wanted("an argument of " + name);
      Number result = a[0];
      for (size_t i = 1; i < count; i++) result = extreme(result, a[i], name == "Min");
      return result;
    }
    if (is("Pow", "PowByNatural", "FloatPow")) {
      TRY_VOID(counts(2));
      return power(a[0], a[1], start);
    }
    if (is("CeilDiv")) {
      TRY_VOID(counts(2));
      TRY(Number negative, floor_divide(multiply(a[0], whole(-1)), a[1], start));
      return multiply(negative, whole(-1));
    }
    if (own_form_)
      return error(Code::invalid_file, "\"{}\"{} is none of Mod, Max, Min, Pow, CeilDiv", name,
                   at(start));

    if (is("Integer", "Float", "RealNumber", "ToFloat", "Identity", "TruncToFloat")) {
      TRY_VOID(counts(1));
      if (name == "TruncToFloat") return round(a[0], Rounding::to_zero, start);
      return a[0];
    }
    if (is("Add")) {
      Number result = whole(0);
      for (const Number& n : a) result = add(result, n);
      return result;
    }
    if (is("Mul")) {
      Number result = whole(1);
      for (const Number& n : a) result = multiply(result, n);
      return result;
    }
    if (is("FloorDiv", "CleanDiv")) {
      TRY_VOID(counts(2));
      return floor_divide(a[0], a[1], start);
    }
    if (is("ModularIndexing")) {
      TRY_VOID(counts(3));
      TRY(Number quotient, floor_divide(a[0], a[1], start));
      return modulo(quotient, a[2], start);
    }
    if (is("LShift", "RShift")) {
      TRY_VOID(counts(2));
      TRY(Number two, power(whole(2), a[1], start));
      if (name == "LShift") return multiply(a[0], two);
      return floor_divide(a[0], two, start);
    }
    if (is("Rational", "IntTrueDiv", "FloatTrueDiv")) {
      TRY_VOID(counts(2));
      return divide(a[0], a[1], start, name != "Rational");
    }
    if (is("TruncToInt", "FloorToInt", "CeilToInt", "floor", "ceiling")) {
      TRY_VOID(counts(1));
      return round(a[0],
                   is("TruncToInt")            ? Rounding::to_zero
                   : is("FloorToInt", "floor") ? Rounding::down
                                               : Rounding::up,
                   start);
    }
    if (is("RoundToInt")) {
      TRY_VOID(counts(1));
      return round(a[0], Rounding::nearest, start);
    }
    if (is("RoundDecimal")) {
      TRY_VOID(counts(2));
      Number x = as_real(a[0]);
      return real(x.min - 1e18, x.max + 1e18, x.hint);
    }
    if (is("Abs")) {
      TRY_VOID(counts(1));
      return extreme(a[0], multiply(a[0], whole(-1)), false);
    }
    if (is("sqrt", "OpaqueUnaryFn_sqrt")) {
      TRY_VOID(counts(1));
      Number x = as_real(a[0]);
      return real(std::sqrt(std::max(x.min, 0.0)), std::sqrt(std::max(x.max, 0.0)),
                  std::sqrt(x.hint));
    }
    if (is("StrictGreaterThan", "StrictLessThan", "GreaterThan", "LessThan", "Equality",
           "Unequality", "Gt", "Lt", "Ge", "Le", "Eq", "Ne")) {
      TRY_VOID(counts(2));
      double x = as_real(a[0]).hint, y = as_real(a[1]).hint;
      bool holds = is("StrictGreaterThan", "Gt") ? x > y
                   : is("StrictLessThan", "Lt")  ? x < y
                   : is("GreaterThan", "Ge")     ? x >= y
                   : is("LessThan", "Le")        ? x <= y
                   : is("Equality", "Eq")        ? x == y
                                                 : x != y;
      return real(0, 1, holds);
    }
    if (is("And", "Or", "Xor", "Not")) {
      bool all = true, any = false, odd = false;
      for (const Number& n : a) {
        bool holds = as_real(n).hint != 0;
        all &= holds;
        any |= holds;
        odd ^= holds;
      }
      return real(0, 1, name == "And" ? all : name == "Or" ? any : name == "Xor" ? odd : !any);
    }
    if (is("Where", "ITE")) {
      TRY_VOID(counts(3));
      Number x = as_real(a[1]), y = as_real(a[2]);
      return real(std::min(x.min, y.min), std::max(x.max, y.max),
                  as_real(a[0]).hint ? x.hint : y.hint);
    }
    // A pair keeps its value; that its condition holds at the hints shows in the next field.
    if (is("ExprCondPair")) {
      TRY_VOID(counts(2));
      Number x = as_real(a[0]);
      if (as_real(a[1]).hint == 0) x.hint = NAN;
      return x;
    }
    if (is("Piecewise")) {
      if (count == 0) return wanted("an argument of Piecewise");
      Number result = as_real(a[0]);
      for (size_t i = 1; i < count; i++) {
        Number x = as_real(a[i]);
        result = real(std::min(result.min, x.min), std::max(result.max, x.max),
                      std::isnan(result.hint) ? x.hint : result.hint);
      }
      return result;
    }
    if (is("IsNonOverlappingAndDenseIndicator")) return real(0, 1, 0);
    if (name.starts_with("OpaqueUnaryFn_") ||
        is("log", "exp", "sin", "cos", "tan", "atan", "BitwiseFn_bitwise_and",
           "BitwiseFn_bitwise_or", "BitwiseFn_bitwise_xor"))
      return anything();
    return error(Code::unsupported, "function \"{}\"{} is not known", name, at(start));
  }

  SymbolTable& table_;
  std::string_view text_;
  size_t position_;
  bool own_form_;
  int nesting_ = 0;
};

Result<SymInt> SymbolTable::parse(const std::string& text) {
  SymbolParser parser(*this, text, 0, false);
  auto context = [&](Error e) {
    std::string shown = printable(text.size() <= 80 ? text : text.substr(0, 77) + "...");
    return std::move(e).with_context("expression \"" + shown + "\"");
  };
  Result<SymInt> result = parser.parse();
  if (!result.ok()) return context(std::move(result.error()));
  if (!parser.at_end()) return context(parser.wanted("an operator or the end"));
  return result;
}

Result<SymInt> SymbolTable::parse_at(std::string_view text, size_t* position) {
  SymbolParser parser(*this, text, *position, true);
  use_bounds_ = false;
  Result<SymInt> result = parser.parse();
  use_bounds_ = true;
  *position = parser.position();
  return result;
}

}  // namespace sconce
