// Arena plan: gives every tensor an offset so that tensors alive together never overlap.
//
// Knows sizes and lifetimes only; graphs are the caller's business. Which strategies and why:
// docs/plan.md.
#pragma once

#include <cstdint>
#include <vector>

#include "base/span.h"

namespace sconce {

struct Block { uint64_t bytes; uint32_t first_step, last_step; };  // steps inclusive

struct ArenaPlan { std::vector<uint64_t> offsets; uint64_t arena_bytes; };

// Offsets follow the order of `blocks` and are multiples of `alignment`, a power of two; so is
// arena_bytes. Equal blocks give equal plans. Sums saturate at 2^64 - alignment: no machine has that.
ArenaPlan plan_arena(Span<const Block> blocks, uint64_t alignment);
// Largest sum of bytes alive at one step, each rounded up to `alignment`: no plan needs less.
uint64_t live_bytes_max(Span<const Block> blocks, uint64_t alignment);

}  // namespace sconce
