// ExecuTorch's operators for language models (its library of custom operators): attention over a
// cache, the writes into that cache, the Walsh-Hadamard transform.
//
// Operators that write into a cache become functions of the cache (sconce::updated_cache) where a
// program is read; emit gives the result the cache's own memory where it can. For targets without
// these kernels everything has a form in plain operators.
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "ops/linear/decompose.h"
#include "ops/llama/hadamard.h"

namespace sconce {
namespace {

ValueId updated(Build& build, ValueId cache, ValueId rows, const Argument& start) {
  return build.call1("sconce::updated_cache", {Build::v(cache), Build::v(rows), start});
}

// The result of an operator that is called for what it changes.
ValueId token(Build& build, ValueId rows) { return build.full({1}, 0, build.dtype(rows)); }

// value, cache, start_pos
std::optional<Effects> update_effects(Build& build, const Node& node) {
  ValueId now = updated(build, value(node, 1), value(node, 0), node.arguments[2]);
  return Effects{{token(build, value(node, 0))}, {{1, now}}};
}

// value, cache, start_pos, indices
std::optional<Effects> update_indexed_effects(Build& build, const Node& node) {
  ValueId now = build.call1("sconce::updated_cache_at",
                            {node.arguments[1], node.arguments[0], node.arguments[3]});
  return Effects{{token(build, value(node, 0))}, {{1, now}}};
}

// query, key, value, key_cache, value_cache, start_pos, seq_len, attn_mask, drpout_p, is_causal,
// scale
std::optional<Effects> with_cache_effects(Build& build, const Node& node) {
  ValueId keys = updated(build, value(node, 3), value(node, 1), node.arguments[5]);
  ValueId values = updated(build, value(node, 4), value(node, 2), node.arguments[5]);
  ValueId y =
      build.call1("llama::custom_sdpa",
                  {node.arguments[0], Build::v(keys), Build::v(values), node.arguments[5],
                   node.arguments[7], node.arguments[8], node.arguments[9], node.arguments[10]});
  return Effects{{y}, {{3, keys}, {4, values}}};
}

// i64 [count]: first, first + 1, ...
ValueId positions_from(Build& build, const Argument& first, SymInt count) {
  IntItem end = build.int_item(count);
  ValueId at = build.call1(
      "aten::arange",
      {end.is_known() ? Argument(end.known) : Build::v(end.value), int64_t(DType::i64)});
  auto* known = std::get_if<int64_t>(&first);
  if (known && *known == 0) return at;
  return build.call1("aten::add.Scalar", {Build::v(at), first});
}

// cache, value, start_pos
Results updated_parts(Build& build, const Node& node) {
  ValueId at = positions_from(build, node.arguments[2], build.size(value(node, 1), 1));
  return build.call("aten::index_copy",
                    {node.arguments[0], int64_t{1}, Build::v(at), node.arguments[1]});
}

// cache, value, indices: positions count over all batches, so that one index says where a row goes.
Results updated_at_parts(Build& build, const Node& node) {
  ValueId cache = value(node, 0), rows = value(node, 1);
  std::vector<SymInt> sizes = sizes_of(build, cache), given = sizes_of(build, rows);
  auto times = [&](SymInt a, SymInt b) { return build.program().symbols.multiply(a, b); };
  ValueId first = positions_from(build, int64_t{0}, given[0]);
  IntItem each = build.int_item(sizes[1]);
  first =
      build.call1("aten::mul.Scalar",
                  {Build::v(first), each.is_known() ? Argument(each.known) : Build::v(each.value)});
  ValueId at = build.add(value(node, 2), unsqueeze(build, first, 1));
  SymInt all = times(given[0], given[1]);
  ValueId flat = build.call1(
      "aten::index_copy",
      {Build::v(build.view(cache, {times(sizes[0], sizes[1]), sizes[2], sizes[3]})), int64_t{0},
       Build::v(build.view(at, {all})), Build::v(build.view(rows, {all, given[2], given[3]}))});
  return one(build.view(flat, sizes));
}

// [batch, positions, heads, features] as [batch, heads, positions, features], and back.
ValueId heads_exchanged(Build& build, ValueId id) { return build.permute(id, {0, 2, 1, 3}); }

struct Cached {
  ValueId query, key, value, mask;  // heads before positions
  Argument start, scale;
  bool causal;
};

// As torch's attention over the positions that the queries see. Where the start is a number that
// only a call knows, that is the whole cache behind a mask.
ValueId attend_to_cache(Build& build, Cached a) {
  SymInt queries = build.size(a.query, 2), positions = build.size(a.key, 2);
  auto* start = std::get_if<int64_t>(&a.start);
  bool causal = false;
  if (a.mask == kNoValue && start && queries.is_known()) {
    SymInt end = *start + queries.value;
    if (!(end == positions))
      for (ValueId* id : {&a.key, &a.value})
        *id = build.call1("aten::slice.Tensor", {Build::v(*id), int64_t{2}, int64_t{0}, end.value});
    positions = end;
    causal = a.causal && *start == 0;
  }
  if (a.mask == kNoValue && !causal && (a.causal || !start || !queries.is_known())) {
    // Query i, at start + i, sees the keys up to its own; or all queries see what the last one
    // does.
    ValueId last = positions_from(build, a.start, queries);
    if (!a.causal)
      last = build.call1("aten::slice.Tensor", {Build::v(last), int64_t{0}, int64_t{-1}});
    ValueId keys = positions_from(build, int64_t{0}, positions);
    a.mask = build.call1("aten::le.Tensor", {Build::v(keys), Build::v(unsqueeze(build, last, 1))});
  }
  bool grouped = !(build.size(a.query, 1) == build.size(a.key, 1));
  return build.call1("aten::scaled_dot_product_attention",
                     {Build::v(a.query), Build::v(a.key), Build::v(a.value),
                      optional_argument(a.mask), 0.0, causal, a.scale, grouped});
}

// query, key, value, start_pos, attn_mask, drpout_p, is_causal, scale
Results custom_parts(Build& build, const Node& node) {
  auto causal = number(node, 6);
  if (!causal) return std::nullopt;
  ValueId y = attend_to_cache(
      build, {heads_exchanged(build, value(node, 0)), heads_exchanged(build, value(node, 1)),
              heads_exchanged(build, value(node, 2)), optional_value(node, 4), node.arguments[3],
              node.arguments[7], *causal != 0});
  return one(heads_exchanged(build, y));
}

// ..., q_zero_points, q_scales, k_zero_points, k_scales, v_zero_points, v_scales, is_seq_at_dim_2
Results custom_quantized_parts(Build& build, const Node& node) {
  auto causal = number(node, 6), heads_first = number(node, 14);
  if (!causal || !heads_first) return std::nullopt;
  ValueId operands[3];
  for (int i = 0; i < 3; i++) {
    ValueId x = value(node, i);
    if (build.dtype(x) == DType::i8) {
      ValueId zero = optional_value(node, 8 + 2 * i), scale = optional_value(node, 9 + 2 * i);
      if (zero == kNoValue || scale == kNoValue) return std::nullopt;
      x = build.sub(build.cast(x, DType::f32), build.cast(zero, DType::f32));
      x = build.mul(x, scale);
    }
    operands[i] = *heads_first != 0 ? x : heads_exchanged(build, x);
  }
  ValueId y =
      attend_to_cache(build, {operands[0], operands[1], operands[2], optional_value(node, 4),
                              node.arguments[3], node.arguments[7], *causal != 0});
  return one(*heads_first != 0 ? y : heads_exchanged(build, y));
}

// The Hadamard matrix of order 2^n by Sylvester's construction, or that of order 28; times `scale`.
template <class Sign>
ValueId hadamard_matrix(Build& build, int64_t order, double scale, DType dtype, Sign sign) {
  std::vector<float> numbers(size_t(order * order));
  for (int64_t i = 0; i < order; i++)
    for (int64_t j = 0; j < order; j++)
      numbers[size_t(i * order + j)] = float(sign(int(i), int(j)) * scale);
  std::vector<uint8_t> bytes(numbers.size() * sizeof(float));
  memcpy(bytes.data(), numbers.data(), bytes.size());
  ValueId matrix = build.constant({DType::f32, {order, order}, {}}, std::move(bytes),
                                  fmt::format("hadamard.{}", order));
  return build.cast(matrix, dtype);
}

// A row of a * b numbers seen as a matrix: H_ab x = H_a X H_b. Two small products instead of one
// with a matrix as wide as the row.
Results hadamard_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  int rank = build.rank(x);
  DType dtype = build.dtype(x), compute = dtype == DType::f64 ? dtype : DType::f32;
  if (rank == 0) return one(build.call1("aten::clone", {Build::v(x)}));
  SymInt width = build.size(x, rank - 1);
  auto form = width.is_known() ? hadamard_form(width.value) : std::nullopt;
  if (!form) return std::nullopt;
  int64_t log2 = 0;
  while ((int64_t{1} << log2) < form->power) log2++;
  int64_t columns = int64_t{1} << log2 / 2, rows = form->power / columns;
  std::vector<SymInt> sizes = sizes_of(build, x), seen(sizes.begin(), sizes.end() - 1);
  seen.insert(seen.end(), {form->parts, rows, columns});
  auto sylvester = [&](int64_t order) {
    return hadamard_matrix(build, order, 1 / std::sqrt(double(order)), compute, [](int i, int j) {
      return __builtin_parity(unsigned(i & j)) ? -1.0 : 1.0;
    });
  };
  ValueId y = build.view(build.cast(x, compute), seen);
  if (columns > 1) y = build.call1("aten::matmul", {Build::v(y), Build::v(sylvester(columns))});
  if (rows > 1) y = build.call1("aten::matmul", {Build::v(sylvester(rows)), Build::v(y)});
  if (form->parts == 28) {
    seen = {sizes.begin(), sizes.end() - 1};
    seen.insert(seen.end(), {form->parts, form->power});
    ValueId matrix = hadamard_matrix(build, 28, 1, compute, hadamard_28_sign);
    y = build.call1("aten::matmul", {Build::v(matrix), Build::v(build.view(y, seen))});
  }
  return one(build.cast(build.view(y, sizes), dtype));
}

}  // namespace

