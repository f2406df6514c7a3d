// Matrix products and what is made of them.
#include <algorithm>

#include "ops/linear/decompose.h"

namespace sconce {
namespace {

// linear(input, weight, bias): one addmm or mm over all rows. The weight is permuted by a node, which
// constant folding may keep as it is when the weight is shared.
Results linear(Build& build, const Node& node) {
  ValueId x = value(node, 0), weight = value(node, 1), bias = optional_value(node, 2);
  std::vector<SymInt> sizes = sizes_of(build, x);
  size_t last = sizes.size() - 1;
  bool vector_weight = build.rank(weight) == 1;
  if (vector_weight) weight = unsqueeze(build, weight, 0);
  SymInt features = build.size(weight, 0);
  ValueId rows = x;
  if (sizes.size() != 2) rows = build.view(x, {size_product(build, sizes, 0, last), sizes[last]});
  ValueId turned = build.permute(weight, {1, 0});
  ValueId y = bias == kNoValue
                  ? build.call1("aten::mm", {Build::v(rows), Build::v(turned)})
                  : build.call1("aten::addmm", {Build::v(bias), Build::v(rows), Build::v(turned)});
  if (sizes.size() == 2 && !vector_weight) return one(y);
  sizes.pop_back();
  if (!vector_weight) sizes.push_back(features);
  return one(build.view(y, sizes));
}

// beta * added + alpha * product, with no node for factors of one. Factors of integers lose their
// fraction, as in torch.
ValueId scale_and_add(Build& build, ValueId added, ValueId product, Argument beta, Argument alpha) {
  if (is_integral(build.dtype(product)))
    for (Argument* factor : {&beta, &alpha})
      if (auto* real = std::get_if<double>(factor)) *factor = int64_t(*real);
  auto is = [](const Argument& factor, double wanted) {
    if (auto* i = std::get_if<int64_t>(&factor)) return double(*i) == wanted;
    if (auto* d = std::get_if<double>(&factor)) return *d == wanted;
    return false;
  };
  if (!is(alpha, 1)) product = build.call1("aten::mul.Scalar", {Build::v(product), alpha});
  if (is(beta, 0)) return product;
  if (!is(beta, 1)) added = build.call1("aten::mul.Scalar", {Build::v(added), beta});
  return build.add(product, added);
}

// Sums of integers keep their type only when asked to.
ValueId sum_dim(Build& build, ValueId x, const std::vector<int64_t>& dims, bool keep) {
  return build.call1("aten::sum.dim_IntList",
                     {Build::v(x), Build::ints(dims), keep, int64_t(build.dtype(x))});
}

Results baddbmm(Build& build, const Node& node) {
  ValueId product = build.call1("aten::bmm", {node.arguments[1], node.arguments[2]});
  return one(scale_and_add(build, value(node, 0), product, node.arguments[3], node.arguments[4]));
}
// The sum over batches is one longer product: [n, b * k] . [b * k, m].
Results addbmm(Build& build, const Node& node) {
  ValueId a = value(node, 1), b = value(node, 2);
  std::vector<SymInt> a_sizes = sizes_of(build, a), b_sizes = sizes_of(build, b);
  SymInt depth = build.program().symbols.multiply(a_sizes[0], a_sizes[2]);
  a = build.call1("aten::reshape", {Build::v(build.permute(a, {1, 0, 2})), build.ints({a_sizes[1], depth})});
  b = build.call1("aten::reshape", {Build::v(b), build.ints({depth, b_sizes[2]})});
  return build.call("aten::addmm", {node.arguments[0], Build::v(a), Build::v(b), node.arguments[3],
                                    node.arguments[4]});
}

// Sums of 32 bits, which wrap.
Results int_mm(Build& build, const Node& node) {
  return build.call("aten::mm", {Build::v(build.cast(value(node, 0), DType::i32)),
                                 Build::v(build.cast(value(node, 1), DType::i32))});
}

ValueId multiply_vector(Build& build, ValueId matrix, ValueId vector) {
  ValueId product = build.call1("aten::mm", {Build::v(matrix), Build::v(unsqueeze(build, vector, 1))});
  return squeeze(build, product, 1);
}
ValueId outer_product(Build& build, ValueId a, ValueId b) {
  return build.mul(unsqueeze(build, a, 1), unsqueeze(build, b, 0));
}
Results mv(Build& build, const Node& node) {
  return one(multiply_vector(build, value(node, 0), value(node, 1)));
}
Results addmv(Build& build, const Node& node) {
  ValueId product = multiply_vector(build, value(node, 1), value(node, 2));
  return one(scale_and_add(build, value(node, 0), product, node.arguments[3], node.arguments[4]));
}
Results outer(Build& build, const Node& node) {
  return one(outer_product(build, value(node, 0), value(node, 1)));
}
Results addr(Build& build, const Node& node) {
  ValueId added = value(node, 0), a = value(node, 1), b = value(node, 2);
  DType dtype = build.dtype(a), wide = dtype_bytes(dtype) == 2 && is_floating(dtype) ? DType::f32 : dtype;
  ValueId product = outer_product(build, build.cast(a, wide), build.cast(b, wide));
  ValueId sum = scale_and_add(build, build.cast(added, wide), product, node.arguments[3], node.arguments[4]);
  return one(build.cast(sum, dtype));
}
ValueId dot_product(Build& build, ValueId a, ValueId b) {
  ValueId product = build.call1(
      "aten::mm", {Build::v(unsqueeze(build, a, 0)), Build::v(unsqueeze(build, b, 1))});
  return build.view(product, {});
}
Results dot(Build& build, const Node& node) {
  return one(dot_product(build, value(node, 0), value(node, 1)));
}

// The size that two sizes broadcast to. Unlike symbolic sizes are taken to be equal: torch has
// checked them.
SymInt broadcast_size(SymInt a, SymInt b) {
  if (a == b || b == SymInt(1)) return a;
  if (a == SymInt(1)) return b;
  return a.is_known() ? a : b;
}

ValueId expand_to(Build& build, ValueId id, const std::vector<SymInt>& sizes) {
  if (build.tensor(id).sizes == sizes) return id;
  return build.call1("aten::expand", {Build::v(id), build.ints(sizes)});
}
ValueId view_as(Build& build, ValueId id, const std::vector<SymInt>& sizes) {
  if (build.tensor(id).sizes == sizes) return id;
  return build.call1("aten::reshape", {Build::v(id), build.ints(sizes)});
}

ValueId matmul_of(Build& build, ValueId a, ValueId b) {
  int a_rank = build.rank(a), b_rank = build.rank(b);
  if (a_rank == 1 && b_rank == 1) return dot_product(build, a, b);
  if (a_rank == 2 && b_rank == 1) return multiply_vector(build, a, b);
  if (a_rank == 2 && b_rank == 2) return build.call1("aten::mm", {Build::v(a), Build::v(b)});
  if (a_rank == 1 && b_rank == 2)
    return squeeze(build, build.call1("aten::mm", {Build::v(unsqueeze(build, a, 0)), Build::v(b)}), 0);
  if (a_rank >= 3 && b_rank <= 2) {  // all rows at once
    std::vector<SymInt> sizes = sizes_of(build, a);
    size_t last = sizes.size() - 1;
    ValueId rows = view_as(build, a, {size_product(build, sizes, 0, last), sizes[last]});
    ValueId matrix = b_rank == 1 ? unsqueeze(build, b, 1) : b;
    ValueId product = build.call1("aten::mm", {Build::v(rows), Build::v(matrix)});
    SymInt columns = build.size(matrix, 1);
    sizes.pop_back();
    if (b_rank == 2) sizes.push_back(columns);
    return build.view(product, sizes);
  }
  // Batches of matrices, broadcast.
  if (a_rank == 1) a = unsqueeze(build, a, 0);
  if (b_rank == 1) b = unsqueeze(build, b, 1);
  std::vector<SymInt> a_sizes = sizes_of(build, a), b_sizes = sizes_of(build, b), batch;
  size_t a_batch = a_sizes.size() - 2, b_batch = b_sizes.size() - 2;
  size_t rank = std::max(a_batch, b_batch);
  for (size_t i = 0; i < rank; i++) {
    SymInt x = i + a_batch < rank ? SymInt(1) : a_sizes[i + a_batch - rank];
    SymInt y = i + b_batch < rank ? SymInt(1) : b_sizes[i + b_batch - rank];
    batch.push_back(broadcast_size(x, y));
  }
  SymInt count = size_product(build, batch, 0, rank);
  auto flat = [&](ValueId id, const std::vector<SymInt>& sizes) {
    std::vector<SymInt> wanted = batch;
    wanted.insert(wanted.end(), sizes.end() - 2, sizes.end());
    id = expand_to(build, id, wanted);
    return view_as(build, id, {count, wanted[rank], wanted[rank + 1]});
  };
  ValueId left = flat(a, a_sizes), right = flat(b, b_sizes);
  ValueId product = build.call1("aten::bmm", {Build::v(left), Build::v(right)});
  std::vector<SymInt> sizes = batch;
  if (a_rank > 1) sizes.push_back(a_sizes[a_sizes.size() - 2]);
  if (b_rank > 1) sizes.push_back(b_sizes[b_sizes.size() - 1]);
  return view_as(build, product, sizes);
}
Results matmul(Build& build, const Node& node) {
  return one(matmul_of(build, value(node, 0), value(node, 1)));
}

// inner(a, b): sums over the last dimension of both.
Results inner(Build& build, const Node& node) {
  ValueId a = value(node, 0), b = value(node, 1);
  if (build.rank(a) == 0 || build.rank(b) == 0) return one(build.mul(a, b));
  std::vector<SymInt> a_sizes = sizes_of(build, a), b_sizes = sizes_of(build, b), sizes;
  size_t a_last = a_sizes.size() - 1, b_last = b_sizes.size() - 1;
  a = view_as(build, a, {size_product(build, a_sizes, 0, a_last), a_sizes[a_last]});
  b = view_as(build, b, {size_product(build, b_sizes, 0, b_last), b_sizes[b_last]});
  sizes.assign(a_sizes.begin(), a_sizes.end() - 1);
  sizes.insert(sizes.end(), b_sizes.begin(), b_sizes.end() - 1);
  ValueId product = build.call1("aten::mm", {Build::v(a), Build::v(build.permute(b, {1, 0}))});
  return one(view_as(build, product, sizes));
}

// tensordot(a, b, dims_a, dims_b): the named dimensions are summed, the rest of a then of b stay.
Results tensordot(Build& build, const Node& node) {
  ValueId a = value(node, 0), b = value(node, 1);
  auto a_dims = known_list(node, 2), b_dims = known_list(node, 3);
  if (!a_dims || !b_dims || a_dims->size() != b_dims->size()) return std::nullopt;
  auto arrange = [&](ValueId id, std::vector<int64_t> summed, bool summed_first,
                     std::vector<SymInt>* kept) {
    int rank = build.rank(id);
    std::vector<bool> is_summed(size_t(rank), false);
    for (int64_t& dim : summed) {
      if (dim < 0) dim += rank;
      is_summed[size_t(dim)] = true;
    }
    std::vector<int64_t> order;
    SymInt inner = 1, outer = 1;
    SymbolTable& symbols = build.program().symbols;
    for (int i = 0; i < rank; i++) {
      if (is_summed[size_t(i)]) continue;
      order.push_back(i);
      kept->push_back(build.size(id, i));
      outer = symbols.multiply(outer, build.size(id, i));
    }
    for (int64_t dim : summed) inner = symbols.multiply(inner, build.size(id, int(dim)));
    order.insert(summed_first ? order.begin() : order.end(), summed.begin(), summed.end());
    bool moved = !std::is_sorted(order.begin(), order.end());
    ValueId turned = moved ? build.permute(id, order) : id;
    return summed_first ? view_as(build, turned, {inner, outer}) : view_as(build, turned, {outer, inner});
  };
  for (auto [dims, id] : {std::pair{*a_dims, a}, std::pair{*b_dims, b}})
    for (int64_t dim : dims)
      if (dim < -build.rank(id) || dim >= build.rank(id)) return std::nullopt;
  // A summed dimension of size one goes with any size: the other operand is summed first.
  for (size_t i = 0; i < a_dims->size(); i++) {
    auto sum_other = [&](ValueId& id, int64_t dim, ValueId other, int64_t other_dim) {
      auto size = [&](ValueId of, int64_t d) { return build.size(of, int(d < 0 ? d + build.rank(of) : d)); };
      if (size(other, other_dim) == SymInt(1) && !(size(id, dim) == SymInt(1)))
        id = sum_dim(build, id, {dim}, true);
    };
    sum_other(a, (*a_dims)[i], b, (*b_dims)[i]);
    sum_other(b, (*b_dims)[i], a, (*a_dims)[i]);
  }
  std::vector<SymInt> sizes;
  ValueId left = arrange(a, *a_dims, false, &sizes);
  ValueId right = arrange(b, *b_dims, true, &sizes);
  ValueId product = build.call1("aten::mm", {Build::v(left), Build::v(right)});
  return one(view_as(build, product, sizes));
}

// kron: every element of a times b, as a product of interleaved dimensions.
Results kron(Build& build, const Node& node) {
  ValueId a = value(node, 0), b = value(node, 1);
  size_t rank = size_t(std::max(build.rank(a), build.rank(b)));
  auto padded = [&](ValueId id) {
    std::vector<SymInt> sizes = sizes_of(build, id);
    sizes.insert(sizes.begin(), rank - sizes.size(), SymInt(1));
    return sizes;
  };
  std::vector<SymInt> a_sizes = padded(a), b_sizes = padded(b), left, right, sizes;
  for (size_t i = 0; i < rank; i++) {
    left.insert(left.end(), {a_sizes[i], SymInt(1)});
    right.insert(right.end(), {SymInt(1), b_sizes[i]});
    sizes.push_back(build.program().symbols.multiply(a_sizes[i], b_sizes[i]));
  }
  return one(view_as(build, build.mul(view_as(build, a, left), view_as(build, b, right)), sizes));
}

Results multi_dot(Build& build, const Node& node) {
  auto* list = std::get_if<std::vector<ValueRef>>(&node.arguments[0]);
  if (!list || list->empty()) return std::nullopt;
  ValueId product = (*list)[0].id;
  for (size_t i = 1; i < list->size(); i++) product = matmul_of(build, product, (*list)[i].id);
  return one(product);
}

Results vecdot(Build& build, const Node& node) {
  auto dim = number(node, 2);
  if (!dim) return std::nullopt;
  ValueId product = build.mul(value(node, 0), value(node, 1));
  return one(sum_dim(build, product, {int64_t(*dim)}, false));
}

// bilinear(x1, x2, weight [out, n1, n2], bias): sum over i, j of x1[i] * weight[o, i, j] * x2[j].
Results bilinear(Build& build, const Node& node) {
  ValueId x1 = value(node, 0), x2 = value(node, 1), weight = value(node, 2);
  ValueId bias = optional_value(node, 3);
  std::vector<SymInt> sizes = sizes_of(build, x1);
  size_t last = sizes.size() - 1;
  SymInt rows = size_product(build, sizes, 0, last), n1 = sizes[last];
  SymInt n2 = build.size(weight, 2), out = build.size(weight, 0);
  SymbolTable& symbols = build.program().symbols;
  // [rows, n1] . [n1, out * n2] -> [rows, out, n2], times x2 as a column.
  ValueId flat1 = view_as(build, x1, {rows, n1}), flat2 = view_as(build, x2, {rows, n2, 1});
  ValueId turned = view_as(build, build.permute(weight, {1, 0, 2}), {n1, symbols.multiply(out, n2)});
  ValueId half = build.call1("aten::mm", {Build::v(flat1), Build::v(turned)});
  ValueId y = build.call1("aten::bmm",
                          {Build::v(view_as(build, half, {rows, out, n2})), Build::v(flat2)});
  sizes[last] = out;
  y = view_as(build, y, sizes);
  if (bias != kNoValue) y = build.add(y, bias);
  return one(y);
}

// _trilinear(i1, i2, i3, expand1, expand2, expand3, sumdim, unroll_dim).
Results trilinear(Build& build, const Node& node) {
  ValueId product = kNoValue;
  for (int i = 0; i < 3; i++) {
    ValueId x = value(node, i);
    auto dims = known_list(node, 3 + i);
    if (!dims) return std::nullopt;
    for (int64_t dim : *dims) x = unsqueeze(build, x, dim);
    product = i == 0 ? x : build.mul(product, x);
  }
  auto sum = known_list(node, 6);
  if (!sum) return std::nullopt;
  return one(sum->empty() ? product : sum_dim(build, product, *sum, false));
}

// grouped_mm(input [rows, in], weight [groups, in, out], offsets): every group's product over all
// rows, then each row takes the one of its group.
Results grouped_mm(Build& build, const Node& node) {
  ValueId x = value(node, 0), weight = value(node, 1), offsets = value(node, 2);
  SymInt rows = build.size(x, 0), in = build.size(x, 1), groups = build.size(weight, 0);
  if (!groups.is_known() || groups.value < 1) return std::nullopt;
  ValueId stack = expand_to(build, unsqueeze(build, x, 0), {groups, rows, in});
  ValueId all = build.call1("aten::bmm", {Build::v(stack), Build::v(weight)});
  // Row r is of the first group whose offset exceeds r: as many offsets are at most r.
  ValueId row = build.call1("aten::arange", {build.int_item(rows).is_known()
                                                 ? Argument(rows.value)
                                                 : Argument(ValueRef{build.int_item(rows).value}),
                                             int64_t(DType::i64)});
  ValueId ends = build.cast(offsets, DType::i64);
  ValueId starts = build.call1("aten::slice.Tensor", {Build::v(ends), int64_t{0}, int64_t{0},
                                                      groups.value - 1, int64_t{1}});
  ValueId zero = build.full({SymInt(1)}, 0, DType::i64);
  starts = build.call1("aten::cat", {std::vector<ValueRef>{{zero}, {starts}}, int64_t{0}});
  auto compare = [&](const char* op, ValueId bound) {
    return build.call1(op, {Build::v(unsqueeze(build, row, 0)), Build::v(unsqueeze(build, bound, 1))});
  };
  ValueId inside = build.call1("aten::logical_and", {Build::v(compare("aten::ge.Tensor", starts)),
                                                     Build::v(compare("aten::lt.Tensor", ends))});
  ValueId picked = build.call1("aten::where.self",
                               {Build::v(unsqueeze(build, inside, 2)), Build::v(all),
                                Build::v(build.scalar(0, build.dtype(x)))});
  return one(sum_dim(build, picked, {0}, false));
}

// _grouped_mm(self, mat2, offs, bias, out_dtype): the form with groups of rows, or plain batches.
Results grouped_mm_aten(Build& build, const Node& node) {
  ValueId x = value(node, 0), weight = value(node, 1), offsets = optional_value(node, 2);
  ValueId y;
  if (build.rank(x) == 3 && build.rank(weight) == 3 && offsets == kNoValue)
    y = build.call1("aten::bmm", {Build::v(x), Build::v(weight)});
  else if (build.rank(x) == 2 && build.rank(weight) == 3 && offsets != kNoValue)
    y = build.call1("transformers::grouped_mm_fallback", {Build::v(x), Build::v(weight), Build::v(offsets)});
  else return std::nullopt;
  if (ValueId bias = optional_value(node, 3); bias != kNoValue) y = build.add(y, bias);
  if (auto dtype = number(node, 4)) y = build.cast(y, DType(int(*dtype)));
  return one(y);
}

}  // namespace

OP(grouped_mm_fallback) = {.schema = "transformers::grouped_mm_fallback(Tensor input, Tensor weight, Tensor offs) -> Tensor",
                           .out = "sconce::grouped_mm.out", .decompose = grouped_mm};
OP(_grouped_mm) = {.schema = "aten::_grouped_mm(Tensor self, Tensor mat2, Tensor? offs=None, Tensor? bias=None, ScalarType? out_dtype=None) -> Tensor",
                   .decompose = grouped_mm_aten};
OP(mm) = {.schema = "aten::mm(Tensor self, Tensor mat2) -> Tensor", .out = "aten::mm.out"};
OP(_int_mm) = {.schema = "aten::_int_mm(Tensor self, Tensor mat2) -> Tensor", .out = "aten::_int_mm.out",
               .decompose = int_mm};
OP(bmm) = {.schema = "aten::bmm(Tensor self, Tensor mat2) -> Tensor", .out = "aten::bmm.out"};
OP(addmm) = {.schema = "aten::addmm(Tensor self, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
             .out = "aten::addmm.out"};
OP(baddbmm) = {.schema = "aten::baddbmm(Tensor self, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
               .out = "aten::baddbmm.out", .decompose = baddbmm};
OP(linear) = {.schema = "aten::linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor",
              .out = "aten::linear.out", .decompose = linear};
OP(addbmm) = {.schema = "aten::addbmm(Tensor self, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
              .decompose = addbmm};
OP(matmul) = {.schema = "aten::matmul(Tensor self, Tensor other) -> Tensor", .decompose = matmul};
OP(linalg_matmul) = {.schema = "aten::linalg_matmul(Tensor self, Tensor other) -> Tensor", .decompose = matmul};
OP(mv) = {.schema = "aten::mv(Tensor self, Tensor vec) -> Tensor", .decompose = mv};
OP(addmv) = {.schema = "aten::addmv(Tensor self, Tensor mat, Tensor vec, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
             .decompose = addmv};
OP(addr) = {.schema = "aten::addr(Tensor self, Tensor vec1, Tensor vec2, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
            .decompose = addr};
OP(dot) = {.schema = "aten::dot(Tensor self, Tensor tensor) -> Tensor", .decompose = dot};
OP(vdot) = {.schema = "aten::vdot(Tensor self, Tensor other) -> Tensor", .decompose = dot};
OP(outer) = {.schema = "aten::outer(Tensor self, Tensor vec2) -> Tensor", .decompose = outer};
OP(ger) = {.schema = "aten::ger(Tensor self, Tensor vec2) -> Tensor", .decompose = outer};
OP(inner) = {.schema = "aten::inner(Tensor self, Tensor other) -> Tensor", .decompose = inner};
OP(tensordot) = {.schema = "aten::tensordot(Tensor self, Tensor other, int[] dims_self, int[] dims_other) -> Tensor",
                 .decompose = tensordot};
OP(kron) = {.schema = "aten::kron(Tensor self, Tensor other) -> Tensor", .decompose = kron};
OP(chain_matmul) = {.schema = "aten::chain_matmul(Tensor[] matrices) -> Tensor", .decompose = multi_dot};
OP(linalg_multi_dot) = {.schema = "aten::linalg_multi_dot(Tensor[] tensors) -> Tensor", .decompose = multi_dot};
OP(linalg_vecdot) = {.schema = "aten::linalg_vecdot(Tensor x, Tensor y, *, int dim=-1) -> Tensor",
                     .decompose = vecdot};
OP(bilinear) = {.schema = "aten::bilinear(Tensor input1, Tensor input2, Tensor weight, Tensor? bias=None) -> Tensor",
                .decompose = bilinear};
OP(trilinear) = {.schema = "aten::_trilinear(Tensor i1, Tensor i2, Tensor i3, int[] expand1, int[] expand2, int[] expand3, int[] sumdim, int unroll_dim=1) -> Tensor",
                 .decompose = trilinear};

}  // namespace sconce
