// Stores, and values that become another type.
#include <algorithm>
#include <array>
#include <cstring>

#include "tensor/half.h"
#include "tile/vm/worker.h"

namespace sconce::tile {

namespace {

Element element_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return Element::f32;
    case DType::f16: return Element::f16;
    case DType::bf16: return Element::bf16;
    case DType::i32: return Element::i32;
    case DType::i64: return Element::i64;
    case DType::i16: return Element::i16;
    case DType::i8: return Element::i8;
    case DType::u8: return Element::u8;
    case DType::b8: return Element::b8;
    default: return Element::count;
  }
}

}  // namespace

Result<void> Worker::store(const Instruction& i, size_t n) {
  const Buffer& buffer = k_.buffers[size_t(i.buffer)];
  ValueId v = i.operands[0];
  const ValuePlan& value = plan_of(v);
  if (value.home == Home::buffer && value.store != kNone) return {};  // is there already
  const std::vector<AxisId>& axes = p_.stored[n];
  const BufferView& shape = p_.shapes[size_t(i.buffer)];
  Ref to = buffer_ref(i);
  bool inside = is_inside(i);
  // An index that is computed once for all that is stored moves it; else each element has its own.
  for (size_t d = 0; d < i.index.size(); d++) {
    if (i.index[d].value == kNone) continue;
    if (p_.axes_of(i.index[d].value)) {
      inside = false;
      continue;
    }
    int64_t position = position_at(i.index[d], nullptr);
    if (position < 0 || position >= shape.sizes[d])
      return i.strict ? outside(i, d, position) : Result<void>();
    to.data +=
        (position - i.index[d].offset) * shape.strides[d] * int64_t(dtype_bytes(buffer.dtype));
  }
  if (inside && buffer.dtype == value.held) {
    copy(axes, to, ref(v), computed_bytes(value.held));
    return {};
  }
  const Ref& from = ref(v);
  if (inside && convert(axes, to, buffer.dtype, from, value.held)) return {};
  if (!inside && !i.strict && store_part(i, axes, to, from, value.held)) return {};
  Result<void> done;
  each(axes, [&](const int64_t* at) {
    int64_t offset = inside ? offset_at(to, axes, at) : 0;
    for (size_t d = 0; d < i.index.size() && !inside; d++) {
      int64_t position = position_at(i.index[d], at);
      if (position < 0 || position >= shape.sizes[d]) {
        if (i.strict && done.ok()) done = outside(i, d, position);
        return;
      }
      offset += position * shape.strides[d];
    }
    uint8_t* begin = inside ? to.data : data_[size_t(i.buffer)];
    uint8_t* place = begin + offset * int64_t(dtype_bytes(buffer.dtype));
    int64_t x = offset_at(from, value.axes, at);
    auto write = [&](auto element) { memcpy(place, &element, sizeof(element)); };
    if (value.dtype == DType::f32) {
      float f = floats(from)[x];
      switch (buffer.dtype) {
        case DType::f16: write(to_f16(f)); break;
        case DType::bf16: write(to_bf16(f)); break;
        default: write(f);
      }
      return;
    }
    int64_t n = read_integer(from, value.held, x);
    auto saturate = [&](int64_t low, int64_t high) { return n < low ? low : n > high ? high : n; };
    switch (buffer.dtype) {
      case DType::i8: write(int8_t(saturate(-128, 127))); break;
      case DType::u8: write(uint8_t(saturate(0, 255))); break;
      case DType::i16: write(int16_t(saturate(INT16_MIN, INT16_MAX))); break;
      case DType::i32: write(int32_t(n)); break;
      case DType::b8: write(uint8_t(n != 0)); break;
      default: write(n);
    }
  });
  return done;
}

