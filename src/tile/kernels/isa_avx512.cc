#include "tile/kernels/simd_avx512.h"
#include "tile/kernels/table.h"

namespace sconce::tile {
namespace {

constexpr int kDotRows[4] = {12, 12, 8, 6};
constexpr DotTile kDotTiles[] = {{8, 3}, {6, 4}, {12, 2}, {12, 1}};
constexpr DotTile kDotHalfTiles[] = {{8, 3}, {8, 2}};
constexpr DotTile kDotI8Tiles[] = {{6, 4}, {8, 3}, {8, 2}, {12, 1}};

}  // namespace
}  // namespace sconce::tile

#include "tile/kernels/all.h"

namespace sconce::tile {

extern const KernelTable kernels_avx512;
extern const KernelTable kernels_avx512_vnni;
constinit const KernelTable kernels_avx512 = make_table<WideningUnit>(Isa::avx512);
constinit const KernelTable kernels_avx512_vnni = make_table<VnniUnit>(Isa::avx512_vnni);

}  // namespace sconce::tile
