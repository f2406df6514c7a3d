// im2col (unfold) and col2im (fold): windows of an image as columns, and columns added up again.
#include <cstring>

#include "ops/linear/gemm.h"

namespace sconce {
namespace {

// Geometry over two dimensions. `grid` counts window positions.
struct Fold {
  int64_t image[2], grid[2], kernel[2], dilation[2], padding[2], stride[2];
  int64_t taps() const { return kernel[0] * kernel[1]; }
};

Status take_pair(const char* what, const char* name, const Args& args, int position, int64_t min,
                 int64_t to[2], Diagnostic* diagnostic) {
  int count = args.list_count(position);
  if (count != 1 && count != 2)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: %s has %d entries, 2 wanted", what,
                       name, count);
  for (int i = 0; i < 2; i++) {
    to[i] = args.list_integer(position, count == 1 ? 0 : i);
    if (to[i] < min || to[i] > INT32_MAX)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: %s is %lld, at least %lld wanted",
                         what, name, (long long)to[i], (long long)min);
  }
  return kOk;
}

// kernel_size, dilation, padding, stride stand from `first` on.
Status read_fold(const char* what, const Args& args, int first, Fold* fold, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(take_pair(what, "kernel size", args, first, 1, fold->kernel, diagnostic));
  SCONCE_TRY_STATUS(take_pair(what, "dilation", args, first + 1, 1, fold->dilation, diagnostic));
  SCONCE_TRY_STATUS(take_pair(what, "padding", args, first + 2, 0, fold->padding, diagnostic));
  SCONCE_TRY_STATUS(take_pair(what, "stride", args, first + 3, 1, fold->stride, diagnostic));
  for (int i = 0; i < 2; i++) {
    int64_t reach = fold->dilation[i] * (fold->kernel[i] - 1) + 1;
    int64_t room = fold->image[i] + 2 * fold->padding[i] - reach;
    if (room < 0)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s: windows reach over %lld, the padded image has %lld", what,
                         (long long)reach, (long long)(room + reach));
    fold->grid[i] = room / fold->stride[i] + 1;
  }
  return kOk;
}

// im2col: self [n, c, h, w] or [c, h, w], kernel_size, dilation, padding, stride.
Status read_im2col(const Args& args, Fold* fold, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  if (x.rank != 3 && x.rank != 4)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "im2col: rank %d, 3 or 4 wanted", x.rank);
  for (int i = 0; i < 2; i++) fold->image[i] = x.sizes[x.rank - 2 + i];
  return read_fold("im2col", args, 1, fold, diagnostic);
}

Status im2col_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Fold fold;
  SCONCE_TRY_STATUS(read_im2col(args, &fold, diagnostic));
  const Tensor& x = args.tensor(0);
  OutMeta& out = outs[0];
  out.dtype = x.dtype;
  out.rank = x.rank - 1;
  if (x.rank == 4) out.sizes[0] = x.sizes[0];
  int64_t& rows = out.sizes[out.rank - 2];
  if (!checked_multiply(fold.kernel[0], fold.kernel[1], &rows) ||
      !checked_multiply<int64_t>(rows, x.sizes[x.rank - 3], &rows))
    return SCONCE_FAIL(Code::too_large, diagnostic, "im2col: too many elements in a window");
  out.sizes[out.rank - 1] = fold.grid[0] * fold.grid[1];
  return kOk;
}

template <class S>
void im2col(const Fold& f, const Tensor& x, Tensor& out) {
  Strides xs = strides_of(x), os = strides_of(out);
  int channel_dim = x.rank - 3;
  int64_t batches = x.rank == 4 ? x.sizes[0] : 1, taps = f.taps();
  for (int64_t batch = 0; batch < batches; batch++)
    for (int64_t row = 0; row < x.sizes[channel_dim] * taps; row++) {
      int64_t channel = row / taps, kh = row % taps / f.kernel[1], kw = row % f.kernel[1];
      const S* from = x.as<S>() + (x.rank == 4 ? batch * xs[0] : 0) + channel * xs[channel_dim];
      S* to = out.as<S>() + (x.rank == 4 ? batch * os[0] : 0) + row * os[out.rank - 2];
      for (int64_t h = 0; h < f.grid[0]; h++) {
        int64_t ih = h * f.stride[0] - f.padding[0] + kh * f.dilation[0];
        for (int64_t w = 0; w < f.grid[1]; w++) {
          int64_t iw = w * f.stride[1] - f.padding[1] + kw * f.dilation[1];
          bool inside = ih >= 0 && ih < f.image[0] && iw >= 0 && iw < f.image[1];
          to[(h * f.grid[1] + w) * os[out.rank - 1]] =
              inside ? from[ih * xs[x.rank - 2] + iw * xs[x.rank - 1]] : S(0);
        }
      }
    }
}

