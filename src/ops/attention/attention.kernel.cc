// Scaled dot product attention: softmax(scale * query . key^T + mask) . value, some rows at a time,
// so that only kRowsMax rows of scores exist at once.
#include <cmath>

#include "ops/attention/softmax_rows.h"
#include "ops/linear/gemm.h"

namespace sconce {
namespace {

constexpr int64_t kRowsMax = kAttentionRowsMax;

// Arguments: query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa.
Status check_operand(const char* name, const Tensor& tensor, const Tensor& query,
                     Diagnostic* diagnostic) {
  if (tensor.rank < 2)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "scaled_dot_product_attention: %s has rank %d, at least 2 wanted", name,
                       tensor.rank);
  return check_same_dtype("scaled_dot_product_attention", query, tensor, diagnostic);
}

// Broadcasts the batch dimensions of `tensor` into `batch`; heads are repeated to `heads` when > 0.
Status add_batch(const char* name, const Tensor& tensor, int64_t heads, OutMeta& batch,
                 Diagnostic* diagnostic) {
  int32_t sizes[kRankMax];
  Tensor view = tensor;
  view.sizes = sizes;
  view.rank = uint8_t(tensor.rank - 2);
  for (int i = 0; i < view.rank; i++) sizes[i] = tensor.sizes[i];
  if (heads > 0) {
    int32_t own = view.rank > 0 ? sizes[view.rank - 1] : 0;
    if (own < 1 || heads % own != 0)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "scaled_dot_product_attention: %d heads of %s do not divide %lld of query",
                         own, name, (long long)heads);
    sizes[view.rank - 1] = int32_t(heads);
  }
  return broadcast_into(view, batch, diagnostic);
}

Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor &q = args.tensor(0), &k = args.tensor(1), &v = args.tensor(2);
  SCONCE_TRY_STATUS(check_operand("query", q, q, diagnostic));
  SCONCE_TRY_STATUS(check_operand("key", k, q, diagnostic));
  SCONCE_TRY_STATUS(check_operand("value", v, q, diagnostic));
  SCONCE_TRY_STATUS(check_floating_dtype("scaled_dot_product_attention", q.dtype, diagnostic));
  if (args.floating(4) != 0)
    return SCONCE_FAIL(Code::unsupported, diagnostic,
                       "scaled_dot_product_attention: dropout; export the model in eval mode");
  if (q.sizes[q.rank - 1] != k.sizes[k.rank - 1])
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "scaled_dot_product_attention: query has %d features, key %d",
                       int(q.sizes[q.rank - 1]), int(k.sizes[k.rank - 1]));
  if (k.sizes[k.rank - 2] != v.sizes[v.rank - 2])
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "scaled_dot_product_attention: %d keys, %d values",
                       int(k.sizes[k.rank - 2]), int(v.sizes[v.rank - 2]));
  bool grouped = args.boolean(7);
  if (grouped && q.rank < 3)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "scaled_dot_product_attention: grouped query of rank %d, 3 wanted", q.rank);
  int64_t heads = grouped ? q.sizes[q.rank - 3] : 0;
  OutMeta& out = outs[0];
  out.rank = 0;
  SCONCE_TRY_STATUS(add_batch("query", q, 0, out, diagnostic));
  SCONCE_TRY_STATUS(add_batch("key", k, heads, out, diagnostic));
  SCONCE_TRY_STATUS(add_batch("value", v, heads, out, diagnostic));
  out.dtype = q.dtype;
  if (out.rank + 2 > kRankMax)
    return SCONCE_FAIL(Code::too_large, diagnostic, "scaled_dot_product_attention: rank %d",
                       out.rank + 2);
  out.rank += 2;
  out.sizes[out.rank - 2] = q.sizes[q.rank - 2];
  out.sizes[out.rank - 1] = v.sizes[v.rank - 1];
  if (const Tensor* mask = args.find_tensor(3)) {
    if (args.boolean(5))
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "scaled_dot_product_attention: a mask and is_causal exclude each other");
    if (mask->dtype != DType::b8 && !is_floating(mask->dtype))
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "scaled_dot_product_attention: mask of type %s, bool or floating wanted",
                         dtype_name(mask->dtype));
    bool fits = mask->rank <= out.rank;
    for (int i = 0; fits && i < mask->rank; i++) {
      int at = out.rank - mask->rank + i;
      int64_t wanted = at == out.rank - 1 ? k.sizes[k.rank - 2] : out.sizes[at];
      fits = mask->sizes[i] == 1 || mask->sizes[i] == wanted;
    }
    if (!fits)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "scaled_dot_product_attention: mask does not broadcast to the scores");
  }
  return kOk;
}

uint64_t gemms_bytes(const Args& args) {
  const Tensor &q = args.tensor(0), &k = args.tensor(1), &v = args.tensor(2);
  Compute compute = compute_of(q.dtype);
  int64_t keys = k.sizes[k.rank - 2];
  uint64_t scores = gemm_scratch_bytes(compute, kRowsMax, keys, q.sizes[q.rank - 1]);
  uint64_t values = gemm_scratch_bytes(compute, kRowsMax, v.sizes[v.rank - 1], keys);
  return align_up(scores > values ? scores : values, 16);
}

