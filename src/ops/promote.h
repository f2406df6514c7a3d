// Type promotion as torch.result_type does it (c10/core/ScalarType, TensorIterator). Freestanding.
#pragma once

#include "ops/kernel.h"

namespace sconce {

// Smallest type that holds both, by torch's table (u8 + i8 = i16, i64 + f16 = f16, f16 + bf16 = f32).
DType promote_types(DType a, DType b);

// State of torch.result_type: tensors with dimensions outrank those without, which outrank numbers,
// unless the lower group has a higher category.
class ResultType {
 public:
  void add(const Value& value);  // tensor or number; none is ignored
  void add(const Tensor& tensor);
  DType get() const;

 private:
  struct Group { bool present = false; DType dtype = DType::b8; };
  static void include(Group& group, DType dtype);
  Group dimensioned_, scalar_, number_;
};

// Type of a number argument: i64, f32 (torch's default) or b8.
DType number_dtype(const Value& value);

// Integers and booleans become f32; floating types stay.
inline DType to_floating(DType dtype) { return is_integral(dtype) ? DType::f32 : dtype; }

}  // namespace sconce
