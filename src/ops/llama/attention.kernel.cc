// Attention over a cache, as ExecuTorch's operators for language models define it: queries, keys
// and values are [batch, positions, heads, features], the first query stands at start_pos, and
// queries share heads of keys and values in groups. Some rows of scores exist at once.
#include <cmath>

#include "ops/attention/softmax_rows.h"
#include "ops/linear/gemm.h"
#include "ops/llama/cache.h"

namespace sconce {
namespace {

constexpr int64_t kRowsMax = kAttentionRowsMax;

// What the integers of one operand stand for: (q - zero point) * scale of their position and head.
struct Quantized {
  const Tensor* zero_points = nullptr;  // i8 [.., .., .., 1]; null: the operand holds numbers
  const Tensor* scales = nullptr;       // f32, the same sizes
};

struct CachedAttention {
  const char* op;
  const Tensor *query, *key, *value;
  const Tensor* mask = nullptr;  // [queries, keys], added to the scores
  int64_t start_pos = 0;
  bool causal = false;
  bool has_scale = false;
  double scale = 1;
  bool heads_first = false;  // [batch, heads, positions, features]
  Quantized of_query, of_key, of_value;

  int position_dim() const { return heads_first ? 2 : 1; }
  int head_dim() const { return heads_first ? 1 : 2; }
  bool quantized() const { return query->dtype == DType::i8; }
};

// Arguments from `at` on: start_pos, attn_mask, drpout_p, is_causal, scale. Dropout is not applied:
// ExecuTorch's operator is for inference and ignores it.
void take_options(CachedAttention& a, const Args& args, int start_pos, int at) {
  a.start_pos = args.integer(start_pos);
  a.mask = args.find_tensor(at);
  a.causal = args.boolean(at + 2);
  a.has_scale = args.has(at + 3);
  if (a.has_scale) a.scale = args.floating(at + 3);
}

Status check_operand(const CachedAttention& a, const char* name, const Tensor& tensor,
                     const Quantized& quantized, Diagnostic* diagnostic) {
  const Tensor& q = *a.query;
  if (tensor.rank != 4)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: %s of rank %d, 4 wanted", a.op,
                       name, tensor.rank);
  if (tensor.dtype != q.dtype)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: %s of %s, the query is %s", a.op,
                       name, dtype_name(tensor.dtype), dtype_name(q.dtype));
  if (tensor.sizes[0] != q.sizes[0] || tensor.sizes[3] != q.sizes[3])
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: %s of %d batches and %d features, the query has %d and %d", a.op, name,
                       int(tensor.sizes[0]), int(tensor.sizes[3]), int(q.sizes[0]),
                       int(q.sizes[3]));
  if (!a.quantized()) return kOk;
  if (!is_contiguous(tensor))
    return SCONCE_FAIL(Code::unsupported, diagnostic, "%s: %s lies in another order of dimensions",
                       a.op, name);
  const Tensor* parameters[] = {quantized.zero_points, quantized.scales};
  const DType wanted[] = {DType::i8, DType::f32};
  for (int k = 0; k < 2; k++) {
    const char* what = k == 0 ? "zero points" : "scales";
    const Tensor* p = parameters[k];
    if (!p)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: an i8 %s without %s", a.op, name,
                         what);
    bool fits = p->rank == 4 && p->dtype == wanted[k] && is_contiguous(*p) && p->sizes[3] == 1;
    for (int d = 0; fits && d < 3; d++) fits = p->sizes[d] == tensor.sizes[d];
    if (!fits)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s: %s of the %s are %s of rank %d, %s[%d, %d, %d, 1] wanted", a.op, what,
                         name, dtype_name(p->dtype), p->rank, dtype_name(wanted[k]),
                         int(tensor.sizes[0]), int(tensor.sizes[1]), int(tensor.sizes[2]));
  }
  return kOk;
}

