// Loads into memory: rows at once where they lie together, element by element where not.
#include <algorithm>
#include <cstring>

#include "tensor/half.h"
#include "tile/vm/run_taps.h"

namespace sconce::tile {

// Where an index points: at coordinates along the axes with a dimension, with what it gathers.
int64_t Worker::position_at(const Index& index, const int64_t* at) const {
  int64_t position = index_base(index);
  for (const Term& term : index.terms)
    if (has_dimension(term.axis)) position += term.factor * at[term.axis];
  if (index.value == kNone) return position;
  const ValuePlan& value = plan_of(index.value);
  const Ref& gathered = refs_[size_t(index.value)];
  return position + read_integer(gathered, value.dtype, offset_at(gathered, value.axes, at));
}

// A strict load or store points outside its buffer.
Error Worker::outside(const Instruction& i, size_t d, int64_t position) const {
  return error(Code::invalid_argument, "kernel {}: index {} into dimension {} of {}, of size {}",
               k_.name, position, d, k_.buffers[size_t(i.buffer)].name,
               p_.shapes[size_t(i.buffer)].sizes[d]);
}

// The element of a load at coordinates, converted; the fill value outside.
Result<void> Worker::load_element(const Instruction& i, const int64_t* at, const Ref& out,
                                  DType dtype, int64_t to) {
  const Buffer& buffer = k_.buffers[size_t(i.buffer)];
  const BufferView& shape = p_.shapes[size_t(i.buffer)];
  int64_t offset = 0;
  PackedIndex packed;
  for (size_t d = 0; d < i.index.size(); d++) {
    int64_t position = position_at(i.index[d], at);
    if (position < 0 || position >= shape.sizes[d]) {
      if (i.strict) return outside(i, d, position);
      if (dtype == DType::f32)
        floats(out)[to] = float(i.number);
      else
        write_integer(out, dtype, to, int64_t(i.number));
      return {};
    }
    if (buffer.is_packed())
      packed.tell(buffer, d, shape.sizes[d], position);
    else
      offset += position * shape.strides[d];
  }
  const uint8_t* from =
      data_[size_t(i.buffer)] + (buffer.is_packed() ? p_.panels[size_t(i.buffer)].offset(packed)
                                                    : offset * int64_t(dtype_bytes(buffer.dtype)));
  auto read = [&](auto value) {
    memcpy(&value, from, sizeof(value));
    return value;
  };
  switch (buffer.dtype) {
    case DType::f32: floats(out)[to] = read(float()); break;
    case DType::f16: floats(out)[to] = to_float(read(f16_t())); break;
    case DType::bf16: floats(out)[to] = to_float(read(bf16_t())); break;
    case DType::i8:
      write_integer(
          out, dtype, to,
          buffer.layout == Layout::nibbles ? PanelShape::half(*from, packed.k) : read(int8_t()));
      break;
    case DType::u8:
    case DType::b8: write_integer(out, dtype, to, read(uint8_t())); break;
    case DType::i16: write_integer(out, dtype, to, read(int16_t())); break;
    case DType::i32: write_integer(out, dtype, to, read(int32_t())); break;
    default: write_integer(out, dtype, to, read(int64_t()));
  }
  return {};
}

// True when a load goes down columns of packed weights: the run is the last contracted index.
bool Worker::reads_panel_column(const Instruction& i, AxisId run, const Ref& out) const {
  if (value_dtype(k_.buffers[size_t(i.buffer)].dtype) != DType::f32 || run == kNone ||
      out.stride[run] != 1)
    return false;
  size_t along = i.index.size() - 2;
  for (size_t d = 0; d < i.index.size(); d++) {
    const Index& index = i.index[d];
    if (index.value != kNone && (p_.axes_of(index.value) >> run & 1)) return false;
    for (const Term& term : index.terms)
      if (term.axis == run && (d != along || term.factor != 1)) return false;
  }
  return index_has(i.index[along], run);
}

Result<void> Worker::load_panel_columns(const Instruction& i, const Ref& out,
                                        const std::vector<AxisId>& axes) {
  const Buffer& buffer = k_.buffers[size_t(i.buffer)];
  const BufferView& shape = p_.shapes[size_t(i.buffer)];
  AxisId run = axes.back();
  Span<const AxisId> outer(axes.data(), axes.size() - 1);
  size_t along = i.index.size() - 2;
  Result<void> done;
  each(outer, [&](const int64_t* outer_at) {
    if (!done.ok()) return;
    int64_t at[kAxesMax], begin = 0, end = length_[run];
    for (AxisId a : outer) at[a] = outer_at[a];
    at[run] = 0;
    PackedIndex packed;
    for (size_t d = 0; d < i.index.size(); d++) {
      int64_t position = position_at(i.index[d], at);
      if (d == along) {
        begin = std::max(begin, -position);
        end = std::min(end, shape.sizes[d] - position);
      } else if (position < 0 || position >= shape.sizes[d]) {
        begin = end = 0;
        position = 0;
      }
      packed.tell(buffer, d, shape.sizes[d], position);
    }
    float* to = floats(out) + offset_at(out, outer, at);
    if (begin > 0 || end < length_[run]) {  // partly outside: one by one
      for (int64_t x = 0; x < length_[run] && done.ok(); x++) {
        at[run] = x;
        Ref element = out;
        element.data = reinterpret_cast<uint8_t*>(to);
        done = load_element(i, at, element, DType::f32, x);
      }
      return;
    }
    const uint8_t* from = data_[size_t(i.buffer)] + p_.panels[size_t(i.buffer)].offset(packed);
    auto go_down = [&](auto element, auto as_float) {
      for (int64_t x = 0; x < end; x++) {
        memcpy(&element, from + x * kPanelColumns * int64_t(sizeof(element)), sizeof(element));
        to[x] = as_float(element);
      }
    };
    if (buffer.dtype == DType::f16)
      go_down(f16_t(), [](f16_t x) { return to_float(x); });
    else if (buffer.dtype == DType::bf16)
      go_down(bf16_t(), [](bf16_t x) { return to_float(x); });
    else
      go_down(float(), [](float x) { return x; });
  });
  return done;
}

// A load of which boxes are inside its buffer: the fill value everywhere, then box by box what is
// there. Of several axes along a dim all but the longest are gone through one by one, and so are
// those along several dims, and backward.
bool Worker::load_boxes(const Instruction& i, const Ref& out, const std::vector<AxisId>& axes,
                        DType dtype) {
  if (i.strict || p_.is_gather(i)) return false;
  if (dtype != DType::f32 && dtype != DType::i32 && dtype != DType::i8) return false;
  AxisSet seen = 0, apart = 0;
  for (const Index& index : i.index)
    for (const Term& term : index.terms) {
      if (!has_dimension(term.axis)) continue;
      if (term.factor < 1 || (seen >> term.axis & 1)) apart |= AxisSet(1) << term.axis;
      seen |= AxisSet(1) << term.axis;
    }
  AxisId longest[kRankMax];  // by dim
  for (size_t d = 0; d < i.index.size(); d++) {
    longest[d] = kNone;
    for (const Term& term : i.index[d].terms) {
      AxisId a = term.axis;
      if (!has_dimension(a) || (apart >> a & 1)) continue;
      if (longest[d] == kNone || length_[a] > length_[longest[d]]) std::swap(a, longest[d]);
      if (a != kNone) apart |= AxisSet(1) << a;
    }
  }
  fill_with(i, out, axes, dtype);
  AxisId steps[kAxesMax], others[kAxesMax];
  size_t step_count = 0, other_count = 0;
  for (AxisId a : axes)
    if (apart >> a & 1)
      steps[step_count++] = a;
    else
      others[other_count++] = a;
  const Span<const AxisId> one_by_one(steps, step_count), box(others, other_count);
  const Ref base = buffer_ref(i);
  const auto bytes = int64_t(computed_bytes(dtype));
  each_tap(i, one_by_one, box, [&](const int64_t* at) {
    Ref from = base, to = out;
    from.data += (offset_at(base, one_by_one, at) + offset_at(base, box, begin_)) * bytes;
    to.data += (offset_at(out, one_by_one, at) + offset_at(out, box, begin_)) * bytes;
    copy(box, to, from, size_t(bytes));
  });
  return true;
}

// The number of a load at all indices.
void Worker::fill_with(const Instruction& i, const Ref& out, const std::vector<AxisId>& axes,
                       DType dtype) {
  if (dtype == DType::f32) return fill(axes, out, float(i.number));
  const auto whole = int64_t(i.number);
  const Ref* refs[] = {&out};
  blocks(axes, refs,
         [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
           for (int64_t r = 0; r < rows; r++)
             for (int64_t c = 0; c < n; c++)
               write_integer(out, dtype, o[0] + r * row[0] + c * step[0], whole);
         });
}

// A load into memory with the given axes and strides, rows at once where they lie together.
Result<void> Worker::load_into(const Instruction& i, const Ref& out,
                               const std::vector<AxisId>& axes, DType dtype) {
  const Buffer& buffer = k_.buffers[size_t(i.buffer)];
  bool same = buffer.dtype == dtype && buffer.layout == Layout::strided;
  bool widens = buffer.layout == Layout::strided && dtype == DType::f32 && is_half(buffer.dtype);
  if ((same || widens) && !p_.is_gather(i) && is_inside(i)) {
    if (widens)
      convert(axes, out, dtype, buffer_ref(i), buffer.dtype);
    else
      copy(axes, out, buffer_ref(i), computed_bytes(dtype));
    return {};
  }
  const bool extends = buffer.layout == Layout::strided && dtype == DType::i32 && !same;
  if (extends && !p_.is_gather(i) && is_inside(i) &&
      convert(axes, out, dtype, buffer_ref(i), buffer.dtype))
    return {};
  if (buffer.layout == Layout::panels && reads_panel_column(i, p_.innermost(axes), out))
    return load_panel_columns(i, out, axes);
  if ((same || widens) && lies_in_runs(i, out, axes)) return load_runs(i, out, axes, dtype);
  if (same && load_boxes(i, out, axes, dtype)) return {};
  if (size_t gathered = 0; same && gathers_along(i, p_.innermost(axes), &gathered)) {
    bool wide = plan_of(i.index[gathered].value).dtype == DType::i64;
    if (computed_bytes(dtype) == 4)
      return wide ? load_gathered<int64_t, uint32_t>(i, out, axes, gathered)
                  : load_gathered<int32_t, uint32_t>(i, out, axes, gathered);
    if (computed_bytes(dtype) == 8)
      return wide ? load_gathered<int64_t, uint64_t>(i, out, axes, gathered)
                  : load_gathered<int32_t, uint64_t>(i, out, axes, gathered);
  }
  Result<void> done;
  each(axes, [&](const int64_t* at) {
    if (done.ok()) done = load_element(i, at, out, dtype, offset_at(out, axes, at));
  });
  return done;
}

// True when the innermost axis decides the index into one dim alone, by a value.
bool Worker::gathers_along(const Instruction& i, AxisId run, size_t* gathered) const {
  if (run == kNone || !has_dimension(run)) return false;
  int count = 0;
  for (size_t d = 0; d < i.index.size(); d++) {
    const Index& index = i.index[d];
    if (index_has(index, run)) return false;
    if (index.value == kNone || !(p_.axes_of(index.value) >> run & 1)) continue;
    *gathered = d;
    count++;
  }
  return count == 1;
}

// The innermost axis by such an index, which is read as Whole.
template <class Whole, class T>
Result<void> Worker::load_gathered(const Instruction& i, const Ref& out,
                                   const std::vector<AxisId>& axes, size_t gathered) {
  const BufferView& shape = p_.shapes[size_t(i.buffer)];
  const Index& by = i.index[gathered];
  const ValuePlan& value = plan_of(by.value);
  const Ref& wanted = ref(by.value);
  const AxisId run = axes.back();
  const int64_t size = shape.sizes[gathered], stride = shape.strides[gathered];
  const bool is_float = k_.buffers[size_t(i.buffer)].dtype == DType::f32;
  T fill = 0;
  float number = float(i.number);
  if (is_float)
    memcpy(&fill, &number, sizeof(number));
  else
    fill = T(int64_t(i.number));
  Span<const AxisId> outer(axes.data(), axes.size() - 1);
  Result<void> done;
  each(outer, [&](const int64_t* outer_at) {
    if (!done.ok()) return;
    int64_t at[kAxesMax];
    for (AxisId a : outer) at[a] = outer_at[a];
    at[run] = 0;
    int64_t offset = 0, base = 0;
    bool inside = true;
    for (size_t d = 0; d < i.index.size(); d++) {
      if (d == gathered) {
        base = index_base(by);
        for (const Term& term : by.terms)
          if (has_dimension(term.axis)) base += term.factor * at[term.axis];
        continue;
      }
      int64_t position = position_at(i.index[d], at);
      inside &= position >= 0 && position < shape.sizes[d];
      if (inside) offset += position * shape.strides[d];
    }
    auto* to = reinterpret_cast<T*>(out.data) + offset_at(out, outer, at);
    auto* from = inside ? reinterpret_cast<const T*>(data_[size_t(i.buffer)]) + offset : nullptr;
    auto* index = reinterpret_cast<const Whole*>(wanted.data) + offset_at(wanted, value.axes, at);
    const int64_t to_step = out.stride[run], index_step = wanted.stride[run];
    const int64_t length = length_[run];
    for (int64_t x = 0; x < length; x++) {
      // Whatever the index is: the sum may wrap.
      auto position = int64_t(uint64_t(base) + uint64_t(int64_t(index[x * index_step])));
      bool is_there = inside && uint64_t(position) < uint64_t(size);
      if (!is_there && i.strict) {
        at[run] = x;
        done = load_element(i, at, out, DType::f32, 0);
        return;
      }
      to[x * to_step] = is_there ? from[position * stride] : fill;
    }
  });
  return done;
}

// True when the innermost axis steps by 1 in the buffer and in memory, along a single dim.
bool Worker::lies_in_runs(const Instruction& i, const Ref& out,
                          const std::vector<AxisId>& axes) const {
  AxisId run = p_.innermost(axes);
  if (run == kNone || out.stride[run] != 1) return false;
  int64_t step = 0;
  for (size_t d = 0; d < i.index.size(); d++) {
    const Index& index = i.index[d];
    if (index.value != kNone && (p_.axes_of(index.value) >> run & 1)) return false;
    for (const Term& term : index.terms)
      if (term.axis == run) {
        if (step != 0 || term.factor != 1) return false;
        step = p_.shapes[size_t(i.buffer)].strides[d];
      }
  }
  return step == 1;
}

// The innermost axis by runs: inside, at once; outside, the fill value.
Result<void> Worker::load_runs(const Instruction& i, const Ref& out,
                               const std::vector<AxisId>& axes, DType dtype) {
  const BufferView& shape = p_.shapes[size_t(i.buffer)];
  const DType stored = k_.buffers[size_t(i.buffer)].dtype;
  const int64_t bytes = int64_t(computed_bytes(dtype)), from_bytes = int64_t(dtype_bytes(stored));
  AxisId run = axes.back();
  const int64_t length = length_[run];
  Span<const AxisId> outer(axes.data(), axes.size() - 1);
  Result<void> done;
  each(outer, [&](const int64_t* outer_at) {
    if (!done.ok()) return;
    int64_t at[kAxesMax];
    memcpy(at, outer_at, sizeof(at));
    at[run] = 0;
    // The first and the last index along the run that are inside.
    int64_t begin = 0, end = length, offset = 0;
    for (size_t d = 0; d < i.index.size(); d++) {
      int64_t position = position_at(i.index[d], at);
      if (index_has(i.index[d], run)) {
        begin = std::max(begin, -position);
        end = std::min(end, shape.sizes[d] - position);
      } else if (position < 0 || position >= shape.sizes[d]) {
        end = begin = 0;
      }
      offset += position * shape.strides[d];
    }
    if (i.strict && (begin > 0 || end < length)) {
      at[run] = begin > 0 ? 0 : std::max<int64_t>(end, 0);
      done = load_element(i, at, out, dtype, 0);
      return;
    }
    Ref row = out;
    row.data += offset_at(out, outer, at) * bytes;
    auto fill = [&](int64_t from, int64_t until) {
      for (int64_t x = from; x < until; x++)
        if (dtype == DType::f32)
          floats(row)[x] = float(i.number);
        else
          write_integer(row, dtype, x, int64_t(i.number));
    };
    end = std::min(std::max(end, begin), length);
    begin = std::min(begin, length);
    fill(0, begin);
    if (end > begin) {
      const uint8_t* from = data_[size_t(i.buffer)] + (offset + begin) * from_bytes;
      uint8_t* to = row.data + begin * bytes;
      if (stored == dtype)
        memcpy(to, from, size_t((end - begin) * bytes));
      else
        widen(stored)({1, end - begin, from, 0, to, 0});
    }
    fill(end, length);
  });
  return done;
}

Result<void> Worker::load(const Instruction& i) {
  ValueId v = i.results[0];
  const ValuePlan& value = plan_of(v);
  if (value.home == Home::folded) return {};
  if (value.home == Home::buffer) {
    ref(v) = buffer_ref(i);
    return {};
  }
  settle(v);
  return load_into(i, ref(v), value.axes, value.dtype);
}

}  // namespace sconce::tile
