#include "tile/kernels/simd_avx2.h"
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

extern const KernelTable kernels_avx2;
extern const KernelTable kernels_avx2_vnni;
constinit const KernelTable kernels_avx2 = make_table<WideningUnit>(Isa::avx2);
constinit const KernelTable kernels_avx2_vnni = make_table<VnniUnit>(Isa::avx2_vnni);

}  // namespace sconce::tile
