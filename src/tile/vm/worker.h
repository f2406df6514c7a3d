// One thread's work on the tiles of a plan: where the values of the tile at hand lie, and the loops
// over their axes. The instructions are in run_*.cc, by subject.
#pragma once

#include <algorithm>
#include <cstring>
#include <new>

#include "tile/kernels/blocking.h"
#include "tile/vm/plan.h"

namespace sconce::tile {

template <class T>
struct DotRows;  // run_dot_rows.h
template <class T>
struct RowTable;
struct DotSegments;

class Worker {
 public:
  Worker(const Plan::State& plan, Span<uint8_t* const> data, uint8_t* scratch)
      : p_(plan), k_(plan.kernel), table_(*plan.table), data_(data), scratch_(scratch) {
    refs_ = reinterpret_cast<Ref*>(scratch + plan.worker_offset + worker_bytes());
    for (size_t v = 0; v < k_.values.size(); v++) new (refs_ + v) Ref();
    for (size_t a = 0; a < k_.axes.size(); a++) {
      first_[a] = 0;
      length_[a] = k_.axes[a].kind == AxisKind::span ? p_.extent[a] : 1;
    }
    memset(scratch_ + p_.zeros_offset, 0, size_t(p_.zeros) * 4);
    for (const DotPlan& dot : p_.dots)
      for (int64_t step = 0; step < dot.packed_steps; step++)
        new (packed_columns(dot) + step) PackedColumns();
    for (const DotPlan& dot : p_.dots)
      if (dot.kind == DotPlan::Kind::bytes || dot.kind == DotPlan::Kind::bytes_vector)
        memset(scratch_ + dot.fill_offset, dot.fill, size_t(p_.fills));
    for (const StripPlan& plan : p_.strips)
      for (const StripPlan::Slot& slot : plan.slots)
        if (slot.kind == StripPlan::Slot::Kind::number)
          std::fill_n(row_of(plan, slot), kStrip, slot.number);
  }

  // Of the tables of strips: pointers to slots, and what moves them.
  static uint64_t slots_bytes(const StripPlan& plan) {
    return plan.slots.size() * (sizeof(float*) + sizeof(MovingSlot));
  }

  // A worker lies at Plan::State::worker_offset of its scratch, the references to its values behind
  // it.
  static uint64_t worker_bytes() { return round_up(sizeof(Worker)); }

  // Of a panel of so many steps that is packed here.
  static int64_t bytes_packed_here(const DotPlan& plan, int64_t depth) {
    return plan.kind == DotPlan::Kind::bytes
               ? (pieces(depth, kQuad) * kQuad + int64_t(sizeof(int32_t))) * kPanelColumns
               : depth * kPanelColumns * int64_t(sizeof(float));
  }

  Result<void> run_tile(int64_t task) {
    for (size_t g = p_.grid.size(); g-- > 0;) {
      size_t a = size_t(p_.grid[g]);
      first_[a] = task % p_.grid_count[g] * p_.tile[a];
      task /= p_.grid_count[g];
      length_[a] = std::min(p_.tile[a], p_.extent[a] - first_[a]);
    }
    return run_body(0, k_.body.size());
  }

 private:
  // An index along some axes.
  struct At {
    Span<const AxisId> axes;
    const int64_t* index;
    int64_t of(AxisId a) const {
      for (AxisId own : axes)
        if (own == a) return index[a];
      return 0;
    }
  };

  // Where a load or store is inside its buffer along an axis of the tile, `run`, or along one
  // within it, `wide`, for places of other axes. What holds for all of the tile is found out once.
  class Reach {
   public:
    Reach() {}  // inside everywhere
    // Places have an index for each axis of `outer` and of `inner`; other axes stay where they
    // begin.
    Reach(const Worker& worker, const Instruction& access, Span<const AxisId> outer,
          Span<const AxisId> inner, AxisId run, AxisId wide = kNone);
    // Goes to a place; indices by axis.
    void go_to(const int64_t* outer, const int64_t* inner);
    // Narrows [begin, end) of `run` to where it is inside at `part` of `wide`.
    void narrow_run(int64_t part, int64_t* begin, int64_t* end) const;
    // Narrows [begin, end) of `wide` to where it is inside at `x` of `run`.
    void narrow_wide(int64_t x, int64_t* begin, int64_t* end) const;

   private:
    // A dim of the buffer that some of the tile lies outside of.
    struct Dim {
      const std::vector<Term>* terms;
      int64_t size, run, wide;  // steps for one of each
      int64_t first, here;      // positions where the tile begins, and at the place
    };
    Dim dims_[kRankMax];
    size_t count_ = 0;
    AxisSet outer_ = 0, inner_ = 0;
  };

