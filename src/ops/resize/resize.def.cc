// Upsampling. `vec` forms of operators other than nearest2d and bilinear2d become plain forms; for
// targets with only these two, indices and weights of each axis are constants: nearest picks inputs
// (index_select), linear and cubic multiply by a matrix per axis.
#include <cstring>

#include "ops/linear/decompose.h"
#include "ops/resize/resize.h"

namespace sconce {
namespace {

std::optional<double> real_at(const Node& node, size_t i) {
  const Argument& argument = node.arguments[i];
  if (auto* d = std::get_if<double>(&argument)) return *d;
  if (auto* n = std::get_if<int64_t>(&argument)) return double(*n);
  return std::nullopt;
}

// floor(size * scale): exact for symbolic sizes when the scale is a fraction of small numbers.
std::optional<SymInt> scaled_size(Build& build, SymInt size, double scale) {
  if (size.is_known()) {
    double result = std::floor(double(size.value) * scale);
    if (!(result >= 1 && result <= INT32_MAX)) return std::nullopt;
    return SymInt(int64_t(result));
  }
  SymbolTable& symbols = build.program().symbols;
  for (int64_t divisor = 1; divisor <= 64; divisor++) {
    double numerator = scale * double(divisor);
    if (numerator != std::floor(numerator) || numerator < 1 || numerator > 1e6) continue;
    return symbols.floor_divide(symbols.multiply(size, int64_t(numerator)), divisor);
  }
  return std::nullopt;
}

// vec(input, output_size, [align_corners], scale_factors) as plain(input, output_size,
// [align_corners], scale...).
template <Text target, bool corners>
Results plain(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  size_t spatial = size_t(build.rank(x)) - 2, scales_at = corners ? 3 : 2;
  std::vector<Argument> arguments{node.arguments[0], node.arguments[1]};
  if (corners) arguments.push_back(node.arguments[2]);
  std::vector<double> scales;
  if (auto* list = std::get_if<std::vector<double>>(&node.arguments[scales_at])) scales = *list;
  else if (auto known = known_list(node, int(scales_at))) scales.assign(known->begin(), known->end());
  if (!scales.empty() && scales.size() != spatial) return std::nullopt;
  if (is_none(node, 1)) {
    if (scales.empty()) return std::nullopt;
    std::vector<SymInt> sizes;
    for (size_t i = 0; i < spatial; i++) {
      auto size = scaled_size(build, build.size(x, int(i) + 2), scales[i]);
      if (!size) return std::nullopt;
      sizes.push_back(*size);
    }
    arguments[1] = build.ints(sizes);
  }
  for (size_t i = 0; i < spatial; i++)
    arguments.push_back(scales.empty() ? Argument(None{}) : Argument(scales[i]));
  return build.call(target.text, std::move(arguments));
}

// What a plain node says of one axis; nullopt when a size is symbolic.
template <class T>
std::optional<ResizeAxis<T>> axis_of(Build& build, const Node& node, Filter filter, bool antialias,
                                     int spatial, int i) {
  auto out = known_list(node, 1);
  SymInt in = build.size(value(node, 0), 2 + i);
  if (!out || int(out->size()) != spatial || !in.is_known()) return std::nullopt;
  bool corners = filter >= Filter::linear;
  ResizeAxis<T> axis;
  axis.in = in.value;
  axis.out = (*out)[size_t(i)];
  axis.filter = filter;
  axis.antialias = antialias;
  axis.align_corners = corners && number(node, 2).value_or(0) != 0;
  double scale = real_at(node, size_t(i) + (corners ? 3 : 2)).value_or(0);
  axis.step = resize_step<T>(axis.in, axis.out, axis.align_corners, scale);
  return axis;
}

template <Filter filter, int spatial>
Results pick_nearest(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  for (int i = 0; i < spatial; i++) {
    auto axis = axis_of<float>(build, node, filter, false, spatial, i);
    if (!axis) return std::nullopt;
    bool same = axis->in == axis->out;
    std::vector<int64_t> picks;
    for (int64_t o = 0; o < axis->out; o++) {
      picks.push_back(axis->nearest(o));
      same &= picks.back() == o;
    }
    if (same) continue;
    std::vector<uint8_t> bytes(picks.size() * 8);
    memcpy(bytes.data(), picks.data(), bytes.size());
    ValueId indices = build.constant({DType::i64, {axis->out}, {}}, std::move(bytes), "nearest");
    x = build.call1("aten::index_select", {Build::v(x), int64_t(2 + i), Build::v(indices)});
  }
  if (x == value(node, 0)) return build.call("aten::clone", {Build::v(x)});
  return one(x);
}

// Constant [out, in] of the axis's weights.
template <class T>
ValueId weight_matrix(Build& build, const ResizeAxis<T>& axis, DType dtype, bool turned) {
  std::vector<uint8_t> bytes(size_t(axis.in * axis.out) * dtype_bytes(dtype), 0);
  std::vector<T> weights(size_t(axis.taps_max()) + 4);
  for (int64_t o = 0; o < axis.out; o++) {
    int64_t first, count = axis.weights(o, &first, weights.data());
    for (int64_t k = 0; k < count; k++) {
      int64_t at = turned ? (first + k) * axis.out + o : o * axis.in + first + k;
      if (dtype == DType::f64) {
        double weight = double(weights[size_t(k)]);
        memcpy(bytes.data() + size_t(at) * 8, &weight, 8);
      } else {
        float weight = float(weights[size_t(k)]);
        memcpy(bytes.data() + size_t(at) * 4, &weight, 4);
      }
    }
  }
  std::vector<SymInt> sizes{turned ? axis.in : axis.out, turned ? axis.out : axis.in};
  return build.constant({dtype, sizes, {}}, std::move(bytes), "interpolation");
}

// Every axis by a matrix product; 16-bit floats are computed in f32.
template <class T>
Results multiply_axes(Build& build, const Node& node, Filter filter, bool antialias, int spatial) {
  ValueId x = value(node, 0);
  DType dtype = build.dtype(x), compute = sizeof(T) == 8 ? DType::f64 : DType::f32;
  std::vector<ResizeAxis<T>> axes;
  for (int i = 0; i < spatial; i++) {
    auto axis = axis_of<T>(build, node, filter, antialias, spatial, i);
    if (!axis || axis->out < 1) return std::nullopt;
    axes.push_back(*axis);
  }
  std::vector<SymInt> sizes = sizes_of(build, x);
  SymbolTable& symbols = build.program().symbols;
  x = build.cast(x, compute);
  for (int i = spatial - 1; i >= 0; i--) {
    const auto& axis = axes[size_t(i)];
    if (axis.in == axis.out && filter == Filter::linear && !antialias) continue;
    size_t dim = size_t(i) + 2;
    SymInt before = size_product(build, sizes, 0, dim);
    SymInt after = size_product(build, sizes, dim + 1, sizes.size());
    if (after == SymInt(1)) {  // [before, in] . [in, out]
      ValueId rows = build.view(x, {before, axis.in});
      x = build.call1("aten::mm", {Build::v(rows), Build::v(weight_matrix(build, axis, compute, true))});
    } else {  // [out, in] . [before, in, after], as one batch per leading element
      ValueId stack = build.view(x, {before, axis.in, after});
      ValueId matrix = weight_matrix(build, axis, compute, false);
      matrix = build.call1("aten::expand",
                           {Build::v(build.view(matrix, {1, axis.out, axis.in})),
                            build.ints({before, SymInt(axis.out), SymInt(axis.in)})});
      x = build.call1("aten::bmm", {Build::v(matrix), Build::v(stack)});
    }
    sizes[dim] = axis.out;
    x = build.view(x, sizes);
  }
  (void)symbols;
  if (x == value(node, 0)) return build.call("aten::clone", {Build::v(x)});
  return one(build.cast(x, dtype));
}

template <Filter filter, bool antialias, int spatial>
Results interpolate(Build& build, const Node& node) {
  DType dtype = build.dtype(value(node, 0));
  if (!is_floating(dtype)) return std::nullopt;
  return dtype == DType::f64 ? multiply_axes<double>(build, node, filter, antialias, spatial)
                             : multiply_axes<float>(build, node, filter, antialias, spatial);
}

// plain 2d as vec, which stock has. Without scales the output size decides; with them vec only
// gives the same when they lead to the same size.
template <Text target, Results (*otherwise)(Build&, const Node&), bool corners>
Results vec(Build& build, const Node& node) {
  size_t scales_at = corners ? 3 : 2;
  ValueId x = value(node, 0);
  bool align = corners && number(node, 2).value_or(0) != 0;
  std::vector<double> scales;
  for (size_t i = scales_at; i < scales_at + 2; i++)
    if (auto scale = real_at(node, i)) scales.push_back(*scale);
  std::vector<Argument> arguments{node.arguments[0], node.arguments[1]};
  if (corners) arguments.push_back(node.arguments[2]);
  if (scales.empty() || align) {
    arguments.push_back(None{});
    return build.call(target.text, std::move(arguments));
  }
  auto out = known_list(node, 1);
  if (scales.size() == 2 && out && out->size() == 2) {
    bool same = true;
    for (int i = 0; i < 2; i++) {
      SymInt in = build.size(x, 2 + i);
      same &= in.is_known() && std::floor(double(in.value) * scales[size_t(i)]) == double((*out)[size_t(i)]);
    }
    if (same) {
      arguments[1] = None{};
      arguments.push_back(scales);
      return build.call(target.text, std::move(arguments));
    }
  }
  return otherwise(build, node);
}

}  // namespace

OP(upsample_nearest1d) = {.schema = "aten::upsample_nearest1d(Tensor self, SymInt[1] output_size, float? scales=None) -> Tensor",
                          .out = "aten::upsample_nearest1d.out", .decompose = pick_nearest<Filter::nearest, 1>};
OP(upsample_nearest1d_vec) = {.schema = "aten::upsample_nearest1d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor",
                              .decompose = plain<"aten::upsample_nearest1d", false>};
OP(upsample_nearest2d) = {.schema = "aten::upsample_nearest2d(Tensor self, SymInt[2] output_size, float? scales_h=None, float? scales_w=None) -> Tensor",
                          .out = "aten::upsample_nearest2d.out",
                          .decompose = vec<"aten::upsample_nearest2d.vec", pick_nearest<Filter::nearest, 2>, false>};
OP(upsample_nearest2d_vec) = {.schema = "aten::upsample_nearest2d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor",
                              .out = "aten::upsample_nearest2d.vec_out"};
OP(upsample_nearest3d) = {.schema = "aten::upsample_nearest3d(Tensor self, SymInt[3] output_size, float? scales_d=None, float? scales_h=None, float? scales_w=None) -> Tensor",
                          .out = "aten::upsample_nearest3d.out", .decompose = pick_nearest<Filter::nearest, 3>};
OP(upsample_nearest3d_vec) = {.schema = "aten::upsample_nearest3d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor",
                              .decompose = plain<"aten::upsample_nearest3d", false>};
OP(upsample_nearest_exact1d) = {.schema = "aten::_upsample_nearest_exact1d(Tensor self, SymInt[1] output_size, float? scales=None) -> Tensor",
                                .out = "aten::_upsample_nearest_exact1d.out", .decompose = pick_nearest<Filter::nearest_exact, 1>};
OP(upsample_nearest_exact1d_vec) = {.schema = "aten::_upsample_nearest_exact1d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor",
                                    .decompose = plain<"aten::_upsample_nearest_exact1d", false>};
OP(upsample_nearest_exact2d) = {.schema = "aten::_upsample_nearest_exact2d(Tensor self, SymInt[2] output_size, float? scales_h=None, float? scales_w=None) -> Tensor",
                                .out = "aten::_upsample_nearest_exact2d.out", .decompose = pick_nearest<Filter::nearest_exact, 2>};
OP(upsample_nearest_exact2d_vec) = {.schema = "aten::_upsample_nearest_exact2d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor",
                                    .decompose = plain<"aten::_upsample_nearest_exact2d", false>};
OP(upsample_nearest_exact3d) = {.schema = "aten::_upsample_nearest_exact3d(Tensor self, SymInt[3] output_size, float? scales_d=None, float? scales_h=None, float? scales_w=None) -> Tensor",
                                .out = "aten::_upsample_nearest_exact3d.out", .decompose = pick_nearest<Filter::nearest_exact, 3>};
OP(upsample_nearest_exact3d_vec) = {.schema = "aten::_upsample_nearest_exact3d.vec(Tensor input, SymInt[]? output_size, float[]? scale_factors) -> Tensor",
                                    .decompose = plain<"aten::_upsample_nearest_exact3d", false>};
OP(upsample_linear1d) = {.schema = "aten::upsample_linear1d(Tensor self, SymInt[1] output_size, bool align_corners, float? scales=None) -> Tensor",
                         .out = "aten::upsample_linear1d.out", .decompose = interpolate<Filter::linear, false, 1>};
OP(upsample_linear1d_vec) = {.schema = "aten::upsample_linear1d.vec(Tensor input, SymInt[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor",
                             .decompose = plain<"aten::upsample_linear1d", true>};
OP(upsample_bilinear2d) = {.schema = "aten::upsample_bilinear2d(Tensor self, SymInt[2] output_size, bool align_corners, float? scales_h=None, float? scales_w=None) -> Tensor",
                           .out = "aten::upsample_bilinear2d.out",
                           .decompose = vec<"aten::upsample_bilinear2d.vec", interpolate<Filter::linear, false, 2>, true>};
OP(upsample_bilinear2d_vec) = {.schema = "aten::upsample_bilinear2d.vec(Tensor input, SymInt[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor",
                               .out = "aten::upsample_bilinear2d.vec_out"};
OP(upsample_bilinear2d_aa) = {.schema = "aten::_upsample_bilinear2d_aa(Tensor self, SymInt[2] output_size, bool align_corners, float? scales_h=None, float? scales_w=None) -> Tensor",
                              .out = "aten::_upsample_bilinear2d_aa.out", .decompose = interpolate<Filter::linear, true, 2>};
OP(upsample_bilinear2d_aa_vec) = {.schema = "aten::_upsample_bilinear2d_aa.vec(Tensor input, SymInt[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor",
                                  .decompose = plain<"aten::_upsample_bilinear2d_aa", true>};
OP(upsample_trilinear3d) = {.schema = "aten::upsample_trilinear3d(Tensor self, SymInt[3] output_size, bool align_corners, float? scales_d=None, float? scales_h=None, float? scales_w=None) -> Tensor",
                            .out = "aten::upsample_trilinear3d.out", .decompose = interpolate<Filter::linear, false, 3>};
OP(upsample_trilinear3d_vec) = {.schema = "aten::upsample_trilinear3d.vec(Tensor input, SymInt[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor",
                                .decompose = plain<"aten::upsample_trilinear3d", true>};
OP(upsample_bicubic2d) = {.schema = "aten::upsample_bicubic2d(Tensor self, SymInt[2] output_size, bool align_corners, float? scales_h=None, float? scales_w=None) -> Tensor",
                          .out = "aten::upsample_bicubic2d.out", .decompose = interpolate<Filter::cubic, false, 2>};
OP(upsample_bicubic2d_vec) = {.schema = "aten::upsample_bicubic2d.vec(Tensor input, SymInt[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor",
                              .decompose = plain<"aten::upsample_bicubic2d", true>};
OP(upsample_bicubic2d_aa) = {.schema = "aten::_upsample_bicubic2d_aa(Tensor self, SymInt[2] output_size, bool align_corners, float? scales_h=None, float? scales_w=None) -> Tensor",
                             .out = "aten::_upsample_bicubic2d_aa.out", .decompose = interpolate<Filter::cubic, true, 2>};
OP(upsample_bicubic2d_aa_vec) = {.schema = "aten::_upsample_bicubic2d_aa.vec(Tensor input, SymInt[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor",
                                 .decompose = plain<"aten::_upsample_bicubic2d_aa", true>};

}  // namespace sconce
