// Writing rows into caches: ExecuTorch's operators, which change their argument, and the forms
// without side effects that the compiler works with.
#include "ops/llama/cache.h"

#include <cstring>

namespace sconce {

Status check_cache_rows(const char* op, const Tensor& rows, const Tensor& cache,
                        Diagnostic* diagnostic) {
  if (rows.rank != 4 || cache.rank != 4)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: rows of rank %d and a cache of rank %d, 4 wanted for both", op,
                       rows.rank, cache.rank);
  if (rows.dtype != cache.dtype)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: rows of %s, the cache holds %s", op,
                       dtype_name(rows.dtype), dtype_name(cache.dtype));
  for (int d : {0, 2, 3})
    if (rows.sizes[d] != cache.sizes[d])
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s: dimension %d of the rows is %d, the cache has %d", op, d,
                         int(rows.sizes[d]), int(cache.sizes[d]));
  if (!is_contiguous(rows) || !is_contiguous(cache))
    return SCONCE_FAIL(Code::unsupported, diagnostic,
                       "%s: rows or cache lie in another order of dimensions", op);
  return kOk;
}

Status check_cache_span(const char* op, int64_t start, int64_t count, const Tensor& cache,
                        Diagnostic* diagnostic) {
  int64_t positions = cache.sizes[1];
  if (start < 0 || start > positions || count > positions - start)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: %lld positions from start_pos %lld on do not lie in a cache of %lld",
                       op, (long long)count, (long long)start, (long long)positions);
  return kOk;
}

Status check_cache_writable(const char* op, const Tensor& cache, Diagnostic* diagnostic) {
  if (cache.read_only)
    return SCONCE_FAIL(Code::invalid_file, diagnostic, "%s: the cache is a constant", op);
  return kOk;
}

namespace {

uint64_t row_bytes(const Tensor& cache) {
  return uint64_t(cache.sizes[2]) * uint64_t(cache.sizes[3]) * dtype_bytes(cache.dtype);
}

}  // namespace

void write_cache_rows(const Tensor& rows, const Tensor& cache, int64_t start) {
  uint64_t row = row_bytes(cache), count = uint64_t(rows.sizes[1]);
  if (row * count == 0) return;
  for (int64_t b = 0; b < rows.sizes[0]; b++)
    memmove(cache.as<uint8_t>() + (uint64_t(b) * uint64_t(cache.sizes[1]) + uint64_t(start)) * row,
            rows.as<uint8_t>() + uint64_t(b) * count * row, row * count);
}

namespace {

// indices [batch, count] of i64: the position of each row.
Status check_indices(const char* op, const Tensor& rows, const Tensor& indices,
                     Diagnostic* diagnostic) {
  if (indices.rank != 2 || indices.dtype != DType::i64 || indices.sizes[0] != rows.sizes[0] ||
      indices.sizes[1] != rows.sizes[1] || !is_contiguous(indices))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: indices of %s and rank %d, i64[%d, %d] in order wanted", op,
                       dtype_name(indices.dtype), indices.rank, int(rows.sizes[0]),
                       int(rows.sizes[1]));
  return kOk;
}

// All indices are looked at before the first row is written.
Status write_indexed_rows(const char* op, const Tensor& rows, const Tensor& cache,
                          const Tensor& indices, Diagnostic* diagnostic) {
  const int64_t* at = indices.as<int64_t>();
  int64_t count = rows.sizes[1];
  for (int64_t i = 0; i < rows.sizes[0] * count; i++)
    if (at[i] < 0 || at[i] >= cache.sizes[1])
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s: index %lld at [%lld, %lld] is not in a cache of %d positions", op,
                         (long long)at[i], (long long)(i / count), (long long)(i % count),
                         int(cache.sizes[1]));
  uint64_t row = row_bytes(cache);
  if (row == 0) return kOk;
  for (int64_t i = 0; i < rows.sizes[0] * count; i++)
    memmove(cache.as<uint8_t>() + uint64_t(i / count * cache.sizes[1] + at[i]) * row,
            rows.as<uint8_t>() + uint64_t(i) * row, row);
  return kOk;
}

