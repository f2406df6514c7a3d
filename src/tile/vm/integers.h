// Integers of any type by runs of elements, computed with as i64.
#pragma once

#include <algorithm>

#include "tile/vm/worker.h"

namespace sconce::tile {

template <class T>
void read_run(const uint8_t* data, int64_t offset, int64_t step, int64_t n, int64_t* to) {
  const T* from = reinterpret_cast<const T*>(data) + offset;
  for (int64_t k = 0; k < n; k++) to[k] = from[k * step];
}
template <class T>
void write_run(uint8_t* data, int64_t offset, int64_t step, int64_t n, const int64_t* from) {
  T* to = reinterpret_cast<T*>(data) + offset;
  for (int64_t k = 0; k < n; k++) to[k * step] = T(from[k]);
}

// As Worker::read_integer() and write_integer() do.
inline void read_integers(const Ref& r, DType dtype, int64_t offset, int64_t step, int64_t n,
                          int64_t* to) {
  switch (dtype) {
    case DType::i64: return read_run<int64_t>(r.data, offset, step, n, to);
    case DType::i32: return read_run<int32_t>(r.data, offset, step, n, to);
    case DType::i8: return read_run<int8_t>(r.data, offset, step, n, to);
    default:
      read_run<uint8_t>(r.data, offset, step, n, to);
      for (int64_t k = 0; k < n; k++) to[k] = to[k] != 0;
  }
}
inline void write_integers(const Ref& r, DType dtype, int64_t offset, int64_t step, int64_t n,
                           int64_t* from) {
  switch (dtype) {
    case DType::i64: return write_run<int64_t>(r.data, offset, step, n, from);
    case DType::i32: return write_run<int32_t>(r.data, offset, step, n, from);
    case DType::i8:
      for (int64_t k = 0; k < n; k++) from[k] = std::clamp<int64_t>(from[k], -128, 127);
      return write_run<int8_t>(r.data, offset, step, n, from);
    default:
      for (int64_t k = 0; k < n; k++) from[k] = from[k] != 0;
      write_run<uint8_t>(r.data, offset, step, n, from);
  }
}

}  // namespace sconce::tile