uint64_t scratch_bytes(const Args& args) {
  const Tensor &q = args.tensor(0), &k = args.tensor(1);
  return gemms_bytes(args) +
         uint64_t(kRowsMax) * uint64_t(k.sizes[k.rank - 2]) * compute_bytes(compute_of(q.dtype));
}

// Element offset of `tensor` at a batch index of the out; heads are shared by groups of queries.
int64_t batch_offset(const Tensor& tensor, const Strides& strides, const int64_t* index, int batch,
                     int64_t out_heads, bool grouped) {
  int64_t offset = 0;
  int own = tensor.rank - 2;
  for (int i = 0; i < own; i++) {
    int64_t at = index[batch - own + i];
    if (grouped && i == own - 1) at = at / (out_heads / tensor.sizes[i]);
    if (tensor.sizes[i] != 1) offset += at * strides[i];
  }
  return offset;
}

Status run(const Args& args, KernelContext& context) {
  const Tensor &q = args.tensor(0), &k = args.tensor(1), &v = args.tensor(2);
  const Tensor* mask = args.find_tensor(3);
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(check_out_dtype(out, q.dtype, context.diagnostic));
  if (element_count(out) == 0) return kOk;
  Compute compute = compute_of(q.dtype);
  bool causal = args.boolean(5), grouped = args.boolean(7);
  int batch = out.rank - 2;
  int64_t queries = q.sizes[q.rank - 2], features = q.sizes[q.rank - 1];
  int64_t keys = k.sizes[k.rank - 2];
  Strides qs = strides_of(q), ks = strides_of(k), vs = strides_of(v), os = strides_of(out);
  Strides ms{};
  if (mask) ms = strides_of(*mask);
  auto mask_stride = [&](int from_end) {
    int dim = mask ? mask->rank - from_end : -1;
    return dim < 0 || mask->sizes[dim] == 1 ? 0 : ms[dim];
  };
  uint8_t* gemm_scratch = context.scratch.data();
  uint8_t* scores = gemm_scratch + gemms_bytes(args);
  int64_t heads = batch > 0 ? out.sizes[batch - 1] : 1;

  Gemm dot;  // scores = scale * q . k^T
  dot.n = keys;
  dot.k = features;
  dot.out = scores;
  dot.out_dtype = dtype_of(compute);
  dot.out_row_stride = keys;
  dot.out_column_stride = 1;
  dot.alpha.real = args.has(6) ? args.floating(6) : 1.0 / std::sqrt(double(features));
  Gemm mix;  // out = scores . v
  mix.n = v.sizes[v.rank - 1];
  mix.k = keys;
  mix.a = {scores, dtype_of(compute), keys, 1};
  mix.out_dtype = out.dtype;
  mix.out_row_stride = os[out.rank - 2];
  mix.out_column_stride = os[out.rank - 1];

  int64_t index[kRankMax] = {};
  int64_t element_bytes = int64_t(dtype_bytes(q.dtype));
  for (;;) {
    int64_t q_offset = batch_offset(q, qs, index, batch, heads, false);
    int64_t k_offset = batch_offset(k, ks, index, batch, heads, grouped);
    int64_t v_offset = batch_offset(v, vs, index, batch, heads, grouped);
    int64_t mask_offset = 0, out_offset = 0;
    for (int i = 0; i < batch; i++) out_offset += index[i] * os[i];
    for (int i = 0; mask && i < mask->rank - 2; i++)
      if (mask->sizes[i] != 1) mask_offset += index[batch - (mask->rank - 2) + i] * ms[i];
    dot.b = {k.as<char>() + k_offset * element_bytes, k.dtype, ks[k.rank - 1], ks[k.rank - 2]};
    mix.b = {v.as<char>() + v_offset * element_bytes, v.dtype, vs[v.rank - 2], vs[v.rank - 1]};
    for (int64_t first = 0; first < queries; first += kRowsMax) {
      int64_t rows = queries - first < kRowsMax ? queries - first : kRowsMax;
      dot.m = mix.m = rows;
      dot.a = {q.as<char>() + (q_offset + first * qs[q.rank - 2]) * element_bytes, q.dtype,
               qs[q.rank - 2], qs[q.rank - 1]};
      gemm(dot, compute, gemm_scratch);
      int64_t mask_first = mask_offset + first * mask_stride(2);
      if (compute == Compute::f64)
        softmax_rows(reinterpret_cast<double*>(scores), rows, keys, mask, mask_first, mask_stride(2),
                     mask_stride(1), causal ? first : -1);
      else
        softmax_rows(reinterpret_cast<float*>(scores), rows, keys, mask, mask_first, mask_stride(2),
                     mask_stride(1), causal ? first : -1);
      mix.out = out.as<char>() + (out_offset + first * os[out.rank - 2]) * element_bytes;
      gemm(mix, compute, gemm_scratch);
    }
    int i = batch - 1;
    for (; i >= 0; i--) {
      if (++index[i] < out.sizes[i]) break;
      index[i] = 0;
    }
    if (i < 0) return kOk;
  }
}

}  // namespace

KERNEL(scaled_dot_product_attention) = {"sconce::scaled_dot_product_attention.out", "tttTfbFb>t",
                                        shape, run, scratch_bytes};

}  // namespace sconce
