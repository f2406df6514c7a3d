// KernelTable: the block kernels of the tile engine for one instruction set, as function pointers.
//
// Kernels work on blocks that the caller cut and placed; they allocate nothing, know no threads and
// no tensors, keep no state, and are safe to call from any thread. They trust their arguments: the
// caller has checked them against its buffers. What they read and write is stated with each struct.
// Pointers need the alignment of their element only. An output may be exactly an input (same
// pointer and strides) where a contract says "in place"; otherwise they must not overlap.
//
// Same bits everywhere: f32 results do not depend on the instruction set, tile shape or block size.
// - A dot adds its terms in the order of K, each by one fused multiply-add onto the initial value.
// - A reduction over n elements has 16 lanes; lane j takes elements j, j + 16, ... in order, then
//   lanes are combined as a tree: j with j + 8, + 4, + 2, + 1.
// - Elementary functions are our own polynomials, no C library.
// - Denormals are kept. Which bits a NaN has is not stated, that it is a NaN is.
// Isa::sse2 is the exception: its dot rounds product and sum separately. Why, and figures:
// docs/kernels.md.
#pragma once

#include <stdint.h>

#include "platform/isa.h"
#include "tile/kernels/transforms.h"

namespace sconce::tile {

// Columns of a panel of packed weights; also the lanes of a reduction.
inline constexpr int kPanel = 16;

// ---- dot, f32 ----

enum class DotInit : uint8_t { zero, bias, c };

// C[r][n] = finish(init + sum over s < segments, k < length of rows[s * R + r][k] * B[s, k][n])
// for the R rows and up to 16 * P columns of the kernel that is called.
//
// B is packed: panel p (columns 16 p .. 16 p + 15) starts at b + p * panel_stride, with 16 values
// for each of the segments * length steps; columns past the last are padding (any finite value).
// Rows are pointers, so a convolution reads its input in place: padding points at zeros.
// finish: + residual (when there is one), then x = lo > x ? lo : x, x = hi < x ? hi : x.
struct DotF32 {
  const float* const* rows;  // segments * R pointers to `length` floats each
  const void* b;             // f32, f16 or bf16 by kernel
  int64_t panel_stride;      // in elements
  int64_t segments, length;  // 0 of either: the initial value alone
  float* c;                  // R rows of `columns` floats; with DotInit::c read before written
  int64_t c_stride;          // floats from row to row, also negative
  int32_t columns;  // 16 * (P - 1) < columns <= 16 * P: others are neither read nor written
  DotInit init;
  const float* bias;      // `columns` floats; DotInit::bias
  const float* residual;  // R rows of `columns` floats, or null; may be c
  int64_t residual_stride;
  float lo, hi;  // -infinity, infinity: no clamp
  // Bytes that another call reads, in the second cache then: kernels of several rows ask for those
  // at `next` at each step, and move on. Null: nothing is asked for.
  const void* next = nullptr;
  int64_t next_step = 0;
};
using DotF32Kernel = void (*)(const DotF32&);

inline constexpr int kDotRowsMax = 12, kDotPanelsMax = 4;
struct DotTile {
  uint8_t rows, panels;
};
// kernel[rows - 1][panels - 1]; null where there is none. If (r, p) is there, so is every r' < r
// with that p, and p' < p with that r. tiles: good shapes for many rows, best first, `tile_count`
// of them; blocking.h chooses among them.
struct DotF32Kernels {
  DotF32Kernel kernel[kDotRowsMax][kDotPanelsMax];
  DotTile tiles[6];
  int tile_count;
};

// ---- element by element ----

// A block of `rows` rows of `n` elements. Rows are `*_row` elements apart (0: the same row each
// time); within a row an input has a step of 1, or of 0 for one element against the whole row.
// Outputs have a step of 1. An output may be exactly one of the inputs of its own type.
struct UnaryBlock {
  int64_t rows, n;
  const float* x;
  int64_t x_row, x_step;
  float* out;
  int64_t out_row;
};
using UnaryKernelFn = void (*)(const UnaryBlock&);

struct BinaryBlock {
  int64_t rows, n;
  const float* a;
  int64_t a_row, a_step;
  const float* b;
  int64_t b_row, b_step;
  float* out;
  int64_t out_row;
};
using BinaryKernelFn = void (*)(const BinaryBlock&);

struct CompareBlock {
  int64_t rows, n;
  const float* a;
  int64_t a_row, a_step;
  const float* b;
  int64_t b_row, b_step;
  uint8_t* out;  // 1 where it holds, 0 where not; with a NaN only `ne` holds
  int64_t out_row;
};
using CompareKernelFn = void (*)(const CompareBlock&);

struct FmaBlock {  // out = a * b + c, rounded once
  int64_t rows, n;
  const float* a;
  int64_t a_row, a_step;
  const float* b;
  int64_t b_row, b_step;
  const float* c;
  int64_t c_row, c_step;
  float* out;
  int64_t out_row;
};

struct SelectBlock {  // out = condition ? a : b; a condition is true when it is not 0
  int64_t rows, n;
  const uint8_t* condition;
  int64_t condition_row, condition_step;
  const float* a;
  int64_t a_row, a_step;
  const float* b;
  int64_t b_row, b_step;
  float* out;
  int64_t out_row;
};

struct ClampBlock {  // x = lo > x ? lo : x, x = hi < x ? hi : x
  int64_t rows, n;
  const float* x;
  int64_t x_row, x_step;
  float lo, hi;
  float* out;
  int64_t out_row;
};

// X(name, what it is). Within 2 ulp of the exact value, denormals and special values included:
// sqrt, recip, exp, expm1, log, log1p, tanh, erf, sin, cos, sigmoid, pow (measured:
// docs/kernels.md). gelu: within 2^-22 |x|. The others are exact, or are what is written here, each
// operation rounded.
#define SCONCE_UNARY_KERNELS(X)                                            \
  X(neg, "-x")                                                             \
  X(abs, "|x|")                                                            \
  X(sqrt, "square root")                                                   \
  X(rsqrt, "1 / sqrt(x)")                                                  \
  X(recip, "1 / x")                                                        \
  X(exp, "e^x")                                                            \
  X(expm1, "e^x - 1")                                                      \
  X(log, "natural logarithm")                                              \
  X(log1p, "log(1 + x)")                                                   \
  X(tanh, "hyperbolic tangent")                                            \
  X(erf, "error function")                                                 \
  X(sin, "sine of radians, any size")                                      \
  X(cos, "cosine of radians, any size")                                    \
  X(floor, "toward -infinity")                                             \
  X(ceil, "toward infinity")                                               \
  X(round, "to nearest, ties to even")                                     \
  X(trunc, "toward zero")                                                  \
  X(sigmoid, "1 / (1 + e^-x)")                                             \
  X(silu, "x * sigmoid(x)")                                                \
  X(gelu, "x times the normal distribution at x")                          \
  X(gelu_tanh, "0.5 x * (1 + tanh(sqrt(2/pi) * fma(0.044715, x x x, x)))") \
  X(relu, "0 > x ? 0 : x")

#define SCONCE_BINARY_KERNELS(X)                  \
  X(add, "a + b")                                 \
  X(sub, "a - b")                                 \
  X(mul, "a * b")                                 \
  X(div, "a / b")                                 \
  X(min, "b < a ? b : a; NaN when either is one") \
  X(max, "b > a ? b : a; NaN when either is one") \
  X(pow, "a^b")

#define SCONCE_COMPARE_KERNELS(X) \
  X(eq, "a == b")                 \
  X(ne, "a != b")                 \
  X(lt, "a < b")                  \
  X(le, "a <= b")                 \
  X(gt, "a > b")                  \
  X(ge, "a >= b")

#define SCONCE_ROW(name, meaning) name,
enum class UnaryKernel : uint8_t { SCONCE_UNARY_KERNELS(SCONCE_ROW) count };
enum class BinaryKernel : uint8_t { SCONCE_BINARY_KERNELS(SCONCE_ROW) count };
enum class CompareKernel : uint8_t { SCONCE_COMPARE_KERNELS(SCONCE_ROW) count };
#undef SCONCE_ROW

// ---- conversions ----

// Types of elements in memory. b8: one byte, 0 or 1 when written, true when not 0 when read.
enum class Element : uint8_t { f32, f16, bf16, i32, i64, i16, i8, u8, b8, count };

struct ConvertBlock {
  int64_t rows, n;
  const void* x;
  int64_t x_row;  // elements
  void* out;      // never x
  int64_t out_row;
};
// convert[from][to], null where there is none: f32 to and from all others, and between integers.
// To a floating type: to nearest even. f32 to integers: toward zero, saturating, NaN to 0. Between
// integers: saturating. To b8: whether it differs from 0 (NaN does).
using ConvertKernelFn = void (*)(const ConvertBlock&);

// q = clamp(rint(x * scale[n]) + zero_point, low, high), with rint to even, as i8 or u8; the sum is
// one of f32. NaN gives `none`. low <= none <= high fit the type, |zero_point| < 2^24.
struct QuantizeBlock {
  int64_t rows, n;
  const float* x;
  int64_t x_row;
  const float* scale;  // reciprocal of the step size
  int64_t scale_step;  // 0: one scale for all columns, 1: one for each
  int32_t zero_point, low, high, none;
  void* out;
  int64_t out_row;
};
// x = (q - zero_point) * scale[n].
struct DequantizeBlock {
  int64_t rows, n;
  const void* x;
  int64_t x_row;
  const float* scale;
  int64_t scale_step;
  int32_t zero_point;
  float* out;
  int64_t out_row;
};

// ---- reductions along rows ----

// Takes a piece of `n` elements of each row into 16 lanes a row: element k into lane k % 16. The
// pieces of a row must come in order and all but the last have a multiple of 16 elements; then the
// result does not depend on how it was cut. Lanes start at identity_of().
struct ReduceBlock {
  int64_t rows, n;
  const float* x;
  int64_t x_row;
  const float* center;  // sum_squares and exp_sum: one a row, or null for 0. Else unused
  int64_t center_row;
  float* out;  // exp_sum: where e^(x - center) goes; may be x. Else unused
  int64_t out_row;
  float* lanes;  // rows * 16
};
// X(name, what a lane becomes)
#define SCONCE_REDUCE_KERNELS(X)                      \
  X(sum, "lane + x")                                  \
  X(sum_squares, "fma(x - center, x - center, lane)") \
  X(prod, "lane * x")                                 \
  X(min, "BinaryKernel::min(lane, x)")                \
  X(max, "BinaryKernel::max(lane, x)")                \
  X(exp_sum, "lane + e^(x - center), which is kept in out")
#define SCONCE_ROW(name, meaning) name,
enum class ReduceKernel : uint8_t { SCONCE_REDUCE_KERNELS(SCONCE_ROW) count };
#undef SCONCE_ROW
constexpr float identity_of(ReduceKernel kernel) {
  return kernel == ReduceKernel::prod  ? 1.f
         : kernel == ReduceKernel::min ? __builtin_inff()
         : kernel == ReduceKernel::max ? -__builtin_inff()
                                       : 0.f;
}
using ReduceKernelFn = void (*)(const ReduceBlock&);
// Combines the 16 lanes of each row into out[row * out_row], as a tree: lane j with j + 8, 4, 2, 1.
using CombineKernelFn = void (*)(int64_t rows, const float* lanes, float* out, int64_t out_row);

// ---- dot, integers ----

// 8 bits from numbers: x is limited (x > low - zero ? x : low - zero, so that NaN is the least;
// then at most high - zero), rounded to even, and `zero` is added.
struct LimitI8 {
  int32_t zero, low, high;  // low and high count the zero point; |zero| <= 1024
};
// What becomes of results of 8 bits q1 (zero point z1): float(q1 - z1) * own_ratio, then, with x,
// + float(x - x_zero) * x_ratio, without it * factor, each operation rounded, as `to` says.
struct AgainI8 {
  const int8_t* x;  // as many rows and columns as the result, or null
  int64_t x_row;
  int32_t x_zero;
  float own_ratio, x_ratio, factor;
  LimitI8 to;
};

enum class DotI8Finish : uint8_t { i32, f32, i8, u8 };

// total[r][n] = sum over segments and k of (A[r][k] - zero[r]) * B[k][n] + bias[n] + row_bias[r], in
// 32 bits that wrap around; exact on every set, no step saturates. Then, by `finish`:
//   i32     C = total
//   f32     x = float(total) * row_scale[r] * scale[n] (in this order), + bias_f32[n], clamped as
//           DotF32 does by lo, hi
//   i8, u8  C = float(total) * scale[n] as `to` says; i8: then what `again` says
// B is s8, packed: panel p at b + p * panel_stride bytes; each segment is ceil(length / 4) groups
// of 64 bytes [16 columns][4 steps], the last filled up with zeros, as are columns past the last.
// Behind the segments of a panel are the sums of its 16 columns, i32.
struct DotI8 {
  const int8_t* const* rows;  // rows[s * segment_rows + r], to `length` bytes
  int64_t segment_rows;       // at least R
  bool a_signed;              // rows are s8, else u8
  const int8_t* b;
  int64_t panel_stride;
  int64_t segments, length;
  int32_t columns;      // 16 * (P - 1) < columns <= 16 * P
  const int32_t* zero;  // zero[r * zero_step]; null: 0
  int64_t zero_step;
  const int32_t* bias;      // or null
  const int32_t* row_bias;  // or null
  DotI8Finish finish;
  const float* scale;  // f32, i8, u8: scale[n * scale_step]
  int64_t scale_step;
  const float* row_scale;  // f32: one a row, or null for 1
  const float* bias_f32;   // f32, or null
  float lo, hi;            // f32
  LimitI8 to;              // i8, u8
  const AgainI8* again;    // i8, or null
  void* c;
  int64_t c_stride;  // elements
  // As in DotF32, at each four steps; by kernels of as many panels as the best tile has.
  const void* next = nullptr;
  int64_t next_step = 0;
};
using DotI8Kernel = void (*)(const DotI8&);
struct DotI8Kernels {
  DotI8Kernel kernel[kDotRowsMax][kDotPanelsMax];  // as in DotF32Kernels
  DotTile tiles[6];
  int tile_count;
};

// Weights of 4 bits in groups along K, each group and column with its scale; A is s8.
//   part[g] = sum over k of group g of A[r][k] * q[k][n], exact
//   acc = 0, for each g: acc = fma(float(part[g]), scale[g][n], acc)
//   x = row_scale[r] * fma(-float(zero[r]), weight_sums[n], acc), + bias[n], clamped
// where q = nibble - 8. B: panel p at b + p * panel_stride bytes, for each 8 steps 64 bytes
// [16 columns][4]: byte j holds step j in its low and step j + 4 in its high nibble; padding is
// any.
struct DotI4 {
  const int8_t* const* rows;  // R pointers to `k` values
  int64_t k, group;           // group: a multiple of 8, at most 4096; k: a multiple of group
  const uint8_t* b;
  int64_t panel_stride;
  const float* scales;  // panel p at scales + p * scales_panel: [k / group][16]
  int64_t scales_panel;
  const int32_t* group_sums;  // of A: group_sums[r * group_sums_row + g]
  int64_t group_sums_row;
  const float* row_scale;    // one a row, or null for 1
  const int32_t* zero;       // one a row, or null for 0
  const float* weight_sums;  // with zero: sum over k of scale * q, by column
  const float* bias;         // or null
  float lo, hi;
  float* c;
  int64_t c_stride;
  int32_t columns;
};
using DotI4Kernel = void (*)(const DotI4&);
struct DotI4Kernels {
  DotI4Kernel kernel[kDotRowsMax][kDotPanelsMax];
  DotTile tiles[6];
  int tile_count;
};

// Numbers by weights of 8 or 4 bits, in groups along K, each group and column with its scale.
//   part[g] = 0, for each k of group g: part[g] = fma(A[r][k], float(q[k][n]), part[g])
//   acc = 0, for each g: acc = fma(part[g], scale[g][n], acc)
//   x = acc, + bias[n], clamped
// B: 8 bits: as DotI8 has one segment of `k` steps; 4 bits: as DotI4, the last eight steps of a
// column filled up. With several groups `group` is a multiple of 4, of 8 for 4 bits.
struct DotWeights {
  const float* const* rows;  // R pointers to `k` values
  int64_t k, group;          // group >= 1; k: a multiple of it
  const uint8_t* b;
  int64_t panel_stride;
  const float* scales;  // panel p at scales + p * scales_panel: [k / group][16]
  int64_t scales_panel;
  const float* bias;  // or null
  float lo, hi;
  float* c;
  int64_t c_stride;
  int32_t columns;
};
using DotWeightsKernel = void (*)(const DotWeights&);
struct DotWeightsKernels {
  DotWeightsKernel kernel[kDotRowsMax][kDotPanelsMax];
  DotTile tiles[6];
  int tile_count;
};

// ---- rows of pixels: convolution by depth, pooling, blending ----

// Channels last. taps[x * tap_count + t] points at the `channels` values that tap t of output pixel
// x reads: any kernel, stride, dilation and padding (point at zeros, or at -infinity for max).
struct TapsBlock {
  const float* const* taps;
  int64_t tap_count, width, channels;
  float* out;  // pixel x at out + x * out_pixel
  int64_t out_pixel;
};
// max: BinaryKernel::max from the first tap on. average: the sum from 0 in the order of taps, then
// / divisor[x].
struct PoolBlock {
  TapsBlock taps;
  const float* divisor;  // average: `width` values
};
// The same for integers of 8 bits.
struct TapsI8Block {
  const int8_t* const* taps;
  int64_t tap_count, width, channels;
  int8_t* out;
  int64_t out_pixel;
};
// Convolution by depth, channels last: windows of `across` columns with `down` taps each slide over
// rows of pixels. Window x takes columns x * step + k * spread, k < across. Of output row y, tap r
// of column c is `channels` elements at rows[y * down + r].at + c * column where that row has begin
// <= c < end, else at `outside`. Tap r, k of a window has weights[(r * across + k) * weight_row +
// c].
template <class T>
struct WindowRow {
  const T* at;  // of column 0, which need not exist
  int64_t begin, end;
};
template <class T>
struct SlidingWindows {
  const WindowRow<T>* rows;
  T* const* out;  // pixel x of row y at out[y] + x * out_pixel
  int64_t out_pixel;
  const T* outside;
  int64_t column;                      // elements from one to the next
  int64_t down, across, step, spread;  // each at least 1
  int64_t height, width, channels;     // of the result
  const T* weights;
  int64_t weight_row;
};
// out[y][x * out_pixel + c] = clamp(bias[c], then for each tap in order: fma(tap[c], weight, ...))
struct DepthwiseBlock : SlidingWindows<float> {
  const float* bias;  // `channels` values, or null for 0
  float lo, hi;       // as in DotF32
};
//   ... = float(bias[c] + sum over taps of tap[c] * weight) * scale[c] as `to` says
// with sums exact in 32 bits that wrap around.
struct DepthwiseI8Block : SlidingWindows<int8_t> {
  const int32_t* bias;  // `channels` values, or null for 0
  const float* scale;   // scale[c * scale_step]
  int64_t scale_step;
  LimitI8 to;
  const AgainI8* again;  // without x, or null
};
// out[c] = tap 0 * weight 0, then fma(tap t, weight t, ...); weights[x * tap_count + t]. With 4
// taps: bilinear.
struct BlendBlock {
  TapsBlock taps;
  const float* weights;
};

// ---- strips ----

// Elements of a strip, for which many steps are done before the next strip: what they have in
// between stays in the first cache.
inline constexpr int kStrip = 64;

// Steps on A, a strip in registers; s and t: the strips at slots `slot` and `other`.
enum class StripOp : uint8_t {
  load,        // A = s
  store,       // s = A
  add,         // A + s
  sub,         // A - s
  sub_from,    // s - A
  mul,         // A * s
  mul_number,  // A * number
  min,         // as of BinaryKernel, of (A, s)
  min_to,      // (s, A)
  max,         // (A, s)
  max_to,      // (s, A)
  fma,         // s * t + A, rounded once
  fma_number,  // s * number + A
  fma_of,      // A * s + t
  neg,         // as of UnaryKernel
  abs,
  relu,
  transform,  // of kind `other`: operands[slot ...] are its inputs, then the outputs that it makes
};
struct StripStep {
  StripOp op;
  uint16_t slot, other;
  float number;
};
// The first step, and one after a transform, loads or is a transform: it leaves nothing in A.
// Strips do not overlap, but equal ones, and of these what is stored is what is loaded after it.
struct StripBlock {
  const StripStep* steps;
  int64_t step_count;
  float* const* slots;  // n floats each
  int64_t n;            // at most kStrip
  const uint16_t* operands = nullptr;  // of transforms: slots
};

// ---- moving ----

// out[c * out_row + r] = x[r * x_row + c] for r < rows, c < columns.
struct TransposeBlock {
  int64_t rows, columns;
  const void* x;
  int64_t x_row;  // elements
  void* out;
  int64_t out_row;
};
// B[k][n] = b[k * k_stride + n * n_stride] to panels of DotF32 at out + p * panel_stride, columns
// past n filled up with zeros. Fast when either stride is 1.
struct PackBlock {
  int64_t k, n;
  const float* b;
  int64_t k_stride, n_stride;
  float* out;
  int64_t panel_stride;
};
// The same for DotI8: `segments` of `length` steps one after another in k, then the sums of
// columns.
struct PackI8Block {
  int64_t segments, length, n;
  const int8_t* b;
  int64_t k_stride, n_stride;
  int8_t* out;
  int64_t panel_stride;
};
// Row i of out (row_bytes long, out_row apart) = row index[i] of table. Indices are in range.
struct GatherBlock {
  int64_t count, row_bytes;
  const int64_t* index;
  const void* table;
  int64_t table_row;  // bytes
  void* out;
  int64_t out_row;  // bytes
};

// ---- the table ----

struct KernelTable {
  Isa isa;
  DotF32Kernels dot_f32;   // B in f32
  DotF32Kernels dot_f16;   // B in IEEE half, widened exactly
  DotF32Kernels dot_bf16;  // B in bfloat16, widened exactly
  UnaryKernelFn unary[int(UnaryKernel::count)];
  BinaryKernelFn binary[int(BinaryKernel::count)];
  CompareKernelFn compare[int(CompareKernel::count)];
  void (*fma)(const FmaBlock&);
  void (*select)(const SelectBlock&);
  void (*clamp)(const ClampBlock&);
  void (*strip)(const StripBlock&);
  ConvertKernelFn convert[int(Element::count)][int(Element::count)];
  void (*quantize_i8)(const QuantizeBlock&);
  void (*quantize_u8)(const QuantizeBlock&);
  void (*dequantize_i8)(const DequantizeBlock&);
  void (*dequantize_u8)(const DequantizeBlock&);
  ReduceKernelFn reduce[int(ReduceKernel::count)];
  CombineKernelFn combine[int(ReduceKernel::count)];
  DotI8Kernels dot_i8;
  DotI4Kernels dot_i4;
  DotWeightsKernels dot_weights_i8, dot_weights_i4;
  void (*depthwise)(const DepthwiseBlock&);
  void (*depthwise_i8)(const DepthwiseI8Block&);
  void (*max_pool)(const PoolBlock&);
  void (*max_pool_i8)(const TapsI8Block&);  // no taps: -128
  void (*average_pool)(const PoolBlock&);
  void (*blend)(const BlendBlock&);
  void (*transpose_32)(const TransposeBlock&);  // elements of 4 bytes
  void (*transpose_16)(const TransposeBlock&);
  void (*transpose_8)(const TransposeBlock&);
  void (*pack_f32)(const PackBlock&);
  void (*pack_i8)(const PackI8Block&);
  void (*gather)(const GatherBlock&);
  // The most this set can do: `rounds` of independent multiply-adds in registers. Returns how many
  // operations (two for each lane) that were; `sink` takes their results, 16 values.
  int64_t (*peak_f32)(int64_t rounds, float* sink);
  // The same for products of bytes.
  int64_t (*peak_i8)(int64_t rounds, float* sink);
};

// Kernels for `isa`, or those of the strongest set below it that this build has. Running them on a
// processor without the set is the caller's error: see platform/cpu.h.
const KernelTable& kernels_for(Isa isa);

}  // namespace sconce::tile
