// Arithmetic on numbers that came from outside: false (and no promise about `out`) on overflow.
#pragma once

#include <cstdint>

namespace sconce {

template <class T>
[[nodiscard]] constexpr bool checked_add(T a, T b, T* out) {
  return !__builtin_add_overflow(a, b, out);
}
template <class T>
[[nodiscard]] constexpr bool checked_multiply(T a, T b, T* out) {
  return !__builtin_mul_overflow(a, b, out);
}

// True when [offset, offset + size) lies inside [0, limit).
[[nodiscard]] constexpr bool range_inside(uint64_t offset, uint64_t size, uint64_t limit) {
  return offset <= limit && size <= limit - offset;
}

// Smallest multiple of `alignment` (a power of two) that is >= `value`; `value` must leave room.
[[nodiscard]] constexpr uint64_t align_up(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}

}  // namespace sconce
