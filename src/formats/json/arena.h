// Arena: memory for the structs that a document is read into; all of it goes at once.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

#include "base/span.h"

namespace sconce::json {

class Arena {
 public:
  // Default-made items that live as long as the Arena.
  template <class T>
  Span<T> allocate(size_t count) {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= 16);
    if (count == 0) return {};
    T* items = static_cast<T*>(take(count * sizeof(T)));
    for (size_t i = 0; i < count; i++) new (items + i) T();
    return {items, count};
  }

 private:
  // 16-byte aligned, not cleared.
  void* take(size_t bytes) {
    bytes = (bytes + 15) & ~size_t(15);
    if (bytes > left_) {
      size_t chunk = bytes > kChunkBytes ? bytes : kChunkBytes;
      chunks_.emplace_back(new (std::align_val_t(16)) std::byte[chunk]);
      next_ = chunks_.back().get();
      left_ = chunk;
    }
    void* result = next_;
    next_ += bytes;
    left_ -= bytes;
    return result;
  }

  static constexpr size_t kChunkBytes = 256 << 10;
  struct Free {
    void operator()(std::byte* chunk) const { operator delete[](chunk, std::align_val_t(16)); }
  };
  std::vector<std::unique_ptr<std::byte[], Free>> chunks_;
  std::byte* next_ = nullptr;
  size_t left_ = 0;
};

}  // namespace sconce::json
