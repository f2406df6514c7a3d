// Attention in the tile language: one pass over keys and values, with an online softmax where they
// are many, so that the scores never leave the tile.
#include <algorithm>
#include <cmath>

#include "ops/tile.h"

namespace sconce {
namespace {

using tile::AxisId;
using tile::Binary;
using tile::Reduce;
using tile::Unary;
using Value = std::optional<tile::ValueId>;

// Keys that one step takes. Part of the kernel: it decides where the softmax is rescaled. Scores of
// so many keys stay in the second cache, and up to that no step is left with a few.
constexpr int64_t kKeysAtOnce = 256, kKeysOfMany = 128;
constexpr int64_t kFewQueries = 4;

// How many heads of queries share one of keys and values; 1 when each has its own.
int64_t queries_per_key(const TileLowering& l, const Node& node) {
  int heads = l.rank(node.results[0]) - 3;
  if (heads < 0 || number_argument(node, 7).value_or(0) == 0) return 1;
  int64_t of_queries = l.number(l.shape(node.results[0], heads)),
          of_keys = l.number(l.shape(*tensor_argument(node, 1), heads));
  return of_keys > 0 && of_queries % of_keys == 0 ? of_queries / of_keys : 1;
}

// True for a constant that masks no key: all true, or nothing added.
bool masks_nothing(const TileLowering& l, ValueId mask) {
  if (!l.constant_index(mask)) return false;
  Bytes bytes = l.constant_bytes(mask);
  DType dtype = l.type(mask).dtype;
  if (bytes.size() == 0 || (dtype != DType::b8 && dtype != DType::f32)) return false;
  bool is_true = dtype == DType::b8;
  return std::all_of(bytes.begin(), bytes.end(),
                     [&](uint8_t byte) { return (byte != 0) == is_true; });
}

std::optional<TileIndex> attention_axes(TileLowering& l, const Node& node) {
  const ValueId *q = tensor_argument(node, 0), *k = tensor_argument(node, 1),
                *v = tensor_argument(node, 2);
  if (!q || !k || !v || l.rank(*q) < 2 || l.rank(*k) != l.rank(*q) || l.rank(*v) != l.rank(*q))
    return std::nullopt;
  for (ValueId x : {*q, *k, *v})
    if (l.type(x).dtype != DType::f32) return std::nullopt;
  TileIndex at;
  const auto& sizes = l.shape(node.results[0]);
  int64_t shared = queries_per_key(l, node);
  for (size_t d = 0; d + 2 < sizes.size(); d++) {
    if (shared == 1 || d + 3 != sizes.size()) {
      at.push_back(l.each(sizes[d]));
      continue;
    }
    tile::Index head = l.each(l.shape(*k, int(d)));
    for (tile::Term& term : head.terms) term.factor = shared;
    // Where there are few queries, those of heads that share keys are rows of one product, so that
    // the keys are read once.
    bool together = l.likely(sizes[sizes.size() - 2]) <= kFewQueries;
    at.push_back(head + (together ? l.parallel(shared) : l.each(shared)));
  }
  at.push_back(l.parallel(sizes[sizes.size() - 2]));
  at.push_back(tile::along(l.span(sizes.back())));
  return at;
}

Value attention(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId q = *tensor_argument(node, 0), k = *tensor_argument(node, 1),
                v = *tensor_argument(node, 2), *mask = tensor_argument(node, 3);
  auto dropout = number_argument(node, 4), causal = number_argument(node, 5);
  if (!dropout || *dropout != 0 || !causal || (mask && *causal != 0)) return std::nullopt;
  if (mask && masks_nothing(l, *mask)) mask = nullptr;
  size_t batch = at.size() - 2;
  int rank = l.rank(q);
  int64_t width = l.size(q, rank - 1);
  SymInt keys = l.shape(k, rank - 2);
  if (l.shape(q, rank - 2) != l.shape(node.results[0], rank - 2) || l.shape(v, rank - 2) != keys)
    return std::nullopt;
  double scale = number_argument(node, 6).value_or(1 / std::sqrt(double(width)));

  // Batches of keys and values: their own, one for all, or one for each group of queries' heads.
  TileIndex outer;
  for (size_t d = 0; d < batch; d++) {
    SymInt of_queries = l.shape(node.results[0], int(d)), of_keys = l.shape(k, int(d));
    if (l.shape(v, int(d)) != of_keys || l.shape(q, int(d)) != of_queries) return std::nullopt;
    if (of_keys == of_queries)
      outer.push_back(at[d]);
    else if (of_keys == SymInt(1))
      outer.push_back(tile::at(0));
    else if (d + 1 == batch && queries_per_key(l, node) > 1)
      outer.push_back(tile::along(at[d].terms[0].axis));
    else
      return std::nullopt;
  }

  tile::Builder& b = l.build;
  std::vector<AxisId> rows;
  for (size_t d = 0; d <= batch; d++)
    for (const tile::Term& term : at[d].terms)
      if (!b.kernel().axes[size_t(term.axis)].each) rows.push_back(term.axis);
  AxisId column = at[batch + 1].terms[0].axis;
  std::vector<AxisId> rows_and_column = rows;
  rows_and_column.push_back(column);
  AxisId inner = b.span(tile::known(width));
  // A few keys need no loop; what one step of it gives is the same.
  bool at_once = keys.is_known() && keys.value <= kKeysAtOnce;
  AxisId key = at_once ? b.span(tile::known(keys.value))
                       : b.serial(l.extent(keys), kKeysOfMany, keys.is_known() ? 0 : kKeysAtOnce);

  TileIndex from_q = at;
  from_q.back() = tile::along(inner);
  Value loaded = l.at(q, from_q);
  if (!loaded) return std::nullopt;
  tile::ValueId query = scale == 1 ? *loaded : b.mul(*loaded, b.constant(scale));
  std::vector<tile::ValueId> carried;
  if (!at_once)
    carried =
        b.begin_loop(key, {b.constant(-INFINITY, DType::f32, rows), b.constant(0, DType::f32, rows),
                           b.constant(0, DType::f32, rows_and_column)});
  TileIndex from_k = outer, from_v = outer, from_mask(at.begin(), at.end() - 1);
  from_k.push_back(tile::along(key));
  from_v = from_k;
  from_k.push_back(tile::along(inner));
  from_v.push_back(at.back());
  from_mask.push_back(tile::along(key));
  auto key_tile = l.scaled(k, from_k), value_tile = l.scaled(v, from_v);
  if (!key_tile || !value_tile) return std::nullopt;
  tile::ValueId score = b.dot(b.constant(0), query, key_tile->value, {inner});
  if (key_tile->scale) score = b.mul(score, *key_tile->scale);
  if (mask) {
    Value masked = l.broadcast(*mask, from_mask);
    if (!masked) return std::nullopt;
    if (l.type(*mask).dtype == DType::b8)
      score = b.select(*masked, score, b.constant(-INFINITY));
    else if (l.type(*mask).dtype == DType::f32)
      score = b.add(score, *masked);
    else
      return std::nullopt;
  }
  const std::vector<tile::Term>& position = at[batch].terms;  // of a query
  if (*causal != 0 && !position.empty())
    score = b.select(b.binary(Binary::le, b.iota(key), b.iota(position[0].axis)), score,
                     b.constant(-INFINITY));
  else if (*causal != 0)
    score = b.select(b.binary(Binary::le, b.iota(key), b.constant(0, DType::i64)), score,
                     b.constant(-INFINITY));

  tile::ValueId highest = b.reduce(Reduce::max, score, {key});
  if (!at_once) highest = b.binary(Binary::max, carried[0], highest);
  // A row that is masked so far has no highest score; 0 in its place keeps exp(-inf - 0) = 0.
  tile::ValueId none = b.binary(Binary::eq, highest, b.constant(-INFINITY));
  tile::ValueId pivot = b.select(none, b.constant(0), highest);
  tile::ValueId power = b.unary(Unary::exp, b.sub(score, pivot));
  tile::ValueId sum = b.reduce(Reduce::sum, power, {key}, true), total;
  tile::ValueId weight = value_tile->scale ? b.mul(power, *value_tile->scale) : power;
  if (at_once) {
    total = b.dot(b.constant(0), weight, value_tile->value, {key});
  } else {
    tile::ValueId rescale = b.unary(Unary::exp, b.sub(carried[0], pivot));
    sum = b.fma(carried[1], rescale, sum);
    total = b.dot(b.mul(carried[2], rescale), weight, value_tile->value, {key});
    auto result = b.end_loop(key, {highest, sum, total});
    sum = result[1];
    total = result[2];
  }
  // All masked: torch's answer is 0.
  tile::ValueId empty = b.binary(Binary::eq, sum, b.constant(0));
  return b.mul(total, b.select(empty, b.constant(0), b.unary(Unary::recip, sum)));
}

}  // namespace

TILE(scaled_dot_product_attention) = {"aten::scaled_dot_product_attention", attention,
                                      attention_axes};

}  // namespace sconce
