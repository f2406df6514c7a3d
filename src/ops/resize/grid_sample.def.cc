// Sampling at grid positions, and grids of affine maps.
#include <cstring>

#include "ops/linear/decompose.h"
#include "ops/pointwise/expression.h"

namespace sconce {
namespace {

Results by_rank(Build& build, const Node& node) {
  return build.call(build.rank(value(node, 0)) == 5 ? "aten::grid_sampler_3d" : "aten::grid_sampler_2d",
                    node.arguments);
}

// --- volumes: every corner of a position's cell is gathered and weighed --------------------------------

// Where a coordinate of [-1, 1] lies along `size` elements, brought inside as the padding says
// (1: border, 2: reflection).
Expression position_of(Expression coordinate, int64_t size, int64_t padding, bool align) {
  double n = double(size);
  Expression at = align ? (coordinate + 1.0) * ((n - 1) / 2) : ((coordinate + 1.0) * n - 1.0) * 0.5;
  if (padding == 0) return at;
  if (padding == 2) {
    double low = align ? 0 : -0.5, span = align ? n - 1 : n;
    if (span == 0) return at * 0.0;
    at = abs(at - low);
    Expression extra = at.call("aten::fmod.Scalar", {span});
    Expression flips = floor(at / span);
    Expression even = flips.call("aten::fmod.Scalar", {2.0}) == 0.0;
    at = where(even, extra + low, (span + low) - extra);
  }
  return clamp(at, 0.0, n - 1);
}

// One of the elements along an axis that a position takes part in.
struct AxisTap { Expression index, weight; };  // i64, 0 when outside; weight 0 when outside

AxisTap axis_tap(Expression at, Expression weight, int64_t size) {
  Expression inside = (at >= 0.0) && (at <= double(size - 1));
  return {where(inside, at, 0.0).cast(DType::i64), where(inside, weight, 0.0)};
}

// input [n, c, d, h, w], grid [n, d, h, w, 3], interpolation_mode (0: linear, 1: nearest),
// padding_mode, align_corners.
Results grid_sampler_3d_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0), grid = value(node, 1);
  auto mode = number(node, 2), padding = number(node, 3), align = number(node, 4);
  if (!mode || !padding || !align || *mode > 1 || build.rank(x) != 5) return std::nullopt;
  int64_t size[3], stride[3];  // of x, y, z
  for (int i = 0; i < 3; i++) {
    if (!build.size(x, 4 - i).is_known()) return std::nullopt;
    size[i] = build.size(x, 4 - i).value;
    stride[i] = i == 0 ? 1 : stride[i - 1] * size[i - 1];
  }
  DType dtype = build.dtype(x), wide = dtype == DType::f64 ? DType::f64 : DType::f32;
  std::vector<SymInt> sizes = sizes_of(build, grid);
  SymInt batch = build.size(x, 0), channels = build.size(x, 1);
  SymInt positions = size_product(build, sizes, 1, 4);
  std::vector<std::vector<AxisTap>> taps(3);
  for (int i = 0; i < 3; i++) {
    ValueId coordinate = build.call1("aten::select.int", {Build::v(grid), int64_t{-1}, int64_t{i}});
    Expression at = position_of(Expression{&build, build.cast(coordinate, wide)}, size[i],
                                int64_t(*padding), *align != 0);
    if (*mode == 1) {
      Expression nearest = round(at);
      taps[size_t(i)] = {axis_tap(nearest, nearest * 0.0 + 1.0, size[i])};
    } else {
      Expression low = floor(at);
      taps[size_t(i)] = {axis_tap(low, low + 1.0 - at, size[i]), axis_tap(low + 1.0, at - low, size[i])};
    }
  }
  ValueId flat = build.view(build.cast(x, wide), {batch, channels, SymInt(stride[2] * size[2])});
  auto per_channel = [&](Expression e) {
    ValueId row = build.view(e.id, {batch, SymInt(1), positions});
    return build.call1("aten::expand", {Build::v(row), build.ints({batch, channels, positions}), false});
  };
  std::optional<Expression> sum;
  for (const AxisTap& z : taps[2])
    for (const AxisTap& y : taps[1])
      for (const AxisTap& w : taps[0]) {
        auto times = [&](Expression index, int64_t by) { return index.call("aten::mul.Scalar", {by}); };
        Expression index = w.index + times(y.index, stride[1]) + times(z.index, stride[2]);
        Expression weight = w.weight * y.weight * z.weight;
        Expression read{&build, build.call1("aten::gather", {Build::v(flat), int64_t{2},
                                                             Build::v(per_channel(index)), false})};
        // What has no weight adds nothing, not even when it is infinite.
        Expression factor{&build, per_channel(weight)};
        Expression part = where(factor == 0.0, 0.0, read * factor);
        sum = sum ? *sum + part : part;
      }
  sizes = {batch, channels, sizes[1], sizes[2], sizes[3]};
  return one(build.view(build.cast(sum->id, dtype), sizes));
}

