// Reductions that are a fold over rows: sum, mean, prod, extremes, any, all, counts, norms.
//
// A fold has a state per compute type: block() takes elements, finish() gives the result. The row
// walk is written once (run_fold); a kernel is a fold, a rule for the result's type, and the
// positions of its arguments.
#include <cmath>
#include <type_traits>

#include "ops/promote.h"
#include "ops/reduce/rows.h"

namespace sconce {
namespace {

// --- folds ------------------------------------------------------------------------------------

template <class T> constexpr bool is_nan(T x) { return x != x; }
// The value that every other one replaces.
template <class T> constexpr T lowest() {
  if constexpr (std::is_same_v<T, int64_t>) return INT64_MIN;
  else return -T(INFINITY);
}

struct Sum {
  template <class T> struct Fold {
    PairwiseSum<T> sum;
    Fold(double) {}
    void block(T* x, int n) { sum.add_block(x, n); }
    T finish(int64_t) { return sum.total(); }
  };
};
struct Mean {
  template <class T> struct Fold : Sum::Fold<T> {
    using Sum::Fold<T>::Fold;
    T finish(int64_t count) {  // only floating types come here
      return count == 0 && std::is_same_v<T, int64_t> ? T(0) : this->sum.total() / T(count);
    }
  };
};
struct NanSum {
  template <class T> struct Fold : Sum::Fold<T> {
    using Sum::Fold<T>::Fold;
    void block(T* x, int n) {
      for (int i = 0; i < n; i++)
        if (is_nan(x[i])) x[i] = 0;
      this->sum.add_block(x, n);
    }
  };
};
struct Prod {
  template <class T> struct Fold {
    T product = 1;
    Fold(double) {}
    void block(T* x, int n) {
      for (int i = 0; i < n; i++) {
        if constexpr (std::is_same_v<T, int64_t>) product = T(uint64_t(product) * uint64_t(x[i]));
        else product *= x[i];
      }
    }
    T finish(int64_t) { return product; }
  };
};
// sign 1: largest, -1: smallest. NaN wins.
template <int sign>
struct Extreme {
  template <class T> struct Fold {
    T best;
    bool started = false;
    Fold(double) {}
    void block(T* x, int n) {
      if (!started) best = x[0], started = true;
      for (int i = 0; i < n; i++)
        if ((sign > 0 ? x[i] > best : x[i] < best) || is_nan(x[i])) best = x[i];
    }
    T finish(int64_t) { return best; }
  };
};
struct Any {
  template <class T> struct Fold {
    bool found = false;
    Fold(double) {}
    void block(T* x, int n) {
      for (int i = 0; i < n; i++) found |= x[i] != T(0);
    }
    int64_t finish(int64_t) { return found; }
  };
};
struct All {
  template <class T> struct Fold {
    bool found = false;
    Fold(double) {}
    void block(T* x, int n) {
      for (int i = 0; i < n; i++) found |= x[i] == T(0);
    }
    int64_t finish(int64_t) { return !found; }
  };
};
struct CountNonzero {
  template <class T> struct Fold {
    int64_t count = 0;
    Fold(double) {}
    void block(T* x, int n) {
      for (int i = 0; i < n; i++) count += x[i] != T(0);
    }
    int64_t finish(int64_t) { return count; }
  };
};
// (sum |x|^p)^(1/p), with its limits at 0 and the infinities.
struct Norm {
  template <class T> struct Fold {
    double p;
    PairwiseSum<T> sum;
    T extreme;
    Fold(double order) : p(order), extreme(order < 0 ? T(INFINITY) : T(0)) {}
    void block(T* x, int n) {
      for (int i = 0; i < n; i++) x[i] = x[i] <= T(0) ? T(0) - x[i] : x[i];  // -0 too
      if (std::isinf(p)) {
        for (int i = 0; i < n; i++)
          if (is_nan(x[i]) || (p > 0 ? x[i] > extreme : x[i] < extreme)) extreme = x[i];
        return;
      }
      if (p == 2) {
        for (int i = 0; i < n; i++) x[i] *= x[i];
      } else if (p == 0) {
        for (int i = 0; i < n; i++) x[i] = x[i] != T(0);
      } else if (p != 1) {
        for (int i = 0; i < n; i++) x[i] = T(std::pow(x[i], T(p)));
      }
      sum.add_block(x, n);
    }
    T finish(int64_t) {
      if (std::isinf(p)) return extreme;
      T total = sum.total();
      if (p == 2) return T(std::sqrt(total));
      if (p == 0 || p == 1) return total;
      return T(std::pow(total, T(1) / T(p)));
    }
  };
};

// --- the walk ---------------------------------------------------------------------------------

// One row per element of `out`. Elements are rounded to `as` first.
using RowsFunction = void (*)(Rows rows, Rows to, DType from, DType as, double parameter);

template <class Operation, class T>
void fold_rows(Rows rows, Rows to, DType from, DType as, double parameter) {
  for (int64_t i = 0; i < rows.count(); i++, rows.next(), to.next()) {
    typename Operation::template Fold<T> fold(parameter);
    for_each_block<T>(rows, [&](T* block, int n, int64_t) {
      round_block(block, n, from, as);
      fold.block(block, n);
    });
    to.put(fold.finish(rows.length()));
  }
}

template <class Operation>
Status run_fold(const Tensor& x, uint32_t mask, bool keepdim, DType as, double parameter,
                Tensor& out) {
  static constexpr RowsFunction functions[] = {
      fold_rows<Operation, float>, fold_rows<Operation, double>, fold_rows<Operation, int64_t>};
  functions[int(compute_of(as))](Rows(x, mask), Rows(out, keepdim ? mask : 0), x.dtype, as,
                                 parameter);
  return kOk;
}

// Complex sums and means are those of the real and of the imaginary parts.
template <class Operation>
Status run_complex_fold(const Tensor& x, uint32_t mask, bool keepdim, Tensor& out,
                        Diagnostic* diagnostic) {
  if (out.dtype != x.dtype)
    return SCONCE_FAIL(Code::unsupported, diagnostic, "out of type %s for %s input",
                       dtype_name(out.dtype), dtype_name(x.dtype));
  DType part = part_dtype(x.dtype);
  for (int k = 0; k < 2; k++) {
    Rows from = complex_part(x, mask, k), to = complex_part(out, keepdim ? mask : 0, k);
    if (part == DType::f64) fold_rows<Operation, double>(from, to, part, part, 0);
    else fold_rows<Operation, float>(from, to, part, part, 0);
  }
  return kOk;
}

// --- arguments --------------------------------------------------------------------------------

// Where a kernel's arguments stand; -1 when it has none of that kind. `dims` absent: all of them.
struct Layout { int dims = -1, keepdim = -1, dtype = -1; };
enum class Result : uint8_t {
  same,      // the dtype of self
  sum,       // integers become i64
  floating,  // wanted: a floating (or complex) type
  boolean,   // b8; u8 stays u8
  count,     // i64
};
struct Rule {
  Result result;
  bool empty_is_all = true;  // an empty list of dimensions means all of them
  bool identity = true;      // has a value for an empty row
};

struct Call { uint32_t mask; bool keepdim; };

template <Layout layout>
Status read_call(const Args& args, const Rule& rule, Call* call, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  call->mask = all_dims(x.rank);
  if (layout.dims >= 0)
    SCONCE_TRY_STATUS(
        dims_mask(args, layout.dims, x.rank, rule.empty_is_all, &call->mask, diagnostic));
  call->keepdim = layout.keepdim >= 0 && args.boolean(layout.keepdim);
  return kOk;
}

DType result_dtype(Result result, DType dtype) {
  switch (result) {
    case Result::sum: return is_integral(dtype) ? DType::i64 : dtype;
    case Result::boolean: return dtype == DType::u8 ? dtype : DType::b8;
    case Result::count: return DType::i64;
    default: return dtype;
  }
}

template <Layout layout, Rule rule>
Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  Call call;
  SCONCE_TRY_STATUS(read_call<layout>(args, rule, &call, diagnostic));
  if (!rule.identity) SCONCE_TRY_STATUS(want_elements(x, call.mask, "extreme", diagnostic));
  DType dtype = result_dtype(rule.result, x.dtype);
  if (layout.dtype >= 0)
    SCONCE_TRY_STATUS(dtype_argument(args, layout.dtype, dtype, &dtype, diagnostic));
  if (rule.result == Result::floating && is_integral(dtype))
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "result of type %s for %s input: a floating type is wanted",
                       dtype_name(dtype), dtype_name(x.dtype));
  if (rule.result == Result::same || dtype_category(x.dtype) != DTypeCategory::complex)
    SCONCE_TRY_STATUS(want_real(x, "reduction", diagnostic));
  set_reduced(outs[0], x, call.mask, call.keepdim, dtype);
  return kOk;
}

