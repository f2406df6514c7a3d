// Sampling at grid positions, and grids of affine maps.
#include <cstring>

#include "ops/linear/decompose.h"

namespace sconce {
namespace {

Results by_rank(Build& build, const Node& node) {
  return build.call(build.rank(value(node, 0)) == 5 ? "aten::grid_sampler_3d" : "aten::grid_sampler_2d",
                    node.arguments);
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
                       .out = "aten::grid_sampler_3d.out"};
OP(affine_grid_generator) = {.schema = "aten::affine_grid_generator(Tensor theta, SymInt[] size, bool align_corners) -> Tensor",
                             .decompose = affine_grid};

}  // namespace sconce
