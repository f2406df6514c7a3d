// Reductions and scans over dimensions.
#include <cmath>

#include "ops/reduce/decompose.h"

namespace sconce {
namespace {

const Argument kNone = None{};

// --- sums -------------------------------------------------------------------------------------

Results sum_all(Build& build, const Node& node) {  // self, dtype
  return one(build.call1("aten::sum.dim_IntList",
                         {node.arguments[0], kNone, false, node.arguments[1]}));
}
Results nansum_parts(Build& build, const Node& node) {
  const auto& a = node.arguments;
  ValueId x = value(node, 0);
  if (is_floating(build.dtype(x))) {
    ValueId nan = build.call1("aten::isnan", {a[0]});
    x = build.call1("aten::masked_fill.Scalar", {a[0], Build::v(nan), 0.0});
  }
  return one(build.call1("aten::sum.dim_IntList", {Build::v(x), a[1], a[2], a[3]}));
}
Results nanmean_parts(Build& build, const Node& node) {
  const auto& a = node.arguments;
  ValueId nan = build.call1("aten::isnan", {a[0]});
  ValueId present = build.call1("aten::logical_not", {Build::v(nan)});
  ValueId count = build.call1("aten::sum.dim_IntList", {Build::v(present), a[1], a[2], kNone});
  ValueId sum = build.call1("aten::nansum", {a[0], a[1], a[2], a[3]});
  return one(build.call1("aten::div.Tensor", {Build::v(sum), Build::v(count)}));
}
ValueId nonzero_mask(Build& build, const Argument& x) {
  return build.call1("aten::ne.Scalar", {x, int64_t{0}});
}
Results count_nonzero_parts(Build& build, const Node& node) {
  auto dims = dims_at(node, 1, build.rank(value(node, 0)));
  if (!dims) return std::nullopt;
  return one(build.call1("aten::sum.dim_IntList", {Build::v(nonzero_mask(build, node.arguments[0])),
                                                   Build::ints(*dims), false, kNone}));
}
Results sum_to_size_parts(Build& build, const Node& node) {  // self, size
  auto* sizes = std::get_if<std::vector<IntItem>>(&node.arguments[1]);
  ValueId x = value(node, 0);
  if (!sizes || int(sizes->size()) > build.rank(x)) return std::nullopt;
  int lead = build.rank(x) - int(sizes->size());
  std::vector<int64_t> dims;
  for (int i = 0; i < build.rank(x); i++) {
    bool to_one = i >= lead && (*sizes)[size_t(i - lead)].is_known() &&
                  (*sizes)[size_t(i - lead)].known == 1;
    bool is_one = build.size(x, i).is_known() && build.size(x, i).value == 1;
    if (i < lead || (to_one && !is_one)) dims.push_back(i);
  }
  if (sizes->empty()) return one(build.call1("aten::sum", {Build::v(x), kNone}));
  if (dims.empty()) return one(x);
  x = build.call1("aten::sum.dim_IntList", {Build::v(x), Build::ints(dims), true, kNone});
  return one(lead > 0 ? build.call1("aten::view", {Build::v(x), node.arguments[1]}) : x);
}

// --- any, all ---------------------------------------------------------------------------------

// all(x) = not any(not x), with the overload of `any` that takes the same arguments.
template <Text any>
Results all_parts(Build& build, const Node& node) {
  std::vector<Argument> arguments = node.arguments;
  arguments[0] = Build::v(build.call1("aten::logical_not", {arguments[0]}));
  ValueId found = build.call1("aten::logical_not", {Build::v(build.call1(any.text, arguments))});
  return one(build.cast(found, build.dtype(value(node, 0)) == DType::u8 ? DType::u8 : DType::b8));
}

// --- extremes ---------------------------------------------------------------------------------

Results aminmax_parts(Build& build, const Node& node) {  // self, dim, keepdim
  auto dims = dims_at(node, 1, build.rank(value(node, 0)));
  if (!dims) return std::nullopt;
  Argument list = Build::ints(*dims);
  return {{build.call1("aten::amin", {node.arguments[0], list, node.arguments[2]}),
           build.call1("aten::amax", {node.arguments[0], list, node.arguments[2]})}};
}

// self, dim, keepdim: values and places.
template <Text value_name, Text place_name>
Results extreme_parts(Build& build, const Node& node) {
  auto dim = integer_at(node, 1);
  if (!dim) return std::nullopt;
  const auto& a = node.arguments;
  Argument list = Build::ints(std::vector<int64_t>{*dim});
  return {{build.call1(value_name.text, {a[0], list, a[2]}),
           build.call1(place_name.text, {a[0], a[1], a[2]})}};
}

// --- variances --------------------------------------------------------------------------------

int64_t correction_of(const Node& node, size_t unbiased) { return boolean_at(node, unbiased); }

// (self, unbiased) and (self, dim, unbiased, keepdim) as (self, dim, correction, keepdim).
template <Text target>
Results variance_all(Build& build, const Node& node) {
  return build.call(target.text, {node.arguments[0], kNone, correction_of(node, 1), false});
}
template <Text target>
Results variance_dim(Build& build, const Node& node) {
  const auto& a = node.arguments;
  return build.call(target.text, {a[0], a[1], correction_of(node, 2), a[3]});
}
// self, dim, correction, keepdim.
Results var_mean_parts(Build& build, const Node& node) {
  const auto& a = node.arguments;
  return {{build.call1("aten::var.correction", a),
           build.call1("aten::mean.dim", {a[0], a[1], a[3], kNone})}};
}
Results std_parts(Build& build, const Node& node) {
  ValueId variance = build.call1("aten::var.correction", node.arguments);
  return one(build.call1("aten::sqrt", {Build::v(variance)}));
}
Results std_mean_parts(Build& build, const Node& node) {
  auto parts = build.call("aten::var_mean.correction", node.arguments);
  parts[0] = build.call1("aten::sqrt", {Build::v(parts[0])});
  return parts;
}

// --- norms ------------------------------------------------------------------------------------

// self, ord, dim, keepdim, dtype.
Results vector_norm_parts(Build& build, const Node& node) {
  const auto& a = node.arguments;
  auto order = number(node, 1);
  auto dims = dims_at(node, 2, build.rank(value(node, 0)));
  if (!order || !dims) return std::nullopt;
  ValueId x = value(node, 0);
  DType out = build.dtype(x);
  if (auto dtype = integer_at(node, 4)) out = DType(*dtype);
  // 16-bit floats would overflow in the squares.
  x = build.cast(x, out == DType::f64 ? DType::f64 : DType::f32);
  Argument list = Build::ints(*dims);
  auto sum = [&](ValueId y) {
    return build.call1("aten::sum.dim_IntList", {Build::v(y), list, a[3], kNone});
  };
  auto power = [&](ValueId y, double exponent) {
    return build.call1("aten::pow.Tensor_Scalar", {Build::v(y), exponent});
  };
  auto absolute = [&] { return build.call1("aten::abs", {Build::v(x)}); };
  ValueId y;
  if (*order == 2) y = build.call1("aten::sqrt", {Build::v(sum(build.mul(x, x)))});
  else if (*order == 0) y = sum(build.cast(nonzero_mask(build, Build::v(x)), build.dtype(x)));
  else if (*order == 1) y = sum(absolute());
  else if (std::isinf(*order))
    y = build.call1(*order > 0 ? "aten::amax" : "aten::amin", {Build::v(absolute()), list, a[3]});
  else y = power(sum(power(absolute(), *order)), 1 / *order);
  return one(build.cast(y, out));
}

Argument order_or_two(const Node& node, int i) {
  return is_none(node, i) ? Argument(int64_t{2}) : node.arguments[size_t(i)];
}
Results norm_scalar(Build& build, const Node& node) {  // self, p
  return one(build.call1("aten::linalg_vector_norm",
                         {node.arguments[0], order_or_two(node, 1), kNone, false, kNone}));
}
Results norm_dtype(Build& build, const Node& node) {  // self, p, dtype
  return one(build.call1("aten::linalg_vector_norm", {node.arguments[0], order_or_two(node, 1),
                                                      kNone, false, node.arguments[2]}));
}
Results norm_dim(Build& build, const Node& node) {  // self, p, dim, keepdim (, dtype)
  const auto& a = node.arguments;
  return one(build.call1("aten::linalg_vector_norm",
                         {a[0], order_or_two(node, 1), a[2], a[3], a.size() > 4 ? a[4] : kNone}));
}
Results frobenius_norm(Build& build, const Node& node) {  // self, dim, keepdim
  const auto& a = node.arguments;
  return one(build.call1("aten::linalg_vector_norm", {a[0], int64_t{2}, a[1], a[2], kNone}));
}

// A matrix norm as vector norms: Frobenius, and the largest or smallest column or row sum. The
// others need singular values.
Results matrix_norm(Build& build, const Argument& self, const std::string& name,
                    std::optional<double> order, std::vector<int64_t> dims, bool keepdim,
                    const Argument& dtype) {
  if (dims.size() != 2) return std::nullopt;
  if (name == "fro")
    return one(build.call1("aten::linalg_vector_norm",
                           {self, int64_t{2}, Build::ints(dims), keepdim, dtype}));
  if (!order || (std::abs(*order) != 1 && !std::isinf(*order))) return std::nullopt;
  int64_t summed = std::isinf(*order) ? dims[1] : dims[0];
  int64_t rest = std::isinf(*order) ? dims[0] : dims[1];
  ValueId sums = build.call1("aten::linalg_vector_norm",
                             {self, int64_t{1}, Build::ints(std::vector{summed}), keepdim, dtype});
  if (!keepdim && rest > summed) rest--;
  return one(build.call1(*order > 0 ? "aten::amax" : "aten::amin",
                         {Build::v(sums), Build::ints(std::vector{rest}), keepdim}));
}
std::string name_at(const Node& node, size_t i) {
  auto* text = std::get_if<std::string>(&node.arguments[i]);
  return text ? *text : std::string();
}
Results linalg_matrix_norm(Build& build, const Node& node) {  // self, ord, dim, keepdim, dtype
  auto dims = dims_at(node, 2, build.rank(value(node, 0)));
  if (!dims) return std::nullopt;
  return matrix_norm(build, node.arguments[0], name_at(node, 1), number(node, 1), *dims,
                     boolean_at(node, 3), node.arguments[4]);
}
Results linalg_norm(Build& build, const Node& node) {  // self, ord, dim, keepdim, dtype
  const auto& a = node.arguments;
  auto dims = dims_at(node, 2, build.rank(value(node, 0)));
  if (!dims) return std::nullopt;
  bool matrix = !is_none(node, 1) && dims->size() == 2;
  if (!matrix) {
    if (!name_at(node, 1).empty()) return std::nullopt;
    return one(build.call1("aten::linalg_vector_norm",
                           {a[0], order_or_two(node, 1), a[2], a[3], a[4]}));
  }
  return matrix_norm(build, a[0], name_at(node, 1), number(node, 1), *dims, boolean_at(node, 3),
                     a[4]);
}

// --- log of sums ------------------------------------------------------------------------------

// log(sum(exp(x - m))) + m, with m = 0 where the maximum is infinite. self, dim, keepdim.
Results logsumexp_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto dims = dims_at(node, 1, build.rank(x));
  if (!dims) return std::nullopt;
  if (is_integral(build.dtype(x))) x = build.cast(x, DType::f32);
  Argument list = Build::ints(*dims);
  ValueId max = build.call1("aten::amax", {Build::v(x), list, true});
  ValueId infinite = build.call1("aten::isinf", {Build::v(max)});
  max = build.call1("aten::masked_fill.Scalar", {Build::v(max), Build::v(infinite), 0.0});
  ValueId sum = build.call1("aten::exp", {Build::v(build.sub(x, max))});
  sum = build.call1("aten::sum.dim_IntList", {Build::v(sum), list, true, kNone});
  ValueId y = build.add(build.call1("aten::log", {Build::v(sum)}), max);
  if (!boolean_at(node, 2) && build.rank(x) > 0)
    y = build.call1("aten::squeeze.dims", {Build::v(y), list});
  return one(y);
}

// --- differences ------------------------------------------------------------------------------

// self, n, dim, prepend, append.
Results diff_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto n = integer_at(node, 1), dim = integer_at(node, 2);
  if (!n || !dim || build.rank(x) == 0) return std::nullopt;
  if (*dim < 0) *dim += build.rank(x);
  if (*dim < 0 || *dim >= build.rank(x)) return std::nullopt;
  if (*n == 0) return one(x);
  std::vector<ValueRef> pieces;
  if (!is_none(node, 3)) pieces.push_back({value(node, 3)});
  pieces.push_back({x});
  if (!is_none(node, 4)) pieces.push_back({value(node, 4)});
  if (pieces.size() > 1) x = build.call1("aten::cat", {pieces, *dim});
  for (int64_t k = 0; k < *n; k++) {
    SymInt size = build.size(x, int(*dim));
    if (size.is_known() && size.value == 0) break;
    auto slice = [&](int64_t start, int64_t end) {
      return build.call1("aten::slice.Tensor", {Build::v(x), *dim, start, end, int64_t{1}});
    };
    ValueId after = slice(1, INT64_MAX), before = slice(0, -1);
    x = build.dtype(x) == DType::b8
            ? build.call1("aten::logical_xor", {Build::v(after), Build::v(before)})
            : build.sub(after, before);
  }
  return one(x);
}