  // A slot that differs from place to place.
  struct MovingSlot {
    float** slot;
    Reach reach;
    Ref tile;
    float* outside;            // what stands for places that are not inside
    float* row;                // of places: where it begins
    int64_t step, begin, end;  // from place to place; which places are inside
  };
  float* row_of(const StripPlan& plan, const StripPlan::Slot& slot) const {
    return reinterpret_cast<float*>(scratch_ + plan.rows_offset) + slot.of * kStrip;
  }

  // worker.cc
  Result<void> run_body(size_t from, size_t to);
  Result<void> run_loop(size_t begin, size_t end);
  void carry(const CarryPlan& plan, const std::vector<ValueId>& from,
             const std::vector<ValueId>& to);
  void settle(ValueId v);
  void rename(const Instruction& i);
  Ref buffer_ref(const Instruction& i) const;
  bool is_inside(const Instruction& i) const;
  bool steps_fit(const std::vector<AxisId>& axes, const Ref& r, bool written) const;
  void copy(Span<const AxisId> axes, const Ref& out, const Ref& x, size_t bytes);
  // run_load.cc
  Result<void> load(const Instruction& i);
  Result<void> load_into(const Instruction& i, const Ref& out, const std::vector<AxisId>& axes,
                         DType dtype);
  int64_t position_at(const Index& index, const int64_t* at) const;
  Error outside(const Instruction& i, size_t d, int64_t position) const;
  Result<void> load_element(const Instruction& i, const int64_t* at, const Ref& out, DType dtype,
                            int64_t to);
  bool reads_panel_column(const Instruction& i, AxisId run, const Ref& out) const;
  Result<void> load_panel_columns(const Instruction& i, const Ref& out,
                                  const std::vector<AxisId>& axes);
  bool gathers_along(const Instruction& i, AxisId run, size_t* gathered) const;
  template <class Whole, class T>
  Result<void> load_gathered(const Instruction& i, const Ref& out, const std::vector<AxisId>& axes,
                             size_t gathered);
  bool lies_in_runs(const Instruction& i, const Ref& out, const std::vector<AxisId>& axes) const;
  Result<void> load_runs(const Instruction& i, const Ref& out, const std::vector<AxisId>& axes,
                         DType dtype);
  bool load_boxes(const Instruction& i, const Ref& out, const std::vector<AxisId>& axes,
                  DType dtype);
  void fill_with(const Instruction& i, const Ref& out, const std::vector<AxisId>& axes,
                 DType dtype);
  // run_store.cc
  Result<void> store(const Instruction& i, size_t n);
  bool store_part(const Instruction& i, const std::vector<AxisId>& axes, Ref to, Ref from,
                  DType held);
  bool convert(const std::vector<AxisId>& axes, const Ref& out, DType to, const Ref& x, DType from);
  void convert_halves(const std::vector<AxisId>& axes, const Ref& out, DType to, const Ref& x,
                      DType from);
  // From a 16-bit type to f32.
  ConvertKernelFn widen(DType from) const {
    return table_
        .convert[int(from == DType::f16 ? Element::f16 : Element::bf16)][int(Element::f32)];
  }
  // run_pointwise.cc
  void pointwise(const Instruction& i);
  void round_to_bytes(const Instruction& i, const RoundingPlan& plan);
  void plain_pointwise(const Instruction& i);
  bool compare_indices(const Instruction& i);
  // run_strips.cc
  void run_strips(const StripPlan& plan);
  // run_reduce.cc
  void reduce(const Instruction& i, size_t n);
  void reduce_window(const Instruction& i, size_t n, const Instruction& window);
  void reduce_window_of_bytes(const Instruction& i, size_t n, const Instruction& window);
  bool reduce_rows(const Instruction& i);
  void exp_and_sum(const Instruction& i, const PowersPlan& plan);
  template <class F>
  void each_rows(const std::vector<AxisId>& axes, F f);
  bool reduce_across_rows(const Instruction& i);
  bool reduce_gathered(const Instruction& i);
  bool reduce_in_order(const Instruction& i);
  void reduce_integers(const Instruction& i);
  void reduce_plain(const Instruction& i);
  void fill(const std::vector<AxisId>& axes, const Ref& out, float x);
  void accumulate(const std::vector<AxisId>& axes, Binary f, const Ref& to, const Ref& x);
  // run_taps.h
  template <class F>
  void each_tap(const Instruction& window, Span<const AxisId> taps, Span<const AxisId> outer, F f);
  template <class Block, class T, class F>
  bool each_row_of_taps(size_t n, const Instruction& window, const std::vector<AxisId>& taps,
                        const std::vector<AxisId>& out, const Ref& to, const T* outside, F f);
  // run_dot.cc
  struct PanelDot;
  struct DotPart;
  Result<void> dot(const Instruction& i, size_t n);
  void dot_plain(const Instruction& i);
  Result<void> dot_panels(const Instruction& i, const DotPlan& plan);
  void multiply(const PanelDot& dot, const DotPart& part);
  void pack(const Ref& b, const DotPlan& plan, int64_t depth, int64_t columns, uint8_t* panels);
  void pack_bytes(const int8_t* b, const PackBlock& call);
  const uint8_t* columns_of(const Instruction& dot, const DotPlan& plan);
  Result<DotRows<float>> rows_of(const Instruction& dot, const DotPlan& plan);
  DotInit begin_sums(const Instruction& dot, const DotPlan& plan, const float** bias);
  const uint8_t* panels_of(const Instruction& load) const;
  Ref copied_rows(const DotPlan& plan) const;
  DotSegments cut_depth(const DotPlan& plan, const Ref& rows, bool partly_outside) const;
  // run_dot_rows.h
  template <class T>
  RowTable<T> row_table(const DotPlan& plan, const DotRows<T>& rows, const Ref& to,
                        const Ref& added);
  template <class T>
  void point_at_run(const DotRows<T>& rows, const Reach& reach, AxisId axis, const T* base,
                    const T** to_row) const;
  template <class T>
  void point_or_copy_run(const DotRows<T>& rows, const Reach& reach, AxisId axis,
                         const DotSegments& segments, const T* base, const T** to_row,
                         T* copies) const;
  // run_dot_vector.cc
  void dot_vector(const Instruction& i, size_t n, const DotPlan& plan);
  bool dot_depthwise(const Instruction& i, size_t n, const DotPlan& plan, const Ref& to);
  template <class T>
  WindowRow<T> row_of_columns(const Instruction& window, const SlidingColumns& columns,
                              const At& outer, const At& tap, AxisId width, const T* base) const;
  template <class T, class F>
  void slide(size_t n, const Instruction& window, const std::vector<AxisId>& axes, const Ref& to,
             SlidingWindows<T>& call, F run);
  void dot_bytes_vector(const Instruction& i, size_t n, const DotPlan& plan);
  // run_dot_bytes.cc
  Result<void> dot_bytes(const Instruction& i, const DotPlan& plan);
  Result<DotRows<int8_t>> rows_of_bytes(const DotPlan& plan);
  const float* row_scales(const DotPlan& plan);
  const int32_t* taken_from_rows(const DotPlan& plan, const RowTable<int8_t>& table, DotI8 call);
  const float* scales_of(const BytesPlan& bytes, int64_t* step) const;
  const int32_t* integer_bias(const Instruction& dot);
  // run_dot_weights.cc
  struct OwnRows {
    const float* scales;
    const int32_t *zeros, *sums;  // [row], [row][group]
    int64_t groups;
  };
  struct WeightedColumns;
  Result<void> dot_weights(const DotPlan& plan);
  void dot_numbers(const WeightedColumns& columns);
  void dot_own_by_nibbles(const WeightedColumns& columns);
  void dot_own_by_bytes(const WeightedColumns& columns);
  OwnRows own_rows(const DotPlan& plan);
  void quantize_rows(const DotPlan& plan, int8_t* q);

