#include "tile/kernels/simd_plain.h"
#include "tile/kernels/table.h"

namespace sconce::tile {
namespace {

constexpr int kDotRows[4] = {2, 0, 0, 0};
constexpr DotTile kDotTiles[] = {{2, 1}};
constexpr DotTile kDotHalfTiles[] = {{2, 1}};
constexpr DotTile kDotI8Tiles[] = {{2, 1}};

}  // namespace
}  // namespace sconce::tile

#include "tile/kernels/all.h"

namespace sconce::tile {

extern const KernelTable kernels_plain;
constinit const KernelTable kernels_plain = make_table<PlainUnit>(Isa::plain);

}  // namespace sconce::tile