// --- scans without a kernel of their own --------------------------------------------------------

// Running results in log(length) steps: each step joins every element with the one `shift` before
// it. join(before, after) gets and gives as many values as the state has.
template <class Join>
std::optional<std::vector<ValueId>> scan(Build& build, std::vector<ValueId> state, int64_t dim,
                                         Join join) {
  SymInt length = build.size(state[0], int(dim));
  if (!length.is_known()) return std::nullopt;
  for (int64_t shift = 1; shift < length.value; shift *= 2) {
    auto slice = [&](ValueId x, int64_t start, int64_t end) {
      return build.call1("aten::slice.Tensor", {Build::v(x), dim, start, end, int64_t{1}});
    };
    std::vector<ValueId> before, after;
    for (ValueId x : state) {
      before.push_back(slice(x, 0, length.value - shift));
      after.push_back(slice(x, shift, length.value));
    }
    std::vector<ValueId> joined = join(before, after);
    for (size_t k = 0; k < state.size(); k++)
      state[k] = build.call1(
          "aten::cat", {std::vector<ValueRef>{{slice(state[k], 0, shift)}, {joined[k]}}, dim});
  }
  return state;
}

std::optional<int64_t> scan_dim(Build& build, const Node& node) {
  auto dim = integer_at(node, 1);
  int rank = build.rank(value(node, 0));
  if (dim && *dim < 0) *dim += rank;
  return dim && *dim >= 0 && *dim < rank ? dim : std::nullopt;
}

