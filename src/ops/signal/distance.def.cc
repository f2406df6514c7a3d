// Distances, products and statistics of vectors.
#include <cmath>

#include "ops/reduce/decompose.h"

namespace sconce {
namespace {

const Argument kNone = None{};

ValueId vector_norm(Build& build, ValueId x, const Argument& p, const Argument& dims, bool keepdim) {
  return build.call1("aten::linalg_vector_norm", {Build::v(x), p, dims, keepdim, kNone});
}
Argument dim_list(int64_t dim) { return Build::ints(std::vector<int64_t>{dim}); }

// x1, x2, p, compute_mode: how the matrix form rounds is not imitated.
Results cdist_parts(Build& build, const Node& node) {
  const auto& a = node.arguments;
  return one(build.call1("aten::_cdist_forward", {a[0], a[1], a[2], kNone}));
}
Results euclidean_parts(Build& build, const Node& node) {
  return one(build.call1("aten::_cdist_forward",
                         {node.arguments[0], node.arguments[1], 2.0, kNone}));
}
// x1, x2, p, eps, keepdim.
Results pairwise_distance_parts(Build& build, const Node& node) {
  auto eps = number(node, 3);
  if (!eps) return std::nullopt;
  ValueId difference = build.add(build.sub(value(node, 0), value(node, 1)), *eps);
  return one(vector_norm(build, difference, node.arguments[2], dim_list(-1), boolean_at(node, 4)));
}
// x1, x2, dim, eps.
Results cosine_similarity_parts(Build& build, const Node& node) {
  ValueId a = value(node, 0), b = value(node, 1);
  auto dim = integer_at(node, 2);
  auto eps = number(node, 3);
  if (!dim || !eps) return std::nullopt;
  if (build.rank(a) != build.rank(b)) {
    std::vector<SymInt> sizes = build.tensor(build.add(a, b)).sizes;
    auto& smaller = build.rank(a) < build.rank(b) ? a : b;
    smaller = build.call1("aten::expand", {Build::v(smaller), build.ints(sizes)});
  }
  auto unit = [&](ValueId x) {
    ValueId norm = vector_norm(build, x, int64_t{2}, dim_list(*dim), true);
    return build.div(x, build.call1("aten::clamp", {Build::v(norm), *eps, kNone}));
  };
  ValueId product = build.mul(unit(a), unit(b));
  return one(build.call1("aten::sum.dim_IntList", {Build::v(product), dim_list(*dim), false, kNone}));
}
Results dist_parts(Build& build, const Node& node) {  // self, other, p
  return one(vector_norm(build, build.sub(value(node, 0), value(node, 1)), node.arguments[2], kNone,
                         false));
}

ValueId cross(Build& build, ValueId a, ValueId b, int64_t dim) {
  auto roll = [&](ValueId x, int64_t by) {
    return build.call1("aten::roll", {Build::v(x), dim_list(by), dim_list(dim)});
  };
  return build.sub(build.mul(roll(a, -1), roll(b, -2)), build.mul(roll(a, -2), roll(b, -1)));
}
Results linalg_cross_parts(Build& build, const Node& node) {  // self, other, dim
  auto dim = integer_at(node, 2);
  if (!dim || build.rank(value(node, 0)) != build.rank(value(node, 1))) return std::nullopt;
  return one(cross(build, value(node, 0), value(node, 1), *dim));
}
Results cross_parts(Build& build, const Node& node) {  // without a dim: the first of size 3
  ValueId a = value(node, 0), b = value(node, 1);
  if (build.rank(a) != build.rank(b)) return std::nullopt;
  auto dim = integer_at(node, 2);
  for (int i = 0; i < build.rank(a) && !dim; i++)
    if (build.size(a, i) == SymInt(3)) dim = i;
  if (!dim) return std::nullopt;
  return one(cross(build, a, b, *dim));
}

// self, p, dim, maxnorm: slices along dim that are longer are made as long as maxnorm.
Results renorm_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto dim = integer_at(node, 2);
  auto limit = number(node, 3);
  int rank = build.rank(x);
  if (!dim || !limit || rank < 2) return std::nullopt;
  if (*dim < 0) *dim += rank;
  std::vector<int64_t> dims;
  for (int64_t i = 0; i < rank; i++)
    if (i != *dim) dims.push_back(i);
  DType dtype = build.dtype(x);
  ValueId wide = dtype == DType::f64 ? x : build.cast(x, DType::f32);
  ValueId norm = vector_norm(build, wide, node.arguments[1], Build::ints(dims), true);
  ValueId factor = build.mul(build.call1("aten::reciprocal", {Build::v(build.add(norm, 1e-7))}), *limit);
  ValueId longer = build.call1("aten::gt.Scalar", {Build::v(norm), *limit});
  ValueId unit = build.scalar(1, build.dtype(wide));
  factor = build.call1("aten::where.self", {Build::v(longer), Build::v(factor), Build::v(unit)});
  return one(build.cast(build.mul(wide, factor), dtype));
}

// --- covariance ---------------------------------------------------------------------------------

// x [variables, observations]; frequencies and importances weigh the observations, or are absent.
ValueId covariance(Build& build, ValueId x, double correction, ValueId frequencies,
                   ValueId importances) {
  if (is_integral(build.dtype(x))) x = build.cast(x, DType::f32);
  if (build.rank(x) < 2)
    x = build.call1("aten::reshape", {Build::v(x), Build::ints(std::vector<int64_t>{1, -1})});
  DType dtype = build.dtype(x);
  auto sum = [&](ValueId id, Argument dims, bool keepdim) {
    return build.call1("aten::sum.dim_IntList", {Build::v(id), dims, keepdim, kNone});
  };
  ValueId weights = kNoValue, divisor = kNoValue;
  if (frequencies != kNoValue) weights = build.cast(frequencies, dtype);
  if (importances != kNoValue) {
    ValueId a = build.cast(importances, dtype);
    weights = weights == kNoValue ? a : build.mul(weights, a);
  }
  ValueId mean, y;
  if (weights == kNoValue) {
    mean = build.call1("aten::mean.dim", {Build::v(x), dim_list(1), true, kNone});
    double count = double(build.size(x, 1).value) - correction;
    divisor = build.scalar(count > 0 ? count : 0, dtype);
  } else {
    ValueId total = sum(weights, kNone, false);
    mean = build.div(sum(build.mul(x, weights), dim_list(1), true), total);
    ValueId less = total;
    if (importances != kNoValue && correction != 0)
      less = build.sub(total, build.div(build.mul(sum(build.mul(weights, build.cast(importances, dtype)),
                                                      kNone, false),
                                                  correction),
                                        total));
    else if (correction != 0) less = build.add(total, -correction);
    divisor = build.call1("aten::clamp", {Build::v(less), 0.0, kNone});
  }
  ValueId centred = build.sub(x, mean);
  ValueId weighted = weights == kNoValue ? centred : build.mul(centred, weights);
  y = build.call1("aten::mm", {Build::v(weighted), Build::v(build.permute(centred, {1, 0}))});
  y = build.div(y, divisor);
  if (build.size(x, 0) == SymInt(1))
    y = build.call1("aten::reshape", {Build::v(y), Build::ints(std::vector<int64_t>{})});
  return y;
}
bool fits_covariance(Build& build, ValueId x) {
  int rank = build.rank(x);
  return rank <= 2 && (rank == 0 || build.size(x, rank - 1).is_known());
}
// self, correction, fweights, aweights.
Results cov_parts(Build& build, const Node& node) {
  auto correction = number(node, 1);
  if (!correction || !fits_covariance(build, value(node, 0))) return std::nullopt;
  return one(covariance(build, value(node, 0), *correction, value_at(node, 2), value_at(node, 3)));
}
Results corrcoef_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  if (!fits_covariance(build, x)) return std::nullopt;
  ValueId c = covariance(build, x, 1, kNoValue, kNoValue);
  if (build.rank(c) == 0) return one(build.div(c, c));
  ValueId deviation = build.call1("aten::diagonal", {Build::v(c), int64_t{0}, int64_t{0}, int64_t{1}});
  deviation = build.call1("aten::sqrt", {Build::v(deviation)});
  ValueId column = build.call1("aten::unsqueeze", {Build::v(deviation), int64_t{1}});
  ValueId y = build.div(build.div(c, column), deviation);
  return one(build.call1("aten::clamp", {Build::v(y), -1.0, 1.0}));
}

