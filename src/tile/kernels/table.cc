#include "tile/kernels/table.h"

namespace sconce::tile {

#define SCONCE_ROW(name, family, needs) extern const KernelTable kernels_##name;
SCONCE_ISAS(SCONCE_ROW)
#undef SCONCE_ROW

const KernelTable& kernels_for(Isa isa) {
  switch (isa) {
#if SCONCE_KERNELS_X86
    case Isa::avx512_vnni: return kernels_avx512_vnni;
    case Isa::avx512: return kernels_avx512;
    case Isa::avx2_vnni: return kernels_avx2_vnni;
    case Isa::avx2: return kernels_avx2;
    case Isa::sse2: return kernels_sse2;
#elif SCONCE_KERNELS_ARM
    case Isa::neon_i8mm: return kernels_neon_i8mm;
    case Isa::neon_dotprod: return kernels_neon_dotprod;
    case Isa::neon: return kernels_neon;
#endif
    default: return kernels_plain;
  }
}

}  // namespace sconce::tile