Results cumprod_parts(Build& build, const Node& node) {  // self, dim, dtype
  auto dim = scan_dim(build, node);
  if (!dim) return std::nullopt;
  ValueId x = value(node, 0);
  if (auto dtype = integer_at(node, 2)) x = build.cast(x, DType(*dtype));
  else if (is_integral(build.dtype(x))) x = build.cast(x, DType::i64);
  return scan(build, {x}, *dim, [&](const auto& before, const auto& after) {
    return one(build.mul(before[0], after[0]));
  });
}

// log(exp(a) + exp(b)) with the larger one taken out; equal infinities stay.
Results logcumsumexp_parts(Build& build, const Node& node) {
  auto dim = scan_dim(build, node);
  if (!dim) return std::nullopt;
  return scan(build, {value(node, 0)}, *dim, [&](const auto& before, const auto& after) {
    ValueId high = build.call1("aten::maximum", {Build::v(before[0]), Build::v(after[0])});
    ValueId low = build.call1("aten::minimum", {Build::v(before[0]), Build::v(after[0])});
    ValueId exp = build.call1("aten::exp", {Build::v(build.sub(low, high))});
    ValueId sum = build.add(high, build.call1("aten::log1p", {Build::v(exp)}));
    ValueId infinite = build.call1("aten::isinf", {Build::v(high)});
    return one(build.call1("aten::where.self", {Build::v(infinite), Build::v(high), Build::v(sum)}));
  });
}

