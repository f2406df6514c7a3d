// Convolutions in the tile language: a dot over the window and the channels, in place.
#include "ops/tile.h"

namespace sconce {
namespace {

struct Convolution {
  ValueId input, weight;
  const ValueId* bias;
  std::vector<int64_t> stride, padding, dilation;
  int64_t groups, in_per_group, out_per_group;
  int dims;  // spatial

  bool is_depthwise() const { return in_per_group == 1 && out_per_group == 1 && groups > 1; }
};

// Per dimension, from a list of one number or of one each.
std::optional<std::vector<int64_t>> per_dim(const Node& node, size_t argument, int dims) {
  auto list = ints_argument(node, argument);
  if (!list || (list->size() != 1 && list->size() != size_t(dims))) return std::nullopt;
  if (list->size() == 1) list->resize(size_t(dims), list->front());
  return list;
}

std::optional<Convolution> read(const TileLowering& l, const Node& node) {
  const ValueId *input = tensor_argument(node, 0), *weight = tensor_argument(node, 1);
  auto transposed = number_argument(node, 6), groups = number_argument(node, 8);
  if (!input || !weight || !transposed || *transposed != 0 || !groups ||
      l.type(*input).dtype != DType::f32 || l.type(*weight).dtype != DType::f32)
    return std::nullopt;
  Convolution c{*input, *weight, tensor_argument(node, 2), {}, {}, {}, 0, 0, 0, 0};
  c.dims = l.rank(*weight) - 2;
  if (c.dims < 1 || l.rank(*input) != c.dims + 2) return std::nullopt;
  auto stride = per_dim(node, 3, c.dims), padding = per_dim(node, 4, c.dims),
       dilation = per_dim(node, 5, c.dims);
  if (!stride || !padding || !dilation) return std::nullopt;
  c.stride = *stride;
  c.padding = *padding;
  c.dilation = *dilation;
  c.groups = int64_t(*groups);
  c.in_per_group = l.size(*weight, 1);
  if (c.groups < 1 || l.size(*weight, 0) % c.groups) return std::nullopt;
  c.out_per_group = l.size(*weight, 0) / c.groups;
  return c;
}

std::optional<TileIndex> convolution_axes(TileLowering& l, const Node& node) {
  auto c = read(l, node);
  if (!c) return std::nullopt;
  auto sizes = l.sizes(node.results[0]);
  TileIndex at{l.each(sizes[0])};
  if (c->is_depthwise() || c->groups == 1) {
    at.push_back(l.parallel(sizes[1]));
  } else {
    tile::Index group = l.each(c->groups);
    for (tile::Term& term : group.terms) term.factor = c->out_per_group;
    at.push_back(group + l.parallel(c->out_per_group));
  }
  for (int d = 0; d < c->dims; d++) at.push_back(l.parallel(sizes[size_t(d) + 2]));
  return at;
}

std::optional<tile::ValueId> convolution(TileLowering& l, const Node& node, const TileIndex& at) {
  auto c = read(l, node);
  if (!c || at.size() != size_t(c->dims) + 2) return std::nullopt;
  // Which group and which column of it: the two terms that convolution_axes made.
  bool grouped = c->groups > 1 && !c->is_depthwise();
  tile::Index group = tile::at(0), column = at[1];
  if (grouped) {
    size_t terms = at[1].terms.size();
    bool has_column = c->out_per_group > 1;
    if (terms != (has_column ? 2u : 1u)) return std::nullopt;
    group = tile::along(at[1].terms[0].axis);
    column = has_column ? tile::along(at[1].terms[1].axis) : tile::at(0);
  }

  std::vector<tile::AxisId> over;
  TileIndex from{at[0], {}}, window;
  for (int d = 0; d < c->dims; d++) {
    size_t i = size_t(d);
    int64_t kernel = l.size(c->weight, d + 2);
    tile::Index position = at[i + 2];
    for (tile::Term& term : position.terms) term.factor *= c->stride[i];
    position.offset = position.offset * c->stride[i] - c->padding[i];
    tile::Index tap = tile::at(0);
    if (kernel > 1) {
      over.push_back(l.build.span(tile::known(kernel)));
      tap = tile::along(over.back());
      position = position + tile::along(over.back(), c->dilation[i]);
    }
    window.push_back(tap);
    from.push_back(position);
  }

  std::optional<tile::ValueId> initial = l.build.constant(0);
  if (c->bias) initial = l.at(*c->bias, {at[1]});
  if (!initial) return std::nullopt;

  std::vector<int64_t> sizes{c->groups, c->out_per_group, c->in_per_group};
  for (int d = 0; d < c->dims; d++) sizes.push_back(l.size(c->weight, d + 2));
  if (c->is_depthwise()) {
    std::vector<int> order;  // window, then channels
    for (int d = 0; d < c->dims; d++) order.push_back(d + 3);
    order.push_back(0);
    sizes[1] = sizes[2] = 1;
    std::vector<int64_t> seen = sizes;
    for (int d : {1, 2}) order.push_back(d);
    auto weights = l.weights(c->weight, seen, order);
    if (!weights) return std::nullopt;
    from[1] = at[1];
    auto x = l.at(c->input, from);
    if (!x) return std::nullopt;
    TileIndex w = window;
    w.push_back(at[1]);
    w.push_back(tile::at(0));
    w.push_back(tile::at(0));
    tile::ValueId taps = l.build.load(*weights, w);
    if (over.empty()) return l.build.fma(*x, taps, *initial);
    return l.build.dot(*initial, *x, taps, over);
  }
  // [groups, window, channels, columns].
  std::vector<int> order{0};
  for (int d = 0; d < c->dims; d++) order.push_back(d + 3);
  order.push_back(2);
  order.push_back(1);
  auto weights = l.panels(c->weight, sizes, order, 1);
  if (!weights) return std::nullopt;
  tile::AxisId channel = l.build.span(tile::known(c->in_per_group));
  over.push_back(channel);
  tile::Index first = group;
  for (tile::Term& term : first.terms) term.factor = c->in_per_group;
  from[1] = first + tile::along(channel);
  auto x = l.at(c->input, from);
  if (!x) return std::nullopt;
  TileIndex w{group};
  w.insert(w.end(), window.begin(), window.end());
  w.push_back(tile::along(channel));
  w.push_back(column);
  return l.build.dot(*initial, *x, l.build.load(*weights, w), over);
}

}  // namespace

TILE(convolution) = {.op = "aten::convolution",
                     .lower = convolution,
                     .axes = convolution_axes,
                     .channels_last = true,
                     .zeros_around = true};

}  // namespace sconce
