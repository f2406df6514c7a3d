// TileIR: kernels over tiles, as data. What a kernel computes is here; how its loops are cut into
// tiles and which thread takes which is the schedule's business (tile/vm.h).
//
// A kernel has buffers, axes and instructions. An axis is a named index that runs over an extent;
// values are tiles whose dimensions *are* axes, so broadcasting, transposition and contraction need
// no operators: `mul %a, %b` with a over (m, k) and b over (k) is over (m, k). Kinds of axes:
//   parallel  iterations are independent; the schedule cuts them into tiles
//   span      always whole inside a tile: what is reduced or contracted
//   serial    a loop that carries values from step to step, in order; cut into blocks of a size
//   that
//             is part of the kernel, since it decides results
// An axis marked `each` is taken one index at a time: values have no dimension for it. What a step
// of a loop gives over one span can be contracted over another of the same extent: see `rename`.
//
// Results do not depend on the schedule, bit for bit: a dot adds its terms in the order of its
// axes, each by one fused multiply-add onto the initial value; a sum by lanes has 16 partial sums
// (docs/ tile.md). Reading outside a buffer gives the load's fill value, writing outside does
// nothing, so edges need no special cases and a kernel from an untrusted file cannot touch foreign
// memory.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "tensor/dtype.h"

namespace sconce::tile {

using ValueId = int32_t;
using AxisId = int32_t;
using AxisSet = uint32_t;  // bit i: axis i
inline constexpr int32_t kNone = -1;

// Limits of a kernel, checked by verify().
inline constexpr size_t kAxesMax = 24, kDimsMax = 32, kBuffersMax = 64, kRankMax = 8;
inline constexpr size_t kInstructionsMax = 4096, kNameBytesMax = 64;

// A size: a number, or a dim that the buffers bind at run time.
struct Extent {
  int32_t dim = kNone;
  int64_t known = 0;
  bool operator==(const Extent&) const = default;
};

enum class AxisKind : uint8_t { parallel, span, serial };

struct Axis {
  std::string name;
  AxisKind kind = AxisKind::parallel;
  Extent extent;
  int64_t block = 0;  // serial: indices per step; 0 elsewhere
  bool each = false;  // parallel or serial: one index at a time
  int64_t whole = 0;  // serial by blocks: up to so many indices are one step
  bool backward = false;  // serial: the last step comes first

  // Indices per step of a serial axis with this extent.
  int64_t step(int64_t extent) const {
    return extent <= whole ? std::max<int64_t>(extent, 1) : block;
  }
  // Where the n-th step of a serial axis begins, in the order in which they run.
  int64_t begin(int64_t n, int64_t extent) const {
    int64_t length = step(extent), steps = (extent + length - 1) / length;
    return (backward ? steps - 1 - n : n) * length;
  }
  bool operator==(const Axis&) const = default;
};

// How a buffer lies in memory. `panels`: weights packed for dot. With dims [lead..., k..., N],
// stored as [lead...][ceil(N / 16)][prod(k)][16], the last panel filled up with zeros. Those of i8
// as [lead...][ceil(N / 16)][prod(k but the last)][ceil(last k / 4)][16][4], filled up with zeros,
// each panel followed by the sums of its 16 columns as i32: some processors multiply bytes of other
// signs, and take out with them what that adds. nibbles: packed i8 of -8 to 7, two in a byte:
// [lead...][ceil(N / 16)][prod(k but the last)][ceil(last k / 8)][16][4], of which byte j holds
// step j of eight in its lower and step j + 4 in its upper half, each plus 8.
enum class Layout : uint8_t { strided, panels, nibbles };
inline constexpr int64_t kPanelColumns = 16;
inline constexpr int64_t kQuad = 4;     // steps that lie together in panels of i8
inline constexpr int64_t kNibbles = 8;  // and in those of 4 bits

struct Buffer {
  std::string name;
  DType dtype = DType::f32;
  std::vector<Extent> dims;
  bool output = false;
  Layout layout = Layout::strided;
  int32_t panel_lead = 0;  // packed: how many dims stand before the contracted ones
  bool is_packed() const { return layout != Layout::strided; }
  bool operator==(const Buffer&) const = default;
};

// The index into one dim of a buffer: offset + sum of factor * axis (+ a computed value).
struct Term {
  AxisId axis = 0;
  int64_t factor = 1;
  bool operator==(const Term&) const = default;
};
struct Index {
  std::vector<Term> terms;
  int64_t offset = 0;
  ValueId value = kNone;  // i32 or i64
  bool operator==(const Index&) const = default;
};

// Where an index into a packed buffer points; its dims are told in order.
struct PackedIndex {
  int64_t lead = 0, row = 0, k = 0, column = 0;
  void tell(const Buffer& buffer, size_t d, int64_t size, int64_t position) {
    if (d < size_t(buffer.panel_lead))
      lead = lead * size + position;
    else if (d + 2 < buffer.dims.size())
      row = row * size + position;
    else
      (d + 1 < buffer.dims.size() ? k : column) = position;
  }
};

// Where the elements of a packed buffer lie.
struct PanelShape {
  int64_t panels = 0;         // of one lead
  int64_t rows = 1;           // all contracted dims but the last one
  int64_t length = 1;         // the last one
  int64_t element_bytes = 4;  // 1: by quads
  bool halves = false;        // nibbles
  int64_t row_bytes = 0, panel_bytes = 0, bytes = 0;

