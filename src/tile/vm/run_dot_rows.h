// The rows of a dot: where each begins in memory, whatever lies outside the buffer.
#pragma once

#include <algorithm>
#include <cstring>

#include "tile/kernels/blocking.h"
#include "tile/vm/run_taps.h"

namespace sconce::tile {

// The operand that gives the rows, as T in memory.
template <class T>
struct DotRows {
  Ref at;
  const Instruction* window = nullptr;  // the load, when parts of it lie outside its buffer
  const T* outside = nullptr;           // what is read there
  int fill = 0;                         // or, around runs that are copied, bytes of this
};

// The steps of a dot, cut into runs that lie behind each other in memory.
struct DotSegments {
  Span<const AxisId> axes;  // of the segments; the depth axes after them are within each
  int64_t count = 0, length = 1;
  AxisId wide = kNone;    // within a segment: the axis of which parts may lie outside, or none
  int64_t wide_step = 0;  // steps of a segment for one index of that
};

// Where each row begins in each segment, in the result and in what is added.
template <class T>
struct RowTable {
  const T* const* pointers;  // [segment][row]
  const int64_t *c_offset, *added_offset;
  int64_t rows, segments, length;
  // Rows of the result, and of what is added, lie at equal distances: then offsets are not filled.
  bool is_even;
  int64_t c_step, added_step;

  int64_t c_at(int64_t r) const { return is_even ? r * c_step : c_offset[r]; }
  int64_t added_at(int64_t r) const { return is_even ? r * added_step : added_offset[r]; }

