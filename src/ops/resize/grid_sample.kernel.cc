// grid_sampler_2d and _3d: reads an image at the positions of a grid, -1 to 1 across the image.
#include <cmath>

#include "ops/linear/gemm.h"
#include "tensor/half.h"

namespace sconce {
namespace {

enum class Mode : uint8_t { bilinear, nearest, bicubic };
enum class Padding : uint8_t { zeros, border, reflection };

// Arguments: input [n, c, (d,) h, w], grid [n, (d,) h, w, 2 or 3], interpolation_mode, padding_mode,
// align_corners.
template <int spatial>
Status shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  constexpr const char* what = spatial == 2 ? "grid_sampler_2d" : "grid_sampler_3d";
  const Tensor &x = args.tensor(0), &grid = args.tensor(1);
  SCONCE_TRY_STATUS(check_same_dtype(what, x, grid, diagnostic));
  SCONCE_TRY_STATUS(check_floating_dtype(what, x.dtype, diagnostic));
  if (x.rank != spatial + 2 || grid.rank != spatial + 2 || x.sizes[0] != grid.sizes[0] ||
      grid.sizes[spatial + 1] != spatial)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: ranks %d and %d, last size of the grid %d; ranks %d, the same batch and "
                       "last size %d wanted",
                       what, x.rank, grid.rank, grid.rank > 0 ? int(grid.sizes[grid.rank - 1]) : 0,
                       spatial + 2, spatial);
  for (int i = 0; i < spatial; i++)
    if (x.sizes[2 + i] == 0)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%s: dimension %d of the input is empty",
                         what, 2 + i);
  int64_t mode = args.integer(2), padding = args.integer(3);
  if (mode < 0 || mode > (spatial == 2 ? 2 : 1) || padding < 0 || padding > 2)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "%s: interpolation mode %lld, padding mode %lld", what, (long long)mode,
                       (long long)padding);
  set_like(outs[0], x);
  for (int i = 0; i < spatial; i++) outs[0].sizes[2 + i] = grid.sizes[1 + i];
  return kOk;
}

template <class T>
struct Coordinates {
  Padding padding;
  bool align_corners;
  DType dtype;  // of the grid: torch computes positions in it, which decides what is nearest

  T rounded(T x) const {
    if (dtype == DType::f16) return T(to_float(to_f16(float(x))));
    if (dtype == DType::bf16) return T(to_float(to_bf16(float(x))));
    return x;
  }
  T position(T coordinate, int64_t size) const {
    T shifted = rounded(coordinate + T(1));
    if (align_corners) return rounded(rounded(shifted / T(2)) * rounded(T(size - 1)));
    return rounded(rounded(rounded(shifted * rounded(T(size))) - T(1)) / T(2));
  }
  // Brings a position into the image, as the padding says.
  T inside(T at, int64_t size) const {
    if (padding == Padding::zeros) return at;
    if (padding == Padding::reflection) {
      int64_t low = align_corners ? 0 : -1, high = align_corners ? 2 * (size - 1) : 2 * size - 1;
      at = rounded(reflect(at, low, high));
    }
    return !(at > T(0)) ? T(0) : at > T(size - 1) ? T(size - 1) : at;
  }
  static T reflect(T at, int64_t twice_low, int64_t twice_high) {
    if (twice_low == twice_high) return 0;
    T low = T(twice_low) / 2, span = T(twice_high - twice_low) / 2;
    at = std::fabs(at - low);
    T extra = std::fmod(at, span), flips = std::floor(at / span);
    return std::fmod(flips, T(2)) == T(0) ? extra + low : span - extra + low;
  }
};

// An index, or -1 when the position lies outside; any value of `at` is safe.
template <class T>
int64_t index_of(T at, int64_t size) {
  return at >= T(0) && at <= T(size - 1) ? int64_t(at) : -1;
}

// One input that a grid position reads.
template <class T>
struct Tap { int64_t offset; T weight; };