template <Layout layout, Rule rule, class Operation>
Status run(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  Tensor& out = args.out();
  Call call;
  SCONCE_TRY_STATUS(read_call<layout>(args, rule, &call, context.diagnostic));
  if (dtype_category(x.dtype) == DTypeCategory::complex) {
    if constexpr (std::is_same_v<Operation, Sum> || std::is_same_v<Operation, Mean>)
      return run_complex_fold<Operation>(x, call.mask, call.keepdim, out, context.diagnostic);
    return want_real(x, "this reduction", context.diagnostic);
  }
  if (dtype_category(out.dtype) == DTypeCategory::complex)
    return want_real(out, "result", context.diagnostic);
  DType as = x.dtype;
  // Sums are formed in the type of the result, as torch's out variants do.
  if (rule.result == Result::sum || rule.result == Result::floating) as = out.dtype;
  if (rule.result == Result::floating && is_integral(as))
    return want_floating(out, "result", context.diagnostic);
  return run_fold<Operation>(x, call.mask, call.keepdim, as, 0, out);
}

// --- vector norm: self, ord, dim, keepdim, dtype ----------------------------------------------

constexpr Rule kNormRule{Result::floating};
constexpr Layout kNormLayout{2, 3, 4};

Status norm_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(want_floating(x, "linalg_vector_norm", diagnostic));
  SCONCE_TRY_STATUS((shape<kNormLayout, kNormRule>(args, outs, diagnostic)));
  double order = args.floating(1);
  Call call;
  SCONCE_TRY_STATUS(read_call<kNormLayout>(args, kNormRule, &call, diagnostic));
  if (order < 0 || std::isinf(order))
    SCONCE_TRY_STATUS(want_elements(x, call.mask, "norm of this order", diagnostic));
  return kOk;
}