// Values and positions; the later of equal elements counts, and so does NaN.
template <Text comparison>
Results cumulative_extreme(Build& build, const Node& node) {
  auto dim = scan_dim(build, node);
  ValueId x = value(node, 0);
  if (!dim || !build.size(x, int(*dim)).is_known()) return std::nullopt;
  std::vector<SymInt> sizes(size_t(build.rank(x)), SymInt(1));
  sizes[size_t(*dim)] = build.size(x, int(*dim));
  ValueId places = build.call1("aten::arange", {build.size(x, int(*dim)).value, int64_t(DType::i64)});
  places = build.call1("aten::expand", {Build::v(build.view(places, sizes)),
                                        build.ints(std::vector<SymInt>(build.tensor(x).sizes))});
  return scan(build, {x, places}, *dim, [&](const auto& before, const auto& after) {
    ValueId later = build.call1(comparison.text, {Build::v(after[0]), Build::v(before[0])});
    if (is_floating(build.dtype(x))) {
      ValueId nan = build.call1("aten::isnan", {Build::v(after[0])});
      later = build.call1("aten::logical_or", {Build::v(later), Build::v(nan)});
    }
    std::vector<ValueId> joined;
    for (size_t k = 0; k < 2; k++)
      joined.push_back(build.call1("aten::where.self",
                                   {Build::v(later), Build::v(after[k]), Build::v(before[k])}));
    return joined;
  });
}

