// Fourier transforms of complex and real signals over any dimensions.
//
// One dimension at a time, in double, by splitting the length into its prime factors: n log n for
// small factors, and the plain sum for a large prime.
#include <cmath>

#include "ops/reduce/rows.h"

namespace sconce {
namespace {

struct Complex { double re, im; };

Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
Complex operator*(Complex a, Complex b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

// Memory for transforms of length n, in a kernel's scratch.
struct Plan {
  int64_t n;
  Complex *signal, *spectrum, *roots, *butterfly;
};
uint64_t plan_bytes(int64_t n) { return uint64_t(n) * 4 * sizeof(Complex); }

Plan make_plan(int64_t n, uint8_t* memory, bool forward) {
  Complex* at = reinterpret_cast<Complex*>(memory);
  Plan plan{n, at, at + n, at + 2 * n, at + 3 * n};
  for (int64_t k = 0; k < n; k++) {
    double angle = 2 * M_PI * double(k) / double(n);
    plan.roots[k] = {std::cos(angle), forward ? -std::sin(angle) : std::sin(angle)};
  }
  return plan;
}

int64_t smallest_factor(int64_t n) {
  for (int64_t p = 2; p * p <= n; p++)
    if (n % p == 0) return p;
  return n;
}

// Spectrum of the n elements of `from` that are `stride` apart; n * root_step = plan.n.
void transform(const Plan& plan, const Complex* from, int64_t stride, Complex* to, int64_t n,
               int64_t root_step) {
  if (n == 1) {
    to[0] = from[0];
    return;
  }
  int64_t p = smallest_factor(n), m = n / p;
  for (int64_t r = 0; r < p; r++)
    transform(plan, from + r * stride, stride * p, to + r * m, m, root_step * p);
  Complex* terms = plan.butterfly;
  for (int64_t k = 0; k < m; k++) {
    for (int64_t r = 0; r < p; r++) terms[r] = to[r * m + k] * plan.roots[r * k * root_step];
    for (int64_t q = 0; q < p; q++) {
      Complex sum = terms[0];
      int64_t step = q * m * root_step, root = 0;
      for (int64_t r = 1; r < p; r++) {
        root += step;
        if (root >= plan.n) root -= plan.n;
        sum = sum + terms[r] * plan.roots[root];
      }
      to[q * m + k] = sum;
    }
  }
}

// Rows of complex numbers; `im` may be absent (real signals).
struct Parts {
  Rows re, im;
  bool complex;
  Parts(const Tensor& tensor, uint32_t mask)
      : re(is_complex(tensor) ? complex_part(tensor, mask, 0) : Rows(tensor, mask)),
        im(is_complex(tensor) ? complex_part(tensor, mask, 1) : re),
        complex(is_complex(tensor)) {}
  static bool is_complex(const Tensor& tensor) {
    return dtype_category(tensor.dtype) == DTypeCategory::complex;
  }
  void read(Complex* to, int64_t count) const {
    for (int64_t first = 0; first < count; first += kBlockCount) {
      int n = int(count - first < kBlockCount ? count - first : kBlockCount);
      double block[kBlockCount];
      re.read(first, n, block);
      for (int i = 0; i < n; i++) to[first + i] = {block[i], 0};
      if (!complex) continue;
      im.read(first, n, block);
      for (int i = 0; i < n; i++) to[first + i].im = block[i];
    }
  }
  void write(const Complex* from, int64_t count, double scale) const {
    for (int64_t first = 0; first < count; first += kBlockCount) {
      int n = int(count - first < kBlockCount ? count - first : kBlockCount);
      double block[kBlockCount];
      for (int i = 0; i < n; i++) block[i] = from[first + i].re * scale;
      re.write(first, n, block);
      if (!complex) continue;
      for (int i = 0; i < n; i++) block[i] = from[first + i].im * scale;
      im.write(first, n, block);
    }
  }
  void next() {
    re.next();
    im.next();
  }
};

// Transforms every row of `from` along `dim`, n long. A target that is shorter takes the beginning
// of the spectrum. A complex source with a real target holds the beginning of a spectrum of
// conjugate pairs.
void transform_rows(const Tensor& from, Tensor& to, int dim, int64_t n, bool forward, double scale,
                    uint8_t* memory) {
  Plan plan = make_plan(n, memory, forward);
  Parts source(from, 1u << dim), target(to, 1u << dim);
  bool paired = source.complex && !target.complex;
  for (int64_t i = 0; i < target.re.count(); i++, source.next(), target.next()) {
    source.read(plan.signal, paired ? n / 2 + 1 : n);
    if (paired) {
      plan.signal[0].im = 0;
      if (n % 2 == 0) plan.signal[n / 2].im = 0;
      for (int64_t k = n / 2 + 1; k < n; k++)
        plan.signal[k] = {plan.signal[n - k].re, -plan.signal[n - k].im};
    }
    transform(plan, plan.signal, 1, plan.spectrum, n, 1);
    target.write(plan.spectrum, target.re.length(), scale);
  }
}

// --- arguments --------------------------------------------------------------------------------

enum class Form { c2c, r2c, c2r };

// c2c: self, dim, normalization, forward. r2c: self, dim, normalization, onesided.
// c2r: self, dim, normalization, last_dim_size.
struct Call {
  int dims[kRankMax];
  int count = 0;
  int64_t lengths[kRankMax];  // of the signal, by dimension
  double scale = 1;
};

template <Form form>
Status read_call(const Args& args, Call* call, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  bool right = form == Form::r2c ? x.dtype == DType::f32 || x.dtype == DType::f64
                                 : dtype_category(x.dtype) == DTypeCategory::complex;
  if (!right)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "Fourier transform of %s: %s is wanted",
                       dtype_name(x.dtype), form == Form::r2c ? "f32 or f64" : "a complex type");
  uint32_t mask;
  SCONCE_TRY_STATUS(dims_mask(args, 1, x.rank, false, &mask, diagnostic));
  call->count = args.list_count(1);
  if (form != Form::c2c && call->count == 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "at least one dimension is wanted");
  if (x.rank == 0 && call->count > 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "Fourier transform of rank 0");
  for (int i = 0; i < x.rank; i++) call->lengths[i] = x.sizes[i];
  double total = 1;
  for (int k = 0; k < call->count; k++) {
    int dim = call->dims[k] = wrap_dim(args.list_integer(1, k), x.rank, diagnostic);
    if (form == Form::c2r && k + 1 == call->count) {
      int64_t n = call->lengths[dim] = args.integer(3);
      if (n < 1 || n / 2 + 1 > x.sizes[dim])
        return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                           "signal of %lld from %d frequencies: %lld are wanted", (long long)n,
                           x.sizes[dim], (long long)(n / 2 + 1));
    }
    if (call->lengths[dim] < 1)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "signal of length 0 in dimension %d",
                         dim);
    total *= double(call->lengths[dim]);
  }
  int64_t normalization = args.integer(2);
  if (normalization < 0 || normalization > 2)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "normalization %lld: 0 to 2 is wanted",
                       (long long)normalization);
  if (normalization == 1) call->scale = 1 / std::sqrt(total);
  if (normalization == 2) call->scale = 1 / total;
  return kOk;
}