  int64_t panel(int64_t lead, int64_t column) const {
    return (lead * panels + column / kPanelColumns) * panel_bytes;
  }
  // Of the byte that an element is in, or the first of its bytes.
  int64_t offset(int64_t lead, int64_t row, int64_t k, int64_t column) const {
    int64_t within =
        halves ? (k / kNibbles * kPanelColumns + column % kPanelColumns) * kQuad + k % kQuad
        : element_bytes == 1
            ? (k / kQuad * kPanelColumns + column % kPanelColumns) * kQuad + k % kQuad
            : (k * kPanelColumns + column % kPanelColumns) * element_bytes;
    return panel(lead, column) + row * row_bytes + within;
  }
  int64_t offset(const PackedIndex& at) const { return offset(at.lead, at.row, at.k, at.column); }
  // Nibbles: the element at step k that is in this byte.
  static int8_t half(uint8_t byte, int64_t k) {
    return int8_t((k % kNibbles < kQuad ? byte & 15 : byte >> 4) - 8);
  }
};
// Of a buffer with layout `panels` that has these sizes; nothing when that is beyond 64 bits.
std::optional<PanelShape> panel_shape(const Buffer& buffer, Span<const int64_t> sizes);
// Makes panels of i8 whole whose elements are there: zeros where they are filled up, sums of
// columns. `data` holds panel_shape()'s bytes.
void complete_panels(const Buffer& buffer, Span<const int64_t> sizes, uint8_t* data);

// Functions by name, as the text form spells them. Those of one row of the list below take f32 and
// give f32 unless they say otherwise.
#define SCONCE_TILE_UNARY(X)                                                                      \
  X(neg)                                                                                          \
  X(abs)                                                                                          \
  X(sqrt)                                                                                         \
  X(rsqrt)                                                                                        \
  X(recip)                                                                                        \
  X(exp) X(expm1) X(log) X(log1p) X(tanh) X(erf) X(sin) X(cos) X(floor) X(ceil) X(round) X(trunc) \
      X(sigmoid) X(silu) X(gelu) X(gelu_tanh) X(relu) X(bit_not)
#define SCONCE_TILE_BINARY(X) \
  X(add)                      \
  X(sub)                      \
  X(mul)                      \
  X(div) X(min) X(max) X(pow) X(eq) X(ne) X(lt) X(le) X(gt) X(ge) X(bit_and) X(bit_or) X(bit_xor)
#define SCONCE_TILE_REDUCE(X) X(sum) X(prod) X(min) X(max)

#define SCONCE_TILE_ROW(name) name,
enum class Unary : uint8_t { SCONCE_TILE_UNARY(SCONCE_TILE_ROW) };
enum class Binary : uint8_t { SCONCE_TILE_BINARY(SCONCE_TILE_ROW) };
enum class Reduce : uint8_t { SCONCE_TILE_REDUCE(SCONCE_TILE_ROW) };
#undef SCONCE_TILE_ROW

const char* name_of(Unary function);
const char* name_of(Binary function);
const char* name_of(Reduce function);

enum class Op : uint8_t {
  constant,  // a number of `dtype`, the same over `axes`
  extent,    // the extent of `axes[0]`, as i64
  iota,      // the index along axes[0], as i64
  load,      // buffer[index...]; outside: `number`. Or, when `strict`, an error
  store,     // buffer[index...] = operand 0; outside: nothing. Or, when `strict`, an error
  unary,
  binary,
  fma,     // operand 0 * operand 1 + operand 2, rounded once
  select,  // operand 0 (b8) ? operand 1 : operand 2
  cast,    // to `dtype`
  reduce,  // over `axes`, first one outermost; `lanes`: a sum by 16 partial sums
  dot,     // operand 0 + sum over `axes` of operand 1 * operand 2, in the order of the axes
  serial,  // opens the loop over axes[0]; results: the carried values, first those of the operands
  yield,   // closes it: operands are the next carried values, results what is carried out
  rename,  // operand 0 with axes[1] in place of axes[0], both spans of the same extent
};

struct Instruction {
  Op op = Op::constant;
  uint8_t function = 0;  // Unary, Binary or Reduce
  DType dtype = DType::f32;
  bool strict = false, lanes = false;
  int32_t buffer = kNone;
  double number = 0;
  std::vector<AxisId> axes;
  std::vector<ValueId> operands, results;
  std::vector<Index> index;
  bool operator==(const Instruction&) const = default;
};

// Values are computed in f32, i32, i64 or b8. A load gives f32 for f16, bf16 and f32, i32 for
// integers of up to 32 bits; a store rounds to nearest even, or saturates integers.
struct ValueType {
  DType dtype = DType::f32;
  AxisSet axes = 0;
  bool operator==(const ValueType&) const = default;
};

// The operator of a model that a kernel computes: its name, without ".default", and by argument of
// the operator the name of the buffer that it is. Outputs are the results, in their order.
struct KernelOperator {
  std::string name;  // "mylib::swiglu"; empty: none
  std::vector<std::string> arguments;
  bool operator==(const KernelOperator&) const = default;
};

struct Kernel {
  std::string name;
  std::vector<std::string> dims;
  std::vector<Axis> axes;
  std::vector<Buffer> buffers;
  std::vector<Instruction> body;
  std::vector<ValueType> values;  // made by verify()
  KernelOperator stands_for;      // for the compiler of models; not part of payloads
  bool operator==(const Kernel&) const = default;
};

// Checks the structure and fills in `values`: every use after its definition and within its loop,
// types that fit, stores that no two iterations of a parallel axis share, limits. A kernel that
// passes can be run on any buffers: it reads and writes only inside them, and ends.
Result<void> verify(Kernel& kernel);

// Text form; print and parse are inverse. What is parsed has been verified. docs/tile.md has the
// grammar.
std::string print(const Kernel& kernel);
Result<Kernel> parse_kernel(std::string_view text);

// A buffer at run time. Strides in elements; those of a packed buffer are not used.
struct BufferView {
  void* data = nullptr;
  std::vector<int64_t> sizes, strides;
  int64_t bytes = 0;  // how many may be touched from `data` on
  bool operator==(const BufferView&) const = default;
};

// Sizes of all dims, by what the buffers say; an error names the two that differ. Checks that every
// element lies within its buffer's bytes.
Result<std::vector<int64_t>> bind(const Kernel& kernel, Span<const BufferView> buffers);

inline int64_t size_of(const Extent& extent, Span<const int64_t> dims) {
  return extent.dim == kNone ? extent.known : dims[size_t(extent.dim)];
}
// Dtype of the value that a load from a buffer of this dtype gives.
DType value_dtype(DType stored);

}  // namespace sconce::tile
