#include "tile/kernels/simd_sse2.h"
#include "tile/kernels/table.h"

namespace sconce::tile {
namespace {

constexpr int kDotRows[4] = {3, 1, 0, 0};
constexpr DotTile kDotTiles[] = {{3, 1}};
constexpr DotTile kDotHalfTiles[] = {{2, 1}};
constexpr DotTile kDotI8Tiles[] = {{2, 1}};

}  // namespace
}  // namespace sconce::tile

#include "tile/kernels/all.h"

namespace sconce::tile {

extern const KernelTable kernels_sse2;
constinit const KernelTable kernels_sse2 = make_table<WideningUnit>(Isa::sse2);

}  // namespace sconce::tile
