#include "tile/vm.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <new>
#include <type_traits>

#include "tensor/half.h"
#include "tile/functions.h"
#include "tile/kernels/blocking.h"

namespace sconce::tile {
namespace {

constexpr int64_t kPlainTile = 4096;    // elements of a tile where nothing else decides
constexpr int64_t kWindowTile = 32768;  // where a window slides over a buffer and nothing is kept
constexpr int64_t kDotRows = 168;       // rows of a tile with a dot, about
constexpr int64_t kDotDepth = 512;      // steps of a dot before the next block of rows
constexpr int64_t kNearBytes = 24 * 1024;  // of weights, beside which rows fit the first cache
constexpr uint64_t kScratchMax = uint64_t(1) << 30;
constexpr int kThreadsMax = 1024;
constexpr uint64_t kNoTaps = UINT64_MAX, kNoEdges = UINT64_MAX;
constexpr int64_t kShortRun = 32;  // steps of a dot that are too few to begin anew after them

// Of elements in memory: those of values, and bytes that are kept as they are.
size_t computed_bytes(DType dtype) {
  return dtype == DType::b8 || dtype == DType::i8 ? 1 : dtype == DType::i64 ? 8 : 4;
}

uint64_t round_up(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

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

// How an exact sum of a dot becomes 8 bits, when all that follows does just that.
struct BytesPlan {
  int32_t store = kNone;  // instruction; none: sums stay sums
  int32_t scale = kNone;  // the load of scales by column; none: `scale_number` for all
  float scale_number = 1;
  LimitI8 to = {};
  bool is_again = false;  // become others by `again`
  int32_t added = kNone;  // the load of what is added then
  AgainI8 again = {};
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
    plain
  } kind = Kind::plain;
  bool swapped = false;       // rows are operand 2
  AxisId column = kNone;      // none: a single column
  std::vector<AxisId> rows;   // outermost first
  std::vector<AxisId> depth;  // contracted, outermost first
  std::vector<AxisId> rows_and_depth;
  bool rows_copied = false;  // the rows' operand is put into scratch in the order of the dot
  uint64_t rows_offset = 0, panels_offset = 0, pointers_offset = 0;
  uint64_t edges_offset = UINT64_MAX;  // copies of short runs that are partly outside; or none
  float lo = -INFINITY, hi = INFINITY;
  int32_t residual = kNone;  // value added after the sum
  ValueId result = kNone;    // what comes out after clamp and residual
  int64_t depth_block = kDotDepth;
  BytesPlan bytes;
  size_t run_axes = SIZE_MAX;  // bytes: how many of the depth lie in a run of panels
  uint64_t fill_offset = 0;    // bytes: a run of what lies outside
  int8_t fill = 0;
};

// Values that are copied onto carried ones; those that would be overwritten before they are read
// are kept aside in scratch.
struct CarryPlan {
  static constexpr uint64_t kNotAside = UINT64_MAX;
  std::vector<uint64_t> aside;  // offsets in scratch
};

}  // namespace

struct Plan::State {
  Kernel kernel;
  std::vector<BufferView> shapes;
  const KernelTable* table = nullptr;
  std::vector<int64_t> extent, tile;  // by axis
  std::vector<AxisId> grid;           // parallel axes
  std::vector<int64_t> grid_count;    // tiles along each
  int64_t tasks = 0;
  std::vector<PanelShape> panels;  // by buffer; only those of packed ones are filled
  std::vector<AxisId> order;       // of all axes, outermost first
  std::vector<ValuePlan> values;
  std::vector<DotPlan> dots;                // by instruction; only those of dots are filled
  std::vector<std::vector<int32_t>> users;  // by value: instructions
  std::vector<bool> skipped;                // by instruction: done as part of another one
  std::vector<int32_t> partner;             // serial: its yield; yield: its serial
  std::vector<uint8_t> constants;           // 8 bytes each, by value
  std::vector<std::vector<AxisId>> stored;  // by instruction: axes of a store, outermost first
  std::vector<CarryPlan> carries;           // by instruction: of serial and yield
  std::vector<uint64_t> taps_offset;        // by instruction: pointers to what a window covers
  uint64_t scratch = 0, zeros_offset = 0, outside_offset = 0, worker_offset = 0;
  int64_t zeros = 0;  // floats that padded rows point to
  int64_t fills = 0;  // bytes that those of integers point to

  Result<void> make(int threads, const Schedule& schedule);
  void choose_order();
  AxisId reduced_row() const;
  Result<void> choose_tiles(int threads, const Schedule& schedule);
  void describe_values();
  void plan_dot(size_t n);
  void plan_integer_dot(size_t n);
  bool find_panel_axes(const Instruction& dot, ValueId columns, size_t* run_axes) const;
  bool is_known_load(ValueId v, DType dtype) const;
  bool fold_bytes(size_t n, bool may_add);
  bool is_narrow_maximum(const Instruction& reduce) const;
  bool is_row_of_pixels(const std::vector<AxisId>& out) const;
  bool stays_narrow(ValueId v) const;
  bool is_whole_store(const Instruction& store, ValueId v) const;
  void fold_epilogue(size_t n);
  Result<void> place_values();
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
  AxisSet axes_of(ValueId v) const { return kernel.values[size_t(v)].axes; }
  bool is_load(ValueId v) const {
    int32_t p = values[size_t(v)].producer;
    return p != kNone && kernel.body[size_t(p)].op == Op::load;
  }
  const Instruction& producer(ValueId v) const {
    return kernel.body[size_t(values[size_t(v)].producer)];
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
    for (size_t d = 0; d < i.index.size(); d++) {
      int64_t low = i.index[d].offset, high = low;
      for (const Term& term : i.index[d].terms) {
        int64_t reach = term.factor * (extent[size_t(term.axis)] - 1);
        (reach < 0 ? low : high) += reach;
      }
      if (low < 0 || high >= shapes[size_t(i.buffer)].sizes[d]) return false;
    }
    return true;
  }
  AxisId innermost(const std::vector<AxisId>& axes) const {
    return axes.empty() ? kNone : axes.back();
  }
};

namespace {

// One thread's work on tiles.
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
      if (dot.kind == DotPlan::Kind::bytes || dot.kind == DotPlan::Kind::bytes_vector)
        memset(scratch_ + dot.fill_offset, dot.fill, size_t(p_.fills));
  }

  // A worker lies at Plan::State::worker_offset of its scratch, the references to its values behind
  // it.
  static uint64_t worker_bytes() { return round_up(sizeof(Worker)); }

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
  const ValuePlan& plan_of(ValueId v) const { return p_.values[size_t(v)]; }
  Ref& ref(ValueId v) { return refs_[size_t(v)]; }
  bool has_dimension(AxisId a) const { return !k_.axes[size_t(a)].each; }

  void settle(ValueId v) {
    const ValuePlan& value = plan_of(v);
    Ref& r = ref(v);
    switch (value.home) {
      case Home::constant:
        r = {};
        r.data = const_cast<uint8_t*>(p_.constants.data()) + 8 * v;
        break;
      case Home::scratch:
        r.data = scratch_ + value.offset;
        memcpy(r.stride, value.stride, sizeof(r.stride));
        break;
      case Home::buffer:
        if (value.store != kNone) r = buffer_ref(k_.body[size_t(value.store)]);
        break;
      case Home::folded: break;
    }
  }

  // Where the tile of a load or store begins in its buffer. Steps may leave the buffer; the caller
  // knows that they do not, or does not take those.
  Ref buffer_ref(const Instruction& i) const {
    const BufferView& shape = p_.shapes[size_t(i.buffer)];
    Ref r;
    int64_t offset = 0;
    for (size_t d = 0; d < i.index.size(); d++) {
      offset += i.index[d].offset * shape.strides[d];
      for (const Term& term : i.index[d].terms) {
        int64_t step = term.factor * shape.strides[d];
        offset += step * first_[term.axis];
        if (has_dimension(term.axis)) r.stride[term.axis] += step;
      }
    }
    r.data =
        data_[size_t(i.buffer)] + offset * int64_t(dtype_bytes(k_.buffers[size_t(i.buffer)].dtype));
    return r;
  }

  // Index into dim d of a buffer for the current tile, the axes' own steps aside.
  int64_t index_base(const Index& index) const {
    int64_t position = index.offset;
    for (const Term& term : index.terms) position += term.factor * first_[term.axis];
    return position;
  }

  bool is_inside(const Instruction& i) const {
    const BufferView& shape = p_.shapes[size_t(i.buffer)];
    for (size_t d = 0; d < i.index.size(); d++) {
      int64_t low = index_base(i.index[d]), high = low;
      for (const Term& term : i.index[d].terms) {
        if (!has_dimension(term.axis)) continue;
        int64_t reach = term.factor * (length_[term.axis] - 1);
        (reach < 0 ? low : high) += reach;
      }
      if (low < 0 || high >= shape.sizes[d]) return false;
    }
    return true;
  }

  // Calls f(at) for every coordinate of `axes`, the last fastest; at[axis] counts within the tile.
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
  template <class T>
  static T& element(const Ref& r, Span<const AxisId> axes, const int64_t* at) {
    int64_t offset = 0;
    for (AxisId a : axes) offset += at[a] * r.stride[a];
    return reinterpret_cast<T*>(r.data)[offset];
  }
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