// --- trapezoids -----------------------------------------------------------------------------------

// Neighbours along dim: all but the last, all but the first.
std::pair<ValueId, ValueId> neighbours(Build& build, ValueId y, int64_t dim) {
  auto slice = [&](int64_t start, int64_t end) {
    return build.call1("aten::slice.Tensor", {Build::v(y), dim, start, end, int64_t{1}});
  };
  return {slice(0, -1), slice(1, INT64_MAX)};
}
// Sum over dim, or the running sum, of the means of neighbours times their distances: dx, or the
// steps of x. Integers are added as integers, as torch does. y, x or dx, dim.
template <bool given, bool cumulative>
Results trapezoid_parts(Build& build, const Node& node) {
  auto dim = integer_at(node, 2);
  auto dx = given ? 0.0 : number(node, 1);
  ValueId y = value(node, 0);
  if (!dim || !dx || build.rank(y) == 0) return std::nullopt;
  if (*dim < 0) *dim += build.rank(y);
  auto total = [&](ValueId x) {
    if (cumulative) return build.call1("aten::cumsum", {Build::v(x), *dim, kNone});
    return build.call1("aten::sum.dim_IntList", {Build::v(x), dim_list(*dim), false, kNone});
  };
  if (!cumulative && build.size(y, int(*dim)) == SymInt(0))
    return one(build.cast(total(y), build.dtype(y)));
  if (!given && !cumulative) {  // all elements, less half of the two ends
    auto end = [&](int64_t at) {
      return build.call1("aten::select.int", {Build::v(y), *dim, at});
    };
    ValueId ends = build.mul(build.add(end(0), end(-1)), 0.5);
    return one(build.mul(build.sub(total(y), ends), *dx));
  }
  auto [left, right] = neighbours(build, y, *dim);
  ValueId sum = build.add(left, right);
  if (!given) return one(total(build.mul(sum, *dx / 2)));
  ValueId x = value(node, 1);
  auto [before, after] = neighbours(build, x, build.rank(x) == 1 ? 0 : *dim - build.rank(y));
  ValueId width = build.sub(after, before);
  if (build.rank(x) == 1) {
    std::vector<SymInt> sizes = {build.size(width, 0)};
    sizes.insert(sizes.end(), size_t(build.rank(y) - 1 - *dim), SymInt(1));
    width = build.view(width, sizes);
  }
  return one(build.call1("aten::div.Scalar", {Build::v(total(build.mul(sum, width))), 2.0}));
}

}  // namespace

