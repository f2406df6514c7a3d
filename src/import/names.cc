#include "import/names.h"

#include "ops/def.h"

namespace sconce {

std::string operator_name(std::string_view target) {
  if (!target.starts_with("torch.ops.")) return std::string(target);
  target.remove_prefix(10);
  size_t dot = target.find('.');
  if (dot == std::string_view::npos) return std::string(target);
  std::string name =
      std::string(target.substr(0, dot)) + "::" + std::string(target.substr(dot + 1));
  if (name.ends_with(".default")) name.resize(name.size() - 8);
  return name;
}

const char* prim_name(std::string_view target) {
  struct Row {
    std::string_view target;
    const char* prim;
  };
  static constexpr Row kRows[] = {
      {"_operator.add", "executorch_prim::add.Scalar"},
      {"_operator.sub", "executorch_prim::sub.Scalar"},
      {"_operator.mul", "executorch_prim::mul.Scalar"},
      {"_operator.floordiv", "executorch_prim::floordiv.Scalar"},
      {"_operator.truediv", "executorch_prim::truediv.Scalar"},
      {"_operator.mod", "executorch_prim::mod.Scalar"},
      {"_operator.neg", "executorch_prim::neg.Scalar"},
      {"_operator.pow", "sconce_prim::pow.Scalar"},
      {"_operator.eq", "executorch_prim::eq.Scalar"},
      {"_operator.ne", "sconce_prim::ne.Scalar"},
      {"_operator.lt", "executorch_prim::lt.Scalar"},
      {"_operator.le", "executorch_prim::le.Scalar"},
      {"_operator.gt", "executorch_prim::gt.Scalar"},
      {"_operator.ge", "executorch_prim::ge.Scalar"},
      {"_operator.and_", "sconce_prim::and.Scalar"},
      {"_operator.or_", "sconce_prim::or.Scalar"},
      {"_operator.xor", "sconce_prim::xor.Scalar"},
      {"_operator.not_", "executorch_prim::sym_not.Scalar"},
      {"_operator.pos", "sconce_prim::constant"},
      {"_operator.abs", "sconce_prim::abs.Scalar"},
      {"math.ceil", "executorch_prim::ceil.Scalar"},
      {"math.floor", "sconce_prim::floor.Scalar"},
      {"math.trunc", "executorch_prim::trunc.Scalar"},
      {"round", "executorch_prim::round.Scalar"},
      {"torch.sym_int", "executorch_prim::sym_int.Scalar"},
      {"torch.sym_float", "executorch_prim::sym_float.Scalar"},
      {"torch.sym_max", "executorch_prim::sym_max.Scalar"},
      {"torch.sym_min", "executorch_prim::sym_min.Scalar"},
      {"torch.sym_not", "executorch_prim::sym_not.Scalar"},
      {"torch.sym_ite", "executorch_prim::sym_ite.Scalar"},
      {"torch._sym_sqrt", "sconce_prim::sqrt.Scalar"},
      {"torch.ops.aten.sym_size.int", "aten::sym_size.int"},
      {"torch.ops.aten.sym_numel.default", "aten::sym_numel"},
      {"torch.ops.aten.item.default", "aten::_local_scalar_dense"},
      {"torch.ops.aten._local_scalar_dense.default", "aten::_local_scalar_dense"},
  };
  for (const Row& row : kRows)
    if (row.target == target) return row.prim;
  // Serializers differ in how they spell where a function lives.
  size_t dot = target.rfind('.');
  std::string_view last = dot == std::string_view::npos ? target : target.substr(dot + 1);
  if (target.starts_with("torch.ops.")) return nullptr;
  for (const Row& row : kRows)
    if (row.target.substr(row.target.rfind('.') + 1) == last) return row.prim;
  return nullptr;
}

bool is_assertion(std::string_view op) {
  return op.starts_with("aten::_assert_") || op.starts_with("aten::sym_constrain_range") ||
         op == "aten::_functional_assert_async.msg" ||
         op == "aten::_functional_sym_constrain_range" || op == "aten::_print" ||
         op == "aten::_functional_sym_constrain_range_for_size";
}

std::string functional_name(const std::string& op) {
  // Twins whose overloads are named differently.
  static constexpr std::pair<const char*, const char*> kNames[] = {
      {"aten::pow_.Scalar", "aten::pow.Tensor_Scalar"},
      {"aten::pow_.Tensor", "aten::pow.Tensor_Tensor"},
      {"aten::float_power_.Scalar", "aten::float_power.Tensor_Scalar"},
      {"aten::float_power_.Tensor", "aten::float_power.Tensor_Tensor"},
      {"aten::floor_divide_.Tensor", "aten::floor_divide"},
      {"aten::__ilshift__.Scalar", "aten::bitwise_left_shift.Tensor_Scalar"},
      {"aten::__irshift__.Scalar", "aten::bitwise_right_shift.Tensor_Scalar"},
      {"aten::bernoulli_.float", "aten::bernoulli.p"},
      {"aten::normal_", "aten::normal_functional"},
      {"aten::ldexp_", "aten::ldexp.Tensor"},
  };
  for (auto [in_place, functional] : kNames)
    if (op == in_place) return functional;
  size_t colons = op.find("::"), dot = op.find('.', colons == std::string::npos ? 0 : colons);
  if (colons == std::string::npos) return {};
  std::string space = op.substr(0, colons + 2);
  std::string base =
      op.substr(colons + 2, dot == std::string::npos ? std::string::npos : dot - colons - 2);
  std::string overload = dot == std::string::npos ? "" : op.substr(dot);
  if (base.starts_with("__i") && base.ends_with("__")) {
    std::string inner = base.substr(3, base.size() - 5);
    if (inner == "and" || inner == "or" || inner == "xor")
      inner = "bitwise_" + inner;
    else if (inner == "lshift")
      inner = "bitwise_left_shift";
    else if (inner == "rshift")
      inner = "bitwise_right_shift";
    return space + inner + overload;
  }
  if (base.size() < 2 || base.back() != '_' || base.ends_with("__")) return {};
  return space + base.substr(0, base.size() - 1) + overload;
}

HigherOrder higher_order(std::string_view target) {
  constexpr std::string_view kPrefix = "torch.ops.higher_order.";
  if (!target.starts_with(kPrefix)) return HigherOrder::none;
  target.remove_prefix(kPrefix.size());
  for (std::string_view region :
       {"wrap_with_set_grad_enabled", "wrap_with_autocast", "invoke_subgraph",
        "tag_activation_checkpoint", "wrap_activation_checkpoint", "hints_wrapper"})
    if (target == region) return HigherOrder::region;
  for (std::string_view flow : {"cond", "while_loop", "map_impl", "scan"})
    if (target == flow) return HigherOrder::control_flow;
  if (target == "with_effects") return HigherOrder::ordered_effect;
  return HigherOrder::unknown;
}

bool is_known_target(std::string_view target) {
  if (HigherOrder kind = higher_order(target); kind != HigherOrder::none)
    return kind != HigherOrder::unknown;
  if (prim_name(target)) return true;
  std::string name = operator_name(target);
  return is_assertion(name) || find_op(name) || find_op(functional_name(name));
}

}  // namespace sconce
