// Huffman coding of one plane of bytes: four interleaved streams, codes of at most 11 bits.
//
// Made for exponents of trained weights, about 2.7 bits each: one look-up gives up to six symbols.
// Matches are not searched for, they do not exist there. Layout and limits: docs/packed.md.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "base/span.h"

namespace sconce {

inline constexpr int kHuffmanBitsMax = 11;
inline constexpr size_t kHuffmanStreams = 4;

struct ByteCounts {
  uint32_t of[256] = {};
};
ByteCounts count_bytes(Bytes plane);

// Lengths of an optimal prefix code of at most 11 bits for a plane; 0 for bytes that do not occur.
struct HuffmanCode {
  uint8_t bits[256] = {};
  uint8_t first = 0, last = 0;  // smallest and largest byte that occurs
  uint64_t encoded_bytes = 0;   // size of what huffman_encode appends, give or take three bytes
};

// `counts` must name at least two different bytes.
HuffmanCode make_huffman_code(const ByteCounts& counts);

// Appends the coded plane; `code` must have a code for every byte of it.
void huffman_encode(Bytes plane, const HuffmanCode& code, std::vector<uint8_t>* out);

// Fills `plane`. Input that no encoder makes is refused: incomplete codes, streams that end early
// or late, padding that is not zero. Reads inside `coded` and writes inside `plane` only.
Result<void> huffman_decode(Bytes coded, Span<uint8_t> plane);

}  // namespace sconce