  PackedColumns* packed_columns(const DotPlan& plan) const {
    return reinterpret_cast<PackedColumns*>(scratch_ + plan.packed_offset);
  }
  const ValuePlan& plan_of(ValueId v) const { return p_.values[size_t(v)]; }
  Ref& ref(ValueId v) { return refs_[size_t(v)]; }
  bool has_dimension(AxisId a) const { return !k_.axes[size_t(a)].each; }
  int64_t count_of(const std::vector<AxisId>& axes) const {
    int64_t count = 1;
    for (AxisId a : axes) count *= length_[a];
    return count;
  }
  // Index into dim d of a buffer for the current tile, the axes' own steps aside.
  int64_t index_base(const Index& index) const {
    int64_t position = index.offset;
    for (const Term& term : index.terms) position += term.factor * first_[term.axis];
    return position;
  }
  static float* floats(const Ref& r) { return reinterpret_cast<float*>(r.data); }
  static int64_t read_integer(const Ref& r, DType dtype, int64_t offset) {
    switch (dtype) {
      case DType::i64: return reinterpret_cast<const int64_t*>(r.data)[offset];
      case DType::i32: return reinterpret_cast<const int32_t*>(r.data)[offset];
      case DType::i8: return reinterpret_cast<const int8_t*>(r.data)[offset];
      default: return r.data[offset] != 0;
    }
  }
  static void write_integer(const Ref& r, DType dtype, int64_t offset, int64_t x) {
    switch (dtype) {
      case DType::i64: reinterpret_cast<int64_t*>(r.data)[offset] = x; break;
      case DType::i32: reinterpret_cast<int32_t*>(r.data)[offset] = int32_t(x); break;
      case DType::i8:
        reinterpret_cast<int8_t*>(r.data)[offset] = int8_t(std::clamp<int64_t>(x, -128, 127));
        break;
      default: r.data[offset] = x != 0;
    }
  }
  static int64_t offset_at(const Ref& r, Span<const AxisId> axes, const int64_t* at) {
    int64_t offset = 0;
    for (AxisId a : axes) offset += at[a] * r.stride[a];
    return offset;
  }
  static bool index_has(const Index& index, AxisId axis) {
    return std::any_of(index.terms.begin(), index.terms.end(),
                       [&](const Term& term) { return term.axis == axis; });
  }

