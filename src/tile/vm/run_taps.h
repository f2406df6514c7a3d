// Windows that slide over a buffer: which part of it each of their taps sees.
#pragma once

#include <algorithm>
#include <cstring>

#include "tile/vm/worker.h"

namespace sconce::tile {

// Narrows [begin, end), which is not empty, to 0 <= position + factor * x < size.
inline void clip(int64_t position, int64_t factor, int64_t size, int64_t* begin, int64_t* end) {
  if (factor == 0) {
    if (position < 0 || position >= size) *end = *begin;
    return;
  }
  // Divided only where a part is outside.
  const int64_t step = factor < 0 ? -factor : factor;
  auto steps = [&](int64_t way) { return step == 1 ? way : (way + step - 1) / step; };
  const int64_t first = position + factor * *begin, last = position + factor * (*end - 1);
  const int64_t before = factor > 0 ? -first : first - size + 1;
  const int64_t after = factor > 0 ? last - size + 1 : -last;
  if (before > 0) *begin = std::min(*begin + steps(before), *end);
  if (after > 0) *end = std::max(*end - steps(after), *begin);
}

// Calls f(tap) for every index of `taps`, with the outer axes narrowed to where the load is
// inside its buffer: begin_ and length_ say so. Every dim has at most one outer axis.
template <class F>
void Worker::each_tap(const Instruction& window, Span<const AxisId> taps, Span<const AxisId> outer,
                      F f) {
  const BufferView& shape = p_.shapes[size_t(window.buffer)];
  int64_t saved[kAxesMax];
  memcpy(saved, length_, sizeof(saved));
  each(taps, [&](const int64_t* tap) {
    for (AxisId a : outer) {
      begin_[a] = 0;
      length_[a] = saved[a];
    }
    bool any = true;
    for (size_t d = 0; d < window.index.size(); d++) {
      int64_t position = index_base(window.index[d]);
      AxisId along = kNone;
      int64_t factor = 0;
      for (const Term& term : window.index[d].terms) {
        if (!has_dimension(term.axis)) continue;
        if (std::find(taps.begin(), taps.end(), term.axis) != taps.end()) {
          position += term.factor * tap[term.axis];
        } else {
          along = term.axis;
          factor = term.factor;
        }
      }
      if (along == kNone) {
        any &= position >= 0 && position < shape.sizes[d];
        continue;
      }
      int64_t& begin = begin_[along];
      int64_t end = begin + length_[along];
      if (begin < end) clip(position, factor, shape.sizes[d], &begin, &end);
      length_[along] = end - begin;
      any &= begin < end;
    }
    if (any) f(tap);
    for (AxisId a : outer) length_[a] = saved[a];
  });
  memcpy(length_, saved, sizeof(saved));
}

inline Worker::Reach::Reach(const Worker& worker, const Instruction& access,
                            Span<const AxisId> outer, Span<const AxisId> inner, AxisId run,
                            AxisId wide) {
  for (AxisId a : outer) outer_ |= AxisSet(worker.has_dimension(a)) << a;
  for (AxisId a : inner) inner_ |= AxisSet(worker.has_dimension(a)) << a;
  const BufferView& shape = worker.p_.shapes[size_t(access.buffer)];
  for (size_t d = 0; d < access.index.size(); d++) {
    Dim dim = {&access.index[d].terms, shape.sizes[d], 0, 0, worker.index_base(access.index[d]), 0};
    int64_t low = dim.first, high = dim.first;
    for (const Term& term : *dim.terms) {
      if (!worker.has_dimension(term.axis)) continue;
      if (term.axis == run) dim.run += term.factor;
      if (term.axis == wide) dim.wide += term.factor;
      (term.factor < 0 ? low : high) += term.factor * (worker.length_[term.axis] - 1);
    }
    dim.here = dim.first;
    if (low < 0 || high >= dim.size) dims_[count_++] = dim;
  }
  outer_ &= ~inner_;
  for (AxisId a : {run, wide})
    if (a != kNone) outer_ &= ~(AxisSet(1) << a), inner_ &= ~(AxisSet(1) << a);
}

inline void Worker::Reach::go_to(const int64_t* outer, const int64_t* inner) {
  for (Dim* dim = dims_; dim != dims_ + count_; dim++) {
    dim->here = dim->first;
    for (const Term& term : *dim->terms) {
      if (outer_ >> term.axis & 1) dim->here += term.factor * outer[term.axis];
      if (inner_ >> term.axis & 1) dim->here += term.factor * inner[term.axis];
    }
  }
}

inline void Worker::Reach::narrow_run(int64_t part, int64_t* begin, int64_t* end) const {
  for (const Dim* dim = dims_; dim != dims_ + count_ && *begin < *end; dim++)
    clip(dim->here + dim->wide * part, dim->run, dim->size, begin, end);
}

inline void Worker::Reach::narrow_wide(int64_t x, int64_t* begin, int64_t* end) const {
  for (const Dim* dim = dims_; dim != dims_ + count_ && *begin < *end; dim++)
    clip(dim->here + dim->run * x, dim->wide, dim->size, begin, end);
}

// Rows of pixels that a window covers: f(block, at) for every index `at` of the axes of `out` but
// the last two, the width and the channels. What lies outside the buffer is read from `outside`.
// False when memory does not lie as the kernels want it, before anything was done.
template <class Block, class T, class F>
bool Worker::each_row_of_taps(size_t n, const Instruction& window, const std::vector<AxisId>& taps,
                              const std::vector<AxisId>& out, const Ref& to, const T* outside,
                              F f) {
  if (out.empty() || to.stride[out.back()] != 1 || p_.taps_offset[n] == kNoTaps ||
      !p_.stays_inside_along(window, out.back()))
    return false;
  AxisId channels = out.back(), width = out.size() > 1 ? out[out.size() - 2] : kNone;
  Span<const AxisId> outer(out.data(), out.size() > 1 ? out.size() - 2 : 0);
  Ref from = buffer_ref(window);
  Block block;
  block.width = width == kNone ? 1 : length_[width];
  block.channels = length_[channels];
  block.out_pixel = width == kNone ? 0 : to.stride[width];
  block.tap_count = 1;
  for (AxisId a : taps) block.tap_count *= length_[a];
  if (block.width * block.tap_count * block.channels == 0) return false;
  auto* pointers = reinterpret_cast<const T**>(scratch_ + p_.taps_offset[n]);
  block.taps = pointers;
  int64_t step = width == kNone ? 0 : from.stride[width];
  Reach reach(*this, window, outer, taps, width);
  each(outer, [&](const int64_t* at) {
    int64_t t = 0;
    each(taps, [&](const int64_t* tap) {
      // Pixels [begin, end) of the row see this tap inside the buffer.
      int64_t begin = 0, end = block.width;
      reach.go_to(at, tap);
      reach.narrow_run(0, &begin, &end);
      const T* base = reinterpret_cast<const T*>(from.data) + offset_at(from, taps, tap) +
                      offset_at(from, outer, at);
      int64_t x = 0;
      for (; x < begin; x++) pointers[x * block.tap_count + t] = outside;
      for (; x < end; x++) pointers[x * block.tap_count + t] = base + x * step;
      for (; x < block.width; x++) pointers[x * block.tap_count + t] = outside;
      t++;
    });
    block.out = reinterpret_cast<T*>(to.data) + offset_at(to, outer, at);
    f(block, at);
  });
  return true;
}

}  // namespace sconce::tile
