#include "tile/kernels/simd_neon.h"
#include "tile/kernels/table.h"

namespace sconce::tile {
namespace {

constexpr int kDotRows[4] = {6, 3, 2, 1};
constexpr DotTile kDotTiles[] = {{6, 1}, {3, 2}};
constexpr DotTile kDotHalfTiles[] = {{6, 1}, {3, 2}};
constexpr DotTile kDotI8Tiles[] = {{6, 1}, {3, 2}};

}  // namespace
}  // namespace sconce::tile

#include "tile/kernels/all.h"

namespace sconce::tile {

extern const KernelTable kernels_neon;
extern const KernelTable kernels_neon_dotprod;
extern const KernelTable kernels_neon_i8mm;
constinit const KernelTable kernels_neon = make_table<WideningUnit>(Isa::neon);
constinit const KernelTable kernels_neon_dotprod = make_table<DotprodUnit>(Isa::neon_dotprod);
constinit const KernelTable kernels_neon_i8mm = make_table<MixedUnit>(Isa::neon_i8mm);

}  // namespace sconce::tile