OP(update_cache) = {
    .schema = "llama::update_cache(Tensor value, Tensor(a!) cache, SymInt start_pos) -> Tensor",
    .out = "llama::update_cache.out",
    .functionalize = update_effects};
OP(update_cache_with_indices) = {.schema =
                                     "llama::update_cache_with_indices(Tensor value, Tensor(a!) "
                                     "cache, SymInt start_pos, Tensor indices) -> Tensor",
                                 .out = "llama::update_cache_with_indices.out",
                                 .functionalize = update_indexed_effects};
OP(updated_cache) = {
    .schema = "sconce::updated_cache(Tensor cache, Tensor value, SymInt start_pos) -> Tensor",
    .out = "sconce::updated_cache.out",
    .decompose = updated_parts};
OP(updated_cache_at) = {
    .schema = "sconce::updated_cache_at(Tensor cache, Tensor value, Tensor indices) -> Tensor",
    .out = "sconce::updated_cache_at.out",
    .decompose = updated_at_parts};
OP(sdpa_with_kv_cache) = {
    .schema =
        "llama::sdpa_with_kv_cache(Tensor query, Tensor key, Tensor value, Tensor(a!) key_cache, "
        "Tensor(b!) value_cache, SymInt start_pos, SymInt seq_len, Tensor? attn_mask=None, float "
        "drpout_p=0., bool is_causal=False, float? scale=None) -> Tensor",
    .out = "llama::sdpa_with_kv_cache.out",
    .functionalize = with_cache_effects};
OP(custom_sdpa) = {
    .schema =
        "llama::custom_sdpa(Tensor query, Tensor key, Tensor value, SymInt start_pos, Tensor? "
        "attn_mask=None, float drpout_p=0., bool is_causal=False, float? scale=None) -> Tensor",
    .out = "llama::custom_sdpa.out",
    .decompose = custom_parts};
OP(custom_quantized_sdpa) = {
    .schema =
        "llama::custom_quantized_sdpa(Tensor query, Tensor key, Tensor value, SymInt start_pos, "
        "Tensor? attn_mask=None, float drpout_p=0., bool is_causal=False, float? scale=None, "
        "Tensor? q_zero_points=None, Tensor? q_scales=None, Tensor? k_zero_points=None, Tensor? "
        "k_scales=None, Tensor? v_zero_points=None, Tensor? v_scales=None, bool "
        "is_seq_at_dim_2=False) -> Tensor",
    .out = "llama::custom_quantized_sdpa.out",
    .decompose = custom_quantized_parts};
OP(fast_hadamard_transform) = {.schema = "llama::fast_hadamard_transform(Tensor mat) -> Tensor",
                               .out = "llama::fast_hadamard_transform.out",
                               .decompose = hadamard_parts};

}  // namespace sconce