template <Form form>
Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Call call;
  SCONCE_TRY_STATUS(read_call<form>(args, &call, diagnostic));
  const Tensor& x = args.tensor(0);
  set_like(outs[0], x);
  if (form == Form::c2c) return kOk;
  int last = call.dims[call.count - 1];
  if (form == Form::r2c) {
    outs[0].dtype = x.dtype == DType::f64 ? DType::c128 : DType::c64;
    if (args.boolean(3)) outs[0].sizes[last] = x.sizes[last] / 2 + 1;
  } else {
    outs[0].dtype = part_dtype(x.dtype);
    outs[0].sizes[last] = call.lengths[last];
  }
  return kOk;
}

// Memory for the longest signal; c2r over several dimensions also keeps a copy of its input.
template <Form form>
uint64_t scratch_bytes(const Args& args) {
  Call call;
  if (!read_call<form>(args, &call, nullptr).ok()) return 0;
  int64_t longest = 0;
  for (int k = 0; k < call.count; k++)
    if (call.lengths[call.dims[k]] > longest) longest = call.lengths[call.dims[k]];
  uint64_t copy = form == Form::c2r && call.count > 1
                      ? uint64_t(element_count(args.tensor(0))) * sizeof(Complex)
                      : 0;
  return plan_bytes(longest) + copy;
}

