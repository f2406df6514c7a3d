// How the tile language sees a convolution, of numbers or of integers: its sizes, its loops, and
// what one element of the result reads.
#pragma once

#include "ops/conv/window.h"
#include "ops/tile.h"

namespace sconce {

struct Convolution {
  ValueId input, weight;
  const ValueId* bias;
  std::vector<int64_t> stride, padding, dilation;
  int64_t groups, in_per_group, out_per_group;
  int dims;  // spatial

  bool is_depthwise() const { return in_per_group == 1 && out_per_group == 1 && groups > 1; }
};

// Transposed: the weights are [groups * in_per_group, out_per_group, window].
// Nothing for what is transposed unless that is wanted, of other types, or has arguments that are
// not known.
std::optional<Convolution> read_convolution(const TileLowering& l, const Node& node,
                                            const ConvolutionPositions& positions, DType input,
                                            DType weight, bool transposed = false);
// The loops over a result of `sizes`.
TileIndex convolution_loops(TileLowering& l, const Convolution& c,
                            const std::vector<SymInt>& sizes);

// What the element at an index of convolution_loops() is the sum over.
struct ConvolutionReads {
  tile::Index group, column;           // of the weights: which group, and which of its columns
  std::vector<tile::AxisId> over;      // window, then channels
  TileIndex from;                      // into the input
  TileIndex window;                    // into the weights
  tile::AxisId channel = tile::kNone;  // none by depth
};
std::optional<ConvolutionReads> convolution_reads(TileLowering& l, const Convolution& c,
                                                  const TileIndex& at);
// Which group and which column of it an index of the result is: the two terms that
// convolution_loops() made.
struct GroupAndColumn {
  tile::Index group, column;
};
std::optional<GroupAndColumn> group_and_column(const Convolution& c, const tile::Index& at);

// Transposed convolutions, cell by cell: results whose positions have the same remainder by the
// stride are sums over the same taps (transposed.cc).
std::optional<TileIndex> transposed_axes(TileLowering& l, const Node& node, const Convolution& c);
std::optional<tile::ValueId> transposed_convolution(TileLowering& l, const Convolution& c,
                                                    const TileIndex& at);

// Weights by depth: [window, channels, 1, 1], and the index into them.
std::optional<int32_t> depthwise_weights(TileLowering& l, const Convolution& c);
TileIndex depthwise_index(const ConvolutionReads& reads, const TileIndex& at);
// Other weights: panels of [groups, window, channels, columns].
std::optional<int32_t> convolution_panels(TileLowering& l, const Convolution& c, int run = 1);
// The same, row-major.
std::optional<int32_t> convolution_weights(TileLowering& l, const Convolution& c);

}  // namespace sconce