// --- comparisons of whole tensors ---------------------------------------------------------------

Results is_all_true(Build& build, const Node& node) {
  return one(build.call1("aten::all", {node.arguments[0]}));
}
Results is_any_true(Build& build, const Node& node) {
  return one(build.call1("aten::any", {node.arguments[0]}));
}

Results trace_parts(Build& build, const Node& node) {
  ValueId diagonal =
      build.call1("aten::diagonal", {node.arguments[0], int64_t{0}, int64_t{0}, int64_t{1}});
  return one(build.call1("aten::sum.dim_IntList", {Build::v(diagonal), kNone, false, kNone}));
}

}  // namespace

OP(sum_int_list) = {.schema = "aten::sum.dim_IntList(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
                    .out = "aten::sum.IntList_out"};
OP(sum) = {.schema = "aten::sum(Tensor self, *, ScalarType? dtype=None) -> Tensor",
           .out = "aten::sum.out", .decompose = sum_all};
OP(sum_to_size) = {.schema = "aten::sum_to_size(Tensor self, SymInt[] size) -> Tensor",
                   .decompose = sum_to_size_parts};
OP(nansum) = {.schema = "aten::nansum(Tensor self, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
              .out = "aten::nansum.out", .decompose = nansum_parts};
OP(nanmean) = {.schema = "aten::nanmean(Tensor self, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
               .decompose = nanmean_parts};
OP(mean) = {.schema = "aten::mean(Tensor self, *, ScalarType? dtype=None) -> Tensor",
            .out = "aten::mean.dtype_out"};
OP(mean_dim) = {.schema = "aten::mean.dim(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
                .out = "aten::mean.out"};
OP(prod) = {.schema = "aten::prod(Tensor self, *, ScalarType? dtype=None) -> Tensor",
            .out = "aten::prod.out"};
OP(prod_dim) = {.schema = "aten::prod.dim_int(Tensor self, int dim, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
                .out = "aten::prod.int_out"};
OP(count_nonzero) = {.schema = "aten::count_nonzero(Tensor self, int? dim=None) -> Tensor",
                     .out = "aten::count_nonzero.out", .decompose = count_nonzero_parts};
OP(count_nonzero_dims) = {.schema = "aten::count_nonzero.dim_IntList(Tensor self, int[] dim) -> Tensor",
                          .out = "aten::count_nonzero.dim_IntList_out",
                          .decompose = count_nonzero_parts};

