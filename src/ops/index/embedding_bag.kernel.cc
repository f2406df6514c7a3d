// Embedding bag: rows of a table, named by indices, summed, averaged or maximised bag by bag.
// Offsets say where in `indices` each bag begins.
//
// With include_last_offset there is one offset more: where the last bag ends. When indices go on
// after it, torch counts them into the last bag all the same (its size, its mean, its maximum), and
// leaves them out only where its fast sum stops at the offset: f32, f16, bf16 without padding.
#include "ops/elementwise.h"
#include "ops/index/indices.h"
#include "ops/shape/strided.h"

namespace sconce {
namespace {

enum Mode : int64_t { kSum, kMean, kMax };

// weight, indices, offsets, scale_grad_by_freq, mode, sparse, per_sample_weights,
// include_last_offset, padding_idx. Outs: output, offset2bag, bag_size, max_indices; the last three
// serve the backward pass and have the sizes that torch gives them on CPU.
Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& weight = args.tensor(0);
  const Tensor& indices = args.tensor(1);
  const Tensor& offsets = args.tensor(2);
  const Tensor* scales = args.find_tensor(6);
  int64_t mode = args.integer(4);
  if (weight.rank != 2 || indices.rank != 1 || offsets.rank != 1)
    return SCONCE_FAIL(
        Code::invalid_argument, diagnostic,
        "_embedding_bag: weight, indices, offsets of rank %d, %d, %d; 2, 1, 1 wanted", weight.rank,
        indices.rank, offsets.rank);
  SCONCE_TRY_STATUS(check_index_type("_embedding_bag", indices, diagnostic));
  SCONCE_TRY_STATUS(check_index_type("_embedding_bag: offsets", offsets, diagnostic));
  if (!is_floating(weight.dtype))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "_embedding_bag of %s: floating type wanted", dtype_name(weight.dtype));
  if (mode < kSum || mode > kMax)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "_embedding_bag: mode %lld",
                       (long long)mode);
  if (scales && (mode != kSum || scales->dtype != weight.dtype || scales->rank != 1 ||
                 scales->sizes[0] != indices.sizes[0]))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "_embedding_bag: weights per sample want mode sum, type %s and %d elements",
                       dtype_name(weight.dtype), int(indices.sizes[0]));
  int64_t bags = offsets.sizes[0] - (args.boolean(7) ? 1 : 0);
  if (bags < 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "_embedding_bag: include_last_offset wants at least one offset");
  outs[0].dtype = weight.dtype;
  outs[0].rank = 2;
  outs[0].sizes[0] = bags;
  outs[0].sizes[1] = weight.sizes[1];
  bool fast = mode == kSum && weight.dtype != DType::f64 && args.integer(8) < 0;
  for (size_t k = 1; k < 4; k++) {
    outs[k].dtype = offsets.dtype;
    outs[k].rank = 1;
    outs[k].sizes[0] = bags;
  }
  outs[1].sizes[0] = fast ? 0 : indices.sizes[0];
  if (mode == kMax) {
    outs[3].rank = 2;
    outs[3].sizes[1] = weight.sizes[1];
  }
  return kOk;
}

void write_index(Tensor& out, int64_t offset, int64_t value) {
  if (out.dtype == DType::i64)
    out.as<int64_t>()[offset] = value;
  else
    out.as<int32_t>()[offset] = int32_t(value);
}

