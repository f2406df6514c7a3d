#include "ops/call_arguments.h"

namespace sconce {

Value* CallArguments::keep(Value value) {
  values_.push_back(value);
  return &values_.back();
}

void CallArguments::push(Value value) { pointers_.push_back(keep(value)); }

Tensor& CallArguments::add_tensor(DType dtype, const std::vector<int64_t>& sizes, void* data,
                                  uint64_t bytes) {
  sizes_.emplace_back(sizes.begin(), sizes.end());
  Tensor tensor;
  tensor.data = data;
  tensor.sizes = sizes_.back().data();
  tensor.capacity_bytes = bytes;
  tensor.dtype = dtype;
  tensor.rank = uint8_t(sizes.size());
  tensors_.push_back(tensor);
  return tensors_.back();
}

void CallArguments::add_out_list(const std::vector<Tensor*>& tensors) {
  lists_.emplace_back();
  for (Tensor* tensor : tensors) lists_.back().push_back(keep(Value::of(tensor)));
  Value list;
  list.kind = Value::Kind::tensors;
  list.count = uint32_t(tensors.size());
  list.items = lists_.back().data();
  push(list);
}

void CallArguments::add(const Argument& argument, const std::string& schema_type,
                        const std::function<Value(ValueId)>& value_of) {
  Value value;
  if (auto* ref = std::get_if<ValueRef>(&argument)) {
    value = value_of(ref->id);
  } else if (auto* integer = std::get_if<int64_t>(&argument)) {
    value = schema_type.starts_with("float") ? Value::of(double(*integer)) : Value::of(*integer);
  } else if (auto* number = std::get_if<double>(&argument)) {
    value = Value::of(*number);
  } else if (auto* boolean = std::get_if<bool>(&argument)) {
    value = Value::of(*boolean);
  } else if (auto* text = std::get_if<std::string>(&argument)) {
    strings_.push_back(*text);
    value.kind = Value::Kind::string;
    value.count = uint32_t(text->size());
    value.string = strings_.back().c_str();
  } else if (auto* items = std::get_if<std::vector<IntItem>>(&argument)) {
    value.count = uint32_t(items->size());
    if (schema_type.starts_with("float")) {  // an empty or integer-valued list of floats
      floats_.emplace_back();
      for (const IntItem& item : *items) floats_.back().push_back(double(item.known));
      value.kind = Value::Kind::floats;
      value.floats = floats_.back().data();
    } else if (schema_type.starts_with("Tensor")) {  // an empty tensor list
      lists_.emplace_back();
      value.kind = Value::Kind::tensors;
      value.items = lists_.back().data();
      CHECK(items->empty());
    } else {
      lists_.emplace_back();
      for (const IntItem& item : *items)
        lists_.back().push_back(
            keep(item.is_known() ? Value::of(item.known) : value_of(item.value)));
      value.kind = Value::Kind::integers;
      value.items = lists_.back().data();
    }
  } else if (auto* floats = std::get_if<std::vector<double>>(&argument)) {
    floats_.push_back(*floats);
    value.kind = Value::Kind::floats;
    value.count = uint32_t(floats->size());
    value.floats = floats_.back().data();
  } else if (auto* booleans = std::get_if<std::vector<bool>>(&argument)) {
    booleans_.push_back(std::make_unique<bool[]>(booleans->size() + 1));
    std::copy(booleans->begin(), booleans->end(), booleans_.back().get());
    value.kind = Value::Kind::booleans;
    value.count = uint32_t(booleans->size());
    value.booleans = booleans_.back().get();
  } else if (auto* refs = std::get_if<std::vector<ValueRef>>(&argument)) {
    lists_.emplace_back();
    for (const ValueRef& item : *refs)
      lists_.back().push_back(keep(item.id == kNoValue ? Value() : value_of(item.id)));
    value.kind = Value::Kind::tensors;
    value.count = uint32_t(refs->size());
    value.items = lists_.back().data();
    if (schema_type.starts_with("SymInt") || schema_type.starts_with("int"))
      value.kind = Value::Kind::integers;
  }
  push(value);
}

Status shapes_of_call(const Op& op, const std::vector<Argument>& arguments,
                      Span<const Value* const> inputs, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const int64_t* code =
      op.dtype_option < 0 ? nullptr
                          : std::get_if<int64_t>(&arguments[size_t(op.dtype_option)]);
  if (!code) return op.kernel->shape({inputs, int(inputs.size())}, outs, diagnostic);
  if (!is_dtype(*code))
    return SCONCE_FAIL(Code::unsupported, diagnostic, "element type code %lld is not known",
                       (long long)*code);
  // A chosen type may change sizes too (arange), so the rule sees it, as it does at run time.
  Tensor typed;
  typed.dtype = DType(*code);
  Value out = Value::of(&typed);
  std::vector<const Value*> values(inputs.begin(), inputs.end());
  values.push_back(&out);
  SCONCE_TRY_STATUS(op.kernel->shape({values, int(inputs.size())}, outs, diagnostic));
  for (OutMeta& meta : outs) meta.dtype = DType(*code);
  return kOk;
}

}  // namespace sconce
