// Transposed convolutions in the tile language, as ordinary ones on parts of their weights.
//
// Result y of a dimension is the sum over taps k of x[(y + padding - k * dilation) / stride], where
// that is whole. Which taps these are depends on y only by its remainder: a step of the loops gives
// `stride` results along each dimension, a cell, and each is a dot of its own over its taps, whose
// weights are packed for it. Nothing is multiplied by zeros between the elements of x.
#include <numeric>

#include "ops/conv/convolution_tile.h"

namespace sconce {
namespace {

// The taps of one dimension that the results at a remainder are sums over, so that what they read
// moves upwards.
struct Taps {
  int64_t count = 0;
  int64_t first = 0, step = 0;       // which taps
  int64_t offset = 0, distance = 0;  // what they read, from the cell on
};
Taps taps_of(int64_t remainder, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
  Taps taps;
  for (int64_t k = kernel - 1; k >= 0; k--) {
    int64_t position = remainder + padding - k * dilation;
    if (position % stride) continue;
    if (taps.count++ == 0) {
      taps.first = k;
      taps.offset = position / stride;
    }
  }
  int64_t common = std::gcd(stride, dilation);
  taps.step = -stride / common;
  taps.distance = dilation / common;
  return taps;
}

}  // namespace

std::optional<TileIndex> transposed_axes(TileLowering& l, const Node& node, const Convolution& c) {
  std::vector<SymInt> sizes = l.shape(node.results[0]);
  if (sizes.size() != size_t(c.dims) + 2) return std::nullopt;
  for (size_t d = 0; d < c.stride.size(); d++)
    sizes[d + 2] =
        l.symbols.floor_divide(l.symbols.add(sizes[d + 2], c.stride[d] - 1), c.stride[d]);
  return convolution_loops(l, c, sizes);
}

std::optional<tile::ValueId> transposed_convolution(TileLowering& l, const Convolution& c,
                                                    const TileIndex& at) {
  size_t dims = size_t(c.dims);
  auto place = group_and_column(c, at[1]);
  std::optional<tile::ValueId> initial = l.build.constant(0);
  if (c.bias) initial = l.at(*c.bias, {at[1]});
  if (!place || !initial || at.size() != dims + 2) return std::nullopt;

  // The weights in memory: [groups, in_per_group, out_per_group, window].
  std::vector<int64_t> strides(dims + 1, 1);  // of the window, then of a column
  for (size_t d = dims; d-- > 0;)
    strides[d] = d + 1 < dims ? strides[d + 1] * l.size(c.weight, int(d) + 3) : 1;
  strides[dims] = strides[0] * l.size(c.weight, 2);
  int64_t of_channel = c.out_per_group * strides[dims];

  constexpr int64_t kChannelKey = -1;
  int64_t begin = 0;  // of the part of the weights
  std::vector<int64_t> sizes, steps;
  std::vector<tile::AxisId> over;
  TileIndex from{at[0], {}}, window;
  bool is_empty = false;
  for (size_t d = 0; d < dims; d++) {
    // The loops are those of cells, of which this is the element at the remainder.
    tile::Index position = at[d + 2];
    Taps taps = taps_of(position.offset, l.size(c.weight, int(d) + 2), c.stride[d], c.padding[d],
                        c.dilation[d]);
    is_empty |= taps.count == 0;
    for (tile::Term& term : position.terms) term.factor /= c.stride[d];
    position.offset = taps.offset;
    tile::Index tap = tile::at(0);
    if (taps.count > 1) {
      over.push_back(l.shared_span(int64_t(d) << 32 | taps.count, taps.count));
      tap = tile::along(over.back());
      position = position + tile::along(over.back(), taps.distance);
    }
    from.push_back(position);
    window.push_back(tap);
    begin += taps.first * strides[d];
    sizes.push_back(taps.count);
    steps.push_back(taps.step * strides[d]);
  }
  if (is_empty) return initial;

  std::optional<int32_t> weights;
  if (c.is_depthwise()) {
    sizes.insert(sizes.end(), {c.groups, 1, 1});
    steps.insert(steps.end(), {of_channel, 1, 1});
    weights = l.part(c.weight, begin, sizes, steps, -1);
    from[1] = at[1];
    window.insert(window.end(), {at[1], tile::at(0), tile::at(0)});
  } else {
    sizes.insert(sizes.begin(), c.groups);
    steps.insert(steps.begin(), c.in_per_group * of_channel);
    sizes.insert(sizes.end(), {c.in_per_group, c.out_per_group});
    steps.insert(steps.end(), {of_channel, strides[dims]});
    weights = l.part(c.weight, begin, sizes, steps, 1);
    tile::AxisId channel = l.shared_span(kChannelKey, c.in_per_group);
    over.push_back(channel);
    tile::Index first = place->group;
    for (tile::Term& term : first.terms) term.factor = c.in_per_group;
    from[1] = first + tile::along(channel);
    window.insert(window.begin(), place->group);
    window.insert(window.end(), {tile::along(channel), place->column});
  }
  auto x = l.at(c.input, from);
  if (!weights || !x) return std::nullopt;
  tile::ValueId w = l.build.load(*weights, window);
  if (over.empty()) return l.build.fma(*x, w, *initial);
  return l.build.dot(*initial, *x, w, over);
}

}  // namespace sconce
