// int8:: operators in the tile language, in the steps of integer.kernel.cc: exact sums of products
// of bytes, or numbers made of bytes, which become bytes again as requantize.h says.
#include <algorithm>
#include <cstring>

#include "ops/conv/convolution_tile.h"
#include "ops/integer/arguments.h"
#include "ops/linear/product_tile.h"

namespace sconce {
namespace {

using tile::Binary;
using tile::Reduce;
using tile::Unary;
using Value = std::optional<tile::ValueId>;

bool is_i8(const TileLowering& l, ValueId id) { return l.type(id).dtype == DType::i8; }

tile::ValueId number(TileLowering& l, double x) { return l.build.constant(double(float(x))); }

// What (q - zero) * scale a tensor's bytes stand for.
struct Affine {
  float scale;
  int32_t zero;
};
std::optional<Affine> affine_at(const Node& node, size_t i) {
  auto scale = number_argument(node, i), zero = number_argument(node, i + 1);
  if (!scale || !zero || !(*scale > 0 && *scale < 1e38) || !(*zero >= -128 && *zero <= 127))
    return std::nullopt;
  return Affine{float(*scale), int32_t(*zero)};
}

// scale, zero, min, max of a result at `i`.
struct Result8 {
  Affine affine;
  int32_t min = -128, max = 127;
};
// Results of products without a scale are numbers.
bool is_to_numbers(const Node& node, size_t i) {
  return std::holds_alternative<None>(node.arguments[i]);
}
std::optional<Result8> result_at(const Node& node, size_t i) {
  auto affine = affine_at(node, i);
  auto min = number_argument(node, i + 2), max = number_argument(node, i + 3);
  if (!affine || !min || !max || !(*min >= -128 && *min <= *max && *max <= 127))
    return std::nullopt;
  return Result8{*affine, int32_t(*min), int32_t(*max)};
}

// Requantize: bytes of a number in units of the result's scale.
tile::ValueId requantized(TileLowering& l, tile::ValueId x, const Result8& to) {
  tile::ValueId low = number(l, to.min - to.affine.zero);
  x = l.build.select(l.build.binary(Binary::gt, x, low), x, low);
  x = l.build.binary(Binary::min, x, number(l, to.max - to.affine.zero));
  x = l.build.unary(Unary::round, x);
  if (to.affine.zero != 0) x = l.build.add(x, number(l, to.affine.zero));
  return l.build.cast(x, DType::i32);
}

// q - zero as a number; exact.
Value centered(TileLowering& l, Value q, const Affine& of) {
  if (!q) return std::nullopt;
  tile::ValueId x = l.build.cast(*q, DType::f32);
  return of.zero == 0 ? x : l.build.sub(x, number(l, of.zero));
}

// --- sums of products

// Weights of `outputs` columns, their scales and a bias: all of them constants. What becomes of the
// sums: 8 bits, to which an integer bias belongs, or numbers.
struct Weights {
  ValueId weight, scales;
  const ValueId* bias;
  int64_t outputs;
  std::optional<Result8> to;
};
// `result`: which argument is the scale of the result.
std::optional<Weights> weights_of(const TileLowering& l, const Node& node, size_t result) {
  const ValueId *weight = tensor_argument(node, 3), *scales = tensor_argument(node, 4),
                *bias = tensor_argument(node, 5);
  if (!weight || !scales || !is_i8(l, *weight) || l.rank(*weight) < 2 ||
      !l.constant_index(*weight) || !l.constant_index(*scales) || l.rank(*scales) != 1 ||
      l.type(*scales).dtype != DType::f32)
    return std::nullopt;
  int64_t outputs = l.size(*weight, 0);
  if (l.size(*scales, 0) != 1 && l.size(*scales, 0) != outputs) return std::nullopt;
  const bool to_numbers = is_to_numbers(node, result);
  const DType wanted = to_numbers ? DType::f32 : DType::i32;
  if (bias && (!l.constant_index(*bias) || l.type(*bias).dtype != wanted || l.rank(*bias) != 1 ||
               l.size(*bias, 0) != outputs))
    return std::nullopt;
  auto to = to_numbers ? std::nullopt : result_at(node, result);
  if (!to && !to_numbers) return std::nullopt;
  return Weights{*weight, *scales, bias, outputs, to};
}

template <class T>
T element(Bytes bytes, int64_t i) {
  T x;
  memcpy(&x, bytes.data() + size_t(i) * sizeof(T), sizeof(T));
  return x;
}
template <class T>
std::vector<uint8_t> bytes_of(const std::vector<T>& list) {
  std::vector<uint8_t> bytes(list.size() * sizeof(T));
  if (!list.empty()) memcpy(bytes.data(), list.data(), bytes.size());
  return bytes;
}

// What sums of raw bytes begin with: an integer bias, less what the zero point of x adds to each
// column.
tile::ValueId initial_sum(TileLowering& l, const Weights& w, int32_t x_zero,
                          const tile::Index& column) {
  const ValueId* of_integers = w.to ? w.bias : nullptr;
  if (!of_integers && x_zero == 0) return l.build.constant(0, DType::i32);
  auto make = [&] {
    Bytes weight = l.constant_bytes(w.weight);
    Bytes bias = of_integers ? l.constant_bytes(*of_integers) : Bytes();
    int64_t each = w.outputs ? int64_t(weight.size()) / w.outputs : 0;
    std::vector<uint32_t> sums;
    for (int64_t o = 0; o < w.outputs; o++) {
      uint32_t sum = 0;
      for (int64_t k = 0; k < each; k++) sum += uint32_t(int8_t(weight[size_t(o * each + k)]));
      sums.push_back((of_integers ? element<uint32_t>(bias, o) : 0) - uint32_t(x_zero) * sum);
    }
    return bytes_of(sums);
  };
  std::string name =
      fmt::format("sums of constant {} for zero {} onto {}", *l.constant_index(w.weight), x_zero,
                  of_integers ? *l.constant_index(*of_integers) : -1);
  return l.build.load(l.made(name, DType::i32, w.outputs, make), {column});
}

// Numbers, to which one for each column may be added.
Value with_bias(TileLowering& l, const ValueId* bias, tile::ValueId y, const tile::Index& column) {
  if (!bias) return y;
  auto number_of_column = l.at(*bias, {column});
  if (!number_of_column) return std::nullopt;
  return l.build.add(y, *number_of_column);
}

// Exact sums in units of x_scale * weight_scale become bytes, or numbers.
Value finished(TileLowering& l, const Weights& w, tile::ValueId sum, const Affine& x,
               const tile::Index& column) {
  bool same = l.size(w.scales, 0) == 1;
  const float by = w.to ? w.to->affine.scale : 1;
  auto ratio = [&, scales = l.constant_bytes(w.scales)](int64_t i) {
    return x.scale * element<float>(scales, i) / by;
  };
  auto make = [&] {
    std::vector<float> ratios;
    for (int64_t o = 0; o < w.outputs; o++) ratios.push_back(ratio(o));
    return bytes_of(ratios);
  };
  std::string name = fmt::format("scales of constant {} times {:a} by {:a}",
                                 *l.constant_index(w.scales), x.scale, by);
  tile::ValueId scale = same ? number(l, double(ratio(0)))
                             : l.build.load(l.made(name, DType::f32, w.outputs, make), {column});
  tile::ValueId y = l.build.mul(l.build.cast(sum, DType::f32), scale);
  return w.to ? requantized(l, y, *w.to) : with_bias(l, w.bias, y, column);
}

// x, x_scale, x_zero, weight, weight_scales, bias, scale, zero, min, max
Value linear(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId* x = tensor_argument(node, 0);
  auto from = affine_at(node, 1);
  auto w = weights_of(l, node, 6);
  if (!x || !is_i8(l, *x) || !from || !w || l.rank(w->weight) != 2 || l.rank(*x) < 1 ||
      l.size(w->weight, 1) < 1)
    return std::nullopt;
  tile::AxisId k = l.build.span(tile::known(l.size(w->weight, 1)));
  TileIndex read(at.begin(), at.end() - 1);
  read.push_back(tile::along(k));
  auto rows = l.at(*x, read);
  auto panels = l.panels(w->weight, l.sizes(w->weight), {1, 0}, 0);
  if (!rows || !panels) return std::nullopt;
  tile::ValueId sum = l.build.dot(initial_sum(l, *w, from->zero, at.back()), *rows,
                                  l.build.load(*panels, {tile::along(k), at.back()}), {k});
  return finished(l, *w, sum, *from, at.back());
}

// a, a_scale, a_zero, b, b_scale, b_zero, scale, zero, min, max
Value matmul(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId *a = tensor_argument(node, 0), *b = tensor_argument(node, 3);
  auto of_a = affine_at(node, 1), of_b = affine_at(node, 4);
  const int rank = int(at.size());
  if (!a || !b || !is_i8(l, *a) || !is_i8(l, *b) || !of_a || !of_b ||
      !are_batches_of_products(l, *a, *b, rank))
    return std::nullopt;
  tile::AxisId k = l.span(l.shape(*a, rank - 1));
  TileIndex of_rows = at, of_columns = at;
  of_rows[size_t(rank) - 1] = of_columns[size_t(rank) - 2] = tile::along(k);
  auto less_zero = [&](Value bytes, const Affine& of) {
    if (!bytes || of.zero == 0) return bytes;
    return Value(l.build.sub(*bytes, l.build.constant(of.zero, DType::i32)));
  };
  auto rows = less_zero(l.at(*a, of_rows), *of_a), columns = less_zero(l.at(*b, of_columns), *of_b);
  if (!rows || !columns) return std::nullopt;
  tile::ValueId sum = l.build.dot(l.build.constant(0, DType::i32), *rows, *columns, {k});
  tile::ValueId products = l.build.cast(sum, DType::f32);
  const float scale = of_a->scale * of_b->scale;
  if (is_to_numbers(node, 6)) return l.build.mul(products, number(l, double(scale)));
  auto to = result_at(node, 6);
  if (!to) return std::nullopt;
  return requantized(l, l.build.mul(products, number(l, double(scale / to->affine.scale))), *to);
}

// --- linears of numbers, whose rows become bytes by their own ranges

// Rows of numbers as bytes: q, as i32, stands for (q - zero) * scale. Both are told by the row, in
// the steps of OwnQuantization and Requantize.
struct OwnRows {
  tile::ValueId q, scale, zero;
};
OwnRows own_rows(TileLowering& l, tile::ValueId x, const std::vector<tile::AxisId>& over) {
  auto choose = [&](Binary compare, tile::ValueId a, tile::ValueId b, tile::ValueId yes,
                    tile::ValueId no) {
    return l.build.select(l.build.binary(compare, a, b), yes, no);
  };
  auto limit = [&](tile::ValueId value, tile::ValueId low, tile::ValueId high) {
    return l.build.binary(Binary::min, choose(Binary::gt, value, low, value, low), high);
  };
  tile::ValueId none = number(l, 0), low = number(l, -128), high = number(l, 127);
  tile::ValueId least = l.build.binary(Binary::min, l.build.reduce(Reduce::min, x, over), none),
                most = l.build.binary(Binary::max, l.build.reduce(Reduce::max, x, over), none);
  tile::ValueId scale = l.build.div(l.build.sub(most, least), number(l, 255)),
                smallest = number(l, 0x1p-23);
  scale = choose(Binary::gt, scale, smallest, scale, smallest);
  tile::ValueId below = l.build.div(least, scale), above = l.build.div(most, scale);
  tile::ValueId error = l.build.add(l.build.add(low, below), l.build.add(high, above));
  tile::ValueId zero =
      choose(Binary::gt, error, none, l.build.sub(low, below), l.build.sub(high, above));
  zero = l.build.unary(Unary::round, limit(zero, low, high));
  tile::ValueId q = l.build.mul(x, l.build.div(number(l, 1), scale));
  q = limit(l.build.add(l.build.unary(Unary::round, q), zero), low, high);
  return {l.build.cast(q, DType::i32), scale, zero};
}

// Numbers [..., inputs] by weights [outputs, inputs].
struct NumbersByWeights {
  ValueId x, weight, scales;
  const ValueId* bias;
  int64_t outputs, inputs;
  int64_t groups;  // of inputs that have a scale of their own; 0: one scale for all of them
};
std::optional<NumbersByWeights> numbers_by_weights(const TileLowering& l, const Node& node) {
  const ValueId *x = tensor_argument(node, 0), *weight = tensor_argument(node, 1),
                *scales = tensor_argument(node, 2), *bias = tensor_argument(node, 3);
  if (!x || !weight || !scales || l.type(*x).dtype != DType::f32 || l.rank(*x) < 1 ||
      !is_i8(l, *weight) || l.rank(*weight) != 2 || !l.constant_index(*weight) ||
      !l.constant_index(*scales) || l.type(*scales).dtype != DType::f32)
    return std::nullopt;
  NumbersByWeights w{*x, *weight, *scales, bias, l.size(*weight, 0), l.size(*weight, 1), 0};
  if (w.inputs < 1 || l.size(*x, l.rank(*x) - 1) != w.inputs) return std::nullopt;
  if (l.rank(*scales) == 2) {
    w.groups = l.size(*scales, 1);
    if (l.size(*scales, 0) != w.outputs || w.groups < 1 || w.inputs % w.groups) return std::nullopt;
  } else if (l.rank(*scales) != 1 || (l.size(*scales, 0) != 1 && l.size(*scales, 0) != w.outputs)) {
    return std::nullopt;
  }
  if (bias &&
      (l.type(*bias).dtype != DType::f32 || l.rank(*bias) != 1 || l.size(*bias, 0) != w.outputs))
    return std::nullopt;
  return w;
}

bool fits_nibbles(Bytes weights) {
  return std::all_of(weights.begin(), weights.end(),
                     [](uint8_t q) { return int8_t(q) >= -8 && int8_t(q) <= 7; });
}

// By column, the sum of its weights times their scales.
int32_t sums_of_scaled(TileLowering& l, const NumbersByWeights& w) {
  auto make = [&] {
    Bytes weight = l.constant_bytes(w.weight), scales = l.constant_bytes(w.scales);
    std::vector<float> sums;
    int64_t group = w.inputs / w.groups;
    for (int64_t o = 0; o < w.outputs; o++) {
      double sum = 0;
      for (int64_t g = 0; g < w.groups; g++) {
        int64_t part = 0;
        for (int64_t k = g * group; k < (g + 1) * group; k++)
          part += int8_t(weight[size_t(o * w.inputs + k)]);
        sum += double(part) * double(element<float>(scales, o * w.groups + g));
      }
      sums.push_back(float(sum));
    }
    return bytes_of(sums);
  };
  std::string name = fmt::format("sums of constant {} times constant {}",
                                 *l.constant_index(w.weight), *l.constant_index(w.scales));
  return l.made(name, DType::f32, w.outputs, make);
}

// x, weight, weight_scales, bias, weight_bits. One scale a column: exact sums of (q - zero) * w.
// Groups: those of q * w by group, each times its scale, added in order; what the zero point adds
// is taken out at the end.
Value dynamic_linear(TileLowering& l, const Node& node, const TileIndex& at) {
  auto w = numbers_by_weights(l, node);
  if (!w) return std::nullopt;
  TileIndex read(at.begin(), at.end() - 1);
  const tile::Index& column = at.back();
  Value y;
  if (w->groups == 0) {
    tile::AxisId k = l.build.span(tile::known(w->inputs));
    read.push_back(tile::along(k));
    auto x = l.at(w->x, read);
    auto panels = l.panels(w->weight, l.sizes(w->weight), {1, 0}, 0);
    if (!x || !panels) return std::nullopt;
    OwnRows rows = own_rows(l, *x, {k});
    tile::ValueId centered = l.build.sub(rows.q, l.build.cast(rows.zero, DType::i32));
    tile::ValueId sum = l.build.dot(l.build.constant(0, DType::i32), centered,
                                    l.build.load(*panels, {tile::along(k), column}), {k});
    tile::ValueId scale = l.size(w->scales, 0) == 1
                              ? number(l, double(element<float>(l.constant_bytes(w->scales), 0)))
                              : *l.at(w->scales, {column});
    y = l.build.mul(l.build.mul(l.build.cast(sum, DType::f32), rows.scale), scale);
  } else {
    int64_t group = w->inputs / w->groups;
    if (group % tile::kNibbles || group > 4096 || !fits_nibbles(l.constant_bytes(w->weight)))
      return std::nullopt;
    tile::AxisId g = l.build.span(tile::known(w->groups)), k = l.build.span(tile::known(group));
    tile::Index step = tile::along(g, group) + tile::along(k);
    read.push_back(step);
    auto x = l.at(w->x, read);
    auto nibbles = l.nibbles(w->weight);
    auto scales = l.panels(w->scales, l.sizes(w->scales), {1, 0}, 0);
    if (!x || !nibbles || !scales) return std::nullopt;
    OwnRows rows = own_rows(l, *x, {g, k});
    tile::ValueId part = l.build.dot(l.build.constant(0, DType::i32), rows.q,
                                     l.build.load(*nibbles, {step, column}), {k});
    tile::ValueId sum = l.build.dot(number(l, 0), l.build.cast(part, DType::f32),
                                    l.build.load(*scales, {tile::along(g), column}), {g});
    tile::ValueId moved = l.build.load(sums_of_scaled(l, *w), {column});
    sum = l.build.fma(l.build.unary(Unary::neg, rows.zero), moved, sum);
    y = l.build.mul(rows.scale, sum);
  }
  return with_bias(l, w->bias, *y, column);
}

// x, weight, weight_scales, bias, weight_bits: sums of groups, each times its scale, added in
// order.
Value weight_linear(TileLowering& l, const Node& node, const TileIndex& at) {
  auto w = numbers_by_weights(l, node);
  auto bits = number_argument(node, 4);
  if (!w || !bits || (w->groups == 0 && l.size(w->scales, 0) != w->outputs)) return std::nullopt;
  int64_t groups = std::max<int64_t>(w->groups, 1), group = w->inputs / groups;
  bool halves = *bits == 4 && fits_nibbles(l.constant_bytes(w->weight));
  if (groups > 1 && group % (halves ? tile::kNibbles : tile::kQuad)) return std::nullopt;
  tile::AxisId g = l.build.span(tile::known(groups)), k = l.build.span(tile::known(group));
  tile::Index step = tile::along(g, group) + tile::along(k);
  const tile::Index& column = at.back();
  TileIndex read(at.begin(), at.end() - 1);
  read.push_back(step);
  auto x = l.at(w->x, read);
  auto weights = halves ? l.nibbles(w->weight) : l.panels(w->weight, l.sizes(w->weight), {1, 0}, 0);
  auto scales = l.panels(w->scales, {w->outputs, groups}, {1, 0}, 0);
  if (!x || !weights || !scales) return std::nullopt;
  tile::ValueId q = l.build.cast(l.build.load(*weights, {step, column}), DType::f32);
  tile::ValueId part = l.build.dot(number(l, 0), *x, q, {k});
  tile::ValueId sum =
      l.build.dot(number(l, 0), part, l.build.load(*scales, {tile::along(g), column}), {g});
  return with_bias(l, w->bias, sum, column);
}

std::optional<Convolution> read(const TileLowering& l, const Node& node) {
  return read_convolution(l, node, kIntegerConvolution, DType::i8, DType::i8);
}

template <std::optional<Convolution> (*read)(const TileLowering& l, const Node& node)>
std::optional<TileIndex> convolution_axes(TileLowering& l, const Node& node) {
  auto c = read(l, node);
  if (!c) return std::nullopt;
  return convolution_loops(l, *c, l.shape(node.results[0]));
}

// ..., stride, padding, dilation, transposed, output_padding, groups, scale, zero, min, max
Value convolution(TileLowering& l, const Node& node, const TileIndex& at) {
  auto c = read(l, node);
  auto from = affine_at(node, 1);
  auto w = weights_of(l, node, 12);
  if (!c || !from || !w || at.size() != size_t(c->dims) + 2) return std::nullopt;
  auto reads = convolution_reads(l, *c, at);
  if (!reads || reads->over.empty()) return std::nullopt;
  // The zero point lies around the image; initial_sum() takes it out again.
  auto x = l.at(c->input, reads->from, from->zero);
  if (!x) return std::nullopt;
  std::optional<int32_t> weights;
  TileIndex index;
  if (c->is_depthwise()) {
    weights = depthwise_weights(l, *c);
    index = depthwise_index(*reads, at);
  } else {
    // Quads of steps are filled up for each run: few channels make one with the window's width.
    int64_t width = l.size(c->weight, c->dims + 1);
    bool joined = c->groups == 1 && c->in_per_group < 16 && width > 1 && c->dilation.back() == 1;
    weights = convolution_panels(l, *c, joined ? 2 : 1);
    index = reads->window;
    if (joined) {
      size_t last = index.size() - 2;
      for (tile::Term& term : index[last - 1].terms) term.factor = c->in_per_group;
      index[last] = index[last - 1] + index[last];
      index.erase(index.begin() + std::ptrdiff_t(last) - 1);
    }
  }
  if (!weights) return std::nullopt;
  tile::ValueId sum = l.build.dot(initial_sum(l, *w, from->zero, at[1]), *x,
                                  l.build.load(*weights, index), reads->over);
  return finished(l, *w, sum, *from, at[1]);
}

std::optional<Convolution> read_of_numbers(const TileLowering& l, const Node& node) {
  auto c = read_convolution(l, node, kConvolutionOfNumbers, DType::f32, DType::i8);
  // By depth weights are few, and faster as numbers.
  if (!c || c->is_depthwise()) return std::nullopt;
  return c;
}

// x, weight, weight_scales, bias, stride, ...: sums of x * q, times the scale of the column.
Value weight_convolution(TileLowering& l, const Node& node, const TileIndex& at) {
  auto c = read_of_numbers(l, node);
  const ValueId* scales = tensor_argument(node, 2);
  if (!c || !scales || at.size() != size_t(c->dims) + 2 || !l.constant_index(c->weight) ||
      !l.constant_index(*scales) || l.type(*scales).dtype != DType::f32 || l.rank(*scales) != 1)
    return std::nullopt;
  auto reads = convolution_reads(l, *c, at);
  auto weights = convolution_weights(l, *c);
  if (!reads || reads->over.empty() || !weights) return std::nullopt;
  auto x = l.at(c->input, reads->from);
  if (!x) return std::nullopt;
  tile::ValueId q = l.build.cast(l.build.load(*weights, reads->window), DType::f32);
  tile::ValueId sum = l.build.dot(number(l, 0), *x, q, reads->over);
  tile::ValueId scale = l.size(*scales, 0) == 1
                            ? number(l, double(element<float>(l.constant_bytes(*scales), 0)))
                            : *l.at(*scales, {at[1]});
  tile::ValueId y = l.build.mul(sum, scale);
  return with_bias(l, c->bias, y, at[1]);
}

// --- numbers made of bytes

// a, a_scale, a_zero, b, b_scale, b_zero, scale, zero, min, max
template <char op>
Value binary(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId *a = tensor_argument(node, 0), *b = tensor_argument(node, 3);
  auto of_a = affine_at(node, 1), of_b = affine_at(node, 4);
  auto to = result_at(node, 6);
  if (!a || !b || !is_i8(l, *a) || !is_i8(l, *b) || !of_a || !of_b || !to) return std::nullopt;
  auto x = centered(l, l.broadcast(*a, at), *of_a), y = centered(l, l.broadcast(*b, at), *of_b);
  if (!x || !y) return std::nullopt;
  float out = to->affine.scale;
  if (op == '*')  // of integers below 2^16: exact
    return requantized(
        l, l.build.mul(l.build.mul(*x, *y), number(l, double(of_a->scale * of_b->scale / out))),
        *to);
  tile::ValueId p = l.build.mul(*x, number(l, double(of_a->scale / out))),
                q = l.build.mul(*y, number(l, double(of_b->scale / out)));
  return requantized(l, op == '+' ? l.build.add(p, q) : l.build.sub(p, q), *to);
}

// The dimensions of a mean; all of them when none are given.
std::optional<std::vector<bool>> mean_dims(const TileLowering& l, const Node& node) {
  const ValueId* x = tensor_argument(node, 0);
  if (!x) return std::nullopt;
  int rank = l.rank(*x);
  std::vector<bool> over(size_t(rank), std::holds_alternative<None>(node.arguments[3]));
  if (!over.empty() && over[0]) return over;
  auto dims = ints_argument(node, 3);
  if (!dims) return std::nullopt;
  for (int64_t d : *dims) {
    if (d < -rank || d >= rank) return std::nullopt;
    over[size_t(d < 0 ? d + rank : d)] = true;
  }
  if (dims->empty()) over.assign(size_t(rank), true);
  return over;
}

// x, x_scale, x_zero, dim, keepdim, scale, zero, min, max
Value mean(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId* x = tensor_argument(node, 0);
  auto from = affine_at(node, 1);
  auto to = result_at(node, 5);
  auto keep = number_argument(node, 4);
  auto over = mean_dims(l, node);
  if (!x || !is_i8(l, *x) || !from || !to || !keep || !over) return std::nullopt;
  TileIndex index;
  std::vector<tile::AxisId> axes;
  int64_t count = 1;
  size_t next = 0;
  for (size_t d = 0; d < over->size(); d++) {
    if (!(*over)[d]) {
      if (next >= at.size()) return std::nullopt;
      index.push_back(at[next++]);
      continue;
    }
    if (*keep != 0) next++;
    int64_t size = l.size(*x, int(d));
    count *= size;
    if (count < 1 || count >= 1 << 16) return std::nullopt;  // sums of numbers stay exact
    axes.push_back(l.build.span(tile::known(size)));
    index.push_back(tile::along(axes.back()));
  }
  if (axes.empty()) return std::nullopt;
  auto loaded = l.at(*x, index);
  if (!loaded) return std::nullopt;
  tile::ValueId sum = l.build.reduce(Reduce::sum, l.build.cast(*loaded, DType::f32), axes);
  if (from->zero != 0) sum = l.build.sub(sum, number(l, double(int64_t(from->zero) * count)));
  tile::ValueId part = l.build.div(sum, number(l, double(count)));
  float ratio = from->scale / to->affine.scale;
  return requantized(l, l.build.mul(part, number(l, double(ratio))), *to);
}

// x, x_scale, x_zero, low, high, scale, zero
Value clamp(TileLowering& l, const Node& node, const TileIndex& at) {
  const ValueId* x = tensor_argument(node, 0);
  auto from = affine_at(node, 1), to = affine_at(node, 5);
  if (!x || !is_i8(l, *x) || !from || !to) return std::nullopt;
  auto value = centered(l, l.at(*x, at), *from);
  if (!value) return std::nullopt;
  tile::ValueId y = l.build.mul(*value, number(l, double(from->scale)));
  auto limit = [&](size_t i, Binary compare) {
    if (std::holds_alternative<None>(node.arguments[i])) return true;
    auto to_number = number_argument(node, i);
    if (!to_number) return false;
    tile::ValueId bound = number(l, *to_number);
    y = l.build.select(l.build.binary(compare, y, bound), bound, y);
    return true;
  };
  if (!limit(3, Binary::lt) || !limit(4, Binary::gt)) return std::nullopt;
  return requantized(l, l.build.mul(y, number(l, double(1 / to->scale))), {*to});
}

}  // namespace

TILE(int8_linear) = {"int8::linear", linear, rows_and_columns};
TILE(int8_dynamic_linear) = {"int8::dynamic_linear", dynamic_linear, rows_and_columns};
TILE(int8_weight_linear) = {"int8::weight_linear", weight_linear, rows_and_columns};
TILE(int8_convolution) = {.op = "int8::convolution",
                          .lower = convolution,
                          .axes = convolution_axes<read>,
                          .channels_last = true,
                          .around = [](const Node& node) { return number_argument(node, 2); }};
TILE(int8_weight_convolution) = {.op = "int8::weight_convolution",
                                 .lower = weight_convolution,
                                 .axes = convolution_axes<read_of_numbers>,
                                 .channels_last = true,
                                 .around = [](const Node&) -> std::optional<double> { return 0; }};
TILE(int8_add) = {"int8::add", binary<'+'>};
TILE(int8_sub) = {"int8::sub", binary<'-'>};
TILE(int8_mul) = {"int8::mul", binary<'*'>};
TILE(int8_matmul) = {"int8::matmul", matmul, batched_axes};
TILE(int8_mean) = {"int8::mean", mean, rows_and_columns};
TILE(int8_clamp) = {"int8::clamp", clamp};

}  // namespace sconce
