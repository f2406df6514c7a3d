// Numbers as files hold them: lowest byte first, at any address.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sconce {

// T is an unsigned integer.
template <class T>
constexpr T load_little(const uint8_t* from) {
  T value = 0;
  for (size_t b = 0; b < sizeof(T); ++b) value = T(value | T(T(from[b]) << (8 * b)));
  return value;
}

template <class T>
constexpr void store_little(uint8_t* to, T value) {
  for (size_t b = 0; b < sizeof(T); ++b) to[b] = uint8_t(value >> (8 * b));
}

// `out` is a vector of bytes.
template <class T, class Vector>
void append_little(Vector* out, T value) {
  for (size_t b = 0; b < sizeof(T); ++b) out->push_back(uint8_t(value >> (8 * b)));
}

}  // namespace sconce
