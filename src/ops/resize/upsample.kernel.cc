// Upsampling: nearest, linear and cubic interpolation over 1 to 3 dimensions, also antialiased.
//
// Linear and cubic make an output row from weighted input rows first, then interpolate along the row.
#include <cstring>
#include <type_traits>

#include "ops/linear/gemm.h"
#include "ops/resize/resize.h"

namespace sconce {
namespace {

// How the arguments of one operator are read. `vec` forms have an optional output size and optional
// scale factors; plain forms have an output size and then one optional scale per dimension.
struct Form {
  const char* what;
  int spatial;
  Filter filter;
  bool antialias = false;
  bool vec = false;
  constexpr bool has_corners() const { return filter >= Filter::linear; }
};

struct Sizes {
  int64_t in[3] = {1, 1, 1}, out[3] = {1, 1, 1};
  double scale[3] = {0, 0, 0};
  bool align_corners = false;
};

Status read_sizes(const Form& form, const Args& args, Sizes* sizes, Diagnostic* diagnostic) {
  const Tensor& x = args.tensor(0);
  int spatial = form.spatial;
  if (x.rank != spatial + 2)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: input of rank %d, %d wanted",
                       form.what, x.rank, spatial + 2);
  SCONCE_TRY_STATUS(check_arithmetic_dtype(form.what, x.dtype, diagnostic));
  bool any_type = form.filter < Filter::linear || (x.dtype == DType::u8 && spatial == 2);
  if (!any_type) SCONCE_TRY_STATUS(check_floating_dtype(form.what, x.dtype, diagnostic));
  if (form.has_corners()) sizes->align_corners = args.boolean(2);
  int scales = form.has_corners() ? 3 : 2;
  bool sized = args.has(1), scaled = form.vec && args.has(scales);
  if (form.vec && sized == scaled)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: exactly one of output size and scale factors wanted", form.what);
  if (sized && args.list_count(1) != spatial)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: %d output sizes, %d wanted",
                       form.what, args.list_count(1), spatial);
  if (scaled && args.list_count(scales) != spatial)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: %d scale factors, %d wanted",
                       form.what, args.list_count(scales), spatial);
  for (int i = 0; i < spatial; i++) {
    int at = 3 - spatial + i;
    sizes->in[at] = x.sizes[2 + i];
    if (scaled) sizes->scale[at] = args.list_floating(scales, i);
    else if (!form.vec) sizes->scale[at] = args.floating_or(scales + i, 0);
    if (sized) {
      sizes->out[at] = args.list_integer(1, i);
    } else {
      double size = std::floor(double(sizes->in[at]) * sizes->scale[at]);
      sizes->out[at] = size > 0 && size <= INT32_MAX ? int64_t(size) : 0;
    }
    if (sizes->in[at] < 1 || sizes->out[at] < 1 || sizes->out[at] > INT32_MAX)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                         "%s: dimension %d goes from size %lld to %lld; both must be positive",
                         form.what, 2 + i, (long long)sizes->in[at], (long long)sizes->out[at]);
  }
  return kOk;
}

template <const Form& form>
Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  Sizes sizes;
  SCONCE_TRY_STATUS(read_sizes(form, args, &sizes, diagnostic));
  set_like(outs[0], args.tensor(0));
  for (int i = 0; i < form.spatial; i++) outs[0].sizes[2 + i] = sizes.out[3 - form.spatial + i];
  return kOk;
}

struct Image { int64_t batch, channel, spatial[3]; };
Image image_of(const Tensor& tensor) {
  Strides strides = strides_of(tensor);
  Image image{strides[0], strides[1], {0, 0, 0}};
  for (int i = 2; i < tensor.rank; i++) image.spatial[3 - tensor.rank + i] = strides[i];
  return image;
}

template <class T>
void make_axes(const Form& form, const Sizes& sizes, ResizeAxis<T> axes[3]) {
  for (int i = 0; i < 3; i++) {
    ResizeAxis<T>& axis = axes[i];
    axis.in = sizes.in[i];
    axis.out = sizes.out[i];
    axis.filter = form.filter;
    axis.antialias = form.antialias;
    axis.align_corners = sizes.align_corners;
    axis.step = resize_step<T>(axis.in, axis.out, axis.align_corners, sizes.scale[i]);
    if (i < 3 - form.spatial) {  // a dimension that does not exist
      axis = {};
      axis.filter = Filter::linear;
    }
  }
}

