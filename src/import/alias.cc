#include "import/alias.h"

#include <algorithm>

#include "ops/traits.h"

namespace sconce {
namespace {

// Views that keep every element: the inverse is a view back to the sizes before.
bool is_reshape(const std::string& op) {
  static const char* const names[] = {
      "aten::view",          "aten::reshape", "aten::_unsafe_view", "aten::flatten.using_ints",
      "aten::unflatten.int", "aten::squeeze", "aten::squeeze.dim",  "aten::squeeze.dims",
      "aten::unsqueeze",     "aten::view_as", "aten::reshape_as",   "aten::_reshape_alias",
      "aten::ravel"};
  return std::find(std::begin(names), std::end(names), op) != std::end(names);
}

bool is_permutation(const std::string& op) {
  return op == "aten::permute" || op == "aten::transpose.int" || op == "aten::t" ||
         op == "aten::movedim.int" || op == "aten::swapaxes" || op == "aten::numpy_T" ||
         op == "aten::mT" || op == "aten::adjoint";
}

bool is_identity(const std::string& op) {
  return op == "aten::alias" || op == "aten::detach" || op == "aten::contiguous" ||
         op == "aten::to.dtype" || op == "aten::to.dtype_layout" || op == "aten::to.device" ||
         op == "aten::lift_fresh" || op == "aten::expand_as" || op == "aten::type_as" ||
         op == "aten::dropout" || op == "aten::positive";
}

// Operators whose views are taken back by a scatter operator with the same arguments.
const char* scatter_of(const std::string& op) {
  if (op == "aten::slice.Tensor") return "aten::slice_scatter";
  if (op == "aten::select.int") return "aten::select_scatter";
  if (op == "aten::diagonal") return "aten::diagonal_scatter";
  if (op == "aten::as_strided") return "aten::as_strided_scatter";
  return nullptr;
}

bool is_split(const std::string& op) {
  return op == "aten::split.Tensor" || op == "aten::split_with_sizes" || op == "aten::chunk" ||
         op == "aten::unbind.int" || op == "aten::split.sizes" ||
         op == "aten::tensor_split.sections";
}

}  // namespace

bool Aliases::is_invertible(const std::string& op) {
  return is_reshape(op) || is_permutation(op) || is_identity(op) || scatter_of(op) ||
         is_split(op) || op == "aten::narrow" || op == "aten::expand" || op == "aten::broadcast_to";
}

SlotId Aliases::add_base(ValueId value) {
  Slot slot;
  slot.value = value;
  slots_.push_back(std::move(slot));
  return SlotId(slots_.size() - 1);
}

SlotId Aliases::add_view(SlotId of, std::string op, std::vector<Argument> arguments, int result,
                         ValueId value) {
  Slot slot;
  slot.of = of;
  slot.op = std::move(op);
  slot.arguments = std::move(arguments);
  slot.result = result;
  slot.value = value;
  slot.seen = slots_[size_t(root(of))].version;
  slots_.push_back(std::move(slot));
  return SlotId(slots_.size() - 1);
}

SlotId Aliases::root(SlotId slot) const {
  while (slots_[size_t(slot)].of >= 0) slot = slots_[size_t(slot)].of;
  return slot;
}

Result<ValueId> Aliases::read(SlotId id) {
  if (slots_[size_t(id)].of < 0) return slots_[size_t(id)].value;
  int64_t version = slots_[size_t(root(id))].version;
  if (slots_[size_t(id)].seen == version) return slots_[size_t(id)].value;
  TRY(ValueId viewed, read(slots_[size_t(id)].of));
  Slot& slot = slots_[size_t(id)];
  std::vector<Argument> arguments = slot.arguments;
  arguments[0] = ValueRef{viewed};
  slot.value = build_->call(slot.op, std::move(arguments)).at(size_t(slot.result));
  slot.seen = version;
  return slot.value;
}

Result<void> Aliases::write(SlotId id, ValueId value) {
  if (slots_[size_t(id)].of < 0) {
    slots_[size_t(id)].value = value;
    slots_[size_t(id)].version++;
    return {};
  }
  SlotId of = slots_[size_t(id)].of;
  TRY(ValueId viewed, read(of));
  TRY(ValueId whole, invert(slots_[size_t(id)], viewed, value));
  TRY_VOID(write(of, whole));
  slots_[size_t(id)].value = value;
  slots_[size_t(id)].seen = slots_[size_t(root(id))].version;
  return {};
}

static std::optional<int64_t> known(const Argument& argument) {
  if (auto* i = std::get_if<int64_t>(&argument)) return *i;
  return std::nullopt;
}

Result<ValueId> Aliases::invert(const Slot& slot, ValueId viewed, ValueId value) {
  TensorType type = build_->tensor(viewed);
  const std::string& op = slot.op;
  const std::vector<Argument>& a = slot.arguments;
  if (build_->tensor(value).dtype != type.dtype)
    return error(Code::unsupported, "a write through {} changes the element type", op);
  if (is_reshape(op)) return build_->view(value, type.sizes);
  if (is_identity(op)) {
    if (build_->tensor(value).sizes != type.sizes)
      return error(Code::unsupported, "a write through {} changes the sizes", op);
    return value;
  }
  if (is_permutation(op)) {
    std::vector<int64_t> to = permutation_of(op, a, int(type.sizes.size()));
    if (to.size() != type.sizes.size()) return error(Code::unsupported, "a write through {}", op);
    std::vector<int64_t> back(to.size());
    for (size_t i = 0; i < to.size(); i++) back[size_t(to[i])] = int64_t(i);
    return build_->permute(value, back);
  }
  if (const char* scatter = scatter_of(op)) {
    std::vector<Argument> arguments{ValueRef{viewed}, ValueRef{value}};
    arguments.insert(arguments.end(), a.begin() + 1, a.end());
    return build_->call1(scatter, std::move(arguments));
  }
  if (op == "aten::expand" || op == "aten::broadcast_to") {
    if (build_->tensor(value).sizes == type.sizes) return value;
    return error(Code::unsupported, "a write to an expanded tensor");
  }
  if (op == "aten::narrow") {
    auto start = known(a[2]), length = known(a[3]);
    if (auto told = std::get_if<ValueRef>(&a[2]); told && length) {
      SymbolTable& symbols = build_->program().symbols;
      IntItem end = build_->int_item(symbols.add(build_->type(told->id).number, *length));
      return build_->call1(
          "aten::slice_scatter",
          {ValueRef{viewed}, ValueRef{value}, a[1], a[2],
           end.is_known() ? Argument(end.known) : ValueRef{end.value}, int64_t{1}});
    }
    if (!start || !length)
      return error(Code::unsupported, "a write through narrow with symbolic bounds");
    int64_t from = *start;
    int64_t dim = known(a[1]).value_or(INT64_MIN);
    if (dim < 0) dim += int64_t(type.sizes.size());
    if (dim < 0 || dim >= int64_t(type.sizes.size()))
      return error(Code::unsupported, "a write through narrow of an unknown dimension");
    const SymInt& size = type.sizes[size_t(dim)];
    if (from < 0) {
      if (!size.is_known())
        return error(Code::unsupported, "a write through narrow with symbolic bounds");
      from += size.value;
    }
    return build_->call1("aten::slice_scatter", {ValueRef{viewed}, ValueRef{value}, a[1], from,
                                                 from + *length, int64_t{1}});
  }
  if (op == "aten::unbind.int")
    return build_->call1("aten::select_scatter",
                         {ValueRef{viewed}, ValueRef{value}, a[1], int64_t(slot.result)});
  if (op == "aten::split.Tensor" || op == "aten::chunk") {
    int64_t dim = known(a[2]).value_or(0);
    if (dim < 0) dim += int64_t(type.sizes.size());
    auto first = known(a[1]);
    if (dim < 0 || dim >= int64_t(type.sizes.size()))
      return error(Code::unsupported, "a write through {} of dimension {}", op, dim);
    const SymInt& size = type.sizes[size_t(dim)];
    if (!first || *first <= 0 || (op == "aten::chunk" && !size.is_known()))
      return error(Code::unsupported, "a write through {} with symbolic sizes", op);
    int64_t each = op == "aten::chunk" ? (size.value + *first - 1) / *first : *first;
    int64_t from = each * slot.result;
    return build_->call1("aten::slice_scatter",
                         {ValueRef{viewed}, ValueRef{value}, dim, from, from + each, int64_t{1}});
  }
  if (op == "aten::split_with_sizes" || op == "aten::split.sizes") {
    const auto& items = std::get<std::vector<IntItem>>(a[1]);
    int64_t dim = known(a[2]).value_or(0), from = 0;
    for (int i = 0; i < slot.result; i++) {
      if (!items[size_t(i)].is_known())
        return error(Code::unsupported, "a write through {} with symbolic sizes", op);
      from += items[size_t(i)].known;
    }
    if (!items[size_t(slot.result)].is_known())
      return error(Code::unsupported, "a write through {} with symbolic sizes", op);
    return build_->call1("aten::slice_scatter",
                         {ValueRef{viewed}, ValueRef{value}, dim, from,
                          from + items[size_t(slot.result)].known, int64_t{1}});
  }
  return error(Code::unsupported, "a write through {} cannot be made functional", op);
}

}  // namespace sconce
