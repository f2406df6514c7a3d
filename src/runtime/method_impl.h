// What the two halves of Method (method.cc loads, execute.cc runs) share. Private to this folder.
#pragma once

#include <cstring>

#include "ops/prim/prim.h"
#include "runtime/method.h"

namespace sconce {

struct Method::Operator {
  enum class Kind : uint8_t { kernel, prim, view, copy_into_row };
  Kind kind = Kind::kernel;
  uint16_t input_count = 0, arg_count = 0;
  union {
    const Kernel* kernel = nullptr;
    const Prim* prim;
  };
};

struct Method::LoadedDelegate {
  const DelegateType* type;
  void* state;
  bool loaded;
};

struct Method::Input {
  uint32_t value;
  bool set;
  Tensor* tensor;  // null for other kinds
};

// What the arena holds. The same numbers size it and cut it.
struct Method::Counts {
  uint64_t values = 0, tensors = 0, sizes = 0, items = 0, args = 0, inputs = 0, operators = 0;
  uint64_t delegates = 0, delegate_bytes = 0;

  uint64_t bytes() const {
    auto part = [](uint64_t count, size_t size) { return align_up(count * size, 16); };
    return part(values, sizeof(Value)) + part(tensors, sizeof(Tensor)) + part(tensors, 1) +
           part(sizes, 4) + part(items, sizeof(void*)) + part(args, sizeof(void*)) +
           part(inputs, sizeof(Input)) + part(operators, sizeof(Operator)) +
           part(delegates, sizeof(LoadedDelegate)) + delegate_bytes;
  }
};

// In `count` of a number: it is an entry of an integer list, so it stays an integer.
inline constexpr uint32_t kListed = 1;

inline bool is_dynamic(pte::Table tensor) { return tensor.i8(pte::field::tensor::dynamism) != 0; }
inline bool is_unbounded(pte::Table tensor) { return tensor.i8(pte::field::tensor::dynamism) == 2; }
inline pte::Table content_of(pte::Table value) { return value.table(pte::field::value::value); }

inline const char* kind_name(Value::Kind kind) {
  constexpr const char* kNames[] = {"none",   "int",  "bool",   "float", "string",
                                    "tensor", "ints", "floats", "bools", "tensors"};
  return kNames[unsigned(kind)];
}

inline bool has_data(const Tensor& tensor) { return tensor.data || element_count(tensor) == 0; }

// Orders agree where it matters: dimensions of one element may stand anywhere.
inline bool same_memory_order(const Tensor& a, const Tensor& b) {
  Strides x = strides_of(a), y = strides_of(b);
  for (int i = 0; i < a.rank; i++)
    if (a.sizes[i] > 1 && x[i] != y[i]) return false;
  return true;
}

inline Status store_number(Value& to, const Value& from, Diagnostic* diagnostic) {
  if (!from.is_number() || !to.is_number())
    return SCONCE_FAIL(Code::invalid_file, diagnostic, "a result is no number");
  uint32_t listed = to.count;
  Value made = from;
  if (listed == kListed && from.kind == Value::Kind::boolean)
    made = Value::of(int64_t(from.boolean));
  if (listed == kListed && from.kind == Value::Kind::floating) {
    if (!(from.floating > -9e18 && from.floating < 9e18))
      return SCONCE_FAIL(Code::too_large, diagnostic, "a size does not fit an integer");
    made = Value::of(int64_t(from.floating));
  }
  to = made;
  to.count = listed;
  return kOk;
}

}  // namespace sconce
