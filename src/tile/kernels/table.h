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

namespace sconce::tile {

// Columns of a panel of packed weights; also the lanes of a reduction.
inline constexpr int kPanel = 16;

// ---- dot, f32
// ------------------------------------------------------------------------------------

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
};
using DotF32Kernel = void (*)(const DotF32&);

inline constexpr int kDotRowsMax = 12, kDotPanelsMax = 4;
struct DotTile {
  uint8_t rows, panels;
};
// kernel[rows - 1][panels - 1]; null where there is none. If (r, p) is there, so is every r' < r
// with that p, and p' < p with that r. tiles: good shapes for many rows, best first, `tile_count`
// of them; the first has the most panels that every remainder of rows needs.
struct DotF32Kernels {
  DotF32Kernel kernel[kDotRowsMax][kDotPanelsMax];
  DotTile tiles[6];
  int tile_count;
};

// ---- the table
// -----------------------------------------------------------------------------------

struct KernelTable {
  Isa isa;
  DotF32Kernels dot_f32;   // B in f32
  DotF32Kernels dot_f16;   // B in IEEE half, widened exactly
  DotF32Kernels dot_bf16;  // B in bfloat16, widened exactly
  // The most this set can do: `rounds` of independent multiply-adds in registers. Returns how many
  // operations (two for each lane) that were; `sink` takes their results, 16 values.
  int64_t (*peak_f32)(int64_t rounds, float* sink);
};

// Kernels for `isa`, or those of the strongest set below it that this build has. Running them on a
// processor without the set is the caller's error: see platform/cpu.h.
const KernelTable& kernels_for(Isa isa);

}  // namespace sconce::tile
