// Pooling in the tile language.
#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "ops/tile.h"

namespace sconce {
namespace {

using tile::AxisId;
using tile::Reduce;
using Value = std::optional<tile::ValueId>;

std::optional<TileIndex> pooled_axes(TileLowering& l, const Node& node) {
  const ValueId* x = tensor_argument(node, 0);
  if (!x) return std::nullopt;
  TileIndex at;
  const auto& sizes = l.shape(node.results[0]);
  for (size_t d = 0; d < sizes.size(); d++)
    at.push_back(d == 0 && sizes.size() > 3 ? l.each(sizes[d]) : l.parallel(sizes[d]));
  return at;
}

bool is_f32(const TileLowering& l, const Node& node) {
  return l.type(*tensor_argument(node, 0)).dtype == DType::f32;
}

std::optional<std::vector<int64_t>> per_dim(const Node& node, size_t argument, int dims,
                                            const std::vector<int64_t>& otherwise) {
  auto list = ints_argument(node, argument);
  if (!list) return std::nullopt;
  if (list->empty()) return otherwise;
  if (list->size() == 1) list->resize(size_t(dims), list->front());
  if (list->size() != size_t(dims)) return std::nullopt;
  return list;
}

// The window of one output: indices into the input, and the axes of the window.
struct Window {
  TileIndex from;
  std::vector<AxisId> over;
};
Window window(TileLowering& l, const TileIndex& at, int dims, const std::vector<SymInt>& kernel,
              const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
              const std::vector<int64_t>& dilation) {
  Window w{at, {}};
  for (int d = 0; d < dims; d++) {
    size_t i = size_t(d), place = at.size() - size_t(dims) + i;
    tile::Index& index = w.from[place];
    for (tile::Term& term : index.terms) term.factor *= stride[i];
    index.offset = index.offset * stride[i] - padding[i];
    if (kernel[i] == SymInt(1)) continue;
    w.over.push_back(l.span(kernel[i]));
    index = index + tile::along(w.over.back(), dilation[i]);
  }
  return w;
}

// Without the taps that are behind the end of the input wherever the window is: models pool all of
// an image by a window larger than any.
std::vector<SymInt> taps_within(const TileLowering& l, const Node& node, int dims,
                                const std::vector<int64_t>& kernel,
                                const std::vector<int64_t>& padding,
                                const std::vector<int64_t>& dilation) {
  const ValueId input = *tensor_argument(node, 0);
  std::vector<SymInt> taps;
  for (size_t d = 0; d < size_t(dims); d++) {
    const SymInt size = l.shape(input, l.rank(input) - dims + int(d));
    taps.push_back(kernel[d]);
    if (!size.is_known() || size.value < 1) continue;
    const int64_t reach = size.value + padding[d];  // of the first window
    taps.back() = std::min(kernel[d], (reach + dilation[d] - 1) / dilation[d]);
  }
  return taps;
}

template <int dims>
Value max_pool(TileLowering& l, const Node& node, const TileIndex& at) {
  auto kernel = per_dim(node, 1, dims, {});
  if (!kernel || kernel->size() != dims) return std::nullopt;
  auto stride = per_dim(node, 2, dims, *kernel);
  auto padding = per_dim(node, 3, dims, {}), dilation = per_dim(node, 4, dims, {});
  if (!stride || !padding || !dilation) return std::nullopt;
  // The largest of bytes is a byte.
  bool bytes = l.type(*tensor_argument(node, 0)).dtype == DType::i8;
  if (!bytes && !is_f32(l, node)) return std::nullopt;
  Window w = window(l, at, dims, taps_within(l, node, dims, *kernel, *padding, *dilation), *stride,
                    *padding, *dilation);
  Value x = l.at(*tensor_argument(node, 0), w.from, bytes ? -128 : -INFINITY);
  if (!x || w.over.empty()) return x;
  return l.build.reduce(Reduce::max, *x, w.over);
}

// How many elements a window has along a dimension of `size`, from `start` on: those inside, with
// padding those within it too.
tile::ValueId count_of(TileLowering& l, const tile::Index& start, int64_t kernel, SymInt size,
                       int64_t padding, bool include_padding) {
  tile::Builder& b = l.build;
  auto number = [&](int64_t n) { return b.constant(double(n), DType::i64); };
  tile::ValueId begin = l.position(start), end = b.add(begin, number(kernel));
  tile::ValueId limit = l.number_of(size, DType::i64);
  if (include_padding) limit = b.add(limit, number(padding));
  end = b.binary(tile::Binary::min, end, limit);
  if (!include_padding) begin = b.binary(tile::Binary::max, begin, number(0));
  return b.binary(tile::Binary::max, b.sub(end, begin), number(0));
}

// Sums divided by the size of the window.
template <int dims>
Value avg_pool(TileLowering& l, const Node& node, const TileIndex& at) {
  if (!is_f32(l, node)) return std::nullopt;
  auto kernel = per_dim(node, 1, dims, {});
  if (!kernel || kernel->size() != dims) return std::nullopt;
  auto stride = per_dim(node, 2, dims, *kernel), padding = per_dim(node, 3, dims, {});
  auto ceil_mode = number_argument(node, 4), include_padding = number_argument(node, 5);
  if (!stride || !padding || !ceil_mode || !include_padding) return std::nullopt;
  bool padded = false;
  double count = 1;
  for (int d = 0; d < dims; d++) {
    padded |= (*padding)[size_t(d)] != 0;
    count *= double((*kernel)[size_t(d)]);
  }
  bool varies = *ceil_mode != 0 || (padded && *include_padding == 0);
  if (node.arguments.size() > 6 && !std::holds_alternative<None>(node.arguments[6])) {
    auto divisor = number_argument(node, 6);
    if (!divisor || *divisor == 0) return std::nullopt;
    count = *divisor;
    varies = false;
  }
  const std::vector<int64_t> apart(dims, 1);
  Window w = window(l, at, dims, taps_within(l, node, dims, *kernel, *padding, apart), *stride,
                    *padding, apart);
  Value x = l.at(*tensor_argument(node, 0), w.from);
  if (!x) return std::nullopt;
  tile::ValueId sum = w.over.empty() ? *x : l.build.reduce(Reduce::sum, *x, w.over);
  if (!varies) return l.build.mul(sum, l.build.constant(1 / count));
  TileIndex starts =
      window(l, at, dims, std::vector<SymInt>(dims, SymInt(1)), *stride, *padding, apart).from;
  tile::ValueId elements = tile::kNone;
  for (int d = 0; d < dims; d++) {
    size_t i = size_t(d), place = at.size() - size_t(dims) + i;
    tile::ValueId along =
        count_of(l, starts[place], (*kernel)[i], l.shape(*tensor_argument(node, 0), int(place)),
                 (*padding)[i], *include_padding != 0);
    elements = d == 0 ? along : l.build.mul(elements, along);
  }
  // Without an element, as a last window that only the ceiling gives may be, it is 0.
  tile::ValueId none = l.build.binary(tile::Binary::eq, elements, l.build.constant(0, DType::i64));
  return l.build.select(none, l.build.constant(0),
                        l.build.div(sum, l.build.cast(elements, DType::f32)));
}

// Windows of sizes that differ: where each begins and ends are constants.
template <int dims>
Value uneven_avg_pool(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId x = *tensor_argument(node, 0);
  tile::Builder& b = l.build;
  TileIndex from = at;
  std::vector<AxisId> over;
  tile::ValueId inside = tile::kNone, elements = tile::kNone;
  for (int d = 0; d < dims; d++) {
    size_t place = at.size() - size_t(dims) + size_t(d);
    int64_t in = l.size(x, int(place)), out = l.size(node.results[0], int(place));
    if (in == 0 || out == 0 || l.is_refused()) return std::nullopt;
    auto bound = [=](int64_t i, bool end) {
      return end ? ((i + 1) * in + out - 1) / out : i * in / out;
    };
    int64_t most = 0;
    for (int64_t i = 0; i < out; i++) most = std::max(most, bound(i, true) - bound(i, false));
    auto table = [&](bool end) {
      int32_t buffer =
          l.made(fmt::format("{} of {} windows of {}", end ? "ends" : "starts", out, in),
                 DType::i64, out, [&] {
                   std::vector<uint8_t> bytes(size_t(out) * 8);
                   for (int64_t i = 0; i < out; i++) {
                     int64_t value = bound(i, end);
                     memcpy(bytes.data() + i * 8, &value, 8);
                   }
                   return bytes;
                 });
      return b.load(buffer, {at[place]});
    };
    tile::ValueId start = table(false), end = table(true);
    over.push_back(b.span(tile::known(most)));
    from[place] = {{{over.back(), 1}}, 0, start};
    tile::ValueId is_in = b.binary(tile::Binary::lt, b.add(start, b.iota(over.back())), end);
    tile::ValueId along = b.sub(end, start);
    inside = d == 0 ? is_in : b.binary(tile::Binary::bit_and, inside, is_in);
    elements = d == 0 ? along : b.mul(elements, along);
  }
  Value loaded = l.at(x, from);
  if (!loaded) return std::nullopt;
  tile::ValueId sum = b.reduce(Reduce::sum, b.select(inside, *loaded, b.constant(0)), over);
  return b.div(sum, b.cast(elements, DType::f32));
}

// Where every output has a window of the same size; else see above.
template <int dims>
Value adaptive_avg_pool(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId x = *tensor_argument(node, 0);
  if (!is_f32(l, node)) return std::nullopt;
  std::vector<SymInt> kernel;
  std::vector<int64_t> stride;
  for (int d = 0; d < dims; d++) {
    int place = l.rank(x) - dims + d;
    SymInt in = l.shape(x, place), out = l.shape(node.results[0], place);
    if (out == SymInt(1)) {  // one window, of all there is
      kernel.push_back(in);
      stride.push_back(1);
      continue;
    }
    int64_t from = l.number(in), to = l.number(out);
    if (to == 0 || l.is_refused()) return std::nullopt;
    if (from % to) return uneven_avg_pool<dims>(l, node, at);
    kernel.push_back(from / to);
    stride.push_back(from / to);
  }
  Window w = window(l, at, dims, kernel, stride, std::vector<int64_t>(dims, 0),
                    std::vector<int64_t>(dims, 1));
  Value loaded = l.at(x, w.from);
  if (!loaded) return std::nullopt;
  tile::ValueId sum = w.over.empty() ? *loaded : l.build.reduce(Reduce::sum, *loaded, w.over);
  return l.build.mul(sum, l.share_of(w.over));
}

}  // namespace

TILE(max_pool1d) = {
    .op = "aten::max_pool1d", .lower = max_pool<1>, .axes = pooled_axes, .channels_last = true};
TILE(max_pool2d) = {
    .op = "aten::max_pool2d", .lower = max_pool<2>, .axes = pooled_axes, .channels_last = true};
TILE(max_pool2d_with_indices) = {.op = "aten::max_pool2d_with_indices",
                                 .lower = max_pool<2>,
                                 .axes = pooled_axes,
                                 .channels_last = true};
TILE(max_pool3d_with_indices) = {.op = "aten::max_pool3d_with_indices",
                                 .lower = max_pool<3>,
                                 .axes = pooled_axes,
                                 .channels_last = true};
TILE(avg_pool1d) = {
    .op = "aten::avg_pool1d", .lower = avg_pool<1>, .axes = pooled_axes, .channels_last = true};
TILE(avg_pool2d) = {
    .op = "aten::avg_pool2d", .lower = avg_pool<2>, .axes = pooled_axes, .channels_last = true};
TILE(avg_pool3d) = {
    .op = "aten::avg_pool3d", .lower = avg_pool<3>, .axes = pooled_axes, .channels_last = true};
TILE(adaptive_avg_pool1d) = {.op = "aten::adaptive_avg_pool1d",
                             .lower = adaptive_avg_pool<1>,
                             .axes = pooled_axes,
                             .channels_last = true};
TILE(_adaptive_avg_pool2d) = {.op = "aten::_adaptive_avg_pool2d",
                              .lower = adaptive_avg_pool<2>,
                              .axes = pooled_axes,
                              .channels_last = true};
TILE(_adaptive_avg_pool3d) = {.op = "aten::_adaptive_avg_pool3d",
                              .lower = adaptive_avg_pool<3>,
                              .axes = pooled_axes,
                              .channels_last = true};

}  // namespace sconce
