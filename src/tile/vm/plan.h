// What a plan is: everything that does not depend on where the data lies, found out once by
// plan_*.cc and read by the workers (worker.h) for every tile.
#pragma once

#include <cmath>
#include <optional>

#include "tile/vm.h"

namespace sconce::tile {

inline constexpr int64_t kDotDepth = 512;  // steps of a dot before the next block of rows
inline constexpr uint64_t kNoTaps = UINT64_MAX,
                          kNoEdges = UINT64_MAX;  // offsets of what is not there

// Of elements in memory: those of values, and bytes that are kept as they are.
inline size_t computed_bytes(DType dtype) {
  return dtype == DType::b8 || dtype == DType::i8 ? 1 : dtype == DType::i64 ? 8 : 4;
}

inline uint64_t round_up(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

// A value while a tile is computed: strides in elements by axis, 0 for axes it does not have.
struct Ref {
  uint8_t* data = nullptr;
  int64_t stride[kAxesMax] = {};
};

enum class Home : uint8_t {
  constant,  // one element, kept in the plan
  scratch,   // memory of its own
  buffer,    // where it is loaded from, or stored to
  folded,    // never made: the dot or the reduction that uses it reads its buffer
  alias,     // where the value lies that it is another name of
};

struct ValuePlan {
  DType dtype = DType::f32;
  DType held = DType::f32;   // in memory: dtype, or i8 for i32 that lies in a buffer of bytes
  std::vector<AxisId> axes;  // outermost first
  Home home = Home::scratch;
  int64_t count = 1;  // elements, at most
  int64_t stride[kAxesMax] = {};
  uint64_t offset = 0;       // scratch
  int32_t store = kNone;     // home buffer, of a computed value: the store that it is made for
  double number = 0;         // constant
  int32_t producer = kNone;  // instruction
  int32_t uses = 0, last_use = 0;
};

// What the panels of a dot were packed from, by a worker.
struct PackedColumns {
  const uint8_t* data = nullptr;  // null: nothing yet
  int64_t depth = 0, columns = 0;
};

// How an exact sum of a dot becomes 8 bits, when all that follows does just that, or a number.
struct BytesPlan {
  int32_t store = kNone;    // instruction; none: sums stay sums, or else
  bool is_kept = false;     // become bytes in scratch
  bool to_numbers = false;  // become numbers
  int32_t scale = kNone;    // the load of scales by column; none: `scale_number` for all
  float scale_number = 1;
  // Of numbers: a scale by row, the load of a bias by column; or none.
  ValueId row_scale = kNone;
  uint64_t row_scale_offset = 0;
  int32_t bias = kNone;
  LimitI8 to = {};
  bool is_again = false;  // become others by `again`
  int32_t added = kNone;  // the load of what is added then
  AgainI8 again = {};
};

// A dot by quantised weights whose results are numbers, with what makes them of its sums. Loads are
// instructions.
struct WeightsPlan {
  ValueId x = kNone;  // numbers, by row and step
  // Rows of bytes of their own range: q = limited(rint(x * inverse) + zero), as i32.
  ValueId quantized = kNone, inverse = kNone, zero = kNone;
  int32_t low = -128, high = 127;
  ValueId subtracted = kNone;  // from q, as i32, by row; none: nothing
  ValueId row_scale = kNone;
  int32_t weights = kNone;  // the load of them
  bool halves = false;      // of 4 bits
  int64_t group = 0;        // steps of a group; 0: no groups
  int32_t scale = kNone;    // the load of scales by column, or by group and column; none:
  float scale_number = 1;   // the scale of all columns
  int32_t moved = kNone;    // the load of what the zero point adds to each column
  int32_t bias = kNone;     // or none
  uint64_t by_row_offset = 0;

  bool is_own() const { return quantized != kNone; }
};

// How windows slide: those along the width of the result share columns, when that is worth it,
// along the last axis of the window. Else each window is a column of its own.
struct SlidingColumns {
  AxisId axis = kNone;                       // of the window; none: nothing is shared
  size_t dim = 0;                            // of the load, which the axis and the width move
  int64_t unit = 1;                          // positions of that from column to column
  int64_t across = 1, step = 1, spread = 1;  // SlidingWindows
  std::vector<AxisId> down;                  // the other axes of the window
  int64_t rows = 0;                          // of pixels, that are done at a time
};

// Numbers that are rounded to bytes where they are stored: QuantizeBlock has the steps.
struct RoundingPlan {
  ValueId x = kNone;
  float scale = 1;
  int32_t zero = 0, low = 0, high = 0, none = 0;
};

// What a dot does, found out once.
struct DotPlan {
  // bytes and bytes_vector: as panels and vector, of integers.
  enum class Kind : uint8_t {
    panels,
    packed_here,
    vector,
    bytes,
    bytes_vector,
    weights,
    plain
  } kind = Kind::plain;
  bool swapped = false;       // rows are operand 2
  AxisId column = kNone;      // none: a single column
  std::vector<AxisId> rows;   // outermost first
  std::vector<AxisId> depth;  // contracted, outermost first
  std::vector<AxisId> rows_and_depth;
  DType panels_of = DType::f32;  // elements of the panels: f32, f16 or bf16
  bool rows_copied = false;      // the rows' operand is put into scratch in the order of the dot
  uint64_t rows_offset = 0, panels_offset = 0, pointers_offset = 0;
  // The load of columns that are bytes and are packed here: as numbers, or as bytes. None
  // elsewhere.
  int32_t bytes_load = kNone;
  // Columns packed here that the next tile may read again: those of each step of a serial axis, if
  // there is one, with a PackedColumns for each.
  AxisId packed_axis = kNone;
  int64_t packed_steps = 0;                      // 0: packed for every tile
  uint64_t packed_bytes = 0, packed_offset = 0;  // of a step; of the PackedColumns
  uint64_t edges_offset = kNoEdges;  // copies of short runs that are partly outside; or none
  float lo = -INFINITY, hi = INFINITY;
  int32_t residual = kNone;  // value added after the sum
  int32_t function = kNone;  // Unary, of what comes out then
  ValueId result = kNone;    // what comes out after all that
  int64_t depth_block = kDotDepth;
  BytesPlan bytes;
  WeightsPlan weights;
  size_t run_axes = SIZE_MAX;  // bytes: how many of the depth lie in a run of panels
  uint64_t fill_offset = 0;    // bytes: a run of what lies outside
  int8_t fill = 0;
  int32_t rows_load = kNone;  // bytes
  // bytes: what is taken from all of them. Where that of columns is not 0, a column of ones and
  // what each row's sum takes from its results lie behind the packed columns.
  int32_t rows_zero = 0, columns_zero = 0;
  uint64_t row_sums_offset = 0;
  SlidingColumns columns;  // vector and bytes_vector
};

// An operand of a dot: a load of bytes, from which a zero point may be taken.
struct CenteredBytes {
  int32_t load = kNone;         // instruction
  int32_t subtraction = kNone;  // instruction, or none
  int32_t zero = 0;
};

// e^(x - center) whose sums along rows are made with it: of the exp; the subtraction and the sum
// are skipped.
struct PowersPlan {
  ValueId x = kNone, center = kNone;
  ValueId sums = kNone;  // or none: an exp like any other
};

// Instructions that are the steps of a transform.
struct FoundTransform {
  TransformKind kind = {};
  size_t steps = 0;
  ValueId values[kTransformValuesMax];  // inputs, then what the steps make
};

// Pointwise instructions that are done strip by strip along the innermost axis: what they have in
// between is never whole. They run where the last of them stands.
struct StripPlan {
  struct Slot {
    enum class Kind : uint8_t { value, load, store, row, number } kind = Kind::value;
    int32_t of = kNone;  // value: which; load, store: the instruction; row: its place in scratch
    int32_t outside = kNone;  // load: the slot of the number that lies there; store: a row
    float number = 0;
  };
  std::vector<AxisId> outer;  // outermost first
  AxisId inner = kNone;
  std::vector<ValueId> made;  // what others use, or what is computed where it is stored
  std::vector<Slot> slots;
  std::vector<StripStep> steps;
  std::vector<uint16_t> operands;  // of transforms: slots
  int32_t rows = 0;                // of kStrip floats
  uint64_t rows_offset = 0, slots_offset = 0;
};

// Values that are copied onto carried ones; those that would be overwritten before they are read
// are kept aside in scratch.
struct CarryPlan {
  static constexpr uint64_t kNotAside = UINT64_MAX;
  std::vector<uint64_t> aside;  // offsets in scratch
};

inline AxisSet set_of(const std::vector<AxisId>& axes) {
  AxisSet set = 0;
  for (AxisId a : axes) set |= AxisSet(1) << a;
  return set;
}

struct Plan::State {
  Kernel kernel;
  std::vector<BufferView> shapes;
  const KernelTable* table = nullptr;
  std::vector<int64_t> extent, tile;  // by axis
  std::vector<AxisId> grid;           // parallel axes
  std::vector<int64_t> grid_count;    // tiles along each
  bool keeps_rows = false;            // of a dot, in scratch for what comes after it
  int64_t tasks = 0, grain = 1;       // tiles; how many of them a thread takes at once
  std::vector<PanelShape> panels;     // by buffer; only those of packed ones are filled
  std::vector<AxisId> order;          // of all axes, outermost first
  std::vector<ValuePlan> values;
  std::vector<DotPlan> dots;                // by instruction; only those of dots are filled
  std::vector<RoundingPlan> roundings;      // by instruction: of casts to bytes, or without an x
  std::vector<std::vector<int32_t>> users;  // by value: instructions
  std::vector<bool> skipped;                // by instruction: done as part of another one
  std::vector<int32_t> partner;             // serial: its yield; yield: its serial
  std::vector<uint8_t> constants;           // 8 bytes each, by value
  std::vector<std::vector<AxisId>> stored;  // by instruction: axes of a store, outermost first
  std::vector<CarryPlan> carries;           // by instruction: of serial and yield
  std::vector<PowersPlan> powers;           // by instruction: of exp
  std::vector<uint64_t> taps_offset;        // by instruction: pointers to what a window covers
  std::vector<StripPlan> strips;
  std::vector<int32_t> strips_at;  // by instruction: that ends here, or none
  uint64_t scratch = 0, zeros_offset = 0, outside_offset = 0, worker_offset = 0;
  int64_t zeros = 0;  // floats that padded rows point to
  int64_t fills = 0;  // bytes that those of integers point to

  // As Plan::make().
  static Result<std::unique_ptr<State>> of(const Kernel& kernel, Span<const BufferView> shapes,
                                           const KernelTable& table, int threads,
                                           const Schedule& schedule);
  Result<void> make(int threads, const Schedule& schedule);

  // plan_values.cc
  void move_dots();
  void choose_order();
  AxisId reduced_row() const;
  AxisId read_row() const;
  void describe_values();
  void keep_constant(ValueId v, const Instruction& made);
  void name_again(ValueId v, const Instruction& rename);
  // plan_dot.cc
  void plan_dot(size_t n);
  bool plan_rows_by_columns(size_t n, bool swapped);
  bool plan_window(size_t n, bool swapped);
  void share_columns(size_t n, const Instruction& window, AxisId width);
  bool has_rows_in_place(const Instruction& dot, ValueId rows) const;
  bool stays_inside_along(const Instruction& load, AxisId axis) const;
  bool find_panel_axes(const std::vector<AxisId>& axes, ValueId columns, size_t* run_axes) const;
  void fold_epilogue(size_t n);
  void fold_bytes(size_t n, ValueId columns);
  static bool packs_here(const DotPlan& plan);
  const Instruction* packed_load(const Instruction& dot, const DotPlan& plan) const;
  bool can_pack_once(const Instruction& dot, const DotPlan& plan) const;
  bool make_part(size_t n, const std::vector<int32_t>& parts);
  bool take_along(size_t n, const std::vector<int32_t>& taken);
  // plan_dot_bytes.cc
  void plan_integer_dot(size_t n);
  bool plan_rows_of_bytes(size_t n, bool swapped);
  std::optional<CenteredBytes> centered_bytes(ValueId v) const;
  std::optional<AxisId> file_columns(size_t n, ValueId columns, const CenteredBytes& bytes);
  std::optional<AxisId> buffer_columns(size_t n, const CenteredBytes& bytes);
  bool plan_window_of_bytes(size_t n, bool swapped);
  bool is_bytes_bias(ValueId initial, AxisId column) const;
  bool find_fill(const Instruction& load, int8_t* fill) const;
  bool has_runs_of_bytes(const Instruction& dot, const Instruction& load, size_t run_axes) const;
  bool has_even_taps(const Instruction& dot, const Instruction& weights) const;
  bool fold_bytes(size_t n, bool may_add);
  void fold_result(size_t n);
  // plan_dot_weights.cc
  bool plan_weights(size_t n);
  bool lies_in_rows(ValueId v, const std::vector<AxisId>& depth) const;
  // plan_homes.cc
  void fold_windows();
  void fold_powers();
  void read_in_place();
  void compute_in_place();
  void fold_roundings();
  void keep_order(ValuePlan* value) const;
  std::vector<int32_t> find_rounding(size_t n, RoundingPlan* rounding) const;
  void find_stored_axes();
  bool is_known_load(ValueId v, DType dtype) const;
  bool has_long_rows(const Instruction& i, const std::vector<AxisId>& axes) const;
  bool is_whole_store(const Instruction& store, ValueId v) const;
  bool is_narrow_maximum(const Instruction& reduce) const;
  bool is_row_of_pixels(const std::vector<AxisId>& out) const;
  bool stays_narrow(ValueId v) const;
  // plan_strips.cc
  void find_strips();
  // plan_transforms.cc
  std::optional<FoundTransform> find_transform(Span<const int32_t> instructions) const;
  // plan_tiles.cc, plan_memory.cc
  Result<void> choose_tiles(int threads, const Schedule& schedule);
  Result<void> place_values();

  // What planning and running ask of a kernel.
  bool has_dimension(AxisId a) const { return !kernel.axes[size_t(a)].each; }
  // True when a load is of a window that slides over its buffer: along every dim, at most one axis
  // beside the contracted ones runs, and upwards.
  bool slides(const Instruction& load, AxisSet contracted) const {
    for (const Index& index : load.index) {
      int outer = 0;
      for (const Term& term : index.terms) {
        if (!has_dimension(term.axis) || (contracted >> term.axis & 1)) continue;
        outer++;
        if (term.factor <= 0) return false;
      }
      if (outer > 1) return false;
    }
    return true;
  }
  // A constant of f32, and which.
  bool is_constant(ValueId v, double* number) const {
    const ValuePlan& value = values[size_t(v)];
    *number = double(float(value.number));
    return value.home == Home::constant && value.dtype == DType::f32 &&
           producer(v).op == Op::constant;
  }
  AxisSet axes_of(ValueId v) const { return kernel.values[size_t(v)].axes; }
  bool is_load(ValueId v) const {
    int32_t p = values[size_t(v)].producer;
    return p != kNone && kernel.body[size_t(p)].op == Op::load;
  }
  const Instruction& producer(ValueId v) const {
    return kernel.body[size_t(values[size_t(v)].producer)];
  }
  // The value in whose memory this one lies.
  ValueId named(ValueId v) const {
    while (values[size_t(v)].home == Home::alias) v = producer(v).operands[0];
    return v;
  }
  bool is_gather(const Instruction& i) const {
    for (const Index& index : i.index)
      if (index.value != kNone) return true;
    return false;
  }
  // Elements that one step along an axis moves in the buffer of a load or store.
  int64_t buffer_stride(const Instruction& i, AxisId a) const {
    int64_t stride = 0;
    for (size_t d = 0; d < i.index.size(); d++)
      for (const Term& term : i.index[d].terms)
        if (term.axis == a) stride += term.factor * shapes[size_t(i.buffer)].strides[d];
    return stride;
  }
  // True when no index of a load or store can leave its buffer, wherever the tile is.
  bool always_inside(const Instruction& i) const {
    if (is_gather(i)) return false;
    for (size_t d = 0; d < i.index.size(); d++)
      if (!is_dim_inside(i, d)) return false;
    return true;
  }
  bool is_dim_inside(const Instruction& i, size_t d) const {
    int64_t low = i.index[d].offset, high = low;
    for (const Term& term : i.index[d].terms) {
      int64_t reach = term.factor * (extent[size_t(term.axis)] - 1);
      (reach < 0 ? low : high) += reach;
    }
    return low >= 0 && high < shapes[size_t(i.buffer)].sizes[d];
  }
  // Axes along which a store runs.
  AxisSet stored_set(const Instruction& store) const {
    AxisSet axes = 0;
    for (const Index& index : store.index)
      for (const Term& term : index.terms)
        if (has_dimension(term.axis)) axes |= AxisSet(1) << term.axis;
    return axes;
  }
  AxisId innermost(const std::vector<AxisId>& axes) const {
    return axes.empty() ? kNone : axes.back();
  }
};

}  // namespace sconce::tile
