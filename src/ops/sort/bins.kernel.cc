// Where values fall between boundaries: histc, searchsorted, bucketize.
#include <cmath>

#include "ops/reduce/rows.h"
#include "ops/sort/order.h"

namespace sconce {
namespace {

// --- histc: self, bins, min, max --------------------------------------------------------------

Status histc_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(want_floating(args.tensor(0), "histc", diagnostic));
  int64_t bins = args.integer(1);
  if (bins < 1)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%lld bins: at least 1 is wanted",
                       (long long)bins);
  outs[0] = {args.tensor(0).dtype, 1, {bins}};
  return kOk;
}

uint64_t histc_scratch(const Args& args) {
  int64_t bins = args.integer(1);
  return bins < 1 ? 0 : uint64_t(bins) * sizeof(int64_t);
}

template <class T>
Status histc_typed(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  Rows rows(x, all_dims(x.rank));
  int64_t bins = args.integer(1);
  T low = T(args.floating(2)), high = T(args.floating(3));
  round_block(&low, 1, DType::f64, x.dtype);
  round_block(&high, 1, DType::f64, x.dtype);
  if (low == high && rows.length() > 0) {  // the range of the data
    T least = T(INFINITY), most = -T(INFINITY);
    bool nan = false;
    for_each_block<T>(rows, [&](T* block, int n, int64_t) {
      for (int i = 0; i < n; i++) {
        if (block[i] < least) least = block[i];
        if (block[i] > most) most = block[i];
        nan |= block[i] != block[i];
      }
    });
    low = nan ? T(NAN) : least;
    high = nan ? T(NAN) : most;
  }
  if (low == high) low -= 1, high += 1;
  if (!std::isfinite(low) || !std::isfinite(high) || low > high)
    return SCONCE_FAIL(Code::invalid_argument, context.diagnostic,
                       "range of the histogram is not finite, or its end is below its start");
  if (context.scratch.size() < histc_scratch(args))
    return SCONCE_FAIL(Code::too_large, context.diagnostic, "%lld bins do not fit %llu bytes",
                       (long long)bins, (unsigned long long)context.scratch.size());
  T range = high - low;
  round_block(&range, 1, DType::f64, x.dtype);
  int64_t* counts = reinterpret_cast<int64_t*>(context.scratch.data());
  for (int64_t i = 0; i < bins; i++) counts[i] = 0;
  for_each_block<T>(rows, [&](T* block, int n, int64_t) {
    // Each step is rounded to the type of the data, as torch does, so that the same bins are hit.
    bool inside[kBlockCount];
    for (int i = 0; i < n; i++) {
      inside[i] = block[i] >= low && block[i] <= high;
      block[i] = inside[i] ? block[i] - low : T(0);
    }
    round_block(block, n, DType::f64, x.dtype);
    for (int i = 0; i < n; i++) block[i] *= T(bins);
    round_block(block, n, DType::f64, x.dtype);
    for (int i = 0; i < n; i++) block[i] /= range;
    round_block(block, n, DType::f64, x.dtype);
    for (int i = 0; i < n; i++) {
      if (!inside[i]) continue;
      int64_t bin = block[i] < T(bins) ? int64_t(block[i]) : bins - 1;
      counts[bin]++;
    }
  });
  Rows to(args.out(), 0);
  for (int64_t i = 0; i < bins; i++, to.next()) to.put(counts[i]);
  return kOk;
}

Status histc_run(const Args& args, KernelContext& context) {
  return with_floating(args.tensor(0).dtype,
                       [&](auto tag) { return histc_typed<decltype(tag)>(args, context); });
}

// --- searchsorted, bucketize ------------------------------------------------------------------

// Positions of the arguments; sorter and side are -1 when there is none.
struct Layout { int boundaries, values, out_int32, right, side, sorter; };

struct Call {
  const Tensor *boundaries, *sorter;
  bool right, shared;  // shared: one row of boundaries for all values
};

template <Layout layout>
Status read_call(const Args& args, Call* call, Diagnostic* diagnostic) {
  const Tensor& boundaries = args.tensor(layout.boundaries);
  const Tensor* values = args.find_tensor(layout.values);
  call->boundaries = &boundaries;
  call->sorter = layout.sorter >= 0 ? args.find_tensor(layout.sorter) : nullptr;
  call->right = args.boolean(layout.right);
  call->shared = boundaries.rank == 1;
  SCONCE_TRY_STATUS(want_real(boundaries, "boundaries", diagnostic));
  if (values) SCONCE_TRY_STATUS(want_real(*values, "values", diagnostic));
  if (layout.side >= 0 && args.has(layout.side)) {
    const Value& side = args[layout.side];
    if (side.count == 5 && side.string[0] == 'r') call->right = true;
    else if (side.count != 4 || side.string[0] != 'l' || call->right)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "side is neither left nor right, or contradicts right=True");
  }
  bool fits = boundaries.rank >= 1 && (call->shared || (values && values->rank == boundaries.rank));
  for (int i = 0; fits && !call->shared && i + 1 < boundaries.rank; i++)
    fits = values->sizes[i] == boundaries.sizes[i];
  if (!fits)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "boundaries of rank %d: 1, or the values' rank and leading sizes are wanted",
                       boundaries.rank);
  if (call->sorter) {
    const Tensor& sorter = *call->sorter;
    bool same = sorter.rank == boundaries.rank && sorter.dtype == DType::i64;
    for (int i = 0; same && i < sorter.rank; i++) same = sorter.sizes[i] == boundaries.sizes[i];
    if (!same)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "sorter of %s and rank %d: i64 with the sizes of the boundaries is wanted",
                         dtype_name(sorter.dtype), sorter.rank);
  }
  return kOk;
}