  // Calls f(at) for every coordinate of `axes`, the last fastest; at[axis] counts within the
  // tile.
  template <class F>
  void each(Span<const AxisId> axes, F f) {
    int64_t at[kAxesMax];
    for (AxisId a : axes) {
      if (length_[a] == 0) return;
      at[a] = 0;
    }
    while (true) {
      f(at);
      size_t d = axes.size();
      while (d > 0 && ++at[axes[d - 1]] == length_[axes[d - 1]]) at[axes[--d]] = 0;
      if (d == 0) return;
    }
  }

  // Blocks of rows x n that cover `axes`: f(offsets, row strides, n strides, rows, n).
  template <size_t kRefs, class F>
  void blocks(Span<const AxisId> axes, const Ref* const (&refs)[kRefs], F f) {
    AxisId live[kAxesMax];
    size_t count = 0;
    for (AxisId a : axes) {
      if (length_[a] == 0) return;
      if (length_[a] > 1) live[count++] = a;
    }
    int64_t n = 1, rows = 1;
    int64_t n_stride[kRefs], row_stride[kRefs] = {};
    for (size_t r = 0; r < kRefs; r++) n_stride[r] = 1;
    if (count > 0) {
      AxisId a = live[--count];
      n = length_[a];
      for (size_t r = 0; r < kRefs; r++) n_stride[r] = refs[r]->stride[a];
      while (count > 0) {
        AxisId next = live[count - 1];
        bool joins = true;
        for (size_t r = 0; r < kRefs; r++) joins &= refs[r]->stride[next] == n * n_stride[r];
        if (!joins) break;
        n *= length_[next];
        count--;
      }
    }
    if (count > 0) {
      AxisId a = live[--count];
      rows = length_[a];
      for (size_t r = 0; r < kRefs; r++) row_stride[r] = refs[r]->stride[a];
    }
    int64_t at[kAxesMax] = {};
    int64_t offset[kRefs] = {};
    while (true) {
      f(offset, row_stride, n_stride, rows, n);
      size_t d = count;
      while (d > 0) {
        AxisId a = live[d - 1];
        if (++at[a] < length_[a]) {
          for (size_t r = 0; r < kRefs; r++) offset[r] += refs[r]->stride[a];
          break;
        }
        for (size_t r = 0; r < kRefs; r++) offset[r] -= refs[r]->stride[a] * (length_[a] - 1);
        at[a] = 0;
        d--;
      }
      if (d == 0) return;
    }
  }

  // The same for block kernels: all refs step along n by 0 or 1 (the first, what is written, by 1).
  // Where elements lie apart each is a row of its own.
  template <size_t kRefs, class F>
  void unit_blocks(Span<const AxisId> axes, const Ref* const (&refs)[kRefs], F f) {
    blocks(axes, refs,
           [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
             bool fits = n == 1 || step[0] == 1;
             for (size_t k = 1; k < kRefs; k++) fits &= n == 1 || step[k] == 0 || step[k] == 1;
             if (fits) return f(o, row, step, rows, n);
             int64_t offset[kRefs], one[kRefs];
             std::copy_n(o, kRefs, offset);
             std::fill_n(one, kRefs, 1);
             for (int64_t r = 0; r < rows; r++) {
               f(offset, step, one, n, int64_t(1));
               for (size_t k = 0; k < kRefs; k++) offset[k] += row[k];
             }
           });
  }

  const Plan::State& p_;
  const Kernel& k_;
  const KernelTable& table_;
  Span<uint8_t* const> data_;
  uint8_t* scratch_;
  Ref* refs_;
  int64_t first_[kAxesMax] = {}, length_[kAxesMax] = {}, begin_[kAxesMax] = {};
};

}  // namespace sconce::tile
