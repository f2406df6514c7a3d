// Rows of integers with a scale for each (dequantize_per_token): what their numbers are made of.
#pragma once

#include "ops/tile.h"

namespace sconce {

// (q - zero) * scale.
struct TokenIntegers {
  ValueId q = kNoValue, scale = kNoValue, zero = kNoValue;  // zero: none when all are 0
};
// Nothing when a node is no dequantize_per_token of i8 to f32 by scales of f32, and no product that
// is one.
std::optional<TokenIntegers> token_integers(const TileLowering& l, const Node& node);

// q - zero as f32, in the steps of zero points of this type: i32, i64 or f32.
tile::ValueId without_zero(tile::Builder& build, tile::ValueId q, tile::ValueId zero,
                           DType of_zero);

// A number of row `at`; nothing in its last dimension.
TileIndex token_of(const TileIndex& at);

}  // namespace sconce