template <class S>
void copy_nearest(const ResizeAxis<float> axes[3], const Tensor& x, const Tensor& out) {
  Image in = image_of(x), to = image_of(out);
  for (int64_t n = 0; n < x.sizes[0]; n++)
    for (int64_t c = 0; c < x.sizes[1]; c++)
      for (int64_t d = 0; d < axes[0].out; d++)
        for (int64_t h = 0; h < axes[1].out; h++) {
          const S* from = x.as<S>() + n * in.batch + c * in.channel +
                          axes[0].nearest(d) * in.spatial[0] + axes[1].nearest(h) * in.spatial[1];
          S* row = out.as<S>() + n * to.batch + c * to.channel + d * to.spatial[0] + h * to.spatial[1];
          for (int64_t w = 0; w < axes[2].out; w++)
            row[w * to.spatial[2]] = from[axes[2].nearest(w) * in.spatial[2]];
        }
}

Status run_nearest(const Form& form, const Sizes& sizes, const Tensor& x, Tensor& out) {
  ResizeAxis<float> axes[3];
  make_axes(form, sizes, axes);
  for (int i = 0; i < 3 - form.spatial; i++) axes[i].filter = Filter::nearest;
  switch (dtype_bytes(x.dtype)) {
    case 1: copy_nearest<uint8_t>(axes, x, out); break;
    case 2: copy_nearest<uint16_t>(axes, x, out); break;
    case 4: copy_nearest<uint32_t>(axes, x, out); break;
    default: copy_nearest<uint64_t>(axes, x, out);
  }
  return kOk;
}

// Elements of scratch: the weights of the three axes, a row.
template <class T>
void interpolate(const Form& form, const Sizes& sizes, const Tensor& x, Tensor& out, T* scratch) {
  ResizeAxis<T> axes[3];
  make_axes(form, sizes, axes);
  T* weights[3];
  for (int i = 0; i < 3; i++) {
    weights[i] = scratch;
    scratch += axes[i].taps_max() + 1;
  }
  T* row = scratch;
  Image in = image_of(x), to = image_of(out);
  int64_t width = axes[2].in, element_bytes = int64_t(dtype_bytes(x.dtype));
  int64_t out_bytes = int64_t(dtype_bytes(out.dtype));
  for (int64_t n = 0; n < x.sizes[0]; n++)
    for (int64_t c = 0; c < x.sizes[1]; c++)
      for (int64_t d = 0; d < axes[0].out; d++) {
        int64_t first_d, count_d = axes[0].weights(d, &first_d, weights[0]);
        for (int64_t h = 0; h < axes[1].out; h++) {
          int64_t first_h, count_h = axes[1].weights(h, &first_h, weights[1]);
          for (int64_t w = 0; w < width; w++) row[w] = 0;
          for (int64_t i = 0; i < count_d; i++)
            for (int64_t j = 0; j < count_h; j++) {
              T weight = weights[0][i] * weights[1][j];
              const char* from =
                  x.as<char>() + (n * in.batch + c * in.channel + (first_d + i) * in.spatial[0] +
                                  (first_h + j) * in.spatial[1]) * element_bytes;
              for (int64_t w = 0; w < width; w += kBlockCount) {
                T block[kBlockCount];
                int count = int(width - w < kBlockCount ? width - w : kBlockCount);
                load_elements<T>(block, from + w * in.spatial[2] * element_bytes, in.spatial[2],
                                 count, x.dtype);
                for (int k = 0; k < count; k++) row[w + k] += weight * block[k];
              }
            }
          char* target = out.as<char>() + (n * to.batch + c * to.channel + d * to.spatial[0] +
                                           h * to.spatial[1]) * out_bytes;
          for (int64_t w = 0; w < axes[2].out; w += kBlockCount) {
            T block[kBlockCount];
            int count = int(axes[2].out - w < kBlockCount ? axes[2].out - w : kBlockCount);
            for (int k = 0; k < count; k++) {
              int64_t first, taps = axes[2].weights(w + k, &first, weights[2]);
              T sum = 0;
              for (int64_t t = 0; t < taps; t++) sum += weights[2][t] * row[first + t];
              block[k] = sum;
            }
            store_elements<T>(target + w * to.spatial[2] * out_bytes, to.spatial[2], block, count,
                              out.dtype);
          }
        }
      }
}

