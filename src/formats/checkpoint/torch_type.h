// Element types of PyTorch checkpoints: their names in pickles and in safetensors files, stated
// once.
#pragma once

#include <cstdint>
#include <string_view>

namespace sconce {

struct TorchType {
  std::string_view name;         // as in torch.NAME
  std::string_view storage;      // legacy storage class; empty: kept in an UntypedStorage
  uint32_t bytes;                // of one element of the tensor
  uint32_t component_bytes;      // of what is stored in the machine's byte order
  std::string_view safetensors;  // dtype in a safetensors file; empty: it has none
};

inline constexpr TorchType kTorchTypes[] = {
    {"float64", "DoubleStorage", 8, 8, "F64"},
    {"float32", "FloatStorage", 4, 4, "F32"},
    {"float16", "HalfStorage", 2, 2, "F16"},
    {"bfloat16", "BFloat16Storage", 2, 2, "BF16"},
    {"int64", "LongStorage", 8, 8, "I64"},
    {"int32", "IntStorage", 4, 4, "I32"},
    {"int16", "ShortStorage", 2, 2, "I16"},
    {"int8", "CharStorage", 1, 1, "I8"},
    {"uint8", "ByteStorage", 1, 1, "U8"},
    {"bool", "BoolStorage", 1, 1, "BOOL"},
    {"complex64", "ComplexFloatStorage", 8, 4, "C64"},
    {"complex128", "ComplexDoubleStorage", 16, 8, ""},
    {"complex32", "", 4, 2, ""},
    {"uint16", "", 2, 2, "U16"},
    {"uint32", "", 4, 4, "U32"},
    {"uint64", "", 8, 8, "U64"},
    {"float8_e5m2", "", 1, 1, "F8_E5M2"},
    {"float8_e4m3fn", "", 1, 1, "F8_E4M3"},
    {"float8_e5m2fnuz", "", 1, 1, "F8_E5M2FNUZ"},
    {"float8_e4m3fnuz", "", 1, 1, "F8_E4M3FNUZ"},
    {"float8_e8m0fnu", "", 1, 1, "F8_E8M0"},
    {"float4_e2m1fn_x2", "", 1, 1, "F4"},  // two values a byte: the last size doubles
    {"qint8", "QInt8Storage", 1, 1, ""},
    {"quint8", "QUInt8Storage", 1, 1, ""},
    {"qint32", "QInt32Storage", 4, 4, ""},
    {"quint4x2", "QUInt4x2Storage", 1, 1, ""},
    {"quint2x4", "QUInt2x4Storage", 1, 1, ""},
    {"bits8", "", 1, 1, ""},
    {"bits16", "", 2, 2, ""},
    {"bits1x8", "", 1, 1, ""},
    {"bits2x4", "", 1, 1, ""},
    {"bits4x2", "", 1, 1, ""},
};

// Null when there is none of that name.
constexpr const TorchType* find_torch_type(std::string_view name) {
  for (const TorchType& type : kTorchTypes)
    if (type.name == name) return &type;
  return nullptr;
}
constexpr const TorchType* find_storage_type(std::string_view storage) {
  if (storage.empty()) return nullptr;
  for (const TorchType& type : kTorchTypes)
    if (type.storage == storage) return &type;
  return nullptr;
}

}  // namespace sconce