void copy_complex(const Tensor& from, Tensor& to) {
  Parts source(from, all_dims(from.rank)), target(to, all_dims(to.rank));
  for (int64_t first = 0; first < source.re.length(); first += kBlockCount) {
    int64_t left = source.re.length() - first;
    int n = int(left < kBlockCount ? left : kBlockCount);
    double re[kBlockCount], im[kBlockCount];
    source.re.read(first, n, re);
    source.im.read(first, n, im);
    target.re.write(first, n, re);
    target.im.write(first, n, im);
  }
}

template <Form form>
Status run(const Args& args, KernelContext& context) {
  Call call;
  SCONCE_TRY_STATUS(read_call<form>(args, &call, context.diagnostic));
  const Tensor& x = args.tensor(0);
  Tensor& out = args.out();
  bool complex_out = dtype_category(out.dtype) == DTypeCategory::complex;
  if (form == Form::c2r ? !is_floating(out.dtype) : !complex_out)
    return SCONCE_FAIL(Code::invalid_argument, context.diagnostic, "result of type %s",
                       dtype_name(out.dtype));
  uint64_t wanted = scratch_bytes<form>(args);
  if (context.scratch.size() < wanted)
    return SCONCE_FAIL(Code::too_large, context.diagnostic,
                       "transform needs %llu bytes of scratch memory, %llu are there",
                       (unsigned long long)wanted, (unsigned long long)context.scratch.size());
  if (element_count(out) == 0) return kOk;
  uint8_t* memory = context.scratch.data();
  if (form == Form::c2c) {
    bool forward = args.boolean(3);
    if (call.count == 0) copy_complex(x, out);
    for (int k = 0; k < call.count; k++)
      transform_rows(k == 0 ? x : out, out, call.dims[k], call.lengths[call.dims[k]], forward,
                     k == 0 ? call.scale : 1, memory);
  } else if (form == Form::r2c) {
    for (int k = call.count - 1; k >= 0; k--) {
      bool first = k == call.count - 1;
      transform_rows(first ? x : out, out, call.dims[k], call.lengths[call.dims[k]], true,
                     first ? call.scale : 1, memory);
    }
  } else {
    const Tensor* from = &x;
    Tensor copy = x;
    int last = call.dims[call.count - 1];
    if (call.count > 1) {
      int64_t longest = 0;
      for (int k = 0; k < call.count; k++)
        if (call.lengths[call.dims[k]] > longest) longest = call.lengths[call.dims[k]];
      copy.dtype = DType::c128;
      copy.dim_order = nullptr;
      copy.data = memory + plan_bytes(longest);
      for (int k = 0; k + 1 < call.count; k++)
        transform_rows(k == 0 ? x : copy, copy, call.dims[k], call.lengths[call.dims[k]], false, 1,
                       memory);
      from = &copy;
    }
    transform_rows(*from, out, last, call.lengths[last], false, call.scale, memory);
  }
  return kOk;
}

}  // namespace

KERNEL(fft_c2c) = {"aten::_fft_c2c.out", "tlib>t", shape<Form::c2c>, run<Form::c2c>,
                   scratch_bytes<Form::c2c>};
KERNEL(fft_r2c) = {"aten::_fft_r2c.out", "tlib>t", shape<Form::r2c>, run<Form::r2c>,
                   scratch_bytes<Form::r2c>};
KERNEL(fft_c2r) = {"aten::_fft_c2r.out", "tlii>t", shape<Form::c2r>, run<Form::c2r>,
                   scratch_bytes<Form::c2r>};

}  // namespace sconce
