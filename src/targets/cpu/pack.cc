#include "targets/cpu/pack.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "tensor/half.h"
#include "tile/ir.h"

namespace sconce {
namespace {

// Calls f(position, offset) for every index of the dimensions [first, last), in order.
template <class F>
void walk(const ConstantPart& o, size_t first, size_t last, F f) {
  std::vector<int64_t> index(last - first, 0);
  for (size_t d = first; d < last; d++)
    if (o.sizes[d] == 0) return;
  int64_t offset = first == 0 ? o.offset : 0;
  for (int64_t position = 0;; position++) {
    f(position, offset);
    size_t d = last;
    while (d > first) {
      size_t i = d - 1 - first;
      offset += o.strides[d - 1];
      if (++index[i] < o.sizes[d - 1]) break;
      offset -= index[i] * o.strides[d - 1];
      index[i] = 0;
      d--;
    }
    if (d == first) return;
  }
}

}  // namespace

ConstantPart in_order(const std::vector<int64_t>& sizes, const std::vector<int>& permutation) {
  std::vector<int64_t> strides(sizes.size(), 1);
  for (size_t d = sizes.size(); d-- > 1;) strides[d - 1] = strides[d] * sizes[d];
  ConstantPart part;
  for (int d : permutation) {
    part.sizes.push_back(sizes[size_t(d)]);
    part.strides.push_back(strides[size_t(d)]);
  }
  return part;
}

std::vector<uint8_t> gathered(Bytes data, size_t element_bytes, const ConstantPart& part) {
  size_t count = 1;
  for (int64_t size : part.sizes) count *= size_t(size);
  std::vector<uint8_t> result(count * element_bytes);
  walk(part, 0, part.sizes.size(), [&](int64_t position, int64_t offset) {
    memcpy(&result[size_t(position) * element_bytes], &data[size_t(offset) * element_bytes],
           element_bytes);
  });
  return result;
}

std::vector<uint8_t> widened(Bytes data, DType dtype) {
  std::vector<uint8_t> result(data.size() * 2);
  widen_halves(data.data(), dtype, data.size() / 2, reinterpret_cast<float*>(result.data()));
  return result;
}

std::vector<uint8_t> packed_panels_i8(Bytes data, const std::vector<int64_t>& sizes,
                                      const std::vector<int>& permutation, int32_t lead, int run) {
  ConstantPart o = in_order(sizes, permutation);
  size_t last = o.sizes.size() - 1;
  int64_t leads = 1, steps = 1, length = 1;
  for (size_t d = 0; d < last; d++) (d < size_t(lead) ? leads : steps) *= o.sizes[d];
  for (size_t d = last - size_t(run); d < last; d++) length *= o.sizes[d];
  // Its form does not depend on how the dims are cut.
  tile::Buffer buffer;
  buffer.dtype = DType::i8;
  buffer.panel_lead = 1;
  int64_t dims[] = {leads, steps / std::max<int64_t>(length, 1), length, o.sizes[last]};
  tile::PanelShape shape = *tile::panel_shape(buffer, {dims, 4});
  std::vector<uint8_t> result(static_cast<size_t>(shape.bytes));
  std::vector<int64_t> from(static_cast<size_t>(steps)), to(from);
  walk(o, size_t(lead), last, [&](int64_t step, int64_t offset) {
    from[size_t(step)] = offset;
    to[size_t(step)] = shape.offset(0, step / length, step % length, 0);
  });
  walk(o, 0, size_t(lead), [&](int64_t l, int64_t lead_offset) {
    for (int64_t n = 0; n < o.sizes[last]; n++) {
      const uint8_t* column = data.data() + lead_offset + n * o.strides[last];
      uint8_t* panel = result.data() + shape.panel(l, n);
      uint8_t* place = panel + shape.offset(0, 0, 0, n % tile::kPanelColumns);
      uint32_t sum = 0;
      for (size_t step = 0; step < from.size(); step++) {
        uint8_t weight = column[from[step]];
        place[to[step]] = weight;
        sum += uint32_t(int8_t(weight));
      }
      memcpy(panel + shape.panel_bytes - (tile::kPanelColumns - n % tile::kPanelColumns) * 4, &sum,
             4);
    }
  });
  return result;
}

std::vector<uint8_t> packed_nibbles(Bytes data, int64_t columns, int64_t steps) {
  tile::Buffer buffer;
  buffer.dtype = DType::i8;
  buffer.layout = tile::Layout::nibbles;
  int64_t dims[] = {steps, columns};
  tile::PanelShape shape = *tile::panel_shape(buffer, {dims, 2});
  std::vector<uint8_t> result(static_cast<size_t>(shape.bytes));
  for (int64_t n = 0; n < columns; n++)
    for (int64_t k = 0; k < steps; k++) {
      unsigned nibble = unsigned(int8_t(data[size_t(n * steps + k)]) + 8) & 15;
      result[size_t(shape.offset(0, 0, k, n))] |=
          uint8_t(k % tile::kNibbles < tile::kQuad ? nibble : nibble << 4);
    }
  return result;
}

std::vector<uint8_t> packed_panels(Bytes data, size_t element_bytes, const ConstantPart& o,
                                   int32_t lead) {
  size_t last = o.sizes.size() - 1;
  int64_t leads = 1, k = 1, columns = o.sizes[last];
  for (size_t d = 0; d < size_t(lead); d++) leads *= o.sizes[d];
  for (size_t d = size_t(lead); d < last; d++) k *= o.sizes[d];
  constexpr int64_t kWidth = tile::kPanelColumns;
  int64_t panels = (columns + kWidth - 1) / kWidth;
  std::vector<uint8_t> result(size_t(leads * panels * k * kWidth) * element_bytes);
  std::vector<int64_t> steps(static_cast<size_t>(k));
  walk(o, size_t(lead), last, [&](int64_t step, int64_t offset) { steps[size_t(step)] = offset; });
  // So many steps that the part of a panel stays in the first cache while its columns are read.
  constexpr int64_t kBlock = 256;
  int64_t bytes = int64_t(element_bytes);
  walk(o, 0, size_t(lead), [&](int64_t l, int64_t lead_offset) {
    for (int64_t p = 0; p < panels; p++)
      for (int64_t first = 0; first < k; first += kBlock) {
        uint8_t* panel = result.data() + ((l * panels + p) * k + first) * kWidth * bytes;
        int64_t count = std::min(kBlock, k - first), width = std::min(kWidth, columns - p * kWidth);
        for (int64_t n = 0; n < width; n++) {
          const uint8_t* column =
              data.data() + bytes * (lead_offset + (p * kWidth + n) * o.strides[last]);
          for (int64_t step = 0; step < count; step++)
            memcpy(panel + bytes * (step * kWidth + n),
                   column + bytes * steps[size_t(first + step)], element_bytes);
        }
      }
  });
  return result;
}

std::string prepared_name(int32_t constant, const std::vector<int64_t>& sizes,
                          const std::vector<int>& permutation, int32_t lead, int run) {
  return fmt::format("constant {} as {} by {}{}{}", constant, fmt::join(sizes, "x"),
                     fmt::join(permutation, ""),
                     lead < 0 ? std::string() : fmt::format(" in panels after {}", lead),
                     run == 1 ? std::string() : fmt::format(", runs of {}", run));
}
std::string prepared_name(int32_t constant, const ConstantPart& part, int32_t lead) {
  return fmt::format("constant {} from {} as {} by {}{}", constant, part.offset,
                     fmt::join(part.sizes, "x"), fmt::join(part.strides, ","),
                     lead < 0 ? std::string() : fmt::format(" in panels after {}", lead));
}

}  // namespace sconce