  // How many of `most` rows from r0 on do, and these distances.
  int64_t even_rows(int64_t r0, int64_t most, int64_t* c_stride, int64_t* added_stride) const {
    *c_stride = most > 1 ? c_at(r0 + 1) - c_at(r0) : 0;
    *added_stride = most > 1 ? added_at(r0 + 1) - added_at(r0) : 0;
    if (is_even) return most;
    int64_t even = 1;
    while (even < most && c_offset[r0 + even] - c_offset[r0 + even - 1] == *c_stride &&
           added_offset[r0 + even] - added_offset[r0 + even - 1] == *added_stride)
      even++;
    return even;
  }
};

// A tile of a block kernel: how many rows and panels, from which on, at which distances.
struct RowBlock {
  int64_t row, rows, panel, panels, column;
  int32_t columns;
  int64_t c_stride, added_stride;
  int64_t call, calls;  // which one of those of the same panels that follow one another
};
// Calls f(RowBlock) for tiles of all rows and columns, of integer weights. Few of them stay near
// while rows pass, and results are written whole; else rows stay.
template <class T, class Kernels, class F>
void each_block(const RowTable<T>& table, const Kernels& kernels, int64_t columns, int64_t depth,
                F f) {
  constexpr int64_t kNearBytes = 24 * 1024;  // of weights, beside which rows fit the first cache
  const DotBlocking blocking = choose_blocking(kernels, table.rows, columns, depth);
  const int64_t panel_count = pieces(columns, kPanelColumns);
  const int64_t groups = pieces(panel_count, blocking.tile.panels);
  RowBlock block = {};
  auto at_group = [&](int64_t group) {
    block.panel = piece_start(panel_count, groups, group);
    block.panels = piece_start(panel_count, groups, group + 1) - block.panel;
    block.column = block.panel * kPanelColumns;
    block.columns = int32_t(std::min(columns - block.column, block.panels * kPanelColumns));
    f(static_cast<const RowBlock&>(block));
  };
  auto each_rows = [&](auto body) {
    block.call = 0;
    for (block.row = 0; block.row < table.rows; block.row += block.rows, block.call++) {
      int64_t left = table.rows - block.row;
      block.rows = table.even_rows(block.row, pieces(left, pieces(left, blocking.tile.rows)),
                                   &block.c_stride, &block.added_stride);
      body();
    }
  };
  const bool near = depth * columns <= kNearBytes;
  block.calls = near ? 1 : pieces(table.rows, blocking.tile.rows);
  if (near)
    each_rows([&] {
      for (int64_t group = 0; group < groups; group++) at_group(group);
    });
  else
    for (int64_t group = 0; group < groups; group++) each_rows([&] { at_group(group); });
}

template <class T>
RowTable<T> Worker::row_table(const DotPlan& plan, const DotRows<T>& rows, const Ref& to,
                              const Ref& added) {
  int64_t row_count = count_of(plan.rows);
  const DotSegments segments = cut_depth(plan, rows.at, rows.window != nullptr);
  auto* pointers = reinterpret_cast<const T**>(scratch_ + plan.pointers_offset);
  auto* c_offset =
      reinterpret_cast<int64_t*>(pointers + row_count * std::max<int64_t>(segments.count, 1));
  int64_t* added_offset = c_offset + row_count;
  T* copies = reinterpret_cast<T*>(scratch_ + plan.edges_offset);  // if there are any

  // By runs of rows along the last of their axes.
  AxisId run_axis = p_.innermost(plan.rows);
  int64_t run = run_axis == kNone ? 1 : length_[run_axis];
  auto step_of = [&](const Ref& of) { return run_axis == kNone ? 0 : of.stride[run_axis]; };
  int64_t c_step = step_of(to), added_step = step_of(added);
  Span<const AxisId> outer_rows(plan.rows.data(), plan.rows.empty() ? 0 : plan.rows.size() - 1);
  // Even when every axis goes on where the one within it ends.
  auto is_even_of = [&](const Ref& of, int64_t* step) {
    int64_t count = 1;
    *step = 0;
    for (size_t d = plan.rows.size(); d-- > 0;) {
      const int64_t length = length_[plan.rows[d]], stride = of.stride[plan.rows[d]];
      if (length == 1) continue;
      if (count == 1) *step = stride;
      if (stride != *step * count) return false;
      count *= length;
    }
    return true;
  };
  RowTable<T> table = {pointers,  c_offset,       added_offset,
                       row_count, segments.count, segments.length};
  table.is_even = is_even_of(to, &table.c_step) & is_even_of(added, &table.added_step);
  Reach reach;
  if (rows.window)
    reach = Reach(*this, *rows.window, outer_rows, segments.axes, run_axis, segments.wide);
  int64_t r = 0;
  each(outer_rows, [&](const int64_t* at) {
    int64_t s = 0;
    const T* row = reinterpret_cast<const T*>(rows.at.data) + offset_at(rows.at, outer_rows, at);
    if (segments.count > 0)
      each(segments.axes, [&](const int64_t* segment) {
        int64_t first = s++ * row_count + r;
        const T* base = row + offset_at(rows.at, segments.axes, segment);
        reach.go_to(at, segment);
        if (segments.wide == kNone)
          point_at_run(rows, reach, run_axis, base, pointers + first);
        else
          point_or_copy_run(rows, reach, run_axis, segments, base, pointers + first,
                            copies + first * segments.length);
      });
    if (!table.is_even) {
      int64_t c = offset_at(to, outer_rows, at), add = offset_at(added, outer_rows, at);
      for (int64_t x = 0; x < run; x++) {
        c_offset[r + x] = c + x * c_step;
        added_offset[r + x] = add + x * added_step;
      }
    }
    r += run;
  });
  return table;
}

// A run of rows along `axis` in one segment, which is inside the buffer as a whole or not at all.
template <class T>
void Worker::point_at_run(const DotRows<T>& rows, const Reach& reach, AxisId axis, const T* base,
                          const T** to_row) const {
  const int64_t run = axis == kNone ? 1 : length_[axis];
  const int64_t step = axis == kNone ? 0 : rows.at.stride[axis];
  int64_t begin = 0, end = run;
  reach.narrow_run(0, &begin, &end);
  std::fill(to_row, to_row + begin, rows.outside);
  for (int64_t x = begin; x < end; x++) to_row[x] = base + x * step;
  std::fill(to_row + end, to_row + run, rows.outside);
}

// The same where parts of a segment may be outside: rows of which some are get copies of their own.
template <class T>
void Worker::point_or_copy_run(const DotRows<T>& rows, const Reach& reach, AxisId axis,
                               const DotSegments& segments, const T* base, const T** to_row,
                               T* copies) const {
  const int64_t run = axis == kNone ? 1 : length_[axis], parts = length_[segments.wide];
  const int64_t step = axis == kNone ? 0 : rows.at.stride[axis];
  // Rows of which all is inside: those of which the first and the last part are.
  int64_t begin = 0, end = run;
  reach.narrow_run(0, &begin, &end);
  reach.narrow_run(parts - 1, &begin, &end);
  // Of the others the parts that are.
  auto copy_row = [&](int64_t x) {
    int64_t first = 0, last = parts;
    reach.narrow_wide(x, &first, &last);
    first *= segments.wide_step;
    last *= segments.wide_step;
    T* copied = copies + x * segments.length;
    memset(copied, rows.fill, size_t(first) * sizeof(T));
    memcpy(copied + first, base + x * step + first, size_t(last - first) * sizeof(T));
    memset(copied + last, rows.fill, size_t(segments.length - last) * sizeof(T));
    to_row[x] = copied;
  };
  for (int64_t x = 0; x < begin; x++) copy_row(x);
  for (int64_t x = begin; x < end; x++) to_row[x] = base + x * step;
  for (int64_t x = end; x < run; x++) copy_row(x);
}

}  // namespace sconce::tile
