// Convolutions in the tile language: a dot over the window and the channels, in place; or, for 3 x
// 3 windows, Winograd's method, where its fewer multiplications outweigh what it adds.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ops/conv/convolution_tile.h"
#include "ops/conv/winograd.h"

namespace sconce {
namespace {

// Per dimension, from a list of one number or of one each.
std::optional<std::vector<int64_t>> per_dim(const Node& node, size_t argument, int dims) {
  auto list = ints_argument(node, argument);
  if (!list || (list->size() != 1 && list->size() != size_t(dims))) return std::nullopt;
  if (list->size() == 1) list->resize(size_t(dims), list->front());
  return list;
}

constexpr ConvolutionPositions kPositions{0, 1, 2, 3, 4, 5, 6, 7, 8};

std::optional<Convolution> read(const TileLowering& l, const Node& node) {
  return read_convolution(l, node, kPositions, DType::f32, DType::f32);
}
std::optional<Convolution> read_transposed(const TileLowering& l, const Node& node) {
  return read_convolution(l, node, kPositions, DType::f32, DType::f32, true);
}

// Squares of so many results a side by Winograd's method; 1: the direct way.
int winograd_tile(const TileLowering& l, const Convolution& c, ValueId result) {
  auto all = [](const std::vector<int64_t>& list, int64_t x) {
    return std::all_of(list.begin(), list.end(), [&](int64_t y) { return y == x; });
  };
  if (c.dims != 2 || c.groups != 1 || !all(c.stride, 1) || !all(c.dilation, 1) ||
      l.size(c.weight, 2) != kWinogradWindow || l.size(c.weight, 3) != kWinogradWindow ||
      l.graph.values[size_t(c.weight)].origin != Origin::constant)
    return 1;
  // Transforms run along channels by vectors.
  if (std::min(c.in_per_group, c.out_per_group) < tile::kPanelColumns) return 1;
  if (l.prefer == Prefer::size) return 1;
  // Of 16-bit weights it would make up to eight times as many bytes, as f32.
  if (l.graph.type(c.weight).tensor.dtype != DType::f32) return 1;
  std::vector<int64_t> sizes;
  for (SymInt size : l.shape(result)) sizes.push_back(l.likely(size));
  // Costs in fused multiply-adds, from times measured on AVX-512 (docs/performance.md): reading a
  // weight once costs as much as 10 of them, a square's transforms so many per channel in and out.
  constexpr double kWeightCost = 10, kTransform2 = 330, kTransform4 = 1080;
  const double in = double(c.in_per_group), out = double(c.out_per_group);
  const double columns = std::ceil(out / tile::kPanelColumns) * tile::kPanelColumns;
  auto cost = [&](int tile) {
    double points = tile > 1 ? winograd(tile).points() : kWinogradWindow;
    double places = double(sizes[0]);
    for (size_t d : {size_t(2), size_t(3)}) places *= double((sizes[d] + tile - 1) / tile);
    double transform = tile == 1 ? 0 : tile == 2 ? kTransform2 : kTransform4;
    return points * points * in * columns * (places + kWeightCost) +
           places * transform * (in + out);
  };
  // The weights become 1.8 or 4 times as large, in the file too: that must be worth it.
  const double worth_it = l.prefer == Prefer::speed ? 0.95 : 0.8;
  double direct = cost(1), two = cost(2), four = cost(4);
  if (sizes[2] < 4 || sizes[3] < 4 || std::min(two, four) > worth_it * direct) return 1;
  return four < 0.85 * two ? 4 : 2;
}

std::vector<TileCell> convolution_cell(const TileLowering& l, const Node& node) {
  std::vector<TileCell> cell(size_t(l.rank(node.results[0])));
  if (auto c = read(l, node)) {
    if (int tile = winograd_tile(l, *c, node.results[0]); tile > 1) cell[2] = cell[3] = {tile};
  } else if (auto t = read_transposed(l, node)) {
    for (size_t d = 0; d < t->stride.size(); d++) cell[d + 2] = {t->stride[d]};
  }
  return cell;
}

// M X M^T of a square of values.
std::vector<tile::ValueId> transformed(TileLowering& l, const tile::Transform& m,
                                       const std::vector<tile::ValueId>& x) {
  auto& build = l.build;
  return sandwich(m, x, [&](const tile::TransformStep& step, tile::ValueId a, tile::ValueId b) {
    switch (step.op) {
      case tile::TransformOp::add: return build.add(a, b);
      case tile::TransformOp::sub: return build.sub(a, b);
      case tile::TransformOp::mul: return build.mul(a, build.constant(step.number));
      case tile::TransformOp::fma: break;
    }
    return build.fma(a, build.constant(step.number), b);
  });
}

// Element `at` of the square that the step gives; all of them are computed for the first.
std::optional<tile::ValueId> winograd_convolution(TileLowering& l, const Convolution& c, int tile,
                                                  const TileIndex& at) {
  const Winograd method = winograd(tile);
  int points = method.points();
  size_t row = size_t(at[2].offset), column = size_t(at[3].offset);
  if (l.kept.empty()) {
    tile::AxisId channel = l.build.span(tile::known(c.in_per_group));
    std::vector<tile::ValueId> inputs;
    for (int i = 0; i < points; i++)
      for (int j = 0; j < points; j++) {
        TileIndex from{at[0], tile::along(channel), at[2], at[3]};
        from[2].offset += i - int64_t(row) - c.padding[0];
        from[3].offset += j - int64_t(column) - c.padding[1];
        auto x = l.at(c.input, from);
        if (!x) return std::nullopt;
        inputs.push_back(*x);
      }
    inputs = transformed(l, method.input, inputs);
    auto weights = l.panels_made_of(
        c.weight, fmt::format("for Winograd's squares of {}", tile),
        {points * points, c.in_per_group, c.out_per_group}, [&](Bytes windows) {
          return winograd_weights(windows, size_t(c.in_per_group * c.out_per_group), tile);
        });
    tile::ValueId zero = l.build.constant(0);
    std::optional<tile::ValueId> bias = c.bias ? l.at(*c.bias, {at[1]}) : zero;
    if (!weights || !bias) return std::nullopt;
    std::vector<tile::ValueId> products;
    for (int p = 0; p < points * points; p++) {
      tile::ValueId w = l.build.load(*weights, {tile::at(p), tile::along(channel), at[1]});
      // The product at (1, 1) is in every result once, and so is what it begins with.
      bool in_all = p == points + 1;
      products.push_back(l.build.dot(in_all ? *bias : zero, inputs[size_t(p)], w, {channel}));
    }
    l.kept = transformed(l, method.output, products);
  }
  return l.kept[row * size_t(tile) + column];
}

std::optional<TileIndex> convolution_axes(TileLowering& l, const Node& node) {
  if (auto transposed = read_transposed(l, node)) return transposed_axes(l, node, *transposed);
  auto c = read(l, node);
  if (!c) return std::nullopt;
  std::vector<SymInt> sizes = l.shape(node.results[0]);
  if (int tile = winograd_tile(l, *c, node.results[0]); tile > 1)
    for (size_t d : {size_t(2), size_t(3)})
      sizes[d] = l.symbols.floor_divide(l.symbols.add(sizes[d], tile - 1), tile);
  return convolution_loops(l, *c, sizes);
}

std::optional<tile::ValueId> convolution(TileLowering& l, const Node& node, const TileIndex& at) {
  if (auto transposed = read_transposed(l, node)) return transposed_convolution(l, *transposed, at);
  auto c = read(l, node);
  if (!c || at.size() != size_t(c->dims) + 2) return std::nullopt;
  if (int tile = winograd_tile(l, *c, node.results[0]); tile > 1)
    return winograd_convolution(l, *c, tile, at);
  auto reads = convolution_reads(l, *c, at);
  std::optional<tile::ValueId> initial = l.build.constant(0);
  if (c->bias) initial = l.at(*c->bias, {at[1]});
  if (!reads || !initial) return std::nullopt;
  auto x = l.at(c->input, reads->from);
  auto weights = c->is_depthwise() ? depthwise_weights(l, *c) : convolution_panels(l, *c);
  if (!x || !weights) return std::nullopt;
  tile::ValueId w =
      l.build.load(*weights, c->is_depthwise() ? depthwise_index(*reads, at) : reads->window);
  if (reads->over.empty()) return l.build.fma(*x, w, *initial);
  return l.build.dot(*initial, *x, w, reads->over);
}

}  // namespace

std::optional<Convolution> read_convolution(const TileLowering& l, const Node& node,
                                            const ConvolutionPositions& positions, DType input_type,
                                            DType weight_type, bool wanted_transposed) {
  auto at = [](int position) { return size_t(position); };
  const ValueId *input = tensor_argument(node, at(positions.input)),
                *weight = tensor_argument(node, at(positions.weight));
  auto transposed = number_argument(node, at(positions.transposed)),
       groups = number_argument(node, at(positions.groups));
  if (!input || !weight || !transposed || (*transposed != 0) != wanted_transposed || !groups ||
      l.type(*input).dtype != input_type || l.type(*weight).dtype != weight_type)
    return std::nullopt;
  Convolution c{*input, *weight, tensor_argument(node, at(positions.bias)), {}, {}, {}, 0, 0, 0, 0};
  c.dims = l.rank(*weight) - 2;
  if (c.dims < 1 || l.rank(*input) != c.dims + 2) return std::nullopt;
  auto stride = per_dim(node, at(positions.stride), c.dims),
       padding = per_dim(node, at(positions.padding), c.dims),
       dilation = per_dim(node, at(positions.dilation), c.dims);
  if (!stride || !padding || !dilation) return std::nullopt;
  c.stride = *stride;
  c.padding = *padding;
  c.dilation = *dilation;
  c.groups = int64_t(*groups);
  if (c.groups < 1 || l.size(*weight, 0) % c.groups) return std::nullopt;
  c.in_per_group = l.size(*weight, 1);
  c.out_per_group = l.size(*weight, 0) / c.groups;
  if (wanted_transposed) std::swap(c.in_per_group, c.out_per_group);
  for (int64_t stride : c.stride)
    if (stride < 1) return std::nullopt;
  return c;
}

TileIndex convolution_loops(TileLowering& l, const Convolution& c,
                            const std::vector<SymInt>& sizes) {
  TileIndex at{l.each(sizes[0])};
  if (c.is_depthwise() || c.groups == 1) {
    at.push_back(l.parallel(sizes[1]));
  } else {
    tile::Index group = l.each(c.groups);
    for (tile::Term& term : group.terms) term.factor = c.out_per_group;
    at.push_back(group + l.parallel(c.out_per_group));
  }
  for (int d = 0; d < c.dims; d++) at.push_back(l.parallel(sizes[size_t(d) + 2]));
  return at;
}

std::optional<GroupAndColumn> group_and_column(const Convolution& c, const tile::Index& at) {
  if (c.groups == 1 || c.is_depthwise()) return GroupAndColumn{tile::at(0), at};
  bool has_column = c.out_per_group > 1;
  if (at.terms.size() != (has_column ? 2u : 1u)) return std::nullopt;
  return GroupAndColumn{tile::along(at.terms[0].axis),
                        has_column ? tile::along(at.terms[1].axis) : tile::at(0)};
}

std::optional<ConvolutionReads> convolution_reads(TileLowering& l, const Convolution& c,
                                                  const TileIndex& at) {
  ConvolutionReads reads;
  auto place = group_and_column(c, at[1]);
  if (!place) return std::nullopt;
  reads.group = place->group;
  reads.column = place->column;
  reads.from = {at[0], {}};
  TileIndex taps;
  for (int d = 0; d < c.dims; d++) {
    size_t i = size_t(d);
    int64_t kernel = l.size(c.weight, d + 2);
    tile::Index position = at[i + 2];
    for (tile::Term& term : position.terms) term.factor *= c.stride[i];
    position.offset = position.offset * c.stride[i] - c.padding[i];
    tile::Index tap = tile::at(0);
    if (kernel > 1) {
      reads.over.push_back(l.build.span(tile::known(kernel)));
      tap = tile::along(reads.over.back());
      position = position + tile::along(reads.over.back(), c.dilation[i]);
    }
    taps.push_back(tap);
    reads.from.push_back(position);
  }
  if (c.is_depthwise()) {
    reads.from[1] = at[1];
    reads.window = taps;
    return reads;
  }
  reads.channel = l.build.span(tile::known(c.in_per_group));
  reads.over.push_back(reads.channel);
  tile::Index first = reads.group;
  for (tile::Term& term : first.terms) term.factor = c.in_per_group;
  reads.from[1] = first + tile::along(reads.channel);
  reads.window = {reads.group};
  reads.window.insert(reads.window.end(), taps.begin(), taps.end());
  reads.window.push_back(tile::along(reads.channel));
  reads.window.push_back(reads.column);
  return reads;
}

std::optional<int32_t> depthwise_weights(TileLowering& l, const Convolution& c) {
  std::vector<int64_t> sizes{c.groups, 1, 1};
  std::vector<int> order;
  for (int d = 0; d < c.dims; d++) {
    sizes.push_back(l.size(c.weight, d + 2));
    order.push_back(d + 3);
  }
  order.insert(order.end(), {0, 1, 2});
  return l.weights(c.weight, sizes, order);
}

TileIndex depthwise_index(const ConvolutionReads& reads, const TileIndex& at) {
  TileIndex index = reads.window;
  index.insert(index.end(), {at[1], tile::at(0), tile::at(0)});
  return index;
}

// Weights seen as [groups, columns, channels, window], and the order [groups, window, channels,
// columns] of these dimensions.
struct WeightOrder {
  std::vector<int64_t> sizes;
  std::vector<int> permutation{0};
  WeightOrder(const TileLowering& l, const Convolution& c)
      : sizes{c.groups, c.out_per_group, c.in_per_group} {
    for (int d = 0; d < c.dims; d++) {
      sizes.push_back(l.size(c.weight, d + 2));
      permutation.push_back(d + 3);
    }
    permutation.insert(permutation.end(), {2, 1});
  }
};

std::optional<int32_t> convolution_panels(TileLowering& l, const Convolution& c, int run) {
  const WeightOrder order(l, c);
  return l.panels(c.weight, order.sizes, order.permutation, 1, run);
}

std::optional<int32_t> convolution_weights(TileLowering& l, const Convolution& c) {
  const WeightOrder order(l, c);
  return l.weights(c.weight, order.sizes, order.permutation);
}

TILE(convolution) = {.op = "aten::convolution",
                     .lower = convolution,
                     .axes = convolution_axes,
                     .cell = convolution_cell,
                     .channels_last = true,
                     .around = [](const Node&) -> std::optional<double> { return 0; }};

}  // namespace sconce
