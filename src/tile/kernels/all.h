// The table of one translation unit: each isa_*.cc includes its Simd, then this file.
//
// kDotRows: the most rows of a dot tile with 1, 2, 3, 4 panels; kDotTiles: which shapes to prefer.
#pragma once

#include "tile/kernels/convert.h"
#include "tile/kernels/depthwise_f32.h"
#include "tile/kernels/depthwise_int.h"
#include "tile/kernels/dot_f32.h"
#include "tile/kernels/dot_int.h"
#include "tile/kernels/strip.h"
#include "tile/kernels/move.h"
#include "tile/kernels/peak.h"
#include "tile/kernels/table.h"
#include "tile/kernels/taps.h"
#include "tile/kernels/vector.h"

namespace sconce::tile {
namespace {

constexpr int rows_of_half(int panels) {  // conversion needs registers
  return kDotRows[panels - 1] < 8 ? kDotRows[panels - 1] : 8;
}

template <class Unit>
constexpr KernelTable make_table(Isa isa) {
  KernelTable table = {};
  table.isa = isa;
  table.dot_f32 =
      make_dot_f32<StoredF32, kDotRows[0], kDotRows[1], kDotRows[2], kDotRows[3]>(kDotTiles);
  table.dot_f16 =
      make_dot_f32<StoredF16, rows_of_half(1), rows_of_half(2), rows_of_half(3), rows_of_half(4)>(
          kDotHalfTiles);
  table.dot_bf16 =
      make_dot_f32<StoredBf16, rows_of_half(1), rows_of_half(2), rows_of_half(3), rows_of_half(4)>(
          kDotHalfTiles);
#define SCONCE_ROW(name, meaning) table.unary[int(UnaryKernel::name)] = unary<UnaryKernel::name>;
  SCONCE_UNARY_KERNELS(SCONCE_ROW)
#undef SCONCE_ROW
#define SCONCE_ROW(name, meaning) \
  table.binary[int(BinaryKernel::name)] = binary<BinaryKernel::name>;
  SCONCE_BINARY_KERNELS(SCONCE_ROW)
#undef SCONCE_ROW
#define SCONCE_ROW(name, meaning) \
  table.compare[int(CompareKernel::name)] = compare<CompareKernel::name>;
  SCONCE_COMPARE_KERNELS(SCONCE_ROW)
#undef SCONCE_ROW
#define SCONCE_ROW(name, meaning)                                     \
  table.reduce[int(ReduceKernel::name)] = reduce<ReduceKernel::name>; \
  table.combine[int(ReduceKernel::name)] = combine<ReduceKernel::name>;
  SCONCE_REDUCE_KERNELS(SCONCE_ROW)
#undef SCONCE_ROW
  table.fma = fma_block;
  table.select = select_block;
  table.clamp = clamp_block;
  table.strip = strip;
  fill_convert(table);
  table.depthwise = depthwise;
  table.depthwise_i8 = depthwise_i8<Unit>;
  table.max_pool = max_pool;
  table.max_pool_i8 = max_pool_i8;
  table.average_pool = average_pool;
  table.blend = blend;
  table.transpose_32 = transpose_32;
  table.transpose_16 = transpose_narrow<uint16_t>;
  table.transpose_8 = transpose_narrow<uint8_t>;
  table.pack_f32 = pack_f32;
  table.pack_i8 = pack_i8;
  table.gather = gather;
  fill_dot_int<Unit>(table);
  table.peak_f32 = peak_f32;
  table.peak_i8 = peak_i8<Unit>;
  return table;
}

}  // namespace
}  // namespace sconce::tile