Status norm_run(const Args& args, KernelContext& context) {
  const Tensor& x = args.tensor(0);
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(want_floating(out, "result", context.diagnostic));
  Call call;
  SCONCE_TRY_STATUS(read_call<kNormLayout>(args, kNormRule, &call, context.diagnostic));
  return run_fold<Norm>(x, call.mask, call.keepdim, out.dtype, args.floating(1), out);
}

constexpr Layout kSelf{}, kDim{1, 2, -1}, kDimDtype{1, 2, 3}, kDtype{-1, -1, 1}, kDimOnly{1, -1, -1};
constexpr Rule kSum{Result::sum}, kFloating{Result::floating}, kBoolean{Result::boolean, false},
    kExtreme{Result::same, true, false}, kCount{Result::count};

}  // namespace

#define KERNEL_FOLD(name, aten, signature, layout, rule, Operation) \
  KERNEL(name) = {aten, signature, shape<layout, rule>, run<layout, rule, Operation>};

KERNEL_FOLD(sum_int_list, "aten::sum.IntList_out", "tLbI>t", kDimDtype, kSum, Sum)
KERNEL_FOLD(sum, "aten::sum.out", "tI>t", kDtype, kSum, Sum)
KERNEL_FOLD(nansum, "aten::nansum.out", "tLbI>t", kDimDtype, kSum, NanSum)
KERNEL_FOLD(mean_dim, "aten::mean.out", "tLbI>t", kDimDtype, kFloating, Mean)
KERNEL_FOLD(mean, "aten::mean.dtype_out", "tI>t", kDtype, kFloating, Mean)
KERNEL_FOLD(prod_int, "aten::prod.int_out", "tibI>t", kDimDtype, kSum, Prod)
KERNEL_FOLD(prod, "aten::prod.out", "tI>t", kDtype, kSum, Prod)
KERNEL_FOLD(amax, "aten::amax.out", "tlb>t", kDim, kExtreme, Extreme<1>)
KERNEL_FOLD(amin, "aten::amin.out", "tlb>t", kDim, kExtreme, Extreme<-1>)
KERNEL_FOLD(max_unary, "aten::max.unary_out", "t>t", kSelf, kExtreme, Extreme<1>)
KERNEL_FOLD(min_unary, "aten::min.unary_out", "t>t", kSelf, kExtreme, Extreme<-1>)
KERNEL_FOLD(any_dim, "aten::any.out", "tib>t", kDim, kBoolean, Any)
KERNEL_FOLD(any_dims, "aten::any.dims_out", "tLb>t", kDim, kBoolean, Any)
KERNEL_FOLD(any, "aten::any.all_out", "t>t", kSelf, kBoolean, Any)
KERNEL_FOLD(all_dim, "aten::all.out", "tib>t", kDim, kBoolean, All)
KERNEL_FOLD(all_dims, "aten::all.dims_out", "tLb>t", kDim, kBoolean, All)
KERNEL_FOLD(all, "aten::all.all_out", "t>t", kSelf, kBoolean, All)
KERNEL_FOLD(count_nonzero, "aten::count_nonzero.out", "tI>t", kDimOnly, kCount, CountNonzero)
KERNEL_FOLD(count_nonzero_dims, "aten::count_nonzero.dim_IntList_out", "tl>t", kDimOnly, kCount,
            CountNonzero)
KERNEL(linalg_vector_norm) = {"aten::linalg_vector_norm.out", "tnLbI>t", norm_shape, norm_run};

}  // namespace sconce