Status attention_shape(const CachedAttention& a, OutMeta& out, Diagnostic* diagnostic) {
  const Tensor &q = *a.query, &k = *a.key, &v = *a.value;
  if (!a.quantized() && q.dtype != DType::f32 && q.dtype != DType::f16 && q.dtype != DType::bf16)
    return SCONCE_FAIL(Code::unsupported, diagnostic, "%s is not defined for %s", a.op,
                       dtype_name(q.dtype));
  SCONCE_TRY_STATUS(check_operand(a, "query", q, a.of_query, diagnostic));
  SCONCE_TRY_STATUS(check_operand(a, "key", k, a.of_key, diagnostic));
  SCONCE_TRY_STATUS(check_operand(a, "value", v, a.of_value, diagnostic));
  for (int d : {1, 2})
    if (k.sizes[d] != v.sizes[d])
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s: dimension %d of the key is %d, the value has %d", a.op, d,
                         int(k.sizes[d]), int(v.sizes[d]));
  int64_t heads = q.sizes[a.head_dim()], own = k.sizes[a.head_dim()];
  if (own < 1 || heads % own != 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: %lld heads of key and value do not divide %lld of the query", a.op,
                       (long long)own, (long long)heads);
  if (a.mask) {
    if (a.causal)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s: a mask and is_causal exclude each other", a.op);
    const Tensor& m = *a.mask;
    if (m.rank != 2 || !is_floating(m.dtype) || m.sizes[0] != q.sizes[a.position_dim()] ||
        m.sizes[1] != k.sizes[a.position_dim()])
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s: a mask of %s and rank %d, numbers [%d, %d] wanted", a.op,
                         dtype_name(m.dtype), m.rank, int(q.sizes[a.position_dim()]),
                         int(k.sizes[a.position_dim()]));
  }
  set_like(out, q, a.quantized() ? DType::f32 : q.dtype);
  return kOk;
}

uint64_t gemms_bytes(const CachedAttention& a) {
  int64_t keys = a.key->sizes[a.position_dim()], features = a.query->sizes[3];
  uint64_t scores = gemm_scratch_bytes(Compute::f32, kRowsMax, keys, features);
  uint64_t values = gemm_scratch_bytes(Compute::f32, kRowsMax, features, keys);
  return align_up(scores > values ? scores : values, 16);
}

uint64_t attention_scratch_bytes(const CachedAttention& a) {
  return gemms_bytes(a) +
         uint64_t(kRowsMax) * uint64_t(a.key->sizes[a.position_dim()]) * sizeof(float);
}

// A matrix [positions, features] of integers, and what they stand for.
struct QuantizedRows {
  const int8_t* data = nullptr;
  const int8_t* zero_points = nullptr;
  const float* scales = nullptr;
  int64_t row_stride = 0, parameter_stride = 0;

  float at(int64_t position, int64_t feature) const {
    int64_t p = position * parameter_stride;
    return float(int(data[position * row_stride + feature]) - int(zero_points[p])) * scales[p];
  }
};

struct QuantizedOperands {
  QuantizedRows rows, columns;
};

void pack_query(const void* state, int64_t m, int64_t k, int count, void* to) {
  const QuantizedRows& q = static_cast<const QuantizedOperands*>(state)->rows;
  for (int i = 0; i < count; i++) static_cast<float*>(to)[i] = q.at(m, k + i);
}
// Keys are the columns of the scores' product ...
void pack_keys(const void* state, int64_t n, int columns, int64_t k, int rows, void* to,
               int width) {
  const QuantizedRows& keys = static_cast<const QuantizedOperands*>(state)->columns;
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < width; j++)
      static_cast<float*>(to)[i * width + j] = j < columns ? keys.at(n + j, k + i) : 0;
}
// ... and values the rows of the other one's second operand.
void pack_values(const void* state, int64_t n, int columns, int64_t k, int rows, void* to,
                 int width) {
  const QuantizedRows& values = static_cast<const QuantizedOperands*>(state)->columns;
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < width; j++)
      static_cast<float*>(to)[i * width + j] = j < columns ? values.at(k + i, n + j) : 0;
}

