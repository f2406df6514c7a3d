// Views into memory that someone else owns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sconce {

template <class T>
using Span = std::span<T>;

// Bytes of a file or a buffer, read only.
using Bytes = Span<const uint8_t>;

}  // namespace sconce