// Stores what lies inside, where only the ends of some axes do not: the tile is shorter along them
// meanwhile. False, and nothing is done, elsewhere.
bool Worker::store_part(const Instruction& i, const std::vector<AxisId>& axes, Ref to, Ref from,
                        DType held) {
  const BufferView& shape = p_.shapes[size_t(i.buffer)];
  const DType dtype = k_.buffers[size_t(i.buffer)].dtype;
  std::array<int64_t, kAxesMax> lengths;
  std::copy_n(length_, kAxesMax, lengths.begin());
  bool fits = true;
  AxisSet seen = 0;  // an axis runs along one dim
  for (size_t d = 0; d < i.index.size(); d++) {
    const Index& index = i.index[d];
    const int64_t base = index_base(index), size = shape.sizes[d];
    AxisId along = kNone;
    int64_t factor = 0;
    for (const Term& term : index.terms) {
      if (!has_dimension(term.axis)) continue;
      fits &= along == kNone && term.factor > 0;
      along = term.axis;
      factor = term.factor;
    }
    fits &= index.value == kNone && (along != kNone || (base >= 0 && base < size));
    if (!fits || along == kNone) continue;
    fits &= !(seen >> along & 1);
    seen |= AxisSet(1) << along;
    const int64_t begin = base < 0 ? (-base - 1) / factor + 1 : 0;
    const int64_t end = base < size ? (size - base - 1) / factor + 1 : 0;
    length_[along] = std::max<int64_t>(std::min(length_[along], end) - begin, 0);
    to.data += begin * to.stride[along] * int64_t(dtype_bytes(dtype));
    from.data += begin * from.stride[along] * int64_t(computed_bytes(held));
  }
  if (fits && count_of(axes) > 0) {
    if (dtype == held)
      copy(axes, to, from, computed_bytes(held));
    else
      fits = convert(axes, to, dtype, from, held);
  }
  std::copy_n(lengths.begin(), kAxesMax, length_);
  return fits;
}

// out = x, one of which is f32 and the other a 16-bit float, at any steps.
void Worker::convert_halves(const std::vector<AxisId>& axes, const Ref& out, DType to, const Ref& x,
                            DType from) {
  const Ref* refs[] = {&out, &x};
  int64_t from_bytes = int64_t(dtype_bytes(from)), to_bytes = int64_t(dtype_bytes(to));
  auto with = [&](auto one) {
    blocks(axes, refs,
           [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
             for (int64_t r = 0; r < rows; r++)
               for (int64_t c = 0; c < n; c++)
                 one(out.data + (o[0] + r * row[0] + c * step[0]) * to_bytes,
                     x.data + (o[1] + r * row[1] + c * step[1]) * from_bytes);
           });
  };
  auto as = [&](auto source, auto f) {
    with([&](uint8_t* place, const uint8_t* data) {
      memcpy(&source, data, sizeof(source));
      auto result = f(source);
      memcpy(place, &result, sizeof(result));
    });
  };
  if (to == DType::f16)
    as(float(), [](float f) { return to_f16(f); });
  else if (to == DType::bf16)
    as(float(), [](float f) { return to_bf16(f); });
  else if (from == DType::f16)
    as(f16_t(), [](f16_t f) { return to_float(f); });
  else
    as(bf16_t(), [](bf16_t f) { return to_float(f); });
}

// out = x as another type, to integers saturating, as stores and casts from f32 do. False when
// there is no kernel for it.
bool Worker::convert(const std::vector<AxisId>& axes, const Ref& out, DType to, const Ref& x,
                     DType from) {
  Element a = element_of(from), b = element_of(to);
  if (a == Element::count || b == Element::count) return false;
  ConvertKernelFn kernel = table_.convert[int(a)][int(b)];
  if (!kernel) return false;
  bool fits = steps_fit(axes, out, true);
  for (size_t d = axes.size(); d-- > 0;)
    if (length_[axes[d]] > 1) {
      fits &= x.stride[axes[d]] == 1;
      break;
    }
  if (!fits) {
    bool halves = (is_half(from) && to == DType::f32) || (is_half(to) && from == DType::f32);
    if (halves) convert_halves(axes, out, to, x, from);
    return halves;
  }
  const Ref* refs[] = {&out, &x};
  int64_t from_bytes = int64_t(dtype_bytes(from)), to_bytes = int64_t(dtype_bytes(to));
  blocks(
      axes, refs,
      [&](const int64_t* o, const int64_t* row, const int64_t*, int64_t rows, int64_t n) {
        kernel({rows, n, x.data + o[1] * from_bytes, row[1], out.data + o[0] * to_bytes, row[0]});
      });
  return true;
}

}  // namespace sconce::tile