// Up to 16 taps for a position (in order x, y, z); returns their number. Taps outside are left out.
template <class T, int spatial>
int make_taps(Mode mode, const Coordinates<T>& coordinates, const T* at, const int64_t* sizes,
              const int64_t* strides, Tap<T>* taps) {
  // Per axis: candidates with weights.
  int64_t index[spatial][4];
  T weight[spatial][4];
  int per_axis = mode == Mode::nearest ? 1 : mode == Mode::bilinear ? 2 : 4;
  for (int i = 0; i < spatial; i++) {
    T position = coordinates.position(at[i], sizes[i]);
    if (mode == Mode::nearest) {
      index[i][0] = index_of(std::nearbyint(coordinates.inside(position, sizes[i])), sizes[i]);
      weight[i][0] = 1;
    } else if (mode == Mode::bilinear) {
      position = coordinates.inside(position, sizes[i]);
      T floor = std::floor(position);
      index[i][0] = index_of(floor, sizes[i]);
      index[i][1] = index_of(floor + T(1), sizes[i]);
      weight[i][0] = floor + T(1) - position;
      weight[i][1] = position - floor;
    } else {
      T floor = std::floor(position), t = position - floor, a = T(-0.75);
      for (int k = 0; k < 4; k++) {
        T distance = k == 0 ? t + T(1) : k == 1 ? t : k == 2 ? T(1) - t : T(2) - t;
        weight[i][k] = k == 1 || k == 2
                           ? ((a + T(2)) * distance - (a + T(3))) * distance * distance + T(1)
                           : ((a * distance - T(5) * a) * distance + T(8) * a) * distance - T(4) * a;
        index[i][k] = index_of(coordinates.inside(floor + T(k - 1), sizes[i]), sizes[i]);
      }
    }
  }
  int count = 0;
  int combinations = spatial == 3 ? per_axis * per_axis * per_axis : per_axis * per_axis;
  for (int c = 0; c < combinations; c++) {
    int rest = c;
    Tap<T> tap{0, 1};
    bool outside = false;
    for (int i = 0; i < spatial; i++) {
      int k = rest % per_axis;
      rest /= per_axis;
      outside |= index[i][k] < 0;
      tap.offset += index[i][k] * strides[i];
      tap.weight *= weight[i][k];
    }
    if (!outside) taps[count++] = tap;
  }
  return count;
}

template <class T, int spatial>
void sample(const Args& args) {
  const Tensor &x = args.tensor(0), &grid = args.tensor(1);
  Tensor& out = args.out();
  Mode mode = Mode(args.integer(2));
  Coordinates<T> coordinates{Padding(args.integer(3)), args.boolean(4), grid.dtype};
  Strides xs = strides_of(x), gs = strides_of(grid), os = strides_of(out);
  int64_t sizes[spatial], strides[spatial];  // in the grid's order: x, y, z
  for (int i = 0; i < spatial; i++) {
    sizes[i] = x.sizes[1 + spatial - i];
    strides[i] = xs[1 + spatial - i];
  }
  int64_t bytes = int64_t(dtype_bytes(x.dtype)), positions = 1;
  for (int i = 0; i < spatial; i++) positions *= out.sizes[2 + i];
  for (int64_t n = 0; n < x.sizes[0]; n++)
    for (int64_t position = 0; position < positions; position++) {
      int64_t rest = position, grid_offset = n * gs[0], out_offset = n * os[0];
      for (int i = spatial - 1; i >= 0; i--) {
        int64_t at = rest % out.sizes[2 + i];
        rest /= out.sizes[2 + i];
        grid_offset += at * gs[1 + i];
        out_offset += at * os[2 + i];
      }
      T at[spatial];
      load_elements<T>(at, grid.as<char>() + grid_offset * bytes, gs[spatial + 1], spatial, grid.dtype);
      Tap<T> taps[16];
      int count = make_taps<T, spatial>(mode, coordinates, at, sizes, strides, taps);
      for (int64_t c = 0; c < x.sizes[1]; c++) {
        T sum = 0;
        for (int k = 0; k < count; k++) {
          T value;
          load_elements<T>(&value, x.as<char>() + (n * xs[0] + c * xs[1] + taps[k].offset) * bytes, 1,
                           1, x.dtype);
          sum += value * taps[k].weight;
        }
        store_elements<T>(out.as<char>() + (out_offset + c * os[1]) * bytes, 1, &sum, 1, out.dtype);
      }
    }
}

template <int spatial>
Status run(const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(check_out_dtype(args.out(), args.tensor(0).dtype, context.diagnostic));
  if (args.tensor(0).dtype == DType::f64) sample<double, spatial>(args);
  else sample<float, spatial>(args);
  return kOk;
}

}  // namespace

KERNEL(grid_sampler_2d) = {"aten::grid_sampler_2d.out", "ttiib>t", shape<2>, run<2>};
KERNEL(grid_sampler_3d) = {"aten::grid_sampler_3d.out", "ttiib>t", shape<3>, run<3>};

}  // namespace sconce