// Images of bytes, as torch does them: along rows, then along columns, each with 16-bit weights whose
// precision follows the largest one, and rounded to bytes in between.
class ByteAxis {
 public:
  // `weights` has room for axis.taps_max() + 1.
  ByteAxis(const ResizeAxis<double>& axis, double* weights) : axis_(axis), weights_(weights) {
    double largest = 0;
    for (int64_t o = 0; o < axis.out; o++) {
      int64_t first, count = axis.weights(o, &first, weights);
      for (int64_t i = 0; i < count; i++) largest = weights[i] > largest ? weights[i] : largest;
    }
    while (precision_ < 22 && largest * double(int64_t{1} << (precision_ + 1)) + 0.5 < 32768) precision_++;
  }
  void move_to(int64_t o) {
    count_ = axis_.weights(o, &first_, weights_);
    for (int64_t i = 0; i < count_; i++) {
      double scaled = weights_[i] * double(int64_t{1} << precision_);
      weights_[i] = double(int64_t(scaled < 0 ? scaled - 0.5 : scaled + 0.5));
    }
  }
  // The output at the position, from inputs `stride` apart.
  uint8_t value(const uint8_t* from, int64_t stride) const {
    int64_t sum = precision_ == 0 ? 0 : int64_t{1} << (precision_ - 1);
    for (int64_t i = 0; i < count_; i++) sum += int64_t(weights_[i]) * from[(first_ + i) * stride];
    sum >>= precision_;
    return uint8_t(sum < 0 ? 0 : sum > 255 ? 255 : sum);
  }

 private:
  const ResizeAxis<double>& axis_;
  double* weights_;
  int precision_ = 0;
  int64_t first_ = 0, count_ = 0;
};

void interpolate_bytes(const Form& form, const Sizes& sizes, const Tensor& x, Tensor& out,
                       uint8_t* scratch) {
  ResizeAxis<double> axes[3];
  make_axes(form, sizes, axes);
  double* weights = reinterpret_cast<double*>(scratch);
  ByteAxis columns(axes[1], weights);
  weights += axes[1].taps_max() + 1;
  ByteAxis rows(axes[2], weights);
  uint8_t* plane = reinterpret_cast<uint8_t*>(weights + axes[2].taps_max() + 1);
  Image in = image_of(x), to = image_of(out);
  int64_t width = axes[2].out;
  for (int64_t n = 0; n < x.sizes[0]; n++)
    for (int64_t c = 0; c < x.sizes[1]; c++) {
      const uint8_t* from = x.as<uint8_t>() + n * in.batch + c * in.channel;
      uint8_t* target = out.as<uint8_t>() + n * to.batch + c * to.channel;
      for (int64_t w = 0; w < width; w++) {
        rows.move_to(w);
        for (int64_t h = 0; h < axes[1].in; h++)
          plane[h * width + w] = rows.value(from + h * in.spatial[1], in.spatial[2]);
      }
      for (int64_t h = 0; h < axes[1].out; h++) {
        columns.move_to(h);
        for (int64_t w = 0; w < width; w++)
          target[h * to.spatial[1] + w * to.spatial[2]] = columns.value(plane + w, width);
      }
    }
}

template <const Form& form>
uint64_t scratch_bytes(const Args& args) {
  Sizes sizes;
  if (form.filter < Filter::linear || !read_sizes(form, args, &sizes, nullptr).ok()) return 0;
  if (args.tensor(0).dtype == DType::u8) {
    uint64_t taps = form.antialias ? uint64_t(sizes.in[1]) + uint64_t(sizes.in[2]) : 8;
    return (taps + 2) * sizeof(double) + uint64_t(sizes.in[1]) * uint64_t(sizes.out[2]);
  }
  uint64_t count = uint64_t(sizes.in[2]);
  for (int i = 0; i < 3; i++) count += 5 + (form.antialias ? uint64_t(sizes.in[i]) : 0);
  return count * (args.tensor(0).dtype == DType::f64 ? 8 : 4);
}

template <const Form& form>
Status run(const Args& args, KernelContext& context) {
  Sizes sizes;
  SCONCE_TRY_STATUS(read_sizes(form, args, &sizes, context.diagnostic));
  const Tensor& x = args.tensor(0);
  Tensor& out = args.out();
  SCONCE_TRY_STATUS(check_out_dtype(out, x.dtype, context.diagnostic));
  if constexpr (form.filter < Filter::linear) return run_nearest(form, sizes, x, out);
  void* scratch = context.scratch.data();
  if (x.dtype == DType::u8) interpolate_bytes(form, sizes, x, out, context.scratch.data());
  else if (x.dtype == DType::f64) interpolate(form, sizes, x, out, static_cast<double*>(scratch));
  else interpolate(form, sizes, x, out, static_cast<float*>(scratch));
  return kOk;
}

