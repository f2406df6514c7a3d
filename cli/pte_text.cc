#include "pte_text.h"

#include <fmt/ranges.h>

#include "cli.h"
#include "tensor/dtype.h"

namespace sconce::cli {

static std::string scalar_type(int8_t code) {
  return is_dtype(code) ? dtype_name(DType(code)) : fmt::format("type {}", code);
}

std::string tensor_text(const PteTensor& t) {
  std::string text =
      fmt::format("{}[{}{}]", scalar_type(t.scalar_type),
                  t.dynamism == PteDynamism::fixed ? "" : "<= ", fmt::join(t.sizes, ", "));
  bool plain = true;
  for (size_t i = 0; i < t.dim_order.size(); i++) plain &= t.dim_order[i] == i;
  if (!plain) text += fmt::format(" dim order {}", fmt::join(t.dim_order, ""));
  return text;
}

std::string value_text(const PteValue& value) {
  static const char* const kinds[] = {
      "none", "int",    "bool",  "float",   "tensor",          "string",
      "ints", "floats", "bools", "tensors", "optional tensors"};
  if (auto* t = std::get_if<PteTensor>(&value)) return tensor_text(*t);
  if (auto* i = std::get_if<int64_t>(&value)) return fmt::format("int {}", *i);
  if (auto* b = std::get_if<bool>(&value)) return *b ? "true" : "false";
  if (auto* d = std::get_if<double>(&value)) return fmt::format("float {}", *d);
  if (auto* s = std::get_if<std::string>(&value)) return json_string(*s);
  return kinds[value.index()];
}

uint64_t tensor_size(const PteTensor& t) {
  uint64_t bytes = is_dtype(t.scalar_type) ? dtype_bytes(DType(t.scalar_type)) : 1;
  for (int32_t s : t.sizes) bytes *= uint64_t(s);
  return bytes;
}

std::string operator_text(const PteOperator& op) {
  return op.overload.empty() ? op.name : op.name + "." + op.overload;
}

}  // namespace sconce::cli
