// DType: element types, stated once. Numbers are those of ATen's ScalarType and of program.fbs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sconce {

// X(name, code, bytes, category). Categories order type promotion: boolean < integer < floating
// < complex. A row here is all that a new element type needs in this folder.
#define SCONCE_DTYPES(X)       \
  X(u8, 0, 1, integer)         \
  X(i8, 1, 1, integer)         \
  X(i16, 2, 2, integer)        \
  X(i32, 3, 4, integer)        \
  X(i64, 4, 8, integer)        \
  X(f16, 5, 2, floating)       \
  X(f32, 6, 4, floating)       \
  X(f64, 7, 8, floating)       \
  X(c64, 9, 8, complex)        \
  X(c128, 10, 16, complex)     \
  X(b8, 11, 1, boolean)        \
  X(bf16, 15, 2, floating)     \
  X(f8e5m2, 23, 1, floating)   \
  X(f8e4m3fn, 24, 1, floating) \
  X(u16, 27, 2, integer)       \
  X(u32, 28, 4, integer)       \
  X(u64, 29, 8, integer)

enum class DType : uint8_t {
#define SCONCE_ROW(name, code, bytes, category) name = code,
  SCONCE_DTYPES(SCONCE_ROW)
#undef SCONCE_ROW
};

enum class DTypeCategory : uint8_t { boolean, integer, floating, complex };

// False for codes that name no type of ours (use before casting a number from a file).
constexpr bool is_dtype(int64_t code) {
  switch (code) {
#define SCONCE_ROW(name, code, bytes, category) case code:
    SCONCE_DTYPES(SCONCE_ROW)
#undef SCONCE_ROW
    return true;
    default: return false;
  }
}

constexpr size_t dtype_bytes(DType dtype) {
  switch (dtype) {
#define SCONCE_ROW(name, code, bytes, category) \
  case DType::name: return bytes;
    SCONCE_DTYPES(SCONCE_ROW)
#undef SCONCE_ROW
  }
  return 0;
}

constexpr DTypeCategory dtype_category(DType dtype) {
  switch (dtype) {
#define SCONCE_ROW(name, code, bytes, category) \
  case DType::name: return DTypeCategory::category;
    SCONCE_DTYPES(SCONCE_ROW)
#undef SCONCE_ROW
  }
  return DTypeCategory::boolean;
}

constexpr bool is_floating(DType dtype) { return dtype_category(dtype) == DTypeCategory::floating; }
constexpr bool is_integral(DType dtype) {  // bool counts, as in c10::isIntegralType(t, true)
  return dtype_category(dtype) <= DTypeCategory::integer;
}

constexpr const char* dtype_name(DType dtype) {
  switch (dtype) {
#define SCONCE_ROW(name, code, bytes, category) \
  case DType::name: return #name;
    SCONCE_DTYPES(SCONCE_ROW)
#undef SCONCE_ROW
  }
  return "?";
}

constexpr std::optional<DType> find_dtype(std::string_view text) {
#define SCONCE_ROW(name, code, bytes, category) \
  if (text == #name) return DType::name;
  SCONCE_DTYPES(SCONCE_ROW)
#undef SCONCE_ROW
  return std::nullopt;
}

}  // namespace sconce
