// ElementType: the element types of the safetensors format, among them some of less than a byte and
// some that kernels here do not know (those have no DType).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "tensor/dtype.h"

namespace sconce {

// X(name, text in the file, bits of an element, DType or nullopt). The order is that of the format:
// files hold their tensors by falling order, so that alignment falls too.
#define SCONCE_ELEMENT_TYPES(X)                 \
  X(b8, "BOOL", 8, DType::b8)                   \
  X(f4, "F4", 4, std::nullopt)                  \
  X(f6e2m3, "F6_E2M3", 6, std::nullopt)         \
  X(f6e3m2, "F6_E3M2", 6, std::nullopt)         \
  X(u8, "U8", 8, DType::u8)                     \
  X(i8, "I8", 8, DType::i8)                     \
  X(f8e5m2, "F8_E5M2", 8, DType::f8e5m2)        \
  X(f8e4m3, "F8_E4M3", 8, DType::f8e4m3fn)      \
  X(f8e8m0, "F8_E8M0", 8, std::nullopt)         \
  X(f8e4m3fnuz, "F8_E4M3FNUZ", 8, std::nullopt) \
  X(f8e5m2fnuz, "F8_E5M2FNUZ", 8, std::nullopt) \
  X(i16, "I16", 16, DType::i16)                 \
  X(u16, "U16", 16, DType::u16)                 \
  X(f16, "F16", 16, DType::f16)                 \
  X(bf16, "BF16", 16, DType::bf16)              \
  X(i32, "I32", 32, DType::i32)                 \
  X(u32, "U32", 32, DType::u32)                 \
  X(f32, "F32", 32, DType::f32)                 \
  X(c64, "C64", 64, DType::c64)                 \
  X(f64, "F64", 64, DType::f64)                 \
  X(i64, "I64", 64, DType::i64)                 \
  X(u64, "U64", 64, DType::u64)

enum class ElementType : uint8_t {
#define SCONCE_ROW(name, text, bits, dtype) name,
  SCONCE_ELEMENT_TYPES(SCONCE_ROW)
#undef SCONCE_ROW
};

struct ElementTypeRow {
  std::string_view name;  // as in the file
  uint32_t bits;
  std::optional<DType> dtype;
};
inline constexpr ElementTypeRow kElementTypes[] = {
#define SCONCE_ROW(name, text, bits, dtype) {text, bits, dtype},
    SCONCE_ELEMENT_TYPES(SCONCE_ROW)
#undef SCONCE_ROW
};

constexpr std::string_view element_name(ElementType type) { return kElementTypes[int(type)].name; }
constexpr uint32_t element_bits(ElementType type) { return kElementTypes[int(type)].bits; }
constexpr std::optional<DType> to_dtype(ElementType type) { return kElementTypes[int(type)].dtype; }

constexpr std::optional<ElementType> find_element_type(std::string_view name) {
  for (size_t i = 0; i < std::size(kElementTypes); i++)
    if (kElementTypes[i].name == name) return ElementType(i);
  return std::nullopt;
}
constexpr std::optional<ElementType> to_element_type(DType dtype) {
  for (size_t i = 0; i < std::size(kElementTypes); i++)
    if (kElementTypes[i].dtype == dtype) return ElementType(i);
  return std::nullopt;
}

}  // namespace sconce
