// Isa: the instruction sets that kernels are built for. Which of them run here: platform/cpu.h.
#pragma once

#include <stdint.h>

namespace sconce {

// Sets for which kernels exist, weakest first within a family; each includes those above it there.
// X(name, family, what the processor must have)
#define SCONCE_ISAS(X)                                  \
  X(plain, any, "nothing")                              \
  X(sse2, x86, "SSE2")                                  \
  X(avx2, x86, "AVX2, FMA, F16C")                       \
  X(avx2_vnni, x86, "AVX2, FMA, F16C, AVX-VNNI")        \
  X(avx512, x86, "AVX-512 F, BW, DQ, VL; AVX2, FMA")    \
  X(avx512_vnni, x86, "AVX-512 F, BW, DQ, VL and VNNI") \
  X(neon, arm, "AArch64 Advanced SIMD")                 \
  X(neon_dotprod, arm, "AArch64 with dotprod")          \
  X(neon_i8mm, arm, "AArch64 with dotprod and i8mm")

enum class Isa : uint8_t {
#define SCONCE_ROW(name, family, needs) name,
  SCONCE_ISAS(SCONCE_ROW)
#undef SCONCE_ROW
};

}  // namespace sconce