template <class T>
Status run_as(const Args& args, KernelContext& context) {
  const Tensor& weight = args.tensor(0);
  const Tensor& indices = args.tensor(1);
  const Tensor& offsets = args.tensor(2);
  const Tensor* scales = args.find_tensor(6);
  int64_t mode = args.integer(4), padding = args.integer(8), count = indices.sizes[0];
  Tensor &out = args.out(0), &bag_of = args.out(1), &bag_size = args.out(2), &largest = args.out(3);
  int64_t bags = out.sizes[0], width = weight.sizes[1], rows = weight.sizes[0];
  if (padding < 0) padding = -1;
  if (!is_floating(out.dtype))
    return SCONCE_FAIL(Code::unsupported, context.diagnostic, "_embedding_bag: out is %s",
                       dtype_name(out.dtype));
  for (int k = 1; k < 4; k++)
    SCONCE_TRY_STATUS(check_index_type("_embedding_bag: out", args.out(k), context.diagnostic));
  Strides weight_strides = strides_of(weight), out_strides = strides_of(out);
  Strides largest_strides = strides_of(largest);
  int64_t weight_bytes = int64_t(dtype_bytes(weight.dtype)),
          out_bytes = int64_t(dtype_bytes(out.dtype));
  for (int64_t bag = 0; bag < bags; bag++) {
    int64_t begin = read_index(offsets, bag);
    int64_t end = bag + 1 < offsets.sizes[0] ? read_index(offsets, bag + 1) : count;
    int64_t end_of_sum = end;
    if (begin < 0 || end < begin || end > count || (bag == 0 && begin != 0))
      return SCONCE_FAIL(Code::invalid_argument, context.diagnostic,
                         "_embedding_bag: bag %lld holds indices %lld to %lld of %lld",
                         (long long)bag, (long long)begin, (long long)end, (long long)count);
    if (bag + 1 == bags) {
      end = count;
      if (mode == kMax || padding >= 0 || weight.dtype == DType::f64) end_of_sum = count;
    }
    int64_t used = 0;
    for (int64_t k = begin; k < end; k++) {
      int64_t row = read_index(indices, k);
      if (row < 0 || row >= rows) return index_out_of_range(row, rows, 0, context.diagnostic);
      if (bag_of.sizes[0] == count) write_index(bag_of, k, bag);
      used += row != padding;
    }
    if (mode == kSum) used = 0;  // torch counts only for the other modes
    write_index(bag_size, bag, used);
    if (mode != kMax) write_index(largest, bag, used);
    for (int64_t done = 0; done < width; done += kBlockCount) {
      int n = int(width - done < kBlockCount ? width - done : kBlockCount);
      T sum[kBlockCount] = {}, more[kBlockCount];
      int64_t best[kBlockCount] = {};
      bool first = true;
      for (int64_t k = begin; k < end_of_sum; k++) {
        int64_t row = read_index(indices, k);
        if (row == padding) continue;
        load_elements<T>(
            more,
            weight.as<char>() + (row * weight_strides[0] + done * weight_strides[1]) * weight_bytes,
            weight_strides[1], n, weight.dtype);
        if (mode == kMax) {
          for (int j = 0; j < n; j++)
            if (first || more[j] > sum[j]) sum[j] = more[j], best[j] = row;
        } else {
          T scale = 1;
          if (scales)
            load_elements<T>(&scale, scales->as<char>() + k * weight_bytes, 1, 1, weight.dtype);
          for (int j = 0; j < n; j++) sum[j] += scales ? more[j] * scale : more[j];
        }
        first = false;
      }
      if (mode == kMean && used > 0)
        for (int j = 0; j < n; j++) sum[j] /= T(used);
      store_elements<T>(out.as<char>() + (bag * out_strides[0] + done * out_strides[1]) * out_bytes,
                        out_strides[1], sum, n, out.dtype);
      if (mode == kMax)
        for (int j = 0; j < n; j++)
          write_index(largest, bag * largest_strides[0] + (done + j) * largest_strides[1], best[j]);
    }
  }
  return kOk;
}

Status run(const Args& args, KernelContext& context) {
  return args.tensor(0).dtype == DType::f64 ? run_as<double>(args, context)
                                            : run_as<float>(args, context);
}

}  // namespace

KERNEL(embedding_bag) = {"aten::_embedding_bag.out", "tttbibTbi>tttt", shape, run};

}  // namespace sconce