Status run_attention(const CachedAttention& a, Tensor& out, KernelContext& context) {
  const Tensor &q = *a.query, &k = *a.key, &v = *a.value;
  bool quantized = a.quantized();
  SCONCE_TRY_STATUS(check_out_dtype(out, quantized ? DType::f32 : q.dtype, context.diagnostic));
  int rows_dim = a.position_dim(), head_dim = a.head_dim();
  int64_t queries = q.sizes[rows_dim], features = q.sizes[3], keys = k.sizes[rows_dim];
  if (!a.mask) {
    if (a.start_pos < 0 || a.start_pos > keys || queries > keys - a.start_pos)
      return SCONCE_FAIL(Code::invalid_argument, context.diagnostic,
                         "%s: %lld queries from start_pos %lld on do not lie in a cache of %lld",
                         a.op, (long long)queries, (long long)a.start_pos, (long long)keys);
    keys = a.start_pos + queries;
  }
  if (element_count(out) == 0) return kOk;
  Strides qs = strides_of(q), ks = strides_of(k), vs = strides_of(v), os = strides_of(out);
  Strides ms{};
  if (a.mask) ms = strides_of(*a.mask);
  uint8_t* gemm_scratch = context.scratch.data();
  float* scores = reinterpret_cast<float*>(gemm_scratch + gemms_bytes(a));

  QuantizedOperands of_scores, of_values;
  Gemm dot;  // scores = scale * q . k^T
  dot.n = keys;
  dot.k = features;
  dot.out = scores;
  dot.out_dtype = DType::f32;
  dot.out_row_stride = keys;
  dot.out_column_stride = 1;
  dot.alpha.real = a.has_scale ? a.scale : 1.0 / std::sqrt(double(features));
  Gemm mix;  // out = scores . v
  mix.n = features;
  mix.k = keys;
  mix.a = {scores, DType::f32, keys, 1};
  mix.out_dtype = out.dtype;
  mix.out_row_stride = os[rows_dim];
  mix.out_column_stride = os[3];
  if (quantized) {
    dot.pack_row = pack_query;
    dot.pack_columns = pack_keys;
    dot.state = &of_scores;
    mix.pack_columns = pack_values;
    mix.state = &of_values;
  }
  auto quantized_rows = [&](const Tensor& tensor, const Quantized& what, int64_t batch,
                            int64_t head, int64_t first) {
    Strides s = strides_of(tensor), p = strides_of(*what.scales);
    int64_t at = batch * p[0] + head * p[head_dim] + first * p[rows_dim];
    return QuantizedRows{
        tensor.as<int8_t>() + batch * s[0] + head * s[head_dim] + first * s[rows_dim],
        what.zero_points->as<int8_t>() + at, what.scales->as<float>() + at, s[rows_dim],
        p[rows_dim]};
  };
  int64_t bytes = int64_t(dtype_bytes(q.dtype)), out_bytes = int64_t(dtype_bytes(out.dtype));
  int64_t heads = q.sizes[head_dim], group = heads / k.sizes[head_dim];
  for (int64_t batch = 0; batch < q.sizes[0]; batch++)
    for (int64_t head = 0; head < heads; head++) {
      int64_t shared = head / group;
      if (quantized) {
        of_scores.columns = quantized_rows(k, a.of_key, batch, shared, 0);
        of_values.columns = quantized_rows(v, a.of_value, batch, shared, 0);
      } else {
        dot.b = {k.as<char>() + (batch * ks[0] + shared * ks[head_dim]) * bytes, k.dtype, ks[3],
                 ks[rows_dim]};
        mix.b = {v.as<char>() + (batch * vs[0] + shared * vs[head_dim]) * bytes, v.dtype,
                 vs[rows_dim], vs[3]};
      }
      for (int64_t first = 0; first < queries; first += kRowsMax) {
        int64_t rows = queries - first < kRowsMax ? queries - first : kRowsMax;
        dot.m = mix.m = rows;
        if (quantized)
          of_scores.rows = quantized_rows(q, a.of_query, batch, head, first);
        else
          dot.a = {
              q.as<char>() + (batch * qs[0] + head * qs[head_dim] + first * qs[rows_dim]) * bytes,
              q.dtype, qs[rows_dim], qs[3]};
        gemm(dot, Compute::f32, gemm_scratch);
        softmax_rows(scores, rows, keys, a.mask, a.mask ? first * ms[0] : 0, a.mask ? ms[0] : 0,
                     a.mask ? ms[1] : 0, a.causal ? a.start_pos + first : -1);
        mix.out = out.as<char>() +
                  (batch * os[0] + head * os[head_dim] + first * os[rows_dim]) * out_bytes;
        gemm(mix, Compute::f32, gemm_scratch);
      }
    }
  return kOk;
}

