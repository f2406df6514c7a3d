#include "ir/symbol.h"

#include <random>

#include <gtest/gtest.h>

namespace sconce {
namespace {

struct SymbolTest : testing::Test {
  SymbolTable table;
  SymInt make(const std::string& name, int64_t min, int64_t max, int64_t hint = 0) {
    SymInt s = table.symbol(name);
    table.find_symbol(name)->bounds = {min, max};
    table.find_symbol(name)->hint = hint;
    return s;
  }
  std::string text(SymInt value) { return table.print(value); }
  std::string read(const std::string& from) {
    Result<SymInt> value = table.parse(from);
    return value.ok() ? table.print(*value) : value.error().text;
  }
};

TEST_F(SymbolTest, equal_expressions_have_equal_ids) {
  SymInt s = make("s0", 1, 100), t = make("s1", 1, 100);
  EXPECT_EQ(table.add(table.multiply(2, s), s), table.multiply(3, s));
  EXPECT_EQ(table.multiply(s, t), table.multiply(t, s));
  EXPECT_EQ(table.subtract(table.add(s, t), t), s);
  EXPECT_EQ(table.subtract(s, s), SymInt(0));
  EXPECT_EQ(table.multiply(table.add(s, 1), table.subtract(s, 1)),
            table.subtract(table.multiply(s, s), 1));
}

TEST_F(SymbolTest, divisions_that_come_out_even_vanish) {
  SymInt s = make("s0", 1, 100), t = make("s1", 1, 100);
  EXPECT_EQ(table.floor_divide(table.multiply(4, s), 2), table.multiply(2, s));
  EXPECT_EQ(table.floor_divide(table.multiply(s, t), t), s);
  EXPECT_EQ(table.floor_divide(table.multiply(table.add(s, 1), table.add(t, 2)), table.add(t, 2)),
            table.add(s, 1));
  EXPECT_EQ(table.modulo(table.multiply(s, t), s), SymInt(0));
  EXPECT_EQ(text(table.floor_divide(table.multiply(table.multiply(6, s), t), table.multiply(4, t))),
            "(3*s0)//2");
}

TEST_F(SymbolTest, convolution_and_slice_sizes_agree) {
  SymInt s = make("s0", 8, 4096);
  // (s - 1)//2 + 1 and (s + 1)//2 and ceil(s/2) are one size.
  SymInt half = table.floor_divide(table.add(s, 1), 2);
  EXPECT_EQ(table.add(table.floor_divide(table.subtract(s, 1), 2), 1), half);
  EXPECT_EQ(table.ceil_divide(s, 2), half);
  EXPECT_EQ(table.bounds(half), (Bounds{4, 2048}));
  EXPECT_EQ(table.floor_divide(table.floor_divide(s, 2), 2), table.floor_divide(s, 4));
}

TEST_F(SymbolTest, bounds_decide_extremes_quotients_and_remainders) {
  SymInt s = make("s0", 2, 7), t = make("s1", 8, 9);
  EXPECT_EQ(table.maximum(1, s), s);
  EXPECT_EQ(table.minimum(s, t), s);
  EXPECT_EQ(table.maximum(s, table.add(s, 1)), table.add(s, 1));
  EXPECT_EQ(table.floor_divide(s, 8), SymInt(0));
  EXPECT_EQ(table.modulo(s, 8), s);
  EXPECT_EQ(table.floor_divide(s, t), SymInt(0));
  EXPECT_EQ(text(table.maximum(table.maximum(t, 4), table.multiply(s, 2))), "Max(s1, 2*s0)");
}

TEST_F(SymbolTest, bounds_saturate) {
  SymInt s = make("s0", 0, INT64_MAX), t = make("s1", -3, 5);
  EXPECT_EQ(table.bounds(table.multiply(s, 2)), (Bounds{0, INT64_MAX}));
  EXPECT_EQ(table.bounds(table.multiply(s, t)), (Bounds{INT64_MIN, INT64_MAX}));
  EXPECT_EQ(table.bounds(table.floor_divide(s, 3)), (Bounds{0, INT64_MAX}));
  EXPECT_EQ(table.bounds(table.modulo(t, 4)), (Bounds{0, 3}));
  EXPECT_EQ(table.add(INT64_MAX, 1), SymInt(INT64_MAX));
}

TEST_F(SymbolTest, coefficients_beyond_int64_become_symbols) {
  SymInt s = make("s0", 1, 4);
  SymInt big = table.multiply(s, int64_t(1) << 62);
  SymInt bigger = table.multiply(big, 4);
  EXPECT_EQ(text(bigger), "n0");
  EXPECT_EQ(table.bounds(bigger).max, INT64_MAX);
}

TEST_F(SymbolTest, deep_nesting_stays_small) {
  SymInt s = make("s0", 1, 1000), t = make("s1", 1, 1000);
  SymInt x = s;
  for (int i = 0; i < 1000; i++)
    x = table.modulo(table.multiply(table.add(x, t), table.add(x, 1)), 1000 + i);
  EXPECT_LT(table.print(x).size(), 50000u);
}

TEST_F(SymbolTest, evaluates_and_reports_what_cannot_be) {
  SymInt s = make("s0", 0, 100, 7), t = make("s1", 0, 100, 2);
  SymInt x = table.add(table.floor_divide(table.add(s, 3), t), table.modulo(s, 4));
  EXPECT_EQ(table.evaluate(x, {10, 5}), 4);
  EXPECT_EQ(table.evaluate(x, {10, 0}), std::nullopt);
  EXPECT_EQ(table.evaluate(x, {10}), std::nullopt);
  EXPECT_EQ(table.hint(x), 8);
}

TEST_F(SymbolTest, parses_what_torch_export_writes) {
  make("s77", 2, 1000, 20);
  make("s17", 2, 1000, 9);
  const std::string s = "Symbol('s77', positive=True, integer=True)";
  const std::string t = "Symbol('s17', positive=True, integer=True)";
  EXPECT_EQ(read(s), "s77");
  EXPECT_EQ(read("Add(" + s + ", Integer(-1))"), "s77 - 1");
  EXPECT_EQ(read("Mul(Integer(512), " + s + ")"), "512*s77");
  EXPECT_EQ(read("Pow(" + s + ", Integer(2))"), "s77*s77");
  EXPECT_EQ(read("PowByNatural(Integer(2), " + s + ")"), "Pow(2, s77)");
  EXPECT_EQ(read("FloorDiv(Add(" + s + ", Integer(12)), Add(" + t + ", Integer(1)))"),
            "(s77 + 12)//(s17 + 1)");
  EXPECT_EQ(read("PythonMod(" + s + ", Integer(3))"), "Mod(s77, 3)");
  EXPECT_EQ(read("Max(" + s + ", " + t + ")"), "Max(s77, s17)");
  EXPECT_EQ(read("CeilToInt(IntTrueDiv(" + s + ", Integer(3)))"), "(s77 + 2)//3");
  EXPECT_EQ(read("TruncToInt(Mul(Float('1.5', precision=53), ToFloat(" + s + ")))"), "(3*s77)//2");
  EXPECT_EQ(read("floor(Mul(Rational(1, 2), " + s + "))"), "s77//2");
  EXPECT_EQ(read("Mul(Rational(1, 2), Add(Pow(" + s + ", Integer(2)), " + s + "))"),
            "(s77*s77 + s77)//2");
  EXPECT_EQ(read("ModularIndexing(" + s + ", Integer(2), Integer(8))"), "Mod(s77//2, 8)");
  EXPECT_EQ(read("RShift(" + s + ", Integer(2))"), "s77//4");
  EXPECT_EQ(read("512*s77 - s17**2 + 1"), "-s17*s17 + 512*s77 + 1");
}

TEST_F(SymbolTest, what_has_no_integer_form_becomes_one_bounded_symbol) {
  make("s77", 2, 1000, 20);
  const std::string s = "Symbol('s77', positive=True, integer=True)";
  std::string rounded = "RoundToInt(Mul(Float('0.75', precision=53), ToFloat(" + s + ")))";
  EXPECT_EQ(read(rounded), "n0");
  EXPECT_EQ(table.find_symbol("n0")->bounds, (Bounds{1, 750}));
  EXPECT_EQ(table.find_symbol("n0")->hint, 15);
  EXPECT_EQ(read("Add(" + rounded + ", Integer(1))"), "n0 + 1");
  EXPECT_EQ(read("Piecewise(ExprCondPair(Integer(4), StrictGreaterThan(" + s +
                 ", Integer(10))), ExprCondPair(" + s + ", true))"),
            "n1");
  EXPECT_EQ(table.find_symbol("n1")->bounds, (Bounds{2, 1000}));
  EXPECT_EQ(table.find_symbol("n1")->hint, 4);
}

TEST_F(SymbolTest, parse_errors_say_where_and_what) {
  EXPECT_EQ(read("Add(s0, "),
            "expression \"Add(s0, \": expected a number, a symbol or \"(\", found "
            "the end at character 9");
  EXPECT_EQ(read("s0 s1"),
            "expression \"s0 s1\": expected an operator or the end, found \"s1\" at character 4");
  EXPECT_EQ(read("FloorDiv(s0, 0)"),
            "expression \"FloorDiv(s0, 0)\": division by 0 at character 1");
  EXPECT_EQ(read("Bessel(s0)"),
            "expression \"Bessel(s0)\": function \"Bessel\" at character 1 is not known");
  EXPECT_EQ(read("99999999999999999999"),
            "expression \"99999999999999999999\": number at character 1 does not fit in 64 bits");
  EXPECT_NE(read(std::string(100000, '(')).find("nests deeper than 128"), std::string::npos);
  EXPECT_NE(read(std::string(100000, '-') + "1").find("1"), std::string::npos);
}

// Random expressions: simplified forms evaluate as the plain arithmetic does, lie within their
// bounds, and read back from their text as the same id.
TEST_F(SymbolTest, simplification_keeps_values_and_text_reads_back) {
  std::mt19937_64 random(7);
  auto pick = [&](int64_t low, int64_t high) {
    return int64_t(random() % uint64_t(high - low + 1)) + low;
  };
  for (int round = 0; round < 3000; round++) {
    SymbolTable t;
    std::vector<SymInt> exprs;
    std::vector<std::optional<int64_t>> values;
    std::vector<int64_t> at;
    for (int i = 0; i < 3; i++) {
      exprs.push_back(t.symbol("s" + std::to_string(i)));
      int64_t min = pick(-3, 4), max = min + pick(1, 20);
      t.symbols().back().bounds = {min, max};
      at.push_back(pick(min, max));
      values.push_back(at.back());
    }
    for (int i = 0; i < 3; i++) {
      exprs.push_back(pick(-7, 7));
      values.push_back(exprs.back().value);
    }
    for (int step = 0; step < 12; step++) {
      size_t i = size_t(pick(0, int64_t(exprs.size()) - 1)),
             j = size_t(pick(0, int64_t(exprs.size()) - 1));
      SymInt a = exprs[i], b = exprs[j], result;
      std::optional<int64_t> value;
      int operation = int(pick(0, 6));
      if (!values[i] || !values[j]) continue;
      int64_t x = *values[i], y = *values[j];
      auto floored = [](int64_t p, int64_t q) {
        return p / q - (p % q != 0 && (p < 0) != (q < 0));
      };
      switch (operation) {
        case 0:
          result = t.add(a, b);
          value = x + y;
          break;
        case 1:
          result = t.subtract(a, b);
          value = x - y;
          break;
        case 2:
          result = t.multiply(a, b);
          value = x * y;
          break;
        case 3:
        case 4: {
          Bounds limits = t.bounds(b);
          if (y == 0 || (limits.min <= 0 && limits.max >= 0)) continue;
          result = operation == 3 ? t.floor_divide(a, b) : t.modulo(a, b);
          value = operation == 3 ? floored(x, y) : x - y * floored(x, y);
          break;
        }
        case 5:
          result = t.minimum(a, b);
          value = std::min(x, y);
          break;
        default:
          result = t.maximum(a, b);
          value = std::max(x, y);
          break;
      }
      if (std::abs(*value) > 1000000) continue;
      at.resize(t.symbols().size());
      ASSERT_EQ(t.symbols().size(), 3u);
      ASSERT_EQ(t.evaluate(result, at), value)
          << t.print(a) << " op" << operation << " " << t.print(b);
      Bounds limits = t.bounds(result);
      ASSERT_LE(limits.min, *value) << t.print(result);
      ASSERT_GE(limits.max, *value) << t.print(result);
      std::string printed = t.print(result);
      size_t position = 0;
      auto again = t.parse_at(printed, &position);
      ASSERT_TRUE(again.ok()) << printed << ": " << again.error().text;
      ASSERT_EQ(position, printed.size()) << printed;
      ASSERT_EQ(t.print(*again), printed);
      exprs.push_back(result);
      values.push_back(value);
    }
  }
}

}  // namespace
}  // namespace sconce