OP(cdist_forward) = {.schema = "aten::_cdist_forward(Tensor x1, Tensor x2, float p, int? compute_mode) -> Tensor",
                     .out = "aten::_cdist_forward.out"};
OP(cdist) = {.schema = "aten::cdist(Tensor x1, Tensor x2, float p=2., int? compute_mode=None) -> Tensor",
             .decompose = cdist_parts};
OP(euclidean_dist) = {.schema = "aten::_euclidean_dist(Tensor x1, Tensor x2) -> Tensor",
                      .decompose = euclidean_parts};
OP(pdist_forward) = {.schema = "aten::_pdist_forward(Tensor self, float p=2.) -> Tensor",
                     .out = "aten::_pdist_forward.out"};
OP_ALIAS(pdist, "aten::pdist(Tensor self, float p=2.) -> Tensor", "aten::_pdist_forward")
OP(pairwise_distance) = {.schema = "aten::pairwise_distance(Tensor x1, Tensor x2, float p=2., float eps=9.9999999999999995e-07, bool keepdim=False) -> Tensor",
                         .decompose = pairwise_distance_parts};
OP(cosine_similarity) = {.schema = "aten::cosine_similarity(Tensor x1, Tensor x2, int dim=1, float eps=1e-08) -> Tensor",
                         .decompose = cosine_similarity_parts};
OP(dist) = {.schema = "aten::dist(Tensor self, Tensor other, Scalar p=2) -> Tensor",
            .decompose = dist_parts};
OP(cross) = {.schema = "aten::cross(Tensor self, Tensor other, int? dim=None) -> Tensor",
             .decompose = cross_parts};
OP(linalg_cross) = {.schema = "aten::linalg_cross(Tensor self, Tensor other, *, int dim=-1) -> Tensor",
                    .decompose = linalg_cross_parts};
OP(renorm) = {.schema = "aten::renorm(Tensor self, Scalar p, int dim, Scalar maxnorm) -> Tensor",
              .decompose = renorm_parts};
OP(cov) = {.schema = "aten::cov(Tensor self, *, int correction=1, Tensor? fweights=None, Tensor? aweights=None) -> Tensor",
           .decompose = cov_parts};
OP(corrcoef) = {.schema = "aten::corrcoef(Tensor self) -> Tensor", .decompose = corrcoef_parts};
OP(trapezoid_x) = {.schema = "aten::trapezoid.x(Tensor y, Tensor x, *, int dim=-1) -> Tensor",
                   .decompose = trapezoid_parts<true, false>};
OP(trapezoid_dx) = {.schema = "aten::trapezoid.dx(Tensor y, *, Scalar dx=1, int dim=-1) -> Tensor",
                    .decompose = trapezoid_parts<false, false>};
OP(trapz_x) = {.schema = "aten::trapz.x(Tensor y, Tensor x, *, int dim=-1) -> Tensor",
               .decompose = trapezoid_parts<true, false>};
OP(trapz_dx) = {.schema = "aten::trapz.dx(Tensor y, *, float dx=1., int dim=-1) -> Tensor",
                .decompose = trapezoid_parts<false, false>};
OP(cumulative_trapezoid_x) = {.schema = "aten::cumulative_trapezoid.x(Tensor y, Tensor x, *, int dim=-1) -> Tensor",
                              .decompose = trapezoid_parts<true, true>};
OP(cumulative_trapezoid_dx) = {.schema = "aten::cumulative_trapezoid.dx(Tensor y, *, Scalar dx=1, int dim=-1) -> Tensor",
                               .decompose = trapezoid_parts<false, true>};

}  // namespace sconce
