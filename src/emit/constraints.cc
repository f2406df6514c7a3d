#include "emit/constraints.h"

#include <algorithm>
#include <map>

namespace sconce {
namespace {

// size = scale * symbol + offset; false for any other form.
bool linear_form(const SymbolTable& table, SymInt size, ExprId* symbol, int64_t* scale,
                 int64_t* offset) {
  if (size.is_known()) return false;
  const Expr& expr = table.expr(size.expr);
  *scale = 1;
  *offset = 0;
  if (expr.kind == ExprKind::symbol) {
    *symbol = size.expr;
    return true;
  }
  auto constant = [&](ExprId id) -> std::optional<int64_t> {
    const Expr& e = table.expr(id);
    if (e.kind == ExprKind::constant) return e.value;
    return std::nullopt;
  };
  auto scaled = [&](ExprId id) {
    const Expr& e = table.expr(id);
    if (e.kind == ExprKind::symbol) {
      *symbol = id;
      *scale = 1;
      return true;
    }
    if (e.kind != ExprKind::multiply || e.operands.size() != 2) return false;
    for (int i = 0; i < 2; i++)
      if (auto c = constant(e.operands[size_t(i)]);
          c && table.expr(e.operands[size_t(1 - i)]).kind == ExprKind::symbol) {
        *symbol = e.operands[size_t(1 - i)];
        *scale = *c;
        return true;
      }
    return false;
  };
  if (expr.kind == ExprKind::multiply) return scaled(size.expr);
  if (expr.kind == ExprKind::add && expr.operands.size() == 2) {
    for (int i = 0; i < 2; i++)
      if (auto c = constant(expr.operands[size_t(i)]); c && scaled(expr.operands[size_t(1 - i)])) {
        *offset = *c;
        return true;
      }
  }
  return false;
}

int32_t clamp32(int64_t value) { return int32_t(std::clamp<int64_t>(value, INT32_MIN, INT32_MAX)); }

}  // namespace

std::optional<PteMethodConstraints> input_constraints(const Program& program,
                                                      const Method& method) {
  const SymbolTable& table = program.symbols;
  PteMethodConstraints constraints;
  constraints.method = method.name;
  constraints.input_names = method.input_names;
  struct Seen {
    uint16_t input, dim;
    int64_t scale, offset;
  };
  std::map<ExprId, Seen> seen;
  auto add = [&](size_t input, size_t dim, SymInt size) {
    if (size.is_known()) return;
    PteDimRule rule;
    rule.input = uint16_t(input);
    rule.dim = uint16_t(dim);
    Bounds bounds = table.bounds(size);
    rule.min = clamp32(std::max<int64_t>(bounds.min, dim == kIntegerInput ? INT32_MIN : 0));
    rule.max = clamp32(bounds.max);
    ExprId symbol = -1;
    int64_t scale = 1, offset = 0;
    if (linear_form(table, size, &symbol, &scale, &offset) && scale != 0 &&
        scale == clamp32(scale) && offset == clamp32(offset)) {
      int64_t divisor =
          scale * std::max<int64_t>(1, table.symbols()[size_t(table.expr(symbol).value)].divisor);
      if (divisor > 1) {
        rule.divisor = clamp32(divisor);
        rule.remainder = int32_t(((offset % divisor) + divisor) % divisor);
      }
      auto [found, first] = seen.try_emplace(symbol, Seen{rule.input, rule.dim, scale, offset});
      if (!first) {
        // (size - offset) / scale is the same number at both places.
        const Seen& other = found->second;
        rule.related = true;
        rule.other_input = other.input;
        rule.other_dim = other.dim;
        rule.own_scale = clamp32(other.scale);
        rule.other_scale = clamp32(scale);
        rule.offset = clamp32(other.scale * offset - scale * other.offset);
      }
    }
    constraints.rules.push_back(rule);
  };
  for (size_t i = 0; i < method.graph.inputs.size(); i++) {
    const Type& type = method.graph.type(method.graph.inputs[i]);
    if (type.kind == Type::Kind::integer) add(i, kIntegerInput, type.number);
    if (!type.is_tensor()) continue;
    for (size_t d = 0; d < type.tensor.sizes.size(); d++) add(i, d, type.tensor.sizes[d]);
  }
  if (constraints.rules.empty()) return std::nullopt;
  return constraints;
}

}  // namespace sconce
