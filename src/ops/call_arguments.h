// Values for calling a kernel from IR arguments: owns what Value only points to. Host only.
#pragma once

#include <deque>
#include <functional>
#include <vector>

#include "ops/def.h"

namespace sconce {

// Builds the run-time arguments of one call. `tensor_of` and `integer_of` say what the graph's
// values are now. The pointers stay valid as long as this object.
class CallArguments {
 public:
  // Adds an argument. `tensor_of(id)` gives a tensor value or a number value for ValueRefs.
  void add(const Argument& argument, const std::string& schema_type,
           const std::function<Value(ValueId)>& value_of);
  // Adds a tensor that the call writes. `sizes` and `dim_order` are kept here.
  Tensor& add_tensor(DType dtype, const std::vector<int64_t>& sizes, void* data, uint64_t bytes);
  void add_out(Tensor* tensor) { push(Value::of(tensor)); }
  void add_out_list(const std::vector<Tensor*>& tensors);
  Span<const Value* const> values() const { return pointers_; }

 private:
  void push(Value value);
  Value* keep(Value value);
  std::vector<const Value*> pointers_;
  std::deque<Value> values_;
  std::deque<std::vector<const Value*>> lists_;
  std::deque<std::vector<double>> floats_;
  std::deque<std::unique_ptr<bool[]>> booleans_;
  std::deque<std::string> strings_;
  std::deque<Tensor> tensors_;
  std::deque<std::vector<int32_t>> sizes_;
};

// One OutMeta per result, by the kernel's shape rule and the type that the call chose for its
// result, if it did. `inputs` are the values of op.kernel_arguments.
Status shapes_of_call(const Op& op, const std::vector<Argument>& arguments,
                      Span<const Value* const> inputs, Span<OutMeta> outs, Diagnostic* diagnostic);

}  // namespace sconce