template <Layout layout>
Status search_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Call call;
  SCONCE_TRY_STATUS(read_call<layout>(args, &call, diagnostic));
  DType dtype = args.boolean(layout.out_int32) ? DType::i32 : DType::i64;
  if (const Tensor* values = args.find_tensor(layout.values)) set_like(outs[0], *values, dtype);
  else outs[0] = {dtype, 0, {}};
  return kOk;
}

template <class T>
Status search_rows(const Call& call, Rows boundaries, Rows* sorter, Rows values, Rows to,
                   Diagnostic* diagnostic) {
  int64_t count = boundaries.length();
  for (int64_t i = 0; i < values.count(); i++) {
    Status status = kOk;
    for_each_block<T>(values, [&](T* block, int n, int64_t first) {
      int64_t found[kBlockCount];
      for (int k = 0; k < n; k++) {
        int64_t low = 0, high = count;
        while (low < high) {
          int64_t middle = low + (high - low) / 2, at = middle;
          T boundary;
          if (sorter) sorter->read(middle, 1, &at);
          if (at < 0 || at >= count) {
            status = SCONCE_FAIL(Code::invalid_argument, diagnostic,
                                 "sorter holds %lld: 0 to %lld are wanted", (long long)at,
                                 (long long)(count - 1));
            return;
          }
          boundaries.read(at, 1, &boundary);
          // NaN stands behind all numbers.
          bool before = call.right ? !key_less(block[k], boundary) : key_less(boundary, block[k]);
          if (before) low = middle + 1;
          else high = middle;
        }
        found[k] = low;
      }
      to.write(first, n, found);
    });
    SCONCE_TRY_STATUS(status);
    values.next();
    to.next();
    if (call.shared) continue;
    boundaries.next();
    if (sorter) sorter->next();
  }
  return kOk;
}

template <Layout layout>
Status search_run(const Args& args, KernelContext& context) {
  Call call;
  SCONCE_TRY_STATUS(read_call<layout>(args, &call, context.diagnostic));
  const Value& value = args[layout.values];
  const Tensor& boundaries = *call.boundaries;
  // A number becomes a tensor of its own, of the boundaries' type unless its kind is a higher one.
  alignas(8) char bytes[8];
  Tensor number;
  number.data = bytes;
  if (value.kind == Value::Kind::floating || is_floating(boundaries.dtype)) {
    number.dtype = is_floating(boundaries.dtype) ? boundaries.dtype : DType::f32;
    double x = args.floating(layout.values);
    store_elements(bytes, 1, &x, 1, number.dtype);
  } else if (!value.is_tensor()) {
    number.dtype = boundaries.dtype == DType::b8 ? DType::i64 : boundaries.dtype;
    int64_t x = args.integer(layout.values);
    store_elements(bytes, 1, &x, 1, number.dtype);
  }
  const Tensor& values = value.is_tensor() ? *value.tensor : number;
  uint32_t last = 1u << (boundaries.rank - 1);
  uint32_t mask = call.shared ? all_dims(values.rank) : last;
  // As torch promotes: f32 holds every value of the 16-bit types, and rounds integers.
  bool integers = is_integral(values.dtype) && is_integral(boundaries.dtype);
  bool wide = values.dtype == DType::f64 || boundaries.dtype == DType::f64;
  DType compare = integers ? DType::i64 : wide ? DType::f64 : DType::f32;
  Rows sorter(call.sorter ? *call.sorter : boundaries, last);
  return with_compute(compare, [&](auto tag) {
    return search_rows<decltype(tag)>(call, Rows(boundaries, last), call.sorter ? &sorter : nullptr,
                                      Rows(values, mask), Rows(args.out(), mask),
                                      context.diagnostic);
  });
}

constexpr Layout kSearch{0, 1, 2, 3, 4, 5}, kBucketize{1, 0, 2, 3, -1, -1};

}  // namespace

KERNEL(histc) = {"aten::histc.out", "tinn>t", histc_shape, histc_run, histc_scratch};
KERNEL(searchsorted) = {"aten::searchsorted.Tensor_out", "ttbbST>t", search_shape<kSearch>,
                        search_run<kSearch>};
KERNEL(searchsorted_scalar) = {"aten::searchsorted.Scalar_out", "tnbbST>t", search_shape<kSearch>,
                               search_run<kSearch>};
KERNEL(bucketize) = {"aten::bucketize.Tensor_out", "ttbb>t", search_shape<kBucketize>,
                     search_run<kBucketize>};
KERNEL(bucketize_scalar) = {"aten::bucketize.Scalar_out", "ntbb>t", search_shape<kBucketize>,
                            search_run<kBucketize>};

}  // namespace sconce
