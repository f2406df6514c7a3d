#include "runtime/program.h"

#include <cstring>

#include "runtime/delegate.h"

namespace sconce {

using namespace pte;  // NOLINT: tables are this file's vocabulary

Status Program::load(Bytes file, Program* program, Diagnostic* diagnostic) {
  *program = Program();
  SCONCE_TRY_STATUS(verify_pte(file, &program->view_, diagnostic));
  if (program->find_named_data(kConstraintsKey, &program->constraints_))
    SCONCE_TRY_STATUS(verify_constraints(program->constraints_, diagnostic));
  return kOk;
}

Status Program::find_method(const char* name, MethodMeta* meta, Diagnostic* diagnostic) const {
  for (uint32_t i = 0; i < method_count(); i++) {
    if (strcmp(method_name(i), name) != 0) continue;
    *meta = MethodMeta();
    meta->plan_ = view_.plans().table(i);
    if (!find_constraints(constraints_, name, &meta->constraints_)) meta->constraints_ = {};
    return kOk;
  }
  return SCONCE_FAIL(Code::not_found, diagnostic,
                     "no method \"%s\"; the program has %u, the first is \"%s\"", name,
                     method_count(), method_name(0));
}

uint32_t MethodMeta::memory_count() const {
  uint32_t count = plan_.vector(field::plan::memories).count;
  return count ? count - 1 : 0;
}

uint64_t MethodMeta::memory_bytes(uint32_t i) const {
  return plan_.vector(field::plan::memories).u64(i + 1);
}

bool MethodMeta::operator_name(uint32_t i, char* name, size_t room) const {
  Table entry = plan_.vector(field::plan::operators).table(i);
  const char *base = entry.string(field::oper::name),
             *overload = entry.string(field::oper::overload);
  size_t base_bytes = strlen(base), overload_bytes = strlen(overload);
  if (base_bytes >= room || overload_bytes + 2 > room - base_bytes) return false;
  memcpy(name, base, base_bytes + 1);
  if (overload_bytes == 0) return true;
  name[base_bytes] = '.';
  memcpy(name + base_bytes + 1, overload, overload_bytes + 1);
  return true;
}

SlotMeta MethodMeta::slot(unsigned list, uint32_t i) const {
  int32_t index = plan_.vector(list).i32(i);
  Table value = plan_.vector(field::plan::values).table(uint32_t(index));
  Table content = value.table(field::value::value);
  SlotMeta slot;
  switch (kind_of(value)) {
    case ValueKind::integer: slot.value = Value::of(content.i64(field::scalar::value)); break;
    case ValueKind::boolean: slot.value = Value::of(content.u8(field::scalar::value) != 0); break;
    case ValueKind::floating: slot.value = Value::of(content.f64(field::scalar::value)); break;
    case ValueKind::string:
      slot.value.kind = Value::Kind::string;
      slot.value.string = content.string(field::scalar::value);
      slot.value.count = uint32_t(strlen(slot.value.string));
      break;
    case ValueKind::tensor: {
      Vector sizes = content.vector(field::tensor::sizes);
      slot.kind = Value::Kind::tensor;
      slot.dtype = DType(content.i8(field::tensor::dtype));
      slot.rank = uint8_t(sizes.count);
      slot.dynamic = content.i8(field::tensor::dynamism) != 0;
      slot.planned = bool(content.table(field::tensor::placement));
      slot.constant =
          !slot.planned && (content.u32(field::tensor::data_index) || is_external(content));
      slot.sizes = sizes.i32s();
      slot.dim_order = content.vector(field::tensor::dim_order).items;
      (void)tensor_bytes_of(content, &slot.bytes);
      return slot;
    }
    case ValueKind::integers: slot.kind = Value::Kind::integers; return slot;
    case ValueKind::floats: slot.kind = Value::Kind::floats; return slot;
    case ValueKind::booleans: slot.kind = Value::Kind::booleans; return slot;
    case ValueKind::tensors:
    case ValueKind::optional_tensors: slot.kind = Value::Kind::tensors; return slot;
    default: return slot;
  }
  slot.kind = slot.value.kind;
  return slot;
}

bool DelegateSource::find_data(const char* name, Bytes* found) const {
  if (program && program->find_named_data(name, found)) return true;
  if (!find_external) return false;
  *found = find_external(context, name);
  return !found->empty();
}

}  // namespace sconce