// --- llama::custom_sdpa(query, key, value, start_pos, attn_mask, drpout_p, is_causal, scale)

CachedAttention custom(const Args& args) {
  CachedAttention a{"llama::custom_sdpa", &args.tensor(0), &args.tensor(1), &args.tensor(2)};
  take_options(a, args, 3, 4);
  return a;
}

// --- llama::custom_quantized_sdpa(..., q_zero_points, q_scales, k_zero_points, k_scales,
// v_zero_points, v_scales, is_seq_at_dim_2)

CachedAttention custom_quantized(const Args& args) {
  CachedAttention a = custom(args);
  a.op = "llama::custom_quantized_sdpa";
  a.of_query = {args.find_tensor(8), args.find_tensor(9)};
  a.of_key = {args.find_tensor(10), args.find_tensor(11)};
  a.of_value = {args.find_tensor(12), args.find_tensor(13)};
  a.heads_first = args.boolean(14);
  return a;
}

template <CachedAttention (*call)(const Args& args)>
Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  return attention_shape(call(args), outs[0], diagnostic);
}
template <CachedAttention (*call)(const Args& args)>
uint64_t scratch_bytes(const Args& args) {
  return attention_scratch_bytes(call(args));
}
template <CachedAttention (*call)(const Args& args)>
Status run(const Args& args, KernelContext& context) {
  return run_attention(call(args), args.out(), context);
}

// --- llama::sdpa_with_kv_cache(query, key, value, key_cache, value_cache, start_pos, seq_len,
// attn_mask, drpout_p, is_causal, scale): writes key and value into the caches, then attends to
// them.

constexpr const char* kWithCache = "llama::sdpa_with_kv_cache";

CachedAttention with_cache(const Args& args) {
  CachedAttention a{kWithCache, &args.tensor(0), &args.tensor(3), &args.tensor(4)};
  take_options(a, args, 5, 7);
  return a;
}

Status with_cache_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  for (int i : {0, 1})
    SCONCE_TRY_STATUS(
        check_cache_rows(kWithCache, args.tensor(1 + i), args.tensor(3 + i), diagnostic));
  return attention_shape(with_cache(args), outs[0], diagnostic);
}

Status with_cache_run(const Args& args, KernelContext& context) {
  for (int i : {0, 1}) {
    const Tensor &rows = args.tensor(1 + i), &cache = args.tensor(3 + i);
    SCONCE_TRY_STATUS(check_cache_writable(kWithCache, cache, context.diagnostic));
    SCONCE_TRY_STATUS(
        check_cache_span(kWithCache, args.integer(5), rows.sizes[1], cache, context.diagnostic));
    // What the caller says of its rows has to fit as well.
    SCONCE_TRY_STATUS(
        check_cache_span(kWithCache, args.integer(5), args.integer(6), cache, context.diagnostic));
  }
  for (int i : {0, 1}) write_cache_rows(args.tensor(1 + i), args.tensor(3 + i), args.integer(5));
  return run_attention(with_cache(args), args.out(), context);
}

}  // namespace

KERNEL(custom_sdpa) = {"llama::custom_sdpa.out", "tttiTfbF>t", shape<custom>, run<custom>,
                       scratch_bytes<custom>};
KERNEL(custom_quantized_sdpa) = {"llama::custom_quantized_sdpa.out", "tttiTfbFTTTTTTb>t",
                                 shape<custom_quantized>, run<custom_quantized>,
                                 scratch_bytes<custom_quantized>};
KERNEL(sdpa_with_kv_cache) = {"llama::sdpa_with_kv_cache.out", "tttttiiTfbF>t", with_cache_shape,
                              with_cache_run, scratch_bytes<with_cache>};

}  // namespace sconce