// --- llama::update_cache(value, cache, start_pos), ..._with_indices(value, cache, start_pos,
// indices): the result only stands for the effect.

constexpr const char* kUpdate = "llama::update_cache";
constexpr const char* kUpdateIndexed = "llama::update_cache_with_indices";

void token(const Tensor& value, OutMeta& out) {
  out.dtype = value.dtype;
  out.rank = 1;
  out.sizes[0] = 1;
}

Status update_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(check_cache_rows(kUpdate, args.tensor(0), args.tensor(1), diagnostic));
  token(args.tensor(0), outs[0]);
  return kOk;
}

Status update_run(const Args& args, KernelContext& context) {
  const Tensor &rows = args.tensor(0), &cache = args.tensor(1);
  SCONCE_TRY_STATUS(check_cache_writable(kUpdate, cache, context.diagnostic));
  SCONCE_TRY_STATUS(
      check_cache_span(kUpdate, args.integer(2), rows.sizes[1], cache, context.diagnostic));
  write_cache_rows(rows, cache, args.integer(2));
  return kOk;
}

Status update_indexed_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(check_cache_rows(kUpdateIndexed, args.tensor(0), args.tensor(1), diagnostic));
  SCONCE_TRY_STATUS(check_indices(kUpdateIndexed, args.tensor(0), args.tensor(3), diagnostic));
  token(args.tensor(0), outs[0]);
  return kOk;
}

Status update_indexed_run(const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(check_cache_writable(kUpdateIndexed, args.tensor(1), context.diagnostic));
  return write_indexed_rows(kUpdateIndexed, args.tensor(0), args.tensor(1), args.tensor(3),
                            context.diagnostic);
}

// --- sconce::updated_cache(cache, value, start_pos), ..._at(cache, value, indices): the cache
// afterwards. Where the result has the memory of the cache, only the rows are written.

constexpr const char* kUpdated = "sconce::updated_cache";
constexpr const char* kUpdatedAt = "sconce::updated_cache_at";

Status updated_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(check_cache_rows(kUpdated, args.tensor(1), args.tensor(0), diagnostic));
  set_like(outs[0], args.tensor(0));
  return kOk;
}

Status copy_cache(const char* op, const Args& args, Diagnostic* diagnostic) {
  const Tensor &cache = args.tensor(0), &out = args.out();
  if (out.dtype != cache.dtype || !is_contiguous(out))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: an out of %s, %s in order wanted",
                       op, dtype_name(out.dtype), dtype_name(cache.dtype));
  uint64_t bytes = tensor_bytes(cache);
  if (bytes && out.data != cache.data) memmove(out.data, cache.data, bytes);
  return kOk;
}

Status updated_run(const Args& args, KernelContext& context) {
  const Tensor& rows = args.tensor(1);
  SCONCE_TRY_STATUS(check_cache_span(kUpdated, args.integer(2), rows.sizes[1], args.tensor(0),
                                     context.diagnostic));
  SCONCE_TRY_STATUS(copy_cache(kUpdated, args, context.diagnostic));
  write_cache_rows(rows, args.out(), args.integer(2));
  return kOk;
}

Status updated_at_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(check_cache_rows(kUpdatedAt, args.tensor(1), args.tensor(0), diagnostic));
  SCONCE_TRY_STATUS(check_indices(kUpdatedAt, args.tensor(1), args.tensor(2), diagnostic));
  set_like(outs[0], args.tensor(0));
  return kOk;
}

Status updated_at_run(const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(copy_cache(kUpdatedAt, args, context.diagnostic));
  return write_indexed_rows(kUpdatedAt, args.tensor(1), args.out(), args.tensor(2),
                            context.diagnostic);
}

}  // namespace

KERNEL(update_cache) = {"llama::update_cache.out", "tti>t", update_shape, update_run};
KERNEL(update_cache_with_indices) = {"llama::update_cache_with_indices.out", "ttit>t",
                                     update_indexed_shape, update_indexed_run};
KERNEL(updated_cache) = {"sconce::updated_cache.out", "tti>t", updated_shape, updated_run};
KERNEL(updated_cache_at) = {"sconce::updated_cache_at.out", "ttt>t", updated_at_shape,
                            updated_at_run};

}  // namespace sconce
