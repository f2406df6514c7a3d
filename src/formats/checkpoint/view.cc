#include "formats/checkpoint/view.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/checked.h"

namespace sconce {
namespace {

template <class T>
void gather(const uint8_t* from, int64_t stride, uint8_t* out, uint64_t count) {
  for (uint64_t i = 0; i < count; i++)
    std::memcpy(out + i * sizeof(T), from + int64_t(i) * stride * int64_t(sizeof(T)), sizeof(T));
}

struct Wide {
  uint64_t half[2];
};

void copy_run(const uint8_t* from, int64_t stride, uint8_t* out, uint64_t count, uint32_t bytes) {
  if (stride == 1) {
    std::memcpy(out, from, count * bytes);
    return;
  }
  switch (bytes) {
    case 1: return gather<uint8_t>(from, stride, out, count);
    case 2: return gather<uint16_t>(from, stride, out, count);
    case 4: return gather<uint32_t>(from, stride, out, count);
    case 8: return gather<uint64_t>(from, stride, out, count);
    default: return gather<Wide>(from, stride, out, count);
  }
}

// Rows and columns change places, in tiles that stay in the cache. `rows` stand one element apart,
// `columns` `stride` elements.
template <class T>
void transpose(const uint8_t* from, uint64_t rows, uint64_t columns, int64_t stride, uint8_t* out) {
  constexpr uint64_t kTile = 64 / sizeof(T) * 2;
  for (uint64_t row = 0; row < rows; row += kTile) {
    uint64_t row_end = std::min(rows, row + kTile);
    for (uint64_t column = 0; column < columns; column += kTile) {
      uint64_t column_end = std::min(columns, column + kTile);
      for (uint64_t i = row; i < row_end; i++)
        for (uint64_t j = column; j < column_end; j++)
          std::memcpy(out + (i * columns + j) * sizeof(T),
                      from + (int64_t(i) + int64_t(j) * stride) * int64_t(sizeof(T)), sizeof(T));
    }
  }
}

}  // namespace

std::string find_view_problem(int64_t begin, Span<const int64_t> sizes, Span<const int64_t> strides,
                              uint64_t limit) {
  if (sizes.size() != strides.size())
    return fmt::format("{} sizes and {} strides", sizes.size(), strides.size());
  if (begin < 0) return fmt::format("offset {} is negative", begin);
  bool empty = false;
  for (size_t i = 0; i < sizes.size(); i++) {
    if (sizes[i] < 0) return fmt::format("size[{}] is {}", i, sizes[i]);
    if (strides[i] < 0) return fmt::format("stride[{}] is {}", i, strides[i]);
    empty |= sizes[i] == 0;
  }
  if (empty) return "";
  uint64_t last = uint64_t(begin), count = 1;
  bool fits = true;
  for (size_t i = 0; i < sizes.size() && fits; i++) {
    uint64_t reach = 0;
    fits = checked_multiply(uint64_t(sizes[i] - 1), uint64_t(strides[i]), &reach) &&
           checked_add(last, reach, &last) && checked_multiply(count, uint64_t(sizes[i]), &count) &&
           count <= uint64_t(INT64_MAX) / 16;  // bytes fit as well
  }
  if (fits && last < limit) return "";
  return fmt::format("offset {}, size [{}], stride [{}] reach past the {} elements there are",
                     begin, fmt::join(sizes, ", "), fmt::join(strides, ", "), limit);
}

ViewReader::ViewReader(const uint8_t* data, Span<const int64_t> sizes, Span<const int64_t> strides,
                       uint32_t element_bytes)
    : data_(data), element_bytes_(element_bytes) {
  for (int64_t size : sizes) left_ *= uint64_t(size);
  for (size_t i = 0; i < sizes.size(); i++) {
    if (sizes[i] == 1) continue;
    if (!sizes_.empty() && strides_.back() == strides[i] * sizes[i]) {
      sizes_.back() *= sizes[i];
      strides_.back() = strides[i];
    } else {
      sizes_.push_back(sizes[i]);
      strides_.push_back(strides[i]);
    }
  }
  if (sizes_.empty()) {
    sizes_.push_back(1);
    strides_.push_back(1);
  }
  index_.assign(sizes_.size(), 0);
  contiguous_ = left_ == 0 || (sizes_.size() == 1 && strides_[0] == 1);
}

// The index of `dim` has grown to its size: carries.
void ViewReader::step(size_t dim) {
  while (index_[dim] == sizes_[dim]) {
    offset_ -= uint64_t(sizes_[dim] * strides_[dim]);
    index_[dim] = 0;
    if (dim == 0) return;
    dim--;
    index_[dim]++;
    offset_ += uint64_t(strides_[dim]);
  }
}

void ViewReader::read(uint8_t* out, uint64_t count) {
  size_t last = sizes_.size() - 1;
  left_ -= count;
  while (count > 0) {
    const uint8_t* from = data_ + offset_ * element_bytes_;
    uint64_t columns = uint64_t(sizes_[last]);
    if (last > 0 && index_[last] == 0 && strides_[last] != 1 && strides_[last - 1] == 1 &&
        count >= 2 * columns && (element_bytes_ == 2 || element_bytes_ == 4)) {
      uint64_t rows = std::min(count / columns, uint64_t(sizes_[last - 1] - index_[last - 1]));
      if (element_bytes_ == 2)
        transpose<uint16_t>(from, rows, columns, strides_[last], out);
      else
        transpose<uint32_t>(from, rows, columns, strides_[last], out);
      out += rows * columns * element_bytes_;
      count -= rows * columns;
      index_[last - 1] += int64_t(rows);
      offset_ += rows;
      step(last - 1);
      continue;
    }
    uint64_t run = std::min(count, columns - uint64_t(index_[last]));
    copy_run(from, strides_[last], out, run, element_bytes_);
    out += run * element_bytes_;
    count -= run;
    index_[last] += int64_t(run);
    offset_ += run * uint64_t(strides_[last]);
    step(last);
  }
}

}  // namespace sconce
