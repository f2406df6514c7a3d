// The rows of a dot: where each begins in memory, whatever lies outside the buffer.
#pragma once

#include <algorithm>
#include <cstring>

#include "tile/vm/run_taps.h"

namespace sconce::tile {

// Where each row of a dot begins in each segment of its depth, in the result and in what is
// added.
template <class T>
struct RowTable {
  const T* const* pointers;  // [segment][row]
  const int64_t *c_offset, *added_offset;
  int64_t rows, segments, length;
  bool is_even;  // rows of the result, and of what is added, lie at equal distances

  // How many of `most` rows from r0 on do, and these distances.
  int64_t even_rows(int64_t r0, int64_t most, int64_t* c_stride, int64_t* added_stride) const {
    *c_stride = most > 1 ? c_offset[r0 + 1] - c_offset[r0] : 0;
    *added_stride = most > 1 ? added_offset[r0 + 1] - added_offset[r0] : 0;
    if (is_even) return most;
    int64_t even = 1;
    while (even < most && c_offset[r0 + even] - c_offset[r0 + even - 1] == *c_stride &&
           added_offset[r0 + even] - added_offset[r0 + even - 1] == *added_stride)
      even++;
    return even;
  }
};

// The rows' operand is at `a`; with `window` parts of it lie outside its buffer: those are read
// from `outside`, or are copied with bytes of `fill` around.
template <class T>
RowTable<T> Worker::row_table(const DotPlan& plan, const Ref& a, const Instruction* window,
                              const T* outside, int fill, const Ref& to, const Ref& added) {
  int64_t depth = 1, row_count = 1;
  for (AxisId x : plan.depth) depth *= length_[x];
  for (AxisId x : plan.rows) row_count *= length_[x];
  // A segment is a run of steps that lie behind each other; the last depth axis, and those before
  // it that continue it.
  size_t run_axes = plan.depth.size();
  int64_t length = 1, wide_step = 0;
  AxisId wide = kNone;
  while (run_axes > 0 && plan.depth.size() - run_axes < plan.run_axes) {
    AxisId x = plan.depth[run_axes - 1];
    if (length_[x] != 1) {
      if (a.stride[x] != length) break;
      // Steps outside the buffer end a run, but for the innermost axis, which is inside. Short
      // runs go on along one more axis; those that are partly outside are copied.
      if (length != 1 && window) {
        if (plan.edges_offset == kNoEdges || wide != kNone) break;
        wide = x;
        wide_step = length;
      }
      length *= length_[x];
    }
    run_axes--;
  }
  Span<const AxisId> segment_axes(plan.depth.data(), run_axes);
  int64_t segments = depth / std::max<int64_t>(length, 1);
  if (depth == 0) segments = 0;

  // Where each row begins in each segment, in the result and in what is added; for runs of rows
  // along the last of their axes.
  auto* pointers = reinterpret_cast<const T**>(scratch_ + plan.pointers_offset);
  auto* c_offset =
      reinterpret_cast<int64_t*>(pointers + row_count * std::max<int64_t>(segments, 1));
  int64_t* added_offset = c_offset + row_count;
  AxisId run_axis = p_.innermost(plan.rows);
  int64_t run = run_axis == kNone ? 1 : length_[run_axis];
  auto step_of = [&](const Ref& of) { return run_axis == kNone ? 0 : of.stride[run_axis]; };
  Span<const AxisId> outer_rows(plan.rows.data(), plan.rows.empty() ? 0 : plan.rows.size() - 1);
  int64_t r = 0, a_step = step_of(a), c_step = step_of(to), added_step = step_of(added);
  each(outer_rows, [&](const int64_t* at) {
    int64_t s = 0;
    const T* row = reinterpret_cast<const T*>(a.data) + offset_at(a, outer_rows, at);
    if (segments > 0)
      each(segment_axes, [&](const int64_t* segment) {
        const T** to_row = pointers + s++ * row_count + r;
        const T* base = row + offset_at(a, segment_axes, segment);
        int64_t begin = 0, end = run;
        if (window && wide == kNone)
          narrow(*window, {outer_rows, at}, {segment_axes, segment}, run_axis, &begin, &end);
        if (wide == kNone) {
          for (int64_t x = 0; x < begin; x++) to_row[x] = outside;
          for (int64_t x = end; x < run; x++) to_row[x] = outside;
        } else {
          int64_t here[kAxesMax];
          for (AxisId x : segment_axes) here[x] = segment[x];
          At inner{{plan.depth.data(), plan.depth.size()}, here};
          for (size_t d = segment_axes.size(); d < plan.depth.size(); d++) here[plan.depth[d]] = 0;
          for (here[wide] = 0; here[wide] < length_[wide]; here[wide]++)
            narrow(*window, {outer_rows, at}, inner, run_axis, &begin, &end);
          T* copies =
              reinterpret_cast<T*>(scratch_ + plan.edges_offset) + (to_row - pointers) * length;
          auto copy_edges = [&](int64_t from, int64_t until) {
            for (int64_t x = from; x < until; x++) to_row[x] = copies + x * length;
            for (here[wide] = 0; here[wide] < length_[wide]; here[wide]++) {
              int64_t first = 0, last = run;
              narrow(*window, {outer_rows, at}, inner, run_axis, &first, &last);
              for (int64_t x = from; x < until; x++) {
                T* part = copies + x * length + here[wide] * wide_step;
                if (x >= first && x < last)
                  memcpy(part, base + x * a_step + here[wide] * wide_step,
                         size_t(wide_step) * sizeof(T));
                else
                  memset(part, fill, size_t(wide_step) * sizeof(T));
              }
            }
          };
          if (begin > 0) copy_edges(0, begin);
          if (end < run) copy_edges(end, run);
        }
        for (int64_t x = begin; x < end; x++) to_row[x] = base + x * a_step;
      });
    int64_t c = offset_at(to, outer_rows, at), add = offset_at(added, outer_rows, at);
    for (int64_t x = 0; x < run; x++) {
      c_offset[r + x] = c + x * c_step;
      added_offset[r + x] = add + x * added_step;
    }
    r += run;
  });
  bool is_even = true;
  for (int64_t x = 2; x < row_count && is_even; x++)
    is_even = c_offset[x] - c_offset[x - 1] == c_offset[1] - c_offset[0] &&
              added_offset[x] - added_offset[x - 1] == added_offset[1] - added_offset[0];
  return {pointers, c_offset, added_offset, row_count, segments, length, is_even};
}

}  // namespace sconce::tile