  // Blocks of rows x n that cover `axes`, for which all refs step along n by 0 or 1 (the first,
  // what is written, by 1): f(offsets, row strides, n strides, rows, n).
  template <size_t kRefs, class F>
  void blocks(const std::vector<AxisId>& axes, const Ref* const (&refs)[kRefs], F f) {
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

  static float* floats(const Ref& r) { return reinterpret_cast<float*>(r.data); }
  // Block kernels take steps of 0 and 1; others are for the plain loops.
  bool steps_fit(const std::vector<AxisId>& axes, const Ref& r, bool written) const {
    for (size_t d = axes.size(); d-- > 0;)
      if (length_[axes[d]] > 1) {
        int64_t step = r.stride[axes[d]];
        return step == 1 || (step == 0 && !written);
      }
    return true;
  }

  // out = x, element by element, of the same dtype.
  void copy(const std::vector<AxisId>& axes, const Ref& out, const Ref& x, size_t bytes) {
    if (out.data == x.data) return;
    const Ref* refs[] = {&out, &x};
    blocks(
        axes, refs,
        [&](const int64_t* offset, const int64_t* row, const int64_t* step, int64_t rows,
            int64_t n) {
          if ((bytes == 4 || bytes == 1) && rows > 1 && n > 1 && step[0] == 1 && step[1] != 1 &&
              row[1] == 1) {
            int64_t size = int64_t(bytes);
            (bytes == 4 ? table_.transpose_32 : table_.transpose_8)(
                {n, rows, x.data + offset[1] * size, step[1], out.data + offset[0] * size, row[0]});
            return;
          }
          for (int64_t r = 0; r < rows; r++) {
            uint8_t* to = out.data + (offset[0] + r * row[0]) * int64_t(bytes);
            const uint8_t* from = x.data + (offset[1] + r * row[1]) * int64_t(bytes);
            if (step[0] == 1 && step[1] == 1) {
              memcpy(to, from, size_t(n) * bytes);
            } else if (bytes == 4) {
              auto* t = reinterpret_cast<uint32_t*>(to);
              auto* f = reinterpret_cast<const uint32_t*>(from);
              for (int64_t i = 0; i < n; i++) t[i * step[0]] = f[i * step[1]];
            } else {
              for (int64_t i = 0; i < n; i++)
                memcpy(to + i * step[0] * int64_t(bytes), from + i * step[1] * int64_t(bytes),
                       bytes);
            }
          }
        });
  }

  // Where an index points: at coordinates along the axes with a dimension, with what it gathers.
  int64_t position_at(const Index& index, const int64_t* at) const {
    int64_t position = index_base(index);
    for (const Term& term : index.terms)
      if (has_dimension(term.axis)) position += term.factor * at[term.axis];
    if (index.value == kNone) return position;
    const ValuePlan& value = plan_of(index.value);
    const Ref& gathered = refs_[size_t(index.value)];
    return position + read_integer(gathered, value.dtype, offset_at(gathered, value.axes, at));
  }

  // The element of a load at coordinates, converted; the fill value outside.
  Result<void> load_element(const Instruction& i, const int64_t* at, const Ref& out, DType dtype,
                            int64_t to) {
    const Buffer& buffer = k_.buffers[size_t(i.buffer)];
    const BufferView& shape = p_.shapes[size_t(i.buffer)];
    int64_t offset = 0, lead = 0, row = 0, k = 0, packed = 0;
    bool halves = buffer.layout == Layout::nibbles;
    for (size_t d = 0; d < i.index.size(); d++) {
      int64_t position = position_at(i.index[d], at);
      if (position < 0 || position >= shape.sizes[d]) {
        if (i.strict)
          return error(Code::invalid_argument,
                       "kernel {}: index {} into dimension {} of {}, of size {}", k_.name, position,
                       d, buffer.name, shape.sizes[d]);
        if (dtype == DType::f32)
          floats(out)[to] = float(i.number);
        else
          write_integer(out, dtype, to, int64_t(i.number));
        return {};
      }
      if (buffer.layout == Layout::strided) {
        offset += position * shape.strides[d];
      } else if (d < size_t(buffer.panel_lead)) {
        lead = lead * shape.sizes[d] + position;
      } else if (d + 2 < i.index.size()) {
        row = row * shape.sizes[d] + position;
      } else if (d + 1 < i.index.size()) {
        k = position;
      } else {
        packed = p_.panels[size_t(i.buffer)].offset(lead, row, k, position);
      }
    }
    const uint8_t* from =
        data_[size_t(i.buffer)] + packed + offset * int64_t(dtype_bytes(buffer.dtype));
    auto read = [&](auto value) {
      memcpy(&value, from, sizeof(value));
      return value;
    };
    switch (buffer.dtype) {
      case DType::f32: floats(out)[to] = read(float()); break;
      case DType::f16: floats(out)[to] = to_float(read(f16_t())); break;
      case DType::bf16: floats(out)[to] = to_float(read(bf16_t())); break;
      case DType::i8:
        write_integer(out, dtype, to, halves ? PanelShape::half(*from, k) : read(int8_t()));
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
  bool reads_panel_column(const Instruction& i, AxisId run, const Ref& out) const {
    if (k_.buffers[size_t(i.buffer)].dtype != DType::f32 || run == kNone || out.stride[run] != 1)
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
  static bool index_has(const Index& index, AxisId axis) {
    return std::any_of(index.terms.begin(), index.terms.end(),
                       [&](const Term& term) { return term.axis == axis; });
  }
  Result<void> load_panel_columns(const Instruction& i, const Ref& out,
                                  const std::vector<AxisId>& axes) {
    const Buffer& buffer = k_.buffers[size_t(i.buffer)];
    const BufferView& shape = p_.shapes[size_t(i.buffer)];
    AxisId run = axes.back();
    Span<const AxisId> outer(axes.data(), axes.size() - 1);
    size_t along = i.index.size() - 2;
    const PanelShape& packed = p_.panels[size_t(i.buffer)];
    Result<void> done;
    each(outer, [&](const int64_t* outer_at) {
      if (!done.ok()) return;
      int64_t at[kAxesMax], begin = 0, end = length_[run];
      for (AxisId a : outer) at[a] = outer_at[a];
      at[run] = 0;
      int64_t lead = 0, row = 0, k = 0, column = 0;
      for (size_t d = 0; d < i.index.size(); d++) {
        int64_t position = position_at(i.index[d], at);
        if (d == along) {
          begin = std::max(begin, -position);
          end = std::min(end, shape.sizes[d] - position);
        } else if (position < 0 || position >= shape.sizes[d]) {
          begin = end = 0;
          position = 0;
        }
        if (d < size_t(buffer.panel_lead))
          lead = lead * shape.sizes[d] + position;
        else if (d < along)
          row = row * shape.sizes[d] + position;
        else if (d == along)
          k = position;
        else
          column = position;
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
      const float* from = reinterpret_cast<const float*>(data_[size_t(i.buffer)] +
                                                         packed.offset(lead, row, k, column));
      for (int64_t x = 0; x < end; x++) to[x] = from[x * kPanelColumns];
    });
    return done;
  }

  // A load of which a box is inside its buffer: the fill value everywhere, then the box. False when
  // an axis indexes several dims, or a dim has several axes.
  bool load_box(const Instruction& i, const Ref& out, const std::vector<AxisId>& axes,
                DType dtype) {
    if (i.strict || p_.is_gather(i)) return false;
    const BufferView& shape = p_.shapes[size_t(i.buffer)];
    int64_t begin[kAxesMax] = {}, end[kAxesMax];
    AxisSet seen = 0;
    bool any = true;
    for (AxisId a : axes) end[a] = length_[a];
    for (size_t d = 0; d < i.index.size(); d++) {
      int64_t position = index_base(i.index[d]), count = 0;
      for (const Term& term : i.index[d].terms) {
        AxisId a = term.axis;
        if (!has_dimension(a)) continue;
        if (count++ > 0 || (seen >> a & 1) || term.factor < 1) return false;
        seen |= AxisSet(1) << a;
        begin[a] = position >= 0 ? 0 : (-position + term.factor - 1) / term.factor;
        int64_t left = shape.sizes[d] - position;
        end[a] = std::min(end[a], left <= 0 ? 0 : (left + term.factor - 1) / term.factor);
        any &= begin[a] < end[a];
      }
      if (count == 0) any &= position >= 0 && position < shape.sizes[d];
    }
    auto value = float(i.number);
    auto whole = dtype == DType::f32 ? 0 : int64_t(i.number);
    if (dtype != DType::f32 && dtype != DType::i32 && dtype != DType::i8) return false;
    const Ref* refs[] = {&out};
    blocks(axes, refs,
           [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
             for (int64_t r = 0; r < rows; r++)
               for (int64_t c = 0; c < n; c++) {
                 int64_t at = o[0] + r * row[0] + c * step[0];
                 if (dtype == DType::f32)
                   floats(out)[at] = value;
                 else
                   write_integer(out, dtype, at, whole);
               }
           });
    if (!any) return true;
    int64_t saved[kAxesMax];
    memcpy(saved, length_, sizeof(saved));
    Ref from = buffer_ref(i), to = out;
    int64_t bytes = int64_t(computed_bytes(dtype));
    for (AxisId a : axes) {
      from.data += begin[a] * from.stride[a] * bytes;
      to.data += begin[a] * to.stride[a] * bytes;
      length_[a] = end[a] - begin[a];
    }
    copy(axes, to, from, size_t(bytes));
    memcpy(length_, saved, sizeof(saved));
    return true;
  }

  // A load into memory with the given axes and strides, rows at once where they lie together.
  Result<void> load_into(const Instruction& i, const Ref& out, const std::vector<AxisId>& axes,
                         DType dtype) {
    const Buffer& buffer = k_.buffers[size_t(i.buffer)];
    bool same = buffer.dtype == dtype && buffer.layout == Layout::strided;
    size_t bytes = computed_bytes(dtype);
    if (same && !p_.is_gather(i) && is_inside(i)) {
      copy(axes, out, buffer_ref(i), bytes);
      return {};
    }
    AxisId run = p_.innermost(axes);
    if (buffer.layout == Layout::panels && reads_panel_column(i, run, out))
      return load_panel_columns(i, out, axes);
    // The innermost axis by runs: inside, at once; outside, the fill value.
    bool by_runs = same && run != kNone && out.stride[run] == 1;
    int64_t step = 0;
    for (size_t d = 0; by_runs && d < i.index.size(); d++) {
      const Index& index = i.index[d];
      if (index.value != kNone && (p_.axes_of(index.value) >> run & 1)) by_runs = false;
      for (const Term& term : index.terms)
        if (term.axis == run) {
          if (step != 0 || term.factor != 1) by_runs = false;
          step = p_.shapes[size_t(i.buffer)].strides[d];
        }
    }
    by_runs &= step == 1;
    Result<void> done;
    if (!by_runs && same && load_box(i, out, axes, dtype)) return {};
    if (!by_runs) {
      each(axes, [&](const int64_t* at) {
        if (done.ok()) done = load_element(i, at, out, dtype, offset_at(out, axes, at));
      });
      return done;
    }
    Span<const AxisId> outer(axes.data(), axes.size() - 1);
    int64_t saved = length_[run];
    each(outer, [&](const int64_t* outer_at) {
      if (!done.ok()) return;
      int64_t at[kAxesMax];
      memcpy(at, outer_at, sizeof(at));
      at[run] = 0;
      // The first and the last index along the run that are inside.
      int64_t begin = 0, end = saved;
      const BufferView& shape = p_.shapes[size_t(i.buffer)];
      int64_t offset = 0;
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
      if (i.strict && (begin > 0 || end < saved)) {
        at[run] = begin > 0 ? 0 : std::max<int64_t>(end, 0);
        done = load_element(i, at, out, dtype, 0);
        return;
      }
      uint8_t* to = out.data + offset_at(out, outer, at) * int64_t(bytes);
      auto fill = [&](int64_t from, int64_t until) {
        Ref r = out;
        r.data = to;
        for (int64_t x = from; x < until; x++)
          if (dtype == DType::f32)
            floats(r)[x] = float(i.number);
          else
            write_integer(r, dtype, x, int64_t(i.number));
      };
      end = std::max(end, begin);
      begin = std::min(begin, saved);
      end = std::min(end, saved);
      fill(0, begin);
      if (end > begin)
        memcpy(to + begin * int64_t(bytes),
               data_[size_t(i.buffer)] + (offset + begin) * int64_t(bytes),
               size_t(end - begin) * bytes);
      fill(end, saved);
    });
    return done;
  }

  Result<void> load(const Instruction& i) {
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

  Result<void> store(const Instruction& i, size_t n) {
    const Buffer& buffer = k_.buffers[size_t(i.buffer)];
    ValueId v = i.operands[0];
    const ValuePlan& value = plan_of(v);
    if (value.home == Home::buffer && value.store != kNone) return {};  // is there already
    const std::vector<AxisId>& axes = p_.stored[n];
    Ref to = buffer_ref(i);
    bool inside = is_inside(i);
    if (inside && buffer.dtype == value.held) {
      copy(axes, to, ref(v), computed_bytes(value.held));
      return {};
    }
    const Ref& from = ref(v);
    if (inside && convert(axes, to, buffer.dtype, from, value.held)) return {};
    each(axes, [&](const int64_t* at) {
      for (size_t d = 0; d < i.index.size() && !inside; d++) {
        int64_t position = index_base(i.index[d]);
        for (const Term& term : i.index[d].terms)
          if (has_dimension(term.axis)) position += term.factor * at[term.axis];
        if (position < 0 || position >= p_.shapes[size_t(i.buffer)].sizes[d]) return;
      }
      uint8_t* place = to.data + offset_at(to, axes, at) * int64_t(dtype_bytes(buffer.dtype));
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
      auto saturate = [&](int64_t low, int64_t high) {
        return n < low ? low : n > high ? high : n;
      };
      switch (buffer.dtype) {
        case DType::i8: write(int8_t(saturate(-128, 127))); break;
        case DType::u8: write(uint8_t(saturate(0, 255))); break;
        case DType::i16: write(int16_t(saturate(INT16_MIN, INT16_MAX))); break;
        case DType::i32: write(int32_t(n)); break;
        case DType::b8: write(uint8_t(n != 0)); break;
        default: write(n);
      }
    });
    return {};
  }

  static Element element_of(DType dtype) {
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
  // out = x as another type, to integers saturating, as stores and casts from f32 do. False when
  // there is no kernel for it.
  bool convert(const std::vector<AxisId>& axes, const Ref& out, DType to, const Ref& x,
               DType from) {
    Element a = element_of(from), b = element_of(to);
    if (a == Element::count || b == Element::count || !steps_fit(axes, out, true)) return false;
    ConvertKernelFn kernel = table_.convert[int(a)][int(b)];
    if (!kernel) return false;
    for (size_t d = axes.size(); d-- > 0;)
      if (length_[axes[d]] > 1) {
        if (x.stride[axes[d]] != 1) return false;
        break;
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

  // Pointwise instructions whose block kernels do not fit: element by element.
  void plain_pointwise(const Instruction& i) {
    ValueId v = i.results[0];
    const ValuePlan& out = plan_of(v);
    const Ref& to = ref(v);
    auto f = [&](size_t k, const int64_t* at) {
      return floats(
          ref(i.operands[k]))[offset_at(ref(i.operands[k]), plan_of(i.operands[k]).axes, at)];
    };
    auto n = [&](size_t k, const int64_t* at) {
      const ValuePlan& x = plan_of(i.operands[k]);
      return read_integer(ref(i.operands[k]), x.held, offset_at(ref(i.operands[k]), x.axes, at));
    };
    bool from_float = plan_of(i.operands[0]).dtype == DType::f32;
    each(out.axes, [&](const int64_t* at) {
      int64_t place = offset_at(to, out.axes, at);
      if (out.dtype == DType::f32) {
        float x = 0;
        switch (i.op) {
          case Op::unary: x = apply(Unary(i.function), f(0, at)); break;
          case Op::binary: x = apply(Binary(i.function), f(0, at), f(1, at)); break;
          case Op::fma: x = std::fma(f(0, at), f(1, at), f(2, at)); break;
          case Op::select: x = n(0, at) ? f(1, at) : f(2, at); break;
          default: x = from_float ? f(0, at) : float(n(0, at));
        }
        floats(to)[place] = x;
        return;
      }
      int64_t x = 0;
      auto function = Binary(i.function);
      switch (i.op) {
        case Op::unary: x = apply_integer(Unary(i.function), n(0, at), out.dtype); break;
        case Op::binary:
          if (function >= Binary::eq && function <= Binary::ge)
            x = from_float ? compare(function, f(0, at), f(1, at))
                           : compare(function, n(0, at), n(1, at));
          else
            x = apply_integer(function, n(0, at), n(1, at), out.dtype);
          break;
        case Op::select: x = n(0, at) ? n(1, at) : n(2, at); break;
        default:
          x = from_float               ? float_to_integer(f(0, at), out.dtype)
              : out.dtype == DType::b8 ? n(0, at) != 0
                                       : n(0, at);
      }
      write_integer(to, out.held, place, x);
    });
  }

  void pointwise(const Instruction& i) {
    ValueId v = i.results[0];
    settle(v);
    const ValuePlan& out = plan_of(v);
    const Ref& to = ref(v);
    bool fits = steps_fit(out.axes, to, true);
    for (ValueId x : i.operands) fits &= steps_fit(out.axes, ref(x), false);
    DType from = plan_of(i.operands[0]).dtype;
    bool f32 = out.dtype == DType::f32;
    bool converts = i.op == Op::cast && from != out.dtype && (f32 || from == DType::f32) &&
                    from != DType::b8 && out.dtype != DType::b8;
    if (converts &&
        convert(out.axes, to, out.held, ref(i.operands[0]), plan_of(i.operands[0]).held)) {
    } else if (fits && f32 && i.op == Op::unary) {
      const Ref* refs[] = {&to, &ref(i.operands[0])};
      UnaryKernelFn kernel = table_.unary[i.function];
      blocks(
          out.axes, refs,
          [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
            kernel({rows, n, floats(*refs[1]) + o[1], row[1], step[1], floats(to) + o[0], row[0]});
          });
    } else if (fits && f32 && i.op == Op::binary) {
      const Ref* refs[] = {&to, &ref(i.operands[0]), &ref(i.operands[1])};
      BinaryKernelFn kernel = table_.binary[i.function];
      blocks(
          out.axes, refs,
          [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
            kernel({rows, n, floats(*refs[1]) + o[1], row[1], step[1], floats(*refs[2]) + o[2],
                    row[2], step[2], floats(to) + o[0], row[0]});
          });
    } else if (fits && from == DType::f32 && i.op == Op::binary && out.dtype == DType::b8) {
      const Ref* refs[] = {&to, &ref(i.operands[0]), &ref(i.operands[1])};
      CompareKernelFn kernel = table_.compare[i.function - int(Binary::eq)];
      blocks(
          out.axes, refs,
          [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
            kernel({rows, n, floats(*refs[1]) + o[1], row[1], step[1], floats(*refs[2]) + o[2],
                    row[2], step[2], to.data + o[0], row[0]});
          });
    } else if (fits && i.op == Op::fma) {
      const Ref* refs[] = {&to, &ref(i.operands[0]), &ref(i.operands[1]), &ref(i.operands[2])};
      blocks(
          out.axes, refs,
          [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
            table_.fma({rows, n, floats(*refs[1]) + o[1], row[1], step[1], floats(*refs[2]) + o[2],
                        row[2], step[2], floats(*refs[3]) + o[3], row[3], step[3],
                        floats(to) + o[0], row[0]});
          });
    } else if (fits && f32 && i.op == Op::select) {
      const Ref* refs[] = {&to, &ref(i.operands[0]), &ref(i.operands[1]), &ref(i.operands[2])};
      blocks(
          out.axes, refs,
          [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
            table_.select({rows, n, refs[1]->data + o[1], row[1], step[1], floats(*refs[2]) + o[2],
                           row[2], step[2], floats(*refs[3]) + o[3], row[3], step[3],
                           floats(to) + o[0], row[0]});
          });
    } else {
      plain_pointwise(i);
    }
  }

  void reduce(const Instruction& i, size_t n) {
    ValueId v = i.results[0], x = i.operands[0];
    settle(v);
    const ValuePlan& out = plan_of(v);
    const Ref& to = ref(v);
    const Instruction* window =
        plan_of(x).home == Home::folded ? &k_.body[size_t(plan_of(x).producer)] : nullptr;
    auto f = Reduce(i.function);
    if (window && out.dtype == DType::i32) {
      auto* outside = reinterpret_cast<int8_t*>(scratch_ + p_.outside_offset);
      memset(outside, -128, size_t(length_[out.axes.back()]));
      each_row_of_taps<TapsI8Block>(
          n, *window, i.axes, out.axes, to, outside,
          [&](const TapsI8Block& block, const int64_t*) { table_.max_pool_i8(block); });
      return;
    }
    if (out.dtype != DType::f32) return reduce_plain(i);
    static constexpr ReduceKernel kKernels[] = {ReduceKernel::sum, ReduceKernel::prod,
                                                ReduceKernel::min, ReduceKernel::max};
    static constexpr Binary kFunctions[] = {Binary::add, Binary::mul, Binary::min, Binary::max};
    ReduceKernel kernel = kKernels[i.function];
    if (window) {  // what lies outside the buffer changes nothing
      if (f == Reduce::max || f == Reduce::sum) {
        auto* outside = reinterpret_cast<float*>(scratch_ + p_.outside_offset);
        std::fill_n(outside, out.axes.empty() ? 0 : length_[out.axes.back()], identity_of(kernel));
        std::fill_n(outside + p_.zeros, out.axes.size() < 2 ? 1 : length_[out.axes.end()[-2]], 1.f);
        PoolBlock call;
        call.divisor = outside + p_.zeros;
        if (each_row_of_taps<TapsBlock>(n, *window, i.axes, out.axes, to, outside,
                                        [&](const TapsBlock& block, const int64_t*) {
                                          call.taps = block;
                                          (f == Reduce::max ? table_.max_pool
                                                            : table_.average_pool)(call);
                                        }))
          return;
      }
      fill(out.axes, to, identity_of(kernel));
      Ref from = buffer_ref(*window);
      each_tap(*window, i.axes, out.axes, [&](const int64_t* tap) {
        Ref part = from, part_to = to;
        for (AxisId a : i.axes) part.data += tap[a] * from.stride[a] * 4;
        for (AxisId a : out.axes) {
          part.data += begin_[a] * from.stride[a] * 4;
          part_to.data += begin_[a] * to.stride[a] * 4;
        }
        accumulate(out.axes, kFunctions[i.function], part_to, part);
      });
      return;
    }
    const Ref& from = ref(x);
    AxisId inner = p_.innermost(plan_of(x).axes);
    bool along = std::find(i.axes.begin(), i.axes.end(), inner) != i.axes.end();
    if (along && (i.lanes || f != Reduce::sum) && i.axes.back() == inner &&
        from.stride[inner] == 1) {
      // Rows along the innermost axis, taken in pieces; pieces must be whole lanes but for the
      // last.
      bool whole = i.axes.size() == 1 || !i.lanes || length_[inner] % 16 == 0;
      int64_t run = length_[inner];
      size_t joined = i.axes.size() - 1;
      while (joined > 0 && from.stride[i.axes[joined - 1]] == run) {
        run *= length_[i.axes[joined - 1]];
        joined--;
      }
      if (joined == 0 || whole || run % 16 == 0) {
        Span<const AxisId> outer(i.axes.data(), joined);
        float lanes[16];
        each(out.axes, [&](const int64_t* at) {
          for (float& lane : lanes) lane = identity_of(kernel);
          const float* row = floats(from) + offset_at(from, out.axes, at);
          each(outer, [&](const int64_t* piece) {
            table_.reduce[int(kernel)](
                {1, run, row + offset_at(from, outer, piece), 0, nullptr, 0, nullptr, 0, lanes});
          });
          table_.combine[int(kernel)](1, lanes, floats(to) + offset_at(to, out.axes, at), 0);
        });
        return;
      }
    }
    if (!along && !i.lanes) {
      fill(out.axes, to, identity_of(kernel));
      each(i.axes, [&](const int64_t* at) {
        Ref part = from;
        part.data += offset_at(from, i.axes, at) * 4;
        accumulate(out.axes, kFunctions[i.function], to, part);
      });
      return;
    }
    reduce_plain(i);
  }

  void reduce_plain(const Instruction& i) {
    ValueId v = i.results[0], x = i.operands[0];
    const ValuePlan &out = plan_of(v), &in = plan_of(x);
    const Ref &to = ref(v), &from = ref(x);
    auto f = Reduce(i.function);
    each(out.axes, [&](const int64_t* outer_at) {
      int64_t at[kAxesMax];
      memcpy(at, outer_at, sizeof(at));
      int64_t place = offset_at(to, out.axes, at), base = 0, k = 0;
      for (AxisId a : out.axes) base += at[a] * from.stride[a];
      float lanes[16];
      for (float& lane : lanes)
        lane = f == Reduce::sum    ? 0
               : f == Reduce::prod ? 1
               : f == Reduce::max  ? -INFINITY
                                   : INFINITY;
      int64_t whole = f == Reduce::sum    ? 0
                      : f == Reduce::prod ? 1
                      : f == Reduce::max  ? (in.dtype == DType::i32 ? INT32_MIN : INT64_MIN)
                                          : (in.dtype == DType::i32 ? INT32_MAX : INT64_MAX);
      each(i.axes, [&](const int64_t* inner) {
        int64_t offset = base + offset_at(from, i.axes, inner);
        static constexpr Binary kFunctions[] = {Binary::add, Binary::mul, Binary::min, Binary::max};
        if (in.dtype == DType::f32) {
          float& lane = lanes[i.lanes ? k++ % 16 : 0];
          lane = apply(kFunctions[i.function], lane, floats(from)[offset]);
        } else {
          whole = apply_integer(kFunctions[i.function], whole, read_integer(from, in.held, offset),
                                in.dtype);
        }
      });
      if (i.lanes)
        for (int half = 8; half > 0; half /= 2)
          for (int l = 0; l < half; l++) lanes[l] += lanes[l + half];
      if (in.dtype == DType::f32)
        floats(to)[place] = lanes[0];
      else
        write_integer(to, out.held, place, whole);
    });
  }

  void fill(const std::vector<AxisId>& axes, const Ref& out, float x) {
    const Ref* refs[] = {&out};
    blocks(axes, refs,
           [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
             for (int64_t r = 0; r < rows; r++)
               for (int64_t c = 0; c < n; c++) floats(out)[o[0] + r * row[0] + c * step[0]] = x;
           });
  }

  // to = f(to, x)
  void accumulate(const std::vector<AxisId>& axes, Binary f, const Ref& to, const Ref& x) {
    const Ref* refs[] = {&to, &x};
    bool fits = steps_fit(axes, to, true) && steps_fit(axes, x, false);
    blocks(axes, refs,
           [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
             if (fits) {
               table_.binary[int(f)]({rows, n, floats(to) + o[0], row[0], 1, floats(x) + o[1],
                                      row[1], step[1], floats(to) + o[0], row[0]});
               return;
             }
             for (int64_t r = 0; r < rows; r++)
               for (int64_t c = 0; c < n; c++) {
                 float& y = floats(to)[o[0] + r * row[0] + c * step[0]];
                 y = apply(f, y, floats(x)[o[1] + r * row[1] + c * step[1]]);
               }
           });
  }

  // Calls f(tap) for every index of `taps`, with the outer axes narrowed to where the load is
  // inside its buffer: begin_ and length_ say so. Every dim has at most one outer axis.
  template <class F>
  void each_tap(const Instruction& window, Span<const AxisId> taps,
                const std::vector<AxisId>& outer, F f) {
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
        // 0 <= position + factor * x < size; factor > 0.
        int64_t low = position >= 0 ? 0 : (-position + factor - 1) / factor;
        int64_t high =
            shape.sizes[d] - position <= 0 ? 0 : (shape.sizes[d] - position + factor - 1) / factor;
        int64_t end = std::min(begin_[along] + length_[along], high);
        begin_[along] = std::max(begin_[along], low);
        length_[along] = end - begin_[along];
        any &= length_[along] > 0;
      }
      if (any) f(tap);
      for (AxisId a : outer) length_[a] = saved[a];
    });
    memcpy(length_, saved, sizeof(saved));
  }

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
  // The part [begin, end) of the axis `run` for which a load is inside its buffer; other axes than
  // those of `outer` and `inner` stay at their beginnings.
  void narrow(const Instruction& load, const At& outer, const At& inner, AxisId run, int64_t* begin,
              int64_t* end) const {
    const BufferView& shape = p_.shapes[size_t(load.buffer)];
    for (size_t d = 0; d < load.index.size(); d++) {
      int64_t position = index_base(load.index[d]), factor = 0, size = shape.sizes[d];
      for (const Term& term : load.index[d].terms) {
        if (!has_dimension(term.axis)) continue;
        if (term.axis == run)
          factor = term.factor;
        else
          position += term.factor * (outer.of(term.axis) + inner.of(term.axis));
      }
      if (factor == 0) {
        if (position < 0 || position >= size) *end = 0;
      } else if (factor > 0) {
        *begin = std::max(*begin, position >= 0 ? 0 : (-position + factor - 1) / factor);
        *end = std::min(*end, size <= position ? 0 : (size - position + factor - 1) / factor);
      } else {
        *begin = std::max(*begin, position < size ? 0 : (position - size) / -factor + 1);
        *end = std::min(*end, position < 0 ? 0 : position / -factor + 1);
      }
    }
    *end = std::max<int64_t>(*end, 0);
    *begin = std::min(*begin, *end);
  }

  // Rows of pixels that a window covers: f(block, at) for every index `at` of the axes of `out` but
  // the last two, the width and the channels. What lies outside the buffer is read from `outside`.
  // False when memory does not lie as the kernels want it, before anything was done.
  template <class Block, class T, class F>
  bool each_row_of_taps(size_t n, const Instruction& window, const std::vector<AxisId>& taps,
                        const std::vector<AxisId>& out, const Ref& to, const T* outside, F f) {
    if (out.empty() || to.stride[out.back()] != 1 || p_.taps_offset[n] == kNoTaps) return false;
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
    each(outer, [&](const int64_t* at) {
      int64_t t = 0;
      each(taps, [&](const int64_t* tap) {
        // Pixels [begin, end) of the row see this tap inside the buffer.
        int64_t begin = 0, end = block.width;
        narrow(window, {outer, at}, {taps, tap}, width, &begin, &end);
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

  void dot_plain(const Instruction& i) {
    ValueId v = i.results[0];
    const ValuePlan& out = plan_of(v);
    const Ref &to = ref(v), &c = ref(i.operands[0]), &a = ref(i.operands[1]),
              &b = ref(i.operands[2]);
    each(out.axes, [&](const int64_t* at) {
      int64_t ca = offset_at(c, plan_of(i.operands[0]).axes, at), aa = offset_at(a, out.axes, at),
              ba = offset_at(b, out.axes, at);
      if (out.dtype == DType::f32) {
        float sum = floats(c)[ca];
        each(i.axes, [&](const int64_t* k) {
          sum = std::fma(floats(a)[aa + offset_at(a, i.axes, k)],
                         floats(b)[ba + offset_at(b, i.axes, k)], sum);
        });
        floats(to)[offset_at(to, out.axes, at)] = sum;
      } else {
        uint32_t sum = uint32_t(read_integer(c, out.dtype, ca));
        each(i.axes, [&](const int64_t* k) {
          sum += uint32_t(read_integer(a, out.dtype, aa + offset_at(a, i.axes, k))) *
                 uint32_t(read_integer(b, out.dtype, ba + offset_at(b, i.axes, k)));
        });
        write_integer(to, out.dtype, offset_at(to, out.axes, at), int32_t(sum));
      }
    });
  }

  // The initial value everywhere in `to`.
  void initialize(const Ref& to, const std::vector<AxisId>& axes, ValueId initial) {
    copy(axes, to, ref(initial), 4);
  }

  // A convolution by depth on its kernel. False when its operands do not lie as that wants them.
  bool dot_depthwise(const Instruction& i, size_t n, const DotPlan& plan, const Ref& to) {
    const std::vector<AxisId>& axes = plan_of(plan.result).axes;
    if (axes.empty()) return false;
    AxisId channels = axes.back();
    const ValuePlan& initial = plan_of(i.operands[0]);
    const Ref& bias = ref(i.operands[0]);
    bool is_zero =
        initial.home == Home::constant && initial.number == 0 && !std::signbit(initial.number);
    DepthwiseBlock call;
    call.bias = is_zero ? nullptr : floats(bias);
    if (!is_zero) {
      if (bias.stride[channels] != 1 && length_[channels] > 1) return false;
      for (AxisId a : axes)
        if (a != channels && bias.stride[a] != 0 && length_[a] > 1) return false;
    }
    const Ref& weights = ref(i.operands[plan.swapped ? 1 : 2]);
    if (weights.stride[channels] != 1 && length_[channels] > 1) return false;
    for (AxisId a : axes)
      if (a != channels && weights.stride[a] != 0 && length_[a] > 1) return false;
    call.weights = floats(weights);
    call.weight_row = 0;
    int64_t count = 1;
    for (size_t d = plan.depth.size(); d-- > 0;) {
      int64_t length = length_[plan.depth[d]], stride = weights.stride[plan.depth[d]];
      if (length == 1) continue;
      if (call.weight_row == 0) call.weight_row = stride;
      if (stride != call.weight_row * count) return false;
      count *= length;
    }
    call.lo = plan.lo;
    call.hi = plan.hi;
    const auto* zeros = reinterpret_cast<const float*>(scratch_ + p_.zeros_offset);
    return each_row_of_taps<TapsBlock>(n, p_.producer(i.operands[plan.swapped ? 2 : 1]), plan.depth,
                                       axes, to, zeros,
                                       [&](const TapsBlock& block, const int64_t*) {
                                         call.taps = block;
                                         table_.depthwise(call);
                                       });
  }

  // Scales by column, from where the current tile begins.
  const float* scales_of(const BytesPlan& bytes, int64_t* step) const {
    *step = bytes.scale == kNone ? 0 : 1;
    return bytes.scale == kNone ? &bytes.scale_number
                                : floats(buffer_ref(k_.body[size_t(bytes.scale)]));
  }
  // What sums of integers begin with, by column; null for 0.
  const int32_t* integer_bias(const Instruction& dot) {
    if (plan_of(dot.operands[0]).home == Home::constant) return nullptr;
    return reinterpret_cast<const int32_t*>(ref(dot.operands[0]).data);
  }

  void dot_bytes_vector(const Instruction& i, size_t n, const DotPlan& plan) {
    const std::vector<AxisId>& axes = plan_of(i.results[0]).axes;
    Ref weights = buffer_ref(p_.producer(i.operands[plan.swapped ? 1 : 2]));
    DepthwiseI8Block call;
    call.weights = reinterpret_cast<const int8_t*>(weights.data);
    call.weight_row = 0;
    for (AxisId a : plan.depth)
      if (length_[a] > 1) call.weight_row = weights.stride[a];  // of the innermost one
    call.bias = integer_bias(i);
    call.scale = scales_of(plan.bytes, &call.scale_step);
    call.to = plan.bytes.to;
    call.again = plan.bytes.is_again ? &plan.bytes.again : nullptr;
    const auto* outside = reinterpret_cast<const int8_t*>(scratch_ + plan.fill_offset);
    each_row_of_taps<TapsI8Block>(n, p_.producer(i.operands[plan.swapped ? 2 : 1]), plan.depth,
                                  axes, buffer_ref(k_.body[size_t(plan.bytes.store)]), outside,
                                  [&](const TapsI8Block& block, const int64_t*) {
                                    call.taps = block;
                                    table_.depthwise_i8(call);
                                  });
  }

  // Both operands run along the innermost axis: one multiply-add of rows for each tap.
  void dot_vector(const Instruction& i, size_t n, const DotPlan& plan) {
    ValueId v = plan.result;
    const std::vector<AxisId>& axes = plan_of(v).axes;
    const Ref& to = ref(v);
    if (dot_depthwise(i, n, plan, to)) return;
    initialize(to, axes, i.operands[0]);
    const Instruction& window = p_.producer(i.operands[plan.swapped ? 2 : 1]);
    const Ref& taps = ref(i.operands[plan.swapped ? 1 : 2]);
    Ref from = buffer_ref(window);
    each_tap(window, plan.depth, axes, [&](const int64_t* tap) {
      Ref x = from, w = taps, y = to;
      for (AxisId a : plan.depth) {
        x.data += tap[a] * from.stride[a] * 4;
        w.data += tap[a] * taps.stride[a] * 4;
      }
      for (AxisId a : axes) {
        x.data += begin_[a] * from.stride[a] * 4;
        w.data += begin_[a] * taps.stride[a] * 4;
        y.data += begin_[a] * to.stride[a] * 4;
      }
      const Ref* refs[] = {&y, &x, &w};
      blocks(
          axes, refs,
          [&](const int64_t* o, const int64_t* row, const int64_t* step, int64_t rows, int64_t n) {
            table_.fma({rows, n, floats(x) + o[1], row[1], step[1], floats(w) + o[2], row[2],
                        step[2], floats(y) + o[0], row[0], 1, floats(y) + o[0], row[0]});
          });
    });
    if (plan.lo == -INFINITY && plan.hi == INFINITY) return;
    const Ref* refs[] = {&to};
    blocks(axes, refs,
           [&](const int64_t* o, const int64_t* row, const int64_t*, int64_t rows, int64_t count) {
             table_.clamp({rows, count, floats(to) + o[0], row[0], 1, plan.lo, plan.hi,
                           floats(to) + o[0], row[0]});
           });
  }

  // Packs an operand [depth][column] into panels.
  void pack(const Ref& b, const DotPlan& plan, int64_t depth, int64_t columns, float* panels) {
    size_t last = plan.depth.size();
    while (last > 0 && length_[plan.depth[last - 1]] == 1) last--;
    AxisId inner = last > 0 ? plan.depth[last - 1] : kNone;
    Span<const AxisId> outer(plan.depth.data(), last > 0 ? last - 1 : 0);
    PackBlock call;
    call.k = inner == kNone ? 1 : length_[inner];
    call.n = columns;
    call.k_stride = inner == kNone ? 0 : b.stride[inner];
    call.n_stride = b.stride[plan.column];
    call.out = panels;
    call.panel_stride = depth * kPanelColumns;
    if (depth == 0) return;
    each(outer, [&](const int64_t* at) {
      call.b = floats(b) + offset_at(b, outer, at);
      table_.pack_f32(call);
      call.out += call.k * kPanelColumns;
    });
  }

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
  RowTable<T> row_table(const DotPlan& plan, const Ref& a, const Instruction* window,
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
            for (size_t d = segment_axes.size(); d < plan.depth.size(); d++)
              here[plan.depth[d]] = 0;
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

  // Rows of bytes by packed columns, to sums or to bytes.
  Result<void> dot_bytes(const Instruction& i, const DotPlan& plan) {
    ValueId rows_value = i.operands[plan.swapped ? 2 : 1];
    const Instruction& load = p_.producer(i.operands[plan.swapped ? 1 : 2]);
    const BytesPlan& bytes = plan.bytes;
    bool to_bytes = bytes.store != kNone;
    Ref to = to_bytes ? buffer_ref(k_.body[size_t(bytes.store)]) : ref(i.results[0]);
    int64_t columns = plan.column == kNone ? 1 : length_[plan.column];
    int64_t depth = 1, row_count = 1;
    for (AxisId a : plan.depth) depth *= length_[a];
    for (AxisId a : plan.rows) row_count *= length_[a];
    if (row_count == 0 || columns == 0) return {};

    const BufferView& shape = p_.shapes[size_t(load.buffer)];
    const PanelShape& packed = p_.panels[size_t(load.buffer)];
    int64_t lead = 0;
    for (size_t d = 0; d < size_t(k_.buffers[size_t(load.buffer)].panel_lead); d++)
      lead = lead * shape.sizes[d] + index_base(load.index[d]);
    const auto* panels = reinterpret_cast<const int8_t*>(data_[size_t(load.buffer)]) +
                         packed.panel(lead, index_base(load.index.back()));

    const Instruction* window = nullptr;
    Ref a;
    if (plan.rows_copied) {
      a = copied_rows(plan);
      TRY_VOID(load_into(p_.producer(rows_value), a, plan.rows_and_depth, DType::i8));
    } else {
      a = buffer_ref(p_.producer(rows_value));
      if (!is_inside(p_.producer(rows_value))) window = &p_.producer(rows_value);
    }
    Ref added;
    if (bytes.added != kNone) added = buffer_ref(k_.body[size_t(bytes.added)]);
    const RowTable<int8_t> table =
        row_table(plan, a, window, reinterpret_cast<const int8_t*>(scratch_ + plan.fill_offset),
                  plan.fill, to, added);

    const DotI8Kernels& kernels = table_.dot_i8;
    const DotBlocking blocking = choose_blocking(kernels, row_count, columns, depth);
    int64_t panel_count = pieces(columns, kPanelColumns);
    int64_t groups = pieces(panel_count, blocking.tile.panels);
    const int32_t* bias = integer_bias(i);
    AgainI8 again = bytes.again;
    DotI8 call = {};
    call.segment_rows = table.rows;
    call.a_signed = true;
    call.panel_stride = packed.panel_bytes;
    call.segments = table.segments;
    call.length = table.length;
    call.finish = to_bytes ? DotI8Finish::i8 : DotI8Finish::i32;
    const float* scale = scales_of(bytes, &call.scale_step);
    call.to = bytes.to;
    call.again = bytes.is_again ? &again : nullptr;
    auto block = [&](int64_t group, int64_t r0, int64_t high) {
      int64_t panel = piece_start(panel_count, groups, group);
      int64_t wide = piece_start(panel_count, groups, group + 1) - panel;
      int64_t column0 = panel * kPanelColumns;
      call.b = panels + panel * packed.panel_bytes;
      call.columns = int32_t(std::min(columns - column0, wide * kPanelColumns));
      call.bias = bias ? bias + column0 : nullptr;
      call.scale = scale + column0 * call.scale_step;
      call.rows = table.pointers + r0;
      call.c = to.data + (table.c_offset[r0] + column0) * (to_bytes ? 1 : 4);
      if (bytes.added != kNone)
        again.x = reinterpret_cast<const int8_t*>(added.data) + table.added_offset[r0] + column0;
      kernels.kernel[high - 1][wide - 1](call);
    };
    auto rows_from = [&](int64_t r0) {
      int64_t left = row_count - r0;
      return table.even_rows(r0, pieces(left, pieces(left, blocking.tile.rows)), &call.c_stride,
                             &again.x_row);
    };
    // Few columns stay near while rows pass, and results are written whole; else rows stay.
    if (depth * columns <= kNearBytes) {
      for (int64_t r0 = 0, high; r0 < row_count; r0 += high) {
        high = rows_from(r0);
        for (int64_t group = 0; group < groups; group++) block(group, r0, high);
      }
    } else {
      for (int64_t group = 0; group < groups; group++)
        for (int64_t r0 = 0, high; r0 < row_count; r0 += high) {
          high = rows_from(r0);
          block(group, r0, high);
        }
    }
    return {};
  }

  // Where the rows of a dot lie when they are put in order first.
  Ref copied_rows(const DotPlan& plan) const {
    Ref a;
    a.data = scratch_ + plan.rows_offset;
    int64_t stride = 1;
    for (size_t d = plan.depth.size(); d-- > 0;) {
      a.stride[plan.depth[d]] = stride;
      stride *= length_[plan.depth[d]];
    }
    for (size_t d = plan.rows.size(); d-- > 0;) {
      a.stride[plan.rows[d]] = stride;
      stride *= length_[plan.rows[d]];
    }
    return a;
  }

  Result<void> dot(const Instruction& i, size_t n) {
    const DotPlan& plan = p_.dots[n];
    ValueId v = plan.result;
    settle(i.results[0]);
    settle(v);
    if (plan.kind == DotPlan::Kind::plain) {
      dot_plain(i);
      return {};
    }
    if (plan.kind == DotPlan::Kind::vector) {
      dot_vector(i, n, plan);
      return {};
    }
    if (plan.kind == DotPlan::Kind::bytes) return dot_bytes(i, plan);
    if (plan.kind == DotPlan::Kind::bytes_vector) {
      dot_bytes_vector(i, n, plan);
      return {};
    }
    const Ref& to = ref(v);
    const std::vector<AxisId>& out_axes = plan_of(v).axes;
    ValueId rows_value = i.operands[plan.swapped ? 2 : 1],
            columns_value = i.operands[plan.swapped ? 1 : 2];
    int64_t depth = 1, row_count = 1;
    for (AxisId a : plan.depth) depth *= length_[a];
    for (AxisId a : plan.rows) row_count *= length_[a];
    int64_t columns = plan.column == kNone ? 1 : length_[plan.column];
    if (row_count == 0 || columns == 0) return {};

    // Columns: packed in the file, or here.
    const float* panels = nullptr;
    int64_t panel_stride = depth * kPanelColumns;
    if (plan.kind == DotPlan::Kind::panels) {
      const Instruction& load = p_.producer(columns_value);
      const BufferView& shape = p_.shapes[size_t(load.buffer)];
      const Buffer& buffer = k_.buffers[size_t(load.buffer)];
      int64_t lead = 0;
      for (size_t d = 0; d < size_t(buffer.panel_lead); d++)
        lead = lead * shape.sizes[d] + index_base(load.index[d]);
      int64_t all = (shape.sizes.back() + kPanelColumns - 1) / kPanelColumns;
      int64_t first = index_base(load.index.back()) / kPanelColumns;
      panels = reinterpret_cast<const float*>(data_[size_t(load.buffer)]) +
               (lead * all + first) * panel_stride;
    } else {
      Ref b = plan_of(columns_value).home == Home::folded ? buffer_ref(p_.producer(columns_value))
                                                          : ref(columns_value);
      float* packed = reinterpret_cast<float*>(scratch_ + plan.panels_offset);
      pack(b, plan, depth, columns, packed);
      panels = packed;
    }

    // Rows: where they are, or put in order first.
    const Instruction* window = nullptr;
    Ref a;
    if (plan.rows_copied) {
      a = copied_rows(plan);
      const std::vector<AxisId>& axes = plan.rows_and_depth;
      if (plan_of(rows_value).home == Home::folded)
        TRY_VOID(load_into(p_.producer(rows_value), a, axes, DType::f32));
      else
        copy(axes, a, ref(rows_value), 4);
    } else if (plan_of(rows_value).home == Home::folded) {
      a = buffer_ref(p_.producer(rows_value));
      if (!is_inside(p_.producer(rows_value))) window = &p_.producer(rows_value);
    } else {
      a = ref(rows_value);
    }

    const RowTable<float> table =
        row_table(plan, a, window, reinterpret_cast<const float*>(scratch_ + p_.zeros_offset), 0,
                  to, plan.residual == kNone ? Ref() : ref(plan.residual));
    const int64_t segments = table.segments, length = table.length;
    const float* const* pointers = table.pointers;
    const int64_t *c_offset = table.c_offset, *residual_offset = table.added_offset;
    Ref residual;
    if (plan.residual != kNone) residual = ref(plan.residual);

    // Initial value.
    DotInit init = DotInit::zero;
    const float* bias = nullptr;
    const ValuePlan& initial = plan_of(i.operands[0]);
    const Ref& initial_ref = ref(i.operands[0]);
    bool is_zero = initial.home == Home::constant && initial.dtype == DType::f32 &&
                   initial.number == 0 && !std::signbit(initial.number);
    bool is_bias = plan.column != kNone && initial_ref.stride[plan.column] == 1;
    for (AxisId x : plan.rows) is_bias &= initial_ref.stride[x] == 0 || length_[x] == 1;
    if (is_zero) {
    } else if (is_bias) {
      init = DotInit::bias;
      bias = floats(initial_ref);
    } else {
      initialize(to, out_axes, i.operands[0]);
      init = DotInit::c;
    }

    const DotF32Kernels& kernels = table_.dot_f32;
    int64_t panel_count = (columns + kPanelColumns - 1) / kPanelColumns;
    // Blocks of steps: whole segments, or parts of the only one.
    int64_t segments_block = segments, length_block = length;
    if (segments > 1)
      segments_block = std::max<int64_t>(1, plan.depth_block / std::max<int64_t>(length, 1));
    else
      length_block = pieces(length, std::max<int64_t>(1, pieces(length, plan.depth_block)));
    const DotBlocking blocking = choose_blocking(kernels, row_count, columns, depth);
    int64_t groups = pieces(panel_count, blocking.tile.panels);

    const float* block_rows[kDotRowsMax * 64];
    for (int64_t s0 = 0, k0 = 0;;) {
      int64_t s_count = std::min(segments_block, segments - s0);
      int64_t k_count = std::min(length_block, length - k0);
      if (segments > 1) k_count = length;
      // A table of pointers for the rows of one block holds 64 segments.
      s_count = std::min<int64_t>(s_count, 64);
      if (s_count <= 0) s_count = 0;
      bool last =
          segments == 0 || (segments > 1 ? s0 + s_count >= segments : k0 + k_count >= length);
      for (int64_t group = 0; group < groups; group++) {
        int64_t panel = piece_start(panel_count, groups, group);
        int64_t wide = piece_start(panel_count, groups, group + 1) - panel;
        int64_t most = blocking.tile.rows;
        for (int64_t r0 = 0; r0 < row_count;) {
          // Even blocks rather than a thin last one.
          int64_t left = row_count - r0;
          int64_t high = pieces(left, pieces(left, most));
          int64_t c_stride = 0, residual_stride = 0;
          high = table.even_rows(r0, high, &c_stride, &residual_stride);
          const float* const* rows = pointers + s0 * row_count + r0;
          if (s_count > 1 || k0 > 0) {
            for (int64_t s = 0; s < s_count; s++)
              for (int64_t x = 0; x < high; x++)
                block_rows[s * high + x] = pointers[(s0 + s) * row_count + r0 + x] + k0;
            rows = block_rows;
          }
          int64_t column0 = panel * kPanelColumns;
          DotF32 call;
          call.rows = rows;
          call.b = panels + panel * panel_stride + (s0 * length + k0) * kPanelColumns;
          call.panel_stride = panel_stride;
          call.segments = s_count;
          call.length = k_count;
          call.c = floats(to) + c_offset[r0] + column0;
          call.c_stride = c_stride;
          call.columns = int32_t(std::min(columns - column0, wide * kPanelColumns));
          bool first = s0 == 0 && k0 == 0;
          call.init = first ? init : DotInit::c;
          call.bias = bias ? bias + column0 : nullptr;
          call.residual = last && plan.residual != kNone
                              ? floats(residual) + residual_offset[r0] + column0
                              : nullptr;
          call.residual_stride = residual_stride;
          call.lo = last ? plan.lo : -INFINITY;
          call.hi = last ? plan.hi : INFINITY;
          kernels.kernel[high - 1][wide - 1](call);
          r0 += high;
        }
      }
      if (last) break;
      if (segments > 1)
        s0 += s_count;
      else
        k0 += k_count;
    }
    return {};
  }

  Result<void> run_body(size_t from, size_t to) {
    for (size_t n = from; n < to; n++) {
      if (p_.skipped[n]) continue;
      const Instruction& i = k_.body[n];
      switch (i.op) {
        case Op::constant: settle(i.results[0]); break;
        case Op::extent:
          settle(i.results[0]);
          *reinterpret_cast<int64_t*>(ref(i.results[0]).data) = p_.extent[size_t(i.axes[0])];
          break;
        case Op::iota: {
          settle(i.results[0]);
          const Ref& r = ref(i.results[0]);
          AxisId a = i.axes[0];
          int64_t count = has_dimension(a) ? length_[a] : 1;
          for (int64_t x = 0; x < count; x++)
            reinterpret_cast<int64_t*>(r.data)[x * (has_dimension(a) ? r.stride[a] : 0)] =
                first_[a] + x;
          break;
        }
        case Op::load: TRY_VOID(load(i)); break;
        case Op::store: TRY_VOID(store(i, n)); break;
        case Op::unary:
        case Op::binary:
        case Op::fma:
        case Op::select:
        case Op::cast: pointwise(i); break;
        case Op::reduce: reduce(i, n); break;
        case Op::dot: TRY_VOID(dot(i, n)); break;
        case Op::serial:
          TRY_VOID(run_loop(n, size_t(p_.partner[n])));
          n = size_t(p_.partner[n]);
          break;
        case Op::yield: break;
      }
    }
    return {};
  }

  // Copies values onto carried ones.
  void carry(const CarryPlan& plan, const std::vector<ValueId>& from,
             const std::vector<ValueId>& to) {
    for (size_t k = 0; k < from.size(); k++) {
      if (plan.aside[k] == CarryPlan::kNotAside) continue;
      const ValuePlan& value = plan_of(from[k]);
      memcpy(scratch_ + plan.aside[k], ref(from[k]).data,
             size_t(value.count) * computed_bytes(value.dtype));
    }
    for (size_t k = 0; k < from.size(); k++) {
      Ref source = ref(from[k]);
      if (plan.aside[k] != CarryPlan::kNotAside) source.data = scratch_ + plan.aside[k];
      settle(to[k]);
      copy(plan_of(to[k]).axes, ref(to[k]), source, computed_bytes(plan_of(to[k]).dtype));
    }
  }

  Result<void> run_loop(size_t begin, size_t end) {
    const Instruction &loop = k_.body[begin], &yield = k_.body[end];
    size_t a = size_t(loop.axes[0]);
    carry(p_.carries[begin], loop.operands, loop.results);
    for (int64_t first = 0; first < p_.extent[a]; first += k_.axes[a].block) {
      first_[a] = first;
      length_[a] = std::min(k_.axes[a].block, p_.extent[a] - first);
      TRY_VOID(run_body(begin + 1, end));
      carry(p_.carries[end], yield.operands, loop.results);
    }
    first_[a] = 0;
    length_[a] = 1;
    for (size_t k = 0; k < loop.results.size(); k++)
      refs_[size_t(yield.results[k])] = refs_[size_t(loop.results[k])];
    return {};
  }

  const Plan::State& p_;
  const Kernel& k_;
  const KernelTable& table_;
  Span<uint8_t* const> data_;
  uint8_t* scratch_;
  Ref* refs_;
  int64_t first_[kAxesMax] = {}, length_[kAxesMax] = {}, begin_[kAxesMax] = {};
};

}  // namespace

static_assert(std::is_trivially_destructible_v<Worker>);  // left where they lie in scratch

// ---- planning ----

// A dot stands right before what uses it, so that this can become part of it.
static void move_dots(Kernel& kernel) {
  for (size_t n = kernel.body.size(); n-- > 0;) {
    if (kernel.body[n].op != Op::dot) continue;
    ValueId v = kernel.body[n].results[0];
    size_t user = 0, uses = 0;
    for (size_t m = n + 1; m < kernel.body.size(); m++)
      for (ValueId operand : kernel.body[m].operands)
        if (operand == v) {
          user = m;
          uses++;
        }
    if (uses != 1) continue;
    bool same_level = true;
    for (size_t m = n + 1; m < user; m++)
      same_level &= kernel.body[m].op != Op::serial && kernel.body[m].op != Op::yield;
    if (same_level)
      std::rotate(kernel.body.begin() + std::ptrdiff_t(n),
                  kernel.body.begin() + std::ptrdiff_t(n) + 1,
                  kernel.body.begin() + std::ptrdiff_t(user));
  }
}

void Plan::State::choose_order() {
  // By the strides of the first store; a dot's columns innermost, since its rows are written whole.
  const Instruction* store = nullptr;
  AxisId column = kNone;
  for (const Instruction& i : kernel.body) {
    if (i.op == Op::store && !store) store = &i;
    if (i.op == Op::load && kernel.buffers[size_t(i.buffer)].layout == Layout::panels &&
        column == kNone && !i.index.back().terms.empty())
      column = i.index.back().terms.back().axis;
  }
  std::vector<std::pair<int64_t, AxisId>> stored;
  std::vector<AxisId> others;
  for (AxisId a = 0; size_t(a) < kernel.axes.size(); a++) {
    int64_t stride = 0;
    if (store) stride = std::abs(buffer_stride(*store, a));
    if (a == column) continue;
    if (stride > 0)
      stored.push_back({stride, a});
    else
      others.push_back(a);
  }
  std::stable_sort(stored.begin(), stored.end(),
                   [](auto& x, auto& y) { return x.first > y.first; });
  for (size_t s = 0; s < stored.size(); s++) {
    if (s + 1 == stored.size() && column == kNone)
      order.insert(order.end(), others.begin(), others.end());
    order.push_back(stored[s].second);
  }
  if (column != kNone || stored.empty()) order.insert(order.end(), others.begin(), others.end());
  if (column != kNone) order.push_back(column);
  if (AxisId row = column == kNone ? reduced_row() : kNone; row != kNone) {
    order.erase(std::find(order.begin(), order.end(), row));
    order.push_back(row);
  }
}

// The axis of a reduction along rows of memory, when nothing runs along rows of results: its tiles
// then lie as memory does, and are read in place.
AxisId Plan::State::reduced_row() const {
  AxisId row = kNone;
  for (const Instruction& i : kernel.body) {
    if (i.op == Op::dot || i.op == Op::serial) return kNone;
    if (i.op == Op::reduce && !i.axes.empty()) row = i.axes.back();
  }
  if (row == kNone) return kNone;
  bool is_along = false;
  for (const Instruction& i : kernel.body) {
    if (i.op != Op::load && i.op != Op::store) continue;
    if (i.op == Op::load && std::abs(buffer_stride(i, row)) == 1) is_along = true;
    for (AxisId a = 0; size_t(a) < kernel.axes.size(); a++)
      if (a != row && extent[size_t(a)] > 1 && i.op == Op::load &&
          std::abs(buffer_stride(i, a)) == 1)
        return kNone;
    if (i.op == Op::store && buffer_stride(i, row) != 0) return kNone;
  }
  return is_along ? row : kNone;
}

void Plan::State::describe_values() {
  values.assign(kernel.values.size(), {});
  users.assign(kernel.values.size(), {});
  partner.assign(kernel.body.size(), kNone);
  skipped.assign(kernel.body.size(), false);
  constants.assign(kernel.values.size() * 8, 0);
  std::vector<int32_t> open;
  for (size_t n = 0; n < kernel.body.size(); n++) {
    const Instruction& i = kernel.body[n];
    if (i.op == Op::serial) open.push_back(int32_t(n));
    if (i.op == Op::yield) {
      partner[n] = open.back();
      partner[size_t(open.back())] = int32_t(n);
      open.pop_back();
    }
    for (ValueId v : i.results) {
      ValuePlan& value = values[size_t(v)];
      value.held = value.dtype = kernel.values[size_t(v)].dtype;
      value.producer = int32_t(n);
      for (AxisId a : order)
        if (axes_of(v) >> a & 1) value.axes.push_back(a);
      if (i.op == Op::constant || i.op == Op::extent) {
        value.home = Home::constant;
        value.axes.clear();
        value.number = i.number;
        uint8_t* place = &constants[size_t(v) * 8];
        float f = float(i.number);
        int64_t whole = int64_t(value.dtype == DType::f32 ? 0 : i.number);
        if (i.op == Op::extent) whole = extent[size_t(i.axes[0])];
        if (value.dtype == DType::f32)
          memcpy(place, &f, 4);
        else if (value.dtype == DType::b8)
          *place = whole != 0 || (i.number != 0);
        else
          memcpy(place, &whole, 8);
        if (value.dtype == DType::i32) {
          int32_t narrow = int32_t(whole);
          memcpy(place, &narrow, 4);
        }
      }
    }
    auto use = [&](ValueId v) {
      values[size_t(v)].uses++;
      users[size_t(v)].push_back(int32_t(n));
      int32_t last = int32_t(n);
      // Used inside a loop that its definition is outside of: needed until the loop ends.
      for (size_t o = 0; o < open.size(); o++)
        if (values[size_t(v)].producer < open[o] ||
            (values[size_t(v)].producer == open[o] && i.op != Op::serial)) {
          last = INT32_MAX - open[o];
          break;
        }
      values[size_t(v)].last_use = std::max(values[size_t(v)].last_use, last);
    };
    for (ValueId v : i.operands) use(v);
    for (const Index& index : i.index)
      if (index.value != kNone) use(index.value);
  }
  // The ends of loops are known now.
  for (ValuePlan& value : values)
    if (value.last_use > int32_t(kernel.body.size()))
      value.last_use = partner[size_t(INT32_MAX - value.last_use)];
}

// True for a load of a strided buffer that nothing else uses, at an index that no value computes.
bool Plan::State::is_known_load(ValueId v, DType dtype) const {
  if (!is_load(v) || values[size_t(v)].uses != 1) return false;
  const Instruction& load = producer(v);
  const Buffer& buffer = kernel.buffers[size_t(load.buffer)];
  return buffer.dtype == dtype && buffer.layout == Layout::strided && !load.strict &&
         !is_gather(load);
}

// True when `columns` is a load of panels whose contracted dims are the axes of a dot in order, and
// whose columns are those of a parallel axis, or one. A dim may have several axes, like digits of a
// number; `run_axes`: how many the last one has.
bool Plan::State::find_panel_axes(const Instruction& dot, ValueId columns, size_t* run_axes) const {
  if (!is_load(columns) || values[size_t(columns)].uses != 1) return false;
  const Instruction& load = producer(columns);
  const Buffer& buffer = kernel.buffers[size_t(load.buffer)];
  if (buffer.layout != Layout::panels || is_gather(load) || load.strict || !always_inside(load))
    return false;
  size_t next = 0, last = load.index.size() - 1;
  *run_axes = 0;
  for (size_t d = 0; d < last; d++) {
    const Index& index = load.index[d];
    if (d < size_t(buffer.panel_lead)) {
      for (const Term& term : index.terms)
        if (has_dimension(term.axis)) return false;
      continue;
    }
    if (index.offset != 0 || next + index.terms.size() > dot.axes.size()) return false;
    int64_t size = 1;
    for (size_t t = index.terms.size(); t-- > 0;) {
      AxisId axis = dot.axes[next + t];
      auto term = std::find_if(index.terms.begin(), index.terms.end(),
                               [&](const Term& x) { return x.axis == axis; });
      if (term == index.terms.end() || term->factor != size ||
          kernel.axes[size_t(axis)].kind != AxisKind::span)
        return false;
      size *= extent[size_t(axis)];
    }
    if (size != shapes[size_t(load.buffer)].sizes[d]) return false;
    next += index.terms.size();
    *run_axes = index.terms.size();
  }
  const Index& column = load.index[last];
  if (next != dot.axes.size() || column.offset % kPanelColumns || column.terms.size() > 1)
    return false;
  if (column.terms.empty()) return true;
  return column.terms[0].factor == 1 && has_dimension(column.terms[0].axis) &&
         kernel.axes[size_t(column.terms[0].axis)].kind == AxisKind::parallel;
}

// The block kernels of integers take bytes where they lie; others are for the plain loops.
void Plan::State::plan_integer_dot(size_t n) {
  const Instruction& i = kernel.body[n];
  DotPlan& plan = dots[n];
  const std::vector<AxisId>& out = values[size_t(i.results[0])].axes;
  AxisSet contracted = 0;
  for (AxisId a : i.axes) {
    contracted |= AxisSet(1) << a;
    if (extent[size_t(a)] < 1) return;
  }
  AxisId inner = innermost(out);
  const ValuePlan& initial = values[size_t(i.operands[0])];
  auto takes_initial = [&](AxisId column) {
    if (initial.home == Home::constant) return initial.number == 0;
    return column != kNone && axes_of(i.operands[0]) == AxisSet(1) << column;
  };
  // Bytes around what is read, when some of it lies outside.
  auto takes_fill = [&](const Instruction& load) {
    if (always_inside(load)) return true;
    plan.fill = int8_t(std::clamp(load.number, -128.0, 127.0));
    return double(plan.fill) == load.number;
  };
  for (bool swapped : {false, true}) {
    ValueId rows = i.operands[swapped ? 2 : 1], columns = i.operands[swapped ? 1 : 2];
    if (!is_known_load(rows, DType::i8) || !is_load(columns) ||
        kernel.buffers[size_t(producer(columns).buffer)].dtype != DType::i8 ||
        !find_panel_axes(i, columns, &plan.run_axes))
      continue;
    const Index& index = producer(columns).index.back();
    AxisId column = index.terms.empty() ? kNone : index.terms[0].axis;
    if (column != kNone && ((axes_of(rows) >> column & 1) || inner != column)) continue;
    const Instruction& load = producer(rows);
    if (!takes_initial(column) || (contracted & ~axes_of(rows)) || !takes_fill(load)) continue;
    plan.swapped = swapped;
    plan.column = column;
    for (AxisId a : out)
      if (a != column) plan.rows.push_back(a);
    // In place when a run lies behind each other, and only its outermost axis ever leaves the
    // buffer.
    int64_t segments = 1, length = 1;
    bool in_place = true;
    for (size_t d = i.axes.size(); d-- > 0;) {
      AxisId a = i.axes[d];
      if (extent[size_t(a)] == 1) continue;
      if (i.axes.size() - d > plan.run_axes) {
        segments *= extent[size_t(a)];
        continue;
      }
      in_place &= buffer_stride(load, a) == length;
      bool is_first = length == 1;
      length *= extent[size_t(a)];
      for (size_t dim = 0; dim < load.index.size() && is_first; dim++) {
        int64_t low = load.index[dim].offset, high = low;
        bool along = false;
        for (const Term& term : load.index[dim].terms) {
          along |= term.axis == a;
          int64_t reach = term.factor * (extent[size_t(term.axis)] - 1);
          (reach < 0 ? low : high) += reach;
        }
        if (along) in_place &= low >= 0 && high < shapes[size_t(load.buffer)].sizes[dim];
      }
    }
    plan.rows_copied = !in_place || segments > 4096 || plan.run_axes > 2;
    plan.kind = DotPlan::Kind::bytes;
    values[size_t(rows)].home = values[size_t(columns)].home = Home::folded;
    fold_bytes(n, true);
    return;
  }

  // By depth: what slides, and its weights, run along the innermost axis.
  for (bool swapped : {false, true}) {
    ValueId window = i.operands[swapped ? 2 : 1], taps = i.operands[swapped ? 1 : 2];
    if (!is_known_load(window, DType::i8) || !is_known_load(taps, DType::i8) || inner == kNone ||
        (axes_of(window) | AxisSet(1) << inner) != axes_of(window) ||
        axes_of(taps) != (contracted | AxisSet(1) << inner) ||
        axes_of(window) != (contracted | axes_of(i.results[0])) || !takes_initial(inner))
      continue;
    const Instruction &load = producer(window), &weights = producer(taps);
    bool fits = buffer_stride(load, inner) == 1 && buffer_stride(weights, inner) == 1 &&
                always_inside(weights) && takes_fill(load) && slides(load, contracted);
    int64_t count = 1, row = 0;  // weights of all taps, at equal distances
    for (size_t d = i.axes.size(); d-- > 0;) {
      int64_t size = extent[size_t(i.axes[d])], stride = buffer_stride(weights, i.axes[d]);
      fits &= size > 0 && kernel.axes[size_t(i.axes[d])].kind == AxisKind::span;
      if (size == 1) continue;
      if (row == 0) row = stride;
      fits &= stride == row * count && count < 1 << 16;
      count *= size;
    }
    if (!fits || count > 1 << 10 || !is_row_of_pixels(out)) continue;
    plan.swapped = swapped;
    plan.column = inner;
    if (!fold_bytes(n, false)) continue;
    plan.kind = DotPlan::Kind::bytes_vector;
    values[size_t(window)].home = values[size_t(taps)].home = Home::folded;
    return;
  }
}

// Takes along what makes bytes of the sums of a dot, as BytesPlan has it. False, and nothing is
// changed, when something else becomes of them.
bool Plan::State::fold_bytes(size_t n, bool may_add) {
  DotPlan& plan = dots[n];
  BytesPlan found;
  std::vector<int32_t> taken;
  ValueId at = kernel.body[n].results[0];
  auto is_constant = [&](ValueId v, double* number) {
    *number = double(float(values[size_t(v)].number));
    return values[size_t(v)].home == Home::constant && values[size_t(v)].dtype == DType::f32 &&
           producer(v).op == Op::constant;
  };
  auto is_whole = [](double x) { return x == std::rint(x) && std::fabs(x) <= 1024; };
  // The only user of `at`.
  auto user = [&]() -> const Instruction* {
    return users[size_t(at)].size() == 1 ? &kernel.body[size_t(users[size_t(at)][0])] : nullptr;
  };
  auto go_on = [&] {
    taken.push_back(users[size_t(at)][0]);
    at = kernel.body[size_t(taken.back())].results[0];
  };
  // x -> f(x, constant), with the operand at either place when that does not matter.
  auto with_constant = [&](Binary f, bool either, double* number) {
    const Instruction* i = user();
    if (!i || i->op != Op::binary || Binary(i->function) != f) return false;
    bool first = i->operands[0] == at;
    if ((!first && !either) || !is_constant(i->operands[first ? 1 : 0], number)) return false;
    go_on();
    return true;
  };
  auto cast_to = [&](DType dtype) {
    const Instruction* i = user();
    if (!i || i->op != Op::cast || i->dtype != dtype) return false;
    go_on();
    return true;
  };
  // x > low ? x : low; at most high; rounded; a zero point added; i32.
  auto limit = [&](LimitI8* to) {
    double low = 0, again = 0, high = 0, zero = 0;
    const std::vector<int32_t>& two = users[size_t(at)];
    if (two.size() != 2) return false;
    const Instruction &compare = kernel.body[size_t(two[0])], &select = kernel.body[size_t(two[1])];
    if (compare.op != Op::binary || Binary(compare.function) != Binary::gt ||
        compare.operands[0] != at || !is_constant(compare.operands[1], &low) ||
        users[size_t(compare.results[0])].size() != 1 || select.op != Op::select ||
        select.operands[0] != compare.results[0] || select.operands[1] != at ||
        !is_constant(select.operands[2], &again) || low != again)
      return false;
    taken.insert(taken.end(), two.begin(), two.end());
    at = select.results[0];
    if (!with_constant(Binary::min, false, &high)) return false;
    const Instruction* round = user();
    if (!round || round->op != Op::unary || Unary(round->function) != Unary::round) return false;
    go_on();
    with_constant(Binary::add, true, &zero);
    if (!cast_to(DType::i32) || !is_whole(low) || !is_whole(high) || !is_whole(zero)) return false;
    *to = {int32_t(zero), int32_t(low + zero), int32_t(high + zero)};
    return to->low >= -128 && to->low <= to->high && to->high <= 127;
  };
  // The end: a store to bytes, whole rows of them.
  auto store = [&] {
    const Instruction* i = user();
    if (!i || i->op != Op::store || kernel.buffers[size_t(i->buffer)].dtype != DType::i8 ||
        !always_inside(*i))
      return false;
    AxisSet stored = 0;
    for (const Index& index : i->index)
      for (const Term& term : index.terms)
        if (has_dimension(term.axis)) stored |= AxisSet(1) << term.axis;
    if (stored != axes_of(at) || (plan.column != kNone && buffer_stride(*i, plan.column) != 1))
      return false;
    found.store = users[size_t(at)][0];
    taken.push_back(found.store);
    return true;
  };
  // Bytes as numbers, for the sum of two: the load that they come from.
  auto added_bytes = [&](ValueId v, double* ratio, double* zero) -> int32_t {
    auto alone = [&](ValueId x, Op op) {
      return users[size_t(x)].size() == 1 && producer(x).op == op;
    };
    *zero = 0;
    if (!alone(v, Op::binary) || Binary(producer(v).function) != Binary::mul ||
        !is_constant(producer(v).operands[1], ratio))
      return kNone;
    std::vector<int32_t> steps{values[size_t(v)].producer};
    ValueId x = producer(v).operands[0];
    if (alone(x, Op::binary)) {
      if (Binary(producer(x).function) != Binary::sub ||
          !is_constant(producer(x).operands[1], zero))
        return kNone;
      steps.push_back(values[size_t(x)].producer);
      x = producer(x).operands[0];
    }
    if (!alone(x, Op::cast)) return kNone;
    steps.push_back(values[size_t(x)].producer);
    ValueId loaded = producer(x).operands[0];
    if (!is_known_load(loaded, DType::i8) || !always_inside(producer(loaded)) ||
        axes_of(loaded) != axes_of(kernel.body[n].results[0]) ||
        (plan.column != kNone && buffer_stride(producer(loaded), plan.column) != 1))
      return kNone;
    steps.push_back(values[size_t(loaded)].producer);
    taken.insert(taken.end(), steps.begin(), steps.end());
    return steps.back();
  };
  auto match = [&] {
    double number = 1;
    if (!cast_to(DType::f32)) return false;
    const Instruction* scaled = user();
    if (!scaled || scaled->op != Op::binary || Binary(scaled->function) != Binary::mul)
      return false;
    ValueId scale = scaled->operands[scaled->operands[0] == at ? 1 : 0];
    if (is_constant(scale, &number)) {
      found.scale_number = float(number);
    } else {
      if (plan.column == kNone || !is_known_load(scale, DType::f32) ||
          axes_of(scale) != AxisSet(1) << plan.column || !always_inside(producer(scale)) ||
          buffer_stride(producer(scale), plan.column) != 1)
        return false;
      found.scale = values[size_t(scale)].producer;
      taken.push_back(found.scale);
    }
    go_on();
    if (!limit(&found.to)) return false;
    if (store()) return true;
    double zero = 0, own = 0, other_zero = 0, ratio = 0;
    if (!cast_to(DType::f32)) return false;
    with_constant(Binary::sub, false, &zero);
    if (zero != found.to.zero || !with_constant(Binary::mul, true, &own)) return false;
    found.is_again = true;
    found.again.factor = 1;
    const Instruction* sum = user();
    if (may_add && sum && sum->op == Op::binary &&
        (Binary(sum->function) == Binary::add || Binary(sum->function) == Binary::sub)) {
      bool first = sum->operands[0] == at;
      found.added = added_bytes(sum->operands[first ? 1 : 0], &ratio, &other_zero);
      if (found.added == kNone || !is_whole(other_zero)) return false;
      if (Binary(sum->function) == Binary::sub) (first ? ratio : own) *= -1;
      go_on();
    } else if (with_constant(Binary::mul, true, &number)) {
      found.again.factor = float(number);
    }
    found.again.x_zero = int32_t(other_zero);
    found.again.own_ratio = float(own);
    found.again.x_ratio = float(ratio);
    return limit(&found.again.to) && store();
  };
  if (!match()) return false;
  // All of it must stand at the level of the dot, where the tile is the same.
  auto [least, most] = std::minmax_element(taken.begin(), taken.end());
  for (size_t m = std::min(n, size_t(*least)); m <= size_t(*most); m++)
    if (kernel.body[m].op == Op::serial || kernel.body[m].op == Op::yield) return false;
  plan.bytes = found;
  for (int32_t m : taken) {
    skipped[size_t(m)] = true;
    for (ValueId v : kernel.body[size_t(m)].results) values[size_t(v)].home = Home::folded;
  }
  values[size_t(kernel.body[n].results[0])].home = Home::folded;
  return true;
}

void Plan::State::plan_dot(size_t n) {
  const Instruction& i = kernel.body[n];
  DotPlan& plan = dots[n];
  plan.result = i.results[0];
  plan.depth = i.axes;
  const std::vector<AxisId>& out = values[size_t(i.results[0])].axes;
  if (values[size_t(i.results[0])].dtype != DType::f32) return plan_integer_dot(n);
  AxisSet contracted = 0;
  for (AxisId a : i.axes) contracted |= AxisSet(1) << a;

  auto plain_load = [&](ValueId v) { return is_known_load(v, DType::f32); };
  auto is_packed = [&](ValueId v) {
    size_t run = 0;
    return is_load(v) && kernel.buffers[size_t(producer(v).buffer)].dtype == DType::f32 &&
           find_panel_axes(i, v, &run);
  };

  // Rows by columns; the columns are innermost in the result, whose rows are written whole.
  for (bool swapped : {false, true}) {
    ValueId rows = i.operands[swapped ? 2 : 1], columns = i.operands[swapped ? 1 : 2];
    AxisId column = kNone;
    if (is_packed(columns)) {
      const Index& index = producer(columns).index.back();
      if (!index.terms.empty()) column = index.terms[0].axis;
      if (column != kNone && ((axes_of(rows) >> column & 1) || innermost(out) != column)) continue;
      plan.kind = DotPlan::Kind::panels;
      values[size_t(columns)].home = Home::folded;
    } else {
      AxisSet others = axes_of(columns) & ~contracted;
      if (std::popcount(others) != 1) continue;
      column = std::countr_zero(others);
      if ((axes_of(rows) >> column & 1) || innermost(out) != column ||
          (contracted & ~axes_of(columns)))
        continue;
      plan.kind = DotPlan::Kind::packed_here;
      if (plain_load(columns) && always_inside(producer(columns)))
        values[size_t(columns)].home = Home::folded;
    }
    plan.swapped = swapped;
    plan.column = column;
    for (AxisId a : out)
      if (a != column) plan.rows.push_back(a);
    // Rows in place when the innermost depth axis lies along memory and never leaves it.
    AxisId inner = kNone;
    int64_t segments = 1;
    for (size_t d = i.axes.size(); d-- > 0;) {
      if (extent[size_t(i.axes[d])] == 1) continue;
      if (inner == kNone)
        inner = i.axes[d];
      else
        segments *= extent[size_t(i.axes[d])];
    }
    if (plain_load(rows)) {
      const Instruction& load = producer(rows);
      bool in_place = inner == kNone || buffer_stride(load, inner) == 1;
      in_place &= segments <= 4096 && !(contracted & ~axes_of(rows));
      for (size_t d = 0; d < load.index.size() && in_place; d++) {
        bool along = false;
        int64_t low = load.index[d].offset, high = low;
        for (const Term& term : load.index[d].terms) {
          along |= term.axis == inner;
          int64_t reach = term.factor * (extent[size_t(term.axis)] - 1);
          (reach < 0 ? low : high) += reach;
        }
        if (along || inner == kNone)
          in_place &= low >= 0 && high < shapes[size_t(load.buffer)].sizes[d];
      }
      // Where something lies outside, zeros stand for it.
      in_place &= always_inside(load) || (load.number == 0 && !std::signbit(load.number));
      values[size_t(rows)].home = Home::folded;
      plan.rows_copied = !in_place;
    } else {
      AxisId last = innermost(values[size_t(rows)].axes);
      plan.rows_copied = (contracted & ~axes_of(rows)) || (inner != kNone && last != inner) ||
                         values[size_t(rows)].home == Home::constant;
    }
    return;
  }

  // Both operands have the innermost axis: a window that slides along rows of channels.
  for (bool swapped : {false, true}) {
    ValueId window = i.operands[swapped ? 2 : 1], taps = i.operands[swapped ? 1 : 2];
    AxisId inner = innermost(out);
    if (!plain_load(window) || inner == kNone || !(axes_of(window) >> inner & 1)) continue;
    const Instruction& load = producer(window);
    bool fits = buffer_stride(load, inner) == 1 && load.number == 0 &&
                !(axes_of(window) & ~(contracted | axes_of(i.results[0]))) &&
                values[size_t(taps)].home != Home::constant && slides(load, contracted);
    if (!fits) continue;
    plan.kind = DotPlan::Kind::vector;
    plan.swapped = swapped;
    values[size_t(window)].home = Home::folded;
    return;
  }
}

void Plan::State::fold_epilogue(size_t n) {
  DotPlan& plan = dots[n];
  if (plan.kind == DotPlan::Kind::plain || plan.kind == DotPlan::Kind::bytes ||
      plan.kind == DotPlan::Kind::bytes_vector)
    return;
  bool clamped = false;
  for (size_t m = n + 1; m < kernel.body.size(); m++) {
    const Instruction& i = kernel.body[m];
    if (i.op == Op::constant) continue;
    bool uses = std::find(i.operands.begin(), i.operands.end(), plan.result) != i.operands.end();
    if (!uses || values[size_t(plan.result)].uses != 1 ||
        values[size_t(plan.result)].dtype != DType::f32)
      return;
    if (i.op == Op::unary && Unary(i.function) == Unary::relu && plan.lo == -INFINITY &&
        plan.hi == INFINITY) {
      plan.lo = 0;
      clamped = true;
    } else if (i.op == Op::binary) {
      ValueId other = i.operands[0] == plan.result ? i.operands[1] : i.operands[0];
      const ValuePlan& value = values[size_t(other)];
      auto f = Binary(i.function);
      if (f == Binary::max && value.home == Home::constant && plan.lo == -INFINITY &&
          plan.hi == INFINITY && i.operands[0] == plan.result) {
        plan.lo = float(value.number);
        clamped = true;
      } else if (f == Binary::min && value.home == Home::constant && plan.hi == INFINITY &&
                 i.operands[0] == plan.result) {
        plan.hi = float(value.number);
        clamped = true;
      } else if (f == Binary::add && plan.kind != DotPlan::Kind::vector && !clamped &&
                 plan.residual == kNone && value.home != Home::constant &&
                 value.producer < int32_t(n) && axes_of(other) == axes_of(plan.result) &&
                 plan.column != kNone && innermost(value.axes) == plan.column) {
        plan.residual = other;
        values[size_t(other)].last_use = std::max(values[size_t(other)].last_use, int32_t(m));
      } else {
        return;
      }
    } else {
      return;
    }
    values[size_t(plan.result)].home = Home::folded;
    plan.result = i.results[0];
    values[size_t(plan.result)].producer = int32_t(n);
    skipped[m] = true;
  }
}

// True when a store writes each element of a value once, inside its buffer, rows at a step of one.
bool Plan::State::is_whole_store(const Instruction& store, ValueId v) const {
  AxisSet stored = 0;
  for (const Index& index : store.index)
    for (const Term& term : index.terms)
      if (has_dimension(term.axis)) stored |= AxisSet(1) << term.axis;
  AxisId inner = innermost(values[size_t(v)].axes);
  return stored == axes_of(v) && always_inside(store) &&
         (inner == kNone || buffer_stride(store, inner) == 1);
}

// True for a maximum over a window of bytes that is read as bytes; of sizes for which there are
// tables of pointers.
bool Plan::State::is_narrow_maximum(const Instruction& reduce) const {
  ValueId v = reduce.results[0];
  const std::vector<AxisId>& out = values[size_t(v)].axes;
  if (Reduce(reduce.function) != Reduce::max || !stays_narrow(v)) return false;
  int64_t count = 1;
  for (AxisId a : reduce.axes) {
    if (extent[size_t(a)] < 1 || kernel.axes[size_t(a)].kind != AxisKind::span) return false;
    count = std::min<int64_t>(count * extent[size_t(a)], 1 << 20);
  }
  return count <= 1 << 10 && is_row_of_pixels(out);
}

// True for results whose rows of pixels have tables of pointers to windows, of up to 2^10 each.
bool Plan::State::is_row_of_pixels(const std::vector<AxisId>& out) const {
  auto most = [&](AxisId a) {
    const Axis& axis = kernel.axes[size_t(a)];
    return axis.kind == AxisKind::serial ? axis.block : extent[size_t(a)];
  };
  return !out.empty() && most(out.back()) <= 1 << 20 &&
         (out.size() == 1 || most(out[out.size() - 2]) <= 1 << 10);
}

// True when all that uses an i32 from bytes takes the bytes as well.
bool Plan::State::stays_narrow(ValueId v) const {
  const std::vector<int32_t>& all = users[size_t(v)];
  return !all.empty() && std::all_of(all.begin(), all.end(), [&](int32_t n) {
    const Instruction& i = kernel.body[size_t(n)];
    if (i.op == Op::store) return kernel.buffers[size_t(i.buffer)].dtype == DType::i8;
    return i.op == Op::cast && i.dtype == DType::f32;
  });
}

Result<void> Plan::State::choose_tiles(int threads, const Schedule& schedule) {
  tile.assign(kernel.axes.size(), 1);
  const DotPlan* main = nullptr;
  for (const DotPlan& dot : dots)
    if (!main && (dot.kind == DotPlan::Kind::panels || dot.kind == DotPlan::Kind::packed_here ||
                  dot.kind == DotPlan::Kind::bytes))
      main = &dot;
  auto is_cut = [&](AxisId a) {
    return kernel.axes[size_t(a)].kind == AxisKind::parallel && !kernel.axes[size_t(a)].each;
  };
  int64_t spans = 1;
  if (!main) {
    // Spans that have memory of their own count; what a window slides over does not.
    AxisSet made = 0;
    for (size_t v = 0; v < values.size(); v++)
      if (values[v].home == Home::scratch) made |= kernel.values[v].axes;
    for (size_t a = 0; a < kernel.axes.size(); a++)
      if (kernel.axes[a].kind != AxisKind::parallel && (made >> a & 1))
        spans *= kernel.axes[a].kind == AxisKind::span ? extent[a] : kernel.axes[a].block;
  }
  // Windows that slide over buffers, with nothing else to do, keep nothing in between.
  bool slides = true;
  for (size_t n = 0; n < kernel.body.size(); n++) {
    const Instruction& i = kernel.body[n];
    bool in_place = i.op == Op::constant || i.op == Op::load || i.op == Op::store ||
                    (i.op == Op::dot && (dots[n].kind == DotPlan::Kind::vector ||
                                         dots[n].kind == DotPlan::Kind::bytes_vector)) ||
                    (i.op == Op::reduce && values[size_t(i.operands[0])].home == Home::folded);
    slides &= skipped[n] || in_place;
  }
  for (const Instruction& i : kernel.body)
    slides &= i.op != Op::load || values[size_t(i.results[0])].home != Home::scratch;
  int64_t depth = 1;  // of the main dot; a shallow one takes more rows, for what a tile costs
  if (main)
    for (AxisId a : main->depth) depth = std::min<int64_t>(kDotDepth, depth * extent[size_t(a)]);
  // Columns of a tile; of bytes more when they are shallow, cut evenly.
  auto columns_of = [&](const DotPlan& dot) {
    int64_t all = extent[size_t(dot.column)], most = 192;
    if (dot.kind != DotPlan::Kind::bytes) return std::min(all, most);
    most = std::clamp<int64_t>(32768 / std::max<int64_t>(depth, 1), 192, 512);
    return pieces(std::max<int64_t>(all, 1), pieces(std::max<int64_t>(all, 1), most));
  };
  int64_t room = main     ? kDotRows * std::clamp<int64_t>(256 / std::max<int64_t>(depth, 1), 1, 4)
                 : slides ? kWindowTile
                          : std::max<int64_t>(1, kPlainTile / std::max<int64_t>(spans, 1));
  if (main && main->column != kNone && is_cut(main->column))
    tile[size_t(main->column)] = columns_of(*main);
  for (size_t o = order.size(); o-- > 0;) {
    AxisId a = order[o];
    if (!is_cut(a) || (main && a == main->column)) continue;
    int64_t size = std::max<int64_t>(extent[size_t(a)], 1);
    int64_t parts = (size + room - 1) / room;
    tile[size_t(a)] = (size + parts - 1) / parts;
    room = std::max<int64_t>(1, room / tile[size_t(a)]);
  }
  auto count_tasks = [&] {
    grid.clear();
    grid_count.clear();
    tasks = 1;
    for (size_t a = 0; a < kernel.axes.size(); a++) {
      if (kernel.axes[a].kind != AxisKind::parallel) continue;
      if (a < schedule.tile.size() && schedule.tile[a] > 0 && is_cut(AxisId(a)))
        tile[a] = schedule.tile[a];
      for (const DotPlan& dot : dots)  // panels are not cut
        if ((dot.kind == DotPlan::Kind::panels || dot.kind == DotPlan::Kind::bytes) &&
            dot.column == AxisId(a))
          tile[a] = (tile[a] + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
      tile[a] = std::max<int64_t>(1, std::min(tile[a], extent[a]));
      grid.push_back(AxisId(a));
      grid_count.push_back((extent[a] + tile[a] - 1) / tile[a]);
      if (__builtin_mul_overflow(tasks, grid_count.back(), &tasks)) return false;
    }
    return true;
  };
  if (!count_tasks()) return error(Code::too_large, "kernel {}: too many tiles", kernel.name);
  // Work for all threads: halve the rows, then the columns, as long as tiles stay worth it.
  while (threads > 1 && tasks < 3 * threads) {
    AxisId widest = kNone;
    int64_t rows = 1;  // of a dot, over all axes that they run along
    for (AxisId a : grid)
      if (main && a != main->column && is_cut(a)) rows *= tile[size_t(a)];
    for (AxisId a : grid) {
      int64_t least = main && a == main->column ? 96 : 1;
      if (main && a != main->column) least = std::max<int64_t>(1, 24 * tile[size_t(a)] / rows);
      if (a == innermost(order) && !main) least = 64;
      bool given = size_t(a) < schedule.tile.size() && schedule.tile[size_t(a)] > 0;
      if (is_cut(a) && !given && tile[size_t(a)] >= 2 * least &&
          (widest == kNone || tile[size_t(a)] > tile[size_t(widest)]))
        widest = a;
    }
    if (widest == kNone) break;
    tile[size_t(widest)] = (tile[size_t(widest)] + 1) / 2;
    if (main && widest == main->column)
      tile[size_t(widest)] = (tile[size_t(widest)] + 47) / 48 * 48;
    if (!count_tasks()) return error(Code::too_large, "kernel {}: too many tiles", kernel.name);
  }
  return {};
}

Result<void> Plan::State::place_values() {
  auto length_max = [&](AxisId a) {
    const Axis& axis = kernel.axes[size_t(a)];
    return axis.kind == AxisKind::parallel ? tile[size_t(a)]
           : axis.kind == AxisKind::span   ? extent[size_t(a)]
                                           : axis.block;
  };
  struct Slot {
    uint64_t offset, bytes;
    int32_t free_from;  // instruction after which it is free
  };
  std::vector<Slot> slots;
  uint64_t end = 0;
  auto take = [&](uint64_t bytes, int32_t from, int32_t until) {
    bytes = round_up(std::max<uint64_t>(bytes, 64));
    for (Slot& slot : slots)
      if (slot.free_from < from && slot.bytes >= bytes && slot.bytes <= 2 * bytes) {
        slot.free_from = until;
        return slot.offset;
      }
    slots.push_back({end, bytes, until});
    end += bytes;
    return slots.back().offset;
  };
  auto is_carried = [&](ValueId v) {
    Op op = kernel.body[size_t(values[size_t(v)].producer)].op;
    return op == Op::serial || op == Op::yield;
  };
  for (size_t n = 0; n < kernel.body.size(); n++) {
    const Instruction& i = kernel.body[n];
    if (skipped[n] || i.op == Op::yield) continue;
    for (ValueId v : i.results) {
      ValueId made = v;
      if (i.op == Op::dot) made = dots[n].result;
      ValuePlan& value = values[size_t(made)];
      if (value.home != Home::scratch) continue;
      int64_t count = 1;
      for (size_t d = value.axes.size(); d-- > 0;) {
        value.stride[value.axes[d]] = count;
        if (__builtin_mul_overflow(count, length_max(value.axes[d]), &count) ||
            uint64_t(count) > kScratchMax / 8)
          return error(Code::too_large, "kernel {}: a value of a tile needs more than {} bytes",
                       kernel.name, kScratchMax);
      }
      value.count = count;
      uint64_t bytes = uint64_t(count) * computed_bytes(value.held);
      // Over an operand that ends here.
      bool placed = false;
      if (i.op == Op::unary || i.op == Op::binary || i.op == Op::fma)
        for (ValueId x : i.operands) {
          const ValuePlan& operand = values[size_t(x)];
          if (placed || operand.home != Home::scratch || operand.last_use != int32_t(n) ||
              operand.axes != value.axes || operand.dtype != value.dtype || is_carried(x))
            continue;
          for (Slot& slot : slots)
            if (slot.offset == operand.offset && slot.free_from == int32_t(n)) {
              slot.free_from = std::max(value.last_use, int32_t(n));
              value.offset = slot.offset;
              placed = true;
            }
        }
      int32_t until = std::max(value.last_use, int32_t(n));
      if (i.op == Op::serial) {
        // Also what the loop gives: its results are where the carried values are.
        ValueId after = kernel.body[size_t(partner[n])].results[size_t(
            std::find(i.results.begin(), i.results.end(), v) - i.results.begin())];
        until = std::max({until, partner[n], values[size_t(after)].last_use});
      }
      if (!placed) value.offset = take(bytes, int32_t(n), until);
    }
  }
  // What dots need beside their values.
  for (size_t n = 0; n < kernel.body.size(); n++) {
    DotPlan& plan = dots[n];
    if (kernel.body[n].op != Op::dot) continue;
    if (plan.kind == DotPlan::Kind::plain || plan.kind == DotPlan::Kind::vector ||
        plan.kind == DotPlan::Kind::bytes_vector)
      continue;
    bool bytes = plan.kind == DotPlan::Kind::bytes;
    uint64_t element = bytes ? 1 : 4;
    int64_t rows = 1, depth = 1, segments = 1, columns = 1;
    bool overflow = false;
    for (AxisId a : plan.rows) overflow |= __builtin_mul_overflow(rows, length_max(a), &rows);
    bool inner_seen = false;
    int64_t inner_length = 1;
    for (size_t d = plan.depth.size(); d-- > 0;) {
      int64_t length = length_max(plan.depth[d]);
      overflow |= __builtin_mul_overflow(depth, length, &depth);
      // Runs of bytes are those of the panels, and no longer.
      bool apart = bytes ? plan.depth.size() - d > plan.run_axes
                         : length > 1 && inner_seen && !plan.rows_copied;
      if (apart) overflow |= __builtin_mul_overflow(segments, length, &segments);
      if (length > 1 && !inner_seen) inner_length = length;
      inner_seen |= length > 1;
    }
    if (plan.column != kNone) columns = length_max(plan.column);
    (bytes ? fills : zeros) = std::max(bytes ? fills : zeros, depth);
    auto grow = [&](uint64_t bytes, uint64_t* offset) {
      *offset = end;
      end += round_up(bytes);
    };
    if (overflow || depth > int64_t(kScratchMax / 64) ||
        uint64_t(rows) >
            kScratchMax / 64 / uint64_t(std::max<int64_t>(std::max(depth, segments), 1)))
      return error(Code::too_large, "kernel {}: a dot of {} steps", kernel.name, depth);
    if (plan.rows_copied) grow(uint64_t(rows * depth) * element, &plan.rows_offset);
    ValueId of_rows = kernel.body[n].operands[plan.swapped ? 2 : 1];
    if (!plan.rows_copied && values[size_t(of_rows)].home == Home::folded &&
        !always_inside(producer(of_rows)) &&
        (bytes ? plan.run_axes > 1 : inner_length <= kShortRun))
      grow(uint64_t(rows * depth) * element, &plan.edges_offset);
    if (plan.kind == DotPlan::Kind::packed_here) {
      int64_t panels = (columns + kPanelColumns - 1) / kPanelColumns;
      if (uint64_t(panels) > kScratchMax / 64 / uint64_t(std::max<int64_t>(depth, 1)))
        return error(Code::too_large, "kernel {}: a dot of {} steps", kernel.name, depth);
      grow(uint64_t(panels * depth * kPanelColumns) * 4, &plan.panels_offset);
    }
    grow(uint64_t(rows) * (uint64_t(std::max<int64_t>(segments, 1)) + 2) * 8,
         &plan.pointers_offset);
  }
  // What windows need: pointers for a row of pixels, a row of what lies outside the buffer.
  taps_offset.assign(kernel.body.size(), kNoTaps);
  bool pools = false;
  for (size_t n = 0; n < kernel.body.size(); n++) {
    const Instruction& i = kernel.body[n];
    bool is_pool = i.op == Op::reduce && values[size_t(i.operands[0])].home == Home::folded;
    bool bytes = i.op == Op::dot && dots[n].kind == DotPlan::Kind::bytes_vector;
    if (!is_pool && !bytes && (i.op != Op::dot || dots[n].kind != DotPlan::Kind::vector)) continue;
    const std::vector<AxisId>& out = values[size_t(is_pool ? i.results[0] : dots[n].result)].axes;
    if (out.empty()) continue;
    int64_t width = out.size() > 1 ? length_max(out[out.size() - 2]) : 1, count = width;
    bool overflow = false;
    for (AxisId a : i.axes) overflow |= __builtin_mul_overflow(count, length_max(a), &count);
    int64_t row = std::max(length_max(out.back()), width);
    if (overflow || count > 1 << 20 || row > 1 << 20) continue;  // the general way has no tables
    (bytes ? fills : zeros) = std::max(bytes ? fills : zeros, row);
    pools |= is_pool;
    taps_offset[n] = end;
    end += round_up(uint64_t(count) * sizeof(float*));
  }
  for (DotPlan& plan : dots)
    if (plan.kind == DotPlan::Kind::bytes || plan.kind == DotPlan::Kind::bytes_vector) {
      plan.fill_offset = end;
      end += round_up(uint64_t(fills));
    }
  outside_offset = end;
  if (pools) end += round_up(2 * uint64_t(zeros) * 4);
  carries.assign(kernel.body.size(), {});
  for (size_t n = 0; n < kernel.body.size(); n++) {
    const Instruction& i = kernel.body[n];
    if (i.op != Op::serial && i.op != Op::yield) continue;
    const std::vector<ValueId>& to =
        i.op == Op::serial ? i.results : kernel.body[size_t(partner[n])].results;
    for (size_t k = 0; k < i.operands.size(); k++) {
      bool overwritten = std::find(to.begin(), to.begin() + std::ptrdiff_t(k), i.operands[k]) !=
                         to.begin() + std::ptrdiff_t(k);
      carries[n].aside.push_back(overwritten ? end : CarryPlan::kNotAside);
      const ValuePlan& value = values[size_t(i.operands[k])];
      if (overwritten) end += round_up(uint64_t(value.count) * computed_bytes(value.dtype));
    }
  }
  zeros_offset = end;
  end += round_up(uint64_t(zeros) * 4);
  worker_offset = end;
  end += Worker::worker_bytes() + round_up(kernel.values.size() * sizeof(Ref));
  scratch = std::max<uint64_t>(end, 64);
  if (scratch > kScratchMax)
    return error(Code::too_large, "kernel {}: a tile needs {} bytes; at most {}", kernel.name,
                 scratch, kScratchMax);
  return {};
}

Result<void> Plan::State::make(int threads, const Schedule& schedule) {
  move_dots(kernel);
  choose_order();
  describe_values();
  dots.assign(kernel.body.size(), {});
  for (size_t n = 0; n < kernel.body.size(); n++)
    if (kernel.body[n].op == Op::dot) {
      plan_dot(n);
      if (schedule.depth > 0) dots[n].depth_block = schedule.depth;
    }
  for (size_t n = 0; n < kernel.body.size(); n++)
    if (kernel.body[n].op == Op::dot) fold_epilogue(n);

  // Reductions over a window of a buffer read it in place when its edge changes nothing.
  for (const Instruction& i : kernel.body) {
    if (i.op != Op::reduce || i.lanes) continue;
    ValueId x = i.operands[0];
    bool bytes = values[size_t(i.results[0])].dtype == DType::i32;
    if (!is_known_load(x, bytes ? DType::i8 : DType::f32)) continue;
    if (bytes && !is_narrow_maximum(i)) continue;
    const Instruction& load = producer(x);
    const std::vector<AxisId>& out = values[size_t(i.results[0])].axes;
    AxisId inner = innermost(out);
    bool fits = inner != kNone && buffer_stride(load, inner) == 1;
    auto f = Reduce(i.function);
    float identity = f == Reduce::sum    ? 0
                     : f == Reduce::prod ? 1
                     : f == Reduce::max  ? -INFINITY
                                         : INFINITY;
    if (bytes) identity = -128;
    fits &= always_inside(load) || (float(load.number) == identity &&
                                    !std::signbit(load.number + (f == Reduce::max ? INFINITY : 0)));
    for (const Index& index : load.index) {
      int outer = 0;
      for (const Term& term : index.terms) {
        if (!has_dimension(term.axis) ||
            std::find(i.axes.begin(), i.axes.end(), term.axis) != i.axes.end())
          continue;
        outer++;
        fits &= term.factor > 0;
      }
      fits &= outer <= 1;
    }
    if (!fits) continue;
    values[size_t(x)].home = Home::folded;
    if (bytes) values[size_t(i.results[0])].held = DType::i8;
  }

  // Loads that can be read where they are.
  for (const Instruction& i : kernel.body) {
    if (i.op != Op::load) continue;
    ValuePlan& value = values[size_t(i.results[0])];
    if (value.home != Home::scratch) continue;
    const Buffer& buffer = kernel.buffers[size_t(i.buffer)];
    AxisId inner = innermost(value.axes);
    bool narrow = buffer.dtype == DType::i8 && stays_narrow(i.results[0]);
    bool steps = inner == kNone || buffer_stride(i, inner) == 1;
    // Bytes that are only stored are copied with any step.
    steps |= narrow && users[size_t(i.results[0])].size() == 1 &&
             kernel.body[size_t(users[size_t(i.results[0])][0])].op == Op::store;
    if ((buffer.dtype == value.dtype || narrow) && buffer.layout == Layout::strided &&
        always_inside(i) && steps) {
      value.home = Home::buffer;
      value.held = buffer.dtype;
    }
  }
  // Values that can be computed where they are stored.
  for (size_t n = 0; n < kernel.body.size(); n++) {
    const Instruction& i = kernel.body[n];
    if (i.op != Op::store) continue;
    ValueId v = i.operands[0];
    ValuePlan& value = values[size_t(v)];
    if (value.home != Home::scratch || value.uses != 1) continue;
    const Instruction& made = kernel.body[size_t(value.producer)];
    bool computed = made.op == Op::unary || made.op == Op::binary || made.op == Op::fma ||
                    made.op == Op::select || made.op == Op::dot || made.op == Op::reduce ||
                    made.op == Op::cast;
    DType buffer = kernel.buffers[size_t(i.buffer)].dtype;
    // Numbers become integers, and maxima of bytes bytes, where they are stored.
    bool narrows =
        buffer == DType::i8 && value.dtype == DType::i32 &&
        ((made.op == Op::cast && values[size_t(made.operands[0])].dtype == DType::f32) ||
         (made.op == Op::reduce && values[size_t(made.operands[0])].home == Home::folded));
    bool in_loop = false;
    for (size_t m = size_t(value.producer); m < n; m++)
      in_loop |= kernel.body[m].op == Op::serial || kernel.body[m].op == Op::yield;
    if (computed && !in_loop && (buffer == value.dtype || narrows) && is_whole_store(i, v)) {
      value.home = Home::buffer;
      value.held = buffer;
      value.store = int32_t(n);
    }
  }
  stored.assign(kernel.body.size(), {});
  for (size_t n = 0; n < kernel.body.size(); n++) {
    if (kernel.body[n].op != Op::store) continue;
    for (AxisId a : order) {
      bool used = false;
      for (const Index& index : kernel.body[n].index)
        for (const Term& term : index.terms) used |= term.axis == a && has_dimension(a);
      if (used) stored[n].push_back(a);
    }
  }
  for (DotPlan& dot : dots) {
    dot.rows_and_depth = dot.rows;
    dot.rows_and_depth.insert(dot.rows_and_depth.end(), dot.depth.begin(), dot.depth.end());
  }
  TRY_VOID(choose_tiles(threads, schedule));
  return place_values();
}

Plan::Plan(std::unique_ptr<State> state) : state_(std::move(state)) {}
Plan::Plan(Plan&&) noexcept = default;
Plan& Plan::operator=(Plan&&) noexcept = default;
Plan::~Plan() = default;

Result<Plan> Plan::make(const Kernel& kernel, Span<const BufferView> shapes,
                        const KernelTable& table, int threads, const Schedule& schedule) {
  auto state = std::make_unique<State>();
  state->kernel = kernel;
  TRY_VOID(verify(state->kernel));
  TRY(std::vector<int64_t> dims, bind(kernel, shapes));
  state->shapes.assign(shapes.begin(), shapes.end());
  // Strides of packed buffers are not used; zeros keep arithmetic on them defined.
  state->panels.resize(shapes.size());
  for (size_t b = 0; b < shapes.size(); b++)
    if (kernel.buffers[b].is_packed()) {
      const std::vector<int64_t>& sizes = shapes[b].sizes;
      state->shapes[b].strides.assign(sizes.size(), 0);
      // Those of an empty buffer may be beyond 64 bits, and are not used.
      state->panels[b] =
          panel_shape(kernel.buffers[b], {sizes.data(), sizes.size()}).value_or(PanelShape{});
    }
  state->table = &table;
  for (const Axis& axis : kernel.axes) state->extent.push_back(size_of(axis.extent, dims));
  TRY_VOID(state->make(threads, schedule));
  return Plan(std::move(state));
}

uint64_t Plan::scratch_bytes() const { return state_->scratch; }

Result<void> Plan::run(Span<uint8_t* const> data, uint8_t* scratch, ThreadPool& pool) const {
  const State& plan = *state_;
  if (plan.tasks == 0) return {};
  // Nothing here may allocate: workers lie in the scratch memory of their threads.
  struct Run {
    bool begun[kThreadsMax] = {};
    std::atomic<bool> failed{false};
    Result<void> failure;
  } run;
  if (pool.size() > kThreadsMax)
    return error(Code::too_large, "{} threads; at most {}", pool.size(), kThreadsMax);
  pool.parallel_for(plan.tasks, [&](int64_t task, int thread) {
    uint8_t* own = scratch + uint64_t(thread) * plan.scratch;
    auto* worker = reinterpret_cast<Worker*>(own + plan.worker_offset);
    if (!run.begun[thread]) {
      run.begun[thread] = true;
      new (worker) Worker(plan, data, own);
    }
    if (run.failed.load(std::memory_order_relaxed)) return;
    Result<void> done = worker->run_tile(task);
    if (!done.ok() && !run.failed.exchange(true)) run.failure = std::move(done);
  });
  return std::move(run.failure);
}

}  // namespace sconce::tile
