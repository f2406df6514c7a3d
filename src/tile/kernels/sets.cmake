# Instruction sets by family, and the flags of their translation units.
set(flags_kernels -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math -Wno-psabi)
set(sets_X86 sse2 avx2 avx512)
set(flags_avx2 -mavx2 -mfma -mf16c)
set(flags_avx512 ${flags_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl
                 -mprefer-vector-width=512)
set(sets_ARM neon)
