// Normalisations and softmax in the tile language: the row stays in the tile from first pass to
// last.
#include <cmath>

#include "ops/tile.h"

namespace sconce {
namespace {

using tile::AxisId;
using tile::Binary;
using tile::Reduce;
using tile::Unary;
using Value = std::optional<tile::ValueId>;

bool is_f32(const TileLowering& l, const Node& node) {
  const ValueId* x = tensor_argument(node, 0);
  return x && l.type(*x).dtype == DType::f32 && l.type(node.results[0]).dtype == DType::f32;
}

// Axes of which the last `whole` dimensions are reduced over.
TileIndex whole_rows(TileLowering& l, const std::vector<SymInt>& sizes, size_t whole) {
  TileIndex at;
  for (size_t d = 0; d < sizes.size(); d++)
    at.push_back(d + whole < sizes.size() ? l.parallel(sizes[d]) : tile::along(l.span(sizes[d])));
  return at;
}
std::vector<AxisId> axes_of(const TileIndex& at, size_t first) {
  std::vector<AxisId> axes;
  for (size_t d = first; d < at.size(); d++) axes.push_back(at[d].terms[0].axis);
  return axes;
}

// (x - mean) / sqrt(variance + eps) over the axes; the variance is that of the population.
tile::ValueId standardized(TileLowering& l, tile::ValueId x, const std::vector<AxisId>& over,
                           double eps) {
  tile::Builder& b = l.build;
  tile::ValueId share = l.share_of(over);
  tile::ValueId mean = b.mul(b.reduce(Reduce::sum, x, over, true), share);
  tile::ValueId centred = b.sub(x, mean);
  tile::ValueId variance = b.mul(b.reduce(Reduce::sum, b.mul(centred, centred), over, true), share);
  return b.mul(centred, b.unary(Unary::rsqrt, b.add(variance, b.constant(eps))));
}

// x * weight + bias, either of which may be absent.
Value scale_and_shift(TileLowering& l, tile::ValueId x, const Node& node, size_t weight,
                      size_t bias, const TileIndex& at) {
  const ValueId *w = tensor_argument(node, weight), *b = tensor_argument(node, bias);
  Value scale, shift;
  if (w && !(scale = l.broadcast(*w, at))) return std::nullopt;
  if (b && !(shift = l.broadcast(*b, at))) return std::nullopt;
  if (scale && shift) return l.build.fma(x, *scale, *shift);
  if (scale) return l.build.mul(x, *scale);
  return shift ? l.build.add(x, *shift) : x;
}

std::optional<TileIndex> normalized_axes(TileLowering& l, const Node& node) {
  auto shape = ints_argument(node, 1);
  if (!shape || shape->empty() || !is_f32(l, node)) return std::nullopt;
  return whole_rows(l, l.shape(node.results[0]), shape->size());
}

Value layer_norm(TileLowering& l, const Node& node, const TileIndex& at) {
  auto shape = ints_argument(node, 1);
  auto eps = number_argument(node, 4);
  Value x = l.at(*tensor_argument(node, 0), at);
  if (!shape || !eps || !x) return std::nullopt;
  tile::ValueId y = standardized(l, *x, axes_of(at, at.size() - shape->size()), *eps);
  return scale_and_shift(l, y, node, 2, 3, at);
}

Value rms_norm(TileLowering& l, const Node& node, const TileIndex& at) {
  auto shape = ints_argument(node, 1);
  Value x = l.at(*tensor_argument(node, 0), at);
  if (!shape || !x) return std::nullopt;
  double eps = number_argument(node, 3).value_or(0x1p-23);
  tile::Builder& b = l.build;
  std::vector<AxisId> over = axes_of(at, at.size() - shape->size());
  tile::ValueId sum = b.reduce(Reduce::sum, b.mul(*x, *x), over, true);
  tile::ValueId mean = b.mul(sum, l.share_of(over));
  tile::ValueId y = b.mul(*x, b.unary(Unary::rsqrt, b.add(mean, b.constant(eps))));
  const ValueId* weight = tensor_argument(node, 2);
  if (!weight) return y;
  Value scale = l.broadcast(*weight, at);
  if (!scale) return std::nullopt;
  return b.mul(y, *scale);
}

// [B, G * C, ...]: each group of channels with all that is behind them.
std::optional<TileIndex> group_axes(TileLowering& l, const Node& node) {
  auto groups = number_argument(node, 1);
  const auto& sizes = l.shape(node.results[0]);
  if (!groups || !is_f32(l, node) || *groups < 1 || sizes.size() < 2 ||
      l.number(sizes[1]) % int64_t(*groups))
    return std::nullopt;
  int64_t channels = l.number(sizes[1]) / int64_t(*groups);
  TileIndex at{l.each(sizes[0])};
  tile::Index group = l.each(int64_t(*groups));
  for (tile::Term& term : group.terms) term.factor = channels;
  if (channels > 1) group = group + tile::along(l.build.span(tile::known(channels)));
  at.push_back(group);
  for (size_t d = 2; d < sizes.size(); d++) at.push_back(tile::along(l.span(sizes[d])));
  return at;
}

Value group_norm(TileLowering& l, const Node& node, const TileIndex& at) {
  auto groups = number_argument(node, 1), eps = number_argument(node, 4);
  Value x = l.at(*tensor_argument(node, 0), at);
  if (!groups || !eps || !x) return std::nullopt;
  // In the order of memory, so that the 16 lanes run along it.
  std::vector<AxisId> over = axes_of(at, 2);
  if (l.number(l.shape(node.results[0], 1)) > int64_t(*groups)) {  // several channels in a group
    AxisId channel = at[1].terms.back().axis;
    if (l.is_innermost(*tensor_argument(node, 0), 1))
      over.push_back(channel);
    else
      over.insert(over.begin(), channel);
  }
  tile::ValueId y = standardized(l, *x, over, *eps);
  const ValueId *weight = tensor_argument(node, 2), *bias = tensor_argument(node, 3);
  Value scale, shift;
  if (weight && !(scale = l.at(*weight, {at[1]}))) return std::nullopt;
  if (bias && !(shift = l.at(*bias, {at[1]}))) return std::nullopt;
  if (scale && shift) return l.build.fma(y, *scale, *shift);
  if (scale) return l.build.mul(y, *scale);
  return shift ? l.build.add(y, *shift) : y;
}

// With running statistics: pointwise per channel.
template <int training, int eps_position>
Value batch_norm(TileLowering& l, const Node& node, const TileIndex& at) {
  if (training >= 0 && number_argument(node, training) != 0) return std::nullopt;
  auto eps = number_argument(node, eps_position);
  const ValueId *mean = tensor_argument(node, 3), *variance = tensor_argument(node, 4);
  if (!eps || !mean || !variance || !is_f32(l, node) || at.size() < 2) return std::nullopt;
  TileIndex channel{at[1]};
  Value x = l.at(*tensor_argument(node, 0), at), m = l.at(*mean, channel),
        v = l.at(*variance, channel);
  if (!x || !m || !v) return std::nullopt;
  tile::Builder& b = l.build;
  tile::ValueId scale = b.unary(Unary::rsqrt, b.add(*v, b.constant(*eps)));
  const ValueId *weight = tensor_argument(node, 1), *bias = tensor_argument(node, 2);
  if (weight) {
    Value w = l.at(*weight, channel);
    if (!w) return std::nullopt;
    scale = b.mul(scale, *w);
  }
  tile::ValueId centred = b.sub(*x, *m);
  if (!bias) return b.mul(centred, scale);
  Value shift = l.at(*bias, channel);
  if (!shift) return std::nullopt;
  return b.fma(centred, scale, *shift);
}

std::optional<int> softmax_dim(const TileLowering& l, const Node& node) {
  auto dim = number_argument(node, 1);
  int rank = l.rank(node.results[0]);
  if (!dim || !is_f32(l, node) || rank == 0) return std::nullopt;
  return int(*dim) < 0 ? int(*dim) + rank : int(*dim);
}

std::optional<TileIndex> softmax_axes(TileLowering& l, const Node& node) {
  auto dim = softmax_dim(l, node);
  if (!dim) return std::nullopt;
  const auto& sizes = l.shape(node.results[0]);
  TileIndex at;
  for (size_t d = 0; d < sizes.size(); d++)
    at.push_back(int(d) == *dim ? tile::along(l.span(sizes[d])) : l.parallel(sizes[d]));
  return at;
}

template <bool logarithm>
Value softmax(TileLowering& l, const Node& node, const TileIndex& at) {
  auto dim = softmax_dim(l, node);
  Value x = l.at(*tensor_argument(node, 0), at);
  if (!dim || !x) return std::nullopt;
  std::vector<AxisId> over{at[size_t(*dim)].terms[0].axis};
  bool lanes = l.is_innermost(*tensor_argument(node, 0), *dim);
  tile::Builder& b = l.build;
  tile::ValueId shifted = b.sub(*x, b.reduce(Reduce::max, *x, over));
  tile::ValueId power = b.unary(Unary::exp, shifted);
  tile::ValueId sum = b.reduce(Reduce::sum, power, over, lanes);
  if (logarithm) return b.sub(shifted, b.unary(Unary::log, sum));
  return b.mul(power, b.unary(Unary::recip, sum));
}

}  // namespace

TILE(layer_norm) = {
    .op = "aten::layer_norm", .lower = layer_norm, .axes = normalized_axes, .in_step = true};
TILE(native_layer_norm) = {
    .op = "aten::native_layer_norm", .lower = layer_norm, .axes = normalized_axes, .in_step = true};
TILE(rms_norm) = {
    .op = "aten::rms_norm", .lower = rms_norm, .axes = normalized_axes, .in_step = true};
TILE(group_norm) = {"aten::group_norm", group_norm, group_axes};
TILE(batch_norm) = {"aten::batch_norm", batch_norm<5, 7>};
TILE(batch_norm_no_training) = {"aten::_native_batch_norm_legit_no_training", batch_norm<-1, 6>};
TILE(softmax) = {
    .op = "aten::_softmax", .lower = softmax<false>, .axes = softmax_axes, .in_step = true};
TILE(softmax_int) = {
    .op = "aten::softmax.int", .lower = softmax<false>, .axes = softmax_axes, .in_step = true};
TILE(log_softmax) = {
    .op = "aten::_log_softmax", .lower = softmax<true>, .axes = softmax_axes, .in_step = true};
TILE(log_softmax_int) = {
    .op = "aten::log_softmax.int", .lower = softmax<true>, .axes = softmax_axes, .in_step = true};

}  // namespace sconce