constexpr Form kNearest1d = {"upsample_nearest1d", 1, Filter::nearest};
constexpr Form kNearest2d = {"upsample_nearest2d", 2, Filter::nearest};
constexpr Form kNearest3d = {"upsample_nearest3d", 3, Filter::nearest};
constexpr Form kNearest2dVec = {"upsample_nearest2d", 2, Filter::nearest, false, true};
constexpr Form kExact1d = {"_upsample_nearest_exact1d", 1, Filter::nearest_exact};
constexpr Form kExact2d = {"_upsample_nearest_exact2d", 2, Filter::nearest_exact};
constexpr Form kExact3d = {"_upsample_nearest_exact3d", 3, Filter::nearest_exact};
constexpr Form kLinear1d = {"upsample_linear1d", 1, Filter::linear};
constexpr Form kBilinear2d = {"upsample_bilinear2d", 2, Filter::linear};
constexpr Form kBilinear2dVec = {"upsample_bilinear2d", 2, Filter::linear, false, true};
constexpr Form kBilinear2dAa = {"_upsample_bilinear2d_aa", 2, Filter::linear, true};
constexpr Form kTrilinear3d = {"upsample_trilinear3d", 3, Filter::linear};
constexpr Form kBicubic2d = {"upsample_bicubic2d", 2, Filter::cubic};
constexpr Form kBicubic2dAa = {"_upsample_bicubic2d_aa", 2, Filter::cubic, true};

}  // namespace

KERNEL(upsample_nearest1d) = {"aten::upsample_nearest1d.out", "tlF>t", shape<kNearest1d>,
                              run<kNearest1d>};
KERNEL(upsample_nearest2d) = {"aten::upsample_nearest2d.out", "tlFF>t", shape<kNearest2d>,
                              run<kNearest2d>};
KERNEL(upsample_nearest3d) = {"aten::upsample_nearest3d.out", "tlFFF>t", shape<kNearest3d>,
                              run<kNearest3d>};
KERNEL(upsample_nearest2d_vec) = {"aten::upsample_nearest2d.vec_out", "tLD>t", shape<kNearest2dVec>,
                                  run<kNearest2dVec>};
KERNEL(upsample_nearest_exact1d) = {"aten::_upsample_nearest_exact1d.out", "tlF>t", shape<kExact1d>,
                                    run<kExact1d>};
KERNEL(upsample_nearest_exact2d) = {"aten::_upsample_nearest_exact2d.out", "tlFF>t",
                                    shape<kExact2d>, run<kExact2d>};
KERNEL(upsample_nearest_exact3d) = {"aten::_upsample_nearest_exact3d.out", "tlFFF>t",
                                    shape<kExact3d>, run<kExact3d>};
KERNEL(upsample_linear1d) = {"aten::upsample_linear1d.out", "tlbF>t", shape<kLinear1d>,
                             run<kLinear1d>, scratch_bytes<kLinear1d>};
KERNEL(upsample_bilinear2d) = {"aten::upsample_bilinear2d.out", "tlbFF>t", shape<kBilinear2d>,
                               run<kBilinear2d>, scratch_bytes<kBilinear2d>};
KERNEL(upsample_bilinear2d_vec) = {"aten::upsample_bilinear2d.vec_out", "tLbD>t",
                                   shape<kBilinear2dVec>, run<kBilinear2dVec>,
                                   scratch_bytes<kBilinear2dVec>};
KERNEL(upsample_bilinear2d_aa) = {"aten::_upsample_bilinear2d_aa.out", "tlbFF>t",
                                  shape<kBilinear2dAa>, run<kBilinear2dAa>,
                                  scratch_bytes<kBilinear2dAa>};
KERNEL(upsample_trilinear3d) = {"aten::upsample_trilinear3d.out", "tlbFFF>t", shape<kTrilinear3d>,
                                run<kTrilinear3d>, scratch_bytes<kTrilinear3d>};
KERNEL(upsample_bicubic2d) = {"aten::upsample_bicubic2d.out", "tlbFF>t", shape<kBicubic2d>,
                              run<kBicubic2d>, scratch_bytes<kBicubic2d>};
KERNEL(upsample_bicubic2d_aa) = {"aten::_upsample_bicubic2d_aa.out", "tlbFF>t", shape<kBicubic2dAa>,
                                 run<kBicubic2dAa>, scratch_bytes<kBicubic2dAa>};

}  // namespace sconce
