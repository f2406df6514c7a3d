#include "ops/promote.h"

namespace sconce {

DType promote_types(DType a, DType b) {
  if (a == b) return a;
  DTypeCategory ca = dtype_category(a), cb = dtype_category(b);
  if (ca != cb) {
    DType high = ca > cb ? a : b, low = ca > cb ? b : a;
    // complex with f64 needs c128; everything else keeps the type of the higher category.
    if (dtype_category(high) == DTypeCategory::complex && low == DType::f64) return DType::c128;
    return high;
  }
  size_t bytes_a = dtype_bytes(a), bytes_b = dtype_bytes(b);
  if (ca == DTypeCategory::floating && bytes_a == bytes_b)
    return DType::f32;  // f16 with bf16
  if (ca == DTypeCategory::integer) {
    bool unsigned_a = a == DType::u8, unsigned_b = b == DType::u8;
    if (unsigned_a != unsigned_b && bytes_a == bytes_b) return DType::i16;  // u8 with i8
  }
  return bytes_a > bytes_b ? a : b;
}

DType number_dtype(const Value& value) {
  if (value.kind == Value::Kind::floating) return DType::f32;
  return value.kind == Value::Kind::boolean ? DType::b8 : DType::i64;
}

void ResultType::include(Group& group, DType dtype) {
  group.dtype = group.present ? promote_types(group.dtype, dtype) : dtype;
  group.present = true;
}

void ResultType::add(const Tensor& tensor) {
  include(tensor.rank == 0 ? scalar_ : dimensioned_, tensor.dtype);
}

void ResultType::add(const Value& value) {
  if (value.is_tensor()) add(*value.tensor);
  else if (value.is_number()) include(number_, number_dtype(value));
}

DType ResultType::get() const {
  auto combine = [](Group higher, Group lower) {
    if (!higher.present) return lower;
    if (!lower.present || dtype_category(higher.dtype) >= dtype_category(lower.dtype)) return higher;
    include(higher, lower.dtype);
    return higher;
  };
  return combine(dimensioned_, combine(scalar_, number_)).dtype;
}

}  // namespace sconce
