#include "targets/cpu/executorch/arguments.h"

#include <executorch/runtime/core/exec_aten/util/tensor_util.h>

#include <algorithm>

namespace sconce {

using et::Error;
using et::EValue;

namespace {

Error to_error(Code code) {
  switch (code) {
    case Code::ok: return Error::Ok;
    case Code::invalid_argument: return Error::InvalidArgument;
    case Code::invalid_file: return Error::InvalidProgram;
    case Code::unsupported: return Error::NotSupported;
    case Code::not_found: return Error::NotFound;
    case Code::too_large: return Error::MemoryAllocationFailed;
    case Code::io: return Error::AccessFailed;
    case Code::internal: return Error::Internal;
  }
  return Error::Internal;
}

size_t list_size(const EValue& value) {
  if (value.isIntList()) return value.toIntList().size();
  if (value.isTensorList()) return value.toTensorList().size();
  if (value.isListOptionalTensor()) return value.toListOptionalTensor().size();
  return 0;
}

}  // namespace

Error failure(const char* what, Status status, const Diagnostic& diagnostic) {
  ET_LOG(Error, "SconceBackend: %s: %s", what, diagnostic.text);
  return to_error(status.code);
}

Error resize_as(const executorch::aten::Tensor& to, Tensor& from) {
  if (Error error = et::resize_tensor(to, {from.sizes, from.rank}); error != Error::Ok)
    return error;
  from.data = to.mutable_data_ptr();
  from.capacity_bytes = to.nbytes();
  return Error::Ok;
}

Error Arguments::view_tensor(size_t index, const executorch::aten::Tensor& from, Slot& slot) {
  // The numbers of element types are ExecuTorch's own (tensor/dtype.h).
  slot.tensor = Tensor();
  slot.tensor.dtype = DType(from.scalar_type());
  if (dtype_bytes(slot.tensor.dtype) == 0) {
    ET_LOG(Error, "SconceBackend: argument %zu has elements of type %d, which is not known", index,
           int(from.scalar_type()));
    return Error::NotSupported;
  }
  if (from.dim() > kRankMax) {
    ET_LOG(Error, "SconceBackend: argument %zu has rank %zd; at most %d are supported", index,
           ssize_t(from.dim()), kRankMax);
    return Error::NotSupported;
  }
  slot.tensor.rank = uint8_t(from.dim());
  std::copy(from.sizes().begin(), from.sizes().end(), slot.sizes);
  slot.tensor.sizes = slot.sizes;
  slot.tensor.dim_order = from.dim_order().data();
  slot.tensor.data = from.mutable_data_ptr();
  slot.tensor.capacity_bytes = from.nbytes();
  if (!slot.tensor.data && from.nbytes()) {
    ET_LOG(Error, "SconceBackend: argument %zu has no memory", index);
    return Error::InvalidState;
  }
  slot.value = Value::of(&slot.tensor);
  return Error::Ok;
}

Error Arguments::view(et::Span<EValue*> args) {
  size_t parts = 0;
  for (const EValue* arg : args) parts += list_size(*arg);
  if (slots_.size() < args.size() + parts) slots_.resize(args.size() + parts);
  if (items_.size() < parts) items_.resize(parts);
  values_.resize(args.size());
  Slot* part = slots_.data() + args.size();
  const Value** item = items_.data();
  for (size_t i = 0; i < args.size(); i++) {
    const EValue& from = *args[i];
    Slot& slot = slots_[i];
    Value& value = slot.value;
    values_[i] = &value;
    value = Value();
    // `count` slots follow as the items of this list.
    auto begin_list = [&](Value::Kind kind, size_t count) {
      value.kind = kind;
      value.count = uint32_t(count);
      value.items = item;
    };
    auto next_item = [&]() -> Slot& {
      part->value = Value();
      *item++ = &part->value;
      return *part++;
    };
    if (from.isTensor()) {
      if (Error error = view_tensor(i, from.toTensor(), slot); error != Error::Ok) return error;
    } else if (from.isInt()) {
      value = Value::of(from.toInt());
    } else if (from.isBool()) {
      value = Value::of(from.toBool());
    } else if (from.isDouble()) {
      value = Value::of(from.toDouble());
    } else if (from.isString()) {
      value.kind = Value::Kind::string;
      value.string = from.toString().data();
      value.count = uint32_t(from.toString().size());
    } else if (from.isDoubleList()) {
      value.kind = Value::Kind::floats;
      value.floats = from.toDoubleList().data();
      value.count = uint32_t(from.toDoubleList().size());
    } else if (from.isBoolList()) {
      value.kind = Value::Kind::booleans;
      value.booleans = from.toBoolList().data();
      value.count = uint32_t(from.toBoolList().size());
    } else if (from.isIntList()) {
      auto list = from.toIntList();
      begin_list(Value::Kind::integers, list.size());
      for (int64_t number : list) next_item().value = Value::of(number);
    } else if (from.isTensorList()) {
      auto list = from.toTensorList();
      begin_list(Value::Kind::tensors, list.size());
      for (const auto& tensor : list)
        if (Error error = view_tensor(i, tensor, next_item()); error != Error::Ok) return error;
    } else if (from.isListOptionalTensor()) {
      auto list = from.toListOptionalTensor();
      begin_list(Value::Kind::tensors, list.size());
      for (const auto& tensor : list) {
        Slot& to = next_item();
        if (!tensor) continue;
        if (Error error = view_tensor(i, *tensor, to); error != Error::Ok) return error;
      }
    } else if (!from.isNone()) {
      ET_LOG(Error, "SconceBackend: argument %zu is of a kind (%d) that is not known", i,
             int(from.tag));
      return Error::NotSupported;
    }
  }
  return Error::Ok;
}

}  // namespace sconce
