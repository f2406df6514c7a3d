// Resizing in the tile language: positions are computed by axis as the reference kernels compute
// them (resize.h), and elements there are gathered. Where each element of the
// input stands for a whole number of outputs, positions follow from it, and nothing is gathered.
#include "ops/resize/resize.h"

#include <cstring>

#include "ops/tile.h"

namespace sconce {
namespace {

using tile::Binary;
using tile::Unary;

// How the arguments of one operator are read, as in upsample.kernel.cc: `vec` forms have one list
// of scales, others a scale for each dimension.
struct Form {
  int spatial;
  Filter filter;
  bool vec = false;
  constexpr bool has_corners() const { return filter >= Filter::linear; }
};

// One dimension of a call.
struct Resized {
  SymInt in, out;
  Filter filter;
  bool align_corners;
  double scale;  // outputs for each input, as asked for; 0: the sizes say it
};

std::optional<std::vector<Resized>> read(const TileLowering& l, const Node& node,
                                         const Form& form) {
  const ValueId* x = tensor_argument(node, 0);
  ValueId y = node.results[0];
  if (!x || l.type(*x).dtype != DType::f32 || l.type(y).dtype != DType::f32 ||
      l.rank(*x) != form.spatial + 2 || l.rank(y) != form.spatial + 2)
    return std::nullopt;
  size_t scales = form.has_corners() ? 3 : 2;
  bool align_corners = form.has_corners() && number_argument(node, 2).value_or(0) != 0;
  std::vector<Resized> dims;
  for (int d = 0; d < form.spatial; d++) {
    double scale = 0;
    if (!form.vec) {
      scale = number_argument(node, scales + size_t(d)).value_or(0);
    } else if (auto* list = std::get_if<std::vector<double>>(&node.arguments[scales])) {
      if (list->size() != size_t(form.spatial)) return std::nullopt;
      scale = (*list)[size_t(d)];
    } else if (auto whole = ints_argument(node, scales)) {
      if (whole->size() != size_t(form.spatial)) return std::nullopt;
      scale = double((*whole)[size_t(d)]);
    }
    Resized dim{l.shape(*x, d + 2), l.shape(y, d + 2), form.filter, align_corners, scale};
    // What is empty has no positions.
    for (SymInt size : {dim.in, dim.out})
      if (size == SymInt(0)) return std::nullopt;
    dims.push_back(dim);
  }
  return dims;
}

ResizeAxis<float> axis_of(const Resized& dim) {
  ResizeAxis<float> axis;
  axis.in = dim.in.value;
  axis.out = dim.out.value;
  axis.filter = dim.filter;
  axis.align_corners = dim.align_corners;
  axis.step = resize_step<float>(axis.in, axis.out, axis.align_corners, dim.scale);
  return axis;
}

// Outputs times * q + r, for all q: what they read lies at q + offset and behind it.
struct Repeated {
  int64_t offset = 0;
  std::vector<std::vector<float>> weights;  // by tap, then by q; none for nearest
};
std::optional<Repeated> repeated(const ResizeAxis<float>& axis, int64_t times, int64_t r) {
  Repeated result;
  if (axis.filter < Filter::linear) {
    for (int64_t q = 0; q < axis.in; q++)
      if (axis.nearest(times * q + r) != q) return std::nullopt;
    return result;
  }
  int64_t taps = axis.taps_max();
  result.offset = (2 * r + 1 < times ? -1 : 0) - (axis.filter == Filter::cubic ? 1 : 0);
  result.weights.assign(size_t(taps), std::vector<float>(size_t(axis.in), 0));
  for (int64_t q = 0; q < axis.in; q++) {
    float weights[4];
    int64_t first, count = axis.weights(times * q + r, &first, weights);
    for (int64_t k = 0; k < count; k++) {
      int64_t tap = first + k - q - result.offset;
      if (weights[k] == 0 && (tap < 0 || tap >= taps)) continue;
      if (tap < 0 || tap >= taps) return std::nullopt;
      result.weights[size_t(tap)][size_t(q)] = weights[k];
    }
  }
  return result;
}

// How many outputs in a row each element of the input stands for, where that is all there is to
// their positions; 1 elsewhere.
int64_t repeats(const TileLowering& l, const Resized& dim) {
  // So that the tables of a kernel's cells are not too many.
  const int64_t most = dim.filter == Filter::cubic ? 8 : 16;
  if (dim.in.is_known() && dim.out.is_known()) {
    int64_t times = dim.out.value / dim.in.value;
    if (dim.align_corners || times < 2 || times > most || times * dim.in.value != dim.out.value)
      return 1;
    for (int64_t r = 0; r < times; r++)
      if (!repeated(axis_of(dim), times, r)) return 1;
    return times;
  }
  // Of any size: a power of two, so that no rounding makes another choice.
  if (dim.filter >= Filter::linear) return 1;
  for (int64_t times : {2, 4, 8})
    if (l.symbols.multiply(dim.in, times) == dim.out &&
        (!(dim.scale > 0) || dim.scale == double(times)))
      return times;
  return 1;
}

template <const Form& form>
std::vector<TileCell> cell(const TileLowering& l, const Node& node) {
  std::vector<TileCell> cell(size_t(form.spatial) + 2);
  if (auto dims = read(l, node, form))
    for (size_t d = 0; d < dims->size(); d++) cell[d + 2] = {repeats(l, (*dims)[d])};
  return cell;
}

template <const Form& form>
std::optional<TileIndex> axes(TileLowering& l, const Node& node) {
  auto dims = read(l, node, form);
  if (!dims) return std::nullopt;
  TileIndex at{l.each(l.shape(node.results[0], 0)), l.parallel(l.shape(node.results[0], 1))};
  for (const Resized& dim : *dims) {
    int64_t times = repeats(l, dim);
    at.push_back(l.parallel(times > 1 ? dim.in : dim.out));
  }
  return at;
}

// Inputs per output step, as resize_step() computes it.
tile::ValueId step_of(TileLowering& l, const Resized& dim) {
  auto& b = l.build;
  if (dim.in.is_known() && dim.out.is_known())
    return b.constant(
        double(resize_step<float>(dim.in.value, dim.out.value, dim.align_corners, dim.scale)));
  if (!dim.align_corners && dim.scale > 0) return b.constant(double(float(1.0 / dim.scale)));
  tile::ValueId in = l.number_of(dim.in, DType::f32), out = l.number_of(dim.out, DType::f32),
                one = b.constant(1);
  if (!dim.align_corners) return b.div(in, out);
  return b.div(b.sub(in, one), b.binary(Binary::max, b.sub(out, one), one));
}

// Where an output reads: indices into the input, with weights when there are several.
struct Tap {
  tile::Index index;
  tile::ValueId weight = tile::kNone;
};

tile::Index index_of(TileLowering& l, tile::ValueId whole_number) {
  return {{}, 0, l.build.cast(whole_number, DType::i64)};
}

std::vector<Tap> cubic_taps(TileLowering& l, tile::ValueId index, tile::ValueId t,
                            tile::ValueId last) {
  auto& b = l.build;
  auto number = [&](double x) { return b.constant(double(float(x))); };
  constexpr double a = -0.75;
  auto inner = [&](tile::ValueId x) {
    tile::ValueId y = b.sub(b.mul(number(a + 2), x), number(a + 3));
    return b.add(b.mul(b.mul(y, x), x), number(1));
  };
  auto outer = [&](tile::ValueId x) {
    tile::ValueId y = b.sub(b.mul(number(a), x), number(5 * a));
    return b.sub(b.mul(b.add(b.mul(y, x), number(8 * a)), x), number(4 * a));
  };
  tile::ValueId weights[] = {outer(b.add(t, number(1))), inner(t), inner(b.sub(number(1), t)),
                             outer(b.sub(number(2), t))};
  std::vector<Tap> taps;
  for (int j = 0; j < 4; j++) {
    tile::ValueId at = b.binary(Binary::max, b.add(index, number(j - 1)), number(0));
    taps.push_back({index_of(l, b.binary(Binary::min, at, last)), weights[j]});
  }
  return taps;
}

std::vector<Tap> taps_of(TileLowering& l, const Resized& dim, const tile::Index& at) {
  auto& b = l.build;
  if (dim.filter == Filter::linear && dim.in == dim.out) return {{at}};
  tile::ValueId output = b.constant(double(at.offset));
  if (!at.terms.empty()) output = b.cast(b.iota(at.terms[0].axis), DType::f32);
  tile::ValueId step = step_of(l, dim), half = b.constant(0.5);
  tile::ValueId last = b.sub(l.number_of(dim.in, DType::f32), b.constant(1)), zero = b.constant(0);
  tile::ValueId position = dim.filter == Filter::nearest || dim.align_corners
                               ? b.mul(step, output)
                               : b.mul(step, b.add(output, half));
  if (dim.filter < Filter::linear) {
    tile::ValueId below = b.binary(Binary::min, b.unary(Unary::floor, position), last);
    return {{index_of(l, below)}};
  }
  if (!dim.align_corners) position = b.sub(position, half);
  if (dim.filter == Filter::linear) position = b.binary(Binary::max, position, zero);
  tile::ValueId below = b.binary(Binary::min, b.unary(Unary::floor, position), last);
  tile::ValueId fraction =
      b.binary(Binary::min, b.binary(Binary::max, b.sub(position, below), zero), b.constant(1));
  if (dim.filter == Filter::cubic) return cubic_taps(l, below, fraction, last);
  tile::ValueId above = b.binary(Binary::min, b.add(below, b.constant(1)), last);
  return {{index_of(l, below), b.sub(b.constant(1), fraction)}, {index_of(l, above), fraction}};
}

// The same for an element of a cell. The weights of the first and the last ones differ.
std::vector<Tap> taps_of_cell(TileLowering& l, const Resized& dim, int64_t times,
                              const tile::Index& at) {
  tile::Index index = at;
  for (tile::Term& term : index.terms) term.factor /= times;
  int64_t r = at.offset;
  index.offset = 0;
  if (dim.filter < Filter::linear) return {{index}};
  Repeated result = *repeated(axis_of(dim), times, r);
  std::vector<Tap> taps;
  for (size_t tap = 0; tap < result.weights.size(); tap++) {
    const std::vector<float>& weights = result.weights[tap];
    tile::Index from = index;
    from.offset = result.offset + int64_t(tap);
    std::string name = fmt::format("filter {} from {} to {} by {}: weights of tap {} of {}",
                                   int(dim.filter), dim.in.value, dim.out.value, dim.scale, tap, r);
    int32_t table = l.made(name, DType::f32, dim.in.value, [&] {
      std::vector<uint8_t> bytes(weights.size() * sizeof(float));
      memcpy(bytes.data(), weights.data(), bytes.size());
      return bytes;
    });
    taps.push_back({from, l.build.load(table, {index})});
  }
  return taps;
}

// The sum over the taps of the dimensions from d on, the last one innermost.
std::optional<tile::ValueId> weighted(TileLowering& l, ValueId x,
                                      const std::vector<std::vector<Tap>>& taps, TileIndex& from,
                                      size_t d) {
  if (d == taps.size()) return l.at(x, from);
  tile::ValueId sum = tile::kNone;
  for (const Tap& tap : taps[d]) {
    from[d + 2] = tap.index;
    auto part = weighted(l, x, taps, from, d + 1);
    if (!part) return std::nullopt;
    if (tap.weight == tile::kNone) return part;
    sum = sum == tile::kNone ? l.build.mul(*part, tap.weight) : l.build.fma(*part, tap.weight, sum);
  }
  return sum;
}

template <const Form& form>
std::optional<tile::ValueId> resized(TileLowering& l, const Node& node, const TileIndex& at) {
  auto dims = read(l, node, form);
  if (!dims || at.size() != dims->size() + 2) return std::nullopt;
  TileIndex from = at;
  std::vector<std::vector<Tap>> taps;
  for (size_t d = 0; d < dims->size(); d++) {
    int64_t times = repeats(l, (*dims)[d]);
    taps.push_back(times > 1 ? taps_of_cell(l, (*dims)[d], times, at[d + 2])
                             : taps_of(l, (*dims)[d], at[d + 2]));
  }
  return weighted(l, *tensor_argument(node, 0), taps, from, 0);
}

constexpr Form kNearest1d{1, Filter::nearest}, kNearest2d{2, Filter::nearest},
    kNearest3d{3, Filter::nearest}, kNearest2dVec{2, Filter::nearest, true},
    kExact1d{1, Filter::nearest_exact}, kExact2d{2, Filter::nearest_exact},
    kExact3d{3, Filter::nearest_exact}, kLinear1d{1, Filter::linear},
    kBilinear2d{2, Filter::linear}, kBilinear2dVec{2, Filter::linear, true},
    kTrilinear3d{3, Filter::linear}, kBicubic2d{2, Filter::cubic};

template <const Form& form>
constexpr TileRule rule_of(const char* op) {
  return {.op = op, .lower = resized<form>, .axes = axes<form>, .cell = cell<form>};
}

}  // namespace

TILE(upsample_nearest1d) = rule_of<kNearest1d>("aten::upsample_nearest1d");
TILE(upsample_nearest2d) = rule_of<kNearest2d>("aten::upsample_nearest2d");
TILE(upsample_nearest3d) = rule_of<kNearest3d>("aten::upsample_nearest3d");
TILE(upsample_nearest2d_vec) = rule_of<kNearest2dVec>("aten::upsample_nearest2d.vec");
TILE(upsample_nearest_exact1d) = rule_of<kExact1d>("aten::_upsample_nearest_exact1d");
TILE(upsample_nearest_exact2d) = rule_of<kExact2d>("aten::_upsample_nearest_exact2d");
TILE(upsample_nearest_exact3d) = rule_of<kExact3d>("aten::_upsample_nearest_exact3d");
TILE(upsample_linear1d) = rule_of<kLinear1d>("aten::upsample_linear1d");
TILE(upsample_bilinear2d) = rule_of<kBilinear2d>("aten::upsample_bilinear2d");
TILE(upsample_bilinear2d_vec) = rule_of<kBilinear2dVec>("aten::upsample_bilinear2d.vec");
TILE(upsample_trilinear3d) = rule_of<kTrilinear3d>("aten::upsample_trilinear3d");
TILE(upsample_bicubic2d) = rule_of<kBicubic2d>("aten::upsample_bicubic2d");

}  // namespace sconce
