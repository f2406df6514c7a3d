// Program: a .pte file, verified, ready to have methods loaded from it. Freestanding.
//
// A Program views the file's bytes, which must stay where they are (mapped, in flash, in a buffer)
// for as long as the Program and its methods live. It never changes after load(), so any number of
// threads may share one.
#pragma once

#include "formats/pte/constraints.h"
#include "formats/pte/tables.h"
#include "tensor/value.h"

namespace sconce {

// What a method wants or gives at one position.
struct SlotMeta {
  Value::Kind kind = Value::Kind::none;
  DType dtype = DType::f32;
  uint8_t rank = 0;
  bool dynamic = false;  // sizes are upper bounds
  bool planned = false;  // lives in planned memory: inputs are copied there
  bool constant = false;
  const int32_t* sizes = nullptr;
  const uint8_t* dim_order = nullptr;  // null = contiguous
  uint64_t bytes = 0;                  // at the upper bound
  Value value;                         // numbers and strings: the value seen at export
};

// Facts about one method, without loading it.
class MethodMeta {
 public:
  const char* name() const { return plan_.string(pte::field::plan::name); }
  uint32_t input_count() const { return plan_.vector(pte::field::plan::inputs).count; }
  uint32_t output_count() const { return plan_.vector(pte::field::plan::outputs).count; }
  SlotMeta input(uint32_t i) const { return slot(pte::field::plan::inputs, i); }
  SlotMeta output(uint32_t i) const { return slot(pte::field::plan::outputs, i); }
  // Name of an input as its constraints have it; "" when unknown.
  const char* input_name(uint32_t i) const { return constraints_.input_name(i); }
  // Planned memories; the file numbers them from 1, here from 0.
  uint32_t memory_count() const;
  uint64_t memory_bytes(uint32_t i) const;
  uint32_t operator_count() const { return plan_.vector(pte::field::plan::operators).count; }
  // "aten::add.out"; false when the name does not fit.
  bool operator_name(uint32_t i, char* name, size_t room) const;

  pte::Table plan() const { return plan_; }
  const pte::MethodConstraints& constraints() const { return constraints_; }

 private:
  friend class Program;
  SlotMeta slot(unsigned list, uint32_t i) const;
  pte::Table plan_;
  pte::MethodConstraints constraints_;
};

class Program {
 public:
  // Verifies the whole file. `file` must be aligned to 16.
  static Status load(Bytes file, Program* program, Diagnostic* diagnostic);

  uint32_t method_count() const { return view_.plans().count; }
  const char* method_name(uint32_t i) const {
    return view_.plans().table(i).string(pte::field::plan::name);
  }
  Status find_method(const char* name, MethodMeta* meta, Diagnostic* diagnostic) const;
  bool find_named_data(const char* key, Bytes* data) const {
    return view_.find_named_data(key, data);
  }
  const pte::View& view() const { return view_; }

 private:
  pte::View view_;
  Bytes constraints_;
};

}  // namespace sconce
