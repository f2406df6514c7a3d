// Value: one argument of an operator at run time, as a tagged union. Freestanding.
//
// The kinds are those of ExecuTorch's EValue. A Value owns nothing: tensors, lists and strings live
// with the interpreter (small runtime: in the method's arena; eval: in its tables).
#pragma once

#include <cstdint>

#include "base/span.h"
#include "tensor/tensor.h"

namespace sconce {

struct Value {
  enum class Kind : uint8_t {
    none,
    integer,
    boolean,
    floating,
    string,
    tensor,
    integers,
    floats,
    booleans,
    tensors,  // list of Value*, each a tensor or none
  };
  Kind kind = Kind::none;
  uint32_t count = 0;  // entries of a list, bytes of a string
  union {
    int64_t integer;
    bool boolean;
    double floating;
    const char* string;
    Tensor* tensor;
    // Integers of a list may change from call to call (symbolic sizes), so each is a Value.
    const Value* const* items;  // integers, tensors
    const double* floats;
    const bool* booleans;
  };

  constexpr Value() : integer(0) {}
  bool is_none() const { return kind == Kind::none; }
  bool is_tensor() const { return kind == Kind::tensor; }
  bool is_number() const {
    return kind == Kind::integer || kind == Kind::floating || kind == Kind::boolean;
  }

  static Value of(int64_t value) {
    Value v;
    v.kind = Kind::integer;
    v.integer = value;
    return v;
  }
  static Value of(double value) {
    Value v;
    v.kind = Kind::floating;
    v.floating = value;
    return v;
  }
  static Value of(bool value) {
    Value v;
    v.kind = Kind::boolean;
    v.boolean = value;
    return v;
  }
  static Value of(Tensor* value) {
    Value v;
    v.kind = Kind::tensor;
    v.tensor = value;
    return v;
  }
};

}  // namespace sconce