OP(amax) = {.schema = "aten::amax(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor",
            .out = "aten::amax.out"};
OP(amin) = {.schema = "aten::amin(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor",
            .out = "aten::amin.out"};
OP(max) = {.schema = "aten::max(Tensor self) -> Tensor", .out = "aten::max.unary_out"};
OP(min) = {.schema = "aten::min(Tensor self) -> Tensor", .out = "aten::min.unary_out"};
OP(max_dim) = {.schema = "aten::max.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)",
               .out = "aten::max.dim_max", .decompose = extreme_parts<"aten::amax", "aten::argmax">};
OP(min_dim) = {.schema = "aten::min.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)",
               .out = "aten::min.dim_min", .decompose = extreme_parts<"aten::amin", "aten::argmin">};
OP(aminmax) = {.schema = "aten::aminmax(Tensor self, *, int? dim=None, bool keepdim=False) -> (Tensor min, Tensor max)",
               .out = "aten::aminmax.out", .decompose = aminmax_parts};
OP(argmax) = {.schema = "aten::argmax(Tensor self, int? dim=None, bool keepdim=False) -> Tensor",
              .out = "aten::argmax.out"};
OP(argmin) = {.schema = "aten::argmin(Tensor self, int? dim=None, bool keepdim=False) -> Tensor",
              .out = "aten::argmin.out"};

OP(any) = {.schema = "aten::any(Tensor self) -> Tensor", .out = "aten::any.all_out"};
OP(any_dim) = {.schema = "aten::any.dim(Tensor self, int dim, bool keepdim=False) -> Tensor",
               .out = "aten::any.out"};
OP(any_dims) = {.schema = "aten::any.dims(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor",
                .out = "aten::any.dims_out"};
OP(all) = {.schema = "aten::all(Tensor self) -> Tensor", .out = "aten::all.all_out",
           .decompose = all_parts<"aten::any">};
OP(all_dim) = {.schema = "aten::all.dim(Tensor self, int dim, bool keepdim=False) -> Tensor",
               .out = "aten::all.out", .decompose = all_parts<"aten::any.dim">};
OP(all_dims) = {.schema = "aten::all.dims(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor",
                .out = "aten::all.dims_out", .decompose = all_parts<"aten::any.dims">};
OP(is_all_true) = {.schema = "aten::_is_all_true(Tensor self) -> Tensor", .decompose = is_all_true};
OP(is_any_true) = {.schema = "aten::_is_any_true(Tensor self) -> Tensor", .decompose = is_any_true};

OP(var) = {.schema = "aten::var(Tensor self, bool unbiased=True) -> Tensor",
           .decompose = variance_all<"aten::var.correction">};
OP(var_dim) = {.schema = "aten::var.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> Tensor",
               .out = "aten::var.out", .decompose = variance_dim<"aten::var.correction">};
OP(var_correction) = {.schema = "aten::var.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool keepdim=False) -> Tensor",
                      .out = "aten::var.correction_out"};
OP(var_mean) = {.schema = "aten::var_mean(Tensor self, bool unbiased=True) -> (Tensor, Tensor)",
                .decompose = variance_all<"aten::var_mean.correction">};
OP(var_mean_dim) = {.schema = "aten::var_mean.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> (Tensor, Tensor)",
                    .decompose = variance_dim<"aten::var_mean.correction">};
OP(var_mean_correction) = {.schema = "aten::var_mean.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool keepdim=False) -> (Tensor, Tensor)",
                           .out = "aten::var_mean.correction_out", .decompose = var_mean_parts};
OP(std) = {.schema = "aten::std(Tensor self, bool unbiased=True) -> Tensor",
           .decompose = variance_all<"aten::std.correction">};
OP(std_dim) = {.schema = "aten::std.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> Tensor",
               .out = "aten::std.out", .decompose = variance_dim<"aten::std.correction">};
OP(std_correction) = {.schema = "aten::std.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool keepdim=False) -> Tensor",
                      .out = "aten::std.correction_out", .decompose = std_parts};
OP(std_mean) = {.schema = "aten::std_mean(Tensor self, bool unbiased=True) -> (Tensor, Tensor)",
                .decompose = variance_all<"aten::std_mean.correction">};