Status im2col_run(const Args& args, KernelContext& context) {
  Fold fold;
  SCONCE_TRY_STATUS(read_im2col(args, &fold, context.diagnostic));
  const Tensor& x = args.tensor(0);
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(check_out_dtype(out, x.dtype, context.diagnostic));
  switch (dtype_bytes(x.dtype)) {
    case 1: im2col<uint8_t>(fold, x, out); break;
    case 2: im2col<uint16_t>(fold, x, out); break;
    case 4: im2col<uint32_t>(fold, x, out); break;
    case 8: im2col<uint64_t>(fold, x, out); break;
    default:
      return SCONCE_FAIL(Code::unsupported, context.diagnostic, "im2col of %s", dtype_name(x.dtype));
  }
  return kOk;
}

// col2im: self [n, c * taps, positions] or without n, output_size, kernel_size, dilation, padding,
// stride.
Status read_col2im(const Args& args, Fold* fold, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(take_pair("col2im", "output size", args, 1, 1, fold->image, diagnostic));
  SCONCE_TRY_STATUS(read_fold("col2im", args, 2, fold, diagnostic));
  if (x.rank != 2 && x.rank != 3)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "col2im: rank %d, 2 or 3 wanted", x.rank);
  int64_t taps;
  if (!checked_multiply(fold->kernel[0], fold->kernel[1], &taps) || x.sizes[x.rank - 2] % taps != 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "col2im: %d rows are no multiple of the window's %lld elements",
                       int(x.sizes[x.rank - 2]), (long long)taps);
  if (x.sizes[x.rank - 1] != fold->grid[0] * fold->grid[1])
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "col2im: %d columns, %lld x %lld wanted",
                       int(x.sizes[x.rank - 1]), (long long)fold->grid[0], (long long)fold->grid[1]);
  return kOk;
}

Status col2im_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Fold fold;
  SCONCE_TRY_STATUS(read_col2im(args, &fold, diagnostic));
  const Tensor& x = args.tensor(0);
  SCONCE_TRY_STATUS(check_arithmetic_dtype("col2im", x.dtype, diagnostic));
  OutMeta& out = outs[0];
  out.dtype = x.dtype;
  out.rank = x.rank + 1;
  if (x.rank == 3) out.sizes[0] = x.sizes[0];
  out.sizes[out.rank - 3] = x.sizes[x.rank - 2] / fold.taps();
  out.sizes[out.rank - 2] = fold.image[0];
  out.sizes[out.rank - 1] = fold.image[1];
  return kOk;
}

template <class T>
void col2im(const Fold& f, const Tensor& x, Tensor& out) {
  using Sum = std::conditional_t<std::is_integral_v<T>, uint64_t, T>;  // integers wrap
  Strides xs = strides_of(x), os = strides_of(out);
  int64_t batches = out.rank == 4 ? out.sizes[0] : 1, channels = out.sizes[out.rank - 3];
  int64_t bytes = int64_t(dtype_bytes(x.dtype)), taps = f.taps();
  for (int64_t batch = 0; batch < batches; batch++)
    for (int64_t channel = 0; channel < channels; channel++)
      for (int64_t h = 0; h < f.image[0]; h++)
        for (int64_t w = 0; w < f.image[1]; w++) {
          Sum sum = 0;
          for (int64_t kh = 0; kh < f.kernel[0]; kh++) {
            int64_t gh = h + f.padding[0] - kh * f.dilation[0];
            if (gh < 0 || gh % f.stride[0] != 0 || gh / f.stride[0] >= f.grid[0]) continue;
            for (int64_t kw = 0; kw < f.kernel[1]; kw++) {
              int64_t gw = w + f.padding[1] - kw * f.dilation[1];
              if (gw < 0 || gw % f.stride[1] != 0 || gw / f.stride[1] >= f.grid[1]) continue;
              int64_t row = channel * taps + kh * f.kernel[1] + kw;
              int64_t column = gh / f.stride[0] * f.grid[1] + gw / f.stride[1];
              int64_t offset = (x.rank == 3 ? batch * xs[0] : 0) + row * xs[x.rank - 2] +
                               column * xs[x.rank - 1];
              T value;
              load_elements<T>(&value, x.as<char>() + offset * bytes, 1, 1, x.dtype);
              sum += Sum(value);
            }
          }
          int64_t at = (out.rank == 4 ? batch * os[0] : 0) + channel * os[out.rank - 3] +
                       h * os[out.rank - 2] + w * os[out.rank - 1];
          T value = T(sum);
          store_elements<T>(out.as<char>() + at * bytes, 1, &value, 1, out.dtype);
        }
}

Status col2im_run(const Args& args, KernelContext& context) {
  Fold fold;
  SCONCE_TRY_STATUS(read_col2im(args, &fold, context.diagnostic));
  const Tensor& x = args.tensor(0);
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(check_out_dtype(out, x.dtype, context.diagnostic));
  switch (compute_of(x.dtype)) {
    case Compute::f32: col2im<float>(fold, x, out); break;
    case Compute::f64: col2im<double>(fold, x, out); break;
    case Compute::i64: col2im<int64_t>(fold, x, out); break;
  }
  return kOk;
}

}  // namespace

KERNEL(im2col) = {"aten::im2col.out", "tllll>t", im2col_shape, im2col_run};
KERNEL(col2im) = {"aten::col2im.out", "tlllll>t", col2im_shape, col2im_run};

}  // namespace sconce
