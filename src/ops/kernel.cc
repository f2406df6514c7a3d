#include "ops/kernel.h"

#include <cstring>

namespace sconce {

int wrap_dim(int64_t dim, int rank, Diagnostic* diagnostic) {
  int64_t limit = rank == 0 ? 1 : rank;
  if (dim < -limit || dim >= limit) {
    (void)SCONCE_FAIL(Code::invalid_argument, diagnostic,
                      "dimension %lld out of range: want %lld to %lld", (long long)dim,
                      (long long)-limit, (long long)(limit - 1));
    return -1;
  }
  return int(dim < 0 ? dim + limit : dim);
}

void set_like(OutMeta& out, const Tensor& tensor) {
  out.dtype = tensor.dtype;
  out.rank = tensor.rank;
  for (int i = 0; i < tensor.rank; i++) out.sizes[i] = tensor.sizes[i];
}

Status broadcast_into(const Tensor& tensor, OutMeta& out, Diagnostic* diagnostic) {
  int rank = out.rank > tensor.rank ? out.rank : tensor.rank;
  for (int i = 0; i < rank; i++) {  // from the last dimension to the first
    int to = rank - 1 - i;
    int64_t a = i < out.rank ? out.sizes[out.rank - 1 - i] : 1;
    int64_t b = i < tensor.rank ? tensor.sizes[tensor.rank - 1 - i] : 1;
    if (a != b && a != 1 && b != 1)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "sizes %lld and %lld of dimension %d do not broadcast", (long long)a,
                         (long long)b, to);
    // Written from the end, so sizes that are still to be read must not be overwritten.
    if (rank == out.rank) out.sizes[to] = a == 1 ? b : a;
  }
  if (rank != out.rank) {
    int64_t merged[kRankMax];
    for (int i = 0; i < rank; i++) {
      int64_t a = i < out.rank ? out.sizes[out.rank - 1 - i] : 1;
      int64_t b = tensor.sizes[tensor.rank - 1 - i];
      merged[rank - 1 - i] = a == 1 ? b : a;
    }
    memcpy(out.sizes, merged, sizeof(int64_t) * size_t(rank));
    out.rank = rank;
  }
  return kOk;
}

Status dtype_argument(const Args& args, int i, DType fallback, DType* dtype,
                      Diagnostic* diagnostic) {
  *dtype = fallback;
  if (!args.has(i)) return kOk;
  int64_t code = args.integer(i);
  if (!is_dtype(code))
    return SCONCE_FAIL(Code::unsupported, diagnostic, "element type code %lld is not known",
                       (long long)code);
  *dtype = DType(code);
  return kOk;
}

// Gives out `k` the sizes that the rule says.
static Status resize_out(const Args& args, int k, const OutMeta& meta, Diagnostic* diagnostic) {
  Tensor& out = args.out(k);
  if (meta.rank != out.rank)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "out %d has rank %d, the result has %d",
                       k, out.rank, meta.rank);
  int32_t sizes[kRankMax];
  for (int i = 0; i < meta.rank; i++) {
    if (meta.sizes[i] < 0 || meta.sizes[i] > INT32_MAX)
      return SCONCE_FAIL(Code::too_large, diagnostic, "out %d: size %lld of dimension %d", k,
                         (long long)meta.sizes[i], i);
    sizes[i] = int32_t(meta.sizes[i]);
    // `run` knows this size, and resizes; the others must be right already.
    if (meta.upper_bounds >> i & 1) sizes[i] = out.fixed_sizes ? out.sizes[i] : 0;
  }
  return resize(out, sizes, diagnostic);
}

Status prepare_outs(const Kernel& kernel, const Args& args, Diagnostic* diagnostic) {
  constexpr int kOutsMax = 8;  // kernels that give lists have a rule for each part
  int count = args.out_count();
  if (kernel.part_shape) {
    for (int k = 0; k < count; k++) {
      OutMeta meta;
      SCONCE_TRY_STATUS(kernel.part_shape(args, count, k, &meta, diagnostic));
      SCONCE_TRY_STATUS(resize_out(args, k, meta, diagnostic));
    }
    return kOk;
  }
  if (count > kOutsMax)
    return SCONCE_FAIL(Code::too_large, diagnostic, "%d outs exceed %d", count, kOutsMax);
  OutMeta metas[kOutsMax];
  SCONCE_TRY_STATUS(kernel.shape(args, Span<OutMeta>(metas, size_t(count)), diagnostic));
  for (int k = 0; k < count; k++)
    SCONCE_TRY_STATUS(resize_out(args, k, metas[k], diagnostic));
  return kOk;
}

Status call_kernel(const Kernel& kernel, const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(prepare_outs(kernel, args, context.diagnostic));
  return kernel.run(args, context);
}

static bool kind_matches(char letter, const Value& value) {
  using Kind = Value::Kind;
  Kind kind = value.kind;
  if (kind == Kind::none)
    return letter == 'T' || letter == 'N' || letter == 'I' || letter == 'F' || letter == 'B' ||
           letter == 'S' || letter == 'L' || letter == 'D';
  switch (letter) {
    case 't': case 'T': return kind == Kind::tensor;
    case 'e': return kind == Kind::tensor || value.is_number();
    case 'n': case 'N': case 'f': case 'F': return value.is_number();
    case 'i': case 'I': case 'b': case 'B': return kind == Kind::integer || kind == Kind::boolean;
    case 's': case 'S': return kind == Kind::string;
    case 'l': case 'L':
      if (kind == Kind::integer) return true;
      if (kind != Kind::integers) return false;
      for (uint32_t i = 0; i < value.count; i++)
        if (value.items[i]->kind != Kind::integer) return false;
      return true;
    case 'd': case 'D': return kind == Kind::floats;
    case 'c': return kind == Kind::booleans;
    case 'v': case 'V':
      if (kind != Kind::tensors) return false;
      for (uint32_t i = 0; i < value.count; i++)
        if (!value.items[i]->is_tensor() && !(letter == 'V' && value.items[i]->is_none()))
          return false;
      return true;
    default: return false;
  }
}

Status match_signature(const Kernel& kernel, Span<const Value* const> values, int* input_count,
                       Diagnostic* diagnostic) {
  size_t position = 0;
  bool outs = false;
  for (const char* letter = kernel.signature; *letter; letter++) {
    if (*letter == '>') {
      *input_count = int(position);
      outs = true;
      continue;
    }
    if (position >= values.size())
      return SCONCE_FAIL(Code::invalid_file, diagnostic, "%s: %zu arguments, more are wanted (%s)",
                         kernel.name, values.size(), kernel.signature);
    const Value& value = *values[position];
    if (!kind_matches(*letter, value) || (outs && value.is_none()))
      return SCONCE_FAIL(Code::invalid_file, diagnostic,
                         "%s: argument %zu has kind %d, signature %s wants '%c'", kernel.name,
                         position, int(value.kind), kernel.signature, *letter);
    position++;
  }
  if (position != values.size())
    return SCONCE_FAIL(Code::invalid_file, diagnostic, "%s: %zu arguments, %zu are wanted",
                       kernel.name, values.size(), position);
  return kOk;
}

}  // namespace sconce