OP(std_mean_dim) = {.schema = "aten::std_mean.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> (Tensor, Tensor)",
                    .decompose = variance_dim<"aten::std_mean.correction">};
OP(std_mean_correction) = {.schema = "aten::std_mean.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool keepdim=False) -> (Tensor, Tensor)",
                           .out = "aten::std_mean.correction_out", .decompose = std_mean_parts};

OP(linalg_vector_norm) = {.schema = "aten::linalg_vector_norm(Tensor self, Scalar ord=2, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
                          .out = "aten::linalg_vector_norm.out", .decompose = vector_norm_parts};
OP(norm_scalar) = {.schema = "aten::norm.Scalar(Tensor self, Scalar p=2) -> Tensor",
                   .decompose = norm_scalar};
OP(norm_scalar_dtype) = {.schema = "aten::norm.ScalarOpt_dtype(Tensor self, Scalar? p, *, ScalarType dtype) -> Tensor",
                         .decompose = norm_dtype};
OP(norm_dim) = {.schema = "aten::norm.ScalarOpt_dim(Tensor self, Scalar? p, int[1] dim, bool keepdim=False) -> Tensor",
                .decompose = norm_dim};
OP(norm_dim_dtype) = {.schema = "aten::norm.ScalarOpt_dim_dtype(Tensor self, Scalar? p, int[1] dim, bool keepdim, *, ScalarType dtype) -> Tensor",
                      .decompose = norm_dim};
OP(frobenius_norm) = {.schema = "aten::frobenius_norm.dim(Tensor self, int[1] dim, bool keepdim=False) -> Tensor",
                      .decompose = frobenius_norm};
OP(linalg_norm) = {.schema = "aten::linalg_norm(Tensor self, Scalar? ord=None, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
                   .decompose = linalg_norm};
OP(linalg_norm_name) = {.schema = "aten::linalg_norm.ord_str(Tensor self, str ord, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
                        .decompose = linalg_norm};
OP(linalg_matrix_norm) = {.schema = "aten::linalg_matrix_norm(Tensor self, Scalar ord, int[] dim=[-2, -1], bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
                          .decompose = linalg_matrix_norm};
OP(linalg_matrix_norm_name) = {.schema = "aten::linalg_matrix_norm.str_ord(Tensor self, str ord=\"fro\", int[] dim=[-2, -1], bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
                               .decompose = linalg_matrix_norm};

OP(logsumexp) = {.schema = "aten::logsumexp(Tensor self, int[1] dim, bool keepdim=False) -> Tensor",
                 .out = "aten::logsumexp.out", .decompose = logsumexp_parts};
OP_ALIAS(special_logsumexp, "aten::special_logsumexp(Tensor self, int[1] dim, bool keepdim=False) -> Tensor", "aten::logsumexp")
OP(cumsum) = {.schema = "aten::cumsum(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor",
              .out = "aten::cumsum.out"};
OP(cumprod) = {.schema = "aten::cumprod(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor",
               .out = "aten::cumprod.out", .decompose = cumprod_parts};
OP(logcumsumexp) = {.schema = "aten::logcumsumexp(Tensor self, int dim) -> Tensor",
                    .out = "aten::logcumsumexp.out", .decompose = logcumsumexp_parts};
OP(cummax) = {.schema = "aten::cummax(Tensor self, int dim) -> (Tensor values, Tensor indices)",
              .out = "aten::cummax.out", .decompose = cumulative_extreme<"aten::ge.Tensor">};
OP(cummin) = {.schema = "aten::cummin(Tensor self, int dim) -> (Tensor values, Tensor indices)",
              .out = "aten::cummin.out", .decompose = cumulative_extreme<"aten::le.Tensor">};
OP(diff) = {.schema = "aten::diff(Tensor self, int n=1, int dim=-1, Tensor? prepend=None, Tensor? append=None) -> Tensor",
            .decompose = diff_parts};
OP(trace) = {.schema = "aten::trace(Tensor self) -> Tensor", .decompose = trace_parts};

}  // namespace sconce