// affine_grid_generator(theta [n, 2 or 3, 3 or 4], size, align_corners): positions across the image,
// with a one behind each, times the transposed maps.
Results affine_grid(Build& build, const Node& node) {
  ValueId theta = value(node, 0);
  auto* size = std::get_if<std::vector<IntItem>>(&node.arguments[1]);
  if (!size || (size->size() != 4 && size->size() != 5)) return std::nullopt;
  size_t spatial = size->size() - 2;
  bool align = number(node, 2).value_or(0) != 0;
  DType dtype = build.dtype(theta);
  std::vector<int64_t> counts;
  int64_t total = 1;
  for (size_t i = 2; i < size->size(); i++) {
    if (!(*size)[i].is_known() || (*size)[i].known < 1) return std::nullopt;
    counts.push_back((*size)[i].known);
    total *= counts.back();
  }
  if (!is_floating(dtype) || total > (int64_t{1} << 28)) return std::nullopt;
  auto position = [&](int64_t i, int64_t count) {
    if (count == 1) return 0.0;
    double at = -1.0 + 2.0 * double(i) / double(count - 1);
    return align ? at : at * double(count - 1) / double(count);
  };
  std::vector<double> base;
  for (int64_t p = 0; p < total; p++) {
    std::vector<double> row;
    int64_t rest = p;
    for (size_t i = spatial; i-- > 0;) {  // x stands first
      row.push_back(position(rest % counts[i], counts[i]));
      rest /= counts[i];
    }
    row.push_back(1);
    base.insert(base.end(), row.begin(), row.end());
  }
  DType wide = dtype == DType::f64 ? DType::f64 : DType::f32;
  std::vector<uint8_t> bytes(base.size() * dtype_bytes(wide));
  for (size_t i = 0; i < base.size(); i++) {
    if (wide == DType::f64) memcpy(bytes.data() + i * 8, &base[i], 8);
    else {
      float single = float(base[i]);
      memcpy(bytes.data() + i * 4, &single, 4);
    }
  }
  SymInt batch = build.size(theta, 0), columns = int64_t(spatial) + 1;
  ValueId grid = build.constant({wide, {SymInt(1), SymInt(total), columns}, {}}, std::move(bytes),
                                "affine_grid");
  grid = build.call1("aten::expand", {Build::v(grid), build.ints({batch, SymInt(total), columns})});
  ValueId maps = transposed(build, build.cast(theta, wide));
  ValueId mapped = build.cast(build.call1("aten::bmm", {Build::v(grid), Build::v(maps)}), dtype);
  std::vector<SymInt> sizes{batch};
  for (int64_t count : counts) sizes.push_back(count);
  sizes.push_back(int64_t(spatial));
  return one(build.view(mapped, sizes));
}

}  // namespace

OP(grid_sampler) = {.schema = "aten::grid_sampler(Tensor input, Tensor grid, int interpolation_mode, int padding_mode, bool align_corners) -> Tensor",
                    .decompose = by_rank};
OP(grid_sampler_2d) = {.schema = "aten::grid_sampler_2d(Tensor input, Tensor grid, int interpolation_mode, int padding_mode, bool align_corners) -> Tensor",
                       .out = "aten::grid_sampler_2d.out"};
OP(grid_sampler_3d) = {.schema = "aten::grid_sampler_3d(Tensor input, Tensor grid, int interpolation_mode, int padding_mode, bool align_corners) -> Tensor",
                       .out = "aten::grid_sampler_3d.out", .decompose = grid_sampler_3d_parts};
OP(affine_grid_generator) = {.schema = "aten::affine_grid_generator(Tensor theta, SymInt[] size, bool align_corners) -> Tensor",
                             .decompose = affine_grid};

}  // namespace sconce
